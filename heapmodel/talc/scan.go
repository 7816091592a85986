package talc

import (
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Scans of long bins go through an index. The original walks; a scan here walks,
// too, but no more than patience gaps: then it makes an index of the bin for
// the alignment it is about, and the index is kept up to date until the bin has
// become short. Most heaps never have one.
const (
	patience = 256
	short    = 128
	// alignments is the number of alignments there are, in units: 1<<0, which
	// stands for all that are no larger, up to 1<<27.
	alignments = 28
)

// places has for each alignment a table in which the indexes note where a chunk
// is, since its own record has no room. A chunk is in one bin only.
type places [alignments]*blocks.Table

// scans are the indexes of a heap.
type scans struct {
	byBin [bins]*index // chained through next
	idle  *index       // given up, empty; chained through next
}

// index is an index of the gaps of a bin, the newest first. Their sizes in it
// are what room gives for the alignment.
type index struct {
	*fit.Index
	alignLog2 uint32
	newest    uint32 // key of the latest gap; keys fall
	next      *index
}

// middle is the key of the oldest gap of a new index, less what there are.
const middle = 1 << 31

// scan returns the newest gap of a bin with room for so many units at multiples
// of 1<<alignLog2 units. O(patience + log gaps), or what it takes to index the
// gaps.
func (h *heap) scan(bin, units, alignLog2 uint32) uint32 {
	for x := h.byBin[bin]; x != nil; x = x.next {
		if x.alignLog2 == alignLog2 {
			return h.scanIndex(x, units)
		}
	}
	looked := uint64(0)
	for id := h.all[bin].x; id != bin; id = h.all[id].x {
		if looked == patience {
			return h.scanIndex(h.addIndex(bin, alignLog2), units)
		}
		looked++
		if h.room(id, alignLog2) >= units {
			h.use.Steps += looked
			return id
		}
	}
	h.use.Steps += looked
	return none
}

func (h *heap) scanIndex(x *index, units uint32) uint32 {
	p := x.FirstFit(units)
	if p == fit.NoPos {
		h.use.Steps += uint64(x.Len())
		return none
	}
	h.use.Steps += uint64(x.Rank(p)) + 1
	id, _ := x.At(p)
	return id
}

// addIndex indexes the gaps of a bin. O(gaps log gaps).
func (h *heap) addIndex(bin, alignLog2 uint32) *index {
	places := h.placesFor(alignLog2)
	x := h.takeIndex(alignLog2, places)
	x.next = h.byBin[bin]
	h.byBin[bin] = x
	h.scanned++
	h.quick = nil
	key := uint32(middle)
	for id := h.all[bin].x; id != bin; id = h.all[id].x {
		x.Insert(id, key, h.room(id, alignLog2))
		key++
	}
	x.newest = middle
	return x
}

// takeIndex returns an empty index for the alignment.
func (h *heap) takeIndex(alignLog2 uint32, places *blocks.Table) *index {
	for at := &h.idle; *at != nil; at = &(*at).next {
		if x := *at; x.alignLog2 == alignLog2 {
			*at = x.next
			return x
		}
	}
	return &index{Index: fit.New(places, fit.ByKey), alignLog2: alignLog2}
}

// placesFor returns the table of places for an alignment, with a record for
// each chunk there is.
func (h *heap) placesFor(alignLog2 uint32) *blocks.Table {
	places := h.places[alignLog2]
	if places == nil {
		places = new(blocks.Table)
		h.places[alignLog2] = places
	}
	if lacking := len(h.all) - len(places.Nodes); lacking > 0 {
		places.Nodes = append(places.Nodes, make([]blocks.Node, lacking)...)
	}
	return places
}

// noteGive adds a gap to the indexes of its bin, of which it is now the newest.
func (h *heap) noteGive(id, bin uint32) {
	for x := h.byBin[bin]; x != nil; x = x.next {
		h.placesFor(x.alignLog2)
		if x.newest == 0 {
			x.Rekey(middle)
			x.newest = middle
		}
		x.newest--
		x.Insert(id, x.newest, h.room(id, x.alignLog2))
	}
}

// noteDetach takes a gap out of the indexes of its bin, and gives up those that
// have become short.
func (h *heap) noteDetach(id, bin uint32) {
	for at := &h.byBin[bin]; *at != nil; {
		x := *at
		x.Remove(x.Find(id))
		if x.Len() >= short {
			at = &x.next
			continue
		}
		for p := x.First(); p != fit.NoPos; p = x.First() {
			x.Remove(p)
		}
		*at, x.next = x.next, h.idle
		h.idle = x
		if h.scanned--; h.scanned == 0 {
			h.quick = h.all
		}
	}
}

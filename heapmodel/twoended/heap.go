package twoended

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// heap is a heap of the model. X of a used block's record is brief if its
// object is for the upper end.
type heap struct {
	arena.Config
	bySite   bool
	cut      uint64
	inPlace  bool
	patterns []string // of the sites of long-lived objects
	table    []bool   // by site: long-lived; bound from the patterns
	long     bool     // the next request is for a long-lived object

	t     blocks.SlimTable
	free  *fit.SlimIndex
	use   heapmodel.Usage
	first blocks.ID // lowest block
	end   uint32    // granules of the arena

	// middle is the free block between what was placed from the bottom and what
	// was placed from the top; None once it was used up and both sides met.
	middle blocks.ID
	gap    uint32 // least granules it ever had; 0 once it was used up
	below  uint32 // most granules ever below it
	above  uint32 // and above it
}

// brief in X marks the block of a transient object.
const brief = 1

// mostGranules is one above the granules of the largest block.
const mostGranules = 1<<32 - 2

// Hints implements heapmodel.Hinted.
func (h *heap) Hints() heapmodel.HintKinds {
	switch {
	case !h.bySite:
		return heapmodel.HintLife
	case len(h.patterns) > 0:
		return heapmodel.HintSite
	}
	return 0
}

// Bind implements heapmodel.Hinted.
func (h *heap) Bind(sites []string) error {
	h.table = make([]bool, len(sites))
	for _, pattern := range h.patterns {
		found := false
		for site, name := range sites {
			if names(pattern, name, site) {
				h.table[site], found = true, true
			}
		}
		if !found {
			return fmt.Errorf("sites: no call site of the trace is named %q, of %d sites", pattern, max(len(sites), 1)-1)
		}
	}
	h.Hint(heapmodel.Hint{Life: heapmodel.Forever})
	return nil
}

// names reports whether a pattern means a call site.
func names(pattern, name string, site int) bool {
	if number, ok := strings.CutPrefix(pattern, "#"); ok {
		return number == strconv.Itoa(site)
	}
	match, err := path.Match(pattern, name)
	return name != "" && (pattern == name || err == nil && match)
}

// Hint implements heapmodel.Hinted.
func (h *heap) Hint(hint heapmodel.Hint) {
	if h.bySite {
		h.long = uint64(hint.Site) < uint64(len(h.table)) && h.table[hint.Site]
	} else {
		h.long = hint.Life > h.cut
	}
}

// aligned returns the bytes of a free block in which a block finds a payload of
// the alignment from either end, wherever it starts: with a gap on both sides
// that is nothing or a block of its own.
func (h *heap) aligned(block uint64, align uint32) uint64 {
	if uint64(align) <= h.Grain {
		return block
	}
	return block + uint64(align) + 2*h.Least
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	return h.alloc(size, align, h.long)
}

func (h *heap) alloc(size uint64, align uint32, long bool) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	block := h.Block(size)
	need := h.aligned(block, align)
	if need > h.Bytes(mostGranules) {
		return heapmodel.NullRef, false
	}
	p := h.find(uint32(need>>h.Shift), long)
	if p == fit.NoPos {
		return heapmodel.NullRef, false
	}
	id, room := h.free.At(p)
	want := uint32(block >> h.Shift)
	lead := uint32(0) // granules left free below the object
	switch {
	case uint64(align) > h.Grain && long:
		lead = h.leadBelow(id, uint64(align))
	case uint64(align) > h.Grain:
		lead = room - want - h.gapAbove(h.t.Nodes[id].Start+room-want, uint64(align))
	case !long:
		lead = room - want
		if h.Bytes(lead) < h.Least {
			lead = 0
		}
	}
	middle := id == h.middle
	id = h.take(p, lead, want)
	if !long {
		h.t.Nodes[id].X = brief
	}
	if middle {
		h.narrow(id, long)
	}
	return heapmodel.Ref(id), true
}

// find returns the place of the lowest or the highest free block of want
// granules, and counts the nodes it visits.
func (h *heap) find(want uint32, long bool) (p fit.Pos) {
	length := uint64(h.free.Len())
	if long {
		p = h.free.FirstFit(want)
	} else {
		p = h.free.LastFit(want)
	}
	switch {
	case p == fit.NoPos:
		h.use.Steps += length
	case long:
		h.use.Steps += uint64(h.free.Rank(p)) + 1
	default:
		h.use.Steps += length - uint64(h.free.Rank(p))
	}
	return p
}

// leadBelow returns the granules from the start of a free block to that of the
// lowest block with an aligned payload.
func (h *heap) leadBelow(id blocks.ID, align uint64) uint32 {
	payload := h.At(h.t.Nodes[id].Start) + h.Header
	gap := -payload & (align - 1)
	for gap > 0 && gap < h.Least {
		gap += align
	}
	return uint32(gap >> h.Shift)
}

// gapAbove returns how many granules below a start the highest block with an
// aligned payload begins, so that what is left above it is a block.
func (h *heap) gapAbove(start uint32, align uint64) uint32 {
	gap := (h.At(start) + h.Header) & (align - 1)
	for gap > 0 && gap < h.Least {
		gap += align
	}
	return uint32(gap >> h.Shift)
}

// take makes part of the free block at p a used block of want granules after a
// lead, which is a block or nothing: [id............] -> [id: lead][mid: want][up].
func (h *heap) take(p fit.Pos, lead, want uint32) blocks.ID {
	id, room := h.free.At(p)
	mid := id
	if lead > 0 {
		mid = h.t.Split(id, lead)
		h.free.Update(p, id, h.free.Key(p), lead)
		room -= lead
	}
	switch rest := room - want; {
	case h.Bytes(rest) >= h.Least:
		up := h.t.Split(mid, want)
		if lead > 0 {
			h.free.Insert(up, h.t.Nodes[up].Start, rest)
		} else {
			h.free.Update(p, up, h.t.Nodes[up].Start, rest)
		}
	case lead == 0:
		h.free.Remove(p)
	}
	h.t.SetUsed(mid)
	h.t.Nodes[mid].X = 0
	u := &h.use
	u.UsedBlocks++
	h.grew(mid, 0)
	return mid
}

// grew accounts for a used block that had so many granules.
func (h *heap) grew(id blocks.ID, was uint32) {
	u, now := &h.use, h.t.Size(id)
	// The difference wraps around for a block that shrank.
	bytes := h.Bytes(now) - h.Bytes(was)
	u.Allocated += bytes
	u.Free -= bytes
	u.FreeBlocks = uint64(h.free.Len())
	u.HighWater = max(u.HighWater, h.At(h.t.Nodes[id].Start)+h.Bytes(now))
}

// narrow notes that a block was taken from the middle, from its low or its high
// end: the free block on the other side of it, if there is one, is the middle now.
func (h *heap) narrow(id blocks.ID, low bool) {
	h.middle = h.t.Prev(id)
	if low {
		h.middle = h.t.Next(id)
	}
	if h.middle == blocks.None || h.t.Used(h.middle) { // an end node is used
		h.middle, h.gap = blocks.None, 0
		return
	}
	start, size := h.t.Nodes[h.middle].Start, h.t.Size(h.middle)
	h.gap = min(h.gap, size)
	h.below = max(h.below, start)
	h.above = max(h.above, h.end-start-size)
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("twoended: free of object %d, which is not live", r))
	}
	bytes := h.Bytes(h.t.Size(id))
	u := &h.use
	u.UsedBlocks--
	u.Allocated -= bytes
	u.Free += bytes
	h.t.SetFree(id)
	h.put(id)
	u.FreeBlocks = uint64(h.free.Len())
}

// put puts a block marked free on the list, joined with its free neighbours.
func (h *heap) put(id blocks.ID) {
	low, high := h.t.Prev(id), h.t.Next(id)
	joinsLow, joinsHigh := low != blocks.None && !h.t.Used(low), !h.t.Used(high) // an end node is used
	steps := &h.use.Steps
	switch {
	case joinsLow:
		if joinsHigh {
			// [id][high] -> [id......]
			if high == h.middle {
				h.middle = low
			}
			h.free.Remove(h.free.Find(high))
			h.t.Merge(id)
			*steps++
		}
		// [low][id] -> [low.....]
		p := h.free.Find(low)
		h.free.Update(p, low, h.t.Nodes[low].Start, h.t.Size(low)+h.t.Size(id))
		h.t.Merge(low)
		*steps += uint64(h.free.Rank(p)) + 2 // the nodes below, low itself, and the join
	case joinsHigh:
		if high == h.middle {
			h.middle = id
		}
		p := h.free.Find(high)
		h.free.Update(p, id, h.t.Nodes[id].Start, h.t.Size(id)+h.t.Size(high))
		h.t.Merge(id)
		*steps += uint64(h.free.Rank(p)) + 1
	default:
		p := h.free.Insert(id, h.t.Nodes[id].Start, h.t.Size(id))
		*steps += uint64(h.free.Rank(p))
	}
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("twoended: realloc of object %d, which is not live", r))
	}
	if size > heapmodel.MaxSize {
		return r, false
	}
	if block := h.Block(size); h.inPlace && block <= h.Bytes(mostGranules) && h.resize(id, uint32(block>>h.Shift)) {
		return r, true
	}
	s, ok := h.alloc(size, align, h.t.Nodes[id].X != brief)
	if !ok {
		return r, false
	}
	h.Free(r)
	return s, true
}

// resize makes a used block want granules long where it is, if it is long
// enough with a free upper neighbour.
func (h *heap) resize(id blocks.ID, want uint32) bool {
	was := h.t.Size(id)
	room, high := was, h.t.Next(id)
	middle := want > was && high == h.middle
	if want > was {
		if h.t.Used(high) {
			return false
		}
		if room += h.t.Size(high); room < want {
			return false
		}
		// [id][high......] -> [id............]
		h.free.Remove(h.free.Find(high))
		h.t.Merge(id)
	}
	if rest := room - want; h.Bytes(rest) >= h.Least {
		h.put(h.t.Split(id, want))
	}
	h.grew(id, was)
	if middle {
		h.narrow(id, true)
	}
	return true
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.At(h.t.Nodes[r].Start) + h.Header)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.Grain) }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 { return h.aligned(h.Block(size), align) }

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return h.Bytes(h.free.Largest()) }

// Footprint implements heapmodel.Composed: the arena without the least that was
// ever free between its ends.
func (h *heap) Footprint() uint64 {
	if h.use.HighWater == 0 {
		return 0
	}
	return h.use.Arena - h.Bytes(h.gap)
}

// Native implements heapmodel.Native.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "bottom_bytes", Value: h.Bytes(h.below)},
		{Key: "top_bytes", Value: h.Bytes(h.above)},
		{Key: "between_bytes", Value: h.Bytes(h.gap)},
	}
}

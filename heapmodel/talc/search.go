package talc

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// live returns the chunk of an object, and panics if there is none.
func (h *heap) live(r heapmodel.Ref) blocks.ID {
	if id := blocks.ID(r); id >= reserved && h.t.Live(id) {
		return id
	}
	panicDead()
	return blocks.None
}

// allocBySearch is Alloc in full: for requests that are not served by the
// newest gap of the first bin, and for heaps with scanned bins.
func (h *heap) allocBySearch(size uint64, align uint32) (heapmodel.Ref, bool) {
	units := h.units(size)
	alignLog2 := uint32(bits.Len32(max(align>>h.shift, 1))) - 1
	id := h.search(units, alignLog2)
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	h.detach(id)
	start := h.t.Nodes[id].Start
	if front := alignUp(start, alignLog2) - uint64(start); front > 0 {
		// [id......................] -> [id: front][chunk][rest]
		chunk := h.t.Split(id, uint32(front))
		h.give(id)
		id = chunk
	}
	if h.t.Size(id) > units {
		h.give(h.t.Split(id, units))
	}
	h.t.SetUsed(id)
	h.use.UsedBlocks++
	h.fill(id, size)
	return heapmodel.Ref(id), true
}

// search returns the gap that serves a request of so many units at multiples of
// 1<<alignLog2 units, which stays in its bin.
func (h *heap) search(units, alignLog2 uint32) blocks.ID {
	from := h.ceilOf(max(units, 1<<alignLog2))
	if from == noBin {
		return h.scan(h.last, units, alignLog2)
	}
	h.use.Steps++
	bin := h.filledFrom(from)
	if alignLog2 == 0 && bin != noBin {
		return h.t.Nodes[bin].X
	}
	for bin != noBin {
		if id := h.scan(bin, units, alignLog2); id != blocks.None {
			return id
		}
		h.use.Steps++
		bin = h.filledFrom(bin + 1)
	}
	// Gaps in bins further down may fit, too: they are never looked at.
	return h.scan(from-1, units, alignLog2)
}

// filledFrom returns the lowest filled bin from one on, noBin if there is none.
func (h *heap) filledFrom(bin uint32) uint32 {
	set := bin / 64
	for found := h.filled[set&3] >> (bin % 64) << (bin % 64); ; found = h.filled[set&3] {
		if found != 0 {
			return set*64 | uint32(bits.TrailingZeros64(found))
		}
		if set++; set > 2 {
			return noBin
		}
	}
}

// alignUp returns the first multiple of 1<<alignLog2 units from start on.
func alignUp(start, alignLog2 uint32) uint64 {
	mask := uint64(1)<<alignLog2 - 1
	return (uint64(start) + mask) &^ mask
}

// room returns how many units a gap has from its first multiple of 1<<alignLog2
// units on.
func (h *heap) room(id blocks.ID, alignLog2 uint32) uint32 {
	n := &h.t.Nodes[id]
	end := uint64(h.t.Nodes[n.High].Start)
	return uint32(end - min(end, alignUp(n.Start, alignLog2)))
}

// fill counts a chunk that is marked used as allocated to an object of so many
// bytes; the count of blocks is up to the caller.
func (h *heap) fill(id blocks.ID, size uint64) {
	n := &h.t.Nodes[id]
	units := h.t.Size(id)
	bytes := uint64(units) << h.shift
	n.X, n.Y = uint32(bytes-size), units
	h.use.Allocated += bytes
	h.use.Free -= bytes
	if end := h.t.Nodes[n.High].Start; end > h.high {
		h.high = end
		h.use.HighWater = uint64(end) << h.shift
	}
}

// empty is the reverse of fill.
func (h *heap) empty(id blocks.ID) {
	bytes := uint64(h.t.Size(id)) << h.shift
	h.use.Allocated -= bytes
	h.use.Free += bytes
}

// give puts a gap into its bin.
func (h *heap) give(id blocks.ID) {
	bin := h.floorOf(h.t.Size(id))
	h.use.FreeBlocks++
	h.push(h.t.Nodes, id, bin)
	if h.scanned > 0 {
		h.noteGive(id, bin)
	}
}

// detach takes a gap off its bin.
func (h *heap) detach(id blocks.ID) {
	if h.scanned > 0 {
		h.noteDetach(id, h.floorOf(h.t.Size(id)))
	}
	n := &h.t.Nodes[id]
	h.unlink(h.t.Nodes, n.X, n.Y)
	h.use.FreeBlocks--
}

// mergeUp joins a chunk with the one above it if that is a gap, and reports
// whether it is.
func (h *heap) mergeUp(id blocks.ID) bool {
	high := h.t.Next(id)
	if h.t.Used(high) {
		return false
	}
	h.detach(high)
	h.t.Merge(id)
	h.use.Steps++
	return true
}

// freeSlow is Free in full, for null pointers and heaps with scanned bins.
func (h *heap) freeSlow(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := h.live(r)
	h.empty(id)
	h.use.UsedBlocks--
	h.mergeUp(id)
	if low := h.t.Prev(id); !h.t.Used(low) {
		h.detach(low)
		h.t.Merge(low)
		h.use.Steps++
		id = low
	} else {
		h.t.SetFree(id)
	}
	h.give(id)
}

// Realloc implements heapmodel.Heap. A chunk keeps its place whenever the new
// size fits into it and a gap above it.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := h.live(r)
	units, length := h.units(size), h.t.Size(id)
	if units > length {
		if high := h.t.Next(id); h.t.Used(high) || h.t.Size(high) < units-length {
			s, ok := h.Alloc(size, align)
			if !ok {
				return r, false
			}
			h.Free(r)
			return s, true
		}
	}
	h.empty(id)
	switch {
	case units > length:
		// [id][high..........] -> [id: units][rest]
		h.mergeUp(id)
		if h.t.Size(id) > units {
			h.give(h.t.Split(id, units))
		}
	case units < length:
		// [id..........][high] -> [id: units][tail.......]
		tail := h.t.Split(id, units)
		h.mergeUp(tail)
		h.give(tail)
	}
	h.fill(id, size)
	return r, true
}

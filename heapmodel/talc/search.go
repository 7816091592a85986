package talc

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
)

// live returns the chunk of an object, and panics if there is none.
func (h *heap) live(r heapmodel.Ref) uint32 {
	if id := uint32(r); id >= reserved && h.chunks.live(id) {
		return id
	}
	panicDead()
	return none
}

// allocBySearch is Alloc in full: for requests that are not served by the
// newest gap of the first bin, and for heaps with scanned bins.
func (h *heap) allocBySearch(size uint64, align uint32) (heapmodel.Ref, bool) {
	units := h.units(size)
	alignLog2 := uint32(bits.Len32(max(align>>h.shift, 1))) - 1
	id := h.search(units, alignLog2)
	if id == none {
		return heapmodel.NullRef, false
	}
	h.detach(id)
	start := h.all[id].start
	if front := alignUp(start, alignLog2) - uint64(start); front > 0 {
		// [id......................] -> [id: front][chunk][rest]
		chunk := h.split(id, uint32(front))
		h.give(id)
		id = chunk
	}
	if h.size(id) > units {
		h.give(h.split(id, units))
	}
	h.use.UsedBlocks++
	h.fill(id, size)
	return heapmodel.Ref(id), true
}

// search returns the gap that serves a request of so many units at multiples of
// 1<<alignLog2 units, which stays in its bin.
func (h *heap) search(units, alignLog2 uint32) uint32 {
	from := h.ceilOf(max(units, 1<<alignLog2))
	if from == noBin {
		return h.scan(h.last, units, alignLog2)
	}
	h.use.Steps++
	bin := h.filledFrom(from)
	if alignLog2 == 0 && bin != noBin {
		return h.all[bin].x
	}
	for bin != noBin {
		if id := h.scan(bin, units, alignLog2); id != none {
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
func (h *heap) room(id, alignLog2 uint32) uint32 {
	n := &h.all[id]
	end := uint64(h.all[n.high].start)
	return uint32(end - min(end, alignUp(n.start, alignLog2)))
}

// fill marks a chunk used and counts it as allocated to an object of so many
// bytes; the count of blocks is up to the caller.
func (h *heap) fill(id uint32, size uint64) {
	n := &h.all[id]
	units := h.size(id)
	bytes := uint64(units) << h.shift
	n.x, n.y = uint32(bytes-size)|usedBit, units
	h.use.Allocated += bytes
	h.use.Free -= bytes
	if end := h.all[n.high].start; end > h.high {
		h.high = end
		h.use.HighWater = uint64(end) << h.shift
	}
}

// empty is the reverse of fill.
func (h *heap) empty(id uint32) {
	bytes := uint64(h.size(id)) << h.shift
	h.use.Allocated -= bytes
	h.use.Free += bytes
}

// give puts a gap into its bin.
func (h *heap) give(id uint32) {
	bin := h.floorOf(h.size(id))
	h.use.FreeBlocks++
	h.push(h.all, id, bin)
	if h.scanned > 0 {
		h.noteGive(id, bin)
	}
}

// detach takes a gap off its bin.
func (h *heap) detach(id uint32) {
	bin := h.floorOf(h.size(id))
	if h.scanned > 0 {
		h.noteDetach(id, bin)
	}
	h.unlink(h.all, id, bin)
	h.use.FreeBlocks--
}

// mergeUp joins a chunk with the one above it if that is a gap, and reports
// whether it is.
func (h *heap) mergeUp(id uint32) bool {
	high := h.all[id].high
	if h.used(high) {
		return false
	}
	h.detach(high)
	h.merge(id)
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
	if low := h.all[id].low; !h.used(low) {
		h.detach(low)
		h.merge(low)
		h.use.Steps++
		id = low
	} else {
		h.all[id].x = 0
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
	units, length := h.units(size), h.size(id)
	if units > length {
		if high := h.all[id].high; h.used(high) || h.size(high) < units-length {
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
		if h.size(id) > units {
			h.give(h.split(id, units))
		}
	case units < length:
		// [id..........][high] -> [id: units][tail.......]
		tail := h.split(id, units)
		h.mergeUp(tail)
		h.give(tail)
	}
	h.fill(id, size)
	return r, true
}

package nuttx

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// heap is one heap. Its table has a record for each node, in units.
type heap struct {
	t     blocks.Table
	free  list
	use   heapmodel.Usage
	first blocks.ID
	// The original's own figures, in bytes. used drifts, and below zero if it
	// comes to that.
	arena         uint64
	used, maxUsed int64
}

// nodeSize returns the bytes of the node for a request.
func nodeSize(size uint64) uint64 { return up(max(size, leastData) + word) }

// alignedSize returns the bytes that are requested for an aligned object.
func alignedSize(size, align uint64) uint64 { return up(max(size, leastData)) + 2*align }

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if align > unit {
		return h.allocAligned(size, max(uint64(align), leastNode))
	}
	bytes := nodeSize(size)
	if bytes > most {
		bytes = most // larger than any node, as the request is
	}
	want := uint32((bytes + unit - 1) >> unitLog2)
	id, units, looked := h.free.find(want)
	h.use.Steps += looked
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	h.free.remove(id, units)
	if rest := units - want; rest >= leastUnits {
		// [id............] -> [id: want][rest]
		h.use.Steps += h.free.insert(h.t.Split(id, want), rest)
		units = want
	} else {
		h.use.FreeBlocks--
	}
	h.t.SetUsed(id)
	h.use.UsedBlocks++
	h.count(units)
	h.mark(id)
	return heapmodel.Ref(id), true
}

// count counts units that were free as used.
func (h *heap) count(units uint32) {
	bytes := uint64(units) << unitLog2
	h.use.Allocated += bytes
	h.use.Free -= bytes
	h.used += int64(bytes)
	h.maxUsed = max(h.maxUsed, h.used)
}

// discount is the reverse of count.
func (h *heap) discount(units uint32) {
	bytes := uint64(units) << unitLog2
	h.use.Allocated -= bytes
	h.use.Free += bytes
	h.used -= int64(bytes)
}

// mark raises the high-water mark to the end of a used node, whose data go on
// into the node above.
func (h *heap) mark(id blocks.ID) {
	h.use.HighWater = max(h.use.HighWater, uint64(h.t.Nodes[h.t.Next(id)].Start)<<unitLog2+word)
}

// live returns the node of a live object and panics if there is none.
func (h *heap) live(r heapmodel.Ref) blocks.ID {
	if !h.t.Live(blocks.ID(r)) {
		panic("nuttx: the Ref is not that of a live object")
	}
	return blocks.ID(r)
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := h.live(r)
	units := h.t.Size(id)
	h.discount(units)
	h.use.UsedBlocks--
	h.release(id, units)
}

// release makes a free node of a used one, whose units are counted as free
// already, and joins it with its neighbours:
//
//	[low][id][high] -> [low..........]
func (h *heap) release(id blocks.ID, units uint32) {
	h.t.SetFree(id)
	h.use.FreeBlocks++
	if high := h.t.Next(id); !h.t.Used(high) {
		units += h.detach(high)
		h.t.Merge(id)
	}
	if low := h.t.Prev(id); low != blocks.None && !h.t.Used(low) {
		units += h.detach(low)
		h.t.Merge(low)
		id = low
	}
	h.use.Steps += h.free.insert(id, units)
}

// detach takes a free neighbour out of the list, to be merged with.
func (h *heap) detach(id blocks.ID) (units uint32) {
	units = h.t.Size(id)
	h.free.remove(id, units)
	h.use.FreeBlocks--
	h.use.Steps++
	return units
}

// shrink cuts a used node to so many units. What is left over joins a free node
// above, or is a free node if it is large enough; else it stays. It returns the
// units cut off.
func (h *heap) shrink(id blocks.ID, want uint32) (cut uint32) {
	units := h.t.Size(id)
	cut = units - want
	if cut == 0 || cut < leastUnits && h.t.Used(h.t.Next(id)) {
		return 0
	}
	// [id.........][high] -> [id: want][.........]
	h.discount(cut)
	tail := h.t.Split(id, want)
	h.use.FreeBlocks++
	if high := h.t.Next(tail); !h.t.Used(high) {
		cut += h.detach(high)
		h.t.Merge(tail)
	}
	h.use.Steps += h.free.insert(tail, cut)
	return units - want
}

// Realloc implements heapmodel.Heap. The object keeps its Ref where it grows
// downwards. Alignment is lost in a move.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	id := h.live(r)
	units := h.t.Size(id)
	want := nodeSize(size) >> unitLog2
	if want <= uint64(units) {
		cut := h.shrink(id, uint32(want))
		// Upstream counts what it meant to cut.
		h.used -= int64(units-uint32(want)-cut) << unitLog2
		return r, true
	}
	if h.grow(id, want) {
		return r, true
	}
	s, ok := h.Alloc(size, 0)
	if !ok {
		return r, false
	}
	h.Free(r)
	return s, true
}

// grow lengthens a used node by what its free neighbours have, the smaller one
// first, if both together have enough:
//
//	[low....][id][high....] -> [low][id..............][high]
func (h *heap) grow(id blocks.ID, want uint64) bool {
	units := h.t.Size(id)
	low, high := h.t.Prev(id), h.t.Next(id)
	var below, above uint32
	if low != blocks.None && !h.t.Used(low) {
		below = h.t.Size(low)
	}
	if !h.t.Used(high) {
		above = h.t.Size(high)
	}
	if uint64(units)+uint64(below)+uint64(above) < want {
		return false
	}
	need := uint32(want) - units
	var fromLow, fromHigh uint32
	if above > below {
		fromLow = min(need, below)
		fromHigh = need - fromLow
	} else {
		fromHigh = min(need, above)
		fromLow = need - fromHigh
	}
	if fromLow > 0 {
		h.takeLow(id, low, below, fromLow)
	}
	if fromHigh > 0 {
		h.takeHigh(id, high, above, fromHigh)
	}
	h.count(h.t.Size(id) - units)
	h.mark(id)
	return true
}

// takeLow moves the start of a used node down into the free node below, or to
// its start if too little of it would remain.
func (h *heap) takeLow(id, low blocks.ID, below, take uint32) {
	h.detach(low)
	if below < take+leastUnits {
		// The record of the object stays, the other one goes.
		n := &h.t.Nodes[id]
		n.Start = h.t.Nodes[low].Start
		under := h.t.Prev(low)
		n.Low = under | blocks.UsedBit
		if under == blocks.None {
			h.first = id
		} else {
			h.t.Nodes[under].High = id
		}
		h.t.Drop(low)
		return
	}
	h.t.Nodes[id].Start -= take
	h.use.FreeBlocks++
	h.use.Steps += h.free.insert(low, below-take)
}

// takeHigh moves the end of a used node up into the free node above, or to its
// end if too little of it would remain.
func (h *heap) takeHigh(id, high blocks.ID, above, take uint32) {
	h.detach(high)
	if above < take+leastUnits {
		h.t.Merge(id)
		return
	}
	h.t.Nodes[high].Start += take
	h.use.FreeBlocks++
	h.use.Steps += h.free.insert(high, above-take)
}

// allocAligned serves a request with an alignment of 16 or more from a node
// with room for it wherever the alignment falls, and then frees both ends:
//
//	[id.............................] -> [id: lead][node][tail]
//	                                                 ^ aligned object
func (h *heap) allocAligned(size, align uint64) (heapmodel.Ref, bool) {
	r, ok := h.Alloc(alignedSize(size, align), 0)
	if !ok {
		return heapmodel.NullRef, false
	}
	id := blocks.ID(r)
	raw := uint64(h.Addr(r))
	object := (raw + align - 1) &^ (align - 1)
	if object != raw {
		if object-raw < leastNode {
			object += align
		}
		lead := uint32((object - raw) >> unitLog2)
		node := h.t.Split(id, lead)
		h.t.SetUsed(node)
		h.discount(lead)
		h.release(id, lead)
		id = node
	}
	h.shrink(id, uint32(nodeSize(size)>>unitLog2))
	return heapmodel.Ref(id), true
}

package rlsf

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// allocAligned serves a request with an alignment above that of all payloads.
// The search is for a block that holds the object wherever in it the alignment
// falls; what is in front of the object stays with the block.
func (h *heap) allocAligned(size uint64, align uint32) (heapmodel.Ref, bool) {
	id := h.Search(h.search(size, align))
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	front := h.front(id, align)
	h.Take(id)
	h.Use.UsedBlocks++
	h.use(id, front, uint32(h.length(front, size)))
	return heapmodel.Ref(id), true
}

// front returns the bytes between the start of a block and an object in it.
func (h *heap) front(id blocks.ID, align uint32) uint64 {
	start := uint64(h.T.Nodes[id].Start) * uint64(2*h.half)
	unit := uint64(max(align, 1))
	return (start+uint64(h.half)+unit-1)&^(unit-1) - start
}

// length returns the granules of a block whose object is front bytes from its
// start.
func (h *heap) length(front, size uint64) uint64 {
	granule := uint64(2 * h.half)
	return (front + size + granule - 1) / granule
}

// use gives a used block its object and cuts it to so many granules.
func (h *heap) use(id blocks.ID, front uint64, length uint32) {
	h.T.Nodes[id].Y = uint32(front)
	h.Trim(id, length)
	h.Settle(id)
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	switch {
	case r == heapmodel.NullRef:
		return h.Alloc(size, align)
	case !h.inPlace:
		return heapmodel.Move(h, r, size, align)
	}
	id := h.Live(r)
	front := uint64(h.T.Nodes[id].Y)
	have, want := uint64(h.T.Size(id)), h.length(front, size)
	above := h.freeLength(h.T.Next(id))
	switch {
	case want <= have:
		h.use(id, front, uint32(want))
		return r, true
	case want <= have+above:
		h.Absorb(id)
		h.use(id, front, uint32(want))
		return r, true
	}
	if low := h.T.Prev(id); low != blocks.None && !h.T.Used(low) {
		front = h.front(low, align)
		want = h.length(front, size)
		if want <= uint64(h.T.Size(low))+have+above {
			h.growDown(low, id, above > 0)
			h.use(low, front, uint32(want))
			return heapmodel.Ref(low), true
		}
	}
	return heapmodel.Move(h, r, size, align)
}

// growDown joins a used block with the free block below it, and with the one
// above it if that is free too, even where the one below is enough:
//
//	[low][id][free] -> [low..............]
func (h *heap) growDown(low, id blocks.ID, above bool) {
	h.Take(low)
	h.T.Merge(low)
	h.Use.Steps++
	if above {
		h.Absorb(low)
	}
}

// freeLength returns the granules of a block if it is free, else zero.
func (h *heap) freeLength(id blocks.ID) uint64 {
	if h.T.Used(id) {
		return 0
	}
	return uint64(h.T.Size(id))
}

package dlmalloc

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	id, nodes := blocks.ID(r), h.t.Nodes
	if uint64(id) >= uint64(len(nodes)) {
		mustBeNull(r)
		return
	}
	n := &nodes[id]
	low, high := n.Low, n.High
	if low&blocks.UsedBit == 0 || uint64(high) >= uint64(len(nodes)) {
		panicDead()
	}
	low &^= blocks.UsedBit
	units := n.Y
	h.uncount(units)
	if high == h.top || nodes[high].Low&nodes[low].Low&blocks.UsedBit == 0 {
		h.merge(id)
		return
	}
	n.Low = low
	h.use.FreeBlocks++
	if units >= h.small {
		h.addLeaf(id, units)
		return
	}
	h.push(id, units)
}

// uncount is the reverse of count.
func (h *heap) uncount(units uint32) {
	bytes := uint64(units) << (h.shift & 63)
	h.use.UsedBlocks--
	h.use.Allocated -= bytes
	h.use.Free += bytes
}

// release frees a chunk that is marked used and counts as such.
func (h *heap) release(id blocks.ID) {
	h.uncount(h.t.Nodes[id].Y)
	h.merge(id)
}

// merge joins a chunk that is marked used, but counts as used no more, with its
// free neighbours, and puts the result where it belongs:
//
//	[low][id][high] -> [low..........]
func (h *heap) merge(id blocks.ID) {
	nodes := h.t.Nodes
	n := &nodes[id]
	low, high := n.Low&^blocks.UsedBit, n.High
	units := n.Y
	merges := uint64(0)
	victim := false // the result is the designated victim
	if b := &nodes[low]; b.Low&blocks.UsedBit == 0 {
		lower := n.Start - b.Start
		switch victim = low == h.dv; {
		case victim:
		case lower < h.small:
			h.unlink(nodes, b.X, b.Y)
		default:
			h.removeLeaf(b.X)
		}
		units += lower
		h.t.Drop(id)
		id, n, low = low, b, b.Low
		merges++
	}
	a := &nodes[high]
	switch {
	case high == h.top:
		a.Start, a.Low = n.Start, low|blocks.UsedBit
		nodes[low].High = high
		h.t.Drop(id)
		if victim {
			h.dv, h.dvUnits = blocks.None, 0
		}
		h.use.Steps += merges + 1
		h.use.FreeBlocks -= merges
		return
	case a.Low&blocks.UsedBit == 0:
		up := a.High
		c := &nodes[up]
		upper := c.Start - a.Start
		switch {
		case high == h.dv:
			victim = true
			h.dv = id
		case upper < h.small:
			h.unlink(nodes, a.X, a.Y)
		default:
			h.removeLeaf(a.X)
		}
		units += upper
		h.t.Drop(high)
		high, a = up, c
		merges++
	}
	n.Low, n.High = low, high
	a.Low = id | blocks.UsedBit
	h.use.Steps += merges
	h.use.FreeBlocks += 1 - merges
	switch {
	case victim:
		h.dvUnits = units
	case units < h.small:
		h.push(id, units)
	default:
		h.addLeaf(id, units)
	}
}

// live returns the chunk of an object, and panics if there is none.
func (h *heap) live(r heapmodel.Ref) blocks.ID {
	if id := blocks.ID(r); id >= reserved && h.t.Live(id) {
		return id
	}
	panicDead()
	return blocks.None
}

// mustBeNull panics unless the Ref is that of a null pointer.
func mustBeNull(r heapmodel.Ref) {
	if r != heapmodel.NullRef {
		panicDead()
	}
}

func panicDead() { panic("dlmalloc: the Ref is not that of a live object") }

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
	if nodes[high].Low&nodes[low].Low&blocks.UsedBit == 0 {
		h.merge(id)
		return
	}
	n.Low = low
	h.use.FreeBlocks++
	switch {
	case units < h.small:
		// push, but Y is right as it is
		h.smallMap |= 1 << (units & 31)
		head := &nodes[units]
		x := head.X
		head.X = id
		n.X = x
		nodes[x].Y = id
	case units < mid:
		h.addMid(id, units)
	default:
		h.addLeaf(id, units)
	}
}

// uncount is the reverse of count.
func (h *heap) uncount(units uint32) {
	bytes := uint64(units) * h.unit
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
// free neighbours, and puts the result where it belongs.
//
// Nearly always exactly one neighbour is free, and which one is as good as
// random: there is no branch on that.
//
//	[low][id][used] -> [first..]
//	[used][id][high] -> [first..]
func (h *heap) merge(id blocks.ID) {
	nodes := h.t.Nodes
	n := &nodes[id]
	low, high := n.Low&^blocks.UsedBit, n.High
	b, a := &nodes[low], &nodes[high]
	lowUsed, highUsed := b.Low>>31, a.Low>>31
	if high == h.top || lowUsed == highUsed {
		h.mergeOther(id)
		return
	}
	// What each outcome needs is read before it is known which one it is.
	above := a.High
	length := either(lowUsed, nodes[above].Start-a.Start, n.Start-b.Start)
	units := n.Y + length
	first, second := either(lowUsed, id, low), either(lowUsed, high, id)
	other, after := either(lowUsed, high, low), either(lowUsed, above, high)
	o, f := &nodes[other], &nodes[first]
	x, y := o.X, o.Y
	f.Low &^= blocks.UsedBit
	f.High = after
	nodes[after].Low = first | blocks.UsedBit
	h.t.Drop(second)
	h.use.Steps++
	if other == h.dv {
		h.dv, h.dvUnits = first, units
		return
	}
	// unbin, of what was read already
	if length < mid {
		nodes[x].Y = y
		nodes[y].X = x
		if length < h.small {
			h.smallMap ^= zero(x^y) << (length & 31)
		} else if x == y {
			h.removeMid(length)
		}
	} else {
		h.removeLeaf(x)
	}
	// This and what is above are bin and unbin, written out: most frees that merge
	// come here, and a call more costs 0.1 ns.
	switch {
	case units < h.small:
		h.push(first, units)
	case units < mid:
		h.addMid(first, units)
	default:
		h.addLeaf(first, units)
	}
}

// mergeOther is merge for a chunk below the top, or whose neighbours are both
// free or both used:
//
//	[low][id][high] -> [low..........]
func (h *heap) mergeOther(id blocks.ID) {
	nodes := h.t.Nodes
	n := &nodes[id]
	low, high := n.Low&^blocks.UsedBit, n.High
	units := n.Y
	merges := uint64(0)
	victim := false // the result is the designated victim
	if b := &nodes[low]; b.Low&blocks.UsedBit == 0 {
		lower := n.Start - b.Start
		if victim = low == h.dv; !victim {
			h.unbin(low, lower)
		}
		units += lower
		h.t.Drop(id)
		id, n, low = low, b, b.Low
		merges++
	}
	a := &nodes[high]
	switch {
	case high == h.top:
		a.Start, a.Low = n.Start, low
		nodes[low].High = high
		h.t.Drop(id)
		if victim {
			h.dv, h.dvUnits = noVictim, 0
		}
		h.use.Steps += merges + 1
		h.use.FreeBlocks -= merges
		return
	case a.Low&blocks.UsedBit == 0:
		up := a.High
		c := &nodes[up]
		upper := c.Start - a.Start
		if high == h.dv {
			victim = true
			h.dv = id
		} else {
			h.unbin(high, upper)
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
	if victim {
		h.dvUnits = units
	} else {
		h.bin(id, units)
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

package goodfit

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Alloc implements heapmodel.Heap. A request of no bytes gets a smallest block;
// models for which that is not so do not pass it on.
//
// Inlined into the method that a model has by embedding a Heap, as a profile
// asks for, it would not be jumped to but be called, 0.8 ns an operation.
//
//go:noinline
func (h *Heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if align > h.plain {
		return h.rules.Aligned(size, align)
	}
	if size > h.limit {
		h.refuse(h.Length(size))
		return heapmodel.NullRef, false
	}
	length := max(uint32((size+h.pad)>>(h.shift&63)), h.least)
	class := h.ceilClass(length)
	nodes := h.T.Nodes
	head := &nodes[class]
	id := head.X
	if id == class || class >= h.exact {
		return h.placeAbove(class, length)
	}
	// Blocks of the very length are there: nothing to search for or to split.
	n := &nodes[id]
	x := n.X
	head.X = x
	nodes[x].Y = class
	// Without a branch, which would go either way at random.
	var empty uint64
	if x == class {
		empty = 1
	}
	h.filled[class/64%sets] &^= empty << (class % 64)
	n.Low |= blocks.UsedBit
	n.Y = h.header
	bytes := uint64(length) << (h.shift & 63)
	h.Use.Steps += 2
	h.Use.UsedBlocks++
	h.Use.FreeBlocks--
	h.Use.Free -= bytes
	allocated := h.Use.Allocated + bytes
	h.Use.Allocated = allocated
	if allocated > h.Peak {
		h.Peak = allocated
	}
	if end := n.Start + length; end > h.top {
		h.raise(end)
	}
	return heapmodel.Ref(id), true
}

// placeAbove places an object in a block of the first bin from class on that
// has any, and splits off what is more than length.
func (h *Heap) placeAbove(class, length uint32) (heapmodel.Ref, bool) {
	h.T.Spare()
	nodes := h.T.Nodes
	set := class / 64
	found := h.filled[set%sets] >> (class % 64) << (class % 64)
	if found == 0 {
		if set = h.setAbove(set); set == sets {
			h.Use.Steps += uint64(h.miss)
			return heapmodel.NullRef, false
		}
		found = h.filled[set%sets]
	}
	bin := set*64 + uint32(bits.TrailingZeros64(found))
	h.Use.Steps += h.steps(nodes, class, bin)
	if h.rules.Rounded {
		length = nodes[class].Start + h.rules.Outside
	}
	head := &nodes[bin]
	id := head.X
	n := &nodes[id]
	after := n.High
	a := &nodes[after]
	end := a.Start
	whole := end - n.Start
	h.unlink(nodes, n.X, bin)
	n.Low |= blocks.UsedBit
	n.Y = h.header
	if whole-length >= h.rest {
		// [id..............] -> [id: length][rest]
		end = n.Start + length
		rest := h.T.Pop()
		b := &nodes[rest]
		b.Start, b.Low, b.High = end, id, after
		n.High = rest
		a.Low = rest | blocks.UsedBit
		h.insert(nodes, rest, h.floorClass(whole-length))
	} else {
		h.Use.FreeBlocks--
		length = whole
	}
	bytes := uint64(length) << (h.shift & 63)
	h.Use.UsedBlocks++
	h.Use.Free -= bytes
	h.Use.Allocated += bytes
	h.Peak = max(h.Peak, h.Use.Allocated)
	if end > h.top {
		h.raise(end)
	}
	return heapmodel.Ref(id), true
}

// refuse counts the steps of a search for more than the arena could hold.
func (h *Heap) refuse(length uint64) {
	if length <= h.rules.Limit {
		h.Use.Steps += uint64(h.miss)
	}
}

// raise raises the high-water mark to a granule.
func (h *Heap) raise(end uint32) {
	h.top = end
	h.Use.HighWater = uint64(end) << (h.shift & 63)
}

// steps returns the steps of a search that begins in one bin and ends in
// another: the word of a row and the block, and if the rows differ also the
// word of the row it began in and the word for the rows.
func (h *Heap) steps(nodes []blocks.Node, from, to uint32) uint64 {
	// The payloads of a row have the same top bit.
	searched, found := nodes[from].Start|h.row, nodes[to].Start|h.row
	count := uint64(2)
	if searched^found > searched&found {
		count = 4
	}
	return count
}

// Free implements heapmodel.Heap. As to inlining see Alloc.
//
//go:noinline
func (h *Heap) Free(r heapmodel.Ref) {
	id, nodes := blocks.ID(r), h.T.Nodes
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
	a := &nodes[high]
	bytes := uint64(a.Start-n.Start) << (h.shift & 63)
	h.Use.Allocated -= bytes
	h.Use.Free += bytes
	h.Use.UsedBlocks--
	if a.Low&blocks.UsedBit == 0 {
		// [id][high] -> [id........]
		h.unlink(nodes, a.X, a.Y)
		up := a.High
		h.T.Drop(high)
		h.Use.Steps++
		n.High = up
		high, a = up, &nodes[up]
		a.Low = id | blocks.UsedBit
	} else {
		h.Use.FreeBlocks++
	}
	if low != blocks.None && nodes[low].Low&blocks.UsedBit == 0 {
		// [low][id] -> [low.......]
		n = &nodes[low]
		h.unlink(nodes, n.X, n.Y)
		h.T.Drop(id)
		h.Use.FreeBlocks--
		h.Use.Steps++
		id = low
		n.High = high
		a.Low = id | blocks.UsedBit
	} else {
		n.Low = low
	}
	h.insert(nodes, id, h.floorClass(a.Start-n.Start))
}

// setAbove returns the lowest word of filled above set that is not zero, sets
// if there is none.
func (h *Heap) setAbove(set uint32) uint32 {
	for set++; set < sets && h.filled[set] == 0; set++ {
	}
	return set
}

// insert puts a free block at the head of the bin of its class.
func (h *Heap) insert(nodes []blocks.Node, id blocks.ID, class uint32) {
	h.filled[class/64%sets] |= 1 << (class % 64)
	head, n := &nodes[class], &nodes[id]
	x := head.X
	head.X = id
	n.X, n.Y = x, class
	nodes[x].Y = id
}

// unlink takes the block between x and y out of its bin.
func (h *Heap) unlink(nodes []blocks.Node, x, y blocks.ID) {
	nodes[x].Y = y
	nodes[y].X = x
	var empty uint64 // as in Alloc; x and y are the same if both are the head
	if x == y {
		empty = 1
	}
	h.filled[x/64%sets] &^= empty << (x % 64)
}

// mustBeNull panics unless the Ref is that of a null pointer.
func mustBeNull(r heapmodel.Ref) {
	if r != heapmodel.NullRef {
		panicDead()
	}
}

func panicDead() { panic("goodfit: the Ref is not that of a live object") }

package talc

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// heap is a talc heap in one state. The bins are rings through X (next, older)
// and Y (previous); the record whose ID is a bin is the head of its ring. X of
// a used chunk is what its size is above that of its object, in bytes, and Y its
// size in units, which spares Free the way to the chunk above.
type heap struct {
	t       blocks.Table
	filled  [4]uint64 // a bit for each bin: it has gaps
	quick   uint64    // Alloc serves requests below so many units by itself: tabled or 0
	scanned int       // indexes that scans has
	high    uint32    // high-water mark in units
	machine
	use heapmodel.Usage
	scans
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	shift := h.shift & 63
	length := (size + h.pad) >> shift
	if length >= h.quick || align > h.unit {
		return h.allocBySearch(size, align)
	}
	bin := uint32(length)
	if length >= h.exact || h.filled[0]>>(bin&63)&1 == 0 {
		return h.allocAbove(size, bin)
	}
	// The exact bin of the request is filled: all that are exact are in set 0.
	bytes := length << shift
	nodes := h.t.Nodes
	id := nodes[bin].X
	n := &nodes[id]
	h.unlinkNewest(nodes, bin, n.X)
	n.Low |= blocks.UsedBit
	n.X, n.Y = uint32(bytes-size), bin
	h.use.Steps++
	h.use.FreeBlocks--
	h.use.UsedBlocks++
	h.use.Allocated += bytes
	h.use.Free -= bytes
	if end := n.Start + bin; end > h.high {
		h.high = end
		h.use.HighWater = uint64(end) << shift
	}
	return heapmodel.Ref(id), true
}

// allocAbove is Alloc for requests that are not served from an exact bin.
func (h *heap) allocAbove(size uint64, units uint32) (heapmodel.Ref, bool) {
	bin := h.filledFrom(uint32(h.ceil[units%tabled]))
	if bin == noBin {
		return h.allocBySearch(size, 0)
	}
	shift := h.shift & 63
	bytes := uint64(units) << shift
	h.t.Spare()
	nodes := h.t.Nodes
	id := nodes[bin].X
	n := &nodes[id]
	end := n.Start + units
	h.use.Steps++
	h.use.UsedBlocks++
	h.use.Allocated += bytes
	h.use.Free -= bytes
	if end > h.high {
		h.high = end
		h.use.HighWater = uint64(end) << shift
	}
	rest := nodes[n.High].Start - end
	if rest == 0 {
		h.unlinkNewest(nodes, bin, n.X)
		n.Low |= blocks.UsedBit
		n.X, n.Y = uint32(bytes-size), units
		h.use.FreeBlocks--
		return heapmodel.Ref(id), true
	}
	// [id...............] -> [chunk: units][id]
	// As the remainder keeps the record, it also keeps its place at the head of
	// the bin, unless it belongs into another.
	chunk := h.t.Pop()
	b := &nodes[chunk]
	low := n.Low
	b.Start, b.Low, b.High = n.Start, low|blocks.UsedBit, id
	b.X, b.Y = uint32(bytes-size), units
	n.Start, n.Low = end, chunk
	nodes[low].High = chunk
	if to := h.floorOf(rest); to != bin {
		h.unlinkNewest(nodes, bin, n.X)
		h.push(nodes, id, to)
	}
	return heapmodel.Ref(chunk), true
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	id, nodes := blocks.ID(r), h.t.Nodes
	if uint64(id) >= uint64(len(nodes)) || h.scanned > 0 {
		h.freeSlow(r)
		return
	}
	n := &nodes[id]
	low, high := n.Low, n.High
	if low&blocks.UsedBit == 0 || uint64(high) >= uint64(len(nodes)) {
		panicDead()
	}
	low &^= blocks.UsedBit
	units := n.Y
	bytes := uint64(units) << (h.shift & 63)
	h.use.Allocated -= bytes
	h.use.Free += bytes
	h.use.UsedBlocks--
	freeBlocks := h.use.FreeBlocks + 1
	a, b := &nodes[high], &nodes[low]
	if a.Low&blocks.UsedBit == 0 {
		// [id][high] -> [id........]
		h.unlink(nodes, a.X, a.Y)
		up := a.High
		h.t.Drop(high)
		start := a.Start
		high, a = up, &nodes[up]
		units += a.Start - start
		freeBlocks--
		h.use.Steps++
		n.High = high
		a.Low = id | blocks.UsedBit
	}
	if b.Low&blocks.UsedBit == 0 {
		// [low][id] -> [low.......]
		units += n.Start - b.Start
		h.unlink(nodes, b.X, b.Y)
		h.t.Drop(id)
		id = low
		freeBlocks--
		h.use.Steps++
		b.High = high
		a.Low = id | blocks.UsedBit
	} else {
		n.Low = low
	}
	h.use.FreeBlocks = freeBlocks
	bin := units
	if uint64(bin) >= h.exact {
		bin = h.floorOf(units)
	}
	h.push(nodes, id, bin)
}

// push puts a gap at the head of a bin.
func (h *heap) push(nodes []blocks.Node, id blocks.ID, bin uint32) {
	h.filled[bin/64&3] |= 1 << (bin % 64)
	head, n := &nodes[bin], &nodes[id]
	x := head.X
	head.X = id
	n.X, n.Y = x, bin
	nodes[x].Y = id
}

// unlink takes the gap between x and y off its bin.
func (h *heap) unlink(nodes []blocks.Node, x, y blocks.ID) {
	nodes[x].Y = y
	nodes[y].X = x
	// Without a branch, which would go either way at random.
	var empty uint64
	if x == y { // both are the head
		empty = 1
	}
	h.filled[x/64&3] &^= empty << (x % 64)
}

// unlinkNewest is unlink for the first gap of a bin, before x.
func (h *heap) unlinkNewest(nodes []blocks.Node, bin uint32, x blocks.ID) {
	nodes[bin].X = x
	nodes[x].Y = bin
	var empty uint64
	if x == bin {
		empty = 1
	}
	h.filled[bin/64&3] &^= empty << (bin % 64)
}

func panicDead() { panic("talc: the Ref is not that of a live object") }

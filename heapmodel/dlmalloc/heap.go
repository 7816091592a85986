package dlmalloc

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// heap is a dlmalloc heap in one state. Small bins are rings through X (next,
// older) and Y (previous) whose heads are the records 0 to 31. X of a chunk in a
// tree is its leaf. Y of a used chunk is its length in units. The top is the
// end node of the table: its Start is the start of the top.
type heap struct {
	t        blocks.Table
	smallMap uint32 // a bit for each small bin: it has chunks
	treeMap  uint32 // and for each tree bin
	dv       blocks.ID
	dvUnits  uint32 // zero if there is none
	top      blocks.ID
	topEnd   uint64 // end of the top in bytes, no multiple of the unit in general
	machine
	use heapmodel.Usage

	tree      []leaf // by index
	spareLeaf uint32 // chain through next

	limit      uint64 // the highest break, 0 in an mspace
	contiguous bool   // the break was never refused
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if align > 2*h.word {
		return h.allocAligned(size, align)
	}
	length := h.unitsOf(size)
	if length >= uint64(h.small) {
		return h.allocLarge(length)
	}
	units := uint32(length)
	bin := units << (h.binShift & 31)
	h.use.Steps++
	found := h.smallMap >> (bin & 31)
	if found&3 == 0 {
		return h.allocSplitting(units, found)
	}
	// The bin of the size or, with 8 bytes too many, the one above. The bin
	// above is always empty on 64-bit machines.
	bin += ^found & 1
	units = bin >> (h.binShift & 31)
	nodes := h.t.Nodes
	id := nodes[bin].X
	n := &nodes[id]
	h.unlinkNewest(nodes, bin, n.X)
	n.Low |= blocks.UsedBit
	n.Y = units
	h.use.FreeBlocks--
	h.count(n.Start, units)
	return heapmodel.Ref(id), true
}

// count counts the units of a chunk that is given out.
func (h *heap) count(start, units uint32) {
	shift := h.shift & 63
	bytes := uint64(units) << shift
	h.use.UsedBlocks++
	h.use.Allocated += bytes
	h.use.Free -= bytes
	if end := uint64(start)<<shift + bytes + uint64(h.word); end > h.use.HighWater {
		h.use.HighWater = end
	}
}

// allocSplitting is Alloc for a small request whose bins are empty; found is
// the bitmap of small bins from that of the request on.
func (h *heap) allocSplitting(units, found uint32) (heapmodel.Ref, bool) {
	if units <= h.dvUnits {
		return h.allocVictim(units), true
	}
	h.use.Steps++
	var id blocks.ID
	var length uint32
	if found != 0 {
		shift := h.binShift & 31
		bin := units<<shift + uint32(bits.TrailingZeros32(found))
		id = h.t.Nodes[bin&31].X
		length = bin >> shift
		h.unlinkNewest(h.t.Nodes, bin, h.t.Nodes[id].X)
	} else {
		h.use.Steps++
		if h.treeMap == 0 {
			return h.allocTop(uint64(units))
		}
		l := h.smallest()
		id, length = h.tree[l].id, h.tree[l].units
		h.removeLeaf(l)
	}
	if length-units < leastUnits {
		return h.whole(id, length), true
	}
	chunk := h.cutLow(id, units)
	if h.dv != blocks.None {
		h.push(h.dv, h.dvUnits)
	}
	h.dv, h.dvUnits = id, length-units
	h.count(h.t.Nodes[chunk].Start, units)
	return heapmodel.Ref(chunk), true
}

// whole gives out a free chunk in no bin.
func (h *heap) whole(id blocks.ID, units uint32) heapmodel.Ref {
	n := &h.t.Nodes[id]
	n.Low |= blocks.UsedBit
	n.Y = units
	h.use.FreeBlocks--
	h.count(n.Start, units)
	return heapmodel.Ref(id)
}

// cutLow cuts off the low end of a free chunk or the top and marks it used:
//
//	[id...............] -> [chunk: units][id]
func (h *heap) cutLow(id blocks.ID, units uint32) blocks.ID {
	h.t.Spare()
	nodes := h.t.Nodes
	chunk := h.t.Pop()
	n, c := &nodes[id], &nodes[chunk]
	low := n.Low &^ blocks.UsedBit
	c.Start, c.Low, c.High = n.Start, low|blocks.UsedBit, id
	c.Y = units
	n.Start += units
	// The top counts as used, other free chunks do not.
	n.Low = n.Low&blocks.UsedBit | chunk
	nodes[low].High = chunk
	return chunk
}

// allocVictim gives out so many units of the designated victim, which has them.
func (h *heap) allocVictim(units uint32) heapmodel.Ref {
	if rest := h.dvUnits - units; rest >= leastUnits {
		chunk := h.cutLow(h.dv, units)
		h.dvUnits = rest
		h.count(h.t.Nodes[chunk].Start, units)
		return heapmodel.Ref(chunk)
	}
	r := h.whole(h.dv, h.dvUnits)
	h.dv, h.dvUnits = blocks.None, 0
	return r
}

// allocTop gives out so many units of the top, which grows first if it has no
// more than that.
func (h *heap) allocTop(units uint64) (heapmodel.Ref, bool) {
	if !h.topHas(units) && !h.grow(units) {
		return heapmodel.NullRef, false
	}
	chunk := h.cutLow(h.top, uint32(units))
	h.count(h.t.Nodes[chunk].Start, uint32(units))
	return heapmodel.Ref(chunk), true
}

// topHas reports whether the top has more than so many units: it never becomes
// empty.
func (h *heap) topHas(units uint64) bool { return units<<h.shift < h.topBytes() }

func (h *heap) topBytes() uint64 {
	return h.topEnd - uint64(h.t.Nodes[h.top].Start)<<h.shift
}

// allocLarge is Alloc for requests of 256 bytes or more.
func (h *heap) allocLarge(length uint64) (heapmodel.Ref, bool) {
	if h.tooLong(length) {
		return heapmodel.NullRef, false
	}
	l := h.bestFit(length)
	units := uint32(length) // of no meaning if nothing is that long
	if l == 0 || h.tree[l].units-units >= h.dvUnits-units {
		// Unsigned: any remainder is below that of a victim that is too small.
		if length <= uint64(h.dvUnits) {
			return h.allocVictim(units), true
		}
		return h.allocTop(length)
	}
	id, rest := h.tree[l].id, h.tree[l].units-units
	h.removeLeaf(l)
	if rest < leastUnits {
		return h.whole(id, units+rest), true
	}
	chunk := h.cutLow(id, units)
	h.bin(id, rest)
	h.count(h.t.Nodes[chunk].Start, units)
	return heapmodel.Ref(chunk), true
}

// tooLong reports whether the machine has no number for so many units in bytes.
// Upstream refuses such requests without a search.
func (h *heap) tooLong(length uint64) bool { return h.word == 4 && length<<h.shift > 1<<32-1 }

// bin puts a free chunk into its bin.
func (h *heap) bin(id blocks.ID, units uint32) {
	if units < h.small {
		h.push(id, units)
	} else {
		h.addLeaf(id, units)
	}
}

// unbin takes a free chunk out of its bin.
func (h *heap) unbin(id blocks.ID, units uint32) {
	n := &h.t.Nodes[id]
	if units < h.small {
		h.unlink(h.t.Nodes, n.X, n.Y)
	} else {
		h.removeLeaf(n.X)
	}
}

// push puts a chunk at the head of its small bin.
func (h *heap) push(id blocks.ID, units uint32) {
	bin := units << (h.binShift & 31)
	nodes := h.t.Nodes
	h.smallMap |= 1 << (bin & 31)
	head, n := &nodes[bin], &nodes[id]
	x := head.X
	head.X = id
	n.X, n.Y = x, bin
	nodes[x].Y = id
}

// unlink takes the chunk between x and y off its small bin.
func (h *heap) unlink(nodes []blocks.Node, x, y blocks.ID) {
	nodes[x].Y = y
	nodes[y].X = x
	h.smallMap &^= one(x == y) << (x & 31) // they are the same only if both are the head
}

// unlinkNewest is unlink for the first chunk of a bin, before x.
func (h *heap) unlinkNewest(nodes []blocks.Node, bin uint32, x blocks.ID) {
	nodes[bin].X = x
	nodes[x].Y = bin
	h.smallMap &^= one(x == bin) << (bin & 31)
}

// grow extends the break so that the top has more than so many units.
func (h *heap) grow(units uint64) bool {
	need := units << h.shift
	ask := need + h.foot + h.unit()
	if h.contiguous {
		ask -= h.topBytes()
	}
	ask = (ask + page - 1) &^ (page - 1)
	if h.use.Arena+ask > h.limit {
		// Upstream tries once more with what it would ask without a top: no less.
		h.contiguous = false
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: need, Free: h.use.Free, LargestFree: h.LargestFree()}
	if h.use.Arena == 0 {
		h.use.Overhead = h.foot
		h.use.FreeBlocks = 1
	}
	h.use.Arena += ask
	h.topEnd = h.use.Arena - h.foot
	h.use.Free = h.use.Arena - h.use.Allocated - h.foot
	return true
}

package dlmalloc

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// heap is a dlmalloc heap in one state. Free chunks below mid units are in rings
// of one size each, through X (next) and Y (previous), whose heads are the
// records with that number. A ring of a small bin begins with the newest chunk,
// others with the oldest. X of a longer chunk is its leaf. Y of a used chunk is
// its length in units. The top is the end node of the table: its Start is the
// start of the top. It is marked free.
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

	mids
	tree      []leaf // by index
	spareLeaf uint32 // chain through next

	limit      uint64 // the highest break, 0 in an mspace
	contiguous bool   // the break was never refused
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > h.smallMost || align != 0 {
		return h.allocOther(size, align)
	}
	units := uint32(h.smallUnits[uint8(size)])
	// The near bins come before the victim, and the others behind it.
	// All ones if the victim is too small: a branch on that is often wrong.
	short := uint32((int64(h.dvUnits) - int64(units)) >> 63)
	found := h.smallMap >> (units & 31) & (h.near | short)
	if found == 0 {
		return h.allocUnbinned(units)
	}
	bin := units + uint32(bits.TrailingZeros32(found))
	nodes := h.t.Nodes
	head := &nodes[bin]
	// unbin for the first of a bin, which is the last too if that becomes empty
	id := head.X
	h.smallMap ^= zero(id^head.Y) << (bin & 31)
	n := &nodes[id]
	x := n.X
	head.X = x
	nodes[x].Y = bin
	if bin-units >= leastUnits {
		h.use.Steps += 2
		return h.makeVictim(id, units, bin-units), true
	}
	// Y is the length already: the head of the bin is before the first.
	n.Low |= blocks.UsedBit
	h.use.FreeBlocks--
	h.use.Steps += 1 + uint64((bin-units)&h.far)
	h.count(bin)
	return heapmodel.Ref(id), true
}

// count counts the units of a chunk that is given out.
func (h *heap) count(units uint32) {
	bytes := uint64(units) * h.unit
	h.use.UsedBlocks++
	h.use.Allocated += bytes
	h.use.Free -= bytes
}

// allocOther is Alloc for requests that are large or aligned. Here it serves
// those below mid units from the rings.
func (h *heap) allocOther(size uint64, align uint32) (heapmodel.Ref, bool) {
	if align != 0 {
		if uint64(align) > h.unit {
			return h.allocAligned(size, align)
		}
		return h.Alloc(size, 0)
	}
	length := (size + h.pad) >> (h.shift & 63)
	if length >= mid {
		return h.allocLong(length)
	}
	units := uint32(length)
	fit := h.fitMid(units)
	if fit == 0 {
		return h.allocLeaf(length, h.smallestLeaf())
	}
	rest := fit - units
	if rest >= h.dvUnits-units { // see allocLeaf
		return h.allocVictim(units), true
	}
	nodes := h.t.Nodes
	head := &nodes[fit]
	id, last := head.X, head.Y
	n := &nodes[id]
	x := n.X
	head.X = x
	nodes[x].Y = fit
	if id == last {
		h.removeMid(fit)
	}
	if rest < leastUnits {
		n.Low |= blocks.UsedBit
		n.Y = fit
		h.use.FreeBlocks--
		h.count(fit)
		return heapmodel.Ref(id), true
	}
	r := h.cutLow(id, units)
	if rest < h.small {
		h.push(id, rest)
	} else {
		h.addMid(id, rest)
	}
	return r, true
}

// allocUnbinned is Alloc for a small request that the victim serves or, if that
// is too small, no small bin.
func (h *heap) allocUnbinned(units uint32) (heapmodel.Ref, bool) {
	if units <= h.dvUnits {
		h.use.Steps++
		return h.allocVictim(units), true
	}
	h.use.Steps += 3 // the near bins, the others, the tree bins
	id, length := h.smallest()
	if length == 0 {
		return h.allocTop(uint64(units))
	}
	h.unbin(id, length)
	if length-units < leastUnits {
		return h.whole(id, length), true
	}
	return h.makeVictim(id, units, length-units), true
}

// makeVictim gives out the low units of a free chunk in no bin. The rest of it
// is the new victim, in place of one too small for the request.
func (h *heap) makeVictim(id blocks.ID, units, rest uint32) heapmodel.Ref {
	chunk := h.cutLow(id, units)
	h.push(h.dv, h.dvUnits)
	h.dv, h.dvUnits = id, rest
	return chunk
}

// whole gives out a free chunk in no bin.
func (h *heap) whole(id blocks.ID, units uint32) heapmodel.Ref {
	n := &h.t.Nodes[id]
	n.Low |= blocks.UsedBit
	n.Y = units
	h.use.FreeBlocks--
	h.count(units)
	return heapmodel.Ref(id)
}

// cutLow gives out the low end of a free chunk or the top:
//
//	[id...............] -> [chunk: units][id]
func (h *heap) cutLow(id blocks.ID, units uint32) heapmodel.Ref {
	h.t.Spare()
	nodes := h.t.Nodes
	chunk := h.t.Pop()
	n, c := &nodes[id], &nodes[chunk]
	start, low := n.Start, n.Low
	n.Start, n.Low = start+units, chunk
	c.Start, c.Low, c.High, c.Y = start, low|blocks.UsedBit, id, units
	nodes[low].High = chunk
	h.count(units)
	return heapmodel.Ref(chunk)
}

// allocVictim gives out so many units of the designated victim, which has them.
func (h *heap) allocVictim(units uint32) heapmodel.Ref {
	if rest := h.dvUnits - units; rest >= leastUnits {
		h.dvUnits = rest
		return h.cutLow(h.dv, units)
	}
	r := h.whole(h.dv, h.dvUnits)
	h.dv, h.dvUnits = noVictim, 0
	return r
}

// allocTop gives out so many units of the top, which grows first if it has no
// more than that.
func (h *heap) allocTop(units uint64) (heapmodel.Ref, bool) {
	if !h.topHas(units) && !h.grow(units) {
		return heapmodel.NullRef, false
	}
	r := h.cutLow(h.top, uint32(units))
	h.raise()
	return r, true
}

// raise counts a start of the top that may be higher than any before: what
// lies below was used once, and nothing above.
func (h *heap) raise() {
	h.use.HighWater = max(h.use.HighWater, uint64(h.t.Nodes[h.top].Start)*h.unit+uint64(h.word))
}

// topHas reports whether the top has more than so many units: it never becomes
// empty.
func (h *heap) topHas(units uint64) bool { return units<<h.shift < h.topBytes() }

func (h *heap) topBytes() uint64 {
	return h.topEnd - uint64(h.t.Nodes[h.top].Start)<<h.shift
}

// allocLong is Alloc for requests of mid units or more.
func (h *heap) allocLong(length uint64) (heapmodel.Ref, bool) {
	if h.tooLong(length) {
		return heapmodel.NullRef, false
	}
	return h.allocLeaf(length, h.bestLeaf(length))
}

// allocLeaf serves a large request of which a leaf, 0 if there is none, is the
// best fit of the trees.
func (h *heap) allocLeaf(length uint64, l uint32) (heapmodel.Ref, bool) {
	n := &h.tree[l]
	id, units := n.id, uint32(length) // units are of no meaning if nothing is that long
	rest := n.units - units
	if l == 0 || rest >= h.dvUnits-units {
		// Unsigned: any remainder is below that of a victim that is too small.
		if length <= uint64(h.dvUnits) {
			return h.allocVictim(units), true
		}
		return h.allocTop(length)
	}
	h.removeLeaf(l)
	if rest < leastUnits {
		return h.whole(id, units+rest), true
	}
	r := h.cutLow(id, units)
	h.bin(id, rest)
	return r, true
}

// tooLong reports whether the machine has no number for so many units in bytes.
// Upstream refuses such requests without a search.
func (h *heap) tooLong(length uint64) bool { return h.word == 4 && length<<h.shift > 1<<32-1 }

// smallest returns the smallest chunk in a tree and its length, which is 0 if
// there is none.
func (h *heap) smallest() (blocks.ID, uint32) {
	if fit := h.leastMid(0); fit != 0 {
		h.use.Steps += h.tries[h.midSizes[fit%mid].bin%midBins].leftmost(1)
		return h.t.Nodes[fit].X, fit
	}
	return h.leafOf(h.smallestLeaf())
}

// bin puts a free chunk into its bin.
func (h *heap) bin(id blocks.ID, units uint32) {
	switch {
	case units < h.small:
		h.push(id, units)
	case units < mid:
		h.addMid(id, units)
	default:
		h.addLeaf(id, units)
	}
}

// unbin takes a free chunk out of its bin.
func (h *heap) unbin(id blocks.ID, units uint32) {
	nodes := h.t.Nodes
	n := &nodes[id]
	x, y := n.X, n.Y
	if units >= mid {
		h.removeLeaf(x)
		return
	}
	nodes[x].Y = y
	nodes[y].X = x
	// Both are the same only if they are the head.
	if units < h.small {
		h.smallMap ^= zero(x^y) << (units & 31)
	} else if x == y {
		h.removeMid(units)
	}
}

// push puts a chunk at the head of its small bin.
func (h *heap) push(id blocks.ID, units uint32) {
	nodes := h.t.Nodes
	h.smallMap |= 1 << (units & 31)
	head, n := &nodes[units], &nodes[id]
	x := head.X
	head.X = id
	n.X, n.Y = x, units
	nodes[x].Y = id
}

// grow extends the break so that the top has more than so many units.
func (h *heap) grow(units uint64) bool {
	need := units << h.shift
	ask := need + h.foot + h.unit
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

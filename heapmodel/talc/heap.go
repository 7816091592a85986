package talc

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
)

// heap is a talc heap in one state. The bins are rings through x (next, older)
// and y (next, newer); the record whose ID is a bin is the head of its ring. The
// newest gap of a bin has no y, nor has the head: most gaps are taken while they
// are the newest, so that nobody ever asks for it.
//
// What Alloc and Free cost is first of all their stores, about 0.2 ns each, and
// a branch that goes either way, 8 ns each time it is mispredicted. Selects
// instead of the branches on exact fits and on free neighbours cost more still,
// since they chain an operation to the memory accesses of those before.
type heap struct {
	chunks
	machine
	filled  [4]uint64 // a bit for each bin: it has gaps
	high    uint32    // high-water mark in units
	scanned int       // indexes that scans has
	// places stands here because use then begins 8 bytes into a cache line of 64,
	// which has all its counters but Steps: stores to one line are faster, by
	// about 0.1 ns an operation.
	places places
	use    heapmodel.Usage
	scans
}

// Alloc implements heapmodel.Heap. It leaves the check for stack to what it
// calls, here and in Free: 0.1 ns an operation.
//
//go:nosplit
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	total := size + h.pad
	units := total >> (h.shift & 63)
	nodes, filled := h.quick, h.filled[0]
	if units >= h.exact || align > h.unit || units >= uint64(len(nodes)) {
		return h.allocWide(size, align, units)
	}
	if filled>>(units&63)&1 == 0 {
		return h.allocSplit(size, uint32(units), uint32(units))
	}
	// The exact bin of the request is filled: all that are exact are in set 0.
	head := &nodes[units]
	id := head.x
	n := &nodes[id]
	x := n.x
	head.x = x
	left := filled &^ (1 << (units & 63))
	if uint64(x) != units {
		left = filled
	}
	h.filled[0] = left
	bytes := total & h.round
	n.x, n.y = uint32(bytes-size)|usedBit, uint32(units)
	h.use.Steps++
	h.use.FreeBlocks--
	h.use.UsedBlocks++
	h.use.Allocated += bytes
	h.use.Free -= bytes
	if end := n.start + uint32(units); end > h.high {
		h.high = end
		h.use.HighWater = uint64(end) << (h.shift & 63)
	}
	return heapmodel.Ref(id), true
}

// allocSplit is Alloc for a request of so many units that is served from a
// higher bin than its own, the first from one of set 0 on. It leaves gaps that
// fit to the byte and those in other sets to allocFar.
func (h *heap) allocSplit(size uint64, units, from uint32) (heapmodel.Ref, bool) {
	nodes, filled, up := h.quick, h.filled[0], h.spare
	found := filled >> (from & 63) << (from & 63)
	if found == 0 || up == 0 {
		return h.allocFar(size, units, from)
	}
	bin := uint32(bits.TrailingZeros64(found))
	head := &nodes[bin]
	id := head.x
	n := &nodes[id]
	end, high := n.start+units, n.high
	a := &nodes[high]
	rest := a.start - end
	if rest-1 >= tabled-1 { // none, or too large for the table
		return h.allocFar(size, units, from)
	}
	// [id...............] -> [id: units][up]
	x := n.x
	head.x = x
	left := filled &^ (1 << (bin & 63))
	if x != bin {
		left = filled
	}
	a.low = up
	b := &nodes[up]
	h.spare = b.high
	b.start, b.low, b.high = end, id, high
	n.high = up

	bytes := (size + h.pad) & h.round
	n.x, n.y = uint32(bytes-size)|usedBit, units
	h.use.Steps++
	h.use.UsedBlocks++
	h.use.Allocated += bytes
	h.use.Free -= bytes

	to := uint32(h.floor[rest]) // no higher than bin
	h.filled[0] = left | 1<<(to&63)
	into := &nodes[to]
	x = into.x
	into.x = up
	b.x = x
	nodes[x].y = up
	if end > h.high {
		h.high = end
		h.use.HighWater = uint64(end) << (h.shift & 63)
	}
	return heapmodel.Ref(id), true
}

// allocWide is Alloc for requests that have no exact bin, or an alignment.
func (h *heap) allocWide(size uint64, align uint32, units uint64) (heapmodel.Ref, bool) {
	if units < tabled && align <= h.unit && len(h.quick) > 0 {
		if from := uint32(h.ceil[units]); from < 64 {
			return h.allocSplit(size, uint32(units), from)
		}
	}
	return h.allocBySearch(size, align)
}

// allocFar is Alloc for a request of so many units from the first filled bin
// from one on, whatever its set, in a heap without indexes.
func (h *heap) allocFar(size uint64, units, from uint32) (heapmodel.Ref, bool) {
	bin := h.filledFrom(from)
	if bin == noBin {
		return h.allocBySearch(size, 0)
	}
	if h.spare == 0 {
		h.grow()
	}
	nodes := h.quick
	id := nodes[bin].x
	n := &nodes[id]
	h.unlink(nodes, id, bin)
	end, high := n.start+units, n.high
	a := &nodes[high]
	if rest := a.start - end; rest == 0 {
		h.use.FreeBlocks--
	} else {
		up := h.spare
		b := &nodes[up]
		h.spare = b.high
		b.start, b.low, b.high = end, id, high
		n.high, a.low = up, up
		h.push(nodes, up, h.floorOf(rest))
	}
	bytes := uint64(units) << (h.shift & 63)
	n.x, n.y = uint32(bytes-size)|usedBit, units
	h.use.Steps++
	h.use.UsedBlocks++
	h.use.Allocated += bytes
	h.use.Free -= bytes
	if end > h.high {
		h.high = end
		h.use.HighWater = uint64(end) << (h.shift & 63)
	}
	return heapmodel.Ref(id), true
}

// Free implements heapmodel.Heap.
//
//go:nosplit
func (h *heap) Free(r heapmodel.Ref) {
	id, nodes := uint32(r), h.quick
	if uint64(id) >= uint64(len(nodes)) {
		h.freeSlow(r)
		return
	}
	n := &nodes[id]
	low, high := n.low, n.high
	if n.x&usedBit == 0 || uint64(low) >= uint64(len(nodes)) || uint64(high) >= uint64(len(nodes)) {
		panicDead()
		return
	}
	units := n.y
	if nodes[low].x&nodes[high].x&usedBit == 0 || uint64(units) >= h.exact {
		h.freeJoining(id, low, high)
		return
	}
	h.filled[0] |= 1 << (units & 63)
	head := &nodes[units]
	x := head.x
	head.x = id
	n.x = x
	nodes[x].y = id
	bytes := uint64(units) << (h.shift & 63)
	h.use.Allocated -= bytes
	h.use.Free += bytes
	h.use.UsedBlocks--
	h.use.FreeBlocks++
}

// freeJoining is Free for a chunk with a gap below or above, or without an exact
// bin.
func (h *heap) freeJoining(id, low, high uint32) {
	nodes := h.quick
	n, a, b := &nodes[id], &nodes[high], &nodes[low]
	bytes := uint64(n.y) << (h.shift & 63)
	h.use.Allocated -= bytes
	h.use.Free += bytes
	h.use.UsedBlocks--
	freeBlocks := h.use.FreeBlocks + 1
	start, end := n.start, a.start
	if a.x&usedBit == 0 {
		// [id][high] -> [id........]
		up := a.high
		h.unlink(nodes, high, h.floorOf(nodes[up].start-end))
		a.high = h.spare
		h.spare = high
		a = &nodes[up]
		end = a.start
		freeBlocks--
		h.use.Steps++
		n.high = up
		a.low = id
		high = up
	}
	if b.x&usedBit == 0 {
		// [low][id] -> [low.......]
		h.unlink(nodes, low, h.floorOf(start-b.start))
		start = b.start
		n.x, n.high = 0, h.spare
		h.spare = id
		freeBlocks--
		h.use.Steps++
		b.high = high
		a.low = low
		id = low
	}
	h.use.FreeBlocks = freeBlocks
	h.push(nodes, id, h.floorOf(end-start))
}

// push puts a gap at the head of a bin.
func (h *heap) push(nodes []chunk, id, bin uint32) {
	h.filled[bin/64&3] |= 1 << (bin % 64)
	head, n := &nodes[bin], &nodes[id]
	x := head.x
	head.x = id
	n.x = x
	nodes[x].y = id
}

// unlink takes a gap off its bin.
func (h *heap) unlink(nodes []chunk, id, bin uint32) {
	n := &nodes[id]
	x, y := n.x, n.y
	if nodes[bin].x == id {
		y = bin
	}
	nodes[x].y = y
	nodes[y].x = x
	// Without a branch, which would go either way at random.
	var empty uint64
	if x == y { // both are the head
		empty = 1
	}
	h.filled[bin/64&3] &^= empty << (bin % 64)
}

func panicDead() { panic("talc: the Ref is not that of a live object") }

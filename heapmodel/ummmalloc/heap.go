package ummmalloc

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// heap is one heap. The granule of its table is umm_malloc's block, its blocks
// are umm_malloc's chunks.
type heap struct {
	t     blocks.Table
	free  *fit.Index // by number, or by size and then by number
	use   heapmodel.Usage
	head  blocks.ID // the lowest chunk
	key   uint32    // number of the chunk pushed last
	shift uint      // log2 of the bytes of a block
	best  bool
}

func (h *heap) bytes(count uint32) uint64 { return uint64(count) << (h.shift & 63) }

// count returns the blocks of the chunk for a request of at most MaxSize.
func (h *heap) count(size uint64) uint64 {
	return max(1, (size+header+1<<h.shift-1)>>h.shift)
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *heap) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	want := uint32(min(h.count(size), maxBlocks))
	u := &h.use
	p := h.free.FirstFit(want)
	switch {
	case h.best || p == fit.NoPos:
		u.Steps += u.FreeBlocks
	default:
		u.Steps += uint64(h.free.Rank(p)) + 1
	}
	if p == fit.NoPos {
		return heapmodel.NullRef, false
	}
	id, room := h.free.At(p)
	if rest := room - want; rest > 0 {
		// [id............] -> [id: want][up: rest]
		h.t.Spare()
		up, nodes := h.t.Pop(), h.t.Nodes
		n := &nodes[id]
		after := n.High
		n.High = up
		b := &nodes[up]
		b.Start, b.Low, b.High = n.Start+want, id, after
		above := &nodes[after]
		above.Low = up | above.Low&blocks.UsedBit
		h.free.Update(p, up, h.free.Key(p), rest)
	} else {
		h.free.Remove(p)
		u.FreeBlocks--
	}
	h.t.SetUsed(id)
	u.UsedBlocks++
	u.Allocated += h.bytes(want)
	u.Free -= h.bytes(want)
	h.mark(id)
	return heapmodel.Ref(id), true
}

// mark raises the high-water mark to the end of a used chunk.
func (h *heap) mark(id blocks.ID) {
	end := h.t.Nodes[h.t.Next(id)].Start
	h.use.HighWater = max(h.use.HighWater, h.bytes(end))
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("ummmalloc: free of object %d, which is not live", r))
	}
	u := &h.use
	size := h.bytes(h.t.Size(id))
	u.UsedBlocks--
	u.Allocated -= size
	u.Free += size
	h.t.SetFree(id)
	h.release(id)
}

// release puts a free chunk on the list that is not on it yet, and merges it.
func (h *heap) release(id blocks.ID) {
	u := &h.use
	nodes := h.t.Nodes
	n := &nodes[id]
	low, high := n.Low, n.High               // free: no UsedBit
	if nodes[high].Low&blocks.UsedBit == 0 { // an end node is used
		// [id][high] -> [id......]
		h.absorb(id, high)
		high = n.High
	}
	end := nodes[high].Start
	if low != blocks.None && nodes[low].Low&blocks.UsedBit == 0 {
		// [low][id] -> [low.....]
		p := h.free.Find(low)
		h.t.Merge(low)
		u.Steps++
		h.free.Update(p, low, h.free.Key(p), end-nodes[low].Start)
		return
	}
	h.put(id, end-n.Start)
	u.FreeBlocks++
}

// put pushes a free chunk at the front of the list.
func (h *heap) put(id blocks.ID, size uint32) {
	if h.key == 1 {
		// Once in two thousand million frees.
		h.key = firstKey
		h.free.Rekey(h.key)
	}
	h.key--
	h.free.Insert(id, h.key, size)
}

// absorb takes the free chunk above a chunk off the list and joins it to that.
func (h *heap) absorb(id, high blocks.ID) {
	h.free.Remove(h.free.Find(high))
	h.use.FreeBlocks--
	h.t.Merge(id)
	h.use.Steps++
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("ummmalloc: realloc of object %d, which is not live", r))
	}
	if size == 0 {
		h.Free(r)
		return heapmodel.NullRef, true
	}
	if size > heapmodel.MaxSize {
		return r, false
	}
	want := uint32(min(h.count(size), maxBlocks))
	at, ok := h.resize(id, want)
	if !ok {
		return heapmodel.Move(h, r, size, align)
	}
	return heapmodel.Ref(at), true
}

// resize makes a chunk want blocks long with the help of its neighbours, and
// returns what it is then. ok is false if that cannot be.
func (h *heap) resize(id blocks.ID, want uint32) (at blocks.ID, ok bool) {
	was := h.t.Size(id)
	low, high := h.t.Prev(id), h.t.Next(id)
	var below, above uint32 // blocks of the free neighbours
	if low != blocks.None && !h.t.Used(low) {
		below = h.t.Size(low)
	}
	if !h.t.Used(high) {
		above = h.t.Size(high)
	}
	takeLow, takeHigh := false, false
	switch {
	case was >= want:
	case was+above == want, below == 0 && was+above >= want:
		takeHigh = true
	case below+was >= want:
		takeLow = true
	case below+was+above >= want:
		takeLow, takeHigh = true, true
	default:
		return id, false
	}
	if takeHigh {
		h.absorb(id, high)
	}
	if takeLow {
		// [low][id] -> [low.....]
		h.free.Remove(h.free.Find(low))
		h.use.FreeBlocks--
		h.t.Merge(low)
		h.use.Steps++
		h.t.SetUsed(low)
		id = low
	}
	if h.t.Size(id) > want {
		h.release(h.t.Split(id, want))
	}
	// Free bytes may go up or down: the differences wrap around, the sums do not.
	more := h.bytes(want) - h.bytes(was)
	h.use.Allocated += more
	h.use.Free -= more
	h.mark(id)
	return id, true
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.bytes(h.t.Nodes[r].Start) + header)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return align }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, _ uint32) uint64 {
	if size == 0 {
		return 0
	}
	return h.count(size) << h.shift
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return h.bytes(h.free.Largest()) }

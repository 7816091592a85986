package ummmalloc

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// bestFit is a best-fit heap. The granule of its table is umm_malloc's block,
// its blocks are umm_malloc's chunks. The order of the list is a number for each
// chunk on it, falling from push to push.
type bestFit struct {
	base
	t    blocks.SlimTable
	free *fit.SlimIndex // by size and then by number
	head blocks.ID      // the lowest chunk
	key  uint32         // number of the chunk pushed last
}

// firstKey is the number of the first chunk on the list.
const firstKey = 1 << 31

func newBestFit(b base, count uint32) *bestFit {
	h := &bestFit{base: b, key: firstKey}
	h.free = fit.New(&h.t, fit.BySize)
	h.head = h.t.Region(1, count-1)
	h.put(h.head, h.t.Size(h.head))
	return h
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *bestFit) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	want := h.want(size)
	u := &h.use
	u.Steps += u.FreeBlocks
	p := h.free.FirstFit(want)
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
	h.mark(h.end(id))
	return heapmodel.Ref(id), true
}

// end returns the block behind a chunk.
func (h *bestFit) end(id blocks.ID) uint32 { return h.t.Nodes[h.t.Next(id)].Start }

// Free implements heapmodel.Heap.
func (h *bestFit) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	if !h.live(r) {
		notLive(r)
	}
	id := blocks.ID(r)
	u := &h.use
	size := h.bytes(h.t.Size(id))
	u.UsedBlocks--
	u.Allocated -= size
	u.Free += size
	h.t.SetFree(id)
	h.release(id)
}

func (h *bestFit) live(r heapmodel.Ref) bool { return h.t.Live(blocks.ID(r)) }

// release puts a free chunk on the list that is not on it yet, and merges it.
func (h *bestFit) release(id blocks.ID) {
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
func (h *bestFit) put(id blocks.ID, size uint32) {
	if h.key == 1 {
		// Once in two thousand million frees.
		h.key = firstKey
		h.free.Rekey(h.key)
	}
	h.key--
	h.free.Insert(id, h.key, size)
}

// absorb takes the free chunk above a chunk off the list and joins it to that.
func (h *bestFit) absorb(id, high blocks.ID) {
	h.free.Remove(h.free.Find(high))
	h.use.FreeBlocks--
	h.t.Merge(id)
	h.use.Steps++
}

// Realloc implements heapmodel.Heap.
func (h *bestFit) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	return realloc(h, r, size)
}

func (h *bestFit) resize(id blocks.ID, want uint32) (at blocks.ID, ok bool) {
	was := h.t.Size(id)
	low, high := h.t.Prev(id), h.t.Next(id)
	var below, above uint32 // blocks of the free neighbours
	if low != blocks.None && !h.t.Used(low) {
		below = h.t.Size(low)
	}
	if !h.t.Used(high) {
		above = h.t.Size(high)
	}
	takeLow, takeHigh, ok := joins(was, below, above, want)
	if !ok {
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
	h.mark(h.end(id))
	return id, true
}

// Addr implements heapmodel.Heap.
func (h *bestFit) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.bytes(h.t.Nodes[r].Start) + header)
}

// LargestFree implements heapmodel.Heap. O(1).
func (h *bestFit) LargestFree() uint64 { return h.bytes(h.free.Largest()) }

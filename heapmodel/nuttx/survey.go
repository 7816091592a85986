package nuttx

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(uint64(h.t.Nodes[r].Start)<<unitLog2 + toData)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return unit }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 {
	if align > unit {
		size = alignedSize(size, max(uint64(align), leastNode))
	}
	return nodeSize(size)
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return uint64(h.free.largest()) << unitLog2 }

// Native implements heapmodel.Native with the figures of mallinfo. The free
// bytes are the arena without the bytes that upstream counts as used, so they
// drift up with every realloc that it miscounts, and may exceed the arena.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "free_bytes", Value: h.arena - uint64(h.used)},
		{Key: "min_ever_free_bytes", Value: h.arena - uint64(h.maxUsed)},
		{Key: "arena_bytes", Value: h.arena},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

// Blocks implements heapmodel.Heap. A block begins with the size word of its
// node and ends with that of the next: the word in front of it is data of the
// node below.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			b := heapmodel.Block{
				Addr: heapmodel.Addr(h.t.Nodes[id].Start)<<unitLog2 + word, Size: uint64(h.t.Size(id)) << unitLog2,
				Wall: id == h.first, Ref: heapmodel.NullRef,
			}
			b.Payload = b.Addr
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload = h.Addr(b.Ref)
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	var sum heapmodel.Usage
	free, prev := false, blocks.None
	for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		n := h.t.Nodes[id]
		if top := h.t.Nodes[n.High].Start; top < n.Start+leastUnits || h.t.Prev(id) != prev {
			return fmt.Errorf("node at unit %d ends at unit %d, the one below is record %d, want %d", n.Start, top, h.t.Prev(id), prev)
		}
		switch bytes := uint64(h.t.Size(id)) << unitLog2; {
		case h.t.Used(id):
			sum.UsedBlocks++
			sum.Allocated += bytes
		case free:
			return fmt.Errorf("node at unit %d and the one below are free", n.Start)
		default:
			sum.FreeBlocks++
			sum.Free += bytes
		}
		free, prev = !h.t.Used(id), id
		if sum.UsedBlocks+sum.FreeBlocks > uint64(len(h.t.Nodes)) {
			return fmt.Errorf("the chain of nodes does not end")
		}
	}
	u := h.use
	switch {
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used nodes of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case h.t.Len() != int(u.UsedBlocks+u.FreeBlocks)+1:
		return fmt.Errorf("%d records in use, want %d", h.t.Len(), u.UsedBlocks+u.FreeBlocks+1)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	case h.used > h.maxUsed || h.used > int64(u.Allocated)+2*guard:
		return fmt.Errorf("%d bytes count as used, at most %d ever did, and %d are", h.used, h.maxUsed, u.Allocated)
	}
	return h.free.check(u.FreeBlocks)
}

package picolibc

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Native implements heapmodel.Native with the break and what mallinfo reports of
// free memory: the chunks and bytes of the list, and those of the buckets.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "break", Value: h.use.Arena},
		{Key: "free_bytes", Value: h.use.Free - h.smallBytes},
		{Key: "free_blocks", Value: h.use.FreeBlocks - h.small},
		{Key: "bucket_bytes", Value: h.smallBytes},
		{Key: "bucket_blocks", Value: h.small},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.head; id != h.end; id = h.t.Next(id) {
			start := heapmodel.Addr(h.addr(h.t.Nodes[id].Start))
			b := heapmodel.Block{
				Addr: start, Size: h.bytes(h.t.Size(id)), Payload: start,
				Wall: id == h.head, Ref: heapmodel.NullRef,
			}
			if h.live(heapmodel.Ref(id)) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += heapmodel.Addr(h.lead)
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	if err := h.free.Check(); err != nil {
		return err
	}
	var sum heapmodel.Usage
	free := false
	p := h.free.First()
	for id := h.head; id != h.end; id = h.t.Next(id) {
		n, size := &h.t.Nodes[id], h.t.Size(id)
		onList := !h.t.Used(id)
		switch {
		case size == 0:
			return fmt.Errorf("chunk at %d has no bytes", h.addr(n.Start))
		case h.live(heapmodel.Ref(id)):
			sum.UsedBlocks++
			sum.Allocated += h.bytes(size)
		case onList && free:
			return fmt.Errorf("chunk at %d and the one below are free", h.addr(n.Start))
		case onList && (p == fit.NoPos || h.free.Find(id) != p):
			return fmt.Errorf("free chunk at %d is not in its place of the list", h.addr(n.Start))
		default:
			sum.FreeBlocks++
			sum.Free += h.bytes(size)
		}
		if free = onList; onList {
			if _, in := h.free.At(p); in != size {
				return fmt.Errorf("free chunk at %d has %d granules, the list says %d", h.addr(n.Start), size, in)
			}
			p = h.free.Next(p)
		}
	}
	u := h.use
	switch {
	case p != fit.NoPos:
		return errors.New("the list has a chunk that is not free")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used chunks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead || u.Arena > h.limit:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return h.checkBuckets()
}

// checkBuckets walks the buckets.
func (h *heap) checkBuckets() error {
	var count, bytes uint64
	for bucket, id := range h.buckets {
		for ; id != blocks.None; id = h.t.Nodes[id].X &^ inBucket {
			size := h.t.Size(id)
			if count++; count > h.small || h.t.Nodes[id].X&inBucket == 0 || h.bucketOf(size) != bucket {
				return fmt.Errorf("chunk at %d is in bucket %d", h.addr(h.t.Nodes[id].Start), bucket)
			}
			bytes += h.bytes(size)
		}
	}
	if listed := h.use.FreeBlocks - uint64(h.free.Len()); count != h.small || bytes != h.smallBytes || count != listed {
		return fmt.Errorf("buckets have %d chunks of %d bytes, counters say %d of %d, %d are not on the list", count, bytes, h.small, h.smallBytes, listed)
	}
	return nil
}

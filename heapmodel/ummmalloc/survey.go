package ummmalloc

import (
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Native implements heapmodel.Native with what umm_info reports, the list head
// and the end marker left out. The usage metric, used blocks in percent of free
// ones, is left out when no block is free.
func (h *heap) Native() []heapmodel.Stat {
	u := &h.use
	used, free := u.Allocated>>h.shift, u.Free>>h.shift
	var squares uint64
	for p := h.free.First(); p != fit.NoPos; p = h.free.Next(p) {
		_, count := h.free.At(p)
		squares += uint64(count) * uint64(count)
	}
	stats := []heapmodel.Stat{
		{Key: "free_bytes", Value: u.Free},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
		{Key: "total_entries", Value: u.UsedBlocks + u.FreeBlocks},
		{Key: "used_entries", Value: u.UsedBlocks},
		{Key: "free_entries", Value: u.FreeBlocks},
		{Key: "total_blocks", Value: used + free},
		{Key: "used_blocks", Value: used},
		{Key: "free_blocks", Value: free},
		{Key: "free_blocks_squared", Value: squares},
	}
	var fragmentation uint64
	if free > 0 {
		stats = append(stats, heapmodel.Stat{Key: "usage_metric", Value: used * 100 / free})
		// Squares are below 2^30: the root is exact.
		fragmentation = 100 - uint64(math.Sqrt(float64(squares)))*100/free
	}
	return append(stats, heapmodel.Stat{Key: "fragmentation_metric", Value: fragmentation})
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.head; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			start := heapmodel.Addr(h.bytes(h.t.Nodes[id].Start))
			b := heapmodel.Block{
				Addr: start, Size: h.bytes(h.t.Size(id)), Payload: start,
				Wall: id == h.head, Ref: heapmodel.NullRef,
			}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += header
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
	for id := h.head; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		start, size := h.bytes(h.t.Nodes[id].Start), h.t.Size(id)
		switch {
		case size == 0:
			return fmt.Errorf("chunk at %d has no blocks", start)
		case h.t.Used(id):
			sum.UsedBlocks++
			sum.Allocated += h.bytes(size)
			free = false
			continue
		case free:
			return fmt.Errorf("chunk at %d and the one below are free", start)
		}
		free = true
		sum.FreeBlocks++
		sum.Free += h.bytes(size)
		p := h.free.Find(id)
		if p == fit.NoPos {
			return fmt.Errorf("free chunk at %d is not on the list", start)
		}
		if got, in := h.free.At(p); got != id || in != size || h.free.Key(p) < h.key {
			return fmt.Errorf("free chunk at %d is not in its place of the list", start)
		}
	}
	u := h.use
	switch {
	case uint64(h.free.Len()) != sum.FreeBlocks:
		return errors.New("the list has a chunk that is not free")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used chunks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}

package zephyr

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	n := &h.t.Nodes[r]
	return heapmodel.Addr(uint64(n.Start)<<unitLog2 + uint64(h.header) + uint64(n.X))
}

// Align implements heapmodel.Heap: 4 in small heaps, 8 in big ones.
func (h *heap) Align() uint32 { return h.header }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 {
	if size == 0 {
		return 0
	}
	return (size + uint64(max(align, h.header)) + unit - 1) &^ (unit - 1)
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(chunks in the highest bucket that
// has any).
func (h *heap) LargestFree() uint64 {
	if h.filled == 0 {
		// What is left, if anything, are chunks too small for a ring.
		return min(h.use.Free, unit)
	}
	from := h.cursor[bits.Len32(h.filled)-1]
	largest := h.t.Size(from)
	for id := h.t.Nodes[from].X; id != from; id = h.t.Nodes[id].X {
		largest = max(largest, h.t.Size(id))
	}
	return uint64(largest) << unitLog2
}

// Native implements heapmodel.Native. free_bytes is the sum of free chunks that
// a walk over the heap finds, headers included. With stats, the figures of
// sys_heap_runtime_stats_get follow.
func (h *heap) Native() []heapmodel.Stat {
	stats := []heapmodel.Stat{
		{Key: "free_bytes", Value: h.use.Free},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
	if h.stats {
		stats = append(stats,
			heapmodel.Stat{Key: "allocated_bytes", Value: h.use.Allocated},
			heapmodel.Stat{Key: "max_allocated_bytes", Value: h.maxUsed})
	}
	return stats
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			start := heapmodel.Addr(h.t.Nodes[id].Start) << unitLog2
			b := heapmodel.Block{
				Addr: start, Size: uint64(h.t.Size(id)) << unitLog2, Payload: start,
				Wall: id == h.first, Ref: heapmodel.NullRef,
			}
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
	count, listed, err := h.checkChunks()
	if err != nil {
		return err
	}
	if records := int(count.UsedBlocks+count.FreeBlocks) + 1; h.t.Len() != records {
		return fmt.Errorf("%d records in use, want %d", h.t.Len(), records)
	}
	u := h.use
	switch {
	case count.UsedBlocks != u.UsedBlocks || count.FreeBlocks != u.FreeBlocks || count.Allocated != u.Allocated || count.Free != u.Free:
		return fmt.Errorf("counters say %d used chunks of %d bytes and %d free of %d, a walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, count.UsedBlocks, count.Allocated, count.FreeBlocks, count.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	case count.HighWater > u.HighWater || u.HighWater > uint64(h.end)<<unitLog2:
		return fmt.Errorf("high-water mark is %d, the highest used chunk ends at %d, the heap at %d", u.HighWater, count.HighWater, uint64(h.end)<<unitLog2)
	case h.maxUsed < u.Allocated:
		return fmt.Errorf("most bytes ever allocated are %d, below the %d now", h.maxUsed, u.Allocated)
	}
	return h.checkRings(listed)
}

// checkChunks walks the chunks and counts what it finds: listed are those that
// have to be in rings.
func (h *heap) checkChunks() (count heapmodel.Usage, listed int, err error) {
	prev, lastFree := blocks.None, false
	limit := len(h.t.Nodes)
	id := h.first
	for ; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		n := &h.t.Nodes[id]
		if limit--; limit < 0 {
			return count, 0, errors.New("the chain of chunks does not end")
		}
		if h.t.Prev(id) != prev || h.t.Nodes[n.High].Start <= n.Start {
			return count, 0, fmt.Errorf("chunk at unit %d is not linked between its neighbours", n.Start)
		}
		length := h.t.Size(id)
		bytes := uint64(length) << unitLog2
		used := h.t.Used(id)
		switch {
		case used && length < h.least || used && n.X != 0 && (n.X != 4 || h.header != 4):
			return count, 0, fmt.Errorf("used chunk at unit %d has %d units and a gap of %d bytes", n.Start, length, n.X)
		case used:
			count.UsedBlocks++
			count.Allocated += bytes
			count.HighWater = uint64(n.Start)<<unitLog2 + bytes
		case lastFree:
			return count, 0, fmt.Errorf("chunk at unit %d and the one below are free", n.Start)
		default:
			count.FreeBlocks++
			count.Free += bytes
			if length >= h.least {
				listed++
			}
		}
		prev, lastFree = id, !used
	}
	if n := &h.t.Nodes[id]; !h.t.Used(id) || h.t.Prev(id) != prev || n.Start != h.end {
		return count, 0, fmt.Errorf("the end marker is at unit %d, want %d, or not linked", n.Start, h.end)
	}
	return count, listed, nil
}

// checkRings walks the rings, which have so many chunks.
func (h *heap) checkRings(listed int) error {
	for bucket := range uint32(32) {
		if h.filled>>bucket&1 == 0 {
			continue
		}
		for id, from := h.cursor[bucket], h.cursor[bucket]; ; {
			n := &h.t.Nodes[id]
			if listed--; listed < 0 {
				return errors.New("more chunks are in rings than are free")
			}
			if h.t.Used(id) || h.t.Size(id) < h.least || h.bucketOf(h.t.Size(id)) != bucket || h.t.Nodes[n.X].Y != id {
				return fmt.Errorf("bucket %d: chunk at unit %d does not belong there or its links disagree", bucket, n.Start)
			}
			if id = n.X; id == from {
				break
			}
		}
	}
	if listed != 0 {
		return fmt.Errorf("%d free chunks are in no ring", listed)
	}
	return nil
}

package twoended

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			start := heapmodel.Addr(h.At(h.t.Nodes[id].Start))
			b := heapmodel.Block{Addr: start, Size: h.Bytes(h.t.Size(id)), Payload: start, Wall: id == h.first, Ref: heapmodel.NullRef}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += heapmodel.Addr(h.Header)
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
	end, free, met := uint32(0), false, h.middle == blocks.None
	for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		start, size := h.t.Nodes[id].Start, h.t.Size(id)
		if start != end || h.Bytes(size) < h.Least {
			return fmt.Errorf("block at %d has %d bytes; the one below ends at %d", h.At(start), h.Bytes(size), h.At(end))
		}
		end = start + size
		if h.t.Used(id) {
			sum.UsedBlocks++
			sum.Allocated += h.Bytes(size)
			free = false
			continue
		}
		if free {
			return fmt.Errorf("block at %d and the one below are free", h.At(start))
		}
		free = true
		met = met || id == h.middle && size >= h.gap
		sum.FreeBlocks++
		sum.Free += h.Bytes(size)
		if got, in := h.free.At(h.free.Find(id)); got != id || in != size {
			return fmt.Errorf("free block at %d is not in its place of the list", h.At(start))
		}
	}
	u := h.use
	switch {
	case end != h.end:
		return fmt.Errorf("blocks end at %d of %d", h.At(end), h.At(h.end))
	case !met || h.middle == blocks.None && h.gap > 0:
		return fmt.Errorf("the block between the ends is not one of at least %d bytes", h.Bytes(h.gap))
	case uint64(h.free.Len()) != sum.FreeBlocks:
		return errors.New("the list has blocks that are not free")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes: %d allocated, %d free, %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}

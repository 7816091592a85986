package compacting

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		if h.end == blocks.None {
			return
		}
		for id := h.head; id != h.end; id = h.t.Next(id) {
			start := heapmodel.Addr(h.pad + h.bytes(uint64(h.t.Nodes[id].Start)))
			b := heapmodel.Block{Addr: start, Size: h.bytes(uint64(h.t.Size(id))), Payload: start, Wall: id == h.head, Ref: heapmodel.NullRef}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += heapmodel.Addr(h.header)
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
	for b := range h.Blocks() {
		switch {
		case b.Size == 0:
			return fmt.Errorf("block at %d is empty", b.Addr)
		case b.Used:
			sum.UsedBlocks++
			sum.Allocated += b.Size
		case free:
			return fmt.Errorf("block at %d and the one below are free", b.Addr)
		default:
			sum.FreeBlocks++
			sum.Free += b.Size
		}
		free = !b.Used
	}
	u := h.use
	switch {
	case uint64(h.free.Len()) != sum.FreeBlocks:
		return fmt.Errorf("%d blocks are indexed as free, the walk finds %d", h.free.Len(), sum.FreeBlocks)
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	case h.c > 0 && h.moved > h.served/h.c:
		return fmt.Errorf("%d bytes were moved, of %d allocated", h.moved, h.served)
	}
	return nil
}

package lowfit

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/walk"
)

// Blocks implements heapmodel.Heap.
func (h *Heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for p := h.List.First(); p != walk.NoPos; p = h.List.Next(p) {
			start, size, id := h.List.At(p)
			b := heapmodel.Block{
				Addr: heapmodel.Addr(h.rules.Base + uint64(start)<<h.shift), Size: uint64(size) << h.shift,
				Wall: start == 0, Ref: heapmodel.NullRef,
			}
			b.Payload = b.Addr
			if id != walk.None {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += heapmodel.Addr(h.rules.Header)
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *Heap) Check() error {
	if err := h.List.Check(); err != nil {
		return err
	}
	var sum heapmodel.Usage
	free, lowest := false, h.rules.Base+h.rules.End
	for b := range h.Blocks() {
		switch {
		case b.Size < h.rules.Header:
			return fmt.Errorf("block at %d has %d bytes, less than its header", b.Addr, b.Size)
		case b.Used:
			sum.UsedBlocks++
			sum.Allocated += b.Size
		case free:
			return fmt.Errorf("block at %d and the one below are free", b.Addr)
		default:
			sum.FreeBlocks++
			sum.Free += b.Size
			lowest = min(lowest, uint64(b.Addr))
		}
		free = !b.Used
	}
	u := h.Use
	switch noted := h.rules.Base + uint64(h.lowest)<<h.shift; {
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	case lowest != noted:
		return fmt.Errorf("the lowest free block is at %d, noted %d", lowest, noted)
	case h.Peak < u.Allocated:
		return fmt.Errorf("%d bytes are allocated, at most %d ever were", u.Allocated, h.Peak)
	}
	return nil
}

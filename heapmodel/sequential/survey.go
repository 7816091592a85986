package sequential

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
		for _, id := range h.heads {
			for wall := true; h.t.Next(id) != blocks.None; id, wall = h.t.Next(id), false {
				start := heapmodel.Addr(h.addr(h.t.Nodes[id].Start))
				b := heapmodel.Block{Addr: start, Size: h.bytes(h.t.Size(id)), Payload: start, Wall: wall, Ref: heapmodel.NullRef}
				if h.t.Used(id) {
					b.Used, b.Ref = true, heapmodel.Ref(id)
					b.Payload += heapmodel.Addr(h.front)
				}
				if !yield(b) {
					return
				}
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
	for _, head := range h.heads {
		free = false
		for id := head; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			size := h.t.Size(id)
			if size == 0 || h.bytes(size) < h.least {
				return fmt.Errorf("block at %d has %d bytes", h.addr(h.t.Nodes[id].Start), h.bytes(size))
			}
			if h.t.Used(id) {
				sum.UsedBlocks++
				sum.Allocated += h.bytes(size)
				free = false
				continue
			}
			if free && h.coalesce == immediate {
				return fmt.Errorf("block at %d and the one below are free", h.addr(h.t.Nodes[id].Start))
			}
			free = true
			sum.FreeBlocks++
			sum.Free += h.bytes(size)
			if got, in := h.free.At(h.free.Find(id)); got != id || in != size {
				return fmt.Errorf("free block at %d is not in its place of the list", h.addr(h.t.Nodes[id].Start))
			}
		}
	}
	u := h.use
	switch {
	case uint64(h.free.Len()) != sum.FreeBlocks:
		return errors.New("the list has blocks that are not free")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead || u.Arena != h.brk:
		return fmt.Errorf("arena of %d bytes, break at %d: %d allocated, %d free, %d overhead", u.Arena, h.brk, u.Allocated, u.Free, u.Overhead)
	case h.fit == nextFit && h.rover != blocks.None && h.t.Used(h.rover):
		return errors.New("the rover is not at a block of the list")
	}
	return nil
}

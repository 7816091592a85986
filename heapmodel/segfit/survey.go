package segfit

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		if h.end == blocks.None {
			return
		}
		for id := h.first; id != h.end; id = h.t.Next(id) {
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
	sum, err := h.checkBlocks()
	if err != nil {
		return err
	}
	listed := uint64(0)
	for class, x := range h.lists {
		if x == nil {
			continue
		}
		if err := x.Check(); err != nil {
			return fmt.Errorf("class %d: %w", class, err)
		}
		if h.has(class) != (x.Len() > 0) {
			return fmt.Errorf("class %d has %d blocks, its bit is %v", class, x.Len(), h.has(class))
		}
		listed += uint64(x.Len())
	}
	if listed != sum.FreeBlocks {
		return errors.New("the lists have blocks that are not free")
	}
	return arena.Counted(&h.use, &sum, h.brk)
}

// checkBlocks walks the blocks and adds them up.
func (h *heap) checkBlocks() (sum heapmodel.Usage, err error) {
	if h.end == blocks.None {
		return sum, nil
	}
	free := false
	at, low := uint32(0), blocks.None
	for id := h.first; id != h.end; id = h.t.Next(id) {
		start, size := h.t.Nodes[id].Start, h.t.Size(id)
		switch {
		case start != at || h.t.Prev(id) != low:
			return sum, fmt.Errorf("block at granule %d follows one that ends at %d", start, at)
		case size == 0 || size > h.Top(h.brk) || h.Bytes(size) < h.Least:
			return sum, fmt.Errorf("block at %d has %d bytes", h.At(start), h.Bytes(size))
		}
		at, low = start+size, id
		if h.t.Used(id) {
			sum.UsedBlocks++
			sum.Allocated += h.Bytes(size)
			free = false
			continue
		}
		if free {
			return sum, fmt.Errorf("block at %d and the one below are free", h.At(start))
		}
		free = true
		sum.FreeBlocks++
		sum.Free += h.Bytes(size)
		x := h.lists[h.classOf(size)]
		if x == nil || x.Len() == 0 {
			return sum, fmt.Errorf("free block at %d is on no list", h.At(start))
		}
		if got, in := x.At(x.Find(id)); got != id || in != size {
			return sum, fmt.Errorf("free block at %d is not in its place of the list", h.At(start))
		}
	}
	if at != h.Top(h.brk) {
		return sum, fmt.Errorf("blocks end at granule %d, the arena at %d", at, h.Top(h.brk))
	}
	return sum, nil
}

package newlibnano

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Native implements heapmodel.Native with what mallinfo reports: the arena,
// which ends at the break, and the bytes of free and of used chunks, headers
// included.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "break", Value: h.use.Arena},
		{Key: "free_bytes", Value: h.use.Free},
		{Key: "allocated_bytes", Value: h.use.Arena - h.use.Free},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.head; id != h.end; id = h.t.Next(id) {
			n := &h.t.Nodes[id]
			start := heapmodel.Addr(h.bytes(n.Start))
			b := heapmodel.Block{
				Addr: start, Size: h.bytes(h.t.Size(id)), Payload: start,
				Wall: id == h.head, Ref: heapmodel.NullRef,
			}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += heapmodel.Addr(h.bytes(n.X))
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
	p := h.free.First()
	free, end := false, heapmodel.Addr(0)
	least := h.bytes(2) // what memalign leaves may lack the padding
	for b := range h.Blocks() {
		switch {
		case b.Addr != end || b.Size < least:
			return fmt.Errorf("chunk of %d bytes at %d follows one that ends at %d", b.Size, b.Addr, end)
		case b.Used && (b.Payload%align != 0 || uint64(b.Payload-b.Addr) >= b.Size):
			return fmt.Errorf("chunk of %d bytes at %d has its payload at %d", b.Size, b.Addr, b.Payload)
		case b.Used:
			sum.UsedBlocks++
			sum.Allocated += b.Size
		case free:
			return fmt.Errorf("chunk at %d and the one below are free", b.Addr)
		case p == fit.NoPos:
			return fmt.Errorf("free chunk at %d is not on the list", b.Addr)
		default:
			id, size := h.free.At(p)
			if heapmodel.Addr(h.bytes(h.t.Nodes[id].Start)) != b.Addr || h.bytes(size) != b.Size {
				return fmt.Errorf("free chunk at %d is not in its place of the list", b.Addr)
			}
			p = h.free.Next(p)
			sum.FreeBlocks++
			sum.Free += b.Size
		}
		free, end = !b.Used, b.Addr+heapmodel.Addr(b.Size)
	}
	u := h.use
	switch {
	case p != fit.NoPos:
		return errors.New("the list has a chunk that is not free")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used chunks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != uint64(end) || u.Arena > h.limit || u.Arena != u.Allocated+u.Free:
		return fmt.Errorf("arena of %d bytes, %d allocated and %d free, ends at %d", u.Arena, u.Allocated, u.Free, end)
	case (h.head == blocks.None) != (u.Arena == 0):
		return fmt.Errorf("arena of %d bytes begins with record %d", u.Arena, h.head)
	}
	return nil
}

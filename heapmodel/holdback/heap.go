package holdback

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/several"
)

// heap is a heap, as the one part of several, and the block held back from it.
type heap struct {
	*several.Heaps
	use    heapmodel.Usage  // that of the heap, with the held block free
	held   heapmodel.Ref    // NullRef if nothing is held
	block  heapmodel.Block  // the held one
	hinted heapmodel.Hinted // the heap, if it looks at hints
	hint   heapmodel.Hint   // the latest

	requests uint64 // so far
	released uint64 // number of the request that released the block; 0: none
	rescued  uint64 // requests that were served by the release
}

// settle brings the counters up to date.
func (h *heap) settle() {
	h.use = h.Heaps.Use
	if h.held != heapmodel.NullRef {
		h.use.Allocated -= h.block.Size
		h.use.Free += h.block.Size
		h.use.UsedBlocks--
		h.use.FreeBlocks++
	}
}

// release frees the held block after a failed request, and reports whether
// there was one.
func (h *heap) release() bool {
	if h.held == heapmodel.NullRef {
		return false
	}
	h.Heaps.Free(h.held)
	h.held = heapmodel.NullRef
	h.released = h.requests
	if h.hinted != nil {
		// The second attempt is for the same object as the first.
		h.hinted.Hint(h.hint)
	}
	return true
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	h.requests++
	r, ok := h.Heaps.Alloc(0, size, align)
	if !ok && h.release() {
		if r, ok = h.Heaps.Alloc(0, size, align); ok {
			h.rescued++
		}
	}
	h.settle()
	return r, ok
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	h.live(r)
	h.requests++
	s, ok := h.Heaps.Realloc(0, r, size, align)
	if !ok && h.release() {
		if s, ok = h.Heaps.Realloc(0, r, size, align); ok {
			h.rescued++
		}
	}
	h.settle()
	return s, ok
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	h.live(r)
	h.Heaps.Free(r)
	h.settle()
}

// live panics if the Ref is that of the held block, which no caller was given.
func (h *heap) live(r heapmodel.Ref) {
	if r == h.held && r != heapmodel.NullRef {
		panic("holdback: the Ref is that of the block held back")
	}
}

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 { return h.Heaps.Need(0, size, align) }

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap.
func (h *heap) LargestFree() uint64 {
	largest := h.Heaps.LargestFree()
	if h.held != heapmodel.NullRef {
		largest = max(largest, h.block.Size)
	}
	return largest
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	if h.held == heapmodel.NullRef {
		return h.Heaps.Blocks()
	}
	return func(yield func(heapmodel.Block) bool) {
		for b := range h.Heaps.Blocks() {
			if b.Used && b.Ref == h.held {
				b.Used, b.Ref, b.Payload = false, heapmodel.NullRef, b.Addr
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	if err := h.Heaps.Check(); err != nil {
		return err
	}
	want := h.Heaps.Use
	if h.held != heapmodel.NullRef {
		b := blockOf(h.Heap(0), h.held)
		if b.Addr != h.block.Addr || b.Size != h.block.Size || b.Size == 0 {
			return fmt.Errorf("the held block is at %d with %d bytes, it was at %d with %d", b.Addr, b.Size, h.block.Addr, h.block.Size)
		}
		want.Allocated -= b.Size
		want.Free += b.Size
		want.UsedBlocks--
		want.FreeBlocks++
	}
	if want != h.use {
		return fmt.Errorf("counters %+v, want %+v", h.use, want)
	}
	return nil
}

// Hints implements heapmodel.Hinted: the heap inside may want some.
func (h *heap) Hints() heapmodel.HintKinds {
	if h.hinted == nil {
		return 0
	}
	return h.hinted.Hints()
}

// Bind implements heapmodel.Hinted.
func (h *heap) Bind(sites []string) error {
	if h.hinted == nil {
		return nil
	}
	return h.hinted.Bind(sites)
}

// Hint implements heapmodel.Hinted.
func (h *heap) Hint(hint heapmodel.Hint) {
	if h.hinted != nil {
		h.hint = hint
		h.hinted.Hint(hint)
	}
}

// Native implements heapmodel.Native.
func (h *heap) Native() []heapmodel.Stat {
	var stats []heapmodel.Stat
	if n, ok := h.Heap(0).(heapmodel.Native); ok {
		stats = n.Native()
	}
	held := uint64(0)
	if h.held != heapmodel.NullRef {
		held = h.block.Size
	}
	return append(stats,
		heapmodel.Stat{Key: "held_bytes", Value: held},
		heapmodel.Stat{Key: "released_by_request", Value: h.released},
		heapmodel.Stat{Key: "requests_rescued", Value: h.rescued})
}

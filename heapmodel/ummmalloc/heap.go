package ummmalloc

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
)

// base is what heaps of both fits have in common.
type base struct {
	use   heapmodel.Usage
	body  uint64 // bytes of a block
	shift uint   // log2 of body
}

func (b *base) bytes(count uint32) uint64 { return uint64(count) << (b.shift & 63) }

// count returns the blocks of the chunk for a request of at most MaxSize bytes,
// not zero.
func (b *base) count(size uint64) uint64 { return (size + header + b.body - 1) >> (b.shift & 63) }

// want is count, but no more than fifteen bits: no arena has a chunk of so many
// blocks.
func (b *base) want(size uint64) uint32 { return uint32(min(b.count(size), maxBlocks)) }

// mark raises the high-water mark to the end of a used chunk.
func (b *base) mark(end uint32) { b.use.HighWater = max(b.use.HighWater, b.bytes(end)) }

// Align implements heapmodel.Heap.
func (b *base) Align() uint32 { return align }

// Need implements heapmodel.Heap.
func (b *base) Need(size uint64, _ uint32) uint64 {
	if size == 0 {
		return 0
	}
	return b.count(size) << b.shift
}

// Usage implements heapmodel.Heap.
func (b *base) Usage() *heapmodel.Usage { return &b.use }

// resizer is a heap of either fit.
type resizer interface {
	heapmodel.Heap
	live(r heapmodel.Ref) bool
	want(size uint64) uint32
	// resize makes a used chunk want blocks long with the help of its
	// neighbours, and returns what it is then. ok is false if that cannot be.
	resize(id, want uint32) (at uint32, ok bool)
}

// realloc is Realloc of either fit.
func realloc(h resizer, r heapmodel.Ref, size uint64) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	if !h.live(r) {
		panic(fmt.Sprintf("ummmalloc: realloc of object %d, which is not live", r))
	}
	if size == 0 {
		h.Free(r)
		return heapmodel.NullRef, true
	}
	if size > heapmodel.MaxSize {
		return r, false
	}
	at, ok := h.resize(uint32(r), h.want(size))
	if !ok {
		return heapmodel.Move(h, r, size, 0)
	}
	return heapmodel.Ref(at), true
}

// joins says which neighbours a chunk of was blocks takes in to become want
// blocks long, if those beside it have so many free blocks. ok is false if it
// has to move.
func joins(was, below, above, want uint32) (low, high, ok bool) {
	switch {
	case was >= want:
		return false, false, true
	case was+above == want, below == 0 && was+above >= want:
		return false, true, true
	case below+was >= want:
		return true, false, true
	case below+was+above >= want:
		return true, true, true
	}
	return false, false, false
}

func notLive(r heapmodel.Ref) {
	panic(fmt.Sprintf("ummmalloc: free of object %d, which is not live", r))
}

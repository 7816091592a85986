package freertos

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
)

// Heap1 is the model of heap_1.
var Heap1 = &heapmodel.Model{
	Name:   "freertos-heap1",
	Family: "embedded",
	Title:  "FreeRTOS heap_1: objects one after the other, never freed",
	Doc: "Requests are rounded up to 8 bytes and served one after the other, without headers. A request that would " +
		"end 8 bytes before the end of the array, or beyond, fails; a later smaller one may still succeed. So the last 16 " +
		"bytes of an array that is a multiple of 8 are never used; up to version 10.4.5 they are the first 8 and the " +
		"last 8. The pointer width changes nothing but the largest capacity. malloc(0) gives a null pointer. A step would be a " +
		"block visited: there are none. " +
		"Differs from upstream: free, where heap_1 stops with an assertion, does nothing; the object's bytes stay " +
		"allocated, in a block that no object has.",
	Source: source + ", heap_1.c",
	Params: []heapmodel.Param{paramCapacity, paramPtr, paramVersion},
	New:    newHeap1,
}

// bump is heap_1. Addresses are in granules of 8 bytes. A Ref is an index into
// starts.
//
//	base      starts[1]  starts[2]     next       end
//	[object 0][object 1.][object 2....][free .....] 8 to 15 bytes and the 8 lost
type bump struct {
	starts []uint32 // of all objects ever placed
	live   []uint64 // bitmap by Ref
	base   uint32
	next   uint32
	end    uint32 // of what can be used
	limit  uint64 // bytes that the original counts as free at the start
	use    heapmodel.Usage
}

func newHeap1(c heapmodel.Config) (heapmodel.Heap, error) {
	if _, err := newFrame(c, false); err != nil {
		return nil, err
	}
	most := uint64(reach)
	if c.Text("ptr") == "32" {
		most = 1<<32 - 1
	}
	capacity := c.Bytes("capacity")
	switch least := uint64(2*align + 1); {
	case capacity < least:
		return nil, fmt.Errorf("capacity=%s: the least that holds an object is %d bytes", c.Text("capacity"), least)
	case capacity > most:
		return nil, fmt.Errorf("capacity=%s: the most is %d bytes", c.Text("capacity"), most)
	}
	h := &bump{limit: capacity - align}
	if c.Before("version", 10, 4, 6) {
		h.base = 1
	}
	// An object must end below the limit, not at it.
	room := uint32((h.limit - 1) >> alignLog2)
	h.next, h.end = h.base, h.base+room
	free := uint64(room) << alignLog2
	h.use = heapmodel.Usage{Arena: capacity, Free: free, Overhead: capacity - free, FreeBlocks: 1}
	return h, nil
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *bump) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	bytes := h.Need(size, 0)
	u := &h.use
	if bytes > u.Free {
		return heapmodel.NullRef, false
	}
	r := uint32(len(h.starts))
	h.starts = append(h.starts, h.next)
	if r%64 == 0 {
		h.live = append(h.live, 0)
	}
	h.live[r/64] |= 1 << (r % 64)
	h.next += uint32(bytes >> alignLog2)
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	if u.Free == 0 {
		u.FreeBlocks = 0
	}
	u.HighWater = uint64(h.next) << alignLog2
	return heapmodel.Ref(r), true
}

// Realloc implements heapmodel.Heap: FreeRTOS has none.
func (h *bump) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	return heapmodel.Move(h, r, size, align)
}

// Free implements heapmodel.Heap. The object is dead and its block lost.
func (h *bump) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	if !h.isLive(uint32(r)) {
		panic("freertos: free of an object that is not live")
	}
	h.live[r/64] &^= 1 << (r % 64)
}

func (h *bump) isLive(r uint32) bool {
	return uint64(r) < uint64(len(h.starts)) && h.live[r/64]>>(r%64)&1 != 0
}

// Addr implements heapmodel.Heap.
func (h *bump) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.starts[r]) << alignLog2
}

// Align implements heapmodel.Heap.
func (h *bump) Align() uint32 { return align }

// Need implements heapmodel.Heap.
func (h *bump) Need(size uint64, _ uint32) uint64 { return (size + align - 1) &^ (align - 1) }

// Usage implements heapmodel.Heap.
func (h *bump) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *bump) LargestFree() uint64 { return h.use.Free }

// Native implements heapmodel.Native with what xPortGetFreeHeapSize reports. It
// is never zero, as the last bytes it counts can not be had.
func (h *bump) Native() []heapmodel.Stat {
	return []heapmodel.Stat{{Key: "free_bytes", Value: h.limit - uint64(h.next-h.base)<<alignLog2}}
}

// Blocks implements heapmodel.Heap. The blocks of dead objects are used ones
// without a Ref.
func (h *bump) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for i, start := range h.starts {
			end := h.next
			if i+1 < len(h.starts) {
				end = h.starts[i+1]
			}
			b := heapmodel.Block{
				Addr: heapmodel.Addr(start) << alignLog2, Size: uint64(end-start) << alignLog2,
				Payload: heapmodel.Addr(start) << alignLog2, Used: true, Wall: i == 0, Ref: heapmodel.NullRef,
			}
			if h.isLive(uint32(i)) {
				b.Ref = heapmodel.Ref(i)
			}
			if !yield(b) {
				return
			}
		}
		if h.next < h.end {
			at := heapmodel.Addr(h.next) << alignLog2
			yield(heapmodel.Block{
				Addr: at, Size: uint64(h.end-h.next) << alignLog2, Payload: at,
				Wall: len(h.starts) == 0, Ref: heapmodel.NullRef,
			})
		}
	}
}

// Check implements heapmodel.Heap.
func (h *bump) Check() error {
	at := h.base
	for i, start := range h.starts {
		if i > 0 && start <= at || i == 0 && start != at {
			return fmt.Errorf("object %d starts at granule %d, the one before at %d", i, start, at)
		}
		at = start
	}
	switch {
	case h.next < at || h.next > h.end || len(h.starts) > 0 && h.next == at:
		return fmt.Errorf("objects up to granule %d end at %d, of %d", at, h.next, h.end)
	case len(h.live) != (len(h.starts)+63)/64:
		return errors.New("bitmap of live objects has not their number of bits")
	}
	u := h.use
	used, free := uint64(h.next-h.base)<<alignLog2, uint64(h.end-h.next)<<alignLog2
	if u.Allocated != used || u.Free != free || u.UsedBlocks != uint64(len(h.starts)) || u.FreeBlocks != min(free, 1) {
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, for %d objects of %d bytes and %d bytes free",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, len(h.starts), used, free)
	}
	if u.Arena != u.Allocated+u.Free+u.Overhead {
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}

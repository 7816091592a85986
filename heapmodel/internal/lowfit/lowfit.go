// Package lowfit is the heap that lwIP's mem.c and RT-Thread's small memory
// management have in common: first fit over blocks in address order, found by
// walking all blocks, used and free, from the lowest free one on.
//
//	header payload          header           header payload     end marker
//	[used |        ]        [free |        ] [used |          ] [used]
//	                        ^ lowest free: where searches begin
//
// A block begins with a header that links it with its neighbours; there is no
// free list. A freed block merges at once with free neighbours. The walks are
// answered by an index, see package walk, and counted as if they were made.
package lowfit

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/walk"
)

// Rules is what the heaps differ in. Bytes are multiples of the alignment.
type Rules struct {
	Name      string // of the package, in panics
	AlignLog2 uint
	Header    uint64 // bytes in front of each object
	Least     uint64 // bytes of the smallest object
	Base      uint64 // address of the first block
	End       uint64 // bytes of all blocks together: the end marker is at Base + End
	Most      uint64 // bytes of the largest request, rounded up
	Inclusive bool   // a walk looks at the block at Most - size, too
}

// Heap is one heap, all but Realloc and Native. Use New to make one.
type Heap struct {
	List   *walk.List
	Use    heapmodel.Usage
	Peak   uint64 // most bytes ever allocated
	rules  Rules
	shift  uint
	header uint32 // granules
	least  uint32 // granules of the smallest block that is split off
	end    uint32
	lowest uint32 // start of the lowest free block; end if there is none
}

// New returns an empty heap in an arena of so many bytes. It is an error if
// granules do not fit in 32 bits.
func New(r Rules, arena uint64) (*Heap, error) {
	h := &Heap{rules: r, shift: r.AlignLog2}
	if r.End>>h.shift >= 1<<32 {
		return nil, fmt.Errorf("the most is %d bytes", arena-r.End+(1<<32-1)<<h.shift)
	}
	h.header = uint32(r.Header >> h.shift)
	h.least = uint32((r.Header + r.Least) >> h.shift)
	h.end = uint32(r.End >> h.shift)
	h.List = walk.New(0, h.end)
	h.Use = heapmodel.Usage{Arena: arena, Free: r.End, FreeBlocks: 1, Overhead: arena - r.End}
	return h, nil
}

// Round returns the bytes of the object for a request.
func (h *Heap) Round(size uint64) uint64 {
	mask := uint64(1)<<h.shift - 1
	return max((size+mask)&^mask, h.rules.Least)
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *Heap) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	payload := h.Round(size)
	if payload > h.rules.Most {
		return heapmodel.NullRef, false
	}
	u := &h.Use
	want := uint32(payload>>h.shift) + h.header
	p := walk.NoPos
	if payload+h.rules.Header <= h.rules.End { // else want may have overflowed
		p = h.List.FirstFit(want)
	}
	if p == walk.NoPos {
		h.walkInVain(payload)
		return heapmodel.NullRef, false
	}
	start, room, _ := h.List.At(p)
	taken := want
	if room-want < h.least {
		taken = room
		u.FreeBlocks--
	}
	if start == h.lowest {
		u.Steps++
	} else {
		from, _ := h.List.Below(h.lowest)
		at, _ := h.List.Below(start)
		u.Steps += at - from + 1
	}
	id := h.List.Take(p, taken)
	bytes := uint64(taken) << h.shift
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	h.Peak = max(h.Peak, u.Allocated)
	u.HighWater = max(u.HighWater, h.rules.Base+uint64(start)<<h.shift+bytes)
	if start == h.lowest {
		h.advance(start, start+taken, taken < room)
	}
	return heapmodel.Ref(id), true
}

// walkInVain counts the steps of a search that fails: it looks at all blocks
// from the lowest free one up to where the object would reach the end.
func (h *Heap) walkInVain(payload uint64) {
	bound := uint32((h.rules.Most - payload) >> h.shift)
	if h.rules.Inclusive {
		bound++
	}
	if bound <= h.lowest {
		return
	}
	from, _ := h.List.Below(h.lowest)
	to, _ := h.List.Below(bound)
	h.Use.Steps += to - from
}

// advance moves the start of searches from a block that was taken up to the
// next free one, which is at above if the block was split.
func (h *Heap) advance(start, above uint32, split bool) {
	if split {
		h.lowest = above
		h.Use.Steps++
		return
	}
	h.lowest = h.end
	if p := h.List.FirstFit(1); p != walk.NoPos {
		h.lowest, _, _ = h.List.At(p)
	}
	from, _ := h.List.Below(start)
	to, _ := h.List.Below(h.lowest)
	h.Use.Steps += to - from
}

// Free implements heapmodel.Heap.
func (h *Heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	p := h.Live(r)
	start, size, _ := h.List.At(p)
	h.List.Release(p)
	bytes := uint64(size) << h.shift
	u := &h.Use
	u.UsedBlocks--
	u.Allocated -= bytes
	u.FreeBlocks++
	u.Free += bytes
	h.lowest = min(h.lowest, start)
	// [low][block][high] -> [low..............]
	p = h.joinAbove(p)
	if low := h.List.Prev(p); h.List.Free(low) {
		h.joinAbove(low)
	}
}

// joinAbove merges a free block with the one above if that is free, too, and
// returns its place.
func (h *Heap) joinAbove(p walk.Pos) walk.Pos {
	if high := h.List.Next(p); h.List.Free(high) {
		p = h.List.Join(p)
		h.Use.FreeBlocks--
		h.Use.Steps++
	}
	return p
}

// Trim shortens a used block to an object of so many bytes, a multiple of the
// alignment. What is left over, a header at least, is free and merges with a
// free block above:
//
//	[block........][high] -> [block][..........]
func (h *Heap) Trim(r heapmodel.Ref, payload uint64) {
	p := h.Live(r)
	start, size, id := h.List.At(p)
	keep := uint32((payload + h.rules.Header) >> h.shift)
	h.List.Cut(p, keep)
	bytes := uint64(size-keep) << h.shift
	h.Use.Allocated -= bytes
	h.Use.Free += bytes
	h.Use.FreeBlocks++
	h.lowest = min(h.lowest, start+keep)
	h.joinAbove(h.List.Next(h.List.Find(id)))
}

// Live returns the place of a live object's block and panics if there is none.
func (h *Heap) Live(r heapmodel.Ref) walk.Pos {
	if !h.List.Live(walk.ID(r)) {
		panic(h.rules.Name + ": the Ref is not that of a live object")
	}
	return h.List.Find(walk.ID(r))
}

// Payload returns the bytes that a live object can use.
func (h *Heap) Payload(r heapmodel.Ref) uint64 {
	_, size, _ := h.List.At(h.Live(r))
	return uint64(size)<<h.shift - h.rules.Header
}

// Addr implements heapmodel.Heap.
func (h *Heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.rules.Base + uint64(h.List.Start(walk.ID(r)))<<h.shift + h.rules.Header)
}

// Align implements heapmodel.Heap.
func (h *Heap) Align() uint32 { return 1 << h.shift }

// Need implements heapmodel.Heap.
func (h *Heap) Need(size uint64, _ uint32) uint64 {
	if size == 0 {
		return 0
	}
	return h.Round(size) + h.rules.Header
}

// Usage implements heapmodel.Heap.
func (h *Heap) Usage() *heapmodel.Usage { return &h.Use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *Heap) LargestFree() uint64 { return uint64(h.List.Largest()) << h.shift }

// Package holes is a heap in one region whose free blocks are in an index by
// address: what the reference points compacting and offline have in common.
// Freed blocks are joined with free neighbours at once, and a free block may be
// as small as a granule. Where an object goes, and when the arena grows, is for
// the model to say.
package holes

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Reach is the number of granules that the table of blocks can hold.
const Reach = 1<<32 - 2

// Heap is a heap but for Alloc, Realloc and Need. Positions and sizes are in
// granules unless they are said to be in bytes.
type Heap struct {
	arena.Config
	T     blocks.SlimTable
	Holes *fit.SlimIndex // by address
	Use   heapmodel.Usage
	Head  blocks.ID // first block; undefined while there is no end
	End   blocks.ID // end node; None as long as the arena is empty
	base  uint64    // granules from an address aligned to anything to the payload of a block at granule 0
}

// Init makes an empty heap.
func (h *Heap) Init(c arena.Config) {
	h.Config, h.End = c, blocks.None
	h.Holes = fit.New(&h.T, fit.ByKey)
	h.base = (c.Pad + c.Header) >> c.Shift
}

// Base returns the granules from an address that is aligned to anything to the
// payload of a block at granule 0.
func (h *Heap) Base() uint64 { return h.base }

// Wide returns the bytes of so many granules, which may be more than an arena has.
func (h *Heap) Wide(granules uint64) uint64 { return granules << h.Shift }

// Mask returns the alignment of a request in granules, less one.
func (h *Heap) Mask(align uint32) uint64 {
	if uint64(align) <= h.Grain {
		return 0
	}
	return uint64(align)>>h.Shift - 1
}

// Aligned rounds a position up to where a payload is aligned.
func (h *Heap) Aligned(pos, mask uint64) uint64 { return (pos+h.base+mask)&^mask - h.base }

// Length returns the granules of the arena.
func (h *Heap) Length() uint64 {
	if h.End == blocks.None {
		return 0
	}
	return uint64(h.T.Nodes[h.End].Start)
}

// Rim returns where the free block at the end of the arena starts, or would.
func (h *Heap) Rim() uint64 {
	if h.End == blocks.None {
		return 0
	}
	if last := h.T.Prev(h.End); !h.T.Used(last) {
		return uint64(h.T.Nodes[last].Start)
	}
	return h.Length()
}

// Enter puts a free block in the index.
func (h *Heap) Enter(id blocks.ID) { h.Holes.Insert(id, h.T.Nodes[id].Start, h.T.Size(id)) }

// Take makes a used block of want granules from pos on, in the hole at p:
//
//	[hole.................] -> [gap][block][rest]
func (h *Heap) Take(p fit.Pos, pos, want uint32) blocks.ID {
	id, room := h.Holes.At(p)
	h.Holes.Remove(p)
	if gap := pos - h.T.Nodes[id].Start; gap > 0 {
		up := h.T.Split(id, gap)
		h.Enter(id)
		id, room = up, room-gap
	}
	if room > want {
		h.Enter(h.T.Split(id, want))
	}
	h.T.SetUsed(id)
	bytes := h.Bytes(want)
	u := &h.Use
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	u.FreeBlocks = uint64(h.Holes.Len())
	u.HighWater = max(u.HighWater, h.At(pos)+bytes)
	return id
}

// Extend makes the arena so many bytes long. What is no whole granule at its
// end, and the bytes in front of the first block, are overhead.
func (h *Heap) Extend(arena uint64) {
	length, was := h.Top(arena), uint32(h.Length())
	switch {
	case length == was:
	case h.End == blocks.None:
		h.Head = h.T.Region(0, length)
		h.End = h.T.Next(h.Head)
		h.Enter(h.Head)
	default:
		last := h.T.Prev(h.End)
		size := h.T.Size(last)
		h.T.MoveEnd(h.End, length)
		if h.T.Used(last) {
			h.Enter(h.T.Split(last, size))
		} else {
			h.Holes.Update(h.Holes.Find(last), last, h.T.Nodes[last].Start, h.T.Size(last))
		}
	}
	u := &h.Use
	u.Arena = arena
	u.Free += h.Bytes(length - was)
	u.Overhead = u.Arena - u.Allocated - u.Free
	u.FreeBlocks = uint64(h.Holes.Len())
}

// Live returns the block of a live object and panics if there is none.
func (h *Heap) Live(r heapmodel.Ref) blocks.ID {
	if !h.T.Live(blocks.ID(r)) {
		panic("holes: the Ref is not that of a live object")
	}
	return blocks.ID(r)
}

// Free implements heapmodel.Heap:
//
//	[low][block][up] -> [low............]
func (h *Heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := h.Live(r)
	bytes := h.Bytes(h.T.Size(id))
	u := &h.Use
	u.UsedBlocks--
	u.Allocated -= bytes
	u.Free += bytes
	h.T.SetFree(id)
	if up := h.T.Next(id); !h.T.Used(up) {
		h.Holes.Remove(h.Holes.Find(up))
		h.T.Merge(id)
	}
	if low := h.T.Prev(id); low != blocks.None && !h.T.Used(low) {
		h.Holes.Remove(h.Holes.Find(low))
		h.T.Merge(low)
		id = low
	}
	h.Enter(id)
	u.FreeBlocks = uint64(h.Holes.Len())
}

// Addr implements heapmodel.Heap.
func (h *Heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.At(h.T.Nodes[r].Start) + h.Header)
}

// Align implements heapmodel.Heap.
func (h *Heap) Align() uint32 { return uint32(h.Grain) }

// Usage implements heapmodel.Heap.
func (h *Heap) Usage() *heapmodel.Usage { return &h.Use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *Heap) LargestFree() uint64 { return h.Bytes(h.Holes.Largest()) }

// Blocks implements heapmodel.Heap.
func (h *Heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		if h.End == blocks.None {
			return
		}
		for id := h.Head; id != h.End; id = h.T.Next(id) {
			start := heapmodel.Addr(h.At(h.T.Nodes[id].Start))
			b := heapmodel.Block{Addr: start, Size: h.Bytes(h.T.Size(id)), Payload: start, Wall: id == h.Head, Ref: heapmodel.NullRef}
			if h.T.Used(id) {
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
func (h *Heap) Check() error {
	if err := h.Holes.Check(); err != nil {
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
	if uint64(h.Holes.Len()) != sum.FreeBlocks {
		return fmt.Errorf("%d blocks are indexed as free, the walk finds %d", h.Holes.Len(), sum.FreeBlocks)
	}
	return arena.Counted(&h.Use, &sum, h.Use.Arena)
}

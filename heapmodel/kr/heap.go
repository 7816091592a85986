package kr

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// find returns the place of the first block of so many units behind the rover
// and how many entries stand before it, and counts the entries looked at.
func (h *heap) find(units uint32) (p fit.Pos, before uint64) {
	entries := uint64(h.free.Len()) + 1
	if h.rover != base {
		if next := h.free.Next(h.free.Find(h.rover)); next != fit.NoPos {
			if p := h.free.FirstFitFrom(next, units); p != fit.NoPos {
				before = uint64(h.free.Rank(p)) + 1
				h.use.Steps += before - h.before
				return p, before
			}
		}
	}
	// The walk passes the base and goes on up to the rover itself.
	if p = h.free.FirstFit(units); p == fit.NoPos {
		h.use.Steps += entries
		return p, 0
	}
	before = uint64(h.free.Rank(p)) + 1
	h.use.Steps += before
	if h.rover != base {
		h.use.Steps += entries - h.before
	}
	return p, before
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *heap) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	block := h.block(size)
	if block > uint64(h.limit) {
		h.use.Steps += uint64(h.free.Len()) + 1
		return heapmodel.NullRef, false
	}
	units := uint32(block)
	p, before := h.find(units)
	if p == fit.NoPos {
		if !h.grow(units) {
			return heapmodel.NullRef, false
		}
		p, before = h.find(units)
	}
	id, room := h.free.At(p)
	h.rover, h.before = base, before-1
	if prev := h.free.Prev(p); prev != fit.NoPos {
		h.rover, _ = h.free.At(prev)
	}
	if room == units {
		h.free.Remove(p)
	} else {
		// [id............] -> [id: rest][units]
		h.free.Update(p, id, h.t.Nodes[id].Start, room-units)
		id = h.t.Split(id, room-units)
	}
	h.t.SetUsed(id)
	bytes := h.bytes(units)
	u := &h.use
	u.Allocated += bytes
	u.Free -= bytes
	u.UsedBlocks++
	u.FreeBlocks = uint64(h.free.Len())
	u.HighWater = max(u.HighWater, h.bytes(h.t.Nodes[id].Start)+bytes)
	return heapmodel.Ref(id), true
}

// grow obtains memory for a block of so many units that is not on the list, and
// reports whether the limit lets it.
func (h *heap) grow(units uint32) bool {
	units = max(units, quantum)
	brk := uint32(0)
	if h.end != blocks.None {
		brk = h.t.Nodes[h.end].Start
	}
	if units > h.limit-brk {
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: h.bytes(units), Free: h.use.Free, LargestFree: h.LargestFree()}
	h.obtain(units)
	return true
}

// obtain raises the break by so many units and frees them.
func (h *heap) obtain(units uint32) {
	id := blocks.None
	if h.first == blocks.None {
		id = h.t.Region(0, units)
		h.first, h.end = id, h.t.Next(id)
	} else {
		last := h.t.Prev(h.end)
		size := h.t.Size(last)
		h.t.MoveEnd(h.end, h.t.Nodes[h.end].Start+units)
		id = h.t.Split(last, size)
	}
	u := &h.use
	u.Arena += h.bytes(units)
	u.Free += h.bytes(units)
	h.enter(id, units)
	u.FreeBlocks = uint64(h.free.Len())
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("kr: free of object %d, which is not live", r))
	}
	units := h.t.Size(id)
	u := &h.use
	u.Allocated -= h.bytes(units)
	u.Free += h.bytes(units)
	u.UsedBlocks--
	h.t.SetFree(id)
	h.enter(id, units)
	u.FreeBlocks = uint64(h.free.Len())
}

// enter puts a block marked free on the list, joined with the blocks it
// touches, and the rover below it.
func (h *heap) enter(id blocks.ID, units uint32) {
	entries, rover := uint64(h.free.Len())+1, h.before
	low, high := h.t.Prev(id), h.t.Next(id)
	joinsHigh := !h.t.Used(high) // the end node is used
	var below uint64             // entries before the one below the block
	merges := uint64(0)
	if low != blocks.None && !h.t.Used(low) {
		// [low][id] -> [low.....], and the rover is at that
		p := h.free.Find(low)
		below = uint64(h.free.Rank(p)) + 1
		units += h.t.Size(low)
		merges++
		if joinsHigh {
			units += h.t.Size(high)
			h.free.Remove(h.free.Find(high))
			h.t.Merge(id)
			p = h.free.Find(low)
			merges++
		}
		h.t.Merge(low)
		h.free.Update(p, low, h.t.Nodes[low].Start, units)
		h.rover = low
	} else {
		var p fit.Pos
		if joinsHigh {
			// [id][high] -> [id......]
			p = h.free.Find(high)
			units += h.t.Size(high)
			below = uint64(h.free.Rank(p))
			h.t.Merge(id)
			h.free.Update(p, id, h.t.Nodes[id].Start, units)
			p = h.free.Find(id)
			merges++
		} else {
			p = h.free.Insert(id, h.t.Nodes[id].Start, units)
			below = uint64(h.free.Rank(p))
		}
		h.rover = base
		if prev := h.free.Prev(p); prev != fit.NoPos {
			h.rover, _ = h.free.At(prev)
		}
	}
	h.before = below
	if below < rover {
		below += entries // the walk passes the base
	}
	h.use.Steps += below - rover + 1 + merges
}

// Realloc implements heapmodel.Heap: the book has none.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r != heapmodel.NullRef && !h.t.Live(blocks.ID(r)) {
		panic(fmt.Sprintf("kr: realloc of object %d, which is not live", r))
	}
	return heapmodel.Move(h, r, size, align)
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.bytes(h.t.Nodes[r].Start) + h.bytes(1))
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.bytes(1)) }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, _ uint32) uint64 { return h.block(size) << (h.unitLog2 & 7) }

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return h.bytes(h.free.Largest()) }

// Native implements heapmodel.Native. The book's allocator keeps no figures:
// these are the break and the bytes on its list.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "break", Value: h.use.Arena},
		{Key: "free_bytes", Value: h.use.Free},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		if h.first == blocks.None {
			return
		}
		for id := h.first; id != h.end; id = h.t.Next(id) {
			start := heapmodel.Addr(h.bytes(h.t.Nodes[id].Start))
			b := heapmodel.Block{
				Addr: start, Size: h.bytes(h.t.Size(id)), Payload: start,
				Wall: id == h.first, Ref: heapmodel.NullRef,
			}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += heapmodel.Addr(h.bytes(1))
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
	free, rover := false, h.rover == base && h.before == 0
	for b := range h.Blocks() {
		switch {
		case b.Used:
			sum.UsedBlocks++
			sum.Allocated += b.Size
		case free:
			return fmt.Errorf("block at %d and the one below are free", b.Addr)
		case p == fit.NoPos:
			return fmt.Errorf("free block at %d is not on the list", b.Addr)
		default:
			id, units := h.free.At(p)
			if h.bytes(h.t.Nodes[id].Start) != uint64(b.Addr) || h.bytes(units) != b.Size || p != h.free.Find(id) {
				return fmt.Errorf("free block at %d is not in its place of the list", b.Addr)
			}
			rover = rover || id == h.rover && h.before == uint64(h.free.Rank(p))+1
			p = h.free.Next(p)
			sum.FreeBlocks++
			sum.Free += b.Size
		}
		free = !b.Used
	}
	u := h.use
	switch {
	case p != fit.NoPos:
		return errors.New("the list has a block that is not free")
	case !rover:
		return errors.New("the rover is not in its place of the list")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}

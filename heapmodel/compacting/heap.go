package compacting

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
	"github.com/fragprof/fragprof/heapmodel/internal/holes"
)

// heap is the heap. The X of a used block is pinned if the object must not move.
type heap struct {
	holes.Heap
	c uint64

	served      uint64 // bytes of all blocks allocated so far
	moved       uint64 // bytes of all blocks moved so far
	moves       uint64 // blocks moved
	compactions uint64
}

const pinned = 1

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	want, mask := h.Block(size)>>h.Shift, h.Mask(align)
	need := want + mask
	if need > holes.Reach {
		return heapmodel.NullRef, false
	}
	p := h.find(uint32(need))
	if p == fit.NoPos && (h.compact(need) || h.grow(need)) {
		p = h.find(uint32(need))
	}
	if p == fit.NoPos {
		return heapmodel.NullRef, false
	}
	return h.take(p, uint32(want), uint32(mask)), true
}

// find returns the lowest hole of so many granules.
func (h *heap) find(need uint32) fit.Pos {
	p := h.Holes.FirstFit(need)
	if p == fit.NoPos {
		h.Use.Steps += uint64(h.Holes.Len())
	} else {
		h.Use.Steps += uint64(h.Holes.Rank(p)) + 1
	}
	return p
}

// take makes a used block of want granules in the hole at p.
func (h *heap) take(p fit.Pos, want, mask uint32) heapmodel.Ref {
	id := h.Heap.Take(p, uint32(h.Aligned(uint64(h.Holes.Key(p)), uint64(mask))), want)
	h.T.Nodes[id].X = 0
	if mask > 0 {
		h.T.Nodes[id].X = pinned
	}
	h.served += h.Bytes(want)
	return heapmodel.Ref(id)
}

// budget returns the bytes that may be moved now.
func (h *heap) budget() uint64 {
	if h.c == 0 {
		return 0
	}
	return h.served/h.c - h.moved
}

// compact moves objects so that there is a hole of so many granules, and
// reports whether it did. O(blocks).
func (h *heap) compact(need uint64) bool {
	budget := h.budget()
	if budget == 0 || h.Use.Free < h.Wide(need) {
		return false
	}
	first, last, cost := h.window(need)
	if first == blocks.None || h.Wide(cost) > budget {
		return false
	}
	h.slide(first, last)
	h.compactions++
	return true
}

// window returns the first and the last hole of the cheapest window with so
// many free granules, and the granules of the objects in it; None if there is
// no window.
func (h *heap) window(need uint64) (first, last blocks.ID, cost uint64) {
	first, last = blocks.None, blocks.None
	from := blocks.None                // a hole: [from, to] is the window looked at
	room, load := uint64(0), uint64(0) // its free granules, and those of objects
	for to := h.Head; to != h.End; to = h.T.Next(to) {
		h.Use.Steps++
		size := uint64(h.T.Size(to))
		switch {
		case h.T.Used(to) && h.T.Nodes[to].X == pinned:
			from, room, load = blocks.None, 0, 0
			continue
		case h.T.Used(to):
			load += size
			continue
		case from == blocks.None:
			from, load = to, 0
		}
		room += size
		// The shortest window that ends here: give up holes at its start, each
		// with the objects up to the next.
		for from != to && room-uint64(h.T.Size(from)) >= need {
			room -= uint64(h.T.Size(from))
			for from = h.T.Next(from); h.T.Used(from); from = h.T.Next(from) {
				load -= uint64(h.T.Size(from))
			}
		}
		if room >= need && (first == blocks.None || load < cost) {
			first, last, cost = from, to, load
		}
	}
	return first, last, cost
}

// slide moves the objects between two holes down to where the first starts,
// and makes the holes one, whose record is that of the last.
func (h *heap) slide(first, last blocks.ID) {
	nodes := h.T.Nodes
	at := nodes[first].Start
	end := at
	for id := first; ; {
		n := &nodes[id]
		next := n.High
		size := nodes[next].Start - n.Start
		end = n.Start + size
		switch {
		case h.T.Used(id):
			n.Start = at
			at += size
			h.moves++
			h.moved += h.Bytes(size)
			h.Use.Steps++
		case id == last:
			h.Holes.Remove(h.Holes.Find(id))
			n.Start = at
			h.Holes.Insert(id, at, end-at)
			h.Use.FreeBlocks = uint64(h.Holes.Len())
			return
		default:
			h.Holes.Remove(h.Holes.Find(id))
			h.unlink(id)
		}
		id = next
	}
}

// unlink takes a free block out of the chain and drops its record.
func (h *heap) unlink(id blocks.ID) {
	low, up := h.T.Prev(id), h.T.Next(id)
	if low == blocks.None {
		h.Head = up
	} else {
		h.T.Nodes[low].High = up
	}
	n := &h.T.Nodes[up]
	n.Low = low | n.Low&blocks.UsedBit
	h.T.Drop(id)
}

// grow raises the break by a multiple of the quantum so that a hole of so many
// granules is at the end, and reports whether it could.
func (h *heap) grow(need uint64) bool {
	missing := h.Pad + h.Wide(h.Rim()+need) - h.Use.Arena
	add, ok := h.Quanta(h.Use.Arena, missing)
	if !ok {
		return false
	}
	before := heapmodel.Growth{Need: h.Wide(need), Free: h.Use.Free, LargestFree: h.LargestFree()}
	h.Extend(h.Use.Arena + add)
	h.Use.Grown = before
	return true
}

// Realloc implements heapmodel.Heap: allocate anew, copy, free.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r != heapmodel.NullRef {
		h.Live(r)
	}
	return heapmodel.Move(h, r, size, align)
}

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 {
	return h.Block(size) + h.Wide(h.Mask(align))
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	if h.c > 0 && h.moved > h.served/h.c {
		return fmt.Errorf("%d bytes were moved, of %d allocated", h.moved, h.served)
	}
	return h.Heap.Check()
}

// Native implements heapmodel.Native.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "moved_bytes", Value: h.moved},
		{Key: "moves", Value: h.moves},
		{Key: "compactions", Value: h.compactions},
	}
}

package compacting

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// heap is the heap. Addresses and sizes in its table are in granules; the Y of
// a used block is pinned if the object must not move.
type heap struct {
	config
	t    blocks.Table
	free *fit.Index
	use  heapmodel.Usage
	head blocks.ID // first block; undefined while there is no end
	end  blocks.ID // end node; None as long as the arena is empty

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
	want, mask := h.block(size), h.mask(align)
	need := want + mask
	if need > reach {
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
	p := h.free.FirstFit(need)
	if p == fit.NoPos {
		h.use.Steps += uint64(h.free.Len())
	} else {
		h.use.Steps += uint64(h.free.Rank(p)) + 1
	}
	return p
}

// take makes a used block of want granules in the hole at p:
//
//	[hole.................] -> [gap][block][rest]
func (h *heap) take(p fit.Pos, want, mask uint32) heapmodel.Ref {
	id, room := h.free.At(p)
	h.free.Remove(p)
	start := h.t.Nodes[id].Start
	at := (uint64(start)+h.base+uint64(mask))&^uint64(mask) - h.base
	if gap := uint32(at) - start; gap > 0 {
		up := h.t.Split(id, gap)
		h.enter(id)
		id, room = up, room-gap
	}
	if room > want {
		h.enter(h.t.Split(id, want))
	}
	h.t.SetUsed(id)
	h.t.Nodes[id].Y = 0
	if mask > 0 {
		h.t.Nodes[id].Y = pinned
	}
	u := &h.use
	bytes := h.bytes(uint64(want))
	h.served += bytes
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	u.FreeBlocks = uint64(h.free.Len())
	u.HighWater = max(u.HighWater, h.pad+h.bytes(at)+bytes)
	return heapmodel.Ref(id)
}

// enter puts a free block in the index.
func (h *heap) enter(id blocks.ID) { h.free.Insert(id, h.t.Nodes[id].Start, h.t.Size(id)) }

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
	if budget == 0 || h.use.Free < h.bytes(need) {
		return false
	}
	first, last, cost := h.window(need)
	if first == blocks.None || h.bytes(cost) > budget {
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
	for to := h.head; to != h.end; to = h.t.Next(to) {
		h.use.Steps++
		size := uint64(h.t.Size(to))
		switch {
		case h.t.Used(to) && h.t.Nodes[to].Y == pinned:
			from, room, load = blocks.None, 0, 0
			continue
		case h.t.Used(to):
			load += size
			continue
		case from == blocks.None:
			from, load = to, 0
		}
		room += size
		// The shortest window that ends here: give up holes at its start, each
		// with the objects up to the next.
		for from != to && room-uint64(h.t.Size(from)) >= need {
			room -= uint64(h.t.Size(from))
			for from = h.t.Next(from); h.t.Used(from); from = h.t.Next(from) {
				load -= uint64(h.t.Size(from))
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
	nodes := h.t.Nodes
	at := nodes[first].Start
	end := at
	for id := first; ; {
		n := &nodes[id]
		next := n.High
		size := nodes[next].Start - n.Start
		end = n.Start + size
		switch {
		case h.t.Used(id):
			n.Start = at
			at += size
			h.moves++
			h.moved += h.bytes(uint64(size))
			h.use.Steps++
		case id == last:
			h.free.Remove(h.free.Find(id))
			n.Start = at
			h.free.Insert(id, at, end-at)
			h.use.FreeBlocks = uint64(h.free.Len())
			return
		default:
			h.free.Remove(h.free.Find(id))
			h.unlink(id)
		}
		id = next
	}
}

// unlink takes a free block out of the chain and drops its record.
func (h *heap) unlink(id blocks.ID) {
	low, up := h.t.Prev(id), h.t.Next(id)
	if low == blocks.None {
		h.head = up
	} else {
		h.t.Nodes[low].High = up
	}
	n := &h.t.Nodes[up]
	n.Low = low | n.Low&blocks.UsedBit
	h.t.Drop(id)
}

// grow raises the break by a multiple of the quantum so that a hole of so many
// granules is at the end, and reports whether it could.
func (h *heap) grow(need uint64) bool {
	if h.quantum == 0 {
		return false
	}
	from := uint64(0) // start of the hole at the end
	if h.end != blocks.None {
		from = uint64(h.t.Nodes[h.end].Start)
		if last := h.t.Prev(h.end); !h.t.Used(last) {
			from = uint64(h.t.Nodes[last].Start)
		}
	}
	missing := h.pad + h.bytes(from+need) - h.use.Arena
	if missing > h.limit {
		return false
	}
	add := (missing + h.quantum - 1) / h.quantum * h.quantum
	if add > h.limit || h.use.Arena+add > h.limit {
		return false
	}
	before := heapmodel.Growth{Need: h.bytes(need), Free: h.use.Free, LargestFree: h.LargestFree()}
	h.growTo(h.use.Arena + add)
	h.use.Grown = before
	return true
}

// growTo makes the arena so many bytes long. What is no whole granule at its
// end, and the bytes in front of the first block, are overhead.
func (h *heap) growTo(arena uint64) {
	u := &h.use
	length, was := uint32(0), uint32(0)
	if arena > h.pad {
		length = uint32((arena - h.pad) >> h.shift)
	}
	switch {
	case h.end != blocks.None:
		was = h.t.Nodes[h.end].Start
		last := h.t.Prev(h.end)
		size := h.t.Size(last)
		h.t.MoveEnd(h.end, length)
		if length == was {
			break
		}
		if h.t.Used(last) {
			h.enter(h.t.Split(last, size))
		} else {
			h.free.Update(h.free.Find(last), last, h.t.Nodes[last].Start, h.t.Size(last))
		}
	case length > 0:
		h.head = h.t.Region(0, length)
		h.end = h.t.Next(h.head)
		h.enter(h.head)
	}
	u.Arena = arena
	u.Free += h.bytes(uint64(length - was))
	u.Overhead = u.Arena - u.Allocated - u.Free
	u.FreeBlocks = uint64(h.free.Len())
}

// Realloc implements heapmodel.Heap: allocate anew, copy, free.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r != heapmodel.NullRef {
		h.live(r)
	}
	return heapmodel.Move(h, r, size, align)
}

// Free implements heapmodel.Heap:
//
//	[low][block][up] -> [low............]
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := h.live(r)
	u := &h.use
	size := h.bytes(uint64(h.t.Size(id)))
	u.UsedBlocks--
	u.Allocated -= size
	u.Free += size
	h.t.SetFree(id)
	if up := h.t.Next(id); !h.t.Used(up) {
		h.free.Remove(h.free.Find(up))
		h.t.Merge(id)
	}
	if low := h.t.Prev(id); low != blocks.None && !h.t.Used(low) {
		h.free.Remove(h.free.Find(low))
		h.t.Merge(low)
		id = low
	}
	h.enter(id)
	u.FreeBlocks = uint64(h.free.Len())
}

// live returns the block of a live object and panics if there is none.
func (h *heap) live(r heapmodel.Ref) blocks.ID {
	if !h.t.Live(blocks.ID(r)) {
		panic("compacting: the Ref is not that of a live object")
	}
	return blocks.ID(r)
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.pad + h.bytes(uint64(h.t.Nodes[r].Start)) + h.header)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.align) }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 { return h.bytes(h.block(size) + h.mask(align)) }

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return h.bytes(uint64(h.free.Largest())) }

// Native implements heapmodel.Native.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "moved_bytes", Value: h.moved},
		{Key: "moves", Value: h.moves},
		{Key: "compactions", Value: h.compactions},
	}
}

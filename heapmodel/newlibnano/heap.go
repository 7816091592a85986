package newlibnano

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// heap is one heap. The granule of its table is a word. X of a used chunk is the
// distance of its payload from its start.
type heap struct {
	t         blocks.SlimTable
	free      *fit.SlimIndex // by address
	use       heapmodel.Usage
	splitHigh bool // a split gives the request the high end, and a free last chunk is not extended
	keepsAll  bool // realloc keeps whatever fits where it is
	shift     uint // log2 of a word
	least     uint32
	beside    uint32 // words of a chunk beside its payload
	pad       uint32 // most words between its header and its payload
	limit     uint64 // bytes
	head, end blocks.ID
}

func (h *heap) bytes(words uint32) uint64 { return uint64(words) << (h.shift & 63) }

func (h *heap) words(bytes uint64) uint32 { return uint32(bytes >> (h.shift & 63)) }

func (h *heap) up(bytes uint64) uint64 {
	word := uint64(1) << (h.shift & 63)
	return (bytes + word - 1) &^ (word - 1)
}

// chunk returns the bytes of the chunk for a request of at most MaxSize and
// some more.
func (h *heap) chunk(size uint64) uint64 {
	return max(h.up(size)+h.bytes(h.beside), h.bytes(h.least))
}

// roomy returns what memalign asks malloc for, align being at least 8: with so
// many bytes an aligned payload of the rounded size fits.
func (h *heap) roomy(size uint64, align uint32) uint64 {
	return h.up(max(size, 1)) + uint64(align) - 8
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, alignment uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	if alignment != 0 {
		return h.memalign(size, max(alignment, align))
	}
	bytes := h.chunk(size)
	if bytes >= tooLarge {
		return heapmodel.NullRef, false
	}
	id := h.take(h.words(bytes))
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	return heapmodel.Ref(id), true
}

// place puts the payload of a chunk at the first multiple of the alignment, at
// least that of a word, behind its header, and returns how many words that is
// from the header.
func (h *heap) place(id blocks.ID, align uint32) (gap uint32) {
	n := &h.t.Nodes[id]
	gap = ^n.Start & (h.words(uint64(align)) - 1)
	n.X = 1 + gap
	return gap
}

// mark raises the high-water mark to the end of a used chunk.
func (h *heap) mark(id blocks.ID) {
	nodes := h.t.Nodes
	h.use.HighWater = max(h.use.HighWater, h.bytes(nodes[nodes[id].High].Start))
}

// take returns a used chunk of at least want words, its payload placed and the
// high-water mark raised; blocks.None if there is no memory for it.
func (h *heap) take(want uint32) blocks.ID {
	u := &h.use
	p, passed := h.free.Walk(want, 0)
	if p == fit.NoPos {
		u.Steps += u.FreeBlocks
		return h.rise(want)
	}
	u.Steps += passed + 1
	h.t.Spare()
	id, room := h.free.At(p)
	nodes := h.t.Nodes
	n := &nodes[id]
	switch rest := room - want; {
	case rest < h.least:
		want = room
		h.free.Remove(p)
		u.FreeBlocks--
	case h.splitHigh:
		// [id............] -> [id: rest][up: want]
		up := h.t.Split(id, rest)
		h.free.Update(p, id, n.Start, rest)
		id, n = up, &nodes[up]
	default:
		// [id............] -> [id: want][up: rest]
		up := h.t.Pop()
		start, after := n.Start+want, n.High
		n.High = up
		b := &nodes[up]
		b.Start, b.Low, b.High = start, id, after
		above := &nodes[after]
		above.Low = up | above.Low&blocks.UsedBit
		h.free.Update(p, up, start, rest)
	}
	n.Low |= blocks.UsedBit
	n.X = 1 + ^n.Start&h.pad
	u.HighWater = max(u.HighWater, h.bytes(n.Start+want))
	u.UsedBlocks++
	u.Allocated += h.bytes(want)
	u.Free -= h.bytes(want)
	return id
}

// rise returns a used chunk of want words at the break, which rises for it;
// blocks.None if it must not.
func (h *heap) rise(want uint32) blocks.ID {
	u := &h.use
	grown := heapmodel.Growth{Need: h.bytes(want), Free: u.Free, LargestFree: h.LargestFree()}
	var id blocks.ID
	switch {
	case h.bytes(want) > h.limit-u.Arena:
		if id = h.extend(want); id == blocks.None {
			return id
		}
	case h.head == blocks.None:
		id = h.t.Region(0, want)
		h.head, h.end = id, h.t.Next(id)
		u.Arena = h.bytes(want)
	default:
		// [last] break -> [last][id] break
		last := h.t.Prev(h.end)
		words := h.t.Size(last)
		h.t.MoveEnd(h.end, h.t.Nodes[h.end].Start+want)
		id = h.t.Split(last, words)
		u.Arena += h.bytes(want)
	}
	h.t.SetUsed(id)
	h.place(id, align)
	h.mark(id)
	u.UsedBlocks++
	u.Allocated += h.bytes(want)
	u.Grown = grown
	return id
}

// extend makes the last chunk, if it is free, want words long by raising the
// break, and takes it off the list.
func (h *heap) extend(want uint32) blocks.ID {
	if h.splitHigh {
		return blocks.None
	}
	u := &h.use
	u.Steps += u.FreeBlocks // a second walk, to the last
	p := h.free.Last()
	if p == fit.NoPos {
		return blocks.None
	}
	id, room := h.free.At(p)
	if h.t.Next(id) != h.end || h.bytes(want-room) > h.limit-u.Arena {
		return blocks.None
	}
	h.free.Remove(p)
	h.t.MoveEnd(h.end, h.t.Nodes[id].Start+want)
	u.FreeBlocks--
	u.Free -= h.bytes(room)
	u.Arena += h.bytes(want - room)
	return id
}

// memalign serves an aligned request from a chunk with room to spare.
func (h *heap) memalign(size uint64, align uint32) (heapmodel.Ref, bool) {
	bytes := h.chunk(h.roomy(size, align))
	if bytes >= tooLarge {
		return heapmodel.NullRef, false
	}
	high := h.use.HighWater
	id := h.take(h.words(bytes))
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	h.use.HighWater = high // what is cut off was not used
	if gap := h.place(id, align); gap >= h.least {
		// [id..............] -> [free: gap][id......]
		id = h.cut(id, gap)
		h.t.Nodes[id].X = 1
		h.Free(heapmodel.Ref(h.t.Prev(id)))
	}
	words := h.t.Nodes[id].X + h.words(h.up(max(size, 1)))
	if h.t.Size(id) > words+h.least {
		// [id..............] -> [id: words][free]
		h.Free(heapmodel.Ref(h.cut(id, words)))
	}
	h.mark(id)
	return heapmodel.Ref(id), true
}

// cut cuts a used chunk at words and returns the upper part, used as well.
func (h *heap) cut(id blocks.ID, words uint32) blocks.ID {
	up := h.t.Split(id, words)
	h.t.SetUsed(up)
	h.use.UsedBlocks++
	return up
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	if !h.t.Live(blocks.ID(r)) {
		panic(fmt.Sprintf("newlibnano: free of object %d, which is not live", r))
	}
	id, nodes := blocks.ID(r), h.t.Nodes
	n := &nodes[id]
	low, after := n.Low&^blocks.UsedBit, n.High
	above := &nodes[after]
	u := &h.use
	u.UsedBlocks--
	size := h.bytes(above.Start - n.Start)
	u.Allocated -= size
	u.Free += size
	if low == blocks.None {
		low = id // which is used still
	}
	joinLow := nodes[low].Low&blocks.UsedBit == 0
	joinHigh := above.Low&blocks.UsedBit == 0 // an end node is used
	n.Low &^= blocks.UsedBit
	if !joinLow && !joinHigh {
		u.FreeBlocks++
		u.Steps += uint64(h.free.Rank(h.free.Insert(id, n.Start, above.Start-n.Start)))
		return
	}
	// One way to merge for both sides, so that no branch depends on which it is:
	// [low][id] -> [low.....] or [id][high] -> [id......]
	into, was, gone, steps := id, after, after, uint64(1)
	if joinLow {
		into, was, gone, steps = low, low, id, 2
	}
	if joinHigh {
		high := after
		after = above.High
		if joinLow {
			u.Steps++
			u.FreeBlocks--
			h.free.Remove(h.free.Find(high))
			h.t.Drop(high)
		}
	}
	merged, end := &nodes[into], &nodes[after]
	merged.High = after
	end.Low = into | end.Low&blocks.UsedBit
	p := h.free.Find(was)
	h.t.Drop(gone)
	u.Steps += uint64(h.free.Rank(p)) + steps
	h.free.Update(p, into, merged.Start, end.Start-merged.Start)
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("newlibnano: realloc of object %d, which is not live", r))
	}
	if size == 0 {
		h.Free(r)
		return heapmodel.NullRef, true
	}
	usable := h.bytes(h.t.Size(id) - h.t.Nodes[id].X)
	if size <= usable && (h.keepsAll || size > usable/2) {
		return r, true
	}
	return heapmodel.Move(h, r, size, 0)
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	n := &h.t.Nodes[r]
	return heapmodel.Addr(h.bytes(n.Start) + h.bytes(n.X))
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return align }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, alignment uint32) uint64 {
	if alignment != 0 {
		size = h.roomy(size, max(alignment, align))
	}
	return h.chunk(size)
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return h.bytes(h.free.Largest()) }

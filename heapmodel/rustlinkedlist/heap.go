package rustlinkedlist

import (
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// insert makes a block marked free a hole and returns its place.
func (h *heap) insert(id blocks.ID, words uint32) fit.Pos {
	if h.small.on {
		h.small.insert(&h.t, id, words)
	}
	p := h.holes.Insert(id, h.t.Nodes[id].Start, words)
	if !h.small.on && h.holes.Len() >= exactFrom {
		h.small.begin(&h.t, h.holes)
	}
	return p
}

// remove takes the hole at p off the list.
func (h *heap) remove(p fit.Pos) {
	if h.small.on {
		id, words := h.holes.At(p)
		h.small.remove(&h.t, id, words)
	}
	h.holes.Remove(p)
	if h.small.on && h.holes.Len() < exactTo {
		h.small.end()
	}
}

// swap is what the change of the hole at p to another of so many words is for
// the holes by exact size. What changes the list itself is a call of Update.
func (h *heap) swap(p fit.Pos, id blocks.ID, words uint32) {
	was, had := h.holes.At(p)
	h.small.remove(&h.t, was, had)
	h.small.insert(&h.t, id, words)
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	block := h.block(size)
	p, lead, passed := fit.NoPos, uint32(0), uint64(0)
	switch {
	case block > math.MaxUint32:
	case uint64(align) <= h.bytes(1):
		p, passed = h.find(uint32(block))
	default:
		p, lead, passed = h.findAligned(uint32(block), align>>(h.wordLog2&7))
	}
	u := &h.use
	if p == fit.NoPos {
		u.Steps += u.FreeBlocks
		return heapmodel.NullRef, false
	}
	u.Steps += passed + 1
	words := uint32(block)
	id, room := h.holes.At(p)
	used := h.carve(p, id, lead, words, room-lead-words)
	n := &h.t.Nodes[used]
	n.Low |= blocks.UsedBit
	bytes := h.bytes(words)
	u.Allocated += bytes
	u.Free -= bytes
	u.UsedBlocks++
	u.FreeBlocks = uint64(h.holes.Len())
	u.HighWater = max(u.HighWater, h.bytes(n.Start+words))
	return heapmodel.Ref(used), true
}

// carve takes words, lead words above its start, out of the hole at p, above
// which there are rest words, and returns the block.
func (h *heap) carve(p fit.Pos, id blocks.ID, lead, words, rest uint32) blocks.ID {
	if lead > 0 {
		// [id...........] -> [id: lead][used: words][rest]
		used := h.t.Split(id, lead)
		if h.small.on {
			h.swap(p, id, lead)
		}
		h.holes.Update(p, id, h.t.Nodes[id].Start, lead)
		if rest > 0 {
			h.insert(h.t.Split(used, words), rest)
		}
		return used
	}
	if rest == 0 {
		h.remove(p)
		return id
	}
	// [id...........] -> [id: words][up: rest]
	h.t.Spare()
	up, nodes := h.t.Pop(), h.t.Nodes
	n := &nodes[id]
	start, after := n.Start+words, n.High
	n.High = up
	b := &nodes[up]
	b.Start, b.Low, b.High = start, id, after
	above := &nodes[after]
	above.Low = up | above.Low&blocks.UsedBit
	if h.small.on {
		h.swap(p, up, rest)
	}
	h.holes.Update(p, up, start, rest)
	return id
}

// find returns the place of the first hole of exactly so many words, or of two
// more at least, and how many holes are before it.
func (h *heap) find(words uint32) (p fit.Pos, passed uint64) {
	if !h.small.on || words >= smallWords {
		return h.holes.Walk(words, words+1)
	}
	p = h.holes.FirstFit(words)
	if p == fit.NoPos {
		return p, 0
	}
	if _, room := h.holes.At(p); room == words+1 {
		p = h.holes.FirstFitFrom(p, words+2)
		if id := h.small.lowest(words); id != blocks.None {
			if q := h.holes.Find(id); p == fit.NoPos || h.holes.Key(q) < h.holes.Key(p) {
				p = q
			}
		}
		if p == fit.NoPos {
			return p, 0
		}
	}
	return p, uint64(h.holes.Rank(p))
}

// findAligned returns the place of the first hole that takes an object of so
// many words at a multiple of align, more than one, how many words stay a hole
// below it, and how many holes are before it.
func (h *heap) findAligned(words, align uint32) (p fit.Pos, lead uint32, passed uint64) {
	p = h.holes.FirstFit(words)
	for p != fit.NoPos {
		_, room := h.holes.At(p)
		lead, ok := leadOf(h.holes.Key(p), room, words, align)
		if ok {
			return p, lead, uint64(h.holes.Rank(p))
		}
		if p = h.holes.Next(p); p != fit.NoPos {
			p = h.holes.FirstFitFrom(p, words)
		}
	}
	return fit.NoPos, 0, 0
}

// leadOf returns how many words of a hole of room words lie below an object of
// so many words, and whether the hole takes it.
func leadOf(start, room, words, align uint32) (lead uint32, ok bool) {
	mask := uint64(align) - 1
	at := uint64(start)
	if at&mask != 0 {
		at = (at + leastWords + mask) &^ mask
	}
	end := at + uint64(words)
	rest := uint64(start) + uint64(room) - end
	if end > uint64(start)+uint64(room) || rest > 0 && rest < leastWords {
		return 0, false
	}
	return uint32(at - uint64(start)), true
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("rust-linked-list: free of object %d, which is not live", r))
	}
	nodes := h.t.Nodes
	n := &nodes[id]
	low, after := n.Low&^blocks.UsedBit, n.High
	above := &nodes[after]
	u := &h.use
	words := above.Start - n.Start
	u.Allocated -= h.bytes(words)
	u.Free += h.bytes(words)
	u.UsedBlocks--
	if low == blocks.None {
		low = id // which is used still
	}
	joinLow := nodes[low].Low&blocks.UsedBit == 0
	joinHigh := above.Low&blocks.UsedBit == 0 // the end node is used
	n.Low &^= blocks.UsedBit
	if !joinLow && !joinHigh {
		u.Steps += uint64(h.holes.Rank(h.insert(id, words)))
		u.FreeBlocks = uint64(h.holes.Len())
		return
	}
	// One way to join for both sides, so that no branch depends on which it is:
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
			h.remove(h.holes.Find(high))
			h.t.Drop(high)
		}
	}
	joined, end := &nodes[into], &nodes[after]
	joined.High = after
	end.Low = into | end.Low&blocks.UsedBit
	p := h.holes.Find(was)
	h.t.Drop(gone)
	u.Steps += uint64(h.holes.Rank(p)) + steps
	words = end.Start - joined.Start
	if h.small.on {
		h.swap(p, into, words)
	}
	h.holes.Update(p, into, joined.Start, words)
	u.FreeBlocks = uint64(h.holes.Len())
}

// Realloc implements heapmodel.Heap: there is none but GlobalAlloc's default.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r != heapmodel.NullRef && !h.t.Live(blocks.ID(r)) {
		panic(fmt.Sprintf("rust-linked-list: realloc of object %d, which is not live", r))
	}
	return heapmodel.Move(h, r, size, align)
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.bytes(h.t.Nodes[r].Start))
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.bytes(1)) }

// Need implements heapmodel.Heap. A hole at an aligned address serves an aligned
// request without anything below the object.
func (h *heap) Need(size uint64, _ uint32) uint64 {
	if size > math.MaxUint64-7 {
		return math.MaxUint64
	}
	return h.block(size) << (h.wordLog2 & 7)
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return h.bytes(h.holes.Largest()) }

// Native implements heapmodel.Native with what Heap::used, free, size and top
// return.
func (h *heap) Native() []heapmodel.Stat {
	size := h.use.Arena - h.use.Overhead
	return []heapmodel.Stat{
		{Key: "used_bytes", Value: h.use.Allocated},
		{Key: "free_bytes", Value: h.use.Free},
		{Key: "size_bytes", Value: size},
		{Key: "top", Value: size},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			start := heapmodel.Addr(h.bytes(h.t.Nodes[id].Start))
			b := heapmodel.Block{
				Addr: start, Size: h.bytes(h.t.Size(id)), Payload: start,
				Wall: id == h.first, Ref: heapmodel.NullRef,
			}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	if err := h.holes.Check(); err != nil {
		return err
	}
	var sum heapmodel.Usage
	small := 0
	p := h.holes.First()
	free := false
	for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		words := h.t.Size(id)
		at := h.bytes(h.t.Nodes[id].Start)
		if words < leastWords {
			return fmt.Errorf("block at %d has %d words", at, words)
		}
		if h.t.Used(id) {
			sum.UsedBlocks++
			sum.Allocated += h.bytes(words)
			free = false
			continue
		}
		if free {
			return fmt.Errorf("block at %d and the one below are free", at)
		}
		if p == fit.NoPos {
			return fmt.Errorf("the hole at %d is not on the list", at)
		}
		if got, size := h.holes.At(p); got != id || size != words || p != h.holes.Find(id) {
			return fmt.Errorf("the hole at %d is not in its place of the list", at)
		}
		if words < smallWords && h.small.on {
			small++
			y, q := int(h.t.Nodes[id].Y), h.small.bySize[words]
			if y >= len(q) || q[y] != id || h.t.Nodes[q[(max(y, 1)-1)/2]].Start > h.t.Nodes[id].Start {
				return fmt.Errorf("the hole at %d is not in its place among those of %d words", at, words)
			}
		}
		p = h.holes.Next(p)
		free = true
		sum.FreeBlocks++
		sum.Free += h.bytes(words)
	}
	for _, q := range h.small.bySize {
		small -= len(q)
	}
	u := h.use
	switch {
	case p != fit.NoPos || small != 0:
		return errors.New("the list has a hole that is not free")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}

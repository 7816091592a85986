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

// replace puts another hole in the place of the one at p.
func (h *heap) replace(p fit.Pos, id blocks.ID, words uint32) {
	if !h.small.on {
		h.holes.Update(p, id, h.t.Nodes[id].Start, words)
		return
	}
	was, had := h.holes.At(p)
	h.small.remove(&h.t, was, had)
	h.holes.Update(p, id, h.t.Nodes[id].Start, words)
	h.small.insert(&h.t, id, words)
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	block := h.block(size)
	p, lead := fit.NoPos, uint32(0)
	switch {
	case block > math.MaxUint32:
	case uint64(align) <= h.bytes(1):
		p = h.find(uint32(block))
	default:
		p, lead = h.findAligned(uint32(block), align>>(h.wordLog2&7))
	}
	u := &h.use
	if p == fit.NoPos {
		u.Steps += u.FreeBlocks
		return heapmodel.NullRef, false
	}
	u.Steps += uint64(h.holes.Rank(p)) + 1
	words := uint32(block)
	id, room := h.holes.At(p)
	room -= lead + words
	used := id
	if lead > 0 {
		// [id...........] -> [id: lead][used: words][rest]
		used = h.t.Split(id, lead)
		h.replace(p, id, lead)
		if room > 0 {
			h.insert(h.t.Split(used, words), room)
		}
	} else if room > 0 {
		// [id...........] -> [id: words][rest]
		h.replace(p, h.t.Split(id, words), room)
	} else {
		h.remove(p)
	}
	h.t.SetUsed(used)
	bytes := h.bytes(words)
	u.Allocated += bytes
	u.Free -= bytes
	u.UsedBlocks++
	u.FreeBlocks = uint64(h.holes.Len())
	u.HighWater = max(u.HighWater, h.bytes(h.t.Nodes[used].Start)+bytes)
	return heapmodel.Ref(used), true
}

// find returns the place of the first hole of exactly so many words, or of two
// more at least.
func (h *heap) find(words uint32) fit.Pos {
	p := h.holes.FirstFit(words)
	if p == fit.NoPos {
		return p
	}
	if _, room := h.holes.At(p); room != words+1 {
		return p
	}
	if words >= smallWords || !h.small.on {
		return h.findPast(p, words)
	}
	p = h.holes.FirstFitFrom(p, words+2)
	if id := h.small.lowest(words); id != blocks.None {
		if q := h.holes.Find(id); p == fit.NoPos || h.holes.Key(q) < h.holes.Key(p) {
			return q
		}
	}
	return p
}

// findPast passes over the holes that are too large by a word one by one, from
// p on.
func (h *heap) findPast(p fit.Pos, words uint32) fit.Pos {
	for p != fit.NoPos {
		if _, room := h.holes.At(p); room != words+1 {
			break
		}
		if p = h.holes.Next(p); p != fit.NoPos {
			p = h.holes.FirstFitFrom(p, words)
		}
	}
	return p
}

// findAligned returns the place of the first hole that takes an object of so
// many words at a multiple of align, more than one, and how many words stay a
// hole below it.
func (h *heap) findAligned(words, align uint32) (p fit.Pos, lead uint32) {
	p = h.holes.FirstFit(words)
	for p != fit.NoPos {
		_, room := h.holes.At(p)
		lead, ok := leadOf(h.holes.Key(p), room, words, align)
		if ok {
			return p, lead
		}
		if p = h.holes.Next(p); p != fit.NoPos {
			p = h.holes.FirstFitFrom(p, words)
		}
	}
	return fit.NoPos, 0
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
	words := h.t.Size(id)
	u := &h.use
	u.Allocated -= h.bytes(words)
	u.Free += h.bytes(words)
	u.UsedBlocks--
	h.t.SetFree(id)
	u.Steps += h.enter(id, words)
	u.FreeBlocks = uint64(h.holes.Len())
}

// enter puts a block marked free on the list, joined with the holes it touches,
// and returns the steps.
func (h *heap) enter(id blocks.ID, words uint32) (steps uint64) {
	low, high := h.t.Prev(id), h.t.Next(id)
	joinsLow := low != blocks.None && !h.t.Used(low)
	joinsHigh := !h.t.Used(high) // the end node is used
	if !joinsLow {
		if !joinsHigh {
			return uint64(h.holes.Rank(h.insert(id, words)))
		}
		// [id][high] -> [id......]
		p := h.holes.Find(high)
		words += h.t.Size(high)
		h.t.Merge(id)
		steps = uint64(h.holes.Rank(p)) + 1
		h.replace(p, id, words)
		return steps
	}
	if joinsHigh {
		words += h.t.Size(high)
		h.remove(h.holes.Find(high))
		h.t.Merge(id)
		steps++
	}
	// [low][id] -> [low.....]
	p := h.holes.Find(low)
	words += h.t.Size(low)
	h.t.Merge(low)
	steps += uint64(h.holes.Rank(p)) + 2
	h.replace(p, low, words)
	return steps
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

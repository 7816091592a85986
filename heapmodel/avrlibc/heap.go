package avrlibc

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// insert puts a block marked free on the list.
func (h *heap) insert(id blocks.ID) {
	start := h.t.Nodes[id].Start
	h.list.Insert(id, start, h.t.Size(id))
	h.rank.add(start)
}

// remove takes a block off the list.
func (h *heap) remove(id blocks.ID) {
	h.list.Remove(h.list.Find(id))
	h.rank.remove(h.t.Nodes[id].Start)
}

// below returns how many blocks on the list are lower than a block.
func (h *heap) below(id blocks.ID) uint64 { return h.rank.below(h.t.Nodes[id].Start) }

// onList reports whether a neighbour of a block is on the list.
func (h *heap) onList(id blocks.ID) bool {
	return id != blocks.None && id != h.top && !h.t.Used(id)
}

// settle brings the counters up to date after blocks changed, where now bytes
// are allocated that were not, modulo 2^64.
func (h *heap) settle(now uint64) {
	u := &h.use
	u.Allocated += now
	u.Free -= now
	u.FreeBlocks = uint64(h.list.Len())
	if h.room() > 0 {
		u.FreeBlocks++
	}
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *heap) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size > most {
		return heapmodel.NullRef, false
	}
	want := uint32(max(size, leastPayload)) + header
	length := uint64(h.list.Len())
	var id blocks.ID
	if p := h.list.FirstFit(want); p != fit.NoPos {
		id = h.take(p, want)
	} else {
		h.use.Steps += length
		if h.room() < want {
			return heapmodel.NullRef, false
		}
		id = h.top
		h.top = h.t.Split(id, want)
	}
	h.t.SetUsed(id)
	bytes := h.t.Size(id)
	h.use.UsedBlocks++
	h.settle(uint64(bytes))
	h.use.HighWater = max(h.use.HighWater, uint64(h.t.Nodes[id].Start+bytes))
	return heapmodel.Ref(id), true
}

// take takes the block on the list at p, or its high end.
func (h *heap) take(p fit.Pos, want uint32) blocks.ID {
	id, room := h.list.At(p)
	if room == want {
		h.use.Steps += h.below(id) + 1 // the search ends here
	} else {
		h.use.Steps += uint64(h.list.Len())
	}
	if room-want < leastBlock {
		h.remove(id)
		return id
	}
	// [id............] -> [id: rest][want]
	h.list.Update(p, id, h.t.Nodes[id].Start, room-want)
	return h.t.Split(id, room-want)
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := h.live(r, "free")
	bytes := uint64(h.t.Size(id))
	h.use.UsedBlocks--
	h.release(id)
	h.settle(-bytes)
}

// live returns the block of an object.
func (h *heap) live(r heapmodel.Ref, call string) blocks.ID {
	if !h.t.Live(blocks.ID(r)) {
		panic(fmt.Sprintf("avr-libc: %s of object %d, which is not live", call, r))
	}
	return blocks.ID(r)
}

// release gives a block back: to the list, joined with its neighbours, or to
// what is above the break.
func (h *heap) release(id blocks.ID) {
	h.t.SetFree(id)
	steps := &h.use.Steps
	low, high := h.t.Prev(id), h.t.Next(id)
	joinsLow := h.onList(low)
	if high == h.top {
		*steps += uint64(h.list.Len())
		if joinsLow {
			h.remove(low)
			h.t.Merge(low)
			id = low
			*steps++
		}
		// [id][top] -> [top.....]
		h.t.Merge(id)
		h.top = id
		return
	}
	*steps += h.below(id)
	if h.onList(high) {
		h.remove(high)
		h.t.Merge(id)
		*steps++
	}
	if joinsLow {
		p := h.list.Find(low)
		h.t.Merge(low)
		h.list.Update(p, low, h.t.Nodes[low].Start, h.t.Size(low))
		*steps++
		return
	}
	h.insert(id)
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := h.live(r, "realloc")
	switch {
	case size == 0:
		h.Free(r)
		return heapmodel.NullRef, true
	case size > most:
		return r, false
	}
	want := uint32(max(size, leastPayload)) + header
	was := h.t.Size(id)
	if want <= was {
		if was-want >= leastBlock {
			// [id............] -> [id: want][freed]
			h.release(h.t.Split(id, want))
			h.settle(-uint64(was - want))
		}
		return r, true
	}
	if high := h.t.Next(id); high == h.top {
		// The walk finds no block above; no block on the list may do either.
		h.use.Steps += uint64(h.list.Len())
		if want > h.list.Largest() {
			return r, h.raise(id, want-was)
		}
	} else if h.onList(high) && h.t.Size(high) >= want-was {
		h.use.Steps += h.below(high) + 1
		h.growInto(id, high, want-was)
		return r, true
	} else {
		h.use.Steps += uint64(h.list.Len())
	}
	return heapmodel.Move(h, r, size, 0)
}

// raise makes the block at the break so many bytes longer and reports whether
// the heap's end lets it, which the original keeps a byte away from.
func (h *heap) raise(id blocks.ID, more uint32) bool {
	if more >= h.room() {
		return false
	}
	h.t.Nodes[h.top].Start += more
	h.grown(id, more)
	return true
}

// growInto makes a block so many bytes longer at the cost of the free block
// above, of which 4 bytes or less do not remain.
func (h *heap) growInto(id, high blocks.ID, more uint32) {
	room := h.t.Size(high)
	h.remove(high)
	if room-more > leastBlock {
		// [id][high......] -> [id.....][high]
		h.t.Nodes[high].Start += more
		h.insert(high)
	} else {
		more = room
		h.t.Merge(id)
	}
	h.grown(id, more)
}

// grown accounts for so many bytes more of a used block.
func (h *heap) grown(id blocks.ID, more uint32) {
	h.settle(uint64(more))
	end := h.t.Nodes[h.t.Next(id)].Start
	h.use.HighWater = max(h.use.HighWater, uint64(end))
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.t.Nodes[r].Start + header)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return 1 }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, _ uint32) uint64 { return max(size, leastPayload) + header }

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return uint64(max(h.list.Largest(), h.room())) }

// Native implements heapmodel.Native. The original keeps no figures but its
// break; free_bytes are those on the list and above the break.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "break", Value: uint64(h.brk())},
		{Key: "free_bytes", Value: h.use.Free},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			start := heapmodel.Addr(h.t.Nodes[id].Start)
			b := heapmodel.Block{
				Addr: start, Size: uint64(h.t.Size(id)), Payload: start,
				Wall: id == h.first, Ref: heapmodel.NullRef,
			}
			if b.Size == 0 {
				return // nothing above the break
			}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += header
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	if err := h.list.Check(); err != nil {
		return err
	}
	var sum heapmodel.Usage
	free := false
	listed := uint64(0)
	for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		size, start := h.t.Size(id), h.t.Nodes[id].Start
		switch {
		case size < leastBlock && id != h.top:
			return fmt.Errorf("block at %d has %d bytes", start, size)
		case h.t.Used(id):
			sum.UsedBlocks++
			sum.Allocated += uint64(size)
			free = false
			continue
		case free:
			return fmt.Errorf("block at %d and the one below are free", start)
		}
		free = true
		sum.Free += uint64(size)
		if size > 0 {
			sum.FreeBlocks++
		}
		if id == h.top {
			continue
		}
		if got, in := h.list.At(h.list.Find(id)); got != id || in != size || h.rank.below(start) != listed || h.rank.below(start+1) != listed+1 {
			return fmt.Errorf("free block at %d is not in its place of the list", start)
		}
		listed++
	}
	u := h.use
	switch {
	case h.t.Used(h.top) || h.t.Next(h.t.Next(h.top)) != blocks.None:
		return fmt.Errorf("the break is at %d, within the blocks", h.brk())
	case listed != uint64(h.list.Len()) || h.rank.below(h.brk()) != listed || h.rank.below(most) != listed:
		return fmt.Errorf("%d blocks are on the list, %d free below the break", h.list.Len(), listed)
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free:
		return fmt.Errorf("arena of %d bytes is not %d allocated and %d free", u.Arena, u.Allocated, u.Free)
	}
	return nil
}

package rustbuddy

import (
	"fmt"
	"iter"
	"math"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// push puts a free block on the stack of its class.
func (h *heap) push(id blocks.ID, class uint32) {
	h.t.Nodes[id].Y = class
	h.stacks[class&classMask].push(&h.t, id)
	h.some |= 1 << (class & classMask)
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	class := h.class(size, align)
	if class >= order {
		return heapmodel.NullRef, false
	}
	u := &h.use
	fits := h.some >> class
	if fits == 0 {
		u.Steps += uint64(order - class)
		return heapmodel.NullRef, false
	}
	halvings := uint32(bits.TrailingZeros32(fits))
	u.Steps += uint64(halvings) + 1
	from := class + halvings
	s := &h.stacks[from&classMask]
	id := s.pop()
	if s.length == 0 {
		h.some &^= 1 << (from & classMask)
	}
	for c := from; c > class; {
		// [id....................] -> [id: half][pushed]
		c--
		h.push(h.t.Split(id, 1<<((c-h.wordLog2)&classMask)), c)
	}
	n := &h.t.Nodes[id]
	n.Low |= blocks.UsedBit
	n.X, n.Y = class, uint32(size)
	bytes := uint64(1) << (class & classMask)
	h.user += size
	u.Allocated += bytes
	u.Free -= bytes
	u.UsedBlocks++
	u.FreeBlocks += uint64(halvings) - 1
	u.HighWater = max(u.HighWater, uint64(n.Start)<<(h.wordLog2&3)+bytes)
	return heapmodel.Ref(id), true
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("rust-buddy: free of object %d, which is not live", r))
	}
	nodes := h.t.Nodes
	n := &nodes[id]
	n.Low &^= blocks.UsedBit
	class := n.X & classMask
	bytes := uint64(1) << class
	u := &h.use
	h.user -= uint64(n.Y)
	u.Allocated -= bytes
	u.Free += bytes
	u.UsedBlocks--
	u.FreeBlocks++
	for ; class < order-1; class++ {
		upper := n.Start>>((class-h.wordLog2)&classMask)&1 == 1
		buddy := n.High
		if upper {
			buddy = n.Low // no flag: id is marked free
		}
		s := &h.stacks[class&classMask]
		// Nothing is below the lowest block, but that is no upper half.
		if b := &nodes[buddy]; b.Low&blocks.UsedBit != 0 || b.Y != class {
			u.Steps += uint64(s.length)
			break
		}
		slot := nodes[buddy].X
		u.Steps += uint64(s.above(slot)) + 2 // the buddy, and the merge
		s.remove(slot)
		if s.length == 0 {
			h.some &^= 1 << (class & classMask)
		}
		u.FreeBlocks--
		if upper {
			id = buddy
			n = &nodes[id]
		}
		h.t.Merge(id)
	}
	h.push(id, class)
}

// Realloc implements heapmodel.Heap: there is none but GlobalAlloc's default.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r != heapmodel.NullRef && !h.t.Live(blocks.ID(r)) {
		panic(fmt.Sprintf("rust-buddy: realloc of object %d, which is not live", r))
	}
	return heapmodel.Move(h, r, size, align)
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.t.Nodes[r].Start) << h.wordLog2
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return 1 << h.wordLog2 }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 {
	if class := h.class(size, align); class < 64 {
		return 1 << class
	}
	return math.MaxUint64
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return 1 << bits.Len32(h.some) >> 1 }

// Native implements heapmodel.Native with the crate's stats_alloc_user,
// stats_alloc_actual and stats_total_bytes. free_bytes is the difference of the
// last two.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "user_bytes", Value: h.user},
		{Key: "allocated_bytes", Value: h.use.Allocated},
		{Key: "total_bytes", Value: h.use.Arena - h.use.Overhead},
		{Key: "free_bytes", Value: h.use.Free},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			start := heapmodel.Addr(h.t.Nodes[id].Start) << h.wordLog2
			b := heapmodel.Block{
				Addr: start, Size: uint64(h.t.Size(id)) << h.wordLog2, Payload: start,
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
	var sum heapmodel.Usage
	var user uint64
	var count [order]uint32
	for id := h.first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		n := h.t.Nodes[id]
		size := h.t.Size(id)
		at := uint64(n.Start) << h.wordLog2
		if size&(size-1) != 0 || n.Start&(size-1) != 0 {
			return fmt.Errorf("block at %d has %d words", at, size)
		}
		bytes := uint64(size) << h.wordLog2
		if h.t.Used(id) {
			sum.UsedBlocks++
			sum.Allocated += bytes
			user += uint64(n.Y)
			if bytes != 1<<n.X {
				return fmt.Errorf("object at %d has class %d, its block %d bytes", at, n.X, bytes)
			}
			continue
		}
		class := uint32(bits.TrailingZeros64(bytes))
		if n.Y != class {
			return fmt.Errorf("free block at %d has class %d and %d bytes", at, n.Y, bytes)
		}
		if s := &h.stacks[class]; n.X >= s.top || s.slots[n.X] != id || s.live[n.X>>wordLog2]>>(n.X&63)&1 == 0 {
			return fmt.Errorf("free block at %d is not on its stack", at)
		}
		count[class]++
		sum.FreeBlocks++
		sum.Free += bytes
		up := n.High
		if class < order-1 && n.Start&size == 0 && !h.t.Used(up) && h.t.Size(up) == size {
			return fmt.Errorf("block at %d and its buddy are free", at)
		}
	}
	for class := range h.stacks {
		if err := h.checkStack(class, count[class]); err != nil {
			return err
		}
	}
	u := h.use
	switch {
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	case user != h.user:
		return fmt.Errorf("objects have %d bytes, the counter says %d", user, h.user)
	}
	return nil
}

// checkStack checks the stack of a class that is to have so many blocks.
func (h *heap) checkStack(class int, blocks uint32) error {
	s := &h.stacks[class]
	total := uint32(0)
	for w, word := range s.live {
		total += uint32(bits.OnesCount64(word))
		below := uint32(0)
		for i := w + 1; i > 0; i &= i - 1 {
			below += s.tally[i-1]
		}
		if below != total && len(s.tally) > 1 {
			return fmt.Errorf("class %d: the tree counts %d blocks up to word %d, not %d", class, below, w, total)
		}
	}
	switch {
	case s.length != blocks || total != blocks:
		return fmt.Errorf("class %d: %d blocks on the stack, %d marked, %d free", class, s.length, total, blocks)
	case h.some>>class&1 == 1 != (blocks > 0):
		return fmt.Errorf("class %d: the bitmap is wrong about its %d blocks", class, blocks)
	case s.top > 0 && s.live[(s.top-1)>>wordLog2]>>((s.top-1)&63)&1 == 0:
		return fmt.Errorf("class %d: a gap on top", class)
	}
	return nil
}

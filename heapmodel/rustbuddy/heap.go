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
	u := &h.use
	fits := h.some >> class
	class &= classMask
	var n *blocks.Node
	var id blocks.ID
	if fits&1 != 0 {
		s := &h.stacks[class]
		live := s.live
		if live == 0 {
			s.lower()
			live = s.live
		}
		i := uint32(bits.Len64(live)) - 1
		id = s.top[i%perWord]
		live &^= 1 << (i % perWord)
		s.live = live
		h.some &^= isNone(live, s.below) << class
		n = &h.t.Nodes[id]
		u.Steps++
		u.FreeBlocks--
	} else {
		if fits == 0 {
			u.Steps += uint64(order - min(h.class(size, align), order))
			return heapmodel.NullRef, false
		}
		id = h.halve(class)
		n = &h.t.Nodes[id]
		n.Y = class
	}
	n.Low |= blocks.UsedBit
	n.X = uint32(size)
	h.user += size
	bytes := uint64(1) << class
	u.Allocated += bytes
	u.Free -= bytes
	u.UsedBlocks++
	if end := uint64(n.Start)<<(h.wordLog2&3) + bytes; end > u.HighWater {
		u.HighWater = end
	}
	return heapmodel.Ref(id), true
}

// isNone returns 1 if a stack has no blocks in its top word nor below, else 0.
// There is no branch in it, which would go either way at random.
func isNone(live uint64, below uint32) uint32 {
	none := uint32(0)
	if live|uint64(below) == 0 {
		none = 1
	}
	return none
}

// halve takes a block of the lowest class above one that has any and halves it
// down to that class. It returns the lowest part:
//
//	[id....................] -> [id][pushed][pushed    ]
func (h *heap) halve(class uint32) blocks.ID {
	halvings := uint32(bits.TrailingZeros32(h.some >> class))
	h.use.Steps += uint64(halvings) + 1
	h.use.FreeBlocks += uint64(halvings) - 1
	from := class + halvings
	s := &h.stacks[from&classMask]
	id := s.pop()
	h.some &^= isNone(s.live, s.below) << (from & classMask)
	for from > class {
		from--
		h.push(h.t.Split(id, 1<<((from-h.wordLog2)&classMask)), from)
	}
	return id
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	id, nodes := blocks.ID(r), h.t.Nodes
	if uint64(id) >= uint64(len(nodes)) {
		mustBeNull(r)
		return
	}
	n := &nodes[id]
	low, buddy := n.Low, n.High
	if low&blocks.UsedBit == 0 || uint64(buddy) >= uint64(len(nodes)) {
		panicDead()
	}
	low &^= blocks.UsedBit
	n.Low = low
	class := n.Y & classMask
	u := &h.use
	h.user -= uint64(n.X)
	bytes := uint64(1) << class
	u.Allocated -= bytes
	u.Free += bytes
	u.UsedBlocks--
	u.FreeBlocks++
	// The buddy of an upper half is below. Here, too, a branch would go either way.
	buddy ^= (buddy ^ low) & -(n.Start >> ((class - h.wordLog2) & classMask) & 1)
	b := &nodes[buddy]
	if b.Low>>31|(b.Y^class) == 0 || class == order-1 {
		h.merge(id, class)
		return
	}
	s := &h.stacks[class]
	live := s.live
	u.Steps += uint64(s.below) + uint64(bits.OnesCount64(live))
	h.some |= 1 << class
	i := uint32(bits.Len64(live))
	if i == perWord || s.top == nil {
		s.push(&h.t, id)
		return
	}
	s.top[i%perWord] = id
	s.live = live | 1<<(i%perWord)
	n.X = s.base + i
}

// merge joins a free block, which is on no stack, with its buddy if that is free,
// too, and the result with its own, as often as possible, and puts it on the
// stack of its class.
func (h *heap) merge(id blocks.ID, class uint32) {
	nodes := h.t.Nodes
	u := &h.use
	for ; class < order-1; class++ {
		n := &nodes[id]
		upper := n.Start>>((class-h.wordLog2)&classMask)&1 == 1
		buddy := n.High
		if upper {
			buddy = n.Low // no flag: id is marked free
		}
		s := &h.stacks[class&classMask]
		b := &nodes[buddy]
		if b.Low>>31|(b.Y^class) != 0 {
			u.Steps += uint64(s.length())
			break
		}
		u.Steps += uint64(s.above(b.X)) + 2 // the buddy, and the merge
		s.remove(b.X)
		h.some &^= isNone(s.live, s.below) << (class & classMask)
		u.FreeBlocks--
		if upper {
			id = buddy
		}
		h.t.Merge(id)
	}
	h.push(id, class)
}

// mustBeNull panics unless the Ref is that of a null pointer.
func mustBeNull(r heapmodel.Ref) {
	if r != heapmodel.NullRef {
		panicDead()
	}
}

func panicDead() { panic("rust-buddy: the Ref is not that of a live object") }

// Realloc implements heapmodel.Heap: there is none but GlobalAlloc's default.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r != heapmodel.NullRef && !h.t.Live(blocks.ID(r)) {
		panicDead()
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
			user += uint64(n.X)
			if bytes != 1<<n.Y {
				return fmt.Errorf("object at %d has class %d, its block %d bytes", at, n.Y, bytes)
			}
			continue
		}
		class := uint32(bits.TrailingZeros64(bytes))
		if n.Y != class {
			return fmt.Errorf("free block at %d has class %d and %d bytes", at, n.Y, bytes)
		}
		if s := &h.stacks[class]; !s.has(n.X) || s.rest.slots[n.X] != id {
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
	below := uint32(0)
	for w := range s.base / perWord {
		below += uint32(bits.OnesCount64(s.rest.words[w]))
		sum := uint32(0)
		for i := w + 1; i > 0; i &= i - 1 {
			sum += s.rest.tally[i-1]
		}
		if sum != below {
			return fmt.Errorf("class %d: the tree counts %d blocks up to word %d, not %d", class, sum, w, below)
		}
	}
	switch {
	case s.below != below || s.length() != blocks:
		return fmt.Errorf("class %d: %d blocks on the stack, %d are free; %d in the words below the top, the bitmap has %d",
			class, s.length(), blocks, s.below, below)
	case h.some>>class&1 == 1 != (blocks > 0):
		return fmt.Errorf("class %d: the bitmap is wrong about its %d blocks", class, blocks)
	}
	return nil
}

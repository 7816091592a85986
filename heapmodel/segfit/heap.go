package segfit

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	block := h.Block(size)
	need := h.aligned(block, align)
	if need > h.Reach() {
		return heapmodel.NullRef, false
	}
	want := uint32(need >> h.Shift)
	id := h.find(want)
	if id == blocks.None {
		if !h.grow(want) {
			return heapmodel.NullRef, false
		}
		id = h.find(want)
	}
	return heapmodel.Ref(h.take(id, uint32(block>>h.Shift), uint64(align))), true
}

// aligned returns the bytes of a free block in which a block of the given size
// finds a payload of the given alignment, wherever the block starts: the gap in
// front is nothing or a block of its own.
func (h *heap) aligned(block uint64, align uint32) uint64 {
	if uint64(align) <= h.Grain {
		return block
	}
	return block + uint64(align) + h.Least
}

// classOf returns the class of blocks of so many granules.
func (h *heap) classOf(size uint32) int {
	low, high := 0, len(h.bounds)
	for high-low > 1 {
		if mid := int(uint(low+high) / 2); h.bounds[mid] <= size {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// find returns the free block that the policy takes for want granules, None if
// there is none, and counts the steps. The block stays on its list.
func (h *heap) find(want uint32) blocks.ID {
	class := h.classOf(want)
	h.use.Steps++
	if h.has(class) {
		if id := h.look(h.lists[class], want); id != blocks.None {
			return id
		}
	}
	higher := h.above(class)
	if higher == len(h.bounds) {
		h.use.Steps += uint64(higher - class - 1)
		return blocks.None
	}
	h.use.Steps += uint64(higher - class)
	return h.look(h.lists[higher], want)
}

// look looks through one list.
func (h *heap) look(x *fit.SlimIndex, want uint32) blocks.ID {
	p := x.FirstFit(want)
	switch {
	case h.best || p == fit.NoPos:
		h.use.Steps += uint64(x.Len())
	default:
		h.use.Steps += uint64(x.Rank(p)) + 1
	}
	if p == fit.NoPos {
		return blocks.None
	}
	id, _ := x.At(p)
	return id
}

// has reports whether a class has blocks.
func (h *heap) has(class int) bool { return h.filled[class/64]>>(class%64)&1 != 0 }

// above returns the lowest class above one that has blocks, the number of
// classes if there is none.
func (h *heap) above(class int) int {
	class++
	for set := class / 64; set < len(h.filled); set++ {
		word := h.filled[set]
		if set == class/64 {
			word = word >> (class % 64) << (class % 64)
		}
		if word != 0 {
			return set*64 + bits.TrailingZeros64(word)
		}
	}
	return len(h.bounds)
}

// enter puts a free block on the list of its class.
func (h *heap) enter(id blocks.ID) {
	size := h.t.Size(id)
	class := h.classOf(size)
	x := h.lists[class]
	if x == nil {
		order := fit.ByKey
		if h.best {
			order = fit.BySize
		}
		x = fit.NewLean(&h.t, order)
		h.lists[class] = x
	}
	h.filled[class/64] |= 1 << (class % 64)
	p := x.Insert(id, h.newKey(id), size)
	if h.order == byAddress && !h.best {
		h.use.Steps += uint64(x.Rank(p))
	}
	h.use.FreeBlocks++
}

// unlink takes a free block off its list.
func (h *heap) unlink(id blocks.ID) {
	class := h.classOf(h.t.Size(id))
	x := h.lists[class]
	x.Remove(x.Find(id))
	if x.Len() == 0 {
		h.filled[class/64] &^= 1 << (class % 64)
	}
	h.use.FreeBlocks--
}

// newKey returns the key of a block that goes on a list.
func (h *heap) newKey(id blocks.ID) uint32 {
	switch h.order {
	case lifo:
		if h.key == 1 {
			h.renumber()
		}
		h.key--
	case fifo:
		if h.key == 1<<32-2 {
			h.renumber()
		}
		h.key++
	default:
		return h.t.Nodes[id].Start
	}
	return h.key
}

// renumber gives the blocks of all lists keys from the middle of the range on,
// once in two thousand million frees.
func (h *heap) renumber() {
	longest := 0
	for _, x := range h.lists {
		if x != nil {
			x.Rekey(middle)
			longest = max(longest, x.Len())
		}
	}
	h.key = middle
	if h.order == fifo {
		h.key += uint32(longest)
	}
}

// take makes part of a free block a used block of want granules with an aligned
// payload: [id...........] -> [id: gap][mid: want][up: rest].
func (h *heap) take(id blocks.ID, want uint32, align uint64) blocks.ID {
	h.unlink(id)
	if align > h.Grain {
		payload := h.At(h.t.Nodes[id].Start) + h.Header
		gap := (align - payload%align) % align
		for gap > 0 && gap < h.Least {
			gap += align
		}
		if gap > 0 {
			mid := h.t.Split(id, uint32(gap>>h.Shift))
			h.enter(id)
			id = mid
		}
	}
	h.cut(id, want)
	h.t.SetUsed(id)
	bytes := h.Bytes(h.t.Size(id))
	u := &h.use
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	u.HighWater = max(u.HighWater, h.At(h.t.Nodes[id].Start)+bytes)
	return id
}

// cut cuts a block that is on no list to want granules and puts what remains
// on one, if it is large enough. The block above is used.
func (h *heap) cut(id blocks.ID, want uint32) {
	if rest := h.t.Size(id) - want; rest > 0 && h.Bytes(rest) >= h.threshold {
		h.enter(h.t.Split(id, want))
	}
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := h.live(r)
	bytes := h.Bytes(h.t.Size(id))
	u := &h.use
	u.UsedBlocks--
	u.Allocated -= bytes
	u.Free += bytes
	h.put(id)
}

// live returns the block of a live object and panics if there is none.
func (h *heap) live(r heapmodel.Ref) blocks.ID {
	if !h.t.Live(blocks.ID(r)) {
		panic("segfit: the Ref is not that of a live object")
	}
	return blocks.ID(r)
}

// put marks a block free, joins it with its free neighbours and puts it on a
// list.
func (h *heap) put(id blocks.ID) {
	h.t.SetFree(id)
	if high := h.t.Next(id); !h.t.Used(high) { // an end node is used
		h.unlink(high)
		h.t.Merge(id)
		h.use.Steps++
	}
	if low := h.t.Prev(id); low != blocks.None && !h.t.Used(low) {
		h.unlink(low)
		h.t.Merge(low)
		h.use.Steps++
		id = low
	}
	h.enter(id)
}

// grow raises the break so that a block of want granules fits at the end, and
// reports whether it may.
func (h *heap) grow(want uint32) bool {
	top := h.Top(h.brk)
	missing := want
	if h.end != blocks.None {
		if last := h.t.Prev(h.end); !h.t.Used(last) {
			missing -= min(want, h.t.Size(last))
		}
	}
	size, ok := h.Quanta(h.brk, h.At(top)+h.Bytes(missing)-h.brk)
	if !ok {
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: h.Bytes(want), Free: h.use.Free, LargestFree: h.LargestFree()}
	h.obtain(size)
	return true
}

// obtain raises the break by size bytes, which end at least a granule above the
// last block. They are a freed block.
func (h *heap) obtain(size uint64) {
	was := h.Top(h.brk)
	h.brk += size
	to := h.Top(h.brk)
	more := h.Bytes(to - was)
	u := &h.use
	u.Arena += size
	u.Free += more
	// The difference may be negative when lost bytes become part of a block.
	u.Overhead += size - more
	if h.end == blocks.None {
		h.first = h.t.Region(was, to)
		h.end = h.t.Next(h.first)
		h.enter(h.first)
		return
	}
	last := h.t.Prev(h.end)
	length := h.t.Size(last)
	h.t.MoveEnd(h.end, to)
	if h.t.Used(last) {
		h.enter(h.t.Split(last, length))
		return
	}
	// The free last block grows, and moves to the list of its new size.
	up := h.t.Split(last, length)
	h.put(up)
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := h.live(r)
	if h.inPlace && size <= heapmodel.MaxSize {
		if block := h.Block(size); block <= h.Reach() && h.resize(id, uint32(block>>h.Shift)) {
			return r, true
		}
	}
	return heapmodel.Move(h, r, size, align)
}

// resize makes a used block want granules long where it is, if it is long
// enough with a free upper neighbour.
func (h *heap) resize(id blocks.ID, want uint32) bool {
	was := h.t.Size(id)
	if want > was {
		high := h.t.Next(id)
		if h.t.Used(high) || uint64(was)+uint64(h.t.Size(high)) < uint64(want) {
			return false
		}
		// [id][high......] -> [id............]
		h.unlink(high)
		h.t.Merge(id)
		h.cut(id, want)
	} else if rest := was - want; rest > 0 && h.Bytes(rest) >= h.threshold {
		h.put(h.t.Split(id, want))
	}
	u := &h.use
	now := h.Bytes(h.t.Size(id))
	u.Allocated += now - h.Bytes(was)
	u.Free -= now - h.Bytes(was)
	u.HighWater = max(u.HighWater, h.At(h.t.Nodes[id].Start)+now)
	return true
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.At(h.t.Nodes[r].Start) + h.Header)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.Grain) }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 { return h.aligned(h.Block(size), align) }

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 {
	for set := len(h.filled) - 1; set >= 0; set-- {
		if word := h.filled[set]; word != 0 {
			return h.Bytes(h.lists[set*64+bits.Len64(word)-1].Largest())
		}
	}
	return 0
}

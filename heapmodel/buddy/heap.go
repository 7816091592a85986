package buddy

import (
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// room returns the bytes of a block, less rounding, for a request of at most
// heapmodel.MaxSize.
func (h *heap) room(size uint64, align uint32) uint64 {
	a := uint64(align)
	size = max(size, 1) // so that the payload begins in the block
	switch {
	case a <= h.Grain:
		return size + h.Header
	case h.sys.aligned:
		// The block lies at a multiple of a, or of more.
		return max(a, (h.Pad+h.Header+a-1)&^(a-1)-h.Pad+size)
	}
	return size + h.Header + a - h.Grain
}

// class returns the class that serves a request; ok is false if no heap can.
func (h *heap) class(size uint64, align uint32) (class uint8, ok bool) {
	if size > heapmodel.MaxSize {
		return 0, false
	}
	units := (h.room(size, align) + 1<<h.Shift - 1) >> h.Shift
	if units > mostUnits {
		return 0, false
	}
	class = h.sys.ceil(units)
	if uint64(align) > h.Grain && h.sys.series[class] == 1 {
		class++ // the next power of two
	}
	return class, true
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	class, ok := h.class(size, align)
	if !ok {
		return heapmodel.NullRef, false
	}
	from, ok := h.find(class)
	if !ok {
		if class, from, ok = h.makeRoom(class, uint64(align) > h.Grain); !ok {
			return heapmodel.NullRef, false
		}
	}
	id := h.split(h.pop(from), from, class)
	n := &h.t.Nodes[id]
	n.Low |= blocks.UsedBit
	at := uint64(n.Start)<<h.Shift + h.Pad
	front := h.Header
	if a := uint64(align); a > h.Grain {
		front = (at+front+a-1)&^(a-1) - at
	}
	n.Y = uint32(front)
	bytes := h.bytes(h.tags[id].class())
	u := &h.use
	u.Allocated += bytes
	u.Free -= bytes
	u.UsedBlocks++
	u.FreeBlocks--
	u.HighWater = max(u.HighWater, at+bytes)
	return heapmodel.Ref(id), true
}

// find returns the lowest class from which a request can be served and whose
// list has blocks, and counts the lists looked at.
func (h *heap) find(class uint8) (from uint8, ok bool) {
	above := h.sys.member[h.sys.series[class]] >> class << class
	found := h.some & above
	if found == 0 {
		h.use.Steps += uint64(bits.OnesCount64(above & h.fits))
		return 0, false
	}
	from = uint8(bits.TrailingZeros64(found))
	h.use.Steps += uint64(bits.OnesCount64(above << (lists - 1 - from)))
	return from, true
}

// makeRoom looks for a block where a request is not looked for at first. It
// returns the class to which the block found has to be split.
func (h *heap) makeRoom(class uint8, aligned bool) (to, from uint8, ok bool) {
	if h.spill {
		other := class + 1
		for other < classes && h.sys.series[other] == h.sys.series[class] {
			other++
		}
		// The blocks of threes are not aligned.
		if other < lists && !aligned {
			if from, ok = h.find(other); ok {
				return other, from, true
			}
		}
	}
	if h.Quantum == 0 || !h.grow(class) {
		return 0, 0, false
	}
	from, ok = h.find(class)
	return class, from, ok
}

// split splits a block that is on no list until it is of the class, or cannot
// be split so that a part is, and returns it.
func (h *heap) split(id blocks.ID, from, class uint8) blocks.ID {
	s := h.sys
	for from > class && s.low[from] != none {
		// [id.............] -> [id: larger][up: smaller]
		own := h.tags[id]
		lowPart, highPart := s.low[from], s.high[from]
		up := h.t.Split(id, uint32(s.size[lowPart]))
		if int(up) >= len(h.tags) {
			h.moreTags()
		}
		h.tags[id] = tagOf(lowPart, low, own.role())
		h.tags[up] = tagOf(highPart, s.upper[from], own.memory())
		if highPart >= class && highPart < lowPart {
			h.push(id, lowPart)
			id, from = up, highPart
		} else {
			h.push(up, highPart)
			from = lowPart
		}
		h.use.FreeBlocks++
	}
	return id
}

// moreTags makes room for the tags of all records of the table.
//
//go:noinline
func (h *heap) moreTags() {
	grown := make([]tag, cap(h.t.Nodes))
	copy(grown, h.tags)
	h.tags = grown
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("buddy: free of object %d, which is not live", r))
	}
	h.t.SetFree(id)
	bytes := h.bytes(h.tags[id].class())
	u := &h.use
	u.Allocated -= bytes
	u.Free += bytes
	u.UsedBlocks--
	u.FreeBlocks++
	h.release(id)
}

// release joins a free block that is on no list with its buddy, again and
// again, and puts it on its list.
func (h *heap) release(id blocks.ID) {
	s := h.sys
	own := h.tags[id]
	class := own.class()
	for {
		parent := s.parent[own.role()][class]
		n := &h.t.Nodes[id]
		var buddy blocks.ID
		var want uint8
		if own.role() == low {
			want = s.high[parent]
			if uint64(n.Start)+s.size[parent] > h.end {
				break // the buddy would end beyond the arena
			}
			buddy = n.High
		} else {
			want = s.low[parent]
			buddy = n.Low // no flag: id is marked free
		}
		h.use.Steps++
		// Beside the block is its buddy, or part of it, which is of a lower
		// class, or memory of the other tree.
		if buddy == blocks.None || h.t.Used(buddy) || h.tags[buddy].class() != want {
			break
		}
		h.remove(buddy, want)
		h.use.Steps++
		h.use.FreeBlocks--
		other := h.tags[buddy]
		if own.role() == low {
			own = tagOf(parent, own.memory(), other.memory())
		} else {
			own = tagOf(parent, other.memory(), own.memory())
			id = buddy
		}
		h.t.Merge(id)
		h.tags[id] = own
		class = parent
	}
	h.push(id, class)
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("buddy: realloc of object %d, which is not live", r))
	}
	if h.inPlace {
		// The payload of an aligned object may lie so that less fits than usual.
		class, ok := h.class(size, 0)
		if has := h.tags[id].class(); ok && class == has && uint64(h.t.Nodes[id].Y)+size <= h.bytes(has) {
			return r, true
		}
	}
	return heapmodel.Move(h, r, size, align)
}

// push puts a free block on the list of its class.
func (h *heap) push(id blocks.ID, class uint8) {
	h.some |= 1 << (class & (lists - 1))
	if h.order == byAddress {
		h.insert(id, class)
		return
	}
	nodes := h.t.Nodes
	n, head := &nodes[id], &nodes[class]
	if h.order == fifo {
		last := head.Y
		n.X, n.Y = blocks.ID(class), last
		nodes[last].X, head.Y = id, id
		return
	}
	front := head.X
	n.X, n.Y = front, blocks.ID(class)
	nodes[front].Y, head.X = id, id
}

// insert is push in address order.
func (h *heap) insert(id blocks.ID, class uint8) {
	x := h.index[class]
	if x == nil {
		x = fit.NewLean(&h.t, fit.ByKey)
		h.index[class] = x
	}
	p := x.Insert(id, h.t.Nodes[id].Start, 1)
	if x.Len() > 1 {
		h.use.Steps += uint64(x.Rank(p))
	}
}

// remove takes a free block off the list of its class.
func (h *heap) remove(id blocks.ID, class uint8) {
	if h.order == byAddress {
		x := h.index[class]
		x.Remove(x.Find(id))
		if x.Len() == 0 {
			h.some &^= 1 << class
		}
		return
	}
	nodes := h.t.Nodes
	next, prev := nodes[id].X, nodes[id].Y
	nodes[prev].X, nodes[next].Y = next, prev
	if next == prev && next == blocks.ID(class) {
		h.some &^= 1 << class
	}
}

// pop takes the first block off the list of a class, which has one.
func (h *heap) pop(class uint8) blocks.ID {
	id := h.t.Nodes[class].X
	if h.order == byAddress {
		x := h.index[class]
		id, _ = x.At(x.First())
	}
	h.remove(id, class)
	return id
}

// bytes returns the bytes of a block of the class.
func (h *heap) bytes(class uint8) uint64 { return h.sys.size[class] << h.Shift }

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	n := &h.t.Nodes[r]
	return heapmodel.Addr(uint64(n.Start)<<h.Shift + h.Pad + uint64(n.Y))
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.Grain) }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 {
	if class, ok := h.class(size, align); ok {
		return h.bytes(class)
	}
	return h.room(size, align)
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 {
	if h.some == 0 {
		return 0
	}
	return h.bytes(uint8(bits.Len64(h.some)) - 1)
}

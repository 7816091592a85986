package tlsf

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Lengths are in words of the modelled machine (4 or 8 bytes), the granules of
// the block table. A block of the table begins with its size word, so it is
// one word longer than what upstream calls its size: the payload.
const (
	minPayload = 3 // two list links and the back pointer of a free block
	minRest    = 4 // the smallest block with its size word
)

// Classes are numbered through both levels. There are 32 times 24 or 25; one
// more is what a search for the largest payload asks for, and finds empty.
const (
	heads = 832 // records that are list heads: classes in whole words of filled
	sets  = 16  // words of filled, a power of two
)

// heap is a TLSF heap in one state. Its free lists are rings through X (next)
// and Y (previous); the record whose ID is a class is the head of its ring.
type heap struct {
	t      blocks.Table
	filled [sets]uint64 // a bit for each class: its list has blocks
	machine
	limit uint64 // the largest request, bytes
	use   heapmodel.Usage

	pools   []blocks.ID // the first block of each pool, in address order
	end     uint64      // of the arena
	quantum uint64      // least bytes of a pool added to grow; 0 if the heap is fixed
	reach   uint64      // address up to which it may grow
	short   uint64      // reallocs answered with too small a block, see Realloc
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if align > h.word {
		return h.allocAligned(size, align)
	}
	if size-1 >= h.limit { // true for 0, too
		return heapmodel.NullRef, size == 0
	}
	shift := h.shift & 63
	words := max(uint32((size-1)>>shift)+1, minPayload)
	class := ceilClass(words)
	set := class / 64
	found := h.filled[set%sets] >> (class % 64) << (class % 64)
	if found == 0 {
		if set = h.setAbove(set); set == 0 {
			if h.miss(class); !h.grow(words) {
				return heapmodel.NullRef, false
			}
			return h.Alloc(size, align)
		}
		found = h.filled[set%sets]
	}
	h.t.Spare()
	nodes := h.t.Nodes
	list := set*64 + uint32(bits.TrailingZeros64(found))
	h.hit(class, list)
	id := nodes[list].X
	n := &nodes[id]
	after := n.High
	a := &nodes[after]
	end := a.Start
	length := end - n.Start
	h.unlink(nodes, n.X, n.Y)
	n.Low |= blocks.UsedBit
	h.use.UsedBlocks++
	if length > words+minRest {
		// [id..................] -> [id: 1+words][rest]
		length = words + 1
		payload := end - n.Start - length - 1
		end = n.Start + length
		rest := h.t.Pop()
		b := &nodes[rest]
		b.Start, b.Low, b.High = end, id, after
		n.High = rest
		a.Low = rest | blocks.UsedBit
		h.insert(nodes, rest, floorClass(payload))
	} else {
		h.use.FreeBlocks--
	}
	bytes := uint64(length) << shift
	h.use.Allocated += bytes
	h.use.Free -= bytes
	if top := uint64(end) << shift; top > h.use.HighWater {
		h.use.HighWater = top
	}
	return heapmodel.Ref(id), true
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	id, nodes := blocks.ID(r), h.t.Nodes
	if uint64(id) >= uint64(len(nodes)) {
		mustBeNull(r)
		return
	}
	n := &nodes[id]
	low, high := n.Low, n.High
	if low&blocks.UsedBit == 0 || uint64(high) >= uint64(len(nodes)) {
		panicDead()
	}
	low &^= blocks.UsedBit
	a := &nodes[high]
	bytes := uint64(a.Start-n.Start) << (h.shift & 63)
	h.use.Allocated -= bytes
	h.use.Free += bytes
	h.use.UsedBlocks--
	freeBlocks, merges := h.use.FreeBlocks+1, uint64(0)
	if a.Low&blocks.UsedBit == 0 {
		// [id][high] -> [id........]
		h.unlink(nodes, a.X, a.Y)
		up := a.High
		h.t.Drop(high)
		high, a = up, &nodes[up]
		merges++
	}
	if low != blocks.None && nodes[low].Low&blocks.UsedBit == 0 {
		// [low][id] -> [low.......]
		n = &nodes[low]
		h.unlink(nodes, n.X, n.Y)
		h.t.Drop(id)
		id = low
		merges++
	} else {
		n.Low = low
	}
	n.High = high
	a.Low = id | blocks.UsedBit
	h.use.FreeBlocks = freeBlocks - merges
	h.use.Steps += merges
	h.insert(nodes, id, floorClass(a.Start-n.Start-1))
}

// setAbove returns the lowest word of filled above set that is not zero, 0 if
// there is none. There are few words, and it is called for few requests: to
// know them in a second bitmap, as upstream does, costs more than it saves.
func (h *heap) setAbove(set uint32) uint32 {
	for set++; set < sets; set++ {
		if h.filled[set] != 0 {
			return set
		}
	}
	return 0
}

// find returns the block from which a search would serve a payload of words:
// the head of the first list whose blocks all are long enough. Blocks in the
// class of words are passed over unless words is the least of its class.
func (h *heap) find(words uint32) blocks.ID {
	class := ceilClass(words)
	set := class / 64
	found := h.filled[set%sets] >> (class % 64) << (class % 64)
	if found == 0 {
		if set = h.setAbove(set); set == 0 {
			h.miss(class)
			return blocks.None
		}
		found = h.filled[set%sets]
	}
	list := set*64 + uint32(bits.TrailingZeros64(found))
	h.hit(class, list)
	return h.t.Nodes[list].X
}

// hit counts the steps of a search from class that ends at a list: the word of
// the second level and the list's head; before that in vain the word of the
// second level where it began, and that of the first.
func (h *heap) hit(class, list uint32) {
	var far uint64
	if class^list >= 32 {
		far = 1
	}
	h.use.Steps += 2 + 2*far
}

// miss counts the steps of a search from class that finds nothing: a word of
// each level, and none if the class is past the last.
func (h *heap) miss(class uint32) {
	if uint64(class) < 32*h.firstLevels {
		h.use.Steps += 2
	}
}

// insert puts a free block at the head of the list of its class.
func (h *heap) insert(nodes []blocks.Node, id blocks.ID, class uint32) {
	h.filled[class/64%sets] |= 1 << (class % 64)
	head, n := &nodes[class], &nodes[id]
	x := head.X
	head.X = id
	n.X, n.Y = x, class
	nodes[x].Y = id
}

// unlink takes the block between x and y off its list.
func (h *heap) unlink(nodes []blocks.Node, x, y blocks.ID) {
	nodes[x].Y = y
	nodes[y].X = x
	// Without a branch, which would go either way at random.
	var empty uint64
	if x == y { // both are the head
		empty = 1
	}
	h.filled[x/64%sets] &^= empty << (x % 64)
}

// mustBeNull panics unless the Ref is that of a null pointer.
func mustBeNull(r heapmodel.Ref) {
	if r != heapmodel.NullRef {
		panicDead()
	}
}

func panicDead() { panic("tlsf: the Ref is not that of a live object") }

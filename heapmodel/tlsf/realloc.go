package tlsf

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Realloc implements heapmodel.Heap. A block grows in place only upward, into
// a free block behind it, and is then cut back to the request. As upstream
// does, a request beyond the largest size is taken for one of no bytes: the
// call succeeds and shrinks the block. ReallocFault tells where that begins.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panicDead()
	}
	if size == 0 {
		h.Free(r)
		return heapmodel.NullRef, true
	}
	words := uint32(0)
	if size > h.limit {
		h.short++
	} else {
		words = h.payload(size)
	}
	if payload := h.t.Size(id) - 1; words > payload {
		high := h.t.Next(id)
		if h.t.Used(high) || words > payload+h.t.Size(high) {
			s, ok := h.Alloc(size, 0)
			if !ok {
				return r, false
			}
			h.Free(r)
			return s, true
		}
		// [id][high] -> [id........]
		h.take(high)
		h.t.Merge(id)
		h.use.Steps++
	}
	h.trim(id, words)
	h.rise(id)
	return r, true
}

// ReallocFault returns the least size for which Realloc succeeds with a block
// that does not hold it.
func (h *heap) ReallocFault() uint64 { return h.limit + 1 }

// allocAligned serves a request with an alignment above the word's. It looks
// for a block that holds the request wherever in it the alignment falls, and
// cuts off what lies in front:
//
//	[id..............................] -> [id: gap][block: 1+words][rest]
//	                                                ^ aligned payload
func (h *heap) allocAligned(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size-1 >= h.limit {
		return heapmodel.NullRef, size == 0
	}
	words := h.payload(size)
	search := h.alignedPayload(words, align)
	if search > uint64(h.maxPayload) {
		return heapmodel.NullRef, false
	}
	id := h.find(uint32(search))
	if id == blocks.None {
		if !h.grow(uint32(search)) {
			return heapmodel.NullRef, false
		}
		id = h.find(uint32(search))
	}
	unit := uint64(align) >> h.shift
	from := uint64(h.t.Nodes[id].Start) + 1
	to := roundUp(from, unit)
	if gap := to - from; gap > 0 && gap < minRest {
		// Too short for a block of its own.
		to = roundUp(to+max(minRest-gap, unit), unit)
	}
	h.take(id)
	if gap := uint32(to - from); gap > 0 {
		block := h.t.Split(id, gap)
		h.t.SetUsed(block)
		h.give(id)
		id = block
	}
	h.use.UsedBlocks++
	h.trim(id, words)
	h.rise(id)
	return heapmodel.Ref(id), true
}

// payload returns the payload for a request of 1 to limit bytes.
func (h *heap) payload(size uint64) uint32 {
	return max(uint32((size-1)>>h.shift)+1, minPayload)
}

// alignedPayload returns the payload to look for on behalf of an aligned
// request, which may exceed the largest there is.
func (h *heap) alignedPayload(words, align uint32) uint64 {
	unit := uint64(align) >> h.shift
	return roundUp(uint64(words)+unit+minRest, unit)
}

func roundUp(n, unit uint64) uint64 { return (n + unit - 1) &^ (unit - 1) }

// take takes a free block off its list and marks it used. Its bytes count as
// allocated, the caller counts the block.
func (h *heap) take(id blocks.ID) {
	n := &h.t.Nodes[id]
	h.unlink(h.t.Nodes, n.X, n.Y)
	n.Low |= blocks.UsedBit
	bytes := uint64(h.t.Size(id)) << h.shift
	h.use.Allocated += bytes
	h.use.Free -= bytes
	h.use.FreeBlocks--
}

// give is the reverse of take.
func (h *heap) give(id blocks.ID) {
	h.t.SetFree(id)
	length := h.t.Size(id)
	bytes := uint64(length) << h.shift
	h.use.Allocated -= bytes
	h.use.Free += bytes
	h.use.FreeBlocks++
	h.insert(h.t.Nodes, id, floorClass(length-1))
}

// trim cuts a used block to a payload of words, if what is left over makes a
// block; that joins a free block behind it.
func (h *heap) trim(id blocks.ID, words uint32) {
	if h.t.Size(id) <= words+minRest {
		return
	}
	rest := h.t.Split(id, words+1)
	h.t.SetUsed(rest)
	if high := h.t.Next(rest); !h.t.Used(high) {
		h.take(high)
		h.t.Merge(rest)
		h.use.Steps++
	}
	h.give(rest)
}

// rise raises the high-water mark to the end of a used block.
func (h *heap) rise(id blocks.ID) {
	end := uint64(h.t.Nodes[h.t.Next(id)].Start) << h.shift
	h.use.HighWater = max(h.use.HighWater, end)
}

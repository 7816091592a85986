package esptlsf

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Alloc implements heapmodel.Heap.
func (h *Heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	return h.Heap.Alloc(size, align)
}

// allocAligned serves a request with an alignment. It looks for a block that
// holds the request wherever in it the alignment falls, and cuts off what lies
// in front; up to an alignment of 4 nothing does. Unlike the block of a plain
// request this one is cut to the request:
//
//	[id..............................] -> [id: gap][block: length][rest]
//	                                                ^ aligned payload
func (h *Heap) allocAligned(size uint64, align uint32) (heapmodel.Ref, bool) {
	id := h.Search(h.search(size, align))
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	unit, least := uint64(align), 4*h.word
	from := uint64(h.T.Nodes[id].Start)<<alignLog2 + h.word
	to := roundUp(from, unit)
	if gap := to - from; gap > 0 && gap < least {
		// Too short for a block of its own.
		to = roundUp(to+max(least-gap, unit), unit)
	}
	h.Take(id)
	if gap := uint32((to - from) >> alignLog2); gap > 0 {
		block := h.T.Split(id, gap)
		h.T.SetUsed(block)
		h.Give(id)
		id = block
	}
	h.T.Nodes[id].Y = uint32(h.word)
	h.Trim(id, uint32(h.Length(size)))
	h.Use.UsedBlocks++
	h.Settle(id)
	return heapmodel.Ref(id), true
}

// search returns the granules to look for on behalf of a request.
func (h *Heap) search(size uint64, align uint32) uint64 {
	length := h.Length(size)
	if align <= 1<<alignLog2 {
		return length
	}
	payload := length<<alignLog2 - h.word
	return (roundUp(payload+uint64(align)+4*h.word, uint64(align)) + h.word) >> alignLog2
}

func roundUp(n, unit uint64) uint64 { return (n + unit - 1) &^ (unit - 1) }

// Realloc implements heapmodel.Heap. A block grows in place only upward, into
// a free block above it; what it does not need of that is cut off again.
func (h *Heap) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	id := h.Live(r)
	if size == 0 {
		h.Free(r)
		return heapmodel.NullRef, true
	}
	length := h.Length(size)
	if have := uint64(h.T.Size(id)); length > have {
		high := h.T.Next(id)
		if h.T.Used(high) || length > have+uint64(h.T.Size(high)) {
			return h.move(r, size)
		}
		h.Absorb(id)
	}
	h.Trim(id, uint32(length))
	h.Settle(id)
	return r, true
}

// move is a realloc that takes another block. multi_heap counts the two blocks
// as exchanged, so that its minimum does not see both.
func (h *Heap) move(r heapmodel.Ref, size uint64) (heapmodel.Ref, bool) {
	peak := h.Peak
	s, ok := heapmodel.Move(h, r, size, 0)
	h.Peak = max(peak, h.Use.Allocated)
	return s, ok
}

// Need implements heapmodel.Heap.
func (h *Heap) Need(size uint64, align uint32) uint64 {
	if size == 0 {
		return 0
	}
	return h.Heap.Need(h.search(min(size, heapmodel.MaxSize), align))
}

// Payload returns the bytes that a live object can use, at least those it was
// allocated with: what a copy to another region has to copy at most. O(1).
func (h *Heap) Payload(r heapmodel.Ref) uint64 {
	return uint64(h.T.Size(h.Live(r)))<<alignLog2 - h.word
}

// FreeBytes returns multi_heap's counter of free bytes and the least it ever
// was. They begin with the length behind the record and the control structure;
// a block counts with its size word. O(1).
func (h *Heap) FreeBytes() (now, least uint64) {
	all := h.length - h.control
	return all - h.Use.Allocated, all - h.Peak
}

// Native implements heapmodel.Native. free_bytes and largest_free_bytes are
// what a walk gives, size words left out; the counters of multi_heap are there
// if its record is.
func (h *Heap) Native() []heapmodel.Stat {
	largest := h.LargestFree()
	if largest > 0 {
		largest -= h.word
	}
	stats := []heapmodel.Stat{
		{Key: "free_bytes", Value: h.Use.Free - h.Use.FreeBlocks*h.word},
		{Key: "largest_free_bytes", Value: largest},
	}
	if h.prefix > 0 {
		now, least := h.FreeBytes()
		stats = append(stats,
			heapmodel.Stat{Key: "multi_heap_free_bytes", Value: now},
			heapmodel.Stat{Key: "multi_heap_min_ever_free_bytes", Value: least})
	}
	return stats
}

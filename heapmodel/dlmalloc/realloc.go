package dlmalloc

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Realloc implements heapmodel.Heap. A chunk grows in place upward only, into
// the top, the designated victim or another free chunk. A size of 0 is served
// like one of a byte. Alignment is lost in a move, as it is upstream.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	id := h.live(r)
	if length := h.unitsOf(size); length <= uint64(h.t.Nodes[id].Y) {
		h.trim(id, uint32(length))
		return r, true
	} else if length<<h.shift < h.use.Arena && h.extend(id, uint32(length)) {
		return r, true
	}
	s, ok := h.Alloc(size, 0)
	if !ok {
		return r, false
	}
	h.Free(r)
	return s, true
}

// trim frees what a used chunk has above so many units, if that makes a chunk:
//
//	[id...........] -> [id: units][tail]
func (h *heap) trim(id blocks.ID, units uint32) {
	n := &h.t.Nodes[id]
	if n.Y-units < leastUnits {
		return
	}
	rest := n.Y - units
	n.Y = units
	tail := h.t.Split(id, units)
	h.t.SetUsed(tail)
	h.t.Nodes[tail].Y = rest
	h.use.UsedBlocks++
	h.release(tail)
}

// extend lengthens a used chunk to so many units, if what lies above has them.
func (h *heap) extend(id blocks.ID, units uint32) bool {
	nodes := h.t.Nodes
	n := &nodes[id]
	more := units - n.Y
	high := n.High
	switch {
	case high == h.top:
		if !h.topHas(uint64(more)) {
			return false
		}
		// [id][top.......] -> [id: units][top]
		nodes[high].Start += more
		h.raise()
		h.lengthen(id, more)
		return true
	case h.t.Used(high):
		return false
	case high == h.dv:
		return h.extendIntoVictim(id, more)
	}
	upper := h.t.Size(high)
	if upper < more {
		return false
	}
	h.unbin(high, upper)
	h.absorb(id, upper)
	h.trim(id, units)
	return true
}

// extendIntoVictim lengthens a used chunk by so many units of the designated
// victim above it, which stays the victim if enough of it remains.
func (h *heap) extendIntoVictim(id blocks.ID, more uint32) bool {
	if h.dvUnits < more {
		return false
	}
	if rest := h.dvUnits - more; rest >= leastUnits {
		h.t.Nodes[h.dv].Start += more
		h.dvUnits = rest
		h.lengthen(id, more)
		return true
	}
	h.absorb(id, h.dvUnits)
	h.dv, h.dvUnits = noVictim, 0
	return true
}

// absorb merges a used chunk with the free chunk of so many units above it,
// which is in no bin.
func (h *heap) absorb(id blocks.ID, upper uint32) {
	h.t.Merge(id)
	h.use.Steps++
	h.use.FreeBlocks--
	h.lengthen(id, upper)
}

// lengthen counts so many units more for a used chunk that has them already.
func (h *heap) lengthen(id blocks.ID, more uint32) {
	h.t.Nodes[id].Y += more
	h.use.UsedBlocks--
	h.count(more)
}

// padded returns the size to ask for so that an object of so many bytes, and a
// chunk in front of it, fit whatever the alignment costs.
func (h *heap) padded(size uint64, align uint32) uint64 {
	chunk := h.unitsOf(size) << h.shift
	return chunk + uint64(align) + leastUnits<<h.shift - uint64(h.word)
}

// allocAligned serves a request with an alignment above the unit. It asks for
// enough, frees what lies in front of the aligned object and then what lies
// behind it:
//
//	[id............................] -> [id: lead][chunk][tail]
//	                                                ^ aligned payload
func (h *heap) allocAligned(size uint64, align uint32) (heapmodel.Ref, bool) {
	align = max(align, leastUnits<<h.shift)
	if h.tooLong(h.unitsOf(size)) {
		return heapmodel.NullRef, false
	}
	r, ok := h.Alloc(h.padded(size, align), 0)
	if !ok {
		return r, false
	}
	units := uint32(h.unitsOf(size))
	id := blocks.ID(r)
	step := align >> h.shift
	n := &h.t.Nodes[id]
	// The payload begins a unit above the chunk.
	payload := uint64(n.Start) + 1
	aligned := (payload + uint64(step) - 1) &^ (uint64(step) - 1)
	if lead := aligned - payload; lead > 0 {
		if lead < leastUnits {
			lead += uint64(step)
		}
		rest := n.Y - uint32(lead)
		n.Y = uint32(lead)
		chunk := h.t.Split(id, uint32(lead))
		h.t.SetUsed(chunk)
		h.t.Nodes[chunk].Y = rest
		h.use.UsedBlocks++
		h.release(id)
		id = chunk
	}
	if h.t.Nodes[id].Y > units+leastUnits {
		h.trim(id, units)
	}
	return heapmodel.Ref(id), true
}

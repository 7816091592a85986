package goodfit

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// The methods here are the steps that aligned requests and reallocs are made
// of. Lengths are in granules and count the whole block. They leave the number
// of used blocks, the high-water mark and Peak to the caller.

// Search returns the block that serves a search for so many granules, None if
// there is none. The block stays where it is.
func (h *Heap) Search(length uint64) blocks.ID {
	if length > h.most {
		h.refuse(length)
		return blocks.None
	}
	class := h.ceilClass(uint32(length))
	set := class / 64
	found := h.filled[set%sets] >> (class % 64) << (class % 64)
	if found == 0 {
		if set = h.setAbove(set); set == sets {
			h.Use.Steps += uint64(h.miss)
			return blocks.None
		}
		found = h.filled[set%sets]
	}
	bin := set*64 + uint32(bits.TrailingZeros64(found))
	h.Use.Steps += h.steps(h.T.Nodes, class, bin)
	return h.T.Nodes[bin].X
}

// Take takes a free block out of its bin and marks it used.
func (h *Heap) Take(id blocks.ID) {
	n := &h.T.Nodes[id]
	h.unlink(h.T.Nodes, n.X, n.Y)
	n.Low |= blocks.UsedBit
	bytes := uint64(h.T.Size(id)) << h.shift
	h.Use.Allocated += bytes
	h.Use.Free -= bytes
	h.Use.FreeBlocks--
}

// Give is the reverse of Take. It does not merge.
func (h *Heap) Give(id blocks.ID) {
	h.T.SetFree(id)
	length := h.T.Size(id)
	bytes := uint64(length) << h.shift
	h.Use.Allocated -= bytes
	h.Use.Free += bytes
	h.Use.FreeBlocks++
	h.insert(h.T.Nodes, id, h.floorClass(length))
}

// Absorb joins a used block with the free block above it:
// [id][free] -> [id........].
func (h *Heap) Absorb(id blocks.ID) {
	h.Take(h.T.Next(id))
	h.T.Merge(id)
	h.Use.Steps++
}

// Trim cuts a used block to so many granules if what is left over makes a
// block; that joins a free block above it: [id......][free] -> [id][.......].
func (h *Heap) Trim(id blocks.ID, length uint32) {
	if h.T.Size(id) < length+h.rest {
		return
	}
	rest := h.T.Split(id, length)
	h.T.SetUsed(rest)
	if !h.T.Used(h.T.Next(rest)) {
		h.Absorb(rest)
	}
	h.Give(rest)
}

// Settle raises the high-water mark to the end of a used block, and Peak.
func (h *Heap) Settle(id blocks.ID) {
	if end := h.T.Nodes[h.T.Next(id)].Start; end > h.top {
		h.raise(end)
	}
	h.Peak = max(h.Peak, h.Use.Allocated)
}

// Live returns the block of a live object and panics if there is none.
func (h *Heap) Live(r heapmodel.Ref) blocks.ID {
	if !h.T.Live(blocks.ID(r)) {
		panicDead()
	}
	return blocks.ID(r)
}

// Length returns the granules of the block for a plain request.
func (h *Heap) Length(size uint64) uint64 {
	return max((size+h.pad)>>h.shift, uint64(h.least))
}

// Need returns the bytes of the smallest free block that a search for so many
// granules can return.
func (h *Heap) Need(length uint64) uint64 {
	payload := length - uint64(h.rules.Outside)
	if k := bits.Len64(payload) - 1 - int(h.rules.ClassLog2); k > 0 {
		payload = (payload + 1<<k - 1) >> k << k
	}
	return (payload + uint64(h.rules.Outside)) << h.shift
}

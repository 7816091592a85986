package zephyr

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if align > h.header {
		return h.allocAligned(size, align)
	}
	if size == 0 {
		return heapmodel.NullRef, true
	}
	units := h.units(size + uint64(h.header))
	id := h.search(units)
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	length := h.t.Size(id)
	h.use.FreeBlocks--
	if length > units {
		// [id..................] -> [id: units][rest]
		h.give(h.t.Split(id, units), length-units)
		length = units
	}
	h.take(id, length, 0)
	return heapmodel.Ref(id), true
}

// search finds a chunk of at least so many units and takes it off its ring.
func (h *heap) search(units uint32) blocks.ID {
	nodes := h.t.Nodes
	bucket := h.bucketOf(units) & 31
	if h.filled>>bucket&1 != 0 {
		from := h.cursor[bucket]
		id := from
		for range h.loops {
			h.use.Steps++
			n := &nodes[id]
			if nodes[n.High].Start-n.Start >= units {
				h.unlink(id, bucket)
				return id
			}
			id = n.X
			h.cursor[bucket] = id
			if id == from {
				break
			}
		}
	}
	h.use.Steps++
	above := h.filled &^ (2<<bucket - 1)
	if above == 0 {
		return blocks.None
	}
	bucket = uint32(bits.TrailingZeros32(above)) & 31
	id := h.cursor[bucket]
	h.unlink(id, bucket)
	return id
}

// unlink takes a chunk off the ring of its bucket. The cursor goes to the chunk
// behind it, wherever it was before.
func (h *heap) unlink(id blocks.ID, bucket uint32) {
	nodes := h.t.Nodes
	n := &nodes[id]
	next := n.X
	if next == id {
		h.filled &^= 1 << (bucket & 31)
		return
	}
	nodes[n.Y].X = next
	nodes[next].Y = n.Y
	h.cursor[bucket&31] = next
}

// insert puts a chunk into the ring of its bucket, in front of the cursor. A
// chunk below the least size stays out.
func (h *heap) insert(id blocks.ID, length uint32) {
	if length < h.least {
		return
	}
	nodes := h.t.Nodes
	bucket := h.bucketOf(length) & 31
	n := &nodes[id]
	if h.filled>>bucket&1 == 0 {
		h.filled |= 1 << bucket
		h.cursor[bucket] = id
		n.X, n.Y = id, id
		return
	}
	cursor := h.cursor[bucket]
	c := &nodes[cursor]
	last := c.Y
	n.X, n.Y = cursor, last
	c.Y = id
	nodes[last].X = id
}

// give makes a free chunk of one that is in no ring and counted nowhere.
func (h *heap) give(id blocks.ID, length uint32) {
	h.use.FreeBlocks++
	h.insert(id, length)
}

// take makes a used chunk of one that is free, in no ring and not counted among
// the free ones any more, but whose bytes are.
func (h *heap) take(id blocks.ID, length, gap uint32) {
	n := &h.t.Nodes[id]
	n.Low |= blocks.UsedBit
	n.X = gap
	bytes := uint64(length) << unitLog2
	h.use.UsedBlocks++
	h.use.Allocated += bytes
	h.use.Free -= bytes
	h.use.HighWater = max(h.use.HighWater, uint64(n.Start)<<unitLog2+bytes)
	h.maxUsed = max(h.maxUsed, h.use.Allocated)
}

// put counts the units of a used chunk as free ones.
func (h *heap) put(length uint32) {
	bytes := uint64(length) << unitLog2
	h.use.UsedBlocks--
	h.use.Allocated -= bytes
	h.use.Free += bytes
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panicDead()
	}
	h.release(id)
}

// release frees a chunk that is marked used, and joins it with its neighbours:
//
//	[low][id][high] -> [low..........]
func (h *heap) release(id blocks.ID) {
	length := h.t.Size(id)
	h.put(length)
	h.t.SetFree(id)
	if high := h.t.Next(id); !h.t.Used(high) {
		length += h.detach(high)
		h.t.Merge(id)
		h.use.Steps++
	}
	if low := h.t.Prev(id); low != blocks.None && !h.t.Used(low) {
		length += h.detach(low)
		h.t.Merge(low)
		h.use.Steps++
		id = low
	}
	h.give(id, length)
}

// detach is the reverse of give. It returns the length of the chunk.
func (h *heap) detach(id blocks.ID) uint32 {
	length := h.t.Size(id)
	h.use.FreeBlocks--
	if length >= h.least {
		h.unlink(id, h.bucketOf(length))
	}
	return length
}

// Realloc implements heapmodel.Heap. Alignment is lost in a move, as it is
// upstream.
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
	units := h.units(size + uint64(h.t.Nodes[id].X) + uint64(h.header))
	length := h.t.Size(id)
	switch {
	case units == length:
		return r, true
	case units < length:
		// [id..........] -> [id: units][tail]
		tail := h.t.Split(id, units)
		h.t.SetUsed(tail)
		h.use.UsedBlocks++
		h.release(tail)
		return r, true
	case h.extend(id, units):
		return r, true
	}
	s, ok := h.Alloc(size, 0)
	if !ok {
		return r, false
	}
	h.Free(r)
	return s, true
}

// extend lengthens a used chunk to so many units, if the chunk above it is free
// and has them:
//
//	[id][high..........] -> [id: units][rest]
func (h *heap) extend(id blocks.ID, units uint32) bool {
	high := h.t.Next(id)
	length := h.t.Size(id)
	if h.t.Used(high) || h.t.Size(high) < units-length {
		return false
	}
	rest := length + h.detach(high) - units
	h.t.Merge(id)
	h.use.Steps++
	if rest > 0 {
		h.give(h.t.Split(id, units), rest)
	}
	h.put(length)
	h.take(id, units, h.t.Nodes[id].X)
	return true
}

// allocAligned serves a request with an alignment above the header's size. It
// looks for a chunk that holds the request wherever in it the alignment falls,
// and frees what is left over at both ends:
//
//	[id.............................] -> [id: front][chunk][rest]
//	                                                  ^ aligned payload
//
// The header of a small heap has only 4 bytes, and a chunk begins at a multiple
// of 8, so that a gap remains between header and payload.
func (h *heap) allocAligned(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	id := h.search(h.units(size + uint64(align)))
	if id == blocks.None {
		return heapmodel.NullRef, false
	}
	h.use.FreeBlocks--
	length := h.t.Size(id)
	from := uint64(h.t.Nodes[id].Start)<<unitLog2 + uint64(h.header)
	payload := (from + uint64(align) - 1) &^ (uint64(align) - 1)
	if front := uint32((payload-uint64(h.header))>>unitLog2) - h.t.Nodes[id].Start; front > 0 {
		chunk := h.t.Split(id, front)
		h.give(id, front)
		id = chunk
		length -= front
	}
	start := h.t.Nodes[id].Start
	units := uint32((payload+size+unit-1)>>unitLog2) - start
	if length > units {
		h.give(h.t.Split(id, units), length-units)
	}
	h.take(id, units, uint32(payload-uint64(start)<<unitLog2)-h.header)
	return heapmodel.Ref(id), true
}

func panicDead() { panic("zephyr: the Ref is not that of a live object") }

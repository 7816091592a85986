package sequential

import (
	"github.com/fragprof/fragprof/heapmodel"
)

// addRegion gives the heap size bytes at the break as a region of its own,
// which no block of another region ever joins, as one free block. It holds at
// least one block.
func (h *heap) addRegion(size uint64) {
	start, end := h.granules(h.brk, true), h.granules(h.brk+size, false)
	h.brk += size
	id := h.t.Region(start, end)
	h.heads = append(h.heads, id)
	h.ends = append(h.ends, h.t.Next(id))
	h.enter(id)
	h.obtained(size, end-start)
}

// granules returns the block boundary at an address, or the next one above or
// below it.
func (h *heap) granules(addr uint64, above bool) uint32 {
	if addr < h.pad {
		return 0
	}
	g := (addr - h.pad) >> h.shift
	if above && g<<h.shift != addr-h.pad {
		g++
	}
	return uint32(g)
}

// obtained accounts for size bytes more of arena, of which so many granules
// are in blocks.
func (h *heap) obtained(size uint64, granules uint32) {
	u := &h.use
	u.Arena += size
	u.Free += h.bytes(granules)
	// The difference may be negative when lost bytes become part of a block.
	u.Overhead += size - h.bytes(granules)
	u.FreeBlocks = uint64(h.free.Len())
}

// grow obtains memory so that a block of want granules fits, and reports
// whether it could.
func (h *heap) grow(want uint32) bool {
	before := heapmodel.Growth{Need: h.bytes(want), Free: h.use.Free, LargestFree: h.LargestFree()}
	ok := false
	if h.chunks || len(h.heads) == 0 {
		ok = h.growChunk(want)
	} else {
		ok = h.growBreak(want)
	}
	if ok {
		h.use.Grown = before
	}
	return ok
}

// growChunk adds a region of a multiple of the quantum that holds a block of
// want granules.
func (h *heap) growChunk(want uint32) bool {
	first := h.addr(h.granules(h.brk, true))
	size, ok := h.round(first - h.brk + h.bytes(want))
	if ok {
		h.addRegion(size)
	}
	return ok
}

// growBreak raises the break by a multiple of the quantum so that a block of
// want granules fits at the end, with a free last block if blocks are joined.
func (h *heap) growBreak(want uint32) bool {
	end := h.ends[len(h.ends)-1]
	last := h.t.Prev(end)
	top := h.t.Nodes[end].Start
	missing := want
	joins := !h.t.Used(last) && h.coalesce != never
	if joins {
		missing -= min(want, h.t.Size(last))
	}
	size, ok := h.round(h.addr(top) + h.bytes(missing) - h.brk)
	if !ok {
		return false
	}
	h.brk += size
	to := h.granules(h.brk, false)
	was := h.t.Size(last)
	h.t.MoveEnd(end, to)
	id := h.t.Split(last, was)
	if joins {
		// Deferred coalescing joins here too, so that a request never finds its
		// memory in two halves.
		id = h.join(id)
	}
	h.enter(id)
	h.obtained(size, to-top)
	return true
}

// round rounds the bytes the heap has to obtain up to the quantum. ok is false
// if the limit of growth or the reach of the table forbids them.
func (h *heap) round(bytes uint64) (size uint64, ok bool) {
	if bytes > h.limit {
		return 0, false
	}
	size = (bytes + h.quantum - 1) / h.quantum * h.quantum
	if size > h.limit || h.brk+size > h.limit {
		return 0, false
	}
	return size, true
}

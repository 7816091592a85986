package buddy

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// start gives an empty heap its first memory.
func (h *heap) start(bytes uint64) {
	to := (bytes - h.Pad) >> h.Shift
	if h.sys.trees == 2 {
		h.cover(1, 0, to/2)
	}
	h.cover(0, h.end, to)
	h.obtained(bytes)
}

// obtained raises the break, after the new memory was made blocks.
func (h *heap) obtained(brk uint64) {
	h.brk = brk
	h.use.Arena = brk
	h.use.Overhead = brk - h.end<<h.Shift
	h.fits = 0
	for class := range uint8(lists) {
		if size := h.sys.size[class]; size > 0 && size <= h.end {
			h.fits |= 1 << class
		}
	}
}

// cover makes the units from the end of the last block up to the given one
// blocks of a tree, as large as they may be, and frees them, from the lowest
// on.
func (h *heap) cover(tree int, from, to uint64) {
	h.coverNode(h.sys.root[tree], 0, low, low, from, to)
}

// coverNode is cover for what lies in the block of the tree with that class,
// start, role and memory.
func (h *heap) coverNode(class uint8, start uint64, own, memory role, from, to uint64) {
	s := h.sys
	end := start + s.size[class]
	switch {
	case end <= from || start >= to:
	case start >= from && end <= to:
		h.add(uint32(start), uint32(end), tagOf(class, own, memory))
	case s.low[class] != none:
		middle := start + s.size[s.low[class]]
		h.coverNode(s.low[class], start, low, own, from, to)
		h.coverNode(s.high[class], middle, s.upper[class], memory, from, to)
	}
}

// add adds a free block at the end of all blocks.
func (h *heap) add(start, end uint32, t tag) {
	var id blocks.ID
	if h.first == blocks.None {
		id = h.t.Region(start, end)
		h.first, h.last = id, h.t.Next(id)
	} else {
		below := h.t.Prev(h.last)
		h.t.MoveEnd(h.last, end)
		id = h.t.Split(below, start-h.t.Nodes[below].Start)
	}
	if int(max(id, h.last)) >= len(h.tags) {
		h.moreTags()
	}
	h.tags[id] = t
	h.end = uint64(end)
	h.use.Free += uint64(end-start) << h.Shift
	h.use.FreeBlocks++
	h.release(id)
}

// grow raises the break by the fewest quanta with which there is a block for
// the class, and reports whether it could.
func (h *heap) grow(class uint8) bool {
	tree := h.sys.series[class]
	end := h.block(h.sys.root[tree], class, 0)
	if end == 0 || end > mostUnits {
		return false
	}
	// Units that the tree of threes left over may hold the block, but they are
	// handed out with new memory only.
	missing := max(end<<h.Shift+h.Pad, h.brk+1) - h.brk
	if missing > h.Limit {
		return false
	}
	size := (missing + h.Quantum - 1) / h.Quantum * h.Quantum
	if size > h.Limit || h.brk+size > h.Limit {
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: h.bytes(class), Free: h.use.Free, LargestFree: h.LargestFree()}
	to := (h.brk + size - h.Pad) >> h.Shift
	if tree == 1 {
		// Up to a multiple of three there is no block of that tree.
		h.cover(0, h.end, min(to, (h.end+2)/3*3))
	}
	h.cover(int(tree), h.end, to)
	h.obtained(h.brk + size)
	return true
}

// block returns the end of the lowest block of the tree that ends beyond the
// last block, serves a request of class want, and holds nothing that is used
// or not of the tree. It looks in the block of a class and start; 0 is none.
func (h *heap) block(class, want uint8, start uint64) uint64 {
	s := h.sys
	end := start + s.size[class]
	switch {
	case end <= h.end || class < want:
		return 0
	case class == want || s.low[class] == none:
		if start >= h.end || h.freeFrom(start, s.series[class]) {
			return end
		}
		return 0
	}
	if end := h.block(s.low[class], want, start); end > 0 {
		return end
	}
	return h.block(s.high[class], want, start+s.size[s.low[class]])
}

// freeFrom reports whether all blocks from a start on are free and of the tree.
// These are few: a free block and its free buddy are one.
func (h *heap) freeFrom(start uint64, tree uint8) bool {
	for id := h.t.Prev(h.last); id != blocks.None && !h.t.Used(id) && h.sys.series[h.tags[id].class()] == tree; id = h.t.Prev(id) {
		if uint64(h.t.Nodes[id].Start) <= start {
			return true
		}
	}
	return false
}

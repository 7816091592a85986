package buddy

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		if h.first == blocks.None {
			return
		}
		for id := h.first; id != h.last; id = h.t.Next(id) {
			start := heapmodel.Addr(h.at(id))
			b := heapmodel.Block{
				Addr: start, Size: uint64(h.t.Size(id)) << h.Shift, Payload: start,
				Wall: id == h.first, Ref: heapmodel.NullRef,
			}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += heapmodel.Addr(h.t.Nodes[id].Y)
			}
			if !yield(b) {
				return
			}
		}
	}
}

// at returns the address of a block.
func (h *heap) at(id blocks.ID) uint64 { return uint64(h.t.Nodes[id].Start)<<h.Shift + h.Pad }

// Check implements heapmodel.Heap. O(blocks x classes).
func (h *heap) Check() error {
	var sum heapmodel.Usage
	var count [lists]uint32
	before := tag(none) // of a free block below
	if h.first != blocks.None {
		for id := h.first; id != h.last; id = h.t.Next(id) {
			own := h.tags[id]
			if err := h.checkTag(id, own); err != nil {
				return err
			}
			bytes := h.bytes(own.class())
			if h.t.Used(id) {
				sum.UsedBlocks++
				sum.Allocated += bytes
				before = none
				continue
			}
			sum.FreeBlocks++
			sum.Free += bytes
			count[own.class()]++
			if h.buddies(before, own) {
				return fmt.Errorf("block at %d and its buddy are free", h.at(id))
			}
			before = own
		}
		if end := uint64(h.t.Nodes[h.last].Start); end != h.end {
			return fmt.Errorf("blocks end at unit %d, not %d", end, h.end)
		}
	}
	for class := range uint8(lists) {
		if err := h.checkList(class, count[class]); err != nil {
			return err
		}
	}
	return arena.Counted(&h.use, &sum, h.brk)
}

// buddies reports whether two blocks beside each other are the parts of one.
func (h *heap) buddies(below, above tag) bool {
	if below == none || below.role() != low || above.role() == low {
		return false
	}
	parent := h.sys.parent[above.role()][above.class()]
	return h.sys.parent[low][below.class()] == parent && h.sys.low[parent] == below.class() && h.sys.high[parent] == above.class()
}

// checkTag looks for the block in its tree, from the root down.
func (h *heap) checkTag(id blocks.ID, own tag) error {
	s := h.sys
	tree := s.series[own.class()]
	class, at, want := s.root[tree], uint64(0), tagOf(s.root[tree], low, low)
	start := uint64(h.t.Nodes[id].Start)
	for class > own.class() && s.low[class] != none {
		middle := at + s.size[s.low[class]]
		if start < middle {
			class, want = s.low[class], tagOf(s.low[class], low, want.role())
		} else {
			class, at, want = s.high[class], middle, tagOf(s.high[class], s.upper[class], want.memory())
		}
	}
	if at != start || want != own || s.size[class] != uint64(h.t.Size(id)) {
		return fmt.Errorf("block of %d units at %d has class %d, role %d, memory %d; the tree has class %d, role %d, memory %d at unit %d",
			h.t.Size(id), h.at(id), own.class(), own.role(), own.memory(), want.class(), want.role(), want.memory(), at)
	}
	return nil
}

// checkList checks the list of a class that is to have so many blocks.
func (h *heap) checkList(class uint8, want uint32) error {
	if h.some>>class&1 == 1 != (want > 0) {
		return fmt.Errorf("class %d: the bitmap is wrong about its %d blocks", class, want)
	}
	if h.order == byAddress {
		x := h.index[class]
		switch {
		case x == nil && want == 0:
			return nil
		case x == nil || x.Len() != int(want):
			return fmt.Errorf("class %d: %d free blocks, not as many in the index", class, want)
		}
		return x.Check()
	}
	listed, below := uint32(0), blocks.ID(class)
	for id := h.t.Nodes[class].X; id != blocks.ID(class); id = h.t.Nodes[id].X {
		if h.t.Nodes[id].Y != below || listed == want || id < lists || h.t.Used(id) || h.tags[id].class() != class {
			return fmt.Errorf("class %d: the list is broken at its block %d", class, listed)
		}
		listed++
		below = id
	}
	if listed != want || h.t.Nodes[class].Y != below {
		return fmt.Errorf("class %d: %d blocks on the list, %d free", class, listed, want)
	}
	return nil
}

package ummmalloc

import (
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// run is a chunk as a walk finds it, in blocks.
type run struct {
	id, start, size uint32
	used            bool
}

// runs walks the chunks in address order.
func (h *bestFit) runs(yield func(run) bool) {
	for id := h.head; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		if !yield(run{id, h.t.Nodes[id].Start, h.t.Size(id), h.t.Used(id)}) {
			return
		}
	}
}

func (h *firstFit) runs(yield func(run) bool) {
	for id := h.chunks[listHead].high; id != endMarker; id = h.chunks[id].high {
		if !yield(run{id, h.chunks[id].start, h.size(id), !h.isFree(id)}) {
			return
		}
	}
}

// Blocks implements heapmodel.Heap.
func (h *bestFit) Blocks() iter.Seq[heapmodel.Block] { return h.blocks(h.runs) }

// Blocks implements heapmodel.Heap.
func (h *firstFit) Blocks() iter.Seq[heapmodel.Block] { return h.blocks(h.runs) }

func (b *base) blocks(runs iter.Seq[run]) iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for r := range runs {
			start := heapmodel.Addr(b.bytes(r.start))
			out := heapmodel.Block{
				Addr: start, Size: b.bytes(r.size), Payload: start,
				Wall: r.start == 1, Ref: heapmodel.NullRef,
			}
			if r.used {
				out.Used, out.Ref = true, heapmodel.Ref(r.id)
				out.Payload += header
			}
			if !yield(out) {
				return
			}
		}
	}
}

// Native implements heapmodel.Native.
func (h *bestFit) Native() []heapmodel.Stat { return h.native(h.LargestFree(), h.runs) }

// Native implements heapmodel.Native.
func (h *firstFit) Native() []heapmodel.Stat { return h.native(h.LargestFree(), h.runs) }

// native returns what umm_info reports, the list head and the end marker left
// out. The usage metric, used blocks in percent of free ones, is left out when
// no block is free.
func (b *base) native(largest uint64, runs iter.Seq[run]) []heapmodel.Stat {
	u := &b.use
	used, free := u.Allocated>>b.shift, u.Free>>b.shift
	var squares uint64
	for r := range runs {
		if !r.used {
			squares += uint64(r.size) * uint64(r.size)
		}
	}
	stats := []heapmodel.Stat{
		{Key: "free_bytes", Value: u.Free},
		{Key: "largest_free_bytes", Value: largest},
		{Key: "total_entries", Value: u.UsedBlocks + u.FreeBlocks},
		{Key: "used_entries", Value: u.UsedBlocks},
		{Key: "free_entries", Value: u.FreeBlocks},
		{Key: "total_blocks", Value: used + free},
		{Key: "used_blocks", Value: used},
		{Key: "free_blocks", Value: free},
		{Key: "free_blocks_squared", Value: squares},
	}
	var fragmentation uint64
	if free > 0 {
		stats = append(stats, heapmodel.Stat{Key: "usage_metric", Value: used * 100 / free})
		// Squares are below 2^30: the root is exact.
		fragmentation = 100 - uint64(math.Sqrt(float64(squares)))*100/free
	}
	return append(stats, heapmodel.Stat{Key: "fragmentation_metric", Value: fragmentation})
}

// check checks what a walk finds and the counters, and each free chunk with
// listed.
func (b *base) check(runs iter.Seq[run], listed func(run) error) error {
	var sum heapmodel.Usage
	next, below := uint32(1), true
	for r := range runs {
		switch {
		case r.size == 0 || r.size > maxBlocks || r.start != next:
			return fmt.Errorf("chunk at %d has %d blocks, want one at %d", b.bytes(r.start), r.size, b.bytes(next))
		case !r.used && !below:
			return fmt.Errorf("chunk at %d and the one below are free", b.bytes(r.start))
		}
		next, below = r.start+r.size, r.used
		if r.used {
			sum.UsedBlocks++
			sum.Allocated += b.bytes(r.size)
			continue
		}
		sum.FreeBlocks++
		sum.Free += b.bytes(r.size)
		if err := listed(r); err != nil {
			return fmt.Errorf("free chunk at %d: %w", b.bytes(r.start), err)
		}
	}
	return arena.Counted(&b.use, &sum, b.use.Arena)
}

// Check implements heapmodel.Heap.
func (h *bestFit) Check() error {
	if err := h.free.Check(); err != nil {
		return err
	}
	err := h.check(h.runs, func(r run) error {
		p := h.free.Find(r.id)
		if p == fit.NoPos {
			return errors.New("it is not on the list")
		}
		if id, size := h.free.At(p); id != r.id || size != r.size || h.free.Key(p) < h.key {
			return errors.New("it is not in its place of the list")
		}
		return nil
	})
	if err == nil && uint64(h.free.Len()) != h.use.FreeBlocks {
		return errors.New("the list has a chunk that is not free")
	}
	return err
}

// Check implements heapmodel.Heap.
func (h *firstFit) Check() error {
	length, err := h.list.check()
	if err != nil {
		return err
	}
	for id := uint32(listHead); id != endMarker; id = h.chunks[id].high {
		if up := h.chunks[id].high; h.chunks[up].low != id {
			return fmt.Errorf("chunk at %d is not above that below it", h.bytes(h.chunks[up].start))
		}
	}
	err = h.check(h.runs, func(r run) error {
		switch c := h.chunks[r.id]; {
		case c.slot >= h.list.end():
			return fmt.Errorf("it is at slot %d of a list of %d", c.slot, h.list.end())
		case h.list.class.at(c.slot) == 0 || h.list.entry[c.slot] != makeEntry(r.id, r.size):
			return fmt.Errorf("it is not at slot %d of the list", c.slot)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case length != h.use.FreeBlocks:
		return errors.New("the list has a chunk that is not free")
	}
	return h.checkSpare()
}

// checkSpare checks the chain of unused records, with which all are accounted
// for.
func (h *firstFit) checkSpare() error {
	left := uint64(len(h.chunks)) - lowest - h.use.UsedBlocks - h.use.FreeBlocks
	for id := h.spare; id != 0; id = h.chunks[id].high {
		if left == 0 || !h.isFree(id) {
			return fmt.Errorf("record %d is spare, but in use", id)
		}
		left--
	}
	if left != 0 {
		return fmt.Errorf("%d records are lost", left)
	}
	return nil
}

// check checks a list by itself and returns the number of its chunks.
func (l *list) check() (length uint64, err error) {
	var groups []group
	if l.long() {
		groups = make([]group, len(l.groups))
	}
	if slots := l.end() - l.floor; l.long() != (slots > shortSlots) {
		return 0, fmt.Errorf("a list of %d slots has %d groups", slots, len(l.groups))
	}
	for s := range l.end() {
		class, size := l.class.at(s), l.entry[s].size()
		switch {
		case class == 0:
			continue
		case s < l.floor || s < l.top:
			return 0, fmt.Errorf("slot %d of the list is used, the front is %d and the lowest is %d", s, l.top, l.floor)
		case class != uint64(min(size, topClass)):
			return 0, fmt.Errorf("slot %d of the list has a chunk of %d blocks in class %d", s, size, class)
		case groups == nil && size > l.limit, groups != nil && size > l.groups[s/groupSlots].largest:
			return 0, fmt.Errorf("slot %d of the list has a chunk of %d blocks, more than its bound", s, size)
		}
		length++
		if groups != nil {
			groups[s/groupSlots].count++
		}
	}
	for i, g := range groups {
		if g.count != l.groups[i].count {
			return 0, fmt.Errorf("group %d of the list has %d chunks, its count is %d", i, g.count, l.groups[i].count)
		}
	}
	return length, nil
}

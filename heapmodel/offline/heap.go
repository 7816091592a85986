package offline

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// heap places objects where they are planned. Positions and sizes in its table
// are in granules.
type heap struct {
	config
	t    blocks.Table
	free *fit.Index
	use  heapmodel.Usage
	head blocks.ID // first block; undefined while there is no end
	end  blocks.ID // end node; None as long as the arena is empty

	plan      []uint32 // positions by call of Alloc and Realloc
	calls     uint64   // made of them
	unplanned uint64   // calls of a heap with a plan that first fit served
	leftOut   uint64   // placements that have no place in the plan
	bound     uint64   // granules live at once, at most
	proven    uint64   // no plan is lower than so many granules
	top       uint64   // end of the plan in granules
	way       way
	tried     int
}

// noPlace is the position of a request that is left out of the plan.
const noPlace = 1<<32 - 1

// Plan implements heapmodel.Planned. It takes seconds for a million
// lifetimes, and for few ones as long as the effort allows.
func (h *heap) Plan(lives []heapmodel.Lifetime) error {
	if h.calls > 0 || h.plan != nil {
		return errors.New("a plan comes once, before the first call")
	}
	if uint64(len(lives)) > 1<<31 {
		return fmt.Errorf("%d lifetimes are more than can be planned, %d", len(lives), uint64(1)<<31)
	}
	for k := range lives {
		l := &lives[k]
		switch {
		case l.Birth != uint64(k):
			return fmt.Errorf("lifetime %d begins at %d", k, l.Birth)
		case l.Death <= l.Birth || l.Death != heapmodel.Forever && l.Death > uint64(len(lives)):
			return fmt.Errorf("lifetime %d from %d ends at %d, of %d", k, l.Birth, l.Death, len(lives))
		case l.Align&(l.Align-1) != 0:
			return fmt.Errorf("lifetime %d: alignment %d is no power of two", k, l.Align)
		}
	}
	// What is larger than the arena has no place anyway. If the rest is more than
	// addresses reach, the largest objects are left out, too.
	for most := h.limit(); ; most /= 2 {
		p := h.problem(lives, most)
		q := newPlanner(p)
		if err := h.choose(q); err != nil {
			return err
		}
		if len(p.rects) > 0 && q.pos == nil {
			continue
		}
		h.plan = make([]uint32, len(lives))
		for k := range h.plan {
			h.plan[k] = noPlace
		}
		for i, pos := range q.pos {
			h.plan[p.rects[i].birth] = pos
		}
		h.leftOut = uint64(len(lives) - len(p.rects))
		h.bound, h.proven, h.top, h.way, h.tried = q.bound, q.lowest, uint64(q.top), q.way, q.tried
		return nil
	}
}

// problem returns the lifetimes whose blocks have at most so many granules.
func (h *heap) problem(lives []heapmodel.Lifetime, most uint64) *problem {
	p := &problem{base: h.base, reach: reach, times: uint32(len(lives))}
	p.rects = make([]rect, 0, len(lives))
	for k := range lives {
		l := &lives[k]
		if l.Size > heapmodel.MaxSize || h.block(l.Size) > most {
			continue
		}
		death := min(l.Death, uint64(len(lives)))
		p.rects = append(p.rects, rect{birth: uint32(k), death: uint32(death), size: uint32(h.block(l.Size)), mask: uint32(h.mask(l.Align))})
	}
	return p
}

// choose has the planner try what the heuristic says.
func (h *heap) choose(q *planner) error {
	if len(q.rects) == 0 {
		q.top = 0
		return nil
	}
	all := h.heuristic == "best"
	want := func(w way) bool { return all || wayNames[w] == h.heuristic }
	q.sweeps(want)
	q.orders(want)
	if all {
		q.search(h.effort)
	}
	if q.tried == 0 {
		return fmt.Errorf("heuristic=%s takes at most %d placements, the trace has %d", h.heuristic, maxOrdered, len(q.rects))
	}
	return nil
}

// wayNames has the values of the parameter heuristic.
var wayNames = [...]string{
	byBirth: "birth", byBirthBest: "birth", byReverse: "reverse", byReverseBest: "reverse", bySplit: "split",
	bySize: "size", byLifetime: "lifetime", byArea: "area", byRaising: "best", bySearch: "best",
}

// length returns the granules of the arena.
func (h *heap) length() uint64 {
	if h.end == blocks.None {
		return 0
	}
	return uint64(h.t.Nodes[h.end].Start)
}

// limit returns the granules that the arena may have.
func (h *heap) limit() uint64 {
	if h.fixed {
		return h.length()
	}
	return reach
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	pos, want, ok := h.locate(size, align, blocks.None)
	if !ok {
		return heapmodel.NullRef, false
	}
	return h.take(pos, want), true
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := h.live(r)
	pos, want, ok := h.locate(size, align, id)
	if !ok {
		return r, false
	}
	h.release(id)
	return h.take(pos, want), true
}

// locate returns where the request of this call goes, and its granules. What
// the block old takes counts as free for a planned place. ok is false if there
// is no place.
func (h *heap) locate(size uint64, align uint32, old blocks.ID) (pos, want uint64, ok bool) {
	call := h.calls
	h.calls++
	if size > heapmodel.MaxSize || h.block(size) > h.limit() {
		return 0, 0, false
	}
	want = h.block(size)
	mask := h.mask(align)
	if call < uint64(len(h.plan)) {
		if h.plan[call] == noPlace {
			return 0, 0, false
		}
		pos = uint64(h.plan[call])
		if pos+want > h.limit() {
			return 0, 0, false
		}
		if h.up(pos, mask) == pos && h.vacant(pos, pos+want, old) {
			return pos, want, true
		}
	}
	if pos, ok = h.firstFit(want, mask); ok && h.plan != nil {
		h.unplanned++
	}
	return pos, want, ok
}

// vacant reports whether [pos, end) is free, the block old counting as free.
func (h *heap) vacant(pos, end uint64, old blocks.ID) bool {
	if length := h.length(); pos >= length {
		return true
	} else if end > length {
		end = length
	}
	if old != blocks.None {
		from, to := old, h.t.Next(old)
		if low := h.t.Prev(old); low != blocks.None && !h.t.Used(low) {
			from = low
		}
		if !h.t.Used(to) {
			to = h.t.Next(to)
		}
		if uint64(h.t.Nodes[from].Start) <= pos && end <= uint64(h.t.Nodes[to].Start) {
			return true
		}
	}
	p := h.hole(uint32(pos))
	if p == fit.NoPos {
		return false
	}
	id, room := h.free.At(p)
	return end <= uint64(h.t.Nodes[id].Start)+uint64(room)
}

// hole returns the free block that has the granule in it, NoPos if that is
// used.
func (h *heap) hole(granule uint32) fit.Pos {
	p := h.free.From(granule)
	if p != fit.NoPos && h.free.Key(p) == granule {
		return p
	}
	if p == fit.NoPos {
		p = h.free.Last()
	} else {
		p = h.free.Prev(p)
	}
	if p == fit.NoPos {
		return p
	}
	if _, room := h.free.At(p); uint64(h.free.Key(p))+uint64(room) <= uint64(granule) {
		return fit.NoPos
	}
	return p
}

// firstFit returns the lowest place, among the free blocks in which the request
// fits wherever they start, and behind them if the arena may grow.
func (h *heap) firstFit(want, mask uint64) (pos uint64, ok bool) {
	if need := want + mask; need <= reach {
		if p := h.free.FirstFit(uint32(need)); p != fit.NoPos {
			h.use.Steps += uint64(h.free.Rank(p)) + 1
			return h.up(uint64(h.free.Key(p)), mask), true
		}
	}
	h.use.Steps += uint64(h.free.Len())
	if h.fixed {
		return 0, false
	}
	from := h.length()
	if from > 0 {
		if last := h.t.Prev(h.end); !h.t.Used(last) {
			from = uint64(h.t.Nodes[last].Start)
		}
	}
	pos = h.up(from, mask)
	return pos, pos+want <= reach
}

// take makes the granules [pos, pos+want), which are free or behind the arena,
// a used block:
//
//	[hole.................] -> [gap][block][rest]
func (h *heap) take(pos, want uint64) heapmodel.Ref {
	if pos+want > h.length() {
		h.use.Grown = heapmodel.Growth{Need: h.bytes(want), Free: h.use.Free, LargestFree: h.LargestFree()}
		h.growTo(pos + want)
	}
	p := h.hole(uint32(pos))
	id, room := h.free.At(p)
	h.free.Remove(p)
	if gap := uint32(pos) - h.t.Nodes[id].Start; gap > 0 {
		up := h.t.Split(id, gap)
		h.enter(id)
		id, room = up, room-gap
	}
	if room > uint32(want) {
		h.enter(h.t.Split(id, uint32(want)))
	}
	h.t.SetUsed(id)
	u := &h.use
	u.UsedBlocks++
	u.Allocated += h.bytes(want)
	u.Free -= h.bytes(want)
	u.FreeBlocks = uint64(h.free.Len())
	u.HighWater = max(u.HighWater, h.pad+h.bytes(pos+want))
	return heapmodel.Ref(id)
}

// growTo makes the arena so many granules long.
func (h *heap) growTo(length uint64) {
	was := h.length()
	u := &h.use
	if h.end == blocks.None {
		h.head = h.t.Region(0, uint32(length))
		h.end = h.t.Next(h.head)
		h.enter(h.head)
		u.Arena, u.Overhead = h.pad, h.pad
	} else {
		last := h.t.Prev(h.end)
		size := h.t.Size(last)
		h.t.MoveEnd(h.end, uint32(length))
		if h.t.Used(last) {
			h.enter(h.t.Split(last, size))
		} else {
			h.free.Update(h.free.Find(last), last, h.t.Nodes[last].Start, h.t.Size(last))
		}
	}
	u.Arena += h.bytes(length - was)
	u.Free += h.bytes(length - was)
	u.FreeBlocks = uint64(h.free.Len())
}

// enter puts a free block in the index.
func (h *heap) enter(id blocks.ID) { h.free.Insert(id, h.t.Nodes[id].Start, h.t.Size(id)) }

// release frees a block and joins it with free neighbours:
//
//	[low][block][up] -> [low............]
func (h *heap) release(id blocks.ID) {
	u := &h.use
	size := h.bytes(uint64(h.t.Size(id)))
	u.UsedBlocks--
	u.Allocated -= size
	u.Free += size
	h.t.SetFree(id)
	if up := h.t.Next(id); !h.t.Used(up) {
		h.free.Remove(h.free.Find(up))
		h.t.Merge(id)
	}
	if low := h.t.Prev(id); low != blocks.None && !h.t.Used(low) {
		h.free.Remove(h.free.Find(low))
		h.t.Merge(low)
		id = low
	}
	h.enter(id)
	u.FreeBlocks = uint64(h.free.Len())
}

// live returns the block of a live object and panics if there is none.
func (h *heap) live(r heapmodel.Ref) blocks.ID {
	if !h.t.Live(blocks.ID(r)) {
		panic("offline: the Ref is not that of a live object")
	}
	return blocks.ID(r)
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r != heapmodel.NullRef {
		h.release(h.live(r))
	}
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.pad + h.bytes(uint64(h.t.Nodes[r].Start)) + h.header)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.align) }

// Need implements heapmodel.Heap: at an aligned place the block alone suffices.
func (h *heap) Need(size uint64, _ uint32) uint64 { return h.bytes(h.block(size)) }

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return h.bytes(uint64(h.free.Largest())) }

// Native implements heapmodel.Native.
func (h *heap) Native() []heapmodel.Stat {
	at := func(granules uint64) uint64 {
		if granules == 0 {
			return 0
		}
		return h.pad + h.bytes(granules)
	}
	return []heapmodel.Stat{
		{Key: "lower_bound_bytes", Value: at(h.bound)},
		{Key: "proven_bound_bytes", Value: at(h.proven)},
		{Key: "planned_bytes", Value: at(h.top)},
		{Key: "heuristic", Value: uint64(h.way)},
		{Key: "heuristics_tried", Value: uint64(h.tried)},
		{Key: "left_out", Value: h.leftOut},
		{Key: "unplanned_calls", Value: h.unplanned},
	}
}

package offline

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
	"github.com/fragprof/fragprof/heapmodel/internal/holes"
)

// heap places objects where they are planned. Positions and sizes are in
// granules.
type heap struct {
	holes.Heap
	fixed     bool // there is a capacity
	heuristic string
	effort    int64 // steps

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
	p := &problem{base: uint32(h.Base()), reach: holes.Reach, times: uint32(len(lives))}
	p.rects = make([]rect, 0, len(lives))
	for k := range lives {
		l := &lives[k]
		if l.Size > heapmodel.MaxSize || h.Block(l.Size)>>h.Shift > most {
			continue
		}
		death := min(l.Death, uint64(len(lives)))
		p.rects = append(p.rects, rect{birth: uint32(k), death: uint32(death), size: uint32(h.Block(l.Size) >> h.Shift), mask: uint32(h.Mask(l.Align))})
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

// limit returns the granules that the arena may have.
func (h *heap) limit() uint64 {
	if h.fixed {
		return h.Length()
	}
	return holes.Reach
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
	id := h.Live(r)
	pos, want, ok := h.locate(size, align, id)
	if !ok {
		return r, false
	}
	h.Free(r)
	return h.take(pos, want), true
}

// locate returns where the request of this call goes, and its granules. What
// the block old takes counts as free for a planned place. ok is false if there
// is no place.
func (h *heap) locate(size uint64, align uint32, old blocks.ID) (pos, want uint64, ok bool) {
	call := h.calls
	h.calls++
	if size > heapmodel.MaxSize || h.Block(size)>>h.Shift > h.limit() {
		return 0, 0, false
	}
	want = h.Block(size) >> h.Shift
	mask := h.Mask(align)
	if call < uint64(len(h.plan)) {
		if h.plan[call] == noPlace {
			return 0, 0, false
		}
		pos = uint64(h.plan[call])
		if pos+want > h.limit() {
			return 0, 0, false
		}
		if h.Aligned(pos, mask) == pos && h.vacant(pos, pos+want, old) {
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
	if length := h.Length(); pos >= length {
		return true
	} else if end > length {
		end = length
	}
	if old != blocks.None {
		from, to := old, h.T.Next(old)
		if low := h.T.Prev(old); low != blocks.None && !h.T.Used(low) {
			from = low
		}
		if !h.T.Used(to) {
			to = h.T.Next(to)
		}
		if uint64(h.T.Nodes[from].Start) <= pos && end <= uint64(h.T.Nodes[to].Start) {
			return true
		}
	}
	p := h.hole(uint32(pos))
	if p == fit.NoPos {
		return false
	}
	id, room := h.Holes.At(p)
	return end <= uint64(h.T.Nodes[id].Start)+uint64(room)
}

// hole returns the free block that has the granule in it, NoPos if that is
// used.
func (h *heap) hole(granule uint32) fit.Pos {
	p := h.Holes.From(granule)
	if p != fit.NoPos && h.Holes.Key(p) == granule {
		return p
	}
	if p == fit.NoPos {
		p = h.Holes.Last()
	} else {
		p = h.Holes.Prev(p)
	}
	if p == fit.NoPos {
		return p
	}
	if _, room := h.Holes.At(p); uint64(h.Holes.Key(p))+uint64(room) <= uint64(granule) {
		return fit.NoPos
	}
	return p
}

// firstFit returns the lowest place, among the free blocks in which the request
// fits wherever they start, and behind them if the arena may grow.
func (h *heap) firstFit(want, mask uint64) (pos uint64, ok bool) {
	if need := want + mask; need <= holes.Reach {
		if p := h.Holes.FirstFit(uint32(need)); p != fit.NoPos {
			h.Use.Steps += uint64(h.Holes.Rank(p)) + 1
			return h.Aligned(uint64(h.Holes.Key(p)), mask), true
		}
	}
	h.Use.Steps += uint64(h.Holes.Len())
	if h.fixed {
		return 0, false
	}
	pos = h.Aligned(h.Rim(), mask)
	return pos, pos+want <= holes.Reach
}

// take makes the granules [pos, pos+want), which are free or behind the arena,
// a used block.
func (h *heap) take(pos, want uint64) heapmodel.Ref {
	if end := pos + want; end > h.Length() {
		h.Use.Grown = heapmodel.Growth{Need: h.Wide(want), Free: h.Use.Free, LargestFree: h.LargestFree()}
		h.Extend(h.Pad + h.Wide(end))
	}
	return heapmodel.Ref(h.Take(h.hole(uint32(pos)), uint32(pos), uint32(want)))
}

// Need implements heapmodel.Heap: at an aligned place the block alone suffices.
func (h *heap) Need(size uint64, _ uint32) uint64 { return h.Block(size) }

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	if u := h.Use; !h.fixed && u.Arena != u.HighWater {
		return fmt.Errorf("arena of %d bytes, the highest block ended at %d", u.Arena, u.HighWater)
	}
	return h.Heap.Check()
}

// Native implements heapmodel.Native.
func (h *heap) Native() []heapmodel.Stat {
	at := func(granules uint64) uint64 {
		if granules == 0 {
			return 0
		}
		return h.Pad + h.Wide(granules)
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

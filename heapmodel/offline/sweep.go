package offline

import (
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// sweepRule is how a sweep places rectangles.
type sweepRule struct {
	reverse bool // from the last death back to the first birth
	best    bool // best fit, else first fit
	// Rectangles shorter than long are kept above border as long as there is a
	// hole for them. Zero: no rectangle is.
	long, border uint32
}

// sweeper is a heap that a sweep goes through in time or against it. What is
// placed met all that is in the heap when it was placed, and nothing of what
// had left it, so a hole of the heap is free for all of its life.
type sweeper struct {
	*problem
	t    blocks.SlimTable
	free *fit.SlimIndex
	rule sweepRule
}

// sweep places the rectangles in the order of their births, or of their deaths
// from the last on, as a heap would. It gives up when one would end at below or
// above. O(log live rectangles) a rectangle; 40 bytes a live rectangle.
func (q *planner) sweep(rule sweepRule, pos []uint32, below uint32) (top uint32, ok bool) {
	s := &sweeper{problem: q.problem, rule: rule}
	order := fit.ByKey
	if rule.best {
		order = fit.BySize
	}
	s.free = fit.New(&s.t, order)
	first := s.t.Region(0, q.reach)
	s.free.Insert(first, 0, q.reach)
	count := len(q.rects)
	left := 0
	// While a rectangle is in the heap, pos has the ID of its block.
	leave := func(b uint32) {
		id := pos[b]
		pos[b] = s.t.Nodes[id].Start
		s.release(id)
		left++
	}
	for i := range count {
		b := uint32(i)
		if rule.reverse {
			b = q.dying[count-1-i]
			for q.rects[count-1-left].birth >= q.rects[b].death {
				leave(uint32(count - 1 - left))
			}
		} else {
			for q.rects[q.dying[left]].death <= q.rects[b].birth {
				leave(q.dying[left])
			}
		}
		id, ok := s.place(&q.rects[b])
		if !ok {
			return 0, false
		}
		end := s.t.Nodes[s.t.Next(id)].Start
		if end >= below {
			return 0, false
		}
		pos[b] = id
		top = max(top, end)
	}
	for left < count {
		if rule.reverse {
			leave(uint32(count - 1 - left))
		} else {
			leave(q.dying[left])
		}
	}
	return top, true
}

// place gives a rectangle a block. ok is false if nothing below reach is left.
func (s *sweeper) place(r *rect) (id blocks.ID, ok bool) {
	p := s.find(r, r.size)
	if p == fit.NoPos {
		return 0, false
	}
	id, room := s.free.At(p)
	start := s.t.Nodes[id].Start
	at := s.up(r, uint64(start))
	if at+uint64(r.size) > uint64(start)+uint64(room) {
		// The first hole large enough is not once the start is aligned.
		if p = s.find(r, r.size+r.mask); p == fit.NoPos {
			return 0, false
		}
		id, room = s.free.At(p)
		start = s.t.Nodes[id].Start
		at = s.up(r, uint64(start))
	}
	if s.short(r) && uint64(start)+uint64(room) == uint64(s.reach) {
		if above := s.up(r, uint64(s.rule.border)); above > at && above+uint64(r.size) <= uint64(s.reach) {
			at = above
		}
	}
	// [start..............] -> [gap][r][rest]
	s.free.Remove(p)
	if gap := uint32(at) - start; gap > 0 {
		up := s.t.Split(id, gap)
		s.free.Insert(id, s.t.Nodes[id].Start, gap)
		id, room = up, room-gap
	}
	if rest := room - r.size; rest > 0 {
		up := s.t.Split(id, r.size)
		s.free.Insert(up, s.t.Nodes[up].Start, rest)
	}
	s.t.SetUsed(id)
	return id, true
}

func (s *sweeper) short(r *rect) bool { return r.death-r.birth < s.rule.long }

// find returns the hole for a rectangle that takes so many granules of it.
func (s *sweeper) find(r *rect, want uint32) fit.Pos {
	if want < r.size || want > s.reach {
		return fit.NoPos
	}
	if s.short(r) {
		if from := s.free.From(s.rule.border); from != fit.NoPos {
			if p := s.free.FirstFitFrom(from, want); p != fit.NoPos && p != s.free.Last() {
				return p
			}
		}
	}
	return s.free.FirstFit(want)
}

// release frees a block and joins it with free neighbours.
func (s *sweeper) release(id blocks.ID) {
	s.t.SetFree(id)
	if up := s.t.Next(id); !s.t.Used(up) {
		s.free.Remove(s.free.Find(up))
		s.t.Merge(id)
	}
	if low := s.t.Prev(id); low != blocks.None && !s.t.Used(low) {
		s.free.Remove(s.free.Find(low))
		s.t.Merge(low)
		id = low
	}
	s.free.Insert(id, s.t.Nodes[id].Start, s.t.Size(id))
}

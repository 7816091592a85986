package offline

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// rect is a lifetime to be placed: time by address. Times count placements,
// sizes are in granules.
type rect struct {
	birth, death uint32 // it lives in [birth, death)
	size         uint32
	mask         uint32 // alignment in granules, less one
}

// problem is the lifetimes that have to get addresses, in order of birth, no
// two of which are born at the same time.
type problem struct {
	rects []rect
	times uint32 // no rectangle lives at this time or later
	base  uint32 // a position plus base is what has to be aligned
	reach uint32 // no rectangle may end above
}

// up rounds a position up to where a rectangle may be.
func (p *problem) up(r *rect, pos uint64) uint64 {
	m := uint64(r.mask)
	return (pos+uint64(p.base)+m)&^m - uint64(p.base)
}

// mostLive returns the most granules that live at once.
func (p *problem) mostLive(byDeath []uint32) (most uint64) {
	live, dead := uint64(0), 0
	for i := range p.rects {
		for p.rects[byDeath[dead]].death <= p.rects[i].birth {
			live -= uint64(p.rects[byDeath[dead]].size)
			dead++
		}
		live += uint64(p.rects[i].size)
		most = max(most, live)
	}
	return most
}

// byDeath returns the rectangles in the order in which they die, of equals the
// one born first. O(rectangles).
func (p *problem) byDeath() []uint32 {
	count := make([]uint32, p.times+2)
	for i := range p.rects {
		count[p.rects[i].death+1]++
	}
	for t := 1; t < len(count); t++ {
		count[t] += count[t-1]
	}
	out := make([]uint32, len(p.rects))
	for i := range p.rects {
		at := &count[p.rects[i].death]
		out[*at] = uint32(i)
		*at++
	}
	return out
}

// sectionStarts returns a time for every maximal set of rectangles that live
// at once, ascending: two rectangles meet if and only if both live at one of
// these times.
func (p *problem) sectionStarts() []uint32 {
	const born, dies = 1, 2
	marks := make([]uint8, p.times+1)
	for i := range p.rects {
		marks[p.rects[i].birth] |= born
		marks[p.rects[i].death] |= dies
	}
	var starts []uint32
	grown := false // since the last death
	for t, m := range marks {
		if m&dies != 0 && grown {
			starts = append(starts, uint32(t)-1)
			grown = false
		}
		grown = grown || m&born != 0
	}
	return slices.Clip(starts)
}

// way is how a plan was made.
type way uint8

// The ways, in the order in which they are tried. Their numbers are part of
// what Native reports.
const (
	none way = iota
	byBirth
	byBirthBest
	byReverse
	byReverseBest
	bySplit
	bySize
	byLifetime
	byArea
	byRaising
	bySearch
)

// Limits on what is tried. A try of one order costs about rectangles squared / 2
// comparisons of addresses, each of a nanosecond or so.
const (
	maxOrdered  = 20_000 // rectangles up to which orders are tried
	maxBestFit  = 6_000  // and each with best fit, too
	maxSearched = 3_000  // rectangles up to which there is a search
	raisingWork = 20e6   // comparisons that raising may take
	raisings    = 200    // and how often it may place all rectangles
)

// planner makes plans for a problem and keeps the lowest.
type planner struct {
	*problem
	dying  []uint32 // byDeath
	bound  uint64   // granules live at once, at most
	lowest uint64   // no plan can be lower

	pos   []uint32 // of the lowest plan, by rectangle; nil if there is none
	top   uint32   // its end
	way   way
	tried int
	spare []uint32 // for the next plan
}

func newPlanner(p *problem) *planner {
	q := &planner{problem: p, dying: p.byDeath(), top: p.reach}
	q.bound = p.mostLive(q.dying)
	q.lowest = q.bound
	return q
}

// done reports whether no plan can be lower than the lowest so far.
func (q *planner) done() bool { return q.pos != nil && uint64(q.top) <= q.lowest }

// try makes a plan by a function that is given room for the positions and the
// top that must not be reached, and reports whether it stayed below.
func (q *planner) try(by way, make1 func(pos []uint32, below uint32) (top uint32, ok bool)) bool {
	if q.done() {
		return false
	}
	if q.spare == nil {
		q.spare = make([]uint32, len(q.rects))
	}
	q.tried++
	below := q.top
	if q.pos == nil {
		below++ // reach itself may be the end of the first plan
	}
	top, ok := make1(q.spare, below)
	if ok {
		q.pos, q.spare = q.spare, q.pos
		q.top, q.way = top, by
	}
	return ok
}

// sweeps tries the ways that cost O(log live rectangles) a rectangle.
func (q *planner) sweeps(want func(way) bool) {
	for _, s := range []struct {
		by            way
		reverse, best bool
	}{{byBirth, false, false}, {byBirthBest, false, true}, {byReverse, true, false}, {byReverseBest, true, true}} {
		if want(s.by) {
			q.try(s.by, func(pos []uint32, below uint32) (uint32, bool) {
				return q.sweep(sweepRule{reverse: s.reverse, best: s.best}, pos, below)
			})
		}
	}
	if !want(bySplit) {
		return
	}
	for log2 := 2; log2 <= 12; log2 += 2 {
		long := max(q.times>>log2, 1)
		border := q.liveOf(long)
		for _, reverse := range []bool{false, true} {
			q.try(bySplit, func(pos []uint32, below uint32) (uint32, bool) {
				return q.sweep(sweepRule{reverse: reverse, long: long, border: border}, pos, below)
			})
		}
		if long == 1 {
			break
		}
	}
}

// liveOf returns the most granules of rectangles at least so long that live at
// once.
func (q *planner) liveOf(long uint32) uint32 {
	live, most, dead := uint64(0), uint64(0), 0
	for i := range q.rects {
		r := &q.rects[i]
		for ; q.rects[q.dying[dead]].death <= r.birth; dead++ {
			if d := &q.rects[q.dying[dead]]; d.death-d.birth >= long {
				live -= uint64(d.size)
			}
		}
		if r.death-r.birth >= long {
			live += uint64(r.size)
			most = max(most, live)
		}
	}
	return uint32(min(most, uint64(q.reach)))
}

// orders tries the ways that place the rectangles in an order of their own.
func (q *planner) orders(want func(way) bool) {
	if len(q.rects) > maxOrdered {
		return
	}
	o := newOrdering(q.problem)
	var lowest []uint32 // order of the lowest plan among them
	for _, by := range []way{bySize, byLifetime, byArea} {
		if !want(by) {
			continue
		}
		order := q.order(by)
		for _, best := range []bool{false, true} {
			if best && len(q.rects) > maxBestFit {
				break
			}
			if q.try(by, func(pos []uint32, below uint32) (uint32, bool) { return o.place(order, best, pos, below) }) || lowest == nil {
				lowest = order
			}
		}
	}
	if want(byRaising) && lowest != nil {
		q.raise(o, lowest)
	}
}

// order returns the rectangles by falling size, lifetime or area.
func (q *planner) order(by way) []uint32 {
	order := make([]uint32, len(q.rects))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		x, y := &q.rects[a], &q.rects[b]
		lifeX, lifeY := uint64(x.death-x.birth), uint64(y.death-y.birth)
		sizeX, sizeY := uint64(x.size), uint64(y.size)
		switch by {
		case bySize:
			return cmp.Or(cmp.Compare(sizeY, sizeX), cmp.Compare(lifeY, lifeX), cmp.Compare(a, b))
		case byLifetime:
			return cmp.Or(cmp.Compare(lifeY, lifeX), cmp.Compare(sizeY, sizeX), cmp.Compare(a, b))
		}
		return cmp.Or(cmp.Compare(sizeY*lifeY, sizeX*lifeX), cmp.Compare(a, b))
	})
	return order
}

// raise goes on from an order: what ends above the lower bound is moved
// forward in it, again and again (Joslin and Clements, Squeaky wheel
// optimization, 1999).
func (q *planner) raise(o *ordering, order []uint32) {
	pos := make([]uint32, len(q.rects))
	key := make([]uint32, len(q.rects))
	next := slices.Clone(order)
	work := float64(len(order)) * float64(len(order)) / 2
	work = max(work, raisingWork/raisings)
	for spent := work; spent <= raisingWork && !q.done(); spent += work {
		if _, ok := o.place(next, false, pos, q.reach); !ok {
			return
		}
		for i, b := range next {
			key[b] = 2 * uint32(i)
			if uint64(pos[b])+uint64(q.rects[b].size) > q.lowest {
				key[b] = uint32(i) | 1
			}
		}
		slices.SortFunc(next, func(a, b uint32) int { return cmp.Or(cmp.Compare(key[a], key[b]), cmp.Compare(a, b)) })
		q.try(byRaising, func(pos []uint32, below uint32) (uint32, bool) { return o.place(next, false, pos, below) })
	}
}

// search looks for lower plans by branch and bound, in at most so many steps:
// for one at the lower bound first, then for one halfway between what failed
// and the lowest.
func (q *planner) search(most int64) {
	if len(q.rects) > maxSearched || most <= 0 || q.pos == nil || q.done() {
		return
	}
	s := newSearcher(q.problem)
	q.tried++
	share := most / 4 * 3
	low, ceiling := int64(q.lowest), int64(q.lowest) // nothing below low is tried again
	for low < int64(q.top) && s.steps < most {
		s.most = min(most, s.steps+share)
		found, proven := s.restart(ceiling)
		if found {
			q.top = 0
			for i := range q.pos {
				q.pos[i] = uint32(s.place[i])
				q.top = max(q.top, q.pos[i]+q.rects[i].size)
			}
			q.way = bySearch
		} else {
			low = ceiling + 1
			if proven {
				q.lowest = max(q.lowest, uint64(low))
			}
		}
		ceiling = low + (int64(q.top)-low)/2
		share = max(most/16, 1)
	}
}

// restart searches below a ceiling again and again, in other orders and with
// what is learnt about where it fails, until its steps are spent. proven is true
// if there is no such placement.
func (s *searcher) restart(ceiling int64) (found, proven bool) {
	keys := s.keys()
	key := make([]uint64, len(s.size))
	limit := int64(max(1000, 2*len(s.size)))
	for try := 0; s.steps <= s.most; try++ {
		rng := rand.New(rand.NewPCG(uint64(try), 1))
		stretch := uint64(try/len(keys)) % 4 // keys are stretched by up to so much
		for b := range key {
			key[b] = keys[try%len(keys)][b] * (64 + rng.Uint64N(64*stretch+1))
		}
		found, complete := s.search(ceiling, key, limit)
		if complete {
			return found, !found
		}
		if try%128 == 127 {
			limit *= 2
		}
	}
	return false, false
}

// keys returns the orders that a search starts from: length, area, size, and
// the largest load that a rectangle is part of.
func (s *searcher) keys() (keys [4][]uint64) {
	for k := range keys {
		keys[k] = make([]uint64, len(s.size))
	}
	load := make([]uint64, s.sections)
	for b := range s.size {
		for t := s.lo[b]; t < s.hi[b]; t++ {
			load[t] += uint64(s.size[b])
		}
	}
	for b := range s.size {
		length := uint64(s.hi[b] - s.lo[b])
		keys[0][b], keys[1][b], keys[2][b] = length, length*uint64(s.size[b]), uint64(s.size[b])
		for t := s.lo[b]; t < s.hi[b]; t++ {
			keys[3][b] = max(keys[3][b], load[t])
		}
	}
	return keys
}

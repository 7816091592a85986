package offline

import (
	"cmp"
	"slices"
)

// searcher looks for a placement of few rectangles below a ceiling, by branch
// and bound. All lengths are in granules.
//
// Time is cut into sections, in each of which the set of rectangles is the
// same; only the sections with a maximal set are kept. In every section the
// search knows two heights:
//
//	ground   the end of the highest rectangle placed there so far
//	floor    no rectangle still to be placed there can be lower
//
// and for every rectangle that is not placed yet its least position. Heights
// and positions raise each other until nothing changes (propagate), or until in
// some section the floor and the rectangles still to come exceed the ceiling.
//
// Only placements are looked for in which nothing can be lowered: everything
// rests at address 0 or on the end of another rectangle, and nothing fits whole
// in a gap further down. Any placement can be turned into such a one without
// raising its top.
//
// A branch asks what lies on the floor of one section: one of the rectangles
// that can be so low there, or none. The section is the one with the fewest
// answers, each failure seen in a section counting for it; with the ceiling at
// the lower bound there is often one answer only. What
// is placed must lie below all rectangles it meets that are still to come,
// which is so at least where the floor is lowest.
//
// Rectangles that are left and do not meet in time, not even by way of others,
// are searched for apart, so that a failure here is not answered by changes there.
//
// The ideas of sections, inference on them, canonical solutions and dominance
// are those of Moffitt, MiniMalloc (ASPLOS 2023), the weights by failure those
// of Boussemart and others, Boosting systematic search by weighting constraints
// (ECAI 2004).
type searcher struct {
	sections int
	lo, hi   []int32 // by rectangle: its sections [lo, hi)
	size     []int64
	mask     []int64 // alignment less one
	base     int64   // positions plus base are aligned
	ceiling  int64
	rank     []int32 // by rectangle: order in which candidates are tried

	// value holds all that is undone on the way back: floor, ground and load of
	// the sections, least and place of the rectangles.
	value  []int64
	floor  []int64 // by section
	ground []int64 // by section
	load   []int64 // by section: bytes still to be placed
	least  []int64 // by rectangle: least position
	place  []int64 // by rectangle: position, or unplaced
	trail  []change

	stack []int32 // lists of rectangles, of all levels
	// By section, made anew by propagate: the two lowest least positions and the
	// two lowest ends, with the rectangle of the lowest.
	low, low2, end, end2 []int64
	lowOf, endOf         []int32
	answers, next        []int64 // by section, made anew by choose
	weight               []int64 // by section: failures there so far, plus one
	last                 int32   // section for which all answers failed last

	steps, most int64 // rectangles looked at, once for each of their sections

	nodes, limit int64 // branches taken, and how many may be
}

type change struct {
	at  int32
	was int64
}

const (
	unplaced = -1
	infinite = 1 << 62
)

// newSearcher prepares the search for a problem.
func newSearcher(p *problem) *searcher {
	s := &searcher{base: int64(p.base)}
	count := len(p.rects)
	s.lo, s.hi = make([]int32, count), make([]int32, count)
	s.size, s.mask = make([]int64, count), make([]int64, count)
	starts := p.sectionStarts()
	s.sections = len(starts)
	for i := range p.rects {
		r := &p.rects[i]
		// The first section that ends after the birth, and the first that
		// starts at the death or later.
		lo, _ := slices.BinarySearch(starts, r.birth)
		hi, _ := slices.BinarySearch(starts, r.death)
		s.lo[i], s.hi[i] = int32(lo), int32(hi)
		s.size[i], s.mask[i] = int64(r.size), int64(r.mask)
	}
	n := s.sections
	s.value = make([]int64, 3*n+2*count)
	s.floor, s.ground, s.load = s.value[:n], s.value[n:2*n], s.value[2*n:3*n]
	s.least, s.place = s.value[3*n:3*n+count], s.value[3*n+count:]
	s.low, s.low2, s.end, s.end2 = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	s.lowOf, s.endOf = make([]int32, n), make([]int32, n)
	s.answers, s.next = make([]int64, n), make([]int64, n)
	s.rank = make([]int32, count)
	s.weight = make([]int64, n)
	for i := range s.weight {
		s.weight[i] = 1
	}
	return s
}

// up rounds a position up to the alignment of a rectangle.
func (s *searcher) up(b int32, pos int64) int64 {
	m := s.mask[b]
	return (pos+s.base+m)&^m - s.base
}

// search looks for a placement below the ceiling, in at most so many branches.
// Of the candidates for a place the one with the largest key is tried first.
// complete is false if the search gave up.
func (s *searcher) search(ceiling int64, key []uint64, limit int64) (found, complete bool) {
	s.ceiling, s.nodes, s.limit, s.last = ceiling, 0, limit, -1
	clear(s.value)
	s.trail, s.stack = s.trail[:0], s.stack[:0]
	order := make([]int32, len(s.size))
	for i := range order {
		order[i] = int32(i)
		s.place[i] = unplaced
		for t := s.lo[i]; t < s.hi[i]; t++ {
			s.load[t] += s.size[i]
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		areaA, areaB := int64(s.hi[a]-s.lo[a])*s.size[a], int64(s.hi[b]-s.lo[b])*s.size[b]
		return cmp.Or(cmp.Compare(key[b], key[a]), cmp.Compare(areaB, areaA), cmp.Compare(a, b))
	})
	for rank, b := range order {
		s.rank[b] = int32(rank)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(s.lo[a], s.lo[b]), cmp.Compare(a, b))
	})
	s.stack = append(s.stack, order...)
	found = s.solve(0, len(order))
	return found, found || !s.spent()
}

// spent reports whether the search has to end.
func (s *searcher) spent() bool { return s.nodes > s.limit || s.steps > s.most }

// branch counts a branch and reports whether it may be taken.
func (s *searcher) branch() bool {
	s.nodes++
	return !s.spent()
}

func (s *searcher) set(at int, v int64) {
	s.trail = append(s.trail, change{int32(at), s.value[at]})
	s.value[at] = v
}

func (s *searcher) setFloor(t int32, v int64)  { s.set(int(t), v) }
func (s *searcher) setGround(t int32, v int64) { s.set(s.sections+int(t), v) }
func (s *searcher) setLoad(t int32, v int64)   { s.set(2*s.sections+int(t), v) }
func (s *searcher) setLeast(b int32, v int64)  { s.set(3*s.sections+int(b), v) }
func (s *searcher) setPlace(b int32, v int64)  { s.set(3*s.sections+len(s.size)+int(b), v) }

func (s *searcher) undo(mark int) {
	for i := len(s.trail) - 1; i >= mark; i-- {
		s.value[s.trail[i].at] = s.trail[i].was
	}
	s.trail = s.trail[:mark]
}

// solve places the rectangles stack[from:to], sorted by their first section,
// each group that hangs together by itself. If it cannot, all is as before.
func (s *searcher) solve(from, to int) bool {
	mark := len(s.trail)
	for from < to {
		end, hi := from+1, s.hi[s.stack[from]]
		for end < to && s.lo[s.stack[end]] < hi {
			hi = max(hi, s.hi[s.stack[end]])
			end++
		}
		if !s.group(from, end) {
			s.undo(mark)
			return false
		}
		from = end
	}
	return true
}

// group places the rectangles stack[from:to], which hang together.
func (s *searcher) group(from, to int) bool {
	mark, top := len(s.trail), len(s.stack)
	first, last := s.lo[s.stack[from]], int32(0)
	for _, b := range s.stack[from:to] {
		last = max(last, s.hi[b])
	}
	for {
		if !s.propagate(from, to, first, last) {
			break
		}
		t, nothing := s.choose(from, to, first, last)
		if t < 0 {
			break
		}
		// Candidates go on the stack, too.
		for _, b := range s.stack[from:to] {
			if s.lo[b] <= t && t < s.hi[b] && s.least[b] == s.floor[t] {
				s.stack = append(s.stack, b)
			}
		}
		end := len(s.stack)
		slices.SortFunc(s.stack[top:end], func(a, b int32) int { return cmp.Compare(s.rank[a], s.rank[b]) })
		for i := top; i < end; i++ {
			if !s.branch() {
				break
			}
			if s.try(s.stack[i], from, to) {
				s.stack = s.stack[:top]
				return true
			}
		}
		if !s.branch() || !nothing {
			s.last = t
			break
		}
		// None of them lies there. Where they can be then is known from the state
		// before they were tried.
		s.survey(from, to, first, last)
		for _, b := range s.stack[top:end] {
			_, over := s.others(b)
			s.setLeast(b, s.up(b, over))
		}
		s.stack = s.stack[:top]
	}
	s.stack = s.stack[:top]
	s.undo(mark)
	return false
}

// try places a rectangle at its least position and then the others of
// stack[from:to].
func (s *searcher) try(b int32, from, to int) bool {
	mark, top := len(s.trail), len(s.stack)
	pos := s.least[b]
	s.setPlace(b, pos)
	for t := s.lo[b]; t < s.hi[b]; t++ {
		s.setFloor(t, pos+s.size[b])
		s.setGround(t, pos+s.size[b])
		s.setLoad(t, s.load[t]-s.size[b])
	}
	for _, c := range s.stack[from:to] {
		if c != b {
			s.stack = append(s.stack, c)
		}
	}
	ok := s.solve(top, len(s.stack))
	s.stack = s.stack[:top]
	if !ok {
		s.undo(mark)
	}
	return ok
}

// survey makes the sections' lowest positions and ends anew.
func (s *searcher) survey(from, to int, first, last int32) {
	for t := first; t < last; t++ {
		s.low[t], s.low2[t], s.end[t], s.end2[t] = infinite, infinite, infinite, infinite
	}
	for _, b := range s.stack[from:to] {
		pos := s.least[b]
		end := pos + s.size[b]
		s.steps += int64(s.hi[b] - s.lo[b])
		for t := s.lo[b]; t < s.hi[b]; t++ {
			if pos < s.low[t] {
				s.low2[t] = s.low[t]
				s.low[t], s.lowOf[t] = pos, b
			} else if pos < s.low2[t] {
				s.low2[t] = pos
			}
			if end < s.end[t] {
				s.end2[t] = s.end[t]
				s.end[t], s.endOf[t] = end, b
			} else if end < s.end2[t] {
				s.end2[t] = end
			}
		}
	}
}

// others returns the lowest position and the lowest end that a rectangle still
// to be placed, and met by b, can have.
func (s *searcher) others(b int32) (pos, end int64) {
	pos, end = infinite, infinite
	for t := s.lo[b]; t < s.hi[b]; t++ {
		if s.lowOf[t] != b {
			pos = min(pos, s.low[t])
		} else {
			pos = min(pos, s.low2[t])
		}
		if s.endOf[t] != b {
			end = min(end, s.end[t])
		} else {
			end = min(end, s.end2[t])
		}
	}
	return pos, end
}

// propagate raises floors and least positions as far as they raise each other,
// and reports whether the ceiling is still above them.
func (s *searcher) propagate(from, to int, first, last int32) bool {
	for {
		changed := false
		for _, b := range s.stack[from:to] {
			floor := int64(0)
			for t := s.lo[b]; t < s.hi[b]; t++ {
				floor = max(floor, s.floor[t])
			}
			if floor = s.up(b, floor); floor > s.least[b] {
				s.setLeast(b, floor)
				changed = true
			}
		}
		s.survey(from, to, first, last)
		for t := first; t < last; t++ {
			if s.load[t] == 0 {
				continue
			}
			if s.low[t] > s.floor[t] {
				s.setFloor(t, s.low[t])
				changed = true
			}
			if s.floor[t]+s.load[t] > s.ceiling {
				s.weight[t]++
				return false
			}
		}
		// What does not rest on the ground rests on something still to come, and
		// something comes between, else it would lie lower.
		for _, b := range s.stack[from:to] {
			ground := int64(0)
			for t := s.lo[b]; t < s.hi[b]; t++ {
				ground = max(ground, s.ground[t])
			}
			if ground = s.up(b, ground); s.least[b] <= ground {
				continue
			}
			pos, end := s.others(b)
			if pos >= ground+s.size[b] {
				return false // nothing keeps it from falling to the ground
			}
			if end = s.up(b, end); end > s.least[b] {
				s.setLeast(b, end)
				changed = true
			}
		}
		if !changed {
			return true
		}
	}
}

// choose returns the section with the fewest answers to what lies on its
// floor, and whether nothing is one of them; -1 if there is a section without
// an answer. It uses what propagate left.
func (s *searcher) choose(from, to int, first, last int32) (section int32, nothing bool) {
	for t := first; t < last; t++ {
		s.answers[t], s.next[t] = 0, infinite
	}
	for _, b := range s.stack[from:to] {
		pos, end := s.others(b)
		least := s.least[b]
		over := end
		if end < infinite {
			over = s.up(b, end)
		}
		// If nothing can keep it from falling to its least position, it is there.
		falls := pos >= least+s.size[b]
		for t := s.lo[b]; t < s.hi[b]; t++ {
			if least > s.floor[t] {
				s.next[t] = min(s.next[t], least)
				continue
			}
			s.answers[t]++
			if end <= least {
				s.answers[t] += notYet
			}
			if falls {
				s.next[t] = -1
			} else {
				s.next[t] = min(s.next[t], over)
			}
		}
	}
	section = -1
	best, bestSlack := int64(infinite), int64(infinite)
	for t := first; t < last; t++ {
		if s.load[t] == 0 || s.answers[t] >= notYet {
			continue
		}
		none := s.next[t] >= 0 && s.next[t]+s.load[t] <= s.ceiling
		answers := s.answers[t]
		if none {
			answers++
		}
		if answers == 0 {
			s.weight[t]++
			return -1, false
		}
		slack := s.ceiling - s.floor[t] - s.load[t]
		if section < 0 || s.narrower(t, answers, slack, section, best, bestSlack) {
			section, nothing, best, bestSlack = t, none, answers, slack
		}
	}
	return section, nothing
}

// narrower reports whether section t is a better choice than section u. One
// answer is no choice at all; else the section where all answers failed last
// goes first (Lecoutre and others, Last conflict based reasoning, 2006), and then
// those that failed most.
func (s *searcher) narrower(t int32, answers, slack int64, u int32, than, thanSlack int64) bool {
	if answers == 1 || than == 1 {
		return answers < than || answers == than && slack < thanSlack
	}
	if t == s.last || u == s.last {
		return t == s.last
	}
	if x, y := answers*s.weight[u], than*s.weight[t]; x != y {
		return x < y
	}
	return slack < thanSlack
}

// notYet in the number of answers says that something still to come may lie
// below one of the candidates.
const notYet = 1 << 40

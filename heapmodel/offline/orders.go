package offline

import (
	"slices"
	"sort"
)

// ordering places rectangles one after the other, in an order that need not be
// that of time, each where no rectangle placed before is in its way.
type ordering struct {
	*problem
	placed []placed // by position
}

type placed struct{ pos, end, birth, death uint32 }

func newOrdering(p *problem) *ordering {
	return &ordering{problem: p, placed: make([]placed, 0, len(p.rects))}
}

// place places the rectangles in the order given: as low as possible, or with
// best in the smallest gap that holds it, of equal ones the lowest. It gives up
// when one would end at below or above. O(rectangles²).
func (o *ordering) place(order []uint32, best bool, pos []uint32, below uint32) (top uint32, ok bool) {
	o.placed = o.placed[:0]
	for _, b := range order {
		r := &o.rects[b]
		at := o.find(r, best)
		end := at + uint64(r.size)
		if end >= uint64(below) || end > uint64(o.reach) {
			return 0, false
		}
		pos[b] = uint32(at)
		top = max(top, uint32(end))
		i := sort.Search(len(o.placed), func(i int) bool { return o.placed[i].pos >= uint32(at) })
		o.placed = slices.Insert(o.placed, i, placed{uint32(at), uint32(end), r.birth, r.death})
	}
	return top, true
}

// find returns where to place a rectangle.
func (o *ordering) find(r *rect, best bool) uint64 {
	from := o.up(r, 0) // above all that is in the way so far
	found, room := uint64(0), uint64(1)<<62
	for i := range o.placed {
		p := &o.placed[i]
		if p.death <= r.birth || r.death <= p.birth {
			continue
		}
		if end := from + uint64(r.size); end <= uint64(p.pos) {
			if !best {
				return from
			}
			if gap := uint64(p.pos) - from; gap < room {
				found, room = from, gap
			}
		}
		if uint64(p.end) > from {
			from = o.up(r, uint64(p.end))
		}
	}
	if room < 1<<62 {
		return found
	}
	return from
}

package strategy

import (
	"cmp"
	"slices"

	"github.com/fragprof/fragprof/trace"
)

// deepest is how many objects above one that is freed are looked at; below more
// of them it is in nobody's way but its own.
const deepest = 32

// waits is what two sites, under and over, do to each other: objects of under
// that were freed while some of over lay above them on their stack, and objects
// of over that lay there.
type waits struct{ under, over uint64 }

// judge returns the sites that move: those of which the share of objects is
// eligible, if only they moved. Of sites that are in each other's way, the one
// with most such objects for each it has stays, until none is left.
func (s *stackMove) judge(of *objects, freer []uint32, sites int) []bool {
	count, basic := make([]uint64, sites), make([]uint64, sites)
	for n := range of.len() {
		count[of.site[n]]++
		if s.basic(of, freer, n) {
			basic[of.site[n]]++
		}
	}
	moves := make([]bool, sites)
	for i := range moves {
		moves[i] = i > 0 && count[i] > 0 && basic[i]*100 >= count[i]*s.share
	}
	found := s.waiting(of, freer, moves)
	// lost is the objects of each site that are not eligible, at most.
	lost := make([]uint64, sites)
	for i := range lost {
		lost[i] = count[i] - basic[i]
	}
	type pair struct {
		sites [2]trace.SiteID // under, over
		waits
	}
	var pairs []pair
	for p, c := range found {
		pairs = append(pairs, pair{p, c})
	}
	for _, p := range pairs {
		p.add(lost, p.sites, 1)
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.sites[0], b.sites[0]), cmp.Compare(a.sites[1], b.sites[1]))
	})
	for {
		worst, most := -1, 0.0
		for _, p := range pairs {
			for _, i := range p.sites {
				if share := float64(lost[i]) / float64(count[i]); moves[i] && lost[i]*100 > count[i]*(100-s.share) && share > most {
					worst, most = int(i), share
				}
			}
		}
		if worst < 0 {
			return moves
		}
		moves[worst] = false
		pairs = slices.DeleteFunc(pairs, func(p pair) bool {
			a, b := p.sites[0], p.sites[1]
			if int(a) != worst && int(b) != worst {
				return false
			}
			p.add(lost, p.sites, ^uint64(0))
			return true
		})
	}
}

// add adds the objects to those that their sites lose, so many times.
func (c *waits) add(lost []uint64, sites [2]trace.SiteID, times uint64) {
	if sites[0] == sites[1] {
		lost[sites[0]] += times * max(c.under, c.over)
		return
	}
	lost[sites[0]] += times * c.under
	lost[sites[1]] += times * c.over
}

// waiting plays the stacks of threads with the eligible objects of the sites and
// counts who lies above whom when that one is freed.
func (s *stackMove) waiting(of *objects, freer []uint32, moves []bool) map[[2]trace.SiteID]waits {
	var order []uint32 // eligible objects, by birth
	for n := range of.len() {
		if moves[of.site[n]] && s.basic(of, freer, n) {
			order = append(order, uint32(n))
		}
	}
	dying := slices.Clone(order)
	slices.SortFunc(dying, func(a, b uint32) int { return cmp.Compare(of.death[a], of.death[b]) })
	found := map[[2]trace.SiteID]waits{}
	var stacks [][]uint32                // by thread
	counted := map[uint32]trace.SiteID{} // by object that lay above: the latest site below that it was counted for
	next := 0
	for _, n := range dying {
		for ; next < len(order) && of.birth[order[next]] < of.death[n]; next++ {
			t := of.thread[order[next]]
			for int(t) >= len(stacks) {
				stacks = append(stacks, nil)
			}
			stacks[t] = append(stacks[t], order[next])
		}
		stack := stacks[of.thread[n]]
		at := len(stack) - 1
		for stack[at] != n {
			at--
		}
		under := of.site[n]
		above := stack[at+1:]
		if len(above) > deepest {
			self := [2]trace.SiteID{under, under}
			c := found[self]
			c.under++
			found[self] = c
			above = nil
		}
		for i, m := range above {
			key := [2]trace.SiteID{under, of.site[m]}
			c := found[key]
			if !slices.ContainsFunc(above[:i], func(k uint32) bool { return of.site[k] == of.site[m] }) {
				c.under++
			}
			if last, ok := counted[m]; !ok || last != under {
				c.over++
				counted[m] = under
			}
			found[key] = c
		}
		delete(counted, n)
		stacks[of.thread[n]] = slices.Delete(stack, at, at+1)
	}
	return found
}

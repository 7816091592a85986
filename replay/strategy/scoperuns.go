package strategy

import (
	"fmt"
	"slices"

	"github.com/fragprof/fragprof/trace"
)

// none is the run or the cluster of what has none.
const none = ^uint32(0)

// runs is which objects of a trace die together: in a run of frees of the thread
// that made them. 8 bytes an object.
type runs struct {
	site []trace.SiteID // by object
	of   []uint32       // run by object, or none
	size []uint32       // objects by run, those of other threads not counted
}

// runsOf reads the trace.
func (s *scopeArena) runsOf(src trace.Source) (*runs, error) {
	if n := src.Header().Summary.Allocs; n > MaxObjects {
		return nil, fmt.Errorf("a strategy that knows objects needs a trace of at most %d of them; this one has %d", MaxObjects, n)
	}
	r := &runs{}
	type current struct {
		run    uint32
		frees  int
		others int // events since the first free of the run
		on     bool
	}
	type object struct{ number, thread uint32 }
	var live []object // by slot
	var threads []current
	err := eachEvent(src, func(e *trace.Event) {
		for int(e.Slot) >= len(live) {
			live = append(live, object{})
		}
		for int(e.Thread) >= len(threads) {
			threads = append(threads, current{})
		}
		t := &threads[e.Thread]
		if e.Op == trace.OpFree {
			if !t.on {
				*t = current{run: uint32(len(r.size)), on: true}
				r.size = append(r.size, 0)
			}
			t.frees++
			if o := live[e.Slot]; o.thread == e.Thread {
				r.of[o.number] = t.run
				r.size[t.run]++
			}
			return
		}
		if t.others++; t.others > s.window+t.frees/16 {
			t.on = false
		}
		if e.Op == trace.OpAlloc {
			live[e.Slot] = object{uint32(len(r.of)), e.Thread}
			r.site, r.of = append(r.site, e.Site), append(r.of, none)
		}
	})
	return r, err
}

// crowd is how many sites of a run are looked at for who dies with whom.
const crowd = 64

// clusters returns the cluster of each site, or none, and their number. Sites
// are in one cluster if of the runs in which either dies, at least half are runs
// in which both do.
func (s *scopeArena) clusters(r *runs, sites int) (cluster []uint32, count uint32) {
	all, scoped := make([]int, sites), make([]int, sites)
	for n, site := range r.site {
		all[site]++
		if s.scoped(r, n) {
			scoped[site]++
		}
	}
	moves := func(site trace.SiteID) bool {
		return site > 0 && scoped[site] > 0 && scoped[site]*100 >= all[site]*s.share
	}
	var seen []uint64 // run and site, each pair once
	for n, site := range r.site {
		if moves(site) && s.scoped(r, n) {
			seen = append(seen, uint64(r.of[n])<<32|uint64(site))
		}
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	runsOf, both := make([]int, sites), map[[2]uint32]int{}
	for i := 0; i < len(seen); {
		end := i
		for end < len(seen) && seen[end]>>32 == seen[i]>>32 {
			runsOf[uint32(seen[end])]++
			end++
		}
		group := seen[i:min(end, i+crowd)]
		for k, a := range group {
			for _, b := range group[:k] {
				both[[2]uint32{uint32(b), uint32(a)}]++
			}
		}
		i = end
	}
	join := newPartition(sites)
	for pair, together := range both {
		if 2*together >= runsOf[pair[0]]+runsOf[pair[1]]-together {
			join.join(pair[0], pair[1])
		}
	}
	return s.dense(join, moves, scoped, seen)
}

// dense numbers the clusters, and passes over those that make no scope by
// themselves: that have too few objects in a run.
func (s *scopeArena) dense(join partition, moves func(trace.SiteID) bool, scoped []int, seen []uint64) (cluster []uint32, count uint32) {
	objects, runCount := make([]int, len(scoped)), make([]int, len(scoped))
	for site := range scoped {
		if moves(trace.SiteID(site)) {
			objects[join.root(uint32(site))] += scoped[site]
		}
	}
	inRun := map[uint64]bool{}
	for _, p := range seen {
		root := join.root(uint32(p))
		if key := p>>32<<32 | uint64(root); !inRun[key] {
			inRun[key] = true
			runCount[root]++
		}
	}
	cluster = make([]uint32, len(scoped))
	numbers := make([]uint32, len(scoped)) // by root, plus one
	for site := range cluster {
		cluster[site] = none
		root := join.root(uint32(site))
		if !moves(trace.SiteID(site)) || objects[root] < s.least*runCount[root] {
			continue
		}
		if numbers[root] == 0 {
			count++
			numbers[root] = count
		}
		cluster[site] = numbers[root] - 1
	}
	return cluster, count
}

// partition is a partition of sites: the parent of each, a root its own.
type partition []uint32

func newPartition(sites int) partition {
	j := make(partition, sites)
	for i := range j {
		j[i] = uint32(i)
	}
	return j
}

func (j partition) root(site uint32) uint32 {
	for j[site] != site {
		j[site] = j[j[site]]
		site = j[site]
	}
	return site
}

func (j partition) join(a, b uint32) {
	a, b = j.root(a), j.root(b)
	j[max(a, b)] = min(a, b)
}

package strategy

import (
	"math"

	"github.com/fragprof/fragprof/trace"
)

// poolGrain is what block sizes of chosen pools are multiples of, unless the
// largest is so large that there would be too many.
const poolGrain = 8

// mostGrains bounds the sizes that a search for pools looks at.
const mostGrains = 1024

// demand is the requests and objects of one size, rounded up.
type demand struct {
	size     uint64
	requests uint64
	live     uint64
	peak     uint64 // most live at a time
}

// choose finds the pools for the trace.
func (p *pools) choose(src trace.Source) error {
	demands, requests, err := p.demands(src)
	if err != nil {
		return err
	}
	// Sizes from the smallest on until enough requests are covered.
	covered, upTo := uint64(0), 0
	for upTo < len(demands) && float64(covered) < p.cover*float64(requests) {
		covered += demands[upTo].requests
		upTo++
	}
	cuts := cutSizes(demands[:upTo], p.most)
	var sizes []uint64
	for ; upTo > 0; upTo-- {
		var waste, bytes float64
		if sizes, waste, bytes = cuts.at(upTo); waste <= p.waste*bytes {
			break
		}
	}
	if upTo == 0 {
		return nil
	}
	counts, err := p.counts(src, sizes)
	if err != nil {
		return err
	}
	for i, size := range sizes {
		if counts[i] > 0 {
			p.pools = append(p.pools, pool{size, min(counts[i], mostPoolBlocks)})
		}
	}
	return nil
}

// demands returns the sizes of the trace up to the largest block, ascending,
// and the number of all its requests.
func (p *pools) demands(src trace.Source) (out []demand, requests uint64, err error) {
	grain := uint64(poolGrain)
	for p.largest/grain > mostGrains {
		grain *= 2
	}
	all := make([]demand, p.largest/grain+1)
	var of []*demand // by slot
	err = eachEvent(src, func(e *trace.Event) {
		for int(e.Slot) >= len(of) {
			of = append(of, nil)
		}
		if d := of[e.Slot]; d != nil {
			d.live--
			of[e.Slot] = nil
		}
		if e.Op == trace.OpFree {
			return
		}
		requests++
		if grains := (max(e.Size, 1) + grain - 1) / grain; grains < uint64(len(all)) {
			d := &all[grains]
			d.requests++
			d.live++
			d.peak = max(d.peak, d.live)
			of[e.Slot] = d
		}
	})
	for grains, d := range all {
		if d.size = uint64(grains) * grain; d.requests > 0 {
			out = append(out, d)
		}
	}
	return out, requests, err
}

// sizeCuts is which block sizes waste least, for each number of demands from
// the smallest on.
type sizeCuts struct {
	demands []demand
	asked   []float64   // bytes of the first so many demands
	best    [][]float64 // waste, by pools less one and number of demands
	from    [][]int     // the demands served by the pools before
}

// cutSizes finds the block sizes of up to so many pools that waste least when as
// many objects of each size are live as ever were. O(most * demands^2).
func cutSizes(demands []demand, most int) *sizeCuts {
	n := len(demands)
	objects := make([]float64, n+1)
	c := &sizeCuts{demands: demands, asked: make([]float64, n+1)}
	for i, d := range demands {
		objects[i+1] = objects[i] + float64(d.peak)
		c.asked[i+1] = c.asked[i] + float64(d.peak)*float64(d.size)
	}
	// wasted by a pool for demands [i, j)
	wasted := func(i, j int) float64 {
		return (objects[j]-objects[i])*float64(demands[j-1].size) - (c.asked[j] - c.asked[i])
	}
	before := make([]float64, n+1)
	for j := 1; j <= n; j++ {
		before[j] = math.Inf(1)
	}
	for range min(most, n) {
		best, from := make([]float64, n+1), make([]int, n+1)
		for j := range best {
			best[j] = math.Inf(1)
			for i := range j {
				if w := before[i] + wasted(i, j); w < best[j] {
					best[j], from[j] = w, i
				}
			}
		}
		c.best, c.from = append(c.best, best), append(c.from, from)
		before = best
	}
	return c
}

// at returns the block sizes for the first so many demands, the fewest of those
// that waste least, that waste and the bytes of the blocks then.
func (c *sizeCuts) at(count int) (sizes []uint64, waste, bytes float64) {
	k := 0
	for i := range c.best {
		if c.best[i][count] < c.best[k][count] {
			k = i
		}
	}
	waste = c.best[k][count]
	bytes = c.asked[count] + waste
	sizes = make([]uint64, k+1)
	for j := count; k >= 0; k-- {
		sizes[k] = c.demands[j-1].size
		j = c.from[k][j]
	}
	return sizes, waste, bytes
}

// counts returns how many blocks of each size sufficed for the given percentage
// of events, if every object is in a block of the smallest size that holds it.
func (p *pools) counts(src trace.Source, sizes []uint64) ([]uint64, error) {
	type level struct {
		now, since uint64
		events     []uint64 // by number of blocks
	}
	levels := make([]level, len(sizes))
	clock := uint64(0)
	change := func(i int, by int64) {
		l := &levels[i]
		for l.now >= uint64(len(l.events)) {
			l.events = append(l.events, 0)
		}
		l.events[l.now] += clock - l.since
		l.now, l.since = uint64(int64(l.now)+by), clock
	}
	of := []int{} // by slot: pool plus one
	err := eachEvent(src, func(e *trace.Event) {
		for int(e.Slot) >= len(of) {
			of = append(of, 0)
		}
		was, now := of[e.Slot], 0
		if e.Op != trace.OpFree {
			for now < len(sizes) && sizes[now] < e.Size {
				now++
			}
			if now++; now > len(sizes) || e.Op == trace.OpRealloc && was == 0 {
				now = 0 // it is in the heap
			}
			if e.Op == trace.OpRealloc && was > 0 && e.Size <= sizes[was-1] {
				now = was // it stays in its block
			}
		}
		if was != now {
			if was > 0 {
				change(was-1, -1)
			}
			if now > 0 {
				change(now-1, +1)
			}
		}
		of[e.Slot] = now
		clock++
	})
	counts := make([]uint64, len(sizes))
	for i := range levels {
		change(i, 0)
		enough, sum := p.percent/100*float64(clock), uint64(0)
		for count, events := range levels[i].events {
			if sum += events; events > 0 || sum > 0 {
				counts[i] = uint64(count)
			}
			if float64(sum) >= enough {
				break
			}
		}
		if p.percent == 100 {
			counts[i] = uint64(len(levels[i].events) - 1)
		}
	}
	return counts, err
}

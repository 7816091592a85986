package gen

import "github.com/fragprof/fragprof/trace"

var phases = &Workload{
	Name:  "phases",
	Title: "ramps, peaks and plateaus: the shapes of real programs",
	Doc: `The program goes through phases of three kinds, as real ones do. A ramp builds up
objects that stay until the end. A peak builds a structure of many objects, uses
it, and takes it down, in one go. On a plateau objects come and go and live for
little. Sizes come from a few dozen, a handful of which make nine tenths of all
requests, and each phase has favourites of its own; objects made together die
together, mostly in the order in which they were made or against it.

Of all the workloads this is the closest to a recorded program, and still none.`,
	Source: "Wilson, Johnstone, Neely and Boles 1995; Johnstone and Wilson 1998, tables 2, 5 and 7",
	ptr:    64,
	Params: []Param{
		{Key: "phases", Kind: Count, Default: "20", Min: 1, Max: 1 << 20, Doc: "phases; what is left of the events is a plateau"},
		{Key: "sizes", Kind: Count, Default: "40", Min: 1, Max: 1 << 16, Doc: "distinct sizes"},
		{Key: "max", Kind: Bytes, Default: "16KiB", Min: 8, Max: maxBytes, Doc: "bytes of the largest size"},
		{Key: "threads", Kind: Count, Default: "2", Min: 1, Max: 1024, Doc: "threads; each phase runs on one"},
	},
	run: runPhases,
}

// maxKept bounds the objects that ramps build up.
const maxKept = 1 << 20

// phaser is the state of the workload.
type phaser struct {
	e       *emitter
	sizes   []uint64
	favours []int // index of a size, by rank in this phase
	kept    []object
}

func runPhases(e *emitter, v values) {
	p := &phaser{e: e}
	ramp, plateau, peak := e.site("load.c:read_config"), e.site("loop.c:handle"), e.site("pass.c:build_tree")
	for range v.int("sizes") {
		// Small sizes are the most frequent.
		size := min(e.spread(8, v.number("max")), e.spread(8, v.number("max")))
		p.sizes = append(p.sizes, min((size+7)&^7, v.number("max")))
	}
	p.favours = make([]int, len(p.sizes))
	count := v.number("phases")
	each := max(e.limit/count, 2)
	for i := uint64(0); e.more(); i++ {
		e.thread = e.rand.IntN(v.int("threads"))
		p.choose()
		budget := each*3/4 + e.rand.Uint64N(each/2+1)
		switch kind := e.rand.IntN(3); {
		case i >= count || kind == 0:
			p.plateau(plateau, budget)
		case kind == 1:
			p.ramp(ramp, budget)
		default:
			p.peak(peak, budget)
		}
		e.wait(50_000_000)
	}
}

// choose gives the coming phase its favourite sizes: a few move to the front.
func (p *phaser) choose() {
	for i := range p.favours {
		p.favours[i] = i
	}
	for i := range min(6, len(p.favours)) {
		j := p.e.rand.IntN(len(p.favours))
		p.favours[i], p.favours[j] = p.favours[j], p.favours[i]
	}
}

// size draws a size: each of the favourites half as often as the one before.
func (p *phaser) size() uint64 {
	rank := 0
	for rank < len(p.favours)-1 && p.e.chance(0.65) {
		rank++
	}
	return p.sizes[p.favours[rank]]
}

// ramp builds up what stays, with some short-lived objects on the way.
func (p *phaser) ramp(site trace.SiteID, budget uint64) {
	e := p.e
	for left := int64(budget); left > 2 && e.more(); {
		if e.chance(0.2) {
			if len(p.kept) < maxKept {
				p.kept = append(p.kept, e.alloc(site, p.size()))
				left--
				continue
			}
			p.replace(site)
			left -= 2
			continue
		}
		o := e.alloc(site, p.size())
		e.wait(int64(e.between(0, 5000)))
		e.free(o)
		left -= 2
	}
}

// replace frees one of the objects that stay and makes another.
func (p *phaser) replace(site trace.SiteID) {
	i := p.e.rand.IntN(len(p.kept))
	p.e.free(p.kept[i])
	p.kept[i] = p.e.alloc(site, p.size())
}

// peak builds a structure and takes it down: in order, against it, or at random.
func (p *phaser) peak(site trace.SiteID, budget uint64) {
	e := p.e
	var objects []object
	for range min(budget/2, 1<<22) {
		if !e.more() {
			return
		}
		objects = append(objects, e.alloc(site, p.size()))
		e.wait(int64(e.between(0, 2000)))
	}
	switch e.rand.IntN(4) {
	case 0:
		for i := range len(objects) / 2 {
			objects[i], objects[len(objects)-1-i] = objects[len(objects)-1-i], objects[i]
		}
	case 1:
		e.rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	}
	e.freeAll(objects)
}

// plateau lets requests be handled one after the other: each makes a few
// objects that die at its end, and now and then replaces one that stays.
func (p *phaser) plateau(site trace.SiteID, budget uint64) {
	e := p.e
	var batch []object
	for start := e.events; e.events-start < budget && e.more(); {
		batch = batch[:0]
		for range e.between(1, 30) {
			batch = append(batch, e.alloc(site, p.size()))
			e.wait(int64(e.between(0, 3000)))
		}
		if len(p.kept) > 0 && e.chance(0.3) {
			p.replace(site)
		}
		e.freeAll(batch)
		e.wait(int64(e.between(0, 1_000_000)))
	}
}

package chains

import (
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/fragprof/fragprof/trace"
)

const (
	// recent is how many of the latest allocs of a thread at a site are looked
	// at; a power of two.
	recent = 4
	// ringsLog2 bounds the memory of recent allocs. Threads and sites beyond
	// share.
	ringsLog2 = 12
	// levels is how many balances of a thread are told apart.
	levels = 512
	// histories is how many threads are told apart.
	histories = 256
	// window is how many events of the thread may lie between the alloc and the
	// free: elements that are copied may allocate, and so may their destructors.
	window = 1 << 16
)

// accept is how likely chance a link may be. Where more lies between, more
// pairs are tried for each free, and the best of many looks better than it is.
var accept = [lags]float32{adjacent: 0.5, closeEven: 0.5, close: 0.3, apartEven: 0.3}

// Of the frees of a site, the first sampleSite are counted, of those of the
// unknown site sampleNone, then every second until there are twice as many,
// every fourth of the next as many again, and so on.
const (
	sampleSite = 2048
	sampleNone = 1 << 15
)

// A pair that chance makes as seldom as sure, and that was seen often, is taken
// without looking further.
const (
	sure  = 0.02
	often = 64
)

// Detect reads the trace twice and returns its chains. It needs 24 bytes for
// each slot, 12 for each object, 12 for each site, and up to 16 MB beside.
func Detect(src trace.Source) (*Table, error) {
	sum := &src.Header().Summary
	if n := sum.Allocs; n > MaxObjects {
		return nil, fmt.Errorf("growth chains are found in traces of up to %d objects; this one has %d", MaxObjects, n)
	}
	d := detector{t: &Table{
		Prev: make([]uint32, 0, sum.Allocs), Next: make([]uint32, 0, sum.Allocs),
		Notes: notes(src.Header()),
	}, live: make([]object, 0, sum.Slots)}
	d.pairs.rehash()
	if err := d.read(src); err != nil {
		return nil, err
	}
	d.score = newScorer(&d.pairs)
	d.via = make([]uint32, 0, sum.Allocs)
	if err := d.read(src); err != nil {
		return nil, err
	}
	d.prune()
	return d.t, nil
}

// notes says what the trace lacks.
func notes(h *trace.Header) []string {
	var notes []string
	if !h.HasSite {
		notes = append(notes, "the trace has no call sites: pairs of allocate, copy and free are found by sizes and order alone, and fewer of them are right")
	}
	if !h.HasThread {
		notes = append(notes, "the trace names no threads: pairs are looked for as if one thread had done it all")
	}
	if h.Sizes == trace.SizesBlock {
		notes = append(notes, "sizes are blocks of the recorded heap: growth by a few bytes within a block does not show")
	}
	return notes
}

// detector is one search.
type detector struct {
	t     *Table
	pairs pairs
	score *scorer  // nil while pairs are counted
	frees []uint32 // by site, while pairs are counted

	objects uint32
	live    []object // by slot
	via     []uint32 // by object: the place of the pair of the link from it
	threads []*history
	rings   []ring
}

// object is what lives in a slot.
type object struct {
	size   uint64
	number uint32
	site   uint32
	// first says that the thread's next event allocated another of the size at
	// the site.
	first bool
	// led says that the object may have taken over from another.
	led bool
}

// ring is the latest allocs of a thread at a site.
type ring struct {
	key    uint64 // thread and site
	next   uint32 // count of allocs ever
	allocs [recent]candidate
}

// candidate is an alloc.
type candidate struct {
	size   uint64
	event  uint32 // of the thread
	number uint32
	slot   uint32
	// balance is how many more objects the thread has allocated than freed,
	// this one included.
	balance int32
}

// history is what a thread did.
type history struct {
	events  uint32
	balance int32
	// youngest is one more than the number of the youngest object that it freed.
	// Allocs before that cannot be what copies go to: the copies outlive the
	// free of the original.
	youngest uint32
	// level is the latest alloc that led to each balance: the one behind which
	// the thread has freed as many objects as it allocated since, if it is at
	// that balance again.
	level [levels]candidate
}

func (d *detector) read(src trace.Source) (err error) {
	r, err := src.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	d.objects, d.live = 0, d.live[:0]
	d.threads, d.rings = make([]*history, histories), make([]ring, 1<<ringsLog2)
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := d.block(&b); err != nil {
			return err
		}
	}
}

func (d *detector) block(b *trace.Block) error {
	for i, op := range b.Op {
		slot, thread := b.Slot[i], b.Thread[i]
		h := d.threads[thread%histories]
		if h == nil {
			h = &history{}
			d.threads[thread%histories] = h
		}
		h.events++
		switch op {
		case trace.OpAlloc:
			if d.objects == MaxObjects {
				return fmt.Errorf("growth chains are found in traces of up to %d objects; this one has more", MaxObjects)
			}
			d.alloc(h, slot, thread, uint32(b.Site[i]), b.Size[i])
		case trace.OpRealloc:
			d.live[slot].size = b.Size[i]
		case trace.OpFree:
			a := d.live[slot]
			d.live[slot].number = None
			if d.score != nil {
				if mask := d.score.mask(a.site); mask != 0 {
					d.link(h, thread, a, mask)
				}
			} else if d.sampled(a.site) {
				d.count(h, thread, a)
			}
			h.balance--
			h.youngest = max(h.youngest, a.number+1)
		}
	}
	return nil
}

func (d *detector) alloc(h *history, slot trace.Slot, thread, site uint32, size uint64) {
	for int(slot) >= len(d.live) {
		d.live = append(d.live, object{number: None})
	}
	d.live[slot] = object{size: size, number: d.objects, site: site}
	if d.score != nil {
		d.t.Prev, d.t.Next = append(d.t.Prev, None), append(d.t.Next, None)
		d.via = append(d.via, None)
	}
	g := d.ring(thread, site)
	if last := &g.allocs[(g.next-1)%recent]; g.next > 0 && last.event == h.events-1 && last.size == size {
		d.live[last.slot].first = true
	}
	h.balance++
	c := candidate{size: size, event: h.events, number: d.objects, slot: uint32(slot), balance: h.balance}
	g.allocs[g.next%recent] = c
	g.next++
	h.level[uint32(h.balance)%levels] = c
	d.objects++
}

// ring returns the ring of a thread and site.
func (d *detector) ring(thread, site uint32) *ring {
	key := uint64(thread)<<32 | uint64(site)
	g := &d.rings[(key*0x9e3779b97f4a7c15)>>(64-ringsLog2)]
	if g.key != key {
		g.key, g.next = key, 0
	}
	return g
}

// sampled reports whether the next free of the site is to be counted.
func (d *detector) sampled(site uint32) bool {
	if int(site) >= len(d.frees) {
		d.frees = append(d.frees, make([]uint32, int(site)+1-len(d.frees))...)
	}
	d.frees[site]++
	n, all := d.frees[site], uint32(sampleSite)
	if site == 0 {
		all = sampleNone
	}
	if n <= all {
		return true
	}
	every := uint32(1)<<bits.Len32(n/all) - 1
	return (n*0x9e3779b1)>>12&every == 0 // scattered, since programs have periods
}

// count counts the pairs that the free of a makes.
func (d *detector) count(h *history, thread uint32, a object) {
	g := d.ring(thread, a.site)
	oldest := d.objects
	for i := range min(g.next, recent) {
		c := &g.allocs[(g.next-1-i)%recent]
		between := h.events - c.event - 1
		if oldest = c.number; oldest <= a.number || oldest < h.youngest || between >= window {
			return
		}
		l := lag(between, h.balance-c.balance)
		if l != apart && c.size != a.size && c.size > 0 && d.live[c.slot].number == c.number {
			d.pairs.add(a.site, a.size, c.size, l, a.led)
			d.live[c.slot].led = d.live[c.slot].led || c.size > a.size
		}
	}
	for surplus := int32(1); surplus >= -1; surplus-- {
		if c := d.level(h, a, oldest, surplus); c != nil && c.size != a.size {
			d.pairs.add(a.site, a.size, c.size, apartEven, a.led)
			d.live[c.slot].led = d.live[c.slot].led || c.size > a.size
		}
	}
}

// level returns the latest alloc, older than the given, since which the thread
// has allocated surplus more than it freed, if it could take over from a.
func (d *detector) level(h *history, a object, older uint32, surplus int32) *candidate {
	c := &h.level[uint32(h.balance-surplus)%levels]
	if c.number >= older || c.number <= a.number || c.number < h.youngest || c.size == 0 || h.events-c.event > window {
		return nil
	}
	if o := &d.live[c.slot]; o.number != c.number || o.site != a.site {
		return nil
	}
	return c
}

// choice is the best candidate so far.
type choice struct {
	*candidate
	place  uint32 // of the pair
	chance float32
	count  uint32
}

// link links a with the likeliest object that took over from it. Mask are the
// kinds of pairs that can be links at a's site.
func (d *detector) link(h *history, thread uint32, a object, mask uint64) {
	g := d.ring(thread, a.site)
	var best choice
	oldest := d.objects
	for i := range min(g.next, recent) {
		c := &g.allocs[(g.next-1-i)%recent]
		between := h.events - c.event - 1
		if oldest = c.number; oldest <= a.number || oldest < h.youngest || between >= window {
			oldest = 0
			break
		}
		if between > 4 && mask < 1<<(apartEven*ratios) {
			oldest = 0
			break
		}
		if l := lag(between, h.balance-c.balance); l != apart && c.size > a.size {
			d.try(&best, a, c, l, mask)
		}
		if c == best.candidate && a.first && i+1 < min(g.next, recent) {
			// Of two containers that grow together the first freed is the first made.
			o := &g.allocs[(g.next-2-i)%recent]
			if o.size == c.size && o.event == c.event-1 && o.number > a.number && d.free(o) {
				best.candidate = o
			}
		}
		if best.candidate != nil && best.chance < sure && best.count >= often {
			oldest = 0
			break
		}
	}
	if oldest != 0 && mask>>(apartEven*ratios)&(1<<ratios-1) != 0 {
		for surplus := int32(1); surplus >= -1; surplus-- {
			if c := d.level(h, a, oldest, surplus); c != nil && c.size > a.size {
				d.try(&best, a, c, apartEven, mask)
			}
		}
	}
	if best.candidate == nil {
		return
	}
	d.t.Prev[best.number], d.t.Next[a.number] = a.number, best.number
	d.via[a.number] = best.place
	d.t.Copied += a.size
	d.t.Links++
	d.t.Doubt += float64(best.chance)
}

// free reports whether the candidate is alive and took over from none.
func (d *detector) free(c *candidate) bool {
	return d.live[c.slot].number == c.number && d.t.Prev[c.number] == None
}

// try makes c the choice if it is better: likelier, or of sizes seen far more
// often.
func (d *detector) try(best *choice, a object, c *candidate, lag uint8, mask uint64) {
	class, ok := ratio(a.size, c.size)
	if !ok || mask>>(lag*ratios+class)&1 == 0 || !d.free(c) {
		return
	}
	var chance float32
	count := uint32(1)
	place := d.pairs.find(hash(a.site, a.size, c.size))
	if p := &d.pairs.table[place]; p.key != 0 {
		chance, count = float32(p.chance[lag])/255, p.total(lag)
	} else {
		chance = d.score.unseen(a.site, lag, class, scale(a.size))
	}
	if chance >= accept[lag] {
		return
	}
	if best.candidate == nil || count > 2*best.count || chance < best.chance && 2*count >= best.count {
		*best = choice{c, uint32(place), chance, count}
	}
}

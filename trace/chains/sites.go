package chains

import (
	"cmp"
	"errors"
	"io"
	"slices"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/growth"
)

// Summary describes the growing containers of a trace by call site.
type Summary struct {
	Sites []Site // of chains that grew, most bytes of holes first
	Total Site   // over all of them
	Links uint64 // pairs of allocate, copy, free
	Doubt float64
	Notes []string
}

// Site is what the chains that began at one call site have in common. A chain
// counts if it grew at least once.
type Site struct {
	Site    trace.SiteID
	Chains  uint64
	Buffers Spread // buffers of a chain, its first included
	First   Spread // bytes
	Final   Spread // bytes, at death or at the end of the trace

	ByCopy    uint64 // growths by allocate, copy and free
	ByRealloc uint64 // growths by realloc
	// Copied are the bytes that the program moved itself: the sizes of buffers
	// that it outgrew by allocating others. What realloc moved is the heap's.
	Copied uint64
	Holes  uint64 // bytes of outgrown buffers, whoever moved their content
	Growth Growth
}

// Spread sums up the values of many chains.
type Spread struct {
	Mean          float64
	P50, P95, Max uint64
}

// Growth is the rule that sizes follow.
type Growth struct {
	Factor float64      // median of size after to size before; zero if there are none
	Step   uint64       // bytes, if each growth adds the same
	Rule   *growth.Rule // that explains most growths; nil if none does
	Fit    float64      // part of the growths that Rule explains
}

// Summarize reads the trace once more and describes its chains. It needs 32
// bytes for each slot and for each chain that grew.
func Summarize(src trace.Source, t *Table) (s *Summary, err error) {
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	c := collector{t: t, next: map[uint32]trace.Slot{}, growths: map[trace.SiteID]map[stride]uint64{}}
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		for i := range b.Op {
			c.event(b.At(i))
		}
	}
	for i := range c.live {
		c.end(&c.live[i])
	}
	s = &Summary{Links: t.Links, Doubt: t.Doubt, Notes: t.Notes}
	c.summarize(s)
	return s, nil
}

// chain is a container that lives, or one that lived.
type chain struct {
	site        trace.SiteID
	first, size uint64
	buffers     uint32
	copies      uint32
	copied      uint64
	holes       uint64
}

// stride is a growth.
type stride struct{ from, to uint64 }

// maxSteps bounds the growths of a site that are told apart; the first count.
const maxSteps = 1 << 10

type collector struct {
	t       *Table
	objects uint32
	live    []chain               // by slot; buffers is zero where nothing lives
	next    map[uint32]trace.Slot // slots of objects that another takes over
	done    []chain
	growths map[trace.SiteID]map[stride]uint64
}

func (c *collector) event(e trace.Event) {
	for int(e.Slot) >= len(c.live) {
		c.live = append(c.live, chain{})
	}
	o := &c.live[e.Slot]
	switch e.Op {
	case trace.OpAlloc:
		n := c.objects
		c.objects++
		if prev := c.t.Prev[n]; prev != None {
			slot := c.next[prev]
			delete(c.next, prev)
			old := &c.live[slot]
			*o, *old = *old, chain{}
			o.copies++
			o.copied += o.size
			c.grow(o, e.Size)
		} else {
			*o = chain{site: e.Site, first: e.Size, size: e.Size, buffers: 1}
		}
		if c.t.Next[n] != None {
			c.next[n] = e.Slot
		}
	case trace.OpRealloc:
		if e.Size > o.size && o.buffers > 0 {
			c.grow(o, e.Size)
		}
		o.size = e.Size
	case trace.OpFree:
		c.end(o)
	}
}

// grow gives the chain a larger buffer.
func (c *collector) grow(o *chain, size uint64) {
	at := stride{o.size, size}
	m := c.growths[o.site]
	if m == nil {
		m = map[stride]uint64{}
		c.growths[o.site] = m
	}
	if _, known := m[at]; known || len(m) < maxSteps {
		m[at]++
	}
	o.buffers++
	o.holes += o.size
	o.size = size
}

func (c *collector) end(o *chain) {
	if o.buffers > 1 {
		c.done = append(c.done, *o)
	}
	*o = chain{}
}

func (c *collector) summarize(s *Summary) {
	slices.SortStableFunc(c.done, func(a, b chain) int { return cmp.Compare(a.site, b.site) })
	all := map[stride]uint64{}
	for from := 0; from < len(c.done); {
		to := from
		for to < len(c.done) && c.done[to].site == c.done[from].site {
			to++
		}
		site := c.done[from].site
		s.Sites = append(s.Sites, describe(site, c.done[from:to], c.growths[site]))
		for at, n := range c.growths[site] {
			all[at] += n
		}
		from = to
	}
	s.Total = describe(0, c.done, all)
	slices.SortStableFunc(s.Sites, func(a, b Site) int {
		return cmp.Or(cmp.Compare(b.Holes, a.Holes), cmp.Compare(a.Site, b.Site))
	})
}

func describe(site trace.SiteID, chains []chain, growths map[stride]uint64) Site {
	d := Site{Site: site, Chains: uint64(len(chains)), Growth: explain(growths)}
	for i := range chains {
		o := &chains[i]
		d.ByCopy += uint64(o.copies)
		d.ByRealloc += uint64(o.buffers - 1 - o.copies)
		d.Copied += o.copied
		d.Holes += o.holes
	}
	values := make([]uint64, len(chains))
	spread := func(of func(*chain) uint64) (p Spread) {
		sum := 0.0
		for i := range chains {
			values[i] = of(&chains[i])
			sum += float64(values[i])
		}
		if len(values) == 0 {
			return p
		}
		slices.Sort(values)
		at := func(q int) uint64 { return values[(len(values)*q+99)/100-1] }
		return Spread{Mean: sum / float64(len(values)), P50: at(50), P95: at(95), Max: at(100)}
	}
	d.Buffers = spread(func(o *chain) uint64 { return uint64(o.buffers) })
	d.First = spread(func(o *chain) uint64 { return o.first })
	d.Final = spread(func(o *chain) uint64 { return o.size })
	return d
}

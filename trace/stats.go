package trace

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// Stats describes a trace beyond its Summary: which sizes, how long objects
// live, who asks, how objects grow. Lifetimes count bytes allocated by anyone
// between birth and death, the clock of the fragmentation literature.
type Stats struct {
	Sizes     Histogram // requested bytes of allocs
	Lifetimes Histogram // bytes allocated during an object's life, of objects that died
	TopSizes  []Tally   // most frequent alloc sizes, Key in bytes
	Threads   []uint64  // events by thread
	TopSites  []Tally   // call sites by bytes allocated; Key is the SiteID

	Chains Chains
}

// Tally is how often something occurs and what it adds up to.
type Tally struct {
	Key   uint64
	Count uint64
	Bytes uint64
}

// Chains describes objects that were reallocated.
type Chains struct {
	Objects  uint64    // objects with at least one realloc
	Lengths  Histogram // reallocs of each such object
	Final    Histogram // bytes at death or at the end of the trace
	Grows    uint64    // reallocs to a larger size
	Shrinks  uint64    // reallocs to a smaller size
	Bytes    uint64    // sizes before each realloc, added up: most that could be copied
	TopSites []Tally   // sites whose objects were reallocated most; Key is the SiteID
}

// subBits sets the resolution of a Histogram: 32 steps a doubling, so that a
// quantile is off by at most 1/32.
const subBits = 5

// Histogram counts values by size on a logarithmic scale with 32 steps a
// doubling. Values below 32 are exact. The zero Histogram is empty.
type Histogram struct {
	counts []uint64
	Count  uint64
	Sum    uint64 // of all values; wraps only beyond 2^64
	Min    uint64
	Max    uint64
}

// Add counts one value.
func (h *Histogram) Add(v uint64) { h.AddMany(v, 1) }

// AddMany counts a value count times, which is not zero.
func (h *Histogram) AddMany(v, count uint64) {
	i := bucket(v)
	if i >= len(h.counts) {
		h.counts = append(h.counts, make([]uint64, i+1-len(h.counts))...)
	}
	h.counts[i] += count
	if h.Count == 0 || v < h.Min {
		h.Min = v
	}
	h.Max = max(h.Max, v)
	h.Count += count
	h.Sum += v * count
}

func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	e := bits.Len64(v) - 1 - subBits
	return e<<subBits + int(v>>e)
}

// bucketLow is the least value that falls into bucket i.
func bucketLow(i int) uint64 {
	if i < 2<<subBits {
		return uint64(i)
	}
	e := i>>subBits - 1
	return uint64(i-e<<subBits) << e
}

// Quantile returns the least value that at least the share q of the values,
// from 0 to 1, does not exceed: exact below 64, else at most 1/32 too low. Zero
// if the histogram is empty.
func (h *Histogram) Quantile(q float64) uint64 {
	want := max(1, uint64(math.Ceil(q*float64(h.Count))))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= want {
			return max(min(bucketLow(i), h.Max), h.Min)
		}
	}
	return h.Max
}

// Mean returns the arithmetic mean, zero if the histogram is empty.
func (h *Histogram) Mean() float64 {
	if h.Count == 0 {
		return 0
	}
	return float64(h.Sum) / float64(h.Count)
}

// Class is a power-of-two class of a Histogram: values in [Low, 2*Low).
type Class struct {
	Low   uint64
	Count uint64
}

// Classes returns the counts by powers of two, from the lowest to the highest
// class with a value; the class of 0 has Low 0, that of 1 has Low 1.
func (h *Histogram) Classes() []Class {
	var out []Class
	for i, c := range h.counts {
		if c == 0 {
			continue
		}
		low := uint64(0)
		if v := bucketLow(i); v > 0 {
			low = 1 << (bits.Len64(v) - 1)
		}
		if n := len(out); n > 0 && out[n-1].Low == low {
			out[n-1].Count += c
		} else {
			out = append(out, Class{Low: low, Count: c})
		}
	}
	return out
}

// maxDistinct bounds the tables of distinct sizes and threads; values beyond
// are in the histograms only.
const maxDistinct = 1 << 20

// StatsCounter makes Stats from the blocks of a trace, in order. The zero
// StatsCounter is ready. It needs 32 bytes for each slot.
type StatsCounter struct {
	stats Stats
	clock uint64
	slots []slotStats
	sizes map[uint64]*Tally
	sites []Tally
	chain []Tally
}

type slotStats struct {
	born  uint64 // clock at birth
	size  uint64
	grown uint32 // reallocs so far
	site  SiteID
	live  bool
}

// Block adds the events of one block. Like Counter, it trusts the block.
func (c *StatsCounter) Block(b *Block) {
	if c.sizes == nil {
		c.sizes = map[uint64]*Tally{}
	}
	for i, op := range b.Op {
		slot := int(b.Slot[i])
		if slot >= len(c.slots) {
			c.slots = growTo(c.slots, slot+1)
		}
		s, size := &c.slots[slot], b.Size[i]
		switch op {
		case OpAlloc:
			c.clock += size
			*s = slotStats{born: c.clock, size: size, site: b.Site[i], live: true}
			c.alloc(size, b.Site[i])
		case OpRealloc:
			c.clock += size
			c.realloc(s, size)
		case OpFree:
			c.stats.Lifetimes.Add(c.clock - s.born)
			c.die(s)
			s.live = false
		}
		if t := int(b.Thread[i]); t < maxDistinct {
			if t >= len(c.stats.Threads) {
				c.stats.Threads = growTo(c.stats.Threads, t+1)
			}
			c.stats.Threads[t]++
		}
	}
}

func (c *StatsCounter) alloc(size uint64, site SiteID) {
	c.stats.Sizes.Add(size)
	if t := c.sizes[size]; t != nil {
		t.Count++
		t.Bytes += size
	} else if len(c.sizes) < maxDistinct {
		c.sizes[size] = &Tally{Key: size, Count: 1, Bytes: size}
	}
	tally(&c.sites, site, 1, size)
}

func (c *StatsCounter) realloc(s *slotStats, size uint64) {
	ch := &c.stats.Chains
	switch {
	case size > s.size:
		ch.Grows++
	case size < s.size:
		ch.Shrinks++
	}
	ch.Bytes += s.size
	if s.grown == 0 {
		ch.Objects++
	}
	s.grown++
	s.size = size
}

// die settles the chain of an object at its death or the end of the trace.
func (c *StatsCounter) die(s *slotStats) {
	if s.grown == 0 {
		return
	}
	c.stats.Chains.Lengths.Add(uint64(s.grown))
	c.stats.Chains.Final.Add(s.size)
	tally(&c.chain, s.site, uint64(s.grown), s.size)
}

func tally(t *[]Tally, site SiteID, count, bytes uint64) {
	i := int(site)
	if i >= maxDistinct {
		return
	}
	for i >= len(*t) {
		*t = append(*t, Tally{Key: uint64(len(*t))})
	}
	(*t)[i].Count += count
	(*t)[i].Bytes += bytes
}

// Stats returns the description of the whole trace, its lists cut to the given
// length. It is called once, after the last block.
func (c *StatsCounter) Stats(top int) *Stats {
	for i := range c.slots {
		if c.slots[i].live {
			c.die(&c.slots[i])
		}
	}
	s := &c.stats
	byCount := func(a, b Tally) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key)) }
	byBytes := func(a, b Tally) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Key, b.Key)) }
	for t := range maps.Values(c.sizes) {
		s.TopSizes = append(s.TopSizes, *t)
	}
	s.TopSizes = best(s.TopSizes, top, byCount)
	s.TopSites = best(c.sites, top, byBytes)
	s.Chains.TopSites = best(c.chain, top, byCount)
	return s
}

func best(t []Tally, top int, order func(a, b Tally) int) []Tally {
	t = slices.DeleteFunc(slices.Clone(t), func(t Tally) bool { return t.Count == 0 })
	slices.SortFunc(t, order)
	return t[:min(top, len(t))]
}

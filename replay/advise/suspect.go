package advise

import (
	"cmp"
	"errors"
	"io"
	"slices"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
)

// suspect is a call site and what makes it one.
type suspect struct {
	site     trace.SiteID
	live     uint64 // objects
	most     uint64 // objects at a time
	largest  uint64 // bytes
	bytes    uint64 // live now
	mostLive uint64 // bytes live at a time
	growths  uint64 // reallocs to a larger size, and pairs
	grown    uint64 // bytes requested by growing
	stay     uint64 // objects that live at the trace's peak or are never freed
}

// static returns the bytes that its objects would take in static buffers.
func (s *suspect) static() uint64 { return s.most * s.largest }

// suspectsOf returns at most count sites, those first that are high up in any of
// four lists: by bytes live at a time, by bytes requested by growing, by objects
// that stay, by objects alive at a time. Sites come in the order of their best
// place, then of their number.
func suspectsOf(src trace.Source, count int) ([]*suspect, error) {
	if !src.Header().HasSite {
		return nil, nil
	}
	all, err := survey(src)
	if err != nil {
		return nil, err
	}
	place := map[trace.SiteID]int{}
	for _, by := range []func(*suspect) uint64{
		func(s *suspect) uint64 { return s.mostLive },
		func(s *suspect) uint64 { return s.grown },
		func(s *suspect) uint64 { return s.stay },
		func(s *suspect) uint64 { return s.most },
	} {
		slices.SortStableFunc(all, func(a, b *suspect) int { return cmp.Compare(by(b), by(a)) })
		for i, s := range all {
			if best, ok := place[s.site]; by(s) > 0 && (!ok || i < best) {
				place[s.site] = i
			}
		}
	}
	all = slices.DeleteFunc(all, func(s *suspect) bool { _, ok := place[s.site]; return !ok || s.site == 0 })
	slices.SortFunc(all, func(a, b *suspect) int {
		return cmp.Or(cmp.Compare(place[a.site], place[b.site]), cmp.Compare(a.site, b.site))
	})
	return all[:min(len(all), count)], nil
}

// survey reads the trace and returns its sites by number.
func survey(src trace.Source) (all []*suspect, err error) {
	table, err := chains.Detect(src)
	if err != nil {
		return nil, err
	}
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := src.Header()
	v := surveyor{chains: table, sites: make([]suspect, max(len(h.Sites), 1)), peak: h.Summary.PeakLiveEvent}
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		for i := range b.Op {
			v.event(b.At(i), b.First+uint64(i))
		}
	}
	v.stayers(false)
	for i := range v.sites {
		v.sites[i].site = trace.SiteID(i)
		all = append(all, &v.sites[i])
	}
	return all, nil
}

type surveyor struct {
	chains *chains.Table
	sites  []suspect
	of     []object // by slot
	next   uint32   // number of the next object
	peak   uint64
}

type object struct {
	site    trace.SiteID
	size    uint64
	alive   bool
	counted bool // among those that stay
}

func (v *surveyor) event(e trace.Event, at uint64) {
	for int(e.Slot) >= len(v.of) {
		v.of = append(v.of, object{})
	}
	o := &v.of[e.Slot]
	switch e.Op {
	case trace.OpAlloc:
		*o = object{site: e.Site, size: e.Size, alive: true}
		s := &v.sites[o.site]
		s.live++
		s.bytes += e.Size
		if v.chains.Prev[v.next] != chains.None {
			s.growths++
			s.grown += e.Size
		}
		v.next++
	case trace.OpRealloc:
		s := &v.sites[o.site]
		if e.Size > o.size {
			s.growths++
			s.grown += e.Size
		}
		s.bytes += e.Size - o.size
		o.size = e.Size
	case trace.OpFree:
		s := &v.sites[o.site]
		s.live--
		s.bytes -= o.size
		o.alive = false
	}
	s := &v.sites[o.site]
	s.most, s.largest, s.mostLive = max(s.most, s.live), max(s.largest, o.size), max(s.mostLive, s.bytes)
	if at == v.peak {
		v.stayers(true)
	}
}

// stayers counts the objects that are alive, once each.
func (v *surveyor) stayers(mark bool) {
	for i := range v.of {
		if o := &v.of[i]; o.alive && !o.counted {
			v.sites[o.site].stay++
			o.counted = mark
		}
	}
}

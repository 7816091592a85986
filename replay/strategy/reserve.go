package strategy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
	"github.com/fragprof/fragprof/trace/edit"
)

// Reserve is the strategy reserve.
var Reserve = &Strategy{
	Name:  "reserve",
	Title: "containers get their final capacity at the start",
	Doc: "At call sites whose objects grow, by realloc or by allocating a larger block and copying, an object is " +
		"allocated with a reserved capacity at once; growth within it makes no request. What outgrows it goes on as the " +
		"program did. A realloc to a smaller size than the object had is still made. " +
		"With at=exact each object gets the capacity it will need in the end, which only an oracle knows: the upper bound " +
		"of what reserving can do. The other values are what a program could write down: they give every object of the " +
		"site the same capacity, also those that never grow, and can be wrong. " +
		"In a trace without call sites only objects that grow are reserved, as if the program knew them.",
	Source: "reserve() of containers and strings; asked for in IRremoteESP8266 PR #1536 and ESP32-sveltekit #39",
	Params: []heapmodel.Param{
		{Key: "at", Kind: heapmodel.ParamText, Default: "exact", Doc: "capacity: exact, max, a percentile of the site's final sizes such as p95, or bytes"},
		{Key: "sites", Kind: heapmodel.ParamText, Doc: "call sites that reserve, joined by |: names, patterns with * and ?, or #N; unset: all whose objects grow"},
		{Key: "top", Kind: heapmodel.ParamInt, Default: "0", Doc: "only so many sites, those that request most bytes by growing; 0: all"},
		{Key: "prefix", Kind: heapmodel.ParamInt, Default: "100", Doc: "percent of the events, from the start, that max and percentiles are learned on"},
		{Key: "from", Kind: heapmodel.ParamText, Doc: "file of another trace to learn max and percentiles on; sites are matched by name"},
	},
	Kind: Rewrites,
	New:  newReserve,
}

type reserve struct {
	exact      bool
	percent    float64 // if not exact and fixed is zero
	fixed      uint64
	sites      string
	top        int
	prefix     uint64
	from       string
	capacities []uint64 // by site; zero: it does not reserve
	bySite     bool     // the trace has call sites
	notes      []string
}

func newReserve(c heapmodel.Config) (Change, error) {
	r := &reserve{sites: c.Text("sites"), top: c.Int("top"), prefix: uint64(c.Int("prefix")), from: c.Text("from")}
	if r.prefix == 0 || r.prefix > 100 {
		return nil, fmt.Errorf("prefix=%d: want 1 to 100", r.prefix)
	}
	switch at := c.Text("at"); {
	case at == "exact":
		r.exact = true
	case at == "max":
		r.percent = 100
	case strings.HasPrefix(at, "p"):
		p, err := strconv.ParseFloat(at[1:], 64)
		if err != nil || !(p > 0 && p <= 100) {
			return nil, fmt.Errorf("at=%s: want a percentile above 0 and up to 100, such as p95", at)
		}
		r.percent = p
	default:
		bytes, err := heapmodel.ParseBytes(at)
		if err != nil {
			return nil, fmt.Errorf("at=%s: want exact, max, a percentile such as p95, or bytes", at)
		}
		if bytes == 0 || bytes > trace.MaxSize {
			return nil, fmt.Errorf("at=%s is out of range", at)
		}
		r.fixed = bytes
	}
	if r.exact && (r.from != "" || r.prefix != 100) {
		return nil, errors.New("at=exact knows each object: prefix and from do not go with it")
	}
	return r, nil
}

// growth is what a site's containers come to.
type growth struct {
	site  trace.SiteID
	final []uint64 // bytes in the end, of every container, grown or not
	grown int      // containers that grew
	moved uint64   // bytes requested by growing
}

// Learn finds the sites whose objects grow and what they grow to.
func (r *reserve) Learn(src trace.Source, env *Env) error {
	h := src.Header()
	r.bySite = h.HasSite
	of, err := learnObjects(src, forever)
	if err != nil {
		return err
	}
	chosen, err := sitesOf(r.sites, h)
	if err != nil {
		return err
	}
	if !r.bySite {
		r.notes = append(r.notes, "the trace has no call sites: the objects that grow count as one site, and only they are reserved")
	}
	sites := r.grows(of, chosen)
	slices.SortStableFunc(sites, func(a, b *growth) int { return cmp.Compare(b.moved, a.moved) })
	if r.top > 0 && len(sites) > r.top {
		sites = sites[:r.top]
	}
	if len(sites) == 0 {
		r.notes = append(r.notes, "no object of the trace grows at these sites: nothing is reserved")
	}
	history, err := r.history(src, of, env)
	if err != nil {
		return err
	}
	r.capacities = make([]uint64, max(len(h.Sites), 1))
	unknown := 0
	for _, s := range sites {
		if r.capacities[s.site] = r.capacity(s, history); r.capacities[s.site] == 0 {
			unknown++
		}
	}
	if unknown > 0 {
		r.notes = append(r.notes, fmt.Sprintf("%d of %d sites are not in what was learned and are not reserved", unknown, len(sites)))
	}
	return nil
}

// capacity returns what objects of the site reserve at least.
func (r *reserve) capacity(s *growth, history map[trace.SiteID]*growth) uint64 {
	switch {
	case r.exact:
		return 1 // any: each object has its own
	case r.fixed > 0:
		return r.fixed
	}
	if learned := history[s.site]; learned != nil && len(learned.final) > 0 {
		return percentile(learned.final, r.percent)
	}
	return 0
}

// history returns the final sizes that percentiles are taken of, by site of
// the trace.
func (r *reserve) history(src trace.Source, of *objects, env *Env) (map[trace.SiteID]*growth, error) {
	if r.exact || r.fixed > 0 {
		return nil, nil
	}
	rename := func(s trace.SiteID) (trace.SiteID, bool) { return s, true }
	switch {
	case r.from != "":
		if env.Open == nil {
			return nil, errors.New("from: no other trace can be read here")
		}
		other, err := env.Open(r.from)
		if err != nil {
			return nil, err
		}
		if of, err = learnObjects(other, forever); err != nil {
			return nil, fmt.Errorf("%s: %w", r.from, err)
		}
		ids := map[string]trace.SiteID{}
		for i, name := range src.Header().Sites {
			ids[name] = trace.SiteID(i)
		}
		names := other.Header()
		rename = func(s trace.SiteID) (trace.SiteID, bool) {
			id, ok := ids[names.SiteName(s)]
			return id, ok
		}
	case r.prefix < 100:
		var err error
		if of, err = learnObjects(src, src.Header().Summary.Events*r.prefix/100); err != nil {
			return nil, err
		}
	}
	history := map[trace.SiteID]*growth{}
	for _, s := range r.grows(of, nil) {
		if id, ok := rename(s.site); ok {
			history[id] = s
		}
	}
	return history, nil
}

// grows returns the sites at which containers begin and some grow, by number.
// Without call sites there is one, of the containers that grow.
func (r *reserve) grows(of *objects, chosen []bool) []*growth {
	bySite := map[trace.SiteID]*growth{}
	var sites []*growth
	for n := range uint32(of.len()) {
		site := of.site[n]
		if !of.isHead(n) || !isChosen(chosen, site) {
			continue
		}
		final, growths := of.final(n)
		if !r.bySite && growths == 0 {
			continue
		}
		s := bySite[site]
		if s == nil {
			s = &growth{site: site}
			bySite[site] = s
			sites = append(sites, s)
		}
		s.final = append(s.final, final)
		if growths > 0 {
			s.grown++
			s.moved += final - of.first[n]
		}
	}
	return slices.DeleteFunc(sites, func(s *growth) bool { return s.grown == 0 })
}

// Notes says what was guessed.
func (r *reserve) Notes() []string { return r.notes }

// For learns which objects of the trace take over from which, and for an oracle
// what they come to.
func (r *reserve) For(src trace.Source) (func(*Ledger) edit.Editor, error) {
	of, err := learnObjects(src, forever)
	if err != nil {
		return nil, err
	}
	return func(l *Ledger) edit.Editor { return &reserver{r: r, objects: of, l: l} }, nil
}

// reserver keeps a container for each live object. Objects of one chain share
// a container while it does not outgrow what it reserved.
type reserver struct {
	r          *reserve
	objects    *objects
	l          *Ledger
	containers []container
	spare      []int32
	of         []int32 // container by slot of the original
	home       []int32 // container by number of the object
}

type container struct {
	slot     trace.Slot
	capacity uint64 // bytes requested from the heap
	need     uint64 // bytes the unchanged program has in it
	holders  int32  // objects of the original that are in it
}

func (v *reserver) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(v.of) {
		v.of = append(v.of, 0)
	}
	switch e.Op {
	case trace.OpAlloc:
		i := v.alloc(e, uint32(len(v.home)), w)
		v.of[e.Slot] = i
		v.home = append(v.home, i)
	case trace.OpRealloc:
		v.realloc(&v.containers[v.of[e.Slot]], e, w)
	case trace.OpFree:
		i := v.of[e.Slot]
		c := &v.containers[i]
		if c.holders--; c.holders == 0 {
			v.l.AddSlack(-int64(c.capacity - c.need))
			w.Free(c.slot, e)
			v.spare = append(v.spare, i)
		}
	}
}

func (v *reserver) End(*edit.Writer) {}

// alloc places object n: in the container of the object it takes over from, or
// in one of its own.
func (v *reserver) alloc(e *trace.Event, n uint32, w *edit.Writer) int32 {
	if prev := v.objects.chain.Prev[n]; prev != chains.None {
		i := v.home[prev]
		if c := &v.containers[i]; e.Size <= c.capacity {
			c.holders++
			v.l.AddCopiesAvoided(c.need)
			v.l.AddRemoved()
			v.need(c, e.Size, w)
			return i
		}
	}
	c := container{need: e.Size, capacity: max(e.Size, v.reserved(e.Site, n)), holders: 1}
	a := *e
	a.Size = c.capacity
	c.slot = w.Alloc(&a)
	v.l.AddSlack(int64(c.capacity - c.need))
	v.l.SetNeed(w, c.slot, c.need)
	if k := len(v.spare); k > 0 {
		i := v.spare[k-1]
		v.spare = v.spare[:k-1]
		v.containers[i] = c
		return i
	}
	v.containers = append(v.containers, c)
	return int32(len(v.containers) - 1)
}

// reserved returns the bytes that object n of the site reserves.
func (v *reserver) reserved(site trace.SiteID, n uint32) uint64 {
	r := v.r
	if int(site) >= len(r.capacities) || r.capacities[site] == 0 || !v.objects.isHead(n) {
		return 0
	}
	final, growths := v.objects.final(n)
	switch {
	case r.exact:
		return final
	case !r.bySite && growths == 0:
		return 0
	}
	return r.capacities[site]
}

func (v *reserver) realloc(c *container, e *trace.Event, w *edit.Writer) {
	if e.Size > c.capacity || e.Size < c.need {
		v.l.AddSlack(-int64(c.capacity - c.need))
		w.Realloc(c.slot, e.Size, e)
		c.capacity, c.need = e.Size, e.Size
		return
	}
	v.need(c, e.Size, w)
}

// need sets what the program has in the container.
func (v *reserver) need(c *container, bytes uint64, w *edit.Writer) {
	v.l.AddSlack(int64(c.need) - int64(bytes))
	c.need = bytes
	v.l.SetNeed(w, c.slot, bytes)
}

package strategy

import (
	"fmt"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
	rules "github.com/fragprof/fragprof/trace/growth"
)

// Container is the strategy container.
var Container = &Strategy{
	Name:  "container",
	Title: "the same data in another collection: a list, a deque, one vector",
	Doc: "With kind=list or deque, containers that grow, by reallocs or by alloc, copy, free, keep their elements elsewhere: in a node each, with " +
		"links pointers; or in chunks of a fixed size and a map of pointers to them, which grows as libstdc++'s. How many elements " +
		"there are is read off how a call site grows, as growth does: a step of a known rule was made for one element more than " +
		"there was room for. They are added evenly between the events at which the container grew, and after the last, at the pace " +
		"before it, up to fill percent of that step. Sites of which the sizes do not show how large an element is, and strings as lists, are " +
		"left alone unless elem says it. " +
		"With kind=vector it is the other way around, at sites that must be named: all live objects of a site, which must be equally large and never " +
		"reallocated, are elements without links of one vector that doubles by alloc, copy, free; the last element fills the place of a removed one, so " +
		"that nothing may keep pointers to them. It is freed with the last object of the trace. Sites that are vectors already, or mixed, are left alone. " +
		"Links, maps and unused parts of chunks are in the heap and show there; what the program copies and no longer copies is booked.",
	Source: "libstdc++ 12 for deques, compared with it; std::list for nodes; ArduinoJson #1074: one block or many",
	Params: append([]heapmodel.Param{
		{Key: "kind", Kind: heapmodel.ParamEnum, Default: "list", Enum: []string{"list", "deque", "vector"}, Doc: "what collection the data is in"},
		{Key: "links", Kind: heapmodel.ParamInt, Default: "2", Doc: "pointers of a node of a list: 2, or 1 if singly linked"},
		{Key: "chunk", Kind: heapmodel.ParamBytes, Default: "512", Doc: "bytes of a chunk of a deque, at least one element"},
	}, needParams...),
	Kind: Rewrites,
	New:  newCollect,
}

// maxNodes is the number of nodes above which a trace is not rewritten.
const maxNodes = 1 << 25

// collect is the change to a list or a deque, and with vector to one vector.
type collect struct {
	needing
	kind  string
	links uint64
	chunk uint64
	ptr   uint64   // bytes of a pointer
	entry []uint64 // by site: bytes of its objects in a vector; zero: it is left alone
}

func newCollect(c heapmodel.Config) (Change, error) {
	n, err := newNeeding(c)
	if err != nil {
		return nil, err
	}
	s := &collect{needing: n, kind: c.Text("kind"), links: uint64(c.Int("links")), chunk: c.Bytes("chunk")}
	if s.links > 16 {
		return nil, fmt.Errorf("links=%d: want 0 to 16", s.links)
	}
	if s.chunk == 0 || s.chunk > 1<<30 {
		return nil, fmt.Errorf("chunk=%d: want 1 byte to 1 GiB", s.chunk)
	}
	if s.kind == "vector" && !c.Set("sites") {
		return nil, fmt.Errorf("kind=vector: sites must say which objects go into one vector")
	}
	return s, nil
}

// Learn finds out how the sites grow, or what their objects are like.
func (s *collect) Learn(src trace.Source, _ *Env) error {
	of, err := s.learn(src, nil)
	if err != nil {
		return err
	}
	if s.ptr = uint64(src.Header().PtrBits) / 8; s.ptr == 0 {
		s.ptr = 4
		s.notes = append(s.notes, "the trace does not say how large a pointer is: 4 bytes")
	}
	if s.kind == "vector" {
		return s.uniform(src, of)
	}
	return s.elements(of)
}

// elements leaves the sites alone whose elements are of no known size, and
// refuses what would be too many nodes.
func (s *collect) elements(of *objects) error {
	all, left := s.chosen, 0
	s.chosen = make([]bool, len(s.fits.sites))
	sites := 0
	seen := map[trace.SiteID]bool{}
	for n, site := range of.site {
		if seen[site] || !isChosen(all, site) {
			continue
		}
		if _, growths := of.final(uint32(n)); growths == 0 {
			continue
		}
		seen[site] = true
		f := s.fits.of(site)
		known := f.rule != nil && (s.kind != "list" || !f.rule.Text)
		if int(site) < len(s.chosen) {
			s.chosen[site] = known || s.elem > 0
		}
		if sites++; !known && s.elem == 0 {
			left++
		}
	}
	if left > 0 {
		s.notes = append(s.notes, fmt.Sprintf("%d of %d sites that grow are left alone: what an element is, the sizes do not show (elem says it)", left, sites))
	}
	var nodes uint64
	for n, site := range of.site {
		if !of.isHead(uint32(n)) || !isChosen(s.chosen, site) {
			continue
		}
		if final, growths := of.final(uint32(n)); growths > 0 {
			per := max(s.elem, s.fits.of(site).elem)
			if s.kind == "deque" {
				per = max(per, s.chunk)
			}
			nodes += final / per
		}
		if nodes > maxNodes {
			return fmt.Errorf("more than %d nodes: choose sites, or larger elements", maxNodes)
		}
	}
	return nil
}

// uniform finds the sites whose objects can be elements of one vector.
func (s *collect) uniform(src trace.Source, of *objects) error {
	h := src.Header()
	if !h.HasSite {
		s.notes = append(s.notes, "the trace has no call sites: nothing tells which objects belong together, and nothing is changed")
		return nil
	}
	together, err := aliveTogether(src)
	if err != nil {
		return err
	}
	type site struct {
		objects          uint64
		size             uint64
		different, grows bool
	}
	sites := make([]site, len(h.Sites))
	for n, id := range of.site {
		if int(id) >= len(sites) {
			continue
		}
		t := &sites[id]
		if t.objects++; t.objects == 1 {
			t.size = of.first[n]
		}
		t.different = t.different || of.first[n] != t.size
		t.grows = t.grows || of.steps[n] > 0 || of.last[n] != of.first[n] || !of.isHead(uint32(n))
	}
	s.entry = make([]uint64, len(sites))
	reasons := [...]string{"their objects grow, they are one block each already", "their objects are not equally large", "their objects are empty", "never more than one object was alive"}
	left := make([][]trace.SiteID, len(reasons))
	for id := range sites {
		t, site := &sites[id], trace.SiteID(id)
		switch {
		case t.objects == 0 || !isChosen(s.chosen, site):
		case t.grows:
			left[0] = append(left[0], site)
		case t.different:
			left[1] = append(left[1], site)
		case t.size == 0:
			left[2] = append(left[2], site)
		case together[id] < 2:
			left[3] = append(left[3], site)
		default:
			s.entry[id] = t.size
			if s.elem > 0 {
				s.entry[id] = s.elem
			} else if t.size > s.links*s.ptr {
				s.entry[id] = t.size - s.links*s.ptr
			}
			s.notes = append(s.notes, fmt.Sprintf("%s: %d objects of %d bytes, up to %d at a time, become elements of %d", h.SiteName(site), t.objects, t.size, together[id], s.entry[id]))
		}
	}
	for i, ids := range left {
		if len(ids) > 0 {
			s.notes = append(s.notes, fmt.Sprintf("sites left alone: %d (%s): %s", len(ids), someNames(h, ids), reasons[i]))
		}
	}
	return nil
}

// someNames returns the names of the first sites.
func someNames(h *trace.Header, ids []trace.SiteID) string {
	const some = 3
	var names []string
	for _, id := range ids[:min(len(ids), some)] {
		names = append(names, h.SiteName(id))
	}
	if len(ids) > some {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

// aliveTogether returns by site the most objects that lived at a time.
func aliveTogether(src trace.Source) ([]uint64, error) {
	most := make([]uint64, len(src.Header().Sites))
	live := make([]uint64, len(most))
	var of []trace.SiteID // by slot
	err := eachEvent(src, func(e *trace.Event) {
		for int(e.Slot) >= len(of) {
			of = append(of, 0)
		}
		if e.Op == trace.OpAlloc {
			of[e.Slot] = e.Site
		}
		site := of[e.Slot]
		switch {
		case int(site) >= len(most):
		case e.Op == trace.OpAlloc:
			live[site]++
			most[site] = max(most[site], live[site])
		case e.Op == trace.OpFree:
			live[site]--
		}
	})
	return most, err
}

// For learns what becomes of each container of the trace.
func (s *collect) For(src trace.Source) (func(*Ledger) edit.Editor, error) {
	if s.kind == "vector" {
		return s.forVector(src)
	}
	of, l, err := s.follow(src)
	if err != nil {
		return nil, err
	}
	return func(ledger *Ledger) edit.Editor {
		return &collector{s: s, g: growers{of: of, chosen: s.chosen, sequels: l}, l: ledger}
	}, nil
}

// forVector counts what is left of each site, to know when its vector dies.
func (s *collect) forVector(src trace.Source) (func(*Ledger) edit.Editor, error) {
	left := make([]uint64, len(s.entry))
	err := eachEvent(src, func(e *trace.Event) {
		if e.Op == trace.OpAlloc && s.isEntry(e.Site) {
			left[e.Site]++
		}
	})
	if err != nil {
		return nil, err
	}
	return func(l *Ledger) edit.Editor {
		g := &gatherer{s: s, l: l, vectors: make([]vector, len(left))}
		for i := range g.vectors {
			g.vectors[i] = vector{left: left[i], slot: edit.None}
		}
		return g
	}, nil
}

func (s *collect) isEntry(site trace.SiteID) bool {
	return int(site) < len(s.entry) && s.entry[site] > 0
}

// gatherer is the editor that makes one vector of a site's objects.
type gatherer struct {
	s       *collect
	l       *Ledger
	slots   edit.Slots
	vectors []vector       // by site
	in      []trace.SiteID // by slot of the original; zero: in none
}

// vector holds the objects of a site.
type vector struct {
	slot     trace.Slot
	count    uint64
	capacity uint64
	left     uint64 // objects that are still to come
	slack    uint64
}

func (v *gatherer) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(v.in) {
		v.in = append(v.in, 0)
	}
	switch {
	case e.Op == trace.OpAlloc && v.s.isEntry(e.Site):
		v.in[e.Slot] = e.Site
		v.slots.Set(e.Slot, edit.None)
		v.add(&v.vectors[e.Site], v.s.entry[e.Site], e, w)
		return
	case e.Op == trace.OpAlloc:
		v.in[e.Slot] = 0
	case e.Op == trace.OpFree && v.s.isEntry(v.in[e.Slot]):
		t := &v.vectors[v.in[e.Slot]]
		v.l.AddCopies(v.s.entry[v.in[e.Slot]]) // the last fills its place
		t.count--
		if t.count == 0 && t.left == 0 {
			w.Free(t.slot, e)
			t.capacity = 0
		}
		v.book(t, v.in[e.Slot])
		v.in[e.Slot] = 0
		return
	}
	v.slots.Copy(e, w)
}

func (v *gatherer) End(*edit.Writer) {}

func (v *gatherer) add(t *vector, entry uint64, e *trace.Event, w *edit.Writer) {
	v.l.AddRemoved()
	t.left--
	if t.count++; t.count > t.capacity {
		a, old := *e, t.slot
		was := t.capacity
		t.capacity = max(2*was, 1)
		a.Size = min(t.capacity*entry, trace.MaxSize)
		t.slot = w.Alloc(&a)
		v.l.AddAdded()
		if old != edit.None {
			v.l.AddCopies(was * entry)
			w.Free(old, e)
		}
	}
	v.book(t, e.Site)
}

// book enters what of the vector holds nothing.
func (v *gatherer) book(t *vector, site trace.SiteID) {
	slack := (t.capacity - min(t.count, t.capacity)) * v.s.entry[site]
	v.l.AddSlack(int64(slack) - int64(t.slack))
	t.slack = slack
}

// collectionOf makes the empty collection of a container.
func (s *collect) collectionOf(elem uint64) collection {
	if s.kind == "list" {
		size := elem + s.links*s.ptr
		if s.links > 0 {
			size = (size + s.ptr - 1) / s.ptr * s.ptr
		}
		return collection{node: size, per: 1}
	}
	per := max(s.chunk/elem, 1)
	return collection{node: per * elem, per: per, deque: true}
}

// counted returns how many elements a recorded request is for.
func counted(f *fit, bytes, elem uint64) uint64 {
	if f.rule != nil {
		bytes -= min(bytes, headerOf(f.rule))
	}
	return min((bytes+elem-1)/elem, rules.MaxCapacity)
}

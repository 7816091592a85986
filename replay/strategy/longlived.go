package strategy

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// LongLivedFirst is the strategy long-lived-first.
var LongLivedFirst = &Strategy{
	Name:  "long-lived-first",
	Title: "what lives to the end is allocated at start-up",
	Doc: "Objects that are never freed, or of which a program would know it, are allocated before anything else, in their order " +
		"and with the most bytes they will have, so that they lie together and pin nothing. Their reallocs make no request, and what they shrink by they keep. What they take " +
		"before the unchanged program would have it is slack. " +
		"by=object is an oracle: it takes every object that lives to the end. by=site takes the call sites of which at least the " +
		"given share of objects lives to the end, and of these all objects that do in the ordering replayed: as many as the " +
		"program has of them it would have to know at start-up.",
	Source: "allocate persistent things before transient ones: advice of embedded guides; CircuitPython #2885",
	Kind:   Rewrites,
	Params: []heapmodel.Param{
		{Key: "by", Kind: heapmodel.ParamEnum, Default: "object", Enum: []string{"object", "site"}, Doc: "who is moved: every object that lives to the end, or those of sites where most do"},
		{Key: "share", Kind: heapmodel.ParamInt, Default: "90", Doc: "by=site: percent of a site's objects that must live to the end"},
		{Key: "sites", Kind: heapmodel.ParamText, Doc: "only these call sites, joined by |: names, patterns with * and ?, or #N"},
	},
	New: func(c heapmodel.Config) (Change, error) {
		l := &longLived{bySite: c.Text("by") == "site", share: uint64(c.Int("share")), sites: c.Text("sites")}
		if l.share < 1 || l.share > 100 {
			return nil, fmt.Errorf("share=%d: want 1 to 100", l.share)
		}
		return l, nil
	},
}

type longLived struct {
	bySite bool
	share  uint64
	sites  string
	chosen []bool // by site; nil for all
	notes  []string
}

// Learn decides which sites are moved.
func (s *longLived) Learn(src trace.Source, _ *Env) error {
	h := src.Header()
	var err error
	if s.chosen, err = sitesOf(s.sites, h); err != nil {
		return err
	}
	if s.bySite && !h.HasSite {
		s.notes = append(s.notes, "the trace has no call sites: objects that live to the end are moved one by one, as by an oracle")
		s.bySite = false
	}
	of, err := learnObjects(src, forever)
	if err != nil {
		return err
	}
	var count, bytes uint64
	if s.bySite {
		all, stay := make([]uint64, len(h.Sites)), make([]uint64, len(h.Sites))
		for n, site := range of.site {
			all[site]++
			if of.death[n] == forever {
				stay[site]++
			}
		}
		chosen := make([]bool, len(h.Sites))
		for site := range chosen {
			chosen[site] = isChosen(s.chosen, trace.SiteID(site)) && stay[site] > 0 && 100*stay[site] >= s.share*all[site]
		}
		s.chosen = chosen
	}
	for n := range of.site {
		if s.moves(of, uint32(n)) {
			count++
			bytes += of.largest[n]
		}
	}
	s.notes = append(s.notes, fmt.Sprintf("%d objects of %d bytes are allocated at start-up", count, bytes))
	return nil
}

// Notes says what is moved.
func (s *longLived) Notes() []string { return s.notes }

func (s *longLived) moves(of *objects, n uint32) bool {
	return of.death[n] == forever && isChosen(s.chosen, of.site[n])
}

// For learns which objects of the trace live to its end.
func (s *longLived) For(src trace.Source) (func(*Ledger) edit.Editor, error) {
	of, err := learnObjects(src, forever)
	if err != nil {
		return nil, err
	}
	var first []trace.Event // the allocs at start-up
	number := uint32(0)
	err = eachEvent(src, func(e *trace.Event) {
		if e.Op != trace.OpAlloc {
			return
		}
		if s.moves(of, number) {
			a := *e
			a.Size = of.largest[number]
			first = append(first, a)
		}
		number++
	})
	if err != nil {
		return nil, err
	}
	return func(l *Ledger) edit.Editor { return &upfront{s: s, of: of, first: first, l: l} }, nil
}

// upfront writes the moved objects before the first event and passes over them
// later.
type upfront struct {
	s      *longLived
	of     *objects
	first  []trace.Event
	l      *Ledger
	begun  bool
	number uint32
	slots  edit.Slots
	moved  []uint64 // by slot of the original: bytes of a moved object it has by now, plus one; zero for others
}

func (v *upfront) begin(e *trace.Event, w *edit.Writer) {
	v.begun = true
	for i := range v.first {
		a := v.first[i]
		a.Time = e.Time
		w.Alloc(&a)
		v.l.AddSlack(int64(a.Size))
	}
}

func (v *upfront) Event(e *trace.Event, w *edit.Writer) {
	if !v.begun {
		v.begin(e, w)
	}
	for int(e.Slot) >= len(v.moved) {
		v.moved = append(v.moved, 0)
	}
	switch e.Op {
	case trace.OpAlloc:
		v.moved[e.Slot] = 0
		n := v.number
		v.number++
		if v.s.moves(v.of, n) {
			// The object is there already; from now on the program needs it.
			v.moved[e.Slot] = e.Size + 1
			v.l.AddSlack(-int64(e.Size))
			v.slots.Set(e.Slot, edit.None)
			return
		}
	case trace.OpRealloc:
		if was := v.moved[e.Slot]; was > 0 {
			v.need(e, was-1)
			return
		}
	}
	v.slots.Copy(e, w)
}

// need books that a moved object needs more or less of its final size.
func (v *upfront) need(e *trace.Event, was uint64) {
	v.l.AddSlack(int64(was) - int64(e.Size))
	v.moved[e.Slot] = e.Size + 1
}

func (v *upfront) End(*edit.Writer) {}

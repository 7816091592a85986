package strategy

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// TwoEnded is the strategy two-ended.
var TwoEnded = &Strategy{
	Name:  "two-ended",
	Title: "long-lived objects from the bottom of the heap, transient ones from the top",
	Doc: "The heap is replaced by one that places objects expected to live long at the bottom and all others at the top, so that neither " +
		"leaves holes among the other. That heap is an address-ordered first fit from either end, of the same capacity, whatever the heap was: what " +
		"that changes by itself is shown by a replay of sequential:realloc=inplace. Header and alignment are those of the heap if it has such parameters, else a word and two. " +
		"by=life takes objects for long-lived that live longer than the cut, in bytes that the program requests meanwhile: an oracle, the upper bound of what this can do. " +
		"by=site takes the call sites whose objects do so by the median in the recorded trace, which a program can write down. " +
		"Without a cut it is the most bytes that the trace has live: who outlives it has seen the heap turned over once. " +
		"Only heaps of fixed size can be replaced, since one that grows has no upper end.",
	Source: "CircuitPython #2885 and PR 547, whose long-lived end is the upper one",
	Params: []heapmodel.Param{
		{Key: "by", Kind: heapmodel.ParamEnum, Default: "life", Enum: []string{"life", "site"}, Doc: "who tells long-lived objects: an oracle, or call sites as learned"},
		{Key: "cut", Kind: heapmodel.ParamBytes, Doc: "objects that live longer are long-lived, in bytes requested meanwhile; unset: the peak of live bytes"},
		{Key: "sites", Kind: heapmodel.ParamText, Doc: "by=site: call sites of long-lived objects in place of those learned, joined by |: names, patterns with * and ?, or #N"},
	},
	Kind: Wraps,
	New: func(c heapmodel.Config) (Change, error) {
		t := &twoEnded{bySite: c.Text("by") == "site", cut: c.Bytes("cut"), given: c.Set("cut"), sites: c.Text("sites")}
		if t.sites != "" && !t.bySite {
			return nil, fmt.Errorf("sites=%s: goes with by=site", t.sites)
		}
		return t, nil
	},
}

type twoEnded struct {
	bySite bool
	cut    uint64
	given  bool // the cut
	sites  string
	list   string // of long-lived sites
	models []*heapmodel.Model
	notes  []string
}

// Learn finds the sites whose objects live long.
func (t *twoEnded) Learn(src trace.Source, env *Env) error {
	t.models = env.Models
	h := src.Header()
	if !t.given {
		t.cut = h.Summary.PeakLiveBytes
	}
	t.notes = append(t.notes, "the heap is a first fit from both ends, whatever its model was")
	if t.bySite && !h.HasSite {
		t.bySite = false
		t.notes = append(t.notes, "the trace has no call sites: an oracle tells which objects live long")
	}
	v, err := learnLifespans(src)
	if err != nil {
		return err
	}
	long := make([]bool, len(h.Sites))
	if t.bySite {
		if err := t.choose(v, h, long); err != nil {
			return err
		}
		t.list = siteList(long)
	}
	var count, wrong uint64
	for n, life := range v.life {
		lives := life > t.cut
		is := lives
		if t.bySite {
			is = long[v.site[n]]
		}
		if is {
			count++
		}
		if is != lives {
			wrong++
		}
	}
	t.notes = append(t.notes, fmt.Sprintf("%d of %d objects are placed as long-lived (cut: %d bytes requested), %d of all against how long they live", count, len(v.life), t.cut, wrong))
	return nil
}

// choose marks the sites of long-lived objects.
func (t *twoEnded) choose(v *lifespans, h *trace.Header, long []bool) error {
	if t.sites != "" {
		chosen, err := sitesOf(t.sites, h)
		copy(long, chosen)
		return err
	}
	median, any := v.medians(len(h.Sites))
	for site := range long {
		long[site] = any[site] && median[site] > t.cut
	}
	return nil
}

// Notes says what is taken for long-lived.
func (t *twoEnded) Notes() []string { return t.notes }

// Wrap replaces the heap.
func (t *twoEnded) Wrap(s *heapmodel.Spec, h *trace.Header) (*heapmodel.Spec, error) {
	if out, ok, err := behind(s, func(s *heapmodel.Spec) (*heapmodel.Spec, error) { return t.Wrap(s, h) }); ok {
		return out, err
	}
	bytes, _, err := memoryOf(s)
	switch {
	case err != nil:
		return nil, err
	case len(s.Inside()) > 0:
		return nil, fmt.Errorf("%s is made of several heaps: there is no one arena with two ends", s.Model.Name)
	case len(s.Regions()) > 1:
		return nil, fmt.Errorf("%s has several regions: there is no one arena with two ends", s.Model.Name)
	case s.Grows():
		return nil, fmt.Errorf("%s grows: its arena has no upper end", s.Model.Name)
	}
	text := fmt.Sprintf("two-ended:capacity=%d,by=life,cut=%d", bytes, t.cut)
	if t.bySite {
		text = fmt.Sprintf("two-ended:capacity=%d,by=site", bytes)
		if t.list != "" {
			text += ",sites=" + t.list
		}
	}
	c, err := s.Config()
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"header", "align"} {
		if s.Given(key) {
			text += fmt.Sprintf(",%s=%s", key, c.Text(key))
		}
	}
	return heapmodel.ParseSpec(t.models, text+wordOf(s))
}

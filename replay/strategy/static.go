package strategy

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// Static is the strategy static.
var Static = &Strategy{
	Name:  "static",
	Title: "chosen call sites leave the heap for static buffers",
	Doc: "Each chosen site gets static buffers, as many as it had objects alive at a time and each as large as its " +
		"largest object, reallocs included. Its objects live there and never come to the heap. That memory is taken for good, " +
		"also while nobody uses it: it is the price, and counts in full. " +
		"The buffers are sized by the recorded trace; in another ordering an object that finds none free, or none large " +
		"enough, goes to the heap as before.",
	Source: "a 15 KB draw buffer made static gave back 27 KB of largest block in OpenEVSE PR #1179; esp-idf #19107",
	Kind:   Rewrites,
	Params: []heapmodel.Param{
		{Key: "sites", Kind: heapmodel.ParamText, Doc: "call sites, joined by |: names, patterns with * and ?, or #N"},
	},
	New: func(c heapmodel.Config) (Change, error) {
		if !c.Set("sites") {
			return nil, errors.New("sites: which call sites leave the heap must be said")
		}
		return &static{sites: c.Text("sites")}, nil
	},
}

type static struct {
	sites   string
	buffers []buffers // by site
	total   uint64    // bytes
	notes   []string
}

// buffers are the static buffers of one site.
type buffers struct {
	count uint32
	size  uint64 // bytes of each
}

// Learn sizes the buffers.
func (s *static) Learn(src trace.Source, _ *Env) error {
	chosen, err := sitesOf(s.sites, src.Header())
	if err != nil {
		return err
	}
	s.buffers = make([]buffers, len(chosen))
	live := make([]uint32, len(chosen))
	var of []trace.SiteID // by slot: the site of the object
	err = eachEvent(src, func(e *trace.Event) {
		for int(e.Slot) >= len(of) {
			of = append(of, 0)
		}
		if e.Op == trace.OpAlloc {
			of[e.Slot] = e.Site
		}
		site := of[e.Slot]
		if !isChosen(chosen, site) {
			return
		}
		b := &s.buffers[site]
		switch e.Op {
		case trace.OpAlloc:
			live[site]++
			b.count, b.size = max(b.count, live[site]), max(b.size, e.Size)
		case trace.OpRealloc:
			b.size = max(b.size, e.Size)
		case trace.OpFree:
			live[site]--
		}
	})
	if err != nil {
		return err
	}
	var count uint64
	for _, b := range s.buffers {
		s.total += uint64(b.count) * b.size
		count += uint64(b.count)
	}
	s.notes = []string{fmt.Sprintf("static buffers: %d, of %d bytes in all", count, s.total)}
	return nil
}

// Notes says what was set apart.
func (s *static) Notes() []string { return s.notes }

// For returns the editors; the buffers are those of Learn.
func (s *static) For(trace.Source) (func(*Ledger) edit.Editor, error) {
	return func(l *Ledger) edit.Editor {
		l.AddStatic(int64(s.total))
		return &outmover{s: s, l: l, used: make([]uint32, len(s.buffers))}
	}, nil
}

// outmover moves objects of chosen sites out of the heap.
type outmover struct {
	s     *static
	l     *Ledger
	slots edit.Slots
	out   []outside // by slot of the original
	used  []uint32  // buffers by site
}

// outside is an object in a static buffer of its site, if in.
type outside struct {
	in    bool
	site  trace.SiteID
	align uint32
	size  uint64
}

func (m *outmover) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(m.out) {
		m.out = append(m.out, outside{})
	}
	o := &m.out[e.Slot]
	switch {
	case e.Op == trace.OpAlloc && m.fits(e):
		m.used[e.Site]++
		m.l.AddRemoved()
		*o = outside{in: true, site: e.Site, align: e.Align, size: e.Size}
		m.slots.Set(e.Slot, edit.None)
	case e.Op == trace.OpRealloc && o.in && e.Size > m.s.buffers[o.site].size:
		// Outgrown: the program allocates from the heap and copies.
		m.used[o.site]--
		o.in = false
		m.l.AddCopies(o.size)
		a := *e
		a.Align = o.align
		m.slots.Set(e.Slot, w.Alloc(&a))
	case e.Op == trace.OpRealloc && o.in:
		o.size = e.Size
	case e.Op == trace.OpFree && o.in:
		m.used[o.site]--
		o.in = false
	default:
		m.slots.Copy(e, w)
	}
}

func (m *outmover) fits(e *trace.Event) bool {
	if int(e.Site) >= len(m.used) {
		return false
	}
	b := m.s.buffers[e.Site]
	return m.used[e.Site] < b.count && e.Size <= b.size
}

func (m *outmover) End(*edit.Writer) {}

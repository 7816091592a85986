package strategy

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// Shrink is the strategy shrink.
var Shrink = &Strategy{
	Name:  "shrink",
	Title: "containers give back what they do not need when they have grown",
	Doc: "After its last growth a container is cut down to what it needs, as by shrink_to_fit. Which growth is the last only an " +
		"oracle knows; with idle=N a container shrinks when it did not grow for N events, and if it grows later it goes on as the program did. " +
		"A strategy right before this one that makes containers larger, reserve or growth, tells what they need, and they are cut " +
		"down to that when they reach it. Otherwise what is needed is read off how a call site grew: if a known " +
		"rule, or about the same factor again and again, explains most of its steps, then the last step was made for one element more " +
		"than there was room for, and fill percent of the rest is needed; else sizes are needs, and nothing " +
		"shrinks. Where the program itself reallocates to a smaller size later, it needs that many bytes, and does it now. " +
		"A container that grows by alloc, copy, free shrinks so, too, at the price of two blocks for a moment; others by realloc. " +
		"The slack that a strategy before this one booked is not taken off by what is given back of it.",
	Source: "shrink_to_fit of containers: C++11, Rust; java.util.ArrayList.trimToSize",
	Params: append([]heapmodel.Param{
		{Key: "idle", Kind: heapmodel.ParamInt, Default: "0", Doc: "shrink after so many events of the program without growth; 0: right after the last growth, by an oracle"},
		{Key: "least", Kind: heapmodel.ParamBytes, Default: "1", Doc: "shrink only what gives back so many bytes"},
		{Key: "via", Kind: heapmodel.ParamEnum, Default: "keep", Enum: []string{"keep", "realloc", "copy"}, Doc: "shrink as the container grew, by realloc, or by alloc, copy, free"},
	}, needParams...),
	Kind: Rewrites,
	New:  newShrink,
}

type shrink struct {
	needing
	idle  uint64
	least uint64
	via   string
	needs []need // of the trace For is given; nil if nobody tells
}

func newShrink(c heapmodel.Config) (Change, error) {
	n, err := newNeeding(c)
	if err != nil {
		return nil, err
	}
	s := &shrink{needing: n, least: max(c.Bytes("least"), 1), via: c.Text("via")}
	if c.Int("idle") < 0 {
		return nil, errors.New("idle: want a number of events")
	}
	s.idle = uint64(c.Int("idle"))
	return s, nil
}

// Learn finds out how the sites grow.
func (s *shrink) Learn(src trace.Source, _ *Env) error {
	of, err := s.learn(src, nil)
	if err != nil {
		return err
	}
	loose := 0
	for i := range s.fits.sites {
		if !s.fits.sites[i].exactly() {
			loose++
		}
	}
	own := 0
	for n := range uint32(of.len()) {
		if of.last[n] < of.largest[n] && isChosen(s.chosen, of.site[n]) {
			own++
		}
	}
	if loose == 0 && own == 0 {
		s.notes = append(s.notes, "nothing in the sizes shows that containers have more than they need: only what a strategy before this one added is given back")
	}
	if own > 0 {
		s.notes = append(s.notes, fmt.Sprintf("%d objects are made smaller by the program itself", own))
	}
	return nil
}

func (s *shrink) withNeeds(needs []need) Rewriter {
	c := *s
	c.needs = needs
	return &c
}

// For learns what becomes of each container of the trace.
func (s *shrink) For(src trace.Source) (func(*Ledger) edit.Editor, error) {
	of, l, err := s.follow(src)
	if err != nil {
		return nil, err
	}
	last, err := s.lastNeeds(src, of)
	if err != nil {
		return nil, err
	}
	return func(ledger *Ledger) edit.Editor {
		return &shrinker{s: s, g: growers{of: of, chosen: s.chosen, sequels: l}, l: ledger, last: last}
	}, nil
}

// lastNeeds returns which of the needs are the largest their container will
// have from then on: the moments at which an oracle shrinks.
func (s *shrink) lastNeeds(src trace.Source, of *objects) ([]bool, error) {
	if len(s.needs) == 0 {
		return nil, nil
	}
	type told struct {
		index int // of the need it had last when that grew, plus one
		bytes uint64
	}
	last := make([]bool, len(s.needs))
	var at []told // by slot
	g := growers{of: of, chosen: s.chosen}
	events, next := uint64(0), 0
	tell := func() {
		for ; next < len(s.needs) && s.needs[next].after <= events; next++ {
			n := &s.needs[next]
			if int(n.slot) >= len(at) {
				continue
			}
			t := &at[n.slot]
			if t.index == 0 || n.bytes > t.bytes {
				if t.index > 0 {
					last[t.index-1] = false
				}
				last[next] = true
				*t = told{next + 1, n.bytes}
			}
		}
	}
	forget := func(slot trace.Slot) {
		if t := &at[slot]; t.index > 0 {
			last[t.index-1] = false
			*t = told{}
		}
	}
	err := eachEvent(src, func(e *trace.Event) {
		tell()
		events++
		for int(e.Slot) >= len(at) {
			at = append(at, told{})
		}
		stage, i := g.event(e)
		switch {
		case e.Op == trace.OpAlloc:
			at[e.Slot] = told{}
			if stage == pairs {
				forget(g.live[i].from)
			}
		case e.Op == trace.OpRealloc && at[e.Slot].index > 0 && e.Size >= at[e.Slot].bytes:
			forget(e.Slot)
		}
	})
	if err != nil {
		return nil, err
	}
	tell()
	return last, nil
}

// shrinker is the editor of shrink.
type shrinker struct {
	s      *shrink
	g      growers
	l      *Ledger
	last   []bool // of needs
	slots  edit.Slots
	of     []shrinking // by slot of the original
	due    []cutting   // in the order of their events, from first
	first  int
	next   int    // need to tell
	events uint64 // taken
	number uint64 // objects
}

// shrinking is a live object.
type shrinking struct {
	number  uint64
	site    trace.SiteID
	thread  uint32
	align   uint32
	full    uint64 // bytes in the trace that is read
	now     uint64 // bytes in the one that is written
	need    uint64
	chosen  bool
	paired  bool // it took over from another
	waits   bool // its shrinking is due when that other is freed
	both    bool // that other is not freed yet
	planned bool // shrinking is planned when that other is freed
}

// cutting is a shrinking that is due before an event.
type cutting struct {
	event  uint64
	number uint64
	slot   trace.Slot
	need   uint64 // as it was; unless it is that, the object grew since
}

func (v *shrinker) Event(e *trace.Event, w *edit.Writer) {
	v.tell(e, w)
	v.cutDue(e, w)
	v.events++
	for int(e.Slot) >= len(v.of) {
		v.of = append(v.of, shrinking{})
	}
	s, i := v.g.event(e)
	o := &v.of[e.Slot]
	switch e.Op {
	case trace.OpAlloc:
		*o = shrinking{number: v.number, site: e.Site, thread: e.Thread, align: e.Align, full: e.Size, now: e.Size, need: e.Size, chosen: isChosen(v.s.chosen, e.Site)}
		v.number++
		o.paired = s == pairs
		o.both = o.paired
		v.slots.Copy(e, w)
	case trace.OpRealloc:
		v.realloc(o, e, w)
	case trace.OpFree:
		v.slots.Copy(e, w)
	}
	switch s {
	case begins, pairs, resizes:
		v.grown(o, &v.g.live[i], e.Slot)
	case leaves:
		v.left(&v.of[v.g.live[i].slot], v.g.live[i].slot, e, w)
	}
}

func (v *shrinker) End(*edit.Writer) {}

// realloc does what the program does, unless it was done already.
func (v *shrinker) realloc(o *shrinking, e *trace.Event, w *edit.Writer) {
	smaller := e.Size < o.full
	o.full = e.Size
	if smaller && e.Size >= o.now {
		return // it shrank before
	}
	o.now, o.need = e.Size, e.Size
	v.slots.Copy(e, w)
}

// grown plans the shrinking of a container that got other bytes, of which
// nobody tells what it needs.
func (v *shrinker) grown(o *shrinking, g *grower, slot trace.Slot) {
	if g.size < g.was && !g.first || v.s.idle == 0 && !g.last() {
		return
	}
	f := v.s.fits.of(o.site)
	if g.was == g.size && !g.first {
		return
	}
	from := g.was
	if g.first {
		from = 0
	}
	least := f.least(from, g.size, v.s.elemOf(v.g.sequels, g))
	o.need = v.s.final(least, g.size)
	if g.last() && g.follows != notFollowed && g.follows < g.size {
		o.need = min(max(least, g.follows), o.need)
		if f.exactly() {
			o.need = g.follows
		}
	}
	if o.both {
		o.planned = true
		return
	}
	v.plan(o, slot)
}

func (v *shrinker) plan(o *shrinking, slot trace.Slot) {
	v.due = append(v.due, cutting{v.events + v.s.idle, o.number, slot, o.need})
}

// left takes note that the object is the container's only one again.
func (v *shrinker) left(o *shrinking, slot trace.Slot, e *trace.Event, w *edit.Writer) {
	o.both = false
	if o.planned {
		o.planned = false
		v.plan(o, slot)
	}
	if o.waits {
		o.waits = false
		v.cut(o, slot, e, w)
	}
}

// tell takes what the strategy before knows of needs.
func (v *shrinker) tell(e *trace.Event, w *edit.Writer) {
	for needs := v.s.needs; v.next < len(needs) && needs[v.next].after <= v.events; v.next++ {
		n := &needs[v.next]
		if int(n.slot) >= len(v.of) || !v.of[n.slot].chosen {
			continue
		}
		o := &v.of[n.slot]
		o.planned = false
		o.need = n.bytes
		if n.bytes > o.now {
			v.resize(o, n.slot, o.full, e, w) // too early: it goes back to what it had
		}
		if v.s.idle > 0 || v.last[v.next] {
			v.plan(o, n.slot)
		}
	}
}

// cutDue shrinks what is due.
func (v *shrinker) cutDue(e *trace.Event, w *edit.Writer) {
	for ; v.first < len(v.due) && v.due[v.first].event <= v.events; v.first++ {
		c := &v.due[v.first]
		o := &v.of[c.slot]
		live := v.g.at[c.slot]
		switch {
		case o.number != c.number || o.need != c.need || v.slots[c.slot] == edit.None:
		case live >= 0 && v.g.live[live].slot != c.slot: // it was left
		case o.both:
			o.waits = true
		default:
			v.cut(o, c.slot, e, w)
		}
	}
	if v.first == len(v.due) {
		v.due, v.first = v.due[:0], 0
	} else if v.first > 1<<16 {
		v.due, v.first = append(v.due[:0], v.due[v.first:]...), 0
	}
}

// cut shrinks the object to its need.
func (v *shrinker) cut(o *shrinking, slot trace.Slot, e *trace.Event, w *edit.Writer) {
	if o.need < o.now && o.now-o.need >= v.s.least {
		v.resize(o, slot, o.need, e, w)
	}
}

// resize gives the object other bytes, at the time of the event e, which need
// not be one of it.
func (v *shrinker) resize(o *shrinking, slot trace.Slot, bytes uint64, e *trace.Event, w *edit.Writer) {
	at := trace.Event{Time: e.Time, Thread: o.thread, Site: o.site, Size: bytes, Align: o.align}
	if v.s.via == "copy" || v.s.via == "keep" && o.paired {
		old := v.slots[slot]
		v.slots.Set(slot, w.Alloc(&at))
		w.Free(old, &at)
		v.l.AddCopies(min(o.now, bytes))
		v.l.AddAdded()
	} else {
		w.Realloc(v.slots[slot], bytes, &at)
	}
	o.now = bytes
}

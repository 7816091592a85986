package strategy

import (
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// regrower is the editor of growth.
type regrower struct {
	s       *grow
	g       growers
	l       *Ledger
	slots   edit.Slots // of what is no container
	of      []regrown  // by index of growers.live
	pending []trace.Slot
}

// regrown is a container as the changed program grows it.
type regrown struct {
	shape
	fit      *fit
	slot     trace.Slot // None while it asked for nothing
	held     trace.Slot // outgrown during the event and not freed yet, or None
	capacity uint64     // elements
	need     uint64     // elements
	bytes    uint64     // of the request
	slack    uint64
	objects  int    // asked for during the event
	copied   uint64 // bytes copied by the program during the event
}

// appends is into how many parts what comes between two recorded sizes is
// divided at most, so that growth by small steps stays bounded.
const appends = 64

func (v *regrower) Event(e *trace.Event, w *edit.Writer) {
	s, i := v.g.event(e)
	for int(e.Slot) >= len(v.pending) {
		v.pending = append(v.pending, edit.None)
	}
	if s == apart {
		v.slots.Copy(e, w)
		return
	}
	for int(i) >= len(v.of) {
		v.of = append(v.of, regrown{})
	}
	c, g := &v.of[i], &v.g.live[i]
	switch s {
	case begins:
		f := v.s.fits.of(e.Site)
		*c = regrown{fit: f, slot: edit.None, held: edit.None, shape: v.s.shape(f, v.s.elemOf(v.g.sequels, g))}
		c.capacity = c.inline
		v.begin(c, g, e, w)
	case pairs, resizes:
		v.change(c, g, s, e, w)
	case leaves, ends:
		if p := v.pending[e.Slot]; p != edit.None {
			w.Free(p, e)
			v.pending[e.Slot] = edit.None
		}
		if s == ends {
			if c.slot != edit.None {
				w.Free(c.slot, e)
			}
			v.l.AddSlack(-int64(c.slack))
		}
		return
	}
	v.book(c, g, s, w)
}

func (v *regrower) End(*edit.Writer) {}

// begin writes the first request of a container.
func (v *regrower) begin(c *regrown, g *grower, e *trace.Event, w *edit.Writer) {
	least := c.fit.least(0, g.size, v.s.elemOf(v.g.sequels, g))
	c.need = c.elements(least)
	if g.last() {
		c.need = max(c.need, c.elements(v.s.final(least, g.size)))
	}
	c.capacity = v.s.rule.Next(c.capacity, c.need, c.elem)
	c.capacity = max(c.capacity, c.need)
	if c.bytes = c.request(c.capacity); c.bytes > 0 || c.inline == 0 {
		a := *e
		a.Size = c.bytes
		c.slot = w.Alloc(&a)
		c.objects++
	}
}

// change has the container grow, or shrink, as the recorded one did.
func (v *regrower) change(c *regrown, g *grower, s stage, e *trace.Event, w *edit.Writer) {
	via := v.s.via
	if via == "keep" {
		via = "realloc"
		if s == pairs {
			via = "copy"
		}
	}
	at := step{v: v, c: c, g: g, e: e, w: w, copies: via == "copy"}
	switch {
	case g.size > g.was:
		least := c.fit.least(g.was, g.size, v.s.elemOf(v.g.sequels, g))
		at.fill(c.elements(g.was))
		at.jump(c.elements(least))
		if g.last() {
			at.fill(c.elements(v.s.final(least, g.size)))
		}
	case s == resizes:
		at.shrink()
	}
	if c.held != edit.None {
		if s == pairs {
			v.pending[g.from] = c.held
		} else {
			w.Free(c.held, e)
		}
		c.held = edit.None
	}
}

// step is a recorded event at which a container changes.
type step struct {
	v      *regrower
	c      *regrown
	g      *grower
	e      *trace.Event
	w      *edit.Writer
	copies bool // it grows by alloc, copy, free
}

// fill adds elements one by one, or in parts if they are many.
func (s *step) fill(target uint64) {
	c := s.c
	if target > c.capacity {
		part := max(1, (target-c.capacity)/appends)
		for target > c.capacity {
			c.need = max(c.need, c.capacity)
			s.grow(min(c.capacity+part, target))
		}
	}
	c.need = max(c.need, target)
}

// jump adds elements at once.
func (s *step) jump(target uint64) {
	if target > s.c.capacity {
		s.grow(target)
	}
	s.c.need = max(s.c.need, target)
}

// grow makes room for need elements, which there is not.
func (s *step) grow(need uint64) {
	c := s.c
	content := c.request(c.need)
	// Above what rules are made for, needs are met exactly.
	c.capacity = max(s.v.s.rule.Next(c.capacity, need, c.elem), need)
	bytes := c.request(c.capacity)
	switch {
	case bytes == c.bytes && (c.slot != edit.None || bytes == 0):
	case c.slot != edit.None && !s.copies:
		s.w.Realloc(c.slot, bytes, s.e)
	default:
		if c.held != edit.None {
			s.w.Free(c.held, s.e)
		}
		if c.held = c.slot; c.held != edit.None {
			c.copied += content
		}
		a := *s.e
		a.Size = bytes
		if s.e.Op == trace.OpRealloc {
			a.Align = s.g.align
		}
		c.slot = s.w.Alloc(&a)
		c.objects++
	}
	c.bytes = bytes
}

// shrink has the container do as the recorded one, which was reallocated to as
// many or fewer bytes.
func (s *step) shrink() {
	c, n := s.c, s.c.elements(s.g.size)
	if s.g.size == s.g.was {
		if c.slot != edit.None {
			s.w.Realloc(c.slot, c.bytes, s.e)
		}
		return
	}
	c.need = min(c.need, n)
	if n = max(n, c.inline+1); s.g.size == 0 {
		n = 0
	}
	if n >= c.capacity || c.slot == edit.None {
		return
	}
	c.capacity, c.bytes = max(n, c.inline), c.request(n)
	s.w.Realloc(c.slot, c.bytes, s.e)
}

// book enters what the event cost.
func (v *regrower) book(c *regrown, g *grower, s stage, w *edit.Writer) {
	objects, copied := c.objects, c.copied
	c.objects, c.copied = 0, 0
	if v.l == nil {
		return
	}
	var slack uint64
	if c.bytes > g.size {
		slack = c.bytes - g.size
	}
	v.l.AddSlack(int64(slack) - int64(c.slack))
	c.slack = slack
	if s != resizes {
		objects--
	}
	var was uint64
	if s == pairs {
		was = g.was
	}
	if copied > was {
		v.l.AddCopies(copied - was)
	} else {
		v.l.AddCopiesAvoided(was - copied)
	}
	for ; objects > 0; objects-- {
		v.l.AddAdded()
	}
	for ; objects < 0; objects++ {
		v.l.AddRemoved()
	}
	if c.slot != edit.None {
		v.l.SetNeed(w, c.slot, min(c.request(c.need), c.bytes))
	}
}

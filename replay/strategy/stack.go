package strategy

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// Stack is the strategy stack.
var Stack = &Strategy{
	Name:  "stack",
	Title: "small objects of short life move to the stack of their thread",
	Doc: "An object is eligible for the stack if it is small, is freed soon, by the thread that made it, does not grow, and if " +
		"the objects of the thread that moved after it were freed before it: as variables of nested scopes. " +
		"With by=site a call site moves if nearly all its objects are eligible; where two sites are in each other's way, " +
		"the one that is so more often stays on the heap. What is not eligible at a site that moved is on the stack all the same: freed out of turn, its " +
		"room is kept until what lies above it is gone. An object that grows beyond its room, or beyond max, is copied to the heap; one that is larger at the start goes there. " +
		"With by=object an oracle moves every object that can be moved without anybody waiting: the upper bound. " +
		"The price is room on each stack: the most that was on it at a time, in multiples of the pointer width, of all threads added up, " +
		"as if no stack had room to spare. " +
		"Assumes that the scope of an object ends where it is freed; return values that outlive their scope would need a caller's variable.",
	Source: "variables are on the stack unless boxed: The Rust Programming Language, 15.1; alloca, small buffers in place of heap temporaries in Arduino and ESPHome code",
	Kind:   Rewrites,
	Params: []heapmodel.Param{
		{Key: "by", Kind: heapmodel.ParamEnum, Default: "site", Enum: []string{"site", "object"}, Doc: "what moves: call sites, or every object that an oracle finds eligible"},
		{Key: "max", Kind: heapmodel.ParamBytes, Default: "256", Doc: "largest object that moves"},
		{Key: "events", Kind: heapmodel.ParamInt, Default: "1000", Doc: "longest life of an eligible object, in events of the trace"},
		{Key: "share", Kind: heapmodel.ParamInt, Default: "99", Doc: "by=site: percent of a site's objects that must be eligible"},
		{Key: "sites", Kind: heapmodel.ParamText, Doc: "only these call sites, joined by |: names, patterns with * and ?, or #N"},
	},
	New: func(c heapmodel.Config) (Change, error) {
		s := &stackMove{
			bySite: c.Text("by") == "site", most: c.Bytes("max"), events: uint64(max(c.Int("events"), 0)),
			share: uint64(max(c.Int("share"), 0)), sites: c.Text("sites"),
		}
		switch {
		case s.most == 0 || s.most > maxOnStack:
			return nil, fmt.Errorf("max=%d: want 1 to %d bytes", s.most, maxOnStack)
		case s.events == 0 || s.events > maxLife:
			return nil, fmt.Errorf("events=%d: want 1 to %d", c.Int("events"), maxLife)
		case s.share == 0 || s.share > 100:
			return nil, fmt.Errorf("share=%d: want 1 to 100", c.Int("share"))
		}
		return s, nil
	},
}

const (
	maxOnStack = 1 << 30 // bytes of the largest object that may be asked to move
	// maxLife is the longest life of an eligible object that may be asked for, in
	// events: as deep can the stacks be that sites are judged by.
	maxLife = 10_000
)

type stackMove struct {
	bySite bool
	most   uint64 // bytes
	events uint64
	share  uint64 // percent
	sites  string

	chosen []bool // by site: those of the parameter; nil for all
	moves  []bool // by site: those that move; of by=site
	unit   uint64 // bytes that objects on the stack are rounded to
	notes  []string
}

// Learn decides which sites move.
func (s *stackMove) Learn(src trace.Source, _ *Env) error {
	h := src.Header()
	var err error
	if s.chosen, err = sitesOf(s.sites, h); err != nil {
		return err
	}
	s.unit = uint64(max(h.PtrBits/8, 4))
	if !h.HasThread {
		s.notes = append(s.notes, "the trace does not name threads: all is taken for one thread's, on one stack")
	}
	if s.bySite && !h.HasSite {
		s.notes = append(s.notes, "the trace has no call sites: objects that are eligible move one by one, as by an oracle")
		s.bySite = false
	}
	of, err := learnObjects(src, forever)
	if err != nil {
		return err
	}
	freer, err := freersOf(src, of.len())
	if err != nil {
		return err
	}
	var count, bytes uint64
	note := func(n int) {
		count++
		bytes += of.first[n]
	}
	if !s.bySite {
		for n, on := range s.nested(of, freer) {
			if on {
				note(n)
			}
		}
		s.notes = append(s.notes, fmt.Sprintf("%d of %d objects move, of %d bytes in all", count, of.len(), bytes))
		return nil
	}
	s.moves = s.judge(of, freer, max(len(h.Sites), 1))
	sites := 0
	for _, moves := range s.moves {
		if moves {
			sites++
		}
	}
	for n := range of.len() {
		if s.moves[of.site[n]] && of.first[n] <= s.most {
			note(n)
		}
	}
	s.notes = append(s.notes, fmt.Sprintf("%d call sites move, with %d of %d objects, of %d bytes in all", sites, count, of.len(), bytes))
	return nil
}

// Notes says what moves and what was guessed.
func (s *stackMove) Notes() []string { return s.notes }

// basic reports whether object n is small, short-lived, does not grow and stays
// with its thread.
func (s *stackMove) basic(of *objects, freer []uint32, n int) bool {
	return isChosen(s.chosen, of.site[n]) && of.largest[n] <= s.most && of.largest[n] == of.first[n] &&
		of.death[n] != forever && of.death[n]-of.birth[n] <= s.events && freer[n] == of.thread[n]
}

// nested returns which objects an oracle moves: each that is eligible and dies
// before the innermost one of its thread that was moved and lives.
func (s *stackMove) nested(of *objects, freer []uint32) []bool {
	on := make([]bool, of.len())
	var open [][]uint64 // by thread: deaths of what is on its stack
	for n := range on {
		if !s.basic(of, freer, n) {
			continue
		}
		t := of.thread[n]
		for int(t) >= len(open) {
			open = append(open, nil)
		}
		deaths := open[t]
		for len(deaths) > 0 && deaths[len(deaths)-1] < of.birth[n] {
			deaths = deaths[:len(deaths)-1]
		}
		if on[n] = len(deaths) == 0 || of.death[n] < deaths[len(deaths)-1]; on[n] {
			deaths = append(deaths, of.death[n])
		}
		open[t] = deaths
	}
	return on
}

// freersOf returns by object the thread that freed it.
func freersOf(src trace.Source, count int) ([]uint32, error) {
	freer := make([]uint32, 0, count)
	var number []uint32 // by slot
	err := eachEvent(src, func(e *trace.Event) {
		for int(e.Slot) >= len(number) {
			number = append(number, 0)
		}
		switch e.Op {
		case trace.OpAlloc:
			number[e.Slot] = uint32(len(freer))
			freer = append(freer, 0)
		case trace.OpFree:
			freer[number[e.Slot]] = e.Thread
		}
	})
	return freer, err
}

// For returns the editors. An oracle looks which objects of this ordering are
// eligible.
func (s *stackMove) For(src trace.Source) (func(*Ledger) edit.Editor, error) {
	var on []bool
	if !s.bySite {
		of, err := learnObjects(src, forever)
		if err != nil {
			return nil, err
		}
		freer, err := freersOf(src, of.len())
		if err != nil {
			return nil, err
		}
		on = s.nested(of, freer)
	}
	return func(l *Ledger) edit.Editor { return &stacker{s: s, on: on, l: l} }, nil
}

// stacker moves objects to the stacks of threads.
type stacker struct {
	s      *stackMove
	on     []bool // by object, of an oracle
	l      *Ledger
	slots  edit.Slots
	moved  []onStack // by slot of the original
	stacks [][]frame // by thread
	number int       // of the next object
}

// onStack is where an object is on the stack of its thread, if it is.
type onStack struct {
	in     bool
	thread uint32
	at     uint32
	align  uint32
	size   uint64 // bytes the program has in it
}

// frame is the room of an object on a stack.
type frame struct {
	room uint64 // bytes
	live bool
}

func (v *stacker) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(v.moved) {
		v.moved = append(v.moved, onStack{})
	}
	o := &v.moved[e.Slot]
	switch {
	case e.Op == trace.OpAlloc:
		n := v.number
		if v.number++; !v.moves(e, n) {
			v.slots.Copy(e, w)
			return
		}
		v.slots.Set(e.Slot, edit.None)
		v.push(e, o)
	case e.Op == trace.OpRealloc && o.in && e.Size <= v.frame(o).room && e.Size <= v.s.most:
		o.size = e.Size
	case e.Op == trace.OpRealloc && o.in:
		// Outgrown: the program allocates from the heap and copies.
		v.l.AddCopies(o.size)
		v.l.AddAdded()
		v.pop(o)
		a := *e
		a.Align = o.align
		v.slots.Set(e.Slot, w.Alloc(&a))
	case e.Op == trace.OpFree && o.in:
		v.pop(o)
	default:
		v.slots.Copy(e, w)
	}
}

// moves reports whether the object of an alloc goes to the stack.
func (v *stacker) moves(e *trace.Event, n int) bool {
	if v.on != nil {
		return v.on[n]
	}
	return v.s.bySite && int(e.Site) < len(v.s.moves) && v.s.moves[e.Site] && e.Size <= v.s.most
}

func (v *stacker) frame(o *onStack) *frame { return &v.stacks[o.thread][o.at] }

func (v *stacker) push(e *trace.Event, o *onStack) {
	for int(e.Thread) >= len(v.stacks) {
		v.stacks = append(v.stacks, nil)
	}
	unit := max(v.s.unit, uint64(e.Align))
	room := (max(e.Size, 1) + unit - 1) / unit * unit
	*o = onStack{in: true, thread: e.Thread, at: uint32(len(v.stacks[e.Thread])), align: e.Align, size: e.Size}
	v.stacks[e.Thread] = append(v.stacks[e.Thread], frame{room: room, live: true})
	v.l.AddStack(e.Thread, int64(room))
	v.l.AddRemoved()
}

// pop ends the life of an object on its stack. Its room and that of the dead
// below it are given back once nothing that lives is above.
func (v *stacker) pop(o *onStack) {
	v.frame(o).live, o.in = false, false
	frames := v.stacks[o.thread]
	for len(frames) > 0 && !frames[len(frames)-1].live {
		v.l.AddStack(o.thread, -int64(frames[len(frames)-1].room))
		frames = frames[:len(frames)-1]
	}
	v.stacks[o.thread] = frames
}

func (v *stacker) End(*edit.Writer) {}

package strategy

import (
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// Ledger is what a set of strategies costs and saves outside the heap's own
// figures. The zero Ledger is ready; a nil one takes no bookings.
type Ledger struct {
	// Slack is memory that was requested ahead of need: bytes of the heap in
	// objects beyond what the unchanged program has in them at the time.
	Slack Gauge
	// Static is memory outside the heap set apart for good.
	Static Gauge
	// Stack is objects moved to stacks, of all threads together. StackRoom is
	// what the stacks must be larger by: the most each thread had, added up.
	Stack     Gauge
	StackRoom uint64
	stacks    []stack // by thread

	CopiesAvoided uint64 // bytes that the program no longer copies from an outgrown block to the next
	Copies        uint64 // bytes that the program copies itself where it did not
	Removed       uint64 // objects that no longer come to the heap
	Added         uint64 // objects that did not come to it before

	clock  uint64 // bytes requested so far
	event  uint64
	stride uint64

	noting bool // a later strategy may ask for needs
	needs  []need
}

// need is what the program needs of an object of an edited trace that may have
// more. Until the next need of the object, or until it gets other bytes.
type need struct {
	after uint64 // events of the edited trace
	slot  trace.Slot
	bytes uint64
}

// stack is what is on the stack of a thread, and the most that was. Bytes.
type stack struct{ now, most uint64 }

// Gauge is an amount of memory over time.
type Gauge struct {
	Now  uint64
	Peak uint64 // bytes
	// Mean is over time as bytes requested from the unchanged program's heap.
	Mean   float64
	Series []Point // at most about 1,000, and only where it changed; of a merged ledger, of the change with most of them

	sum   float64
	since uint64 // clock at the last change
}

// Point is an amount of memory after an event of the unchanged program.
type Point struct {
	Event uint64
	Bytes uint64
}

const maxPoints = 1000

// newLedger returns the ledger of a change of a trace of so many events.
func newLedger(events uint64) *Ledger { return &Ledger{stride: max(1, events/maxPoints)} }

// merge adds what another change of the same set costs. Peaks of the two need
// not fall together, so that the sum of them is an upper bound.
func (l *Ledger) merge(m *Ledger) {
	mine, others := l.gauges(), m.gauges()
	for i, g := range others {
		mine[i].Now += g.Now
		mine[i].Peak += g.Peak
		mine[i].Mean += g.Mean
		if len(g.Series) > len(mine[i].Series) {
			mine[i].Series = g.Series
		}
	}
	l.StackRoom += m.StackRoom
	l.CopiesAvoided += m.CopiesAvoided
	l.Copies += m.Copies
	l.Removed += m.Removed
	l.Added += m.Added
}

// Outside returns the bytes that the changes need outside the heap: static
// memory and room on stacks.
func (l *Ledger) Outside() uint64 { return l.Static.Peak + l.StackRoom }

func (l *Ledger) gauges() [3]*Gauge { return [3]*Gauge{&l.Slack, &l.Static, &l.Stack} }

func (l *Ledger) advance(e *trace.Event) {
	if l.event%l.stride == 0 {
		for _, g := range l.gauges() {
			g.point(l.event)
		}
	}
	l.event++
	if e.Op != trace.OpFree {
		l.clock += e.Size
	}
}

func (g *Gauge) point(event uint64) {
	if n := len(g.Series); n > 0 && g.Series[n-1].Bytes != g.Now || n == 0 && g.Now != 0 {
		g.Series = append(g.Series, Point{event, g.Now})
	}
}

// AddSlack books bytes reserved ahead of need, or given back if negative.
func (l *Ledger) AddSlack(bytes int64) {
	if l != nil {
		l.Slack.add(bytes, l.clock)
	}
}

// SetNeed tells the strategies after this one that of an object, which the
// writer has just written or which is there, the program needs so many bytes. An
// object of which nothing is told needs all it has.
func (l *Ledger) SetNeed(w *edit.Writer, slot trace.Slot, bytes uint64) {
	if l != nil && l.noting {
		l.needs = append(l.needs, need{w.Events(), slot, bytes})
	}
}

// AddStatic books static memory.
func (l *Ledger) AddStatic(bytes int64) {
	if l != nil {
		l.Static.add(bytes, l.clock)
	}
}

// AddStack books an object moved to the stack of a thread, or taken off it if
// negative.
func (l *Ledger) AddStack(thread uint32, bytes int64) {
	if l == nil {
		return
	}
	for int(thread) >= len(l.stacks) {
		l.stacks = append(l.stacks, stack{})
	}
	s := &l.stacks[thread]
	if s.now += uint64(bytes); s.now > s.most {
		l.StackRoom += s.now - s.most
		s.most = s.now
	}
	l.Stack.add(bytes, l.clock)
}

// AddCopiesAvoided books bytes that are no longer copied by the program.
func (l *Ledger) AddCopiesAvoided(bytes uint64) {
	if l != nil {
		l.CopiesAvoided += bytes
	}
}

// AddCopies books bytes that the changed program copies and the unchanged one
// did not.
func (l *Ledger) AddCopies(bytes uint64) {
	if l != nil {
		l.Copies += bytes
	}
}

// AddRemoved books an object that no longer comes to the heap.
func (l *Ledger) AddRemoved() {
	if l != nil {
		l.Removed++
	}
}

// AddAdded books an object that did not come to the heap before.
func (l *Ledger) AddAdded() {
	if l != nil {
		l.Added++
	}
}

func (g *Gauge) add(bytes int64, clock uint64) {
	g.close(clock)
	g.Now += uint64(bytes) // wraps around for what is given back
	g.Peak = max(g.Peak, g.Now)
}

// close adds up the time since the last change.
func (g *Gauge) close(clock uint64) {
	if clock > g.since {
		g.sum += float64(g.Now) * float64(clock-g.since)
		g.since = clock
		g.Mean = g.sum / float64(clock)
	}
}

// close ends the bookings.
func (l *Ledger) close() {
	for _, g := range l.gauges() {
		g.close(l.clock)
	}
}

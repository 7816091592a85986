package gen

import (
	"io"
	"iter"
	"math/bits"
	"math/rand/v2"

	"github.com/fragprof/fragprof/trace"
)

// emitter is the heap and the clock of a program that a workload plays. Once
// the trace is full or nobody reads it any more, its methods do nothing and
// more returns false; a workload whose loops ask more ends then.
type emitter struct {
	rand *rand.Rand

	header *trace.Header
	ids    map[string]trace.SiteID
	slots  trace.SlotPool
	block  *trace.Block
	full   func() bool // hands the block on; false when nobody wants another
	events uint64
	limit  uint64
	done   bool

	thread  int      // that acts now, as the workload numbers them
	threads []uint32 // number in the trace + 1, by the workload's; zero if it did nothing yet
	seen    uint32   // threads that did something
	now     int64    // ns
	truth   *truth
}

// object is a live object of the program.
type object struct {
	slot  trace.Slot
	size  uint64
	event uint64 // of its alloc
}

// eventTime is how far each event moves the clock.
const eventTime = 1000 // ns

// maxTime keeps the clock from wrapping.
const maxTime = 1 << 62

// more reports whether the trace wants more events.
func (e *emitter) more() bool { return !e.done }

// site returns the number of a call site.
func (e *emitter) site(name string) trace.SiteID {
	id, ok := e.ids[name]
	if !ok {
		id = trace.SiteID(len(e.header.Sites))
		e.header.Sites = append(e.header.Sites, name)
		e.ids[name] = id
	}
	return id
}

// wait lets time pass.
func (e *emitter) wait(ns int64) { e.now = min(e.now+min(max(ns, 0), maxTime), maxTime) }

func (e *emitter) emit(ev trace.Event) {
	for e.thread >= len(e.threads) {
		e.threads = append(e.threads, 0)
	}
	if e.threads[e.thread] == 0 {
		e.seen++
		e.threads[e.thread] = e.seen
	}
	ev.Time, ev.Thread = e.now, e.threads[e.thread]-1
	e.block.Append(ev)
	e.events++
	e.wait(eventTime)
	if e.events == e.limit {
		e.done = true
	}
	if e.block.Len() == trace.BlockEvents && !e.full() {
		e.done = true
	}
}

// alloc makes an object. The caller frees it or forgets it.
func (e *emitter) alloc(site trace.SiteID, size uint64) object {
	if e.done {
		return object{}
	}
	o := object{slot: e.slots.Take(), size: size, event: e.events}
	e.emit(trace.Event{Op: trace.OpAlloc, Slot: o.slot, Size: size, Site: site})
	return o
}

// realloc gives the object a new size.
func (e *emitter) realloc(site trace.SiteID, o *object, size uint64) {
	if e.done {
		return
	}
	o.size = size
	e.emit(trace.Event{Op: trace.OpRealloc, Slot: o.slot, Size: size, Site: site})
}

// free ends the object.
func (e *emitter) free(o object) {
	if e.done {
		return
	}
	e.slots.Give(o.slot)
	e.emit(trace.Event{Op: trace.OpFree, Slot: o.slot})
}

// freeAll ends all the objects, in order.
func (e *emitter) freeAll(objects []object) {
	for i := 0; i < len(objects) && e.more(); i++ {
		e.free(objects[i])
	}
}

// between returns a number from lo to hi, both included. hi below lo counts as
// lo.
func (e *emitter) between(lo, hi uint64) uint64 {
	if hi <= lo {
		return lo
	}
	return lo + e.rand.Uint64N(hi-lo+1)
}

// spread returns a number from lo to hi such that each doubling is as likely as
// the next. It counts in whole numbers, since logarithms differ in the last bit
// between machines. lo is at least 1.
func (e *emitter) spread(lo, hi uint64) uint64 {
	if hi <= lo {
		return lo
	}
	last := uint64(bits.Len64((hi-1)/lo) - 1) // the doubling that hi-1 is in
	from := lo << e.between(0, last)
	return e.between(from, min(2*from-1, hi))
}

// chance is true with the given probability.
func (e *emitter) chance(p float64) bool { return e.rand.Float64() < p }

// remove takes element i out of s, not keeping the order.
func remove[T any](s []T, i int) ([]T, T) {
	x := s[i]
	s[i] = s[len(s)-1]
	return s[:len(s)-1], x
}

// reader is a reading of a synthetic trace. The workload runs as a coroutine:
// Next lets it go on until the block is full.
type reader struct {
	header  *trace.Header
	e       *emitter
	next    func() (struct{}, bool)
	stop    func()
	counter trace.Counter
	events  uint64
}

// seedStream is the second word of every seed: any constant would do.
const seedStream = 0x9e3779b97f4a7c15

// open starts the workload. Truth, if any, collects what the workload knows.
func (s *Source) open(t *truth) *reader {
	h := s.newHeader()
	e := &emitter{
		rand:   rand.New(rand.NewPCG(s.values.number("seed"), seedStream)),
		header: h, ids: map[string]trace.SiteID{}, limit: s.values.number("events"), truth: t,
	}
	r := &reader{header: h, e: e}
	r.next, r.stop = iter.Pull(func(yield func(struct{}) bool) {
		e.full = func() bool { return yield(struct{}{}) }
		s.workload.run(e, s.values)
		e.done = true
		if e.block.Len() > 0 && e.block.Len() < trace.BlockEvents {
			yield(struct{}{})
		}
	})
	return r
}

// Header describes the trace; it is complete once Next has returned io.EOF.
func (r *reader) Header() *trace.Header { return r.header }

// Next generates the next block.
func (r *reader) Next(b *trace.Block) error {
	b.Reset(r.events)
	if left := r.e.limit - r.events; !r.e.done {
		b.Grow(int(min(left, trace.BlockEvents)))
	}
	r.e.block = b
	r.next()
	r.counter.Block(b)
	r.events += uint64(b.Len())
	r.header.Summary = r.counter.Summary()
	if b.Len() == 0 {
		r.header.Complete = true
		return io.EOF
	}
	return nil
}

// Close ends the coroutine.
func (r *reader) Close() error {
	r.stop()
	return nil
}

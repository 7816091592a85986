package perturb

import (
	"container/heap"
	"math"
	"math/rand/v2"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
	"github.com/fragprof/fragprof/trace/edit"
)

// reorder returns the trace with events moved within the windows of interleave
// and jitter, but for so many at the start.
func reorder(src trace.Source, o Options, still, seed, keep uint64) (trace.Source, error) {
	pairs, err := chains.Detect(src)
	if err != nil {
		return nil, err
	}
	return edit.Source(src, keep, func() (edit.Editor, error) {
		return &shuffler{
			ahead: o.Amount[interleave], jitter: o.Amount[jitter],
			pauses: src.Header().HasTime, still: still, draw: rand.New(rand.NewPCG(seed, 0)), pairs: pairs,
		}, nil
	})
}

// shuffler gives every event a place: its number, and what its thread is ahead
// or behind, and what it comes earlier or later itself. Events are written in
// the order of their places, once no later event can come before.
//
// The place of an event is never before that of the one before it of the same
// object, nor, unless there is jitter, of the same thread. With jitter a thread
// keeps what it takes and what it gives back apart: an event that takes memory is
// never before one of the thread that gave some back before, nor the other way
// round. So the runs of allocs that build something up, and of frees that tear it
// down, are in another order, while no thread ever has more live than it had:
// a heap that fails does so by placement and not by a program that cannot be.
// Nor does jitter carry an event across a pause of its thread.
type shuffler struct {
	ahead, jitter float64
	pauses        bool   // the trace has times
	still         uint64 // events at the start that stay where they are
	draw          *rand.Rand
	pairs         *chains.Table

	number  uint64
	objects uint32
	slots   []shuffled // by slot of the original
	threads []drift
	wait    queue
	edited  edit.Slots // by handle
	spare   []trace.Slot
	handles trace.Slot
	last    int64
	recent  [1024]float64 // places of allocs, by number of the object
}

// shuffled is a live object.
type shuffled struct {
	place  float64 // of its latest event
	size   uint64  // bytes
	number uint32
	handle trace.Slot // names the object until its free is written
}

// drift is how far a thread is ahead or behind: another amount now and then.
type drift struct {
	by    float64
	left  int     // events until the next amount
	place float64 // of its latest event, without jitter
	// The latest places of what took memory and of what gave some back.
	takes, gives float64
	time         int64   // of its latest event
	pause        float64 // no event comes before: the latest place before the pause
}

// pause is the time in nanoseconds after which a thread begins something new:
// no jitter carries an event across. A trace without times has no pauses.
const pause = 1_000_000

func (s *shuffler) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(s.slots) {
		s.slots = append(s.slots, shuffled{})
	}
	for int(e.Thread) >= len(s.threads) {
		s.threads = append(s.threads, drift{})
	}
	place := s.place(e)
	o := &s.slots[e.Slot]
	takes := e.Op != trace.OpFree && (e.Op == trace.OpAlloc || e.Size >= o.size)
	switch e.Op {
	case trace.OpAlloc:
		// It must not be there before the object that it takes over from.
		place = max(place, s.placeOf(s.pairs.Prev[s.objects]))
		*o = shuffled{number: s.objects, handle: s.handle()}
	case trace.OpFree:
		// The object that takes over must be there before.
		place = max(place, o.place, s.placeOf(s.pairs.Next[o.number]))
	case trace.OpRealloc:
		place = max(place, o.place)
	}
	t := &s.threads[e.Thread]
	if s.pauses && e.Time-t.time >= pause {
		t.pause = max(t.takes, t.gives)
	}
	t.time = e.Time
	if place = max(place, t.pause); takes {
		place = max(place, t.gives)
		t.takes = max(t.takes, place)
	} else {
		place = max(place, t.takes)
		t.gives = max(t.gives, place)
	}
	if e.Op == trace.OpAlloc {
		s.recent[s.objects%uint32(len(s.recent))] = place
		s.objects++
	}
	o.place, o.size = place, e.Size
	if s.jitter == 0 {
		// The thread waited for the object.
		t.place = place
	}
	waiting := *e
	waiting.Slot = o.handle
	heap.Push(&s.wait, placed{place, s.number, waiting})
	s.number++
	s.write(float64(s.number)-s.ahead-s.jitter, w)
}

// placeOf returns the place of the alloc of a recent object, or one before all
// others if it is not recent.
func (s *shuffler) placeOf(number uint32) float64 {
	if number >= s.objects || s.objects-number >= uint32(len(s.recent)) {
		return math.Inf(-1)
	}
	return s.recent[number%uint32(len(s.recent))]
}

// handle returns a name for an object until its free is written, which may be
// after its slot has another one.
func (s *shuffler) handle() trace.Slot {
	if k := len(s.spare); k > 0 {
		h := s.spare[k-1]
		s.spare = s.spare[:k-1]
		return h
	}
	s.handles++
	return s.handles - 1
}

// place draws the place of an event.
func (s *shuffler) place(e *trace.Event) float64 {
	place := float64(s.number)
	if s.number < s.still {
		return place
	}
	if s.ahead > 0 {
		t := &s.threads[e.Thread]
		if t.left == 0 {
			t.by = s.ahead * (2*s.draw.Float64() - 1)
			t.left = 1 + s.draw.IntN(2*int(s.ahead)+1)
		}
		t.left--
		place = max(place+t.by, t.place)
		t.place = place
	}
	if s.jitter > 0 {
		place += s.jitter * (2*s.draw.Float64() - 1)
	}
	return max(place, float64(s.still))
}

// write writes the events whose places are before the given one.
func (s *shuffler) write(before float64, w *edit.Writer) {
	for len(s.wait) > 0 && s.wait[0].place < before {
		p := heap.Pop(&s.wait).(placed)
		// The clock goes on with what is written.
		s.last = max(s.last, p.event.Time)
		p.event.Time = s.last
		s.edited.Copy(&p.event, w)
		if p.event.Op == trace.OpFree {
			s.spare = append(s.spare, p.event.Slot)
		}
	}
}

func (s *shuffler) End(w *edit.Writer) {
	for len(s.wait) > 0 {
		s.write(s.wait[0].place+1, w)
	}
}

// placed is an event that waits for its turn; of equal places the earlier event
// is first.
type placed struct {
	place  float64
	number uint64
	event  trace.Event
}

type queue []placed

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].place < q[j].place || q[i].place == q[j].place && q[i].number < q[j].number
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(placed)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

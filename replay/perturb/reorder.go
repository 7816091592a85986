package perturb

import (
	"container/heap"
	"math/rand/v2"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
	"github.com/fragprof/fragprof/trace/edit"
)

// reorder returns the trace with events moved within the windows of interleave
// and jitter.
func reorder(src trace.Source, o Options, seed, keep uint64) (trace.Source, error) {
	pairs, err := chains.Detect(src)
	if err != nil {
		return nil, err
	}
	return edit.Source(src, keep, func() (edit.Editor, error) {
		return &shuffler{
			ahead: o.Amount[interleave], jitter: o.Amount[jitter],
			draw: rand.New(rand.NewPCG(seed, 0)), pairs: pairs,
		}, nil
	})
}

// shuffler gives every event a place: its number, and what its thread is ahead
// or behind, and what it comes earlier or later itself. Events are written in
// the order of their places, once no later event can come before.
//
// The place of an event is never before that of the one before it of the same
// object, nor, unless there is jitter, of the same thread.
type shuffler struct {
	ahead, jitter float64
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
	number uint32
	handle trace.Slot // names the object until its free is written
}

// drift is how far a thread is ahead or behind: another amount now and then.
type drift struct {
	by    float64
	left  int     // events until the next amount
	place float64 // of its latest event, without jitter
}

func (s *shuffler) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(s.slots) {
		s.slots = append(s.slots, shuffled{})
	}
	for int(e.Thread) >= len(s.threads) {
		s.threads = append(s.threads, drift{})
	}
	place := s.place(e)
	o := &s.slots[e.Slot]
	switch e.Op {
	case trace.OpAlloc:
		*o = shuffled{number: s.objects, handle: s.handle()}
		s.recent[s.objects%uint32(len(s.recent))] = place
		s.objects++
	case trace.OpFree:
		// The object that takes over must be there before.
		if next := s.pairs.Next[o.number]; next != chains.None && next < s.objects && s.objects-next < uint32(len(s.recent)) {
			place = max(place, s.recent[next%uint32(len(s.recent))])
		}
		place = max(place, o.place)
	case trace.OpRealloc:
		place = max(place, o.place)
	}
	o.place = place
	if s.jitter == 0 {
		// The thread waited for the object.
		s.threads[e.Thread].place = place
	}
	waiting := *e
	waiting.Slot = o.handle
	heap.Push(&s.wait, placed{place, s.number, waiting})
	s.number++
	s.write(float64(s.number)-s.ahead-s.jitter, w)
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
	return place
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

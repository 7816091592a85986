package perturb

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"sync/atomic"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// settled is the time in nanoseconds between the two parts of a rotated trace,
// so that no other perturbation mixes them.
const settled = 1_000_000_000

// rotate returns the trace begun at event at: what lives there is allocated in
// the order of its birth, then come the events from at on, then those before,
// and then what lives once more is freed.
// It says how many objects live there.
func rotate(src trace.Source, at, keep uint64) (rotated trace.Source, lives uint64, err error) {
	var count atomic.Uint64
	rotated, err = edit.Generate(src.Header(), keep, func() (edit.Generator, error) {
		r := &rotator{src: src, at: at, count: &count}
		if src.Header().HasTime {
			r.settle = settled
		}
		return r, nil
	})
	return rotated, count.Load(), err
}

// rotator is one reading of a rotated trace.
type rotator struct {
	src   trace.Source
	at    uint64
	count *atomic.Uint64 // of live, the same in each reading
	in    trace.Reader
	block trace.Block
	phase phase
	event uint64

	live  []living   // by slot, at event at
	slots edit.Slots // of the part under way
	// kept marks the objects, by the event of their birth, that live at the
	// start and are never freed: they live on in the second part.
	kept   map[uint64]bool
	shift  int64 // nanoseconds between the times of the source and those written
	last   int64
	settle int64 // nanoseconds; zero in a trace without times
}

type phase uint8

const (
	searching phase = iota // reading up to at
	tail                   // from at on
	head                   // before at
)

// living is an object that lives at the start of the rotated trace.
type living struct {
	alloc trace.Event // with its size at that moment
	birth uint64      // event
	alive bool
}

func (r *rotator) Close() error {
	if r.in == nil {
		return nil
	}
	return r.in.Close()
}

func (r *rotator) Fill(w *edit.Writer) error {
	if r.in == nil {
		in, err := r.src.Open()
		if err != nil {
			return err
		}
		r.in, r.event = in, 0
	}
	err := r.in.Next(&r.block)
	if err == io.EOF && r.phase == tail {
		return r.turn()
	}
	if err != nil {
		return err // io.EOF of the head, or a bad trace
	}
	for i := range r.block.Op {
		e := r.block.At(i)
		if r.phase == searching && r.event == r.at {
			r.begin(e.Time, w)
		}
		if r.phase == head && r.event == r.at {
			r.finish(w)
			return io.EOF
		}
		r.play(&e, w)
		r.event++
	}
	return nil
}

// finish frees what lives at the end and is freed in the original, which had it
// freed in the tail: it would else look as if it lived for ever.
func (r *rotator) finish(w *edit.Writer) {
	for slot, edited := range r.slots {
		if edited == edit.None {
			continue
		}
		e := r.live[slot].alloc
		e.Time = r.last
		w.Free(edited, &e)
		r.slots[slot] = edit.None
	}
}

// begin allocates what lives at the start.
func (r *rotator) begin(time int64, w *edit.Writer) {
	r.phase, r.shift = tail, -time
	order := make([]trace.Slot, 0, len(r.live))
	for slot := range r.live {
		if r.live[slot].alive {
			order = append(order, trace.Slot(slot))
		}
	}
	slices.SortFunc(order, func(a, b trace.Slot) int { return cmp.Compare(r.live[a].birth, r.live[b].birth) })
	r.count.Store(uint64(len(order)))
	for _, slot := range order {
		e := r.live[slot].alloc
		e.Time = 0
		r.slots.Set(slot, w.Alloc(&e))
	}
}

// turn goes from the tail to the head of the trace.
func (r *rotator) turn() error {
	err := r.in.Close()
	r.in, r.phase, r.shift = nil, head, r.last+r.settle
	r.slots = nil
	r.kept = map[uint64]bool{}
	for i := range r.live {
		if r.live[i].alive {
			r.kept[r.live[i].birth] = true
		}
	}
	return errors.Join(err)
}

func (r *rotator) play(e *trace.Event, w *edit.Writer) {
	if r.phase != searching {
		e.Time += r.shift
		r.last = e.Time
	}
	switch r.phase {
	case searching:
		r.note(e)
	case tail:
		// An object of the start that is freed may be born again in the head.
		if int(e.Slot) < len(r.live) && e.Op != trace.OpRealloc {
			r.live[e.Slot].alive = false
		}
		r.slots.Copy(e, w)
	case head:
		if e.Op == trace.OpAlloc && r.kept[r.event] {
			r.slots.Set(e.Slot, edit.None)
			return
		}
		r.slots.Copy(e, w)
	}
}

// note keeps account of what lives.
func (r *rotator) note(e *trace.Event) {
	for int(e.Slot) >= len(r.live) {
		r.live = append(r.live, living{})
	}
	o := &r.live[e.Slot]
	switch e.Op {
	case trace.OpAlloc:
		*o = living{alloc: *e, birth: r.event, alive: true}
	case trace.OpRealloc:
		o.alloc.Size = e.Size
	case trace.OpFree:
		o.alive = false
	}
}

package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// explain fills in what surrounds a difference, by replaying up to it once
// more.
func explain(ctx context.Context, src trace.Source, s *heapmodel.Spec, d *Difference) error {
	w := witness{d: d, aligns: s.Model.Caps&heapmodel.CapAlign != 0}
	if d.Event == 0 {
		h, err := s.New()
		if err != nil {
			return err
		}
		w.before(h)
	}
	results, err := replay.Run(ctx, src, []*heapmodel.Spec{s}, replay.Options{Observe: w.observe, Samples: 1})
	if err != nil {
		return err
	}
	if err := results[0].Err; err != nil {
		return err
	}
	if !w.seen {
		return errors.New("the trace is not the same when read once more")
	}
	return nil
}

// latest is how many operations before the difference are listed, and own how
// many on its object.
const (
	latest = 4
	own    = 6
)

// answered is an operation and its answer.
type answered struct {
	event  uint64
	op     trace.Event
	object uint64
	got    golden.Answer
}

func (a *answered) String() string {
	return fmt.Sprintf("%d: %s -> %s", a.event+1, Operation(a.op, a.object), a.got)
}

// witness follows a replay up to a difference.
type witness struct {
	d      *Difference
	aligns bool     // the heap has an aligned entry point
	ids    []uint64 // by slot: number of the object
	next   uint64   // number of the next object
	own    []answered
	recent []answered
	seen   bool
}

func (w *witness) observe(h heapmodel.Heap, b *trace.Block, i int, got golden.Answer) bool {
	event, e := b.First+uint64(i), b.At(i)
	if e.Op == trace.OpAlloc {
		for int(e.Slot) >= len(w.ids) {
			w.ids = append(w.ids, 0)
		}
		w.ids[e.Slot] = w.next
		w.next++
	}
	a := answered{event, e, w.ids[e.Slot], got}
	switch {
	case event == w.d.Event:
		w.after(h, a.object)
		return false
	case event+latest >= w.d.Event:
		w.recent = append(w.recent, a)
	case e.Slot == w.d.Op.Slot:
		if len(w.own) == own {
			w.own = append(w.own[:0], w.own[1:]...)
		}
		w.own = append(w.own, a)
	}
	if e.Slot == w.d.Op.Slot {
		if e.Op == trace.OpAlloc {
			w.d.Was = heapmodel.Null
		}
		if at, ok := got.At(); ok {
			w.d.Was = at
		}
	}
	if event+1 == w.d.Event {
		w.before(h)
	}
	return true
}

// near returns the addresses the difference is about.
func (w *witness) near() []heapmodel.Addr {
	var out []heapmodel.Addr
	for _, a := range []golden.Answer{w.d.Want, w.d.Got, golden.Answer(w.d.Was)} {
		if at, ok := a.At(); ok {
			out = append(out, at)
		}
	}
	return out
}

func (w *witness) before(h heapmodel.Heap) {
	d := w.d
	if d.Op.Op == trace.OpAlloc {
		d.Was = heapmodel.Null
	}
	d.Usage, d.LargestFree = *h.Usage(), h.LargestFree()
	if d.Op.Op != trace.OpFree {
		align := d.Op.Align
		if !w.aligns {
			align = 0
		}
		d.Need = h.Need(d.Op.Size, align)
	}
	d.Before = golden.Window(h.Blocks(), w.near()...)
}

func (w *witness) after(h heapmodel.Heap, object uint64) {
	d := w.d
	w.seen, d.Object = true, object
	for _, a := range append(w.own, w.recent...) {
		// What was in the slot before is another object.
		if a.event+latest >= d.Event || a.object == object {
			d.Earlier = append(d.Earlier, a.String())
		}
	}
	d.After = golden.Window(h.Blocks(), w.near()...)
	d.Check = h.Check()
}

// Operation writes an event as the text form of traces does, its object under
// the given number.
func Operation(e trace.Event, object uint64) string {
	switch {
	case e.Op == trace.OpFree:
		return fmt.Sprintf("f %d", object)
	case e.Op == trace.OpRealloc:
		return fmt.Sprintf("r %d %d", object, e.Size)
	case e.Align != 0:
		return fmt.Sprintf("a %d %d %d", object, e.Size, e.Align)
	}
	return fmt.Sprintf("a %d %d", object, e.Size)
}

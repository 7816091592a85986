// Package replay runs the events of a trace through heaps and measures what
// happens: growth, footprint, fragmentation, and every allocation that fails,
// with the state of the heap at that moment. All heaps of a run see the same
// decoded blocks; results do not depend on the number of workers.
//
// Cost: O(1) a heap and event in counters beyond the heap's own work; walks
// over all blocks happen only at the trace's peak, the first failure, the end,
// and the columns of a map.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/trace"
)

// OnFailure says what a replay does after an allocation fails.
type OnFailure uint8

const (
	// Skip goes on without the object: later events about it are passed over,
	// a realloc of it is tried as an allocation.
	Skip OnFailure = iota
	// Stop ends the heap's replay there, as a program that aborts would.
	Stop
)

// Options say what a replay records. The zero Options are usable.
type Options struct {
	OnFailure OnFailure
	Samples   int  // points of a Series at most; 0 means 2,000
	MapCols   int  // columns of the heap map over time; 0 means no map
	MapRows   int  // rows of it at most; 0 means 256
	Steps     bool // keep a picture of the heap after every event; small traces only
	Means     bool // take the means over time of the result; the trace's times are what counts
	Workers   int  // heaps replayed at a time; 0 means one a processor
	// Placements gets a line for every event, when there is one job: the
	// address, "!" for a failure or null, "." for a free, "_" for a free of an
	// object whose allocation failed.
	Placements io.Writer
	// Observe is called after every event, when there is one job, with the
	// heap as the event left it and what it answered to event i of the block.
	// It only looks; if it returns false the run ends there. May be nil.
	Observe func(h heapmodel.Heap, b *trace.Block, i int, a golden.Answer) (more bool)
	// Progress is called after every block with the number of events replayed
	// so far. May be nil.
	Progress func(events uint64)
}

// MaxSteps is the number of events up to which Options.Steps is honoured.
const MaxSteps = 10_000

// MaxKeptFailures is the number of failures kept one by one; all are counted.
const MaxKeptFailures = 100_000

// Run replays a trace through an empty heap of each spec, in one pass, and
// returns a result for each, in their order. A heap that cannot be made, or that
// breaks, gives a Result with Err set and does not stop the others. An error of the trace itself, or
// of ctx, ends the run: the results so far are returned with it.
func Run(ctx context.Context, src trace.Source, specs []*heapmodel.Spec, o Options) ([]*Result, error) {
	if (o.Placements != nil || o.Observe != nil) && len(specs) != 1 {
		return nil, errors.New("placements need exactly one model")
	}
	if o.Steps && src.Header().Summary.Events > MaxSteps {
		return nil, fmt.Errorf("a map of every step needs a trace of at most %d events; this one has %d", MaxSteps, src.Header().Summary.Events)
	}
	results := make([]*Result, len(specs))
	var players []*player
	for i, s := range specs {
		p, err := newPlayer(s, src.Header(), &o)
		if err != nil {
			results[i] = &Result{Spec: s, Trace: src.Header(), Err: err}
			if len(specs) == 1 {
				return nil, err
			}
			continue
		}
		results[i] = p.res
		players = append(players, p)
	}
	known, err := foresee(src, players)
	if err != nil {
		return nil, err
	}
	for _, p := range players {
		p.know(known)
	}
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	err = pump(ctx, r, players, &o)
	err = errors.Join(err, r.Close())
	for _, p := range players {
		p.finish()
	}
	return results, err
}

// pump decodes the trace block by block, one ahead, and has every player play
// each block.
func pump(ctx context.Context, r trace.Reader, players []*player, o *Options) error {
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = min(workers, len(players))
	type decoded struct {
		b   *trace.Block
		err error
	}
	// Two blocks go round: one is played while the other is decoded.
	free, full := make(chan *trace.Block, 2), make(chan decoded)
	free <- new(trace.Block)
	free <- new(trace.Block)
	done := make(chan struct{})
	var decoder sync.WaitGroup
	decoder.Go(func() {
		for {
			select {
			case b := <-free:
				err := r.Next(b)
				select {
				case full <- decoded{b, err}:
				case <-done:
					return
				}
				if err != nil {
					return
				}
			case <-done:
				return
			}
		}
	})
	defer decoder.Wait()
	defer close(done)

	var events uint64
	for {
		d := <-full
		if d.err == io.EOF {
			return nil
		}
		if d.err != nil {
			return d.err
		}
		playAll(players, d.b, workers)
		if o.Observe != nil && players[0].stopped {
			return nil
		}
		events += uint64(d.b.Len())
		free <- d.b
		if o.Progress != nil {
			o.Progress(events)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped after %d events: %w", events, err)
		}
	}
}

func playAll(players []*player, b *trace.Block, workers int) {
	if workers <= 1 {
		for _, p := range players {
			p.play(b)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(players) {
					return
				}
				players[i].play(b)
			}
		})
	}
	wg.Wait()
}

// Fill completes a spec with what follows from the trace: the pointer width of
// the recorded program, and for a heap without a capacity or a limit of growth
// that needs one the DefaultCapacity of the trace. It completes the specs inside
// in the same way: each of their heaps could serve the whole trace. The notes
// say what was filled in, in a form that is the same for all specs it applies
// to, so that they can be merged.
func Fill(s *heapmodel.Spec, h *trace.Header) (filled *heapmodel.Spec, notes []string, err error) {
	for i := range s.Model.Params {
		key := s.Model.Params[i].Key
		inside := s.Specs(key)
		if len(inside) == 0 {
			continue
		}
		for i, inner := range inside {
			var more []string
			if inside[i], more, err = Fill(inner, h); err != nil {
				return nil, nil, err
			}
			notes = append(notes, more...)
		}
		if s, err = s.WithSpecs(key, inside); err != nil {
			return nil, nil, err
		}
	}
	if s.Has("ptr") && !s.Given("ptr") && h.PtrBits != 0 {
		if wide, err := s.With("ptr", fmt.Sprint(h.PtrBits)); err == nil {
			s = wide
		} else {
			notes = append(notes, fmt.Sprintf("%s has no %d-bit form: its default pointer width is used", s.Model.Name, h.PtrBits))
		}
	}
	room := ""
	switch {
	case s.Given("capacity") || s.Given("regions") || s.Given("grow") || s.Given("quantum"):
	case s.Has("capacity") && !s.Grows():
		room = "capacity"
	case s.Default("grow") != "":
		room = "grow" // the limit of a break that rises
	}
	if room != "" {
		bytes := heapmodel.FormatBytes(DefaultCapacity(&h.Summary))
		notes = append(notes, fmt.Sprintf("heaps without a capacity or limit of growth got %s, the next power of two above 1.5 times the peak of live bytes", bytes))
		if s, err = s.With(room, bytes); err != nil {
			return nil, nil, err
		}
		if other, got := possible(s, room, DefaultCapacity(&h.Summary)); other != nil {
			s = other
			notes = append(notes, fmt.Sprintf("%s got %s, as there is no such heap with the capacity of the others", s.Model.Name, got))
		}
	}
	return s, notes, err
}

// possible returns the spec with another size, if no heap of it can be made with
// the given bytes, and says which: the least power of two above them, up to eight
// times as many, that will do, or else the most below them of powers of two and
// the model's default. nil if there is none or the given bytes do.
func possible(s *heapmodel.Spec, key string, bytes uint64) (other *heapmodel.Spec, got string) {
	if _, err := s.New(); err == nil {
		return nil, ""
	}
	sizes := []uint64{2 * bytes, 4 * bytes, 8 * bytes}
	def, err := heapmodel.ParseBytes(s.Default(key))
	for less := bytes / 2; less >= 1<<10; less /= 2 {
		if err == nil && def > less && def < 2*less {
			sizes = append(sizes, def)
		}
		sizes = append(sizes, less)
	}
	for _, size := range sizes {
		got = heapmodel.FormatBytes(size)
		other, err := s.With(key, got)
		if err == nil {
			_, err = other.New()
		}
		if err == nil {
			return other, got
		}
	}
	return nil, ""
}

// DefaultCapacity returns the capacity given to a fixed heap when nobody names
// one: the next power of two at or above 1.5 times the peak of live bytes, at
// least 4 KiB.
func DefaultCapacity(s *trace.Summary) uint64 {
	capacity := uint64(4 << 10)
	for capacity < s.PeakLiveBytes+s.PeakLiveBytes/2 && capacity < 1<<62 {
		capacity *= 2
	}
	return capacity
}

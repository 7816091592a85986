// Package compare replays a trace with and without strategies through the same
// heaps, and says whether a strategy helps: once on the recorded ordering, and
// over orderings that could as well have happened, with an interval.
package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/replay/plan"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
	"github.com/fragprof/fragprof/trace/edit"
)

// Options say how much is done. The zero Options compare one ordering.
type Options struct {
	Replay  replay.Options
	MinHeap *plan.Options // nil: minimum heaps are not searched
	// Perturb and Count are the orderings that a verdict is based on, beside
	// the recorded one; zero: that one only.
	Perturb perturb.Options
	Count   int
	// Progress is called after each replayed trace with their number so far and
	// in all. May be nil; calls do not overlap.
	Progress func(done, all int)
}

// Row is one heap with one set of strategies.
type Row struct {
	Heap   *heapmodel.Spec // as it was named, without the strategies
	Spec   *heapmodel.Spec // as it was replayed
	Set    strategy.Set
	Result *replay.Result
	Ledger *strategy.Ledger
	// Needed is the most bytes that the unchanged program had live: what the
	// heap has to be measured against, whatever a strategy requests.
	Needed uint64
	Copied uint64 // bytes copied by moving reallocs and by the program's own growth
	Min    *plan.Result
	MinErr error // why Min is nil though it was asked for
	Base   *Row  // the same heap without strategies; nil if this is it
	// Paired holds the differences to Base, one a perturbed ordering.
	Paired  []Difference
	Verdict Verdict // of rows with a Base
	Notes   []string
	Err     error // why there is no Result
}

// Difference is what a strategy changes in one ordering: with minus without.
type Difference struct {
	Outcome
	Base Outcome // without
}

// Outcome is what a verdict looks at.
type Outcome struct {
	Failures float64
	Memory   float64 // bytes: footprint, static memory and room on stacks
	Largest  float64 // bytes: mean largest free block
	Free     float64 // bytes: mean of what is free
	Slack    float64 // bytes reserved ahead of need, at most at a time
}

func differ(with, without Outcome) Difference {
	return Difference{Outcome{
		with.Failures - without.Failures, with.Memory - without.Memory,
		with.Largest - without.Largest, with.Free - without.Free, with.Slack - without.Slack,
	}, without}
}

// fragmented returns by how much the largest free block is larger for better
// placement, or smaller for worse. What a strategy holds in reserve is less free
// memory, and is its price, not fragmentation: as far as a smaller largest free
// block is no more than that, it does not count.
func (d *Difference) fragmented() float64 {
	if d.Largest >= 0 {
		return d.Largest
	}
	return min(0, d.Largest+max(0, min(-d.Free, d.Slack)))
}

// Of returns the difference in what a verdict rests on.
func (d *Difference) Of(on On) float64 {
	switch on {
	case OnMemory:
		return d.Memory
	case OnLargest:
		return d.fragmented()
	}
	return d.Failures
}

// MeanLargest returns the mean of the largest free block over the time of the
// trace, or over its events if it has no times. Bytes.
func (r *Row) MeanLargest() float64 { return r.Result.MeanLargestFree }

// Memory returns what the program needs in all: the footprint of its heap, and
// what its strategies took out of the heap, in static memory and on stacks.
func (r *Row) Memory() uint64 { return r.Result.Footprint + r.Ledger.Outside() }

func (r *Row) outcome() Outcome {
	return Outcome{
		Failures: float64(r.Result.Failures), Memory: float64(r.Memory()),
		Largest: r.MeanLargest(), Free: r.Result.MeanFree, Slack: float64(r.Ledger.Slack.Peak),
	}
}

// Run replays the trace through every heap without strategies and with each
// set. Rows come heap by heap, the baseline first and then the best first: by
// failures, then minimum heap if searched, then memory. Sets that are empty are
// passed over. An error is one of the trace, of a set that cannot be applied to
// it, or of ctx.
func Run(ctx context.Context, src trace.Source, heaps []*heapmodel.Spec, sets []strategy.Set, env *strategy.Env, o Options) ([]*Row, error) {
	none, err := strategy.Parse(strategy.None)
	if err != nil {
		return nil, err
	}
	all := []strategy.Set{none}
	for _, s := range sets {
		if !s.Empty() {
			all = append(all, s)
		}
	}
	c := &comparison{ctx: ctx, heaps: heaps, sets: all, env: env, o: o, all: (o.Count + 1) * len(all)}
	if src, err = clocked(src, env.Keep); err != nil {
		return nil, err
	}
	rows, err := c.recorded(strategy.Known(src))
	if err != nil {
		return nil, err
	}
	if o.Count > 0 && len(all) > 1 {
		if err := c.perturbed(src, rows); err != nil {
			return nil, err
		}
	}
	var out []*Row
	for h := range heaps {
		mine := make([]*Row, len(all))
		for s := range all {
			r := rows[s][h]
			mine[s] = r
			if r.Base != nil && r.Err == nil && r.Base.Err == nil {
				r.Verdict = judge(r, o.Perturb.Seed)
			}
		}
		slices.SortStableFunc(mine[1:], func(a, b *Row) int { return order(a, b) })
		out = append(out, mine...)
	}
	return out, nil
}

// clocked returns the trace with the numbers of its events for times if it has
// none: a clock that stays the same whatever events strategies drop or add, so
// that means with and without are over the same time.
func clocked(src trace.Source, keep uint64) (trace.Source, error) {
	if src.Header().HasTime {
		return src, nil
	}
	return edit.Source(src, keep, func() (edit.Editor, error) { return &numberer{}, nil })
}

type numberer struct {
	slots edit.Slots
	event int64
}

func (n *numberer) Event(e *trace.Event, w *edit.Writer) {
	e.Time = n.event
	n.event++
	n.slots.Copy(e, w)
}

func (n *numberer) End(*edit.Writer) {}

// order compares rows of one heap, the better first.
func order(a, b *Row) int {
	rank := func(r *Row) int {
		if r.Err != nil {
			return 1
		}
		return 0
	}
	if c := cmp.Compare(rank(a), rank(b)); c != 0 || a.Err != nil {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.Result.Failures, b.Result.Failures),
		cmp.Compare(a.least(), b.least()),
		cmp.Compare(a.Memory(), b.Memory()),
	)
}

// least returns the memory needed in all with the heap no larger than it must
// be; the same for all rows where that was not searched.
func (r *Row) least() uint64 {
	if r.Min == nil {
		return 0
	}
	return r.MinMemory()
}

// MinMemory returns the minimum heap and what strategies take outside of it.
// Min must not be nil.
func (r *Row) MinMemory() uint64 { return r.Min.SafeFrom + r.Ledger.Outside() }

// comparison is a Run under way.
type comparison struct {
	ctx   context.Context
	heaps []*heapmodel.Spec
	sets  []strategy.Set
	env   *strategy.Env
	o     Options

	learned []*strategy.Learned // by set, from the recorded trace

	mu        sync.Mutex
	done, all int
}

func (c *comparison) step() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	if c.o.Progress != nil {
		c.o.Progress(c.done, c.all)
	}
}

// recorded replays the trace as it is, and returns rows by set and heap.
func (c *comparison) recorded(src trace.Source) ([][]*Row, error) {
	needed := src.Header().Summary.PeakLiveBytes
	copied, err := programCopies(src)
	if err != nil {
		return nil, err
	}
	rows := make([][]*Row, len(c.sets))
	c.learned = make([]*strategy.Learned, len(c.sets))
	for s, set := range c.sets {
		if c.learned[s], err = set.Learn(src, c.env); err != nil {
			return nil, err
		}
		a := c.learned[s].Recorded()
		ro := c.o.Replay
		ro.Means = true
		if rows[s], err = c.play(a, ro); err != nil {
			return nil, err
		}
		for h, r := range rows[s] {
			r.Needed = needed
			if s > 0 {
				r.Base = rows[0][h]
			}
			if r.Err != nil {
				continue
			}
			r.Copied = r.Result.Copied + copied - min(copied, a.Ledger.CopiesAvoided) + a.Ledger.Copies
			if c.o.MinHeap != nil && r.Result.Layout {
				po := *c.o.MinHeap
				po.Wrap = a.Wrap
				if r.Min, r.MinErr = plan.MinHeap(c.ctx, a.Trace, c.heaps[h], po); errors.Is(r.MinErr, context.Canceled) {
					return nil, r.MinErr
				}
			}
		}
		c.step()
	}
	return rows, nil
}

// programCopies returns the bytes that the program itself copies from one block
// of a growing container to the next.
func programCopies(src trace.Source) (uint64, error) {
	t, err := chains.Detect(src)
	if err != nil {
		return 0, err
	}
	return t.Copied, nil
}

// play replays an applied set through all heaps.
func (c *comparison) play(a *strategy.Applied, o replay.Options) ([]*Row, error) {
	rows := make([]*Row, len(c.heaps))
	var specs []*heapmodel.Spec
	var of []*Row
	for h, heap := range c.heaps {
		r := &Row{Heap: heap, Set: a.Set, Ledger: a.Ledger, Notes: a.Notes}
		rows[h] = r
		if r.Spec, r.Err = wrap(a, heap); r.Err == nil {
			specs, of = append(specs, r.Spec), append(of, r)
		}
	}
	if len(specs) == 0 {
		return rows, nil
	}
	results, err := replay.Run(c.ctx, a.Trace, specs, o)
	if err != nil && results == nil {
		// The one heap there is could not be made.
		for _, r := range of {
			r.Err = err
		}
		return rows, nil
	}
	if err != nil {
		return nil, err
	}
	for i, r := range of {
		if r.Result = results[i]; r.Result.Err != nil {
			r.Err = r.Result.Err
		}
	}
	return rows, nil
}

// wrap returns the heap as the set changes it. What the set takes outside the
// heap comes out of a heap of fixed size, so that the program has as much memory
// in all with and without: nothing is gained by moving it out of sight.
func wrap(a *strategy.Applied, heap *heapmodel.Spec) (*heapmodel.Spec, error) {
	outside := a.Ledger.Outside()
	if size, ok := plan.FixedSize(heap); ok && outside > 0 {
		if outside >= size {
			return nil, fmt.Errorf("%d bytes outside the heap leave nothing of its %d", outside, size)
		}
		var err error
		if heap, err = plan.Sized(heap, "capacity", size-outside); err != nil {
			return nil, err
		}
	}
	return a.Wrap(heap)
}

// perturbed replays perturbed traces with every set and adds the differences to
// the rows. Orderings are independent, and are replayed by several workers.
func (c *comparison) perturbed(src trace.Source, rows [][]*Row) error {
	workers := c.o.Replay.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	outcomes := make([][][]Outcome, c.o.Count) // by number, set, heap
	errs := make([]error, c.o.Count)
	gate := make(chan struct{}, workers)
	var wg sync.WaitGroup
	for number := range c.o.Count {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			outcomes[number], errs[number] = c.ordering(src, uint64(number))
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for s := 1; s < len(rows); s++ {
		for h, r := range rows[s] {
			for _, o := range outcomes {
				r.Paired = append(r.Paired, differ(o[s][h], o[0][h]))
			}
		}
	}
	return nil
}

// samples of a replay that is looked at for its outcome only.
const samples = 500

// ordering replays one perturbed trace with every set.
func (c *comparison) ordering(src trace.Source, number uint64) ([][]Outcome, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	p, err := perturb.Source(src, c.o.Perturb, number, c.env.Keep)
	if err != nil {
		return nil, err
	}
	p = strategy.Known(p)
	out := make([][]Outcome, len(c.sets))
	for s, set := range c.learned {
		a, err := set.Apply(p)
		if err != nil {
			return nil, fmt.Errorf("perturbation %d: %w", number, err)
		}
		rows, err := c.play(a, replay.Options{OnFailure: c.o.Replay.OnFailure, Samples: samples, Means: true, Workers: 1})
		if err != nil {
			return nil, fmt.Errorf("perturbation %d: %w", number, err)
		}
		out[s] = make([]Outcome, len(rows))
		for h, r := range rows {
			if r.Err == nil {
				out[s][h] = r.outcome()
			}
		}
		c.step()
	}
	return out, nil
}

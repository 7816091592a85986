package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/compare"
	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/replay/plan"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/report"
	"github.com/fragprof/fragprof/trace"
)

// strategyFlags are the flags of a replay with and without strategies.
type strategyFlags struct {
	strategies []string
	perturb    int
	kinds      string
	seed       uint64
	minHeap    bool
	tests      int
}

func (f *strategyFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.strategies, "strategy", "s", nil, "replay with and without this strategy, NAME[:key=value,...][+NAME...]; repeatable (see fragprof strategies)")
	fs.IntVar(&f.perturb, "perturb", 0, "judge strategies over so many perturbed orderings of the trace")
	fs.StringVar(&f.kinds, "perturb-kinds", "", "how orderings are perturbed, NAME[=AMOUNT],... (default: all that apply; see fragprof strategies --perturb)")
	fs.Uint64Var(&f.seed, "seed", 1, "seed of perturbations and of the bootstrap")
	fs.BoolVar(&f.minHeap, "min-heap", true, "with strategies: search the smallest heap that serves the trace")
	fs.IntVar(&f.tests, "tests", 128, "sizes tried in the search of a smallest heap, about")
}

// check parses the strategies.
func (f *strategyFlags) check() ([]strategy.Set, error) {
	if f.perturb < 0 || f.tests < 1 {
		return nil, usagef("--perturb must not be negative, --tests must be positive")
	}
	if len(f.strategies) == 0 && (f.perturb > 0 || f.kinds != "") {
		return nil, usagef("--perturb judges strategies: give --strategy, too")
	}
	sets := make([]strategy.Set, len(f.strategies))
	for i, text := range f.strategies {
		var err error
		if sets[i], err = strategy.Parse(text); err != nil {
			return nil, usageError{err}
		}
	}
	return sets, nil
}

// options returns how a trace is compared.
func (f *strategyFlags) options(h *trace.Header, o replay.Options) (compare.Options, []string, error) {
	c := compare.Options{Replay: o, Count: f.perturb}
	if f.minHeap {
		c.MinHeap = &plan.Options{Tests: f.tests, Workers: o.Workers}
	}
	var notes []string
	switch {
	case f.perturb == 0:
	case f.kinds == "":
		c.Perturb, notes = perturb.Defaults(h)
	default:
		var err error
		if c.Perturb, err = perturb.Parse(f.kinds, h); err != nil {
			return c, nil, usageError{err}
		}
	}
	if f.perturb > 0 {
		notes = append(notes, fmt.Sprintf("%d orderings perturbed by %s, seed %d; the minimum is of the recorded ordering", f.perturb, c.Perturb, f.seed))
	}
	c.Perturb.Seed = f.seed
	return c, notes, nil
}

// env returns what strategies need, for traces read with the given flags.
func (e *env) strategyEnv(f *traceFlags) *strategy.Env {
	return &strategy.Env{
		Models: catalog.Models,
		Keep:   cacheBytes,
		Open:   func(path string) (trace.Source, error) { return e.load(path, f, nil) },
	}
}

// compare replays traces with and without strategies and reports them.
func (e *env) compare(ctx context.Context, traces []string, sets []strategy.Set, specs []*heapmodel.Spec, o replay.Options, f *replayFlags) error {
	var write func(io.Writer, []*report.Comparison) error
	for i := range report.Formats {
		if report.Formats[i].Name == f.format {
			write = report.Formats[i].WriteComparison
		}
	}
	var cs []*report.Comparison
	for _, path := range traces {
		c, err := e.compareOne(ctx, path, sets, specs, o, f)
		if err != nil {
			return errors.Join(e.writeComparisons(cs, f, write), err)
		}
		cs = append(cs, c)
	}
	return e.writeComparisons(cs, f, write)
}

func (e *env) writeComparisons(cs []*report.Comparison, f *replayFlags, write func(io.Writer, []*report.Comparison) error) error {
	if len(cs) == 0 {
		return nil
	}
	err := e.writeTo(f.output, func(w io.Writer) error { return write(w, cs) })
	for _, c := range cs {
		for _, r := range c.Rows {
			if r.Result != nil && r.Result.Err != nil {
				err = errors.Join(err, fmt.Errorf("replay %s with %s: %w", c.Name, r.Set, r.Result.Err))
			}
		}
	}
	return err
}

func (e *env) compareOne(ctx context.Context, path string, sets []strategy.Set, specs []*heapmodel.Spec, o replay.Options, f *replayFlags) (*report.Comparison, error) {
	src, err := e.load(path, &f.trace, nil)
	if err != nil {
		return nil, err
	}
	filled, notes, err := fill(specs, src.Header())
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", path, err)
	}
	c := &report.Comparison{Name: traceName(path), Header: src.Header(), Notes: notes}
	co, more, err := f.strategies.options(src.Header(), o)
	if err != nil {
		return nil, err
	}
	c.Notes = append(c.Notes, more...)
	step, end := e.progress("compare "+c.Name, int64((co.Count+1)*(len(sets)+1)))
	if step != nil {
		co.Progress = func(done, _ int) { step(uint64(done)) }
	}
	defer end()
	if c.Rows, err = compare.Run(ctx, src, filled, sets, e.strategyEnv(&f.trace), co); err != nil {
		return nil, fmt.Errorf("replay %s: %w", path, err)
	}
	return c, nil
}

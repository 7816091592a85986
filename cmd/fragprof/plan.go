package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay/plan"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/report"
)

type planFlags struct {
	trace    traceFlags
	models   []string
	strategy string
	step     uint64
	tests    int
	jobs     int
	format   string
	output   string
}

func newPlanCmd(e *env) *cobra.Command {
	var f planFlags
	var step string
	cmd := &cobra.Command{
		Use:   "plan TRACE --model SPEC...",
		Short: "Find how big a heap must be to serve a trace",
		Long: `plan replays a trace through heaps of many sizes and reports, for each model,

  min_ok     the smallest size tried that served every request
  safe_from  the smallest size from which every size tried served every
             request, up to 1.5 times as large

In many heaps a larger size can fail where a smaller one did not, because the
last free block is a block like any other: min_ok alone is a lucky size there.
Sizes are scanned from the peak of live bytes, every --step bytes or about
--tests of them, and the edges are refined; what is between two sizes that were
tried is not known.`,
		Example: `  fragprof plan samples/mosquitto-32.parquet --model tlsf --model freertos-heap4
  fragprof plan app.mtrace --model umm-malloc --step 8
  fragprof plan app.mtrace --model tlsf --strategy reserve:at=p95`,
		Args: exactly(1, "one trace"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if step != "" {
				var err error
				if f.step, err = heapmodel.ParseBytes(step); err != nil || f.step == 0 {
					return usagef("--step %s: want bytes above zero", step)
				}
			}
			return e.plan(cmd.Context(), args[0], &f)
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.models, "model", "m", nil, "heap to size, NAME[:key=value,...]; repeatable (see fragprof models)")
	fs.StringVarP(&f.strategy, "strategy", "s", strategy.None, "size the heap for the trace changed by this strategy (see fragprof strategies)")
	fs.StringVar(&step, "step", "", "bytes between two sizes that are tried (default: as --tests needs)")
	fs.IntVar(&f.tests, "tests", 512, "sizes that are tried, about, if --step is not given")
	fs.IntVarP(&f.jobs, "jobs", "j", 0, "sizes replayed at a time (0: one a processor); results do not depend on it")
	fs.StringVar(&f.format, "format", "text", "form of the report: "+formatNames())
	fs.StringVarP(&f.output, "output", "o", "-", "file for the report")
	f.trace.add(fs)
	return cmd
}

func (e *env) plan(ctx context.Context, path string, f *planFlags) error {
	var write func(io.Writer, *report.Plan) error
	for i := range report.Formats {
		if report.Formats[i].Name == f.format {
			write = report.Formats[i].WritePlan
		}
	}
	switch {
	case write == nil:
		return usagef("unknown report format %q: want one of %s", f.format, formatNames())
	case len(f.models) == 0:
		return usagef("plan needs at least one --model")
	case f.tests < 1 || f.jobs < 0:
		return usagef("--tests must be positive and --jobs not negative")
	}
	specs, err := parseModels(f.models)
	if err != nil {
		return err
	}
	set, err := strategy.Parse(f.strategy)
	if err != nil {
		return usageError{err}
	}
	src, err := e.load(path, &f.trace, nil)
	if err != nil {
		return err
	}
	learned, err := set.Learn(src, e.strategyEnv(&f.trace))
	if err != nil {
		return fmt.Errorf("plan %s: %w", path, err)
	}
	changed := learned.Recorded()
	p := &report.Plan{Name: traceName(path), Header: src.Header(), Strategy: set.String(), Outside: changed.Ledger.Outside(), Notes: learned.Notes}
	// The width of pointers follows from the trace; a size is what is looked for.
	if specs, _, err = fill(specs, src.Header()); err != nil {
		return fmt.Errorf("plan %s: %w", path, err)
	}
	for _, s := range specs {
		row := report.PlanRow{Spec: s}
		step, end := e.progress("plan "+s.String(), -1)
		o := plan.Options{Step: f.step, Tests: f.tests, Workers: f.jobs, Wrap: changed.Wrap}
		if step != nil {
			o.Progress = func(tests int) { step(uint64(tests)) }
		}
		row.Result, row.Err = plan.MinHeap(ctx, changed.Trace, s, o)
		end()
		if errors.Is(row.Err, context.Canceled) {
			return fmt.Errorf("plan %s: %w", path, row.Err)
		}
		p.Rows = append(p.Rows, row)
	}
	if err := e.writeTo(f.output, func(w io.Writer) error { return write(w, p) }); err != nil {
		return err
	}
	var errs []error
	for _, r := range p.Rows {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("plan %s: %w", r.Spec, r.Err))
		}
	}
	return errors.Join(errs...)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/report"
	"github.com/fragprof/fragprof/trace/gen"
)

// defaultModels is the comparison made when nobody names a model: the lower
// bound, the classic policies on a heap that grows by pages, and two embedded
// heaps of a fixed size that fits the trace.
var defaultModels = []string{
	"ideal",
	"sequential:fit=first,quantum=4KiB",
	"sequential:fit=best,quantum=4KiB",
	"sequential:fit=next,quantum=4KiB",
	"freertos-heap4",
	"tlsf",
}

type replayFlags struct {
	trace      traceFlags
	models     []string
	onFailure  string
	format     string
	plots      plotFlags
	placements string
	output     string
	steps      bool
	jobs       int
	strategies strategyFlags
}

func newReplayCmd(e *env) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay TRACE...",
		Short: "Replay traces through heaps and compare them",
		Long: `replay runs each trace through every heap named with --model, in one pass, and
reports failures, footprint and fragmentation, best heap first. Without --model
it compares the ideal, the classic policies, and two embedded heaps.

A heap of fixed size without a capacity gets the next power of two above 1.5
times the trace's peak of live bytes. TRACE - is standard input.`,
		Example: `  fragprof replay samples/mosquitto-32.parquet
  fragprof replay app.mtrace --model tlsf:capacity=64KiB --model freertos-heap4:capacity=64KiB
  fragprof replay samples/ten-bytes.ops --map --model sequential:capacity=10,header=0,align=1`,
		Args: atLeastOneTrace,
		RunE: func(cmd *cobra.Command, args []string) error { return e.replay(cmd.Context(), args, &f) },
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.models, "model", "m", nil, "heap to replay through, NAME[:key=value,...]; repeatable (see fragprof models)")
	fs.StringVar(&f.onFailure, "on-failure", "skip", "after a failed allocation: skip the object and go on, or stop")
	fs.StringVar(&f.format, "format", "text", "form of the report: "+formatNames())
	fs.StringVarP(&f.output, "output", "o", "-", "file for the report")
	fs.StringVar(&f.placements, "placements", "", "file for the address of every operation, a line each; needs one trace and one model")
	fs.BoolVar(&f.steps, "map", false, "draw the heap after every event; for small traces")
	fs.IntVarP(&f.jobs, "jobs", "j", 0, "heaps replayed at a time (0: one a processor); results do not depend on it")
	f.strategies.add(fs)
	f.plots.add(fs)
	f.trace.add(fs)
	return cmd
}

func formatNames() string {
	names := make([]string, len(report.Formats))
	for i := range report.Formats {
		names[i] = report.Formats[i].Name
	}
	return strings.Join(names, ", ")
}

func (f *replayFlags) check(traces []string) (write func(io.Writer, []*report.Run) error, o replay.Options, err error) {
	for i := range report.Formats {
		if report.Formats[i].Name == f.format {
			write = report.Formats[i].Write
		}
	}
	switch {
	case write == nil:
		return nil, o, usagef("unknown report format %q: want one of %s", f.format, formatNames())
	case f.placements != "" && (len(traces) != 1 || len(f.models) != 1):
		return nil, o, usagef("--placements needs exactly one trace and one --model")
	case f.steps && f.format != "text":
		return nil, o, usagef("--map draws text; it does not go with --format %s", f.format)
	case len(f.strategies.strategies) > 0 && (f.placements != "" || f.steps || f.plots.dir != ""):
		return nil, o, usagef("--strategy compares figures; it does not go with --placements, --map or --plots")
	case f.jobs < 0:
		return nil, o, usagef("--jobs must not be negative")
	}
	switch f.onFailure {
	case "skip":
	case "stop":
		o.OnFailure = replay.Stop
	default:
		return nil, o, usagef("--on-failure %q: want skip or stop", f.onFailure)
	}
	stdins := 0
	for _, t := range traces {
		if t == "-" {
			stdins++
		}
	}
	if stdins > 1 {
		return nil, o, usagef("standard input can be read as one trace only")
	}
	o.Workers, o.Steps = f.jobs, f.steps
	return write, o, nil
}

func (e *env) replay(ctx context.Context, traces []string, f *replayFlags) error {
	write, o, err := f.check(traces)
	if err != nil {
		return err
	}
	specs, err := parseModels(f.models)
	if err != nil {
		return err
	}
	sets, err := f.strategies.check()
	if err != nil {
		return err
	}
	if len(sets) > 0 {
		return e.compare(ctx, traces, sets, specs, o, f)
	}
	figures, err := f.plots.options()
	if err != nil {
		return err
	}
	var runs []*report.Run
	for _, path := range traces {
		run, err := e.replayOne(ctx, path, specs, o, f)
		if err == nil && f.plots.dir != "" {
			err = e.plot(&f.plots, figures, len(traces) > 1, run)
		}
		if run != nil {
			runs = append(runs, run)
		}
		if err != nil {
			// What is complete is still worth printing.
			return errors.Join(e.report(runs, f, write), err)
		}
	}
	if err := e.report(runs, f, write); err != nil {
		return err
	}
	return broken(runs)
}

func (e *env) report(runs []*report.Run, f *replayFlags, write func(io.Writer, []*report.Run) error) error {
	if len(runs) == 0 {
		return nil
	}
	return e.writeTo(f.output, func(w io.Writer) error {
		if f.steps {
			for _, run := range runs {
				for _, r := range run.Results {
					if err := report.WriteSteps(w, r); err != nil {
						return err
					}
					fmt.Fprintln(w)
				}
			}
		}
		return write(w, runs)
	})
}

// broken returns an error if a model broke in any run.
func broken(runs []*report.Run) error {
	var errs []error
	for _, run := range runs {
		for _, r := range run.Results {
			if r.Err != nil {
				errs = append(errs, fmt.Errorf("replay %s: %w", run.Name, r.Err))
			}
		}
	}
	return errors.Join(errs...)
}

func parseModels(texts []string) ([]*heapmodel.Spec, error) {
	if len(texts) == 0 {
		texts = defaultModels
	}
	specs := make([]*heapmodel.Spec, len(texts))
	for i, t := range texts {
		s, err := heapmodel.ParseSpec(catalog.Models, t)
		if err != nil {
			return nil, usageError{err}
		}
		specs[i] = s
	}
	return specs, nil
}

func (e *env) replayOne(ctx context.Context, path string, specs []*heapmodel.Spec, o replay.Options, f *replayFlags) (*report.Run, error) {
	src, err := e.load(path, &f.trace, nil)
	if err != nil {
		return nil, err
	}
	filled, notes, err := fill(specs, src.Header())
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", path, err)
	}
	run := &report.Run{Name: traceName(path), Header: src.Header(), Notes: notes}
	if f.plots.maps() {
		o.MapCols = mapCols
	}
	step, end := e.progress("replay "+run.Name, int64(src.Header().Summary.Events))
	o.Progress = step
	play := func(w io.Writer) error {
		o.Placements = w
		run.Results, err = replay.Run(ctx, src, filled, o)
		return err
	}
	if f.placements != "" {
		err = e.writeTo(f.placements, play)
	} else {
		err = play(nil)
	}
	end()
	if err != nil {
		err = fmt.Errorf("replay %s: %w", path, err)
		if run.Results == nil {
			return nil, err
		}
	}
	return run, err
}

// mapCols is the number of columns of heap maps.
const mapCols = 480

// traceName returns how reports call a trace.
func traceName(path string) string {
	if path == "-" {
		return "standard input"
	}
	if strings.HasPrefix(path, gen.Prefix) {
		return path
	}
	return filepath.Base(path)
}

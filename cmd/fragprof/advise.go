package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay/advise"
	"github.com/fragprof/fragprof/replay/compare"
	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/replay/plan"
	"github.com/fragprof/fragprof/report"
)

type adviseFlags struct {
	trace   traceFlags
	models  []string
	heap    string
	perturb int
	kinds   string
	seed    uint64
	options advise.Options
	format  string
	output  string
}

func newAdviseCmd(e *env) *cobra.Command {
	var f adviseFlags
	cmd := &cobra.Command{
		Use:   "advise TRACE --model SPEC... [--heap SIZE]",
		Short: "Find which call sites to change, and what that costs and buys",
		Long: `advise tries changes of a program, each by a replay: call sites made static or
reserved ahead, one by one, and then the best together. It prints a ranked list:
the site, what to do, the bytes it costs, and what it buys in failures avoided,
in the smallest heap that serves the trace, and in the largest free block.

Verdicts rest on --perturb other orderings of the trace. What takes memory
outside the heap makes a heap of fixed size smaller by as much.`,
		Example: `  fragprof advise samples/mosquitto-32.parquet --model freertos-heap4 --heap 68KiB
  fragprof advise gen:openevse --model umm-malloc --heap 71KiB --perturb 0`,
		Args: exactly(1, "one trace"),
		RunE: func(cmd *cobra.Command, args []string) error { return e.adviseOn(cmd.Context(), args[0], &f) },
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.models, "model", "m", nil, "heap of the program, NAME[:key=value,...]; repeatable (see fragprof models)")
	fs.StringVar(&f.heap, "heap", "", "size of the heap (default: as the model's spec says)")
	fs.IntVar(&f.perturb, "perturb", 20, "perturbed orderings that verdicts rest on; 0: the recorded one only")
	fs.StringVar(&f.kinds, "perturb-kinds", "", "how orderings are perturbed, NAME[=AMOUNT],... (default: all that apply)")
	fs.Uint64Var(&f.seed, "seed", 1, "seed of perturbations and of the bootstrap")
	fs.IntVar(&f.options.Sites, "sites", 16, "call sites tried, the most suspicious first")
	fs.IntVar(&f.options.Steps, "steps", 3, "changes combined at most")
	fs.IntVar(&f.options.Show, "show", 8, "single changes listed")
	fs.IntVar(&f.options.Tests, "tests", 48, "sizes tried in each search of a smallest heap, about")
	fs.IntVarP(&f.options.Workers, "jobs", "j", 0, "replays at a time (0: one a processor); results do not depend on it")
	fs.StringVar(&f.format, "format", "text", "form of the report: "+formatNames())
	fs.StringVarP(&f.output, "output", "o", "-", "file for the report")
	f.trace.add(fs)
	return cmd
}

func (f *adviseFlags) check() (write func(io.Writer, *report.Advised) error, err error) {
	for i := range report.Formats {
		if report.Formats[i].Name == f.format {
			write = report.Formats[i].WriteAdvice
		}
	}
	o := &f.options
	switch {
	case write == nil:
		return nil, usagef("unknown report format %q: want one of %s", f.format, formatNames())
	case len(f.models) == 0:
		return nil, usagef("advise needs at least one --model: advice holds for a heap")
	case f.perturb < 0 || o.Sites < 1 || o.Steps < 1 || o.Show < 1 || o.Tests < 1 || o.Workers < 0:
		return nil, usagef("--sites, --steps, --show and --tests must be positive, --perturb and --jobs not negative")
	}
	return write, nil
}

func (e *env) adviseOn(ctx context.Context, path string, f *adviseFlags) error {
	write, err := f.check()
	if err != nil {
		return err
	}
	specs, err := parseModels(f.models)
	if err != nil {
		return err
	}
	if f.heap != "" {
		if specs, err = sizedTo(specs, f.heap); err != nil {
			return err
		}
	}
	src, err := e.load(path, &f.trace, nil)
	if err != nil {
		return err
	}
	specs, notes, err := fill(specs, src.Header())
	if err != nil {
		return fmt.Errorf("advise %s: %w", path, err)
	}
	a := &report.Advised{Name: traceName(path), Header: src.Header(), Notes: notes}
	if err := f.orderings(a); err != nil {
		return err
	}
	for _, s := range specs {
		step, end := e.progress("advise "+s.String(), -1)
		o := f.options
		if step != nil {
			o.Progress = func(done int) { step(uint64(done)) }
		}
		r, err := advise.Run(ctx, src, s, e.strategyEnv(&f.trace), o)
		end()
		if err != nil {
			return fmt.Errorf("advise %s: %s: %w", path, s, err)
		}
		a.Reports = append(a.Reports, r)
	}
	return e.writeTo(f.output, func(w io.Writer) error { return write(w, a) })
}

// orderings sets how the trace is perturbed.
func (f *adviseFlags) orderings(a *report.Advised) (err error) {
	o := &f.options
	switch o.Count = f.perturb; {
	case f.perturb == 0:
		a.Notes = append(a.Notes, "verdicts are of the recorded ordering only; --perturb gives intervals")
		return nil
	case f.kinds == "":
		var notes []string
		o.Perturb, notes = perturb.Defaults(a.Header)
		a.Notes = append(a.Notes, notes...)
	default:
		if o.Perturb, err = perturb.Parse(f.kinds, a.Header); err != nil {
			return usageError{err}
		}
	}
	o.Perturb.Seed = f.seed
	a.Notes = append(a.Notes, fmt.Sprintf("verdicts rest on %d orderings perturbed by %s, seed %d; figures are of the recorded one", f.perturb, o.Perturb, f.seed))
	if f.perturb < compare.MinOrderings {
		a.Notes = append(a.Notes, fmt.Sprintf("%d orderings are too few for verdicts to be believed: take %d or more", f.perturb, compare.MinOrderings))
	}
	return nil
}

// sizedTo returns the specs with heaps of the given size.
func sizedTo(specs []*heapmodel.Spec, text string) ([]*heapmodel.Spec, error) {
	size, err := heapmodel.ParseBytes(text)
	if err != nil {
		return nil, usagef("--heap: %v", err)
	}
	out := make([]*heapmodel.Spec, len(specs))
	for i, s := range specs {
		param, err := plan.SizeParam(s)
		if err != nil {
			return nil, usagef("--heap: %v", err)
		}
		if out[i], err = plan.Sized(s, param, size); err != nil {
			return nil, usagef("--heap: %v", err)
		}
	}
	return out, nil
}

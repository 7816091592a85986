package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace/formats"
	"github.com/fragprof/fragprof/trace/gen"
)

// env is what a command has to do with the world.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	quiet          bool
}

func newRootCmd(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "fragprof",
		Short: "Replay allocation traces through models of real heaps",
		Long: `fragprof replays allocation traces through models of real heaps, offset for
offset, and reports fragmentation, growth and failures.`,
		Example: `  fragprof replay samples/mosquitto-32.parquet
  fragprof replay trace.mtrace --model tlsf:capacity=64KiB,ptr=32 --plots out
  fragprof convert heaptrack.app.123.zst -o app.parquet`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().BoolVarP(&e.quiet, "quiet", "q", false, "print no progress and no advice on stderr")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newReplayCmd(e),
		newPlanCmd(e),
		newAdviseCmd(e),
		newVerifyCmd(e),
		newConvertCmd(e),
		newInfoCmd(e),
		newModelsCmd(e),
		newStrategiesCmd(e),
		newFormatsCmd(e),
		newMetricsCmd(e),
		newGenCmd(e),
	)
	return root
}

// usageError marks an error of the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// atLeastOneTrace is a positional-argument rule with a message of its own.
func atLeastOneTrace(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s needs a trace; see %s --help", cmd.Name(), cmd.CommandPath())
	}
	return nil
}

// exactly wraps cobra.ExactArgs so that its error counts as one of usage.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s needs %s; see %s --help", cmd.Name(), what, cmd.CommandPath())
		}
		return nil
	}
}

// exitCode prints an error and returns what the process exits with.
func (e *env) exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(e.stderr, "fragprof: %s%s\n", message(err), hint(err))
	var usage usageError
	// cobra's own error for an unknown command has no type.
	if errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") {
		return 2
	}
	return 1
}

func message(err error) string {
	if errors.Is(err, context.Canceled) {
		return strings.TrimSuffix(err.Error(), ": "+context.Canceled.Error()) + ": interrupted"
	}
	return err.Error()
}

// hint suggests names near a misspelt one.
func hint(err error) string {
	var model *heapmodel.UnknownModelError
	var param *heapmodel.UnknownParamError
	var format *formats.UnknownFormatError
	var workload *gen.UnknownWorkloadError
	var key *gen.UnknownParamError
	var change *strategy.UnknownError
	switch {
	case errors.As(err, &model):
		return near(model.Name, model.Known, "; fragprof models lists them all")
	case errors.As(err, &param):
		return near(param.Key, param.Known, fmt.Sprintf("; fragprof models %s lists its parameters", param.Model))
	case errors.As(err, &format):
		return near(format.Name, format.Known, "; fragprof formats lists them all")
	case errors.As(err, &change):
		return near(change.Name, change.Known, "; fragprof strategies lists them all")
	case errors.As(err, &workload):
		return near(workload.Name, workload.Known, "; fragprof gen lists them all")
	case errors.As(err, &key):
		return near(key.Key, key.Known, fmt.Sprintf("; fragprof gen %s lists its parameters", key.Workload))
	}
	return ""
}

// near returns a clause that names the known words closest to a misspelt one.
func near(word string, known []string, otherwise string) string {
	type candidate struct {
		name     string
		distance int
	}
	var close []candidate
	for _, k := range known {
		d := levenshtein.ComputeDistance(strings.ToLower(word), k)
		if len(word) > 2 && (strings.Contains(k, word) || strings.Contains(word, k)) {
			d = 1
		}
		if d <= max(2, len(word)/3) {
			close = append(close, candidate{k, d})
		}
	}
	if len(close) == 0 {
		return otherwise
	}
	slices.SortStableFunc(close, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	names := make([]string, 0, 3)
	for _, c := range close[:min(3, len(close))] {
		names = append(names, c.name)
	}
	return fmt.Sprintf("; did you mean %s?", strings.Join(names, ", "))
}

// progress returns a function that shows how many of total events are done, -1
// if nobody knows, and one that ends it. Unless stderr is a terminal the first
// is nil.
func (e *env) progress(what string, total int64) (step func(done uint64), end func()) {
	f, ok := e.stderr.(*os.File)
	if e.quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(f),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(100*time.Millisecond),
	)
	return func(done uint64) { _ = bar.Set64(int64(done)) }, func() { _ = bar.Finish() }
}

// advise prints a line for people on stderr.
func (e *env) advise(format string, args ...any) {
	if !e.quiet {
		fmt.Fprintf(e.stderr, "fragprof: "+format+"\n", args...)
	}
}

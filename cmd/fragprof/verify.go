package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/verify"
	"github.com/fragprof/fragprof/trace"
)

type verifyFlags struct {
	trace   traceFlags
	path    string
	model   string
	golden  string
	summary string
}

func newVerifyCmd(e *env) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify --model SPEC --golden TABLE --trace TRACE",
		Short: "Hold a model against a table of what a real heap answered",
		Long: `verify replays a trace through one heap and compares each answer with a line of
the table: the address the real heap gave, as an offset from the start of its
arena, or ! for a null pointer, . for a free, _ for a free of an object whose
allocation had failed; # begins a comment. replay --placements writes the same
form. The table may be gzipped.

At the first difference it prints the operation and the blocks around it, and
exits 1. At the end it prints the figures of the replay, beside those that a
summary has of the table: --summary, or summary.json in the table's folder.`,
		Example: `  fragprof verify --model tlsf:capacity=64KiB,ptr=32 --golden mixed.gz --trace mixed.ops.gz
  fragprof verify --model dlmalloc:grow=16MiB --golden board.txt --trace board.parquet
  my-heap < app.ops | fragprof verify --model my-heap --golden - --trace app.ops`,
		Args: exactly(0, "its trace as --trace TRACE and no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.verify(cmd.Context(), &f) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.model, "model", "m", "", "heap to hold against the table, NAME[:key=value,...] (see fragprof models)")
	fs.StringVar(&f.golden, "golden", "", "table of answers, a line an operation; - is standard input")
	fs.StringVar(&f.path, "trace", "", "trace the table is about, in any format; - is standard input")
	fs.StringVar(&f.summary, "summary", "", "figures the table's maker took at its end, as JSON or tab-separated columns")
	f.trace.add(fs)
	return cmd
}

func (f *verifyFlags) check() error {
	switch {
	case f.model == "":
		return usagef("verify needs --model SPEC")
	case f.golden == "":
		return usagef("verify needs --golden TABLE")
	case f.path == "":
		return usagef("verify needs --trace TRACE")
	case f.path == "-" && f.golden == "-":
		return usagef("standard input cannot be both the trace and the table")
	}
	return nil
}

func (e *env) verify(ctx context.Context, f *verifyFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	specs, err := parseModels([]string{f.model})
	if err != nil {
		return err
	}
	text, closeTable, err := e.open(f.golden)
	if err != nil {
		return err
	}
	defer closeTable()
	table, err := golden.NewReader(text, f.golden)
	if err != nil {
		return reading(err)
	}
	expected, err := f.expected(e)
	if err != nil {
		return err
	}
	src, err := e.load(f.path, &f.trace, nil)
	if err != nil {
		return err
	}
	e.adviseLoss(traceName(f.path), src.Header())
	s, notes, err := replay.Fill(specs[0], src.Header())
	if err != nil {
		return err
	}
	for _, n := range notes {
		e.advise("%s", n)
	}
	step, end := e.progress("verify "+traceName(f.golden), int64(src.Header().Summary.Events))
	r, err := verify.Run(ctx, src, s, table, step)
	end()
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return e.writeVerified(f, s, r, expected)
}

// open opens a file, or standard input for "-".
func (e *env) open(path string) (r io.Reader, done func(), err error) {
	if path == "-" {
		return e.stdin, func() {}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if st, err := file.Stat(); err == nil && st.IsDir() {
		return nil, nil, errors.Join(fmt.Errorf("read %s: is a directory", path), file.Close())
	}
	return file, func() { _ = file.Close() }, nil
}

// expected returns the figures that a summary has of the table, if any.
func (f *verifyFlags) expected(e *env) ([]verify.Figure, error) {
	path := f.summary
	if path == "" {
		if f.golden == "-" {
			return nil, nil
		}
		path = filepath.Join(filepath.Dir(f.golden), "summary.json")
	}
	file, err := os.Open(path)
	if f.summary == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	figures, err := verify.ReadSummary(file, f.golden)
	if err == nil {
		return figures, nil
	}
	if f.summary == "" {
		// A file that only happens to have the name is nobody's error.
		e.advise("%s is not compared: it %s", path, err)
		return nil, nil
	}
	return nil, fmt.Errorf("read %s: %w", path, err)
}

// writeVerified prints the report, and returns an error if the table and the
// model do not agree.
func (e *env) writeVerified(f *verifyFlags, s *heapmodel.Spec, r *verify.Report, expected []verify.Figure) error {
	out := bufio.NewWriter(e.stdout)
	name := traceName(f.golden)
	fault := ""
	switch d := r.Diff; {
	case d == nil && r.Extra == 0:
		fmt.Fprintf(out, "%s: all %d operations of %s are equal in %s\n", name, r.Equal, traceName(f.path), s)
	case d == nil:
		fmt.Fprintf(out, "%s: all %d operations of %s are equal in %s; the table has %d more\n", name, r.Equal, traceName(f.path), s, r.Extra)
		fault = fmt.Sprintf("the table goes on for %d lines after the last operation", r.Extra)
	case d.Ended():
		fmt.Fprintf(out, "%s: the first %d operations of %s are equal in %s; the table ends there, the trace has %d\n", name, r.Equal, traceName(f.path), s, r.Events)
		fault = fmt.Sprintf("the table ends after %d of %d operations", r.Equal, r.Events)
	default:
		fmt.Fprintf(out, "%s: the first %d of %d operations of %s are equal in %s, and then:\n", name, r.Equal, r.Events, traceName(f.path), s)
		writeDifference(out, name, d)
		fault = fmt.Sprintf("line %d differs from %s", d.Line, s.Model.Name)
	}
	wrong := writeFigures(out, r.Figures, expected)
	if fault == "" && wrong > 0 {
		fault = fmt.Sprintf("%d figures of the summary differ", wrong)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if fault != "" {
		return fmt.Errorf("verify %s: %s", f.golden, fault)
	}
	return nil
}

func writeDifference(w io.Writer, table string, d *verify.Difference) {
	fmt.Fprintf(w, "\n%s:%d: operation %d: %s\n", table, d.Line, d.Event+1, verify.Operation(d.Op, d.Object))
	fmt.Fprintf(w, "  expected  %s\n  got       %s\n", d.Want, d.Got)
	if d.OtherTrace() {
		fmt.Fprintln(w, "  (the table answers to another kind of operation: it cannot be of this trace)")
	}
	if d.Op.Op != trace.OpFree {
		fmt.Fprintf(w, "  needs a block of %d B", d.Need)
		fmt.Fprintf(w, "; free %d B in %d blocks, largest %d B; arena %d B\n", d.Usage.Free, d.Usage.FreeBlocks, d.LargestFree, d.Usage.Arena)
	}
	if d.Was != heapmodel.Null {
		fmt.Fprintf(w, "  the object was at %d\n", d.Was)
	}
	fmt.Fprintf(w, "\nblocks before\n%s\nblocks after\n%s", d.Before, d.After)
	if d.Check != nil {
		fmt.Fprintf(w, "\nthe model's own check fails after it: %v\n", d.Check)
	}
	if len(d.Earlier) > 0 {
		fmt.Fprintf(w, "\noperations before, and on the object\n  %s\n", strings.Join(d.Earlier, "\n  "))
	}
}

// writeFigures prints the replay's figures beside the expected ones, and
// returns how many differ.
func writeFigures(w io.Writer, got, expected []verify.Figure) (wrong int) {
	if got == nil {
		return 0
	}
	wide := 0
	for _, f := range slices.Concat(got, expected) {
		wide = max(wide, len(f.Key))
	}
	fmt.Fprintln(w)
	for _, f := range got {
		fmt.Fprintf(w, "%-*s  %d", wide, f.Key, f.Value)
		at := slices.IndexFunc(expected, func(x verify.Figure) bool { return x.Key == f.Key })
		switch {
		case at < 0:
		case expected[at].Value == f.Value:
			fmt.Fprint(w, "  as expected")
		default:
			fmt.Fprintf(w, "  DIFFERS: expected %d", expected[at].Value)
			wrong++
		}
		fmt.Fprintln(w)
	}
	for _, x := range expected {
		if !slices.ContainsFunc(got, func(f verify.Figure) bool { return f.Key == x.Key }) {
			fmt.Fprintf(w, "%-*s  not compared: expected %d, the model has no such figure\n", wide, x.Key, x.Value)
		}
	}
	return wrong
}

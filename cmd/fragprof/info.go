package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/report"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
)

func newInfoCmd(e *env) *cobra.Command {
	var tf traceFlags
	var format string
	var top int
	var withChains bool
	cmd := &cobra.Command{
		Use:   "info TRACE...",
		Short: "Describe traces: counts, sizes, lifetimes, peaks, threads, realloc chains, loss",
		Example: `  fragprof info samples/mosquitto-32.parquet
  fragprof info --format json trace.zst
  fragprof info --chains trace.zst
  zcat trace.gz | fragprof info -`,
		Args: atLeastOneTrace,
		RunE: func(_ *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return usagef("unknown format %q: want text or json", format)
			}
			for i, path := range args {
				if i > 0 && format == "text" {
					if _, err := io.WriteString(e.stdout, "\n"); err != nil {
						return err
					}
				}
				var c trace.StatsCounter
				src, err := e.load(path, &tf, c.Block)
				if err != nil {
					return err
				}
				var growing *chains.Summary
				if withChains {
					if growing, err = growth(src); err != nil {
						return fmt.Errorf("%s: %w", traceName(path), err)
					}
				}
				if err := report.WriteInfo(e.stdout, traceName(path), src.Header(), c.Stats(top), growing, top, format == "json"); err != nil {
					return err
				}
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&format, "format", "text", "text or json")
	fs.IntVar(&top, "top", 10, "length of the lists of sizes and sites")
	fs.BoolVar(&withChains, "chains", false, "find growing containers, those that allocate, copy and free among them, and list them by call site")
	tf.add(fs)
	return cmd
}

// growth finds the growing containers of a trace.
func growth(src trace.Source) (*chains.Summary, error) {
	t, err := chains.Detect(src)
	if err != nil {
		return nil, err
	}
	return chains.Summarize(src, t)
}

func sortedJoin(words []string) string {
	slices.Sort(words)
	return strings.Join(words, ", ")
}

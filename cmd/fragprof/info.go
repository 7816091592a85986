package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/report"
	"github.com/fragprof/fragprof/trace"
)

func newInfoCmd(e *env) *cobra.Command {
	var tf traceFlags
	var format string
	var top int
	cmd := &cobra.Command{
		Use:   "info TRACE...",
		Short: "Describe traces: counts, sizes, lifetimes, peaks, threads, realloc chains, loss",
		Example: `  fragprof info samples/mosquitto-32.parquet
  fragprof info --format json trace.zst
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
				if err := report.WriteInfo(e.stdout, traceName(path), src.Header(), c.Stats(top), format == "json"); err != nil {
					return err
				}
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&format, "format", "text", "text or json")
	fs.IntVar(&top, "top", 10, "length of the lists of sizes and sites")
	tf.add(fs)
	return cmd
}

func sortedJoin(words []string) string {
	slices.Sort(words)
	return strings.Join(words, ", ")
}

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/trace/gen"
)

func newGenCmd(e *env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "gen [NAME]",
		Short: "List the synthetic traces that can be generated, or describe one",
		Long: `gen lists the workloads of which synthetic traces are made. Wherever a command
takes a trace, gen:NAME[,key=value...] generates one: the same text gives the same
events each time. Reports say that such a trace is synthetic; what heaps do with
it says little about what they would do with a recorded program.`,
		Example: `  fragprof gen
  fragprof gen openevse
  fragprof replay gen:openevse,queue=clear --model umm-malloc:capacity=71KiB
  fragprof convert gen:containers,events=5M,seed=7 -o containers.parquet`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("gen takes one name at most")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			workloads := gen.Workloads
			if len(args) == 1 {
				w, err := gen.Lookup(strings.TrimPrefix(args[0], gen.Prefix))
				if err != nil {
					return usageError{err}
				}
				workloads = []*gen.Workload{w}
			}
			switch {
			case format == "json":
				return writeJSON(e.stdout, workloadList(workloads))
			case format != "text":
				return usagef("unknown format %q: want text or json", format)
			case len(args) == 1:
				return describeWorkload(e.stdout, workloads[0])
			}
			t := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tWHAT IT IS")
			for _, w := range workloads {
				keys := make([]string, 0, 16)
				for _, p := range w.AllParams() {
					keys = append(keys, p.Key)
				}
				fmt.Fprintf(t, "%s\t%s\n\t  %s\n", w.Name, w.Title, strings.Join(keys, ", "))
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

type workloadJSON struct {
	Name   string      `json:"name"`
	Title  string      `json:"title"`
	Doc    string      `json:"doc"`
	Source string      `json:"source"`
	Params []paramJSON `json:"params"`
}

func workloadList(workloads []*gen.Workload) []workloadJSON {
	out := make([]workloadJSON, len(workloads))
	for i, w := range workloads {
		out[i] = workloadJSON{Name: w.Name, Title: w.Title, Doc: w.Doc, Source: w.Source, Params: []paramJSON{}}
		for _, p := range w.AllParams() {
			out[i].Params = append(out[i].Params, paramJSON{Key: p.Key, Kind: p.Kind.String(), Default: p.Default, Values: p.Enum, Doc: p.Doc})
		}
	}
	return out
}

func describeWorkload(w io.Writer, g *gen.Workload) error {
	fmt.Fprintf(w, "%s: %s\n\n%s\n\nSource: %s\n\n", g.Name, g.Title, wrap(g.Doc, 78), wrap(g.Source, 70))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PARAMETER\tVALUE\tDEFAULT\tWHAT IT IS")
	var long []gen.Param // whose words would make the table too wide
	for _, p := range g.AllParams() {
		kind := p.Kind.String()
		if len(p.Enum) > 5 {
			long = append(long, p)
		} else if p.Kind == gen.Word {
			kind = strings.Join(p.Enum, "|")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Key, kind, p.Default, p.Doc)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range long {
		fmt.Fprintf(w, "\n%s\n", wrap(p.Key+" is one of "+strings.Join(p.Enum, ", ")+".", 78))
	}
	return nil
}

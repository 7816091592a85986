package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/replay/strategy"
)

func newStrategiesCmd(e *env) *cobra.Command {
	var format string
	var perturbations bool
	cmd := &cobra.Command{
		Use:   "strategies [NAME]",
		Short: "List the strategies against fragmentation, or describe one",
		Long: `strategies lists what a program or its heap could do differently: what
--strategy of replay and plan takes. They compose: reserve:at=p95+pools:auto.
--perturb lists the ways in which --perturb of replay makes other orderings of
a trace.`,
		Example: `  fragprof strategies
  fragprof strategies reserve
  fragprof strategies --perturb`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("strategies takes one name at most")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return usagef("unknown format %q: want text or json", format)
			}
			if perturbations {
				return listPerturbations(e.stdout, format)
			}
			rows := strategy.Strategies
			if len(args) == 1 {
				row, err := strategy.Lookup(args[0])
				if err != nil {
					return usageError{err}
				}
				rows = []*strategy.Strategy{row}
			}
			switch {
			case format == "json":
				return writeJSON(e.stdout, strategyList(rows))
			case len(args) == 1:
				return describeStrategy(e.stdout, rows[0])
			}
			t := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tCHANGES\tWHAT IT DOES")
			fmt.Fprintf(t, "%s\t-\tthe baseline, always run\n", strategy.None)
			for _, s := range rows {
				fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, s.Changes(), s.Title)
				if len(s.Params) > 0 {
					keys := make([]string, len(s.Params))
					for i := range s.Params {
						keys[i] = s.Params[i].Key
					}
					fmt.Fprintf(t, "\t\t  %s\n", strings.Join(keys, ", "))
				}
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	cmd.Flags().BoolVar(&perturbations, "perturb", false, "list the kinds of perturbations")
	return cmd
}

type strategyJSON struct {
	Name    string      `json:"name"`
	Changes string      `json:"changes"`
	Title   string      `json:"title"`
	Doc     string      `json:"doc"`
	Source  string      `json:"source"`
	Params  []paramJSON `json:"params"`
}

func strategyList(rows []*strategy.Strategy) []strategyJSON {
	out := make([]strategyJSON, len(rows))
	for i, s := range rows {
		out[i] = strategyJSON{Name: s.Name, Changes: s.Changes(), Title: s.Title, Doc: s.Doc, Source: s.Source, Params: paramList(s.Params)}
	}
	return out
}

func paramList(params []heapmodel.Param) []paramJSON {
	out := make([]paramJSON, len(params))
	for i, p := range params {
		out[i] = paramJSON{Key: p.Key, Kind: p.Kind.String(), Default: p.Default, Values: p.Enum, Doc: p.Doc}
	}
	return out
}

func describeStrategy(w io.Writer, s *strategy.Strategy) error {
	fmt.Fprintf(w, "%s: %s\n\n%s\n\nSource: %s\nChanges: %s\n", s.Name, s.Title, wrap(s.Doc, 78), wrap(s.Source, 70), s.Changes())
	if len(s.Params) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return describeParams(w, s.Params)
}

func listPerturbations(w io.Writer, format string) error {
	type row struct {
		Name    string  `json:"name"`
		Default float64 `json:"default"`
		Unit    string  `json:"unit"`
		Doc     string  `json:"doc"`
	}
	rows := make([]row, len(perturb.Kinds))
	for i, k := range perturb.Kinds {
		rows[i] = row{k.Name, k.Default, k.Unit, k.Doc}
	}
	if format == "json" {
		return writeJSON(w, rows)
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%s=%g %s\n  %s\n", r.Name, r.Default, r.Unit, strings.ReplaceAll(wrap(r.Doc, 76), "\n", "\n  "))
	}
	return nil
}

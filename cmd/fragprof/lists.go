package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/report"
	"github.com/fragprof/fragprof/trace/formats"
)

func newModelsCmd(e *env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "models [NAME]",
		Short: "List the heap models, or describe one with its parameters",
		Example: `  fragprof models
  fragprof models tlsf
  fragprof models --format json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("models takes one name at most")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			models := catalog.Models
			if len(args) == 1 {
				s, err := heapmodel.ParseSpec(catalog.Models, args[0])
				if err != nil {
					return usageError{err}
				}
				models = []*heapmodel.Model{s.Model}
			}
			switch {
			case format == "json":
				return writeJSON(e.stdout, modelList(models))
			case format != "text":
				return usagef("unknown format %q: want text or json", format)
			case len(args) == 1:
				return describeModel(e.stdout, models[0])
			}
			t := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tFAMILY\tWHAT IT IS")
			for _, m := range models {
				fmt.Fprintf(t, "%s\t%s\t%s\n", m.Name, m.Family, m.Title)
				if len(m.Params) > 0 {
					keys := make([]string, len(m.Params))
					for i := range m.Params {
						keys[i] = m.Params[i].Key
					}
					fmt.Fprintf(t, "\t\t  %s\n", strings.Join(keys, ", "))
				}
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

type modelJSON struct {
	Name    string      `json:"name"`
	Family  string      `json:"family"`
	Title   string      `json:"title"`
	Doc     string      `json:"doc"`
	Source  string      `json:"source"`
	Aligned bool        `json:"aligned"`
	Realloc bool        `json:"realloc"`
	Grows   bool        `json:"grows"`
	Params  []paramJSON `json:"params"`
}

type paramJSON struct {
	Key     string   `json:"key"`
	Kind    string   `json:"kind"`
	Default string   `json:"default,omitempty"`
	Values  []string `json:"values,omitempty"`
	Doc     string   `json:"doc"`
}

func modelList(models []*heapmodel.Model) []modelJSON {
	out := make([]modelJSON, len(models))
	for i, m := range models {
		out[i] = modelJSON{
			Name: m.Name, Family: m.Family, Title: m.Title, Doc: m.Doc, Source: m.Source,
			Aligned: m.Caps&heapmodel.CapAlign != 0, Realloc: m.Caps&heapmodel.CapRealloc != 0, Grows: m.Caps&heapmodel.CapGrow != 0,
			Params: paramList(m.Params),
		}
	}
	return out
}

func describeModel(w io.Writer, m *heapmodel.Model) error {
	fmt.Fprintf(w, "%s: %s\n\n%s\n\nSource: %s\n", m.Name, m.Title, wrap(m.Doc, 78), wrap(m.Source, 70))
	can := []string{}
	for _, c := range []struct {
		cap  heapmodel.Caps
		text string
	}{{heapmodel.CapAlign, "aligned allocation"}, {heapmodel.CapRealloc, "its own realloc"}, {heapmodel.CapGrow, "growth"}} {
		if m.Caps&c.cap != 0 {
			can = append(can, c.text)
		}
	}
	if len(can) > 0 {
		fmt.Fprintf(w, "Has: %s\n", strings.Join(can, ", "))
	}
	fmt.Fprintln(w)
	return describeParams(w, m.Params)
}

// describeParams writes a table of parameters.
func describeParams(w io.Writer, params []heapmodel.Param) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PARAMETER\tVALUE\tDEFAULT\tWHAT IT IS")
	for _, p := range params {
		kind := p.Kind.String()
		if len(p.Enum) > 0 {
			kind = strings.Join(p.Enum, "|")
		}
		def := p.Default
		if def == "" {
			def = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.Key, kind, def, p.Doc)
	}
	return t.Flush()
}

// wrap breaks text into lines of at most width bytes, at blanks.
func wrap(text string, width int) string {
	var b strings.Builder
	for i, para := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString("\n\n")
		}
		column := 0
		for word := range strings.FieldsSeq(para) {
			switch {
			case column == 0:
			case column+1+len(word) > width:
				b.WriteByte('\n')
				column = 0
			default:
				b.WriteByte(' ')
				column++
			}
			b.WriteString(word)
			column += len(word)
		}
	}
	return b.String()
}

func newFormatsCmd(e *env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "formats",
		Short: "List the trace formats that can be read and written",
		Example: `  fragprof formats
  fragprof formats --format json`,
		Args: exactly(0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			type row struct {
				Name  string   `json:"name"`
				Doc   string   `json:"doc"`
				Exts  []string `json:"extensions"`
				Write bool     `json:"writable"`
			}
			var rows []row
			for _, f := range formats.Formats {
				_, err := formats.LookupWriter(f.Name)
				rows = append(rows, row{f.Name, f.Doc, append([]string{}, f.Exts...), err == nil})
			}
			switch format {
			case "json":
				return writeJSON(e.stdout, rows)
			case "text":
			default:
				return usagef("unknown format %q: want text or json", format)
			}
			t := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tREAD\tWRITE\tWHAT IT IS")
			for _, r := range rows {
				write := "-"
				if r.Write {
					write = "yes"
				}
				fmt.Fprintf(t, "%s\tyes\t%s\t%s\n", r.Name, write, r.Doc)
			}
			fmt.Fprintln(t, "\nCompression is found by content: gzip, zstd, bzip2, xz, the first member of a zip.")
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

func newMetricsCmd(e *env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "metrics",
		Short: "List the metrics of reports with their definitions",
		Example: `  fragprof metrics
  fragprof metrics --format json`,
		Args: exactly(0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			type row struct {
				Key    string `json:"key"`
				Title  string `json:"title"`
				Unit   string `json:"unit"`
				Doc    string `json:"definition"`
				Source string `json:"source,omitempty"`
			}
			var rows []row
			for _, m := range report.Metrics {
				rows = append(rows, row{m.Key, m.Title, m.Unit.String(), m.Doc, m.Source})
			}
			switch format {
			case "json":
				return writeJSON(e.stdout, rows)
			case "text":
			default:
				return usagef("unknown format %q: want text or json", format)
			}
			t := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "KEY\tUNIT\tDEFINITION")
			for _, r := range rows {
				doc := r.Doc
				if r.Source != "" {
					doc += " [" + r.Source + "]"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\n", r.Key, r.Unit, doc)
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

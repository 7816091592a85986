package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/fragprof/fragprof/report"
	"github.com/fragprof/fragprof/report/plot"
)

// plotFlags say which figures are drawn, where and how.
type plotFlags struct {
	dir     string
	formats []string
	figures []string
	axis    string
}

func (f *plotFlags) add(fs *pflag.FlagSet) {
	keys := make([]string, len(plot.Figures))
	for i := range plot.Figures {
		keys[i] = plot.Figures[i].Key
	}
	fs.StringVar(&f.dir, "plots", "", "directory for figures")
	fs.StringSliceVar(&f.formats, "plot-format", []string{"svg", "png"}, "formats of figures: "+strings.Join(plot.Formats, ", "))
	fs.StringSliceVar(&f.figures, "figures", nil, "figures to draw, all if none is named: "+strings.Join(keys, ", "))
	fs.StringVar(&f.axis, "time-axis", "events", "time axis of figures: events, bytes (allocated) or seconds")
}

// options checks the flags before any work is done.
func (f *plotFlags) options() (plot.Options, error) {
	axis, err := plot.ParseAxis(f.axis)
	if err != nil {
		return plot.Options{}, usageError{err}
	}
	for _, format := range f.formats {
		if !slices.Contains(plot.Formats, format) {
			return plot.Options{}, usagef("unknown figure format %q: want one of %s", format, strings.Join(plot.Formats, ", "))
		}
	}
	for _, key := range f.figures {
		if !slices.ContainsFunc(plot.Figures, func(fig plot.Figure) bool { return fig.Key == key }) {
			return plot.Options{}, usagef("unknown figure %q; see --help for the figures", key)
		}
	}
	return plot.Options{Axis: axis, Figures: f.figures}, nil
}

// maps reports whether a heap map is among the figures.
func (f *plotFlags) maps() bool {
	return f.dir != "" && (len(f.figures) == 0 || slices.ContainsFunc(f.figures, func(key string) bool { return strings.HasPrefix(key, "map") }))
}

// plot draws the figures of a run; several traces get a folder each.
func (e *env) plot(f *plotFlags, o plot.Options, several bool, run *report.Run) error {
	dir := f.dir
	if several {
		dir = filepath.Join(dir, strings.Map(fileRune, run.Name))
	}
	o.Trace = run.Name
	w, err := plot.Write(dir, f.formats, run.Results, o)
	if err != nil {
		return err
	}
	run.Figures = w.Files
	for _, s := range w.Skipped {
		run.Notes = append(run.Notes, "not drawn: "+s.String())
	}
	return nil
}

// fileRune makes a name fit for a folder.
func fileRune(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
		return r
	}
	return '-'
}

package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
)

// InfoSchema names the JSON form of WriteInfo and its version.
const InfoSchema = "fragprof/info/1"

// WriteInfo describes a trace, as text or as JSON. Its growing containers are
// listed, up to top sites, if they were looked for: c may be nil.
func WriteInfo(w io.Writer, name string, h *trace.Header, s *trace.Stats, c *chains.Summary, top int, asJSON bool) error {
	top = max(top, 0)
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		o := infoObject(name, h, s)
		if c != nil {
			o = append(o, field{"growth_chains", chainsObject(h, c, top)})
		}
		return enc.Encode(o)
	}
	out := bufio.NewWriter(w)
	writeTrace(out, &Run{Name: name, Header: h})
	sum := &h.Summary
	t := newTable("", "")
	t.ResetHeaders()
	row := func(what, format string, args ...any) {
		t.AppendRow(table.Row{what, fmt.Sprintf(format, args...)})
	}
	row("peak live", "%s at event %s", exactBytes(sum.PeakLiveBytes), thousands(sum.PeakLiveEvent))
	row("peak objects", "%s", thousands(sum.PeakLiveObjects))
	row("live at the end", "%s in %s objects", exactBytes(sum.EndLiveBytes), thousands(sum.NeverFreed))
	row("bytes allocated", "%s", exactBytes(sum.AllocSum))
	row("sizes", "%s; largest request %s", quantiles(&s.Sizes, exactBytes), exactBytes(sum.Largest))
	row("frequent sizes", "%s", tallies(s.TopSizes, func(t trace.Tally) string { return thousands(t.Count) + " x " + exactBytes(t.Key) }))
	row("lifetimes", "%s (bytes allocated meanwhile)", quantiles(&s.Lifetimes, bytesText))
	if sum.Aligned > 0 {
		row("aligned", "%s allocs, up to %s", thousands(sum.Aligned), exactBytes(uint64(sum.MaxAlign)))
	}
	if sum.ZeroSize > 0 {
		row("of size 0", "%s allocs", thousands(sum.ZeroSize))
	}
	row("threads", "%s", threadsText(h, s.Threads))
	if h.HasTime {
		row("duration", "%.3f s", float64(sum.LastTime-sum.FirstTime)/1e9)
	} else {
		row("duration", "unknown: the trace has no clock")
	}
	if c := &s.Chains; c.Objects > 0 {
		row("realloc chains", "%s objects, %s reallocs (%s grow, %s shrink), longest %s, median %s; final sizes %s",
			thousands(c.Objects), thousands(sum.Reallocs), thousands(c.Grows), thousands(c.Shrinks),
			thousands(c.Lengths.Max), thousands(c.Lengths.Quantile(0.5)), quantiles(&c.Final, exactBytes))
	} else {
		row("realloc chains", "none: the trace has no realloc")
	}
	render(out, t)
	writeClasses(out, "size", &s.Sizes)
	writeSites(out, h, "bytes allocated", s.TopSites)
	writeSites(out, h, "reallocs", s.Chains.TopSites)
	if c != nil {
		writeChains(out, h, c, top)
	}
	writeLoss(out, h)
	for _, n := range Notes(h, nil) {
		fmt.Fprintf(out, "\nnote: %s\n", n)
	}
	return out.Flush()
}

func quantiles(h *trace.Histogram, text func(uint64) string) string {
	if h.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("median %s, 90 %% up to %s, 99 %% up to %s, max %s",
		text(h.Quantile(0.5)), text(h.Quantile(0.9)), text(h.Quantile(0.99)), text(h.Max))
}

func tallies(t []trace.Tally, text func(trace.Tally) string) string {
	parts := make([]string, 0, 6)
	for _, x := range t[:min(6, len(t))] {
		parts = append(parts, text(x))
	}
	return strings.Join(parts, ", ")
}

func threadsText(h *trace.Header, threads []uint64) string {
	if !h.HasThread {
		return "unknown: the trace names none"
	}
	busiest, events := 0, uint64(0)
	for t, count := range threads {
		if count > events {
			busiest, events = t, count
		}
	}
	return fmt.Sprintf("%s; busiest thread %d with %s events", thousands(uint64(len(threads))), busiest, thousands(events))
}

// barWidth is the length of the longest bar of a histogram.
const barWidth = 40

func writeClasses(w io.Writer, what string, h *trace.Histogram) {
	classes := h.Classes()
	var most uint64
	for _, c := range classes {
		most = max(most, c.Count)
	}
	if most == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(what, "allocs", "share", "")
	rightFrom(t, 1, 3)
	for _, c := range classes {
		label := exactBytes(c.Low)
		if c.Low > 1 {
			label += " to " + exactBytes(2*c.Low-1)
		}
		bar := strings.Repeat("#", int((c.Count*barWidth+most-1)/most))
		t.AppendRow(table.Row{label, thousands(c.Count), Frac.text(float64(c.Count) / float64(h.Count)), bar})
	}
	render(w, t)
}

func writeSites(w io.Writer, h *trace.Header, by string, sites []trace.Tally) {
	if !h.HasSite || len(sites) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable("call site, by "+by, "count", "bytes")
	rightFrom(t, 2, 3)
	for _, s := range sites {
		site := h.SiteName(trace.SiteID(s.Key))
		if site == "" {
			site = "(unknown)"
		}
		if len(site) > 100 {
			site = site[:97] + "..."
		}
		t.AppendRow(table.Row{site, thousands(s.Count), exactBytes(s.Bytes)})
	}
	render(w, t)
}

func writeLoss(w io.Writer, h *trace.Header) {
	fmt.Fprintln(w)
	lossless := true
	for k, count := range h.Loss {
		if count > 0 {
			fmt.Fprintf(w, "import: %s %s\n", thousands(count), trace.LossKind(k).Doc())
			lossless = false
		}
	}
	if lossless {
		fmt.Fprintln(w, "import: nothing was dropped or repaired")
	}
}

func infoObject(name string, h *trace.Header, s *trace.Stats) object {
	sites := func(list []trace.Tally) []object {
		out := make([]object, 0, len(list))
		for _, t := range list {
			out = append(out, object{{"site", h.SiteName(trace.SiteID(t.Key))}, {"count", t.Count}, {"bytes", t.Bytes}})
		}
		return out
	}
	sizes := make([]object, 0, len(s.TopSizes))
	for _, t := range s.TopSizes {
		sizes = append(sizes, object{{"size", t.Key}, {"count", t.Count}, {"bytes", t.Bytes}})
	}
	return object{
		{"schema", InfoSchema},
		{"trace", TraceObject(name, h)},
		{"sizes", histogramObject(&s.Sizes)},
		{"top_sizes", sizes},
		{"lifetimes_bytes", histogramObject(&s.Lifetimes)},
		{"thread_events", s.Threads},
		{"top_sites", sites(s.TopSites)},
		{"chains", object{
			{"objects", s.Chains.Objects},
			{"grows", s.Chains.Grows},
			{"shrinks", s.Chains.Shrinks},
			{"bytes_before", s.Chains.Bytes},
			{"lengths", histogramObject(&s.Chains.Lengths)},
			{"final_sizes", histogramObject(&s.Chains.Final)},
			{"top_sites", sites(s.Chains.TopSites)},
		}},
	}
}

// histogramObject gives quantiles as estimates: they are up to 1/32 too low.
func histogramObject(h *trace.Histogram) object {
	classes := make([]object, 0, 32)
	for _, c := range h.Classes() {
		classes = append(classes, object{{"from", c.Low}, {"count", c.Count}})
	}
	return object{
		{"count", h.Count},
		{"min", h.Min},
		{"mean", h.Mean()},
		{"p50_about", h.Quantile(0.5)},
		{"p90_about", h.Quantile(0.9)},
		{"p99_about", h.Quantile(0.99)},
		{"max", h.Max},
		{"classes", classes},
	}
}

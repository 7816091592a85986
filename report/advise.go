package report

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/fragprof/fragprof/replay/advise"
	"github.com/fragprof/fragprof/replay/compare"
	"github.com/fragprof/fragprof/trace"
)

// Advised is one trace and what to change in its program, for each heap.
type Advised struct {
	Name    string // the trace as the user named it
	Header  *trace.Header
	Reports []*advise.Report
	Notes   []string
}

// AdviseSchema names the JSON form of advice and its version. A document has
// "schema", "trace" (as in Schema), "heaps" ("model", "spec", "baseline":
// every measure, "advice" and "steps": "site" number and name, "action",
// "strategy", every measure of the Measures table, "better", "elsewhere": the
// first failure left if it is another site's, "verdict") and "notes".
const AdviseSchema = "fragprof/advise/1"

// Where names the site of an advice.
func Where(d *advise.Advice, h *trace.Header) string {
	if !d.Action.Site {
		return "the program"
	}
	return siteName(d.Site, h)
}

func siteName(site trace.SiteID, h *trace.Header) string {
	if name := h.SiteName(site); name != "" {
		return name
	}
	return fmt.Sprintf("#%d", site)
}

func (a *Advised) notes() []string {
	notes := slices.Clone(a.Notes)
	for _, r := range a.Reports {
		notes = append(notes, r.Notes...)
	}
	slices.Sort(notes)
	return append(slices.Compact(notes), Notes(a.Header, nil)...)
}

func writeAdviseText(w io.Writer, a *Advised) error {
	out := bufio.NewWriter(w)
	writeTrace(out, &Run{Name: a.Name, Header: a.Header})
	for _, r := range a.Reports {
		writeAdviceFor(out, r, a.Header)
	}
	for _, n := range a.notes() {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	t := newTable("column", "definition")
	t.AppendRows([]table.Row{
		{"costs", "memory outside the heap, and most bytes reserved ahead of need"},
		{"failures", Measures[0].Doc},
		{"minimum", "smallest heap from which every size tried up to 1.5 times as large served the trace, and what the change takes outside of it"},
		{"mean largest", measure("mean_largest_free_bytes").Doc + "; the heap is smaller by what is outside of it"},
		{"better", "fewer failures; as many, and a minimum lower by 1 % or more; or as much, and a mean largest free block higher by 5 % or more"},
		{"change", "against the heap as it is"},
	})
	fmt.Fprintln(out)
	render(out, t)
	return out.Flush()
}

// writeAdviceFor writes what was found for one heap.
func writeAdviceFor(w io.Writer, r *advise.Report, h *trace.Header) {
	base := r.Base
	fmt.Fprintf(w, "%s\n", name(base.Heap))
	fmt.Fprintf(w, "as it is: %s failures; needs %s; largest free block %s on average\n", thousands(base.Result.Failures), minimumText(base), measureText("mean_largest_free_bytes", base))
	if len(base.Result.Failed) > 0 {
		fmt.Fprintf(w, "first failure: %s\n", Explain(&base.Result.Failed[0], h))
	}
	if base.Result.Failures > 0 {
		fmt.Fprintf(w, "failures: %s\n", Verdicts(base.Result))
	}
	fmt.Fprintln(w)
	if len(r.Advice) == 0 || !slices.ContainsFunc(r.Advice, func(d *advise.Advice) bool { return d.Better }) {
		fmt.Fprintf(w, "none of %d changes tried makes it better in the recorded ordering\n\n", r.Tried)
	}
	if len(r.Advice) > 0 {
		t := newTable("#", "site", "action", "costs", "failures", "change", "minimum", "change", "mean largest", "change", "verdict")
		rightFrom(t, 4, 10)
		for i, d := range r.Advice {
			appendAdvice(t, fmt.Sprint(i+1), d, h)
		}
		render(w, t)
		writeElsewhere(w, r.Advice, h)
		fmt.Fprintf(w, "%d of %d changes tried, one at a time, the best first\n\n", len(r.Advice), r.Tried)
	}
	if len(r.Steps) == 0 {
		return
	}
	t := newTable("step", "site", "action", "costs", "failures", "change", "minimum", "change", "mean largest", "change", "verdict")
	rightFrom(t, 4, 10)
	for i, d := range r.Steps {
		appendAdvice(t, fmt.Sprintf("%d", i+1), d, h)
	}
	fmt.Fprintln(w, "together, each step on top of those before it:")
	render(w, t)
	writeElsewhere(w, r.Steps, h)
	writeInteraction(w, r)
	fmt.Fprintln(w)
}

func minimumText(r *compare.Row) string {
	if r.Min == nil {
		return "an unknown size"
	}
	return exactBytes(r.MinMemory()) + " at least"
}

func measure(key string) *Measure {
	for i := range Measures {
		if Measures[i].Key == key {
			return &Measures[i]
		}
	}
	return nil
}

func measureText(key string, r *compare.Row) string {
	m := measure(key)
	return m.Unit.text(m.Of(r))
}

func appendAdvice(t table.Writer, number string, d *advise.Advice, h *trace.Header) {
	r := d.Row
	costs := Bytes.text(float64(r.Ledger.Outside()))
	if r.Ledger.Slack.Peak > 0 {
		costs += ", slack " + Bytes.text(float64(r.Ledger.Slack.Peak))
	}
	row := table.Row{number, Where(d, h), d.Action.Name, costs}
	for _, key := range []string{"failures", "min_memory_bytes", "mean_largest_free_bytes"} {
		m := measure(key)
		row = append(row, m.Unit.text(m.Of(r)), m.change(r))
	}
	word := "better in the recorded ordering"
	switch {
	case r.Verdict.Orderings > 1:
		word = verdictWord(r)
	case !d.Better:
		word = "not better"
	}
	t.AppendRow(append(row, word))
}

// writeElsewhere tells of changes that only move the failure.
func writeElsewhere(w io.Writer, ds []*advise.Advice, h *trace.Header) {
	for i, d := range ds {
		if f := d.Elsewhere; f != nil {
			fmt.Fprintf(w, "  %d moves the failure elsewhere: the first is now %s\n", i+1, Explain(f, h))
		}
	}
}

// writeInteraction compares what the steps buy together with what they buy
// alone, added up.
func writeInteraction(w io.Writer, r *advise.Report) {
	last := r.Steps[len(r.Steps)-1].Row
	if len(r.Steps) < 2 || r.Base.Min == nil || last.Min == nil {
		return
	}
	together := int64(r.Base.MinMemory()) - int64(last.MinMemory())
	var alone int64
	for _, d := range r.Steps {
		if d.Alone.Row.Min == nil {
			return
		}
		alone += int64(r.Base.MinMemory()) - int64(d.Alone.Row.MinMemory())
	}
	fmt.Fprintf(w, "  together the minimum falls by %s B; each alone, added up, by %s B\n", signed(together), signed(alone))
}

func signed(v int64) string {
	if v < 0 {
		return "-" + thousands(uint64(-v))
	}
	return thousands(uint64(v))
}

func writeAdviseJSON(w io.Writer, a *Advised) error {
	heaps := make([]object, len(a.Reports))
	for i, r := range a.Reports {
		list := func(ds []*advise.Advice) []object {
			out := make([]object, len(ds))
			for k, d := range ds {
				out[k] = adviceObject(d, a.Header)
			}
			return out
		}
		heaps[i] = object{
			{"model", r.Base.Heap.Model.Name},
			{"spec", r.Base.Heap.String()},
			{"baseline", rowObject(r.Base)},
			{"tried", r.Tried},
			{"advice", list(r.Advice)},
			{"steps", list(r.Steps)},
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(object{
		{"schema", AdviseSchema},
		{"trace", TraceObject(a.Name, a.Header)},
		{"heaps", heaps},
		{"notes", append([]string{}, a.notes()...)},
	})
}

func adviceObject(d *advise.Advice, h *trace.Header) object {
	var elsewhere any
	if d.Elsewhere != nil {
		elsewhere = object{{"event", d.Elsewhere.Event}, {"site", h.SiteName(trace.SiteID(d.Elsewhere.Site))}, {"request", d.Elsewhere.Request}}
	}
	o := object{
		{"site", uint32(d.Site)},
		{"site_name", h.SiteName(d.Site)},
		{"action", d.Action.Name},
		{"better", d.Better},
		{"elsewhere", elsewhere},
	}
	return append(o, rowObject(d.Row)...)
}

func writeAdviseCSV(w io.Writer, a *Advised) error {
	out := csv.NewWriter(w)
	head := []string{"trace", "model", "spec", "step", "site", "action", "strategy"}
	for i := range Measures {
		head = append(head, Measures[i].Key)
	}
	if err := out.Write(append(head, "better", "verdict", "verdict_mean", "verdict_low", "verdict_high", "orderings", "synthetic")); err != nil {
		return err
	}
	for _, r := range a.Reports {
		for i, d := range append(slices.Clone(r.Advice), r.Steps...) {
			step := ""
			if i >= len(r.Advice) {
				step = strconv.Itoa(i - len(r.Advice) + 1)
			}
			row := []string{a.Name, r.Base.Heap.Model.Name, r.Base.Heap.String(), step, Where(d, a.Header), d.Action.Name, d.Row.Set.String()}
			for k := range Measures {
				row = append(row, Measures[k].Unit.number(Measures[k].Of(d.Row)))
			}
			v := &d.Row.Verdict
			row = append(row, strconv.FormatBool(d.Better), v.Word.String(), Ratio.number(v.Mean), Ratio.number(v.Low), Ratio.number(v.High), strconv.Itoa(v.Orderings), strconv.FormatBool(a.Header.Synthetic))
			if err := out.Write(row); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

package report

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/compare"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
)

// Comparison is one trace with and without strategies.
type Comparison struct {
	Name   string // the trace as the user named it
	Header *trace.Header
	Rows   []*compare.Row // heap by heap, the baseline of each first
	Notes  []string       // what a reader has to know, printed as footnotes
}

// CompareSchema names the JSON form of a comparison and its version. A document
// has "schema", "trace" (as in Schema), "rows" ("model", "spec" as named,
// "strategy", "replayed" spec, every measure of the Measures table under its key,
// null where it has no meaning, "slack" and "stack" over time in events of the
// unchanged program, "verdict" with its interval and paired differences,
// "error") and "notes".
const CompareSchema = "fragprof/compare/1"

// notes returns the footnotes of a comparison.
func (c *Comparison) notes() []string {
	notes := slices.Clone(c.Notes)
	add := func(n string) {
		if n != "" && !slices.Contains(notes, n) {
			notes = append(notes, n)
		}
	}
	var results []*replay.Result
	for _, r := range c.Rows {
		for _, n := range r.Notes {
			add(n)
		}
		if r.Err != nil {
			add(fmt.Sprintf("%s with %s: %v", name(r.Heap), r.Set, r.Err))
		}
		if r.MinErr != nil {
			add(fmt.Sprintf("%s with %s: no minimum: %v", name(r.Heap), r.Set, r.MinErr))
		}
		if r.Result != nil && r.Err == nil {
			results = append(results, r.Result)
		}
	}
	for _, n := range Notes(c.Header, results) {
		add(n)
	}
	return notes
}

// writeCompareText writes each comparison as a table a heap.
func writeCompareText(w io.Writer, cs []*Comparison) error {
	out := bufio.NewWriter(w)
	for i, c := range cs {
		if i > 0 {
			fmt.Fprintln(out)
		}
		writeTrace(out, &Run{Name: c.Name, Header: c.Header})
		for from := 0; from < len(c.Rows); {
			to := from + 1
			for to < len(c.Rows) && c.Rows[to].Base == c.Rows[from] {
				to++
			}
			writeHeap(out, c.Rows[from:to])
			from = to
		}
		for _, n := range c.notes() {
			fmt.Fprintf(out, "note: %s\n", n)
		}
	}
	if len(cs) > 0 {
		writeMeasureDefinitions(out, cs)
	}
	return out.Flush()
}

// shown returns the measures of the text form, without those that say nothing
// in any of the rows.
func shown(rows []*compare.Row) []*Measure {
	var out []*Measure
	for i := range Measures {
		m := &Measures[i]
		if m.Title == "" {
			continue
		}
		says := m.Diff && m.Key != "min_memory_bytes"
		for _, r := range rows {
			if r.Err == nil {
				v := m.Of(r)
				says = says || !math.IsNaN(v) && v != 0
			}
		}
		if says {
			out = append(out, m)
		}
	}
	return out
}

// writeHeap writes the rows of one heap and their verdicts.
func writeHeap(w io.Writer, rows []*compare.Row) {
	fmt.Fprintf(w, "%s\n", name(rows[0].Heap))
	measures := shown(rows)
	head := []any{"strategy"}
	for _, m := range measures {
		head = append(head, m.Title)
		if m.Diff {
			head = append(head, "change")
		}
	}
	t := newTable(append(head, "verdict")...)
	rightFrom(t, 2, len(head))
	for _, r := range rows {
		row := table.Row{r.Set.String()}
		for _, m := range measures {
			cell, change := "-", ""
			if r.Err == nil {
				cell = m.Unit.text(m.Of(r))
				change = m.change(r)
			}
			row = append(row, cell)
			if m.Diff {
				row = append(row, change)
			}
		}
		t.AppendRow(append(row, verdictWord(r)))
	}
	render(w, t)
	for _, r := range rows {
		if r.Base != nil && r.Err == nil && r.Verdict.Orderings > 0 {
			fmt.Fprintf(w, "  %s: %s\n", r.Set, Explanation(r))
		}
	}
	fmt.Fprintln(w)
}

// change returns the difference to the baseline as text.
func (m *Measure) change(r *compare.Row) string {
	if r.Base == nil || r.Base.Err != nil {
		return ""
	}
	with, without := m.Of(r), m.Of(r.Base)
	switch {
	case math.IsNaN(with) || math.IsNaN(without):
		return "-"
	case with == without:
		return "="
	case m.Unit == Count:
		return fmt.Sprintf("%+d", int64(with-without))
	case without == 0:
		return "+" + m.Unit.text(with)
	}
	return fmt.Sprintf("%+.1f %%", 100*(with/without-1))
}

func verdictWord(r *compare.Row) string {
	switch {
	case r.Err != nil:
		return "not possible"
	case r.Base == nil || r.Base.Err != nil:
		return ""
	case r.Verdict.Orderings == 1:
		return r.Verdict.Word.String() + " (one ordering)"
	}
	return r.Verdict.Word.String()
}

// Explanation says in a sentence what a verdict rests on.
func Explanation(r *compare.Row) string {
	v := &r.Verdict
	amount := func(x float64) string { return fmt.Sprintf("%+.1f", x) }
	if v.On != compare.OnFailures {
		amount = func(x float64) string {
			if x < 0 {
				return "-" + Bytes.text(-x)
			}
			return "+" + Bytes.text(x)
		}
	}
	s := fmt.Sprintf("%s: %s %s", v.Word, v.On, amount(v.Mean))
	if v.Orderings == 1 {
		return s + " in the recorded ordering; --perturb gives an interval"
	}
	s += fmt.Sprintf(" on average over %d orderings, 95 %% interval %s to %s", v.Orderings, amount(v.Low), amount(v.High))
	if v.Base > 0 {
		s += fmt.Sprintf(" (%+.1f %%)", 100*v.Mean/v.Base)
	}
	s += "; " + distribution(r, amount)
	if v.TooFew {
		s += fmt.Sprintf("; %d orderings are too few for the interval to be believed, take %d or more", v.Orderings, compare.MinOrderings)
	} else if v.Word == compare.Undecided {
		s += "; more orderings may tell"
	}
	return s
}

// distribution describes the paired differences behind a verdict: how many
// orderings have less, as much and more, and the extremes.
func distribution(r *compare.Row, amount func(float64) string) string {
	var less, same, more int
	low, high := math.Inf(1), math.Inf(-1)
	for i := range r.Paired {
		d := r.Paired[i].Of(r.Verdict.On)
		low, high = min(low, d), max(high, d)
		switch {
		case d < 0:
			less++
		case d > 0:
			more++
		default:
			same++
		}
	}
	return fmt.Sprintf("less in %d, equal in %d, more in %d, from %s to %s", less, same, more, amount(low), amount(high))
}

func writeMeasureDefinitions(w io.Writer, cs []*Comparison) {
	var rows []*compare.Row
	for _, c := range cs {
		rows = append(rows, c.Rows...)
	}
	fmt.Fprintln(w)
	t := newTable("column", "definition")
	for _, m := range shown(rows) {
		t.AppendRow(table.Row{m.Title, m.Doc})
	}
	t.AppendRow(table.Row{"change", "with the strategy against none: more or fewer, or percent; = is no change"})
	t.AppendRow(table.Row{"verdict", fmt.Sprintf("by failures if they differ in any ordering, else by memory, where less than %g %% is no effect, else, or if it goes either way, in a heap of fixed size by the mean largest free block, where it is %g %% and memory held in reserve does not count against a strategy", 100*compare.Material, 100*compare.MaterialLargest)})
	render(w, t)
}

func writeCompareJSON(w io.Writer, cs []*Comparison) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	for _, c := range cs {
		rows := make([]object, len(c.Rows))
		for i, r := range c.Rows {
			rows[i] = rowObject(r)
		}
		err := enc.Encode(object{
			{"schema", CompareSchema},
			{"trace", TraceObject(c.Name, c.Header)},
			{"rows", rows},
			{"notes", append([]string{}, c.notes()...)},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func rowObject(r *compare.Row) object {
	o := object{
		{"model", r.Heap.Model.Name},
		{"spec", r.Heap.String()},
		{"strategy", r.Set.String()},
	}
	if r.Err != nil {
		return append(o, field{"error", r.Err.Error()})
	}
	o = append(o, field{"replayed", r.Spec.String()})
	for i := range Measures {
		m := &Measures[i]
		o = append(o, field{m.Key, m.Unit.json(m.Of(r))})
	}
	if r.Base == nil || r.Base.Err != nil {
		return o
	}
	o = append(o, field{"slack", gaugeJSON(&r.Ledger.Slack)}, field{"stack", gaugeJSON(&r.Ledger.Stack)})
	v := &r.Verdict
	return append(o, field{"verdict", object{
		{"word", v.Word.String()},
		{"on", onKey[v.On]},
		{"mean", jsonFloat(v.Mean)},
		{"low", jsonFloat(v.Low)},
		{"high", jsonFloat(v.High)},
		{"baseline_mean", jsonFloat(v.Base)},
		{"orderings", v.Orderings},
		{"too_few", v.TooFew},
		{"paired_differences", paired(r)},
	}})
}

// gaugeJSON returns an amount over time: about 1,000 points, where it changed.
func gaugeJSON(g *strategy.Gauge) []object {
	out := make([]object, 0, len(g.Series))
	for _, p := range g.Series {
		out = append(out, object{{"event", p.Event}, {"bytes", p.Bytes}})
	}
	return out
}

// onKey is the measure that a verdict rests on, by compare.On.
var onKey = [...]string{"failures", "memory_bytes", "mean_largest_free_bytes"}

// paired returns the distribution behind a verdict.
func paired(r *compare.Row) []object {
	out := make([]object, 0, len(r.Paired))
	for _, d := range r.Paired {
		out = append(out, object{{"failures", jsonFloat(d.Failures)}, {"memory_bytes", jsonFloat(d.Memory)}, {"mean_largest_free_bytes", jsonFloat(d.Largest)}})
	}
	return out
}

func jsonFloat(v float64) json.Number { return json.Number(strconv.FormatFloat(v, 'g', 10, 64)) }

func writeCompareCSV(w io.Writer, cs []*Comparison) error {
	out := csv.NewWriter(w)
	head := []string{"trace", "model", "spec", "strategy", "replayed"}
	for i := range Measures {
		head = append(head, Measures[i].Key)
	}
	head = append(head, "verdict", "verdict_on", "verdict_mean", "verdict_low", "verdict_high", "orderings", "synthetic", "error")
	if err := out.Write(head); err != nil {
		return err
	}
	for _, c := range cs {
		for _, r := range c.Rows {
			if err := out.Write(compareRecord(c, r)); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

func compareRecord(c *Comparison, r *compare.Row) []string {
	row := []string{c.Name, r.Heap.Model.Name, r.Heap.String(), r.Set.String()}
	synthetic := strconv.FormatBool(c.Header.Synthetic)
	if r.Err != nil {
		row = append(row, make([]string, 1+len(Measures)+6)...)
		return append(row, synthetic, r.Err.Error())
	}
	row = append(row, r.Spec.String())
	for i := range Measures {
		m := &Measures[i]
		row = append(row, m.Unit.number(m.Of(r)))
	}
	if r.Base == nil || r.Base.Err != nil {
		return append(append(row, make([]string, 6)...), synthetic, "")
	}
	v := &r.Verdict
	return append(row, v.Word.String(), onKey[v.On], Ratio.number(v.Mean), Ratio.number(v.Low), Ratio.number(v.High), strconv.Itoa(v.Orderings), synthetic, "")
}

package report

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay/plan"
	"github.com/fragprof/fragprof/trace"
)

// Plan is how big heaps must be for one trace.
type Plan struct {
	Name     string // the trace as the user named it
	Header   *trace.Header
	Strategy string // "none", or what the trace was changed by
	Outside  uint64 // bytes that the strategy takes outside the heap
	Rows     []PlanRow
	Notes    []string
}

// PlanRow is the size of one heap.
type PlanRow struct {
	Spec   *heapmodel.Spec // as named, pointer width filled in
	Result *plan.Result    // nil if Err is not
	Err    error
}

// PlanSchema names the JSON form of a plan and its version. A document has
// "schema", "trace" (as in Schema), "strategy", "outside_bytes", "heaps"
// ("model", "spec", "size": the parameter that was varied, "min_ok_bytes",
// "safe_from_bytes", "failing" ranges above min_ok of sizes tried, "from_bytes",
// "to_bytes", "step_bytes", "precision_bytes", "replays", "error") and "notes".
const PlanSchema = "fragprof/plan/1"

func writePlanText(w io.Writer, p *Plan) error {
	out := bufio.NewWriter(w)
	writeTrace(out, &Run{Name: p.Name, Header: p.Header})
	if p.Strategy != "none" {
		fmt.Fprintf(out, "strategy %s, which takes %s outside the heap\n\n", p.Strategy, exactBytes(p.Outside))
	}
	t := newTable("heap", "min_ok", "safe_from", "x peak live", "fails above min_ok", "sizes tried", "step", "precision")
	rightFrom(t, 2, 8)
	for _, r := range p.Rows {
		if r.Err != nil {
			t.AppendRow(table.Row{planName(r.Spec), "-", "-", "-", "-", "-", "-", "-"})
			continue
		}
		m := r.Result
		t.AppendRow(table.Row{
			planName(r.Spec), exactBytes(m.MinOK), exactBytes(m.SafeFrom),
			fmt.Sprintf("%.3f", float64(m.SafeFrom)/float64(max(p.Header.Summary.PeakLiveBytes, 1))),
			failing(m), fmt.Sprintf("%s to %s", thousands(m.From), thousands(m.To)), exactBytes(m.Step), exactBytes(m.Fine),
		})
	}
	render(out, t)
	fmt.Fprintln(out)
	for _, r := range p.Rows {
		if r.Err != nil {
			fmt.Fprintf(out, "note: %s: %v\n", planName(r.Spec), r.Err)
		}
	}
	for _, n := range append(p.Notes, Notes(p.Header, nil)...) {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	fmt.Fprintln(out, "note: a size of this trace, not a guarantee: another run of the program can need more")
	t = newTable("column", "definition")
	t.AppendRows([]table.Row{
		{"min_ok", "smallest size tried that served every request; larger ones can fail, as the column says"},
		{"safe_from", "smallest size from which every size tried served every request, up to 1.5 times as large"},
		{"x peak live", "safe_from / most live bytes of the trace"},
		{"sizes tried", "scanned every step; min_ok and safe_from are refined to the precision within one step"},
	})
	fmt.Fprintln(out)
	render(out, t)
	return out.Flush()
}

// planName is the spec without the size, which is what is looked for.
func planName(s *heapmodel.Spec) string {
	if param, err := plan.SizeParam(s); err == nil {
		return s.Without(param).String()
	}
	return s.String()
}

// failing describes the sizes above MinOK that fail.
func failing(m *plan.Result) string {
	if len(m.Failing) == 0 {
		return "none"
	}
	last := m.Failing[len(m.Failing)-1]
	return fmt.Sprintf("%s ranges up to %s", thousands(uint64(len(m.Failing))), thousands(last.To))
}

func writePlanJSON(w io.Writer, p *Plan) error {
	heaps := make([]object, len(p.Rows))
	for i, r := range p.Rows {
		heaps[i] = object{{"model", r.Spec.Model.Name}, {"spec", planName(r.Spec)}}
		if r.Err != nil {
			heaps[i] = append(heaps[i], field{"error", r.Err.Error()})
			continue
		}
		m := r.Result
		ranges := make([]object, len(m.Failing))
		for k, f := range m.Failing {
			ranges[k] = object{{"from_bytes", f.From}, {"to_bytes", f.To}}
		}
		heaps[i] = append(heaps[i],
			field{"size", m.Size}, field{"min_ok_bytes", m.MinOK}, field{"safe_from_bytes", m.SafeFrom},
			field{"failing", ranges}, field{"from_bytes", m.From}, field{"to_bytes", m.To},
			field{"step_bytes", m.Step}, field{"precision_bytes", m.Fine}, field{"replays", m.Tests})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(object{
		{"schema", PlanSchema},
		{"trace", TraceObject(p.Name, p.Header)},
		{"strategy", p.Strategy},
		{"outside_bytes", p.Outside},
		{"heaps", heaps},
		{"notes", append(append([]string{}, p.Notes...), Notes(p.Header, nil)...)},
	})
}

func writePlanCSV(w io.Writer, p *Plan) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"trace", "model", "spec", "strategy", "size", "min_ok_bytes", "safe_from_bytes", "failing", "from_bytes", "to_bytes", "step_bytes", "precision_bytes", "outside_bytes", "synthetic", "error"}); err != nil {
		return err
	}
	for _, r := range p.Rows {
		row := []string{p.Name, r.Spec.Model.Name, planName(r.Spec), p.Strategy}
		if r.Err != nil {
			row = append(append(row, make([]string, 8)...), strconv.FormatUint(p.Outside, 10), strconv.FormatBool(p.Header.Synthetic), r.Err.Error())
		} else {
			m := r.Result
			var ranges []string
			for _, f := range m.Failing {
				ranges = append(ranges, fmt.Sprintf("%d-%d", f.From, f.To))
			}
			row = append(row, m.Size)
			for _, v := range []uint64{m.MinOK, m.SafeFrom} {
				row = append(row, strconv.FormatUint(v, 10))
			}
			row = append(row, strings.Join(ranges, " "))
			for _, v := range []uint64{m.From, m.To, m.Step, m.Fine, p.Outside} {
				row = append(row, strconv.FormatUint(v, 10))
			}
			row = append(row, strconv.FormatBool(p.Header.Synthetic), "")
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

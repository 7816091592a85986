package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// Run is one trace and what the heaps did with it.
type Run struct {
	Name    string // the trace as the user named it
	Header  *trace.Header
	Results []*replay.Result
	Notes   []string // what a reader has to know, printed as footnotes
	// Figures are files that were drawn of the run.
	Figures []string
}

// Format is one form of report.
type Format struct {
	Name  string
	Doc   string
	Write func(io.Writer, []*Run) error
	// WriteComparison writes traces replayed with and without strategies.
	WriteComparison func(io.Writer, []*Comparison) error
	// WritePlan writes how big heaps must be.
	WritePlan func(io.Writer, *Plan) error
	// WriteAdvice writes what to change in a program.
	WriteAdvice func(io.Writer, *Advised) error
}

// Formats is the table of report forms.
var Formats = []Format{
	{"text", "a ranked table for people, with failures and footnotes", writeText, writeCompareText, writePlanText, writeAdviseText},
	{"json", "one document a trace, of schema " + Schema + ", or " + CompareSchema + " with strategies", writeJSON, writeCompareJSON, writePlanJSON, writeAdviseJSON},
	{"csv", "one row a trace and heap, one column a metric", writeCSV, writeCompareCSV, writePlanCSV, writeAdviseCSV},
}

// Ranked returns the results best first: fewest failures, then smallest
// footprint, then the order given. The ideal comes first as the reference,
// broken heaps last.
func Ranked(results []*replay.Result) []*replay.Result {
	ranked := slices.Clone(results)
	rank := func(r *replay.Result) int {
		switch {
		case r.Err != nil:
			return 2
		case !r.Layout:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(ranked, func(a, b *replay.Result) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			// A run cut short by its first failure compares by how far it came.
			cmp.Compare(stoppedAt(b), stoppedAt(a)),
			cmp.Compare(a.Failures, b.Failures),
			cmp.Compare(a.Footprint, b.Footprint),
		)
	})
	return ranked
}

func stoppedAt(r *replay.Result) uint64 {
	if r.Stopped {
		return r.Events
	}
	return math.MaxUint64
}

// Notes returns what a reader of the run has to know about the trace and the
// heaps, one sentence each.
func Notes(h *trace.Header, results []*replay.Result) []string {
	var notes []string
	if h.Synthetic {
		notes = append(notes, "the trace is synthetic: generated, not recorded; synthetic traces rank heaps differently from real ones")
	}
	if h.Sizes == trace.SizesBlock {
		notes = append(notes, "sizes are the recorded heap's blocks, header and rounding included: heaps that add their own overhead count it twice")
	}
	if h.Loss.Any() {
		var parts []string
		for k, count := range h.Loss {
			if kind := trace.LossKind(k); count > 0 {
				parts = append(parts, fmt.Sprintf("%s %s", thousands(count), kind.Doc()))
			}
		}
		notes = append(notes, "the import lost or repaired: "+strings.Join(parts, "; "))
	}
	if s := &h.Summary; s.NeverFreed > s.Allocs/10 && s.NeverFreed > 100 {
		notes = append(notes, fmt.Sprintf("%s of %s objects were never freed: the recording may have been cut", thousands(s.NeverFreed), thousands(s.Allocs)))
	}
	for _, r := range results {
		name := r.Spec.String()
		if r.Padded > 0 {
			notes = append(notes, fmt.Sprintf("%s has no aligned entry point: %s aligned requests were emulated by asking for size + alignment", name, thousands(r.Padded)))
		}
		if r.Stopped {
			notes = append(notes, fmt.Sprintf("%s was stopped by its first failure, at event %s", name, thousands(r.Events-1)))
		}
		if r.Err != nil {
			notes = append(notes, r.Err.Error())
		}
		if r.Failures > uint64(len(r.Failed)) {
			notes = append(notes, fmt.Sprintf("%s: only the first %s failures are kept one by one", name, thousands(uint64(len(r.Failed)))))
		}
	}
	return notes
}

// Verdicts returns the failures of a result by verdict, those that occurred,
// as "12 full, 3 fragmented".
func Verdicts(r *replay.Result) string {
	var parts []string
	for v, count := range r.ByVerdict {
		if count > 0 {
			parts = append(parts, thousands(count)+" "+replay.Verdict(v).String())
		}
	}
	return strings.Join(parts, ", ")
}

// Explain says in a sentence what a failure was: the request, what was free,
// and why that did not do.
func Explain(f *replay.Failure, h *trace.Header) string {
	var b strings.Builder
	op := "alloc"
	if f.Realloc {
		op = "realloc"
	}
	fmt.Fprintf(&b, "event %s: %s of %s", thousands(f.Event), op, exactBytes(f.Request))
	if f.Align > 0 {
		fmt.Fprintf(&b, " aligned to %d", f.Align)
	}
	if h.HasTime {
		fmt.Fprintf(&b, " at %.3f s", float64(f.Time)/1e9)
	}
	if site := h.SiteName(trace.SiteID(f.Site)); site != "" {
		fmt.Fprintf(&b, " from %s", site)
	}
	fmt.Fprintf(&b, ": %s free in %s blocks, largest %s, needs %s: %s",
		exactBytes(f.Free), thousands(f.FreeBlocks), exactBytes(f.LargestFree), exactBytes(f.Need), f.Verdict)
	return b.String()
}

// name returns how tables call the heap of a result.
func name(s *heapmodel.Spec) string { return s.String() }

package report

import (
	"math"

	"github.com/fragprof/fragprof/replay/compare"
)

// Measure is one number of a heap with a set of strategies. Of returns NaN
// where it has no meaning. It is a Metric of comparisons: of the heap's own
// figures together with what the strategies take outside of it.
type Measure struct {
	Key   string // in JSON and CSV; ends in its unit
	Title string // column head; "" for a measure that the text form leaves out
	Unit  Unit
	Doc   string // the definition, with its formula
	Of    func(*compare.Row) float64
	// Diff says that reports print the difference to the baseline, too.
	Diff bool
}

// Measures is the table of all measures of a comparison, in the order of CSV
// and JSON.
var Measures = []Measure{
	{"failures", "failures", Count, "allocations and reallocations the heap could not serve", func(r *compare.Row) float64 { return float64(r.Result.Failures) }, true},
	{"memory_bytes", "memory", Bytes, "footprint of the heap + static memory + room on stacks: what the program needs in all; a heap of fixed size is smaller by what is outside of it", func(r *compare.Row) float64 { return float64(r.Memory()) }, true},
	{"min_memory_bytes", "minimum", Bytes, "smallest heap from which every size tried up to 1.5 times as large served the trace, + static memory + room on stacks", minimum(func(r *compare.Row) uint64 { return r.MinMemory() }), true},
	{"min_heap_bytes", "", Bytes, "smallest heap from which every size tried up to 1.5 times as large served the trace", minimum(func(r *compare.Row) uint64 { return r.Min.SafeFrom }), false},
	{"min_ok_bytes", "", Bytes, "smallest heap tried that served the trace; a larger one can fail", minimum(func(r *compare.Row) uint64 { return r.Min.MinOK }), false},
	{"footprint_bytes", "", Bytes, "footprint of the heap, as of a replay without strategies", func(r *compare.Row) float64 { return float64(r.Result.Footprint) }, false},
	{"static_bytes", "static", Bytes, "memory that a strategy sets apart outside the heap for good", func(r *compare.Row) float64 { return float64(r.Ledger.Static.Peak) }, false},
	{"stack_bytes", "stack", Bytes, "what stacks must be larger by: the most that each thread's objects take there at a time, added up", func(r *compare.Row) float64 { return float64(r.Ledger.StackRoom) }, false},
	{"largest_free_bytes", "", Bytes, "largest free block at the peak of live bytes", func(r *compare.Row) float64 {
		if r.Result.Peak == nil || !r.Result.Layout {
			return math.NaN()
		}
		return float64(r.Result.Peak.LargestFree)
	}, false},
	{"mean_largest_free_bytes", "mean largest", Bytes, "mean of the largest free block over time, or over events in a trace without times", func(r *compare.Row) float64 {
		if !r.Result.Layout {
			return math.NaN()
		}
		return r.MeanLargest()
	}, true},
	{"jw4_frac", "J&W #4", Frac, "memory / most live bytes of the unchanged program - 1, each at its own time (peak fragmentation)", func(r *compare.Row) float64 {
		return ratio(float64(r.Memory()), float64(r.Needed)) - 1
	}, false},
	{"slack_peak_bytes", "slack", Bytes, "most bytes requested ahead of need at a time: reserved and not used", func(r *compare.Row) float64 { return float64(r.Ledger.Slack.Peak) }, false},
	{"slack_mean_bytes", "", Bytes, "mean of the bytes requested ahead of need, over time as bytes requested", func(r *compare.Row) float64 { return r.Ledger.Slack.Mean }, false},
	{"growth_events", "growths", Count, "times the heap obtained memory after the start", func(r *compare.Row) float64 {
		if !r.Result.Layout {
			return math.NaN()
		}
		return float64(r.Result.Grown)
	}, false},
	{"copied_bytes", "copied", Bytes, "bytes copied by reallocs that moved and, as far as growth chains are detected, by the program from an outgrown block to the next", func(r *compare.Row) float64 { return float64(r.Copied) }, false},
	{"removed_objects", "", Count, "objects that no longer come to the heap", func(r *compare.Row) float64 { return float64(r.Ledger.Removed) }, false},
	{"added_objects", "", Count, "objects that come to the heap in addition", func(r *compare.Row) float64 { return float64(r.Ledger.Added) }, false},
}

// minimum makes a measure NaN where no minimum heap was searched or found.
func minimum(f func(*compare.Row) uint64) func(*compare.Row) float64 {
	return func(r *compare.Row) float64 {
		if r.Min == nil {
			return math.NaN()
		}
		return float64(f(r))
	}
}

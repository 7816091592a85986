// Package report turns the results of replays into tables, JSON and CSV. Every
// number it prints is a row of the Metrics table, which is the one place where
// it is defined.
package report

import (
	"math"

	"github.com/fragprof/fragprof/replay"
)

// Unit says how a metric is to be written.
type Unit uint8

// The units of metrics.
const (
	Bytes Unit = iota
	Count
	Frac  // a ratio: 0.25 is printed as 25 %
	Event // index of an event, from zero
	Ratio // a number that is neither whole nor a share
)

// String returns the unit's name as lists show it.
func (u Unit) String() string {
	return [...]string{"bytes", "count", "fraction", "event", "number"}[u]
}

// Metric is one number of a result. Of returns NaN where it has no meaning.
type Metric struct {
	Key    string // in JSON and CSV; ends in its unit
	Title  string // column head
	Unit   Unit
	Doc    string // the definition, with its formula
	Source string // paper or common usage; "" for plain counts
	Of     func(*replay.Result) float64
}

const (
	jw    = "Johnstone & Wilson, The Memory Fragmentation Problem: Solved?, ISMM 1998"
	house = "common usage"
)

// Metrics is the table of all metrics, in the order of CSV and JSON.
var Metrics = []Metric{
	{"failures", "failures", Count, "allocations and reallocations the heap could not serve", "", func(r *replay.Result) float64 { return float64(r.Failures) }},
	{"events", "events", Count, "events replayed", "", func(r *replay.Result) float64 { return float64(r.Events) }},
	{"objects", "objects", Count, "objects placed", "", func(r *replay.Result) float64 { return float64(r.Allocs) }},
	{"peak_live_bytes", "peak live", Bytes, "most live bytes after any event; live bytes are the requested sizes of the objects that the heap holds", "", func(r *replay.Result) float64 { return float64(r.PeakLive) }},
	{"peak_live_event", "peak event", Event, "the first event after which live bytes peak", "", func(r *replay.Result) float64 { return float64(r.PeakLiveEvent) }},
	{"peak_live_objects", "peak objects", Count, "most live objects after any event", "", func(r *replay.Result) float64 { return float64(r.PeakObjects) }},
	{"footprint_bytes", "footprint", Bytes, "memory the heap needs: a growing heap's arena at its peak, a fixed heap's high-water mark less gaps between its regions", "", func(r *replay.Result) float64 { return float64(r.Footprint) }},
	{"high_water_bytes", "high water", Bytes, "end of the highest block ever used, as an offset from the start of the arena", "", func(r *replay.Result) float64 { return float64(r.Usage.HighWater) }},
	{"arena_bytes", "arena", Bytes, "address range the heap owned at its peak", "", func(r *replay.Result) float64 { return float64(r.PeakArena) }},
	{"allocated_bytes", "allocated", Bytes, "used blocks (payload, header, rounding, unsplit remainder) at the trace's peak of live bytes", "", peak(func(s *replay.Survey) float64 { return float64(s.Usage.Allocated) })},
	{"overhead_bytes", "overhead", Bytes, "control structures outside blocks at the trace's peak", "", peak(func(s *replay.Survey) float64 { return float64(s.Usage.Overhead) })},
	{"internal_frac", "internal", Frac, "internal fragmentation at the trace's peak: (allocated - live) / allocated", house, peak(func(s *replay.Survey) float64 {
		return ratio(float64(s.Usage.Allocated)-float64(s.Live), float64(s.Usage.Allocated))
	})},
	{"external_frac", "external", Frac, "external fragmentation after the last event: 1 - largest free block / free bytes, 0 if nothing is free", house, end(f1)},
	{"f1_frac", "F1", Frac, "F1 at the trace's peak: 1 - largest free block / free bytes, 0 if nothing is free", "LVGL, ESP-IDF tools", peak(f1)},
	{"f2_frac", "F2", Frac, "F2 at the trace's peak: 1 - sqrt(sum of squared free block sizes) / free bytes, 0 if nothing is free", "Sawicki 2022; ESP8266 core", peak(f2)},
	{"jw1_frac", "J&W #1", Frac, "mean of footprint / live - 1 over all allocations, each weighted by its bytes", jw, func(r *replay.Result) float64 { return ratio(r.ExcessSum, float64(r.AllocatedBytes)) }},
	{"jw2_frac", "J&W #2", Frac, "footprint / live - 1 at the peak of live bytes", jw, func(r *replay.Result) float64 { return ratio(float64(r.FootprintAtPeak), float64(r.PeakLive)) - 1 }},
	{"jw3_frac", "J&W #3", Frac, "footprint / live - 1 when the footprint first reaches its maximum", jw, func(r *replay.Result) float64 { return ratio(float64(r.Footprint), float64(r.LiveAtFootprint)) - 1 }},
	{"jw4_frac", "J&W #4", Frac, "maximum footprint / maximum live bytes - 1, each at its own time (peak fragmentation)", jw, func(r *replay.Result) float64 { return ratio(float64(r.Footprint), float64(r.PeakLive)) - 1 }},
	{"peak_free_bytes", "free at peak", Bytes, "bytes in free blocks at the trace's peak", "", peak(func(s *replay.Survey) float64 { return float64(s.Free) })},
	{"peak_largest_free_bytes", "largest at peak", Bytes, "largest free block at the trace's peak", "", peak(func(s *replay.Survey) float64 { return float64(s.LargestFree) })},
	{"peak_free_blocks", "free blocks", Count, "free blocks at the trace's peak", "", peak(func(s *replay.Survey) float64 { return float64(s.FreeBlocks) })},
	{"peak_available_blocks", "available", Count, "availability of the trace's largest request at the peak: how many blocks of that size the free blocks could serve, sum of floor(free block / request)", "Redpanda RFC", availability},
	{"min_largest_free_bytes", "least largest", Bytes, "smallest largest free block over the samples of the run", "", laidOut(func(r *replay.Result) float64 { return float64(r.MinLargestFree) })},
	{"end_live_bytes", "live at end", Bytes, "live bytes after the last event", "", func(r *replay.Result) float64 { return float64(r.LiveBytes) }},
	{"end_free_bytes", "free at end", Bytes, "bytes in free blocks after the last event", "", end(func(s *replay.Survey) float64 { return float64(s.Free) })},
	{"end_largest_free_bytes", "largest at end", Bytes, "largest free block after the last event", "", end(func(s *replay.Survey) float64 { return float64(s.LargestFree) })},
	{"growth_events", "growths", Count, "times the heap obtained memory after the start", "", laidOut(func(r *replay.Result) float64 { return float64(r.Grown) })},
	{"trim_events", "trims", Count, "times the heap gave memory back", "", laidOut(func(r *replay.Result) float64 { return float64(r.Trimmed) })},
	{"alloc_steps_mean", "steps mean", Ratio, "mean of the steps of searching that the original takes for an alloc or realloc: list nodes visited, bins probed, blocks merged, as the model's description says", "", steps(func(r *replay.Result) float64 { return r.AllocSteps.Mean() })},
	{"alloc_steps_p99", "steps p99", Count, "steps that 99 % of the allocs and reallocs do not exceed; above 63 up to 1/32 too low", "", steps(func(r *replay.Result) float64 { return float64(r.AllocSteps.Quantile(0.99)) })},
	{"alloc_steps_max", "steps max", Count, "most steps of an alloc or realloc", "", steps(func(r *replay.Result) float64 { return float64(r.AllocSteps.Max) })},
	{"free_steps_max", "free steps max", Count, "most steps of a free", "", steps(func(r *replay.Result) float64 { return float64(r.FreeSteps.Max) })},
	{"reallocs_in_place", "in place", Count, "reallocs that left the object at its address", "", func(r *replay.Result) float64 { return float64(r.InPlace) }},
	{"skipped_frees", "skipped", Count, "frees of objects whose allocation had failed", "", func(r *replay.Result) float64 { return float64(r.Skipped) }},
	{"padded_allocs", "padded", Count, "aligned requests emulated by asking for size + alignment, for heaps without an aligned entry point", "", func(r *replay.Result) float64 { return float64(r.Padded) }},
}

// Lookup returns the metric with the given key, or nil.
func Lookup(key string) *Metric {
	for i := range Metrics {
		if Metrics[i].Key == key {
			return &Metrics[i]
		}
	}
	return nil
}

// ratio returns a/b, NaN for b = 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

// laidOut makes a metric NaN for heaps without an arena.
func laidOut(f func(*replay.Result) float64) func(*replay.Result) float64 {
	return func(r *replay.Result) float64 {
		if !r.Layout {
			return math.NaN()
		}
		return f(r)
	}
}

// steps makes a metric NaN for models that count no steps.
func steps(f func(*replay.Result) float64) func(*replay.Result) float64 {
	return func(r *replay.Result) float64 {
		if r.Usage.Steps == 0 {
			return math.NaN()
		}
		return f(r)
	}
}

func ofSurvey(pick func(*replay.Result) *replay.Survey, f func(*replay.Survey) float64) func(*replay.Result) float64 {
	return laidOut(func(r *replay.Result) float64 {
		s := pick(r)
		if s == nil {
			return math.NaN()
		}
		return f(s)
	})
}

func peak(f func(*replay.Survey) float64) func(*replay.Result) float64 {
	return ofSurvey(func(r *replay.Result) *replay.Survey { return r.Peak }, f)
}

func end(f func(*replay.Survey) float64) func(*replay.Result) float64 {
	return ofSurvey(func(r *replay.Result) *replay.Survey { return r.End }, f)
}

// f1 is 1 - largest/free: it rises as a heap merely fills, and knows nothing
// of the second largest hole.
func f1(s *replay.Survey) float64 {
	if s.Free == 0 {
		return 0
	}
	return 1 - float64(s.LargestFree)/float64(s.Free)
}

// f2 is 1 - sqrt(sum f^2)/sum f: k equal holes give 1 - 1/sqrt(k).
func f2(s *replay.Survey) float64 {
	var sum, squares float64
	for _, c := range s.FreeSizes {
		size, count := float64(c.Size), float64(c.Count)
		sum += size * count
		squares += size * size * count
	}
	if sum == 0 {
		return 0
	}
	return 1 - math.Sqrt(squares)/sum
}

// Available returns how many blocks of need bytes could be served from the
// free blocks of a survey.
func Available(s *replay.Survey, need uint64) uint64 {
	if need == 0 {
		return 0
	}
	var count uint64
	for _, c := range s.FreeSizes {
		count += c.Size / need * c.Count
	}
	return count
}

func availability(r *replay.Result) float64 {
	if !r.Layout || r.Peak == nil {
		return math.NaN()
	}
	return float64(Available(r.Peak, r.LargestNeed))
}

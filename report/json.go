package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// Schema names the JSON form and its version. Fields may be added under the
// same version; a field that changes its meaning or goes makes a new one.
//
// A document has "schema", "trace" (see traceObject), "results" (one object a
// heap, in the order given: "model", "spec", every metric of the Metrics table
// under its key, null where it has no meaning, and the details below) and
// "notes". Several traces make several documents, one after the other.
//
// Details of a result: "failures_by_verdict" (verdict key to count),
// "failures_by_size" ([{size, count}], most frequent first), "failed" (the
// first 1,000 failures one by one), "growth" (the first 1,000 changes of the
// arena: event, time_ns, clock_bytes, from_bytes, to_bytes, why), "peak",
// "first_failure" and "end" (surveys: event, live, free and its block sizes),
// "native" (figures the original itself would report), "error".
const Schema = "fragprof/replay/1"

// jsonKept bounds lists that grow with the trace.
const jsonKept = 1000

// object is a JSON object that keeps the order of its fields.
type object []field

type field struct {
	key   string
	value any
}

// MarshalJSON writes the fields in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(f.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func writeJSON(w io.Writer, runs []*Run) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	for _, run := range runs {
		results := make([]object, len(run.Results))
		for i, r := range run.Results {
			results[i] = resultObject(r)
		}
		notes := append(append([]string{}, run.Notes...), Notes(run.Header, run.Results)...)
		err := enc.Encode(object{
			{"schema", Schema},
			{"trace", TraceObject(run.Name, run.Header)},
			{"results", results},
			{"notes", notes},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// TraceObject returns the "trace" part of JSON reports: what the trace is,
// what it holds and what its import lost.
func TraceObject(name string, h *trace.Header) any {
	s := &h.Summary
	loss := object{}
	for k, count := range h.Loss {
		loss = append(loss, field{trace.LossKind(k).Key(), count})
	}
	return object{
		{"name", name},
		{"program", h.Program},
		{"source", h.Source},
		{"synthetic", h.Synthetic},
		{"ptr_bits", h.PtrBits},
		{"sizes", h.Sizes.String()},
		{"events", s.Events},
		{"allocs", s.Allocs},
		{"frees", s.Frees},
		{"reallocs", s.Reallocs},
		{"peak_live_bytes", s.PeakLiveBytes},
		{"peak_live_event", s.PeakLiveEvent},
		{"peak_live_objects", s.PeakLiveObjects},
		{"end_live_bytes", s.EndLiveBytes},
		{"never_freed", s.NeverFreed},
		{"allocated_bytes", s.AllocSum},
		{"largest_request_bytes", s.Largest},
		{"aligned_allocs", s.Aligned},
		{"zero_size_allocs", s.ZeroSize},
		{"threads", s.Threads},
		{"sites", max(len(h.Sites), 1) - 1},
		{"duration_ns", s.LastTime - s.FirstTime},
		{"loss", loss},
	}
}

func resultObject(r *replay.Result) object {
	o := object{
		{"model", r.Spec.Model.Name},
		{"spec", r.Spec.String()},
	}
	for i := range Metrics {
		m := &Metrics[i]
		o = append(o, field{m.Key, m.Unit.json(m.Of(r))})
	}
	byVerdict := object{}
	for v, count := range r.ByVerdict {
		byVerdict = append(byVerdict, field{replay.Verdict(v).Key(), count})
	}
	o = append(o,
		field{"failures_by_verdict", byVerdict},
		field{"failures_by_size", sizesJSON(r.BySize)},
		field{"failed", failedJSON(r)},
		field{"growth", growthJSON(r)},
		field{"peak", surveyJSON(r.Peak)},
		field{"first_failure", surveyJSON(r.FirstFailure)},
		field{"end", surveyJSON(r.End)},
		field{"native", nativeJSON(r.Stats)},
	)
	if r.Err != nil {
		o = append(o, field{"error", r.Err.Error()})
	}
	return o
}

// json returns a value as JSON has it: whole numbers without a fraction, null
// where the metric has no meaning.
func (u Unit) json(v float64) any {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return nil
	case u == Frac || u == Ratio:
		return json.Number(u.number(v))
	}
	return uint64(v)
}

func sizesJSON(sizes []replay.SizeCount) []object {
	out := make([]object, 0, len(sizes))
	for _, s := range sizes[:min(len(sizes), jsonKept)] {
		out = append(out, object{{"size", s.Size}, {"count", s.Count}})
	}
	return out
}

func failedJSON(r *replay.Result) []object {
	out := make([]object, 0, min(len(r.Failed), jsonKept))
	for i := range r.Failed[:min(len(r.Failed), jsonKept)] {
		f := &r.Failed[i]
		out = append(out, object{
			{"event", f.Event},
			{"time_ns", f.Time},
			{"request_bytes", f.Request},
			{"align", f.Align},
			{"realloc", f.Realloc},
			{"site", r.Trace.SiteName(trace.SiteID(f.Site))},
			{"need_bytes", f.Need},
			{"free_bytes", f.Free},
			{"largest_free_bytes", f.LargestFree},
			{"free_blocks", f.FreeBlocks},
			{"verdict", f.Verdict.Key()},
		})
	}
	return out
}

func growthJSON(r *replay.Result) []object {
	out := make([]object, 0, min(len(r.Growths), jsonKept))
	for i := range r.Growths[:min(len(r.Growths), jsonKept)] {
		g := &r.Growths[i]
		out = append(out, object{
			{"event", g.Event},
			{"time_ns", g.Time},
			{"clock_bytes", g.Clock},
			{"from_bytes", g.From},
			{"to_bytes", g.To},
			{"why", g.Why()},
			{"need_bytes", g.Need},
			{"free_bytes", g.Free},
			{"largest_free_bytes", g.LargestFree},
		})
	}
	return out
}

func surveyJSON(s *replay.Survey) any {
	if s == nil {
		return nil
	}
	return object{
		{"event", s.Event},
		{"time_ns", s.Time},
		{"live_bytes", s.Live},
		{"allocated_bytes", s.Usage.Allocated},
		{"free_bytes", s.Free},
		{"largest_free_bytes", s.LargestFree},
		{"free_blocks", s.FreeBlocks},
		{"free_sizes", sizesJSON(s.FreeSizes)},
	}
}

func nativeJSON(stats []heapmodel.Stat) object {
	out := object{}
	for _, s := range stats {
		out = append(out, field{s.Key, s.Value})
	}
	return out
}

// writeCSV writes one row a trace and heap.
func writeCSV(w io.Writer, runs []*Run) error {
	out := csv.NewWriter(w)
	head := []string{"trace", "model", "spec"}
	for i := range Metrics {
		head = append(head, Metrics[i].Key)
	}
	for v := range replay.Verdicts {
		head = append(head, "failures_"+v.Key())
	}
	if err := out.Write(append(head, "synthetic", "error")); err != nil {
		return err
	}
	for _, run := range runs {
		for _, r := range run.Results {
			row := []string{run.Name, r.Spec.Model.Name, r.Spec.String()}
			for i := range Metrics {
				m := &Metrics[i]
				row = append(row, m.Unit.number(m.Of(r)))
			}
			for _, count := range r.ByVerdict {
				row = append(row, Count.number(float64(count)))
			}
			synthetic, broken := "false", ""
			if run.Header.Synthetic {
				synthetic = "true"
			}
			if r.Err != nil {
				broken = r.Err.Error()
			}
			if err := out.Write(append(row, synthetic, broken)); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

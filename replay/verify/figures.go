package verify

import (
	"strings"

	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// Figure is a count of a whole replay, under the name that summaries of tables
// give it.
type Figure struct {
	Key   string
	Value uint64
}

// figures counts what a replay's result does not.
type figures struct {
	header  *trace.Header
	placed  []bool // by slot: the object is live in the heap
	plain   uint64 // reallocs of objects that were not, which are allocs then
	highest uint64 // address + requested size of the highest object ever placed
}

func newFigures(h *trace.Header) figures { return figures{header: h} }

func (f *figures) add(b *trace.Block, i int, a golden.Answer) {
	slot := int(b.Slot[i])
	for slot >= len(f.placed) {
		f.placed = append(f.placed, false)
	}
	at, placed := a.At()
	switch {
	case b.Op[i] == trace.OpFree:
		f.placed[slot] = false
		return
	case b.Op[i] == trace.OpAlloc:
		f.placed[slot] = placed
	case !f.placed[slot]:
		f.plain++
		f.placed[slot] = placed
	}
	if placed {
		f.highest = max(f.highest, uint64(at)+b.Size[i])
	}
}

// all returns the figures of a finished replay: those of every heap, and then
// those that the heap keeps itself.
func (f *figures) all(r *replay.Result) []Figure {
	s := &f.header.Summary
	out := []Figure{
		{"ops", s.Events},
		{"allocs", s.Allocs},
		{"reallocs", s.Reallocs},
		{"frees", s.Frees},
		{"failures", r.Failures},
		{"frees_skipped", r.Skipped},
		{"reallocs_as_plain", f.plain},
		{"reallocs_in_place", r.InPlace},
		{"peak_live_requested", r.PeakLive},
		{"live_at_end_requested", r.LiveBytes},
		{"highest_used_offset", f.highest},
	}
	for _, stat := range r.Stats {
		out = append(out, Figure{statKey(stat.Key), stat.Value})
	}
	return out
}

// statKey returns the name of a heap's own figure at the end: that of a record
// over time is its own, that of a state says that it is the last.
func statKey(key string) string {
	for _, record := range []string{"min_", "max_", "peak_"} {
		if strings.HasPrefix(key, record) {
			return key
		}
	}
	return "final_" + key
}

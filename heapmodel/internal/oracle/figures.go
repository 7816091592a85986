package oracle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

// Figures sum up a replay as the originals' runs were summed up.
type Figures struct {
	Failures uint64 // allocs and reallocs that gave a null pointer
	InPlace  uint64 // reallocs that kept the address
	PeakLive uint64 // largest sum of requested sizes, bytes
	Highest  uint64 // largest end of an object by its requested size, an address
	Free     uint64 // at the end, bytes
	MinFree  uint64 // least ever, bytes; 0 if the heap does not keep it
}

// Run replays a trace of the test material through an empty heap of the spec
// and reads free_bytes and min_ever_free_bytes from the model's own figures.
func Run(t *testing.T, m *heapmodel.Model, spec, trace string) Figures {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{m}, spec)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := modeltest.LoadTrace(trace)
	if err != nil {
		t.Fatal(err)
	}
	f := run(h, tr)
	for _, stat := range h.(heapmodel.Native).Native() {
		switch stat.Key {
		case "free_bytes":
			f.Free = stat.Value
		case "min_ever_free_bytes":
			f.MinFree = stat.Value
		}
	}
	return f
}

func run(h heapmodel.Heap, tr *modeltest.Trace) (f Figures) {
	type object struct {
		ref   heapmodel.Ref
		size  uint64
		align uint32
		live  bool
	}
	objects := make([]object, tr.Objects)
	live := uint64(0)
	for _, op := range tr.Ops {
		o := &objects[op.ID]
		now := object{size: op.Size, align: op.Align, live: true}
		ok := true
		switch {
		case op.Kind == modeltest.Free:
			if o.live {
				h.Free(o.ref)
				live -= o.size
			}
			o.live = false
			continue
		case op.Kind == modeltest.Realloc && o.live:
			at := h.Addr(o.ref)
			now.align = o.align
			now.ref, ok = h.Realloc(o.ref, op.Size, o.align)
			if ok && h.Addr(now.ref) == at {
				f.InPlace++
			}
		default:
			now.ref, ok = h.Alloc(op.Size, op.Align)
		}
		if !ok {
			f.Failures++
			continue
		}
		if o.live {
			live -= o.size
		}
		live += now.size
		*o = now
		f.PeakLive = max(f.PeakLive, live)
		f.Highest = max(f.Highest, uint64(h.Addr(o.ref))+o.size)
	}
	return f
}

// freeKeys are what the summaries call the free bytes of an empty heap.
var freeKeys = []string{"initial_free", "capacity", "MEM_SIZE_ALIGNED", "mem_size", "available", "free"}

// Summaries compares the figures of a model with every summary.json there is in
// a folder of the full test material, and what it says of an empty heap with
// the model's free_bytes. Without the material the test is skipped.
func Summaries(t *testing.T, m *heapmodel.Model, folder string) {
	t.Helper()
	shared := sharedOrSkip(t)
	for config, spec := range configs(t, shared, folder) {
		text, err := os.ReadFile(filepath.Join(shared, "golden", folder, config, "summary.json"))
		if err != nil {
			t.Fatal(err)
		}
		var sum struct {
			Info   string
			Traces map[string]struct {
				Failures uint64  `json:"failures"`
				InPlace  uint64  `json:"reallocs_in_place"`
				PeakLive uint64  `json:"peak_live_requested"`
				Highest  uint64  `json:"highest_used_offset"`
				Free     uint64  `json:"final_free_bytes"`
				MinFree  *uint64 `json:"min_ever_free_bytes"`
			}
		}
		if err := json.Unmarshal(text, &sum); err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		if len(sum.Traces) == 0 {
			t.Errorf("%s: the summary has no traces", config)
		}
		t.Run(config, func(t *testing.T) {
			t.Parallel()
			empty := Run(t, m, spec, "seed-example").Free
			if !slices.ContainsFunc(strings.Fields(sum.Info), func(f string) bool {
				key, value, _ := strings.Cut(f, "=")
				return slices.Contains(freeKeys, key) && value == fmt.Sprint(empty)
			}) {
				t.Errorf("an empty heap has %d bytes free, the original: %s", empty, sum.Info)
			}
			for trace, w := range sum.Traces {
				want := Figures{Failures: w.Failures, InPlace: w.InPlace, PeakLive: w.PeakLive, Highest: w.Highest, Free: w.Free}
				if w.MinFree != nil {
					want.MinFree = *w.MinFree
				}
				if got := Run(t, m, spec, trace); got != want {
					t.Errorf("%s: got %+v, want %+v", trace, got, want)
				}
			}
		})
	}
}

// Table compares failures and the highest end with every row of the folder's
// heap in golden-summary.tsv. Without the full test material it is skipped.
func Table(t *testing.T, m *heapmodel.Model, folder string) {
	t.Helper()
	shared := sharedOrSkip(t)
	specs := configs(t, shared, folder)
	rows := 0
	// set, allocator, config, trace, ops, failed_allocs, final_break, max_end_offset
	for _, row := range readRows(t, filepath.Join(shared, "golden", "golden-summary.tsv"), 8) {
		if row[1] != folder {
			continue
		}
		rows++
		failures, err1 := strconv.ParseUint(row[5], 10, 64)
		highest, err2 := strconv.ParseUint(row[7], 10, 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("row %q: want numbers", row)
		}
		got := Run(t, m, specs[row[2]], row[3])
		if got.Failures != failures || got.Highest != highest {
			t.Errorf("%s: %s: %d failures, highest end %d; want %d, %d", row[2], row[3], got.Failures, got.Highest, failures, highest)
		}
	}
	if rows == 0 {
		t.Errorf("golden-summary.tsv has no rows of %s", folder)
	}
}

func sharedOrSkip(t *testing.T) string {
	t.Helper()
	shared := modeltest.SharedDir()
	if shared == "" {
		t.Skip("the originals' summaries are only in the full test material")
	}
	return shared
}

// configs returns the spec of each configuration in a folder.
func configs(t *testing.T, shared, folder string) map[string]string {
	t.Helper()
	specs := map[string]string{}
	for _, row := range readRows(t, filepath.Join(shared, "golden", "configs.tsv"), 3) {
		if row[0] == folder {
			specs[row[1]] = row[2]
		}
	}
	if len(specs) == 0 {
		t.Fatalf("configs.tsv has no configuration of %s", folder)
	}
	return specs
}

// readRows reads a table of tab-separated columns without its header.
func readRows(t *testing.T, path string, columns int) [][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		row := strings.Split(line, "\t")
		if len(row) != columns {
			t.Fatalf("%s:%d: %d columns, want %d", path, i+1, len(row), columns)
		}
		if i > 0 {
			out = append(out, row)
		}
	}
	return out
}

package oracle

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

// Parse reads a spec of the model.
func Parse(t testing.TB, m *heapmodel.Model, spec string) *heapmodel.Spec {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{m}, spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Open makes an empty heap of a spec of the model.
func Open(t testing.TB, m *heapmodel.Model, spec string) heapmodel.Heap {
	t.Helper()
	h, err := Parse(t, m, spec).New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Alloc places an object, or ends the test.
func Alloc(t testing.TB, h heapmodel.Heap, size uint64) heapmodel.Ref {
	t.Helper()
	return AllocAligned(t, h, size, 0)
}

// AllocAligned places an object, or ends the test.
func AllocAligned(t testing.TB, h heapmodel.Heap, size uint64, align uint32) heapmodel.Ref {
	t.Helper()
	r, ok := h.Alloc(size, align)
	if !ok {
		t.Fatalf("alloc of %d bytes, align %d, fails", size, align)
	}
	return r
}

// AllocAt places an object, or ends the test if it is not at the address.
func AllocAt(t testing.TB, h heapmodel.Heap, size uint64, addr heapmodel.Addr) heapmodel.Ref {
	t.Helper()
	r := Alloc(t, h, size)
	if at := h.Addr(r); at != addr {
		t.Fatalf("alloc of %d bytes: at %d; want it at %d", size, at, addr)
	}
	return r
}

// WantLayout compares the blocks of a heap with what Layout should write of
// them, and checks the heap.
func WantLayout(t testing.TB, h heapmodel.Heap, want string) {
	t.Helper()
	if got := Layout(h); got != want {
		t.Errorf("blocks\n got %s\nwant %s", got, want)
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

// Native returns the heap's own figures by their names.
func Native(h heapmodel.Heap) map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range h.(heapmodel.Native).Native() {
		out[s.Key] = s.Value
	}
	return out
}

// BadConfigs tries specs that no heap can be made of: pairs of a spec and what
// its error has to say.
func BadConfigs(t *testing.T, m *heapmodel.Model, cases [][2]string) {
	t.Helper()
	for _, c := range cases {
		spec, want := c[0], c[1]
		if _, err := Parse(t, m, spec).New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

// Break replays a trace through an empty heap of the spec and returns the break
// that the heap reports at its end.
func Break(t *testing.T, m *heapmodel.Model, spec, trace string) uint64 {
	t.Helper()
	tr, err := modeltest.LoadTrace(trace)
	if err != nil {
		t.Fatal(err)
	}
	h := Open(t, m, spec)
	modeltest.Answers(h, tr)
	brk, ok := Native(h)["break"]
	if !ok {
		t.Fatalf("%s reports no break", spec)
	}
	return brk
}

// Breaks compares the break at the end with that of the original, for every row
// of the folder's heap in golden-summary.tsv. Without the full test material it
// is skipped.
func Breaks(t *testing.T, m *heapmodel.Model, folder string) {
	t.Helper()
	shared := sharedOrSkip(t)
	specs := configs(t, shared, folder)
	rows := 0
	for _, row := range readRows(t, filepath.Join(shared, "golden", "golden-summary.tsv"), 8) {
		if row[1] != folder {
			continue
		}
		rows++
		want, err := strconv.ParseUint(row[6], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := Break(t, m, specs[row[2]], row[3]); got != want {
			t.Errorf("%s: %s: break at %d, want %d", row[2], row[3], got, want)
		}
	}
	if rows == 0 {
		t.Errorf("golden-summary.tsv has no rows of %s", folder)
	}
}

// Nowhere stands for the address of a failure where Place wants one; a null
// pointer that is no failure is at -1.
const Nowhere = -2

// Place places an object, compares its address, and checks the heap.
func Place(t testing.TB, h heapmodel.Heap, size uint64, align uint32, want int64) heapmodel.Ref {
	t.Helper()
	r, ok := h.Alloc(size, align)
	got := int64(Nowhere)
	if ok {
		got = int64(h.Addr(r))
	}
	if got != want {
		t.Errorf("alloc of %d bytes, align %d: at %d, want %d", size, align, got, want)
	}
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
	return r
}

package halffit

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func FuzzOps(f *testing.F) { modeltest.Fuzz(f, Model) }

func TestConformance(t *testing.T) {
	modeltest.Run(t, Model,
		"half-fit:capacity=64KiB",
		"half-fit:capacity=8KiB,ptr=64,min=32",
		"half-fit:capacity=5000,header=0,align=1",
		"half-fit:quantum=4KiB,ptr=64",
		"half-fit:quantum=100,header=3,align=2,grow=100000",
		"half-fit:capacity=2KiB,grow=64KiB,min=24",
	)
}

func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, Model, "half-fit:capacity=64KiB") }

func open(t *testing.T, spec string) *heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, spec)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h.(*heap)
}

func alloc(t *testing.T, h heapmodel.Heap, size uint64, align uint32) heapmodel.Ref {
	t.Helper()
	r, ok := h.Alloc(size, align)
	if !ok {
		t.Fatalf("alloc of %d bytes, align %d, fails", size, align)
	}
	return r
}

func wantLayout(t *testing.T, h *heap, want string) {
	t.Helper()
	if got := oracle.Layout(h); got != want {
		t.Errorf("blocks\n got %s\nwant %s", got, want)
	}
	wall := true
	for b := range h.Blocks() {
		if b.Wall != wall {
			t.Errorf("block at %d: wall %v, want %v", b.Addr, b.Wall, wall)
		}
		wall = false
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

func TestBadConfigs(t *testing.T) {
	for spec, want := range map[string]string{
		"half-fit":                            "needs a capacity",
		"half-fit:capacity=11":                "capacity=11: the least that holds a block is 12 bytes",
		"half-fit:capacity=40,min=40":         "capacity=40: the least that holds a block is 44 bytes",
		"half-fit:capacity=1KiB,align=12":     "align=12 is no power of two",
		"half-fit:capacity=1KiB,align=2GiB":   "align=2GiB: the most is 1GiB",
		"half-fit:capacity=1KiB,header=2GiB":  "header=2GiB: the most is 1GiB",
		"half-fit:capacity=64GiB":             "capacity=64GiB: the most with this alignment is 34359738352 bytes",
		"half-fit:quantum=0":                  "quantum=0 is out of range",
		"half-fit:capacity=2KiB,grow=1KiB":    "capacity=2KiB is above the limit of growth of 1024 bytes",
		"half-fit:capacity=0xffffffffffffff0": "the most with this alignment is",
	} {
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

// A block that would fit is passed over for one that surely does.
func TestHalfFit(t *testing.T) {
	h := open(t, "half-fit:capacity=64,header=0,align=1")
	a := alloc(t, h, 31, 0)
	alloc(t, h, 1, 0)
	h.Free(a)
	wantLayout(t, h, "0-31 31+1 32-32")
	b := alloc(t, h, 31, 0)
	wantLayout(t, h, "0-31 31+1 32+31 63-1")
	if _, ok := h.Alloc(17, 0); ok {
		t.Error("17 bytes are taken from a list with blocks of 16")
	}
	if need := h.Need(17, 0); need != 32 {
		t.Errorf("17 bytes need a block of %d, want 32", need)
	}
	alloc(t, h, 16, 0) // a power of two is found on its own list
	wantLayout(t, h, "0+16 16-15 31+1 32+31 63-1")
	h.Free(b)
	wantLayout(t, h, "0+16 16-15 31+1 32-32")
}

// Of the blocks of a list the newest is taken, whatever its size.
func TestNewestFirst(t *testing.T) {
	h := open(t, "half-fit:capacity=40,header=0,align=1")
	var refs []heapmodel.Ref
	for _, size := range []uint64{7, 1, 5, 1, 6, 1, 16} {
		refs = append(refs, alloc(t, h, size, 0))
	}
	for _, i := range []int{0, 4, 2} {
		h.Free(refs[i])
	}
	wantLayout(t, h, "0-7 7+1 8-5 13+1 14-6 20+1 21+16 37-3")
	for _, want := range []heapmodel.Addr{8, 14, 0} {
		if got := h.Addr(alloc(t, h, 4, 0)); got != want {
			t.Errorf("4 bytes at %d, want %d", got, want)
		}
	}
}

// A growing heap obtains what makes its last block one that the search finds.
func TestGrowth(t *testing.T) {
	h := open(t, "half-fit:quantum=8,grow=104,header=0,align=1")
	for _, s := range []struct {
		size, arena uint64
		want        string
	}{
		{5, 8, "0+5 5-3"},
		{3, 16, "0+5 5+3 8-8"}, // 3 bytes are looked for on the list of 4
		{9, 24, "0+5 5+3 8+9 17-7"},
		{33, 88, "0+5 5+3 8+9 17+33 50-38"},
		{33, 0, ""},
	} {
		r, ok := h.Alloc(s.size, 0)
		if want := s.arena > 0; ok != want {
			t.Fatalf("%d bytes: %v, want %v", s.size, ok, want)
		}
		if !ok {
			break
		}
		wantLayout(t, h, s.want)
		if h.use.Arena != s.arena || h.Addr(r) == heapmodel.Null {
			t.Errorf("arena of %d bytes, want %d", h.use.Arena, s.arena)
		}
	}
	if g := h.use.Grown; g != (heapmodel.Growth{Need: 64, Free: 7, LargestFree: 7}) {
		t.Errorf("grown for %+v", g)
	}
}

func TestSteps(t *testing.T) {
	h := open(t, "half-fit:capacity=64,header=0,align=1")
	want := func(what string, steps uint64, call func()) {
		t.Helper()
		before := h.use.Steps
		call()
		if got := h.use.Steps - before; got != steps {
			t.Errorf("%s: %d steps, want %d", what, got, steps)
		}
	}
	var a, b, c heapmodel.Ref
	want("bitmap and block", 2, func() { a = alloc(t, h, 5, 0) })
	want("bitmap and block", 2, func() { b = alloc(t, h, 5, 0) })
	want("bitmap and block", 2, func() { c = alloc(t, h, 32, 0) })
	want("bitmap alone", 1, func() { h.Alloc(33, 0) })
	want("beyond the table", 0, func() { h.Alloc(heapmodel.MaxSize, 0) })
	want("no free neighbour", 0, func() { h.Free(a) })
	want("upper neighbour", 1, func() { h.Free(c) })
	want("both neighbours", 2, func() { h.Free(b) })
}

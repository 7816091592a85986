package threadx_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/threadx"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, threadx.Model) }
func TestMinHeap(t *testing.T)   { modeltest.MinHeap(t, threadx.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, threadx.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, threadx.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, threadx.Model) }
func TestSummaries(t *testing.T) { oracle.Summaries(t, threadx.Model, "threadx") }

// What the original's summaries say, for when they are not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace string
		want        oracle.Figures
	}{
		{"threadx-byte-pool", "exhaust", oracle.Figures{Failures: 1298, PeakLive: 59109, Highest: 65526, Free: 65528}},
		{"threadx-byte-pool", "realloc", oracle.Figures{PeakLive: 29198, Highest: 53708, Free: 65528}},
		{"threadx-byte-pool", "wide", oracle.Figures{PeakLive: 39939, Highest: 56707, Free: 65528}},
	} {
		if got := oracle.Run(t, threadx.Model, c.spec, c.trace); got != c.want {
			t.Errorf("%s: trace %s:\n got %+v\nwant %+v", c.spec, c.trace, got, c.want)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, threadx.Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		overhead   uint64
	}{
		{"threadx-byte-pool", "0-65528", 8},
		{"threadx-byte-pool:capacity=1003", "0-992", 11},
		{"threadx-byte-pool:capacity=20", "0-12", 8},
		{"threadx-byte-pool:capacity=4294967295", "0-4294967284", 11},
	} {
		h := open(t, c.spec)
		oracle.WantLayout(t, h, c.want)
		if u := h.Usage(); u.Overhead != c.overhead || u.HighWater != 0 {
			t.Errorf("%s: overhead %d, high-water mark %d; want %d, 0", c.spec, u.Overhead, u.HighWater, c.overhead)
		}
		if s := h.(heapmodel.Native).Native(); s[0].Value != h.Usage().Free || s[1] != (heapmodel.Stat{Key: "fragments", Value: 2}) {
			t.Errorf("%s: figures %v", c.spec, s)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, threadx.Model, [][2]string{
		{"threadx-byte-pool:capacity=0", "capacity=0: needs at least 20 bytes"},
		{"threadx-byte-pool:capacity=19", "capacity=19: needs at least 20 bytes"},
		{"threadx-byte-pool:capacity=4GiB", "the most is 4294967295 bytes"},
		{"threadx-byte-pool:capacity=0xffffffffffffffff", "the most is"},
	})
}

func TestSplits(t *testing.T) {
	for _, c := range []struct {
		size uint64
		want string
	}{
		{1, "0+12 12-108"},
		{5, "0+16 16-104"},
		{92, "0+100 100-20"},
		{93, "0+120"},
		{112, "0+120"},
	} {
		h := open(t, "threadx-byte-pool:capacity=128")
		oracle.Alloc(t, h, c.size)
		oracle.WantLayout(t, h, c.want)
	}
}

// TestLargestRequests: from 113 to 116 bytes a search is made in vain, above
// there is none.
func TestLargestRequests(t *testing.T) {
	for _, c := range []struct{ size, steps uint64 }{
		{113, 2}, {116, 2}, {117, 0}, {120, 0}, {1 << 32, 0}, {1<<32 + 8, 0}, {heapmodel.MaxSize, 0},
	} {
		h := open(t, "threadx-byte-pool:capacity=128")
		if _, ok := h.Alloc(c.size, 0); ok {
			t.Errorf("%d bytes are placed", c.size)
		}
		if got := h.Usage().Steps; got != c.steps {
			t.Errorf("%d bytes: %d steps, want %d", c.size, got, c.steps)
		}
	}
}

// TestLazyMerging frees all of five blocks and lets searches join them.
func TestLazyMerging(t *testing.T) {
	h := open(t, "threadx-byte-pool:capacity=128")
	var refs []heapmodel.Ref
	for range 5 {
		refs = append(refs, oracle.Alloc(t, h, 8))
	}
	oracle.WantLayout(t, h, "0+16 16+16 32+16 48+16 64+16 80-40")
	for _, i := range []int{1, 0, 2, 4} {
		h.Free(refs[i])
	}
	oracle.WantLayout(t, h, "0-16 16-16 32-16 48+16 64-16 80-40")
	if h.LargestFree() != 40 {
		t.Errorf("the largest block has %d bytes, want 40", h.LargestFree())
	}
	steps := func(want uint64) {
		t.Helper()
		if got := h.Usage().Steps; got != want {
			t.Errorf("%d steps so far, want %d", got, want)
		}
	}
	before := h.Usage().Steps
	// A search in vain joins whatever it comes across: turns for merges at 0, 0
	// and 64, past 0 with the used block, past 64 with the end, and one more.
	if _, ok := h.Alloc(100, 0); ok {
		t.Error("100 bytes are placed")
	}
	oracle.WantLayout(t, h, "0-48 48+16 64-56")
	steps(before + 6)
	a := oracle.Alloc(t, h, 44) // past 0 with the used block, and the one at 64
	steps(before + 8)
	oracle.WantLayout(t, h, "0-48 48+16 64+56")
	h.Free(a)
	h.Free(refs[3])
	oracle.Alloc(t, h, 50) // joins two and leaves the third, as 64 bytes will do
	oracle.WantLayout(t, h, "0+64 64-56")
	steps(before + 10)
	oracle.Alloc(t, h, 40) // from the search pointer, which has moved up
	steps(before + 11)
	oracle.WantLayout(t, h, "0+64 64+56")
}

func TestSizeZero(t *testing.T) {
	h := open(t, "threadx-byte-pool:capacity=128")
	if r, ok := h.Alloc(0, 0); r != heapmodel.NullRef || !ok || h.Need(0, 0) != 0 {
		t.Errorf("got %d, %t, need %d; want a null pointer that is no failure", r, ok, h.Need(0, 0))
	}
	r := oracle.Alloc(t, h, 40)
	if s, ok := h.Realloc(r, 0, 0); s != heapmodel.NullRef || !ok {
		t.Errorf("realloc to 0: got %d, %t; want a null pointer that is no failure", s, ok)
	}
	oracle.WantLayout(t, h, "0-48 48-72")
}

func TestReallocMoves(t *testing.T) {
	h := open(t, "threadx-byte-pool:capacity=128")
	a := oracle.Alloc(t, h, 40)
	b, ok := h.Realloc(a, 24, 0)
	if !ok || h.Addr(b) != 56 {
		t.Errorf("got %d, %t; want a new object at 56", h.Addr(b), ok)
	}
	oracle.WantLayout(t, h, "0-48 48+32 80-40")
	if s, ok := h.Realloc(b, 60, 0); ok || s != b {
		t.Errorf("got %d, %t; want a failure", s, ok)
	}
}

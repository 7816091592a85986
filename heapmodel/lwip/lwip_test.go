package lwip_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/lwip"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, lwip.Model) }
func TestMinHeap(t *testing.T)   { modeltest.MinHeap(t, lwip.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, lwip.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, lwip.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, lwip.Model) }
func TestSummaries(t *testing.T) { oracle.Summaries(t, lwip.Model, "lwip") }

// What the original's summaries say, for when they are not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace string
		want        oracle.Figures
	}{
		{"lwip-mem:capacity=32KiB", "exhaust", oracle.Figures{Failures: 2304, PeakLive: 28761, Highest: 32749, Free: 32752, MinFree: 420}},
		{"lwip-mem:capacity=32KiB", "realloc", oracle.Figures{Failures: 141, PeakLive: 27072, Highest: 32701, Free: 32752, MinFree: 3880}},
		{"lwip-mem", "exhaust", oracle.Figures{Failures: 1398, PeakLive: 57687, Highest: 65502, Free: 65512, MinFree: 1636}},
		{"lwip-mem", "vectors", oracle.Figures{PeakLive: 15324, Highest: 21552, Free: 65512, MinFree: 47340}},
	} {
		if got := oracle.Run(t, lwip.Model, c.spec, c.trace); got != c.want {
			t.Errorf("%s: trace %s:\n got %+v\nwant %+v", c.spec, c.trace, got, c.want)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, lwip.Model, spec)
}

// Headers get longer where indices do, at a MEM_SIZE above 64000.
func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		first      heapmodel.Addr
		overhead   uint64
	}{
		{"lwip-mem", "0-65512", 12, 24},
		{"lwip-mem:ptr=64", "0-65512", 12, 24},
		{"lwip-mem:capacity=32KiB", "0-32752", 8, 16},
		{"lwip-mem:capacity=64016", "0-64000", 8, 16},
		{"lwip-mem:capacity=64017", "0-64000", 8, 17},
		{"lwip-mem:capacity=64024", "0-64000", 8, 24},
		{"lwip-mem:capacity=64025", "0-64000", 12, 25}, // the odd byte is lost
		{"lwip-mem:capacity=64028", "0-64004", 12, 24},
		{"lwip-mem:capacity=64032,align=8", "0-64000", 8, 32},
		{"lwip-mem:capacity=64040,align=8", "0-64008", 16, 32},
		{"lwip-mem:capacity=1003,align=1", "0-991", 6, 12},
		{"lwip-mem:capacity=1003,align=2", "0-990", 6, 13},
		{"lwip-mem:capacity=36", "0-20", 8, 16},
	} {
		h := open(t, c.spec)
		oracle.WantLayout(t, h, c.want)
		if u := h.Usage(); u.Overhead != c.overhead || u.HighWater != 0 {
			t.Errorf("%s: overhead %d, high-water mark %d; want %d, 0", c.spec, u.Overhead, u.HighWater, c.overhead)
		}
		if a := h.Addr(oracle.Alloc(t, h, 1)); a != c.first {
			t.Errorf("%s: the first object is at %d, want %d", c.spec, a, c.first)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, lwip.Model, [][2]string{
		{"lwip-mem:capacity=0", "capacity=0: needs at least 36 bytes"},
		{"lwip-mem:capacity=35", "capacity=35: needs at least 36 bytes"},
		{"lwip-mem:capacity=39,align=8", "capacity=39: needs at least 40 bytes"},
		{"lwip-mem:capacity=18,align=1,min=0", "capacity=18: needs at least 19 bytes"},
		{"lwip-mem:capacity=5GiB", "the most is 4294967316 bytes"},
		{"lwip-mem:capacity=5GiB,align=1", "the most is 4294967319 bytes"},
		{"lwip-mem:capacity=0xffffffffffffffff", "the most is"},
		{"lwip-mem:min=65537", "min=65537: the most is 65536 bytes"},
	})
}

func TestLargestCapacity(t *testing.T) {
	for _, spec := range []string{"lwip-mem:capacity=4294967316", "lwip-mem:capacity=4294967319,align=1", "lwip-mem:capacity=0x100000018,align=8"} {
		h := open(t, spec)
		largest := h.LargestFree() - (h.Need(16, 0) - 16)
		for _, size := range []uint64{largest + 1, 1 << 32, 1 << 40, heapmodel.MaxSize} {
			if _, ok := h.Alloc(size, 0); ok {
				t.Errorf("%s: %d bytes are placed", spec, size)
			}
		}
		oracle.Alloc(t, h, largest&^7)
		if err := h.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestSplits(t *testing.T) {
	for _, c := range []struct {
		spec string
		size uint64
		want string
	}{
		{"lwip-mem:capacity=128", 1, "0+20 20-92"}, // 12 bytes at least
		{"lwip-mem:capacity=128", 12, "0+20 20-92"},
		{"lwip-mem:capacity=128", 13, "0+24 24-88"},
		{"lwip-mem:capacity=128", 84, "0+92 92-20"}, // a header and the least object
		{"lwip-mem:capacity=128", 85, "0+112"},
		{"lwip-mem:capacity=128", 104, "0+112"},
		{"lwip-mem:capacity=128,min=30", 1, "0+40 40-72"},
		{"lwip-mem:capacity=128,min=30", 33, "0+44 44-68"},
		{"lwip-mem:capacity=128,align=1,min=5", 3, "0+11 11-105"},
	} {
		h := open(t, c.spec)
		oracle.Alloc(t, h, c.size)
		oracle.WantLayout(t, h, c.want)
		if need := h.Need(c.size, 0); need > h.Usage().Allocated {
			t.Errorf("%s: %d bytes need %d", c.spec, c.size, need)
		}
	}
}

// TestWalks counts the blocks looked at: used ones, too, and those by which the
// start of searches moves up.
func TestWalks(t *testing.T) {
	h := open(t, "lwip-mem:capacity=32KiB")
	refs := map[string]heapmodel.Ref{}
	for _, c := range []struct {
		alloc, free string
		size        uint64
		steps       uint64
		fails       bool
	}{
		{alloc: "a", size: 12, steps: 2}, // the block, and one up to the rest
		{alloc: "b", size: 12, steps: 2},
		{alloc: "c", size: 12, steps: 2},
		{alloc: "d", size: 12, steps: 2},
		{free: "b"},
		{alloc: "long", size: 100, steps: 4}, // b's, c, d, the rest
		{alloc: "b", size: 12, steps: 1 + 4}, // and up past c, d and long
		{alloc: "none", size: 32752, fails: true, steps: 0},
		{alloc: "none", size: 32600, fails: true, steps: 0}, // the rest starts too high
		{free: "a"},
		{alloc: "none", size: 32600, fails: true, steps: 5}, // a's, b, c, d, long, which ends at 188
		{alloc: "none", size: 32753, fails: true, steps: 0},
		{alloc: "zero", size: 0},
		{free: "c"},
		{free: "b", steps: 2},
		{free: "long", steps: 1},
		{free: "d", steps: 2},
	} {
		before := h.Usage().Steps
		if c.free != "" {
			h.Free(refs[c.free])
		} else {
			r, ok := h.Alloc(c.size, 0)
			if ok == c.fails {
				t.Errorf("alloc of %s, %d bytes: got %t", c.alloc, c.size, ok)
			}
			refs[c.alloc] = r
		}
		if got := h.Usage().Steps - before; got != c.steps {
			t.Errorf("%s%s: %d steps, want %d", c.alloc, c.free, got, c.steps)
		}
	}
	oracle.WantLayout(t, h, "0-32752")
}

func TestSizeZero(t *testing.T) {
	h := open(t, "lwip-mem")
	if r, ok := h.Alloc(0, 0); r != heapmodel.NullRef || !ok || h.Need(0, 0) != 0 {
		t.Errorf("got %d, %t, need %d; want a null pointer that is no failure", r, ok, h.Need(0, 0))
	}
	r := oracle.Alloc(t, h, 40)
	if s, ok := h.Realloc(r, 0, 0); s != heapmodel.NullRef || !ok {
		t.Errorf("realloc to 0: got %d, %t; want a null pointer that is no failure", s, ok)
	}
	oracle.WantLayout(t, h, "0-65512")
}

func TestReallocMoves(t *testing.T) {
	h := open(t, "lwip-mem:capacity=128")
	a := oracle.Alloc(t, h, 40)
	b, ok := h.Realloc(a, 24, 0)
	if !ok || h.Addr(b) != 56 {
		t.Errorf("got %d, %t; want a new object at 56", h.Addr(b), ok)
	}
	oracle.WantLayout(t, h, "0-48 48+32 80-32")
	if s, ok := h.Realloc(b, 60, 0); ok || s != b {
		t.Errorf("got %d, %t; want a failure", s, ok)
	}
	oracle.WantLayout(t, h, "0-48 48+32 80-32")
}

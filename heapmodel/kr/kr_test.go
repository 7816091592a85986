package kr_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/kr"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, kr.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, kr.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, kr.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, kr.Model) }
func TestBreaks(t *testing.T)    { oracle.Breaks(t, kr.Model, "kr") }
func TestSummaries(t *testing.T) { oracle.Table(t, kr.Model, "kr") }

// What the original's summary says, for when it is not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace            string
		failures, brk, highest uint64
	}{
		{"kr:capacity=40001", "exhaust", 2096, 40001, 40000},
		{"kr:capacity=40001", "packets", 12, 40001, 40000},
		{"kr:capacity=65536", "mixed", 58, 65536, 65536},
		{"kr:grow=16MiB", "exhaust", 0, 270448, 270448},
		{"kr:grow=16MiB", "mixed", 0, 81920, 81920},
		{"kr:grow=65536", "exhaust", 1533, 65536, 65535},
		{"kr:grow=65536,ptr=64", "packets", 0, 49152, 49152},
	} {
		got := oracle.Run(t, kr.Model, c.spec, c.trace)
		if brk := oracle.Break(t, kr.Model, c.spec, c.trace); got.Failures != c.failures || got.Highest != c.highest || brk != c.brk {
			t.Errorf("%s: trace %s: %d failures, highest end %d, break %d; want %d, %d, %d",
				c.spec, c.trace, got.Failures, got.Highest, brk, c.failures, c.highest, c.brk)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, kr.Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		overhead   uint64
	}{
		{"kr", "0-65536", 0},
		{"kr:capacity=40001", "0-40000", 1},
		{"kr:capacity=47,ptr=64", "0-32", 15},
		{"kr:grow=64KiB", "", 0},
	} {
		h := open(t, c.spec)
		oracle.WantLayout(t, h, c.want)
		if u := h.Usage(); u.Overhead != c.overhead || u.Steps != 0 {
			t.Errorf("%s: overhead %d, %d steps; want %d, none", c.spec, u.Overhead, u.Steps, c.overhead)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, kr.Model, [][2]string{
		{"kr:capacity=15", "capacity 15: needs at least 16 bytes"},
		{"kr:capacity=31,ptr=64", "capacity 31: needs at least 32 bytes"},
		{"kr:capacity=4GiB", "the most is 4294967295 bytes"},
		{"kr:grow=8191", "grow 8191: needs at least 8192 bytes"},
		{"kr:grow=64GiB,ptr=64", "the most is 68719476720 bytes"},
		{"kr:capacity=64KiB,grow=64KiB", "capacity and grow exclude each other"},
	})
}

func TestPlacement(t *testing.T) {
	h := open(t, "kr:capacity=1024")
	a := oracle.AllocAt(t, h, 5, 1016)
	b := oracle.AllocAt(t, h, 0, 1008) // a header alone
	oracle.WantLayout(t, h, "0-1000 1000+8 1008+16")
	c := oracle.AllocAt(t, h, 984, 16)
	oracle.WantLayout(t, h, "0-8 8+992 1000+8 1008+16") // a remainder of one unit stays
	h.Free(b)
	h.Free(a)
	h.Free(c)
	oracle.WantLayout(t, h, "0-1024")
}

func TestGrowth(t *testing.T) {
	h := open(t, "kr:grow=20000")
	a := oracle.AllocAt(t, h, 100, 8192-104)
	oracle.WantLayout(t, h, "0-8080 8080+112")
	// More than a quantum: just what is needed.
	b := oracle.AllocAt(t, h, 9000, 8200)
	oracle.WantLayout(t, h, "0-8080 8080+112 8192+9008")
	if g := h.Usage().Grown; g != (heapmodel.Growth{Need: 9008, Free: 8080, LargestFree: 8080}) {
		t.Errorf("growth %+v", g)
	}
	// 2800 bytes are left below the limit, less than a quantum.
	h.Alloc(8000, 0)
	if _, ok := h.Alloc(2000, 0); ok {
		t.Error("2000 bytes are placed")
	}
	if _, ok := h.Alloc(heapmodel.MaxSize, 0); ok {
		t.Error("2^62 bytes are placed")
	}
	h.Free(a)
	h.Free(b)
	if got := h.Usage().Arena; got != 17200 {
		t.Errorf("arena of %d bytes, want 17200", got)
	}
}

func TestSteps(t *testing.T) {
	h := open(t, "kr:capacity=1024")
	var refs []heapmodel.Ref
	want := func(what string, steps uint64, call func()) {
		t.Helper()
		before := h.Usage().Steps
		call()
		if got := h.Usage().Steps - before; got != steps {
			t.Errorf("%s: %d steps, want %d", what, got, steps)
		}
	}
	for i := range heapmodel.Addr(6) {
		want("alloc from the only block, behind the base", 1, func() { refs = append(refs, oracle.AllocAt(t, h, 8, 1024-8-16*i)) })
	}
	want("free above the block, from the base", 2, func() { h.Free(refs[0]) })
	want("free below the rover's next, at the rover", 1, func() { h.Free(refs[2]) })
	want("join above and below, two entries on", 4, func() { h.Free(refs[1]) })
	want("join below, past the base", 4, func() { h.Free(refs[5]) })
	want("search in vain", 3, func() { h.Alloc(2000, 0) })
	want("search of what no heap has, in vain", 3, func() { h.Alloc(heapmodel.MaxSize, 0) })
}

func TestNative(t *testing.T) {
	h := open(t, "kr:grow=64KiB")
	oracle.AllocAt(t, h, 100, 8192-104)
	want := []heapmodel.Stat{
		{Key: "break", Value: 8192},
		{Key: "free_bytes", Value: 8080},
		{Key: "largest_free_bytes", Value: 8080},
	}
	if got := h.(heapmodel.Native).Native(); !slices.Equal(got, want) {
		t.Errorf("native figures %+v, want %+v", got, want)
	}
}

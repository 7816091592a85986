package avrlibc_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/avrlibc"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, avrlibc.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, avrlibc.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, avrlibc.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, avrlibc.Model) }
func TestBreaks(t *testing.T)    { oracle.Breaks(t, avrlibc.Model, "avr-libc") }
func TestSummaries(t *testing.T) { oracle.Table(t, avrlibc.Model, "avr-libc") }

// What the original's summary says, for when it is not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace            string
		failures, brk, highest uint64
	}{
		{"avr-libc:capacity=40001", "exhaust", 1808, 0, 40001},
		{"avr-libc:capacity=40001", "realloc", 16, 0, 39956},
		{"avr-libc:capacity=65024", "exhaust", 1167, 0, 65023},
		{"avr-libc:capacity=65024", "mixed", 0, 0, 46439},
		{"avr-libc:capacity=7680", "lifo", 9197, 0, 7680},
		{"avr-libc:capacity=7680", "realloc", 2406, 0, 7677},
		{"avr-libc:capacity=7680", "vectors", 2410, 0, 7680},
	} {
		got := oracle.Run(t, avrlibc.Model, c.spec, c.trace)
		if brk := oracle.Break(t, avrlibc.Model, c.spec, c.trace); got.Failures != c.failures || got.Highest != c.highest || brk != c.brk {
			t.Errorf("%s: trace %s: %d failures, highest end %d, break %d; want %d, %d, %d",
				c.spec, c.trace, got.Failures, got.Highest, brk, c.failures, c.highest, c.brk)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, avrlibc.Model, spec)
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, avrlibc.Model, [][2]string{
		{"avr-libc:capacity=3", "capacity 3: needs at least 4 bytes"},
		{"avr-libc:capacity=64KiB", "capacity 65536: the most is 65535 bytes"},
	})
}

func TestBreakRisesAndFalls(t *testing.T) {
	h := open(t, "avr-libc:capacity=100")
	a := oracle.AllocAt(t, h, 0, 2) // 2 bytes
	b := oracle.AllocAt(t, h, 5, 6)
	c := oracle.AllocAt(t, h, 7, 13)
	oracle.WantLayout(t, h, "0+4 4+7 11+9 20-80")
	h.Free(b)
	oracle.WantLayout(t, h, "0+4 4-7 11+9 20-80")
	h.Free(c)
	oracle.WantLayout(t, h, "0+4 4-96")
	d := oracle.AllocAt(t, h, 94, 6)
	oracle.WantLayout(t, h, "0+4 4+96")
	if _, ok := h.Alloc(1, 0); ok {
		t.Error("a byte is placed in a full heap")
	}
	h.Free(d)
	h.Free(a)
	oracle.WantLayout(t, h, "0-100")
}

func TestExactThenBestFit(t *testing.T) {
	h := open(t, "avr-libc:capacity=1000")
	var refs []heapmodel.Ref
	at := heapmodel.Addr(2)
	for _, size := range []uint64{40, 2, 20, 2, 30, 2, 20, 2} {
		refs = append(refs, oracle.AllocAt(t, h, size, at))
		at += heapmodel.Addr(size) + 2
	}
	for i := 0; i < len(refs); i += 2 {
		h.Free(refs[i])
	}
	oracle.WantLayout(t, h, "0-42 42+4 46-22 68+4 72-32 104+4 108-22 130+4 134-866")
	oracle.AllocAt(t, h, 30, 74)  // exact
	oracle.AllocAt(t, h, 18, 48)  // best, the lowest; 2 bytes more are given away
	oracle.AllocAt(t, h, 16, 114) // best; its high end, as 4 bytes remain
	oracle.WantLayout(t, h, "0-42 42+4 46+22 68+4 72+32 104+4 108-4 112+18 130+4 134-866")
}

func TestRealloc(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   uint64 // of the object at 12, which has 20 bytes
		free   int    // also free before: 0 none, 1 the 30 bytes above
		addr   heapmodel.Addr
		layout string
	}{
		{"keep", 17, 0, 12, "0+10 10+22 32+32 64+10 74-126"},
		{"shrink", 16, 0, 12, "0+10 10+18 28-4 32+32 64+10 74-126"},
		{"shrink into the block above", 4, 1, 12, "0+10 10+6 16-48 64+10 74-126"},
		{"move", 21, 0, 76, "0+10 10-22 32+32 64+10 74+23 97-103"},
		{"grow", 40, 1, 12, "0+10 10+42 52-12 64+10 74-126"},
		{"grow, 5 bytes remain", 47, 1, 12, "0+10 10+49 59-5 64+10 74-126"},
		{"grow, 4 bytes are given away", 48, 1, 12, "0+10 10+54 64+10 74-126"},
		{"grow to the end", 52, 1, 12, "0+10 10+54 64+10 74-126"},
		{"move past a block that is too small", 53, 1, 76, "0+10 10-54 64+10 74+55 129-71"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, "avr-libc:capacity=200")
			oracle.AllocAt(t, h, 8, 2)
			r, above := oracle.AllocAt(t, h, 20, 12), oracle.AllocAt(t, h, 30, 34)
			oracle.AllocAt(t, h, 8, 66)
			if c.free == 1 {
				h.Free(above)
			}
			s, ok := h.Realloc(r, c.size, 0)
			if !ok || h.Addr(s) != c.addr {
				t.Errorf("got %t, at %d; want it at %d", ok, h.Addr(s), c.addr)
			}
			oracle.WantLayout(t, h, c.layout)
		})
	}
}

func TestReallocAtTheBreak(t *testing.T) {
	h := open(t, "avr-libc:capacity=100")
	a := oracle.AllocAt(t, h, 28, 2)
	b := oracle.AllocAt(t, h, 10, 32)
	if s, ok := h.Realloc(b, 67, 0); !ok || s != b {
		t.Error("does not grow to a byte below the end")
	}
	oracle.WantLayout(t, h, "0+30 30+69 99-1")
	if s, ok := h.Realloc(b, 68, 0); ok || s != b {
		t.Error("grows to the very end")
	}
	if s, ok := h.Realloc(b, heapmodel.MaxSize, 0); ok || s != b {
		t.Error("grows to 2^62 bytes")
	}
	if s, ok := h.Realloc(b, 10, 0); !ok || s != b {
		t.Error("does not shrink")
	}
	oracle.WantLayout(t, h, "0+30 30+12 42-58")
	// A free block that would do is preferred to the break.
	h.Free(a)
	s, ok := h.Realloc(b, 20, 0)
	if !ok || h.Addr(s) != 10 {
		t.Errorf("got %t, at %d; want it at 10", ok, h.Addr(s))
	}
	oracle.WantLayout(t, h, "0-8 8+22 30-70")
	// Size 0 frees, a null pointer allocates.
	if s, ok := h.Realloc(s, 0, 0); !ok || s != heapmodel.NullRef {
		t.Errorf("realloc to 0 gives %d, %t", s, ok)
	}
	if s, ok := h.Realloc(heapmodel.NullRef, 5, 0); !ok || h.Addr(s) != 2 {
		t.Errorf("realloc of a null pointer gives %d, %t", s, ok)
	}
	oracle.WantLayout(t, h, "0+7 7-93")
}

func TestSteps(t *testing.T) {
	h := open(t, "avr-libc:capacity=1000")
	var refs []heapmodel.Ref
	want := func(what string, steps uint64, call func()) {
		t.Helper()
		before := h.Usage().Steps
		call()
		if got := h.Usage().Steps - before; got != steps {
			t.Errorf("%s: %d steps, want %d", what, got, steps)
		}
	}
	for i := range heapmodel.Addr(8) {
		want("alloc at the break", 0, func() { refs = append(refs, oracle.AllocAt(t, h, 10, 2+12*i)) })
	}
	want("free below all", 0, func() { h.Free(refs[0]) })
	want("free above one", 1, func() { h.Free(refs[2]) })
	want("free above two", 2, func() { h.Free(refs[5]) })
	want("alloc of the first, which is exact", 1, func() { oracle.AllocAt(t, h, 10, 2) })
	want("alloc of the best, looking at all", 2, func() { refs[2] = oracle.AllocAt(t, h, 8, 26) })
	want("free at the break, past the list", 1, func() { h.Free(refs[7]) })
	want("free at the break that joins", 2, func() { h.Free(refs[6]) })
	want("free into an empty list", 0, func() { h.Free(refs[2]) })
	want("join above", 1, func() { h.Free(refs[1]) })
	want("alloc of what was joined", 1, func() { oracle.AllocAt(t, h, 22, 14) })
	want("alloc beyond size_t", 0, func() { h.Alloc(65536, 0) })
}

func TestNative(t *testing.T) {
	h := open(t, "avr-libc:capacity=1000")
	a := oracle.AllocAt(t, h, 100, 2)
	oracle.AllocAt(t, h, 10, 104)
	h.Free(a)
	want := []heapmodel.Stat{
		{Key: "break", Value: 114},
		{Key: "free_bytes", Value: 988},
		{Key: "largest_free_bytes", Value: 886},
	}
	if got := h.(heapmodel.Native).Native(); !slices.Equal(got, want) {
		t.Errorf("native figures %+v, want %+v", got, want)
	}
}

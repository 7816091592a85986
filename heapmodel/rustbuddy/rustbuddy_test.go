package rustbuddy_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/rustbuddy"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, rustbuddy.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, rustbuddy.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, rustbuddy.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, rustbuddy.Model) }
func TestSummaries(t *testing.T) { oracle.Table(t, rustbuddy.Model, "buddy_system_allocator") }

// What the original's summary says, for when it is not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace       string
		failures, highest uint64
	}{
		{"rust-buddy:capacity=40001", "exhaust", 2300, 40000},
		{"rust-buddy:capacity=40001", "lifo", 0, 39998},
		{"rust-buddy:capacity=40001", "aligned", 14, 40000},
		{"rust-buddy", "exhaust", 1643, 65536},
		{"rust-buddy", "wide", 16, 65517},
		{"rust-buddy", "tiny", 0, 22006},
		{"rust-buddy:ptr=64", "aligned", 0, 43008},
	} {
		if got := oracle.Run(t, rustbuddy.Model, c.spec, c.trace); got.Failures != c.failures || got.Highest != c.highest {
			t.Errorf("%s: trace %s: %d failures, highest end %d; want %d, %d", c.spec, c.trace, got.Failures, got.Highest, c.failures, c.highest)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, rustbuddy.Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		overhead   uint64
	}{
		{"rust-buddy", "0-65536", 0},
		{"rust-buddy:capacity=40001", "0-32768 32768-4096 36864-2048 38912-1024 39936-64", 1},
		{"rust-buddy:capacity=15,ptr=64", "0-8", 7},
		{"rust-buddy:capacity=4", "0-4", 0},
		{"rust-buddy:capacity=6GiB,ptr=64", "0-2147483648 2147483648-2147483648 4294967296-2147483648", 0},
	} {
		h := open(t, c.spec)
		oracle.WantLayout(t, h, c.want)
		if got := h.Usage().Overhead; got != c.overhead {
			t.Errorf("%s: overhead %d, want %d", c.spec, got, c.overhead)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, rustbuddy.Model, [][2]string{
		{"rust-buddy:capacity=3", "capacity 3: needs at least 4 bytes"},
		{"rust-buddy:capacity=0,ptr=64", "capacity 0: needs at least 8 bytes"},
		{"rust-buddy:capacity=4GiB", "the most is 4294967295 bytes"},
		{"rust-buddy:capacity=32GiB,ptr=64", "the most is 34359738360 bytes"},
	})
}

func TestPlacement(t *testing.T) {
	h := open(t, "rust-buddy:capacity=64")
	a := oracle.Alloc(t, h, 5)
	b := oracle.Alloc(t, h, 0) // a word
	oracle.WantLayout(t, h, "0+8 8+4 12-4 16-16 32-32")
	c := oracle.AllocAligned(t, h, 1, 16) // alignment makes the block
	oracle.WantLayout(t, h, "0+8 8+4 12-4 16+16 32-32")
	h.Free(b)
	oracle.WantLayout(t, h, "0+8 8-8 16+16 32-32")
	h.Free(c)
	h.Free(a)
	oracle.WantLayout(t, h, "0-64")
}

func TestClassesAreLIFO(t *testing.T) {
	h := open(t, "rust-buddy:capacity=64")
	var refs [16]heapmodel.Ref
	for i := range refs {
		refs[i] = oracle.Alloc(t, h, 4)
	}
	for _, i := range []int{2, 8, 4} {
		h.Free(refs[i])
	}
	for _, want := range []heapmodel.Addr{16, 32, 8} {
		if got := h.Addr(oracle.Alloc(t, h, 4)); got != want {
			t.Errorf("placed at %d, want %d", got, want)
		}
	}
}

// Merging stops at 2^31: two halves of 4 GiB stay apart.
func TestHighestClass(t *testing.T) {
	h := open(t, "rust-buddy:capacity=4GiB,ptr=64")
	a, b := oracle.Alloc(t, h, 1<<31), oracle.Alloc(t, h, 1<<31)
	if _, ok := h.Alloc(1, 0); ok {
		t.Error("a byte is placed in a full heap")
	}
	h.Free(a)
	h.Free(b)
	oracle.WantLayout(t, h, "0-2147483648 2147483648-2147483648")
	for _, size := range []uint64{1<<31 + 1, 1 << 40, heapmodel.MaxSize} {
		if _, ok := h.Alloc(size, 0); ok {
			t.Errorf("%d bytes are placed", size)
		}
		if need := h.Need(size, 0); need < size {
			t.Errorf("%d bytes need %d", size, need)
		}
	}
	if r := oracle.AllocAligned(t, h, 1, heapmodel.MaxAlign); h.Addr(r) != 0 {
		t.Errorf("placed at %d, want the block freed last", h.Addr(r))
	}
}

func TestSteps(t *testing.T) {
	h := open(t, "rust-buddy:capacity=64")
	want := func(what string, steps uint64, call func()) {
		t.Helper()
		before := h.Usage().Steps
		call()
		if got := h.Usage().Steps - before; got != steps {
			t.Errorf("%s: %d steps, want %d", what, got, steps)
		}
	}
	var a, b heapmodel.Ref
	want("classes 2 to 6", 5, func() { a = oracle.Alloc(t, h, 4) })
	want("class 2", 1, func() { b = oracle.Alloc(t, h, 4) })
	want("classes 6 to 31", 26, func() { h.Alloc(33, 0) })
	want("beyond all classes", 0, func() { h.Alloc(1<<31+1, 0) })
	want("free without buddy", 0, func() { h.Free(a) })
	want("four merges, a look each", 8, func() { h.Free(b) })
}

func TestNative(t *testing.T) {
	h := open(t, "rust-buddy:capacity=1000")
	a := oracle.Alloc(t, h, 100)
	oracle.AllocAligned(t, h, 5, 64)
	r, ok := h.Realloc(a, 20, 32)
	if !ok || h.Addr(r) != 960 {
		t.Errorf("realloc gives %d, %t; want an object at 960", r, ok)
	}
	want := []heapmodel.Stat{
		{Key: "user_bytes", Value: 25},
		{Key: "allocated_bytes", Value: 96},
		{Key: "total_bytes", Value: 1000},
		{Key: "free_bytes", Value: 904},
	}
	if got := h.(heapmodel.Native).Native(); !slices.Equal(got, want) {
		t.Errorf("native figures %+v, want %+v", got, want)
	}
}

package rustlinkedlist_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/rustlinkedlist"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, rustlinkedlist.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, rustlinkedlist.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, rustlinkedlist.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, rustlinkedlist.Model) }
func TestSummaries(t *testing.T) { oracle.Table(t, rustlinkedlist.Model, "linked_list_allocator") }

// What the original's summary says, for when it is not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace       string
		failures, highest uint64
	}{
		{"rust-linked-list:capacity=40001", "aligned", 0, 35804},
		{"rust-linked-list:capacity=40001", "exhaust", 1886, 39990},
		{"rust-linked-list", "exhaust", 1187, 65528},
		{"rust-linked-list", "wide", 0, 55971},
		{"rust-linked-list:ptr=64", "aligned", 0, 35392},
		{"rust-linked-list:ptr=64", "mixed", 0, 43656},
	} {
		if got := oracle.Run(t, rustlinkedlist.Model, c.spec, c.trace); got.Failures != c.failures || got.Highest != c.highest {
			t.Errorf("%s: trace %s: %d failures, highest end %d; want %d, %d", c.spec, c.trace, got.Failures, got.Highest, c.failures, c.highest)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, rustlinkedlist.Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		overhead   uint64
	}{
		{"rust-linked-list", "0-65536", 0},
		{"rust-linked-list:capacity=40001", "0-40000", 1},
		{"rust-linked-list:capacity=8", "0-8", 0},
		{"rust-linked-list:capacity=23,ptr=64", "0-16", 7},
	} {
		h := open(t, c.spec)
		oracle.WantLayout(t, h, c.want)
		if got := h.Usage().Overhead; got != c.overhead {
			t.Errorf("%s: overhead %d, want %d", c.spec, got, c.overhead)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, rustlinkedlist.Model, [][2]string{
		{"rust-linked-list:capacity=7", "capacity 7: needs at least 8 bytes"},
		{"rust-linked-list:capacity=15,ptr=64", "capacity 15: needs at least 16 bytes"},
		{"rust-linked-list:capacity=4GiB", "the most is 4294967295 bytes"},
	})
}

func TestHoleTooLargeByAWordIsPassedOver(t *testing.T) {
	h := open(t, "rust-linked-list:capacity=4096")
	var refs []heapmodel.Ref
	for _, size := range []uint64{24, 8, 20, 8, 0} {
		refs = append(refs, oracle.Alloc(t, h, size))
	}
	h.Free(refs[0])
	h.Free(refs[2])
	oracle.WantLayout(t, h, "0-24 24+8 32-20 52+8 60+8 68-4028")
	// 24 bytes would leave a word, 20 are exact.
	if got := h.Addr(oracle.Alloc(t, h, 20)); got != 32 {
		t.Errorf("placed at %d, want 32", got)
	}
	if got := h.Addr(oracle.Alloc(t, h, 17)); got != 68 {
		t.Errorf("placed at %d, want 68", got)
	}
	if got := h.Addr(oracle.Alloc(t, h, 16)); got != 0 {
		t.Errorf("placed at %d, want 0", got)
	}
	oracle.WantLayout(t, h, "0+16 16-8 24+8 32+20 52+8 60+8 68+20 88-4008")
}

// The same with holes that are not kept by their exact size.
func TestLargeHoleTooLargeByAWord(t *testing.T) {
	h := open(t, "rust-linked-list:capacity=8192")
	var refs []heapmodel.Ref
	for _, size := range []uint64{1004, 8, 1004, 8, 1000, 8} {
		refs = append(refs, oracle.Alloc(t, h, size))
	}
	for _, i := range []int{0, 2, 4} {
		h.Free(refs[i])
	}
	before := h.Usage().Steps
	if got := h.Addr(oracle.Alloc(t, h, 1000)); got != 2024 {
		t.Errorf("placed at %d, want 2024", got)
	}
	if steps := h.Usage().Steps - before; steps != 3 {
		t.Errorf("%d steps, want 3", steps)
	}
	if got := h.Addr(oracle.Alloc(t, h, 1000)); got != 3032 {
		t.Errorf("placed at %d, want 3032", got)
	}
}

func TestRequestThatLeavesAWordFails(t *testing.T) {
	h := open(t, "rust-linked-list:capacity=64,ptr=64")
	if _, ok := h.Alloc(56, 0); ok {
		t.Error("56 of 64 bytes are placed")
	}
	oracle.Alloc(t, h, 64)
	oracle.WantLayout(t, h, "0+64")
}

func TestAligned(t *testing.T) {
	for _, c := range []struct {
		name  string
		first uint64
		size  uint64
		align uint32
		want  string
	}{
		{"natural", 12, 8, 4, "0+12 12+8 20-4076"},
		{"hole starts aligned", 16, 8, 16, "0+16 16+8 24-4072"},
		{"pad of two words", 8, 8, 16, "0+8 8-8 16+8 24-4072"},
		{"pad of a word is too little", 12, 8, 16, "0+12 12-20 32+8 40-4056"},
		{"to the end", 2048 - 8, 2048, 2048, "0+2040 2040-8 2048+2048"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, "rust-linked-list:capacity=4096")
			a := oracle.Alloc(t, h, c.first)
			b := oracle.AllocAligned(t, h, c.size, c.align)
			oracle.WantLayout(t, h, c.want)
			h.Free(b)
			h.Free(a)
			oracle.WantLayout(t, h, "0-4096")
		})
	}
}

func TestSteps(t *testing.T) {
	h := open(t, "rust-linked-list:capacity=4096")
	var refs []heapmodel.Ref
	want := func(what string, steps uint64, call func()) {
		t.Helper()
		before := h.Usage().Steps
		call()
		if got := h.Usage().Steps - before; got != steps {
			t.Errorf("%s: %d steps, want %d", what, got, steps)
		}
	}
	for range 6 {
		want("alloc from the only hole", 1, func() { refs = append(refs, oracle.Alloc(t, h, 16)) })
	}
	want("free below all holes", 0, func() { h.Free(refs[0]) })
	want("free behind one hole", 1, func() { h.Free(refs[2]) })
	want("join three", 3, func() { h.Free(refs[1]) })
	want("free behind one hole", 1, func() { h.Free(refs[4]) })
	want("alloc from the third", 3, func() { oracle.Alloc(t, h, 100) })
	want("alloc in vain", 3, func() { h.Alloc(4000, 0) })
	want("alloc of what no heap has, in vain", 3, func() { h.Alloc(heapmodel.MaxSize, 0) })
	want("aligned alloc in vain", 3, func() { h.Alloc(100, 1<<31) })
}

func TestNative(t *testing.T) {
	h := open(t, "rust-linked-list:capacity=1001")
	a := oracle.Alloc(t, h, 100)
	oracle.Alloc(t, h, 5)
	r, ok := h.Realloc(a, 20, 0)
	if !ok || h.Addr(r) != 108 {
		t.Errorf("realloc gives %d, %t; want an object at 108", r, ok)
	}
	want := []heapmodel.Stat{
		{Key: "used_bytes", Value: 28},
		{Key: "free_bytes", Value: 972},
		{Key: "size_bytes", Value: 1000},
		{Key: "top", Value: 1000},
	}
	if got := h.(heapmodel.Native).Native(); !slices.Equal(got, want) {
		t.Errorf("native figures %+v, want %+v", got, want)
	}
}

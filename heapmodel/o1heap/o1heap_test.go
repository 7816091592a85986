package o1heap_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/o1heap"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, o1heap.Model) }
func TestMinHeap(t *testing.T)   { modeltest.MinHeap(t, o1heap.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, o1heap.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, o1heap.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, o1heap.Model) }
func TestSummaries(t *testing.T) { oracle.Summaries(t, o1heap.Model, "o1heap") }

// What the original's summaries say, for when they are not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace string
		want        oracle.Figures
	}{
		{"o1heap:ptr=64", "exhaust", oracle.Figures{Failures: 2492, PeakLive: 37260, Highest: 65536, Free: 64960}},
		{"o1heap:ptr=64", "mixed", oracle.Figures{Failures: 77, PeakLive: 32040, Highest: 65536, Free: 64960, MinFree: 3904}},
		{"o1heap:ptr=64", "realloc", oracle.Figures{Failures: 8, PeakLive: 29198, Highest: 65536, Free: 64960, MinFree: 7040}},
		{"o1heap:ptr=64", "packets", oracle.Figures{PeakLive: 19910, Highest: 34186, Free: 64960, MinFree: 33664}},
	} {
		if got := oracle.Run(t, o1heap.Model, c.spec, c.trace); got != c.want {
			t.Errorf("%s: trace %s:\n got %+v\nwant %+v", c.spec, c.trace, got, c.want)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, o1heap.Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		overhead   uint64
	}{
		{"o1heap", "160-65376", 160},
		{"o1heap:ptr=64", "576-64960", 576},
		{"o1heap:capacity=65567", "160-65376", 191},
		{"o1heap:capacity=65568", "160-65408", 160},
		{"o1heap:capacity=192", "160-32", 160},
		{"o1heap:capacity=703,ptr=64", "576-64", 639},
	} {
		t.Run(c.spec, func(t *testing.T) {
			h := open(t, c.spec)
			oracle.WantLayout(t, h, c.want)
			if u := h.Usage(); u.Overhead != c.overhead || u.HighWater != 0 {
				t.Errorf("overhead %d, high-water mark %d; want %d, 0", u.Overhead, u.HighWater, c.overhead)
			}
		})
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, o1heap.Model, [][2]string{
		{"o1heap:capacity=0", "capacity 0: needs at least 192 bytes"},
		{"o1heap:capacity=191", "capacity 191: needs at least 192 bytes"},
		{"o1heap:capacity=639,ptr=64", "capacity 639: needs at least 640 bytes"},
		{"o1heap:capacity=2147483840", "the most is 2147483839 bytes"},
		{"o1heap:capacity=1TiB,ptr=64", "the most is 137438953535 bytes"},
	})
}

func TestLargestCapacities(t *testing.T) {
	for _, c := range []struct {
		spec    string
		largest uint64
	}{{"o1heap:capacity=2147483839", 1<<31 - 16}, {"o1heap:capacity=137438953535,ptr=64", 1<<36 - 32}} {
		h := open(t, c.spec)
		for _, size := range []uint64{c.largest + 1, 1 << 40, heapmodel.MaxSize} {
			if _, ok := h.Alloc(size, 0); ok {
				t.Errorf("%s: %d bytes are placed", c.spec, size)
			}
			if need := h.Need(size, 0); need < size {
				t.Errorf("%s: %d bytes need %d", c.spec, size, need)
			}
		}
		oracle.Alloc(t, h, c.largest)
		if err := h.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestSizeZero(t *testing.T) {
	h := open(t, "o1heap")
	if r, ok := h.Alloc(0, 0); r != heapmodel.NullRef || !ok || h.Need(0, 0) != 0 {
		t.Errorf("got %d, %t; want a null pointer that is no failure", r, ok)
	}
	oracle.WantLayout(t, h, "160-65376")
}

func TestBlocksArePowersOfTwo(t *testing.T) {
	for _, c := range []struct {
		spec        string
		size, block uint64
	}{
		{"o1heap", 1, 32},
		{"o1heap", 16, 32},
		{"o1heap", 17, 64},
		{"o1heap", 48, 64},
		{"o1heap", 49, 128},
		{"o1heap", 16384, 32768},
		{"o1heap", 32752, 32768},
		{"o1heap:ptr=64", 32, 64},
		{"o1heap:ptr=64", 33, 128},
		{"o1heap:ptr=64", 32736, 32768},
	} {
		h := open(t, c.spec)
		r := oracle.Alloc(t, h, c.size)
		for b := range h.Blocks() {
			if b.Used && (b.Size != c.block || b.Payload != h.Addr(r) || uint64(b.Payload-b.Addr) != uint64(h.Align())) {
				t.Errorf("%s: %d bytes: %s, want a block of %d", c.spec, c.size, golden.FormatBlock(b), c.block)
			}
		}
		if need := h.Need(c.size, 0); need != c.block {
			t.Errorf("%s: %d bytes need %d, want %d", c.spec, c.size, need, c.block)
		}
	}
}

func TestPlacement(t *testing.T) {
	h := open(t, "o1heap:capacity=4256")
	a, b, c := oracle.Alloc(t, h, 40), oracle.Alloc(t, h, 100), oracle.Alloc(t, h, 1)
	oracle.Alloc(t, h, 1)
	oracle.WantLayout(t, h, "160+64 224+128 352+32 384+32 416-3840")
	h.Free(a)
	h.Free(c)
	oracle.WantLayout(t, h, "160-64 224+128 352-32 384+32 416-3840")
	h.Free(b)
	// The 224 bytes lie in the bin of 128: a request for 256 passes them over,
	// as it would if they were 255.
	oracle.WantLayout(t, h, "160-224 384+32 416-3840")
	oracle.Alloc(t, h, 200)
	oracle.WantLayout(t, h, "160-224 384+32 416+256 672-3584")
	oracle.Alloc(t, h, 100)
	oracle.WantLayout(t, h, "160+128 288-96 384+32 416+256 672-3584")
	// 96 bytes are in the bin of 64.
	oracle.Alloc(t, h, 48)
	oracle.WantLayout(t, h, "160+128 288+64 352-32 384+32 416+256 672-3584")
}

func TestTheLastFreedIsTheFirstUsed(t *testing.T) {
	h := open(t, "o1heap")
	var refs []heapmodel.Ref
	for range 6 {
		refs = append(refs, oracle.Alloc(t, h, 40))
	}
	first, second := h.Addr(refs[0]), h.Addr(refs[2])
	h.Free(refs[0])
	h.Free(refs[2])
	if got := h.Addr(oracle.Alloc(t, h, 40)); got != second {
		t.Errorf("got %d, want %d, freed last", got, second)
	}
	if got := h.Addr(oracle.Alloc(t, h, 40)); got != first {
		t.Errorf("got %d, want %d", got, first)
	}
}

// Realloc is the program's own: also a shrink moves.
func TestReallocMoves(t *testing.T) {
	h := open(t, "o1heap")
	r := oracle.Alloc(t, h, 100)
	s, ok := h.Realloc(r, 10, 0)
	if !ok || h.Addr(s) != 304 {
		t.Errorf("got %d, %t; want a new object at 304", s, ok)
	}
	oracle.WantLayout(t, h, "160-128 288+32 320-65216")
	if again, ok := h.Realloc(s, 60000, 0); ok || again != s {
		t.Errorf("got %d, %t; want a failure", again, ok)
	}
	oracle.WantLayout(t, h, "160-128 288+32 320-65216")
}

func TestSteps(t *testing.T) {
	h := open(t, "o1heap")
	var refs []heapmodel.Ref
	want := func(what string, steps uint64, call func()) {
		t.Helper()
		before := h.Usage().Steps
		call()
		if got := h.Usage().Steps - before; got != steps {
			t.Errorf("%s: %d steps, want %d", what, got, steps)
		}
	}
	for range 3 {
		want("alloc", 2, func() { refs = append(refs, oracle.Alloc(t, h, 40)) }) // the bitmap, the block
	}
	want("alloc that fails", 1, func() { h.Alloc(40000, 0) })
	want("alloc beyond the capacity", 0, func() { h.Alloc(65376-15, 0) })
	want("alloc at the capacity", 1, func() { h.Alloc(65376-16, 0) })
	want("free between used blocks", 0, func() { h.Free(refs[0]) })
	want("free below the rest", 1, func() { h.Free(refs[2]) })
	want("free between free blocks", 2, func() { h.Free(refs[1]) })
}

func TestNative(t *testing.T) {
	h := open(t, "o1heap")
	r := oracle.Alloc(t, h, 100)
	oracle.Alloc(t, h, 40)
	h.Free(r)
	h.Alloc(0, 0)
	h.Alloc(70000, 0)
	h.Alloc(40000, 0)
	want := []heapmodel.Stat{
		{Key: "capacity_bytes", Value: 65376},
		{Key: "allocated_bytes", Value: 64},
		{Key: "peak_allocated_bytes", Value: 192},
		{Key: "peak_request_bytes", Value: 70000},
		{Key: "failures", Value: 2},
		{Key: "free_bytes", Value: 65312},
		{Key: "min_ever_free_bytes", Value: 65184},
		{Key: "largest_free_bytes", Value: 65184},
	}
	if got := h.(heapmodel.Native).Native(); !slices.Equal(got, want) {
		t.Errorf("native figures\n got %v\nwant %v", got, want)
	}
}

func TestRefsThatAreNotLive(t *testing.T) {
	h := open(t, "o1heap")
	a, b := oracle.Alloc(t, h, 40), oracle.Alloc(t, h, 40)
	h.Free(a)
	for _, r := range []heapmodel.Ref{a, b + 1, b + 2, 0, 5, 1 << 31, heapmodel.NullRef - 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Free of Ref %d does not panic", r)
				}
			}()
			h.Free(r)
		}()
	}
	if err := h.Check(); err != nil {
		t.Error(fmt.Errorf("after the panics: %w", err))
	}
}

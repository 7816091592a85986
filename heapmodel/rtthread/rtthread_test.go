package rtthread_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/rtthread"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, rtthread.Model) }
func TestMinHeap(t *testing.T)   { modeltest.MinHeap(t, rtthread.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, rtthread.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, rtthread.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, rtthread.Model) }
func TestSummaries(t *testing.T) { oracle.Summaries(t, rtthread.Model, "rtthread") }

// What the original's summaries say, for when they are not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace string
		want        oracle.Figures
	}{
		{"rtthread-smem:capacity=32KiB", "exhaust", oracle.Figures{Failures: 2768, InPlace: 58, PeakLive: 27795, Highest: 32752, Free: 32680, MinFree: 16}},
		{"rtthread-smem:capacity=32KiB", "realloc", oracle.Figures{Failures: 199, InPlace: 650, PeakLive: 26634, Highest: 32738, Free: 32680, MinFree: 2784}},
		{"rtthread-smem:align=4", "exhaust", oracle.Figures{Failures: 1390, InPlace: 75, PeakLive: 58085, Highest: 65516, Free: 65456, MinFree: 1264}},
		{"rtthread-smem", "vectors", oracle.Figures{InPlace: 221, PeakLive: 15324, Highest: 23088, Free: 65448, MinFree: 46680}},
	} {
		if got := oracle.Run(t, rtthread.Model, c.spec, c.trace); got != c.want {
			t.Errorf("%s: trace %s:\n got %+v\nwant %+v", c.spec, c.trace, got, c.want)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, rtthread.Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		first      heapmodel.Addr
		overhead   uint64
	}{
		{"rtthread-smem", "56-65464", 72, 72},
		{"rtthread-smem:align=4", "56-65468", 68, 68},
		{"rtthread-smem:capacity=32KiB", "56-32696", 72, 72},
		{"rtthread-smem:capacity=1007", "56-928", 72, 79},
		{"rtthread-smem:capacity=1000,pool=61", "64-920", 80, 80},
		{"rtthread-smem:capacity=1000,pool=0,align=4", "0-988", 12, 12},
		{"rtthread-smem:capacity=104", "56-32", 72, 72},
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
	oracle.BadConfigs(t, rtthread.Model, [][2]string{
		{"rtthread-smem:capacity=0", "capacity=0: needs at least 104 bytes"},
		{"rtthread-smem:capacity=103", "capacity=103: needs at least 104 bytes"},
		{"rtthread-smem:capacity=91,align=4", "capacity=91: needs at least 92 bytes"},
		{"rtthread-smem:capacity=4GiB", "the most is 4294967295 bytes"},
		{"rtthread-smem:capacity=0xffffffffffffffff", "the most is"},
		{"rtthread-smem:pool=1MiB", "pool=1MiB: the most is 65536 bytes"},
	})
}

func TestLargestRequests(t *testing.T) {
	for _, c := range []struct {
		spec    string
		largest uint64
	}{{"rtthread-smem", 65448}, {"rtthread-smem:capacity=4294967295", 1<<32 - 8 - 56 - 32}} {
		h := open(t, c.spec)
		for _, size := range []uint64{c.largest + 1, 1 << 32, 1 << 40, heapmodel.MaxSize} {
			if _, ok := h.Alloc(size, 0); ok {
				t.Errorf("%s: %d bytes are placed", c.spec, size)
			}
		}
		oracle.Alloc(t, h, c.largest)
		if u := h.Usage(); u.Free != 0 || u.FreeBlocks != 0 {
			t.Errorf("%s: %d bytes are free, want none", c.spec, u.Free)
		}
		// used is then larger than total by a header.
		if s := h.(heapmodel.Native).Native(); s[0].Value != 0 || s[3].Value != c.largest+16 {
			t.Errorf("%s: figures %v, want none free and %d used", c.spec, s, c.largest+16)
		}
	}
}

func TestSplits(t *testing.T) {
	for _, c := range []struct {
		spec string
		size uint64
		want string
	}{
		{"rtthread-smem:capacity=200", 1, "56+32 88-96"},
		{"rtthread-smem:capacity=200", 17, "56+40 96-88"},
		{"rtthread-smem:capacity=200", 80, "56+96 152-32"},
		{"rtthread-smem:capacity=200", 81, "56+128"},
		{"rtthread-smem:capacity=200,align=4", 84, "56+96 152-36"},
		{"rtthread-smem:capacity=200,align=4", 96, "56+108 164-24"},
		{"rtthread-smem:capacity=200,align=4", 97, "56+132"},
	} {
		h := open(t, c.spec)
		oracle.Alloc(t, h, c.size)
		oracle.WantLayout(t, h, c.want)
	}
}

func TestRealloc(t *testing.T) {
	for _, c := range []struct {
		name string
		size uint64
		at   heapmodel.Addr // of the object then
		want string
	}{
		{"same size", 97, 72, "56+120 176+32 208-288"},
		{"cut", 75, 192 + 32, "56-120 176+32 208+96 304-192"}, // 28 bytes less: no more than header and 12
		{"cut in place", 72, 72, "56+88 144-32 176+32 208-288"},
		{"cut below the least", 1, 72, "56+24 80-96 176+32 208-288"},
		{"grow", 105, 224, "56-120 176+32 208+128 336-160"}, // never in place
		{"shrink a little", 96, 224, "56-120 176+32 208+112 320-176"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, "rtthread-smem:capacity=512")
			a := oracle.Alloc(t, h, 100)
			oracle.Alloc(t, h, 1)
			oracle.WantLayout(t, h, "56+120 176+32 208-288")
			s, ok := h.Realloc(a, c.size, 0)
			if !ok || h.Addr(s) != c.at {
				t.Errorf("got %d at %d, %t; want %d", s, h.Addr(s), ok, c.at)
			}
			oracle.WantLayout(t, h, c.want)
		})
	}
}

// TestReallocJoins cuts a block whose upper neighbour is free, and then
// allocates from the part cut off, below what was the lowest free block.
func TestReallocJoins(t *testing.T) {
	h := open(t, "rtthread-smem:capacity=512")
	a, b := oracle.Alloc(t, h, 100), oracle.Alloc(t, h, 40)
	oracle.Alloc(t, h, 1)
	h.Free(b)
	oracle.WantLayout(t, h, "56+120 176-56 232+32 264-232")
	before := h.Usage().Steps
	if s, ok := h.Realloc(a, 8, 0); !ok || s != a {
		t.Errorf("got %d, %t; want it in place", s, ok)
	}
	oracle.WantLayout(t, h, "56+24 80-152 232+32 264-232")
	if got := h.Usage().Steps - before; got != 1 {
		t.Errorf("%d steps, want the merge", got)
	}
	if at := h.Addr(oracle.Alloc(t, h, 130)); at != 96 {
		t.Errorf("the next object is at %d, want 96", at)
	}
	h.Free(a)
	oracle.WantLayout(t, h, "56-24 80+152 232+32 264-232")
}

func TestReallocFails(t *testing.T) {
	h := open(t, "rtthread-smem:capacity=512")
	a := oracle.Alloc(t, h, 300)
	for _, size := range []uint64{296, 305, 424, 425, 1 << 32, heapmodel.MaxSize} { // 296 is smaller
		if s, ok := h.Realloc(a, size, 0); ok || s != a {
			t.Errorf("%d bytes: got %d, %t; want a failure", size, s, ok)
		}
		oracle.WantLayout(t, h, "56+320 376-120")
	}
}

func TestSizeZero(t *testing.T) {
	h := open(t, "rtthread-smem:capacity=512")
	if r, ok := h.Alloc(0, 0); r != heapmodel.NullRef || !ok || h.Need(0, 0) != 0 {
		t.Errorf("got %d, %t, need %d; want a null pointer that is no failure", r, ok, h.Need(0, 0))
	}
	r := oracle.Alloc(t, h, 40)
	if s, ok := h.Realloc(r, 0, 0); s != heapmodel.NullRef || !ok {
		t.Errorf("realloc to 0: got %d, %t; want a null pointer that is no failure", s, ok)
	}
	oracle.WantLayout(t, h, "56-440")
	if s, ok := h.Realloc(heapmodel.NullRef, 40, 0); !ok || h.Addr(s) != 72 {
		t.Errorf("realloc of a null pointer: got %d, %t; want a new object at 72", s, ok)
	}
}

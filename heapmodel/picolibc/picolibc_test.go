package picolibc_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/picolibc"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, picolibc.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, picolibc.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, picolibc.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, picolibc.Model) }
func TestTable(t *testing.T)     { oracle.Table(t, picolibc.Model, "picolibc") }

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, picolibc.Model, spec)
}

// TestBreaks compares the break at the end with the originals', by the whole
// table of them where it is there.
func TestBreaks(t *testing.T) {
	for _, c := range []struct {
		spec, trace string
		want        uint64
	}{
		{"picolibc", "exhaust", 65532},
		{"picolibc", "aligned", 39812},
		{"picolibc:ptr=64", "realloc", 58072},
		{"picolibc:grow=16MiB", "exhaust", 134876},
		{"picolibc:bucket=128", "aligned", 65516},
		{"picolibc:bucket=128", "realloc", 63428},
	} {
		if got := oracle.Break(t, picolibc.Model, c.spec, c.trace); got != c.want {
			t.Errorf("%s: %s: break at %d, want %d", c.spec, c.trace, got, c.want)
		}
	}
	oracle.Breaks(t, picolibc.Model, "picolibc")
}

// A few rows of the originals' table, for when it is not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace       string
		failures, highest uint64
	}{
		{"picolibc", "exhaust", 1255, 65527},
		{"picolibc", "wide", 0, 61627},
		{"picolibc:ptr=64", "exhaust", 1335, 65455},
		{"picolibc:bucket=128", "exhaust", 2987, 65524},
		{"picolibc:bucket=128", "aligned", 584, 65504},
		{"picolibc:bucket=128", "wide", 69, 63147},
	} {
		got := oracle.Run(t, picolibc.Model, c.spec, c.trace)
		if got.Failures != c.failures || got.Highest != c.highest {
			t.Errorf("%s: %s: %d failures, highest end %d; want %d, %d", c.spec, c.trace, got.Failures, got.Highest, c.failures, c.highest)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, picolibc.Model, [][2]string{
		{"picolibc:grow=0", "grow=0: needs at least 12 bytes"},
		{"picolibc:grow=11", "needs at least 12 bytes"},
		{"picolibc:grow=23,ptr=64", "needs at least 24 bytes"},
		{"picolibc:grow=4294967297", "the most is 4294967296 bytes"},
		{"picolibc:grow=64GiB,ptr=64", "the most is 68719476704 bytes"},
		{"picolibc:bucket=15", "want 0, or 16 to 1048576 bytes"},
		{"picolibc:bucket=1048577", "want 0, or 16 to 1048576 bytes"},
	})
}

// The least heaps hold one object and no more.
func TestLeastHeaps(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{"picolibc:grow=12", "4+8"},
		{"picolibc:grow=24,ptr=64", "8+16"},
	} {
		h := open(t, c.spec)
		oracle.WantLayout(t, h, "")
		r := oracle.Alloc(t, h, 0)
		oracle.WantLayout(t, h, c.want)
		if _, ok := h.Alloc(0, 0); ok {
			t.Errorf("%s: holds two objects", c.spec)
		}
		h.Free(r)
		oracle.Alloc(t, h, 1)
		oracle.WantLayout(t, h, c.want)
	}
}

// Where the break may rise by the first chunk but not by the bytes in front of
// it, the memory is lost for good.
func TestLostBreak(t *testing.T) {
	for _, c := range []struct {
		spec string
		size uint64
		lost uint64
	}{
		{"picolibc:grow=100", 92, 96},
		{"picolibc:grow=99", 92, 96},
		{"picolibc:grow=101,ptr=64", 88, 96},
	} {
		h := open(t, c.spec)
		_, ok := h.Alloc(c.size, 0)
		if lost := h.Usage().Overhead; ok != (c.spec == "picolibc:grow=100") || !ok && lost != c.lost {
			t.Errorf("%s: got %v, %d bytes lost; want %d", c.spec, ok, lost, c.lost)
		}
		if _, ok := h.Alloc(1, 0); ok {
			t.Errorf("%s: an object is placed where no memory is left", c.spec)
		}
		if err := h.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestImpossibleRequests(t *testing.T) {
	for _, spec := range []string{"picolibc:grow=1GiB", "picolibc:grow=1GiB,ptr=64,bucket=128"} {
		h := open(t, spec)
		r := oracle.Alloc(t, h, 200)
		want := oracle.Layout(h)
		for _, size := range []uint64{1<<30 - 200, 1 << 31, 1 << 32, 1<<36 + 1, 1<<62 - 1, heapmodel.MaxSize} {
			for _, align := range []uint32{0, 1, 8, heapmodel.MaxAlign} {
				if _, ok := h.Alloc(size, align); ok {
					t.Errorf("%s: %d bytes aligned to %d are placed", spec, size, align)
				}
			}
			if s, ok := h.Realloc(r, size+200, 0); ok || s != r {
				t.Errorf("%s: realloc to %d bytes succeeds", spec, size)
			}
		}
		if _, ok := h.Alloc(1, heapmodel.MaxAlign); ok {
			t.Errorf("%s: an object aligned to 2^31 is placed", spec)
		}
		oracle.WantLayout(t, h, want)
	}
}

func TestRealloc(t *testing.T) {
	for _, c := range []struct {
		spec  string
		above bool // a second object above the one of 40 bytes
		size  uint64
		want  string
	}{
		{"picolibc", true, 36, "4+40 44-8 52+8"},
		{"picolibc", true, 37, "4+48 52+8"},
		{"picolibc", true, 1, "4+8 12-40 52+8"},
		{"picolibc", true, 45, "4-48 52+8 60+56"},
		{"picolibc", false, 45, "4+56"},
		{"picolibc:grow=59", false, 45, "4+48"},
		{"picolibc:grow=60", false, 45, "4+56"},
		{"picolibc", true, 0, "4-48 52+8"},
		{"picolibc:bucket=128", true, 1, "4+72 76+24"},        // of bucket size: not split
		{"picolibc:bucket=128", false, 70, "4-72 76+136"},     // nor grown
		{"picolibc:bucket=128", false, 200, "4-72 76+208"},    // nor grown
		{"picolibc:bucket=32", false, 30, "4+40 44-8"},        // shrinks to a bucket's size
		{"picolibc:bucket=32", false, 100, "4+104"},           // grows
		{"picolibc:bucket=128,ptr=64", false, 60, "8+80"},     // 64 bytes and 16
		{"picolibc:bucket=128,ptr=64", true, 2, "8+80 88+32"}, // smallest bucket: 16 bytes and 16
	} {
		h := open(t, c.spec)
		r := oracle.Alloc(t, h, 44)
		if c.above {
			oracle.Alloc(t, h, 4)
		}
		s, ok := h.Realloc(r, c.size, 0)
		if failed := c.spec == "picolibc:grow=59"; ok == failed || ok && (s == heapmodel.NullRef) != (c.size == 0) {
			t.Errorf("%s: realloc to %d: got %d, %v", c.spec, c.size, s, ok)
		}
		oracle.WantLayout(t, h, c.want)
	}
	h := open(t, "picolibc")
	if r, ok := h.Realloc(heapmodel.NullRef, 0, 0); !ok || r == heapmodel.NullRef {
		t.Error("realloc of a null pointer to 0 bytes gives no object")
	}
	oracle.WantLayout(t, h, "4+8")
}

func TestMemalign(t *testing.T) {
	for _, c := range []struct {
		spec  string
		size  uint64
		align uint32
		addr  heapmodel.Addr
		want  string
	}{
		{"picolibc", 4, 1, 8, "4+8 12-16"},
		{"picolibc", 4, 8, 8, "4+8 12-24"},
		{"picolibc", 40, 64, 64, "4-56 60+48 108-24"},
		{"picolibc:ptr=64", 40, 64, 64, "8-48 56+48 104-48"},
		{"picolibc:bucket=128", 4, 8, 8, "4+8 12-32"}, // a chunk of 40, cut below bucket sizes
		{"picolibc:bucket=128", 28, 8, 8, "4+32 36-40"},
	} {
		h := open(t, c.spec)
		if a := h.Addr(oracle.AllocAligned(t, h, c.size, c.align)); a != c.addr {
			t.Errorf("%s: %d bytes aligned to %d are at %d, want %d", c.spec, c.size, c.align, a, c.addr)
		}
		oracle.WantLayout(t, h, c.want)
	}
}

// Chunks in buckets do not merge, are used again newest first, and come from
// the list only by chance of their size.
func TestBuckets(t *testing.T) {
	h := open(t, "picolibc:bucket=128")
	a, b := oracle.Alloc(t, h, 16), oracle.Alloc(t, h, 20)
	c := oracle.Alloc(t, h, 200)
	oracle.Alloc(t, h, 120)
	oracle.WantLayout(t, h, "4+24 28+24 52+208 260+136")
	h.Free(b)
	h.Free(a)
	oracle.WantLayout(t, h, "4-24 28-24 52+208 260+136")
	if n := oracle.Native(h); n["bucket_bytes"] != 48 || n["bucket_blocks"] != 2 || n["free_bytes"] != 0 || n["free_blocks"] != 0 {
		t.Errorf("figures: %v", n)
	}
	if at := h.Addr(oracle.Alloc(t, h, 1)); at != 8 {
		t.Errorf("the newest of a bucket is at %d, want 8", at)
	}
	h.Free(c)
	if n := oracle.Native(h); n["bucket_blocks"] != 1 || n["free_bytes"] != 208 || n["free_blocks"] != 1 {
		t.Errorf("figures: %v", n)
	}
	// What remains of the free chunk, 72 bytes, is of a bucket's size.
	oracle.Alloc(t, h, 132)
	if n := oracle.Native(h); n["bucket_blocks"] != 1 || n["bucket_bytes"] != 24 || h.Usage().FreeBlocks != 2 {
		t.Errorf("a small request is served from the list: %v", n)
	}
	oracle.WantLayout(t, h, "4+24 28-24 52-208 260+136 396+136")
	oracle.Alloc(t, h, 133)
	oracle.WantLayout(t, h, "4+24 28-24 52+144 196-64 260+136 396+136")
	h = open(t, "picolibc:bucket=128")
	d := oracle.Alloc(t, h, 212)
	h.Free(d)
	oracle.Alloc(t, h, 140)
	oracle.WantLayout(t, h, "4+144 148-72")
	if n := oracle.Native(h); n["bucket_bytes"] != 72 || n["free_bytes"] != 0 || h.LargestFree() != 72 {
		t.Errorf("a remainder of 72 bytes is not in its bucket: %v", n)
	}
}

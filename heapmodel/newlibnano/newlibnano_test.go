package newlibnano_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/newlibnano"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, newlibnano.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, newlibnano.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, newlibnano.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, newlibnano.Model) }
func TestTable(t *testing.T)     { oracle.Table(t, newlibnano.Model, "newlib-nano") }

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, newlibnano.Model, spec)
}

// TestBreaks compares the break at the end with the originals', by the whole
// table of them where it is there.
func TestBreaks(t *testing.T) {
	for _, c := range []struct {
		spec, trace string
		want        uint64
	}{
		{"newlib-nano:grow=40001", "exhaust", 39988},
		{"newlib-nano", "aligned", 40928},
		{"newlib-nano:ptr=64", "realloc", 50680},
		{"newlib-nano:grow=16MiB", "exhaust", 137400},
		{"newlib-nano:version=3.3.0", "realloc", 61116},
		{"newlib-nano:version=4.1.0", "realloc", 58048},
	} {
		if got := oracle.Break(t, newlibnano.Model, c.spec, c.trace); got != c.want {
			t.Errorf("%s: %s: break at %d, want %d", c.spec, c.trace, got, c.want)
		}
	}
	oracle.Breaks(t, newlibnano.Model, "newlib-nano")
}

// A few rows of the originals' table, for when it is not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace       string
		failures, highest uint64
	}{
		{"newlib-nano", "exhaust", 1261, 65508},
		{"newlib-nano", "wide", 0, 61737},
		{"newlib-nano:ptr=64", "exhaust", 1263, 65528},
		{"newlib-nano:grow=40001,version=4.1.0", "aligned", 1, 38304},
		{"newlib-nano:grow=40001,version=4.1.0", "wide", 215, 39028},
		{"newlib-nano:version=3.3.0", "exhaust", 1275, 65529},
	} {
		got := oracle.Run(t, newlibnano.Model, c.spec, c.trace)
		if got.Failures != c.failures || got.Highest != c.highest {
			t.Errorf("%s: %s: %d failures, highest end %d; want %d, %d", c.spec, c.trace, got.Failures, got.Highest, c.failures, c.highest)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, newlibnano.Model, [][2]string{
		{"newlib-nano:grow=0", "grow=0: needs at least 12 bytes"},
		{"newlib-nano:grow=11", "needs at least 12 bytes"},
		{"newlib-nano:grow=15,ptr=64", "needs at least 16 bytes"},
		{"newlib-nano:grow=4294967297", "the most is 4294967296 bytes"},
		{"newlib-nano:grow=32GiB,ptr=64", "the most is 34359738360 bytes"},
		{"newlib-nano:version=4.2.0", "not modelled"},
		{"newlib-nano:version=4.2.9", "not modelled"},
	})
}

// The least heaps hold one object and no more.
func TestLeastHeaps(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{"newlib-nano:grow=12", "0+12"},
		{"newlib-nano:grow=16,ptr=64", "0+16"},
		{"newlib-nano:grow=12,version=3.3.0", "0+12"},
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

func TestImpossibleRequests(t *testing.T) {
	for _, spec := range []string{"newlib-nano:grow=4GiB", "newlib-nano:grow=34359738360,ptr=64"} {
		h := open(t, spec)
		r := oracle.Alloc(t, h, 100)
		want := oracle.Layout(h)
		for _, size := range []uint64{1<<31 - 8, 1 << 31, 1 << 32, 1<<62 - 1, heapmodel.MaxSize} {
			for _, align := range []uint32{0, 1, 8, heapmodel.MaxAlign} {
				if _, ok := h.Alloc(size, align); ok {
					t.Errorf("%s: %d bytes aligned to %d are placed", spec, size, align)
				}
			}
			if s, ok := h.Realloc(r, size, 0); ok || s != r {
				t.Errorf("%s: realloc to %d bytes succeeds", spec, size)
			}
		}
		if _, ok := h.Alloc(1, heapmodel.MaxAlign); ok {
			t.Errorf("%s: an object aligned to 2^31 is placed", spec)
		}
		oracle.WantLayout(t, h, want)
		// The largest chunk is a word short of 2^31.
		big := oracle.Alloc(t, h, 1<<31-16)
		if err := h.Check(); err != nil {
			t.Error(err)
		}
		h.Free(big)
	}
}

func TestSplits(t *testing.T) {
	for _, c := range []struct {
		spec string
		want string
	}{
		{"newlib-nano", "0+24 24-36 60+12"},
		{"newlib-nano:version=4.1.0", "0-36 36+24 60+12"},
		{"newlib-nano:version=3.3.0", "0-36 36+24 60+12"},
		{"newlib-nano:ptr=64", "0+24 24-40 64+16"},
	} {
		h := open(t, c.spec)
		r := oracle.Alloc(t, h, 52)
		oracle.Alloc(t, h, 4)
		h.Free(r)
		oracle.Alloc(t, h, 16)
		oracle.WantLayout(t, h, c.want)
	}
	// A remainder below the least chunk stays with the object.
	h := open(t, "newlib-nano")
	r := oracle.Alloc(t, h, 24)
	oracle.Alloc(t, h, 4)
	h.Free(r)
	oracle.Alloc(t, h, 16)
	oracle.WantLayout(t, h, "0+32 32+12")
}

// The last chunk is extended only where the break cannot rise by a whole one.
func TestExtension(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		ok         bool
	}{
		{"newlib-nano:grow=100", "0+48 48+52", true},
		{"newlib-nano:grow=99", "0+48 48-32", false},
		{"newlib-nano:grow=131", "0+48 48+52", true},
		{"newlib-nano:grow=132", "0+48 48-32 80+52", true},
		{"newlib-nano:grow=100,version=4.1.0", "0+48 48-32", false},
		{"newlib-nano:grow=132,version=4.1.0", "0+48 48-32 80+52", true},
	} {
		h := open(t, c.spec)
		oracle.Alloc(t, h, 40)
		h.Free(oracle.Alloc(t, h, 24))
		if _, ok := h.Alloc(44, 0); ok != c.ok {
			t.Errorf("%s: got %v, want %v", c.spec, ok, c.ok)
		}
		oracle.WantLayout(t, h, c.want)
	}
	// A free chunk below a used one is not the last of the arena.
	h := open(t, "newlib-nano:grow=100")
	r := oracle.Alloc(t, h, 40)
	oracle.Alloc(t, h, 40)
	h.Free(r)
	if _, ok := h.Alloc(44, 0); ok {
		t.Error("a chunk inside the arena is extended")
	}
	oracle.WantLayout(t, h, "0-48 48+48")
}

func TestRealloc(t *testing.T) {
	for _, c := range []struct {
		spec string
		size uint64
		want string
	}{
		{"newlib-nano", 40, "0+48 48+12"},
		{"newlib-nano", 21, "0+48 48+12"},
		{"newlib-nano", 20, "0-48 48+12 60+28"},
		{"newlib-nano", 41, "0-48 48+12 60+52"},
		{"newlib-nano:version=4.1.0", 20, "0-48 48+12 60+28"},
		{"newlib-nano:version=3.3.0", 20, "0+48 48+12"},
		{"newlib-nano:version=3.3.0", 1, "0+48 48+12"},
		{"newlib-nano", 0, "0-48 48+12"},
	} {
		h := open(t, c.spec)
		r := oracle.Alloc(t, h, 40)
		oracle.Alloc(t, h, 4)
		s, ok := h.Realloc(r, c.size, 0)
		if !ok || (s == heapmodel.NullRef) != (c.size == 0) {
			t.Errorf("%s: realloc to %d: got %d, %v", c.spec, c.size, s, ok)
		}
		oracle.WantLayout(t, h, c.want)
	}
	h := open(t, "newlib-nano")
	if r, ok := h.Realloc(heapmodel.NullRef, 0, 0); !ok || r == heapmodel.NullRef {
		t.Error("realloc of a null pointer to 0 bytes gives no object")
	}
	oracle.WantLayout(t, h, "0+12")
}

func TestMemalign(t *testing.T) {
	for _, c := range []struct {
		spec  string
		size  uint64
		align uint32
		addr  heapmodel.Addr
		want  string
	}{
		{"newlib-nano", 5, 1, 8, "0+16"},
		{"newlib-nano", 5, 8, 8, "0+16"},
		{"newlib-nano", 0, 8, 8, "0+12"},
		{"newlib-nano", 4, 16, 16, "0-12 12+8"},           // in front: 12 bytes, enough for a chunk
		{"newlib-nano", 40, 64, 64, "0-60 60+44"},         // in front and nothing behind
		{"newlib-nano:ptr=64", 40, 16, 16, "0+56"},        // in front: 8 bytes, which stay
		{"newlib-nano:ptr=64", 40, 64, 64, "0-56 56+48"},  // the same
		{"newlib-nano:ptr=64", 40, 32, 32, "0-24 24+48"},  // the same
		{"newlib-nano:version=4.1.0", 5, 8, 8, "0+16"},    // the same in all versions
		{"newlib-nano:ptr=64,version=3.3.0", 5, 8, 8, ""}, // layout not of interest
	} {
		h := open(t, c.spec)
		r := oracle.AllocAligned(t, h, c.size, c.align)
		if a := h.Addr(r); a != c.addr {
			t.Errorf("%s: %d bytes aligned to %d are at %d, want %d", c.spec, c.size, c.align, a, c.addr)
		}
		if c.want != "" {
			oracle.WantLayout(t, h, c.want)
		}
		h.Free(r)
		if u := h.Usage(); u.FreeBlocks != 1 || u.Allocated != 0 {
			t.Errorf("%s: after free: %+v", c.spec, *u)
		}
	}
}

package ummmalloc_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/ummmalloc"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, ummmalloc.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, ummmalloc.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, ummmalloc.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, ummmalloc.Model) }
func TestTable(t *testing.T)     { oracle.Table(t, ummmalloc.Model, "umm_malloc") }

// A few rows of the originals' table, for when it is not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace             string
		failures, highest, free uint64
	}{
		{"umm-malloc:capacity=40001", "exhaust", 1928, 39992, 39984},
		{"umm-malloc", "exhaust", 1229, 65528, 65520},
		{"umm-malloc", "realloc", 0, 50348, 65520},
		{"umm-malloc:body=16", "exhaust", 1262, 65516, 65504},
		{"umm-malloc:capacity=40001,fit=first", "realloc", 253, 39992, 39984},
		{"umm-malloc:fit=first", "exhaust", 1592, 65528, 65520},
	} {
		got := oracle.Run(t, ummmalloc.Model, c.spec, c.trace)
		if got.Failures != c.failures || got.Highest != c.highest || got.Free != c.free {
			t.Errorf("%s: %s: %d failures, highest end %d, %d bytes free at the end; want %d, %d, %d", c.spec, c.trace,
				got.Failures, got.Highest, got.Free, c.failures, c.highest, c.free)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, ummmalloc.Model, spec)
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, ummmalloc.Model, [][2]string{
		{"umm-malloc:capacity=0", "capacity=0: needs at least 24 bytes"},
		{"umm-malloc:capacity=23", "needs at least 24 bytes"},
		{"umm-malloc:capacity=47,body=16", "needs at least 48 bytes"},
		{"umm-malloc:capacity=256KiB", "the most is 262143 bytes"},
		{"umm-malloc:capacity=512KiB,body=16", "the most is 524287 bytes"},
		{"umm-malloc:capacity=0xffffffffffffffff", "the most is"},
	})
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		first      heapmodel.Addr
		overhead   uint64
	}{
		{"umm-malloc", "8-65520", 12, 16},
		{"umm-malloc:capacity=40001", "8-39984", 12, 17},
		{"umm-malloc:body=16", "16-65504", 20, 32},
		{"umm-malloc:capacity=24,ptr=64", "8-8", 12, 16},
		{"umm-malloc:capacity=262143", "8-262120", 12, 23},
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

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		spec string
		size uint64
		want uint64
	}{
		{"umm-malloc", 1, 8},
		{"umm-malloc", 4, 8},
		{"umm-malloc", 5, 16},
		{"umm-malloc", 12, 16},
		{"umm-malloc", 13, 24},
		{"umm-malloc:body=16", 12, 16},
		{"umm-malloc:body=16", 13, 32},
		{"umm-malloc:body=64", 60, 64},
		{"umm-malloc:body=64", 61, 128},
	} {
		h := open(t, c.spec)
		oracle.Alloc(t, h, c.size)
		if got := h.Usage().Allocated; got != c.want || h.Need(c.size, 0) != c.want {
			t.Errorf("%s: %d bytes take %d, need %d, want %d", c.spec, c.size, got, h.Need(c.size, 0), c.want)
		}
	}
}

func TestImpossibleRequests(t *testing.T) {
	for _, spec := range []string{"umm-malloc:capacity=262143", "umm-malloc:fit=first"} {
		h := open(t, spec)
		r := oracle.Alloc(t, h, 100)
		want := oracle.Layout(h)
		largest := h.LargestFree() - 4
		for _, size := range []uint64{largest + 1, 1 << 18, 1 << 32, 1<<35 + 1, heapmodel.MaxSize} {
			if _, ok := h.Alloc(size, 0); ok {
				t.Errorf("%s: %d bytes are placed", spec, size)
			}
			if s, ok := h.Realloc(r, size+104, 0); ok || s != r {
				t.Errorf("%s: realloc to %d bytes succeeds", spec, size+104)
			}
		}
		oracle.WantLayout(t, h, want)
		oracle.Alloc(t, h, largest)
	}
}

func TestZeroSizes(t *testing.T) {
	h := open(t, "umm-malloc")
	if r, ok := h.Alloc(0, 0); !ok || r != heapmodel.NullRef {
		t.Errorf("alloc of 0 bytes: %d, %v", r, ok)
	}
	if r, ok := h.Realloc(heapmodel.NullRef, 4, 0); !ok || h.Addr(r) != 12 {
		t.Errorf("realloc of a null pointer: %d, %v", r, ok)
	} else if r, ok = h.Realloc(r, 0, 0); !ok || r != heapmodel.NullRef {
		t.Errorf("realloc to 0 bytes: %d, %v", r, ok)
	}
	oracle.WantLayout(t, h, "8-65520")
}

// The list has the chunks in the order of their frees, newest first, and a
// chunk that others join keeps its place.
func TestListOrder(t *testing.T) {
	for _, c := range []struct {
		fit  string
		size uint64
		want heapmodel.Addr
	}{
		{"first", 4, 12},  // the newest of all
		{"best", 4, 60},   // the only one of a block
		{"best", 12, 12},  // of two with two blocks the newer
		{"first", 12, 12}, // the same
		{"first", 20, 68 + 8},
		{"best", 20, 68 + 8},
	} {
		h := open(t, "umm-malloc:fit="+c.fit)
		// Chunks of 2, 1, 2, 1 and 1 blocks from block 1 on, those between them used.
		a := oracle.Alloc(t, h, 12) // 8..24
		oracle.Alloc(t, h, 4)       // 24..32
		b := oracle.Alloc(t, h, 12) // 32..48
		oracle.Alloc(t, h, 4)       // 48..56
		d := oracle.Alloc(t, h, 4)  // 56..64
		oracle.Alloc(t, h, 4)       // 64..72
		for _, r := range []heapmodel.Ref{b, d, a} {
			h.Free(r)
		}
		if got := h.Addr(oracle.Alloc(t, h, c.size)); got != c.want {
			t.Errorf("%s fit of %d bytes: at %d, want %d", c.fit, c.size, got, c.want)
		}
	}
}

// Each case is an object of 4 blocks at 48 with so many free blocks below and
// above it, and used ones beyond.
func TestReallocRules(t *testing.T) {
	for _, c := range []struct {
		name         string
		below, above uint32
		want         uint32 // blocks
		addr         heapmodel.Addr
		layout       string
	}{
		{"stays", 0, 2, 4, 52, "8+40 48+32 80-16 96+8 104-24"},
		{"shrinks, and what remains joins the chunk above", 0, 2, 3, 52, "8+40 48+24 72-24 96+8 104-24"},
		{"exactly with the one above", 2, 2, 6, 52, "8+24 32-16 48+48 96+8 104-24"},
		{"with some of the one above", 0, 2, 5, 52, "8+40 48+40 88-8 96+8 104-24"},
		{"down, though the one above would do", 2, 2, 5, 36, "8+24 32+40 72-24 96+8 104-24"},
		{"down and up", 2, 2, 7, 36, "8+24 32+56 88-8 96+8 104-24"},
		{"down and up, exactly", 2, 1, 7, 36, "8+24 32+56 88+16 104-24"},
		{"nowhere", 2, 2, 9, 0, "8+24 32-16 48+32 80-16 96+8 104-24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, "umm-malloc:capacity=136")
			blocks := func(count uint32) heapmodel.Ref { return oracle.Alloc(t, h, uint64(count)*8-4) }
			blocks(5 - c.below)
			var low, high heapmodel.Ref = heapmodel.NullRef, heapmodel.NullRef
			if c.below > 0 {
				low = blocks(c.below)
			}
			r := blocks(4)
			if c.above > 0 {
				high = blocks(c.above)
			}
			blocks(3 - c.above)
			h.Free(low)
			h.Free(high)
			s, ok := h.Realloc(r, uint64(c.want)*8-4, 0)
			if ok != (c.addr != 0) || ok && h.Addr(s) != c.addr {
				t.Errorf("got %v at %d, want %d", ok, h.Addr(s), c.addr)
			}
			oracle.WantLayout(t, h, c.layout)
		})
	}
}

func TestNative(t *testing.T) {
	native := func(h heapmodel.Heap) map[string]uint64 {
		out := map[string]uint64{}
		for _, s := range h.(heapmodel.Native).Native() {
			out[s.Key] = s.Value
		}
		return out
	}
	h := open(t, "umm-malloc:capacity=136") // 15 blocks
	a := oracle.Alloc(t, h, 20)
	oracle.Alloc(t, h, 4)
	h.Free(a)
	got := native(h) // free runs of 3 and 11 blocks
	for key, want := range map[string]uint64{
		"free_bytes": 112, "largest_free_bytes": 88, "total_entries": 3, "used_entries": 1, "free_entries": 2,
		"total_blocks": 15, "used_blocks": 1, "free_blocks": 14, "free_blocks_squared": 130,
		"usage_metric": 7, "fragmentation_metric": 100 - 11*100/14,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s: got %d, %v, want %d", key, v, ok, want)
		}
	}
	oracle.Alloc(t, h, 20)
	oracle.Alloc(t, h, 84)
	got = native(h)
	if _, ok := got["usage_metric"]; ok || got["fragmentation_metric"] != 0 || got["free_bytes"] != 0 {
		t.Errorf("full heap: %v", got)
	}
}

package rlsf_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/rlsf"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, rlsf.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, rlsf.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, rlsf.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, rlsf.Model) }
func TestSummaries(t *testing.T) { oracle.Table(t, rlsf.Model, "rlsf") }

// What the original's summary says, for when it is not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace       string
		failures, highest uint64
	}{
		{"rlsf:capacity=40001", "exhaust", 2128, 39984},
		{"rlsf:capacity=40001", "tiny", 0, 25509},
		{"rlsf", "exhaust", 1317, 65520},
		{"rlsf", "aligned", 0, 44624},
		{"rlsf:ptr=64", "exhaust", 1550, 65504},
		{"rlsf:ptr=64", "packets", 0, 25722},
	} {
		if got := oracle.Run(t, rlsf.Model, c.spec, c.trace); got.Failures != c.failures || got.Highest != c.highest {
			t.Errorf("%s: trace %s: %d failures, highest end %d; want %d, %d", c.spec, c.trace, got.Failures, got.Highest, c.failures, c.highest)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, rlsf.Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		overhead   uint64
		align      uint32
	}{
		{"rlsf", "0-65520", 16, 8},
		{"rlsf:ptr=64", "0-65504", 32, 16},
		{"rlsf:capacity=40001", "0-39984", 17, 8},
		{"rlsf:capacity=32", "0-16", 16, 8},
		{"rlsf:capacity=95,ptr=64", "0-32", 63, 16},
	} {
		t.Run(c.spec, func(t *testing.T) {
			h := open(t, c.spec)
			oracle.WantLayout(t, h, c.want)
			if u := h.Usage(); u.Overhead != c.overhead || h.Align() != c.align {
				t.Errorf("overhead %d, alignment %d; want %d, %d", u.Overhead, h.Align(), c.overhead, c.align)
			}
		})
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, rlsf.Model, [][2]string{
		{"rlsf:capacity=0", "capacity 0: needs at least 32 bytes"},
		{"rlsf:capacity=31", "capacity 31: needs at least 32 bytes"},
		{"rlsf:capacity=63,ptr=64", "capacity 63: needs at least 64 bytes"},
		{"rlsf:capacity=4GiB", "the most is 4294967295 bytes"},
		{"rlsf:capacity=1TiB,ptr=64", "the most is 68719476736 bytes"},
	})
}

func TestLargestCapacities(t *testing.T) {
	for _, c := range []struct {
		spec    string
		largest uint64 // of the highest class that has room
	}{{"rlsf:capacity=4294967295", 1<<32 - 1<<26 - 8}, {"rlsf:capacity=64GiB,ptr=64", 1<<36 - 1<<29 - 16}} {
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

// By the formula a request of no bytes gets a header and its rounding.
func TestSizeZero(t *testing.T) {
	for _, c := range []struct {
		spec  string
		align uint32
		want  string
	}{
		{"rlsf", 0, "0+16 16-65504"},
		{"rlsf", 16, "0+16 16-65504"},
		{"rlsf", 64, "0+64 64-65456"},
		{"rlsf:ptr=64", 0, "0+32 32-65472"},
	} {
		h := open(t, c.spec)
		r := oracle.AllocAligned(t, h, 0, c.align)
		oracle.WantLayout(t, h, c.want)
		h.Free(r)
		oracle.WantLayout(t, h, oracle.Layout(open(t, c.spec)))
	}
	h := open(t, "rlsf:realloc=inplace")
	r := oracle.Alloc(t, h, 100)
	if s, ok := h.Realloc(r, 0, 0); s != r || !ok {
		t.Errorf("realloc to 0: got %d, %t; want the same object", s, ok)
	}
	oracle.WantLayout(t, h, "0+16 16-65504")
}

func TestPlacement(t *testing.T) {
	h := open(t, "rlsf:capacity=4096")
	a, b := oracle.Alloc(t, h, 8), oracle.Alloc(t, h, 9)
	c := oracle.Alloc(t, h, 200)
	oracle.AllocAligned(t, h, 1, 8)
	oracle.WantLayout(t, h, "0+16 16+32 48+208 256+16 272-3808")
	if got := h.Addr(b); got != 24 {
		t.Errorf("the second object is at %d, want 24", got)
	}
	h.Free(a)
	h.Free(c)
	oracle.WantLayout(t, h, "0-16 16+32 48-208 256+16 272-3808")
	oracle.Alloc(t, h, 1)   // exactly
	oracle.Alloc(t, h, 150) // any remainder is split off
	oracle.WantLayout(t, h, "0+16 16+32 48+160 208-48 256+16 272-3808")
	h.Free(b)
	oracle.WantLayout(t, h, "0+16 16-32 48+160 208-48 256+16 272-3808")
}

// With 32 bits classes are exact below 1024 bytes, then 32 apart.
func TestGoodFitPassesOverItsOwnClass(t *testing.T) {
	h := open(t, "rlsf")
	a := oracle.Alloc(t, h, 1032)
	oracle.Alloc(t, h, 1)
	h.Free(a)
	oracle.WantLayout(t, h, "0-1040 1040+16 1056-64464")
	b := oracle.Alloc(t, h, 1032)
	if got := h.Addr(b); got == 8 {
		t.Error("1032 bytes are placed in their own class")
	}
	h.Free(b)
	if got := h.Addr(oracle.Alloc(t, h, 1016)); got != 8 {
		t.Errorf("1016 bytes are placed at %d, want 8", got)
	}
	for _, c := range []struct{ size, need uint64 }{{1016, 1024}, {1017, 1056}, {1032, 1056}, {1048, 1056}, {8, 16}, {500, 512}} {
		if need := h.Need(c.size, 0); need != c.need {
			t.Errorf("%d bytes need %d, want %d", c.size, need, c.need)
		}
	}
}

func TestAligned(t *testing.T) {
	for _, c := range []struct {
		name        string
		spec        string
		first, size uint64
		align       uint32
		addr        heapmodel.Addr
		want        string
	}{
		{"natural", "rlsf", 1, 20, 8, 24, "0+16 16+32 48-65472"},
		{"four words", "rlsf", 1, 20, 16, 32, "0+16 16+48 64-65456"},
		{"the front stays", "rlsf", 1, 20, 256, 256, "0+16 16+272 288-65232"},
		{"no front to spare", "rlsf", 24, 20, 64, 64, "0+32 32+64 96-65424"},
		{"64 bits", "rlsf:ptr=64", 1, 20, 32, 64, "0+32 32+64 96-65408"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, c.spec)
			first := oracle.Alloc(t, h, c.first)
			r := oracle.AllocAligned(t, h, c.size, c.align)
			if got := h.Addr(r); got != c.addr {
				t.Errorf("the object is at %d, want %d", got, c.addr)
			}
			oracle.WantLayout(t, h, c.want)
			h.Free(r)
			h.Free(first)
			oracle.WantLayout(t, h, oracle.Layout(open(t, c.spec)))
		})
	}
}

func TestAlignedFails(t *testing.T) {
	h := open(t, "rlsf")
	for _, c := range []struct {
		size  uint64
		align uint32
	}{{1, 65536}, {65500, 16}, {1, 1 << 31}, {1 << 32, 64}, {heapmodel.MaxSize, 1 << 31}} {
		if _, ok := h.Alloc(c.size, c.align); ok {
			t.Errorf("%d bytes, align %d, are placed", c.size, c.align)
		}
		if need := h.Need(c.size, c.align); need <= h.LargestFree() {
			t.Errorf("%d bytes, align %d, need %d", c.size, c.align, need)
		}
	}
	oracle.WantLayout(t, h, "0-65520")
}

func TestReallocMovesByDefault(t *testing.T) {
	h := open(t, "rlsf")
	a := oracle.Alloc(t, h, 100)
	s, ok := h.Realloc(a, 50, 0)
	if !ok || h.Addr(s) != 120 {
		t.Errorf("got %d, %t; want a new object at 120", s, ok)
	}
	oracle.WantLayout(t, h, "0-112 112+64 176-65344")
	// The new object has the old one's alignment.
	b := oracle.AllocAligned(t, h, 50, 64)
	oracle.WantLayout(t, h, "0-112 112+64 176+80 256-65264")
	if s, ok := h.Realloc(b, 40, 64); !ok || h.Addr(s) != 64 {
		t.Errorf("got %d, %t; want a new object at 64", s, ok)
	}
	oracle.WantLayout(t, h, "0+112 112+64 176-65344")
}

func TestReallocInPlace(t *testing.T) {
	h := open(t, "rlsf:capacity=4096,realloc=inplace")
	a, b, c := oracle.Alloc(t, h, 100), oracle.Alloc(t, h, 100), oracle.Alloc(t, h, 100)
	d := oracle.Alloc(t, h, 100)
	oracle.WantLayout(t, h, "0+112 112+112 224+112 336+112 448-3632")
	grow := func(name string, r heapmodel.Ref, size uint64, addr heapmodel.Addr, want string) heapmodel.Ref {
		t.Helper()
		s, ok := h.Realloc(r, size, 0)
		if !ok || h.Addr(s) != addr {
			t.Errorf("%s: got %d, %t; want the object at %d", name, s, ok, addr)
		}
		oracle.WantLayout(t, h, want)
		return s
	}
	grow("keep", b, 104, 120, "0+112 112+112 224+112 336+112 448-3632")
	grow("shrink", b, 10, 120, "0+112 112+32 144-80 224+112 336+112 448-3632")
	grow("shrink into the free block above", b, 8, 120, "0+112 112+16 128-96 224+112 336+112 448-3632")
	grow("grow above", b, 50, 120, "0+112 112+64 176-48 224+112 336+112 448-3632")
	grow("grow to the end", b, 104, 120, "0+112 112+112 224+112 336+112 448-3632")
	// Below: the object moves down; above it nothing is free.
	h.Free(b)
	c = grow("grow below", c, 150, 120, "0+112 112+160 272-64 336+112 448-3632")
	// Both: the free block above is taken up though the one below is enough.
	h.Free(a)
	c = grow("grow both ways", c, 300, 8, "0+320 320-16 336+112 448-3632")
	// Neither: it moves.
	h.Free(d)
	c = grow("grow into the rest", c, 500, 8, "0+512 512-3568")
	if s, ok := h.Realloc(c, 5000, 0); ok || s != c {
		t.Errorf("got %d, %t; want a failure", s, ok)
	}
	if s, ok := h.Realloc(c, heapmodel.MaxSize, 0); ok || s != c {
		t.Errorf("got %d, %t; want a failure", s, ok)
	}
	oracle.WantLayout(t, h, "0+512 512-3568")
	e := oracle.Alloc(t, h, 100)
	grow("move", c, 600, 632, "0-512 512+112 624+608 1232-2848")
	// A block below that is too small even with the one above.
	grow("move below", e, 1000, 1240, "0-624 624+608 1232+1008 2240-1840")
}

func TestReallocInPlaceKeepsAlignment(t *testing.T) {
	h := open(t, "rlsf:capacity=4096,realloc=inplace")
	a := oracle.Alloc(t, h, 200)
	r := oracle.AllocAligned(t, h, 100, 64)
	oracle.Alloc(t, h, 1)
	oracle.WantLayout(t, h, "0+208 208+160 368+16 384-3696")
	if s, ok := h.Realloc(r, 112, 64); !ok || h.Addr(s) != 256 {
		t.Errorf("got %d, %t; want the object at 256", s, ok)
	}
	h.Free(a)
	s, ok := h.Realloc(r, 200, 64)
	if !ok || h.Addr(s) != 64 {
		t.Errorf("got %d, %t; want the object at 64", s, ok)
	}
	oracle.WantLayout(t, h, "0+272 272-96 368+16 384-3696")
}

func TestSteps(t *testing.T) {
	h := open(t, "rlsf:capacity=1GiB,realloc=inplace")
	var refs []heapmodel.Ref
	want := func(what string, steps uint64, call func()) {
		t.Helper()
		before := h.Usage().Steps
		call()
		if got := h.Usage().Steps - before; got != steps {
			t.Errorf("%s: %d steps, want %d", what, got, steps)
		}
	}
	for range 4 {
		// Its row, the rows, the row found, the block.
		want("alloc", 4, func() { refs = append(refs, oracle.Alloc(t, h, 100)) })
	}
	want("free between used blocks", 0, func() { h.Free(refs[1]) })
	want("alloc in its row", 2, func() { refs[1] = oracle.Alloc(t, h, 100) })
	h.Free(refs[1])
	// 80 and 112 bytes are of one row, 48 of the row before.
	want("alloc in its row, next class", 2, func() { refs[1] = oracle.Alloc(t, h, 72) })
	h.Free(refs[1])
	want("alloc from the row above", 4, func() { refs[1] = oracle.Alloc(t, h, 40) })
	want("grow above", 1, func() { h.Realloc(refs[1], 100, 0) })
	h.Free(refs[1])
	want("grow below", 1, func() { refs[2], _ = h.Realloc(refs[2], 150, 0) })
	want("grow both ways", 2, func() {
		h.Free(refs[0])
		h.Realloc(refs[2], 300, 0)
	})
	want("alloc that fails", 2, func() { h.Alloc(1<<30, 0) })
	want("alloc of the longest searched for", 2, func() { h.Alloc(63<<26-8, 0) })
	want("alloc that overflows", 0, func() { h.Alloc(63<<26-7, 0) })
	want("aligned alloc that fails", 2, func() { h.Alloc(1, 1<<31) })
}

func TestNative(t *testing.T) {
	h := open(t, "rlsf:capacity=4096")
	a := oracle.Alloc(t, h, 100)
	oracle.Alloc(t, h, 40)
	h.Free(a)
	want := []heapmodel.Stat{{Key: "free_bytes", Value: 112 + 3920}, {Key: "largest_free_bytes", Value: 3920}}
	if got := h.(heapmodel.Native).Native(); !slices.Equal(got, want) {
		t.Errorf("native figures %+v, want %+v", got, want)
	}
}

func TestRefsThatAreNotLive(t *testing.T) {
	h := open(t, "rlsf:realloc=inplace")
	a, b := oracle.Alloc(t, h, 40), oracle.Alloc(t, h, 40)
	h.Free(a)
	for _, r := range []heapmodel.Ref{a, b + 1, b + 2, 0, 100, 1 << 31, heapmodel.NullRef - 1} {
		for name, call := range map[string]func(){
			"Free":    func() { h.Free(r) },
			"Realloc": func() { h.Realloc(r, 10, 0) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s of Ref %d does not panic", name, r)
					}
				}()
				call()
			}()
		}
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

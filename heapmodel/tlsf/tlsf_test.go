package tlsf_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/tlsf"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, tlsf.Model) }
func TestMinHeap(t *testing.T)   { modeltest.MinHeap(t, tlsf.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, tlsf.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, tlsf.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, tlsf.Model) }

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, tlsf.Model, spec)
}

// The figures under native are initial_free of the original's own walk.
func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		use        heapmodel.Usage
		native     uint64
	}{
		// 32 bits: 3188 bytes of control structure, two size words of the pool.
		{"tlsf:capacity=64KiB,ptr=32", "3188-62344", heapmodel.Usage{Arena: 65536, Free: 62344, Overhead: 3192, FreeBlocks: 1}, 62340},
		{"tlsf:capacity=32KiB,ptr=32", "3188-29576", heapmodel.Usage{Arena: 32768, Free: 29576, Overhead: 3192, FreeBlocks: 1}, 29572},
		{"tlsf:capacity=64KiB,ptr=64", "6536-58992", heapmodel.Usage{Arena: 65536, Free: 58992, Overhead: 6544, FreeBlocks: 1}, 58984},
		{"tlsf:capacity=64KiB,ptr=32,control=external", "0-65532", heapmodel.Usage{Arena: 65536, Free: 65532, Overhead: 4, FreeBlocks: 1}, 65528},
		{"tlsf:regions=24576@0+40960@32768,ptr=32,control=external", "0-24572 32768-40956", heapmodel.Usage{Arena: 65536, Free: 65528, Overhead: 8, FreeBlocks: 2}, 65520},
		// These are of our own reckoning.
		{"tlsf:capacity=65539,ptr=32,control=external", "0-65532", heapmodel.Usage{Arena: 65539, Free: 65532, Overhead: 7, FreeBlocks: 1}, 65528},
		{"tlsf:regions=24576@4096+40960@32768,ptr=32", "7284-21384 32768-40956", heapmodel.Usage{Arena: 65536, Free: 62340, Overhead: 3196, FreeBlocks: 2}, 62332},
		{"tlsf", "3188-62344", heapmodel.Usage{Arena: 65536, Free: 62344, Overhead: 3192, FreeBlocks: 1}, 62340},
		{"tlsf:grow=1MiB", "3188-4092", heapmodel.Usage{Arena: 7284, Free: 4092, Overhead: 3192, FreeBlocks: 1}, 4088},
		{"tlsf:quantum=1KiB,ptr=64", "6536-1016", heapmodel.Usage{Arena: 7560, Free: 1016, Overhead: 6544, FreeBlocks: 1}, 1008},
	} {
		t.Run(c.spec, func(t *testing.T) {
			h := open(t, c.spec)
			oracle.WantLayout(t, h, c.want)
			if *h.Usage() != c.use {
				t.Errorf("usage\n got %+v\nwant %+v", *h.Usage(), c.use)
			}
			if got := h.(heapmodel.Native).Native()[0]; got.Key != "free_bytes" || got.Value != c.native {
				t.Errorf("native figure %+v, want free_bytes %d", got, c.native)
			}
		})
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, tlsf.Model, [][2]string{
		{"tlsf:capacity=3207", "capacity 3207: want at least 3208 and at most 1073745019 bytes"},
		{"tlsf:capacity=19,control=external", "capacity 19: want at least 20 and"},
		{"tlsf:capacity=6575,ptr=64", "capacity 6575: want at least 6576 and"},
		{"tlsf:capacity=2GiB", "at most 1073745019 bytes"},
		{"tlsf:capacity=8GiB,ptr=64", "at most 4294973847 bytes"},
		{"tlsf:capacity=1KiB,regions=8192@0", "capacity and regions exclude each other"},
		{"tlsf:regions=8192@2", "region at 2: the address is no multiple of 4"},
		{"tlsf:regions=8192@4,ptr=64", "region at 4: the address is no multiple of 8"},
		{"tlsf:regions=3000@0+8192@4096", "region at 0 of 3000 bytes: want at least 3208"},
		{"tlsf:regions=8192@0+19@16384", "region at 16384 of 19 bytes: want at least 20"},
		{"tlsf:regions=8192@0xfffff000", "it ends above 4294967296"},
		{"tlsf:regions=8192@34359738360,ptr=64", "it ends above 34359738360"},
		{"tlsf:quantum=19", "quantum 19: want at least 20 and at most"},
		{"tlsf:quantum=2GiB", "at most 1073741831 bytes"},
		{"tlsf:capacity=64KiB,grow=32KiB", "grow 32768: the arena starts with 65536 bytes"},
		{"tlsf:grow=1000", "capacity 1000: want at least 3208"},
		{"tlsf:regions=8192@0+8192@65536,grow=64KiB", "grow 65536: the arena starts with 73728 bytes"},
	})
}

func TestLargestCapacities(t *testing.T) {
	for _, c := range []struct {
		spec    string
		largest uint64
	}{
		{"tlsf:capacity=1073745019", 1<<30 - 4},
		{"tlsf:capacity=4294973847,ptr=64", 1<<32 - 8},
	} {
		h := open(t, c.spec)
		for _, size := range []uint64{c.largest + 1, 1 << 40, heapmodel.MaxSize} {
			if _, ok := h.Alloc(size, 0); ok {
				t.Errorf("%s: %d bytes are placed", c.spec, size)
			}
		}
		// The search rounds up to the next class, which does not exist.
		if _, ok := h.Alloc(c.largest, 0); ok {
			t.Errorf("%s: %d bytes are placed, past the last class", c.spec, c.largest)
		}
		oracle.Alloc(t, h, c.largest/64*63)
		if err := h.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestSizeZero(t *testing.T) {
	h := open(t, "tlsf:capacity=4KiB,control=external")
	for _, align := range []uint32{0, 4, 64} {
		if r, ok := h.Alloc(0, align); r != heapmodel.NullRef || !ok {
			t.Errorf("align %d: got %d, %t; want a null pointer that is no failure", align, r, ok)
		}
	}
	r := oracle.Alloc(t, h, 40)
	if s, ok := h.Realloc(r, 0, 0); s != heapmodel.NullRef || !ok {
		t.Errorf("realloc to 0: got %d, %t; want a null pointer that is no failure", s, ok)
	}
	oracle.WantLayout(t, h, "0-4092")
	if s, ok := h.Realloc(heapmodel.NullRef, 40, 0); !ok || h.Addr(s) != 4 {
		t.Errorf("realloc of a null pointer: got %d, %t; want a new object at 4", s, ok)
	}
}

func TestPlacement(t *testing.T) {
	h := open(t, "tlsf:capacity=4KiB,control=external")
	a, b := oracle.Alloc(t, h, 1), oracle.Alloc(t, h, 12)
	c, d := oracle.Alloc(t, h, 13), oracle.Alloc(t, h, 200)
	oracle.Alloc(t, h, 4)
	oracle.WantLayout(t, h, "0+16 16+16 32+20 52+204 256+16 272-3820")
	h.Free(b)
	h.Free(d)
	oracle.WantLayout(t, h, "0+16 16-16 32+20 52-204 256+16 272-3820")
	// 197 bytes are in the class of 200, which is searched only for its least
	// size, 200; and the least of three words takes the free 16 whole.
	e := oracle.Alloc(t, h, 197)
	oracle.Alloc(t, h, 5)
	oracle.WantLayout(t, h, "0+16 16+16 32+20 52+204 256+16 272-3820")
	// Both neighbours of c are free: all is one block again.
	h.Free(e)
	h.Free(a)
	h.Free(c)
	oracle.WantLayout(t, h, "0-16 16+16 32-224 256+16 272-3820")
}

func TestGoodFitPassesOverItsOwnClass(t *testing.T) {
	h := open(t, "tlsf:capacity=64KiB,control=external")
	a := oracle.Alloc(t, h, 1028)
	oracle.Alloc(t, h, 4)
	h.Free(a)
	// 1028 bytes fit the hole of 1028, but its class begins at 1024 and the
	// search at the next one.
	if got := h.Addr(oracle.Alloc(t, h, 1028)); got == 4 {
		t.Error("1028 bytes are placed in their own class")
	}
	if got := h.Addr(oracle.Alloc(t, h, 1024)); got != 4 {
		t.Errorf("1024 bytes are placed at %d, want 4", got)
	}
	if need := h.Need(1028, 0); need != 1032 {
		t.Errorf("1028 bytes need %d, want 1032", need)
	}
}

func TestReallocInPlace(t *testing.T) {
	h := open(t, "tlsf:capacity=4KiB,control=external")
	a, b := oracle.Alloc(t, h, 100), oracle.Alloc(t, h, 100)
	oracle.Alloc(t, h, 4)
	grow := func(r heapmodel.Ref, size uint64, want string) {
		t.Helper()
		s, ok := h.Realloc(r, size, 0)
		if !ok || s != r {
			t.Errorf("realloc to %d: got %d, %t; want it in place", size, s, ok)
		}
		oracle.WantLayout(t, h, want)
	}
	// Fewer than four words are not cut off.
	grow(a, 88, "0+104 104+104 208+16 224-3868")
	grow(a, 84, "0+88 88-16 104+104 208+16 224-3868")
	// The whole free block behind is taken, and cut again.
	grow(a, 90, "0+104 104+104 208+16 224-3868")
	h.Free(b)
	grow(a, 150, "0+156 156-52 208+16 224-3868")
	grow(a, 20, "0+24 24-184 208+16 224-3868")
	grow(a, 204, "0+208 208+16 224-3868")
	// No room behind: it moves.
	if s, ok := h.Realloc(a, 205, 0); !ok || h.Addr(s) != 228 {
		t.Errorf("got %d, %t; want a new object at 228", s, ok)
	}
	oracle.WantLayout(t, h, "0-208 208+16 224+212 436-3656")
}

func TestReallocFails(t *testing.T) {
	h := open(t, "tlsf:capacity=1KiB,control=external")
	a := oracle.Alloc(t, h, 100)
	oracle.Alloc(t, h, 4)
	if s, ok := h.Realloc(a, 1000, 0); ok || s != a {
		t.Errorf("got %d, %t; want a failure", s, ok)
	}
	oracle.WantLayout(t, h, "0+104 104+16 120-900")
}

// A realloc beyond the largest size is taken for one of no bytes.
func TestReallocBeyondTheLargestSizeShrinks(t *testing.T) {
	h := open(t, "tlsf:capacity=1KiB,control=external")
	a := oracle.Alloc(t, h, 100)
	if s, ok := h.Realloc(a, 1<<30-4, 0); ok || s != a {
		t.Errorf("the largest size: got %d, %t; want a failure", s, ok)
	}
	for i, size := range []uint64{1<<30 - 3, heapmodel.MaxSize} {
		if s, ok := h.Realloc(a, size, 0); !ok || s != a {
			t.Errorf("%d bytes: got %d, %t; want the same object", size, s, ok)
		}
		oracle.WantLayout(t, h, "0+4 4-1016")
		if got := h.(heapmodel.Native).Native()[2]; got.Key != "short_reallocs" || got.Value != uint64(i+1) {
			t.Errorf("native figure %+v, want %d short_reallocs", got, i+1)
		}
	}
	// A block without payload can be freed between used blocks, and goes.
	b := oracle.Alloc(t, h, 12)
	h.Free(a)
	oracle.WantLayout(t, h, "0-4 4+16 20-1000")
	h.Free(b)
	oracle.WantLayout(t, h, "0-1020")
}

func TestAligned(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  string
		first uint64 // size of an object before
		size  uint64
		align uint32
		want  string
	}{
		{"natural", "tlsf:capacity=4KiB,control=external", 12, 20, 4, "0+16 16+24 40-4052"},
		{"below natural", "tlsf:capacity=4KiB,control=external", 12, 20, 1, "0+16 16+24 40-4052"},
		{"no gap", "tlsf:capacity=4KiB,control=external", 24, 20, 32, "0+28 28+24 52-4040"},
		{"gap", "tlsf:capacity=4KiB,control=external", 12, 20, 64, "0+16 16-44 60+24 84-4008"},
		// A gap of 4 is too short for a block: up by four words at least.
		{"short gap", "tlsf:capacity=4KiB,control=external", 20, 20, 32, "0+24 24-36 60+24 84-4008"},
		{"short gap, 8", "tlsf:capacity=4KiB,control=external", 12, 20, 8, "0+16 16-20 36+24 60-4032"},
		{"64 bits", "tlsf:capacity=4KiB,control=external,ptr=64", 24, 20, 16, "0+32 32-40 72+32 104-3984"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, c.spec)
			oracle.Alloc(t, h, c.first)
			r := oracle.AllocAligned(t, h, c.size, c.align)
			if a := h.Addr(r); uint64(a)%uint64(c.align) != 0 {
				t.Errorf("address %d is no multiple of %d", a, c.align)
			}
			oracle.WantLayout(t, h, c.want)
		})
	}
}

func TestAlignedFails(t *testing.T) {
	h := open(t, "tlsf:capacity=4KiB,control=external")
	for _, c := range []struct {
		size  uint64
		align uint32
	}{{1, 4096}, {4072, 8}, {1, 1 << 31}, {1 << 30, 64}, {heapmodel.MaxSize, 1 << 31}} {
		if _, ok := h.Alloc(c.size, c.align); ok {
			t.Errorf("%d bytes, align %d, are placed", c.size, c.align)
		}
		if need := h.Need(c.size, c.align); need <= h.LargestFree() {
			t.Errorf("%d bytes, align %d, need %d", c.size, c.align, need)
		}
	}
	oracle.WantLayout(t, h, "0-4092")
}

func TestGrowth(t *testing.T) {
	h := open(t, "tlsf:capacity=1KiB,control=external,quantum=512,grow=4KiB")
	oracle.Alloc(t, h, 1008)
	oracle.WantLayout(t, h, "0+1020")
	oracle.Alloc(t, h, 40)
	oracle.WantLayout(t, h, "0+1020 1024+44 1068-464")
	u := h.Usage()
	if want := (heapmodel.Growth{Need: 44}); u.Grown != want || u.Arena != 1536 {
		t.Errorf("arena %d, growth %+v; want 1536, %+v", u.Arena, u.Grown, want)
	}
	// Larger than a quantum: up to the next class, 1024, and two words.
	b := oracle.Alloc(t, h, 1010)
	oracle.WantLayout(t, h, "0+1020 1024+44 1068-464 1536+1028")
	if want := (heapmodel.Growth{Need: 1016, Free: 464, LargestFree: 464}); u.Grown != want {
		t.Errorf("growth %+v, want %+v", u.Grown, want)
	}
	// Pools are not merged, and a heap at its limit fails.
	h.Free(b)
	oracle.WantLayout(t, h, "0+1020 1024+44 1068-464 1536-1028")
	if _, ok := h.Alloc(2000, 0); ok {
		t.Error("2000 bytes are placed beyond the limit")
	}
	oracle.Alloc(t, h, 600)
	oracle.AllocAligned(t, h, 600, 256)
	oracle.WantLayout(t, h, "0+1020 1024+44 1068-464 1536+604 2140-424 2568-244 2812+604 3416-180")
	if u.Arena != 3600 || u.HighWater != 3416 {
		t.Errorf("arena %d, high-water mark %d; want 3600, 3416", u.Arena, u.HighWater)
	}
}

func TestGrowthOfARealloc(t *testing.T) {
	h := open(t, "tlsf:capacity=1KiB,control=external,grow=64KiB")
	a := oracle.Alloc(t, h, 900)
	s, ok := h.Realloc(a, 2000, 0)
	if !ok || h.Addr(s) != 1028 {
		t.Errorf("got %d, %t; want a new object at 1028", s, ok)
	}
	oracle.WantLayout(t, h, "0-1020 1024+2004 3028-2088")
}

func TestNative(t *testing.T) {
	h := open(t, "tlsf:capacity=4KiB,control=external")
	a := oracle.Alloc(t, h, 100)
	oracle.Alloc(t, h, 40)
	h.Free(a)
	want := []heapmodel.Stat{{Key: "free_bytes", Value: 100 + 3940}, {Key: "largest_free_bytes", Value: 3940}, {Key: "short_reallocs"}}
	if got := h.(heapmodel.Native).Native(); !slices.Equal(got, want) {
		t.Errorf("native figures %+v, want %+v", got, want)
	}
	for _, size := range []uint64{3904, 32, 100} {
		oracle.Alloc(t, h, size)
	}
	want[0].Value, want[1].Value = 0, 0
	if got := h.(heapmodel.Native).Native(); !slices.Equal(got, want) {
		t.Errorf("full heap: native figures %+v, want %+v", got, want)
	}
}

func TestSteps(t *testing.T) {
	h := open(t, "tlsf:capacity=4KiB,control=external")
	var a, b heapmodel.Ref
	for _, c := range []struct {
		what string
		call func()
		want uint64
	}{
		{"a list of another first level", func() { a = oracle.Alloc(t, h, 40) }, 4},
		{"again", func() { b = oracle.Alloc(t, h, 40) }, 4},
		{"the list of the least class, in the same first level", func() { h.Free(a); a = oracle.Alloc(t, h, 16) }, 2},
		{"a search in vain", func() { h.Alloc(4000, 0) }, 2},
		{"a size past the last class", func() { h.Alloc(1<<30-4, 0) }, 0},
		{"free without a merge but with the rest above", func() { h.Free(a) }, 1},
		{"free between two free blocks", func() { h.Free(b) }, 2},
		{"aligned", func() { a = oracle.AllocAligned(t, h, 40, 64) }, 4},
		{"realloc into the block above, whose rest is given back", func() { h.Realloc(a, 60, 0) }, 1},
		{"realloc that shrinks, before a free block", func() { h.Realloc(a, 12, 0) }, 1},
	} {
		before := h.Usage().Steps
		c.call()
		if got := h.Usage().Steps - before; got != c.want {
			t.Errorf("%s: %d steps, want %d", c.what, got, c.want)
		}
	}
}

func TestWalls(t *testing.T) {
	h := open(t, "tlsf:regions=8192@0+4096@16384,control=external,quantum=1KiB")
	oracle.Alloc(t, h, 7000)
	oracle.Alloc(t, h, 7000)
	var walls []heapmodel.Addr
	for b := range h.Blocks() {
		if b.Wall {
			walls = append(walls, b.Addr)
		}
	}
	if want := []heapmodel.Addr{0, 16384, 16384 + 4096}; !slices.Equal(walls, want) {
		t.Errorf("pools begin at %d, want %d", walls, want)
	}
}

func TestRefsThatAreNotLive(t *testing.T) {
	h := open(t, "tlsf")
	a, b := oracle.Alloc(t, h, 40), oracle.Alloc(t, h, 40)
	h.Free(a)
	for _, r := range []heapmodel.Ref{a, b + 1, b + 2, 0, 831, 1 << 31, heapmodel.NullRef - 1} {
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

func BenchmarkLargestFree(b *testing.B) {
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{tlsf.Model}, "tlsf:capacity=16MiB")
	if err != nil {
		b.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		b.Fatal(err)
	}
	var refs []heapmodel.Ref
	for i := range uint64(20_000) {
		r, ok := h.Alloc(16+i%1000, 0)
		if !ok {
			b.Fatal("full")
		}
		refs = append(refs, r)
	}
	for i := 0; i < len(refs); i += 2 {
		h.Free(refs[i])
	}
	for b.Loop() {
		h.LargestFree()
	}
}

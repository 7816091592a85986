package esptlsf_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/esptlsf"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, esptlsf.Model) }
func TestMinHeap(t *testing.T)   { modeltest.MinHeap(t, esptlsf.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, esptlsf.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, esptlsf.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, esptlsf.Model) }
func TestSummaries(t *testing.T) { oracle.Summaries(t, esptlsf.Model, "esp_tlsf") }

// What the original's summaries say, for when they are not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace string
		want        oracle.Figures
	}{
		{"esp-tlsf:capacity=16KiB", "exhaust", oracle.Figures{Failures: 3990, InPlace: 96, PeakLive: 14719, Highest: 16380, Free: 15944}},
		{"esp-tlsf:capacity=32KiB", "realloc", oracle.Figures{Failures: 165, InPlace: 1377, PeakLive: 27422, Highest: 32764, Free: 31976}},
		{"esp-tlsf:capacity=64KiB", "vectors", oracle.Figures{InPlace: 1139, PeakLive: 15324, Highest: 21196, Free: 64676}},
		{"esp-tlsf:capacity=64KiB,prefix=20", "exhaust", oracle.Figures{Failures: 1225, InPlace: 180, PeakLive: 61573, Highest: 65532, Free: 64724}},
		{"esp-tlsf:capacity=300KiB", "aligned", oracle.Figures{PeakLive: 26006, Highest: 44640, Free: 305440}},
	} {
		if got := oracle.Run(t, esptlsf.Model, c.spec, c.trace); got != c.want {
			t.Errorf("%s: trace %s:\n got %+v\nwant %+v", c.spec, c.trace, got, c.want)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, esptlsf.Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		overhead   uint64
	}{
		// From the originals' summaries.
		{"esp-tlsf:capacity=16KiB", "432-15948", 436},
		{"esp-tlsf:capacity=32KiB", "784-31980", 788},
		{"esp-tlsf", "852-64680", 856},
		{"esp-tlsf:capacity=300KiB", "1752-305444", 1756},
		{"esp-tlsf:prefix=20", "804-64728", 808},
		// Of our own reckoning: the ends of the spans of one control structure.
		{"esp-tlsf:capacity=16383", "396-15980", 403},
		{"esp-tlsf:capacity=16385", "716-15664", 721},
		{"esp-tlsf:capacity=256KiB", "988-261152", 992},
		{"esp-tlsf:capacity=262145", "1752-260388", 1757},
		{"esp-tlsf:ptr=64", "1656-63872", 1664},
		{"esp-tlsf:capacity=200", "180-16", 184},
		{"esp-tlsf:capacity=452,ptr=64", "412-32", 420},
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
	oracle.BadConfigs(t, esptlsf.Model, [][2]string{
		{"esp-tlsf:capacity=0", "capacity 0: needs at least 200 bytes"},
		{"esp-tlsf:capacity=199", "capacity 199: needs at least 200 bytes"},
		{"esp-tlsf:capacity=219,prefix=20", "capacity 219: needs at least 220 bytes"},
		{"esp-tlsf:capacity=451,ptr=64", "capacity 451: needs at least 452 bytes"},
		// From 512 on there is one row more, and 511 would have done.
		{"esp-tlsf:capacity=515,ptr=64", "capacity 515: needs at least 520 bytes"},
		{"esp-tlsf:capacity=2GiB", "the most is 2147483647 bytes"},
		{"esp-tlsf:capacity=2147483668,prefix=20", "the most is 2147483667 bytes"},
		{"esp-tlsf:capacity=4GiB,ptr=64", "the most is 4294967295 bytes"},
		{"esp-tlsf:prefix=18", "the prefix of 18 bytes and address 0 have to be multiples of 4"},
		{"esp-tlsf:prefix=65540", "the prefix of 65540 bytes is longer than 64KiB"},
		{"esp-tlsf:prefix=1TiB", "longer than 64KiB"},
	})
	for _, r := range []esptlsf.Region{
		{Addr: 2, Size: 65536, PtrBits: 32},
		{Addr: 1 << 40, Size: 65536, PtrBits: 32},
		{Addr: heapmodel.Null - 3, Size: 65536, PtrBits: 64},
	} {
		if _, err := esptlsf.New(r); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
}

func TestLargestCapacities(t *testing.T) {
	for _, c := range []struct {
		spec    string
		largest uint64
	}{{"esp-tlsf:capacity=2147483647", 1<<31 - 1<<25}, {"esp-tlsf:capacity=4294967295,ptr=64", 1<<32 - 1<<26}} {
		h := open(t, c.spec)
		for _, size := range []uint64{c.largest + 1, 1 << 32, 1 << 40, heapmodel.MaxSize} {
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
	h := open(t, "esp-tlsf:capacity=16KiB")
	for _, align := range []uint32{0, 4, 64} {
		if r, ok := h.Alloc(0, align); r != heapmodel.NullRef || !ok {
			t.Errorf("align %d: got %d, %t; want a null pointer that is no failure", align, r, ok)
		}
	}
	r := oracle.Alloc(t, h, 40)
	if s, ok := h.Realloc(r, 0, 0); s != heapmodel.NullRef || !ok {
		t.Errorf("realloc to 0: got %d, %t; want a null pointer that is no failure", s, ok)
	}
	oracle.WantLayout(t, h, "432-15948")
	if s, ok := h.Realloc(heapmodel.NullRef, 40, 0); !ok || h.Addr(s) != 436 {
		t.Errorf("realloc of a null pointer: got %d, %t; want a new object at 436", s, ok)
	}
	if h.Need(0, 0) != 0 {
		t.Errorf("no bytes need %d", h.Need(0, 0))
	}
}

// In 16 KiB a power of two has 8 classes: from 64 bytes on they are 8 apart.
func TestBlocksAreRoundedUpToClasses(t *testing.T) {
	for _, c := range []struct {
		size, block uint64
	}{{1, 16}, {12, 16}, {13, 20}, {31, 36}, {33, 40}, {64, 68}, {65, 76}, {100, 108}, {128, 132}, {129, 148}, {1025, 1156}} {
		h := open(t, "esp-tlsf:capacity=16KiB")
		oracle.Alloc(t, h, c.size)
		oracle.WantLayout(t, h, fmt.Sprint("432+", c.block, " ", 432+c.block, "-", 15948-c.block))
		if need := h.Need(c.size, 0); need != c.block {
			t.Errorf("%d bytes need %d, want %d", c.size, need, c.block)
		}
	}
}

func TestRemaindersBelowFourWordsStay(t *testing.T) {
	h := open(t, "esp-tlsf:capacity=16KiB")
	a := oracle.Alloc(t, h, 28)
	oracle.Alloc(t, h, 1)
	h.Free(a)
	oracle.WantLayout(t, h, "432-32 464+16 480-15900")
	oracle.Alloc(t, h, 16) // 12 bytes would be left
	oracle.WantLayout(t, h, "432+32 464+16 480-15900")
	h.Free(a)
	oracle.Alloc(t, h, 12)
	oracle.WantLayout(t, h, "432+16 448-16 464+16 480-15900")
}

func TestReallocInPlaceIsNotRounded(t *testing.T) {
	h := open(t, "esp-tlsf:capacity=16KiB")
	a := oracle.Alloc(t, h, 200)
	b := oracle.Alloc(t, h, 100)
	oracle.Alloc(t, h, 1)
	oracle.WantLayout(t, h, "432+212 644+108 752+16 768-15612")
	for _, c := range []struct {
		name string
		size uint64
		want string
	}{
		{"shrink", 100, "432+104 536-108 644+108 752+16 768-15612"},
		{"grow into the rest", 129, "432+136 568-76 644+108 752+16 768-15612"},
		{"grow to its end", 205, "432+212 644+108 752+16 768-15612"},
		{"too little to cut off", 196, "432+212 644+108 752+16 768-15612"},
	} {
		if s, ok := h.Realloc(a, c.size, 0); !ok || s != a {
			t.Errorf("%s: got %d, %t; want it in place", c.name, s, ok)
		}
		oracle.WantLayout(t, h, c.want)
	}
	h.Free(b)
	if s, ok := h.Realloc(a, 250, 0); !ok || s != a {
		t.Errorf("got %d, %t; want it in place", s, ok)
	}
	oracle.WantLayout(t, h, "432+256 688-64 752+16 768-15612")
	// No room above: it moves to a block that is rounded up.
	s, ok := h.Realloc(a, 321, 0)
	if !ok || h.Addr(s) != 772 {
		t.Errorf("got %d, %t; want a new object at 772", s, ok)
	}
	oracle.WantLayout(t, h, "432-320 752+16 768+356 1124-15256")
}

func TestReallocFails(t *testing.T) {
	h := open(t, "esp-tlsf:capacity=16KiB")
	a := oracle.Alloc(t, h, 100)
	oracle.Alloc(t, h, 1)
	for _, size := range []uint64{15900, 1<<15 - 4, 1 << 15, heapmodel.MaxSize} {
		if s, ok := h.Realloc(a, size, 0); ok || s != a {
			t.Errorf("%d bytes: got %d, %t; want a failure", size, s, ok)
		}
		oracle.WantLayout(t, h, "432+108 540+16 556-15824")
	}
}

func TestAligned(t *testing.T) {
	for _, c := range []struct {
		name        string
		spec        string
		first, size uint64
		align       uint32
		want        string
	}{
		// From reading: even then the block is cut to the request, not the class.
		{"natural", "esp-tlsf:capacity=16KiB", 12, 100, 4, "432+16 448+104 552-15828"},
		{"below natural", "esp-tlsf:capacity=16KiB", 12, 100, 1, "432+16 448+104 552-15828"},
		{"no gap", "esp-tlsf:capacity=16KiB", 24, 100, 16, "432+28 460+104 564-15816"},
		{"gap", "esp-tlsf:capacity=16KiB", 12, 100, 64, "432+16 448-60 508+104 612-15768"},
		// A gap of 12 is too short for a block: up by four words at least.
		{"short gap", "esp-tlsf:capacity=16KiB", 12, 100, 16, "432+16 448-28 476+104 580-15800"},
		{"64 bits, 8", "esp-tlsf:capacity=16KiB,ptr=64", 24, 100, 8, "820+32 852-36 888+108 996-15380"},
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
	h := open(t, "esp-tlsf:capacity=16KiB")
	for _, c := range []struct {
		size  uint64
		align uint32
	}{{1, 16384}, {15940, 8}, {1, 1 << 31}, {1 << 15, 64}, {heapmodel.MaxSize, 1 << 31}} {
		if _, ok := h.Alloc(c.size, c.align); ok {
			t.Errorf("%d bytes, align %d, are placed", c.size, c.align)
		}
		if need := h.Need(c.size, c.align); need <= h.LargestFree() {
			t.Errorf("%d bytes, align %d, need %d", c.size, c.align, need)
		}
	}
	oracle.WantLayout(t, h, "432-15948")
}

func TestSteps(t *testing.T) {
	h := open(t, "esp-tlsf:capacity=16KiB")
	refs := map[string]heapmodel.Ref{}
	for _, c := range []struct {
		name, free string
		size       uint64
		steps      uint64
	}{
		{name: "first", size: 20, steps: 4}, // its row, the rows, the row found, the block
		{name: "second", size: 20, steps: 4},
		{name: "third", size: 20, steps: 4},
		{free: "first"},
		{name: "reused", size: 20, steps: 2}, // its row and the block
		{name: "in the row of the rest", size: 10000, steps: 2},
		{name: "fails", size: 9000, steps: 2}, // its row, the rows
		{name: "too large for any row", size: 32768},
		{free: "second"},
		{free: "third", steps: 1}, // a merge below; above is a used block
		{free: "reused", steps: 1},
		{free: "in the row of the rest", steps: 2},
	} {
		before := h.Usage().Steps
		if c.free != "" {
			h.Free(refs[c.free])
		} else if r, ok := h.Alloc(c.size, 0); ok {
			refs[c.name] = r
		}
		if got := h.Usage().Steps - before; got != c.steps {
			t.Errorf("%s%s: %d steps, want %d", c.name, c.free, got, c.steps)
		}
	}
}

func TestMultiHeapCounters(t *testing.T) {
	h, err := esptlsf.New(esptlsf.Region{Size: 65536, Prefix: esptlsf.Record32, PtrBits: 32})
	if err != nil {
		t.Fatal(err)
	}
	want := func(now, least uint64) {
		t.Helper()
		if n, l := h.FreeBytes(); n != now || l != least {
			t.Errorf("free %d, least %d; want %d, %d", n, l, now, least)
		}
		stats := []heapmodel.Stat{
			{Key: "free_bytes", Value: now - 4 - 4*h.Usage().FreeBlocks},
			{Key: "largest_free_bytes", Value: h.LargestFree() - 4},
			{Key: "multi_heap_free_bytes", Value: now},
			{Key: "multi_heap_min_ever_free_bytes", Value: least},
		}
		if got := h.Native(); !slices.Equal(got, stats) {
			t.Errorf("native figures %v, want %v", got, stats)
		}
	}
	const all = 65536 - 20 - 784
	want(all, all)
	a := oracle.Alloc(t, h, 100)
	want(all-104, all-104)
	b := oracle.AllocAligned(t, h, 100, 64)
	want(all-208, all-208)
	h.Free(b)
	want(all-104, all-208)
	oracle.Alloc(t, h, 100)
	// The move is one change: 104 bytes for 204, never both.
	a, ok := h.Realloc(a, 200, 0)
	if !ok || h.Payload(a) != 200 {
		t.Errorf("got %d, %t, payload %d", a, ok, h.Payload(a))
	}
	want(all-308, all-308)
	// In place: the free block above is taken up and cut off again.
	if _, ok := h.Realloc(a, 240, 0); !ok {
		t.Error("realloc to 240 bytes fails")
	}
	want(all-348, all-348)
	h.Free(a)
	want(all-104, all-348)
}

func TestNativeWithoutRecord(t *testing.T) {
	h := open(t, "esp-tlsf:capacity=16KiB")
	if _, ok := h.Realloc(oracle.Alloc(t, h, 12), 15944, 0); !ok {
		t.Error("realloc to all there is fails")
	}
	got := h.(heapmodel.Native).Native()
	want := []heapmodel.Stat{{Key: "free_bytes"}, {Key: "largest_free_bytes"}}
	if !slices.Equal(got, want) {
		t.Errorf("full heap: native figures %v, want %v", got, want)
	}
}

func TestRegionAtAnAddress(t *testing.T) {
	h, err := esptlsf.New(esptlsf.Region{Addr: 0x3ffb0004, Size: 16384, Prefix: 20, PtrBits: 32})
	if err != nil {
		t.Fatal(err)
	}
	// 16364 bytes handed to TLSF have one row less than 16384.
	if a := h.Addr(oracle.Alloc(t, h, 12)); a != 0x3ffb0004+20+396+4 {
		t.Errorf("the first object is at %#x", uint64(a))
	}
	if a := h.Addr(oracle.AllocAligned(t, h, 100, 4096)); a != 0x3ffb1000 {
		t.Errorf("the aligned object is at %#x", uint64(a))
	}
	for b := range h.Blocks() {
		if b.Addr < 0x3ffb0004 || uint64(b.Addr)+b.Size > 0x3ffb0004+16384 {
			t.Errorf("block %s is outside", golden.FormatBlock(b))
		}
		if b.Wall != (b.Addr == 0x3ffb0004+20+396) {
			t.Errorf("block %s: wall %t", golden.FormatBlock(b), b.Wall)
		}
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

func TestRefsThatAreNotLive(t *testing.T) {
	h := open(t, "esp-tlsf")
	a, b := oracle.Alloc(t, h, 40), oracle.Alloc(t, h, 40)
	h.Free(a)
	for _, r := range []heapmodel.Ref{a, b + 1, b + 2, 0, 100, 1 << 31, heapmodel.NullRef - 1} {
		for name, call := range map[string]func(){
			"Free":    func() { h.Free(r) },
			"Realloc": func() { h.Realloc(r, 10, 0) },
			"Payload": func() { h.(*esptlsf.Heap).Payload(r) },
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

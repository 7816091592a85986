package segstorage

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestConformance(t *testing.T) {
	modeltest.Run(t, Model,
		"simple-segregated:capacity=256KiB",
		"simple-segregated:capacity=256KiB,classes=pow2x3,order=fifo,ptr=64,realloc=inplace",
		"simple-segregated:capacity=64KiB,page=512,classes=16+32+48+64+128+256,order=address",
		"simple-segregated:quantum=4KiB,header=0,align=1,min=16",
		"simple-segregated:quantum=100,grow=256KiB,header=3,align=2,page=1KiB,classes=pow2x3,order=address,min=16",
	)
}

func FuzzOps(f *testing.F) {
	modeltest.Inside(nil).Fuzz(f, Model,
		"simple-segregated:quantum=4KiB,classes=pow2x3,header=0,align=1",
		"simple-segregated:capacity=32KiB,page=256,classes=16+24+48+100+300,align=4,realloc=inplace,order=address",
	)
}

func BenchmarkHeap(b *testing.B) {
	modeltest.Bench(b, Model,
		"simple-segregated:grow=1MiB",
		"simple-segregated:grow=1MiB,classes=pow2x3,order=address",
	)
}

func heapOf(t *testing.T, text string) heapmodel.Heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestClasses places objects of a size and reads the block they got.
func TestClasses(t *testing.T) {
	for _, c := range []struct {
		args    string
		request uint64
		block   uint64
	}{
		{"header=0,align=1", 1, 1},
		{"header=0,align=1", 17, 32},
		{"header=0,align=1,min=16", 1, 16},
		{"header=0,align=1,classes=pow2x3", 17, 24},
		{"header=0,align=1,classes=pow2x3", 25, 32},
		{"header=0,align=1,classes=pow2x3", 3, 3},
		{"header=0,align=1", 5000, 8192},
		{"header=0,align=1,classes=pow2x3", 5000, 6144},
		{"ptr=32", 60, 64},
		{"ptr=32", 61, 128},
		{"ptr=32", 4096, 8192},
		{"classes=pow2x3", 9, 16},
		{"classes=pow2x3", 13, 24},
		{"classes=24+40", 20, 24},
		{"classes=24+40", 37, 4096},
		{"classes=24+40", 4093, 8192},
		{"classes=24+5000", 37, 5000},
	} {
		h := heapOf(t, "simple-segregated:quantum=4KiB,"+c.args)
		if r, ok := h.Alloc(c.request, 0); !ok || h.Usage().Allocated != c.block || h.Need(c.request, 0) != c.block {
			t.Errorf("%s: %d bytes get a block of %d (%d, %v), need %d, want %d", c.args, c.request, h.Usage().Allocated, r, ok, h.Need(c.request, 0), c.block)
		}
	}
}

// TestPagesStayWithTheirClass is the weakness of simple segregated storage: all
// memory is free, in a class of 16 bytes, and 17 bytes do not fit.
func TestPagesStayWithTheirClass(t *testing.T) {
	h := heapOf(t, "simple-segregated:capacity=128,page=64,header=0,align=1")
	var refs []heapmodel.Ref
	for range 8 {
		r, ok := h.Alloc(16, 0)
		if !ok {
			t.Fatal("16 bytes fail")
		}
		refs = append(refs, r)
	}
	for _, r := range refs {
		h.Free(r)
	}
	if u := h.Usage(); u.Free != 128 || u.FreeBlocks != 8 || h.LargestFree() != 16 {
		t.Fatalf("%+v, largest %d", u, h.LargestFree())
	}
	if _, ok := h.Alloc(17, 0); ok {
		t.Error("an object of 17 bytes is in pages of another class")
	}
}

// TestLayout follows two classes, an object of several pages and the growth of
// the arena.
func TestLayout(t *testing.T) {
	h := heapOf(t, "simple-segregated:quantum=100,page=64,header=0,align=8,classes=pow2x3")
	for _, size := range []uint64{24, 30, 70} {
		if _, ok := h.Alloc(size, 0); !ok {
			t.Fatalf("%d bytes fail", size)
		}
	}
	// 24 bytes twice in 64, 16 lost; 32 twice in 64; 96 in two pages, 32 lost; 300 bytes in all.
	if got, want := oracle.Layout(h), "0+24 24-24 64+32 96-32 128+96"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := heapmodel.Usage{
		Arena: 300, HighWater: 224, Allocated: 152, Free: 56, Overhead: 92, UsedBlocks: 3, FreeBlocks: 2, Steps: 3 + 2 + 2 + 1,
		Grown: heapmodel.Growth{Need: 96, Free: 120, LargestFree: 64},
	}
	if *h.Usage() != want {
		t.Errorf("got %+v, want %+v", *h.Usage(), want)
	}
}

func TestBadConfigs(t *testing.T) {
	for args, want := range map[string]string{
		"capacity=64KiB,page=0":              "page=0 is no multiple of the alignment",
		"capacity=64KiB,page=100":            "page=100 is no multiple of the alignment of 8 bytes",
		"capacity=64KiB,page=2GiB":           "page=2GiB: the most is 1GiB",
		"capacity=64KiB,min=2GiB":            "min=2GiB: the most is 1GiB",
		"capacity=4099":                      "the least that holds a page is 4100 bytes",
		"capacity=64KiB,classes=pow3":        "classes=pow3: want pow2, pow2x3 or SIZE+SIZE...",
		"capacity=4KiB,classes=pow3":         "classes=pow3: want pow2, pow2x3 or SIZE+SIZE...", // before the capacity, which follows from a page
		"capacity=64KiB,classes=16+20":       "20 is no multiple of the alignment of 8 bytes",
		"capacity=64KiB,classes=32+16":       "want them ascending",
		"capacity=64KiB,align=4KiB,header=0": "", // one object a page
	} {
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, "simple-segregated:"+args)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want one with %q", args, err, want)
		}
	}
}

// TestCheckFindsDamage breaks one invariant at a time.
func TestCheckFindsDamage(t *testing.T) {
	for _, c := range []struct {
		name, want string
		damage     func(h *heap)
	}{
		{"none", "", func(*heap) {}},
		{"bytes", "counters say", func(h *heap) { h.use.Free += 8; h.use.Allocated -= 8 }},
		{"arena", "arena of", func(h *heap) { h.brk++ }},
		{"untouched", "the untouched pages are", func(h *heap) { h.next += h.page }},
		{"run", "run 1 starts at granule", func(h *heap) { h.runs[1].start++ }},
		{"run of object", "object 0 is in run 0 and says 1", func(h *heap) { h.t.Nodes[0].High = 1 }},
		{"loop", "the list of class", func(h *heap) { h.t.Nodes[h.lists[1].head].Low = h.lists[1].head }},
		{"class", "which is not of it", func(h *heap) { h.lists[1].head = h.runs[1].first + 1 }},
		{"tail", "ends with object", func(h *heap) { h.lists[1].tail = 0 }},
		{"count", "says", func(h *heap) { h.lists[1].free-- }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "simple-segregated:capacity=4KiB,page=64,header=0").(*heap)
			h.Alloc(16, 0)
			h.Alloc(32, 0)
			c.damage(h)
			err := h.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

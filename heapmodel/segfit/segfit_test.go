package segfit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestConformance(t *testing.T) {
	modeltest.Run(t, Model,
		"segregated-fit:capacity=64KiB",
		"segregated-fit:capacity=64KiB,classes=quarter,fit=best,ptr=64",
		"segregated-fit:capacity=8KiB,classes=16+32+48+64+128+256+1KiB,order=fifo,realloc=inplace",
		"segregated-fit:quantum=4KiB,header=0,align=1,order=address,threshold=16",
		"segregated-fit:quantum=100,grow=64KiB,header=3,align=2,fit=best,order=address,realloc=inplace,min=24",
	)
}

func FuzzOps(f *testing.F) {
	modeltest.Inside(nil).Fuzz(f, Model,
		"segregated-fit:quantum=1KiB,classes=quarter,header=0,align=1,realloc=inplace",
		"segregated-fit:capacity=8KiB,classes=16+24+48+100+300,fit=best,order=address,realloc=inplace",
	)
}

func BenchmarkHeap(b *testing.B) {
	modeltest.Bench(b, Model,
		"segregated-fit:capacity=64KiB",
		"segregated-fit:capacity=64KiB,classes=quarter,fit=best,order=address",
	)
}

func heapOf(t *testing.T, text string) *heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h.(*heap)
}

// TestClasses compares the bounds of classes, in bytes, with those written down.
func TestClasses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"header=0,align=1,classes=pow2", "0 2 4 8 16 32 64 128 256 512"},
		{"header=0,align=1,classes=quarter", "0 2 4 5 6 7 8 10 12 14 16 20 24 28 32 40 48 56 64 80"},
		{"header=0,align=8,classes=quarter", "0 16 24 32 40 48 56 64 80 96 112 128 160 192 224"},
		{"header=0,align=8,classes=16+20+48", "0 24 48"},
		{"header=4,align=8,min=60,classes=pow2", "0 128 256 512"},
		{"header=0,align=1,min=100,classes=16+32", "0"},
	} {
		h := heapOf(t, "segregated-fit:capacity=4KiB,"+c.args)
		var got []string
		for _, bound := range h.bounds {
			got = append(got, fmt.Sprint(h.Bytes(bound)))
		}
		if text := strings.Join(got, " "); text != c.want && !strings.HasPrefix(text, c.want+" ") {
			t.Errorf("%s: got %s, want %s", c.args, text, c.want)
		}
	}
}

// TestSearch frees blocks of a few sizes that do not touch and looks which one
// serves a request, in how many steps.
func TestSearch(t *testing.T) {
	for _, c := range []struct {
		args    string
		request uint64
		addr    heapmodel.Addr
		steps   uint64
	}{
		// Free, by address: 20 at 0, 30 at 24, 24 at 58, 70 at 86, 65 at 160, 771 at 229.
		// [16, 32) LIFO: 24 30 20. [64, 128): 65 70. [512, 1024): 771.
		{"order=lifo", 20, 58, 1 + 1},
		{"order=lifo", 25, 24, 1 + 2},
		{"order=fifo", 20, 0, 1 + 1},
		{"order=fifo", 25, 24, 1 + 2},
		{"order=address", 22, 24, 1 + 2},
		{"fit=best", 22, 58, 1 + 3},
		{"order=lifo", 31, 160, 1 + 3 + 2 + 1}, // none of the class, [32, 64) is empty
		{"order=fifo", 31, 86, 1 + 3 + 2 + 1},
		{"fit=best", 40, 160, 1 + 1 + 2},
		{"order=lifo", 71, 229, 1 + 2 + 3 + 1},
		{"classes=quarter", 22, 58, 1 + 1 + 1 + 1}, // [20, 24) has 20 only, [24, 28) has 24
	} {
		t.Run(fmt.Sprint(c.args, " ", c.request), func(t *testing.T) {
			h := heapOf(t, "segregated-fit:capacity=1000,header=0,align=1,"+c.args)
			var free []heapmodel.Ref
			for _, size := range []uint64{20, 30, 24, 70, 65} {
				r, _ := h.Alloc(size, 0)
				free = append(free, r)
				h.Alloc(4, 0)
			}
			for _, r := range free {
				h.Free(r)
			}
			before := h.use.Steps
			r, ok := h.Alloc(c.request, 0)
			if !ok || h.Addr(r) != c.addr || h.use.Steps-before != c.steps {
				t.Errorf("got %d, %v in %d steps, want %d in %d; %s", h.Addr(r), ok, h.use.Steps-before, c.addr, c.steps, oracle.Layout(h))
			}
		})
	}
}

// TestGrowth extends a free last block, and a used one.
func TestGrowth(t *testing.T) {
	h := heapOf(t, "segregated-fit:quantum=100,grow=1000,header=0,align=1")
	a, _ := h.Alloc(60, 0)
	h.Alloc(70, 0) // 40 are free, 30 missing
	h.Alloc(70, 0)
	h.Alloc(10, 0)
	if got, want := oracle.Layout(h), "0+60 60+70 130+70 200+10 210-90"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if want := (heapmodel.Growth{Need: 10}); h.use.Grown != want {
		t.Errorf("got %+v, want %+v", h.use.Grown, want)
	}
	h.Free(a)
	if _, ok := h.Alloc(791, 0); ok {
		t.Error("791 bytes behind 210 are in an arena of 1000")
	}
	if r, ok := h.Alloc(790, 0); !ok || h.Addr(r) != 210 || h.use.Arena != 1000 {
		t.Errorf("790 bytes at %d, %v, arena %d", h.Addr(r), ok, h.use.Arena)
	}
	if want := (heapmodel.Growth{Need: 790, Free: 150, LargestFree: 90}); h.use.Grown != want {
		t.Errorf("got %+v, want %+v", h.use.Grown, want)
	}
}

func TestBadConfigs(t *testing.T) {
	for args, want := range map[string]string{
		"capacity=11":                   "the least that holds a block is 12 bytes",
		"capacity=40,min=40":            "the least that holds a block is 44 bytes",
		"capacity=64KiB,min=2GiB":       "min=2GiB: the most is 1GiB",
		"capacity=64KiB,threshold=2GiB": "threshold=2GiB: the most is 1GiB",
		"capacity=64KiB,classes=pow3":   "classes=pow3: want pow2, quarter or SIZE+SIZE...",
		"capacity=64KiB,classes=32+16":  "want them ascending",
		"ptr=32":                        "needs a capacity",
	} {
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, "segregated-fit:"+args)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", args, err, want)
		}
	}
}

// TestCheckFindsDamage breaks one invariant at a time.
func TestCheckFindsDamage(t *testing.T) {
	for _, c := range []struct {
		name, want string
		damage     func(h *heap, used, free blocks.ID)
	}{
		{"none", "", func(*heap, blocks.ID, blocks.ID) {}},
		{"bytes", "counters say", func(h *heap, _, _ blocks.ID) { h.use.Free += 8; h.use.Allocated -= 8 }},
		{"arena", "arena of", func(h *heap, _, _ blocks.ID) { h.use.Arena++ }},
		{"break", "blocks end at granule", func(h *heap, _, _ blocks.ID) { h.brk += 8 }},
		{"free neighbours", "and the one below are free", func(h *heap, used, _ blocks.ID) { h.t.SetFree(used) }},
		{"start", "follows one that ends at", func(h *heap, used, _ blocks.ID) { h.t.Nodes[used].Low ^= 1 }},
		{"size", "has 0 bytes", func(h *heap, used, _ blocks.ID) { h.t.Nodes[h.t.Next(used)].Start = h.t.Nodes[used].Start }},
		{"bit", "its bit is false", func(h *heap, _, free blocks.ID) { h.filled[0] &^= 1 << h.classOf(h.t.Size(free)) }},
		{"list", "is on no list", func(h *heap, _, free blocks.ID) { h.unlink(free) }},
		{"used on a list", "that are not free", func(h *heap, used, _ blocks.ID) { h.enter(used); h.use.FreeBlocks-- }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "segregated-fit:capacity=4KiB")
			free, _ := h.Alloc(100, 0)
			used, _ := h.Alloc(200, 0)
			h.Alloc(30, 0)
			h.Free(free)
			c.damage(h, blocks.ID(used), blocks.ID(free))
			err := h.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

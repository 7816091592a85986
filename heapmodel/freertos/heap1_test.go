package freertos

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestHeap1Golden(t *testing.T)  { modeltest.Golden(t, Heap1) }
func TestHeap1Conform(t *testing.T) { modeltest.Run(t, Heap1) }
func FuzzHeap1(f *testing.F)        { modeltest.Fuzz(f, Heap1) }
func BenchmarkHeap1(b *testing.B)   { modeltest.Bench(b, Heap1) }

func TestHeap1ReportsWhatTheOriginalReported(t *testing.T) {
	checkSummaries(t, "heap1", [][2]string{
		{"freertos-heap1:capacity=32KiB,ptr=32", "32k-m32"},
		{"freertos-heap1:capacity=64KiB,ptr=32", "64k-m32"},
		{"freertos-heap1:capacity=64KiB,ptr=64", "64k-m64"},
	})
}

func TestHeap1Configs(t *testing.T) {
	for _, c := range []struct {
		spec               string
		free, over, native uint64
		err                string
	}{
		{"freertos-heap1", 65520, 16, 65528, ""},
		{"freertos-heap1:version=10.4.5", 65520, 16, 65528, ""},
		{"freertos-heap1:capacity=65535", 65520, 15, 65527, ""},
		{"freertos-heap1:capacity=65537", 65528, 9, 65529, ""},
		{"freertos-heap1:capacity=17", 8, 9, 9, ""},
		{"freertos-heap1:capacity=16", 0, 0, 0, "capacity=16: the least that holds an object is 17 bytes"},
		{"freertos-heap1:capacity=4GiB", 0, 0, 0, "the most is 4294967295 bytes"},
		{"freertos-heap1:capacity=4GiB,ptr=64", 1<<32 - 16, 16, 1<<32 - 8, ""},
		{"freertos-heap1:capacity=32GiB,ptr=64", 0, 0, 0, "the most is 34359738360 bytes"},
		{"freertos-heap1:version=9.9.9", 0, 0, 0, "version=9.9.9 is not modelled"},
	} {
		h, err := parse(t, c.spec).New()
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want one with %q", c.spec, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if u := h.Usage(); u.Free != c.free || u.Overhead != c.over || native(h)["free_bytes"] != c.native {
			t.Errorf("%s: %d bytes free, %d overhead, %v, want %d, %d, %d", c.spec, u.Free, u.Overhead, native(h), c.free, c.over, c.native)
		}
	}
}

// TestHeap1Ends tries the end of the array, which must be missed by 8 bytes and
// more, and frees.
func TestHeap1Ends(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  string
		sizes []uint64
		fails int // index of the request that fails, -1 if none does
		want  string
	}{
		{"up to the limit", "freertos-heap1:capacity=64", []uint64{48, 8}, 1, "0+48"},
		{"at the limit", "freertos-heap1:capacity=64", []uint64{49}, 0, "0-48"},
		{"smaller one after a failure", "freertos-heap1:capacity=64", []uint64{24, 32, 24}, 1, "0+24 24+24"},
		{"odd capacity", "freertos-heap1:capacity=65", []uint64{56}, -1, "0+56"},
		{"rounding", "freertos-heap1:capacity=64", []uint64{1, 8, 9}, -1, "0+8 8+8 16+16 32-16"},
		{"64 bits", "freertos-heap1:capacity=64,ptr=64", []uint64{1, 8, 9}, -1, "0+8 8+8 16+16 32-16"},
		{"old version", "freertos-heap1:capacity=64,version=10.4.5", []uint64{1, 40, 1}, 2, "8+8 16+40"},
		{"first version without", "freertos-heap1:capacity=64,version=10.4.6", []uint64{1, 40}, -1, "0+8 8+40"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, c.spec)
			for i, size := range c.sizes {
				r, ok := h.Alloc(size, 0)
				if ok != (i != c.fails) {
					t.Fatalf("request %d of %d bytes: placed %v", i, size, ok)
				}
				if ok {
					h.Free(r) // which gives nothing back
				}
			}
			if got := layout(h); got != c.want {
				t.Errorf("blocks %s, want %s", got, c.want)
			}
			for b := range h.Blocks() {
				if b.Ref != heapmodel.NullRef {
					t.Errorf("block at %d has Ref %d after its free", b.Addr, b.Ref)
				}
			}
			if err := h.Check(); err != nil || h.Usage().Steps != 0 {
				t.Errorf("check: %v; %d steps", err, h.Usage().Steps)
			}
		})
	}
}

func TestHeap1RefusesHugeRequests(t *testing.T) {
	h := open(t, "freertos-heap1")
	for log2 := 16; log2 <= 62; log2++ {
		for _, size := range []uint64{1<<log2 - 1, 1 << log2} {
			if r, ok := h.Alloc(size, 0); ok {
				t.Errorf("%d bytes are placed as %d", size, r)
			}
		}
	}
	if r, ok := h.Alloc(0, 0); !ok || r != heapmodel.NullRef {
		t.Errorf("malloc(0) gives %d, %v, want a null pointer that is no failure", r, ok)
	}
}

// TestHeap1CheckFindsDamage sees to it that Check is no formality.
func TestHeap1CheckFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(h *bump){
		"first object moved":  func(h *bump) { h.starts[0]++ },
		"objects swapped":     func(h *bump) { h.starts[1], h.starts[2] = h.starts[2], h.starts[1] },
		"next inside":         func(h *bump) { h.next = h.starts[2] },
		"next beyond the end": func(h *bump) { h.next = h.end + 1 },
		"bitmap cut":          func(h *bump) { h.live = nil },
		"used blocks":         func(h *bump) { h.use.UsedBlocks++ },
		"free bytes":          func(h *bump) { h.use.Free++ },
		"overhead":            func(h *bump) { h.use.Overhead++ },
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, "freertos-heap1").(*bump)
			for range 3 {
				h.Alloc(40, 0)
			}
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			harm(h)
			if h.Check() == nil {
				t.Error("Check found nothing")
			}
		})
	}
}

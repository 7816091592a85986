package multi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

// three heaps that can be told by the addresses: they begin at 0, 8 KiB, 16 KiB.
const three = "heaps=[sequential:capacity=4KiB]+[sequential:capacity=4KiB]+[sequential:capacity=8KiB]"

func heapOf(a heapmodel.Addr) string {
	switch {
	case a == heapmodel.Null:
		return "null"
	case a < 8<<10:
		return "0"
	case a < 16<<10:
		return "1"
	}
	return "2"
}

// request is an allocation and what is known of it.
type request struct {
	size uint64
	hint heapmodel.Hint
}

func TestRoutes(t *testing.T) {
	sized := func(sizes ...uint64) (out []request) {
		for _, s := range sizes {
			out = append(out, request{size: s, hint: heapmodel.Hint{Life: heapmodel.Forever}})
		}
		return out
	}
	hinted := func(hints ...heapmodel.Hint) (out []request) {
		for _, h := range hints {
			out = append(out, request{size: 8, hint: h})
		}
		return out
	}
	for _, c := range []struct {
		name, args string
		requests   []request
		want       string // heap of each
	}{
		{"sizes", "cuts=64+1KiB", sized(1, 64, 65, 1024, 1025), "0 0 1 1 2"},
		{"size 0", "cuts=0+64", sized(0, 1, 65), "0 1 2"},
		{"no cuts", "by=size", sized(1, 2000), "0 0"},
		{"overflow to the next", "cuts=64+1KiB", sized(1000, 1000, 1000, 1000, 1000, 60), "1 1 1 1 2 0"},
		{"overflow to the last", "cuts=2KiB+3KiB,overflow=last", sized(2000, 2000, 2000), "0 0 2"},
		{"no overflow", "cuts=2KiB+3KiB,overflow=none", sized(2000, 2000, 2000, 3000), "0 0 ! 1"},
		{"larger than its heap", "cuts=5KiB+6KiB", sized(5000, 6000), "2 !"},
		{
			"threads", "by=thread,cuts=0/2+1",
			hinted(heapmodel.Hint{Thread: 0}, heapmodel.Hint{Thread: 1}, heapmodel.Hint{Thread: 2}, heapmodel.Hint{Thread: 3}, heapmodel.Hint{Thread: 1 << 31}),
			"0 1 0 2 2",
		},
		{
			"sites", "by=site,cuts=net/*|0x5*;#0|main.c:?2",
			hinted(heapmodel.Hint{Site: 0}, heapmodel.Hint{Site: 1}, heapmodel.Hint{Site: 2}, heapmodel.Hint{Site: 3}, heapmodel.Hint{Site: 4}, heapmodel.Hint{Site: 5}, heapmodel.Hint{Site: 6}, heapmodel.Hint{Site: 99}),
			"1 1 2 0 0 0 2 2",
		},
		{
			"the first set with a site counts", "by=site,cuts=*.c:7;*",
			hinted(heapmodel.Hint{Site: 2}, heapmodel.Hint{Site: 3}),
			"1 0",
		},
		{
			"lives", "by=life,cuts=100+4KiB",
			hinted(heapmodel.Hint{Life: 0}, heapmodel.Hint{Life: 100}, heapmodel.Hint{Life: 101}, heapmodel.Hint{Life: 4096}, heapmodel.Hint{Life: 4097}, heapmodel.Hint{Life: heapmodel.Forever}),
			"0 0 1 1 2 2",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHeap(t, "multi:"+c.args+","+three)
			hinted := h.(heapmodel.Hinted)
			if err := hinted.Bind(modeltest.Sites()); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range c.requests {
				hinted.Hint(r.hint)
				if ref, ok := h.Alloc(r.size, 0); ok {
					got = append(got, heapOf(h.Addr(ref)))
				} else {
					got = append(got, "!")
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), c.want)
			}
		})
	}
}

func TestReallocs(t *testing.T) {
	for _, c := range []struct {
		name, args string
		threads    string // of the alloc and each realloc
		sizes      []uint64
		want       string
	}{
		{"grows over a cut", "cuts=64+1KiB", "000", []uint64{60, 65, 2000}, "0 1 2"},
		{"shrinks below a cut", "cuts=64+1KiB", "00", []uint64{2000, 10}, "2 0"},
		{"stays with its thread's heap", "by=thread,cuts=0+1", "0111", []uint64{10, 2000, 20, 1000}, "0 0 0 0"},
		{"overflows when its heap is full", "by=thread,cuts=0+1", "011", []uint64{10, 4090, 20}, "0 2 2"},
		{"overflows nowhere", "by=thread,cuts=0+1,overflow=none", "011", []uint64{10, 4090, 20}, "0 ! 0"},
		{"comes home after it overflowed", "cuts=5KiB+6KiB", "00", []uint64{5000, 100}, "2 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHeap(t, "multi:"+c.args+","+three)
			var got []string
			r := heapmodel.NullRef
			for i, size := range c.sizes {
				h.(heapmodel.Hinted).Hint(heapmodel.Hint{Thread: uint32(c.threads[i] - '0')})
				var ok bool
				if i == 0 {
					r, ok = h.Alloc(size, 0)
				} else {
					r, ok = h.Realloc(r, size, 0)
				}
				if ok {
					got = append(got, heapOf(h.Addr(r)))
				} else {
					got = append(got, "!")
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), c.want)
			}
			if u := h.Usage(); u.UsedBlocks != 1 {
				t.Errorf("%d blocks are used, want 1", u.UsedBlocks)
			}
		})
	}
}

func TestHints(t *testing.T) {
	for args, want := range map[string]heapmodel.HintKinds{
		"cuts=64,heaps=[tlsf]+[tlsf]":                                     0,
		"by=site,heaps=[tlsf]+[tlsf]":                                     0,
		"by=site,cuts=#1,heaps=[tlsf]+[tlsf]":                             heapmodel.HintSite,
		"by=thread,cuts=1,heaps=[tlsf]+[tlsf]":                            heapmodel.HintThread,
		"by=life,cuts=1,heaps=[tlsf]+[tlsf]":                              heapmodel.HintLife,
		"cuts=64,heaps=[tlsf]+[multi:by=life,cuts=1,heaps=[tlsf]+[tlsf]]": heapmodel.HintLife,
	} {
		if got := newHeap(t, "multi:"+args).(heapmodel.Hinted).Hints(); got != want {
			t.Errorf("%s: hints %b, want %b", args, got, want)
		}
	}
}

func TestBindNamesWhatIsNotThere(t *testing.T) {
	for args, want := range map[string]string{
		"by=site,cuts=net/*|gone.c:*,heaps=[tlsf]+[tlsf]":                   `no call site of the trace is named "gone.c:*", of 6 sites`,
		"by=site,cuts=#7,heaps=[tlsf]+[tlsf]":                               `"#7"`,
		"cuts=9,heaps=[tlsf]+[multi:by=site,cuts=gone,heaps=[tlsf]+[tlsf]]": `heap 1: cuts: no call site of the trace is named "gone"`,
	} {
		err := newHeap(t, "multi:"+args).(heapmodel.Hinted).Bind(modeltest.Sites())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %s", args, err, want)
		}
	}
}

// TestInnerHeapsGetHints holds that a heap inside routes by the hint that the
// outer one got.
func TestInnerHeapsGetHints(t *testing.T) {
	h := newHeap(t, "multi:cuts=64,heaps=[sequential:capacity=4KiB]+[multi:by=thread,cuts=3,heaps=[sequential:capacity=4KiB]+[sequential:capacity=4KiB]]")
	// The heaps inside begin at 8 KiB and 16 KiB.
	for thread, want := range map[uint32]heapmodel.Addr{3: 8 << 10, 4: 16 << 10} {
		h.(heapmodel.Hinted).Hint(heapmodel.Hint{Thread: thread})
		r, _ := h.Alloc(100, 0)
		if got := h.Addr(r) &^ (4<<10 - 1); got != want {
			t.Errorf("thread %d: in the heap at %d, want %d", thread, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		name, heaps string
		want        string // regions
	}{
		{"packed", "[tlsf:capacity=64KiB]+[tlsf:capacity=40KiB]+[tlsf:capacity=5000]", "64KiB@0 40KiB@68KiB 5000@112KiB"},
		{"at a multiple of the length", "[sequential:capacity=100]+[sequential:capacity=120]+[sequential:capacity=1000]", "100@0 120@128 1000@1KiB"},
		{"of 4 KiB at most", "[tlsf:capacity=5000]+[tlsf:capacity=1MiB]", "5000@0 1MiB@8KiB"},
		{"and of the alignment", "[tlsf:capacity=5000]+[sequential:capacity=4MiB,align=1MiB]", "5000@0 4MiB@1MiB"},
		{"growing ones above", "[kr:grow=1MiB]+[tlsf:capacity=5000]+[sequential:quantum=4KiB]", "5000@0 1MiB@8KiB 1TiB@1036KiB"},
		{"pieces", "[tlsf:capacity=4KiB]+[tlsf:regions=4KiB@0+8KiB@16KiB]", "4KiB@0 4KiB@8KiB 8KiB@24KiB"},
		{"inside another", "[tlsf:capacity=4KiB]+[multi:heaps=[tlsf:capacity=4KiB]+[tlsf:capacity=8KiB]]", "4KiB@0 4KiB@8KiB 8KiB@16KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, r := range newHeap(t, "multi:heaps="+c.heaps).(heapmodel.Apart).Regions() {
				got = append(got, heapmodel.FormatBytes(r.Size)+"@"+heapmodel.FormatBytes(uint64(r.Addr)))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), c.want)
			}
		})
	}
}

// TestAlignments holds that every alignment is served by every heap that has
// room, whether it has an entry point for it or not.
func TestAlignments(t *testing.T) {
	for _, heap := range []string{"freertos-heap4:capacity=1MiB", "tlsf:capacity=1MiB", "lwip-mem:capacity=60KiB"} {
		h := newHeap(t, "multi:cuts=0,heaps=[sequential:capacity=100]+["+heap+"]")
		for align := uint32(1); align <= 32<<10; align *= 2 {
			need := h.Need(100, align)
			r, ok := h.Alloc(100, align)
			if !ok || uint64(h.Addr(r))%uint64(align) != 0 || h.LargestFree() < 1000 {
				t.Fatalf("%s: align %d: %t at %d", heap, align, ok, h.Addr(r))
			}
			if need < 100 {
				t.Errorf("%s: align %d: needs %d bytes", heap, align, need)
			}
			// A realloc is a plain one.
			if r, ok = h.Realloc(r, 200, align); !ok {
				t.Errorf("%s: align %d: realloc fails", heap, align)
			}
			if err := h.Check(); err != nil {
				t.Error(err)
			}
			h.Free(r)
		}
		if _, ok := h.Alloc(heapmodel.MaxSize, heapmodel.MaxAlign); ok {
			t.Errorf("%s: the largest request succeeds", heap)
		}
	}
}

// TestRefsStayDense holds that Refs are small numbers, as whoever keeps a table
// by Ref expects.
func TestRefsStayDense(t *testing.T) {
	h := newHeap(t, "multi:cuts=4,heaps=[sequential:capacity=4KiB]+[sequential:capacity=4KiB]")
	for i := range 100 {
		r, ok := h.Alloc(uint64(1+i%8), 0)
		if !ok || r > 1000 {
			t.Fatalf("object %d has Ref %d", i, r)
		}
	}
}

func TestFigures(t *testing.T) {
	h := newHeap(t, "multi:cuts=64+1KiB,overflow=last,heaps=[sequential:capacity=1KiB,header=0,align=1]+[sequential:capacity=2KiB,header=0,align=1]+[sequential:capacity=3KiB,header=0,align=1]")
	alloc := func(size uint64) heapmodel.Ref {
		r, _ := h.Alloc(size, 0)
		return r
	}
	first := alloc(60)
	for range 20 {
		alloc(64) // 15 of these fit, the others overflow
	}
	h.Free(first)
	alloc(1000)
	alloc(1000)
	alloc(3000) // fails: 64 + 2048 - 2000 bytes are free elsewhere
	got := map[string]uint64{}
	for _, s := range h.(heapmodel.Native).Native() {
		got[s.Key] = s.Value
	}
	for key, want := range map[string]uint64{
		"heap0.arena_bytes": 1024, "heap0.footprint_bytes": 60 + 15*64, "heap0.used_bytes": 15 * 64, "heap0.free_bytes": 64,
		"heap0.largest_free_bytes": 60, "heap0.served_for_others": 0,
		"heap1.used_bytes": 2000, "heap2.used_bytes": 5 * 64, "heap2.served_for_others": 5,
		"failed_requests": 1, "stranded_bytes": 64 + 48,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %d (%t), want %d", key, v, ok, want)
		}
	}
	if foot, want := h.(heapmodel.Composed).Footprint(), uint64(60+15*64+2000+5*64); foot != want {
		t.Errorf("the footprint is %d, want %d", foot, want)
	}
	if u := h.Usage(); u.HighWater != 8192+5*64 {
		t.Errorf("the high-water mark is %d, want %d", u.HighWater, 8192+5*64)
	}
}

// TestNeed holds that a request needs the least of what the heaps ask that it
// may go to.
func TestNeed(t *testing.T) {
	heaps := ",heaps=[sequential:capacity=4KiB,header=100,align=1]+[sequential:capacity=4KiB,header=50,align=1]+[sequential:capacity=4KiB,header=70,align=1]"
	for _, c := range []struct {
		overflow string
		want     [3]uint64 // of 10, 20 and 30 bytes, which begin at heaps 0, 1 and 2
	}{
		{"none", [3]uint64{110, 70, 100}},
		{"next", [3]uint64{60, 70, 100}},
		{"last", [3]uint64{80, 70, 100}},
	} {
		h := newHeap(t, "multi:cuts=10+20,overflow="+c.overflow+heaps)
		if got := [...]uint64{h.Need(10, 0), h.Need(20, 0), h.Need(30, 0)}; got != c.want {
			t.Errorf("overflow=%s: %d, want %d", c.overflow, got, c.want)
		}
	}
}

func TestGrowth(t *testing.T) {
	h := newHeap(t, "multi:cuts=64,overflow=none,heaps=[sequential:capacity=1KiB]+[sequential:quantum=1KiB,grow=4KiB]")
	if u := h.Usage(); u.Arena != 1024 {
		t.Errorf("the arena has %d bytes at the start", u.Arena)
	}
	if _, ok := h.Alloc(1500, 0); !ok {
		t.Fatal("a heap that grows is full")
	}
	if u := h.Usage(); u.Arena != 3*1024 || u.Grown.Need < 1500 {
		t.Errorf("after a growth: %+v", *u)
	}
	if foot := h.(heapmodel.Composed).Footprint(); foot != 2048 {
		t.Errorf("the footprint is %d: that of the fixed heap is none yet, that of the other its arena", foot)
	}
	for range 3 {
		h.Alloc(1500, 0)
	}
	if _, ok := h.Alloc(1500, 0); ok {
		t.Error("the heap grows beyond its limit")
	}
	if _, ok := h.Alloc(60, 0); !ok {
		t.Error(fmt.Sprint("the other heap is full: ", *h.Usage()))
	}
}

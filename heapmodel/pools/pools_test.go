package pools

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/freertos"
	"github.com/fragprof/fragprof/heapmodel/ideal"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/o1heap"
	"github.com/fragprof/fragprof/heapmodel/sequential"
	"github.com/fragprof/fragprof/heapmodel/tlsf"
)

// inside are models for overflow heaps: with and without an aligned entry
// point, with and without growth, and pools again.
var inside = modeltest.Inside{tlsf.Model, sequential.Model, freertos.Heap4, o1heap.Model}

func models() []*heapmodel.Model {
	return append([]*heapmodel.Model{Model, ideal.Model}, inside...)
}

func TestConformance(t *testing.T) {
	inside.Run(t, Model,
		"pools",
		"pools:blocks=16x20+64x20+256x10,fallback=none,ptr=64",
		"pools:blocks=100x10+24x30+24x5,header=4,control=20",
		"pools:blocks=16x64+128x64,overflow=[tlsf:capacity=8KiB]",
		"pools:blocks=16x64+128x8,fallback=none,overflow=[sequential:quantum=100,grow=64KiB]",
		"pools:blocks=7x40+1000x4,align=1,overflow=[freertos-heap4:capacity=8KiB],control=12",
		"pools:blocks=16x100,overflow=[pools:blocks=64x50,overflow=[o1heap:capacity=16KiB]]",
		"pools:blocks=32x5,overflow=[sequential:quantum=4KiB,header=0,align=1]",
	)
}

func FuzzOps(f *testing.F) {
	inside.Fuzz(f, Model, "pools:blocks=16x20+64x5+24x9,fallback=none,overflow=[tlsf:capacity=8KiB]", "pools:blocks=9x20+64x5,align=2,control=3,header=1")
}

func BenchmarkHeap(b *testing.B) {
	inside.Bench(b, Model,
		"pools:blocks=16x4000+64x4000+256x1000+16384x100",
		"pools:blocks=16x4000+64x4000+256x1000,overflow=[tlsf:capacity=64KiB]",
	)
}

func heapOf(t *testing.T, text string) *heap {
	t.Helper()
	s, err := heapmodel.ParseSpec(models(), text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h.(*heap)
}

// TestWhereRequestsGo allocates one size after the other and lists the
// addresses, - for a failure.
func TestWhereRequestsGo(t *testing.T) {
	for _, c := range []struct {
		name, args string
		sizes      []uint64
		want       string
	}{
		// 16x2 is at 0, 32x2 at 32, 64x1 at 96.
		{"the smallest that holds it", "", []uint64{16, 17, 33, 0}, "0 32 96 16"},
		{"the next when empty", "", []uint64{16, 16, 16, 16, 16, 16}, "0 16 32 64 96 -"},
		{"none when empty", ",fallback=none", []uint64{16, 16, 16, 17}, "0 16 - 32"},
		{"too large", "", []uint64{65, 64}, "- 96"},
		{"overflow when too large", ",overflow=[sequential:capacity=256,header=0]", []uint64{65, 64}, "256 96"},
		{"overflow when empty", ",fallback=none,overflow=[sequential:capacity=256,header=0]", []uint64{1, 2, 3, 20}, "0 16 256 32"},
		{"overflow after the next", ",overflow=[sequential:capacity=256,header=0]", []uint64{1, 2, 3, 4, 5, 6}, "0 16 32 64 96 256"},
		{"all is full", ",overflow=[sequential:capacity=64,header=0]", []uint64{64, 64, 64, 1}, "96 192 - 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "pools:blocks=16x2+32x2+64x1"+c.args)
			var got []string
			for _, size := range c.sizes {
				text := "-"
				if r, ok := h.Alloc(size, 0); ok {
					text = fmt.Sprint(h.Addr(r))
				}
				got = append(got, text)
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %s, want %s", text, c.want)
			}
			if err := h.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAlignment asks for alignments that pools have by where they lie.
func TestAlignment(t *testing.T) {
	// 24x4 is at 8, behind 8 bytes of control; 64x2 at 112; 64x2 at 256.
	const blocks = "pools:blocks=24x4+64x2+64x2,control=8"
	for _, c := range []struct {
		args  string
		size  uint64
		align uint32
		want  heapmodel.Addr
	}{
		{"", 10, 8, 8},
		{"", 10, 16, 112}, // blocks of 24 bytes are not all aligned to 16
		{"", 10, 32, heapmodel.Null},
		{",overflow=[sequential:capacity=4KiB,header=0]", 10, 32, 4096},
		{",overflow=[sequential:capacity=16KiB,header=0]", 100, 4096, 16384},
		{",overflow=[freertos-heap4:capacity=4KiB]", 10, 128, 4096 + 128},
	} {
		h := heapOf(t, blocks+c.args)
		got := heapmodel.Null
		if r, ok := h.Alloc(c.size, c.align); ok {
			got = h.Addr(r)
		}
		if got != c.want {
			t.Errorf("%s: %d bytes aligned to %d: got %d, want %d", c.args, c.size, c.align, int64(got), int64(c.want))
		}
	}
}

// TestRealloc follows one object through reallocs: its address after each, -
// for a failure.
func TestRealloc(t *testing.T) {
	const over = ",overflow=[sequential:capacity=256,header=0,realloc=inplace]"
	for _, c := range []struct {
		name, args string
		before     []uint64 // allocated first
		sizes      []uint64
		want       string
	}{
		{"stays while it fits", "", nil, []uint64{10, 16, 1, 0}, "0 0 0 0"},
		{"moves up, not down", "", nil, []uint64{10, 20, 10, 40, 1}, "0 32 32 96 96"},
		{"too large", "", nil, []uint64{10, 65, 12}, "0 - 0"},
		{"goes to the overflow heap", over, nil, []uint64{10, 65, 100}, "0 256 256"},
		{"stays in the overflow heap", over, nil, []uint64{65, 10, 200}, "256 256 256"},
		{"the next pool is empty", "", []uint64{32, 32, 64}, []uint64{10, 20}, "0 -"},
		{"the next pool is empty and another is not", "", []uint64{32, 32}, []uint64{10, 20}, "0 96"},
		{"back to a pool", ",overflow=[sequential:capacity=80,header=0]", nil, []uint64{72, 60, 90, 70}, "256 96 - 256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "pools:blocks=16x2+32x2+64x1"+c.args)
			for _, size := range c.before {
				if _, ok := h.Alloc(size, 0); !ok {
					t.Fatal("no room")
				}
			}
			var got []string
			r := heapmodel.NullRef
			for _, size := range c.sizes {
				s, ok := h.Realloc(r, size, 0)
				text := "-"
				if ok {
					text = fmt.Sprint(h.Addr(s))
				} else if s != r {
					t.Errorf("a failure returns %d for %d", s, r)
				}
				r = s
				got = append(got, text)
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %s, want %s; %s", text, c.want, oracle.Layout(h))
			}
		})
	}
}

// TestStats compares what the heap tells of itself with what was done.
func TestStats(t *testing.T) {
	h := heapOf(t, "pools:blocks=16x2+32x1,control=4,overflow=[freertos-heap4:capacity=8KiB]")
	for range 5 { // two, one in place, two overflow
		h.Alloc(16, 0)
	}
	r, _ := h.Alloc(100, 0)
	h.Free(r)
	h.Alloc(1<<40, 0)
	var got []string
	for _, s := range h.Native() {
		if !strings.HasPrefix(s.Key, "overflow.own") {
			got = append(got, fmt.Sprint(s.Key, "=", s.Value))
		}
	}
	want := "pool0.block_bytes=16 pool0.blocks=2 pool0.used_blocks=2 pool0.peak_blocks=2 pool0.found_empty=3 pool0.served_for_others=0 " +
		"pool1.block_bytes=32 pool1.blocks=1 pool1.used_blocks=1 pool1.peak_blocks=1 pool1.found_empty=0 pool1.served_for_others=1 " +
		"too_large_for_pools=2 overflowed_requests=3 failed_requests=1 overflow.footprint_bytes=160"
	if text := strings.Join(got, " "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// TestFootprint counts blocks that were ever used, of each pool by itself.
func TestFootprint(t *testing.T) {
	h := heapOf(t, "pools:blocks=16x100+32x100,control=8")
	if got := h.Footprint(); got != 16 {
		t.Errorf("empty: got %d, want twice the control structure", got)
	}
	a, _ := h.Alloc(16, 0)
	h.Alloc(16, 0)
	h.Free(a)
	h.Alloc(32, 0)
	h.Alloc(16, 0)
	if got, want := h.Footprint(), uint64(16+2*16+32); got != want {
		t.Errorf("got %d, want %d", got, want)
	}
	u := h.Usage()
	if u.Arena != 16+1600+3200 || u.Overhead != 16 || u.HighWater != 8+1600+8+32 {
		t.Errorf("%+v", u)
	}
}

// TestGrowingOverflow tells that a heap grows if the one behind its pools does.
func TestGrowingOverflow(t *testing.T) {
	for text, want := range map[string]bool{
		"pools":                               false,
		"pools:overflow=[tlsf:capacity=8KiB]": false,
		"pools:overflow=[sequential:quantum=4KiB]":                true,
		"pools:overflow=[pools:overflow=[sequential:grow=64KiB]]": true,
	} {
		s, err := heapmodel.ParseSpec(models(), text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Grows(); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
	h := heapOf(t, "pools:blocks=16x1,overflow=[sequential:quantum=1000,header=0]")
	h.Alloc(100, 0)
	if want := (heapmodel.Growth{Need: 104}); h.Use.Grown != want || h.Use.Arena != 1016 {
		t.Errorf("arena %d, grown %+v, want 1016 and %+v", h.Use.Arena, h.Use.Grown, want)
	}
}

func TestBadConfigs(t *testing.T) {
	for args, want := range map[string]string{
		"blocks=16":          `"16": want SIZExCOUNT`,
		"blocks=x":           "want bytes",
		"blocks=16x":         "want 1 to 16777216 blocks",
		"blocks=16x0":        "want 1 to 16777216 blocks",
		"blocks=16x-1":       "want 1 to 16777216 blocks",
		"blocks=16x16777217": "want 1 to 16777216 blocks",
		"blocks=0x16":        "want blocks of 1 byte to 1GiB",
		"blocks=2GiBx16":     "want blocks of 1 byte to 1GiB",
		"blocks=16x1+":       `"": want SIZExCOUNT`,
		"blocks=1x1" + strings.Repeat("+1x1", 32): "more than 32 pools",
		"control=2GiB":                     "control=2GiB: the most is 1GiB",
		"align=3":                          "align=3 is no power of two",
		"overflow=[ideal]":                 "overflow: ideal has no arena",
		"overflow=[tlsf]+[tlsf]":           "want one heap",
		"overflow=[sequential:capacity=1]": "the least that holds a block is 12 bytes",
	} {
		s, err := heapmodel.ParseSpec(models(), "pools:"+args)
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
		damage     func(f *fixed)
	}{
		{"none", "", func(*fixed) {}},
		{"bytes", "counters", func(f *fixed) { f.use.Free += 8; f.use.Allocated -= 8 }},
		{"used", "pool 0 has 1 used blocks", func(f *fixed) { f.pools[0].used++ }},
		{"loop", "or twice", func(f *fixed) { f.pools[0].links[0] = 0 }},
		{"used on the stack", "is not free", func(f *fixed) { f.pools[0].links[0] = 1 }},
		{"lost", "pool 0 has 1 used blocks and 0 freed of 2", func(f *fixed) { f.pools[0].head = none }},
		{"arena", "arena of", func(f *fixed) { f.use.Arena++ }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "pools:blocks=16x4")
			r, _ := h.Alloc(1, 0)
			h.Alloc(1, 0)
			h.Free(r)
			c.damage(h.pools)
			err := h.pools.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

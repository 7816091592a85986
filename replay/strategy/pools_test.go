package strategy_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Eight objects of 8 bytes, of which four live at a time at most and two most
// of the time; one of 60 bytes; one of 2000.
const hot = `a 0 8
a 1 8
a 2 8
a 3 8
f 2
f 3
a 4 60
a 5 2000
f 0
a 6 8
f 1
a 7 7
f 6
a 8 8
f 7
a 9 8
`

func TestPools(t *testing.T) {
	checkWrapping(t, hot, []wrapping{
		{
			set: "pools:auto", notes: []string{
				"2 pools of 96 bytes, 8x4+64x1",
				// 10 requests, one of 2000 bytes.
				"pools serve 90.0% of 10 requests; 1 are larger than every block, 0 find no block free",
			},
			heaps: map[string]string{"tlsf:capacity=8KiB": "pools:blocks=8x4+64x1,fallback=next,overflow=[tlsf:capacity=8096],align=4,ptr=32"},
		},
		{
			set: "pools:auto,cover=80", notes: []string{"1 pools of 32 bytes, 8x4", "pools serve 80.0% of 10 requests; 2 are larger"},
			heaps: map[string]string{"freertos-heap4:capacity=8KiB": "pools:blocks=8x4,fallback=next,overflow=[freertos-heap4:capacity=8160],align=8,ptr=32"},
		},
		{
			// Two of them or fewer are live after 13 of the 16 events, one after 5.
			set: "pools:auto,cover=80,at=p60", notes: []string{"1 pools of 16 bytes, 8x2", "pools serve 60.0% of 10 requests; 2 are larger than every block, 2 find no block free"},
			heaps: map[string]string{"freertos-heap4:capacity=8KiB": "pools:blocks=8x2,fallback=next,overflow=[freertos-heap4:capacity=8176],align=8,ptr=32"},
		},
		{
			// One pool for sizes of 8 and 64 wastes 4 x 56 of 5 x 64 bytes.
			set: "pools:auto,most=1", notes: []string{"1 pools of 32 bytes, 8x4"},
		},
		{set: "pools:auto,most=1,waste=75", notes: []string{"1 pools of 256 bytes, 64x4", "pools serve 90.0% of 10 requests"}},
		{
			set: "pools:blocks=[64x1|8x2]", notes: []string{"2 pools of 80 bytes, 8x2+64x1", "pools serve 80.0% of 10 requests; 1 are larger than every block, 1 find no block free"},
			heaps: map[string]string{
				"tlsf:capacity=100": "! ", // too small for anything
				"ideal":             "! no arena",
				"umm-malloc:ptr=64": "pools:blocks=8x2+64x1,fallback=next,overflow=[umm-malloc:capacity=65456,ptr=64],align=4,ptr=64",
			},
		},
		{set: "pools:blocks=[64x1|8x2],fallback=none", notes: []string{"pools serve 70.0% of 10 requests"}},
		{
			set: "pools:blocks=[8x2],overflow=false", notes: []string{"without overflow"},
			heaps: map[string]string{
				"freertos-heap4:capacity=8KiB":            "pools:blocks=8x2,fallback=next,align=8,ptr=32",
				"sequential:capacity=15,header=0,align=1": "! take 16 bytes, more than the 15",
			},
		},
		{
			set: "pools:auto,largest=8,waste=0,cover=100", notes: []string{"1 pools of 32 bytes, 8x4", "pools serve 80.0% of 10 requests"},
		},
	})
	checkErrors(t, map[string]string{
		"pools:auto,blocks=8x2": "auto does not go with it",
		"pools:blocks=8":        "want SIZExCOUNT",
		"pools:blocks=[8x0]":    "1 to 16777216",
		"pools:blocks=[0x4]":    "blocks of 1 byte",
		"pools:blocks=[8Kx4]":   "write KiB",
		"pools:most=0":          "want 1 to 32",
		"pools:cover=0":         "want 1 to 100",
		"pools:waste=100":       "want 0 to 99",
		"pools:largest=4":       "want 8 bytes",
		"pools:at=p0":           "want max",
		"pools:at=95":           "want max",
		"pools:blocks=" + strings.Repeat("8x1|", 32) + "8x1": "more than 32",
	})
}

func TestPoolsOfNothing(t *testing.T) {
	checkWrapping(t, "a 0 5000\na 1 6000\n", []wrapping{{
		set: "pools:auto", notes: []string{"no size of the trace makes a pool"},
		heaps: map[string]string{"tlsf:capacity=64KiB": "tlsf:capacity=64KiB"},
	}})
}

// TestPoolsSuffice holds that pools chosen for the most objects of a recorded
// trace are all used and never empty, and that they serve as many requests as
// was said.
func TestPoolsSuffice(t *testing.T) {
	src := sample(t)
	for _, set := range []string{"pools:auto", "pools:auto,most=1,waste=90", "pools:auto,most=8,cover=99,largest=8KiB,waste=50"} {
		a := learned(t, set, src)
		s, err := a.Wrap(parseSpec(t, "freertos-heap4:capacity=1MiB"))
		if err != nil {
			t.Fatal(err)
		}
		stats, result := statsOf(t, src, s)
		if result.Failures != 0 {
			t.Errorf("%s: %d failures", set, result.Failures)
		}
		pools := 0
		for ; stats[fmt.Sprintf("pool%d.blocks", pools)] > 0; pools++ {
			name := fmt.Sprintf("pool%d.", pools)
			if stats[name+"peak_blocks"] != stats[name+"blocks"] || stats[name+"found_empty"] != 0 {
				t.Errorf("%s: pool %d: %d blocks, at most %d used, %d found it empty", set, pools, stats[name+"blocks"], stats[name+"peak_blocks"], stats[name+"found_empty"])
			}
		}
		if pools == 0 || !strings.Contains(strings.Join(a.Notes, "\n"), fmt.Sprintf("%d pools of", pools)) {
			t.Errorf("%s: %d pools; %s", set, pools, a.Notes)
		}
	}
}

// TestPoolsDryRun compares what a dry run says with what the model does, on
// random traces without reallocs, which the heap behind may serve unseen.
func TestPoolsDryRun(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var b strings.Builder
		var live []int
		requests := 0
		for range rapid.IntRange(1, 60).Draw(rt, "events") {
			if len(live) > 0 && rapid.IntRange(0, 2).Draw(rt, "kind") == 0 {
				i := rapid.IntRange(0, len(live)-1).Draw(rt, "object")
				fmt.Fprintf(&b, "f %d\n", live[i])
				live = append(live[:i], live[i+1:]...)
				continue
			}
			fmt.Fprintf(&b, "a %d %d\n", requests, rapid.IntRange(1, 80).Draw(rt, "size"))
			live = append(live, requests)
			requests++
		}
		if requests == 0 {
			return
		}
		src := parse(t, b.String())
		fallback := rapid.SampledFrom([]string{"next", "none"}).Draw(rt, "fallback")
		a := learned(rt, "pools:blocks=[16x3|32x2|64x4],fallback="+fallback, src)
		s, err := a.Wrap(parseSpec(rt, "sequential:capacity=64KiB,header=0,align=8"))
		if err != nil {
			rt.Fatal(err)
		}
		stats, _ := statsOf(rt, src, s)
		over, large := stats["overflowed_requests"], stats["too_large_for_pools"]
		want := fmt.Sprintf("pools serve %.1f%% of %d requests; %d are larger than every block, %d find no block free",
			100*float64(uint64(requests)-over)/float64(requests), requests, large, over-large)
		if notes := strings.Join(a.Notes, "\n"); !strings.Contains(notes, want) {
			rt.Fatalf("notes:\n%s\nthe model: %s\n%s", notes, want, b.String())
		}
	})
}

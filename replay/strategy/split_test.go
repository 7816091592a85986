package strategy_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// mixed has small objects that come and go and large ones that stay: at the
// peak, after the eighth event, 10, 20, 100 and 200 bytes are live; the small
// ones are most one event earlier: 10, 20 and 5.
const mixed = `a 0 10 @small
f 0
a 1 100 @large
a 2 10 @small
a 3 20 @small
a 4 5 @small
f 4
a 5 200 @large
f 2
f 3
`

// TestSplit has shares of the peaks, in parts of 375 bytes (59 and 316, or 167
// and 208), after the 3,192 bytes that each tlsf heap takes for itself.
func TestSplit(t *testing.T) {
	checkWrapping(t, mixed, []wrapping{
		{
			// 330 bytes live: the cut comes where at least 165 are below or the
			// last size begins.
			set: "split", notes: []string{
				"up to 100 bytes", "167 bytes live at most", "the rest", "208 bytes live at most",
				"apart the heaps need 375 bytes at the least, one shared by all 362: 13 are stranded",
			},
			heaps: map[string]string{"tlsf:capacity=64KiB": "multi:by=size,cuts=100,heaps=[tlsf:capacity=29528]+[tlsf:capacity=36008],overflow=next"},
		},
		{
			set: "split:heaps=3", notes: []string{"up to 20 bytes", "up to 100 bytes"},
			heaps: map[string]string{"freertos-heap4:capacity=362": "multi:by=size,cuts=20+100,heaps=[freertos-heap4:capacity=58]+[freertos-heap4:capacity=90]+[freertos-heap4:capacity=214],overflow=next"},
		},
		{
			set:   "split:cuts=[10|64],shares=[20|20|60],overflow=none",
			notes: []string{"up to 10 bytes: 20.0% of the memory, 31 bytes live at most; up to 64 bytes: 20.0% of the memory, 28 bytes live at most; the rest: 60.0%", "316 bytes"},
			heaps: map[string]string{"tlsf:capacity=16000": "multi:by=size,cuts=10+64,heaps=[tlsf:capacity=3200]+[tlsf:capacity=3200]+[tlsf:capacity=9600],overflow=none"},
		},
		{
			set: "split:by=site,cuts=[small]", notes: []string{
				"site 1", "59 bytes live at most", "the rest", "316 bytes live at most",
				"apart the heaps need 375 bytes at the least, one shared by all 362: 13 are stranded",
			},
			heaps: map[string]string{"tlsf:capacity=36700": "multi:by=site,cuts=#1,heaps=[tlsf:capacity=7960]+[tlsf:capacity=28740],overflow=next"},
		},
		{
			// Lives of 0, forever, 225, 205 and 0 bytes; medians: small 0 of 4, large forever.
			set: "split:by=site", notes: []string{"site 1", "the rest"},
			heaps: map[string]string{"tlsf:capacity=36700": "multi:by=site,cuts=#1,heaps=[tlsf:capacity=7960]+[tlsf:capacity=28740],overflow=next"},
		},
		{
			set: "split:by=life", notes: []string{"lives of up to 330 bytes requested"},
			heaps: map[string]string{"tlsf:capacity=36700": "multi:by=life,cuts=330,heaps=[tlsf:capacity=7960]+[tlsf:capacity=28740],overflow=next"},
		},
		{
			set:   "split:by=life,heaps=3", // 82, 330
			heaps: map[string]string{"tlsf:capacity=60KiB": "multi:by=life,cuts=82+330,heaps=[tlsf:capacity=5640]+[tlsf:capacity=9464]+[tlsf:capacity=46336],overflow=next"},
		},
		{
			set: "split:by=life,heaps=9", notes: []string{"there are objects for 3 heaps only"},
		},
		{
			set: "split:by=thread", notes: []string{"the trace does not tell threads: the heap is left as it is"},
			heaps: map[string]string{"tlsf:capacity=8KiB": "tlsf:capacity=8KiB"},
		},
		{
			set: "split:cuts=1KiB", notes: []string{"the rest: 0.8% of the memory, 0 bytes"},
		},
		{set: "split:heaps=3,by=site", heaps: map[string]string{"tlsf:capacity=6000": "! do not hold the control structures of 2 heaps, 3192 bytes each"}},
	})
	checkErrors(t, map[string]string{
		"split:heaps=1":                  "want 2 to 16",
		"split:shares=[50|49]":           "come to 99 percent",
		"split:shares=[50|x]":            "want percents",
		"split:cuts=9,shares=[20|20|60]": "3 for 2 heaps",
		"split:cuts=[9|8]":               "not above",
		"split:cuts=9K":                  "write KiB",
		"split:by=site,cuts=zzz":         "no call site",
		"split:by=site,cuts=[v;v]":       "all in sets before",
		"split:by=site,cuts=[v;]":        "without call sites",
	})
}

// TestSplitOfOneSize holds that nothing is split where there is nothing to tell
// apart.
func TestSplitOfOneSize(t *testing.T) {
	checkWrapping(t, "a 0 10 @v\na 1 10 @v\n", []wrapping{
		{set: "split", notes: []string{"nothing to tell apart"}, heaps: map[string]string{"tlsf": "tlsf"}},
		{set: "split:by=life", notes: []string{"nothing to tell apart"}, heaps: map[string]string{"tlsf": "tlsf"}},
		{set: "split:by=site", notes: []string{"nothing to tell apart"}, heaps: map[string]string{"tlsf": "tlsf"}},
	})
	checkWrapping(t, "a 0 10\na 1 20\n", []wrapping{
		{set: "split:by=site", notes: []string{"does not tell sites"}, heaps: map[string]string{"tlsf": "tlsf"}},
	})
}

// TestSplitAsLearned holds that the model routes every object of a recorded
// trace to the heap that it was counted for: with room enough none is served
// for another, and in a heap whose blocks are the objects and 8 bytes the
// peaks are those that were learned.
func TestSplitAsLearned(t *testing.T) {
	src := sample(t)
	for _, set := range []string{"split", "split:heaps=5", "split:by=life,heaps=4", "split:by=site", "split:by=site,heaps=4", "split:by=site,cuts=[#1|#2;#3|#9]"} {
		a := learned(t, set, src)
		s, err := a.Wrap(parseSpec(t, "sequential:quantum=1,header=8,align=1"))
		if err != nil {
			t.Fatal(err)
		}
		stats, result := statsOf(t, src, s)
		if result.Failures != 0 {
			t.Errorf("%s: %d failures", set, result.Failures)
		}
		for i := range len(s.Specs("heaps")) {
			name := fmt.Sprintf("heap%d.", i)
			if stats[name+"arena_bytes"] == 0 || stats[name+"served_for_others"] != 0 {
				t.Errorf("%s: heap %d: %d bytes, %d objects of others", set, i, stats[name+"arena_bytes"], stats[name+"served_for_others"])
			}
		}
	}
}

// TestSplitPeaks compares the peaks of random traces that free nothing with what
// the heaps hold in the end.
func TestSplitPeaks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var b strings.Builder
		objects := rapid.IntRange(2, 40).Draw(rt, "objects")
		for i := range objects {
			fmt.Fprintf(&b, "a %d %d @s%d\n", i, rapid.IntRange(1, 500).Draw(rt, "size"), rapid.IntRange(1, 4).Draw(rt, "site"))
		}
		src := parse(t, b.String())
		sites := len(src.Header().Sites) - 1
		set := rapid.SampledFrom([]string{"split", "split:heaps=4", "split:cuts=[100|200]", fmt.Sprintf("split:by=site,cuts=[#1;#%d]", sites)}).Draw(rt, "strategy")
		if strings.Contains(set, "site") && sites < 2 {
			return
		}
		a := learned(rt, set, src)
		s, err := a.Wrap(parseSpec(rt, "sequential:quantum=1,header=8,align=1"))
		if err != nil {
			rt.Fatal(err)
		}
		stats, _ := statsOf(rt, src, s)
		notes := strings.Join(a.Notes, "\n")
		for i := range len(s.Specs("heaps")) {
			if want := fmt.Sprintf(" %d bytes live at most", stats[fmt.Sprintf("heap%d.used_bytes", i)]); !strings.Contains(notes, want) {
				rt.Fatalf("%s: notes\n%s\nhave no %q", set, notes, want)
			}
		}
	})
}

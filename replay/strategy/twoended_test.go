package strategy_test

import (
	"testing"
)

// Sites of long and of brief objects. The peak is 150 bytes; objects 0 and 4
// live longer than that (200 and never freed), 1 to 3 for 0, 50 and 50 bytes.
const longAndBrief = "a 0 50 @long\na 1 50 @brief\nf 1\na 2 50 @brief\na 3 50 @brief\nf 2\na 4 50 @long\nf 3\nf 0\n"

func TestTwoEnded(t *testing.T) {
	checkWrapping(t, longAndBrief, []wrapping{
		{
			set: "two-ended", notes: []string{"first fit from both ends", "2 of 5 objects are placed as long-lived (cut: 150 bytes requested), 0 of all"},
			heaps: map[string]string{
				"tlsf:capacity=8KiB":                         "two-ended:capacity=8192,by=life,cut=150,ptr=32",
				"tlsf:capacity=8KiB,ptr=64":                  "two-ended:capacity=8192,by=life,cut=150,ptr=64",
				"sequential:capacity=8KiB,header=0,align=16": "two-ended:capacity=8192,by=life,cut=150,header=0,align=16,ptr=32",
				"freertos-heap5:regions=4KiB@1024":           "two-ended:capacity=4096,by=life,cut=150,ptr=32",
				"freertos-heap5:regions=4KiB@0+4KiB@8192":    "! several regions",
				"newlib-nano":                                "! no upper end",
				"multi:heaps=[tlsf:capacity=8KiB]":           "! several heaps",
				"ideal":                                      "! no arena",
				"pools:overflow=[tlsf:capacity=8KiB]":        "pools:overflow=[two-ended:capacity=8192,by=life,cut=150,ptr=32]",
			},
		},
		{
			set: "two-ended:by=site", notes: []string{"2 of 5 objects are placed as long-lived (cut: 150 bytes requested), 0 of all"},
			heaps: map[string]string{"tlsf:capacity=8KiB": "two-ended:capacity=8192,by=site,sites=#1,ptr=32"},
		},
		{
			set: "two-ended:by=site,cut=1KiB", notes: []string{"0 of 5 objects", "1 of all against"}, // the median of 200 and forever is the lower
			heaps: map[string]string{"tlsf:capacity=8KiB": "two-ended:capacity=8192,by=site,ptr=32"},
		},
		{
			set: "two-ended:by=site,sites=br*", notes: []string{"3 of 5 objects", "5 of all against"},
			heaps: map[string]string{"tlsf:capacity=8KiB": "two-ended:capacity=8192,by=site,sites=#2,ptr=32"},
		},
		{
			set: "two-ended:cut=40", notes: []string{"4 of 5 objects"},
			heaps: map[string]string{"tlsf:capacity=8KiB": "two-ended:capacity=8192,by=life,cut=40,ptr=32"},
		},
	})
	checkErrors(t, map[string]string{
		"two-ended:sites=v":           "goes with by=site",
		"two-ended:by=site,sites=zzz": "no call site",
	})
}

func TestTwoEndedWithoutSites(t *testing.T) {
	checkWrapping(t, "a 0 50\na 1 50\nf 1\n", []wrapping{{
		set: "two-ended:by=site", notes: []string{"no call sites: an oracle"},
		heaps: map[string]string{"tlsf:capacity=8KiB": "two-ended:capacity=8192,by=life,cut=100,ptr=32"},
	}})
}

// TestTwoEndedPlaces replays: long-lived objects are at the bottom.
func TestTwoEndedPlaces(t *testing.T) {
	src := parse(t, longAndBrief)
	for set, bottom := range map[string]uint64{"two-ended": 100, "two-ended:by=site": 100, "two-ended:by=site,sites=brief": 100, "two-ended:cut=400": 50} {
		s, err := learned(t, set, src).Wrap(parseSpec(t, "sequential:capacity=1KiB,header=0,align=1"))
		if err != nil {
			t.Fatal(err)
		}
		if stats, _ := statsOf(t, src, s); stats["bottom_bytes"] != bottom {
			t.Errorf("%s: %d bytes at the bottom, want %d: %v", set, stats["bottom_bytes"], bottom, stats)
		}
	}
}

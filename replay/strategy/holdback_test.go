package strategy_test

import "testing"

func TestHoldback(t *testing.T) {
	checkWrapping(t, "a 0 600 @v\na 1 400 @v\nf 0\na 2 300 @w\n", []wrapping{
		{
			set: "holdback", notes: []string{"50 bytes are held back"},
			heaps: map[string]string{
				"tlsf:capacity=8KiB":               "holdback:bytes=50,heap=[tlsf:capacity=8KiB]",
				"multi:heaps=[tlsf:capacity=8KiB]": "holdback:bytes=50,heap=[multi:heaps=[tlsf:capacity=8KiB]]",
				"ideal":                            "! no arena",
			},
		},
		{set: "holdback:percent=10", heaps: map[string]string{"tlsf": "holdback:bytes=100,heap=[tlsf]"}},
		{set: "holdback:bytes=1KiB", heaps: map[string]string{"tlsf": "holdback:bytes=1024,heap=[tlsf]"}},
	})
	checkErrors(t, map[string]string{
		"holdback:bytes=0":   "out of range",
		"holdback:percent=0": "want 1 to 10000",
	})
}

// TestHoldbackRescues holds that the request that fails first is served, and
// that the others fail as without.
func TestHoldbackRescues(t *testing.T) {
	src := parse(t, "a 0 50\na 1 40\na 2 20\na 3 20\n")
	heap := parseSpec(t, "sequential:capacity=100,header=0,align=1")
	_, without := statsOf(t, src, heap)
	wrapped, err := learned(t, "holdback:bytes=20", src).Wrap(heap)
	if err != nil {
		t.Fatal(err)
	}
	stats, with := statsOf(t, src, wrapped)
	// 20 held, 50, then 40 do not fit: 20 are released, and 40 still do not fit
	// in one piece; two times 20 do.
	if without.Failures != 2 || with.Failures != 1 || stats["released_by_request"] != 2 || stats["held_bytes"] != 0 {
		t.Errorf("%d failures without, %d with; %v", without.Failures, with.Failures, stats)
	}
}

package strategy_test

import "testing"

func TestPregrow(t *testing.T) {
	const text = "a 0 60 @v\na 1 40 @v\nf 0\na 2 30 @w\n"
	checkWrapping(t, text, []wrapping{
		{
			set: "pregrow", notes: []string{"growing heaps begin with 100 bytes"},
			heaps: map[string]string{
				"newlib-nano:grow=64KiB":  "holdback:bytes=100,release=start,heap=[newlib-nano:grow=64KiB]",
				"sequential:quantum=4KiB": "holdback:bytes=100,release=start,heap=[sequential:quantum=4KiB]",
				"tlsf:capacity=8KiB":      "tlsf:capacity=8KiB",
				"ideal":                   "ideal",
			},
		},
		{set: "pregrow:percent=150", heaps: map[string]string{"kr:grow=8KiB": "holdback:bytes=150,release=start,heap=[kr:grow=8KiB]"}},
		{set: "pregrow:bytes=4KiB", heaps: map[string]string{"kr:grow=8KiB": "holdback:bytes=4096,release=start,heap=[kr:grow=8KiB]"}},
	})
	checkErrors(t, map[string]string{
		"pregrow:bytes=0":        "out of range",
		"pregrow:percent=0":      "want 1 to 10000",
		"pregrow:percent=999999": "want 1 to 10000",
	})
}

// TestPregrowSavesGrowths holds that a break that rose often rises once, and to
// where it rose anyway.
func TestPregrowSavesGrowths(t *testing.T) {
	src := sample(t)
	heap := parseSpec(t, "newlib-nano:grow=128KiB")
	_, without := statsOf(t, src, heap)
	wrapped, err := learned(t, "pregrow:bytes=69KiB", src).Wrap(heap)
	if err != nil {
		t.Fatal(err)
	}
	_, with := statsOf(t, src, wrapped)
	if without.Grown < 100 || with.Grown != 0 || with.Footprint < 69<<10 || with.Failures != 0 {
		t.Errorf("%d growths without, %d with, to %d bytes", without.Grown, with.Grown, with.Footprint)
	}
}

package report

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace/formats"
)

func replayed(t *testing.T, text, spec string) *replay.Result {
	t.Helper()
	src, err := formats.Load("-", strings.NewReader(text), formats.Options{From: "ops"}, 1<<20, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := heapmodel.ParseSpec(catalog.Models, spec)
	if err != nil {
		t.Fatal(err)
	}
	results, err := replay.Run(context.Background(), src, []*heapmodel.Spec{s}, replay.Options{})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results[0].Err)
	}
	return results[0]
}

func metric(t *testing.T, r *replay.Result, key string) float64 {
	t.Helper()
	m := Lookup(key)
	if m == nil {
		t.Fatalf("no metric %s", key)
	}
	return m.Of(r)
}

// TestJohnstoneWilson works measures #1 to #4 by hand on a heap without
// headers that grows by 4 bytes at its end, first fit by address.
func TestJohnstoneWilson(t *testing.T) {
	// After each event: live bytes L, arena H.
	text := `a 0 4
a 1 4
f 0
a 2 6
f 1
a 3 2
f 2
a 4 1
a 5 9
f 5
a 6 1
a 7 6
a 8 1
f 7
f 3
a 9 7
`
	//	op      at       L   H   size x (H/L - 1)
	//	a 0 4   [0,4)    4   4   0
	//	a 1 4   [4,8)    8   8   0
	//	f 0              4   8
	//	a 2 6   [8,14)  10  16   6 x 6/10
	//	f 1              6  16
	//	a 3 2   [0,2)    8  16   2 x 8/8
	//	f 2              2  16
	//	a 4 1   [2,3)    3  16   1 x 13/3
	//	a 5 9   [3,12)  12  16   9 x 4/12
	//	f 5              3  16
	//	a 6 1   [3,4)    4  16   1 x 12/4
	//	a 7 6   [4,10)  10  16   6 x 6/10
	//	a 8 1   [10,11) 11  16   1 x 5/11
	//	f 7              5  16
	//	f 3              3  16
	//	a 9 7   [11,18) 10  20   7 x 10/10
	//
	// Holes before the last line are [0,2), [4,10) and [11,16): the last is
	// extended by 4.
	r := replayed(t, text, "sequential:fit=first,header=0,align=1,threshold=1,quantum=4")
	mean := (6*0.6 + 2*1 + 13.0/3 + 9.0*4/12 + 3 + 6*0.6 + 5.0/11 + 7) / (4 + 4 + 6 + 2 + 1 + 9 + 1 + 6 + 1 + 7)
	for key, want := range map[string]float64{
		"jw1_frac":          mean,
		"jw2_frac":          16.0/12 - 1, // live bytes peak at a 5
		"jw3_frac":          20.0/10 - 1, // the arena peaks at a 9
		"jw4_frac":          20.0/12 - 1,
		"footprint_bytes":   20,
		"peak_live_bytes":   12,
		"peak_live_event":   8,
		"growth_events":     4,
		"arena_bytes":       20,
		"high_water_bytes":  18,
		"peak_live_objects": 5,
		"end_live_bytes":    10,
		"end_free_bytes":    10,
		"failures":          0,
	} {
		if got := metric(t, r, key); math.Abs(got-want) > 1e-12 {
			t.Errorf("%s = %v, want %v", key, got, want)
		}
	}
	g := r.Growths[len(r.Growths)-1]
	if g.Event != 15 || g.From != 16 || g.To != 20 || g.Why() != "fragmented" || g.Need != 7 || g.Free != 13 || g.LargestFree != 6 {
		t.Errorf("last growth %+v, %s", g, g.Why())
	}
}

// TestFragmentationIndices holds F1, F2 and availability to worked values. The
// holes 200, 10 and 300 with F2 = 0.29 are the check value of ESP8266's core.
func TestFragmentationIndices(t *testing.T) {
	survey := func(sizes ...uint64) *replay.Survey {
		s := &replay.Survey{}
		for _, size := range sizes {
			s.FreeSizes = append(s.FreeSizes, replay.SizeCount{Size: size, Count: 1})
			s.Free += size
			s.LargestFree = max(s.LargestFree, size)
		}
		return s
	}
	tests := []struct {
		name   string
		s      *replay.Survey
		f1, f2 float64
		need   uint64
		avail  uint64
	}{
		{"nothing free", survey(), 0, 0, 8, 0},
		{"one hole", survey(100), 0, 0, 40, 2},
		{"the check value", survey(10, 200, 300), 1 - 300.0/510, 0.2928, 100, 5},
		{"four equal holes", survey(7, 7, 7, 7), 0.75, 0.5, 7, 4},
		{"too small for the size", survey(7, 7), 0.5, 1 - 1/math.Sqrt2, 8, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := f1(tt.s); math.Abs(got-tt.f1) > 1e-4 {
				t.Errorf("F1 = %v, want %v", got, tt.f1)
			}
			if got := f2(tt.s); math.Abs(got-tt.f2) > 1e-4 {
				t.Errorf("F2 = %v, want %v", got, tt.f2)
			}
			if got := Available(tt.s, tt.need); got != tt.avail {
				t.Errorf("available %d, want %d", got, tt.avail)
			}
		})
	}
}

// TestInternal works internal and external fragmentation by hand on a heap_4:
// blocks are 8 + up(size, 8) bytes.
func TestInternal(t *testing.T) {
	r := replayed(t, "a 0 1\na 1 8\na 2 9\nf 1\n", "freertos-heap4:capacity=128,ptr=32")
	// At the peak 16 + 16 + 24 bytes are allocated for 18.
	if got, want := metric(t, r, "internal_frac"), (56.0-18)/56; math.Abs(got-want) > 1e-12 {
		t.Errorf("internal %v, want %v", got, want)
	}
	// At the end the hole of 16 and the rest of 120 - 56 are free.
	if got, want := metric(t, r, "external_frac"), 1-64.0/80; math.Abs(got-want) > 1e-12 {
		t.Errorf("external %v, want %v", got, want)
	}
	if got := metric(t, r, "overhead_bytes"); got != 8 {
		t.Errorf("overhead %v, want the end marker's 8", got)
	}
}

// TestIdeal holds that the reference has no fragmentation by any measure.
func TestIdeal(t *testing.T) {
	r := replayed(t, "a 0 100\na 1 50\nf 0\na 2 70\nr 1 60\n", "ideal")
	for _, key := range []string{"jw1_frac", "jw2_frac", "jw4_frac"} {
		if got := metric(t, r, key); got != 0 {
			t.Errorf("%s = %v, want 0", key, got)
		}
	}
	if got := metric(t, r, "footprint_bytes"); got != 150 {
		t.Errorf("footprint %v, want 150", got)
	}
	if got := metric(t, r, "f2_frac"); !math.IsNaN(got) {
		t.Errorf("F2 = %v, want none", got)
	}
}

func TestMetricsTable(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Metrics {
		if seen[m.Key] || m.Key == "" || m.Title == "" || m.Doc == "" || m.Of == nil {
			t.Errorf("metric %q is twice or not filled in", m.Key)
		}
		seen[m.Key] = true
		if m.Unit == Frac != strings.HasSuffix(m.Key, "_frac") || m.Unit == Bytes != strings.HasSuffix(m.Key, "_bytes") {
			t.Errorf("metric %q: key and unit %s disagree", m.Key, m.Unit)
		}
	}
	for _, key := range textColumns {
		if !seen[key] {
			t.Errorf("text column %q is no metric", key)
		}
	}
}

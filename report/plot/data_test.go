package plot

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// labels writes ticks as "value=label", minor ones as "value".
func labels(ticks []plot.Tick) string {
	var out []string
	for _, t := range ticks {
		s := fmt.Sprintf("%.4g", t.Value)
		if t.Label != "" {
			s += "=" + t.Label
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestTicks(t *testing.T) {
	unit, _ := timeUnit(2.5e9)
	for name, tt := range map[string]struct {
		ticker plot.Ticker
		lo, hi float64
		want   string
	}{
		"bytes of a tiny heap":        {byteTicks{5}, 0, 10, "0=0 1 2=2 B 3 4=4 B 5 6=6 B 7 8=8 B 9 10=10 B"},
		"one byte":                    {byteTicks{5}, 0, 1, "0=0 1=1 B"},
		"bytes in KiB":                {byteTicks{4}, 0, 100 << 10, "0=0 1.638e+04 3.277e+04=32 KiB 4.915e+04 6.554e+04=64 KiB 8.192e+04 9.83e+04=96 KiB"},
		"bytes across a unit":         {byteTicks{4}, 0, 1.3 * (1 << 20), "0=0 2.621e+05 5.243e+05=512 KiB 7.864e+05 1.049e+06=1 MiB 1.311e+06"},
		"fractions of a unit":         {byteTicks{6}, 1 << 20, 1.5 * (1 << 20), "1.049e+06=1 MiB 1.114e+06 1.18e+06=1.125 MiB 1.245e+06 1.311e+06=1.25 MiB 1.376e+06 1.442e+06=1.375 MiB 1.507e+06 1.573e+06=1.5 MiB"},
		"the largest heap":            {byteTicks{2}, 0, 1 << 62, "0=0 1.153e+18 2.306e+18=2 EiB 3.459e+18 4.612e+18=4 EiB"},
		"no range":                    {byteTicks{4}, 5, 5, ""},
		"not a number":                {byteTicks{4}, 0, math.NaN(), ""},
		"infinite":                    {byteTicks{4}, 0, math.Inf(1), ""},
		"a few events":                {numberTicks{want: 6}, 0, 12, "0=0 1 2=2 3 4=4 5 6=6 7 8=8 9 10=10 11 12=12"},
		"hundreds of events":          {numberTicks{want: 4}, 0, 900, "0=0 100 200 300 400 500=500 600 700 800 900"},
		"thousands of events":         {numberTicks{want: 3}, 0, 5000, "0=0 1000 2000=2000 3000 4000=4000 5000"},
		"many events":                 {numberTicks{want: 3}, 0, 38_532, "0=0 1e+04 2e+04=20k 3e+04"},
		"millions of events":          {numberTicks{want: 3}, 0, 1.5e6, "0=0 1e+05 2e+05 3e+05 4e+05 5e+05=0.5M 6e+05 7e+05 8e+05 9e+05 1e+06=1M 1.1e+06 1.2e+06 1.3e+06 1.4e+06 1.5e+06=1.5M"},
		"ten billion events":          {numberTicks{want: 2}, 0, 1e10, "0=0 1e+09 2e+09 3e+09 4e+09 5e+09=5G 6e+09 7e+09 8e+09 9e+09 1e+10=10G"},
		"one event":                   {numberTicks{want: 9}, 0, 1, "0=0 1=1"},
		"seconds":                     {numberTicks{3, unit}, 0, 2.5e9, "0=0 2e+08 4e+08 6e+08 8e+08 1e+09=1 1.2e+09 1.4e+09 1.6e+09 1.8e+09 2e+09=2 2.2e+09 2.4e+09"},
		"logarithmic bytes":           {logBytes{floor: 8, want: 4}, 0, 7.2, "0=0 1 2=32 B 3 4=128 B 5 6=512 B 7"},
		"logarithmic, more below":     {logBytes{floor: 8192, some: true, want: 9}, 0, 2, "0=0–8 KiB 1=16 KiB 2=32 KiB"},
		"logarithmic to the last bit": {logBytes{floor: 0.5, want: 4}, 0, 63, "0=0"},
		"silent":                      {silent{byteTicks{5}}, 0, 6, "0 2 4 6"},
	} {
		t.Run(name, func(t *testing.T) {
			got := labels(tt.ticker.Ticks(tt.lo, tt.hi))
			if name == "logarithmic to the last bit" {
				if !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, "60=512 PiB 61 62 63") {
					t.Errorf("got %s", got)
				}
				return
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestTickCount checks on any range that labels are neither missing nor so
// many that they would touch.
func TestTickCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hi := float64(rapid.Uint64Range(1, 1<<62).Draw(t, "hi"))
		want := rapid.IntRange(3, 12).Draw(t, "want")
		unit, _ := timeUnit(hi)
		for name, ticker := range map[string]plot.Ticker{
			"bytes": byteTicks{want}, "events": numberTicks{want: want}, "time": numberTicks{want, unit},
		} {
			major, last := 0, math.Inf(-1)
			for _, tick := range ticker.Ticks(0, hi) {
				if tick.Value <= last || tick.Value < 0 || tick.Value > hi*(1+1e-6) {
					t.Fatalf("%s: tick %g after %g of %g", name, tick.Value, last, hi)
				}
				if last = tick.Value; tick.Label != "" {
					major++
				}
			}
			if least := min(2, int(hi)); major < least || major > want+1 {
				t.Fatalf("%s: %d labels to %g, wanted about %d", name, major, hi, want)
			}
		}
	})
}

func TestTimeUnit(t *testing.T) {
	for end, want := range map[float64]string{0: "ns", 999: "ns", 1e3: "µs", 5e6: "ms", 2e9: "s", 299e9: "s", 300e9: "min", 4 * 3600e9: "h", 3 * 86400e9: "days"} {
		if _, got := timeUnit(end); got != want {
			t.Errorf("%g ns: got %s, want %s", end, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{bytesText(0), "0 B"},
		{bytesText(1023), "1023 B"},
		{bytesText(1024), "1 KiB"},
		{bytesText(55113), "53.8 KiB"},
		{bytesText(1 << 30), "1 GiB"},
		{bytesText(math.MaxUint64), "16 EiB"},
		{thousands(0), "0"},
		{thousands(999), "999"},
		{thousands(1234567), "1,234,567"},
		{shortCount(9999), "9999"},
		{shortCount(13410), "13.4k"},
		{shortCount(100000), "100k"},
		{shortCount(math.MaxUint64), "18.4E"},
		{roundCount(10000), "10k"},
		{percent(0, 9), "none"},
		{percent(9, 9), "all"},
		{percent(1, 1000), "<1 %"},
		{percent(999, 1000), ">99 %"},
		{percent(1, 3), "33 %"},
		{fileName("tlsf"), "tlsf"},
		{fileName("My Heap/../x:1,2"), "my-heap-..-x-1-2"},
		{fileName("../../etc"), "etc"},
		{fileName("heap ü"), "heap"},
		{fileName("***"), "heap"},
		{clean(" a\nb\t\x00c\xff "), "a b  c?"},
		{codePage1252("µ× …–“€日"), "\xb5\xd7 \x85\x96\x93\x80?"},
		{failureWords(&heap{Result: &replay.Result{}}), ""},
		{failureWords(&heap{Result: &replay.Result{Failures: 1}}), ", 1 failure"},
		{failureWords(&heap{Result: &replay.Result{Failures: 1234}}), ", 1,234 failures"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	if got := fileName(strings.Repeat("long", 100)); len(got) > 64 {
		t.Errorf("a file name of %d bytes", len(got))
	}
}

func TestFitAndWrap(t *testing.T) {
	sty := sans(textSize, black)
	text := "freertos-heap4:capacity=128KiB,ptr=32,version=10.4.6"
	for _, width := range []vg.Length{20, 60, 100, 180, 1000} {
		for _, line := range append(wrap(sty, text, width, 3), fit(sty, text, width)) {
			if got := sty.Width(line); got > width {
				t.Errorf("%q is %v wide, not %v", line, got, width)
			}
		}
	}
	if got := fit(sty, text, 1000); got != text {
		t.Errorf("a text that fits was cut to %q", got)
	}
	if got := strings.Join(wrap(sty, text, 110, 9), "|"); got != "freertos-heap4:|capacity=128KiB,ptr=32,|version=10.4.6" {
		t.Errorf("broken as %s", got)
	}
}

func TestMinMax(t *testing.T) {
	var pts []xy
	for i := range 10_000 {
		pts = append(pts, xy{float64(i), math.Sin(float64(i) / 50)})
	}
	pts[4321].y, pts[4322].y = 99, -99
	got := minMax(pts, 200)
	if len(got) > 200 || len(got) < 150 {
		t.Fatalf("%d points", len(got))
	}
	if got[0] != pts[0] || got[len(got)-1] != pts[len(pts)-1] {
		t.Errorf("the ends are %v and %v", got[0], got[len(got)-1])
	}
	if !slices.Contains(got, xy{4321, 99}) || !slices.Contains(got, xy{4322, -99}) {
		t.Error("a peak was lost")
	}
	if short := minMax(pts[:200], 200); len(short) != 200 || &short[0] != &pts[0] {
		t.Error("a short line was changed")
	}
}

func TestMinMaxKeepsExtremes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ys := rapid.SliceOfN(rapid.IntRange(-5, 5), 1, 200).Draw(t, "ys")
		limit := rapid.IntRange(4, 60).Draw(t, "limit")
		pts := make([]xy, len(ys))
		for i, y := range ys {
			pts[i] = xy{float64(i), float64(y)}
		}
		got := minMax(pts, limit)
		byY := func(a, b xy) int { return int(a.y - b.y) }
		if len(got) > max(limit, 4) || slices.MinFunc(got, byY).y != slices.MinFunc(pts, byY).y || slices.MaxFunc(got, byY).y != slices.MaxFunc(pts, byY).y {
			t.Fatalf("%v of %v", got, pts)
		}
		for i, p := range got {
			if pts[int(p.x)] != p || i > 0 && p.x <= got[i-1].x {
				t.Fatalf("not a part of the line, in order: %v", got)
			}
		}
	})
}

func TestReduceSpans(t *testing.T) {
	spans := []span{{0, 1, 5, 6}, {1, 2, 3, 9}, {2, 3, 4, 4}, {3, 4, 7, 8}}
	want := []span{{0, 2, 3, 9}, {2, 4, 4, 8}}
	if got := reduceSpans(spans, 2); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSteps(t *testing.T) {
	pts := []xy{{1, 5}, {2, 5}, {4, 7}}
	if got, want := stepsBefore(pts), []xy{{0, 5}, {2, 5}, {2, 7}, {4, 7}}; !slices.Equal(got, want) {
		t.Errorf("before: got %v, want %v", got, want)
	}
	if got, want := stepsAfter(pts, 6), []xy{{1, 5}, {4, 5}, {4, 7}, {6, 7}}; !slices.Equal(got, want) {
		t.Errorf("after: got %v, want %v", got, want)
	}
	if y, ok := valueAt(stepsBefore(pts), 3); y != 7 || !ok {
		t.Errorf("at 3: %v %v", y, ok)
	}
	if _, ok := valueAt(nil, 3); ok {
		t.Error("an empty line has a value")
	}
}

// data writes what the figures draw of a heap, in text.
func data(t *testing.T, results []*replay.Result, axis Axis) string {
	t.Helper()
	in, err := newInput(results, &Options{Axis: axis})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	line := func(name string, pts []xy) {
		fmt.Fprintf(&b, "  %s:", name)
		for _, p := range pts {
			fmt.Fprintf(&b, " %g,%g", p.x, p.y)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s\n%s\n", in.under, in.mark)
	for _, h := range in.heaps {
		fmt.Fprintf(&b, "%s to %g\n", h.label(), h.end())
		spans := h.liveSpans(30)
		line("live, most", upper(spans))
		line("live, least", lower(spans))
		line("footprint", h.footprint(30))
		line("largest free", h.line(30, sampleLargest))
		fmt.Fprintf(&b, "  failures: %g\n", h.failures(h.end(), 30))
		for _, s := range []struct {
			name   string
			survey *replay.Survey
		}{{"peak", h.Peak}, {"failure", h.FirstFailure}} {
			if s.survey == nil {
				continue
			}
			fmt.Fprintf(&b, "  free at the %s:", s.name)
			for _, c := range classes(s.survey, h.LargestNeed) {
				fmt.Fprintf(&b, " 2^%d: %d blocks %d B %d usable;", c.log2, c.blocks, c.bytes, c.usable)
			}
			b.WriteByte('\n')
		}
		if h.Map != nil && len(h.Map.Cols) <= 20 {
			fmt.Fprintf(&b, "  edges: %g\n  outside: %v\n", mapEdges(h), outside(h))
		}
	}
	return b.String()
}

func TestDataGolden(t *testing.T) {
	for name, text := range map[string]string{
		"small.events":   data(t, small(t), Events),
		"small.bytes":    data(t, small(t), Bytes),
		"medium.events":  data(t, medium(t), Events),
		"medium.seconds": data(t, medium(t), Seconds),
	} {
		golden(t, name+".txt", []byte(text), func(got, want []byte) bool { return string(got) == string(want) })
	}
}

// golden compares with a file of testdata, or writes it with -update. What
// differs is left in the test's folder of artifacts (go test -artifacts).
func golden(t *testing.T, name string, got []byte, same func(got, want []byte) bool) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !same(got, want) {
		_ = os.WriteFile(filepath.Join(t.ArtifactDir(), filepath.Base(name)), got, 0o644)
		t.Errorf("%s differs from its golden; run with -update and look at it", name)
	}
}

func TestGrowthsAreExactSteps(t *testing.T) {
	r := &replay.Result{
		Growing: true, Layout: true, Grown: 2, Trimmed: 1, Trace: &trace.Header{},
		Growths: []replay.Growth{{Event: 10, From: 100, To: 200}, {Event: 50, From: 200, To: 400}, {Event: 70, From: 400, To: 300}},
		Series:  []replay.Sample{{Event: 39, Footprint: 200}, {Event: 79, Footprint: 300}},
	}
	h := &heap{Result: r, base: newTimebase(r, Events)}
	want := []xy{{0, 100}, {10, 100}, {10, 200}, {50, 200}, {50, 400}, {70, 400}, {70, 300}, {80, 300}}
	if got := h.footprint(2000); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.Grown = 5 // some growths were not kept: samples must do
	if got, want := h.footprint(2000), []xy{{0, 200}, {40, 200}, {40, 300}, {80, 300}}; !slices.Equal(got, want) {
		t.Errorf("with growths lost: got %v, want %v", got, want)
	}
}

// TestPeaksSurvive checks that a peak between two samples is drawn.
func TestPeaksSurvive(t *testing.T) {
	r := &replay.Result{Trace: &trace.Header{}}
	for i := range 5000 {
		r.Series = append(r.Series, replay.Sample{Event: uint64(i*10 + 9), Live: 50, LiveMin: 40, LiveMax: 60})
	}
	r.Series[1234].LiveMax, r.Series[3456].LiveMin = 1000, 1
	h := &heap{Result: r, base: newTimebase(r, Events)}
	spans := h.liveSpans(maxPoints)
	if len(spans) > maxPoints {
		t.Errorf("%d spans", len(spans))
	}
	most := slices.MaxFunc(spans, func(a, b span) int { return int(a.hi - b.hi) })
	least := slices.MinFunc(spans, func(a, b span) int { return int(a.lo - b.lo) })
	if most.hi != 1000 || !(most.from <= 12350 && 12341 <= most.to) || least.lo != 1 {
		t.Errorf("peak %+v, low %+v", most, least)
	}
}

func TestClock(t *testing.T) {
	r := &replay.Result{Trace: &trace.Header{}, Series: []replay.Sample{{Event: 9, Clock: 100}, {Event: 19, Clock: 300}}}
	h := &heap{Result: r, base: newTimebase(r, Bytes)}
	for event, want := range map[uint64]float64{0: 10, 9: 100, 14: 200, 19: 300, 99: 300} {
		if got := h.base.at(event, 0); math.Abs(got-want) > 1e-9 {
			t.Errorf("event %d: got %g, want %g", event, got, want)
		}
	}
}

func TestReference(t *testing.T) {
	heaps := func(rs ...*replay.Result) (out []*heap) {
		for i, r := range rs {
			out = append(out, &heap{Result: r, index: i})
		}
		return out
	}
	worse, good, ideal := &replay.Result{Layout: true, Failures: 9}, &replay.Result{Layout: true}, &replay.Result{}
	if got := reference(heaps(worse, good, ideal)); got.Result != ideal {
		t.Errorf("got heap %d, want the ideal", got.index)
	}
	if got := reference(heaps(worse, good)); got.Result != good {
		t.Errorf("got heap %d, want the one without failures", got.index)
	}
}

func TestClasses(t *testing.T) {
	s := &replay.Survey{FreeSizes: []replay.SizeCount{{Size: 1, Count: 3}, {Size: 15, Count: 1}, {Size: 16, Count: 2}, {Size: 31, Count: 1}, {Size: 100, Count: 1}}}
	want := []sizeClass{
		{log2: 0, blocks: 3, bytes: 3},
		{log2: 1},
		{log2: 2},
		{log2: 3, blocks: 1, bytes: 15},
		{log2: 4, blocks: 3, bytes: 63, usable: 31},
		{log2: 5},
		{log2: 6, blocks: 1, bytes: 100, usable: 100},
	}
	if got := classes(s, 20); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := classes(&replay.Survey{FreeSizes: []replay.SizeCount{{Size: 0, Count: 1}, {Size: 8}}}, 1); got != nil {
		t.Errorf("nothing free gives %v", got)
	}
	top := classes(&replay.Survey{FreeSizes: []replay.SizeCount{{Size: math.MaxUint64, Count: 1}}}, 1)
	if len(top) != 1 || top[0].log2 != 63 {
		t.Errorf("the largest size is in %v", top)
	}
}

// TestShadesOrderInGrey checks that the colours get darker one by one, and stay
// apart from free memory.
func TestShadesOrderInGrey(t *testing.T) {
	last := 256.0
	for i, c := range shades {
		grey := 0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B)
		if grey > last+0.75 { // rounding to 8 bits
			t.Errorf("shade %d is lighter than the one before: %g > %g", i, grey, last)
		}
		last = grey
	}
	lightest := shade(0, 0.01)
	if d := 3*int(freeShade.R) - int(lightest.R) - int(lightest.G) - int(lightest.B); d < 20 {
		t.Errorf("the lightest used cell is %v, free memory %v", lightest, freeShade)
	}
}

func TestLooksDiffer(t *testing.T) {
	for i, a := range looks {
		for j, b := range looks[:i] {
			if a.ink == b.ink || a.marker == b.marker || slices.Equal(a.dashes, b.dashes) {
				t.Errorf("lines %d and %d share a colour, a marker or dashes", j, i)
			}
		}
	}
}

// TestTinyMapIsExact checks each cell of a heap of 10 bytes over 12 events in
// the middle of the pixels it takes.
func TestTinyMapIsExact(t *testing.T) {
	r := small(t)[1]
	h := &heap{Result: r, base: newTimebase(r, Events)}
	m, ok := byAge(r.Map)
	if !ok || r.Map.RowBytes != 1 || len(r.Map.Cols) != 12 {
		t.Fatalf("rows of %d, %d columns", r.Map.RowBytes, len(r.Map.Cols))
	}
	// Rows from address 0 upward; a digit is the age, a dot is free.
	want := []string{
		"1234.1234..1", "1234.1234..1", "1234.1234..1", ".12..1234..1", ".12.....12.1",
		"..12345.12.1", "..12345....1", "..12345.....", "..12345.....", "............",
	}
	const cell = 8
	img := rasterize(r.Map, m, mapEdges(h), outside(h), 10, 12*cell, 10*cell, 4)
	for row := range want {
		for col := range 12 {
			expect := freeShade
			if age := want[row][col]; age != '.' {
				expect = shade(m.place(float64(age-'0')), 1)
			}
			for _, at := range [][2]int{{0, 0}, {cell / 2, cell / 2}, {cell - 1, cell - 1}} {
				x, y := col*cell+at[0], (10-row)*cell-1-at[1]
				if got := img.RGBAAt(x, y); got != expect {
					t.Fatalf("address %d, event %d: got %v, want %v (%c)", row, col, got, expect, want[row][col])
				}
			}
		}
	}
}

// TestMapMeans checks that cells smaller than pixels are averaged by what is in
// use, and half used rows are lighter.
func TestMapMeans(t *testing.T) {
	m := &replay.Map{RowBytes: 4, Rows: 4}
	for i := range 4 {
		used := float32(4 * (i % 2))
		m.Cols = append(m.Cols, replay.MapCol{Event: uint64(i), Arena: 16, Used: []float32{used, used, used, used}, Age: []float32{9, 9, 9, 9}})
	}
	by, _ := byAge(m)
	for _, size := range []int{1, 2} {
		img := rasterize(m, by, []float64{1, 2, 3, 4}, nil, 16, size, size, 4)
		for i := range size {
			if got, want := img.RGBAAt(i, size-1-i), shade(by.place(9), 0.5); got != want {
				t.Errorf("%d by %d pixels for all: got %v, want %v", size, size, got, want)
			}
		}
	}
	// The lower half of the heap has no blocks: it is hatched, and does not
	// count as room.
	img := rasterize(m, by, []float64{1, 2, 3, 4}, []extent{{0, 8}}, 16, 4, 4, 1)
	if got := img.RGBAAt(1, 3); got != hatchShade {
		t.Errorf("outside of blocks: got %v", got)
	}
	if got, want := img.RGBAAt(1, 0), shade(by.place(9), 1); got != want {
		t.Errorf("above: got %v, want %v", got, want)
	}
}

func TestMapLeavesOutFreeTop(t *testing.T) {
	m := &replay.Map{RowBytes: 16, Rows: 100, Cols: []replay.MapCol{{Arena: 1600, Used: make([]float32, 100)}}}
	m.Cols[0].Used[7] = 1
	if top, cut := drawnTop(m); top != 160 || !cut {
		t.Errorf("got %g %v, want 10 rows of 16", top, cut)
	}
	m.Cols[0].Used[60] = 1
	if top, cut := drawnTop(m); top != 1600 || cut {
		t.Errorf("got %g %v, want all", top, cut)
	}
}

package study_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/replay/study"
	"github.com/fragprof/fragprof/trace/formats"
)

// TestTable4 holds the paper's table to the means and deviations that the paper
// gives of it, as printed.
func TestTable4(t *testing.T) {
	if len(study.Table4) != len(study.Policies) {
		t.Fatalf("%d rows for %d policies", len(study.Table4), len(study.Policies))
	}
	for i, p := range study.Policies {
		row := study.Table4[i]
		if len(row) != len(study.Programs) {
			t.Errorf("%s: %d programs", p.Title, len(row))
		}
		// Three digits are printed of the numbers, so two of the means are sure.
		mean, sd := study.Mean(row), study.SD(row)
		if math.Abs(mean-p.Published.Mean4) > 0.02*p.Published.Mean4 || math.Abs(sd-p.Published.SD4) > 0.02*p.Published.SD4 {
			t.Errorf("%s: mean %.4g, sd %.4g; the paper has %v, %v", p.Title, mean, sd, p.Published.Mean4, p.Published.SD4)
		}
	}
}

func parse(t *testing.T, ops string, freeFirst bool) *study.Load {
	t.Helper()
	src, err := formats.Load("-", strings.NewReader(ops), formats.Options{From: "ops"}, 1<<20, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := study.Record("t", src, freeFirst)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// text writes the operations of a load: +3 is an object of 3 bytes, -1 the free
// of object 1.
func text(l *study.Load) string {
	var parts []string
	for _, op := range l.Ops {
		if op < 0 {
			parts = append(parts, fmt.Sprintf("-%d", ^op))
		} else {
			parts = append(parts, fmt.Sprintf("+%d", l.Sizes[op]))
		}
	}
	return strings.Join(parts, " ")
}

func TestRecord(t *testing.T) {
	const ops = "a 0 10\na 1 20\nr 0 30\nf 1\na 2 5\nr 2 6\nf 0\n"
	for _, c := range []struct {
		freeFirst bool
		want      string
	}{
		{false, "+10 +20 +30 -0 -1 +5 +6 -3 -2"},
		{true, "+10 +20 -0 +30 -1 +5 -3 +6 -2"},
	} {
		if got := text(parse(t, ops, c.freeFirst)); got != c.want {
			t.Errorf("free first %t: got %s, want %s", c.freeFirst, got, c.want)
		}
	}
}

// lifetimes returns, ascending, how many allocations lie between each object's
// own and its free; -1 for those that are never freed.
func lifetimes(t require, l *study.Load) []int {
	born := make([]int, len(l.Sizes))
	lives := make([]int, len(l.Sizes))
	for i := range lives {
		lives[i] = -1
	}
	allocs := 0
	for _, op := range l.Ops {
		if op >= 0 {
			if int(op) != allocs {
				t.Fatalf("object %d is allocated as number %d", op, allocs)
			}
			born[op] = allocs
			allocs++
			continue
		}
		o := ^op
		if int(o) >= allocs || lives[o] >= 0 {
			t.Fatalf("free of object %d, which is not live", o)
		}
		lives[o] = allocs - born[o] - 1
	}
	return lives
}

type require interface{ Fatalf(string, ...any) }

// TestShuffle looks whether a shuffled load has the sizes of the original, and
// its lifetimes but for those that the end cuts off.
func TestShuffle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := study.Exponential(rapid.IntRange(1, 200).Draw(rt, "objects"), 50, rapid.Float64Range(0, 300).Draw(rt, "life"), rapid.Uint64().Draw(rt, "seed"))
		s := l.Shuffle(rapid.Uint64().Draw(rt, "shuffle"))
		a, b := slices.Sorted(slices.Values(l.Sizes)), slices.Sorted(slices.Values(s.Sizes))
		if !slices.Equal(a, b) {
			rt.Fatalf("sizes %v, shuffled %v", a, b)
		}
		left := map[int]int{}
		for _, life := range lifetimes(rt, l) {
			left[life]++
		}
		cut := 0
		for _, life := range lifetimes(rt, s) {
			if life < 0 {
				cut++
			} else if left[life]--; left[life] < 0 {
				rt.Fatalf("a lifetime of %d that the original does not have", life)
			}
		}
		if cut < left[-1] {
			rt.Fatalf("%d objects are never freed, of the original %d", cut, left[-1])
		}
	})
}

func TestShuffleIsSeeded(t *testing.T) {
	l := study.Exponential(1000, 50, 100, 1)
	if a, b := text(l.Shuffle(1)), text(l.Shuffle(1)); a != b {
		t.Error("the same seed gives two loads")
	}
	if a, b := text(l.Shuffle(1)), text(l.Shuffle(2)); a == b {
		t.Error("two seeds give the same load")
	}
}

func TestExponential(t *testing.T) {
	const objects, size, life = 100_000, 64, 500
	l := study.Exponential(objects, size, life, 1)
	sum, least := 0.0, l.Sizes[0]
	for _, s := range l.Sizes {
		sum, least = sum+float64(s), min(least, s)
	}
	if mean := sum / objects; math.Abs(mean-size) > 1 || least != 1 {
		t.Errorf("sizes from %d with mean %.2f, want from 1 with %d", least, mean, size)
	}
	var lives []float64
	for _, v := range lifetimes(t, l)[:objects/2] {
		lives = append(lives, float64(v))
	}
	// The standard deviation of an exponential distribution is its mean.
	if m, sd := study.Mean(lives), study.SD(lives); math.Abs(m-life) > 10 || math.Abs(sd-life) > 10 {
		t.Errorf("lifetimes with mean %.1f and deviation %.1f, want %d", m, sd, life)
	}
}

func TestTogether(t *testing.T) {
	// Deaths after 3, 3, 6, 6, 6 and 6 allocations; the last lives on.
	l := parse(t, "a 0 1\na 1 1\na 2 1\nf 1\nf 0\na 3 1\na 4 1\na 5 1\nf 2\nf 3\nf 4\nf 5\na 6 1\n", false)
	for within, want := range map[int]float64{0: 4.0 / 5, 2: 4.0 / 5, 3: 1} {
		if got := l.Together(within); got != want {
			t.Errorf("within %d: %v, want %v", within, got, want)
		}
	}
}

// TestRun compares with numbers worked out by hand: 5,000 and 3,000 bytes, then
// the first goes, then 4,000 come.
func TestRun(t *testing.T) {
	out, err := study.Run(context.Background(), parse(t, "a 0 5000\na 1 3000\nf 0\na 2 4000\n", false), models())
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range study.Policies {
		// Two pages for the first, which has room for the second behind it.
		want := study.Outcome{PeakHeap: 8192, PeakLive: 8000, LiveAtPeak: 5000}
		switch p.Name {
		case "binary buddy":
			// A block of 8,192, one of 4,096 behind it.
			want.PeakHeap, want.LiveAtPeak = 12288, 8000
		case "double buddy":
			// Of 6,144 = 3 * 2,048, which pages of 4 KiB do not end with, and of 3,072.
			want.PeakHeap = 0
		case "seg 2^N":
			// 8,192 for 5,000, a page for 3,000, and its own class again for 4,000.
			want.PeakHeap = 16384
			want.LiveAtPeak = 7000
		case "seg 2^N, 3*2^N":
			// Two pages for 5,000, one for 3,000 (3,072), one for 4,000 (4,096).
			want.PeakHeap = 16384
			want.LiveAtPeak = 7000
		}
		got := out[i]
		if want.PeakHeap == 0 {
			want.PeakHeap, want.LiveAtPeak = got.PeakHeap, got.LiveAtPeak
			if got.PeakHeap < 6144+3072 || got.PeakHeap > 16384 {
				t.Errorf("%s: %+v", p.Name, got)
			}
		}
		if got.PeakHeap != want.PeakHeap || got.PeakLive != want.PeakLive || got.LiveAtPeak != want.LiveAtPeak {
			t.Errorf("%s: %+v, want %+v", p.Name, got, want)
		}
	}
}

// TestHoles frees two large objects with a small one between.
func TestHoles(t *testing.T) {
	// One page is obtained for the 100 bytes, and has room for the 1,000 later.
	out, err := study.Run(context.Background(), parse(t, "a 0 8192\na 1 100\na 2 8192\na 3 1000\nf 0\nf 2\na 4 32768\n", false), models())
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(out[1].Holes, out[1].GrownLarge, out[1].PeakHeap)
	if want := "[{8192 0 0} {8192 1 100} {2996 2 33768}] 49152 53248"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if g := out[1].Last; g.Need != 32768 || g.LargestFree != 8192 {
		t.Errorf("last growth %+v", g)
	}
}

func TestRanks(t *testing.T) {
	got := study.Ranks([]float64{3, 1, 3, 2, 3})
	if want := []float64{4, 1, 4, 2, 4}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCorrelations(t *testing.T) {
	up, down := []float64{1, 2, 3, 4, 5}, []float64{5, 4, 3, 2, 1}
	for _, c := range []struct {
		name     string
		x, y     []float64
		tau, rho float64
	}{
		{"the same", up, up, 1, 1},
		{"the opposite", up, down, -1, -1},
		{"one pair swapped", up, []float64{1, 2, 3, 5, 4}, 0.8, 0.9},
		// 5 of 6 pairs count in x, 6 in y: 5 in the same order.
		{"a tie", []float64{1, 2, 2, 3}, []float64{1, 2, 3, 4}, 5 / math.Sqrt(30), 3 / math.Sqrt(10)},
		{"a tie in both", []float64{1, 1, 2}, []float64{1, 1, 3}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if tau := study.Kendall(c.x, c.y); math.Abs(tau-c.tau) > 1e-9 {
				t.Errorf("tau %v, want %v", tau, c.tau)
			}
			if rho := study.Spearman(c.x, c.y); math.Abs(rho-c.rho) > 1e-9 {
				t.Errorf("rho %v, want %v", rho, c.rho)
			}
		})
	}
}

// TestCorrelationsOfAny looks for what holds of any lists: they lie between -1
// and 1, depend on order alone, and turn round with one list.
func TestCorrelationsOfAny(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		values := rapid.SliceOfN(rapid.Map(rapid.IntRange(-10, 10), func(i int) float64 { return float64(i) }), 5, 5)
		x, y := values.Draw(rt, "x"), values.Draw(rt, "y")
		other, minus := make([]float64, 5), make([]float64, 5)
		for i := range y {
			other[i], minus[i] = y[i]*y[i]*y[i]+7, -y[i]
		}
		for name, f := range map[string]func(x, y []float64) float64{"tau": study.Kendall, "rho": study.Spearman} {
			v := f(x, y)
			if math.IsNaN(v) { // all values of a list are equal
				continue
			}
			if v < -1-1e-9 || v > 1+1e-9 || math.Abs(v-f(y, x)) > 1e-9 || math.Abs(v+f(x, minus)) > 1e-9 {
				rt.Fatalf("%s: %v, %v the other way round, %v turned round", name, v, f(y, x), f(x, minus))
			}
			if math.Abs(v-f(x, other)) > 1e-9 {
				rt.Fatalf("%s: %v, %v of values in the same order", name, v, f(x, other))
			}
		}
	})
}

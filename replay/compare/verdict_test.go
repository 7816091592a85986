package compare

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/strategy"
)

// row makes a row with the given paired differences against a baseline of
// failures and memory.
func row(failures, memory []float64, base Outcome) *Row {
	r := &Row{Result: &replay.Result{}, Ledger: &strategy.Ledger{}, Base: &Row{Result: &replay.Result{}, Ledger: &strategy.Ledger{}}}
	for i := range failures {
		r.Paired = append(r.Paired, Difference{Outcome{Failures: failures[i], Memory: memory[i]}, base})
	}
	return r
}

func repeat(v float64, times int) []float64 {
	out := make([]float64, times)
	for i := range out {
		out[i] = v
	}
	return out
}

func TestVerdict(t *testing.T) {
	some := Outcome{Failures: 5, Memory: 1000}
	mixed := []float64{-3, 3, -3, 3, -3, 3, -3, 3, -3, 3}
	for _, c := range []struct {
		name             string
		failures, memory []float64
		want             Word
		on               On
		tooFew           bool
	}{
		{"fewer failures", repeat(-2, 20), repeat(500, 20), Helps, OnFailures, false},
		{"more failures", repeat(1, 20), repeat(-500, 20), Harms, OnFailures, false},
		{"failures either way", mixed, repeat(0, 10), Undecided, OnFailures, false},
		{"less memory", repeat(0, 20), repeat(-50, 20), Helps, OnMemory, false},
		{"more memory", repeat(0, 20), repeat(50, 20), Harms, OnMemory, false},
		{"hardly less memory", repeat(0, 20), repeat(-9, 20), NoEffect, OnMemory, false},
		{"nothing", repeat(0, 20), repeat(0, 20), NoEffect, OnMemory, false},
		{"memory either way", repeat(0, 10), []float64{-90, 90, -90, 90, -90, 90, -90, 90, -90, 90}, Undecided, OnMemory, false},
		{"few orderings", repeat(-2, 3), repeat(0, 3), Helps, OnFailures, true},
	} {
		v := judge(row(c.failures, c.memory, some), 1)
		if v.Word != c.want || v.On != c.on || v.TooFew != c.tooFew {
			t.Errorf("%s: %v (on %v, too few %v), want %v (%v, %v)", c.name, v.Word, v.On, v.TooFew, c.want, c.on, c.tooFew)
		}
	}
}

// TestLargest: where neither failures nor memory change, the largest free block
// decides, and more is better; not in a heap that grows.
func TestLargest(t *testing.T) {
	for _, c := range []struct {
		by      float64
		growing bool
		want    Word
	}{{+400, false, Helps}, {-400, false, Harms}, {+40, false, NoEffect}, {+400, true, NoEffect}} {
		r := row(repeat(0, 20), repeat(0, 20), Outcome{Memory: 5000, Largest: 1000})
		r.Base.Result.Growing = c.growing
		for i := range r.Paired {
			r.Paired[i].Largest = c.by
		}
		if v := judge(r, 1); v.Word != c.want || (v.On == OnLargest) != (c.want != NoEffect) {
			t.Errorf("largest %+g: %+v, want %v", c.by, v, c.want)
		}
	}
}

// TestSlack: a largest free block that is smaller by what is held in reserve, and
// no more, is no harm.
func TestSlack(t *testing.T) {
	for _, c := range []struct {
		name                 string
		largest, free, slack float64
		want                 Word
	}{
		{"all of it is held", -400, -400, 500, NoEffect},
		{"nothing is", -400, -400, 0, Harms},
		{"a part is", -400, -400, 100, Harms},
		{"it is free, and scattered", -400, 0, 500, Harms},
		{"larger in spite of it", 400, -400, 500, Helps},
	} {
		r := row(repeat(0, 20), repeat(0, 20), Outcome{Memory: 5000, Largest: 1000})
		for i := range r.Paired {
			d := &r.Paired[i]
			d.Largest, d.Free, d.Slack = c.largest, c.free, c.slack
		}
		if v := judge(r, 1); v.Word != c.want {
			t.Errorf("%s: %+v, want %v", c.name, v, c.want)
		}
	}
}

// TestMemoryEitherWay: where memory goes either way, the largest free block of a
// fixed heap decides if it can.
func TestMemoryEitherWay(t *testing.T) {
	for _, c := range []struct {
		by      float64
		growing bool
		want    Word
		on      On
	}{{+400, false, Helps, OnLargest}, {-400, false, Harms, OnLargest}, {0, false, Undecided, OnMemory}, {+400, true, Undecided, OnMemory}} {
		r := row(repeat(0, 10), []float64{-90, 90, -90, 90, -90, 90, -90, 90, -90, 90}, Outcome{Memory: 1000, Largest: 1000})
		r.Base.Result.Growing = c.growing
		for i := range r.Paired {
			r.Paired[i].Largest = c.by
		}
		if v := judge(r, 1); v.Word != c.want || v.On != c.on {
			t.Errorf("largest %+g, growing %v: %+v, want %v on %v", c.by, c.growing, v, c.want, c.on)
		}
	}
}

// TestRecorded: without perturbations the verdict is that of the one ordering.
func TestRecorded(t *testing.T) {
	r := row(nil, nil, Outcome{})
	r.Base.Result.Failures, r.Result.Failures = 7, 4
	v := judge(r, 1)
	if v.Word != Helps || v.Mean != -3 || v.Low != -3 || v.High != -3 || v.Base != 7 || v.Orderings != 1 {
		t.Errorf("verdict %+v", v)
	}
}

// TestInterval: the interval holds the true mean about as often as it says.
func TestInterval(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	const trials, size = 300, 40
	inside := 0
	for trial := range trials {
		values := make([]float64, size)
		for i := range values {
			values[i] = 10 + 3*draw.NormFloat64()
		}
		mean, low, high := interval(values, uint64(trial))
		if low > mean || high < mean {
			t.Fatalf("mean %g is outside %g to %g", mean, low, high)
		}
		if low <= 10 && 10 <= high {
			inside++
		}
	}
	if share := float64(inside) / trials; math.Abs(share-0.95) > 0.05 {
		t.Errorf("%.3f of the intervals hold the mean, want about 0.95", share)
	}
	if a, b := first(interval([]float64{1, 2, 3}, 5)), first(interval([]float64{1, 2, 3}, 5)); a != b {
		t.Error("the same seed gives another interval")
	}
}

func first(_, low, high float64) [2]float64 { return [2]float64{low, high} }

package compare_test

import (
	"context"
	"flag"
	"math"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/compare"
	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/gen"
)

var long = flag.Bool("long", false, "judge whole programs, not only the start of them")

// judgeAll returns the verdicts on the strategies, by heap and strategy, over 20
// orderings perturbed in all ways that there are.
func judgeAll(t *testing.T, src trace.Source, heaps, sets []string) map[string]map[string]compare.Verdict {
	t.Helper()
	var specs []*heapmodel.Spec
	for _, text := range heaps {
		s, err := heapmodel.ParseSpec(catalog.Models, text)
		if err != nil {
			t.Fatal(err)
		}
		if s, _, err = replay.Fill(s, src.Header()); err != nil {
			t.Fatal(err)
		}
		specs = append(specs, s)
	}
	var parsed []strategy.Set
	for _, text := range sets {
		s, err := strategy.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, s)
	}
	o := compare.Options{Count: 20}
	o.Perturb, _ = perturb.Defaults(src.Header())
	o.Perturb.Seed = 1
	rows, err := compare.Run(context.Background(), src, specs, parsed, &strategy.Env{Models: catalog.Models, Keep: 1 << 30}, o)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]compare.Verdict{}
	for _, r := range rows {
		if r.Err != nil {
			t.Fatalf("%s with %s: %v", r.Heap, r.Set, r.Err)
		}
		if r.Base != nil {
			name := r.Heap.Model.Name
			if out[name] == nil {
				out[name] = map[string]compare.Verdict{}
			}
			out[name][r.Set.String()] = r.Verdict
		}
	}
	return out
}

// generate makes a synthetic trace.
func generate(t *testing.T, text string) trace.Source {
	t.Helper()
	program, err := gen.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return program.Load(1<<30, nil, nil)
}

// heapsOf returns the heaps that must agree, of the given size; tlsf needs
// another.
func heapsOf(size, tlsf string) []string {
	return []string{
		"freertos-heap4:capacity=" + size, "tlsf:capacity=" + tlsf, "umm-malloc:capacity=" + size,
		"newlib-nano:grow=" + size, "sequential:fit=best,capacity=" + size,
	}
}

// TestReserveOfPrograms: of programs for which reserving must help, must not
// matter and must harm, the verdicts say so, on each of five heaps that are just
// large enough.
func TestReserveOfPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("too long for the race detector")
	}
	for _, c := range []struct {
		program, short string
		heaps          []string
		want           compare.Word
		// exact is what an oracle that knows each length may come to. It reserves no
		// byte too much: of a program that does not need it, its effect may be too
		// small to tell.
		exact []compare.Word
	}{
		{"gen:reserve-helps", ",rounds=60", heapsOf("15KiB", "23KiB"), compare.Helps, []compare.Word{compare.Helps}},
		{"gen:reserve-neutral", ",rounds=200", heapsOf("12KiB", "15KiB"), compare.NoEffect, []compare.Word{compare.NoEffect}},
		{"gen:reserve-harms", ",steps=25k", heapsOf("26KiB", "30KiB"), compare.Harms, []compare.Word{compare.Helps, compare.NoEffect, compare.Undecided}},
	} {
		t.Run(c.program, func(t *testing.T) {
			t.Parallel()
			text := c.program
			if !*long {
				text += c.short
			}
			for heap, verdicts := range judgeAll(t, generate(t, text), c.heaps, []string{"reserve", "reserve:at=p95", "reserve:at=max"}) {
				for set, v := range verdicts {
					wanted := []compare.Word{c.want}
					if set == "reserve" {
						wanted = c.exact
					}
					t.Logf("%s, %s: %v by %v, %+.1f (%+.1f to %+.1f) of %.1f", heap, set, v.Word, v.On, v.Mean, v.Low, v.High, v.Base)
					if !slices.Contains(wanted, v.Word) || v.TooFew || v.Orderings != 20 {
						t.Errorf("%s, %s: %v, want %v: %+v", heap, set, v.Word, wanted, v)
					}
				}
			}
		})
	}
}

// TestBare: the verdicts hold of the same programs in traces without call sites,
// threads and times, as far as reserving does not need sites.
func TestBare(t *testing.T) {
	for _, c := range []struct {
		program string
		heaps   []string
		want    compare.Word
	}{
		{"gen:reserve-helps,rounds=60", heapsOf("15KiB", "23KiB"), compare.Helps},
		{"gen:reserve-neutral,rounds=200", heapsOf("12KiB", "15KiB"), compare.NoEffect},
	} {
		r, err := generate(t, c.program).Open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var blocks []*trace.Block
		for {
			b := new(trace.Block)
			if r.Next(b) != nil {
				break
			}
			clear(b.Site)
			clear(b.Thread)
			clear(b.Time)
			blocks = append(blocks, b)
		}
		bare := trace.NewMemory(&trace.Header{PtrBits: 32}, blocks)
		for heap, verdicts := range judgeAll(t, bare, c.heaps, []string{"reserve"}) {
			for set, v := range verdicts {
				if v.Word != c.want {
					t.Errorf("%s, %s, %s: %v, want %v: %+v", c.program, heap, set, v.Word, c.want, v)
				}
			}
		}
	}
}

// TestClock: means of the largest free block are over the trace's own time, or
// over the events of the unchanged program, whatever a strategy drops.
func TestClock(t *testing.T) {
	for _, c := range []struct {
		name  string
		times bool
		// Bytes that are not in the largest free block, on average, without reserve
		// and with it.
		want, with float64
	}{
		// 100 B for 10 ns; the realloc moves, so 300 for 30; nothing for 60. With
		// reserve 200 B for 40 ns.
		{"times", true, (10*100 + 30*300) / 100., 40 * 200 / 100.},
		// 100 B for one event, 300 for one, nothing for one; with 200 B for two.
		{"events", false, (100 + 300) / 3., 2 * 200 / 3.},
	} {
		var b trace.Block
		for _, e := range []trace.Event{
			{Op: trace.OpAlloc, Size: 100, Time: 0},
			{Op: trace.OpRealloc, Size: 200, Time: 10},
			{Op: trace.OpFree, Time: 40},
			{Op: trace.OpAlloc, Size: 1, Time: 100},
		} {
			if e.Site = 1; !c.times {
				e.Time = 0
			}
			b.Append(e)
		}
		src := trace.NewMemory(&trace.Header{HasSite: true, HasTime: c.times, PtrBits: 32, Sites: []string{"", "buffer"}}, []*trace.Block{&b})
		spec, err := heapmodel.ParseSpec(catalog.Models, "sequential:capacity=1000,header=0,align=1")
		if err != nil {
			t.Fatal(err)
		}
		set, err := strategy.Parse("reserve")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := compare.Run(context.Background(), src, []*heapmodel.Spec{spec}, []strategy.Set{set}, &strategy.Env{Keep: 1 << 20}, compare.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []float64{c.want, c.with} {
			if got := 1000 - rows[i].MeanLargest(); math.Abs(got-want) > 1e-6 {
				t.Errorf("%s, %s: %g bytes are not in the largest free block, want %g", c.name, rows[i].Set, got, want)
			}
		}
	}
}

package strategy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/heapmodel/holdback"
	"github.com/fragprof/fragprof/heapmodel/multi"
	"github.com/fragprof/fragprof/heapmodel/pools"
	"github.com/fragprof/fragprof/heapmodel/twoended"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
)

// wrapEnv has every model that strategies wrap heaps in.
var wrapEnv = func() *strategy.Env {
	models := slices.Clone(catalog.Models)
	for _, m := range []*heapmodel.Model{multi.Model, pools.Model, holdback.Model, twoended.Model} {
		if !slices.ContainsFunc(models, func(in *heapmodel.Model) bool { return in.Name == m.Name }) {
			models = append(models, m)
		}
	}
	return &strategy.Env{Models: models, Keep: 1 << 30}
}()

func parseSpec(t rapid.TB, text string) *heapmodel.Spec {
	t.Helper()
	s, err := heapmodel.ParseSpec(wrapEnv.Models, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// learned applies strategies that wrap to a trace.
func learned(t rapid.TB, set string, src trace.Source) *strategy.Applied {
	t.Helper()
	s, err := strategy.Parse(set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Learn(src, wrapEnv)
	if err != nil {
		t.Fatal(err)
	}
	return d.Recorded()
}

// wrapping is a row of a table of what a strategy makes of heaps: specs or
// errors, and of the notes what stands in them.
type wrapping struct {
	set   string
	heaps map[string]string // "! ..." is part of an error
	notes []string
}

func checkWrapping(t *testing.T, text string, rows []wrapping) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.set, func(t *testing.T) {
			a := learned(t, row.set, parse(t, text))
			for heap, want := range row.heaps {
				got, err := a.Wrap(parseSpec(t, heap))
				message, fails := strings.CutPrefix(want, "! ")
				switch {
				case fails && (err == nil || !strings.Contains(err.Error(), message)):
					t.Errorf("%s: got %s and error %v, want one with %q", heap, got, err, message)
				case !fails && err != nil:
					t.Errorf("%s: %v", heap, err)
				case !fails && got.String() != want:
					t.Errorf("%s: got %s, want %s", heap, got, want)
				}
			}
			notes := strings.Join(a.Notes, "\n")
			for _, want := range row.notes {
				if !strings.Contains(notes, want) {
					t.Errorf("notes:\n%s\nwant one with %q", notes, want)
				}
			}
		})
	}
}

func checkErrors(t *testing.T, rows map[string]string) {
	t.Helper()
	for set, want := range rows {
		s, err := strategy.Parse(set)
		if err == nil {
			_, err = s.Learn(parse(t, "a 0 8 @v\na 1 100 @w\nf 0\n"), wrapEnv)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", set, err, want)
		}
	}
}

// statsOf replays a trace through a heap and returns its own figures.
func statsOf(t rapid.TB, src trace.Source, s *heapmodel.Spec) (map[string]uint64, *replay.Result) {
	t.Helper()
	results, err := replay.Run(context.Background(), src, []*heapmodel.Spec{s}, replay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := results[0].Err; err != nil {
		t.Fatal(err)
	}
	stats := map[string]uint64{}
	for _, s := range results[0].Stats {
		stats[s.Key] = s.Value
	}
	return stats, results[0]
}

// sample loads a recorded trace.
func sample(t testing.TB) trace.Source {
	t.Helper()
	src, err := formats.Load("../../samples/mosquitto-32.parquet", nil, formats.Options{}, 1<<30, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// TestMemoryIsEqual holds that a heap of fixed size has as much memory with a
// strategy as without, whatever its size, model and the strategy; that nothing
// panics where that is too little; and that a heap is wrapped alike twice.
func TestMemoryIsEqual(t *testing.T) {
	src := sample(t)
	sets := map[string]*strategy.Applied{}
	var names []string
	for _, set := range []string{
		"holdback:bytes=2KiB", "pools:auto", "pools:auto,at=p50,fallback=none", "pools:blocks=[24x7|100x3]", "split", "split:by=site,heaps=3", "split:by=life,heaps=4",
		"split:shares=[10|90]", "two-ended", "two-ended:by=site", "pregrow", "split+pools:blocks=16x16", "pools:blocks=16x16+split", "holdback:bytes=1KiB+split:heaps=3",
		"split+holdback:bytes=1KiB+pools:blocks=[16x16|48x9]", "two-ended+pools:blocks=16x16", "pools:blocks=16x16+two-ended:by=site",
	} {
		sets[set] = learned(t, set, src)
		names = append(names, set)
	}
	compared := 0
	defer func() {
		if compared == 0 {
			t.Error("no heap was large enough")
		} else {
			t.Logf("%d heaps compared", compared)
		}
	}()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "strategy")
		model := rapid.SampledFrom([]string{
			"tlsf", "tlsf:ptr=64", "freertos-heap4", "sequential", "sequential:header=0,align=1", "umm-malloc", "o1heap", "dlmalloc",
			"avr-libc", "zephyr-sys-heap", "esp-tlsf", "rust-buddy", "kr", "multi:cuts=64,heaps=[tlsf:capacity=64KiB]+[freertos-heap4:capacity=32KiB]",
		}).Draw(t, "model")
		size := rapid.OneOf(rapid.Uint64Range(1, 200), rapid.Uint64Range(200, 60_000), rapid.Uint64Range(60_000, 1<<20)).Draw(t, "capacity")
		s := parseSpec(t, model)
		if s.Has("capacity") {
			var err error
			if s, err = s.With("capacity", fmt.Sprint(size)); err != nil {
				t.Fatal(err)
			}
		}
		plain, err := s.New()
		got, wrapErr := sets[name].Wrap(s)
		if err != nil || wrapErr != nil {
			return
		}
		again, err := sets[name].Wrap(s)
		if err != nil || again.String() != got.String() {
			t.Fatalf("%s: wrapped to %s, then to %s, %v", s, got, again, err)
		}
		h, err := got.New()
		if err != nil {
			return // too small for its parts
		}
		compared++
		want := plain.Usage().Arena
		if arena := h.Usage().Arena; arena > want || arena+64 < want {
			// Models round capacities down, at most by an alignment a heap.
			t.Fatalf("%s has %d bytes, %s has %d", s, want, got, arena)
		}
	})
}

func TestMemoryOfGrowingHeaps(t *testing.T) {
	const text = "a 0 8 @v\na 1 8 @v\na 2 100 @w\nf 0\n"
	checkWrapping(t, text, []wrapping{
		{set: "pools:blocks=[8x2|16x2]", heaps: map[string]string{
			"newlib-nano:grow=64KiB":                  "pools:blocks=8x2+16x2,fallback=next,overflow=[newlib-nano:grow=65488],align=8,ptr=32",
			"sequential:quantum=4KiB":                 "pools:blocks=8x2+16x2,fallback=next,overflow=[sequential:quantum=4KiB],align=8,ptr=32",
			"sequential:capacity=4KiB,grow=8KiB":      "pools:blocks=8x2+16x2,fallback=next,overflow=[sequential:capacity=4048,grow=8144],align=8,ptr=32",
			"freertos-heap5:regions=1KiB@0+4KiB@8192": "pools:blocks=8x2+16x2,fallback=next,overflow=[freertos-heap5:regions=1024@0+4048@8192],align=8,ptr=32",
			"freertos-heap5:regions=40@0+48@8192":     "! cannot lose 48",
			"esp-heap-caps":                           "! no capacity that is known",
			"ideal":                                   "! no arena",
			"tlsf:capacity=48":                        "! ",
		}},
		{set: "split:cuts=64,shares=[25|75]", heaps: map[string]string{
			"newlib-nano:grow=64KiB":              "multi:by=size,cuts=64,heaps=[newlib-nano:grow=16384]+[newlib-nano:grow=49152],overflow=next",
			"sequential:quantum=4KiB":             "multi:by=size,cuts=64,heaps=[sequential:quantum=4KiB]+[sequential:quantum=4KiB],overflow=next",
			"sequential:capacity=4KiB,grow=8KiB":  "multi:by=size,cuts=64,heaps=[sequential:capacity=1024,grow=2048]+[sequential:capacity=3072,grow=6144],overflow=next",
			"freertos-heap5:regions=4KiB@0":       "! in regions is not split",
			"multi:heaps=[tlsf:capacity=8KiB]":    "! several heaps already",
			"pools:overflow=[tlsf:capacity=8KiB]": "pools:overflow=[multi:by=size,cuts=64,heaps=[tlsf:capacity=2048]+[tlsf:capacity=6144],overflow=next]",
		}},
	})
}

package gen_test

import (
	"context"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace/gen"
)

// play replays a synthetic trace through heaps.
func play(t *testing.T, text string, heaps ...string) []*replay.Result {
	t.Helper()
	s, err := gen.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	specs := make([]*heapmodel.Spec, len(heaps))
	for i, h := range heaps {
		if specs[i], err = heapmodel.ParseSpec(catalog.Models, h); err != nil {
			t.Fatal(err)
		}
	}
	results, err := replay.Run(context.Background(), s.Load(64<<20, nil, nil), specs, replay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatalf("%s on %s: %v", text, r.Spec, r.Err)
		}
	}
	return results
}

// TestReserve wants the three programs to do on the heaps that their
// documentation suggests what it says.
func TestReserve(t *testing.T) {
	for _, c := range []struct {
		workload     string
		heaps        []string
		fine, failed []string // modes of reserving
	}{
		{
			"reserve-helps",
			[]string{"freertos-heap4:capacity=15KiB", "umm-malloc:capacity=15KiB", "sequential:fit=best,capacity=15KiB", "newlib-nano:grow=15KiB", "tlsf:capacity=23KiB"},
			[]string{"exact", "p95", "max"},
			[]string{"none"},
		},
		{
			"reserve-neutral",
			[]string{"freertos-heap4:capacity=12KiB", "umm-malloc:capacity=12KiB", "sequential:fit=best,capacity=12KiB", "newlib-nano:grow=12KiB", "tlsf:capacity=15KiB"},
			[]string{"none", "exact", "p95", "max"},
			nil,
		},
		{
			"reserve-harms",
			[]string{"freertos-heap4:capacity=26KiB", "umm-malloc:capacity=26KiB", "sequential:fit=best,capacity=26KiB", "newlib-nano:grow=26KiB", "tlsf:capacity=30KiB"},
			[]string{"none", "exact"},
			[]string{"p95", "max"},
		},
	} {
		for _, seed := range []string{"1", "2", "3"} {
			for _, mode := range c.fine {
				for _, r := range play(t, "gen:"+c.workload+",seed="+seed+",reserve="+mode, c.heaps...) {
					if r.Failures != 0 {
						t.Errorf("%s, seed %s, reserve=%s on %s: %d failures", c.workload, seed, mode, r.Spec, r.Failures)
					}
				}
			}
			for _, mode := range c.failed {
				for _, r := range play(t, "gen:"+c.workload+",seed="+seed+",reserve="+mode, c.heaps...) {
					if r.Failures < 1000 {
						t.Errorf("%s, seed %s, reserve=%s on %s: %d failures", c.workload, seed, mode, r.Spec, r.Failures)
					}
				}
			}
		}
	}
}

// TestReserveNeutralTight takes a little from the suggested heaps: all modes of
// reserving must then fail alike, in the frame and not in the buffers.
func TestReserveNeutralTight(t *testing.T) {
	var first []uint64
	for _, mode := range []string{"none", "exact", "p95", "max"} {
		results := play(t, "gen:reserve-neutral,reserve="+mode, "freertos-heap4:capacity=11600", "umm-malloc:capacity=11500", "sequential:fit=best,capacity=11500", "newlib-nano:grow=11500")
		for i, r := range results {
			if mode == "none" {
				first = append(first, r.Failures)
			}
			if r.Failures == 0 || r.Failures != first[i] {
				t.Errorf("reserve=%s on %s: %d failures, with none %d", mode, r.Spec, r.Failures, first[i])
			}
		}
	}
}

// TestOpenevse wants the figures of the two reports it is made after: the
// largest free block falls from 51 KB to less than 10 KB in 14 hours while free
// bytes stay, unless slots are cleared; and 15 KB on the heap cost 27.6 KB of it.
func TestOpenevse(t *testing.T) {
	heaps := []string{"freertos-heap4:capacity=67KiB", "umm-malloc:capacity=67KiB", "esp-tlsf:capacity=68KiB"}
	for seed, times := range map[string][]string{"1": {"1", "2", "4", "8", "12", "14"}, "2": {"1", "14"}, "3": {"1", "14"}} {
		last := make([]uint64, len(heaps))
		for _, hours := range times {
			for i, r := range play(t, "gen:openevse,seed="+seed+",hours="+hours, heaps...) {
				free, largest := r.End.Free, r.End.LargestFree
				if r.Failures != 0 || free < 50_000 || free > 52_000 {
					t.Errorf("seed %s, %s h, %s: %d failures, %d bytes free", seed, hours, r.Spec, r.Failures, free)
				}
				if last[i] != 0 && largest > last[i] {
					t.Errorf("seed %s, %s h, %s: largest free block %d, %d before", seed, hours, r.Spec, largest, last[i])
				}
				switch last[i] = largest; {
				case hours == "1" && (largest < 50_000 || largest > 52_000):
					t.Errorf("seed %s, %s: largest free block %d after an hour, want about 51 KB", seed, r.Spec, largest)
				case hours == "14" && largest >= 10_000:
					t.Errorf("seed %s, %s: largest free block %d after 14 hours, want less than 10 KB", seed, r.Spec, largest)
				}
			}
		}
	}
	cleared := play(t, "gen:openevse,queue=clear", heaps...)
	for i, r := range play(t, "gen:openevse,queue=clear,draw=heap,hours=1", heaps...) {
		static := cleared[i].End
		if static.LargestFree < 51_000 || static.LargestFree != static.Free {
			t.Errorf("%s with cleared slots: largest free block %d of %d after 14 hours", r.Spec, static.LargestFree, static.Free)
		}
		if cost := static.LargestFree - r.End.LargestFree; cost < 27_500 || cost > 28_400 {
			t.Errorf("%s: the drawing buffer costs %d bytes of the largest free block, want about 27.6 KB", r.Spec, cost)
		}
	}
}

// TestFreenet wants what stays to hold sixteen times its bytes and nearly all
// pages, unless it lies together.
func TestFreenet(t *testing.T) {
	heap := "sequential:fit=best,header=0,align=1,quantum=4KiB,ptr=64"
	for scatter, want := range map[string][2]float64{"random": {0.96, 1}, "even": {0.999, 1}, "together": {0.06, 0.07}} {
		r := play(t, "gen:freenet,scatter="+scatter+",after=0", heap)[0]
		if ratio := float64(r.Footprint) / float64(r.LiveBytes); ratio < 15 || ratio > 17 {
			t.Errorf("scatter=%s: footprint %d for %d live bytes", scatter, r.Footprint, r.LiveBytes)
		}
		const page = 4096
		pinned, next := uint64(0), uint64(0) // next is the first page not counted
		for _, b := range r.End.Blocks {
			if b.Used {
				first, last := max(uint64(b.Addr)/page, next), (uint64(b.Addr)+b.Size-1)/page
				if first <= last {
					pinned, next = pinned+last+1-first, last+1
				}
			}
		}
		if frac := float64(pinned) * page / float64(r.Footprint); frac < want[0] || frac > want[1] {
			t.Errorf("scatter=%s: %.3f of the pages are pinned, want %v", scatter, frac, want)
		}
	}
}

// TestRobson wants first fit to need exactly what Robson proved that a program
// can make the best allocator need: M(1 + log2(n)/2) - n + 1 units.
func TestRobson(t *testing.T) {
	for _, c := range []struct {
		text     string
		live, n  uint64
		log2n    uint64
		capacity string
	}{
		{"live=4096,largest=1024", 4096, 1024, 10, "1MiB"},
		{"live=4096,largest=16", 4096, 16, 4, "1MiB"},
		{"live=1024,largest=256", 1024, 256, 8, "256KiB"},
		{"live=1024,largest=1", 1024, 1, 0, "256KiB"},
	} {
		const unit = 16
		want := (c.live + c.live*c.log2n/2 - c.n + 1) * unit
		for _, r := range play(t, "gen:robson,"+c.text, "sequential:fit=first,header=8,align=8,ptr=64,capacity="+c.capacity, "freertos-heap4:capacity="+c.capacity) {
			if r.Failures != 0 || r.Footprint != want {
				t.Errorf("%s on %s: footprint %d, %d failures, want %d bytes", c.text, r.Spec, r.Footprint, r.Failures, want)
			}
		}
	}
}

// TestCheckerboard wants half of the memory to be free and of no use when the
// larger objects come.
func TestCheckerboard(t *testing.T) {
	r := play(t, "gen:checkerboard,events=1500", "sequential:fit=best,capacity=40KiB")[0]
	if r.FirstFailure == nil {
		t.Fatal("nothing failed")
	}
	if f := r.FirstFailure; f.Free < 16_000 {
		t.Errorf("before the first failure: %d bytes free", f.Free)
	}
	if r.ByVerdict[replay.Fragmented] != r.Failures {
		t.Errorf("%d of %d failures are fragmentation", r.ByVerdict[replay.Fragmented], r.Failures)
	}
}

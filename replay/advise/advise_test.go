package advise_test

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/advise"
	"github.com/fragprof/fragprof/replay/compare"
	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/gen"
)

var long = flag.Bool("long", false, "advise on whole programs, not only the start of them")

// run advises on a trace and a heap, with verdicts over so many orderings.
func run(t *testing.T, src trace.Source, heap string, orderings int) *advise.Report {
	t.Helper()
	spec, err := heapmodel.ParseSpec(catalog.Models, heap)
	if err != nil {
		t.Fatal(err)
	}
	if spec, _, err = replay.Fill(spec, src.Header()); err != nil {
		t.Fatal(err)
	}
	o := advise.Options{Tests: 12, Count: orderings}
	o.Perturb, _ = perturb.Defaults(src.Header())
	o.Perturb.Seed = 1
	r, err := advise.Run(context.Background(), src, spec, &strategy.Env{Models: catalog.Models, Keep: 1 << 30}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func generate(t *testing.T, text string) trace.Source {
	t.Helper()
	src, err := gen.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return src.Load(1<<30, nil, nil)
}

// describe returns advice as a failing test shows it.
func describe(src trace.Source, list []*advise.Advice) string {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%s: %s: better %v, %v, failures %d, mean largest %.0f, memory %d\n",
			src.Header().SiteName(d.Site), d.Action.Name, d.Better, d.Row.Verdict.Word, d.Row.Result.Failures, d.Row.MeanLargest(), d.Row.Memory())
	}
	return b.String()
}

// TestCulprits: of programs with one site that pins their heap, advice names it
// first, and the verdict over other orderings is that the change helps.
func TestCulprits(t *testing.T) {
	if testing.Short() {
		t.Skip("too long for the race detector")
	}
	const (
		queue    = "rapi_sender.cpp:enqueue String"
		draw     = "lcd_tft.cpp:draw buffer"
		survivor = "ring.rs:Peer::insert"
	)
	for _, c := range []struct {
		program, short string
		heaps          []string
		culprits       []string // in the order of the steps
	}{
		{"gen:openevse", ",hours=5,full=4,every=25s", []string{"umm-malloc:capacity=67KiB", "esp-tlsf:capacity=68KiB", "freertos-heap4:capacity=67KiB"}, []string{queue}},
		{"gen:openevse,queue=clear,draw=heap", ",hours=2,full=1,every=20s", []string{"umm-malloc:capacity=82KiB", "esp-tlsf:capacity=83KiB", "freertos-heap4:capacity=82KiB"}, []string{draw}},
		{"gen:openevse,draw=heap", ",hours=5,full=4,every=25s", []string{"umm-malloc:capacity=82KiB"}, []string{queue, draw}},
		{"gen:freenet", ",objects=12k,after=200", []string{"sequential:fit=best,quantum=4KiB", "dlmalloc:capacity=64MiB"}, []string{survivor}},
	} {
		for _, heap := range c.heaps {
			t.Run(c.program+" "+heap, func(t *testing.T) {
				t.Parallel()
				text := c.program
				if !*long {
					text += c.short
				}
				src := generate(t, text)
				r := run(t, src, heap, 20)
				if len(r.Advice) == 0 || !r.Advice[0].Better || r.Advice[0].Row.Verdict.Word != compare.Helps {
					t.Fatalf("no advice that helps:\n%s", describe(src, r.Advice))
				}
				var steps []string
				for _, d := range r.Steps {
					steps = append(steps, src.Header().SiteName(d.Site))
				}
				if got := src.Header().SiteName(r.Advice[0].Site); got != c.culprits[0] {
					t.Errorf("the first is %s:\n%s", got, describe(src, r.Advice))
				}
				if len(steps) < len(c.culprits) || strings.Join(steps[:len(c.culprits)], "\n") != strings.Join(c.culprits, "\n") {
					t.Errorf("together: %q, want %q first:\n%s", steps, c.culprits, describe(src, r.Steps))
				}
			})
		}
	}
}

// TestBare: of a trace that names no call sites, threads or times, changes of
// the whole program are tried, and that is said.
func TestBare(t *testing.T) {
	full := generate(t, "gen:reserve-helps,rounds=10")
	r, err := full.Open()
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
	report := run(t, trace.NewMemory(&trace.Header{PtrBits: 32}, blocks), "umm-malloc:capacity=15KiB", 12)
	if !strings.Contains(strings.Join(report.Notes, "\n"), "no call sites") {
		t.Errorf("notes %q do not say that there are no call sites", report.Notes)
	}
	if len(report.Advice) < 3 || !strings.HasPrefix(report.Advice[0].Action.Name, "reserve") || report.Advice[0].Row.Verdict.Word != compare.Helps {
		t.Errorf("advice:\n%s", describe(full, report.Advice))
	}
	for _, d := range report.Advice {
		if d.Site != 0 || d.Action.Site {
			t.Errorf("%s is about site %d", d.Action.Name, d.Site)
		}
	}
}

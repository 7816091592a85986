package replay_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/heapmodel/espheapcaps"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/multi"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
)

// composed are the models of heaps made of heaps, and all others.
var composed = append(slices.Clone(catalog.Models), multi.Model, espheapcaps.Model)

func runComposed(t testing.TB, src trace.Source, o replay.Options, text string) *replay.Result {
	t.Helper()
	s, err := heapmodel.ParseSpec(composed, text)
	if err != nil {
		t.Fatal(err)
	}
	results, err := replay.Run(context.Background(), src, []*heapmodel.Spec{s}, o)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	return results[0]
}

// TestOneHeapInMulti holds that a heap is the same inside another as alone.
func TestOneHeapInMulti(t *testing.T) {
	for _, name := range []string{"mixed", "aligned", "exhaust"} {
		tr, err := modeltest.LoadTrace(name)
		if err != nil {
			t.Fatal(err)
		}
		tr = &modeltest.Trace{Ops: tr.Ops[:min(len(tr.Ops), 10_000)]}
		src := load(t, tr.String())
		for _, m := range catalog.Models {
			if m.Caps&heapmodel.CapNoLayout != 0 || m.Name == multi.Model.Name {
				continue
			}
			alone, err := heapmodel.ParseSpec(composed, m.Name)
			if err != nil {
				t.Fatal(err)
			}
			if alone, _, err = replay.Fill(alone, src.Header()); err != nil {
				t.Fatal(err)
			}
			h, err := alone.New()
			if err != nil {
				continue // it has heaps inside
			}
			if _, planned := h.(heapmodel.Planned); planned {
				continue
			}
			var want, got bytes.Buffer
			w := runComposed(t, src, replay.Options{Placements: &want}, alone.String())
			g := runComposed(t, src, replay.Options{Placements: &got}, "multi:heaps=["+alone.String()+"]")
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("%s: %s: other placements inside than alone", name, alone)
			}
			for what, pair := range map[string][2]any{
				"footprint": {g.Footprint, w.Footprint}, "footprint event": {g.FootprintEvent, w.FootprintEvent},
				"verdicts": {g.ByVerdict, w.ByVerdict}, "steps": {g.AllocSteps, w.AllocSteps},
				"growths": {g.Grown, w.Grown}, "usage": {g.Usage, w.Usage}, "J&W #1": {g.ExcessSum, w.ExcessSum},
			} {
				if fmt.Sprint(pair[0]) != fmt.Sprint(pair[1]) {
					t.Errorf("%s: %s: %s is %v inside, %v alone", name, alone, what, pair[0], pair[1])
				}
			}
		}
	}
}

// TestFootprintOfSeveralHeaps holds that what the lower of two heaps has not
// used is no footprint.
func TestFootprintOfSeveralHeaps(t *testing.T) {
	src := load(t, "a 0 10\na 1 1000\nf 1\na 2 500\n")
	heap := "sequential:capacity=64KiB,header=0,align=1"
	r := runComposed(t, src, replay.Options{}, "multi:cuts=64,heaps=["+heap+"]+["+heap+"]")
	if r.Footprint != 1010 || r.FootprintEvent != 1 || r.Usage.HighWater != 68<<10+1000 {
		t.Errorf("footprint %d at event %d, high-water mark %d; want 1010 at 1, 70632", r.Footprint, r.FootprintEvent, r.Usage.HighWater)
	}
	grows := "sequential:quantum=4KiB,header=0,align=1"
	r = runComposed(t, src, replay.Options{}, "multi:cuts=64,heaps=["+heap+"]+["+grows+"]")
	if r.Footprint != 10+4096 || r.Grown != 1 || !r.Growing {
		t.Errorf("footprint %d, %d growths; want 4106, 1", r.Footprint, r.Grown)
	}
}

// TestVerdictOfStrandedMemory holds that a request that fails while another
// heap has room is put down to policy, and to fragmentation or fullness only if
// none has.
func TestVerdictOfStrandedMemory(t *testing.T) {
	heap := "sequential:capacity=1000,header=0,align=1"
	for args, want := range map[string]replay.Verdict{
		"cuts=64,overflow=none": replay.Policy,
		"cuts=64,overflow=next": replay.Verdicts, // none fails
		"cuts=400":              replay.Fragmented,
	} {
		ops := "a 0 60\na 1 60\na 2 900\na 3 60\n"
		if want == replay.Policy {
			ops = strings.Repeat("a 0 60\n", 1)
			for i := 1; i < 20; i++ {
				ops += fmt.Sprintf("a %d 60\n", i)
			}
		}
		if want == replay.Fragmented {
			ops = "a 0 300\na 1 600\na 2 800\n"
		}
		r := runComposed(t, load(t, ops), replay.Options{}, "multi:"+args+",heaps=["+heap+"]+["+heap+"]")
		switch {
		case want == replay.Verdicts && r.Failures != 0:
			t.Errorf("%s: %d failures", args, r.Failures)
		case want != replay.Verdicts && (r.Failures == 0 || r.ByVerdict[want] != r.Failures):
			t.Errorf("%s: %d failures, %v by verdict; want all %s", args, r.Failures, r.ByVerdict, want)
		}
	}
}

// logged is a trace with two threads, three call sites and lives: 20 and 8 bytes
// for the first two objects, the others are not freed.
const logged = `0 7 malloc 0x1000 100 0xa1
1 9 malloc 0x2000 20 0xb2
2 7 free 0x1000 0xa1
3 7 malloc 0x3000 8 0xa1
4 9 free 0x2000 0xb2
5 9 malloc 0x4000 50 0xc3
6 9 rb 0x4000 60 0xa1
7 9 re 0x5000 0x4000 60 0xa1
`

func TestHintsOfARealTrace(t *testing.T) {
	src, err := formats.Load("-", strings.NewReader(logged), formats.Options{From: "hrec"}, 1<<30, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	two := ",heaps=[sequential:capacity=1KiB,header=0,align=1]+[sequential:capacity=1KiB,header=0,align=1]"
	for args, want := range map[string]string{
		"by=site,cuts=0xb*":              "2048 0 . 2048 . 2056 2106", // the realloc stays with its heap
		"by=site,cuts=0xa1|#2":           "0 100 . 0 . 2048 2098",
		"by=thread,cuts=0":               "0 2048 . 0 . 2048 2098",
		"by=thread,cuts=1":               "2048 0 . 2048 . 0 50",
		"by=life,cuts=10":                "2048 0 . 2048 . 2056 2106",
		"by=life,cuts=20":                "0 100 . 2048 . 2056 2106",
		"by=size,cuts=55":                "2048 0 . 20 . 28 2048",
		"by=thread,cuts=5,overflow=none": "2048 2148 . 2048 . 2056 2106",
	} {
		var out bytes.Buffer
		runComposed(t, src, replay.Options{Placements: &out}, "multi:"+args+two)
		if got := strings.Join(strings.Fields(out.String()), " "); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
	s, err := heapmodel.ParseSpec(composed, "multi:by=site,cuts=0xdead"+two)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replay.Run(context.Background(), src, []*heapmodel.Spec{s}, replay.Options{}); err == nil || !strings.Contains(err.Error(), `named "0xdead", of 3 sites`) {
		t.Errorf("error %v, want one that names the site", err)
	}
}

func TestFillSpecsInside(t *testing.T) {
	src := load(t, "a 0 3000\na 1 2000\n")
	h := *src.Header()
	h.PtrBits = 64
	for text, want := range map[string]string{
		"multi:cuts=64,heaps=[tlsf]+[freertos-heap4:capacity=9KiB]": "multi:cuts=64,heaps=[tlsf:capacity=8KiB,ptr=64]+[freertos-heap4:capacity=9KiB,ptr=64]",
		"multi:heaps=[tlsf:ptr=32]+[multi:heaps=[tlsf]]":            "multi:heaps=[tlsf:capacity=8KiB,ptr=32]+[multi:heaps=[tlsf:capacity=8KiB,ptr=64]]",
		"esp-heap-caps": "esp-heap-caps",
	} {
		s, err := heapmodel.ParseSpec(composed, text)
		if err != nil {
			t.Fatal(err)
		}
		filled, notes, err := replay.Fill(s, &h)
		if err != nil || filled.String() != want {
			t.Errorf("%s: filled to %s, %v; want %s", text, filled, err, want)
		}
		if strings.Contains(want, "8KiB,") != (len(notes) > 0) {
			t.Errorf("%s: notes %q", text, notes)
		}
		if _, err := filled.New(); err != nil {
			t.Error(err)
		}
	}
}

// TestMapOfSeveralHeaps holds that maps and surveys see all heaps.
func TestMapOfSeveralHeaps(t *testing.T) {
	src := load(t, "a 0 10\na 1 1000\nf 0\n")
	heap := "sequential:capacity=4KiB,header=0,align=1"
	r := runComposed(t, src, replay.Options{MapCols: 3, Steps: true}, "multi:cuts=64,heaps=["+heap+"]+["+heap+"]")
	used := float32(0)
	for _, b := range r.Map.Cols[1].Used {
		used += b
	}
	if used != 1010 {
		t.Errorf("the map shows %v bytes in use, want 1010", used)
	}
	if last := r.Steps[2]; len(last.Blocks) != 3 || last.Blocks[1].Addr != 8192 || !last.Blocks[1].Wall {
		t.Errorf("the last step shows %v", last.Blocks)
	}
}

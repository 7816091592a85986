package modeltest

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fragprof/fragprof/heapmodel"
)

// yardstick is the row of throughput.tsv for glibc's malloc in the same loop.
const yardstick = "glibc2.36/system-64"

// Bench measures the model, as plain loops over dense arrays through the Heap
// interface, in three sub-benchmarks for each spec:
//
//	long        the trace of that name, a few hundred small objects; without
//	            the full test material the trace mixed
//	live20k     20,000 objects of mixed sizes, replaced at random
//	live200k    200,000 objects
//
// Without specs it takes those whose originals were timed. An operation is a
// line of the trace. The ns/op are those of a pass over the trace, as the sum of
// the fastest time of each slice of it: all passes do the same work, so what
// they take longer is the noise of the machine. Besides it reports:
//
//	failures      operations that the heap could not serve; left out if none
//	B/live        memory the model takes, divided by live objects
//	B/block       the same, divided by all blocks, used and free
//	glibc-ns/op   the same of glibc's malloc in a C loop over the same arrays,
//	              passes of both taking turns
//	ratio         speed as a multiple of glibc's
//	vs_original   ratio as a multiple of the original's ratio to glibc
//
// The last three need a C compiler.
//
// A heap that looks at hints gets one before each alloc and realloc. One that
// plans cannot be measured so, and is skipped.
func Bench(b *testing.B, m *heapmodel.Model, specs ...string) {
	b.Helper()
	Inside(nil).Bench(b, m, specs...)
}

// Bench measures a model with others inside.
func (in Inside) Bench(b *testing.B, m *heapmodel.Model, specs ...string) {
	b.Helper()
	if len(specs) == 0 {
		var err error
		if specs, err = timedSpecs(m.Name); err != nil {
			b.Fatal(err)
		}
	}
	if len(specs) == 0 {
		specs = []string{m.Name}
	}
	for _, text := range specs {
		s, err := in.parse(m, text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text+"/long", func(b *testing.B) {
			tr, err := LoadTrace("long")
			if err != nil {
				tr, err = LoadTrace("mixed")
			}
			if err != nil {
				b.Fatal(err)
			}
			l, err := loopOf(tr)
			if err != nil {
				b.Fatal(err)
			}
			benchLoop(b, s, l)
		})
		for _, live := range []int{20_000, 200_000} {
			l := steadyLoop(live, 1<<18)
			b.Run(fmt.Sprintf("%s/%s", text, l.name), func(b *testing.B) {
				sized, err := withRoom(s, l)
				if err != nil {
					b.Skip(err)
				}
				benchLoop(b, sized, l)
			})
		}
	}
}

// withRoom returns the spec with an arena that has room for the loop three
// times over; so has each heap of the specs inside.
func withRoom(s *heapmodel.Spec, l *loop) (*heapmodel.Spec, error) {
	room := uint64(0)
	for _, size := range l.size[:l.setup] {
		room += 3 * (uint64(size) + 32)
	}
	sized, err := withArena(s, heapmodel.FormatBytes((room>>20+1)<<20))
	if err != nil {
		return nil, err
	}
	_, err = sized.New()
	return sized, err
}

func withArena(s *heapmodel.Spec, size string) (*heapmodel.Spec, error) {
	base := s.Without(sizeKeys...)
	composed := false
	for _, p := range s.Model.Params {
		specs := s.Specs(p.Key)
		if len(specs) == 0 {
			continue
		}
		composed = true
		var err error
		for i := range specs {
			if specs[i], err = withArena(specs[i], size); err != nil {
				return nil, err
			}
		}
		if base, err = base.WithSpecs(p.Key, specs); err != nil {
			return nil, err
		}
	}
	switch {
	case s.Given("grow") || !s.Has("capacity") && s.Has("grow"):
		return base.With("grow", size)
	case !s.Has("capacity") && s.Has("regions"):
		return base.With("regions", size+"@0")
	case !s.Has("capacity") && composed:
		return base, nil
	}
	return base.With("capacity", size)
}

func benchLoop(b *testing.B, s *heapmodel.Spec, l *loop) {
	before := heapBytes()
	h, err := s.New()
	if err != nil {
		b.Fatal(err)
	}
	replay, err := l.driver(h)
	if err != nil {
		b.Skip(err)
	}
	refs := make([]heapmodel.Ref, l.slots)
	replay(refs, 0, l.setup)
	c, err := startReference(b, l)
	if err != nil {
		b.Logf("no comparison with glibc: %v", err)
	}
	// The first passes warm caches, grow the model's tables and clocks.
	for range 2 {
		replay(refs, l.setup, len(l.kind))
		c.pass(b)
	}
	ops := float64(len(l.kind) - l.setup)
	watch := stopwatch{best: make([]time.Duration, (len(l.kind)-l.setup+slice-1)/slice)}
	var timeC time.Duration
	failures, passes := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		failures += watch.pass(replay, refs, l)
		passes++
		if c != nil {
			b.StopTimer()
			timeC = c.pass(b)
			b.StartTimer()
		}
	}
	took := watch.sum()
	b.ReportMetric(float64(took.Nanoseconds())/ops, "ns/op")
	if failures > 0 {
		b.ReportMetric(float64(failures)/float64(passes), "failures")
	}
	if used := h.Usage().UsedBlocks; used > 0 && l.live > 0 {
		took := float64(heapBytes() - before - 4*uint64(len(refs)))
		b.ReportMetric(took/float64(used), "B/live")
		b.ReportMetric(took/float64(used+h.Usage().FreeBlocks), "B/block")
		runtime.KeepAlive(refs) // they are subtracted, so they must be there
	}
	if c != nil {
		ratio := float64(timeC) / float64(took)
		b.ReportMetric(float64(timeC.Nanoseconds())/ops, "glibc-ns/op")
		b.ReportMetric(ratio, "ratio")
		if native, err := nativeRatio(s.String(), l.name); err != nil {
			b.Fatal(err)
		} else if native > 0 {
			b.ReportMetric(ratio/native, "vs_original")
		}
	}
	runtime.KeepAlive(h)
}

// slice is the number of operations that are timed together: long against the
// clock's own cost, short against the turns of other processes. The C loop has
// the same.
const slice = 1024

// stopwatch keeps the fastest time of each slice of a pass.
type stopwatch struct{ best []time.Duration }

func (w *stopwatch) pass(replay driver, refs []heapmodel.Ref, l *loop) (failures int) {
	last := time.Now()
	for i := range w.best {
		from := l.setup + i*slice
		failures += replay(refs, from, min(from+slice, len(l.kind)))
		now := time.Now()
		if took := now.Sub(last); w.best[i] == 0 || took < w.best[i] {
			w.best[i] = took
		}
		last = now
	}
	return failures
}

func (w *stopwatch) sum() (total time.Duration) {
	for _, t := range w.best {
		total += t
	}
	return total
}

// heapBytes returns the bytes of live Go objects.
func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// throughput returns the speeds of the originals, in million operations a
// second, by spec and trace.
var throughput = sync.OnceValues(func() (map[[2]string]float64, error) {
	rows, err := shippedRows("throughput.tsv", 3)
	if err != nil {
		return nil, err
	}
	out := make(map[[2]string]float64, len(rows))
	for _, r := range rows {
		if out[[2]string{r[0], r[1]}], err = strconv.ParseFloat(r[2], 64); err != nil {
			return nil, fmt.Errorf("throughput.tsv: %v: %w", r, err)
		}
	}
	return out, nil
})

// nativeRatio returns the speed of the original as a multiple of glibc's on
// the trace, zero if it was not timed.
func nativeRatio(spec, trace string) (float64, error) {
	speeds, err := throughput()
	if err != nil {
		return 0, err
	}
	base := speeds[[2]string{yardstick, trace}]
	if base == 0 {
		return 0, nil
	}
	return speeds[[2]string{spec, trace}] / base, nil
}

// timedSpecs returns the specs of the model whose originals were timed.
func timedSpecs(model string) ([]string, error) {
	speeds, err := throughput()
	if err != nil {
		return nil, err
	}
	var out []string
	for key := range speeds {
		if name, _, _ := strings.Cut(key[0], ":"); name == model && key[1] == "long" {
			out = append(out, key[0])
		}
	}
	slices.Sort(out)
	return out, nil
}

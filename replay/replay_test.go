package replay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
)

func parse(t testing.TB, texts ...string) []*heapmodel.Spec {
	t.Helper()
	specs := make([]*heapmodel.Spec, len(texts))
	for i, text := range texts {
		s, err := heapmodel.ParseSpec(catalog.Models, text)
		if err != nil {
			t.Fatal(err)
		}
		specs[i] = s
	}
	return specs
}

// load reads a trace in the text form.
func load(t testing.TB, text string) trace.Source {
	t.Helper()
	src, err := formats.Load("-", strings.NewReader(text), formats.Options{From: "ops"}, 1<<30, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func run(t testing.TB, src trace.Source, o replay.Options, specs ...string) []*replay.Result {
	t.Helper()
	results, err := replay.Run(context.Background(), src, parse(t, specs...), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return results
}

// someTrace returns a trace that fills small heaps and comes to more than two
// blocks.
func someTrace(t testing.TB) trace.Source { return traceOf(t, 100_000) }

func traceOf(t testing.TB, steps int) trace.Source {
	t.Helper()
	var b strings.Builder
	state := uint32(1)
	next := func(n uint32) uint32 {
		state = state*1664525 + 1013904223
		return (state >> 8) % n
	}
	var live []int
	for id := range steps {
		switch {
		case len(live) > 0 && next(100) < 48:
			i := next(uint32(len(live)))
			writeOp(&b, 'f', live[i])
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
		case len(live) > 0 && next(100) < 10:
			writeOp(&b, 'r', live[next(uint32(len(live)))], int(1+next(300)))
		case next(100) < 3:
			writeOp(&b, 'a', id, int(1+next(200)), 1<<next(8))
			live = append(live, id)
		default:
			writeOp(&b, 'a', id, int(1+next(200)))
			live = append(live, id)
		}
		if len(live) > 500 {
			for _, l := range live[250:] {
				writeOp(&b, 'f', l)
			}
			live = live[:250]
		}
	}
	return load(t, b.String())
}

func writeOp(b *strings.Builder, op byte, numbers ...int) {
	b.WriteByte(op)
	for _, n := range numbers {
		b.WriteByte(' ')
		b.WriteString(itoa(n))
	}
	b.WriteByte('\n')
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

var someSpecs = []string{
	"ideal",
	"tlsf:capacity=64KiB,ptr=32",
	"freertos-heap4:capacity=48KiB,ptr=32",
	"freertos-heap4:capacity=16KiB,ptr=32",
}

// TestWorkers holds that results do not depend on the number of workers.
func TestWorkers(t *testing.T) {
	src := someTrace(t)
	o := replay.Options{MapCols: 20, Workers: 1}
	want := run(t, src, o, someSpecs...)
	for _, workers := range []int{2, 3, 8} {
		o.Workers = workers
		got := run(t, src, o, someSpecs...)
		for i := range want {
			got[i].Spec = want[i].Spec
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%s with %d workers differs", someSpecs[i], workers)
			}
		}
	}
}

// cut is a Source that gives another's events in blocks of other sizes.
type cut struct {
	trace.Source
	size int
}

func (c cut) Open() (trace.Reader, error) {
	r, err := c.Source.Open()
	return &cutReader{Reader: r, size: c.size}, err
}

type cutReader struct {
	trace.Reader
	size int
	from trace.Block
	at   int
}

func (c *cutReader) Next(b *trace.Block) error {
	if c.at == c.from.Len() {
		c.at = 0
		if err := c.Reader.Next(&c.from); err != nil {
			return err
		}
	}
	b.Reset(c.from.First + uint64(c.at))
	for ; b.Len() < c.size && c.at < c.from.Len(); c.at++ {
		b.Append(c.from.At(c.at))
	}
	return nil
}

// TestBlockSize holds that results do not depend on how a trace is cut into
// blocks.
func TestBlockSize(t *testing.T) {
	src := someTrace(t)
	o := replay.Options{MapCols: 20}
	want := run(t, src, o, someSpecs...)
	for _, size := range []int{1, 7, 1000} {
		got := run(t, cut{src, size}, o, someSpecs...)
		for i := range want {
			got[i].Spec = want[i].Spec
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%s in blocks of %d differs", someSpecs[i], size)
			}
		}
	}
}

// TestCounts holds a result to counts made by hand.
func TestCounts(t *testing.T) {
	// A heap_4 of 96 bytes serves 88 of them; a block has 8 + up(size, 8) bytes,
	// so objects 0 to 3 take 16 each and object 4 the other 24.
	text := "a 0 8\na 1 8\na 2 8\na 3 8\na 4 16\nf 1\nf 3\na 5 9\nr 0 16\nf 5\nf 4\nf 2\nf 0\n"
	r := run(t, load(t, text), replay.Options{}, "freertos-heap4:capacity=96,ptr=32")[0]
	// Object 5 needs 24 bytes when two blocks of 16 are free, and so does the
	// realloc of object 0. The free of object 5 is passed over.
	if r.Failures != 2 || r.ByVerdict[replay.Fragmented] != 2 || r.FailedAllocs != 1 || r.Skipped != 1 {
		t.Errorf("failures %d (%v), of alloc %d, skipped %d; want 2 fragmented, 1, 1", r.Failures, r.ByVerdict, r.FailedAllocs, r.Skipped)
	}
	want := replay.Failure{Event: 7, Request: 9, Need: 24, Free: 32, LargestFree: 16, FreeBlocks: 2, Verdict: replay.Fragmented}
	if f := r.Failed[0]; f != want {
		t.Errorf("first failure %+v, want %+v", f, want)
	}
	if r.PeakLive != 48 || r.PeakLiveEvent != 4 || r.PeakObjects != 5 || r.Allocs != 5 || r.Frees != 5 || r.Reallocs != 0 {
		t.Errorf("peak %d at %d, %d objects, %d allocs, %d frees, %d reallocs", r.PeakLive, r.PeakLiveEvent, r.PeakObjects, r.Allocs, r.Frees, r.Reallocs)
	}
	// Steps: object 5 visits both free blocks, the realloc too; the others visit
	// one. The free of object 4 merges with object 3's block.
	if r.AllocSteps.Max != 2 || r.AllocSteps.Count != 7 || r.AllocSteps.Sum != 5+2+2 {
		t.Errorf("steps: %d in %d allocs, most %d; want 9, 7, 2", r.AllocSteps.Sum, r.AllocSteps.Count, r.AllocSteps.Max)
	}
	if r.Footprint != 88 || r.LiveBytes != 0 || r.End.Free != 88 || r.End.LargestFree != 88 {
		t.Errorf("footprint %d, live %d, free %d, largest %d at the end; want 88, 0, 88, 88", r.Footprint, r.LiveBytes, r.End.Free, r.End.LargestFree)
	}
}

// TestRegions holds that a gap between regions is no footprint.
func TestRegions(t *testing.T) {
	// Two pools with their control structures elsewhere; the second object only
	// fits into the upper one, 64 bytes of header and payload.
	r := run(t, load(t, "a 0 200\na 1 100\n"), replay.Options{}, "tlsf:regions=256@0+1024@1MiB,ptr=32,control=external")[0]
	if r.Usage.HighWater <= 1<<20 || r.Footprint != 256+(r.Usage.HighWater-1<<20) {
		t.Errorf("footprint %d, high-water mark %d", r.Footprint, r.Usage.HighWater)
	}
}

func TestStop(t *testing.T) {
	text := "a 0 8\na 1 40\na 2 8\nf 0\nf 1\nf 2\n"
	r := run(t, load(t, text), replay.Options{OnFailure: replay.Stop}, "freertos-heap4:capacity=64,ptr=32")[0]
	if !r.Stopped || r.Events != 2 || r.Failures != 1 || r.LiveBytes != 8 || r.End == nil || r.End.Event != 1 {
		t.Errorf("stopped %v after %d events with %d failures, %d live bytes, end %+v", r.Stopped, r.Events, r.Failures, r.LiveBytes, r.End)
	}
}

// TestSamples holds that peaks between samples are seen.
func TestSamples(t *testing.T) {
	src := someTrace(t)
	for _, samples := range []int{1, 10, 5000} {
		r := run(t, src, replay.Options{Samples: samples}, "tlsf:capacity=1MiB,ptr=32")[0]
		var most uint64
		for _, s := range r.Series {
			most = max(most, s.LiveMax)
		}
		if most != r.PeakLive {
			t.Errorf("%d samples: the series peaks at %d, live bytes at %d", samples, most, r.PeakLive)
		}
		if last := r.Series[len(r.Series)-1]; last.Event != r.Events-1 || len(r.Series) > samples+1 {
			t.Errorf("%d samples: %d points, the last at %d of %d events", samples, len(r.Series), last.Event, r.Events)
		}
	}
}

// TestMap holds that the bytes in the map are the bytes in use.
func TestMap(t *testing.T) {
	src := traceOf(t, 3000)
	rapid.Check(t, func(rt *rapid.T) {
		cols, rows := rapid.IntRange(1, 40).Draw(rt, "cols"), rapid.IntRange(1, 300).Draw(rt, "rows")
		results, err := replay.Run(context.Background(), src, parse(t, someSpecs[1:]...), replay.Options{MapCols: cols, MapRows: rows})
		if err != nil {
			rt.Fatal(err)
		}
		for _, r := range results {
			last := r.Map.Cols[len(r.Map.Cols)-1]
			var used float64
			for _, u := range last.Used {
				used += float64(u)
			}
			if last.Event != r.Events-1 || uint64(used) != r.Usage.Allocated || len(r.Map.Cols) != cols {
				rt.Fatalf("%s: %d columns, the last at event %d with %g bytes used; %d events, %d bytes allocated", r.Spec, len(r.Map.Cols), last.Event, used, r.Events, r.Usage.Allocated)
			}
		}
	})
}

// brittle is a heap that breaks at its third allocation.
type brittle struct {
	heapmodel.Heap
	left int
}

func (b *brittle) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if b.left--; b.left < 0 {
		panic("out of luck")
	}
	return b.Heap.Alloc(size, align)
}

func (b *brittle) Blocks() iter.Seq[heapmodel.Block] { return b.Heap.Blocks() }

// TestBrokenModel holds that a model that panics fails alone, by name.
func TestBrokenModel(t *testing.T) {
	good := parse(t, "tlsf:capacity=64KiB")[0]
	model := *good.Model
	model.Name = "brittle"
	inner := model.New
	model.New = func(c heapmodel.Config) (heapmodel.Heap, error) {
		h, err := inner(c)
		return &brittle{h, 2}, err
	}
	bad, err := heapmodel.ParseSpec([]*heapmodel.Model{&model}, "brittle:capacity=64KiB")
	if err != nil {
		t.Fatal(err)
	}
	results, err := replay.Run(context.Background(), someTrace(t), []*heapmodel.Spec{bad, good}, replay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := results[0].Err; err == nil || !strings.Contains(err.Error(), "brittle") || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("broken model: error %v", err)
	}
	if results[1].Err != nil || results[1].Allocs == 0 {
		t.Errorf("the other model: %v after %d allocs", results[1].Err, results[1].Allocs)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := replay.Options{Progress: func(uint64) { cancel() }}
	results, err := replay.Run(ctx, someTrace(t), parse(t, someSpecs...), o)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	for _, r := range results {
		if r.Events != trace.BlockEvents || r.End == nil {
			t.Errorf("%s: %d events", r.Spec, r.Events)
		}
	}
}

// TestAllocations holds that replaying allocates nothing an event.
func TestAllocations(t *testing.T) {
	src := someTrace(t)
	specs := parse(t, "tlsf:capacity=1MiB,ptr=32", "freertos-heap4:capacity=1MiB,ptr=32")
	events := src.Header().Summary.Events
	allocs := testing.AllocsPerRun(3, func() {
		if _, err := replay.Run(context.Background(), src, specs, replay.Options{Samples: 10}); err != nil {
			t.Fatal(err)
		}
	})
	if perEvent := allocs / float64(events); perEvent > 0.01 {
		t.Errorf("%g allocations for %d events", allocs, events)
	}
}

// shared returns the folder of reference data beside the module, or skips.
func shared(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("..", "..", "shared")
	if _, err := os.Stat(filepath.Join(dir, "golden")); err != nil {
		t.Skip("no reference data beside the module")
	}
	return dir
}

func unzip(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPlacements holds the placements of the engine to the golden tables, for
// heaps with and without an aligned entry point.
func TestPlacements(t *testing.T) {
	dir := shared(t)
	for _, c := range []struct{ table, spec string }{
		{"tlsf/64k-m32", "tlsf:capacity=64KiB,ptr=32"},
		{"tlsf/2pool-extctl-m32", "tlsf:regions=24576@0+40960@32768,ptr=32,control=external"},
		{"freertos_heap4/32k-m32", "freertos-heap4:capacity=32KiB,ptr=32"},
	} {
		tables, err := filepath.Glob(filepath.Join(dir, "golden", c.table, "*.gz"))
		if err != nil || len(tables) == 0 {
			t.Fatalf("no tables of %s: %v", c.table, err)
		}
		for _, path := range tables {
			name := strings.TrimSuffix(filepath.Base(path), ".gz")
			t.Run(c.table+"/"+name, func(t *testing.T) {
				src, err := formats.Load(filepath.Join(dir, "ops", "synthetic", name+".ops.gz"), nil, formats.Options{}, 1<<30, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				run(t, src, replay.Options{Placements: &got}, c.spec)
				if want := unzip(t, path); !bytes.Equal(got.Bytes(), want) {
					g, w := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
					for i := range min(len(g), len(w)) {
						if g[i] != w[i] {
							t.Fatalf("op %d: got %s, want %s", i, g[i], w[i])
						}
					}
					t.Fatalf("%d lines, want %d", len(g), len(w))
				}
			})
		}
	}
}

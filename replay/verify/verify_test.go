package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/verify"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
)

func spec(t testing.TB, text string) *heapmodel.Spec {
	t.Helper()
	s, err := heapmodel.ParseSpec(catalog.Models, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t testing.TB, ops string) trace.Source {
	t.Helper()
	src, err := formats.Load("-", strings.NewReader(ops), formats.Options{From: "ops"}, 1<<30, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func hold(t testing.TB, model, ops, table string) (*verify.Report, error) {
	t.Helper()
	r, err := golden.NewReader(strings.NewReader(table), "t")
	if err != nil {
		return nil, err
	}
	return verify.Run(context.Background(), load(t, ops), spec(t, model), r, nil)
}

// answers returns the table that a replay writes.
func answers(t testing.TB, model string, src trace.Source) string {
	t.Helper()
	var out bytes.Buffer
	results, err := replay.Run(context.Background(), src, []*heapmodel.Spec{spec(t, model)}, replay.Options{Placements: &out})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	return out.String()
}

// The small heap of the tests: first fit, no headers, 10 bytes.
const (
	small      = "sequential:capacity=10,header=0,align=1,threshold=1"
	smallOps   = "a 0 5\na 1 1\nf 0\na 2 2\na 3 5\nf 3\nr 2 4\n"
	smallTable = "0\n5\n.\n0\n!\n_\n6\n" // a realloc moves: this heap has none of its own
)

func TestEqual(t *testing.T) {
	r, err := hold(t, small, smallOps, smallTable)
	if err != nil || !r.Agrees() || r.Equal != 7 || r.Events != 7 {
		t.Fatalf("%+v, %v", r, err)
	}
	got := ""
	for _, f := range r.Figures {
		got += fmt.Sprintf("%s %d\n", f.Key, f.Value)
	}
	const want = `ops 7
allocs 4
reallocs 1
frees 2
failures 1
frees_skipped 1
reallocs_as_plain 0
reallocs_in_place 0
peak_live_requested 6
live_at_end_requested 5
highest_used_offset 10
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestFailedObjectComesBack(t *testing.T) {
	// A realloc of an object that has no place is an alloc, and not one in place.
	r, err := hold(t, small, "a 0 9\na 1 5\nf 0\nr 1 3\nf 1\n", "0\n!\n.\n0\n.\n")
	if err != nil || !r.Agrees() {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, f := range r.Figures {
		if want, ok := map[string]uint64{"reallocs_as_plain": 1, "reallocs_in_place": 0, "frees_skipped": 0, "failures": 1}[f.Key]; ok && f.Value != want {
			t.Errorf("%s: %d, want %d", f.Key, f.Value, want)
		}
	}
}

func TestDifference(t *testing.T) {
	// The table says that c goes behind b.
	r, err := hold(t, small, smallOps, "0\n5\n.\n6\n!\n_\n6\n")
	if err != nil {
		t.Fatal(err)
	}
	d := r.Diff
	if r.Agrees() || r.Equal != 3 || d == nil || d.Line != 4 || d.Event != 3 || d.Object != 2 || d.Want != 6 || d.Got != 0 || d.Was != heapmodel.Null {
		t.Fatalf("%+v", d)
	}
	if d.Need != 2 || d.LargestFree != 5 || d.Usage.Free != 9 || d.Check != nil || d.OtherTrace() || d.Ended() {
		t.Errorf("%+v", d)
	}
	if want := "  [0, 5) 5 free\n  [5, 6) 1 used, payload 5\n  [6, 10) 4 free\n"; d.Before != want {
		t.Errorf("before\n%swant\n%s", d.Before, want)
	}
	if want := "  [0, 2) 2 used, payload 0\n  [2, 5) 3 free\n  [5, 6) 1 used, payload 5\n  [6, 10) 4 free\n"; d.After != want {
		t.Errorf("after\n%swant\n%s", d.After, want)
	}
	if got, want := strings.Join(d.Earlier, "; "), "1: a 0 5 -> 0; 2: a 1 1 -> 5; 3: f 0 -> ."; got != want {
		t.Errorf("earlier %s, want %s", got, want)
	}
	if r.Figures != nil {
		t.Errorf("figures of a replay that was not finished: %v", r.Figures)
	}
}

func TestDifferenceAtTheStart(t *testing.T) {
	r, err := hold(t, small, smallOps, "8\n5\n")
	if err != nil {
		t.Fatal(err)
	}
	if d := r.Diff; d == nil || d.Event != 0 || d.Before != "  [0, 10) 10 free\n" || d.Need != 5 || len(d.Earlier) != 0 {
		t.Errorf("%+v", d)
	}
}

func TestDifferenceOfARealloc(t *testing.T) {
	ops := "a 0 2\na 1 2\nf 0\na 2 1\nr 2 2\na 3 1\nf 3\na 4 1\nf 4\na 5 1\nf 5\nr 2 3\n"
	table := strings.Split(strings.TrimSpace(answers(t, small, load(t, ops))), "\n")
	table[11] = "!"
	r, err := hold(t, small, ops, "# by hand\n"+strings.Join(table, "\n")+"\n")
	if err != nil {
		t.Fatal(err)
	}
	d := r.Diff
	// The comment is a line of the table, and no operation.
	if d == nil || d.Event != 11 || d.Line != 13 || d.Object != 2 || d.Was != 4 || d.Got != 6 || d.Want != golden.Null {
		t.Fatalf("%+v", d)
	}
	// Those on the object, not those on the one before in its slot, and the last four.
	got := strings.Join(d.Earlier, "; ")
	if want := "4: a 2 1 -> 0; 5: r 2 2 -> 4; 8: a 4 1 -> 0; 9: f 4 -> .; 10: a 5 1 -> 0; 11: f 5 -> ."; got != want {
		t.Errorf("earlier %s\nwant %s", got, want)
	}
}

func TestLengths(t *testing.T) {
	r, err := hold(t, small, smallOps, strings.TrimSuffix(smallTable, "6\n"))
	if err != nil || r.Agrees() || r.Equal != 6 || !r.Diff.Ended() || r.Diff.OtherTrace() {
		t.Errorf("short table: %+v, %v", r, err)
	}
	r, err = hold(t, small, smallOps, "")
	if err != nil || r.Agrees() || r.Equal != 0 || !r.Diff.Ended() {
		t.Errorf("empty table: %+v, %v", r, err)
	}
	r, err = hold(t, small, smallOps, smallTable+".\n.\n")
	if err != nil || r.Agrees() || r.Equal != 7 || r.Extra != 2 || r.Diff != nil {
		t.Errorf("long table: %+v, %v", r, err)
	}
}

func TestOtherTrace(t *testing.T) {
	r, err := hold(t, small, smallOps, "0\n.\n")
	if err != nil || r.Diff == nil || !r.Diff.OtherTrace() {
		t.Errorf("an alloc answered as a free: %+v, %v", r, err)
	}
	r, err = hold(t, small, smallOps, "0\n5\n!\n")
	if err != nil || r.Diff == nil || !r.Diff.OtherTrace() {
		t.Errorf("a free answered as an alloc: %+v, %v", r, err)
	}
}

func TestCorruptTable(t *testing.T) {
	for _, c := range []struct{ name, table, want string }{
		{"in the middle", "0\n5\nx\n", `t:3: "x": want an address`},
		{"behind the last operation", smallTable + "y\n", `t:8: "y": want an address`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := hold(t, small, smallOps, c.table); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// broken panics at its third allocation.
type broken struct {
	heapmodel.Heap
	allocs int
}

func (b *broken) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if b.allocs++; b.allocs == 3 {
		panic("lost a block")
	}
	return b.Heap.Alloc(size, align)
}

func TestBrokenModel(t *testing.T) {
	m := *spec(t, small).Model
	m.Name = "broken"
	inner := m.New
	m.New = func(c heapmodel.Config) (heapmodel.Heap, error) {
		h, err := inner(c)
		return &broken{Heap: h}, err
	}
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{&m}, "broken:capacity=10,header=0,align=1,threshold=1")
	if err != nil {
		t.Fatal(err)
	}
	table, err := golden.NewReader(strings.NewReader(smallTable), "t")
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify.Run(context.Background(), load(t, smallOps), s, table, nil)
	if err == nil || !strings.Contains(err.Error(), "after 3 equal operations") || !strings.Contains(err.Error(), "lost a block") {
		t.Errorf("got %v", err)
	}
}

// TestFinds changes one answer of a table that a replay wrote and looks
// whether just that one is found, on heaps of several kinds.
func TestFinds(t *testing.T) {
	models := []string{
		small, "sequential:capacity=40,header=0,align=1,fit=best", "tlsf:capacity=8KiB,ptr=32", "freertos-heap4:capacity=300,ptr=32",
		"dlmalloc:capacity=4KiB", "freertos-heap1:capacity=200,ptr=32", "ideal",
	}
	rapid.Check(t, func(rt *rapid.T) {
		model := rapid.SampledFrom(models).Draw(rt, "model")
		src := load(t, randomOps(rt))
		lines := strings.Split(strings.TrimSuffix(answers(t, model, src), "\n"), "\n")
		at := rapid.IntRange(-1, len(lines)-1).Draw(rt, "at")
		changed := ""
		if at >= 0 {
			changed = rapid.SampledFrom([]string{"!", ".", "_", "7", "12345"}).Filter(func(x string) bool { return x != lines[at] }).Draw(rt, "changed")
			lines[at] = changed
		}
		table, err := golden.NewReader(strings.NewReader(strings.Join(lines, "\n")+"\n"), "t")
		if err != nil {
			rt.Fatal(err)
		}
		r, err := verify.Run(context.Background(), src, spec(t, model), table, nil)
		switch {
		case err != nil:
			rt.Fatal(err)
		case at < 0 && (!r.Agrees() || r.Equal != uint64(len(lines))):
			rt.Fatalf("%+v", r)
		case at >= 0 && (r.Diff == nil || r.Diff.Event != uint64(at) || r.Equal != uint64(at) || r.Diff.Want.String() != changed || r.Diff.Check != nil):
			rt.Fatalf("changed line %d to %s: %+v", at+1, changed, r)
		}
	})
}

// randomOps returns a short trace of small objects.
func randomOps(rt *rapid.T) string {
	var b strings.Builder
	var live []int
	ids := 0
	for range rapid.IntRange(1, 60).Draw(rt, "events") {
		kind := rapid.IntRange(0, 5).Draw(rt, "kind")
		if len(live) == 0 || kind < 3 {
			fmt.Fprintf(&b, "a %d %d\n", ids, rapid.IntRange(1, 12).Draw(rt, "size"))
			live = append(live, ids)
			ids++
			continue
		}
		i := rapid.IntRange(0, len(live)-1).Draw(rt, "which")
		if kind == 3 {
			fmt.Fprintf(&b, "r %d %d\n", live[i], rapid.IntRange(1, 12).Draw(rt, "size"))
			continue
		}
		fmt.Fprintf(&b, "f %d\n", live[i])
		live = append(live[:i], live[i+1:]...)
	}
	return b.String()
}

// pingPong is a trace of one object that comes and goes, made as it is read.
type pingPong struct{ header trace.Header }

func newPingPong(blocks uint64) *pingPong {
	p := &pingPong{}
	p.header.Complete = true
	p.header.Summary = trace.Summary{Events: blocks * trace.BlockEvents, Slots: 1, Largest: 8, PeakLiveBytes: 8}
	return p
}

func (p *pingPong) Header() *trace.Header       { return &p.header }
func (p *pingPong) Open() (trace.Reader, error) { return &pingPongReader{p: p}, nil }

type pingPongReader struct {
	p    *pingPong
	next uint64
}

func (r *pingPongReader) Header() *trace.Header { return &r.p.header }
func (r *pingPongReader) Close() error          { return nil }

func (r *pingPongReader) Next(b *trace.Block) error {
	b.Reset(r.next)
	if r.next == r.p.header.Summary.Events {
		return io.EOF
	}
	b.Grow(trace.BlockEvents)
	for range trace.BlockEvents / 2 {
		b.Append(trace.Event{Op: trace.OpAlloc, Size: 8})
		b.Append(trace.Event{Op: trace.OpFree})
	}
	r.next += trace.BlockEvents
	return nil
}

// endless repeats a text.
type endless struct {
	text string
	at   int
	left int // bytes; 0 is the end
}

func (e *endless) Read(p []byte) (n int, err error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	for n < len(p) && e.left > 0 {
		c := copy(p[n:], e.text[e.at:])
		c = min(c, e.left)
		n, e.at, e.left = n+c, (e.at+c)%len(e.text), e.left-c
	}
	return n, nil
}

func TestHoldsLittle(t *testing.T) {
	memory := func(blocks uint64) uint64 {
		src := newPingPong(blocks)
		table, err := golden.NewReader(&endless{text: "0\n.\n", left: int(src.header.Summary.Events) * 2}, "t")
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := verify.Run(context.Background(), src, spec(t, small), table, nil)
		runtime.ReadMemStats(&after)
		if err != nil || !r.Agrees() || r.Equal != src.header.Summary.Events {
			t.Fatalf("%+v, %v", r, err)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	few, many := memory(2), memory(12)
	if many > few+few/4 {
		t.Errorf("%d B allocated for %d events, %d B for six times as many", few, 2*trace.BlockEvents, many)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	src := newPingPong(1000)
	table, err := golden.NewReader(&endless{text: "0\n.\n", left: 1 << 30}, "t")
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify.Run(ctx, src, spec(t, small), table, func(events uint64) {
		if events > 2*trace.BlockEvents {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("while replaying: %v", err)
	}
	table, err = golden.NewReader(&endless{text: "0\n.\n", left: 1 << 40}, "t")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	_, err = verify.Run(ctx, newPingPong(1), spec(t, small), table, func(uint64) { go cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("while counting what is left of the table: %v", err)
	}
}

func TestReadSummary(t *testing.T) {
	const (
		js  = `{"allocator": "x", "traces": {"mixed": {"ops": 8, "final_free_bytes": 40, "min_ever_free_bytes": null}}}`
		tab = "set\tallocator\tconfig\ttrace\tops\tfailed_allocs\tfinal_break\tmax_end_offset\n" +
			"common\tkr\tc1\tlifo\t8\t1\t0\t100\ncommon\tkr\tc1\tmixed\t9\t2\t-1\t200\n"
	)
	for _, c := range []struct{ name, text, table, want string }{
		{"json", js, "golden/x/c/mixed.gz", "[{final_free_bytes 40} {ops 8}]"},
		{"json, another ending", js, "mixed.txt", "[{final_free_bytes 40} {ops 8}]"},
		{"json without the table", js, "other.gz", "has no entry for other"},
		{"json cut", js[:20], "mixed.gz", "parse: unexpected EOF"},
		{"json of something else", "{}", "mixed.gz", "has no entry for mixed"},
		{"json with a word", `{"traces": {"mixed": {"ops": "many"}}}`, "mixed.gz", `ops: want a number, not "\"many\""`},
		{"columns", tab, "golden/kr/c1/mixed.gz", "[{ops 9} {failures 2} {highest_used_offset 200}]"},
		{"columns without the table", tab, "golden/kr/c2/mixed.gz", "has no entry for kr/c2/mixed"},
		{"columns without names", "a\tb\n1\t2\n", "golden/kr/c2/mixed.gz", "line 1: no column"},
		{"columns of unequal rows", tab + "x\n", "golden/kr/c3/mixed.gz", "wrong number of fields"},
		{"empty", "", "mixed.gz", "is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := verify.ReadSummary(strings.NewReader(c.text), filepath.FromSlash(c.table))
			got := fmt.Sprint(f)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestMaterial holds models to tables of the real heaps, and their figures to
// the summaries, as the command does. It needs the full test material.
func TestMaterial(t *testing.T) {
	shared := filepath.Join("..", "..", "..", "shared")
	if _, err := os.Stat(filepath.Join(shared, "golden", "configs.tsv")); err != nil {
		t.Skip("the full test material is not here")
	}
	for _, c := range []struct{ model, table, summary string }{
		{"tlsf:capacity=64KiB,ptr=32", "tlsf/64k-m32/exhaust.gz", "tlsf/64k-m32/summary.json"},
		{"freertos-heap4:capacity=32KiB,ptr=32", "freertos_heap4/32k-m32/exhaust.gz", "freertos_heap4/32k-m32/summary.json"},
		{"newlib-nano:grow=16MiB,ptr=32", "newlib-nano/grow16M-32/exhaust.gz", "golden-summary.tsv"},
	} {
		t.Run(c.table, func(t *testing.T) {
			path := filepath.Join(shared, "golden", filepath.FromSlash(c.table))
			src, err := formats.Load(filepath.Join(shared, "ops", "synthetic", "exhaust.ops.gz"), nil, formats.Options{}, 1<<30, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			table, err := golden.NewReader(f, c.table)
			if err != nil {
				t.Fatal(err)
			}
			r, err := verify.Run(context.Background(), src, spec(t, c.model), table, nil)
			if err != nil || !r.Agrees() || r.Equal != src.Header().Summary.Events {
				t.Fatalf("%+v, %v", r, err)
			}
			s, err := os.Open(filepath.Join(shared, "golden", filepath.FromSlash(c.summary)))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			want, err := verify.ReadSummary(s, path)
			if err != nil {
				t.Fatal(err)
			}
			compared := 0
			for _, w := range want {
				for _, g := range r.Figures {
					if g.Key == w.Key {
						compared++
						if g != w {
							t.Errorf("%s: %d, want %d", g.Key, g.Value, w.Value)
						}
					}
				}
			}
			if compared != len(want) || compared < 4 {
				t.Errorf("%d of %d figures compared: %v with %v", compared, len(want), want, r.Figures)
			}
		})
	}
}

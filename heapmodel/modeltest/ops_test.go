package modeltest

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

func TestParseOps(t *testing.T) {
	text := "# a comment\na 0 5\n\na 1 16 64\nr 0 9\nf 0\nf 1\n"
	tr, err := ParseOps("x", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := "a 0 5\na 1 16 64\nr 0 9\nf 0\nf 1\n"; tr.String() != want || tr.Objects != 2 {
		t.Errorf("got %d objects and\n%swant 2 and\n%s", tr.Objects, tr, want)
	}
}

func TestParseOpsErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown operation", "a 0 5\nx 1 2\n", `x:2: "x 1 2": want a, r or f`},
		{"long word", "alloc 0 5\n", `x:1: "alloc 0 5": want "a ID SIZE [ALIGN]"`},
		{"no size", "a 0\n", `want "a ID SIZE [ALIGN]"`},
		{"size of a free", "a 0 5\nf 0 5\n", `x:2:`},
		{"align of a realloc", "a 0 5\nr 0 5 8\n", `x:2:`},
		{"bad ID", "a -1 5\n", "ID: "},
		{"bad size", "a 0 1e3\n", "size: "},
		{"size too large", "a 0 4611686018427387905\n", "size: at most 4611686018427387904"},
		{"align 0", "a 0 5 0\n", "align: want a power of two"},
		{"align 3", "a 0 5 3\n", "align: want a power of two"},
		{"ID left out", "a 1 5\n", "the next new ID is 0"},
		{"ID twice", "a 0 5\na 0 5\n", "the next new ID is 1"},
		{"free of nothing", "f 0\n", "no such object"},
		{"free twice", "a 0 5\nf 0\nf 0\n", "x:3: \"f 0\": the object was freed before"},
		{"realloc after free", "a 0 5\nf 0\nr 0 3\n", "the object was freed before"},
		{"long line", "a 0 5\n" + strings.Repeat("1", 1<<17), "after 1 operations"},
		{"bad gzip", "\x1f\x8bnot", "x: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseOps("x", strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// Whatever is read without an error is written as it was read.
func FuzzParseOps(f *testing.F) {
	f.Add("a 0 5\na 1 16 64\nr 0 9\nf 0\n")
	f.Add("# c\n\na 0 0\nf 0")
	f.Add("\x1f\x8b\b\x00\x00")
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := ParseOps("fuzz", strings.NewReader(text))
		if err != nil {
			return
		}
		again, err := ParseOps("again", strings.NewReader(tr.String()))
		if err != nil {
			t.Fatal(err)
		}
		if again.String() != tr.String() || again.Objects != tr.Objects {
			t.Errorf("%q becomes %q", tr, again)
		}
	})
}

func TestAnswers(t *testing.T) {
	h, err := newToy(128, "")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := ParseOps("x", strings.NewReader(`a 0 8
a 1 1000
f 1
a 2 1000 64
r 2 8
r 0 2000
a 3 16 32
r 3 5
f 0
f 2
f 3
`))
	if err != nil {
		t.Fatal(err)
	}
	// Object 2 is placed by its realloc, without the align. That of object 3
	// stays, since its own realloc finds it live.
	const want = "16\n!\n_\n!\n32\n!\n64\n96\n.\n.\n.\n"
	if got := string(Answers(h, tr)); got != want {
		t.Errorf("answers %q, want %q", got, want)
	}
}

func TestCompareShowsTheLine(t *testing.T) {
	tr, err := ParseOps("x", strings.NewReader("a 0 8\na 1 8\nf 0\na 2 24\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, table string
		want        []string
	}{
		{"equal", "16\n32\n.\n48\n", nil},
		{"address", "16\n32\n.\n16\n", []string{"line 4: a 2 24\n got 48\nwant 16\n", "earlier operations: 1: a 0 8; 2: a 1 8; 3: f 0", "blocks before:", "[24, 40) 16 used, payload 32", "[40, 72) 32 used, payload 48", "counters {Arena:8192"}},
		{"short table", "16\n32\n", []string{"line 3: f 0\n got .\nwant nothing: the table ends"}},
		{"long table", "16\n32\n.\n48\n56\n", []string{"the table has 5 lines, the trace 4 operations"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Compare(toySpec(""), tr, []byte(c.table))
			if (err == nil) != (c.want == nil) {
				t.Fatalf("error %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error\n%v\nwant it to contain %q", err, want)
				}
			}
		})
	}
	if err := Compare(toySpec("panic"), &Trace{Ops: make([]Op, 9), Objects: 1}, nil); err == nil {
		t.Error("a model that panics passes")
	}
}

func TestMakeTrace(t *testing.T) {
	steps := []step{
		{kind: Free, size: 3},
		{kind: nothing},
		{kind: Alloc, size: 8, align: 16},
		{kind: Realloc, size: 5, object: 5},
		{kind: Free, object: 2},
		{kind: Free},
		{kind: Realloc, size: 7},
	}
	tr := makeTrace("x", steps)
	freeAll(tr)
	const want = "a 0 3\na 1 8 16\nr 1 5\nf 0\nf 1\na 2 7\nf 2\n"
	if tr.String() != want {
		t.Errorf("got\n%swant\n%s", tr, want)
	}
	if _, err := ParseOps("x", strings.NewReader(tr.String())); err != nil {
		t.Error(err)
	}
}

func TestLoopOf(t *testing.T) {
	tr, err := ParseOps("x", strings.NewReader("a 0 8\na 1 9\nf 0\na 2 10\nr 1 11\nf 1\nf 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := loopOf(tr)
	if err != nil {
		t.Fatal(err)
	}
	if l.slots != 2 || l.live != 0 || l.setup != 0 {
		t.Errorf("%d slots, %d live, set-up %d; want 2, 0, 0", l.slots, l.live, l.setup)
	}
	if got, want := l.slot, []uint32{0, 1, 0, 0, 1, 1, 0}; len(got) != len(want) || got[3] != 0 || got[4] != 1 {
		t.Errorf("slots %v, want %v", got, want)
	}
	h, err := newToy(4096, "")
	if err != nil {
		t.Fatal(err)
	}
	if failures := l.replay(h, make([]heapmodel.Ref, l.slots), 0, len(l.kind)); failures != 0 || h.use.UsedBlocks != 0 {
		t.Errorf("%d failures, %d blocks left; want 0, 0", failures, h.use.UsedBlocks)
	}
	for _, text := range []string{"a 0 8\n", "a 0 8 16\nf 0\n", "a 0 5000000000\nf 0\n"} {
		tr, err := ParseOps("x", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := loopOf(tr); err == nil {
			t.Errorf("%q makes a loop", text)
		}
	}
}

func TestSteadyLoopStaysLive(t *testing.T) {
	l := steadyLoop(1000, 5000)
	h, err := newToy(1<<21, "")
	if err != nil {
		t.Fatal(err)
	}
	refs := make([]heapmodel.Ref, l.slots)
	failures := l.replay(h, refs, 0, l.setup)
	for range 2 {
		failures += l.replay(h, refs, l.setup, len(l.kind))
		if failures != 0 || h.use.UsedBlocks != 1000 {
			t.Errorf("%d failures, %d blocks; want 0, 1000", failures, h.use.UsedBlocks)
		}
	}
}

func TestWithRoom(t *testing.T) {
	m := &heapmodel.Model{Name: "m", Caps: heapmodel.CapGrow, New: func(c heapmodel.Config) (heapmodel.Heap, error) { return newToy(4096, "") }}
	capacity := heapmodel.Param{Key: "capacity", Kind: heapmodel.ParamBytes}
	grow := heapmodel.Param{Key: "grow", Kind: heapmodel.ParamBytes}
	regions := heapmodel.Param{Key: "regions", Kind: heapmodel.ParamRegions}
	ptr := heapmodel.Param{Key: "ptr", Kind: heapmodel.ParamInt, Default: "32"}
	for _, c := range []struct {
		params     []heapmodel.Param
		spec, want string
	}{
		{[]heapmodel.Param{capacity, grow, regions, ptr}, "m:capacity=64KiB,ptr=64", "m:capacity=1MiB,ptr=64"},
		{[]heapmodel.Param{capacity, grow, regions, ptr}, "m:regions=64KiB@0", "m:capacity=1MiB"},
		{[]heapmodel.Param{capacity, grow, regions, ptr}, "m:grow=64KiB", "m:grow=1MiB"},
		{[]heapmodel.Param{grow, ptr}, "m:ptr=64", "m:grow=1MiB,ptr=64"},
		{[]heapmodel.Param{regions, ptr}, "m:regions=64KiB@0+9KiB@128KiB,ptr=64", "m:regions=1MiB@0,ptr=64"},
	} {
		m.Params = c.params
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{m}, c.spec)
		if err != nil {
			t.Fatal(err)
		}
		sized, err := withRoom(s, steadyLoop(1000, 10))
		if err != nil {
			t.Fatal(err)
		}
		if sized.String() != c.want {
			t.Errorf("%s with room is %s, want %s", c.spec, sized, c.want)
		}
	}
}

func TestNativeRatio(t *testing.T) {
	tlsf, glibc := 19.01, 49.312 // million operations a second
	for _, c := range []struct {
		spec, trace string
		want        float64
	}{
		{"tlsf:capacity=64KiB,ptr=32", "long", tlsf / glibc},
		{"tlsf:capacity=64KiB,ptr=32", "mixed", 0},
		{"tlsf:capacity=1KiB", "long", 0},
		{"tlsf:capacity=64KiB,ptr=32", "live20k", 0},
	} {
		got, err := nativeRatio(c.spec, c.trace)
		if err != nil || got != c.want {
			t.Errorf("%s %s: %v, %v; want %v", c.spec, c.trace, got, err, c.want)
		}
	}
}

func TestMinheapRows(t *testing.T) {
	rows, err := minheapRows()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 110 {
		t.Errorf("%d rows, want 110", len(rows))
	}
	for _, r := range rows {
		if minheapSpecs[r.heap] == "" {
			t.Errorf("no spec for %s", r.heap)
		}
	}
	m := minheapRow{step: 8, least: 80, from: 40, to: 200, fails: [][2]uint64{{96, 112}, {160, 160}}}
	for size, want := range map[uint64]bool{72: false, 80: true, 88: true, 96: false, 104: false, 112: false, 120: true, 160: false, 168: true} {
		if m.passes(size) != want {
			t.Errorf("size %d: passes is %t", size, !want)
		}
	}
}

package perturb_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/trace"
)

// drawTrace makes a random trace of several threads.
func drawTrace(t *rapid.T) trace.Source {
	var pool trace.SlotPool
	var b trace.Block
	type object struct {
		slot trace.Slot
		size uint64
	}
	var live []object
	threads := rapid.IntRange(1, 3).Draw(t, "threads")
	for i := range rapid.IntRange(1, 200).Draw(t, "events") {
		e := trace.Event{Time: int64(i) * 10, Thread: uint32(rapid.IntRange(0, threads-1).Draw(t, "thread"))}
		switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
		case kind < 3 || len(live) == 0:
			e.Op, e.Slot, e.Size = trace.OpAlloc, pool.Take(), uint64(rapid.IntRange(0, 300).Draw(t, "size"))
			// The size tells objects apart.
			e.Size = e.Size<<16 | uint64(i)
			live = append(live, object{e.Slot, e.Size})
		case kind == 3:
			k := rapid.IntRange(0, len(live)-1).Draw(t, "object")
			live[k].size += 1 << 40
			e.Op, e.Slot, e.Size = trace.OpRealloc, live[k].slot, live[k].size
		default:
			k := rapid.IntRange(0, len(live)-1).Draw(t, "object")
			e.Op, e.Slot = trace.OpFree, live[k].slot
			pool.Give(live[k].slot)
			live = slices.Delete(live, k, k+1)
		}
		b.Append(e)
	}
	return trace.NewMemory(&trace.Header{HasTime: true, HasThread: true}, []*trace.Block{&b})
}

// read returns all events of the trace and holds them to the rules of traces,
// and the header to their count.
func read(t interface{ Fatal(...any) }, src trace.Source) []trace.Event {
	r, err := src.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var v trace.Validator
	var c trace.Counter
	var events []trace.Event
	for {
		var b trace.Block
		if err := r.Next(&b); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := v.Block(&b); err != nil {
			t.Fatal(err)
		}
		c.Block(&b)
		for i := range b.Op {
			events = append(events, b.At(i))
		}
	}
	if src.Header().Summary != c.Summary() {
		t.Fatal("the header's counts are not those of the events")
	}
	return events
}

// histories returns what happens to each object, by the size it is born with,
// which names it in traces of drawTrace.
func histories(events []trace.Event) map[uint64]string {
	name := map[trace.Slot]uint64{}
	out := map[uint64]string{}
	for _, e := range events {
		if e.Op == trace.OpAlloc {
			name[e.Slot] = e.Size
		}
		out[name[e.Slot]] += fmt.Sprint(e.Op, e.Size, e.Thread, " ")
	}
	return out
}

func amounts(start, interleave, jitter, sizes float64) perturb.Options {
	return perturb.Options{Amount: [4]float64{start, interleave, jitter, sizes}, Seed: 7}
}

// TestOrder: interleaving and jitter change nothing but the order, and keep
// that of each object; interleaving alone keeps that of each thread.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawTrace(t)
		before := read(t, src)
		for _, o := range []perturb.Options{amounts(0, 20, 0, 0), amounts(0, 0, 9, 0), amounts(0, 20, 9, 0)} {
			p, err := perturb.Source(src, o, 3, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			after := read(t, p)
			was, is := histories(before), histories(after)
			if fmt.Sprint(was) != fmt.Sprint(is) {
				t.Fatalf("%v: objects had %v, have %v", o, was, is)
			}
			if o.Amount[2] == 0 && fmt.Sprint(byThread(before)) != fmt.Sprint(byThread(after)) {
				t.Fatalf("%v: threads had %v, have %v", o, byThread(before), byThread(after))
			}
		}
	})
}

// byThread returns the sizes that each thread asks for, in order.
func byThread(events []trace.Event) map[uint32][]uint64 {
	out := map[uint32][]uint64{}
	for _, e := range events {
		out[e.Thread] = append(out[e.Thread], e.Size)
	}
	return out
}

// TestStart: a rotated trace has every object of the original, once if it is
// never freed, and at most twice, in halves, if it lives at the start.
func TestStart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawTrace(t)
		p, err := perturb.Source(src, amounts(1, 0, 0, 0), uint64(rapid.IntRange(0, 99).Draw(t, "number")), 0)
		if err != nil {
			t.Fatal(err)
		}
		read(t, p)
		was, is := src.Header().Summary, p.Header().Summary
		if is.Allocs < was.Allocs || is.NeverFreed != was.NeverFreed {
			t.Fatalf("had %d objects, %d never freed; has %d and %d", was.Allocs, was.NeverFreed, is.Allocs, is.NeverFreed)
		}
		if is.Reallocs > was.Reallocs {
			t.Fatalf("had %d reallocs, has %d", was.Reallocs, is.Reallocs)
		}
	})
}

// TestRotate holds a rotation to one by hand. Whatever number is drawn, it is
// one of those that begin at one of the six events.
func TestRotate(t *testing.T) {
	src := trace.NewMemory(&trace.Header{}, []*trace.Block{block("a 0 8", "a 1 50", "f 0", "a 0 9", "r 1 60", "f 1")})
	// Begun at the fourth event: 50 lives, then 9 is born and stays, 50 grows and
	// goes; then come the first three.
	want := "a0:50 a1:9 r0:60 f0 a0:8 a2:50 f0 f2"
	for number := range uint64(200) {
		p, err := perturb.Source(src, amounts(1, 0, 0, 0), number, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range read(t, p) {
			switch e.Op {
			case trace.OpAlloc:
				got += fmt.Sprintf(" a%d:%d", e.Slot, e.Size)
			case trace.OpRealloc:
				got += fmt.Sprintf(" r%d:%d", e.Slot, e.Size)
			default:
				got += fmt.Sprintf(" f%d", e.Slot)
			}
		}
		if got[1:] == want {
			return
		}
	}
	t.Errorf("no rotation of 200 was %s", want)
}

func block(lines ...string) *trace.Block {
	b := &trace.Block{}
	for _, l := range lines {
		var op byte
		var e trace.Event
		fmt.Sscanf(l, "%c %d %d", &op, &e.Slot, &e.Size)
		e.Op = map[byte]trace.Op{'a': trace.OpAlloc, 'r': trace.OpRealloc, 'f': trace.OpFree}[op]
		b.Append(e)
	}
	return b
}

// TestSizes: sizes change by no more than the share, reallocs of an object by
// the same, and zero stays zero.
func TestSizes(t *testing.T) {
	src := trace.NewMemory(&trace.Header{}, []*trace.Block{block("a 0 100000", "r 0 200000", "a 1 0", "a 2 1", "f 0")})
	seen := map[uint64]bool{}
	for number := range uint64(50) {
		p, err := perturb.Source(src, amounts(0, 0, 0, 10), number, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		e := read(t, p)
		if e[0].Size < 90000 || e[0].Size > 110000 || e[1].Size-2*e[0].Size+1 > 2 || e[2].Size != 0 || e[3].Size != 1 {
			t.Fatalf("number %d: sizes %d %d %d %d", number, e[0].Size, e[1].Size, e[2].Size, e[3].Size)
		}
		seen[e[0].Size] = true
	}
	if len(seen) < 40 {
		t.Errorf("50 perturbations gave %d sizes", len(seen))
	}
}

// TestSizeBounds: a site keeps its bounds, and so its size if it has but one;
// the unknown site has none.
func TestSizeBounds(t *testing.T) {
	b := &trace.Block{}
	for i := range 300 {
		size := []uint64{64, 100, 1000}[i%3]
		if i%3 == 1 {
			size += uint64(i % 50)
		}
		b.Append(trace.Event{Op: trace.OpAlloc, Slot: trace.Slot(i), Size: size, Site: trace.SiteID((i%3 + 1) % 3)})
	}
	src := trace.NewMemory(&trace.Header{HasSite: true, Sites: []string{"", "struct", "text"}}, []*trace.Block{b})
	p, err := perturb.Source(src, amounts(0, 0, 0, 20), 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	changed, beyond := 0, 0
	for i, e := range read(t, p) {
		switch e.Site {
		case 1:
			if e.Size != 64 {
				t.Fatalf("event %d: a site that asks for 64 bytes only asks for %d", i, e.Size)
			}
		case 2:
			if e.Size < 100 || e.Size > 149 {
				t.Fatalf("event %d: a site that asks for 100 to 149 bytes asks for %d", i, e.Size)
			}
			if e.Size != b.Size[i] {
				changed++
			}
		default:
			if e.Size > 1000 {
				beyond++
			}
		}
	}
	if changed < 50 || beyond < 20 {
		t.Errorf("%d of 100 sizes changed; %d of 100 of the unknown site are larger than any was", changed, beyond)
	}
}

// TestRepeat: the same options and number give the same trace, in memory or
// not, and another number another.
func TestRepeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawTrace(t)
		o := amounts(1, 20, 5, 3)
		var got []string
		for _, c := range []struct{ number, keep uint64 }{{1, 0}, {1, 1 << 20}, {1, 0}} {
			p, err := perturb.Source(src, o, c.number, c.keep)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(read(t, p)))
		}
		if got[0] != got[1] || got[0] != got[2] {
			t.Fatal("two readings differ")
		}
	})
}

// TestPairs: the old block of a container is freed after the new one is there,
// however events are jittered.
func TestPairs(t *testing.T) {
	b := &trace.Block{}
	for i := range 200 {
		e := block("a 0 100", "a 1 7", "a 2 200", "f 0", "f 1", "f 2")
		for k := range e.Op {
			x := e.At(k)
			x.Size += uint64(i) << 20
			if x.Op == trace.OpFree {
				x.Size = 0
			}
			b.Append(x)
		}
	}
	src := trace.NewMemory(&trace.Header{}, []*trace.Block{b})
	p, err := perturb.Source(src, amounts(0, 0, 6, 0), 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	born, moved := map[uint64]bool{}, false
	name := map[trace.Slot]uint64{}
	for i, e := range read(t, p) {
		if e.Op == trace.OpAlloc {
			name[e.Slot], born[e.Size] = e.Size, true
			moved = moved || e.Size != b.Size[i]
		} else if size := name[e.Slot]; size&0xffff == 100 && !born[size+100] {
			t.Fatalf("event %d frees the old block before the new one is there", i)
		}
	}
	if !moved {
		t.Error("jitter moved nothing")
	}
}

func TestParse(t *testing.T) {
	one := &trace.Header{HasThread: true, HasTime: true, HasSite: true, Summary: trace.Summary{Threads: 1}}
	two := &trace.Header{HasThread: true, HasTime: true, HasSite: true, Summary: trace.Summary{Threads: 2}}
	for _, c := range []struct {
		text string
		h    *trace.Header
		want string // "" for an error
	}{
		{"jitter", one, "jitter=8"},
		{"start=0.5,sizes=3", one, "start=0.5,sizes=3"},
		{"interleave=9", two, "interleave=9"},
		{"interleave", one, ""},
		{"jitter", &trace.Header{}, "jitter=8"}, // asked for
		{"sizes=51", one, ""},
		{"sizes=-1", one, ""},
		{"sizes=NaN", one, ""},
		{"wobble", one, ""},
	} {
		o, err := perturb.Parse(c.text, c.h)
		if (err != nil) != (c.want == "") || err == nil && o.String() != c.want {
			t.Errorf("%s: %q, %v; want %q", c.text, o, err, c.want)
		}
	}
	if o, notes := perturb.Defaults(one); o.Amount[1] != 0 || len(notes) != 1 {
		t.Errorf("defaults for one thread: %v, %v", o, notes)
	}
	if o, notes := perturb.Defaults(two); o.Amount[1] == 0 || len(notes) != 0 {
		t.Errorf("defaults for two threads: %v, %v", o, notes)
	}
	o, notes := perturb.Defaults(&trace.Header{})
	text := strings.Join(notes, "\n")
	for _, want := range []string{"does not name threads", "has no times", "has no call sites"} {
		if !strings.Contains(text, want) {
			t.Errorf("notes on a trace with nothing known, %q, do not say that it %s", text, want)
		}
	}
	if o.Amount[0] == 0 || o.Amount[1] != 0 || o.Amount[2] != 0 || o.Amount[3] == 0 {
		t.Errorf("defaults with nothing known: %v", o)
	}
}

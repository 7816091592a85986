package strategy_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/gen"
	"github.com/fragprof/fragprof/trace/growth"
)

func TestGrowth(t *testing.T) {
	// Doubles by realloc, and by copying; the last step needs half of itself.
	const doubling, copying = "a 0 8 @v\na 1 50 @x\nr 0 16\nr 0 32\nr 0 64\nf 1\nf 0\n", "a 0 8 @v\na 1 16 @v\nf 0\na 0 32 @v\nf 1\na 1 64 @v\nf 0\nf 1\n"
	for _, c := range []struct {
		name, set, trace string
		want             want
		added            uint64
	}{
		{"the same rule", "growth:rule=libstdcxx-vector", doubling, want{events: "a 0 8\na 1 50\nr 0 16\nr 0 32\nr 0 64\nf 1\nf 0"}, 0},
		{"the same rule by copying", "growth:rule=libstdcxx-vector", copying, want{events: "a 0 8\na 1 16\nf 0\na 0 32\nf 1\na 1 64\nf 0\nf 1"}, 0},
		{"the same factor", "growth:factor=2", copying, want{events: "a 0 8\na 1 16\nf 0\na 0 32\nf 1\na 1 64\nf 0\nf 1"}, 0},
		{
			// Elements of 8: 1, 2, then to the 3rd, to the 5th (by 4 and 6), and
			// at last to 5 + 50 % of 3, rounded up: 7 (by 9).
			"by half", "growth:factor=1.5", doubling,
			want{events: "a 0 8\na 1 50\nr 0 16\nr 0 24\nr 0 32\nr 0 48\nr 0 72\nf 1\nf 0", slackPeak: 8},
			0,
		},
		{
			"by half, copying, steps in between", "growth:factor=1.5", copying,
			want{events: "a 0 8\na 1 16\nf 0\na 0 24\nf 1\na 1 32\nf 0\na 0 48\nf 1\na 1 72\nf 0\nf 1", slackPeak: 8},
			2,
		},
		{"nothing is put in after the last step", "growth:factor=1.5,fill=0", doubling, want{events: "a 0 8\na 1 50\nr 0 16\nr 0 24\nr 0 32\nr 0 48\nf 1\nf 0"}, 0},
		{"fewer steps", "growth:rule=rust-vec,fill=100", "a 0 8 @v\nr 0 16\nr 0 32\nr 0 64\n", want{events: "a 0 8\nr 0 16\nr 0 32\nr 0 64"}, 0},
		{
			// 8 is a terminated string of 7: in place, as up to 15.
			"into short strings", "growth:rule=libstdcxx-string", "a 0 8 @v\nr 0 9\nr 0 11\nr 0 17\nr 0 33\nf 0\n",
			want{events: "a 0 31\nr 0 61\nf 0", slackPeak: 61 - 33},
			1, // later
		},
		{"sizes are needs", "growth:factor=2", "a 0 8 @v\nr 0 9\nr 0 11\nr 0 17\nr 0 33\nf 0\n", want{events: "a 0 8\nr 0 16\nr 0 32\nr 0 64\nf 0", slackPeak: 31}, 0},
		{"sizes are needs, by request", "growth:exact,was=exact", doubling, want{events: "a 0 8\na 1 50\nr 0 16\nr 0 32\nr 0 64\nf 1\nf 0"}, 0},
		{"exactly, what doubled", "growth:exact", "a 0 8 @v\nr 0 16\nr 0 32\nf 0\n", want{events: "a 0 8\nr 0 16\nr 0 24\nr 0 32\nf 0"}, 0},
		{"by steps of bytes", "growth:step=24", doubling, want{events: "a 0 24\na 1 50\nr 0 48\nr 0 72\nf 1\nf 0", slackPeak: 16}, 0},
		{"a shrink stays", "growth:factor=2", "a 0 10 @v\nr 0 13\nr 0 17\nr 0 5\nr 0 6\nf 0\n", want{events: "a 0 10\nr 0 20\nr 0 5\nr 0 10\nf 0", slackPeak: 7}, 0},
		{"a realloc to the same size stays", "growth:factor=2", "a 0 10 @v\nr 0 13\nr 0 13\nf 0\n", want{events: "a 0 10\nr 0 20\nr 0 20\nf 0", slackPeak: 7}, 0},
		{"by realloc instead", "growth:factor=2,via=realloc", copying, want{events: "a 0 8\nr 0 16\nr 0 32\nr 0 64\nf 0", copies: 8 + 16 + 32}, 0},
		{"by copying instead", "growth:factor=2,via=copy", "a 0 8 @v\nr 0 16\nr 0 32\nf 0\n", want{events: "a 0 8\na 1 16\nf 0\na 0 32\nf 1\nf 0"}, 2},
		{"only one site", "growth:factor=2,sites=w", "a 0 10 @v\nr 0 13\na 1 10 @w\nr 1 13\nf 1\nf 0\n", want{events: "a 0 10\nr 0 13\na 1 10\nr 1 20\nf 1\nf 0", slackPeak: 7}, 0},
		{"without sites", "growth:factor=2", "a 0 10\nr 0 13\na 1 10\nf 1\nf 0\n", want{events: "a 0 10\nr 0 20\na 1 10\nf 1\nf 0", slackPeak: 7}, 0},
		{"nothing grows", "growth:factor=2", "a 0 10 @v\nf 0\n", want{events: "a 0 10\nf 0"}, 0},
		{"empty objects", "growth:factor=2", "a 0 0 @v\nr 0 10\nr 0 0\nr 0 10\nf 0\n", want{events: "a 0 0\nr 0 10\nr 0 0\nr 0 10\nf 0"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := apply(t, c.set, c.trace)
			check(t, a, c.want)
			if a.Ledger.Added != c.added {
				t.Errorf("%d objects added, want %d", a.Ledger.Added, c.added)
			}
		})
	}
}

// TestGrowthPerturbed: sizes a little different from those that were learned
// are of the same rule still.
func TestGrowthPerturbed(t *testing.T) {
	const recorded = "a 0 100 @v\nr 0 200\nr 0 400\nr 0 800\nr 0 1600\nf 0\n"
	const noisy = "a 0 101 @v\nr 0 199\nr 0 404\nr 0 790\nr 0 1630\nf 0\n"
	a := applyTo(t, "growth:factor=2", recorded, noisy)
	was, is := rows(t, parse(t, noisy)), rows(t, a.Trace)
	if len(was) != len(is) {
		t.Fatalf("%v became %v", at(was, 1), at(is, 1))
	}
	for i := range was {
		if b, a := float64(was[i].Size), float64(is[i].Size); a < 0.93*b || a > 1.07*b {
			t.Errorf("%v became %v", at(was, 1), at(is, 1))
			break
		}
	}
}

// TestGrowthNotes: what a trace lacks and what was guessed is said.
func TestGrowthNotes(t *testing.T) {
	for _, c := range []struct{ set, trace, want string }{
		{"growth:factor=2", "a 0 8\nr 0 16\nf 0\n", "no call sites"},
		{"growth:factor=2", "a 0 8 @v\nf 0\n", "no object of the trace grows"},
		{"growth:factor=2", "a 0 8 @v\nr 0 16\nf 0\n", "1 as libstdcxx-vector"},
		{"growth:factor=2", "a 0 8 @v\nr 0 13\nf 0\n", "by no rule"},
		{"growth:factor=2", "a 0 8 @v\nr 0 16\nr 0 32\nf 0\na 0 64 @v\na 1 72 @v\nf 0\n", "are not one container"},
		{"shrink", "a 0 8 @v\nr 0 13\nf 0\n", "nothing in the sizes shows"},
		{"container", "a 0 8 @v\nr 0 13\nf 0\n", "1 of 1 sites that grow are left alone"},
		{"container:kind=vector,sites=v", "a 0 8 @v\nr 0 13\nf 0\n", "left alone: 1 (v): their objects grow"},
		{"container:kind=vector,sites=v", "a 0 8 @v\na 1 9 @v\n", "left alone: 1 (v): their objects are not equally large"},
		{"container:kind=vector,sites=v", "a 0 8 @v\na 1 8 @v\n", "2 objects of 8 bytes, up to 2 at a time, become elements of 8"},
	} {
		s, err := strategy.Parse(c.set)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Learn(parse(t, c.trace), env)
		if err != nil {
			t.Fatal(err)
		}
		if notes := strings.Join(d.Notes, "\n"); !strings.Contains(notes, c.want) {
			t.Errorf("%s of %q notes\n%s\nwant %q", c.set, c.trace, notes, c.want)
		}
	}
}

func TestGrowthParams(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"growth", "one of"},
		{"growth:factor=2,exact", "one of"},
		{"growth:factor=0.5", "want 1 to 16"},
		{"growth:factor=2x", "want 1 to 16"},
		{"growth:rule=vector", "libstdcxx-vector"},
		{"growth:factor=2,was=vector", "exact, libstdcxx-vector"},
		{"growth:factor=2,fill=101", "0 to 100"},
		{"growth:step=0", "want 1"},
	} {
		if _, err := strategy.Parse(c.set); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.set, err, c.want)
		}
	}
}

// generate makes a synthetic trace.
func generate(t fatal, text string) *gen.Source {
	src, err := gen.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return src
}

type fatal interface {
	Fatalf(string, ...any)
}

// rewrite applies strategies to a trace.
func rewrite(t fatal, set string, src trace.Source) *strategy.Applied {
	s, err := strategy.Parse(set)
	if err != nil {
		t.Fatalf("%v", err)
	}
	d, err := s.Learn(src, env)
	if err != nil {
		t.Fatalf("%s: %v", set, err)
	}
	return d.Recorded()
}

// rows returns the events of a trace, which must be sound.
func rows(t fatal, src trace.Source) []trace.Event {
	r, err := src.Open()
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer r.Close()
	var out []trace.Event
	var v trace.Validator
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatalf("%v", err)
		}
		if err := v.Block(&b); err != nil {
			t.Fatalf("%v", err)
		}
		for i := range b.Op {
			out = append(out, b.At(i))
		}
	}
}

// alone writes containers of a rule, one after the other, each grown to full
// between objects of another site.
func alone(r *growth.Rule, realloc bool) trace.Source {
	var b trace.Block
	var pool trace.SlotPool
	add := func(op trace.Op, slot trace.Slot, size uint64, site trace.SiteID) trace.Slot {
		if op == trace.OpAlloc {
			slot = pool.Take()
		}
		b.Append(trace.Event{Op: op, Slot: slot, Size: size, Site: site})
		if op == trace.OpFree {
			pool.Give(slot)
		}
		return slot
	}
	elems := []uint64{1, 2, 4, 8, 12, 16, 24, 32, 40, 64}
	if r.Text {
		elems = elems[:1]
	}
	for _, elem := range elems {
		for _, length := range []uint64{20, 40, 100, 1000} {
			var slot trace.Slot
			for i, size := range r.Sizes(length, elem, 30) {
				switch {
				case i == 0:
					slot = add(trace.OpAlloc, 0, size, 1)
				case realloc:
					add(trace.OpRealloc, slot, size, 1)
				default:
					larger := add(trace.OpAlloc, 0, size, 1)
					add(trace.OpFree, slot, 0, 1)
					slot = larger
				}
				add(trace.OpAlloc, 0, 5, 2)
			}
			for range 20 {
				add(trace.OpAlloc, 0, 5, 2)
			}
			add(trace.OpFree, slot, 0, 1)
		}
	}
	return trace.NewMemory(&trace.Header{HasSite: true, Sites: []string{"", "container", "other"}}, []*trace.Block{&b})
}

// TestGrowthSame: containers that were filled one by one and are rewritten by
// their own rule do not change, whatever the rule.
func TestGrowthSame(t *testing.T) {
	for _, r := range growth.Rules {
		for _, realloc := range []bool{false, true} {
			src := alone(r, realloc)
			a := rewrite(t, "growth:rule="+r.Name, src)
			if before, after := rows(t, src), rows(t, a.Trace); !slices.Equal(before, after) {
				t.Errorf("%s, by realloc %v: was %v, is %v", r.Name, realloc, at(before, 1), at(after, 1))
			}
			if l := a.Ledger; l.Slack.Peak != 0 || l.Copies != 0 || l.CopiesAvoided != 0 || l.Added != 0 || l.Removed != 0 {
				t.Errorf("%s: nothing changed, and it costs slack %d, copies %d-%d, objects %d-%d", r.Name, l.Slack.Peak, l.Copies, l.CopiesAvoided, l.Added, l.Removed)
			}
		}
	}
}

// TestGrowthCrowded: among many containers and unrelated objects some are taken
// for one that are not, and so change though the rule is the same; few do.
func TestGrowthCrowded(t *testing.T) {
	for _, r := range growth.Rules {
		src := generate(t, "containers,events=10k,threads=2,rules="+r.Name)
		before, after := rows(t, src), rows(t, rewrite(t, "growth:rule="+r.Name, src).Trace)
		type request struct {
			time int64
			size uint64
		}
		asked := map[request]int{}
		changed, total := 0, 0
		for _, e := range before {
			asked[request{e.Time, e.Size}]++
		}
		for _, e := range after {
			if k := (request{e.Time, e.Size}); asked[k] > 0 {
				asked[k]--
			} else {
				changed++
			}
			total++
		}
		if changed*50 > total || len(after) > len(before)+len(before)/50 || len(after) < len(before)-len(before)/50 {
			t.Errorf("%s: %d of %d events are new, %d were", r.Name, changed, total, len(before))
		}
	}
}

// drawGrowing makes a random trace of objects that grow by realloc and by
// pairs, shrink, and die, at a few sites and of some threads.
func drawGrowing(t *rapid.T) trace.Source {
	var b trace.Block
	var pool trace.SlotPool
	type object struct {
		slot   trace.Slot
		size   uint64
		site   trace.SiteID
		thread uint32
	}
	var live []object
	alloc := func(o object) {
		o.slot = pool.Take()
		b.Append(trace.Event{Op: trace.OpAlloc, Slot: o.slot, Size: o.size, Site: o.site, Thread: o.thread})
		live = append(live, o)
	}
	remove := func(i int) {
		b.Append(trace.Event{Op: trace.OpFree, Slot: live[i].slot, Site: live[i].site, Thread: live[i].thread})
		pool.Give(live[i].slot)
		live = slices.Delete(live, i, i+1)
	}
	sizes := rapid.OneOf(rapid.Uint64Range(0, 300), rapid.Just[uint64](1<<45), rapid.Just[uint64](trace.MaxSize/2))
	for range rapid.IntRange(1, 80).Draw(t, "steps") {
		if len(live) == 0 || rapid.IntRange(0, 3).Draw(t, "alloc") == 0 {
			alloc(object{size: sizes.Draw(t, "size"), site: trace.SiteID(rapid.IntRange(0, 3).Draw(t, "site")), thread: uint32(rapid.IntRange(0, 1).Draw(t, "thread"))})
			continue
		}
		i := rapid.IntRange(0, len(live)-1).Draw(t, "object")
		o := live[i]
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			remove(i)
		case 1:
			live[i].size = sizes.Draw(t, "new size")
			b.Append(trace.Event{Op: trace.OpRealloc, Slot: o.slot, Size: live[i].size, Site: o.site, Thread: o.thread})
		case 2:
			live[i].size = min(2*o.size, trace.MaxSize)
			b.Append(trace.Event{Op: trace.OpRealloc, Slot: o.slot, Size: live[i].size, Site: o.site, Thread: o.thread})
		default:
			o.size = min(2*o.size, trace.MaxSize)
			alloc(o)
			remove(i)
		}
	}
	site := rapid.Bool().Draw(t, "sites")
	h := &trace.Header{HasSite: site, HasThread: true, PtrBits: 32, Sites: []string{"", "u", "v", "w"}}
	if !site {
		h.Sites = nil
		for i := range b.Site {
			b.Site[i] = 0
		}
	}
	return trace.NewMemory(h, []*trace.Block{&b})
}

// TestGrowthSound: whatever the trace and the rule, what comes out is a sound
// trace with the same objects at the end; no container holds less than it
// needs, and objects of other sites are as they were.
func TestGrowthSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawGrowing(t)
		way := rapid.SampledFrom([]string{"factor=1.5", "factor=2", "factor=golden", "step=16", "exact", "rule=rust-vec", "rule=libcxx-string", "rule=java-arraylist", "rule=qt-array", "rule=esp8266-string", "rule=go-slice"}).Draw(t, "way")
		via := rapid.SampledFrom([]string{"keep", "realloc", "copy"}).Draw(t, "via")
		was := rapid.SampledFrom([]string{"auto", "exact", "libstdcxx-vector", "v8-array", "arduino-string"}).Draw(t, "was")
		set := fmt.Sprintf("growth:%s,via=%s,was=%s,fill=%d", way, via, was, rapid.IntRange(0, 100).Draw(t, "fill"))
		site := ""
		if src.Header().HasSite && rapid.Bool().Draw(t, "one site") {
			site = "v"
			set += ",sites=v"
		}
		a := rewrite(t, set, src)
		before, after := rows(t, src), rows(t, a.Trace)
		if was == "exact" && site == "" && via != "realloc" && !strings.Contains(way, "string") {
			if b, a := peakLive(before), peakLive(after); a < b {
				t.Fatalf("%s: sizes are needs, of %d bytes at the most, and there are only %d", set, b, a)
			}
		}
		if site != "" {
			if b, a := at(before, 1), at(after, 1); !slices.Equal(b, a) {
				t.Fatalf("%s: another site had %v and has %v", set, b, a)
			}
		}
		if l := a.Ledger; l.Slack.Now > l.Slack.Peak {
			t.Fatalf("%s: slack of %d bytes at the end", set, int64(l.Slack.Now))
		}
		allocs := func(events []trace.Event) (n int) {
			for _, e := range events {
				if e.Op == trace.OpAlloc {
					n++
				}
			}
			return n
		}
		if got, want := allocs(after)-allocs(before), int(a.Ledger.Added)-int(a.Ledger.Removed); got != want {
			t.Fatalf("%s: %d more objects, booked are %d", set, got, want)
		}
	})
}

// peakLive returns the most bytes in objects, of those below 2^40 bytes.
func peakLive(events []trace.Event) (peak uint64) {
	live := map[trace.Slot]uint64{}
	var sum uint64
	for _, e := range events {
		sum -= live[e.Slot]
		delete(live, e.Slot)
		if e.Op != trace.OpFree && e.Size < 1<<40 {
			live[e.Slot] = e.Size
			sum += e.Size
		}
		peak = max(peak, sum)
	}
	return peak
}

// at returns what happens at a site, in short.
func at(events []trace.Event, site trace.SiteID) (out []string) {
	of := map[trace.Slot]trace.SiteID{}
	for _, e := range events {
		if e.Op == trace.OpAlloc {
			of[e.Slot] = e.Site
		}
		if of[e.Slot] == site {
			out = append(out, fmt.Sprintf("%v %d", e.Op, e.Size))
		}
	}
	return out
}

package strategy_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
)

// drawScoped makes a random trace of threads that open and close scopes, each
// freed object by object, with objects between them that know no scope.
func drawScoped(t *rapid.T) trace.Source {
	var b trace.Block
	var pool trace.SlotPool
	type object struct {
		slot   trace.Slot
		site   trace.SiteID
		thread uint32
	}
	var scopes [2][][]object
	var loose []object
	alloc := func(thread uint32, sites []trace.SiteID) object {
		o := object{pool.Take(), rapid.SampledFrom(sites).Draw(t, "site"), thread}
		align := rapid.SampledFrom([]uint32{0, 0, 0, 4, 64}).Draw(t, "align")
		b.Append(trace.Event{Op: trace.OpAlloc, Slot: o.slot, Size: uint64(rapid.IntRange(0, 300).Draw(t, "size")), Align: align, Site: o.site, Thread: thread})
		return o
	}
	free := func(o object, thread uint32) {
		b.Append(trace.Event{Op: trace.OpFree, Slot: o.slot, Thread: thread})
		pool.Give(o.slot)
	}
	leave := func(thread uint32) {
		top := len(scopes[thread]) - 1
		scope := scopes[thread][top]
		scopes[thread] = scopes[thread][:top]
		if rapid.Bool().Draw(t, "last first") {
			slices.Reverse(scope)
		}
		for _, o := range scope {
			free(o, thread)
		}
	}
	for range rapid.IntRange(1, 80).Draw(t, "steps") {
		thread := uint32(rapid.IntRange(0, 1).Draw(t, "thread"))
		mine := &scopes[thread]
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0, 1:
			*mine = append(*mine, nil)
		case 2:
			loose = append(loose, alloc(thread, []trace.SiteID{2, 3}))
		case 3:
			if len(loose) > 0 {
				i := rapid.IntRange(0, len(loose)-1).Draw(t, "loose")
				free(loose[i], thread)
				loose = slices.Delete(loose, i, i+1)
			}
		case 4:
			if len(loose) > 0 {
				o := rapid.SampledFrom(loose).Draw(t, "grows")
				b.Append(trace.Event{Op: trace.OpRealloc, Slot: o.slot, Size: uint64(rapid.IntRange(0, 600).Draw(t, "new size")), Thread: thread})
			}
		case 5:
			if len(*mine) > 0 {
				leave(thread)
			}
		default:
			if len(*mine) > 0 {
				top := len(*mine) - 1
				(*mine)[top] = append((*mine)[top], alloc(thread, []trace.SiteID{1, 2}))
			}
		}
	}
	if rapid.Bool().Draw(t, "ends") {
		for thread := range uint32(2) {
			for len(scopes[thread]) > 0 {
				leave(thread)
			}
		}
		for _, o := range loose {
			free(o, 0)
		}
	}
	h := &trace.Header{HasSite: true, HasThread: true, PtrBits: 32, Sites: []string{"", "u", "v", "w"}}
	if !rapid.Bool().Draw(t, "sites") {
		h.HasSite, h.Sites = false, nil
		for i := range b.Site {
			b.Site[i] = 0
		}
	}
	return trace.NewMemory(h, []*trace.Block{&b})
}

// TestScopesSound: whatever the trace, what stack and scope-arena make of it, and
// of another trace of the same sites, is sound; objects are as many as are
// booked; what is taken is given back; objects of other sites are as they were.
func TestScopesSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src, other := drawScoped(t), drawScoped(t)
		set := rapid.SampledFrom([]string{
			"stack:share=1", "stack:share=60,max=100", "stack:by=object", "stack:events=10",
			"scope-arena:objects=2,share=1", "scope-arena:objects=2,chunk=64,window=1,share=50", "scope-arena:objects=3,chunk=100,by=object",
		}).Draw(t, "set")
		site := ""
		if src.Header().HasSite && other.Header().HasSite && rapid.Bool().Draw(t, "one site") {
			site = "u"
			set += ",sites=u"
		}
		parsed, err := strategy.Parse(set)
		if err != nil {
			t.Fatal(err)
		}
		d, err := parsed.Learn(src, env)
		if err != nil {
			t.Fatal(err)
		}
		applied, err := d.Apply(other)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			src trace.Source
			a   *strategy.Applied
		}{{src, d.Recorded()}, {other, applied}} {
			before, after := rows(t, c.src), rows(t, c.a.Trace)
			if site != "" {
				for _, s := range []trace.SiteID{2, 3} {
					if b, a := at(before, s), at(after, s); !slices.Equal(b, a) {
						t.Fatalf("%s: site %d had %v and has %v", set, s, b, a)
					}
				}
			}
			l := c.a.Ledger
			if got, want := int(c.a.Trace.Header().Summary.Allocs)-int(c.src.Header().Summary.Allocs), int(l.Added)-int(l.Removed); got != want {
				t.Fatalf("%s: %d more objects, booked are %d", set, got, want)
			}
			if l.Slack.Peak > 1<<40 || l.Stack.Peak > 1<<40 || l.StackRoom < l.Stack.Peak {
				t.Fatalf("%s: slack up to %d, stack up to %d, room %d", set, int64(l.Slack.Peak), int64(l.Stack.Peak), l.StackRoom)
			}
			if c.src.Header().Summary.NeverFreed == 0 && (l.Slack.Now != 0 || l.Stack.Now != 0 || c.a.Trace.Header().Summary.NeverFreed != 0) {
				t.Fatalf("%s: all is freed; slack %d, stack %d and %d objects are left", set, l.Slack.Now, l.Stack.Now, c.a.Trace.Header().Summary.NeverFreed)
			}
		}
	})
}

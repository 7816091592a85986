package gen

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/growth"
)

// TestChains holds the chains to the events they name: buffers and frees of one
// call site and, for reallocs, one object, in order, with the sizes of the rule.
func TestChains(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		style := rapid.SampledFrom([]string{"own", "realloc", "copy", "mixed"}).Draw(rt, "style")
		rule := rapid.SampledFrom(append([]string{"all"}, ruleNames()...)).Draw(rt, "rule")
		threads := rapid.SampledFrom([]string{"1", "2", "7"}).Draw(rt, "threads")
		s := parse(t, "containers,events=20k,live=20,max=4KiB,style="+style+",rules="+rule+",threads="+threads)
		checkChains(rt, t, s)
	})
	for _, text := range []string{"containers,events=30k,style=copy,nested=0.5,twins=0.5,queues=9", "reserve-helps,rounds=3", "reserve-helps,rounds=3,rule=libstdcxx-string,reserve=p95", "reserve-neutral,rounds=10", "reserve-harms,steps=3k"} {
		checkChains(t, t, parse(t, text))
	}
}

// fataler is what rapid.T and testing.T have in common.
type fataler interface{ Fatalf(string, ...any) }

func checkChains(f fataler, t *testing.T, s *Source) {
	events, _ := read(t, s)
	chains, err := s.Chains()
	if err != nil {
		f.Fatalf("%s: %v", s, err)
	}
	used := map[uint64]bool{}
	for n, c := range chains {
		if len(c.Buffers) == 0 {
			f.Fatalf("%s: chain %d has no buffer", s, n)
		}
		r, err := growth.Lookup(c.Rule)
		if err != nil {
			f.Fatalf("%v", err)
		}
		var slots []trace.Slot
		for i, at := range c.Buffers {
			e := events[at]
			want := trace.OpAlloc
			if c.Realloc && i > 0 {
				want = trace.OpRealloc
			}
			if used[at] || e.Op != want || e.Site != c.Site || e.Thread != c.Thread {
				f.Fatalf("%s: chain %d (%s): buffer %d is event %d, %+v", s, n, c.Rule, i, at, e)
			}
			used[at] = true
			slots = append(slots, e.Slot)
			if i == 0 {
				continue
			}
			if at <= c.Buffers[i-1] || c.Realloc && e.Slot != slots[0] {
				f.Fatalf("%s: chain %d: buffer %d is event %d in slot %d", s, n, i, at, e.Slot)
			}
			// A request that the rule makes from a capacity below: capacities are
			// recovered from bytes, since elements are at least a byte.
			if before := events[c.Buffers[i-1]].Size; e.Size <= before {
				f.Fatalf("%s: chain %d (%s) goes from %d to %d bytes", s, n, r.Name, before, e.Size)
			}
		}
		least, most := len(c.Buffers)-1, len(c.Buffers)
		if c.Realloc {
			least, most = 0, 1
		}
		// The last old buffer may outlive the trace.
		if len(c.Freed) < least-1 || len(c.Freed) > most {
			f.Fatalf("%s: chain %d has %d frees of %d buffers", s, n, len(c.Freed), len(c.Buffers))
		}
		for i, at := range c.Freed {
			if e := events[at]; used[at] || e.Op != trace.OpFree || e.Slot != slots[i] || at <= c.Buffers[i] {
				f.Fatalf("%s: chain %d: free %d is event %d, %+v", s, n, i, at, e)
			}
			used[at] = true
			if !c.Realloc && i+1 < len(c.Buffers) && at <= c.Buffers[i+1] {
				f.Fatalf("%s: chain %d: buffer %d is freed before the next is made", s, n, i)
			}
		}
	}
}

// TestChainSizes compares whole chains with the requests of their rule: with
// one element added at a time they are the beginning of its sequence.
func TestChainSizes(t *testing.T) {
	s := parse(t, "containers,events=50k,append=1,rules=rust-vec+go-slice+libstdcxx-vector+cpython-list+msvc-vector+folly-fbvector+java-arraylist+qt-array+v8-array")
	events, _ := read(t, s)
	chains, err := s.Chains()
	if err != nil {
		t.Fatal(err)
	}
	long := 0
	for _, c := range chains {
		r, err := growth.Lookup(c.Rule)
		if err != nil {
			t.Fatal(err)
		}
		want := r.Sizes(1<<20, c.Elem, len(c.Buffers))
		for i, at := range c.Buffers {
			if events[at].Size != want[i] {
				t.Fatalf("%s of %d bytes: request %d is of %d bytes, want %d", c.Rule, c.Elem, i, events[at].Size, want[i])
			}
		}
		if len(c.Buffers) >= 4 {
			long++
		}
	}
	if long < 100 {
		t.Errorf("%d chains of four buffers or more", long)
	}
}

// TestChainsHidden wants a trace in which finding chains is no matter of sizes
// alone: many unrelated objects share a site and a size with a container.
func TestChainsHidden(t *testing.T) {
	s := parse(t, "containers,mimics=0.3")
	events, _ := read(t, s)
	chains, err := s.Chains()
	if err != nil {
		t.Fatal(err)
	}
	inChain := map[uint64]bool{}
	sites := map[trace.SiteID]bool{}
	for _, c := range chains {
		sites[c.Site] = true
		for _, at := range c.Buffers {
			inChain[at] = true
		}
	}
	mimics, others := 0, 0
	for i, e := range events {
		if e.Op != trace.OpAlloc || inChain[uint64(i)] {
			continue
		}
		if others++; sites[e.Site] {
			mimics++
		}
	}
	if others < 10_000 || mimics < others/5 {
		t.Errorf("%d unrelated objects, %d at the site of a container", others, mimics)
	}
}

func TestNoChains(t *testing.T) {
	if _, err := parse(t, "iid,events=100").Chains(); !errors.Is(err, ErrNoChains) {
		t.Errorf("chains of iid: %v", err)
	}
}

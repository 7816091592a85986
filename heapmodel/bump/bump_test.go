package bump

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

var models = []*heapmodel.Model{Model, Region}

func TestConformance(t *testing.T) {
	modeltest.Run(t, Model,
		"bump:capacity=64KiB",
		"bump:capacity=64KiB,reclaim=last,realloc=inplace,ptr=64",
		"bump:capacity=8KiB,reclaim=empty,header=4",
		"bump:quantum=4KiB,align=1,realloc=inplace",
		"bump:quantum=100,grow=64KiB,header=3,align=2,reclaim=last",
	)
}

func TestRegionConformance(t *testing.T) {
	modeltest.Run(t, Region,
		"region:capacity=64KiB",
		"region:capacity=64KiB,chunk=512,realloc=inplace,ptr=64",
		"region:capacity=16KiB,chunk=256,control=0,header=4",
		"region:quantum=4KiB,align=1,realloc=inplace",
		"region:quantum=100,grow=64KiB,header=3,align=2,chunk=1000,control=5",
	)
}

func FuzzBump(f *testing.F) {
	modeltest.Inside(nil).Fuzz(f, Model, "bump:quantum=100,align=1,reclaim=last,realloc=inplace,header=3")
}

func FuzzRegion(f *testing.F) {
	modeltest.Inside(nil).Fuzz(f, Region, "region:quantum=100,align=1,chunk=200,control=7,realloc=inplace", "region:capacity=8KiB,chunk=512")
}

func BenchmarkBump(b *testing.B) {
	modeltest.Bench(b, Model, "bump:grow=64KiB,reclaim=empty", "bump:grow=64KiB,reclaim=last")
}

func BenchmarkRegion(b *testing.B) { modeltest.Bench(b, Region, "region:grow=1MiB") }

func heapOf(t *testing.T, text string) heapmodel.Heap {
	t.Helper()
	s, err := heapmodel.ParseSpec(models, text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// do runs operations written as oracle.Text writes them, but a number each: a
// positive one is an alloc of so many bytes, a negative one frees the object of
// that number, the first being 1.
func do(t *testing.T, h heapmodel.Heap, ops ...int) []heapmodel.Ref {
	t.Helper()
	var refs []heapmodel.Ref
	for _, op := range ops {
		if op < 0 {
			h.Free(refs[-op-1])
			continue
		}
		r, ok := h.Alloc(uint64(op), 0)
		if !ok {
			t.Fatalf("%d bytes fail; %s", op, oracle.Layout(h))
		}
		refs = append(refs, r)
	}
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
	return refs
}

func TestReclaim(t *testing.T) {
	for _, c := range []struct {
		name, args string
		ops        []int
		want       string
	}{
		{"none", "none", []int{10, 20, 30, -3, -1}, "0+10 10+20 30+30 60-40"},
		{"none, dead blocks are one", "none", []int{10, 20, 30, -1, -3, -2}, "0+60 60-40"},
		{"last", "last", []int{10, 20, 30, -3}, "0+10 10+20 30-70"},
		{"last, in reverse", "last", []int{10, 20, 30, -3, -2, -1}, "0-100"},
		{"last, dead below", "last", []int{10, 20, 30, -2, -3}, "0+10 10+20 30-70"},
		{"last, dead below stay dead", "last", []int{10, 20, 30, -2, -3, -1}, "0+30 30-70"},
		{"empty, one lives", "empty", []int{10, 20, 30, -3, -1}, "0+10 10+20 30+30 60-40"},
		{"empty", "empty", []int{10, 20, 30, -3, -1, -2}, "0-100"},
		{"empty and again", "empty", []int{10, 20, -1, -2, 15}, "0+15 15-85"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "bump:capacity=100,align=1,reclaim="+c.args)
			do(t, h, c.ops...)
			if got := oracle.Layout(h); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestChunks follows chunks of 100 bytes, 10 of control, through an arena of
// 500: what is not listed is control, or lost.
func TestChunks(t *testing.T) {
	for _, c := range []struct {
		name     string
		ops      []int
		want     string
		overhead uint64
	}{
		{"one chunk", []int{20, 30}, "10+20 30+30 60-40 100-400", 10},
		{"the next chunk", []int{20, 30, 50}, "10+20 30+30 110+50 160-40 200-300", 20 + 40},
		{"the exact rest", []int{20, 30, 40, 1}, "10+20 30+30 60+40 110+1 111-89 200-300", 20},
		{"a large object", []int{20, 91, 30}, "10+20 30+30 60-40 110+91 201-299", 20},
		{"a chunk is dead", []int{20, 30, 50, -1, -2}, "0-100 110+50 160-40 200-300", 10},
		{"a hole is used", []int{20, 30, 50, -1, -2, 80}, "10+80 90-10 110+50 200-300", 20 + 40},
		{"half a chunk is dead", []int{20, 30, 50, -1}, "10+20 30+30 110+50 160-40 200-300", 20 + 40},
		{"the current chunk is dead", []int{20, -1}, "0-500", 0},
		{"a large object is dead", []int{20, 91, 30, -2}, "10+20 30+30 60-40 100-400", 10},
		{"free runs join", []int{60, 60, 60, -1, -3, -2}, "0-500", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "region:capacity=500,align=1,chunk=100,control=10")
			do(t, h, c.ops...)
			if got := oracle.Layout(h); got != c.want || h.Usage().Overhead != c.overhead {
				t.Errorf("got %s and %d overhead, want %s and %d", got, h.Usage().Overhead, c.want, c.overhead)
			}
		})
	}
}

// TestAlignedGap places an aligned object behind one of a byte and frees both.
func TestAlignedGap(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{"bump:capacity=256,align=1,reclaim=last", "0+1 1+73 74-182"},
		{"region:capacity=256,align=1,chunk=128,control=0", "0+1 1+73 74-54 128-128"},
	} {
		h := heapOf(t, c.spec)
		refs := do(t, h, 1)
		r, ok := h.Alloc(10, 64)
		if !ok || h.Addr(r) != 64 {
			t.Fatalf("%s: at %d, %v", c.spec, h.Addr(r), ok)
		}
		if got := oracle.Layout(h); got != c.want {
			t.Errorf("%s: got %s, want %s", c.spec, got, c.want)
		}
		h.Free(r)
		h.Free(refs[0])
		if h.Usage().Allocated != 0 {
			t.Errorf("%s: %s", c.spec, oracle.Layout(h))
		}
	}
}

func TestBadConfigs(t *testing.T) {
	for spec, want := range map[string]string{
		"bump":                                      "needs a capacity",
		"bump:capacity=7":                           "the least that holds a block is 8 bytes",
		"bump:capacity=11,header=4":                 "the least that holds a block is 12 bytes",
		"region:capacity=4095":                      "the least that holds a chunk is 4096 bytes",
		"region:capacity=64KiB,chunk=8":             "chunk=8: the least that holds an object is 16 bytes",
		"region:capacity=64KiB,chunk=2GiB":          "chunk=2GiB: the most is 1GiB",
		"region:capacity=64KiB,control=2GiB":        "control=2GiB: the most is 1GiB",
		"region:capacity=100,control=100,chunk=100": "the least that holds a chunk is 112 bytes",
	} {
		s, err := heapmodel.ParseSpec(models, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

// TestBumpCheckFindsDamage breaks one invariant at a time.
func TestBumpCheckFindsDamage(t *testing.T) {
	for _, c := range []struct {
		name, want string
		damage     func(h *bump, used, dead blocks.ID)
	}{
		{"none", "", func(*bump, blocks.ID, blocks.ID) {}},
		{"bytes", "bytes in use", func(h *bump, _, _ blocks.ID) { h.use.Free += 8; h.use.Allocated -= 8 }},
		{"arena", "arena of", func(h *bump, _, _ blocks.ID) { h.use.Arena++ }},
		{"break", "blocks end at granule", func(h *bump, _, _ blocks.ID) { h.brk += 8 }},
		{"objects", "counters say", func(h *bump, _, _ blocks.ID) { h.live++ }},
		{"two dead", "and the one below are dead", func(h *bump, used, _ blocks.ID) { h.t.Nodes[used].Y = dead }},
		{"flag", "is marked used: false", func(h *bump, used, _ blocks.ID) { h.t.SetFree(used) }},
		{"link", "follows one", func(h *bump, used, _ blocks.ID) { h.t.Nodes[used].Low ^= 1 }},
		{"empty", "no object lives", func(h *bump, used, dead blocks.ID) {
			h.reclaim = reclaimNone
			h.Free(heapmodel.Ref(used))
			h.reclaim = reclaimEmpty
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "bump:capacity=4KiB,reclaim=empty").(*bump)
			refs := do(t, h, 100, 200, -1)
			c.damage(h, blocks.ID(refs[1]), blocks.ID(refs[0]))
			err := h.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestRegionCheckFindsDamage breaks one invariant at a time.
func TestRegionCheckFindsDamage(t *testing.T) {
	for _, c := range []struct {
		name, want string
		damage     func(h *region, used, dead blocks.ID)
	}{
		{"none", "", func(*region, blocks.ID, blocks.ID) {}},
		{"bytes", "counters say", func(h *region, _, _ blocks.ID) { h.use.Free += 8; h.use.Allocated -= 8 }},
		{"arena", "arena of", func(h *region, _, _ blocks.ID) { h.use.Arena++ }},
		{"break", "blocks end at granule", func(h *region, _, _ blocks.ID) { h.brk += 8 }},
		{"objects", "lacks 1 of its objects", func(h *region, _, _ blocks.ID) { h.chunks[0].live++ }},
		{"chunk", "and begins with block", func(h *region, used, _ blocks.ID) { h.chunks[0].first = used }},
		{"two dead", "dead, as the one below", func(h *region, used, dead blocks.ID) { h.t.Nodes[used].Y = h.t.Nodes[dead].Y }},
		{"link", "follows one", func(h *region, used, _ blocks.ID) { h.t.Nodes[used].Low ^= 1 }},
		{"rest", "counters say", func(h *region, _, _ blocks.ID) { h.rest = blocks.None }},
		{"used on the list", "the list and the current chunk have", func(h *region, used, _ blocks.ID) {
			h.t.Nodes[used].X = 0
			h.free.Insert(used, h.t.Nodes[used].Start, h.t.Size(used))
		}},
		{"record", "records", func(h *region, _, _ blocks.ID) { h.chunks = append(h.chunks, chunk{}) }},
		{"run", "is not in its place", func(h *region, _, _ blocks.ID) { h.unlink(h.t.Prev(h.end)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heapOf(t, "region:capacity=4KiB,chunk=1KiB").(*region)
			refs := do(t, h, 100, 200, -1)
			c.damage(h, blocks.ID(refs[1]), blocks.ID(refs[0]))
			err := h.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

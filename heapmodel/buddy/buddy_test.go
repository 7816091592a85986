package buddy

import (
	"math"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/rustbuddy"
)

var models = []*heapmodel.Model{Binary, Fibonacci, Weighted, Double}

func FuzzBinary(f *testing.F)    { modeltest.Fuzz(f, Binary) }
func FuzzFibonacci(f *testing.F) { modeltest.Fuzz(f, Fibonacci) }
func FuzzWeighted(f *testing.F)  { modeltest.Fuzz(f, Weighted) }
func FuzzDouble(f *testing.F)    { modeltest.Fuzz(f, Double) }

func TestConformance(t *testing.T) {
	for _, m := range models {
		t.Run(m.Name, func(t *testing.T) {
			specs := []string{
				":capacity=64KiB",
				":capacity=8KiB,order=address,ptr=64",
				":capacity=5000,order=fifo,header=0,align=1,realloc=inplace",
				":quantum=4KiB,order=address,min=16",
				":quantum=100,header=3,align=2,grow=100000",
				":capacity=2KiB,grow=64KiB,realloc=inplace",
			}
			if m == Double {
				specs = append(specs, ":capacity=32777,spill=true", ":quantum=1KiB,spill=true,order=fifo")
			}
			for i := range specs {
				specs[i] = m.Name + specs[i]
			}
			modeltest.Run(t, m, specs...)
		})
	}
}

func BenchmarkHeap(b *testing.B) {
	for _, m := range models {
		modeltest.Bench(b, m, m.Name+":capacity=64KiB", m.Name+":capacity=64KiB,order=address")
	}
}

func parse(t *testing.T, models []*heapmodel.Model, spec string) *heapmodel.Spec {
	t.Helper()
	s, err := heapmodel.ParseSpec(models, spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, spec string) *heap {
	t.Helper()
	h, err := parse(t, models, spec).New()
	if err != nil {
		t.Fatal(err)
	}
	return h.(*heap)
}

func alloc(t *testing.T, h heapmodel.Heap, size uint64, align uint32) heapmodel.Ref {
	t.Helper()
	r, ok := h.Alloc(size, align)
	if !ok {
		t.Fatalf("alloc of %d bytes, align %d, fails", size, align)
	}
	return r
}

func wantLayout(t *testing.T, h *heap, want string) {
	t.Helper()
	if got := oracle.Layout(h); got != want {
		t.Errorf("blocks\n got %s\nwant %s", got, want)
	}
	wall := true
	for b := range h.Blocks() {
		if b.Wall != wall {
			t.Errorf("block at %d: wall %v, want %v", b.Addr, b.Wall, wall)
		}
		wall = false
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

// What the arena looks like before the first request.
func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		name, spec, want string
		overhead         uint64
	}{
		{"a power of two", "binary-buddy:capacity=64KiB,header=8", "0-65536", 0},
		{"13 = 8 + 4 + 1", "binary-buddy:capacity=13,header=0,align=1", "0-8 8-4 12-1", 0},
		{"payloads aligned, not blocks", "binary-buddy:capacity=37", "4-32", 5},
		{"less than a unit is lost", "binary-buddy:capacity=40,header=0,align=16", "0-32", 8},
		{"units are powers of two", "binary-buddy:capacity=80,header=0,align=1,min=20", "0-64", 16},
		{"a Fibonacci number", "fibonacci-buddy:capacity=13,header=0,align=1", "0-13", 0},
		{"no block of one at 11", "fibonacci-buddy:capacity=12,header=0,align=1", "0-8 8-3", 1},
		{"19 = 13 + 5 + 1, but 3 is not 1 + 2", "fibonacci-buddy:capacity=19,header=0,align=1", "0-13 13-5", 1},
		{"13 = 12 + 1, but 2 x 2 is not 3 + 1", "weighted-buddy:capacity=13,header=0,align=1", "0-12", 1},
		{"14 = 12 + 2", "weighted-buddy:capacity=14,header=0,align=1", "0-12 12-2", 0},
		{"threes below the middle", "double-buddy:capacity=64,header=0,align=1", "0-24 24-6 30-2 32-32", 0},
		{"too small for threes", "double-buddy:capacity=5,header=0,align=1", "0-4 4-1", 0},
		{"nothing yet", "double-buddy:quantum=64,header=0,align=1", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, c.spec)
			wantLayout(t, h, c.want)
			if h.use.Overhead != c.overhead {
				t.Errorf("overhead %d, want %d", h.use.Overhead, c.overhead)
			}
		})
	}
}

// How a block is split and which part is used; sizes of requests in a heap of
// units of a byte.
func TestSplitting(t *testing.T) {
	for _, c := range []struct {
		spec     string
		requests []uint64
		want     string
	}{
		{"binary-buddy:capacity=16", []uint64{1}, "0+1 1-1 2-2 4-4 8-8"},
		{"binary-buddy:capacity=16", []uint64{3, 3}, "0+4 4+4 8-8"},
		{"fibonacci-buddy:capacity=13", []uint64{1}, "0-8 8-3 11+2"},
		{"fibonacci-buddy:capacity=13", []uint64{3}, "0-8 8+3 11-2"},
		{"fibonacci-buddy:capacity=13", []uint64{6}, "0+8 8-5"},
		{"fibonacci-buddy:capacity=13", []uint64{4, 4}, "0+5 5-3 8+5"},
		{"weighted-buddy:capacity=16", []uint64{1}, "0-12 12-3 15+1"},
		{"weighted-buddy:capacity=16", []uint64{5}, "0+6 6-2 8-4 12-4"},
		{"weighted-buddy:capacity=16", []uint64{7}, "0+8 8-4 12-4"},
		{"weighted-buddy:capacity=2", []uint64{1}, "0+2"},
		{"double-buddy:capacity=64", []uint64{1, 5, 9}, "0+12 12-12 24+6 30+1 31-1 32-32"},
	} {
		h := open(t, c.spec+",header=0,align=1")
		for _, size := range c.requests {
			alloc(t, h, size, 0)
		}
		wantLayout(t, h, c.want)
	}
}

func TestBadConfigs(t *testing.T) {
	for spec, want := range map[string]string{
		"binary-buddy":                                   "needs a capacity",
		"binary-buddy:capacity=11":                       "capacity=11: the least that holds a block is 12 bytes",
		"fibonacci-buddy:capacity=19":                    "capacity=19: the least that holds a block is 20 bytes",
		"weighted-buddy:capacity=0":                      "capacity=0: the least that holds a block is 20 bytes",
		"double-buddy:capacity=7,header=0":               "the least that holds a block is 8 bytes",
		"binary-buddy:capacity=1KiB,align=12":            "align=12 is no power of two",
		"binary-buddy:capacity=1KiB,align=2GiB":          "align=2GiB: the most is 1GiB",
		"binary-buddy:capacity=1KiB,min=2GiB":            "min=2GiB: the most is 1GiB",
		"binary-buddy:capacity=64GiB":                    "the most with this alignment is 34359738352 bytes",
		"binary-buddy:capacity=512GiB,min=64":            "the most with this smallest block is 274877906816 bytes",
		"double-buddy:quantum=0":                         "quantum=0 is out of range",
		"weighted-buddy:capacity=2KiB,grow=1KiB":         "capacity=2KiB is above the limit of growth of 1024 bytes",
		"fibonacci-buddy:capacity=0xffffffffffffffff":    "the most with this alignment is",
		"fibonacci-buddy:capacity=1KiB,spill=true":       "no parameter",
		"binary-buddy:capacity=16,header=0,align=1KiB":   "the least that holds a block is 1024 bytes",
		"binary-buddy:quantum=0x7fffffffffffffff,grow=9": "quantum=0x7fffffffffffffff is out of range",
	} {
		s, err := heapmodel.ParseSpec(models, spec)
		if err == nil {
			_, err = s.New()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

// What a freed object leaves behind, in heaps of units of a byte.
func TestJoining(t *testing.T) {
	for _, c := range []struct {
		spec  string
		sizes []uint64
		freed []int
		want  []string // after each free
	}{
		{"binary-buddy:capacity=8", []uint64{1, 1, 2, 4}, []int{1, 2, 0}, []string{"0+1 1-1 2+2 4+4", "0+1 1-1 2-2 4+4", "0-4 4+4"}},
		// The upper half of one block and the lower half of the next are no buddies.
		{"binary-buddy:capacity=8", []uint64{2, 2, 2, 2}, []int{1, 2}, []string{"0+2 2-2 4+2 6+2", "0+2 2-2 4-2 6+2"}},
		{"fibonacci-buddy:capacity=13", []uint64{5, 5, 3}, []int{0, 1, 2}, []string{"0+5 5+3 8-5", "0-5 5+3 8-5", "0-13"}},
		// 2 beside 3, but the 2 is part of a 5 and the 3 of an 8.
		{"fibonacci-buddy:capacity=13", []uint64{3, 2, 3, 3, 2}, []int{4, 2}, []string{"0+3 3-2 5+3 8+3 11+2", "0+3 3-2 5-3 8+3 11+2"}},
		{"weighted-buddy:capacity=16", []uint64{8, 4, 3, 1}, []int{3, 1, 2, 0}, []string{"0+8 8+4 12+3 15-1", "0+8 8-4 12+3 15-1", "0+8 8-4 12-4", "0-16"}},
		{"double-buddy:capacity=24", []uint64{3, 3, 6, 1}, []int{3, 2, 1, 0}, nil},
	} {
		h := open(t, c.spec+",header=0,align=1")
		empty := oracle.Layout(h)
		var refs []heapmodel.Ref
		for _, size := range c.sizes {
			refs = append(refs, alloc(t, h, size, 0))
		}
		for i, object := range c.freed {
			h.Free(refs[object])
			if c.want != nil {
				wantLayout(t, h, c.want[i])
			}
		}
		if len(c.freed) == len(c.sizes) {
			wantLayout(t, h, empty)
		}
	}
}

// Which of several blocks of a size is taken.
func TestOrder(t *testing.T) {
	for order, want := range map[string][]heapmodel.Addr{"lifo": {8, 24, 0}, "fifo": {0, 24, 8}, "address": {0, 8, 24}} {
		h := open(t, "binary-buddy:capacity=32,header=0,align=4,order="+order)
		var refs [8]heapmodel.Ref
		for i := range refs {
			refs[i] = alloc(t, h, 4, 0)
		}
		// None of them is the buddy of another.
		byAddr := map[heapmodel.Addr]heapmodel.Ref{}
		for _, r := range refs {
			byAddr[h.Addr(r)] = r
		}
		for _, a := range []heapmodel.Addr{0, 24, 8} {
			h.Free(byAddr[a])
		}
		for i, w := range want {
			if got := h.Addr(alloc(t, h, 4, 0)); got != w {
				t.Errorf("%s: allocation %d at %d, want %d", order, i, got, w)
			}
		}
	}
}

// The break rises by whole quanta, no further than it must, to where a block of
// the tree ends; what it passes is free.
func TestGrowth(t *testing.T) {
	type step struct {
		size  uint64
		arena uint64
		want  string
	}
	for _, c := range []struct {
		spec  string
		steps []step
	}{
		{"binary-buddy:quantum=16", []step{
			{10, 16, "0+16"},
			{2, 32, "0+16 16+2 18-2 20-4 24-8"},
			{32, 64, "0+16 16+2 18-2 20-4 24-8 32+32"},
			{64, 128, "0+16 16+2 18-2 20-4 24-8 32+32 64+64"},
			{40, 192, "0+16 16+2 18-2 20-4 24-8 32+32 64+64 128+64"},
		}},
		// A free end becomes part of the block.
		{"binary-buddy:quantum=16,capacity=48", []step{{64, 64, "0+64"}}},
		{"binary-buddy:quantum=20", []step{{16, 20, "0+16 16-4"}, {16, 40, "0+16 16+16 32-8"}, {8, 40, "0+16 16+16 32+8"}}},
		{"fibonacci-buddy:quantum=8", []step{
			{8, 8, "0+8"},
			{5, 16, "0+8 8+5 13-3"},
			{8, 24, "0+8 8+5 13+8 21-3"},
			{13, 40, "0+8 8+5 13+8 21+13 34-5"},
		}},
		{"weighted-buddy:quantum=8", []step{{8, 8, "0+8"}, {6, 24, "0+8 8-4 12-4 16+6 22-2"}, {5, 32, "0+8 8-4 12-4 16+6 22-2 24+6 30-2"}}},
		{"double-buddy:quantum=16", []step{
			{3, 16, "0-12 12+3"},
			{4, 32, "0-12 12+3 15-1 16+4 20-4 24-8"},
			{24, 80, "0-12 12+3 15-1 16+4 20-4 24-8 32-1 33-3 36-12 48+24 72-6"},
		}},
	} {
		h := open(t, c.spec+",header=0,align=1")
		for _, s := range c.steps {
			alloc(t, h, s.size, 0)
			wantLayout(t, h, s.want)
			if h.use.Arena != s.arena {
				t.Errorf("%s: arena of %d bytes after %d more, want %d", c.spec, h.use.Arena, s.size, s.arena)
			}
		}
	}
}

// Without a block in its tree a request of a double buddy system is refused, or
// with spill served by the next size of the other tree.
func TestSpill(t *testing.T) {
	for _, c := range []struct {
		spill string
		sizes []uint64
		want  string // after the last request; empty if it fails
	}{
		{"false", []uint64{12, 12, 9}, ""},
		{"false", []uint64{16, 16, 13}, ""},
		{"true", []uint64{12, 12, 9}, "0+12 12+12 24-6 30-2 32+16 48-16"},
		{"true", []uint64{16, 16, 13}, "0+24 24-6 30-2 32+16 48+16"},
		{"true", []uint64{16, 16, 24, 3, 3, 1, 1, 1}, ""},
	} {
		h := open(t, "double-buddy:capacity=64,header=0,align=1,spill="+c.spill)
		last := len(c.sizes) - 1
		for _, size := range c.sizes[:last] {
			alloc(t, h, size, 0)
		}
		switch _, ok := h.Alloc(c.sizes[last], 0); {
		case ok != (c.want != ""):
			t.Errorf("spill=%s: %v: placed %v", c.spill, c.sizes, ok)
		case ok:
			wantLayout(t, h, c.want)
		}
	}
}

func TestAligned(t *testing.T) {
	for _, c := range []struct {
		spec      string
		size      uint64
		align     uint32
		addr      heapmodel.Addr
		need      uint64
		mustAlign bool
	}{
		{"binary-buddy:capacity=4KiB,header=0,align=1", 5, 64, 0, 64, true},
		{"binary-buddy:capacity=4KiB,header=0,align=1", 65, 64, 0, 128, true},
		// The header goes before a multiple of the alignment: 4 bytes of pad, 4 of header.
		{"binary-buddy:capacity=4KiB", 5, 64, 64, 128, true},
		{"binary-buddy:capacity=4KiB", 5, 8, 8, 16, true},
		{"fibonacci-buddy:capacity=987,header=0,align=1", 5, 64, 0, 89, true},
		{"weighted-buddy:capacity=4KiB,header=0,align=1", 5, 32, 0, 48, true},
		{"double-buddy:capacity=4KiB,header=0,align=1", 40, 8, 0, 64, true}, // not 48
		{"double-buddy:capacity=4KiB,header=0,align=1", 40, 0, 0, 48, false},
	} {
		h := open(t, c.spec)
		r := alloc(t, h, c.size, c.align)
		if need := h.Need(c.size, c.align); need != c.need || h.use.Allocated != need {
			t.Errorf("%s: %d bytes aligned to %d need %d and have %d, want %d", c.spec, c.size, c.align, need, h.use.Allocated, c.need)
		}
		if a := h.Addr(r); c.mustAlign && a%heapmodel.Addr(c.align) != 0 {
			t.Errorf("%s: %d bytes aligned to %d at %d", c.spec, c.size, c.align, a)
		}
	}
}

func TestReallocInPlace(t *testing.T) {
	for _, c := range []struct {
		policy string
		size   uint64
		stays  bool
	}{
		{"inplace", 16, true},
		{"inplace", 9, true},
		{"inplace", 8, false},
		{"inplace", 17, false},
		{"move", 16, false},
	} {
		h := open(t, "binary-buddy:capacity=256,header=0,align=1,realloc="+c.policy)
		r := alloc(t, h, 12, 0)
		before := h.Addr(r)
		s, ok := h.Realloc(r, c.size, 0)
		if stays := h.Addr(s) == before; !ok || stays != c.stays {
			t.Errorf("%s: to %d bytes: %v, stays %v, want %v", c.policy, c.size, ok, stays, c.stays)
		}
	}
}

func TestSteps(t *testing.T) {
	type call struct {
		what  string
		steps uint64
		size  uint64 // zero: free the object
		index int
	}
	for _, c := range []struct {
		spec  string
		calls []call
	}{
		{"binary-buddy:capacity=48", []call{
			{"lists of 4, 8, 16", 3, 4, 0},
			{"list of 4", 1, 4, 1},
			{"list of 32", 1, 32, 2},
			{"of 16 and 32, in vain", 2, 16, 3},
			{"beyond the arena", 0, 64, 3},
			{"used buddy", 1, 0, 0},
			{"two buddies, two merges; the next would end beyond the arena", 4, 0, 1},
			{"the buddy would end beyond the arena", 0, 0, 2},
		}},
		{"fibonacci-buddy:capacity=13", []call{
			{"lists of 3, 5, 8, 13", 4, 3, 0},
			{"lists of 3, 5, 8", 3, 3, 1},
			{"list of 2", 1, 2, 2},
			{"5 + 3 is used below", 1, 0, 2},
		}},
		{"double-buddy:capacity=64", []call{
			{"of 3, 6 and no power of two", 2, 3, 0},
			{"of 4, 8, 16, 32", 4, 4, 1},
			{"the other three is free, and so is nothing else", 3, 0, 0},
		}},
	} {
		h := open(t, c.spec+",header=0,align=1")
		var refs [4]heapmodel.Ref
		for _, call := range c.calls {
			before := h.use.Steps
			if call.size > 0 {
				refs[call.index], _ = h.Alloc(call.size, 0)
			} else {
				h.Free(refs[call.index])
			}
			if got := h.use.Steps - before; got != call.steps {
				t.Errorf("%s: %s: %d steps, want %d", c.spec, call.what, got, call.steps)
			}
		}
	}
}

// Blocks for requests that are uniform between two sizes of the system are too
// large by the factor b ln(b/a) / (b - a) on average: 1.39 in a binary and 1.26
// in a Fibonacci system, the 38 and 25 % of Hirschberg 1973. For requests
// uniform in the logarithm it is (x - 1) / ln x with b/a = x.
func TestInternalFragmentation(t *testing.T) {
	mean := func(m *heapmodel.Model, from, to uint64) (uniform, logarithmic float64) {
		h := open(t, m.Name+":capacity=1MiB,header=0,align=1")
		for size := from + 1; size <= to; size++ {
			factor := float64(h.Need(size, 0)) / float64(size)
			uniform += factor
			logarithmic += factor / float64(size)
		}
		return uniform / float64(to-from), logarithmic / math.Log(float64(to)/float64(from))
	}
	golden := math.Phi
	for _, c := range []struct {
		m                    *heapmodel.Model
		from, to             uint64
		uniform, logarithmic float64
	}{
		{Binary, 1 << 16, 1 << 17, 2 * math.Log(2), 1 / math.Log(2)},
		{Fibonacci, 46368, 75025, golden / (golden - 1) * math.Log(golden), (golden - 1) / math.Log(golden)},
		{Fibonacci, 75025, 121393, golden / (golden - 1) * math.Log(golden), (golden - 1) / math.Log(golden)},
		{Weighted, 1 << 16, 3 << 15, 3 * math.Log(1.5), 0.5 / math.Log(1.5)},
		{Weighted, 3 << 15, 1 << 17, 4 * math.Log(4./3), 1. / 3 / math.Log(4./3)},
		{Double, 1 << 16, 3 << 15, 3 * math.Log(1.5), 0.5 / math.Log(1.5)},
		{Double, 3 << 15, 1 << 17, 4 * math.Log(4./3), 1. / 3 / math.Log(4./3)},
	} {
		uniform, logarithmic := mean(c.m, c.from, c.to)
		if math.Abs(uniform-c.uniform) > 1e-4 || math.Abs(logarithmic-c.logarithmic) > 1e-4 {
			t.Errorf("%s, %d to %d bytes: factors %.4f and %.4f, want %.4f and %.4f", c.m.Name, c.from, c.to, uniform, logarithmic, c.uniform, c.logarithmic)
		}
	}
}

// Requests for which no heap has a size fail, as does growth beyond the limit,
// and neither changes the heap.
func TestAbsurdRequests(t *testing.T) {
	for _, m := range models {
		h := open(t, m.Name+":quantum=4KiB,order=address")
		alloc(t, h, 100, 0)
		before := h.use
		for _, c := range []struct {
			size  uint64
			align uint32
		}{
			{heapmodel.MaxSize, 0},
			{heapmodel.MaxSize, heapmodel.MaxAlign},
			{1 << 35, 0},
			{1<<35 - 16, 0},
			{1 << 34, 0},
			{3 << 33, 0},
			{1, heapmodel.MaxAlign},
		} {
			_, ok := h.Alloc(c.size, c.align)
			if need := h.Need(c.size, c.align); need < c.size {
				t.Errorf("%s: %d bytes need %d", m.Name, c.size, need)
			}
			if now := h.use; !ok && (now.Arena != before.Arena || now.FreeBlocks != before.FreeBlocks) {
				t.Errorf("%s: %d bytes fail and change %+v to %+v", m.Name, c.size, before, now)
			}
			if c.size > 1<<34 && ok {
				t.Errorf("%s: %d bytes are placed beside an object", m.Name, c.size)
			}
			before = h.use
		}
		if err := h.Check(); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

// The binary system without headers places as rust-buddy does, which is held
// against the answers of its original: LIFO lists, the same pieces of a
// capacity that is no power of two.
func TestSameAsRustBuddy(t *testing.T) {
	rust := []*heapmodel.Model{rustbuddy.Model}
	for _, c := range []struct{ binary, rust string }{
		{"binary-buddy:capacity=64KiB,header=0,align=4", "rust-buddy:capacity=64KiB"},
		{"binary-buddy:capacity=40001,header=0,align=4", "rust-buddy:capacity=40001"},
		{"binary-buddy:capacity=12345,header=0,align=8", "rust-buddy:capacity=12345,ptr=64"},
	} {
		for _, name := range []string{"exhaust", "realloc", "tiny", "wide", "aligned", "fa1", "fa5"} {
			tr, err := modeltest.LoadTrace(name)
			if err != nil {
				t.Fatal(err)
			}
			h, err := parse(t, rust, c.rust).New()
			if err != nil {
				t.Fatal(err)
			}
			if err := modeltest.Compare(parse(t, models, c.binary), tr, modeltest.Answers(h, tr)); err != nil {
				t.Errorf("%s, trace %s: %v", c.binary, name, err)
			}
		}
	}
}

package nuttx

import (
	"math/rand/v2"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, Model) }
func TestMinHeap(t *testing.T)   { modeltest.MinHeap(t, Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, Model) }
func TestSummaries(t *testing.T) { oracle.Summaries(t, Model, "nuttx") }

// What the original's summaries say, for when they are not there.
func TestFigures(t *testing.T) {
	for _, c := range []struct {
		spec, trace string
		want        oracle.Figures
	}{
		{"nuttx-mm", "exhaust", oracle.Figures{Failures: 1225, InPlace: 181, PeakLive: 60682, Highest: 65532, Free: 65264, MinFree: 328}},
		{"nuttx-mm", "aligned", oracle.Figures{PeakLive: 26006, Highest: 40440, Free: 65168, MinFree: 37440}},
		{"nuttx-mm", "realloc", oracle.Figures{InPlace: 1360, PeakLive: 29198, Highest: 52344, Free: 66032, MinFree: 32496}},
		{"nuttx-mm", "vectors", oracle.Figures{InPlace: 999, PeakLive: 15324, Highest: 21248, Free: 65168, MinFree: 48248}},
	} {
		if got := oracle.Run(t, Model, c.spec, c.trace); got != c.want {
			t.Errorf("%s: trace %s:\n got %+v\nwant %+v", c.spec, c.trace, got, c.want)
		}
	}
}

func open(t *testing.T, spec string) heapmodel.Heap {
	t.Helper()
	return oracle.Open(t, Model, spec)
}

func TestEmptyHeaps(t *testing.T) {
	for _, c := range []struct {
		spec, want string
		first      heapmodel.Addr
	}{
		{"nuttx-mm", "364-65168", 368},
		{"nuttx-mm:capacity=32KiB", "364-32400", 368},
		{"nuttx-mm:capacity=65543", "364-65168", 368},
		{"nuttx-mm:capacity=65544", "364-65176", 368},
		{"nuttx-mm:capacity=384", "364-16", 368},
		{"nuttx-mm:control=344", "356-65176", 360},
		{"nuttx-mm:control=345", "364-65168", 368},
		{"nuttx-mm:control=0,capacity=1000", "12-984", 16},
		{"nuttx-mm:capacity=4294967295", "364-4294966920", 368},
	} {
		h := open(t, c.spec)
		oracle.WantLayout(t, h, c.want)
		u := h.Usage()
		if u.Overhead != u.Arena-u.Free || u.HighWater != 0 || h.LargestFree() != u.Free {
			t.Errorf("%s: %+v", c.spec, u)
		}
		if s := h.(heapmodel.Native).Native(); s[0].Value != u.Free || s[1].Value != u.Free || s[2].Value != u.Free+16 {
			t.Errorf("%s: figures %v", c.spec, s)
		}
		if a := h.Addr(oracle.Alloc(t, h, 0)); a != c.first {
			t.Errorf("%s: the first object is at %d, want %d", c.spec, a, c.first)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	oracle.BadConfigs(t, Model, [][2]string{
		{"nuttx-mm:capacity=0", "capacity=0: needs at least 384 bytes"},
		{"nuttx-mm:capacity=383", "capacity=383: needs at least 384 bytes"},
		{"nuttx-mm:capacity=31,control=0", "capacity=31: needs at least 32 bytes"},
		{"nuttx-mm:capacity=4GiB", "the most is 4294967295 bytes"},
		{"nuttx-mm:capacity=0xffffffffffffffff", "the most is"},
		{"nuttx-mm:control=1MiB", "control=1MiB: the most is 65536 bytes"},
	})
}

func TestSplits(t *testing.T) {
	for _, c := range []struct {
		size uint64
		want string
	}{
		{0, "364+16 380-104"}, // not a null pointer
		{12, "364+16 380-104"},
		{13, "364+24 388-96"},
		{20, "364+24 388-96"},
		{100, "364+104 468-16"},
		{101, "364+120"}, // 8 would remain
		{116, "364+120"},
	} {
		h := open(t, "nuttx-mm:capacity=488")
		oracle.Alloc(t, h, c.size)
		oracle.WantLayout(t, h, c.want)
		if need := h.Need(c.size, 0); need > h.Usage().Allocated {
			t.Errorf("%d bytes need %d", c.size, need)
		}
	}
}

func TestHugeRequestsFail(t *testing.T) {
	for _, spec := range []string{"nuttx-mm:capacity=488", "nuttx-mm:capacity=4294967295"} {
		h := open(t, spec)
		free := h.Usage().Free
		for _, c := range []struct {
			size  uint64
			align uint32
		}{
			{free - 3, 0},
			{free, 0},
			{1 << 32, 0},
			{1<<32 + 100, 0},
			{heapmodel.MaxSize, 0},
			{heapmodel.MaxSize, 1 << 31},
			{free - 32, 16},
			{1, 1 << 31},
			{1 << 32, 64},
		} {
			if _, ok := h.Alloc(c.size, c.align); ok {
				t.Errorf("%s: %d bytes, align %d, are placed", spec, c.size, c.align)
			}
			if need := h.Need(c.size, c.align); need <= free {
				t.Errorf("%s: %d bytes, align %d, need %d", spec, c.size, c.align, need)
			}
		}
		oracle.Alloc(t, h, free-4)
	}
}

// TestBestFit frees nodes of 40, 24, 40 and 64 bytes that do not touch.
func TestBestFit(t *testing.T) {
	for _, c := range []struct {
		size  uint64
		at    heapmodel.Addr
		steps uint64
	}{
		{12, 424, 1}, // 24 is the least
		{28, 464, 1}, // the newer of 40 comes first in its bin
		{40, 520, 4}, // past both of 40 and the head of the next bin
		{61, 600, 7}, // past 64 and the heads of five bins, to what was never used
	} {
		h := open(t, "nuttx-mm:capacity=4KiB")
		var refs []heapmodel.Ref
		for _, size := range []uint64{36, 20, 36, 60} {
			refs = append(refs, oracle.Alloc(t, h, size))
			oracle.Alloc(t, h, 12)
		}
		for _, r := range refs {
			h.Free(r)
		}
		oracle.WantLayout(t, h, "364-40 404+16 420-24 444+16 460-40 500+16 516-64 580+16 596-3496")
		before := h.Usage().Steps
		if a := h.Addr(oracle.Alloc(t, h, c.size)); a != c.at {
			t.Errorf("%d bytes are at %d, want %d", c.size, a, c.at)
		}
		if got := h.Usage().Steps - before; got != c.steps {
			t.Errorf("%d bytes: %d steps, want %d", c.size, got, c.steps)
		}
	}
}

func TestRealloc(t *testing.T) {
	const all = "364+104 468+104 572+40 612+16 628-368" // objects 0 to 3
	for _, c := range []struct {
		name   string
		free   []int
		object int
		size   uint64
		at     heapmodel.Addr // of the object then
		want   string
		drift  uint64
	}{
		{"same size", nil, 0, 97, 368, all, 0},
		{"too little to cut", nil, 0, 92, 368, all, 8},
		{"cut", nil, 0, 84, 368, "364+88 452-16 468+104 572+40 612+16 628-368", 0},
		{"cut to the least", nil, 0, 0, 368, "364+16 380-88 468+104 572+40 612+16 628-368", 0},
		{"little joins a free node", []int{3}, 2, 28, 576, "364+104 468+104 572+32 604-392", 0},
		{"grow down", []int{0}, 1, 150, 416, "364-48 412+160 572+40 612+16 628-368", 0},
		{"grow down to the start", []int{0}, 1, 190, 368, "364+208 572+40 612+16 628-368", 0},
		{"grow up, the smaller one", []int{0, 2}, 1, 120, 472, "364-104 468+128 596-16 612+16 628-368", 0},
		{"grow up, all", []int{0, 2}, 1, 130, 472, "364-104 468+144 612+16 628-368", 0},
		{"grow up and down", []int{0, 2}, 1, 160, 448, "364-80 444+168 612+16 628-368", 0},
		{"grow over both", []int{0, 2}, 1, 240, 368, "364+248 612+16 628-368", 0},
		{"grow down, the smaller one", []int{0, 2, 3}, 1, 150, 416, "364-48 412+160 572-424", 0},
		{"grow down and up", []int{0, 2, 3}, 1, 250, 368, "364+256 620-376", 0},
		{"move", nil, 0, 110, 632, "364-104 468+104 572+40 612+16 628+120 748-248", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, "nuttx-mm:capacity=1000")
			var refs []heapmodel.Ref
			for _, size := range []uint64{100, 100, 36, 12} {
				refs = append(refs, oracle.Alloc(t, h, size))
			}
			oracle.WantLayout(t, h, all)
			for _, i := range c.free {
				h.Free(refs[i])
			}
			s, ok := h.Realloc(refs[c.object], c.size, 0)
			if !ok || h.Addr(s) != c.at {
				t.Errorf("got %d at %d, %t; want %d", s, h.Addr(s), ok, c.at)
			}
			oracle.WantLayout(t, h, c.want)
			if got := h.(heapmodel.Native).Native()[0].Value; got != h.Usage().Free+c.drift {
				t.Errorf("free bytes reported %d, want %d and %d", got, h.Usage().Free, c.drift)
			}
		})
	}
}

// TestFreeBytesDrift reports more free bytes than the arena has, as the
// original does.
func TestFreeBytesDrift(t *testing.T) {
	h := open(t, "nuttx-mm:capacity=488")
	a := oracle.Alloc(t, h, 20)
	oracle.Alloc(t, h, 12)
	for range 100 {
		h.Realloc(a, 12, 0)
	}
	stats := h.(heapmodel.Native).Native()
	if want := uint64(120-24-16) + 800; stats[0].Value != want || stats[1].Value != 80 {
		t.Errorf("figures %v, want %d free, and 80 at least", stats, want)
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

func TestReallocFails(t *testing.T) {
	h := open(t, "nuttx-mm:capacity=1000")
	a := oracle.Alloc(t, h, 300)
	oracle.Alloc(t, h, 12)
	for _, size := range []uint64{309, 616, 1 << 32, heapmodel.MaxSize} {
		if s, ok := h.Realloc(a, size, 0); ok || s != a {
			t.Errorf("%d bytes: got %d, %t; want a failure", size, s, ok)
		}
		oracle.WantLayout(t, h, "364+304 668+16 684-312")
	}
	if s, ok := h.Realloc(heapmodel.NullRef, 40, 0); !ok || h.Addr(s) != 688 {
		t.Errorf("realloc of a null pointer: got %d, %t; want a new object at 688", s, ok)
	}
}

func TestAligned(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, size uint64
		align       uint32
		want        string
	}{
		{"natural", 20, 100, 8, "364+24 388+104 492-504"},
		{"below natural", 20, 100, 1, "364+24 388+104 492-504"},
		{"in place", 36, 100, 16, "364+40 404-24 428+104 532-464"},
		{"gap", 4, 100, 64, "364+16 380+104 484-512"},
		{"longer gap", 28, 100, 64, "364+32 396-48 444+104 548-448"},
		{"gap too short for a node", 20, 100, 16, "364+24 388-24 412+104 516-480"},
		{"least", 20, 1, 16, "364+24 388-24 412+16 428-568"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, "nuttx-mm:capacity=1000")
			oracle.Alloc(t, h, c.first)
			r := oracle.AllocAligned(t, h, c.size, c.align)
			if a := h.Addr(r); uint64(a)%uint64(c.align) != 0 {
				t.Errorf("address %d is no multiple of %d", a, c.align)
			}
			oracle.WantLayout(t, h, c.want)
			if got := h.(heapmodel.Native).Native()[0].Value; got != h.Usage().Free {
				t.Errorf("free bytes reported %d, want %d", got, h.Usage().Free)
			}
		})
	}
}

// TestKeysRunOut runs a heap through the end of the keys of its large nodes.
func TestKeysRunOut(t *testing.T) {
	a, b := open(t, "nuttx-mm:capacity=8MiB"), open(t, "nuttx-mm:capacity=8MiB")
	b.(*heap).free.key = 100
	rng := rand.New(rand.NewPCG(1, 1))
	var live []heapmodel.Ref
	for range 3000 {
		if rng.IntN(2) == 0 && len(live) > 0 {
			i := rng.IntN(len(live))
			a.Free(live[i])
			b.Free(live[i])
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
			continue
		}
		size := 4000 + 512*rng.Uint64N(20)
		r, ok := a.Alloc(size, 0)
		s, fits := b.Alloc(size, 0)
		if r != s || ok != fits || *a.Usage() != *b.Usage() {
			t.Fatalf("%d bytes: got %d, %t, %+v; want %d, %t, %+v", size, s, fits, b.Usage(), r, ok, a.Usage())
		}
		if ok {
			live = append(live, r)
		}
	}
	if key := b.(*heap).free.key; key < 1<<31 {
		t.Errorf("the keys did not run out: %d", key)
	}
	if err := b.Check(); err != nil {
		t.Error(err)
	}
}

// TestCheckFindsDamage sees to it that Check is no formality.
func TestCheckFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(h *heap){
		"used node marked free": func(h *heap) { h.t.SetFree(h.first) },
		"free node marked used": func(h *heap) { h.t.SetUsed(h.t.Next(h.first)) },
		"boundary moved":        func(h *heap) { h.t.Nodes[h.t.Next(h.first)].Start++ },
		"link":                  func(h *heap) { h.t.Nodes[h.t.Next(h.first)].Low = blocks.None },
		"not in its list":       func(h *heap) { h.free.remove(h.t.Next(h.first), 6) },
		"bit of a list":         func(h *heap) { h.free.filled[1] |= 1 },
		"nodes of a word":       func(h *heap) { h.free.words[0]++ },
		"not in the index":      func(h *heap) { h.free.large.Remove(h.free.large.First()) },
		"free bytes":            func(h *heap) { h.use.Free += 8; h.use.Allocated -= 8 },
		"free nodes":            func(h *heap) { h.use.FreeBlocks++ },
		"overhead":              func(h *heap) { h.use.Overhead++ },
		"used bytes":            func(h *heap) { h.used = h.maxUsed + 8 },
		"lost record":           func(h *heap) { h.t.Take() },
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, "nuttx-mm").(*heap)
			var refs []heapmodel.Ref
			for range 4 {
				refs = append(refs, oracle.Alloc(t, h, 40))
			}
			h.Free(refs[1])
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			harm(h)
			if h.Check() == nil {
				t.Error("Check found nothing")
			}
		})
	}
}

package ummmalloc_test

import (
	"math/rand/v2"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/ummmalloc"
)

// twins are a first-fit heap and its naive twin, and their live objects.
type twins struct {
	t     *testing.T
	h     heapmodel.Heap
	n     *naive
	refs  []heapmodel.Ref
	addrs []heapmodel.Addr
	ops   int
}

// same compares what an operation gave, the counters, and now and then all
// there is.
func (w *twins) same(what string, got, want heapmodel.Addr) {
	w.t.Helper()
	w.ops++
	if u := w.h.Usage(); got != want || u.Steps != w.n.a.Steps {
		w.t.Fatalf("operation %d, %s: at %d after %d steps, want %d after %d", w.ops, what, int64(got), u.Steps, int64(want), w.n.a.Steps)
	}
	if w.ops%200 != 0 {
		return
	}
	if err := w.h.Check(); err != nil {
		w.t.Fatalf("operation %d, %s: %v", w.ops, what, err)
	}
	w.largest()
}

// largest compares the largest free chunks.
func (w *twins) largest() {
	w.t.Helper()
	largest := uint64(0)
	for _, b := range w.n.a.Blocks {
		if b.Free {
			largest = max(largest, b.Size)
		}
	}
	if got := w.h.LargestFree(); got != largest {
		w.t.Fatalf("operation %d: the largest free chunk has %d bytes, want %d", w.ops, got, largest)
	}
}

func (w *twins) alloc(size uint64) {
	r, ok := w.h.Alloc(size, 0)
	got := heapmodel.Null
	if ok {
		got = w.h.Addr(r)
		w.refs, w.addrs = append(w.refs, r), append(w.addrs, got)
	}
	w.same("alloc", got, w.n.Alloc(size, 0))
}

func (w *twins) free(i int) {
	w.h.Free(w.refs[i])
	w.n.Free(w.addrs[i])
	last := len(w.refs) - 1
	w.refs[i], w.addrs[i] = w.refs[last], w.addrs[last]
	w.refs, w.addrs = w.refs[:last], w.addrs[:last]
	w.same("free", 0, 0)
}

func (w *twins) realloc(i int, size uint64) {
	r, ok := w.h.Realloc(w.refs[i], size, 0)
	got, want := heapmodel.Null, w.n.Realloc(w.addrs[i], size, 0)
	if ok {
		got = w.h.Addr(r)
		w.refs[i], w.addrs[i] = r, got
	}
	w.same("realloc", got, want)
}

// mix does so many operations at random, of which so many in a hundred are
// frees.
func (w *twins) mix(rng *rand.Rand, ops, frees int) {
	for range ops {
		size := 1 + rng.Uint64N(40)
		if rng.IntN(20) == 0 {
			size = 1 + rng.Uint64N(4000)
		}
		switch k := rng.IntN(100); {
		case len(w.refs) == 0 || k >= frees+5:
			w.alloc(size)
		case k < frees:
			w.free(rng.IntN(len(w.refs)))
		default:
			w.realloc(rng.IntN(len(w.refs)), size)
		}
	}
}

// TestLongList takes a first-fit list through all lengths and back, among them
// such that have groups.
func TestLongList(t *testing.T) {
	t.Parallel()
	w := &twins{t: t, h: open(t, "umm-malloc:capacity=262143,fit=first"), n: newNaive(262143, 8, false)}
	rng := rand.New(rand.NewPCG(1, 2))
	long := 0
	for _, live := range []int{2500, 1200, 2000} {
		for len(w.refs) < 2*live {
			w.alloc(1 + rng.Uint64N(20))
		}
		for len(w.refs) > live {
			w.free(rng.IntN(len(w.refs)))
		}
		if ummmalloc.Long(w.h) {
			long++
		}
		w.mix(rng, 1500, 30)
		w.mix(rng, 1500, 60)
		for len(w.refs) > 50 {
			w.free(rng.IntN(len(w.refs)))
			if len(w.refs)%64 == 0 {
				w.largest()
			}
		}
		// Half the frees push a chunk, or fewer, and the log has room for 4096.
		for range 25 {
			w.mix(rng, 1000, 47)
		}
		if ummmalloc.Long(w.h) {
			t.Error("a list of few chunks is still long")
		}
	}
	if long < 2 {
		t.Errorf("the list was long %d times", long)
	}
	for len(w.refs) > 0 {
		w.free(0)
	}
	oracle.WantLayout(t, w.h, "8-262120")
}

package sequential

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func FuzzOps(f *testing.F) { modeltest.Fuzz(f, Model) }

func newHeapOf(t *testing.T, text string) *heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h.(*heap)
}

// TestTenByteHeap is the textbook example of external fragmentation: objects of
// 5 and 1 bytes, the first freed, 2 bytes in its place; then 7 bytes are free
// and 5 are wanted, but no 5 of them in a row.
func TestTenByteHeap(t *testing.T) {
	for _, c := range []struct {
		name, args string
		ok         bool
		addr       heapmodel.Addr
		arena      uint64
		grown      heapmodel.Growth
	}{
		{"fixed", "", false, 0, 10, heapmodel.Growth{}},
		{"break", ",quantum=4", true, 6, 14, heapmodel.Growth{Need: 5, Free: 7, LargestFree: 4}},
		{"chunks", ",quantum=8,growth=chunks", true, 10, 18, heapmodel.Growth{Need: 5, Free: 7, LargestFree: 4}},
		{"limit too low", ",quantum=4,grow=13", false, 0, 10, heapmodel.Growth{}},
		{"limit just enough", ",quantum=4,grow=14", true, 6, 14, heapmodel.Growth{Need: 5, Free: 7, LargestFree: 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHeapOf(t, "sequential:capacity=10,header=0,align=1"+c.args)
			place := func(size uint64, want heapmodel.Addr) heapmodel.Ref {
				r, ok := h.Alloc(size, 0)
				if !ok || h.Addr(r) != want {
					t.Fatalf("%d bytes at %d, want %d", size, h.Addr(r), want)
				}
				return r
			}
			first := place(5, 0)
			place(1, 5)
			h.Free(first)
			place(2, 0)
			if h.use.Free != 7 || h.LargestFree() != 4 {
				t.Fatalf("%d bytes free, %d in a row; want 7 and 4", h.use.Free, h.LargestFree())
			}
			r, ok := h.Alloc(5, 0)
			if ok != c.ok || ok && h.Addr(r) != c.addr {
				t.Errorf("5 bytes: %v at %d, want %v at %d", ok, h.Addr(r), c.ok, c.addr)
			}
			if h.use.Arena != c.arena || h.use.Grown != c.grown {
				t.Errorf("arena %d after %+v, want %d after %+v", h.use.Arena, h.use.Grown, c.arena, c.grown)
			}
		})
	}
}

// TestNumbersRunOut goes past the last number of a LIFO or FIFO list, which
// then numbers its blocks anew, in step with the plain heap.
func TestNumbersRunOut(t *testing.T) {
	for _, args := range []string{
		"order=lifo", "order=fifo", "order=lifo,fit=best", "order=fifo,fit=best", "order=lifo,fit=next", "order=fifo,fit=worst",
	} {
		t.Run(args, func(t *testing.T) {
			x, err := newPair("sequential:capacity=20000,header=0,align=1,coalesce=never," + args)
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for i := range 3000 {
				if i == 1000 {
					// As after four thousand million frees.
					shift := uint32(900)
					if x.h.order == fifo {
						shift = 1<<32 - 2 - 100
					}
					if x.h.order == lifo {
						x.h.free.Rekey(shift)
						x.h.key = shift
					} else {
						x.h.free.Rekey(shift - uint32(x.h.free.Len()))
						x.h.key = shift - 1
					}
				}
				kind, object := byte('a'), 0
				if len(x.refs) > 30 || len(x.refs) > 0 && rng.IntN(2) == 0 {
					kind, object = 'f', rng.IntN(len(x.refs))
				}
				if err := x.op(kind, object, 1+rng.Uint64N(60), 0); err != nil {
					t.Fatalf("operation %d: %v", i, err)
				}
			}
			if far := x.h.key < 1<<30 || x.h.key > 3<<30; far {
				t.Errorf("the latest number is %d: the list was not numbered anew", x.h.key)
			}
		})
	}
}

func TestBadConfigs(t *testing.T) {
	for spec, want := range map[string]string{
		"sequential:capacity=1KiB,align=12":             "align=12 is no power of two",
		"sequential:capacity=1KiB,align=0":              "align=0 is no power of two",
		"sequential:capacity=1KiB,align=2GiB":           "align=2GiB: the most is 1GiB",
		"sequential:capacity=1KiB,header=2GiB":          "header=2GiB: the most is 1GiB",
		"sequential:capacity=11":                        "capacity=11: the least that holds a block is 12 bytes",
		"sequential:capacity=0":                         "capacity=0: the least that holds a block is 12 bytes",
		"sequential:capacity=100,footer=100,guard=50":   "capacity=100: the least that holds a block is",
		"sequential:capacity=64GiB":                     "capacity=64GiB: the most with this alignment is",
		"sequential:capacity=1KiB,every=5":              "every=5 goes with coalesce=deferred",
		"sequential:capacity=1KiB,quantum=0":            "quantum=0 is out of range",
		"sequential:capacity=1KiB,quantum=16,grow=1000": "capacity=1KiB is above the limit of growth of 1000 bytes",
		"sequential": "needs a capacity",
		"sequential:capacity=0xffffffffffffffff,header=0": "the most with this alignment is",
	} {
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

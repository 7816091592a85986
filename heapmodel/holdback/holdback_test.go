package holdback_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/heapmodel/holdback"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

// others are the models that may stand inside.
var others = slices.DeleteFunc(slices.Clone(catalog.Models), func(m *heapmodel.Model) bool { return m.Name == holdback.Model.Name })

var inside = modeltest.Inside(others)

// specs have heaps of every kind inside: with and without an aligned entry
// point, growing, in pieces, that look at hints.
var specs = []string{
	"holdback:bytes=1KiB,heap=[tlsf:capacity=8KiB]",
	"holdback:bytes=1,heap=[freertos-heap4:capacity=4KiB]",
	"holdback:bytes=6000,heap=[sequential:capacity=8KiB,coalesce=deferred]",
	"holdback:bytes=3000,heap=[threadx-byte-pool:capacity=8KiB]",
	"holdback:bytes=2KiB,heap=[sequential:quantum=1KiB,grow=32KiB]",
	"holdback:bytes=2KiB,heap=[dlmalloc:grow=64KiB]",
	"holdback:bytes=2KiB,heap=[newlib-nano:grow=16KiB]",
	"holdback:bytes=16KiB,release=start,heap=[sequential:quantum=1KiB]",
	"holdback:bytes=16KiB,release=start,heap=[kr:grow=8KiB]",
	"holdback:bytes=2KiB,heap=[freertos-heap5:regions=4KiB@0+8KiB@16KiB]",
	"holdback:bytes=500,heap=[multi:by=thread,cuts=0,heaps=[tlsf:capacity=4KiB]+[kr:capacity=8KiB]]",
	"holdback:bytes=500,heap=[multi:by=life,cuts=900,heaps=[o1heap:capacity=4KiB]+[umm-malloc:capacity=8KiB],overflow=none]",
}

func TestConformance(t *testing.T) { inside.Run(t, holdback.Model, specs...) }

func FuzzOps(f *testing.F) { inside.Fuzz(f, holdback.Model, specs...) }

func BenchmarkHeap(b *testing.B) {
	inside.Bench(b, holdback.Model, "holdback:bytes=1KiB,heap=[tlsf:capacity=64KiB]", "holdback:bytes=1KiB,heap=[sequential:capacity=64KiB]")
}

func newHeap(t rapid.TB, text string) heapmodel.Heap {
	t.Helper()
	s, err := heapmodel.ParseSpec(append([]*heapmodel.Model{holdback.Model}, others...), text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// state writes what a caller sees of a heap.
func state(h heapmodel.Heap) string {
	var b strings.Builder
	for block := range h.Blocks() {
		sign := '-'
		if block.Used {
			sign = '+'
		}
		fmt.Fprintf(&b, "%d%c%d ", block.Addr, sign, block.Size)
	}
	u := h.Usage()
	fmt.Fprintf(&b, "used %d free %d largest %d:", u.Allocated, u.Free, h.LargestFree())
	for _, s := range h.(heapmodel.Native).Native() {
		fmt.Fprintf(&b, " %s %d", s.Key, s.Value)
	}
	return b.String()
}

const flat = "heap=[sequential:capacity=100,header=0,align=1]"

func TestRelease(t *testing.T) {
	h := newHeap(t, "holdback:bytes=30,"+flat)
	step := func(what string, ok, wanted bool, want string) {
		t.Helper()
		if err := h.Check(); err != nil {
			t.Fatal(err)
		}
		if got := state(h); ok != wanted || got != want {
			t.Errorf("%s: %t\n%s, want %t\n%s", what, ok, got, wanted, want)
		}
	}
	step("start", true, true, "0-30 30-70 used 0 free 100 largest 70: held_bytes 30 released_by_request 0 requests_rescued 0")
	first, ok := h.Alloc(50, 0)
	step("50", ok, true, "0-30 30+50 80-20 used 50 free 50 largest 30: held_bytes 30 released_by_request 0 requests_rescued 0")
	_, ok = h.Alloc(25, 0)
	step("25 in an emergency", ok, true, "0+25 25-5 30+50 80-20 used 75 free 25 largest 20: held_bytes 0 released_by_request 2 requests_rescued 1")
	_, ok = h.Alloc(25, 0)
	step("25 too much", ok, false, "0+25 25-5 30+50 80-20 used 75 free 25 largest 20: held_bytes 0 released_by_request 2 requests_rescued 1")
	h.Free(first)
	step("free", true, true, "0+25 25-75 used 25 free 75 largest 75: held_bytes 0 released_by_request 2 requests_rescued 1")
}

// TestReleaseInVain holds that a request which fails all the same takes the
// block, and that a realloc may be the emergency.
func TestReleaseInVain(t *testing.T) {
	h := newHeap(t, "holdback:bytes=30,"+flat)
	if _, ok := h.Alloc(1000, 0); ok || h.LargestFree() != 100 {
		t.Errorf("1000 bytes: %t, then %s", ok, state(h))
	}
	h = newHeap(t, "holdback:bytes=30,"+flat)
	r, _ := h.Alloc(50, 0)
	s, ok := h.Realloc(r, 25, 0)
	if want := "0+25 25-75 "; !ok || h.Addr(s) != 0 || !strings.HasPrefix(state(h), want) {
		t.Errorf("realloc: %t, %s", ok, state(h))
	}
}

// TestReleaseAtStart holds that a growing heap has grown at the start, and not
// again, and that a heap without room is as without the block.
func TestReleaseAtStart(t *testing.T) {
	h := newHeap(t, "holdback:bytes=5000,release=start,heap=[sequential:quantum=1KiB,header=0,align=1]")
	if u := h.Usage(); u.Arena != 5120 || u.Free != 5120 || u.UsedBlocks != 0 {
		t.Errorf("at the start: %+v", *u)
	}
	for range 5 {
		h.Alloc(1000, 0)
	}
	if arena := h.Usage().Arena; arena != 5120 {
		t.Errorf("the heap grew to %d bytes", arena)
	}
	if small := newHeap(t, "holdback:bytes=5000,release=start,"+flat); small.LargestFree() != 100 {
		t.Errorf("a heap without room: %s", state(small))
	}
}

func TestErrors(t *testing.T) {
	for spec, want := range map[string]string{
		"holdback":                                                    "want one",
		"holdback:heap=[tlsf]+[tlsf]":                                 "want one",
		"holdback:heap=[ideal]":                                       "no arena",
		"holdback:bytes=0,heap=[tlsf]":                                "want 1 byte",
		"holdback:bytes=0x8000000000000000,heap=[tlsf]":               "want 1 byte",
		"holdback:bytes=9KiB,heap=[tlsf:capacity=8KiB]":               "no room for it",
		"holdback:heap=[tlsf:capacity=10]":                            "model tlsf:capacity=10",
		"holdback:heap=[freertos-heap1]":                              "does not reuse",
		"holdback:heap=[region:capacity=8KiB]":                        "does not reuse",
		"holdback:bytes=1KiB,release=start,heap=[bump:capacity=8KiB]": "does not reuse",
		"holdback:heap=[sequential]":                                  "needs a capacity",
	} {
		s, err := heapmodel.ParseSpec(append([]*heapmodel.Model{holdback.Model}, others...), spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

// TestLikeAProgram replays random operations through the model and through a
// program that holds a block back by itself, in the same heap: all answers and
// counters agree.
func TestLikeAProgram(t *testing.T) {
	for _, text := range []string{
		"tlsf:capacity=6000", "freertos-heap4:capacity=5000", "sequential:capacity=5000,fit=best,realloc=inplace",
		"newlib-nano:grow=6000", "dlmalloc:grow=16KiB", "kr:capacity=5000",
	} {
		t.Run(text, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				bytes := rapid.Uint64Range(1, 1500).Draw(rt, "bytes")
				h := newHeap(rt, fmt.Sprintf("holdback:bytes=%d,heap=[%s]", bytes, text))
				p := newHeap(rt, text)
				held, _ := p.Alloc(bytes, 0)
				holds := true
				try := func(f func() (heapmodel.Ref, bool)) (heapmodel.Ref, bool) {
					r, ok := f()
					if !ok && holds {
						p.Free(held)
						holds = false
						r, ok = f()
					}
					return r, ok
				}
				var refs [][2]heapmodel.Ref
				for range rapid.IntRange(1, 60).Draw(rt, "operations") {
					size := rapid.Uint64Range(1, 1500).Draw(rt, "size")
					kind := rapid.IntRange(0, 3).Draw(rt, "kind")
					var a, b heapmodel.Ref
					var okA, okB bool
					switch {
					case kind < 2 || len(refs) == 0:
						a, okA = h.Alloc(size, 0)
						b, okB = try(func() (heapmodel.Ref, bool) { return p.Alloc(size, 0) })
						if okA {
							refs = append(refs, [2]heapmodel.Ref{a, b})
						}
					case kind == 2:
						i := rapid.IntRange(0, len(refs)-1).Draw(rt, "object")
						was := refs[i]
						a, okA = h.Realloc(was[0], size, 0)
						b, okB = try(func() (heapmodel.Ref, bool) { return p.Realloc(was[1], size, 0) })
						refs[i] = [2]heapmodel.Ref{a, b}
					default:
						i := rapid.IntRange(0, len(refs)-1).Draw(rt, "object")
						h.Free(refs[i][0])
						p.Free(refs[i][1])
						refs = slices.Delete(refs, i, i+1)
						okA, okB = true, true
						a, b = heapmodel.NullRef, heapmodel.NullRef
					}
					u, v := h.Usage(), p.Usage()
					if okA != okB || okA && h.Addr(a) != p.Addr(b) || u.Steps != v.Steps || u.Arena != v.Arena || u.HighWater != v.HighWater ||
						u.Allocated+u.Free != v.Allocated+v.Free || !holds && *u != *v {
						rt.Fatalf("%t at %d, %+v; by hand %t at %d, %+v", okA, h.Addr(a), *u, okB, p.Addr(b), *v)
					}
				}
			})
		})
	}
}

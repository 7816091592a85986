package sequential

import (
	"math"
	"testing"
	"time"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func BenchmarkHeap(b *testing.B) {
	modeltest.Bench(b, Model,
		"sequential:capacity=64KiB,fit=first",
		"sequential:capacity=64KiB,fit=best",
		"sequential:capacity=64KiB,fit=next",
	)
}

// links is the heap as one would write it first: an address-ordered doubly
// linked list of free blocks, immediate coalescing by boundary tags, and a walk
// for every search and insertion. It has the layout of the model's defaults.
type links struct {
	nodes []link
	best  bool
}

type link struct {
	start, size uint64
	low, high   int // neighbours by address
	prev, next  int // on the free list
	used        bool
}

// Node 0 is the head of the list and the end of the arena on both sides.
func newLinks(capacity uint64, best bool) *links {
	l := &links{nodes: make([]link, 2, 1<<16), best: best}
	l.nodes[0] = link{used: true, prev: 1, next: 1, low: 1, high: 1}
	l.nodes[1] = link{start: 4, size: (capacity - 4) &^ 7}
	return l
}

func (l *links) find(want uint64) int {
	found, least := 0, uint64(math.MaxUint64)
	for i := l.nodes[0].next; i != 0; i = l.nodes[i].next {
		if size := l.nodes[i].size; size >= want && size < least {
			if found, least = i, size; !l.best {
				break
			}
		}
	}
	return found
}

func (l *links) alloc(size uint64) (int, bool) {
	want := (size + 4 + 7) &^ 7
	i := l.find(want)
	if i == 0 {
		return 0, false
	}
	n := &l.nodes[i]
	if rest := n.size - want; rest > 0 {
		up := len(l.nodes)
		l.nodes = append(l.nodes, link{start: n.start + want, size: rest, low: i, high: n.high, prev: n.prev, next: n.next})
		n = &l.nodes[i]
		n.size = want
		l.nodes[n.high].low, n.high = up, up
		l.nodes[n.prev].next, l.nodes[n.next].prev = up, up
	} else {
		l.nodes[n.prev].next, l.nodes[n.next].prev = n.next, n.prev
	}
	n.used = true
	return i, true
}

func (l *links) free(i int) {
	n := &l.nodes[i]
	n.used = false
	after := 0
	for j := l.nodes[0].next; j != 0 && l.nodes[j].start < n.start; j = l.nodes[j].next {
		after = j
	}
	n.prev, n.next = after, l.nodes[after].next
	l.nodes[n.next].prev = i
	l.nodes[after].next = i
	if h := n.high; !l.nodes[h].used {
		l.join(i, h)
	}
	if low := n.low; !l.nodes[low].used {
		l.join(low, i)
	}
}

// join makes the upper of two free neighbours part of the lower. The record of
// the upper one is not used again: the benchmark is short.
func (l *links) join(low, up int) {
	n, u := &l.nodes[low], &l.nodes[up]
	n.size += u.size
	n.high = u.high
	l.nodes[n.high].low = low
	l.nodes[u.prev].next, l.nodes[u.next].prev = u.next, u.prev
}

// steady calls alloc and free as a program does that holds live objects of
// mixed sizes and replaces them at random: as often as there are objects to
// come to a steady state, then ops times more. It returns how long those took
// and a checksum of what alloc returns.
func steady(live, ops int, alloc func(size uint64) (ref uint32, addr uint64), free func(ref uint32)) (took time.Duration, sum uint64) {
	state := uint64(88172645463325252)
	next := func() uint64 {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		return state
	}
	refs := make([]uint32, live)
	var start time.Time
	for i := range 2*live + ops {
		if i == 2*live {
			start = time.Now()
		}
		slot := i
		if i >= live {
			slot = int(next() % uint64(live))
			free(refs[slot])
		}
		size := 8 + next()%64
		if next()%8 == 0 {
			size += next() % 1024
		}
		ref, addr := alloc(size)
		refs[slot] = ref
		sum = sum*31 + addr
	}
	return time.Since(start), sum
}

// BenchmarkAgainstList replays the same steady state of 20,000 live objects
// through the model and through a plain linked list, which must place every
// object alike, and reports how many times as fast the model is.
func BenchmarkAgainstList(b *testing.B) {
	const (
		live     = 20_000
		ops      = 4_000
		capacity = 8 << 20
	)
	for _, policy := range []string{"first", "best"} {
		b.Run(policy, func(b *testing.B) {
			s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, "sequential:capacity=8MiB,header=4,align=8,fit="+policy)
			if err != nil {
				b.Fatal(err)
			}
			var model, list time.Duration
			for b.Loop() {
				h, err := s.New()
				if err != nil {
					b.Fatal(err)
				}
				l := newLinks(capacity, policy == "best")
				took, got := steady(live, ops, func(size uint64) (uint32, uint64) {
					r, ok := h.Alloc(size, 0)
					if !ok {
						b.Fatal("out of memory")
					}
					return uint32(r), uint64(h.Addr(r))
				}, func(ref uint32) { h.Free(heapmodel.Ref(ref)) })
				model += took
				took, want := steady(live, ops, func(size uint64) (uint32, uint64) {
					i, ok := l.alloc(size)
					if !ok {
						b.Fatal("the plain list is out of memory")
					}
					return uint32(i), l.nodes[i].start + 4
				}, func(ref uint32) { l.free(int(ref)) })
				list += took
				if got != want {
					b.Fatal("the model and the plain list place objects differently")
				}
			}
			b.ReportMetric(list.Seconds()/model.Seconds(), "times_list")
			b.ReportMetric(float64(model.Nanoseconds())/float64(b.N)/(2*ops), "model-ns/op")
		})
	}
}

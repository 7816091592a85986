package multi_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"pgregory.net/rapid"
)

// op is an operation on an object named by its number; a realloc of an object
// that is not live allocates it.
type op struct {
	kind   byte // a, r, f
	id     int
	size   uint64
	thread uint32
}

func (o op) String() string { return fmt.Sprintf("%c %d %d by %d", o.kind, o.id, o.size, o.thread) }

// plain is several heaps and the rules of the package, told once more: a list
// of heaps to try is made for every request.
type plain struct {
	heaps    []heapmodel.Heap
	bases    []uint64
	bounds   []uint64       // by size
	threads  map[uint32]int // by thread
	overflow string
	objects  map[int]located
}

type located struct {
	heap int
	ref  heapmodel.Ref
}

func (p *plain) home(o op) int {
	if p.threads != nil {
		if i, ok := p.threads[o.thread]; ok {
			return i
		}
		return len(p.heaps) - 1
	}
	i := 0
	for i < len(p.bounds) && o.size > p.bounds[i] {
		i++
	}
	return i
}

func (p *plain) tries(first int) []int {
	tries := []int{first}
	for i := first + 1; i < len(p.heaps); i++ {
		if p.overflow == "next" || p.overflow == "last" && i == len(p.heaps)-1 {
			tries = append(tries, i)
		}
	}
	return tries
}

// play returns the address of the object, or what stands for none.
func (p *plain) play(o op) string {
	was, live := p.objects[o.id]
	if o.kind == 'f' {
		if live {
			p.heaps[was.heap].Free(was.ref)
			delete(p.objects, o.id)
		}
		return "."
	}
	first := p.home(o)
	if live && o.kind == 'r' && p.threads != nil {
		first = was.heap
	}
	for _, i := range p.tries(first) {
		var r heapmodel.Ref
		var ok bool
		if live && i == was.heap {
			r, ok = p.heaps[i].Realloc(was.ref, o.size, 0)
		} else {
			r, ok = p.heaps[i].Alloc(o.size, 0)
		}
		if !ok {
			continue
		}
		if live && i != was.heap {
			p.heaps[was.heap].Free(was.ref)
		}
		p.objects[o.id] = located{i, r}
		return fmt.Sprint(p.bases[i] + uint64(p.heaps[i].Addr(r)))
	}
	return "!"
}

// sums returns the counters, as those of the heaps come to.
func (p *plain) sums() [6]uint64 {
	var u heapmodel.Usage
	var largest uint64
	for _, h := range p.heaps {
		of := h.Usage()
		u.Arena += of.Arena
		u.Allocated += of.Allocated
		u.Free += of.Free
		u.Steps += of.Steps
		u.UsedBlocks += of.UsedBlocks
		largest = max(largest, h.LargestFree())
	}
	return [...]uint64{u.Arena, u.Allocated, u.Free, u.Steps, u.UsedBlocks, largest}
}

// subject plays the same operations through the model.
type subject struct {
	h    heapmodel.Heap
	refs map[int]heapmodel.Ref
}

func (s *subject) play(o op) string {
	r, live := s.refs[o.id]
	if hinted := s.h.(heapmodel.Hinted); hinted.Hints() != 0 && o.kind != 'f' {
		hinted.Hint(heapmodel.Hint{Thread: o.thread})
	}
	var ok bool
	switch {
	case o.kind == 'f' && live:
		s.h.Free(r)
		delete(s.refs, o.id)
		return "."
	case o.kind == 'f':
		return "."
	case live:
		r, ok = s.h.Realloc(r, o.size, 0)
	default:
		r, ok = s.h.Alloc(o.size, 0)
	}
	if !ok {
		return "!"
	}
	s.refs[o.id] = r
	return fmt.Sprint(s.h.Addr(r))
}

func (s *subject) sums() [6]uint64 {
	u := s.h.Usage()
	return [...]uint64{u.Arena, u.Allocated, u.Free, u.Steps, u.UsedBlocks, s.h.LargestFree()}
}

// setting is a configuration told in both ways.
type setting struct {
	args    string   // by and cuts
	heaps   []string // specs
	bases   []uint64
	bounds  []uint64
	threads map[uint32]int
}

var settings = []setting{
	{
		"cuts=2+4",
		[]string{"sequential:capacity=6,header=0,align=1", "sequential:capacity=9,header=0,align=1,realloc=inplace", "sequential:capacity=12,header=0,align=1,fit=best"},
		[]uint64{0, 16, 32},
		[]uint64{2, 4},
		nil,
	},
	{
		"by=thread,cuts=1+0/7",
		[]string{"sequential:capacity=9,header=0,align=1,realloc=inplace", "sequential:capacity=5,header=0,align=1", "sequential:capacity=7,header=0,align=1"},
		[]uint64{0, 16, 24},
		nil,
		map[uint32]int{1: 0, 0: 1, 7: 1},
	},
	{
		"cuts=3",
		[]string{"sequential:quantum=4,grow=16,header=0,align=1", "sequential:capacity=10,header=0,align=1"},
		[]uint64{16, 0},
		[]uint64{3},
		nil, // the fixed heap lies lowest
	},
}

// specs returns the spec of the model, and those of the heaps.
func (c *setting) specs(t rapid.TB, overflow string) []*heapmodel.Spec {
	t.Helper()
	text := "multi:" + c.args + ",overflow=" + overflow + ",heaps=[" + strings.Join(c.heaps, "]+[") + "]"
	out := []*heapmodel.Spec{parse(t, text)}
	for _, spec := range c.heaps {
		out = append(out, parse(t, spec))
	}
	return out
}

func (c *setting) both(t rapid.TB, specs []*heapmodel.Spec, overflow string) (*plain, *subject) {
	t.Helper()
	p := &plain{bases: c.bases, bounds: c.bounds, threads: c.threads, overflow: overflow, objects: map[int]located{}}
	s := &subject{refs: map[int]heapmodel.Ref{}}
	for i, spec := range specs {
		h, err := spec.New()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			s.h = h
		} else {
			p.heaps = append(p.heaps, h)
		}
	}
	return p, s
}

// same plays the operations both ways and fails at the first difference.
func (c *setting) same(t rapid.TB, specs []*heapmodel.Spec, overflow string, ops []op) {
	t.Helper()
	p, s := c.both(t, specs, overflow)
	for i, o := range ops {
		want, got := p.play(o), s.play(o)
		if counters := s.sums(); got != want || counters != p.sums() {
			t.Fatalf("%s overflow=%s: operation %d of %v: got %s, counters %d; want %s, %d", c.args, overflow, i, ops, got, counters, want, p.sums())
		}
	}
	if err := s.h.Check(); err != nil {
		t.Fatalf("%s overflow=%s: %v: %v", c.args, overflow, ops, err)
	}
}

var overflows = []string{"next", "none", "last"}

var long = flag.Bool("long", false, "play every sequence of five operations, not four")

// TestAllShortSequences plays every sequence of four operations.
func TestAllShortSequences(t *testing.T) {
	length := 4
	if *long {
		length = 5
	}
	for i := range settings {
		c := &settings[i]
		sizes, threads := []uint64{2, 3, 5}, []uint32{0}
		if c.threads != nil {
			sizes, threads = []uint64{2, 5}, []uint32{0, 1, 2}
		}
		for _, overflow := range overflows {
			specs := c.specs(t, overflow)
			var ops []op
			var walk func(objects int)
			walk = func(objects int) {
				if len(ops) == length {
					c.same(t, specs, overflow, ops)
					return
				}
				next := func(o op, objects int) {
					ops = append(ops, o)
					walk(objects)
					ops = ops[:len(ops)-1]
				}
				for _, size := range sizes {
					for _, thread := range threads {
						next(op{'a', objects, size, thread}, objects+1)
					}
				}
				freed := func(id int) bool {
					return slices.ContainsFunc(ops, func(o op) bool { return o.kind == 'f' && o.id == id })
				}
				for id := range objects {
					if freed(id) {
						continue
					}
					next(op{'f', id, 0, 0}, objects)
					for _, size := range sizes {
						next(op{'r', id, size, threads[len(ops)%len(threads)]}, objects)
					}
				}
			}
			walk(0)
		}
	}
}

func TestLongSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &settings[rapid.IntRange(0, len(settings)-1).Draw(t, "setting")]
		overflow := rapid.SampledFrom(overflows).Draw(t, "overflow")
		one := rapid.Custom(func(t *rapid.T) op {
			return op{
				rapid.SampledFrom([]byte("aarf")).Draw(t, "kind"), rapid.IntRange(0, 8).Draw(t, "id"),
				rapid.Uint64Range(1, 7).Draw(t, "size"), rapid.SampledFrom([]uint32{0, 1, 2, 7, 70000}).Draw(t, "thread"),
			}
		})
		ops := rapid.SliceOfN(one, 20, 60).Draw(t, "ops")
		// An allocation of a live object is a realloc.
		live := map[int]bool{}
		for i := range ops {
			if o := &ops[i]; o.kind == 'f' {
				delete(live, o.id)
			} else {
				if o.kind = 'a'; live[o.id] {
					o.kind = 'r'
				}
				live[o.id] = true
			}
		}
		c.same(t, c.specs(t, overflow), overflow, ops)
	})
}

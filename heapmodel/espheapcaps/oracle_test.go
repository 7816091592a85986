package espheapcaps_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/espheapcaps"
	"github.com/fragprof/fragprof/heapmodel/esptlsf"
	"pgregory.net/rapid"
)

// playRoutes plays a0 SIZE (alloc), r0 SIZE (realloc), f0 (free), xSIZE (fills
// the region of data memory with objects of that size) and fill (all internal
// memory), and returns where the objects are after each a and r.
func playRoutes(t *testing.T, h heapmodel.Heap, ops string) string {
	t.Helper()
	objects := map[string]heapmodel.Ref{}
	var out []string
	words := strings.Fields(ops)
	for i := 0; i < len(words); i++ {
		var size uint64
		w := words[i]
		switch {
		case w == "fill":
			fill(t, h, 100, "dram", "diram")
			continue
		case w[0] == 'x':
			fill(t, h, 100, "dram")
			continue
		}
		if i++; i < len(words) {
			fmt.Sscan(words[i], &size)
		}
		var r heapmodel.Ref
		var ok bool
		if w[0] == 'a' {
			r, ok = h.Alloc(size, 0)
		} else {
			r, ok = h.Realloc(objects[w[1:]], size, 0)
		}
		if !ok {
			out = append(out, "!")
			continue
		}
		objects[w[1:]] = r
		out = append(out, where(h.Addr(r)))
	}
	return strings.Join(out, " ")
}

// fill places small objects until one would not be in the regions any more.
func fill(t *testing.T, h heapmodel.Heap, size uint64, regions ...string) {
	t.Helper()
	for size := size; size > 0; size /= 2 {
		for {
			r, ok := h.Alloc(size, 0)
			if !ok {
				t.Fatal("the heap is full")
			}
			if !slices.Contains(regions, where(h.Addr(r))) {
				h.Free(r)
				break
			}
		}
	}
}

// plain is the regions and the rules of the package, told once more: for every
// request it writes down the rounds of regions to ask.
type plain struct {
	regions   []*esptlsf.Heap
	types     []string // dram, diram, iram, spiram
	threshold uint64
	objects   map[int]located
}

type located struct {
	region int
	ref    heapmodel.Ref
}

func newPlain(t rapid.TB, regions []heapmodel.Region, types []string, threshold uint64) *plain {
	t.Helper()
	p := &plain{types: types, threshold: threshold, objects: map[int]located{}}
	for _, r := range regions {
		h, err := esptlsf.New(esptlsf.Region{Addr: r.Addr, Size: r.Size, Prefix: 20, PtrBits: 32})
		if err != nil {
			t.Fatal(err)
		}
		p.regions = append(p.regions, h)
	}
	return p
}

// named returns the regions of the types, in the order of those.
func (p *plain) named(types ...string) (out []int) {
	for _, name := range types {
		for i, t := range p.types {
			if t == name {
				out = append(out, i)
			}
		}
	}
	return out
}

func (p *plain) rounds(size uint64) [][]int {
	inside, outside := p.named("dram", "diram"), p.named("spiram")
	all := p.named("dram", "diram", "spiram")
	switch {
	case len(outside) == 0 || len(inside) == 0:
		return [][]int{all}
	case size <= p.threshold:
		return [][]int{inside, all}
	}
	return [][]int{outside, all}
}

func (p *plain) play(kind byte, id int, size uint64) string {
	was, live := p.objects[id]
	if kind == 'f' {
		if live {
			p.regions[was.region].Free(was.ref)
			delete(p.objects, id)
		}
		return "."
	}
	for _, round := range p.rounds(size) {
		if live && slices.Contains(round, was.region) {
			if r, ok := p.regions[was.region].Realloc(was.ref, size, 0); ok {
				return p.keep(id, located{was.region, r})
			}
		}
		for _, i := range round {
			r, ok := p.regions[i].Alloc(size, 0)
			if !ok {
				continue
			}
			if live {
				p.regions[was.region].Free(was.ref)
			}
			return p.keep(id, located{i, r})
		}
	}
	return "!"
}

func (p *plain) keep(id int, at located) string {
	p.objects[id] = at
	return fmt.Sprint(p.regions[at.region].Addr(at.ref))
}

func (p *plain) counters() (out [5]uint64) {
	for _, r := range p.regions {
		u := r.Usage()
		for i, v := range []uint64{u.Arena, u.Allocated, u.Free, u.Steps} {
			out[i] += v
		}
		out[4] = max(out[4], r.LargestFree())
	}
	return out
}

var layouts = []struct {
	spec      string
	regions   []heapmodel.Region
	types     []string
	threshold uint64
}{
	{
		"esp-heap-caps:regions=600@0+600@1KiB+1000@2KiB,caps=internal/8bit/exec+internal/8bit+spiram,threshold=60",
		[]heapmodel.Region{{Addr: 0, Size: 600}, {Addr: 1024, Size: 600}, {Addr: 2048, Size: 1000}},
		[]string{"diram", "dram", "spiram"},
		60,
	},
	{
		"esp-heap-caps:regions=700@0+600@1KiB+600@2KiB,caps=spiram/8bit+internal/exec+internal/dma/8bit,threshold=100",
		[]heapmodel.Region{{Addr: 0, Size: 700}, {Addr: 1024, Size: 600}, {Addr: 2048, Size: 600}},
		[]string{"spiram", "iram", "dram"},
		100,
	},
	{
		"esp-heap-caps:regions=600@0+600@1KiB",
		[]heapmodel.Region{{Addr: 0, Size: 600}, {Addr: 1024, Size: 600}},
		[]string{"dram", "dram"},
		16384,
	},
}

type op struct {
	kind byte
	id   int
	size uint64
}

// same plays operations both ways and fails at the first difference.
func same(t rapid.TB, layout int, spec *heapmodel.Spec, ops []op) {
	t.Helper()
	l := &layouts[layout]
	p := newPlain(t, l.regions, l.types, l.threshold)
	h, err := spec.New()
	if err != nil {
		t.Fatal(err)
	}
	refs := map[int]heapmodel.Ref{}
	for i, o := range ops {
		want, got := p.play(o.kind, o.id, o.size), "!"
		var r heapmodel.Ref
		ok := false
		was, live := refs[o.id]
		switch {
		case o.kind == 'f':
			got = "."
			if live {
				h.Free(was)
				delete(refs, o.id)
			}
		case live:
			r, ok = h.Realloc(was, o.size, 0)
		default:
			r, ok = h.Alloc(o.size, 0)
		}
		if ok {
			refs[o.id] = r
			got = fmt.Sprint(h.Addr(r))
		}
		u := h.Usage()
		counters := [...]uint64{u.Arena, u.Allocated, u.Free, u.Steps, h.LargestFree()}
		if got != want || counters != p.counters() {
			t.Fatalf("%s: operation %d of %v: got %s, counters %d; want %s, %d", l.spec, i, ops, got, counters, want, p.counters())
		}
	}
	if err := h.Check(); err != nil {
		t.Fatalf("%s: %v: %v", l.spec, ops, err)
	}
}

func specOf(t rapid.TB, layout int) *heapmodel.Spec {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{espheapcaps.Model}, layouts[layout].spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAllShortSequences plays every sequence of four operations of sizes that
// fill the regions at once.
func TestAllShortSequences(t *testing.T) {
	sizes := []uint64{40, 90, 180}
	for layout := range layouts {
		spec := specOf(t, layout)
		var ops []op
		var walk func(objects int)
		walk = func(objects int) {
			if len(ops) == 4 {
				same(t, layout, spec, ops)
				return
			}
			next := func(o op, objects int) {
				ops = append(ops, o)
				walk(objects)
				ops = ops[:len(ops)-1]
			}
			for _, size := range sizes {
				next(op{'a', objects, size}, objects+1)
				for id := range objects {
					next(op{'r', id, size}, objects)
				}
			}
			for id := range objects {
				next(op{'f', id, 0}, objects)
			}
		}
		walk(0)
	}
}

func TestLongSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layout := rapid.IntRange(0, len(layouts)-1).Draw(t, "layout")
		one := rapid.Custom(func(t *rapid.T) op {
			o := op{rapid.SampledFrom([]byte("aaf")).Draw(t, "kind"), rapid.IntRange(0, 12).Draw(t, "id"), 0}
			if o.kind != 'f' {
				o.size = rapid.Uint64Range(1, 250).Draw(t, "size")
			}
			return o
		})
		same(t, layout, specOf(t, layout), rapid.SliceOfN(one, 30, 100).Draw(t, "ops"))
	})
}

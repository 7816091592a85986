package segstorage

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// plain is the heap as the documentation of the package has it: lists in
// slices, and classes found by trying one size after the other. It shares the
// numbers of arena.Config with the model and no more.
type plain struct {
	arena.Config
	classes string
	order   listOrder
	inPlace bool
	page    uint64

	objects []*object1
	lists   map[uint64][]*object1 // free objects by block size
	next    uint64
	brk     uint64
	high    uint64
	steps   uint64
	grown   heapmodel.Growth
}

// object1 is a block.
type object1 struct {
	start, size, payload uint64
	used                 bool
}

func newPlain(h *heap, classes string) *plain {
	p := &plain{Config: h.Config, classes: classes, order: h.order, inPlace: h.inPlace, page: uint64(h.page) << h.Shift}
	p.lists = map[uint64][]*object1{}
	p.brk, p.next = h.Capacity, h.Pad
	return p
}

// class returns the size of the class that holds so many bytes, zero if there
// is none.
func (p *plain) class(want uint64) uint64 {
	switch p.classes {
	case "pow2", "pow2x3":
		for size := uint64(1); size <= p.Reach(); size *= 2 {
			if size >= want && size%p.Grain == 0 && size >= p.Least {
				return size
			}
			if three := size / 2 * 3; p.classes == "pow2x3" && size > 1 && three >= want && three%p.Grain == 0 && three >= p.Least {
				return three
			}
		}
		return 0
	}
	for text := range strings.SplitSeq(p.classes, "+") {
		var size uint64
		fmt.Sscan(text, &size)
		if size >= want && size >= p.Least {
			return size
		}
	}
	size := uint64(0)
	for size < want && size <= p.Reach() {
		size += p.page
	}
	return size
}

func (p *plain) want(size uint64, align uint32) uint64 {
	want := max(p.Least, p.Up(size+p.Header))
	if uint64(align) > p.Grain {
		want += uint64(align) - p.Grain
	}
	return want
}

func (p *plain) untouched() (bytes uint64) {
	for p.next+bytes+p.page <= p.brk {
		bytes += p.page
	}
	return bytes
}

func (p *plain) Alloc(size uint64, align uint32) heapmodel.Addr {
	p.steps++
	class := p.class(p.want(size, align))
	if class == 0 || class > p.Limit || len(p.lists[class]) == 0 && !p.cut(class) {
		return heapmodel.Null
	}
	o := p.lists[class][0]
	p.lists[class] = p.lists[class][1:]
	o.used = true
	o.payload = o.start + p.Header
	for align > 0 && o.payload%uint64(align) != 0 {
		o.payload++
	}
	p.high = max(p.high, o.start+o.size)
	return heapmodel.Addr(o.payload)
}

func (p *plain) cut(class uint64) bool {
	length := uint64(0)
	for length < class {
		length += p.page
	}
	if p.next+length > p.brk {
		if p.Quantum == 0 {
			return false
		}
		brk := p.brk
		for brk < p.next+length {
			brk += p.Quantum
		}
		if brk > p.Limit {
			return false
		}
		p.grown = oracle.Growth(class, p.Blocks())
		p.brk = brk
	}
	for at := uint64(0); at+class <= length; at += class {
		o := &object1{start: p.next + at, size: class}
		p.objects = append(p.objects, o)
		p.lists[class] = append(p.lists[class], o)
		p.steps++
	}
	p.next += length
	return true
}

func (p *plain) find(a heapmodel.Addr) *object1 {
	return p.objects[slices.IndexFunc(p.objects, func(o *object1) bool { return o.used && o.payload == uint64(a) })]
}

func (p *plain) Free(a heapmodel.Addr) {
	o := p.find(a)
	o.used = false
	l := p.lists[o.size]
	at := 0
	switch p.order {
	case fifo:
		at = len(l)
	case byAddress:
		for at < len(l) && l[at].start < o.start {
			at++
			p.steps++
		}
	}
	p.lists[o.size] = slices.Insert(slices.Clone(l), at, o)
}

func (p *plain) Realloc(a heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	o := p.find(a)
	if p.inPlace && p.class(p.want(size, 0)+o.payload-p.Header-o.start) == o.size {
		return a
	}
	b := p.Alloc(size, align)
	if b != heapmodel.Null {
		p.Free(a)
	}
	return b
}

func (p *plain) Usage() heapmodel.Usage {
	u := oracle.Sum(p.Blocks(), p.brk)
	u.HighWater, u.Steps, u.Grown = p.high, p.steps, p.grown
	return u
}

func (p *plain) Blocks() []heapmodel.Block {
	var out []heapmodel.Block
	for _, o := range p.objects {
		out = append(out, heapmodel.Block{Addr: heapmodel.Addr(o.start), Size: o.size, Used: o.used})
	}
	if rest := p.untouched(); rest > 0 {
		out = append(out, heapmodel.Block{Addr: heapmodel.Addr(p.next), Size: rest})
	}
	return out
}

// pairsOf returns a function that makes pairs of the spec.
func pairsOf(text string) (func() (*oracle.Pair, error), error) {
	classes := "pow2"
	if _, after, ok := strings.Cut(text, "classes="); ok {
		classes, _, _ = strings.Cut(after, ",")
	}
	return oracle.Pairs([]*heapmodel.Model{Model}, text, func(h heapmodel.Heap) oracle.Plain { return newPlain(h.(*heap), classes) })
}

// TestTinyHeaps compares the model with the plain heap over every sequence of
// operations on heaps of six pages of 4 bytes.
func TestTinyHeaps(t *testing.T) {
	depth := 5
	if *long {
		depth = 7
	}
	for _, classes := range []string{"pow2", "pow2x3", "1+3+5"} {
		for _, order := range []string{"lifo", "fifo", "address"} {
			for _, grows := range []string{"capacity=24", "quantum=5,grow=24"} {
				spec := "simple-segregated:header=0,align=1,page=4,realloc=inplace,classes=" + classes + ",order=" + order + "," + grows
				t.Run(spec, func(t *testing.T) {
					t.Parallel()
					pairs, err := pairsOf(spec)
					if err != nil {
						t.Fatal(err)
					}
					oracle.Exhaust(t, pairs,
						oracle.Tree{Sizes: []uint64{1, 3, 4, 7}, Depth: depth},
						oracle.Tree{Sizes: []uint64{1, 2, 6}, Reallocs: true, Depth: depth - 1})
				})
			}
		}
	}
}

// TestOracle compares the model with the plain heap over random parameters and
// operations.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(key string, values ...string) string {
			return key + "=" + rapid.SampledFrom(values).Draw(t, key)
		}
		parts := []string{
			pick("classes", "pow2", "pow2x3", "16+48+96", "8+64+1024", "2000"), pick("order", "lifo", "fifo", "address"),
			pick("page", "32", "128", "160", "1KiB"), pick("min", "0", "20"), pick("align", "1", "2", "8"),
			pick("header", "0", "1", "4", "8"), pick("realloc", "move", "inplace"),
		}
		if rapid.Bool().Draw(t, "grows") {
			parts = append(parts, pick("quantum", "1", "100", "128", "500"), pick("grow", "1000", "4000", "16KiB"))
		} else {
			parts = append(parts, pick("capacity", "200", "1100", "5000", "20000"))
		}
		spec := "simple-segregated:" + strings.Join(parts, ",")
		pairs, err := pairsOf(spec)
		if err != nil {
			t.Fatal(err)
		}
		x, err := pairs()
		if err != nil {
			t.Skip(err)
		}
		sizes := []uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 31, 32, 40, 64, 100, 127, 128, 250, 500, 1020, 1024, 1500, 2000, 3000, 5000}
		oracle.Random(t, x, sizes, []uint32{1, 4, 32, 128}, 120)
	})
}

package halffit

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

// plain is the heap as the documentation of the package has it: blocks in a
// slice by address, and one slice of all free blocks, newest first, that stands
// for all lists. It shares the numbers of config with the model and no more.
type plain struct {
	config
	blocks []*block // by address
	free   []*block // newest first
	brk    uint64
	high   uint64
	steps  uint64
}

type block struct {
	start, size uint64
	used        bool
}

func newPlain(c config, capacity uint64) *plain {
	p := &plain{config: c}
	if capacity > 0 {
		p.raise(capacity)
	}
	return p
}

// end returns the end of all blocks.
func (p *plain) end() uint64 {
	if len(p.blocks) == 0 {
		return p.pad
	}
	last := p.blocks[len(p.blocks)-1]
	return last.start + last.size
}

// raise adds bytes at the break.
func (p *plain) raise(bytes uint64) {
	p.brk += bytes
	start := p.end()
	size := uint64(0)
	for start+size+p.align <= p.brk {
		size += p.align
	}
	if size > 0 {
		p.blocks = append(p.blocks, &block{start: start, size: size, used: true})
		p.release(p.blocks[len(p.blocks)-1])
	}
}

// listOf returns the list of a block.
func (p *plain) listOf(size uint64) float64 { return math.Floor(math.Log2(float64(size))) }

// find returns the newest block of the first list from that of a size rounded
// up on.
func (p *plain) find(size uint64) *block {
	p.steps++
	from := math.Ceil(math.Log2(float64(size)))
	var found *block
	for _, b := range p.free {
		if list := p.listOf(b.size); list >= from && (found == nil || list < p.listOf(found.size)) {
			found = b
		}
	}
	if found != nil {
		p.steps++
	}
	return found
}

func (p *plain) unlist(b *block) {
	i := slices.Index(p.free, b)
	p.free = slices.Delete(p.free, i, i+1)
}

// cut cuts a block and returns the upper part.
func (p *plain) cut(b *block, size uint64) *block {
	up := &block{start: b.start + size, size: b.size - size, used: true}
	b.size = size
	p.blocks = slices.Insert(p.blocks, slices.Index(p.blocks, b)+1, up)
	return up
}

func (p *plain) put(b *block) {
	b.used = false
	p.free = slices.Insert(p.free, 0, b)
}

// release frees a block and joins it with its neighbours.
func (p *plain) release(b *block) {
	at := slices.Index(p.blocks, b)
	join := func(low int) {
		p.steps++
		p.blocks[low].size += p.blocks[low+1].size
		p.blocks = slices.Delete(p.blocks, low+1, low+2)
	}
	if at+1 < len(p.blocks) && !p.blocks[at+1].used {
		p.unlist(p.blocks[at+1])
		join(at)
	}
	if at > 0 && !p.blocks[at-1].used {
		b = p.blocks[at-1]
		p.unlist(b)
		join(at - 1)
	}
	p.put(b)
}

func (p *plain) alloc(size uint64, align uint32) *block {
	want := p.align
	for want < size+p.front || want < p.least {
		want += p.align
	}
	need := want
	if uint64(align) > p.align {
		need += uint64(align) + p.least
	}
	b := p.find(need)
	if b == nil && p.quantum > 0 && p.grow(need) {
		b = p.find(need)
	}
	if b == nil {
		return nil
	}
	p.unlist(b)
	b.used = true
	gap := uint64(0)
	for align > 0 && (b.start+gap+p.front)%uint64(align) != 0 || gap > 0 && gap < p.least {
		gap += p.align
	}
	if gap > 0 {
		up := p.cut(b, gap)
		p.put(b)
		b = up
	}
	if rest := b.size - want; rest > 0 && rest >= p.least {
		p.put(p.cut(b, want))
	}
	p.high = max(p.high, b.start+b.size)
	return b
}

// grow raises the break, a quantum at a time, until the last block will do.
func (p *plain) grow(need uint64) bool {
	least := p.align
	for least < need {
		least *= 2
	}
	quanta := uint64(0)
	for {
		quanta++
		brk := p.brk + quanta*p.quantum
		if brk > p.limit {
			return false
		}
		start := p.end()
		if k := len(p.blocks); k > 0 && !p.blocks[k-1].used {
			start = p.blocks[k-1].start
		}
		if brk >= start && (brk-start)/p.align*p.align >= least {
			p.raise(quanta * p.quantum)
			return true
		}
	}
}

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// pair runs the model and the plain heap side by side.
type pair struct {
	h     *heap
	p     *plain
	refs  []heapmodel.Ref
	objs  []*block
	spec  string
	quiet bool // compare no more than what calls return
}

func newPair(spec string) (*pair, error) {
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, spec)
	if err != nil {
		return nil, err
	}
	h, err := s.New()
	if err != nil {
		return nil, err
	}
	m := h.(*heap)
	return &pair{h: m, p: newPlain(m.config, m.use.Arena), spec: spec}, nil
}

type operation struct {
	kind   byte // a, r or f
	object int  // counts the live ones
	size   uint64
	align  uint32
}

func (o operation) String() string {
	return fmt.Sprintf("%c object %d, %d bytes aligned to %d", o.kind, o.object, o.size, o.align)
}

func (x *pair) op(o operation) error {
	switch o.kind {
	case 'a', 'r':
		var r heapmodel.Ref
		var ok bool
		if o.kind == 'r' {
			r, ok = x.h.Realloc(x.refs[o.object], o.size, 0)
		} else {
			r, ok = x.h.Alloc(o.size, o.align)
		}
		b := x.p.alloc(o.size, o.align)
		if ok != (b != nil) {
			return fmt.Errorf("model %v, plain heap %v\n%s", ok, b != nil, x)
		}
		if !ok {
			break
		}
		if o.kind == 'a' {
			x.refs, x.objs = append(x.refs, r), append(x.objs, b)
			break
		}
		x.p.release(x.objs[o.object])
		x.refs[o.object], x.objs[o.object] = r, b
	case 'f':
		x.h.Free(x.refs[o.object])
		x.p.release(x.objs[o.object])
		x.refs = slices.Delete(x.refs, o.object, o.object+1)
		x.objs = slices.Delete(x.objs, o.object, o.object+1)
	}
	if x.quiet {
		return nil
	}
	return x.compare()
}

func (x *pair) compare() error {
	for i, r := range x.refs {
		if got, want := uint64(x.h.Addr(r)), x.objs[i].start+x.p.front; got != want {
			return fmt.Errorf("object %d is at %d, in the plain heap at %d\n%s", i, got, want, x)
		}
	}
	want := heapmodel.Usage{
		Arena: x.p.brk, HighWater: x.p.high, Overhead: x.p.pad + x.p.brk - x.p.end(),
		UsedBlocks: uint64(len(x.objs)), FreeBlocks: uint64(len(x.p.free)), Steps: x.p.steps, Grown: x.h.use.Grown,
	}
	if len(x.p.blocks) == 0 {
		want.Overhead = 0
	}
	var parts []string
	largest := uint64(0)
	for _, b := range x.p.blocks {
		sign := "+"
		if b.used {
			want.Allocated += b.size
		} else {
			want.Free += b.size
			largest = max(largest, b.size)
			sign = "-"
		}
		parts = append(parts, fmt.Sprint(b.start, sign, b.size))
	}
	if got := *x.h.Usage(); got != want || x.h.LargestFree() != largest {
		return fmt.Errorf("usage %+v, of the plain heap %+v\n%s", got, want, x)
	}
	if got, want := oracle.Layout(x.h), strings.Join(parts, " "); got != want {
		return fmt.Errorf("blocks\n got %s\nwant %s", got, want)
	}
	return x.h.Check()
}

func (x *pair) String() string { return x.spec + ": " + oracle.Layout(x.h) }

// TestOracle compares the model with the plain heap over random parameters and
// operations: addresses, blocks, counters and steps after every one.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(key string, values ...string) string {
			return key + "=" + rapid.SampledFrom(values).Draw(t, key)
		}
		parts := []string{pick("align", "1", "2", "8", "16"), pick("header", "0", "1", "4", "8"), pick("min", "0", "16", "40")}
		if rapid.Bool().Draw(t, "grows") {
			parts = append(parts, pick("quantum", "1", "7", "64", "100"), pick("grow", "300", "1000", "4KiB"))
			if rapid.Bool().Draw(t, "starts with memory") {
				parts = append(parts, pick("capacity", "64", "100", "200"))
			}
		} else {
			parts = append(parts, pick("capacity", "64", "129", "500", "1000", "2040"))
		}
		x, err := newPair("half-fit:" + strings.Join(parts, ","))
		if err != nil {
			t.Skip(err)
		}
		count := rapid.IntRange(1, 120).Draw(t, "operations")
		for i := range count {
			o := operation{kind: rapid.SampledFrom([]byte("aaaffr")).Draw(t, "kind")}
			if len(x.refs) == 0 {
				o.kind = 'a'
			} else if o.kind != 'a' {
				o.object = rapid.IntRange(0, len(x.refs)-1).Draw(t, "object")
			}
			o.size = rapid.SampledFrom([]uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 40, 64, 100, 250}).Draw(t, "size")
			if o.kind == 'a' && rapid.IntRange(0, 5).Draw(t, "aligned") == 0 {
				o.align = rapid.SampledFrom([]uint32{1, 4, 32, 128}).Draw(t, "align")
			}
			if err := x.op(o); err != nil {
				t.Fatalf("operation %d, %v: %v", i, o, err)
			}
		}
	})
}

// TestTinyHeaps compares the model with the plain heap over every sequence of
// operations on heaps of a dozen bytes, fixed and growing.
func TestTinyHeaps(t *testing.T) {
	depth := 6
	if *long {
		depth = 7
	}
	for _, args := range []string{"capacity=13", "capacity=5,quantum=3,grow=26", "quantum=3,grow=16"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			if err := everySequence("half-fit:header=0,align=1,"+args, depth, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// everySequence tries every way to go on from the operations so far, the last
// of which is compared.
func everySequence(spec string, depth int, sofar []operation) error {
	x, err := newPair(spec)
	if err != nil {
		return err
	}
	for i, o := range sofar {
		x.quiet = i < len(sofar)-1
		if err := x.op(o); err != nil {
			return fmt.Errorf("%v: %w", sofar, err)
		}
	}
	if len(sofar) == depth {
		return nil
	}
	next := []operation{{kind: 'a', size: 1}, {kind: 'a', size: 2}, {kind: 'a', size: 3}, {kind: 'a', size: 5}}
	for i := range x.refs {
		next = append(next, operation{kind: 'f', object: i})
		if len(sofar) == depth-1 {
			next = append(next, operation{kind: 'r', object: i, size: 3})
		}
	}
	for _, o := range next {
		if err := everySequence(spec, depth, append(sofar[:len(sofar):len(sofar)], o)); err != nil {
			return err
		}
	}
	return nil
}

package sequential

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
)

// plain is the heap as the documentation of the package has it: blocks in a
// slice by address, the free list in a slice by list order, and nothing but
// walks. It shares the numbers of config with the model and no more.
type plain struct {
	config
	blocks   []*block // by address; a region begins where wall is set
	list     []*block
	rover    *block // nil: the start of the list
	brk      uint64
	overhead uint64
	high     uint64
	steps    uint64
	frees    uint64
}

type block struct {
	start, size uint64
	used, wall  bool
}

func newPlain(c config, capacity uint64) *plain {
	p := &plain{config: c}
	if capacity > 0 {
		p.region(capacity)
	}
	return p
}

// boundary returns the first block boundary at or above an address.
func (p *plain) boundary(addr uint64) uint64 {
	for (addr+p.front)%p.align != 0 {
		addr++
	}
	return addr
}

func (p *plain) region(size uint64) {
	start, end := p.boundary(p.brk), p.brk+size
	for (end+p.front)%p.align != 0 {
		end--
	}
	p.brk += size
	p.overhead += size - (end - start)
	b := &block{start: start, size: end - start, wall: true}
	p.blocks = append(p.blocks, b)
	p.enter(b)
}

func (p *plain) enter(b *block) {
	switch p.order {
	case lifo:
		p.list = slices.Insert(p.list, 0, b)
	case fifo:
		p.list = append(p.list, b)
	case byAddress:
		i := 0
		for i < len(p.list) && p.list[i].start < b.start {
			i++
		}
		if p.fit != bestFit {
			p.steps += uint64(i)
		}
		p.list = slices.Insert(p.list, i, b)
	}
}

// remove takes a block off the list; the rover goes on to the next.
func (p *plain) remove(b *block) {
	i := slices.Index(p.list, b)
	if p.rover == b {
		p.rover = nil
		if i+1 < len(p.list) {
			p.rover = p.list[i+1]
		}
	}
	p.list = slices.Delete(p.list, i, i+1)
}

// absorb takes a block off the list that becomes part of another.
func (p *plain) absorb(b, into *block) {
	was := p.rover == b
	p.remove(b)
	if was && p.order == byAddress {
		p.rover = into
	}
	p.steps++
}

// find walks the list.
func (p *plain) find(need uint64) *block {
	start := 0
	if p.fit == nextFit && p.rover != nil {
		start = slices.Index(p.list, p.rover)
	}
	var found *block
	for i := range p.list {
		b := p.list[(start+i)%len(p.list)]
		p.steps++
		if b.size < need {
			continue
		}
		switch p.fit {
		case firstFit, nextFit:
			return b
		case bestFit:
			if found == nil || b.size < found.size {
				found = b
			}
		case worstFit:
			if found == nil || b.size > found.size {
				found = b
			}
		}
	}
	return found
}

func (p *plain) alloc(size uint64, align uint32) *block {
	want := max(p.least, p.boundaryUp(size+p.extra))
	need := want
	if uint64(align) > p.align {
		need = want + uint64(align) + p.least
	}
	b := p.find(need)
	if b == nil && p.coalesce == deferred {
		p.coalesceAll()
		b = p.find(need)
	}
	if b == nil && p.quantum > 0 && p.grow(need) {
		b = p.find(need)
	}
	if b == nil {
		return nil
	}
	return p.take(b, want, uint64(align))
}

func (p *plain) boundaryUp(bytes uint64) uint64 { return (bytes + p.align - 1) / p.align * p.align }

// take cuts the block for a request out of a free one.
func (p *plain) take(b *block, want, align uint64) *block {
	at := slices.Index(p.blocks, b)
	place := slices.Index(p.list, b)
	gap := uint64(0)
	if align > p.align {
		for (b.start+p.front+gap)%align != 0 || gap > 0 && gap < p.least {
			gap++
		}
	}
	rest := b.size - gap - want
	if rest < p.threshold {
		rest = 0
	}
	if align <= p.align && rest > 0 && p.splitHigh {
		up := &block{start: b.start + rest, size: want}
		b.size = rest
		p.blocks = slices.Insert(p.blocks, at+1, up)
		p.rover = b
		return p.use(up)
	}
	mid := &block{start: b.start + gap, size: b.size - gap - rest, wall: b.wall && gap == 0}
	upper := &block{start: mid.start + mid.size, size: rest}
	switch {
	case gap > 0:
		b.size = gap
		p.blocks = slices.Insert(p.blocks, at+1, mid)
		p.rover = b
		at++
	case rest > 0 && align <= p.align:
		// What remains takes the place of the block.
		p.blocks[at] = mid
		p.blocks = slices.Insert(p.blocks, at+1, upper)
		p.list[place] = upper
		p.rover = upper
		return p.use(mid)
	default:
		p.rover = b
		p.remove(b)
		p.blocks[at] = mid
	}
	if rest > 0 {
		p.blocks = slices.Insert(p.blocks, at+1, upper)
		p.enter(upper)
	}
	return p.use(mid)
}

func (p *plain) use(b *block) *block {
	b.used = true
	p.high = max(p.high, b.start+b.size)
	return b
}

func (p *plain) free(b *block) {
	b.used = false
	p.put(b)
	if p.coalesce == deferred {
		if p.frees++; p.every > 0 && p.frees >= p.every {
			p.coalesceAll()
		}
	}
}

func (p *plain) put(b *block) {
	if p.coalesce == immediate {
		b = p.join(b)
	}
	p.enter(b)
}

// join joins a free block that is not on the list with its neighbours, the
// upper one first.
func (p *plain) join(b *block) *block {
	at := slices.Index(p.blocks, b)
	low := b
	if !b.wall && at > 0 && !p.blocks[at-1].used {
		low = p.blocks[at-1]
	}
	if at+1 < len(p.blocks) && !p.blocks[at+1].used && !p.blocks[at+1].wall {
		high := p.blocks[at+1]
		p.absorb(high, low)
		b.size += high.size
		p.blocks = slices.Delete(p.blocks, at+1, at+2)
	}
	if low != b {
		p.absorb(low, low)
		low.size += b.size
		p.blocks = slices.Delete(p.blocks, at, at+1)
	}
	return low
}

func (p *plain) coalesceAll() {
	p.frees = 0
	for i := 0; i < len(p.blocks); i++ {
		b := p.blocks[i]
		for !b.used && i+1 < len(p.blocks) && !p.blocks[i+1].used && !p.blocks[i+1].wall {
			p.absorb(p.blocks[i+1], b)
			b.size += p.blocks[i+1].size
			p.blocks = slices.Delete(p.blocks, i+1, i+2)
		}
	}
}

func (p *plain) grow(need uint64) bool {
	if p.chunks || len(p.blocks) == 0 {
		size := p.quanta(p.boundary(p.brk) - p.brk + need)
		if p.brk+size > p.limit {
			return false
		}
		p.region(size)
		return true
	}
	last := p.blocks[len(p.blocks)-1]
	top := last.start + last.size
	end := top + need
	joins := !last.used && p.coalesce != never
	if joins {
		end = max(top, last.start+need)
	}
	size := p.quanta(end - p.brk)
	if p.brk+size > p.limit {
		return false
	}
	was := p.brk - top
	p.brk += size
	to := p.brk
	for (to+p.front)%p.align != 0 {
		to--
	}
	p.overhead += p.brk - to - was
	b := &block{start: top, size: to - top}
	p.blocks = append(p.blocks, b)
	if joins {
		b = p.join(b)
	}
	p.enter(b)
	return true
}

func (p *plain) quanta(bytes uint64) uint64 {
	size := uint64(0)
	for size < bytes {
		size += p.quantum
	}
	return size
}

func (p *plain) realloc(b *block, size uint64) *block {
	want := max(p.least, p.boundaryUp(size+p.extra))
	if p.inPlace && p.resize(b, want) {
		return b
	}
	c := p.alloc(size, 0)
	if c != nil {
		p.free(b)
	}
	return c
}

func (p *plain) resize(b *block, want uint64) bool {
	at := slices.Index(p.blocks, b)
	if want > b.size {
		if at+1 == len(p.blocks) || p.blocks[at+1].used || p.blocks[at+1].wall || b.size+p.blocks[at+1].size < want {
			return false
		}
		p.remove(p.blocks[at+1])
		b.size += p.blocks[at+1].size
		p.blocks = slices.Delete(p.blocks, at+1, at+2)
	}
	if rest := b.size - want; rest > 0 && rest >= p.threshold {
		b.size = want
		up := &block{start: b.start + want, size: rest}
		p.blocks = slices.Insert(p.blocks, at+1, up)
		p.put(up)
	}
	p.high = max(p.high, b.start+b.size)
	return true
}

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// pair runs the model and the plain heap side by side.
type pair struct {
	h    *heap
	p    *plain
	refs []heapmodel.Ref
	objs []*block
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
	return &pair{h: m, p: newPlain(m.config, m.use.Arena)}, nil
}

// op runs one operation on both and compares what they say. kind is a, r or f;
// object counts the live ones.
func (x *pair) op(kind byte, object int, size uint64, align uint32) error {
	switch kind {
	case 'a':
		r, ok := x.h.Alloc(size, align)
		b := x.p.alloc(size, align)
		if ok != (b != nil) {
			return fmt.Errorf("alloc %d aligned to %d: model %v, plain heap %v", size, align, ok, b != nil)
		}
		if ok {
			x.refs, x.objs = append(x.refs, r), append(x.objs, b)
		}
	case 'r':
		r, ok := x.h.Realloc(x.refs[object], size, 0)
		b := x.p.realloc(x.objs[object], size)
		if ok != (b != nil) {
			return fmt.Errorf("realloc %d: model %v, plain heap %v", size, ok, b != nil)
		}
		if ok {
			x.refs[object], x.objs[object] = r, b
		}
	case 'f':
		x.h.Free(x.refs[object])
		x.p.free(x.objs[object])
		last := len(x.refs) - 1
		x.refs[object], x.objs[object] = x.refs[last], x.objs[last]
		x.refs, x.objs = x.refs[:last], x.objs[:last]
	}
	return x.compare()
}

func (x *pair) compare() error {
	for i, r := range x.refs {
		if got, want := uint64(x.h.Addr(r)), x.objs[i].start+x.p.front; got != want {
			return fmt.Errorf("object %d is at %d, in the plain heap at %d\n%s", i, got, want, x)
		}
	}
	u := x.h.Usage()
	var allocated, free uint64
	for _, b := range x.p.blocks {
		if b.used {
			allocated += b.size
		} else {
			free += b.size
		}
	}
	want := heapmodel.Usage{
		Arena: x.p.brk, HighWater: x.p.high, Allocated: allocated, Free: free, Overhead: x.p.overhead,
		UsedBlocks: uint64(len(x.objs)), FreeBlocks: uint64(len(x.p.list)), Steps: x.p.steps, Grown: u.Grown,
	}
	if *u != want {
		return fmt.Errorf("usage %+v, of the plain heap %+v\n%s", *u, want, x)
	}
	return x.h.Check()
}

func (x *pair) String() string {
	var b strings.Builder
	b.WriteString("plain heap:")
	for _, k := range x.p.blocks {
		fmt.Fprintf(&b, " [%d+%d used=%v]", k.start, k.size, k.used)
	}
	b.WriteString("\nmodel:     ")
	for k := range x.h.Blocks() {
		fmt.Fprintf(&b, " [%d+%d used=%v]", k.Addr, k.Size, k.Used)
	}
	return b.String()
}

// TestOracle compares the model with the plain heap over random parameters and
// operations: addresses, counters and steps after every one.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(key string, values ...string) string {
			return key + "=" + rapid.SampledFrom(values).Draw(t, key)
		}
		parts := []string{
			pick("fit", "first", "best", "next", "worst"), pick("order", "address", "lifo", "fifo"),
			pick("split", "low", "high"), pick("align", "1", "2", "8", "16"), pick("header", "0", "1", "4", "8"),
			pick("footer", "0", "4"), pick("guard", "0", "3"), pick("realloc", "move", "inplace"),
			pick("threshold", "0", "1", "24"), pick("min", "0", "16"),
		}
		coalesce := pick("coalesce", "immediate", "deferred", "never")
		parts = append(parts, coalesce)
		if coalesce == "coalesce=deferred" {
			parts = append(parts, pick("every", "0", "3"))
		}
		if rapid.Bool().Draw(t, "grows") {
			parts = append(parts, pick("quantum", "1", "7", "64", "100"), pick("growth", "contiguous", "chunks"), pick("grow", "300", "1000", "4KiB"))
			if rapid.Bool().Draw(t, "starts with memory") {
				parts = append(parts, pick("capacity", "64", "100", "200"))
			}
		} else {
			parts = append(parts, pick("capacity", "64", "129", "500", "1000"))
		}
		spec := "sequential:" + strings.Join(parts, ",")
		x, err := newPair(spec)
		if err != nil {
			t.Skip(err)
		}
		ops := rapid.IntRange(1, 120).Draw(t, "operations")
		for i := range ops {
			kind := rapid.SampledFrom([]byte("aaaffr")).Draw(t, "kind")
			if len(x.refs) == 0 {
				kind = 'a'
			}
			object := 0
			if kind != 'a' {
				object = rapid.IntRange(0, len(x.refs)-1).Draw(t, "object")
			}
			size := rapid.SampledFrom([]uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 40, 64, 100, 250}).Draw(t, "size")
			align := uint32(0)
			if kind == 'a' && rapid.IntRange(0, 9).Draw(t, "aligned") == 0 {
				align = rapid.SampledFrom([]uint32{1, 4, 32, 128}).Draw(t, "align")
			}
			if err := x.op(kind, object, size, align); err != nil {
				t.Fatalf("%s: operation %d, %c: %v", spec, i, kind, err)
			}
		}
	})
}

// TestTinyHeaps compares the model with the plain heap over every sequence of
// operations on heaps of 7 bytes without headers, for every policy.
func TestTinyHeaps(t *testing.T) {
	depth := 4
	if *long {
		depth = 6
	}
	for _, fits := range []string{"first", "best", "next", "worst"} {
		t.Run(fits, func(t *testing.T) {
			t.Parallel()
			for _, order := range []string{"address", "lifo", "fifo"} {
				for _, coalesce := range []string{"immediate", "deferred", "never"} {
					for _, split := range []string{"low", "high"} {
						for _, grows := range []string{"", ",quantum=3,grow=10", ",quantum=3,grow=10,growth=chunks"} {
							spec := fmt.Sprintf("sequential:capacity=7,header=0,align=1,fit=%s,order=%s,coalesce=%s,split=%s%s", fits, order, coalesce, split, grows)
							if err := everySequence(spec, depth, nil); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
			}
		})
	}
}

type tinyOp struct {
	kind   byte
	object int
	size   uint64
}

// everySequence tries every way to go on from the operations so far.
func everySequence(spec string, depth int, sofar []tinyOp) error {
	x, err := newPair(spec)
	if err != nil {
		return err
	}
	for _, o := range sofar {
		if err := x.op(o.kind, o.object, o.size, 0); err != nil {
			return fmt.Errorf("%s: %v: %w", spec, sofar, err)
		}
	}
	if len(sofar) == depth {
		return nil
	}
	next := []tinyOp{{kind: 'a', size: 1}, {kind: 'a', size: 2}, {kind: 'a', size: 4}}
	for i := range x.refs {
		next = append(next, tinyOp{kind: 'f', object: i})
	}
	for _, o := range next {
		if err := everySequence(spec, depth, append(sofar[:len(sofar):len(sofar)], o)); err != nil {
			return err
		}
	}
	return nil
}

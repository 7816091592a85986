package halffit

import (
	"flag"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

// plain is the heap as the documentation of the package has it: blocks in a
// slice by address, and one slice of all free blocks, newest first, that stands
// for all lists. It shares the numbers of arena.Config with the model and no
// more.
type plain struct {
	arena.Config
	blocks []*block // by address
	free   []*block // newest first
	brk    uint64
	high   uint64
	steps  uint64
	grown  heapmodel.Growth
}

type block struct {
	start, size uint64
	used        bool
}

func newPlain(h heapmodel.Heap) oracle.Plain {
	p := &plain{Config: h.(*heap).Config}
	if p.Capacity > 0 {
		p.raise(p.Capacity)
	}
	return p
}

// end returns the end of all blocks.
func (p *plain) end() uint64 {
	if len(p.blocks) == 0 {
		return p.Pad
	}
	last := p.blocks[len(p.blocks)-1]
	return last.start + last.size
}

// raise adds bytes at the break.
func (p *plain) raise(bytes uint64) {
	p.brk += bytes
	start := p.end()
	size := uint64(0)
	for start+size+p.Grain <= p.brk {
		size += p.Grain
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

func (p *plain) Alloc(size uint64, align uint32) heapmodel.Addr {
	want := p.Grain
	for want < size+p.Header || want < p.Least {
		want += p.Grain
	}
	need := want
	if uint64(align) > p.Grain {
		need += uint64(align) + p.Least
	}
	b := p.find(need)
	if b == nil && p.Quantum > 0 && p.grow(need) {
		b = p.find(need)
	}
	if b == nil {
		return heapmodel.Null
	}
	p.unlist(b)
	b.used = true
	gap := uint64(0)
	for align > 0 && (b.start+gap+p.Header)%uint64(align) != 0 || gap > 0 && gap < p.Least {
		gap += p.Grain
	}
	if gap > 0 {
		up := p.cut(b, gap)
		p.put(b)
		b = up
	}
	if rest := b.size - want; rest > 0 && rest >= p.Least {
		p.put(p.cut(b, want))
	}
	p.high = max(p.high, b.start+b.size)
	return heapmodel.Addr(b.start + p.Header)
}

func (p *plain) Free(a heapmodel.Addr) {
	p.release(p.blocks[slices.IndexFunc(p.blocks, func(b *block) bool { return b.used && b.start+p.Header == uint64(a) })])
}

func (p *plain) Realloc(a heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	b := p.Alloc(size, align)
	if b != heapmodel.Null {
		p.Free(a)
	}
	return b
}

func (p *plain) Blocks() (out []heapmodel.Block) {
	for _, b := range p.blocks {
		out = append(out, heapmodel.Block{Addr: heapmodel.Addr(b.start), Size: b.size, Used: b.used})
	}
	return out
}

func (p *plain) Usage() heapmodel.Usage {
	u := oracle.Sum(p.Blocks(), p.brk)
	u.HighWater, u.Steps, u.Grown = p.high, p.steps, p.grown
	return u
}

// grow raises the break, a quantum at a time, until the last block will do.
func (p *plain) grow(need uint64) bool {
	least := p.Grain
	for least < need {
		least *= 2
	}
	quanta := uint64(0)
	for {
		quanta++
		brk := p.brk + quanta*p.Quantum
		if brk > p.Limit {
			return false
		}
		start := p.end()
		if k := len(p.blocks); k > 0 && !p.blocks[k-1].used {
			start = p.blocks[k-1].start
		}
		if brk >= start && (brk-start)/p.Grain*p.Grain >= least {
			p.grown = oracle.Growth(least, p.Blocks())
			p.raise(quanta * p.Quantum)
			return true
		}
	}
}

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

func pairsOf(spec string) (func() (*oracle.Pair, error), error) {
	return oracle.Pairs([]*heapmodel.Model{Model}, spec, newPlain)
}

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
		pairs, err := pairsOf("half-fit:" + strings.Join(parts, ","))
		if err != nil {
			t.Fatal(err)
		}
		x, err := pairs()
		if err != nil {
			t.Skip(err)
		}
		sizes := []uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 40, 64, 100, 250}
		oracle.Random(t, x, sizes, []uint32{1, 4, 32, 128}, 120)
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
			pairs, err := pairsOf("half-fit:header=0,align=1," + args)
			if err != nil {
				t.Fatal(err)
			}
			oracle.Exhaust(t, pairs, oracle.Tree{Sizes: []uint64{1, 2, 3, 5}, Depth: depth}, oracle.Tree{Sizes: []uint64{1, 3}, Reallocs: true, Depth: depth - 1})
		})
	}
}

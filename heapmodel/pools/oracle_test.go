package pools

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// plain is the pools as the documentation of the package has them, behind them
// a heap of its own.
type plain struct {
	pools    []*plainPool // by address
	fallback bool
	header   uint64
	end      uint64
	over     heapmodel.Heap // nil if there is none
	base     uint64
	refs     map[heapmodel.Addr]heapmodel.Ref // of over
	steps    uint64
	high     uint64
}

type plainPool struct {
	start, stride uint64
	free          []int // numbers of free blocks, the top first
	used          map[int]bool
	count         int
}

// newPlain reads blocks, SIZExCOUNT+..., by its own rules.
func newPlain(f *fixed, blocks string, control uint64, fallback bool, over heapmodel.Heap, base uint64) *plain {
	p := &plain{fallback: fallback, header: f.Header, over: over, base: base, refs: map[heapmodel.Addr]heapmodel.Ref{}}
	for text := range strings.SplitSeq(blocks, "+") {
		var size uint64
		q := &plainPool{used: map[int]bool{}}
		fmt.Sscanf(strings.Replace(text, "x", " ", 1), "%d %d", &size, &q.count)
		q.start = p.end + control
		for (q.start+p.header)%f.Grain != 0 {
			q.start++
		}
		for q.stride = size + p.header; q.stride%f.Grain != 0; q.stride++ {
		}
		for i := range q.count {
			q.free = append(q.free, i)
		}
		p.end = q.start + q.stride*uint64(q.count)
		p.pools = append(p.pools, q)
	}
	return p
}

// candidates returns the pools in the order in which a request looks at them.
func (p *plain) candidates() []*plainPool {
	all := slices.Clone(p.pools)
	slices.SortStableFunc(all, func(a, b *plainPool) int { return int(a.stride) - int(b.stride) })
	return all
}

func (p *plain) aligned(q *plainPool, align uint32) bool {
	for i := range q.count {
		if align > 0 && (q.start+uint64(i)*q.stride+p.header)%uint64(align) != 0 {
			return false
		}
	}
	// A single block has the alignment of its size only, as a pool of more.
	return align == 0 || q.stride%uint64(align) == 0
}

func (p *plain) fromPools(size uint64, align uint32) heapmodel.Addr {
	for _, q := range p.candidates() {
		p.steps++
		if q.stride < size+p.header || !p.aligned(q, align) {
			continue
		}
		if len(q.free) > 0 {
			i := q.free[0]
			q.free = q.free[1:]
			q.used[i] = true
			at := q.start + uint64(i)*q.stride
			p.high = max(p.high, at+q.stride)
			return heapmodel.Addr(at + p.header)
		}
		if !p.fallback {
			break
		}
	}
	return heapmodel.Null
}

func (p *plain) Alloc(size uint64, align uint32) heapmodel.Addr {
	if a := p.fromPools(size, align); a != heapmodel.Null {
		return a
	}
	return p.fromOver(size, align)
}

func (p *plain) fromOver(size uint64, align uint32) heapmodel.Addr {
	if p.over == nil {
		return heapmodel.Null
	}
	r, ok := p.over.Alloc(size, align)
	if !ok {
		return heapmodel.Null
	}
	a := p.over.Addr(r) + heapmodel.Addr(p.base)
	p.refs[a] = r
	return a
}

// find returns the pool and number of the block of an object, or nil.
func (p *plain) find(a heapmodel.Addr) (*plainPool, int) {
	for _, q := range p.pools {
		for i := range q.used {
			if q.start+uint64(i)*q.stride+p.header == uint64(a) {
				return q, i
			}
		}
	}
	return nil, 0
}

func (p *plain) Free(a heapmodel.Addr) {
	if q, i := p.find(a); q != nil {
		delete(q.used, i)
		q.free = slices.Insert(slices.Clone(q.free), 0, i)
		return
	}
	p.over.Free(p.refs[a])
	delete(p.refs, a)
}

func (p *plain) Realloc(a heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	q, _ := p.find(a)
	if q != nil {
		if size+p.header <= q.stride {
			return a
		}
		b := p.Alloc(size, align)
		if b != heapmodel.Null {
			p.Free(a)
		}
		return b
	}
	if r, ok := p.over.Realloc(p.refs[a], size, align); ok {
		delete(p.refs, a)
		b := p.over.Addr(r) + heapmodel.Addr(p.base)
		p.refs[b] = r
		return b
	}
	b := p.fromPools(size, align)
	if b != heapmodel.Null {
		p.Free(a)
	}
	return b
}

func (p *plain) Usage() heapmodel.Usage {
	u := heapmodel.Usage{Arena: p.end, HighWater: p.high, Steps: p.steps}
	for _, q := range p.pools {
		u.UsedBlocks += uint64(len(q.used))
		u.FreeBlocks += uint64(len(q.free))
		u.Allocated += uint64(len(q.used)) * q.stride
		u.Free += uint64(len(q.free)) * q.stride
	}
	u.Overhead = u.Arena - u.Allocated - u.Free
	if p.over == nil {
		return u
	}
	o := p.over.Usage()
	u.Arena += o.Arena
	u.Allocated += o.Allocated
	u.Free += o.Free
	u.Overhead += o.Overhead
	u.UsedBlocks += o.UsedBlocks
	u.FreeBlocks += o.FreeBlocks
	u.Steps += o.Steps
	u.Grown = o.Grown
	if o.HighWater > 0 {
		u.HighWater = max(u.HighWater, p.base+o.HighWater)
	}
	return u
}

func (p *plain) Blocks() (out []heapmodel.Block) {
	for _, q := range p.pools {
		for i := range q.count {
			out = append(out, heapmodel.Block{Addr: heapmodel.Addr(q.start + uint64(i)*q.stride), Size: q.stride, Used: q.used[i]})
		}
	}
	if p.over != nil {
		for b := range p.over.Blocks() {
			b.Addr += heapmodel.Addr(p.base)
			out = append(out, b)
		}
	}
	return out
}

// config is a spec in parts.
type config struct {
	blocks, fallback, over string
	control                uint64
	args                   string
}

// pairsOf returns a function that makes pairs. over is a spec, or none.
func pairsOf(c config) (func() (*oracle.Pair, error), error) {
	text := fmt.Sprintf("pools:blocks=%s,fallback=%s,control=%d%s", c.blocks, c.fallback, c.control, c.args)
	var inner *heapmodel.Spec
	if c.over != "" {
		text += ",overflow=[" + c.over + "]"
		var err error
		if inner, err = heapmodel.ParseSpec(models(), c.over); err != nil {
			return nil, err
		}
	}
	s, err := heapmodel.ParseSpec(models(), text)
	if err != nil {
		return nil, err
	}
	return func() (*oracle.Pair, error) {
		made, err := s.New()
		if err != nil {
			return nil, err
		}
		h := made.(*heap)
		var over heapmodel.Heap
		base := uint64(0)
		if inner != nil {
			if over, err = inner.New(); err != nil {
				return nil, err
			}
			base = uint64(h.Regions()[1].Addr)
		}
		return &oracle.Pair{H: h, P: newPlain(h.pools, c.blocks, c.control, c.fallback == "next", over, base)}, nil
	}, nil
}

// TestTinyHeaps compares the model with the plain pools over every sequence of
// operations on a few blocks.
func TestTinyHeaps(t *testing.T) {
	depth := 5
	if *long {
		depth = 7
	}
	for _, blocks := range []string{"1x2+2x1+4x1", "4x1+1x1+2x1"} {
		for _, fallback := range []string{"next", "none"} {
			for _, over := range []string{"", "sequential:capacity=6,header=0,align=1,realloc=inplace"} {
				t.Run(blocks+" "+fallback+" "+over, func(t *testing.T) {
					t.Parallel()
					pairs, err := pairsOf(config{blocks: blocks, fallback: fallback, over: over, args: ",align=1"})
					if err != nil {
						t.Fatal(err)
					}
					oracle.Exhaust(t, pairs,
						oracle.Tree{Sizes: []uint64{1, 2, 4, 5}, Depth: depth},
						oracle.Tree{Sizes: []uint64{1, 3, 5}, Reallocs: true, Depth: depth - 1})
				})
			}
		}
	}
}

// TestOracle compares the model with the plain pools over random parameters and
// operations.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(key string, values ...string) string {
			return rapid.SampledFrom(values).Draw(t, key)
		}
		c := config{
			blocks:   pick("blocks", "8x5", "16x4+32x4+64x2", "100x3+7x6+31x2", "24x3+24x4+48x1"),
			fallback: pick("fallback", "next", "none"),
			over:     pick("overflow", "", "sequential:capacity=1000", "sequential:quantum=100,grow=2000,header=0,realloc=inplace", "sequential:capacity=4KiB,fit=best,ptr=64"),
			control:  rapid.SampledFrom([]uint64{0, 3, 16}).Draw(t, "control"),
		}
		c.args = ",align=" + pick("align", "1", "2", "8", "16") + ",header=" + pick("header", "0", "1", "4", "8")
		pairs, err := pairsOf(c)
		if err != nil {
			t.Fatal(err)
		}
		x, err := pairs()
		if err != nil {
			t.Fatal(err)
		}
		sizes := []uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 31, 32, 40, 64, 100, 127, 128, 250}
		oracle.Random(t, x, sizes, []uint32{1, 4, 8, 32}, 120)
	})
}

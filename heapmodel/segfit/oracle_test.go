package segfit

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// plain is the heap as the documentation of the package has it: blocks in a
// slice by address, a slice for the list of each class, and nothing but walks.
// It shares the numbers of arena.Config with the model and no more.
type plain struct {
	arena.Config
	bounds    []uint64 // bytes
	best      bool
	order     listOrder
	inPlace   bool
	threshold uint64

	blocks []*block // by address
	lists  [][]*block
	brk    uint64
	high   uint64
	steps  uint64
	grown  heapmodel.Growth
}

type block struct {
	start, size, payload uint64
	used                 bool
}

func newPlain(h *heap, bounds []uint64) *plain {
	p := &plain{Config: h.Config, best: h.best, order: h.order, inPlace: h.inPlace, threshold: h.threshold, bounds: bounds}
	p.lists = make([][]*block, len(p.bounds))
	if h.Capacity > 0 {
		p.obtain(h.Capacity)
	}
	return p
}

// classBounds returns the lower bounds of all classes that a block can be in.
func classBounds(p arena.Config, classes string) (kept []uint64) {
	var all []uint64
	switch classes {
	case "pow2", "quarter":
		for log2 := range 62 {
			size := uint64(1) << log2
			all = append(all, size)
			if classes == "quarter" && log2 >= 2 {
				all = append(all, size*5/4, size*6/4, size*7/4)
			}
		}
	default:
		for text := range strings.SplitSeq(classes, "+") {
			var size uint64
			fmt.Sscan(text, &size)
			all = append(all, size)
		}
		all[0] = 0
	}
	for i, bound := range all {
		least := max(p.Least, p.Up(bound)) // the smallest block from the bound on
		if least <= p.Reach() && (i+1 == len(all) || least < all[i+1]) {
			kept = append(kept, bound)
		}
	}
	return kept
}

func (p *plain) classOf(size uint64) int {
	class := 0
	for class+1 < len(p.bounds) && p.bounds[class+1] <= size {
		class++
	}
	return class
}

func (p *plain) find(need uint64) *block {
	for class := p.classOf(need); class < len(p.bounds); class++ {
		p.steps++
		var found *block
		for _, b := range p.lists[class] {
			p.steps++
			if b.size < need {
				continue
			}
			if !p.best {
				return b
			}
			if found == nil || b.size < found.size {
				found = b
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

func (p *plain) enter(b *block) {
	class := p.classOf(b.size)
	l := p.lists[class]
	at := 0
	switch p.order {
	case fifo:
		at = len(l)
	case byAddress:
		for at < len(l) && l[at].start < b.start {
			at++
			if !p.best {
				p.steps++
			}
		}
	}
	p.lists[class] = slices.Insert(l, at, b)
}

func (p *plain) unlink(b *block) {
	class := p.classOf(b.size)
	i := slices.Index(p.lists[class], b)
	p.lists[class] = slices.Delete(p.lists[class], i, i+1)
}

func (p *plain) Alloc(size uint64, align uint32) heapmodel.Addr {
	want := max(p.Least, p.Up(size+p.Header))
	need := want
	if uint64(align) > p.Grain {
		need += uint64(align) + p.Least
	}
	b := p.find(need)
	if b == nil && p.grow(need) {
		b = p.find(need)
	}
	if b == nil {
		return heapmodel.Null
	}
	p.unlink(b)
	b.used = true
	at := slices.Index(p.blocks, b)
	gap := uint64(0)
	for align > 0 && (b.start+gap+p.Header)%uint64(align) != 0 || gap > 0 && gap < p.Least {
		gap++
	}
	if gap > 0 {
		low := &block{start: b.start, size: gap}
		b.start += gap
		b.size -= gap
		p.blocks = slices.Insert(p.blocks, at, low)
		p.enter(low)
		at++
	}
	p.cut(at, want)
	b.payload = b.start + p.Header
	p.high = max(p.high, b.start+b.size)
	return heapmodel.Addr(b.payload)
}

// cut cuts what is more than want off a block, if that is enough for one.
func (p *plain) cut(at int, want uint64) {
	b := p.blocks[at]
	if rest := b.size - want; rest >= p.threshold {
		b.size = want
		up := &block{start: b.start + want, size: rest}
		p.blocks = slices.Insert(p.blocks, at+1, up)
		p.put(at + 1)
	}
}

// put joins a block that becomes free with its neighbours and lists it.
func (p *plain) put(at int) {
	p.blocks[at].used = false
	if at+1 < len(p.blocks) && !p.blocks[at+1].used {
		p.unlink(p.blocks[at+1])
		p.join(at)
	}
	if at > 0 && !p.blocks[at-1].used {
		at--
		p.unlink(p.blocks[at])
		p.join(at)
	}
	p.enter(p.blocks[at])
}

func (p *plain) join(at int) {
	p.steps++
	p.blocks[at].size += p.blocks[at+1].size
	p.blocks = slices.Delete(p.blocks, at+1, at+2)
}

func (p *plain) end() uint64 {
	if len(p.blocks) == 0 {
		return p.Pad
	}
	last := p.blocks[len(p.blocks)-1]
	return last.start + last.size
}

func (p *plain) grow(need uint64) bool {
	if p.Quantum == 0 {
		return false
	}
	end := p.end() + need
	if last := len(p.blocks) - 1; last >= 0 && !p.blocks[last].used {
		end -= p.blocks[last].size
	}
	size := uint64(0)
	for p.brk+size < end {
		size += p.Quantum
	}
	if p.brk+size > p.Limit {
		return false
	}
	p.grown = oracle.Growth(need, p.Blocks())
	p.obtain(size)
	return true
}

func (p *plain) obtain(size uint64) {
	p.brk += size
	b := &block{start: p.end()}
	for b.start+b.size+p.Grain <= p.brk {
		b.size += p.Grain
	}
	p.blocks = append(p.blocks, b)
	p.put(len(p.blocks) - 1)
}

func (p *plain) object(a heapmodel.Addr) int {
	return slices.IndexFunc(p.blocks, func(b *block) bool { return b.used && b.payload == uint64(a) })
}

func (p *plain) Free(a heapmodel.Addr) { p.put(p.object(a)) }

func (p *plain) Realloc(a heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	at := p.object(a)
	if p.inPlace && p.resize(at, max(p.Least, p.Up(size+p.Header))) {
		return a
	}
	b := p.Alloc(size, align)
	if b != heapmodel.Null {
		p.Free(a)
	}
	return b
}

func (p *plain) resize(at int, want uint64) bool {
	b := p.blocks[at]
	if want > b.size {
		if at+1 == len(p.blocks) || p.blocks[at+1].used || b.size+p.blocks[at+1].size < want {
			return false
		}
		p.unlink(p.blocks[at+1])
		p.join(at)
		p.steps-- // taken, not joined
	}
	p.cut(at, want)
	p.high = max(p.high, b.start+b.size)
	return true
}

func (p *plain) Usage() heapmodel.Usage {
	u := oracle.Sum(p.Blocks(), p.brk)
	u.HighWater, u.Steps, u.Grown = p.high, p.steps, p.grown
	return u
}

func (p *plain) Blocks() []heapmodel.Block {
	var out []heapmodel.Block
	for _, b := range p.blocks {
		out = append(out, heapmodel.Block{Addr: heapmodel.Addr(b.start), Size: b.size, Used: b.used})
	}
	return out
}

// pairsOf returns a function that makes pairs of the spec.
func pairsOf(text string) (func() (*oracle.Pair, error), error) {
	classes := "pow2"
	if _, after, ok := strings.Cut(text, "classes="); ok {
		classes, _, _ = strings.Cut(after, ",")
	}
	var bounds []uint64
	return oracle.Pairs([]*heapmodel.Model{Model}, text, func(h heapmodel.Heap) oracle.Plain {
		if bounds == nil {
			bounds = classBounds(h.(*heap).Config, classes)
		}
		return newPlain(h.(*heap), bounds)
	})
}

func pairOf(text string) (*oracle.Pair, error) {
	pairs, err := pairsOf(text)
	if err != nil {
		return nil, err
	}
	return pairs()
}

// TestTinyHeaps compares the model with the plain heap over every sequence of
// operations on heaps of 16 bytes without headers, for every policy.
func TestTinyHeaps(t *testing.T) {
	depth := 5
	if *long {
		depth = 7
	}
	for _, classes := range []string{"pow2", "quarter", "1+3+5"} {
		for _, policy := range []string{"first,order=lifo", "first,order=fifo", "first,order=address", "best,order=lifo", "best,order=fifo", "best,order=address"} {
			t.Run(classes+" "+policy, func(t *testing.T) {
				t.Parallel()
				for _, grows := range []string{"capacity=16", "quantum=3,grow=16"} {
					spec := "segregated-fit:header=0,align=1,realloc=inplace,classes=" + classes + ",fit=" + policy + "," + grows
					pairs, err := pairsOf(spec)
					if err != nil {
						t.Fatal(err)
					}
					oracle.Exhaust(t, pairs,
						oracle.Tree{Sizes: []uint64{1, 2, 3, 7}, Depth: depth},
						oracle.Tree{Sizes: []uint64{1, 3, 6}, Reallocs: true, Depth: depth - 1})
				}
			})
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
			pick("classes", "pow2", "quarter", "16+48+96", "8+9+10+64+1024", "2000"), pick("fit", "first", "best"),
			pick("order", "lifo", "fifo", "address"), pick("min", "0", "20"), pick("threshold", "0", "24"),
			pick("align", "1", "2", "8", "16"), pick("header", "0", "1", "4", "8"), pick("realloc", "move", "inplace"),
		}
		if rapid.Bool().Draw(t, "grows") {
			parts = append(parts, pick("quantum", "1", "7", "100", "500"), pick("grow", "300", "1000", "4KiB"))
			if rapid.Bool().Draw(t, "starts with memory") {
				parts = append(parts, pick("capacity", "64", "100", "200"))
			}
		} else {
			parts = append(parts, pick("capacity", "64", "129", "500", "2000"))
		}
		x, err := pairOf("segregated-fit:" + strings.Join(parts, ","))
		if err != nil {
			t.Skip(err)
		}
		sizes := []uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 31, 32, 40, 64, 100, 127, 128, 250}
		oracle.Random(t, x, sizes, []uint32{1, 4, 32, 128}, 120)
	})
}

// TestNumbersRunOut goes past the last number of LIFO and FIFO lists, which
// then number their blocks anew, in step with the plain heap.
func TestNumbersRunOut(t *testing.T) {
	for _, args := range []string{"order=lifo", "order=fifo", "order=lifo,fit=best", "order=fifo,fit=best"} {
		t.Run(args, func(t *testing.T) {
			x, err := pairOf("segregated-fit:capacity=20000,header=0,align=1,classes=quarter," + args)
			if err != nil {
				t.Fatal(err)
			}
			h := x.H.(*heap)
			rng := rand.New(rand.NewPCG(1, 2))
			far := false
			for i := range 3000 {
				if i == 1000 {
					// As after four thousand million frees.
					base := uint32(900)
					if h.order == fifo {
						base = 1<<32 - 2 - 900
					}
					for _, list := range h.lists {
						if list != nil {
							list.Rekey(base)
						}
					}
					h.key = base
					if h.order == fifo {
						h.key += 400
					}
					far = true
				}
				s := oracle.Step{Kind: 'a', Size: 1 + rng.Uint64N(60)}
				if n := x.Live(); n > 30 || n > 0 && rng.IntN(2) == 0 {
					s.Kind, s.Object = 'f', rng.IntN(n)
				}
				err := x.Do(s)
				if err == nil {
					err = x.Compare()
				}
				if err != nil {
					t.Fatalf("operation %d: %v", i, err)
				}
			}
			if !far || h.key < 1<<30 || h.key > 3<<30 {
				t.Errorf("the latest number is %d: the lists were not numbered anew", h.key)
			}
		})
	}
}

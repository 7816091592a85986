package bump

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// part is a block of a plain heap.
type part struct {
	start, size, payload uint64
	dead                 bool
	chunk                *piece
}

// merged returns the parts as blocks, adjacent dead ones of the same chunk as one.
func merged(parts []*part) (out []heapmodel.Block) {
	for i, q := range parts {
		b := heapmodel.Block{Addr: heapmodel.Addr(q.start), Size: q.size, Used: true}
		if i > 0 && q.dead && parts[i-1].dead && q.chunk == parts[i-1].chunk {
			out[len(out)-1].Size += q.size
			continue
		}
		out = append(out, b)
	}
	return out
}

// usage adds up blocks.
func usage(all []heapmodel.Block, brk, high, steps uint64, grown heapmodel.Growth) heapmodel.Usage {
	u := oracle.Sum(all, brk)
	u.HighWater, u.Steps, u.Grown = high, steps, grown
	return u
}

// plainBump is the bump heap as the documentation of the package has it. It
// shares the numbers of arena.Config with the model and no more.
type plainBump struct {
	arena.Config
	reclaim reclaim
	inPlace bool
	parts   []*part
	pointer uint64
	brk     uint64
	high    uint64
	grown   heapmodel.Growth
}

func (p *plainBump) top() uint64 {
	end := p.Pad
	for end+p.Grain <= p.brk {
		end += p.Grain
	}
	return end
}

func (p *plainBump) room() uint64 { return p.top() - p.pointer }

func (p *plainBump) reserve(want uint64) bool {
	if want <= p.room() {
		return true
	}
	brk := p.brk
	for p.Quantum > 0 && brk < p.pointer+want {
		brk += p.Quantum
	}
	if p.Quantum == 0 || brk > p.Limit {
		return false
	}
	free := uint64(0)
	if p.brk > p.pointer {
		free = p.room()
	}
	p.grown = heapmodel.Growth{Need: want, Free: free, LargestFree: free}
	p.brk = brk
	return true
}

func (p *plainBump) Alloc(size uint64, align uint32) heapmodel.Addr {
	payload := p.pointer + p.Header
	for align > 0 && payload%uint64(align) != 0 {
		payload++
	}
	want := payload - p.Header - p.pointer + max(p.Least, p.Up(size+p.Header))
	if !p.reserve(want) {
		return heapmodel.Null
	}
	p.parts = append(p.parts, &part{start: p.pointer, size: want, payload: payload})
	p.pointer += want
	p.high = max(p.high, p.pointer)
	return heapmodel.Addr(payload)
}

func (p *plainBump) object(a heapmodel.Addr) int {
	return slices.IndexFunc(p.parts, func(q *part) bool { return !q.dead && q.payload == uint64(a) })
}

func (p *plainBump) Free(a heapmodel.Addr) {
	i := p.object(a)
	p.parts[i].dead = true
	anyLive := slices.ContainsFunc(p.parts, func(q *part) bool { return !q.dead })
	switch {
	case p.reclaim == reclaimLast && i == len(p.parts)-1:
		p.pointer = p.parts[i].start
		p.parts = p.parts[:i]
	case p.reclaim == reclaimEmpty && !anyLive:
		p.pointer = p.Pad
		p.parts = nil
	}
}

func (p *plainBump) Realloc(a heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	i := p.object(a)
	q := p.parts[i]
	want := q.payload - p.Header - q.start + max(p.Least, p.Up(size+p.Header))
	switch last := i == len(p.parts)-1; {
	case p.inPlace && last:
		if want > q.size && !p.reserve(want-q.size) {
			return heapmodel.Null
		}
		q.size = want
		p.pointer = q.start + want
		p.high = max(p.high, p.pointer)
		return a
	case p.inPlace && want <= q.size:
		return a
	}
	b := p.Alloc(size, align)
	if b != heapmodel.Null {
		p.Free(a)
	}
	return b
}

func (p *plainBump) Blocks() []heapmodel.Block {
	out := merged(p.parts)
	if p.top() > p.pointer {
		out = append(out, heapmodel.Block{Addr: heapmodel.Addr(p.pointer), Size: p.room()})
	}
	return out
}

func (p *plainBump) Usage() heapmodel.Usage { return usage(p.Blocks(), p.brk, p.high, 0, p.grown) }

// plainRegion is the region heap as its documentation has it.
type plainRegion struct {
	arena.Config
	inPlace        bool
	chunk, control uint64
	pieces         []*piece // chunks and free runs by address
	current        *piece
	brk            uint64
	high           uint64
	steps          uint64
	grown          heapmodel.Growth
}

// piece is a chunk or a free run.
type piece struct {
	start, size uint64
	used        bool
	pointer     uint64 // of a chunk
	parts       []*part
}

func (p *plainRegion) Alloc(size uint64, align uint32) heapmodel.Addr {
	p.steps++
	block := max(p.Least, p.Up(size+p.Header))
	most := block
	if uint64(align) > p.Grain {
		most += uint64(align) - p.Grain
	}
	if p.control+most > p.chunk {
		c := p.take(p.control + most)
		if c == nil {
			return heapmodel.Null
		}
		return p.place(c, block, align, most)
	}
	if p.current != nil {
		if a := p.place(p.current, block, align, 0); a != heapmodel.Null {
			return a
		}
	}
	c := p.take(p.chunk)
	if c == nil {
		return heapmodel.Null
	}
	p.current = c
	return p.place(c, block, align, 0)
}

// place puts an object into a chunk; its block has so many bytes if exact is
// not zero.
func (p *plainRegion) place(c *piece, block uint64, align uint32, exact uint64) heapmodel.Addr {
	payload := c.pointer + p.Header
	for align > 0 && payload%uint64(align) != 0 {
		payload++
	}
	want := payload - p.Header - c.pointer + block
	if exact > 0 {
		want = exact
	}
	if c.pointer+want > c.start+c.size {
		return heapmodel.Null
	}
	c.parts = append(c.parts, &part{start: c.pointer, size: want, payload: payload, chunk: c})
	c.pointer += want
	p.high = max(p.high, c.pointer)
	return heapmodel.Addr(payload)
}

// take makes a chunk of the first free run that is long enough.
func (p *plainRegion) take(want uint64) *piece {
	c := p.find(want)
	if c == nil && p.grow(want) {
		c = p.find(want)
	}
	if c == nil {
		return nil
	}
	if rest := c.size - want; rest > 0 {
		at := slices.Index(p.pieces, c)
		p.pieces = slices.Insert(p.pieces, at+1, &piece{start: c.start + want, size: rest})
		c.size = want
	}
	c.used = true
	c.pointer = c.start + p.control
	return c
}

func (p *plainRegion) find(want uint64) *piece {
	for _, c := range p.pieces {
		if c.used {
			continue
		}
		p.steps++
		if c.size >= want {
			return c
		}
	}
	return nil
}

func (p *plainRegion) end() uint64 {
	if len(p.pieces) == 0 {
		return p.Pad
	}
	last := p.pieces[len(p.pieces)-1]
	return last.start + last.size
}

func (p *plainRegion) grow(want uint64) bool {
	end := p.end() + want
	if last := len(p.pieces) - 1; last >= 0 && !p.pieces[last].used {
		end -= p.pieces[last].size
	}
	brk := p.brk
	for p.Quantum > 0 && brk < end {
		brk += p.Quantum
	}
	if p.Quantum == 0 || brk > p.Limit {
		return false
	}
	p.grown = oracle.Growth(want, p.Blocks())
	p.obtain(brk)
	return true
}

func (p *plainRegion) obtain(brk uint64) {
	c := &piece{start: p.end()}
	for p.brk = brk; c.start+c.size+p.Grain <= brk; c.size += p.Grain {
	}
	p.pieces = append(p.pieces, c)
	p.put(len(p.pieces) - 1)
}

// put makes a piece a free run and joins it with those beside it.
func (p *plainRegion) put(at int) {
	*p.pieces[at] = piece{start: p.pieces[at].start, size: p.pieces[at].size}
	if at+1 < len(p.pieces) && !p.pieces[at+1].used {
		p.join(at)
	}
	if at > 0 && !p.pieces[at-1].used {
		at--
		p.join(at)
	}
	for _, c := range p.pieces[:at] {
		if !c.used {
			p.steps++
		}
	}
}

func (p *plainRegion) join(at int) {
	p.steps++
	p.pieces[at].size += p.pieces[at+1].size
	p.pieces = slices.Delete(p.pieces, at+1, at+2)
}

func (p *plainRegion) object(a heapmodel.Addr) (at int, q *part) {
	for i, c := range p.pieces {
		for _, q := range c.parts {
			if !q.dead && q.payload == uint64(a) {
				return i, q
			}
		}
	}
	panic("no object")
}

func (p *plainRegion) Free(a heapmodel.Addr) {
	at, q := p.object(a)
	q.dead = true
	c := p.pieces[at]
	if slices.ContainsFunc(c.parts, func(q *part) bool { return !q.dead }) {
		return
	}
	if p.current == c {
		p.current = nil
	}
	p.put(at)
}

func (p *plainRegion) Realloc(a heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	at, q := p.object(a)
	c := p.pieces[at]
	want := q.payload - p.Header - q.start + max(p.Least, p.Up(size+p.Header))
	if last := q == c.parts[len(c.parts)-1]; p.inPlace && last && c == p.current && q.start+want <= c.start+c.size {
		q.size = want
		c.pointer = q.start + want
		p.high = max(p.high, c.pointer)
		return a
	}
	if p.inPlace && want <= q.size {
		return a
	}
	b := p.Alloc(size, align)
	if b != heapmodel.Null {
		p.Free(a)
	}
	return b
}

func (p *plainRegion) Blocks() (out []heapmodel.Block) {
	for _, c := range p.pieces {
		switch {
		case !c.used:
			out = append(out, heapmodel.Block{Addr: heapmodel.Addr(c.start), Size: c.size})
		default:
			out = append(out, merged(c.parts)...)
			if end := c.start + c.size; c == p.current && c.pointer < end {
				out = append(out, heapmodel.Block{Addr: heapmodel.Addr(c.pointer), Size: end - c.pointer})
			}
		}
	}
	return out
}

func (p *plainRegion) Usage() heapmodel.Usage {
	return usage(p.Blocks(), p.brk, p.high, p.steps, p.grown)
}

// pairsOf returns a function that makes pairs of the spec.
func pairsOf(text string) (func() (*oracle.Pair, error), error) {
	return oracle.Pairs(models, text, func(made heapmodel.Heap) oracle.Plain {
		switch h := made.(type) {
		case *bump:
			return &plainBump{Config: h.Config, reclaim: h.reclaim, inPlace: h.inPlace, brk: h.Capacity, pointer: h.Pad}
		case *region:
			p := &plainRegion{Config: h.Config, inPlace: h.inPlace, chunk: h.Bytes(h.chunk), control: h.Bytes(h.control)}
			if h.Capacity > 0 {
				p.obtain(h.Capacity)
				p.steps = 0
			}
			return p
		}
		panic("no such heap")
	})
}

// TestTinyHeaps compares the models with the plain heaps over every sequence of
// operations on heaps of 12 bytes, with chunks of 4.
func TestTinyHeaps(t *testing.T) {
	depth := 6
	if *long {
		depth = 7
	}
	for _, model := range []string{"bump:reclaim=none", "bump:reclaim=last", "bump:reclaim=empty", "region:chunk=4,control=0", "region:chunk=4,control=1"} {
		for _, grows := range []string{"capacity=12", "quantum=3,grow=12"} {
			spec := model + ",align=1,realloc=inplace," + grows
			t.Run(spec, func(t *testing.T) {
				t.Parallel()
				pairs, err := pairsOf(spec)
				if err != nil {
					t.Fatal(err)
				}
				oracle.Exhaust(t, pairs,
					oracle.Tree{Sizes: []uint64{1, 2, 3, 5}, Depth: depth},
					oracle.Tree{Sizes: []uint64{1, 2, 5}, Reallocs: true, Depth: depth - 1})
			})
		}
	}
}

// TestOracle compares the models with the plain heaps over random parameters
// and operations.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(key string, values ...string) string {
			return key + "=" + rapid.SampledFrom(values).Draw(t, key)
		}
		parts := []string{
			pick("align", "1", "2", "8", "16"), pick("header", "0", "1", "4", "8"), pick("realloc", "move", "inplace"),
		}
		model := "bump:"
		if rapid.Bool().Draw(t, "region") {
			model = "region:"
			parts = append(parts, pick("chunk", "40", "100", "256"), pick("control", "0", "3", "8"))
		} else {
			parts = append(parts, pick("reclaim", "none", "last", "empty"))
		}
		if rapid.Bool().Draw(t, "grows") {
			parts = append(parts, pick("quantum", "1", "7", "100", "500"), pick("grow", "1000", "4KiB"))
		} else {
			parts = append(parts, pick("capacity", "300", "1000", "2001"))
		}
		pairs, err := pairsOf(model + strings.Join(parts, ","))
		if err != nil {
			t.Fatal(err)
		}
		x, err := pairs()
		if err != nil {
			t.Skip(err)
		}
		sizes := []uint64{0, 1, 2, 3, 5, 8, 13, 16, 24, 31, 32, 40, 64, 100, 127, 128, 250}
		oracle.Random(t, x, sizes, []uint32{1, 4, 32, 128}, 120)
	})
}

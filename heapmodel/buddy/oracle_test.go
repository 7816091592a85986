package buddy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

// plain is the heap as the documentation of the package has it. It knows blocks
// by address and size, finds parents and buddies by going down from the root,
// and walks lists. It shares the numbers of arena.Config with the model and no
// more.
type plain struct {
	arena.Config
	name    string
	order   order
	inPlace bool
	spill   bool

	sizes []uint64            // ascending, units
	list  map[uint64][]uint64 // starts of the free blocks of a size, the first in front
	used  map[uint64]uint64   // sizes by start
	end   uint64              // units
	brk   uint64
	high  uint64
	steps uint64
	grew  heapmodel.Growth
}

// node is a block of the tree, there or not.
type node struct{ start, size uint64 }

// plainSizes returns the sizes of a system, up to several times those of the
// arenas of the tests.
func plainSizes(name string) (sizes []uint64) {
	for size := uint64(1); size < 1<<14; size++ {
		third := size / 3
		power, triple := size&(size-1) == 0, size%3 == 0 && third&(third-1) == 0
		switch k := len(sizes); {
		case name == "fibonacci-buddy" && (size < 3 || size == sizes[k-1]+sizes[k-2]),
			name != "fibonacci-buddy" && power,
			(name == "weighted-buddy" || name == "double-buddy") && triple:
			sizes = append(sizes, size)
		}
	}
	return sizes
}

var sizesOf = map[string][]uint64{
	"binary-buddy": plainSizes("binary-buddy"), "fibonacci-buddy": plainSizes("fibonacci-buddy"),
	"weighted-buddy": plainSizes("weighted-buddy"), "double-buddy": plainSizes("double-buddy"),
}

func newPlain(name string, h *heap) *plain {
	p := &plain{
		Config: h.Config, name: name, order: h.order, inPlace: h.inPlace, spill: h.spill,
		sizes: sizesOf[name], list: map[uint64][]uint64{}, used: map[uint64]uint64{},
	}
	if p.Capacity > 0 {
		to := (p.Capacity - p.Pad) >> p.Shift
		if name == "double-buddy" {
			p.cover(true, to/2)
		}
		p.cover(false, to)
		p.brk = p.Capacity
	}
	return p
}

// threes reports whether a size is of the tree of threes of a double system.
func (p *plain) threes(size uint64) bool { return p.name == "double-buddy" && size%3 == 0 }

// root returns the largest block of a tree.
func (p *plain) root(threes bool) node {
	i := len(p.sizes) - 1
	for p.threes(p.sizes[i]) != threes {
		i--
	}
	return node{0, p.sizes[i]}
}

// parts returns the blocks into which one is split.
func (p *plain) parts(n node) (lower, upper node, ok bool) {
	large := n.size / 2
	switch {
	case p.name == "fibonacci-buddy":
		if n.size < 3 {
			return lower, upper, false
		}
		large = p.sizes[slices.Index(p.sizes, n.size)-1]
	case p.name == "weighted-buddy" && n.size < 3:
		return lower, upper, false
	case p.name == "weighted-buddy" && n.size%3 == 0:
		large = n.size / 3 * 2
	case p.name == "weighted-buddy":
		large = n.size / 4 * 3
	case n.size == 1 || n.size == 3:
		return lower, upper, false
	}
	return node{n.start, large}, node{n.start + large, n.size - large}, true
}

// buddy returns the parent of a block and the other part of it.
func (p *plain) buddy(n node) (parent, other node) {
	at := p.root(p.threes(n.size))
	for {
		lower, upper, ok := p.parts(at)
		switch {
		case !ok || at == n:
			panic(fmt.Sprintf("no block %v", n))
		case lower == n:
			return at, upper
		case upper == n:
			return at, lower
		case n.start < upper.start:
			at = lower
		default:
			at = upper
		}
	}
}

// cover frees the largest blocks of a tree that fit between the end and to.
func (p *plain) cover(threes bool, to uint64) {
	for {
		var fits node
		at, ok := p.root(threes), true
		for ok {
			if at.start == p.end && at.start+at.size <= to && fits.size == 0 {
				fits = at
			}
			var lower, upper node
			if lower, upper, ok = p.parts(at); ok {
				at = lower
				if p.end >= upper.start {
					at = upper
				}
			}
		}
		if fits.size == 0 {
			return
		}
		p.end += fits.size
		p.release(fits)
	}
}

func (p *plain) push(n node) {
	l := p.list[n.size]
	at := 0
	switch p.order {
	case fifo:
		at = len(l)
	case byAddress:
		for at < len(l) && l[at] < n.start {
			at++
			p.steps++
		}
	}
	p.list[n.size] = slices.Insert(l, at, n.start)
}

func (p *plain) release(n node) {
	for {
		parent, other := p.buddy(n)
		if other.start+other.size > p.end && other.start > n.start {
			break
		}
		p.steps++
		at := slices.Index(p.list[other.size], other.start)
		if at < 0 {
			break
		}
		p.steps++
		p.list[other.size] = slices.Delete(p.list[other.size], at, at+1)
		n = parent
	}
	p.push(n)
}

func (p *plain) Free(a heapmodel.Addr) {
	addr := uint64(a)
	for start, size := range p.used {
		if block := p.Pad + start<<p.Shift; addr >= block && addr < block+size<<p.Shift {
			delete(p.used, start)
			p.release(node{start, size})
			return
		}
	}
	panic("free of what is not used")
}

// want returns the size for a request.
func (p *plain) want(size, align uint64) (want uint64, ok bool) {
	size = max(size, 1)
	room, powers := size+p.Header, false
	if align > p.Grain {
		room += align - p.Grain
		if p.name == "binary-buddy" || p.name == "double-buddy" {
			powers = true
			payload := p.Pad + p.Header
			for payload%align != 0 {
				payload++
			}
			room = max(align, payload-p.Pad+size)
		}
	}
	for _, want := range p.sizes {
		if want<<p.Shift >= room && !(powers && p.threes(want)) {
			return want, true
		}
	}
	return 0, false
}

func (p *plain) find(want uint64) (node, bool) {
	for _, size := range p.sizes {
		if size < want || size > p.end || p.threes(size) != p.threes(want) {
			continue
		}
		p.steps++
		if l := p.list[size]; len(l) > 0 {
			p.list[size] = l[1:]
			return node{l[0], size}, true
		}
	}
	return node{}, false
}

// grown returns the heap with the end raised by so many quanta.
func (p *plain) grown(quanta, want uint64) *plain {
	c := *p
	c.list, c.used = map[uint64][]uint64{}, maps.Clone(p.used)
	for size, l := range p.list {
		c.list[size] = slices.Clone(l)
	}
	c.brk += quanta * p.Quantum
	if c.brk < c.Pad {
		return &c
	}
	to := (c.brk - c.Pad) >> c.Shift
	if c.threes(want) {
		for c.end%3 != 0 && c.end < to {
			c.cover(false, min(to, (c.end+2)/3*3))
		}
	}
	c.cover(c.threes(want), to)
	return &c
}

func (p *plain) Alloc(size uint64, align uint32) heapmodel.Addr {
	want, ok := p.want(size, uint64(align))
	if !ok {
		return heapmodel.Null
	}
	n, ok := p.find(want)
	if !ok && p.spill && uint64(align) <= p.Grain {
		for _, other := range p.sizes {
			if other > want && p.threes(other) != p.threes(want) {
				if n, ok = p.find(other); ok {
					want = other
				}
				break
			}
		}
	}
	for quanta := uint64(1); !ok && p.Quantum > 0 && p.brk+quanta*p.Quantum <= p.Limit; quanta++ {
		c := p.grown(quanta, want)
		if n, ok = c.find(want); ok {
			c.grew = oracle.Growth(want<<p.Shift, p.Blocks())
			*p = *c
		}
	}
	if !ok {
		return heapmodel.Null
	}
	for n.size > want {
		lower, upper, ok := p.parts(n)
		if !ok {
			break
		}
		if upper.size >= want && upper.size < lower.size {
			lower, upper = upper, lower
		}
		n = lower
		p.push(upper)
	}
	p.used[n.start] = n.size
	p.high = max(p.high, p.Pad+(n.start+n.size)<<p.Shift)
	addr := p.Pad + n.start<<p.Shift + p.Header
	for align > 0 && addr%uint64(align) != 0 {
		addr++
	}
	return heapmodel.Addr(addr)
}

func (p *plain) Realloc(a heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	addr := uint64(a)
	if want, ok := p.want(size, 0); ok && p.inPlace {
		for start, has := range p.used {
			if block := p.Pad + start<<p.Shift; addr >= block && addr < block+has<<p.Shift && want == has && addr+size <= block+has<<p.Shift {
				return a
			}
		}
	}
	moved := p.Alloc(size, align)
	if moved != heapmodel.Null {
		p.Free(a)
	}
	return moved
}

func (p *plain) Blocks() (out []heapmodel.Block) {
	add := func(start, size uint64, used bool) {
		out = append(out, heapmodel.Block{Addr: heapmodel.Addr(p.Pad + start<<p.Shift), Size: size << p.Shift, Used: used})
	}
	for start, size := range p.used {
		add(start, size, true)
	}
	for size, l := range p.list {
		for _, start := range l {
			add(start, size, false)
		}
	}
	slices.SortFunc(out, func(a, b heapmodel.Block) int { return cmp.Compare(a.Addr, b.Addr) })
	return out
}

func (p *plain) Usage() heapmodel.Usage {
	u := oracle.Sum(p.Blocks(), p.brk)
	u.HighWater, u.Steps, u.Grown = p.high, p.steps, p.grew
	return u
}

package buddy

import (
	"fmt"
	"maps"
	"slices"
)

// plain is the heap as the documentation of the package has it. It knows blocks
// by address and size, finds parents and buddies by going down from the root,
// and walks lists. It shares the numbers of config with the model and no more.
type plain struct {
	config
	name  string
	sizes []uint64            // ascending, units
	list  map[uint64][]uint64 // starts of the free blocks of a size, the first in front
	used  map[uint64]uint64   // sizes by start
	end   uint64              // units
	brk   uint64
	high  uint64
	steps uint64
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

func newPlain(name string, c config, capacity uint64) *plain {
	p := &plain{config: c, name: name, sizes: sizesOf[name], list: map[uint64][]uint64{}, used: map[uint64]uint64{}}
	if capacity > 0 {
		to := (capacity - p.pad) >> p.shift
		if name == "double-buddy" {
			p.cover(true, to/2)
		}
		p.cover(false, to)
		p.brk = capacity
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

func (p *plain) free(addr uint64) {
	for start, size := range p.used {
		if block := p.pad + start<<p.shift; addr >= block && addr < block+size<<p.shift {
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
	room, powers := size+p.front, false
	if align > p.align {
		room += align - p.align
		if p.name == "binary-buddy" || p.name == "double-buddy" {
			powers = true
			payload := p.pad + p.front
			for payload%align != 0 {
				payload++
			}
			room = max(align, payload-p.pad+size)
		}
	}
	for _, want := range p.sizes {
		if want<<p.shift >= room && !(powers && p.threes(want)) {
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
	c.brk += quanta * p.quantum
	if c.brk < c.pad {
		return &c
	}
	to := (c.brk - c.pad) >> c.shift
	if c.threes(want) {
		for c.end%3 != 0 && c.end < to {
			c.cover(false, min(to, (c.end+2)/3*3))
		}
	}
	c.cover(c.threes(want), to)
	return &c
}

func (p *plain) alloc(size uint64, align uint32) (uint64, bool) {
	want, ok := p.want(size, uint64(align))
	if !ok {
		return 0, false
	}
	n, ok := p.find(want)
	if !ok && p.spill && uint64(align) <= p.align {
		for _, other := range p.sizes {
			if other > want && p.threes(other) != p.threes(want) {
				if n, ok = p.find(other); ok {
					want = other
				}
				break
			}
		}
	}
	for quanta := uint64(1); !ok && p.quantum > 0 && p.brk+quanta*p.quantum <= p.limit; quanta++ {
		c := p.grown(quanta, want)
		if n, ok = c.find(want); ok {
			*p = *c
		}
	}
	if !ok {
		return 0, false
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
	p.high = max(p.high, p.pad+(n.start+n.size)<<p.shift)
	addr := p.pad + n.start<<p.shift + p.front
	for align > 0 && addr%uint64(align) != 0 {
		addr++
	}
	return addr, true
}

func (p *plain) realloc(addr, size uint64, align uint32) (uint64, bool) {
	if want, ok := p.want(size, 0); ok && p.inPlace {
		for start, has := range p.used {
			if block := p.pad + start<<p.shift; addr >= block && addr < block+has<<p.shift && want == has && addr+size <= block+has<<p.shift {
				return addr, true
			}
		}
	}
	moved, ok := p.alloc(size, align)
	if ok {
		p.free(addr)
	}
	return moved, ok
}

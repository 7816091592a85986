package nuttx

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Sizes below small, in units, have a list each. The larger ones, of which a
// heap has few, are in an index. A bin is on one side or the other.
const (
	bins       = 19
	smallWords = 8
	small      = 64 * smallWords
	firstKey   = 1<<32 - 2
)

// list answers for the original's list of free nodes sorted by size: each
// operation returns also how many nodes the original would walk over.
//
//	bit 2 3 4 5 ... 511 of filled      sizes in units that have nodes
//	    | |   |
//	    a b   d -> c                   newest first, linked through X and Y
type list struct {
	t      *blocks.Table
	filled [smallWords]uint64
	words  [smallWords]uint32 // nodes in the lists of a word
	count  [small]uint32      // nodes in a list
	head   [small]blocks.ID   // the newest
	large  *fit.Index         // by size, the newest first
	key    uint32             // of the next node in large; they fall
}

func (l *list) init(t *blocks.Table) {
	l.t, l.large, l.key = t, fit.New(t, fit.BySize), firstKey
}

// binOf returns the bin of a size in units, at least 2.
func binOf(units uint32) uint32 { return min(uint32(bits.Len32(units))-2, bins-1) }

// binLow returns the lowest size in a bin.
func binLow(bin uint32) uint32 { return 2 << bin }

// below returns the number of nodes in the bin of a small size that are
// smaller.
func (l *list) below(units uint32) (nodes uint64) {
	low := binLow(binOf(units))
	w := low / 64
	for ; w < units/64; w++ {
		nodes += uint64(l.words[w&(smallWords-1)])
		low = 0
	}
	rest := l.filled[w&(smallWords-1)] & (1<<(units%64) - 1) >> (low % 64) << (low % 64)
	for ; rest != 0; rest &= rest - 1 {
		nodes += uint64(l.count[(w*64+uint32(bits.TrailingZeros64(rest)))&(small-1)])
	}
	return nodes
}

// insert adds a node and returns how many smaller ones its bin has.
func (l *list) insert(id blocks.ID, units uint32) (passed uint64) {
	if units >= small {
		return l.insertLarge(id, units)
	}
	units &= small - 1
	w := units / 64
	n := &l.t.Nodes[id]
	n.X, n.Y = blocks.None, blocks.None
	if l.count[units] > 0 {
		n.X = l.head[units]
		l.t.Nodes[n.X].Y = id
	}
	l.head[units] = id
	l.count[units]++
	l.words[w]++
	l.filled[w] |= 1 << (units % 64)
	return l.below(units)
}

func (l *list) insertLarge(id blocks.ID, units uint32) (passed uint64) {
	if l.key == 0 {
		base := firstKey - uint32(l.large.Len())
		l.large.Rekey(base)
		l.key = base - 1
	}
	p := l.large.Insert(id, l.key, units)
	l.key--
	return uint64(l.large.Rank(p)) - l.rank(binLow(binOf(units)))
}

// rank returns the number of large nodes below a size.
func (l *list) rank(units uint32) uint64 {
	if p := l.large.FirstFit(units); p != fit.NoPos {
		return uint64(l.large.Rank(p))
	}
	return uint64(l.large.Len())
}

// remove takes a node out, which the original does without a walk.
func (l *list) remove(id blocks.ID, units uint32) {
	if units >= small {
		l.large.Remove(l.large.Find(id))
		return
	}
	units &= small - 1
	n := &l.t.Nodes[id]
	if n.X != blocks.None {
		l.t.Nodes[n.X].Y = n.Y
	}
	if n.Y != blocks.None {
		l.t.Nodes[n.Y].X = n.X
	} else {
		l.head[units] = n.X
	}
	w := units / 64
	l.words[w]--
	if l.count[units]--; l.count[units] == 0 {
		l.filled[w] &^= 1 << (units % 64)
	}
}

// find returns the first node of at least want units, None if there is none,
// and how many nodes and heads of bins the search looks at: it begins behind
// the head of the bin of want.
func (l *list) find(want uint32) (id blocks.ID, units uint32, looked uint64) {
	bin := binOf(want)
	p := fit.NoPos
	if want < small {
		looked = l.below(want)
		if units = l.firstSmall(want); units != 0 {
			return l.head[units], units, looked + uint64(binOf(units)-bin) + 1
		}
		p = l.large.First()
	} else {
		looked = -l.rank(binLow(bin))
		p = l.large.FirstFit(want)
	}
	if p == fit.NoPos {
		return blocks.None, 0, looked + uint64(l.large.Len()) + uint64(bins-1-bin)
	}
	id, units = l.large.At(p)
	return id, units, looked + uint64(l.large.Rank(p)) + uint64(binOf(units)-bin) + 1
}

// firstSmall returns the least small size of at least want units that has
// nodes, zero if there is none.
func (l *list) firstSmall(want uint32) uint32 {
	w := want / 64
	rest := l.filled[w&(smallWords-1)] >> (want % 64) << (want % 64)
	for rest == 0 {
		if w++; w == smallWords {
			return 0
		}
		rest = l.filled[w]
	}
	return (w*64 + uint32(bits.TrailingZeros64(rest))) & (small - 1)
}

// largest returns the size of the largest node, zero if there is none.
func (l *list) largest() uint32 {
	if l.large.Len() > 0 {
		return l.large.Largest()
	}
	for w := uint32(smallWords); w > 0; w-- {
		if l.filled[w-1] != 0 {
			return w*64 - 1 - uint32(bits.LeadingZeros64(l.filled[w-1]))
		}
	}
	return 0
}

// check returns the first broken invariant, given the number of free nodes.
func (l *list) check(free uint64) error {
	if err := l.large.Check(); err != nil {
		return err
	}
	left := free - uint64(l.large.Len())
	words := [smallWords]uint32{}
	for units := range uint32(small) {
		count, prev := l.count[units], blocks.None
		words[units/64] += count
		if filled := l.filled[units/64]>>(units%64)&1 != 0; filled != (count > 0) {
			return fmt.Errorf("%d nodes of %d units, their bit is %t", count, units, filled)
		}
		for id, i := l.head[units], count; i > 0; i-- {
			if id == blocks.None || l.t.Used(id) || l.t.Size(id) != units || l.t.Nodes[id].Y != prev || left == 0 {
				return fmt.Errorf("the list of %d nodes of %d units is broken at record %d", count, units, id)
			}
			left--
			prev, id = id, l.t.Nodes[id].X
			if i == 1 && id != blocks.None {
				return fmt.Errorf("the list of %d units has more than %d nodes", units, count)
			}
		}
	}
	if words != l.words {
		return fmt.Errorf("nodes by words of sizes are %d, noted %d", words, l.words)
	}
	if left != 0 {
		return fmt.Errorf("%d free nodes are in no list", left)
	}
	for p := l.large.First(); p != fit.NoPos; p = l.large.Next(p) {
		if id, units := l.large.At(p); units < small || l.t.Used(id) || l.t.Size(id) != units {
			return errors.New("a node is in the index with another size")
		}
	}
	return nil
}

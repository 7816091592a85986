// Package walk indexes all blocks of a heap, used and free, in address order.
// It is for heaps whose original searches by walking from block to block
// through the whole arena: it answers in O(log blocks) which block such a walk
// would stop at, and how many blocks, and how many free ones, it would have
// passed on the way.
//
// It is a B+tree. A leaf holds the starts of up to 64 blocks in a row, the
// objects in them, and a bitmap of those that are free; an inner node holds for
// each child the lowest start, the number of blocks and of free ones below it,
// the largest free block, and whether there is a seam, which is where two free
// blocks touch:
//
//	low     0    96   240         lowest start below the child
//	count   18   25   21          blocks below the child
//	free    3    1    4           free ones among them
//	most    64   512  4096        largest free block below the child
//	         |    |    |
//	         |    |    [start 240 264 300 ...][object 7 - 12 ...]
//
// A block ends where the next one starts, so that splitting and merging are
// insertion and removal of a start. Objects have a record of 8 bytes that names
// start and leaf, from which the slot is a binary search away.
//
// Addresses and sizes are in granules, as in package blocks, which it replaces:
// with both, a block would take 40 bytes. So it takes about 24.
package walk

import "math/bits"

// ID names the object in a used block. IDs are reused after Release.
type ID = uint32

// None is the ID of a free block.
const None ID = 1<<32 - 1

// Pos is the place of a block in a List: its leaf and slot. It is valid until
// the next change.
type Pos uint32

// NoPos is no place.
const NoPos Pos = 0

const (
	fanoutLog2 = 6
	fanout     = 1 << fanoutLog2
	slotMask   = fanout - 1
)

// none is the index of no node. The nodes there are never used.
const none = 0

// leaf holds blocks in a row.
type leaf struct {
	start [fanout]uint32
	ref   [fanout]ID // None in a free block
	free  uint64     // bitmap of the slots of free blocks
	n     uint32     // blocks
	up    uint32     // parent; a dropped leaf: next dropped leaf
	prev  uint32
	next  uint32
}

// inner holds what is known of its children, which are leaves on level 1.
type inner struct {
	child, low, count, free, most [fanout]uint32

	seam  uint64 // bitmap of the children with a seam below
	n     uint32 // children
	up    uint32 // parent; a dropped node: next dropped node
	level uint32
}

// record is that of an object.
type record struct {
	start uint32
	leaf  uint32 // none: no object, and start is the next such record plus one
}

// List holds the blocks of one region. Use New to make one.
type List struct {
	leaves  []leaf
	inners  []inner
	records []record
	root    uint32 // an inner node, always
	end     uint32 // of the region

	spareLeaf, spareInner uint32 // chains of dropped nodes
	spareRecord           uint32 // chain of records of no object, plus one
}

// New returns a List of the one free block [start, end).
func New(start, end uint32) *List {
	l := &List{leaves: make([]leaf, 1, 2), inners: make([]inner, 1, 2), end: end}
	first := l.takeLeaf()
	lf := &l.leaves[first]
	lf.n, lf.free = 1, 1
	lf.start[0], lf.ref[0] = start, None
	l.root = l.takeInner(1)
	nd := &l.inners[l.root]
	nd.n = 1
	lf.up = l.root
	nd.child[0], nd.low[0], nd.count[0], nd.free[0], nd.most[0] = first, start, 1, 1, end-start
	return l
}

// pos returns the place of a slot.
func pos(leaf, slot uint32) Pos { return Pos(leaf<<fanoutLog2 | slot) }

// split is the reverse of pos.
func (p Pos) split() (leaf, slot uint32) { return uint32(p) >> fanoutLog2, uint32(p) & slotMask }

// Live reports whether id names an object.
func (l *List) Live(id ID) bool {
	return uint64(id) < uint64(len(l.records)) && l.records[id].leaf != none
}

// Start returns the start of an object's block. O(1).
func (l *List) Start(id ID) uint32 { return l.records[id].start }

// Find returns the place of an object's block. O(1).
func (l *List) Find(id ID) Pos {
	r := l.records[id]
	return pos(r.leaf, l.leaves[r.leaf].search(r.start))
}

// search returns how many starts of the leaf are below start.
func (lf *leaf) search(start uint32) uint32 {
	at, left := uint32(0), lf.n
	for left > 0 {
		half := left / 2
		if lf.start[(at+half)&slotMask] < start {
			at += half + 1
			left -= half + 1
		} else {
			left = half
		}
	}
	return at
}

// At returns the block at p and the object in it, None if it is free.
func (l *List) At(p Pos) (start, size uint32, id ID) {
	n, slot := p.split()
	lf := &l.leaves[n]
	return lf.start[slot], l.size(lf, slot), lf.ref[slot]
}

// size returns the size of a block.
func (l *List) size(lf *leaf, slot uint32) uint32 {
	end := l.end
	switch {
	case slot+1 < lf.n:
		end = lf.start[(slot+1)&slotMask]
	case lf.next != none:
		end = l.leaves[lf.next].start[0]
	}
	return end - lf.start[slot&slotMask]
}

// First returns the place of the lowest block. O(log blocks).
func (l *List) First() Pos {
	nd := &l.inners[l.root]
	for nd.level > 1 {
		nd = &l.inners[nd.child[0]]
	}
	return pos(nd.child[0], 0)
}

// Next returns the place of the block above, NoPos if there is none. O(1).
func (l *List) Next(p Pos) Pos {
	n, slot := p.split()
	lf := &l.leaves[n]
	switch {
	case slot+1 < lf.n:
		return p + 1
	case lf.next != none:
		return pos(lf.next, 0)
	}
	return NoPos
}

// Prev returns the place of the block below, NoPos if there is none. O(1).
func (l *List) Prev(p Pos) Pos {
	n, slot := p.split()
	prev := l.leaves[n].prev
	switch {
	case slot > 0:
		return p - 1
	case prev != none:
		return pos(prev, l.leaves[prev].n-1)
	}
	return NoPos
}

// Free reports whether the block at p is free; NoPos is not.
func (l *List) Free(p Pos) bool {
	n, slot := p.split()
	return l.leaves[n].free>>slot&1 != 0
}

// Largest returns the size of the largest free block, zero if there is none.
// O(1).
func (l *List) Largest() uint32 { return l.inners[l.root].largest() }

func (nd *inner) largest() uint32 {
	largest := uint32(0)
	for _, most := range nd.most[:nd.n&(2*fanout-1)] {
		largest = max(largest, most)
	}
	return largest
}

// FirstFit returns the place of the lowest free block of at least want
// granules, not zero; NoPos if there is none. O(log blocks).
func (l *List) FirstFit(want uint32) Pos { return l.first(want, 0) }

// FirstFitOrSeam returns the place of the lowest free block that has at least
// want granules or touches a free block above it; NoPos if there is none.
// O(log blocks).
func (l *List) FirstFitOrSeam(want uint32) Pos { return l.first(want, 1) }

// first looks for seams if seams is 1 and not if it is 0.
func (l *List) first(want uint32, seams uint64) Pos {
	nd := &l.inners[l.root]
	for {
		i := uint32(0)
		for ; i < nd.n; i++ {
			if nd.most[i&slotMask] >= want || nd.seam>>i&seams != 0 {
				break
			}
		}
		if i == nd.n {
			return NoPos
		}
		n := nd.child[i&slotMask]
		if nd.level > 1 {
			nd = &l.inners[n]
			continue
		}
		lf := &l.leaves[n]
		sewn := l.sewn(lf)
		for rest := lf.free; rest != 0; rest &= rest - 1 {
			slot := uint32(bits.TrailingZeros64(rest))
			if sewn>>slot&seams != 0 || l.size(lf, slot) >= want {
				return pos(n, slot)
			}
		}
		panic("walk: a leaf has no block of the size noted for it")
	}
}

// sewn returns a bitmap of the free blocks of a leaf that touch a free block
// above.
func (l *List) sewn(lf *leaf) uint64 {
	above := lf.free >> 1
	if lf.next != none {
		above |= l.leaves[lf.next].free & 1 << (lf.n - 1)
	}
	return lf.free & above
}

// Below returns the number of blocks that start below a given address, and of
// free ones among them. O(log blocks).
func (l *List) Below(start uint32) (blocks, free uint64) {
	n := l.root
	for {
		nd := &l.inners[n]
		i := uint32(1)
		for ; i < nd.n && nd.low[i&slotMask] < start; i++ {
			blocks += uint64(nd.count[i-1])
			free += uint64(nd.free[i-1])
		}
		n = nd.child[i-1]
		if nd.level == 1 {
			break
		}
	}
	lf := &l.leaves[n]
	slots := lf.search(start)
	return blocks + uint64(slots), free + uint64(bits.OnesCount64(lf.free&(1<<slots-1)))
}

// seek returns the place of the block that starts at start. O(log blocks).
func (l *List) seek(start uint32) Pos {
	n := l.root
	for {
		nd := &l.inners[n]
		i := uint32(1)
		for i < nd.n && nd.low[i&slotMask] <= start {
			i++
		}
		n = nd.child[i-1]
		if nd.level == 1 {
			return pos(n, l.leaves[n].search(start))
		}
	}
}

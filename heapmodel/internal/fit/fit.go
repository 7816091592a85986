// Package fit indexes the free blocks of a heap in the order of its free list,
// so that a model answers in O(log free blocks) what the original finds by
// walking that list: the first block that is large enough, from the head or
// from a rover on, the smallest such block, the largest block of all, and how
// many blocks a walk would have passed on the way.
//
// It is a B+tree. A leaf holds blocks with their keys and sizes in list order;
// an inner node holds for each child the lowest key, the largest size and the
// number of blocks below it:
//
//	key      0    96   240        lowest key below the child
//	size     64   512  4096       largest size below the child
//	tally    18   25   21         blocks below the child
//	         |    |    |
//	         |    |    [key 240 264 ...][size 40 8 ...][block 7 12 ...]
//
// A search for the first block of at least want granules takes at each level
// the first child whose largest size is enough. A list by key of up to about 200
// blocks has leaves only, in a row, see there.
//
// Entries have gaps between them, marked in a bitmap of the node. What is taken
// out leaves a gap, with its key, so that keys rise throughout; what is put in
// fills a gap beside its place, or moves the few entries up to the next gap.
// So most blocks stay where they are, and the X of a block's record in
// blocks.Table can name its very slot.
//
// Memory is about 19 bytes for each block in the index by address, 22 in LIFO or
// FIFO order and 4 KB at most besides, and does not depend on the size of the
// arena.
//
// Note: a bitmap of block starts under a tree of maxima over the granules of
// the arena needs memory in proportion to the arena, which a sparse heap of
// gigabytes makes absurd, and was no faster.
package fit

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Order says by what the blocks are ordered.
type Order uint8

// The orders of an Index. Keys must differ and be less than 1<<32 - 1.
const (
	// ByKey orders by key: addresses for an address-ordered list, falling
	// numbers for a LIFO list, rising ones for a FIFO list.
	ByKey Order = iota
	// BySize orders by size and, among blocks of a size, by key. Its first
	// block that fits is the best fit.
	BySize
)

// A node has fanout slots.
const (
	fanoutLog2 = 6
	fanout     = 1 << fanoutLog2
	slotMask   = fanout - 1
)

// Pos is the place of a block in an Index: its leaf and slot. It is valid until
// the next Insert, Remove or Update.
type Pos uint32

// NoPos is no place.
const NoPos Pos = 0

// none is the index of no node. The node there is never used.
const none = 0

// node is a leaf or an inner node of the tree.
type node struct {
	used  uint64 // bitmap of the slots that are not gaps
	above Pos    // the node's own slot in its parent
	tally uint32 // inner: index in Index.tallies
	prev  uint32 // leaf: lower leaf, none if it is the first
	next  uint32 // leaf: upper leaf; a dropped node: next dropped node
	// key and size of a leaf are those of its blocks. Of an inner node in the
	// order ByKey, key is a lower bound of the keys below the child, above all
	// keys below the child before, and size the largest size below the child.
	// In the order BySize, (size, key) together are the bound. In a gap, keys
	// (and sizes in the order BySize) lie between those of the entries beside
	// it, and sizes in the order ByKey are zero.
	key  [fanout]uint32
	size [fanout]uint32
	ref  [fanout]uint32 // leaf: block; inner: child
}

type (
	// Index is a Set of blocks of a Table.
	Index = Set[uint32]
	// SlimIndex is a Set of blocks of a SlimTable.
	SlimIndex = Set[struct{}]
)

// Set is an ordered set of free blocks. Use New to make one.
type Set[Y any] struct {
	table    *blocks.Chain[Y]
	nodes    []node
	root     uint32
	height   uint32 // levels of inner nodes
	sizeMask uint32 // all ones in the order BySize, else zero
	largest  uint32 // largest size; order ByKey
	length   uint32 // blocks
	first    uint32 // leaf
	last     uint32 // leaf
	spare    uint32 // chain of dropped nodes through next

	tallies    []tally // of inner nodes; leaves have none, hence a slice of their own
	spareTally uint32  // chain of dropped tallies through the first slot, plus one

	row      *row // what there is in place of the tree, nil if there is a tree
	spareRow *row // the same row, kept for when the tree has few blocks again
}

// tally counts the blocks below each slot of an inner node, and below each run
// of groupSlots slots, so that few numbers have to be added for a rank.
type tally struct {
	slot  [fanout]uint32
	group [fanout / groupSlots]uint32
}

const groupSlots = 8

func (t *tally) add(slot, blocks uint32) {
	slot &= slotMask
	t.slot[slot] += blocks
	t.group[slot/groupSlots] += blocks
}

// set gives a slot a count and returns what it had.
func (t *tally) set(slot, blocks uint32) (was uint32) {
	slot &= slotMask
	was = t.slot[slot]
	t.slot[slot] = blocks
	t.group[slot/groupSlots] += blocks - was
	return was
}

// below returns the number of blocks below all slots before slot.
func (t *tally) below(slot uint32) (blocks uint32) {
	slot &= slotMask
	group := slot / groupSlots
	for _, count := range t.group[:group] {
		blocks += count
	}
	for _, count := range t.slot[group*groupSlots : slot] {
		blocks += count
	}
	return blocks
}

// New returns an empty Index of free blocks of t. It owns the X of the records
// of the blocks in it.
func New[Y any](t *blocks.Chain[Y], order Order) *Set[Y] {
	x := newIndex(t, order)
	if order == ByKey {
		x.spareRow = &row{}
	}
	x.reset()
	return x
}

// NewLean returns an Index that is always a tree, for a heap with many lists: it
// takes 800 bytes when it is empty, against 4 KB, and is slower while it is short.
func NewLean[Y any](t *blocks.Chain[Y], order Order) *Set[Y] {
	x := newIndex(t, order)
	x.reset()
	return x
}

func newIndex[Y any](t *blocks.Chain[Y], order Order) *Set[Y] {
	x := &Set[Y]{table: t, nodes: make([]node, 1, 2)}
	if order == BySize {
		x.sizeMask = ^uint32(0)
	}
	return x
}

func (x *Set[Y]) bySize() bool { return x.sizeMask != 0 }

// Len returns the number of blocks in the index. O(1).
func (x *Set[Y]) Len() int { return int(x.length) }

// Largest returns the size of the largest block, zero if there is none. O(1),
// but in a row O(blocks) after the largest went away.
func (x *Set[Y]) Largest() uint32 {
	if !x.bySize() {
		x.tighten()
		return x.largest
	}
	if x.length == 0 {
		return 0
	}
	_, size := x.At(x.Last())
	return size
}

// Find returns the place of a block that is in the index. O(1).
func (x *Set[Y]) Find(id blocks.ID) Pos { return Pos(x.table.Nodes[id].X) }

// At returns the block at p and its size in granules.
func (x *Set[Y]) At(p Pos) (id blocks.ID, size uint32) {
	if x.row == nil {
		return x.atInTree(p)
	}
	i := rowSlot(p) & rowMask
	return x.row.ref[i], x.row.size[i]
}

func (x *Set[Y]) atInTree(p Pos) (id blocks.ID, size uint32) {
	n := &x.nodes[p>>fanoutLog2]
	return n.ref[p&slotMask], n.size[p&slotMask]
}

// Key returns the key of the block at p.
func (x *Set[Y]) Key(p Pos) uint32 {
	if x.row != nil {
		return x.row.key[rowSlot(p)&rowMask]
	}
	return x.nodes[p>>fanoutLog2].key[p&slotMask]
}

// pos returns the place of a slot.
func pos(n, slot uint32) Pos { return Pos(n<<fanoutLog2 | slot&slotMask) }

// lowest and highest return the first and the last slot of a bitmap that is
// not zero.
func lowest(used uint64) uint32  { return uint32(bits.TrailingZeros64(used)) }
func highest(used uint64) uint32 { return uint32(bits.Len64(used)) - 1 }

// First returns the place of the first block, NoPos if there is none. O(1).
func (x *Set[Y]) First() Pos {
	switch {
	case x.length == 0:
		return NoPos
	case x.row != nil:
		return x.row.from(0)
	}
	return x.from(x.first, 0)
}

// Last returns the place of the last block, NoPos if there is none. O(1).
func (x *Set[Y]) Last() Pos {
	switch {
	case x.length == 0:
		return NoPos
	case x.row != nil:
		return x.row.until(x.row.end())
	}
	return x.until(x.last, fanout)
}

// Next returns the place after p, NoPos after the last. O(1).
func (x *Set[Y]) Next(p Pos) Pos {
	if x.row != nil {
		return x.row.from(rowSlot(p) + 1)
	}
	return x.from(uint32(p)>>fanoutLog2, uint32(p)&slotMask+1)
}

// from returns the place of the first block at or after a slot of a leaf, which
// may be fanout.
func (x *Set[Y]) from(leaf, slot uint32) Pos {
	n := &x.nodes[leaf]
	if rest := n.used >> slot << slot; rest != 0 {
		return pos(leaf, lowest(rest))
	}
	if n.next == none {
		return NoPos
	}
	return pos(n.next, lowest(x.nodes[n.next].used))
}

// Prev returns the place before p, NoPos before the first. O(1).
func (x *Set[Y]) Prev(p Pos) Pos {
	if x.row != nil {
		return x.row.until(rowSlot(p))
	}
	return x.until(uint32(p)>>fanoutLog2, uint32(p)&slotMask)
}

// until returns the place of the last block before a slot of a leaf, which may
// be fanout.
func (x *Set[Y]) until(leaf, slot uint32) Pos {
	n := &x.nodes[leaf]
	if rest := n.used & (1<<slot - 1); rest != 0 {
		return pos(leaf, highest(rest))
	}
	if n.prev == none {
		return NoPos
	}
	return pos(n.prev, highest(x.nodes[n.prev].used))
}

// firstInTree is FirstFit where there is no row.
func (x *Set[Y]) firstInTree(want uint32) Pos {
	if x.bySize() {
		return x.lowerBound(want, 0)
	}
	if want > x.largest {
		return NoPos
	}
	return x.descend(x.root, x.height, want)
}

// walkTree is Walk where there is no row.
func (x *Set[Y]) walkTree(want, odd uint32) (p Pos, passed uint64) {
	for p = x.firstInTree(want); p != NoPos; p = x.FirstFitFrom(p, want) {
		if _, size := x.atInTree(p); size != odd {
			return p, uint64(x.Rank(p))
		}
		if p = x.Next(p); p == NoPos {
			break
		}
	}
	return NoPos, 0
}

// descend returns the first fit below node n, level levels above the leaves.
// There is one.
func (x *Set[Y]) descend(n, level, want uint32) Pos {
	for ; ; level-- {
		nd := &x.nodes[n]
		i := uint32(0)
		for nd.size[i&slotMask] < want {
			i++
		}
		if level == 0 {
			return pos(n, i)
		}
		n = nd.ref[i&slotMask]
	}
}

// FirstFitFrom is FirstFit among the blocks from p on, in the order ByKey;
// NoPos if there is none up to the end of the list. O(log blocks).
func (x *Set[Y]) FirstFitFrom(p Pos, want uint32) Pos {
	if x.row != nil {
		return x.firstFromSlot(rowSlot(p), want)
	}
	if want > x.largest {
		return NoPos
	}
	for level := uint32(0); ; level++ {
		n, i := uint32(p)>>fanoutLog2, uint32(p)&slotMask
		nd := &x.nodes[n]
		for ; i < fanout; i++ {
			if nd.size[i] < want {
				continue
			}
			if level == 0 {
				return pos(n, i)
			}
			return x.descend(nd.ref[i], level-1, want)
		}
		// Nothing to the right of p below n: go on right of n.
		for {
			if n == x.root {
				return NoPos
			}
			p = nd.above
			if p&slotMask != slotMask {
				break
			}
			n = uint32(p) >> fanoutLog2
			nd = &x.nodes[n]
			level++
		}
		p++
	}
}

// Rank returns the number of blocks before p. O(log blocks).
func (x *Set[Y]) Rank(p Pos) int {
	if x.row != nil {
		return x.row.rank(rowSlot(p))
	}
	n := uint32(p) >> fanoutLog2
	rank := uint32(bits.OnesCount64(x.nodes[n].used & (1<<(p&slotMask) - 1)))
	for n != x.root {
		p = x.nodes[n].above
		n = uint32(p) >> fanoutLog2
		rank += x.tallies[x.nodes[n].tally].below(uint32(p))
	}
	return int(rank)
}

// From returns the place of the first block with a key of at least key, in the
// order ByKey; NoPos if there is none. O(log blocks).
func (x *Set[Y]) From(key uint32) Pos {
	if x.row != nil {
		return x.row.from(x.row.search(key))
	}
	return x.lowerBound(0, key)
}

func (x *Set[Y]) lowerBound(size, key uint32) Pos {
	want := x.sortKey(size, key)
	leaf := x.seek(want)
	return x.from(leaf, x.search(&x.nodes[leaf], want))
}

// sortKey returns what a block is ordered by.
func (x *Set[Y]) sortKey(size, key uint32) uint64 {
	return both(size&x.sizeMask, key)
}

// slotKey returns what a slot of a node, gap or not, is ordered by.
func (x *Set[Y]) slotKey(n *node, slot uint32) uint64 {
	return x.sortKey(n.size[slot&slotMask], n.key[slot&slotMask])
}

// search returns how many slots of the node, gaps included, sort before want.
func (x *Set[Y]) search(n *node, want uint64) uint32 {
	if x.bySize() {
		return n.searchBySize(want)
	}
	return searchByKey(&n.key, want)
}

// searchByKey returns how many of the keys of a leaf, gaps included, are below
// want.
//
// It adds up comparisons, first of the last slot of each run of searchRun but
// one, then of the slots of one run, and has no branch that depends on keys:
// nothing could predict it, and a wrong guess costs as much as all comparisons
// of a run.
func searchByKey(k *[fanout]uint32, want uint64) uint32 {
	run := less(uint64(k[7]), want) + less(uint64(k[15]), want) + less(uint64(k[23]), want) +
		less(uint64(k[31]), want) + less(uint64(k[39]), want) + less(uint64(k[47]), want) +
		less(uint64(k[55]), want)
	r := (*[searchRun]uint32)(k[run*searchRun:])
	return run*searchRun + less(uint64(r[0]), want) + less(uint64(r[1]), want) + less(uint64(r[2]), want) +
		less(uint64(r[3]), want) + less(uint64(r[4]), want) + less(uint64(r[5]), want) +
		less(uint64(r[6]), want) + less(uint64(r[7]), want)
}

// searchBySize is that for sizes and keys.
func (n *node) searchBySize(want uint64) uint32 {
	k, s := &n.key, &n.size
	run := less(both(s[7], k[7]), want) + less(both(s[15], k[15]), want) + less(both(s[23], k[23]), want) +
		less(both(s[31], k[31]), want) + less(both(s[39], k[39]), want) + less(both(s[47], k[47]), want) +
		less(both(s[55], k[55]), want)
	rk, rs := (*[searchRun]uint32)(k[run*searchRun:]), (*[searchRun]uint32)(s[run*searchRun:])
	return run*searchRun + less(both(rs[0], rk[0]), want) + less(both(rs[1], rk[1]), want) +
		less(both(rs[2], rk[2]), want) + less(both(rs[3], rk[3]), want) + less(both(rs[4], rk[4]), want) +
		less(both(rs[5], rk[5]), want) + less(both(rs[6], rk[6]), want) + less(both(rs[7], rk[7]), want)
}

// both returns a size and a key as a sort key.
func both(size, key uint32) uint64 { return uint64(size)<<32 | uint64(key) }

const searchRun = 8

// less returns 1 if a < b, else 0, without a branch.
func less(a, b uint64) uint32 {
	_, borrow := bits.Sub64(a, b, 0)
	return uint32(borrow)
}

// seek returns the leaf where a block with the sort key want belongs.
func (x *Set[Y]) seek(want uint64) uint32 {
	n := x.root
	for level := x.height; level > 0; level-- {
		// The last child whose bound is not above want, else the first.
		nd := &x.nodes[n]
		slot := lowest(nd.used)
		if low := nd.used & (1<<x.search(nd, want+1) - 1); low != 0 {
			slot = highest(low)
		}
		n = nd.ref[slot&slotMask]
	}
	return n
}

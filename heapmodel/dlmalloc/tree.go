package dlmalloc

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// A leaf is a free chunk of mid units or more; what is smaller is in mids. Those of a tree bin, half a power
// of two of sizes, are in a bitwise trie, in which every node is a chunk: below
// child b of a node at depth d are chunks whose size has the bit b at position
// d, counted from the highest bit that the bin leaves open. The node itself has
// any size that led to it.
//
//	         [size 100110]
//	       0/            \1
//	[size 001010]   [size 110111]
//	      \1
//	 [size 010000]
//
// Chunks of equal size are in a ring: the one that is in the trie, then the
// newest, down to the oldest of the others.
//
// Leaf 0 is none, and may be written to: that saves branches which would go
// either way at random. Leaves 1 to 32 are no chunks but hold the roots of the
// tries as their first child.
//
// Note: an index ordered by size and age gives the same answers with less code,
// but not the number of steps, since that depends on the shape of the tries.
// Their depth is at most that of the bits of a size.
type leaf struct {
	child      [2]uint32
	up         uint32 // parent; 0 for what is in a ring only
	next, prev uint32 // ring
	units      uint32
	id         blocks.ID
	_          uint32 // 32 bytes are indexed by a shift
}

// holders is the number of leaves that are no chunks.
const holders = 1 + treeBins

// holder returns the leaf that holds the root of a tree bin.
func holder(bin uint32) uint32 { return 1 + bin%treeBins }

// treeBin returns the tree bin of a size in units.
func (m *machine) treeBin(units uint64) uint32 {
	if units < tabled {
		return uint32(m.treeBins[units])
	}
	return m.treeBinOf(units)
}

func (m *machine) treeBinOf(units uint64) uint32 {
	half := units << (m.shift & 63) >> 7
	if half>>17 != 0 {
		return treeBins - 1
	}
	log2 := uint32(bits.Len64(half>>1|1)) - 1
	return 2*log2 + uint32(half>>log2)&1
}

// key returns a size in units shifted so that the highest bit that its tree bin
// leaves open is at the top.
func (m *machine) key(units uint64, bin uint32) uint64 {
	return units << (m.keyShifts[bin%treeBins] & 63)
}

// addLeaf puts a free chunk into its trie.
func (h *heap) addLeaf(id blocks.ID, units uint32) {
	if h.spareLeaf == 0 {
		h.growTree()
	}
	x, tree := h.spareLeaf, h.tree
	n := &tree[x]
	h.spareLeaf = n.next
	h.t.Nodes[id].X = x
	bin := h.treeBin(uint64(units))
	h.treeMap |= 1 << (bin % treeBins)
	steps := uint64(0)
	up := holder(bin)
	at := &tree[up].child[0]
	for key := h.key(uint64(units), bin); *at != 0; key <<= 1 {
		steps++
		up = *at
		m := &tree[up]
		if m.units == units {
			next := m.next
			n.set(id, units)
			n.up, n.next, n.prev = 0, next, up
			m.next, tree[next].prev = x, x
			h.use.Steps += steps
			return
		}
		at = &m.child[key>>63]
	}
	*at = x
	n.set(id, units)
	n.up, n.next, n.prev = up, x, x
	h.use.Steps += steps
}

// set makes a leaf one without children, its links left out. Field by field: a
// whole leaf would be put together in memory and copied from there.
func (n *leaf) set(id blocks.ID, units uint32) {
	n.child[0], n.child[1] = 0, 0
	n.units, n.id = units, id
}

// growTree adds a spare leaf.
//
//go:noinline
func (h *heap) growTree() {
	n := len(h.tree)
	if n == cap(h.tree) {
		grown := make([]leaf, n, max(32, n+n/4))
		copy(grown, h.tree)
		h.tree = grown
	}
	h.tree = h.tree[:n+1]
	h.spareLeaf = uint32(n)
}

// removeLeaf takes a chunk out of its trie.
func (h *heap) removeLeaf(x uint32) {
	tree := h.tree
	n := &tree[x]
	next, prev, up := n.next, n.prev, n.up
	n.next = h.spareLeaf
	h.spareLeaf = x
	heir := uint32(0) // what takes its place
	switch {
	case next != x:
		tree[next].prev, tree[prev].next = prev, next
		if up == 0 {
			return
		}
		heir = prev
	case n.child[0]|n.child[1] != 0:
		heir = h.cutLeaf(x)
	}
	p := &tree[up]
	p.child[zero(p.child[1]^x)&1] = heir
	h.treeMap &^= (up - treeBins - 1) >> 31 & zero(heir) << ((up - 1) % treeBins)
	low, high := n.child[0], n.child[1]
	e := &tree[heir]
	e.up, e.child[0], e.child[1] = up, low, high
	tree[low].up, tree[high].up = heir, heir
}

// zero returns 1 for 0, and 0 for anything else. There is no branch in it, which
// would go either way at random.
func zero(v uint32) uint32 { return uint32((uint64(v) - 1) >> 63) }

// either returns a if bit is 1, and b if it is 0, without a branch.
func either(bit, a, b uint32) uint32 { return b ^ (a^b)&-bit }

// cutLeaf takes a node without children from below x, which has a child, out of
// the trie and returns it.
func (h *heap) cutLeaf(x uint32) uint32 {
	tree := h.tree
	for t := x; ; {
		n := &tree[t]
		next := n.child[1]
		if next == 0 {
			next = n.child[0]
		}
		if next == 0 {
			p := &tree[n.up]
			p.child[zero(p.child[1]^t)&1] = 0
			return t
		}
		t = next
		h.use.Steps++
	}
}

// smallestLeaf returns the smallest of all leaves, 0 if there is none.
func (h *heap) smallestLeaf() uint32 {
	if h.treeMap == 0 {
		return 0
	}
	bin := uint32(bits.TrailingZeros32(h.treeMap))
	return h.leftmost(h.tree[holder(bin)].child[0], 0, 0, ^uint64(0))
}

// leafOf returns the chunk of a leaf and its length, 0 for leaf 0.
func (h *heap) leafOf(l uint32) (blocks.ID, uint32) {
	n := &h.tree[l]
	return n.id, n.units
}

// leftmost returns the leaf with the least remainder over units on the path
// down from t that keeps to the left, or best if none has less than rest.
func (h *heap) leftmost(t, best uint32, units, rest uint64) uint32 {
	steps, tree := uint64(0), h.tree
	for t != 0 {
		steps++
		n := &tree[t]
		if over := uint64(n.units) - units; over < rest {
			best, rest = t, over
		}
		if t = n.child[0]; t == 0 {
			t = n.child[1]
		}
	}
	h.use.Steps += steps
	return best
}

// bestLeaf returns the smallest leaf of at least so many units, 0 if there is
// none.
func (h *heap) bestLeaf(units uint64) uint32 {
	bin := h.treeBin(units)
	t := h.tree[holder(bin)].child[0]
	if t == 0 {
		h.use.Steps++
		return h.bestAbove(bin, units)
	}
	// Remainders are unsigned: none is as large as that of a smaller leaf.
	best, right, rest := uint32(0), uint32(0), -units
	steps, tree := uint64(1), h.tree
	for key := h.key(units, bin); t != 0; key <<= 1 {
		steps++
		n := &tree[t]
		if over := uint64(n.units) - units; over < rest {
			best, rest = t, over
			if over == 0 {
				right = 0
				break
			}
		}
		bit := key >> 63
		if n.child[1] != 0 && bit == 0 {
			right = n.child[1]
		}
		t = n.child[bit]
	}
	h.use.Steps += steps
	if right == 0 && best == 0 {
		return h.bestAbove(bin, units)
	}
	return h.leftmost(right, best, units, rest)
}

// bestAbove is bestLeaf for a request for which its own bin has nothing.
func (h *heap) bestAbove(bin uint32, units uint64) uint32 {
	h.use.Steps++
	above := h.treeMap &^ (2<<(bin&31) - 1)
	if above == 0 {
		return 0
	}
	bin = uint32(bits.TrailingZeros32(above))
	return h.leftmost(h.tree[holder(bin)].child[0], 0, units, -units)
}

// largest returns the units of the largest chunk in a tree, zero if there is
// none. O(depth of its trie).
func (h *heap) largest() uint32 {
	if h.treeMap == 0 {
		return h.mostMid()
	}
	units := uint32(0)
	bin := uint32(bits.Len32(h.treeMap)) - 1
	for t := h.tree[holder(bin)].child[0]; t != 0; {
		n := &h.tree[t]
		units = max(units, n.units)
		if t = n.child[1]; t == 0 {
			t = n.child[0]
		}
	}
	return units
}

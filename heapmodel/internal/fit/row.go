package fit

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// A row is what an index in the order ByKey is while it has few blocks: up to
// rowLeaves leaves, nodes 1, 2 and so on, with no inner nodes above them, so
// that a change touches one leaf and nothing else. Slots are counted through
// all of its leaves, gaps spread over them.
//
//	used    1..11.1. .1.1.... ...      bitmaps of the leaves
//	class   5002203. .1.4....          size classes, a byte each, eight in a word
//	before  0        5                 blocks in the leaves before each
//
// A search looks at eight size classes at once, and a rank is the sum of two
// numbers, whatever there is in the row. Both take hardly a branch that depends
// on blocks: lists of a few dozen blocks are those of small heaps, where a wrong
// guess of a branch costs as much as a walk past a dozen blocks.
type row struct {
	width  uint32               // leaves; 0: there is no row but a tree
	front  uint32               // slot below which all are gaps with key 0
	loose  bool                 // Index.largest may be more than the largest size
	before uint64               // by leaf, 16 bits each: blocks in the leaves before
	class  [2 * rowWords]uint64 // the word behind those of the row ends searches
}

const (
	rowLeaves = 4
	rowSlots  = rowLeaves * fanout
	rowWords  = rowSlots / 8
	rowMost   = 216 // blocks, from which on there is a tree
	rowAgain  = 96  // blocks, below which there is a row again
	packed    = 8   // blocks at an end of the list that are moved for one beyond
)

// Size classes are less than 128. Those below exactClass are sizes, a gap's is
// zero, and from exactClass on there are two to a power of two.
const (
	exactClass = 64
	ones       = 0x0101010101010101
	tops       = ones << 7
)

func classOf(size uint32) uint64 {
	if size < exactClass {
		return uint64(size)
	}
	log2 := uint32(bits.Len32(size)) - 1
	return uint64(exactClass + 2*(log2-6) + size>>((log2-1)&31)&1)
}

func (r *row) setClass(slot uint32, class uint64) {
	word := &r.class[slot/8&(rowWords-1)]
	shift := slot % 8 * 8
	*word = *word&^(0xff<<shift) | class<<shift
}

func (r *row) classAt(slot uint32) uint64 {
	return r.class[slot/8&(rowWords-1)] >> (slot % 8 * 8) & 0xff
}

// count adds to the number of blocks before the leaves behind that of a slot.
func (r *row) count(slot uint32, add uint64) {
	r.before += add * 0x0001_0001_0001_0000 << (slot / fanout % rowLeaves * 16)
}

// rowPos returns the place of a slot of the row, rowSlot is its reverse, and
// rowLeaf returns the leaf of a slot.
func rowPos(slot uint32) Pos     { return Pos(slot + fanout) }
func rowSlot(p Pos) uint32       { return uint32(p) - fanout }
func rowLeaf(slot uint32) uint32 { return slot/fanout + 1 }

// FirstFit returns the place of the first block of at least want granules, not
// zero, in the index's order; NoPos if none is that large. O(log blocks).
func (x *Index) FirstFit(want uint32) Pos {
	r := &x.row
	if r.width == 0 {
		return x.firstInTree(want)
	}
	if want > x.largest {
		return NoPos
	}
	pattern := classOf(want) * ones
	w := r.front / 8 % (2 * rowWords)
	// The top bit of each byte stays where its class is not less.
	hits := ((r.class[w] | tops) - pattern) & tops
	for hits == 0 {
		w = (w + 1) % (2 * rowWords) // not past the word that ends searches
		hits = ((r.class[w] | tops) - pattern) & tops
	}
	slot := w*8 + uint32(bits.TrailingZeros64(hits))/8
	if slot >= r.width*fanout {
		x.tighten()
		return NoPos
	}
	if want >= exactClass && x.nodes[rowLeaf(slot)].size[slot&slotMask] < want {
		return x.firstInRow(slot+1, want) // it is of the class, but smaller
	}
	return rowPos(slot)
}

// firstInRow is FirstFit from a slot on, which may be the end of the row.
func (x *Index) firstInRow(slot, want uint32) Pos {
	if want > x.largest {
		return NoPos
	}
	pattern := classOf(want) * ones
	end := x.row.width * (fanout / 8)
	passed := slot % 8 * 8
	for w := slot / 8; w < end; w++ {
		hits := ((x.row.class[w%rowWords] | tops) - pattern) & tops >> passed << passed
		for ; hits != 0; hits &= hits - 1 {
			s := w*8 + uint32(bits.TrailingZeros64(hits))/8
			if want < exactClass || x.nodes[rowLeaf(s)].size[s&slotMask] >= want {
				return rowPos(s)
			}
		}
		passed = 0
	}
	return NoPos
}

// tighten makes Index.largest the largest size.
func (x *Index) tighten() {
	if !x.row.loose {
		return
	}
	x.row.loose, x.largest = false, 0
	for n := uint32(1); n <= x.row.width; n++ {
		x.largest = max(x.largest, x.nodes[n].largest())
	}
}

// riseInRow makes Index.largest at least size.
func (x *Index) riseInRow(size uint32) {
	if size >= x.largest {
		x.largest, x.row.loose = size, false
	}
}

// sinkInRow notes that a block of a size got smaller or went away.
func (x *Index) sinkInRow(was uint32) {
	if was == x.largest {
		x.row.loose = true
	}
}

// searchRow returns how many slots of the row, gaps included, have a key below
// the given one.
func (x *Index) searchRow(key uint32) uint32 {
	leaves := x.nodes[1 : x.row.width+1]
	k, leaf := uint64(key), uint32(0)
	for n := 1; n < len(leaves); n++ {
		leaf += less(uint64(leaves[n].key[0]), k)
	}
	return leaf*fanout + leaves[leaf].searchByKey(k)
}

// Insert adds a block that is not in the index and returns its place. O(log
// blocks).
func (x *Index) Insert(id blocks.ID, key, size uint32) Pos {
	if x.row.width == 0 {
		return x.insertInTree(id, key, size)
	}
	if x.length >= rowMost {
		x.plant()
		return x.insertInTree(id, key, size)
	}
	slot := x.row.front - 1
	if slot >= x.row.width*fanout-1 || key > x.nodes[rowLeaf(slot+1)].key[(slot+1)&slotMask] {
		slot = x.gapInRow(key)
	}
	x.row.front = min(x.row.front, slot)
	n := &x.nodes[rowLeaf(slot)]
	n.fill(slot, key, size, id)
	x.table.Nodes[id].X = uint32(rowPos(slot))
	x.row.setClass(slot, classOf(size))
	x.row.count(slot, 1)
	x.length++
	x.riseInRow(size)
	return rowPos(slot)
}

// gapInRow returns a gap in which the key is in order.
func (x *Index) gapInRow(key uint32) uint32 {
	for {
		at := x.searchRow(key)
		n := rowLeaf(at)
		if at%fanout == 0 && at > 0 && (n > x.row.width || x.nodes[n-1].used>>slotMask == 0) {
			n--
		}
		nd := &x.nodes[n]
		i := at - (n-1)*fanout
		right := uint32(bits.TrailingZeros64(^nd.used >> i))          // blocks from i to the next gap
		left := uint32(bits.LeadingZeros64(^nd.used << (fanout - i))) // and below i
		if right == 0 || left == 0 {
			return at - min(right, 1)
		}
		if slot, ok := x.makeGap(nd, at, left, right); ok {
			return slot
		}
	}
}

// makeGap returns a gap for a block in front of slot at, where there is none
// but behind so many blocks to the left or to the right, 64 if there is none in
// the leaf. If they are too many, ok is false, and there are new gaps.
func (x *Index) makeGap(nd *node, at, left, right uint32) (slot uint32, ok bool) {
	switch {
	case at == 0 && right > packed:
		x.spread(high)
		return 0, false
	case at == x.row.width*fanout && left > packed:
		x.spread(low)
		return 0, false
	case min(left, right) == fanout:
		x.spread(even)
		return 0, false
	case right <= left:
		// [at][b][gap] -> [gap][at][b]
		for to := at + right; to > at; to-- {
			x.moveInRow(nd, to-1, to)
		}
		return at, true
	}
	// [gap][a][b] at -> [a][b][gap]
	for to := at - left - 1; to+1 < at; to++ {
		x.moveInRow(nd, to+1, to)
	}
	return at - 1, true
}

// moveInRow moves an entry to the gap beside it, in the same leaf.
func (x *Index) moveInRow(nd *node, from, to uint32) {
	x.row.setClass(to, x.row.classAt(from))
	x.row.setClass(from, 0)
	x.row.front = min(x.row.front, to)
	i, j := from&slotMask, to&slotMask
	ref := nd.ref[i]
	nd.key[j], nd.size[j], nd.ref[j] = nd.key[i], nd.size[i], ref
	nd.size[i] = 0
	nd.used ^= 1<<i | 1<<j
	x.table.Nodes[ref].X = uint32(rowPos(to))
}

// Remove takes the block at p out. O(log blocks).
func (x *Index) Remove(p Pos) {
	if x.row.width == 0 {
		x.removeInTree(p)
		return
	}
	slot := rowSlot(p)
	n, i := &x.nodes[rowLeaf(slot)], slot&slotMask
	x.sinkInRow(n.size[i])
	x.table.Nodes[n.ref[i]].X = 0
	n.used &^= 1 << i
	n.size[i] = 0
	x.row.setClass(slot, 0)
	x.row.count(slot, ^uint64(0))
	x.length--
	switch {
	case x.length < x.row.width*(fanout/4) && x.row.width > 1:
		x.row.width /= 2
		x.respread(even, x.row.width*2)
	case slot == x.row.front:
		x.retreat()
	}
}

// retreat moves the front of the row up to its first block, so that what is
// pushed on a LIFO list comes to where what was popped had been.
func (x *Index) retreat() {
	s, end := x.row.front, x.row.width*fanout
	for ; s < end; s++ {
		n := &x.nodes[rowLeaf(s)]
		if n.used>>(s&slotMask)&1 != 0 {
			break
		}
		n.key[s&slotMask] = 0
	}
	x.row.front = s
}

// Update puts block id, with a new key and size, in the place of the block at
// p, which may be id itself. In the order ByKey the key must keep the place:
// above the key of the block before, below that of the block after. O(log
// blocks), and less if the largest size below few nodes changes.
func (x *Index) Update(p Pos, id blocks.ID, key, size uint32) {
	if x.row.width == 0 {
		x.updateInTree(p, id, key, size)
		return
	}
	slot := rowSlot(p)
	n, i := &x.nodes[rowLeaf(slot)], slot&slotMask
	x.sinkInRow(n.size[i])
	x.riseInRow(size)
	x.table.Nodes[n.ref[i]].X = 0
	x.table.Nodes[id].X = uint32(p)
	n.key[i], n.size[i], n.ref[i] = key, size, id
	x.row.setClass(slot, classOf(size))
	if i == 0 || i == slotMask || n.key[i-1] > key || n.key[i+1] < key {
		x.order(slot, key)
	}
}

// order sees to it that the gaps beside a block stay in order.
func (x *Index) order(slot, key uint32) {
	for s := slot + 1; s < x.row.width*fanout; s++ {
		k := &x.nodes[rowLeaf(s)].key[s&slotMask]
		if *k >= key {
			break
		}
		*k = key
	}
	for s := slot; s > 0; s-- {
		k := &x.nodes[rowLeaf(s-1)].key[(s-1)&slotMask]
		if *k <= key {
			break
		}
		*k = key
	}
}

// spread lays the blocks out anew to make room, in more leaves if they are many.
func (x *Index) spread(l layout) {
	width := x.row.width
	if x.length >= width*(fanout*3/4) && width < rowLeaves {
		x.row.width *= 2
	}
	x.respread(l, width)
}

// respread lays the blocks of the first so many leaves out in the row.
func (x *Index) respread(l layout, leaves uint32) {
	var h rowHoard
	for n := uint32(1); n <= leaves; n++ {
		h.take(&x.nodes[n])
	}
	x.lay(&h, l)
}

// rowHoard holds the blocks of a row while they are laid out anew.
type rowHoard struct {
	key, size, ref [rowSlots]uint32
	count          uint32
}

func (h *rowHoard) take(n *node) {
	for rest := n.used; rest != 0; rest &= rest - 1 {
		i, c := lowest(rest)&slotMask, h.count%rowSlots
		h.key[c], h.size[c], h.ref[c] = n.key[i], n.size[i], n.ref[i]
		h.count++
	}
}

// lay makes the blocks of a hoard those of the row.
func (x *Index) lay(h *rowHoard, l layout) {
	r := &x.row
	for uint32(len(x.nodes)) <= r.width {
		x.takeNode()
	}
	for n := uint32(1); n <= r.width; n++ {
		nd := &x.nodes[n]
		nd.used, nd.prev, nd.next = 0, n-1, n+1
	}
	x.nodes[r.width].next = none
	x.first, x.last = 1, r.width
	end := r.width * fanout
	r.before, r.front = 0, end/2 // the front of an empty row
	r.class = [2 * rowWords]uint64{}
	r.class[r.width*(fanout/8)%(2*rowWords)] = ^uint64(tops)
	s := uint32(0) // the slot after the block before
	for i := range h.count {
		slot := i
		switch l {
		case even:
			slot = i * end / h.count
		case high:
			slot = i + end - h.count
		}
		c := i % rowSlots
		key := uint32(0) // of the gaps below the first block
		if i == 0 {
			r.front = slot
		} else {
			key = h.key[c]
		}
		for ; s < slot; s++ {
			x.nodes[rowLeaf(s)].setGap(s, key)
		}
		s++
		x.nodes[rowLeaf(slot)].fill(slot, h.key[c], h.size[c], h.ref[c])
		x.table.Nodes[h.ref[c]].X = uint32(rowPos(slot))
		r.setClass(slot, classOf(h.size[c]))
		r.count(slot, 1)
	}
	if h.count == 0 {
		for ; s < r.front; s++ {
			x.nodes[rowLeaf(s)].setGap(s, 0)
		}
	}
	for ; s < end; s++ {
		x.nodes[rowLeaf(s)].setGap(s, ^uint32(0))
	}
}

func (n *node) setGap(slot, key uint32) {
	n.key[slot&slotMask], n.size[slot&slotMask] = key, 0
}

// plant makes a tree of a row of all its leaves.
func (x *Index) plant() {
	x.tighten()
	x.respread(even, x.row.width)
	root, t := x.takeNode(), x.takeTally()
	nd := &x.nodes[root]
	nd.tally = t
	slot := uint32(0)
	for n := uint32(1); n <= x.row.width; n++ {
		leaf := &x.nodes[n]
		key := leaf.key[lowest(leaf.used)&slotMask]
		if n == 1 {
			key = 0
		}
		nd.fill(slot, key, leaf.largest(), n)
		x.tallies[t].add(slot, uint32(bits.OnesCount64(leaf.used)))
		leaf.above = pos(root, slot)
		slot++
	}
	x.root, x.height = root, 1
	x.row.width = 0
}

// fell makes a row of a tree that has few blocks.
func (x *Index) fell() {
	var h rowHoard
	for n := x.first; n != none; n = x.nodes[n].next {
		h.take(&x.nodes[n])
	}
	length, largest := x.length, x.largest
	x.reset()
	x.length, x.largest = length, largest
	x.row.width = rowLeaves
	x.lay(&h, even)
}

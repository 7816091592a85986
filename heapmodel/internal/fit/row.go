package fit

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// A row is what an index in the order ByKey is while it has few blocks: up to
// rowLeaves leaves with no inner nodes above them, so that a change touches one
// place and nothing else. Slots are counted through all leaves, gaps spread
// over them.
//
//	used    1..11.1. .1.1.... ...      bitmaps of the leaves
//	class   5002203. .1.4....          size classes, a byte each
//	before  0        5                 blocks in the leaves before each
//
// A search looks at the size classes of a leaf at once, and a rank is the sum
// of two numbers, whatever there is in the row. Both take hardly a branch that
// depends on blocks: lists of a few dozen blocks are those of small heaps,
// where a wrong guess of a branch costs as much as sixty instructions.
type row struct {
	width  uint32            // leaves
	front  uint32            // slot below which all are gaps with key 0
	loose  bool              // Index.largest may be more than the largest size
	before uint64            // by leaf, 16 bits each: blocks in the leaves before
	used   [rowLeaves]uint64 // bitmaps of the slots that are not gaps
	// The class of slot i of a leaf, and its top bit, is byte i/8 of word i%8.
	class [rowSlots / 8]uint64
	// In a gap, keys lie between those of the blocks beside it, and the size is
	// zero. Behind the leaves, keys are noKey.
	key  [rowSlots]uint32
	size [rowSlots]uint32
	ref  [rowSlots]uint32
}

const (
	rowLeaves = 4
	rowSlots  = rowLeaves * fanout
	rowMask   = rowSlots - 1
	rowMost   = 216 // blocks, from which on there is a tree
	rowAgain  = 96  // blocks, below which there is a row again
	packed    = 8   // blocks at an end of the list that are moved for one beyond
)

// noKey is above all keys.
const noKey = ^uint32(0)

// Size classes are less than 128. Those below exactClass are sizes, a gap's is
// zero, and from exactClass on there are two to a power of two.
const (
	exactClass = 64
	ones       = 0x0101010101010101
	tops       = ones << 7
)

// classes are those of small sizes: a table is the shortest way from a size to
// a search, which waits for it.
var classes = func() (t [512]uint8) {
	for size := range t {
		t[size] = uint8(largeClass(uint32(size)))
	}
	return t
}()

func classOf(size uint32) uint64 {
	if size < uint32(len(classes)) {
		return uint64(classes[size])
	}
	return largeClass(size)
}

func largeClass(size uint32) uint64 {
	if size < exactClass {
		return uint64(size)
	}
	log2 := uint32(bits.Len32(size)) - 1
	return uint64(exactClass + 2*(log2-6) + size>>(log2-1)&1)
}

func (r *row) setClass(slot uint32, class uint64) {
	word := &r.class[classWord(slot)]
	shift := int(slot & 0x38)
	*word = bits.RotateLeft64(bits.RotateLeft64(*word, -shift)&^0xff|class|0x80, shift)
}

// classAt is the reverse of setClass.
func (r *row) classAt(slot uint32) uint64 {
	return r.class[classWord(slot)] >> (slot & 0x38) & 0x7f
}

// classWord returns the index of the word with the class of a slot.
func classWord(slot uint32) uint32 { return slot&(rowMask&^slotMask)/8 | slot%8 }

// hits returns a bitmap of the slots of a leaf with at least the class in each
// byte of pattern.
func (r *row) hits(leaf uint32, pattern uint64) uint64 {
	c := (*[8]uint64)(r.class[leaf%rowLeaves*8:])
	// The top bit of each byte stays where its class is not less.
	return (c[0]-pattern)&tops>>7 | (c[1]-pattern)&tops>>6 | (c[2]-pattern)&tops>>5 | (c[3]-pattern)&tops>>4 |
		(c[4]-pattern)&tops>>3 | (c[5]-pattern)&tops>>2 | (c[6]-pattern)&tops>>1 | (c[7]-pattern)&tops
}

// count adds to the number of blocks before the leaves behind that of a slot.
func (r *row) count(slot uint32, add uint64) {
	r.before += add * 0x0001_0001_0001_0000 << (slot / fanout * 16 & 63)
}

// rowPos returns the place of a slot of the row, rowSlot is its reverse.
func rowPos(slot uint32) Pos { return Pos(slot + fanout) }

func rowSlot(p Pos) uint32 { return uint32(p) - fanout }

// end returns the slot behind the leaves.
func (r *row) end() uint32 { return r.width * fanout }

// from returns the place of the first block at or after a slot, which may be
// the end of the row.
func (r *row) from(slot uint32) Pos {
	for ; slot < r.end(); slot = (slot/fanout + 1) * fanout {
		if rest := r.used[slot/fanout%rowLeaves] >> (slot & slotMask); rest != 0 {
			return rowPos(slot + lowest(rest))
		}
	}
	return NoPos
}

// until returns the place of the last block before a slot.
func (r *row) until(slot uint32) Pos {
	for ; slot > 0; slot = (slot - 1) / fanout * fanout {
		last := slot - 1
		if rest := r.used[last/fanout%rowLeaves] << (^last & slotMask); rest != 0 {
			return rowPos(last - uint32(bits.LeadingZeros64(rest)))
		}
	}
	return NoPos
}

// rank returns the number of blocks before a slot.
func (r *row) rank(slot uint32) int {
	below := r.used[slot/fanout%rowLeaves] & (1<<(slot&slotMask) - 1)
	return bits.OnesCount64(below) + int(r.before>>(slot/fanout*16&63)&0xffff)
}

// FirstFit returns the place of the first block of at least want granules, not
// zero, in the index's order; NoPos if none is that large. O(log blocks).
func (x *Set[Y]) FirstFit(want uint32) Pos {
	if x.row == nil {
		return x.firstInTree(want)
	}
	p, _ := x.Walk(want, 0)
	return p
}

// Walk is FirstFit and the Rank of what it finds: how many blocks a walk of the
// list passes before. It passes over blocks of exactly odd granules, too; zero
// is none. O(log blocks), and O(blocks passed over) in a long list.
func (x *Set[Y]) Walk(want, odd uint32) (p Pos, passed uint64) {
	r := x.row
	if r == nil {
		return x.walkTree(want, odd)
	}
	if want > x.largest {
		return NoPos, 0
	}
	pattern := classOf(want) * ones
	for leaf := range r.width {
		c, i := &r.class, uint(leaf)%rowLeaves*8
		// This is r.hits, which Go does not inline.
		hits := (c[i]-pattern)&tops>>7 | (c[i+1]-pattern)&tops>>6 | (c[i+2]-pattern)&tops>>5 | (c[i+3]-pattern)&tops>>4 |
			(c[i+4]-pattern)&tops>>3 | (c[i+5]-pattern)&tops>>2 | (c[i+6]-pattern)&tops>>1 | (c[i+7]-pattern)&tops
		for ; hits != 0; hits &= hits - 1 {
			s := leaf*fanout + lowest(hits)
			if size := r.size[s&rowMask]; size >= want && size != odd { // it may be of the class, but smaller
				below := r.used[leaf%rowLeaves] & ((hits ^ (hits - 1)) >> 1)
				return rowPos(s), uint64(bits.OnesCount64(below)) + r.before>>(leaf*16&63)&0xffff
			}
		}
	}
	x.tighten()
	return NoPos, 0
}

// firstFromSlot is FirstFit from a slot on, which may be the end of the row.
func (x *Set[Y]) firstFromSlot(slot, want uint32) Pos {
	if want > x.largest {
		return NoPos
	}
	r := x.row
	pattern := classOf(want) * ones
	passed := slot & slotMask
	for leaf := slot / fanout; leaf < r.width; leaf++ {
		for hits := r.hits(leaf, pattern) >> passed << passed; hits != 0; hits &= hits - 1 {
			s := leaf*fanout + lowest(hits)
			if r.size[s&rowMask] >= want {
				return rowPos(s)
			}
		}
		passed = 0
	}
	return NoPos
}

// tighten makes Index.largest the largest size.
func (x *Set[Y]) tighten() {
	if x.row == nil || !x.row.loose {
		return
	}
	x.row.loose, x.largest = false, 0
	for _, size := range x.row.size[:x.row.end()] {
		x.largest = max(x.largest, size)
	}
}

// resize notes that a block of one size became one of another; zero is none.
func (x *Set[Y]) resize(was, size uint32) {
	if size >= x.largest {
		x.largest, x.row.loose = size, false
	} else if was == x.largest {
		x.row.loose = true
	}
}

// search returns how many slots of the row, gaps included, have a key below the
// given one. Like searchByKey it has no branch.
func (r *row) search(key uint32) uint32 {
	k, keys := uint64(key), &r.key
	// Keys behind the leaves are above all others.
	i := (below(keys[fanout], k) + below(keys[2*fanout], k) + below(keys[3*fanout], k)) * fanout & (rowMask &^ slotMask)
	i += (below(keys[i+7], k) + below(keys[i+15], k) + below(keys[i+23], k) + below(keys[i+31], k) +
		below(keys[i+39], k) + below(keys[i+47], k) + below(keys[i+55], k)) * searchRun
	i &= rowMask &^ (searchRun - 1)
	return uint32(i + below(keys[i], k) + below(keys[i+1], k) + below(keys[i+2], k) + below(keys[i+3], k) +
		below(keys[i+4], k) + below(keys[i+5], k) + below(keys[i+6], k) + below(keys[i+7], k))
}

// below returns 1 if a key is below k, else 0.
func below(key uint32, k uint64) uint {
	_, borrow := bits.Sub64(uint64(key), k, 0)
	return uint(borrow)
}

// Insert adds a block that is not in the index and returns its place. O(log
// blocks).
func (x *Set[Y]) Insert(id blocks.ID, key, size uint32) Pos {
	if x.row == nil {
		return x.insertInTree(id, key, size)
	}
	if x.length >= rowMost {
		x.plant()
		return x.insertInTree(id, key, size)
	}
	r := x.row
	slot := r.front - 1
	if slot >= r.end()-1 || key > r.key[(slot+1)&rowMask] {
		slot = x.gapInRow(key)
	}
	r.front = min(r.front, slot)
	r.used[slot/fanout%rowLeaves] |= 1 << (slot & slotMask)
	i := slot & rowMask
	r.key[i], r.size[i], r.ref[i] = key, size, id
	x.table.Nodes[id].X = uint32(rowPos(slot))
	r.setClass(slot, classOf(size))
	r.count(slot, 1)
	x.length++
	x.resize(0, size)
	return rowPos(slot)
}

// gapInRow returns a gap in which the key is in order.
func (x *Set[Y]) gapInRow(key uint32) uint32 {
	r := x.row
	for {
		at := r.search(key)
		leaf := at / fanout
		if at&slotMask == 0 && at > 0 && (leaf == r.width || r.used[(leaf-1)%rowLeaves]>>slotMask == 0) {
			leaf--
		}
		gaps := ^r.used[leaf%rowLeaves]
		i := at - leaf*fanout
		right := uint32(bits.TrailingZeros64(gaps >> i))          // blocks from i to the next gap
		left := uint32(bits.LeadingZeros64(gaps << (fanout - i))) // and below i
		if right == 0 || left == 0 {
			return at - min(right, 1)
		}
		if slot, ok := x.makeGap(at, left, right); ok {
			return slot
		}
	}
}

// makeGap returns a gap for a block in front of slot at, where there is none
// but behind so many blocks to the left or to the right, 64 if there is none in
// the leaf. If they are too many, ok is false, and there are new gaps.
func (x *Set[Y]) makeGap(at, left, right uint32) (slot uint32, ok bool) {
	switch {
	case at == 0 && right > packed:
		x.spread(high)
		return 0, false
	case at == x.row.end() && left > packed:
		x.spread(low)
		return 0, false
	case min(left, right) == fanout:
		x.spread(even)
		return 0, false
	case right <= left:
		// [at][b][gap] -> [gap][at][b]
		for to := at + right; to > at; to-- {
			x.moveInRow(to-1, to)
		}
		x.vacateInRow(at)
		return at, true
	}
	// [gap][a][b] at -> [a][b][gap]
	to := at - left - 1
	x.row.front = min(x.row.front, to)
	for ; to+1 < at; to++ {
		x.moveInRow(to+1, to)
	}
	x.vacateInRow(at - 1)
	return at - 1, true
}

// moveInRow copies an entry to the slot beside it.
func (x *Set[Y]) moveInRow(from, to uint32) {
	r := x.row
	i, j := from&rowMask, to&rowMask
	size, ref := r.size[i], r.ref[i]
	r.key[j], r.size[j], r.ref[j] = r.key[i], size, ref
	r.used[to/fanout%rowLeaves] |= 1 << (to & slotMask)
	r.setClass(to, classOf(size))
	x.table.Nodes[ref].X = uint32(rowPos(to))
}

// vacateInRow makes a gap of a slot.
func (x *Set[Y]) vacateInRow(slot uint32) {
	r := x.row
	r.used[slot/fanout%rowLeaves] &^= 1 << (slot & slotMask)
	r.size[slot&rowMask] = 0
	r.setClass(slot, 0)
}

// Remove takes the block at p out. O(log blocks).
func (x *Set[Y]) Remove(p Pos) {
	if x.row == nil {
		x.removeInTree(p)
		return
	}
	r := x.row
	slot := rowSlot(p)
	x.resize(r.size[slot&rowMask], 0)
	x.vacateInRow(slot)
	r.count(slot, ^uint64(0))
	x.length--
	switch {
	case x.length < r.width*(fanout/4) && r.width > 1:
		x.respread(even, r.width/2)
	case slot == r.front:
		x.retreat()
	}
}

// retreat moves the front of the row up to its first block, so that what is
// pushed on a LIFO list comes to where what was popped had been.
func (x *Set[Y]) retreat() {
	r := x.row
	for ; r.front < r.end(); r.front++ {
		if r.used[r.front/fanout%rowLeaves]>>(r.front&slotMask)&1 != 0 {
			break
		}
		r.key[r.front&rowMask] = 0
	}
}

// Update puts block id, with a new key and size, in the place of the block at
// p, which may be id itself. In the order ByKey the key must keep the place:
// above the key of the block before, below that of the block after. O(log
// blocks), and less if the largest size below few nodes changes.
func (x *Set[Y]) Update(p Pos, id blocks.ID, key, size uint32) {
	if x.row == nil {
		x.updateInTree(p, id, key, size)
		return
	}
	r := x.row
	slot := rowSlot(p)
	i := slot & rowMask
	x.resize(r.size[i], size)
	x.table.Nodes[id].X = uint32(p)
	r.key[i], r.size[i], r.ref[i] = key, size, id
	r.setClass(slot, classOf(size))
	if slot-1 >= rowSlots-2 || r.key[(i-1)&rowMask] > key || r.key[(i+1)&rowMask] < key {
		r.order(slot, key)
	}
}

// order sees to it that the gaps beside a block stay in order.
func (r *row) order(slot, key uint32) {
	for s := slot + 1; s < r.end() && r.key[s&rowMask] < key; s++ {
		r.key[s&rowMask] = key
	}
	for s := slot; s > 0 && r.key[(s-1)&rowMask] > key; s-- {
		r.key[(s-1)&rowMask] = key
	}
}

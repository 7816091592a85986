package fit

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// insertInTree is Insert where there is no row.
func (x *Set[Y]) insertInTree(id blocks.ID, key, size uint32) Pos {
	want := x.sortKey(size, key)
	leaf := x.seek(want)
	for x.nodes[leaf].used == ^uint64(0) {
		x.makeRoom(leaf, true, want)
		leaf = x.seek(want)
	}
	slot := x.gap(leaf, want, true)
	x.nodes[leaf].fill(slot, key, size, id)
	x.table.Nodes[id].X = uint32(pos(leaf, slot))
	x.length++
	x.count(leaf, 1)
	x.rise(leaf, size)
	if x.nodes[leaf].used&(1<<slot-1) == 0 {
		x.lowerBounds(leaf, size, key)
	}
	return pos(leaf, slot)
}

// fill puts an entry into a gap.
func (n *node) fill(slot, key, size, ref uint32) {
	slot &= slotMask
	n.used |= 1 << slot
	n.key[slot], n.size[slot], n.ref[slot] = key, size, ref
}

// gap returns a gap of a node that is not full in which the sort key want is in
// order.
func (x *Set[Y]) gap(n uint32, want uint64, leaf bool) uint32 {
	nd := &x.nodes[n]
	at := x.search(nd, want)
	gaps := ^nd.used
	right := gaps >> at << at  // at and beyond
	left := gaps & (1<<at - 1) // below at
	if right != 0 && (left == 0 || lowest(right)-at < at-highest(left)) {
		// [at][b][gap] -> [gap][at][b]
		to := lowest(right)
		for ; to > at; to-- {
			x.move(n, nd, to-1, to, leaf)
		}
		return to
	}
	// [gap][a][b] at -> [a][b][gap]
	to := highest(left)
	for ; to+1 < at; to++ {
		x.move(n, nd, to+1, to, leaf)
	}
	return to
}

// move moves an entry to the gap beside it.
func (x *Set[Y]) move(n uint32, nd *node, from, to uint32, leaf bool) {
	from, to = from&slotMask, to&slotMask
	ref := nd.ref[from]
	nd.key[to], nd.size[to], nd.ref[to] = nd.key[from], nd.size[from], ref
	nd.used ^= 1<<from | 1<<to
	if leaf {
		x.table.Nodes[ref].X = uint32(pos(n, to))
		return
	}
	x.nodes[ref].above = pos(n, to)
	tally := &x.tallies[nd.tally]
	tally.set(to, tally.set(from, 0))
}

// vacate makes a gap of a slot.
func (x *Set[Y]) vacate(n *node, slot uint32) {
	n.used &^= 1 << slot
	n.size[slot&slotMask] &= x.sizeMask
}

// removeInTree is Remove where there is no row.
func (x *Set[Y]) removeInTree(p Pos) {
	leaf, slot := uint32(p)>>fanoutLog2, uint32(p)&slotMask
	n := &x.nodes[leaf]
	size := n.size[slot]
	x.vacate(n, slot)
	x.length--
	x.count(leaf, ^uint32(0))
	x.sink(leaf, size)
	if x.length < rowAgain && x.spareRow != nil {
		x.fell()
		return
	}
	if bits.OnesCount64(n.used) <= sparse && x.height > 0 {
		x.shrink(leaf)
	}
}

// updateInTree is Update where there is no row.
func (x *Set[Y]) updateInTree(p Pos, id blocks.ID, key, size uint32) {
	leaf, slot := uint32(p)>>fanoutLog2, uint32(p)&slotMask
	n := &x.nodes[leaf]
	if x.bySize() && !x.stays(n, slot, size, key) {
		x.Remove(p)
		x.Insert(id, key, size)
		return
	}
	wasKey, wasSize := n.key[slot], n.size[slot]
	x.table.Nodes[id].X = uint32(p)
	n.ref[slot] = id
	x.setKey(n, slot, size, key)
	if x.bySize() {
		return
	}
	n.size[slot] = size
	switch {
	case size > wasSize:
		x.rise(leaf, size)
	case size < wasSize:
		x.sink(leaf, wasSize)
	}
	switch {
	case key < wasKey && n.used&(1<<slot-1) == 0:
		x.lowerBounds(leaf, size, key)
	case key > wasKey && n.used>>slot == 1 && n.next != none:
		x.raiseBounds(n.next, key)
	}
}

// stays reports whether the sort key of (size, key) belongs at a slot of a
// leaf, between two others of the leaf.
func (x *Set[Y]) stays(n *node, slot, size, key uint32) bool {
	below, above := n.used&(1<<slot-1), n.used>>slot>>1
	k := x.sortKey(size, key)
	return below != 0 && above != 0 && x.slotKey(n, highest(below)) < k &&
		k < x.slotKey(n, slot+1+lowest(above))
}

// setKey sets the sort key of an entry, within the bounds of the entries beside
// it, and those of the gaps beside it, so that they rise.
func (x *Set[Y]) setKey(n *node, slot, size, key uint32) {
	k := x.sortKey(size, key)
	n.key[slot] = key
	n.size[slot] = size&x.sizeMask | n.size[slot]&^x.sizeMask
	for i := slot + 1; i < fanout && x.slotKey(n, i) < k; i++ {
		n.key[i], n.size[i] = key, size&x.sizeMask
	}
	for i := slot; i > 0 && x.slotKey(n, i-1) > k; i-- {
		n.key[i-1], n.size[i-1] = key, size&x.sizeMask
	}
}

// lowerBounds sees to it that no bound above a node is higher than the sort
// key.
func (x *Set[Y]) lowerBounds(n, size, key uint32) {
	k := x.sortKey(size, key)
	for n != x.root {
		p := x.nodes[n].above
		n = uint32(p) >> fanoutLog2
		nd := &x.nodes[n]
		if x.slotKey(nd, uint32(p)) <= k {
			return
		}
		x.setKey(nd, uint32(p)&slotMask, size, key)
	}
}

// raiseBounds sees to it that the bounds of the subtrees that begin with a leaf
// are above key, in the order ByKey.
func (x *Set[Y]) raiseBounds(n, key uint32) {
	first := x.nodes[n].key[lowest(x.nodes[n].used)&slotMask]
	for n != x.root {
		p := x.nodes[n].above
		n = uint32(p) >> fanoutLog2
		nd := &x.nodes[n]
		if nd.key[p&slotMask] > key {
			return
		}
		x.setKey(nd, uint32(p)&slotMask, 0, first)
		if nd.used&(1<<(p&slotMask)-1) != 0 {
			return
		}
	}
}

// count adds to the number of blocks below each ancestor of a leaf.
func (x *Set[Y]) count(n, add uint32) {
	for n != x.root {
		p := x.nodes[n].above
		n = uint32(p) >> fanoutLog2
		x.tallies[x.nodes[n].tally].add(uint32(p), add)
	}
}

// rise makes the largest sizes above a node at least size.
func (x *Set[Y]) rise(n, size uint32) {
	if x.bySize() {
		return
	}
	for n != x.root {
		p := x.nodes[n].above
		n = uint32(p) >> fanoutLog2
		above := &x.nodes[n].size[p&slotMask]
		if *above >= size {
			return
		}
		*above = size
	}
	x.largest = max(x.largest, size)
}

// sink corrects the largest sizes above a node, in which an entry of size was
// got smaller or went away.
func (x *Set[Y]) sink(n, was uint32) {
	if x.bySize() {
		return
	}
	for n != x.root {
		p := x.nodes[n].above
		above := &x.nodes[p>>fanoutLog2].size[p&slotMask]
		if *above != was {
			return
		}
		if *above = x.nodes[n].largest(); *above == was {
			return
		}
		n = uint32(p) >> fanoutLog2
	}
	if x.largest == was {
		x.largest = x.nodes[n].largest()
	}
}

// largest returns the largest size in a node, in the order ByKey.
func (n *node) largest() uint32 {
	a, b := uint32(0), uint32(0)
	for i := 0; i < fanout; i += 2 {
		a, b = max(a, n.size[i]), max(b, n.size[i+1])
	}
	return max(a, b)
}

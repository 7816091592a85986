package fit

import "math/bits"

// Bounds on the entries of nodes, chosen so that a node that was just split or
// joined is far from the next split or join.
const (
	roomy  = 54 // a sibling with at most so many takes entries of a full node
	sparse = 32 // a node with so few looks for a sibling to join
	joined = 56 // and joins if both together have at most so many
	edge   = 6  // entries that a split at an end of the list cuts off
)

// layout says where in a node entries go.
type layout uint8

const (
	even layout = iota // gaps spread among them
	low                // in the lowest slots, gaps above
	high               // in the highest slots, gaps below
)

// takeNode returns an empty node. It may move x.nodes.
func (x *Set[Y]) takeNode() uint32 {
	n := x.spare
	if n != none {
		x.spare = x.nodes[n].next
	} else {
		if len(x.nodes) == cap(x.nodes) {
			grown := make([]node, len(x.nodes), len(x.nodes)+len(x.nodes)/16+2)
			copy(grown, x.nodes)
			x.nodes = grown
		}
		n = uint32(len(x.nodes))
		x.nodes = x.nodes[:n+1]
	}
	nd := &x.nodes[n]
	*nd = node{}
	for i := range nd.key {
		nd.key[i] = ^uint32(0)
		nd.size[i] = x.sizeMask
	}
	return n
}

func (x *Set[Y]) dropNode(n uint32) {
	x.nodes[n].next = x.spare
	x.spare = n
}

func (x *Set[Y]) takeTally() uint32 {
	if t := x.spareTally; t != 0 {
		x.spareTally = x.tallies[t-1].slot[0]
		x.tallies[t-1] = tally{}
		return t - 1
	}
	x.tallies = append(x.tallies, tally{})
	return uint32(len(x.tallies) - 1)
}

func (x *Set[Y]) dropTally(t uint32) {
	x.tallies[t].slot[0] = x.spareTally
	x.spareTally = t + 1
}

// reset makes the index empty and keeps its memory.
func (x *Set[Y]) reset() {
	x.clear()
	if x.spareRow != nil {
		x.row = x.spareRow
		x.row.width, x.row.loose = 1, false
		x.lay(&rowHoard{}, even)
	}
}

// clear makes the index a tree of a single empty leaf.
func (x *Set[Y]) clear() {
	x.nodes, x.tallies = x.nodes[:1], x.tallies[:0]
	x.spare, x.spareTally = none, 0
	x.height, x.largest, x.length = 0, 0, 0
	x.root = x.takeNode()
	x.first, x.last = x.root, x.root
	x.row = nil
}

// siblings returns the nodes to both sides of a node in its parent.
func (x *Set[Y]) siblings(n uint32) (left, right uint32) {
	p := x.nodes[n].above
	up := &x.nodes[p>>fanoutLog2]
	if below := up.used & (1<<(p&slotMask) - 1); below != 0 {
		left = up.ref[highest(below)&slotMask]
	}
	if above := up.used >> (p & slotMask) >> 1; above != 0 {
		right = up.ref[(uint32(p)+1+lowest(above))&slotMask]
	}
	return left, right
}

func (x *Set[Y]) entries(n uint32) int { return bits.OnesCount64(x.nodes[n].used) }

// makeRoom takes entries from a full node. They go to a sibling that has room,
// or to a new node. want is the sort key for which room is needed.
func (x *Set[Y]) makeRoom(n uint32, leaf bool, want uint64) {
	if n == x.root {
		x.addRoot()
	}
	// At the ends of the list one insertion often follows the other on the same
	// side (LIFO, FIFO): what is cut off stays nearly full, and the rest of its
	// entries is kept where it leaves room for those that follow.
	if leaf && n == x.last && x.slotKey(&x.nodes[n], slotMask) < want {
		x.share(n, x.addRight(n, leaf), fanout-edge, leaf, even, low)
		return
	}
	if leaf && n == x.first && want < x.slotKey(&x.nodes[n], 0) {
		x.share(n, x.addRight(n, leaf), edge, leaf, high, even)
		return
	}
	left, right := x.siblings(n)
	switch {
	case left != none && x.entries(left) <= roomy:
		x.share(left, n, (x.entries(left)+fanout)/2, leaf, even, even)
	case right != none && x.entries(right) <= roomy:
		x.share(n, right, (x.entries(right)+fanout)/2, leaf, even, even)
	default:
		x.share(n, x.addRight(n, leaf), fanout/2, leaf, even, even)
	}
}

// addRoot puts a new root with one child above the root.
func (x *Set[Y]) addRoot() {
	n, t := x.takeNode(), x.takeTally()
	nd := &x.nodes[n]
	nd.tally = t
	nd.fill(0, 0, x.largest, x.root)
	x.tallies[t].add(0, x.length)
	x.nodes[x.root].above = pos(n, 0)
	x.root = n
	x.height++
}

// addRight puts a new empty node after a full node n, in its parent. The bound
// that it gets, the sort key of the last entry of n, is not the right one yet.
func (x *Set[Y]) addRight(n uint32, leaf bool) uint32 {
	key, size := x.nodes[n].key[slotMask], x.nodes[n].size[slotMask]&x.sizeMask
	k := x.sortKey(size, key)
	for up := x.parent(n); x.nodes[up].used == ^uint64(0); up = x.parent(n) {
		x.makeRoom(up, false, k)
	}
	right := x.takeNode()
	nd, r := &x.nodes[n], &x.nodes[right]
	if leaf {
		r.prev, r.next = n, nd.next
		if nd.next == none {
			x.last = right
		} else {
			x.nodes[nd.next].prev = right
		}
		nd.next = right
	} else {
		r.tally = x.takeTally()
	}
	up := x.parent(n)
	slot := x.gap(up, k, false)
	x.nodes[up].fill(slot, key, size, right)
	r.above = pos(up, slot)
	return right
}

func (x *Set[Y]) parent(n uint32) uint32 { return uint32(x.nodes[n].above) >> fanoutLog2 }

// hoard holds the entries of two nodes while they are shared out anew.
type hoard struct {
	key, size, ref, tally [2 * fanout]uint32
	count                 int
}

func (x *Set[Y]) takeAll(h *hoard, n uint32, leaf bool) {
	nd := &x.nodes[n]
	for rest := nd.used; rest != 0; rest &= rest - 1 {
		i := lowest(rest) & slotMask
		h.key[h.count], h.size[h.count], h.ref[h.count] = nd.key[i], nd.size[i], nd.ref[i]
		if !leaf {
			h.tally[h.count] = x.tallies[nd.tally].slot[i]
		}
		h.count++
	}
}

// share puts the first k of the entries of two neighbours into the left one,
// the others into the right one, and corrects what the parent says of them.
func (x *Set[Y]) share(left, right uint32, k int, leaf bool, l, r layout) {
	var h hoard
	x.takeAll(&h, left, leaf)
	x.takeAll(&h, right, leaf)
	x.give(left, &h, 0, k, leaf, l)
	x.give(right, &h, k, h.count, leaf, r)
	if k < h.count {
		p := x.nodes[right].above
		x.setKey(&x.nodes[p>>fanoutLog2], uint32(p)&slotMask, h.size[k], h.key[k])
	}
}

// give makes entries [from, to) of a hoard those of a node.
func (x *Set[Y]) give(n uint32, h *hoard, from, to int, leaf bool, l layout) {
	nd := &x.nodes[n]
	count := to - from
	nd.used = 0
	below, largest := uint32(0), uint32(0)
	if !leaf {
		x.tallies[nd.tally] = tally{}
	}
	next := uint32(0) // the slot after the entry before
	for i := range count {
		e := from + i
		slot := uint32(i)
		switch l {
		case even:
			slot = uint32(i * fanout / count)
		case high:
			slot = uint32(i + fanout - count)
		}
		for ; next < slot; next++ {
			// A gap sorts as the entry above, except that lower blocks fill those
			// below the first entry from above.
			nd.key[next&slotMask], nd.size[next&slotMask] = 0, 0
			if i > 0 {
				nd.key[next&slotMask], nd.size[next&slotMask] = h.key[e], h.size[e]&x.sizeMask
			}
		}
		next++
		nd.fill(slot, h.key[e], h.size[e], h.ref[e])
		largest = max(largest, h.size[e])
		if leaf {
			x.table.Nodes[h.ref[e]].X = uint32(pos(n, slot))
			below++
		} else {
			x.nodes[h.ref[e]].above = pos(n, slot)
			x.tallies[nd.tally].add(slot, h.tally[e])
			below += h.tally[e]
		}
	}
	for ; next < fanout; next++ {
		nd.key[next&slotMask], nd.size[next&slotMask] = ^uint32(0), x.sizeMask
	}
	p := nd.above
	up := &x.nodes[p>>fanoutLog2]
	x.tallies[up.tally].set(uint32(p), below)
	if !x.bySize() {
		up.size[p&slotMask] = largest
	}
}

// shrink joins a sparse leaf with a sibling, or drops it if it is empty, and
// so on upwards.
func (x *Set[Y]) shrink(n uint32) {
	if x.length == 0 {
		x.reset()
		return
	}
	for leaf := true; n != x.root; leaf = false {
		count := x.entries(n)
		if count > sparse {
			return
		}
		up := x.parent(n)
		left, right := x.siblings(n)
		switch {
		case count == 0:
			x.removeChild(n, leaf)
		case left != none && x.entries(left)+count <= joined:
			x.share(left, n, x.entries(left)+count, leaf, even, even)
			x.removeChild(n, leaf)
		case right != none && x.entries(right)+count <= joined:
			x.share(n, right, x.entries(right)+count, leaf, even, even)
			x.removeChild(right, leaf)
		default:
			return
		}
		n = up
	}
	for x.height > 0 && x.entries(x.root) == 1 {
		old := x.root
		nd := &x.nodes[old]
		x.root = nd.ref[lowest(nd.used)&slotMask]
		x.dropTally(nd.tally)
		x.dropNode(old)
		x.height--
	}
}

// removeChild takes an empty node out of its parent and drops it.
func (x *Set[Y]) removeChild(n uint32, leaf bool) {
	nd := &x.nodes[n]
	up := &x.nodes[nd.above>>fanoutLog2]
	slot := uint32(nd.above) & slotMask
	x.vacate(up, slot)
	x.tallies[up.tally].set(slot, 0)
	if leaf {
		if nd.prev == none {
			x.first = nd.next
		} else {
			x.nodes[nd.prev].next = nd.next
		}
		if nd.next == none {
			x.last = nd.prev
		} else {
			x.nodes[nd.next].prev = nd.prev
		}
	} else {
		x.dropTally(nd.tally)
	}
	x.dropNode(n)
}

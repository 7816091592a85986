package walk

import "math/bits"

func (l *List) takeLeaf() uint32 {
	if n := l.spareLeaf; n != none {
		l.spareLeaf = l.leaves[n].up
		return n
	}
	l.leaves = grow(l.leaves)
	return uint32(len(l.leaves) - 1)
}

func (l *List) takeInner(level uint32) uint32 {
	n := l.spareInner
	if n != none {
		l.spareInner = l.inners[n].up
	} else {
		l.inners = grow(l.inners)
		n = uint32(len(l.inners) - 1)
	}
	nd := &l.inners[n]
	nd.n, nd.seam, nd.up, nd.level = 0, 0, none, level
	return n
}

// grow appends a node. Growing by an eighth keeps the memory small.
func grow[T leaf | inner](nodes []T) []T {
	n := len(nodes)
	if n == cap(nodes) {
		grown := make([]T, n, n+n/8+2)
		copy(grown, nodes)
		nodes = grown
	}
	return nodes[:n+1]
}

// room sees to it that the leaf of a block is not full, and returns the place
// of the block.
func (l *List) room(n, slot uint32) (leaf, at uint32) {
	if l.leaves[n].n < fanout {
		return n, slot
	}
	l.parentWithRoom(n)
	right := l.takeLeaf()
	lf, r := &l.leaves[n], &l.leaves[right]
	k := uint32(fanout / 2)
	if lf.next == none && slot == slotMask {
		k = fanout - edge // the heap is being filled: blocks below stay as they are
	}
	r.n, r.free = fanout-k, lf.free>>k
	r.prev, r.next = n, lf.next
	copy(r.start[:], lf.start[k:])
	copy(r.ref[:], lf.ref[k:])
	if lf.next != none {
		l.leaves[lf.next].prev = right
	}
	lf.next = right
	lf.n = k
	lf.free &= 1<<k - 1
	l.claim(right)
	up := lf.up
	r.up = up
	nd := &l.inners[up]
	i := nd.slot(n)
	nd.open(i + 1)
	nd.child[i+1] = right
	l.describeLeaf(nd, i)
	l.describeLeaf(nd, i+1)
	if slot >= k {
		return right, slot - k
	}
	return n, slot
}

// claim notes in the records of the objects of a leaf that they are there.
func (l *List) claim(n uint32) {
	lf := &l.leaves[n]
	for _, id := range lf.ref[:lf.n] {
		if id != None {
			l.records[id].leaf = n
		}
	}
}

// describeLeaf sets what a node says of a child that is a leaf.
func (l *List) describeLeaf(nd *inner, i uint32) {
	lf := &l.leaves[nd.child[i]]
	most, seam := l.most(lf)
	nd.low[i], nd.count[i], nd.free[i], nd.most[i] = lf.start[0], lf.n, uint32(bits.OnesCount64(lf.free)), most
	nd.seam = nd.seam&^(1<<i) | seam<<i
}

// describeInner sets what a node says of a child that is an inner node.
func (l *List) describeInner(nd *inner, i uint32) {
	c := &l.inners[nd.child[i]]
	nd.low[i], nd.most[i] = c.low[0], c.largest()
	nd.count[i], nd.free[i] = 0, 0
	for k := range c.n {
		nd.count[i] += c.count[k]
		nd.free[i] += c.free[k]
	}
	nd.seam = nd.seam&^(1<<i) | min(c.seam, 1)<<i
}

// open makes room for a child in a slot of a node that is not full.
func (nd *inner) open(slot uint32) {
	for _, column := range nd.columns() {
		copy(column[slot+1:nd.n+1], column[slot:nd.n])
	}
	nd.seam = nd.seam&(1<<slot-1) | nd.seam>>slot<<slot<<1
	nd.n++
}

// shut takes a child out of a node.
func (nd *inner) shut(slot uint32) {
	for _, column := range nd.columns() {
		copy(column[slot:], column[slot+1:nd.n])
	}
	nd.seam = nd.seam&(1<<slot-1) | nd.seam>>slot>>1<<slot
	nd.n--
}

func (nd *inner) columns() [5]*[fanout]uint32 {
	return [...]*[fanout]uint32{&nd.child, &nd.low, &nd.count, &nd.free, &nd.most}
}

// move appends the children of a node from slot k on to another node.
func (l *List) move(from, to, k uint32) {
	a, b := &l.inners[from], &l.inners[to]
	into := b.columns()
	for i, column := range a.columns() {
		copy(into[i][b.n:], column[k:a.n])
	}
	b.seam |= a.seam >> k << b.n
	a.seam &= 1<<k - 1
	for _, child := range a.child[k:a.n] {
		l.setParent(child, a.level, to)
	}
	b.n += a.n - k
	a.n = k
}

func (l *List) setParent(child, level, up uint32) {
	if level == 1 {
		l.leaves[child].up = up
	} else {
		l.inners[child].up = up
	}
}

// parentWithRoom sees to it that the parent of a leaf is not full.
func (l *List) parentWithRoom(n uint32) {
	up := l.leaves[n].up
	if l.inners[up].n == fanout {
		l.divide(up)
	}
}

// divide splits a full inner node.
func (l *List) divide(n uint32) {
	level := l.inners[n].level
	if n == l.root {
		top := l.takeInner(level + 1)
		nd := &l.inners[top]
		nd.n, nd.child[0] = 1, n
		l.inners[n].up = top
		l.root = top
	} else if up := l.inners[n].up; l.inners[up].n == fanout {
		l.divide(up)
	}
	right := l.takeInner(level)
	up := l.inners[n].up // it may have been divided
	l.inners[right].up = up
	l.move(n, right, fanout/2)
	nd := &l.inners[up]
	i := nd.slot(n)
	nd.open(i + 1)
	nd.child[i+1] = right
	l.describeInner(nd, i)
	l.describeInner(nd, i+1)
}

// thin joins a leaf that has few blocks with a sibling, or drops it if it is
// empty, and so on upwards. It reports whether blocks are in other places now.
func (l *List) thin(n uint32) bool {
	lf := &l.leaves[n]
	if lf.n > sparse {
		return false
	}
	up := lf.up
	nd := &l.inners[up]
	i := nd.slot(n)
	switch {
	case lf.n == 0:
		l.dropLeaf(nd, i)
		l.lost(up, i)
	case i > 0 && nd.count[i-1]+lf.n <= joined:
		l.joinLeaves(nd, i-1)
	case i+1 < nd.n && nd.count[i+1]+lf.n <= joined:
		l.joinLeaves(nd, i)
	default:
		return false
	}
	l.thinInner(up)
	return true
}

// lost corrects the lowest start below a node that has lost the child in a
// slot.
func (l *List) lost(n, slot uint32) {
	if nd := &l.inners[n]; slot == 0 && nd.n > 0 {
		l.raise(nd.up, n, nd.low[0])
	}
}

// joinLeaves moves the blocks of a child's upper sibling into the child.
func (l *List) joinLeaves(nd *inner, i uint32) {
	n, up := nd.child[i], nd.child[i+1]
	lf, upper := &l.leaves[n], &l.leaves[up]
	copy(lf.start[lf.n:], upper.start[:upper.n])
	copy(lf.ref[lf.n:], upper.ref[:upper.n])
	lf.free |= upper.free << lf.n
	lf.n += upper.n
	l.claim(n)
	l.dropLeaf(nd, i+1)
	l.describeLeaf(nd, i)
}

// dropLeaf removes a leaf whose blocks are gone. It is not the only one.
func (l *List) dropLeaf(nd *inner, i uint32) {
	n := nd.child[i]
	lf := &l.leaves[n]
	if lf.prev != none {
		l.leaves[lf.prev].next = lf.next
	}
	if lf.next != none {
		l.leaves[lf.next].prev = lf.prev
	}
	nd.shut(i)
	lf.up = l.spareLeaf
	l.spareLeaf = n
}

// thinInner is thin for an inner node.
func (l *List) thinInner(n uint32) {
	for n != l.root {
		nd := &l.inners[n]
		if nd.n > sparse {
			return
		}
		up := nd.up
		above := &l.inners[up]
		i := above.slot(n)
		switch {
		case nd.n == 0:
			l.dropInner(above, i)
			l.lost(up, i)
		case i > 0 && l.inners[above.child[i-1]].n+nd.n <= joined:
			l.joinInners(above, i-1)
		case i+1 < above.n && l.inners[above.child[i+1]].n+nd.n <= joined:
			l.joinInners(above, i)
		default:
			return
		}
		n = up
	}
	for l.inners[l.root].level > 1 && l.inners[l.root].n == 1 {
		old := l.root
		l.root = l.inners[old].child[0]
		l.inners[l.root].up = none
		l.inners[old].up = l.spareInner
		l.spareInner = old
	}
}

func (l *List) joinInners(above *inner, i uint32) {
	l.move(above.child[i+1], above.child[i], 0)
	l.dropInner(above, i+1)
	l.describeInner(above, i)
}

func (l *List) dropInner(above *inner, i uint32) {
	n := above.child[i]
	above.shut(i)
	l.inners[n].up = l.spareInner
	l.spareInner = n
}

package walk

import "math/bits"

// Bounds on the entries of nodes, chosen so that a node that was just split or
// joined is far from the next split or join.
const (
	sparse = 20 // a node with at most so many looks for a sibling to join
	joined = 44 // and joins if both together have at most so many
	edge   = 4  // entries that a split at the end of the list cuts off
)

// Take makes the free block at p used, from its low end: of size granules if
// the block is larger, and what is left over is a free block above; else all of
// it. It returns the ID of the object. O(log blocks).
func (l *List) Take(p Pos, size uint32) ID {
	n, slot := p.split()
	split := size < l.size(&l.leaves[n], slot)
	if split {
		n, slot = l.room(n, slot)
	}
	lf := &l.leaves[n]
	slot &= slotMask
	start := lf.start[slot]
	id := l.newRecord()
	l.records[id] = record{start: start, leaf: n}
	lf.ref[slot] = id
	lf.free &^= 1 << slot
	if split {
		lf.insert(slot+1, start+size)
		l.settle(n, 1, 0)
	} else {
		l.settle(n, 0, ^uint32(0))
	}
	l.settleBelow(lf, slot)
	return id
}

// Cut shortens the used block at p to size granules, less than it has: what is
// left over is a free block above. O(log blocks).
func (l *List) Cut(p Pos, size uint32) {
	n, slot := l.room(p.split())
	lf := &l.leaves[n]
	lf.insert(slot+1, lf.start[slot]+size)
	l.settle(n, 1, 1)
}

// Release makes the used block at p free. It does not merge. O(log blocks).
func (l *List) Release(p Pos) {
	n, slot := p.split()
	lf := &l.leaves[n]
	l.records[lf.ref[slot]] = record{start: l.spareRecord, leaf: none}
	l.spareRecord = lf.ref[slot] + 1
	lf.ref[slot] = None
	lf.free |= 1 << slot
	l.settle(n, 0, 1)
	l.settleBelow(lf, slot)
}

// Join merges the block at p, used or free, with the free block above it and
// returns its place. O(log blocks).
func (l *List) Join(p Pos) Pos {
	n, slot := p.split()
	lf := &l.leaves[n]
	start, thinned := lf.start[slot], false
	if slot+1 < lf.n {
		lf.remove(slot + 1)
		l.settle(n, ^uint32(0), ^uint32(0))
		thinned = l.thin(n)
	} else {
		up := lf.next
		upper := &l.leaves[up]
		upper.remove(0)
		l.settle(up, ^uint32(0), ^uint32(0))
		if upper.n == 0 {
			l.thin(up) // first, since the block at p ends where the next leaf starts
			l.settle(n, 0, 0)
		} else {
			l.raise(upper.up, up, upper.start[0])
			l.settle(n, 0, 0)
			thinned = l.thin(up)
		}
	}
	if thinned {
		p = l.seek(start)
	}
	return p
}

// insert puts a free block into a leaf that is not full.
func (lf *leaf) insert(slot, start uint32) {
	n := lf.n & slotMask
	copy(lf.start[slot+1:n+1], lf.start[slot:n])
	copy(lf.ref[slot+1:n+1], lf.ref[slot:n])
	lf.start[slot&slotMask], lf.ref[slot&slotMask] = start, None
	lf.free = lf.free&(1<<slot-1) | 1<<slot | lf.free>>slot<<slot<<1
	lf.n++
}

// remove takes a block out of a leaf.
func (lf *leaf) remove(slot uint32) {
	copy(lf.start[slot:], lf.start[slot+1:lf.n])
	copy(lf.ref[slot:], lf.ref[slot+1:lf.n])
	lf.free = lf.free&(1<<slot-1) | lf.free>>slot>>1<<slot
	lf.n--
}

// most returns the largest free block of a leaf, and whether there is a seam.
func (l *List) most(lf *leaf) (largest uint32, seam uint64) {
	rest := lf.free
	if last := lf.n - 1; rest>>(last&slotMask) != 0 {
		largest = l.size(lf, last)
		rest &^= 1 << (last & slotMask)
	}
	for ; rest != 0; rest &= rest - 1 {
		slot := uint32(bits.TrailingZeros64(rest))
		largest = max(largest, lf.start[(slot+1)&slotMask]-lf.start[slot&slotMask])
	}
	if l.sewn(lf) != 0 {
		seam = 1
	}
	return largest, seam
}

// settle corrects what the nodes above a leaf say of it, in which there are so
// many more blocks and free ones.
func (l *List) settle(n, blocks, free uint32) {
	lf := &l.leaves[n]
	most, seam := uint32(0), uint64(0)
	if lf.n > 0 {
		most, seam = l.most(lf)
	}
	changed := true
	for up := lf.up; up != none; {
		nd := &l.inners[up]
		i := nd.slot(n)
		nd.count[i] += blocks
		nd.free[i] += free
		switch {
		case !changed:
		case nd.most[i] == most && nd.seam>>i&1 == seam:
			if blocks|free == 0 {
				return
			}
			changed = false
		default:
			nd.most[i] = most
			nd.seam = nd.seam&^(1<<i) | seam<<i
			most, seam = nd.largest(), min(nd.seam, 1)
		}
		n, up = up, nd.up
	}
}

// settleBelow corrects what is said of the leaf below, if the block in a slot
// is the one that its last block touches.
func (l *List) settleBelow(lf *leaf, slot uint32) {
	if slot == 0 && lf.prev != none {
		l.settle(lf.prev, 0, 0)
	}
}

// raise corrects the lowest start below a child of node up, in it and in the
// nodes above.
func (l *List) raise(up, child, start uint32) {
	for ; up != none; child, up = up, l.inners[up].up {
		nd := &l.inners[up]
		i := nd.slot(child)
		nd.low[i] = start
		if i != 0 {
			return
		}
	}
}

// slot returns the slot of a child.
func (nd *inner) slot(child uint32) uint32 {
	i := uint32(0)
	for nd.child[i&slotMask] != child {
		i++
	}
	return i & slotMask
}

func (l *List) newRecord() ID {
	if l.spareRecord == 0 {
		n := len(l.records)
		if n == cap(l.records) {
			grown := make([]record, n, max(64, n+n/8))
			copy(grown, l.records)
			l.records = grown
		}
		l.records = l.records[:n+1]
		return ID(n)
	}
	id := l.spareRecord - 1
	l.spareRecord = l.records[id].start
	return id
}

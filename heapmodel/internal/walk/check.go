package walk

import (
	"errors"
	"fmt"
)

// Check returns the first broken invariant of the List, or nil. O(blocks).
func (l *List) Check() error {
	c := checker{l: l, start: l.leaves[l.inners[l.root].firstLeaf(l)].start[0]}
	if l.inners[l.root].up != none {
		return errors.New("the root has a parent")
	}
	c.inner(l.root)
	if c.err != nil {
		return c.err
	}
	if l.leaves[c.leaf].next != none || c.start >= l.end {
		return fmt.Errorf("the last block starts at %d, the region ends at %d", c.start, l.end)
	}
	spare := 0
	for at := l.spareRecord; at != 0; at = l.records[at-1].start {
		if l.records[at-1].leaf != none || spare > len(l.records) {
			return errors.New("the chain of spare records is broken")
		}
		spare++
	}
	if c.objects+spare != len(l.records) {
		return fmt.Errorf("%d objects and %d spare records, of %d", c.objects, spare, len(l.records))
	}
	return nil
}

func (nd *inner) firstLeaf(l *List) uint32 {
	for nd.level > 1 {
		nd = &l.inners[nd.child[0]]
	}
	return nd.child[0]
}

// checker walks the tree in order.
type checker struct {
	l       *List
	err     error
	leaf    uint32 // the one before
	start   uint32 // of the block before
	blocks  uint32 // so far
	free    uint32
	objects int
}

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// inner checks what a node says of its children, and them.
func (c *checker) inner(n uint32) {
	l, nd := c.l, &c.l.inners[n]
	if nd.n == 0 || nd.n > fanout {
		c.fail("node %d has %d children", n, nd.n)
	}
	for i := uint32(0); i < nd.n && c.err == nil; i++ {
		blocks, free := c.blocks, c.free
		var most, low, up uint32
		var seam uint64
		child := nd.child[i]
		if nd.level == 1 {
			c.block(child)
			lf := &l.leaves[child]
			most, seam = l.most(lf)
			low, up = lf.start[0], lf.up
		} else {
			c.inner(child)
			below := &l.inners[child]
			most, seam, low, up = below.largest(), min(below.seam, 1), below.low[0], below.up
			if below.level != nd.level-1 {
				c.fail("node %d on level %d has a child on level %d", n, nd.level, below.level)
			}
		}
		switch {
		case up != n:
			c.fail("node %d has child %d, whose parent is %d", n, child, up)
		case nd.low[i] != low || nd.most[i] != most || nd.seam>>i&1 != seam:
			c.fail("child %d of node %d: lowest start %d, largest %d, seam %d; noted %d, %d, %d",
				i, n, low, most, seam, nd.low[i], nd.most[i], nd.seam>>i&1)
		case nd.count[i] != c.blocks-blocks || nd.free[i] != c.free-free:
			c.fail("child %d of node %d: %d blocks, %d free; noted %d and %d",
				i, n, c.blocks-blocks, c.free-free, nd.count[i], nd.free[i])
		}
	}
	if nd.n < fanout && nd.seam>>(nd.n&slotMask) != 0 {
		c.fail("node %d notes a seam in a child that it has not", n)
	}
}

// block checks the blocks of a leaf.
func (c *checker) block(n uint32) {
	l, lf := c.l, &c.l.leaves[n]
	switch {
	case lf.n == 0 || lf.n > fanout:
		c.fail("leaf %d has %d blocks", n, lf.n)
		return
	case lf.prev != c.leaf || c.leaf != none && l.leaves[c.leaf].next != n:
		c.fail("leaf %d is not linked to the leaf before, %d", n, c.leaf)
		return
	case lf.n < fanout && lf.free>>lf.n != 0:
		c.fail("leaf %d notes a free block that it has not", n)
	}
	for i, start := range lf.start[:lf.n] {
		if c.blocks > 0 && start <= c.start {
			c.fail("block at %d follows one at %d", start, c.start)
		}
		c.start = start
		c.blocks++
		id := lf.ref[i]
		switch free := lf.free>>i&1 != 0; {
		case free != (id == None):
			c.fail("block at %d: free %t, its object is %d", start, free, id)
		case free:
			c.free++
		case !l.Live(id) || l.records[id] != record{start: start, leaf: n}:
			c.fail("block at %d in leaf %d: the record of its object says otherwise", start, n)
		default:
			c.objects++
		}
	}
	c.leaf = n
}

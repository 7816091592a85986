package fit

import (
	"errors"
	"fmt"
	"slices"
)

// Rekey gives the blocks new keys that rise in steps of one from base, in the
// order of their keys: for the time when the numbers of a LIFO or FIFO list run
// out. Base is less than 1<<32 - Len. O(blocks log blocks), and it
// allocates.
func (x *Set[Y]) Rekey(base uint32) {
	keys := make([]uint32, 0, x.length)
	for p := x.First(); p != NoPos; p = x.Next(p) {
		keys = append(keys, x.Key(p))
	}
	slices.Sort(keys)
	// Bounds and gaps stay where they are among the keys.
	renumber := func(all []uint32) {
		for i, key := range all {
			rank, _ := slices.BinarySearch(keys, key)
			all[i] = base + uint32(rank)
		}
	}
	if x.row != nil {
		renumber(x.row.key[:])
		x.spread(even) // the gaps at both ends have keys that let others in
		return
	}
	for n := range x.nodes {
		renumber(x.nodes[n].key[:])
	}
}

// Check returns the first broken invariant of the index, or nil. O(blocks).
func (x *Set[Y]) Check() error {
	if x.row != nil {
		return x.checkRow()
	}
	c := checker[Y]{x: x}
	if c.node(x.root, x.height); c.err != nil {
		return c.err
	}
	switch {
	case c.blocks != x.length:
		return fmt.Errorf("index has %d blocks, its length says %d", c.blocks, x.length)
	case c.leaf != x.last || x.nodes[x.last].next != none || x.nodes[x.first].prev != none:
		return errors.New("leaves are not linked from first to last")
	case !x.bySize() && x.nodes[x.root].largest() != x.largest:
		return fmt.Errorf("largest block is %d, noted %d", x.nodes[x.root].largest(), x.largest)
	}
	return nil
}

// checker walks the tree in order.
type checker[Y any] struct {
	x      *Set[Y]
	err    error
	blocks uint32
	leaf   uint32 // the leaf before
	least  uint64 // every sort key of a block from here on is at least this
}

func (c *checker[Y]) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// node checks the subtree of node n and adds its blocks to c.blocks.
func (c *checker[Y]) node(n, level uint32) {
	x, nd := c.x, &c.x.nodes[n]
	if nd.used == 0 && x.length > 0 {
		c.fail("node %d is empty", n)
		return
	}
	for i := uint32(1); i < fanout; i++ {
		if a, b := x.slotKey(nd, i-1), x.slotKey(nd, i); a > b || a == b && nd.used>>(i-1)&3 == 3 {
			c.fail("slots %d and %d of node %d sort as %#x and %#x", i-1, i, n, a, b)
		}
	}
	if level == 0 && (c.leaf == none && n != x.first || nd.prev != c.leaf || c.leaf != none && x.nodes[c.leaf].next != n) {
		c.fail("leaf %d is not linked to the leaf before, %d", n, c.leaf)
	}
	for i := uint32(0); i < fanout && c.err == nil; i++ {
		switch {
		case nd.used>>i&1 == 0:
			if !x.bySize() && nd.size[i] != 0 || level > 0 && x.tallies[nd.tally].slot[i] != 0 {
				c.fail("gap %d of node %d is not empty", i, n)
			}
		case level == 0:
			c.block(n, i)
		default:
			c.child(n, i, level)
		}
	}
	if level == 0 {
		c.leaf = n
		return
	}
	for i := uint32(0); i < fanout; i += groupSlots {
		t, sum := &x.tallies[nd.tally], uint32(0)
		for _, count := range t.slot[i : i+groupSlots] {
			sum += count
		}
		if sum != t.group[i/groupSlots] {
			c.fail("tallies from %d of node %d are %d, noted %d", i, n, sum, t.group[i/groupSlots])
		}
	}
}

func (c *checker[Y]) block(n, i uint32) {
	x, nd := c.x, &c.x.nodes[n]
	k := x.slotKey(nd, i)
	if k < c.least {
		c.fail("slot %d of leaf %d sorts as %#x, below the bound or block before, %#x", i, n, k, c.least)
	}
	if at := Pos(x.table.Nodes[nd.ref[i]].X); at != pos(n, i) {
		c.fail("block %d is at %#x and its record says %#x", nd.ref[i], pos(n, i), at)
	}
	c.least = k + 1
	c.blocks++
}

func (c *checker[Y]) child(n, i, level uint32) {
	x, nd := c.x, &c.x.nodes[n]
	child, before := &x.nodes[nd.ref[i]], c.blocks
	if child.above != pos(n, i) {
		c.fail("node %d is at %#x and says %#x", nd.ref[i], pos(n, i), child.above)
		return
	}
	bound := x.slotKey(nd, i)
	if bound < c.least && c.blocks > 0 {
		c.fail("bound %d of node %d is %#x, below the block before, %#x", i, n, bound, c.least-1)
		return
	}
	c.least = bound
	c.node(nd.ref[i], level-1)
	if got := x.tallies[nd.tally].slot[i]; got != c.blocks-before {
		c.fail("tally %d of node %d is %d for %d blocks", i, n, got, c.blocks-before)
	}
	if !x.bySize() && nd.size[i] != child.largest() {
		c.fail("size %d of node %d is %d for a largest of %d", i, n, nd.size[i], child.largest())
	}
}

// checkRow is Check.
func (x *Set[Y]) checkRow() error {
	r := x.row
	if r.width != 1 && r.width != 2 && r.width != rowLeaves || x.bySize() {
		return fmt.Errorf("row has a width of %d", r.width)
	}
	length, largest, below, bound := uint32(0), uint32(0), int64(-1), uint32(0)
	for slot := range uint32(rowSlots) {
		key, size, used := r.key[slot], r.size[slot], r.used[slot/fanout]>>(slot&slotMask)&1 != 0
		switch {
		case slot >= r.end() && (used || key != noKey):
			return fmt.Errorf("slot %d behind the row has key %d, used: %v", slot, key, used)
		case slot%fanout == 0 && slot < r.end() && uint32(r.before>>(slot/fanout*16)&0xffff) != length:
			return fmt.Errorf("there are %d blocks before slot %d, noted %#x", length, slot, r.before)
		case slot < r.front && slot < r.end() && (key != 0 || used):
			return fmt.Errorf("slot %d has key %d, below the front at %d", slot, key, r.front)
		case key < bound:
			return fmt.Errorf("slot %d has key %d, below one of %d", slot, key, bound)
		case r.classAt(slot) != classOf(size) || !used && size != 0:
			return fmt.Errorf("slot %d has size %d and class %d, used: %v", slot, size, r.classAt(slot), used)
		}
		bound = key
		if !used {
			continue
		}
		if int64(key) <= below {
			return fmt.Errorf("slot %d has key %d, the block before %d", slot, key, below)
		}
		if at := Pos(x.table.Nodes[r.ref[slot]].X); at != rowPos(slot) {
			return fmt.Errorf("block %d is in slot %d and its record says %#x", r.ref[slot], slot, at)
		}
		below, largest = int64(key), max(largest, size)
		length++
	}
	if length != x.length || largest > x.largest || largest < x.largest && !r.loose {
		return fmt.Errorf("row of %d blocks up to %d, noted %d up to %d", length, largest, x.length, x.largest)
	}
	return nil
}

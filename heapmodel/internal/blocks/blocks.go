// Package blocks keeps the physical layout of a heap: a record for each block,
// linked with its neighbours in address order, 20 bytes a block whatever its
// size. Addresses and sizes inside are in granules, a power of two of bytes
// that divides every block boundary of the model, so that 32 bits reach far.
//
// It knows nothing of free lists, headers or policies: models keep the links of
// their own lists in X and Y, and decide the order of splits and merges.
package blocks

// ID is the index of a block's record. IDs are reused after Drop.
type ID = uint32

// None is the ID of no block: the neighbour beyond an end of the arena.
const None ID = 1<<31 - 1

const usedBit = 1 << 31

// Node is the record of one block.
type Node struct {
	Start uint32 // address in granules
	prev  uint32 // lower neighbour, and the used flag in the top bit
	next  ID     // upper neighbour
	X, Y  uint32 // the model's: list links in a free block, anything in a used one
}

// Table holds the blocks of one heap. The zero Table is empty. Each arena
// region is a chain that ends with an end node of no size, which is marked
// used so that nothing merges with it.
type Table struct {
	Nodes []Node
	spare ID // chain of dropped records through next
	count int
}

// Region adds a region [start, end) in granules as one block and its end node,
// and returns the block. The block is marked free.
func (t *Table) Region(start, end uint32) ID {
	b, e := t.take(), t.take()
	t.Nodes[b] = Node{Start: start, prev: None, next: e}
	t.Nodes[e] = Node{Start: end, prev: b | usedBit, next: None}
	return b
}

// take returns an unused record.
func (t *Table) take() ID {
	t.count++
	if n := len(t.Nodes); t.count > n {
		if n == cap(t.Nodes) {
			// Growing by a quarter keeps the memory a block near its 20 bytes.
			grown := make([]Node, n, max(64, n+n/4))
			copy(grown, t.Nodes)
			t.Nodes = grown
		}
		t.Nodes = t.Nodes[:n+1]
		return ID(n)
	}
	id := t.spare
	t.spare = t.Nodes[id].next
	return id
}

// Size returns the block's size in granules.
func (t *Table) Size(id ID) uint32 {
	n := &t.Nodes[id]
	return t.Nodes[n.next].Start - n.Start
}

// Prev returns the lower neighbour, None at the start of a region.
func (t *Table) Prev(id ID) ID { return t.Nodes[id].prev &^ usedBit }

// Next returns the upper neighbour: the end node behind the last block, None
// behind the end node.
func (t *Table) Next(id ID) ID { return t.Nodes[id].next }

// Used reports whether the block is marked used. End nodes are.
func (t *Table) Used(id ID) bool { return t.Nodes[id].prev&usedBit != 0 }

// SetUsed marks the block used.
func (t *Table) SetUsed(id ID) { t.Nodes[id].prev |= usedBit }

// SetFree marks the block free.
func (t *Table) SetFree(id ID) { t.Nodes[id].prev &^= usedBit }

// Split cuts the block at size granules and returns the new upper part, marked
// free: [id............] -> [id: size][new].
func (t *Table) Split(id ID, size uint32) ID {
	up := t.take()
	n := &t.Nodes[id]
	after := n.next
	t.Nodes[up] = Node{Start: n.Start + size, prev: id, next: after}
	n.next = up
	a := &t.Nodes[after]
	a.prev = up | a.prev&usedBit
	return up
}

// Merge joins the block with its upper neighbour, whose record is dropped:
// [id][next] -> [id........]. The flag of id stays.
func (t *Table) Merge(id ID) {
	up := t.Nodes[id].next
	after := t.Nodes[up].next
	t.Nodes[id].next = after
	a := &t.Nodes[after]
	a.prev = id | a.prev&usedBit
	t.drop(up)
}

// MoveEnd moves the end node of the region up or down, which grows or shrinks
// its last block.
func (t *Table) MoveEnd(end ID, to uint32) { t.Nodes[end].Start = to }

func (t *Table) drop(id ID) {
	// A dropped record counts as free, so a stale Ref is caught by Used.
	t.Nodes[id] = Node{next: t.spare, prev: None}
	t.spare = id
	t.count--
}

// Len returns the number of records in use, end nodes included.
func (t *Table) Len() int { return t.count }

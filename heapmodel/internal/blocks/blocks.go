// Package blocks keeps the physical layout of a heap: a record for each block,
// linked with its neighbours in address order, 16 or 20 bytes a block whatever
// its size. Addresses and sizes inside are in granules, a power of two of bytes
// that divides every block boundary of the model, so that 32 bits reach far.
//
// It knows nothing of free lists, headers or policies: models keep the links of
// their own lists in X and Y, and decide the order of splits and merges. Those
// that need no Y have the slim form.
//
// Most models need the methods only. A model whose splits and merges are its
// whole cost may work on the exported fields of the records instead, keeping
// the rules stated there; Spare, Pop and Drop are inlined.
package blocks

// ID is the index of a block's record. IDs are reused after Drop.
type ID = uint32

// None is the ID of no block: the neighbour beyond an end of the arena.
const None ID = 1<<31 - 1

// UsedBit marks a block used, in Record.Low.
const UsedBit = 1 << 31

// Record is the record of one block. Its upper neighbour's Low names it, and its
// lower neighbour's High. Y is a uint32 or nothing; it comes first, since nothing
// at the end would take four bytes.
type Record[Y any] struct {
	Y     Y      // the model's, like X
	Start uint32 // address in granules
	Low   uint32 // lower neighbour, and UsedBit if this block is used
	High  ID     // upper neighbour
	X     uint32 // the model's: list links in a free block, anything in a used one
}

type (
	// Table holds the blocks of a heap whose model needs X and Y.
	Table = Chain[uint32]
	// Node is a record of a Table, 20 bytes.
	Node = Record[uint32]
	// SlimTable holds the blocks of a heap whose model needs X only.
	SlimTable = Chain[struct{}]
	// SlimNode is a record of a SlimTable, 16 bytes.
	SlimNode = Record[struct{}]
)

// Chain holds the blocks of one heap. The zero Chain is empty. Each arena
// region is a chain that ends with an end node of no size, which is marked
// used so that nothing merges with it.
type Chain[Y any] struct {
	Nodes []Record[Y]
	spare ID // chain of dropped records through High, every ID in it plus one
}

// Region adds a region [start, end) in granules as one block and its end node,
// and returns the block. The block is marked free.
func (t *Chain[Y]) Region(start, end uint32) ID {
	b, e := t.Take(), t.Take()
	t.Nodes[b] = Record[Y]{Start: start, Low: None, High: e}
	t.Nodes[e] = Record[Y]{Start: end, Low: b | UsedBit, High: None}
	return b
}

// Reserve adds count records in a row that are no blocks, for the model's own
// use, such as list heads that are linked like blocks. It returns the first;
// in a Table that was empty that is 0. X and Y of each are its own ID.
func Reserve(t *Table, count int) ID {
	first := ID(len(t.Nodes))
	for i := range count {
		id := first + ID(i)
		// An end node's Low and High, so that none of them is taken for a block.
		t.Nodes = append(t.Nodes, Node{Low: None | UsedBit, High: None, X: id, Y: id})
	}
	return first
}

// Take returns an unused record, contents undefined. It may move Nodes.
func (t *Chain[Y]) Take() ID {
	t.Spare()
	return t.Pop()
}

// Pop is Take right after Spare: it leaves Nodes where they are.
func (t *Chain[Y]) Pop() ID {
	id := t.spare - 1
	t.spare = t.Nodes[id].High
	return id
}

// Spare sees to it that there is an unused record. It may move Nodes.
func (t *Chain[Y]) Spare() {
	if t.spare == 0 {
		t.grow()
	}
}

//go:noinline
func (t *Chain[Y]) grow() {
	n := len(t.Nodes)
	if n == cap(t.Nodes) {
		// Growing by a sixteenth keeps the memory a block near its 20 bytes.
		grown := make([]Record[Y], n, n+max(64, n/16))
		copy(grown, t.Nodes)
		t.Nodes = grown
	}
	t.Nodes = t.Nodes[:n+1]
	t.Drop(ID(n))
}

// Drop gives up a record, for Take to reuse.
func (t *Chain[Y]) Drop(id ID) {
	// A dropped record counts as free, so a stale Ref is caught by Used.
	n := &t.Nodes[id]
	n.Low, n.High = None, t.spare
	t.spare = id + 1
}

// Size returns the block's size in granules.
func (t *Chain[Y]) Size(id ID) uint32 {
	n := &t.Nodes[id]
	return t.Nodes[n.High].Start - n.Start
}

// Prev returns the lower neighbour, None at the start of a region.
func (t *Chain[Y]) Prev(id ID) ID { return t.Nodes[id].Low &^ UsedBit }

// Next returns the upper neighbour: the end node behind the last block, None
// behind the end node.
func (t *Chain[Y]) Next(id ID) ID { return t.Nodes[id].High }

// Used reports whether the block is marked used. End nodes are.
func (t *Chain[Y]) Used(id ID) bool { return t.Nodes[id].Low&UsedBit != 0 }

// SetUsed marks the block used.
func (t *Chain[Y]) SetUsed(id ID) { t.Nodes[id].Low |= UsedBit }

// SetFree marks the block free.
func (t *Chain[Y]) SetFree(id ID) { t.Nodes[id].Low &^= UsedBit }

// Live reports whether id is a block that is marked used: false for free
// blocks, dropped records, end nodes, and what is no ID at all.
func (t *Chain[Y]) Live(id ID) bool {
	if uint64(id) >= uint64(len(t.Nodes)) {
		return false
	}
	n := &t.Nodes[id]
	return n.Low&UsedBit != 0 && n.High != None
}

// Split cuts the block at size granules and returns the new upper part, marked
// free: [id............] -> [id: size][new].
func (t *Chain[Y]) Split(id ID, size uint32) ID {
	up := t.Take()
	n, b := &t.Nodes[id], &t.Nodes[up]
	after := n.High
	// Field by field: a whole Node would be put together in memory and copied.
	var none Y
	b.Start, b.Low, b.High, b.X, b.Y = n.Start+size, id, after, 0, none
	n.High = up
	a := &t.Nodes[after]
	a.Low = up | a.Low&UsedBit
	return up
}

// Merge joins the block with its upper neighbour, whose record is dropped:
// [id][next] -> [id........]. The flag of id stays.
func (t *Chain[Y]) Merge(id ID) {
	up := t.Nodes[id].High
	after := t.Nodes[up].High
	t.Nodes[id].High = after
	a := &t.Nodes[after]
	a.Low = id | a.Low&UsedBit
	t.Drop(up)
}

// MoveEnd moves the end node of the region up or down, which grows or shrinks
// its last block.
func (t *Chain[Y]) MoveEnd(end ID, to uint32) { t.Nodes[end].Start = to }

// Len returns the number of records in use, end nodes and reserved ones
// included. O(dropped records).
func (t *Chain[Y]) Len() int {
	count := len(t.Nodes)
	for id := t.spare; id != 0; id = t.Nodes[id-1].High {
		count--
	}
	return count
}

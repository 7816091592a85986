package talc

// none is the ID of no chunk.
const none = 1<<31 - 1

// usedBit is in chunk.x of a used chunk.
const usedBit = 1 << 31

// chunk is the record of a chunk, or of something like it. Only the neighbour
// above says where a chunk ends.
type chunk struct {
	start uint32 // address in units
	low   uint32 // ID of the neighbour below
	high  uint32 // ID of the neighbour above
	// In a gap x is the ID of the next older of its bin and y, unless it is the
	// newest, that of the next newer. In a used chunk x is what it is larger
	// than its object, in bytes, with usedBit, and y its size in units, which
	// spares Free the way to the chunk above.
	x, y uint32
}

// chunks are the records of a heap, by ID. IDs are used again. It differs from
// blocks.Table in the place of the mark of used chunks: it is in a word that
// Alloc and Free write anyway.
type chunks struct {
	all []chunk
	// quick is all, or nil while the heap has indexes of bins. It is what the
	// short ways of Alloc and Free work on: an ID beyond it sends them the long
	// way, so that the two reasons for that cost one comparison.
	quick []chunk
	spare uint32 // chain of dropped records through high, 0 if none
}

// lay makes the records of heads, wall, and of an arena that is one gap, which
// it returns.
func (c *chunks) lay(start, end uint32) uint32 {
	for id := range uint32(reserved) {
		c.all = append(c.all, chunk{low: none, high: none, x: id, y: id})
	}
	c.quick = c.all
	first, last := c.take(), c.take()
	c.all[wall].high, c.all[wall].x = first, usedBit
	c.all[first] = chunk{start: start, low: wall, high: last}
	c.all[last] = chunk{start: end, low: first, high: none, x: usedBit}
	return first
}

// size returns the units of a chunk.
func (c *chunks) size(id uint32) uint32 { return c.all[c.all[id].high].start - c.all[id].start }

// used reports whether a chunk is used. Wall and end are.
func (c *chunks) used(id uint32) bool { return c.all[id].x&usedBit != 0 }

// take returns an unused record. It may move all.
func (c *chunks) take() uint32 {
	if c.spare == 0 {
		c.grow()
	}
	id := c.spare
	c.spare = c.all[id].high
	return id
}

func (c *chunks) grow() {
	count := len(c.all)
	if count == cap(c.all) {
		// Growing by a sixteenth keeps the memory a chunk near its 20 bytes.
		grown := make([]chunk, count, count+max(64, count/16))
		copy(grown, c.all)
		c.all = grown
	}
	c.all = c.all[:count+1]
	if c.quick != nil {
		c.quick = c.all
	}
	c.drop(uint32(count))
}

// drop gives up a record. It counts as free, so that Free knows a stale Ref.
func (c *chunks) drop(id uint32) {
	n := &c.all[id]
	n.x, n.high = 0, c.spare
	c.spare = id
}

// live reports whether id is a used chunk: not the wall, not the end.
func (c *chunks) live(id uint32) bool {
	if uint64(id) >= uint64(len(c.all)) {
		return false
	}
	n := &c.all[id]
	return n.x&usedBit != 0 && n.low != none && n.high != none
}

// split cuts a chunk at so many units and returns the upper part, a gap in no
// bin: [id..........] -> [id: units][up].
func (c *chunks) split(id, units uint32) uint32 {
	up := c.take()
	n, b := &c.all[id], &c.all[up]
	b.start, b.low, b.high, b.x, b.y = n.start+units, id, n.high, 0, 0
	c.all[n.high].low = up
	n.high = up
	return up
}

// merge joins a chunk with the one above: [id][up] -> [id......].
func (c *chunks) merge(id uint32) {
	n := &c.all[id]
	up := n.high
	n.high = c.all[up].high
	c.all[n.high].low = id
	c.drop(up)
}

// inUse returns the number of records that are not dropped. O(dropped).
func (c *chunks) inUse() int {
	count := len(c.all)
	for id := c.spare; id != 0; id = c.all[id].high {
		count--
	}
	return count
}

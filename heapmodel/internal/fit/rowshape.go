package fit

// spread lays the blocks out anew to make room, in more leaves if they are many.
func (x *Set[Y]) spread(l layout) {
	width := x.row.width
	if x.length >= width*(fanout*3/4) && width < rowLeaves {
		width *= 2
	}
	x.respread(l, width)
}

// respread lays the blocks of the row out in so many leaves.
func (x *Set[Y]) respread(l layout, width uint32) {
	var h rowHoard
	r := x.row
	for p := r.from(0); p != NoPos; p = r.from(rowSlot(p) + 1) {
		i := rowSlot(p) & rowMask
		h.add(r.key[i], r.size[i], r.ref[i])
	}
	r.width = width
	x.lay(&h, l)
}

// rowHoard holds blocks in order while they are laid out anew.
type rowHoard struct {
	key, size, ref [rowSlots]uint32
	count          uint32
}

func (h *rowHoard) add(key, size, ref uint32) {
	c := h.count & rowMask
	h.key[c], h.size[c], h.ref[c] = key, size, ref
	h.count++
}

// lay makes the blocks of a hoard those of the row.
func (x *Set[Y]) lay(h *rowHoard, l layout) {
	r := x.row
	end := r.end()
	r.before, r.front = 0, end/2 // the front of an empty row
	r.used, r.size = [rowLeaves]uint64{}, [rowSlots]uint32{}
	for i := range r.class {
		r.class[i] = tops
	}
	s := uint32(0) // the slot after the block before
	for i := range h.count {
		slot := i
		switch l {
		case even:
			slot = i * end / h.count
		case high:
			slot = i + end - h.count
		}
		c := i & rowMask
		key := uint32(0) // of the gaps below the first block
		if i == 0 {
			r.front = slot
		} else {
			key = h.key[c]
		}
		for ; s < slot; s++ {
			r.key[s&rowMask] = key
		}
		s++
		r.used[slot/fanout%rowLeaves] |= 1 << (slot & slotMask)
		j := slot & rowMask
		r.key[j], r.size[j], r.ref[j] = h.key[c], h.size[c], h.ref[c]
		x.table.Nodes[h.ref[c]].X = uint32(rowPos(slot))
		r.setClass(slot, classOf(h.size[c]))
		r.count(slot, 1)
	}
	if h.count == 0 {
		for ; s < r.front; s++ {
			r.key[s&rowMask] = 0
		}
	}
	for ; s < rowSlots; s++ {
		r.key[s&rowMask] = noKey
	}
}

// plant makes a tree of a row.
func (x *Set[Y]) plant() {
	var h rowHoard
	r := x.row
	for p := r.from(0); p != NoPos; p = r.from(rowSlot(p) + 1) {
		i := rowSlot(p) & rowMask
		h.add(r.key[i], r.size[i], r.ref[i])
	}
	x.clear()
	for i := range h.count {
		x.insertInTree(h.ref[i&rowMask], h.key[i&rowMask], h.size[i&rowMask])
	}
}

// fell makes a row of a tree that has few blocks.
func (x *Set[Y]) fell() {
	var h rowHoard
	for n := x.first; n != none; n = x.nodes[n].next {
		nd := &x.nodes[n]
		for rest := nd.used; rest != 0; rest &= rest - 1 {
			i := lowest(rest) & slotMask
			h.add(nd.key[i], nd.size[i], nd.ref[i])
		}
	}
	length, largest := x.length, x.largest
	x.clear()
	x.length, x.largest = length, largest
	x.row = x.spareRow
	x.row.width, x.row.loose = rowLeaves, false
	x.lay(&h, even)
}

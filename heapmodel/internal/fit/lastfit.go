package fit

// LastFit returns the place of the last block of at least want granules, not
// zero, in the order ByKey; NoPos if none is that large: what a walk from the
// end of the list finds first. O(log blocks).
func (x *Set[Y]) LastFit(want uint32) Pos {
	if want > x.largest {
		return NoPos
	}
	if x.row != nil {
		return x.lastInRow(want)
	}
	n := x.root
	for level := x.height; ; level-- {
		nd := &x.nodes[n]
		i := uint32(fanout - 1)
		for nd.size[i&slotMask] < want { // gaps have no size
			i--
		}
		if level == 0 {
			return pos(n, i)
		}
		n = nd.ref[i&slotMask]
	}
}

// lastInRow is LastFit in a row.
func (x *Set[Y]) lastInRow(want uint32) Pos {
	r := x.row
	pattern := classOf(want) * ones
	for leaf := r.width; leaf > 0; leaf-- {
		for hits := r.hits(leaf-1, pattern); hits != 0; {
			i := highest(hits)
			s := (leaf-1)*fanout + i
			if r.size[s&rowMask] >= want {
				return rowPos(s)
			}
			hits &^= 1 << i
		}
	}
	x.tighten()
	return NoPos
}

package fit

import "math/bits"

// LastFit returns the place of the last block of at least want granules, not
// zero, in the order ByKey; NoPos if none is that large: what a walk from the
// end of the list finds first. O(log blocks).
func (x *Index) LastFit(want uint32) Pos {
	if want > x.largest {
		return NoPos
	}
	if x.row.width != 0 {
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
func (x *Index) lastInRow(want uint32) Pos {
	pattern := classOf(want) * ones
	for w := x.row.width * (fanout / 8); w > 0; w-- {
		hits := ((x.row.class[w-1] | tops) - pattern) & tops
		for hits != 0 {
			at := uint32(bits.Len64(hits)) - 1 // the top bit of the last byte that is left
			slot := (w-1)*8 + at/8
			if want < exactClass || x.nodes[rowLeaf(slot)].size[slot&slotMask] >= want {
				return rowPos(slot)
			}
			hits &^= 1 << at
		}
	}
	x.tighten()
	return NoPos
}

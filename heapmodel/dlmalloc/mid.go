package dlmalloc

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Chunks for the lowest tree bins, below mid units, are where nearly all of the
// work in trees is done. There are so few sizes that they are kept by size: a
// ring of its own for each, the oldest chunk first, with a record as its head
// as small bins have, and a bit in filled that says it is not empty. So the
// best fit is the next bit.
//
// The tries of these bins are kept for the number of steps only. They have no
// more than six levels, and are bitmaps of the places that have a node:
//
//	      1
//	  2       3        below place p are 2p and 2p+1
//	4   5   6   7
//
// All places that a search comes by are the bits of a mask. So what would be
// walks that end where chance has it is arithmetic, as far as possible.
type mids struct {
	filled [mid / 64]uint64 // by units
	tries  [midBins]trie    // by tree bin
	places [mid]uint8       // by units: place of the node
}

// trie is the shape of the trie of a bin.
type trie struct {
	nodes uint64    // a bit for each place that has a node
	units [64]uint8 // by place: size of the node
}

const (
	mid     = 128 // units of 8 bytes: four tree bins, below 1 KiB; of 16: six, below 2 KiB
	midBins = 8   // a power of two is indexed without a check
	midLog2 = 6   // places of a trie
)

// midSize is what a machine knows about a size: where it may be in its trie.
type midSize struct {
	path  uint64 // the places that a search for it comes by
	right uint64 // those to the right of it, each the brother of one on it
	last  uint8  // the last of the path, if tries had a seventh level
	bin   uint8
}

// midSizesOf returns the sizes on a machine, by units.
func midSizesOf(m *machine) *[mid]midSize {
	out := new([mid]midSize)
	out[0].bin = midBins - 1 // always empty
	for units := uint64(m.small); units < mid; units++ {
		s := &out[units]
		s.bin = uint8(m.treeBinOf(units))
		// The highest two bits of a size are those of the bin.
		open := bits.Len64(units) - 2
		s.last = uint8(64 | units<<(midLog2-open)&63)
		for place := s.last / 2; place > 0; place /= 2 {
			s.path |= 1 << place
			if place > 1 && place%2 == 0 {
				s.right |= 1 << (place + 1)
			}
		}
	}
	return out
}

// addMid puts a free chunk at the end of the ring of its size.
func (h *heap) addMid(id blocks.ID, units uint32) {
	nodes := h.t.Nodes
	head, n := &nodes[units], &nodes[id]
	last := head.Y
	n.X, n.Y = units, last
	head.Y = id
	nodes[last].X = id

	fresh := zero(last ^ units)
	s := &h.midSizes[units%mid]
	t := &h.tries[s.bin%midBins]
	levels := bits.OnesCount64(t.nodes & s.path)
	place := either(fresh, uint32(s.last)>>((midLog2-levels)&7), uint32(h.places[units%mid]))
	// The walk ends above a fresh place, and at an old one.
	h.use.Steps += uint64(bits.Len32(place)) - uint64(fresh)
	t.nodes |= 1 << (place % 64)
	t.units[place%64] = uint8(units)
	h.places[units%mid] = uint8(place)
	h.filled[units/64%2] |= 1 << (units % 64)
}

// children returns a bit for each child of a place that there is.
func children(nodes uint64, place uint32) uint32 {
	return uint32(nodes>>(place%64)>>(place%64)) & 3
}

// removeMid takes a size off its trie. Its node gives the place to the one at
// the end of the path below it that keeps to the right.
func (h *heap) removeMid(units uint32) {
	t := &h.tries[h.midSizes[units%mid].bin%midBins]
	nodes, place := t.nodes, uint32(h.places[units%mid])
	// The first step is one without a branch: mostly it is the last.
	below := children(nodes, place)
	some := 1 - zero(below)
	end, steps := place<<some+below>>1, some
	for below = children(nodes, end); below != 0; below = children(nodes, end) {
		end = 2*end + below>>1
		steps++
	}
	h.use.Steps += uint64(steps)
	heir := t.units[end%64] // the node itself, if there is nothing below
	t.units[place%64] = heir
	h.places[heir%mid] = uint8(place)
	t.nodes = nodes &^ (1 << (end % 64))
	h.filled[units/64%2] &^= 1 << (units % 64)
}

// fitMid returns the least size of so many units or more that there is, 0 if
// there is none below mid. It counts the steps of the search, but for those in
// the trees of sizes from mid on.
func (h *heap) fitMid(units uint32) uint32 {
	fit := h.leastMid(units)
	if fit == units {
		h.use.Steps += 1 + uint64(bits.Len8(h.places[units%mid]))
		return fit
	}
	s := &h.midSizes[units%mid]
	t := &h.tries[s.bin%midBins]
	steps := 1 + uint64(bits.OnesCount64(t.nodes&s.path))
	// Next is the lowest subtree to the right of the path, or place 0 if there is
	// none, or all of a higher bin if this one has nothing that fits.
	bin := h.midSizes[fit%mid].bin
	place := uint32(bits.Len64(t.nodes&s.right|1)) - 1
	other := 1 - zero(uint32(bin^s.bin))
	h.use.Steps += steps + uint64(other) + h.tries[bin%midBins].leftmost(either(other, 1, place))
	return fit
}

// leftmost returns the nodes on the path from a place down that keeps to the
// left. There is none at place 0.
func (t *trie) leftmost(place uint32) uint64 {
	nodes := t.nodes
	// The first step is one without a branch: mostly it is the last.
	count := uint32(nodes>>(place%64)) & 1
	below := children(nodes, place) & -count
	some := 1 - zero(below)
	count += some
	place = place<<some + below>>1&^below
	for below = children(nodes, place) & -some; below != 0; below = children(nodes, place) {
		count++
		place = 2*place + below>>1&^below
	}
	return uint64(count)
}

// leastMid returns the least size of so many units or more that there is, 0 if
// there is none below mid.
func (m *mids) leastMid(units uint32) uint32 {
	word := units / 64 % 2
	if above := m.filled[word] >> (units % 64); above != 0 {
		return units + uint32(bits.TrailingZeros64(above))
	}
	if word == 0 && m.filled[1] != 0 {
		return 64 + uint32(bits.TrailingZeros64(m.filled[1]))
	}
	return 0
}

// mostMid returns the largest size that there is below mid, 0 if there is none.
func (m *mids) mostMid() uint32 {
	if m.filled[1] != 0 {
		return 63 + uint32(bits.Len64(m.filled[1]))
	}
	return uint32(bits.Len64(m.filled[0]|1)) - 1
}

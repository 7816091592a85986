package buddy

import "math/bits"

// A buddy system is a rule for which sizes there are and into which two of them
// each splits. Sizes are numbered from the smallest up: the classes. The rule
// makes one tree that goes on upward for ever, and that settles where in memory
// a block of each class may lie; an arena is the lowest part of it.
//
//	class 5  [............13.............]
//	class 4  [.......8.......][....5.....]
//	class 3  [....5....][.3..][.3..][.2..]    sizes of the Fibonacci system
//
// A block does not know its parent, and in a Fibonacci or weighted system its
// address does not tell either. Each block carries its role, which part of its
// parent it is, and a memory, which keeps a role for later. Split and merge
// hand them on so that nothing is lost (Cranston and Thomas 1975, there with a
// bit for each):
//
//	[parent: role r, memory m] <-> [low: role low, memory r][high: role high, memory m]
type system struct {
	size   [classes]uint64 // units
	low    [classes]uint8  // class of the low part; none if the class is not split
	high   [classes]uint8  // class of the high part
	upper  [classes]role   // role of the high part
	parent [roles][classes]uint8
	series [classes]uint8 // the tree a class belongs to
	member [2]uint64      // bitmap of the classes of each tree
	root   [2]uint8       // class of each tree that is larger than any arena
	first  [34]uint8      // by number of bits: the first class whose size has as many
	// aligned says that the blocks of the first tree lie at multiples of their size.
	aligned bool
	trees   int
}

const (
	classes = 66
	lists   = 64 // classes below have sizes that fit in an arena
	none    = 1<<7 - 1
	// mostUnits is the end of the largest arena.
	mostUnits = 1<<32 - 2
	// beyond is a size above that of every arena.
	beyond = 1 << 32
)

// role says which part of its parent a block is. What is the lowest part at
// every level, up to the root, has the role low.
type role uint8

const (
	low role = iota
	high
	highOfFour // weighted: the quarter of a block, where high is the third of one
	roles
)

// tag is what a block carries: class, role, memory.
type tag uint16

func tagOf(class uint8, own, memory role) tag {
	return tag(class) | tag(own)<<7 | tag(memory)<<9
}

func (t tag) class() uint8 { return uint8(t & none) }
func (t tag) role() role   { return role(t >> 7 & 3) }
func (t tag) memory() role { return role(t >> 9 & 3) }

// binary has the sizes 1, 2, 4, 8 ..., each split into halves.
func binary() *system {
	s := &system{aligned: true, trees: 1}
	last := uint8(0)
	s.size[0] = 1
	for ; s.size[last] < beyond; last++ {
		s.size[last+1] = 2 * s.size[last]
	}
	s.root[0] = last
	s.derive(last, func(class uint8) (lowPart, highPart int) { return int(class) - 1, int(class) - 1 })
	return s
}

// fibonacci has the sizes 1, 2, 3, 5, 8 ..., each but the first two split into
// the two before it.
func fibonacci() *system {
	s := &system{trees: 1}
	last := uint8(1)
	s.size[0], s.size[1] = 1, 2
	for ; s.size[last] < beyond; last++ {
		s.size[last+1] = s.size[last] + s.size[last-1]
	}
	s.root[0] = last
	s.derive(last, func(class uint8) (lowPart, highPart int) { return int(class) - 1, int(class) - 2 })
	return s
}

// staggered sets the sizes 1, 2, 3, 4, 6, 8, 12 ...: 3 x 2^r has the class
// 2r + 2, 2^r has 2r - 1, or 0.
func (s *system) staggered() {
	s.size[0], s.size[1], s.size[2] = 1, 2, 3
	for class := 3; class < classes-1; class++ {
		s.size[class] = 2 * s.size[class-2]
	}
}

// weighted has the sizes 2^r and 3 x 2^r: 4 x 2^r is split into 3 x 2^r and
// 2^r, 3 x 2^r into 2 x 2^r and 2^r; 1 and 2 are not split.
func weighted() *system {
	s := &system{trees: 1}
	s.staggered()
	s.root[0] = 63
	s.derive(63, func(class uint8) (lowPart, highPart int) {
		if class < 2 {
			return -1, -1
		}
		quarter := int(class) - 3
		if class%2 == 1 {
			quarter--
		}
		return int(class) - 1, max(quarter, 0)
	})
	for class := uint8(3); class <= 63; class += 2 {
		s.upper[class] = highOfFour
		part := s.high[class]
		s.parent[highOfFour][part] = class
	}
	for class := uint8(2); class <= 63; class += 2 {
		s.parent[high][s.high[class]] = class
	}
	return s
}

// double has the sizes of two binary systems, 2^r and 3 x 2^r, as two trees.
func double() *system {
	s := &system{aligned: true, trees: 2}
	s.staggered()
	s.root = [2]uint8{63, 64}
	s.derive(64, func(class uint8) (lowPart, highPart int) {
		switch class {
		case 0, 2:
			return -1, -1
		case 1:
			return 0, 0
		}
		return int(class) - 2, int(class) - 2
	})
	for class := uint8(2); class <= 64; class += 2 {
		s.series[class] = 1
	}
	for class := range uint8(lists) {
		s.member[s.series[class]] |= 1 << class
	}
	s.member[0] &^= s.member[1]
	return s
}

// derive fills in what follows from the sizes and the parts of each class up to
// last. Parts below zero say that a class is not split.
func (s *system) derive(last uint8, parts func(class uint8) (lowPart, highPart int)) {
	for class := uint8(0); class <= last; class++ {
		s.low[class], s.high[class], s.upper[class] = none, none, high
		if lowPart, highPart := parts(class); lowPart >= 0 && highPart >= 0 {
			s.low[class], s.high[class] = uint8(lowPart), uint8(highPart)
			s.parent[low][lowPart] = class
			s.parent[high][highPart] = class
		}
	}
	s.member[0] = 1<<min(last, lists) - 1
	class := uint8(0)
	for length := range s.first {
		for class < last && bits.Len64(s.size[class]) < length {
			class++
		}
		s.first[length] = class
	}
}

// ceil returns the smallest class of so many units or more; units are at least
// 1 and at most mostUnits.
func (s *system) ceil(units uint64) uint8 {
	// At most two classes have sizes of as many bits.
	class := s.first[bits.Len64(units)]
	for s.size[class] < units {
		class++
	}
	return class
}

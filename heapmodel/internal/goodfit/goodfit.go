// Package goodfit is the part that the heaps with bitmapped bins have in
// common: ESP-IDF's TLSF, the crate rlsf and o1heap differ in numbers, in their
// entry points for alignment and in realloc, not in how they place and free.
//
// Free blocks lie in bins, doubly linked lists of one size class each, newest
// first. A bitmap says which bins hold blocks:
//
//	bitmap   . 1 . . 1 . 1 ...
//	           |     |   |
//	bins       #     #   #--- head of the list of a class
//	           #         #
//	           #
//
// A request is rounded up to the next size at which a class begins. The first
// bin from that class on which is not empty gives its head, whatever its size:
// every block there is large enough. Blocks in the class just below may fit
// too and are passed over, hence good fit and not best fit. The low end of the
// block is used; what is left above is split off if it is not too small. A
// freed block merges at once with free neighbours, on both sides, and goes to
// the head of its bin.
//
// Classes split each power of two into equal ranges, 2^ClassLog2 of them.
// Below, where a range would be less than a granule, each size has a class of
// its own. With payloads p in granules and the top bit of p at position
// k+ClassLog2,
//
//	payload  1 s s s s s . . . .      (k bits below s)
//	class    (k << ClassLog2) + 1sssss
//
// The originals index bins by two numbers, the power of two and the range
// within, with a bitmap for each level. Numbering them in one row gives the
// same order, hence the same answers. Only Steps has to know of the levels.
//
// A Heap embeds in a model, which adds the rest of heapmodel.Heap.
package goodfit

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Rules are what sets one heap of this kind apart from another. A granule is
// the power of two of bytes that all blocks are multiples of.
type Rules struct {
	GranuleLog2 uint8
	ClassLog2   uint8  // log2 of the classes in a power of two, at most 6
	Header      uint32 // bytes between the start of a block and what the program gets
	Align       uint32 // bytes of which every address handed out is a multiple
	Plain       uint32 // the largest alignment with which a request is served like one without
	Outside     uint32 // granules of a block that its class leaves out: the payload is the rest
	Least       uint32 // granules of the smallest block
	Rest        uint32 // granules of the smallest remainder that is split off
	// Rounded says that a plain request gets a block as long as was searched
	// for. Else the block is cut to the request.
	Rounded bool
	// Levels says how the original finds a bin, which Steps counts.
	Levels Levels
	// Limit is the longest block for which the original searches, granules.
	Limit uint64
	// Aligned serves the requests with an alignment above Plain. It may be nil if
	// there are none.
	Aligned func(size uint64, align uint32) (heapmodel.Ref, bool)
}

// Levels says how the bins of an original are bitmapped.
type Levels uint8

// The kinds of bitmaps.
const (
	// OneLevel has one word for all bins: a search probes it.
	OneLevel Levels = iota
	// Linear has a word for each row of bins, and a word for the rows. In the
	// first row are all payloads below 1 << ClassLog2, in each other one those
	// of a power of two. A search probes the word of the row it begins in and,
	// if no block is there, the word for the rows and that of the row found.
	Linear
	// Powers is Linear, but with a row for every power of two.
	Powers
)

// Limits of what a Heap can number.
const (
	// MostGranules is the highest end of a region, in granules.
	MostGranules = 1 << 31
	// sets is the number of words of the bitmap, a power of two. There are at
	// most (31 - ClassLog2 + 1) << ClassLog2 classes and one more: 1665.
	sets = 32
)

// tabled is the length in granules below which classes are looked up: a load
// from the cache is faster than the bit scan and the shifts.
const tabled = 1024

// Heap is a heap with bitmapped bins in one state. The bins are rings through X
// (next) and Y (previous) of the block records; the record whose ID is a class
// is the head of its ring and has in Start the least payload of the class. In a
// used block Y is the distance from its start to what the program got, bytes.
//
// A model may read and change T and Use where it makes steps of its own.
type Heap struct {
	T      blocks.Table
	shift  uint8 // log2 of a granule's bytes
	plain  uint32
	least  uint32
	header uint32
	exact  uint32 // classes below have one payload each
	top    uint32 // high-water mark, granules
	limit  uint64 // largest plain request that is searched for here, bytes
	pad    uint64 // what a request is increased by before it is cut to granules, bytes
	Peak   uint64 // largest Use.Allocated so far
	Use    heapmodel.Usage
	filled [sets]uint64 // a bit for each class: its bin has blocks
	rest   uint32
	row    uint32 // payloads are of one row if they have the same top bit with these bits set
	miss   uint32 // steps of a search that finds nothing
	most   uint64 // longest block that is searched for here, granules
	heads  uint32 // number of classes, and of records that are their heads
	firsts []blocks.ID
	rules  Rules

	floor, ceil [tabled]uint16 // classes by length
}

// Init makes the heap an empty one without memory, for regions of at most so
// many granules.
func (h *Heap) Init(r Rules, longest uint32) {
	*h = Heap{
		rules: r, shift: r.GranuleLog2, least: r.Least, rest: r.Rest, header: r.Header, plain: r.Plain,
		exact: 2 << r.ClassLog2, pad: uint64(r.Header) + 1<<r.GranuleLog2 - 1,
	}
	switch r.Levels {
	case OneLevel:
		h.row, h.miss = 1<<32-1, 1
	case Linear:
		h.row, h.miss = 1<<r.ClassLog2-1, 2
	case Powers:
		h.row, h.miss = 0, 2
	}
	for length := range uint32(tabled) {
		h.floor[length], h.ceil[length] = uint16(h.floorClassOf(length)), uint16(h.ceilClassOf(length))
	}
	// A search for more than the longest block finds nothing and is not made.
	h.most = min(r.Limit, uint64(longest))
	h.limit = h.most<<h.shift - uint64(r.Header)
	h.heads = h.ceilClassOf(longest) + 1
	blocks.Reserve(&h.T, int(h.heads))
	for class := range h.heads {
		h.T.Nodes[class].Start = h.payloadOf(class)
	}
}

// Add gives the heap a region as one free block of so many granules from start
// on. Regions are added in ascending order and do not merge; they are part of
// size bytes of arena, the rest of which is overhead.
func (h *Heap) Add(start, granules uint32, size uint64) {
	id := h.T.Region(start, start+granules)
	h.firsts = append(h.firsts, id)
	h.insert(h.T.Nodes, id, h.floorClass(granules))
	free := uint64(granules) << h.shift
	h.Use.Arena += size
	h.Use.Free += free
	h.Use.Overhead += size - free
	h.Use.FreeBlocks++
}

// floorClass returns the class of a free block of so many granules.
func (h *Heap) floorClass(length uint32) uint32 {
	if length < tabled {
		return uint32(h.floor[length])
	}
	return h.floorClassOf(length)
}

// ceilClass returns the lowest class whose blocks all have so many granules.
func (h *Heap) ceilClass(length uint32) uint32 {
	if length < tabled {
		return uint32(h.ceil[length])
	}
	return h.ceilClassOf(length)
}

func (h *Heap) floorClassOf(length uint32) uint32 {
	payload, k := h.payloadClass(length)
	return k<<h.rules.ClassLog2 + payload>>k
}

func (h *Heap) ceilClassOf(length uint32) uint32 {
	payload, k := h.payloadClass(length)
	return k<<h.rules.ClassLog2 + (payload+1<<k-1)>>k
}

// payloadClass returns the payload of a block and the log2 of the number of
// payloads in its class.
func (h *Heap) payloadClass(length uint32) (payload, k uint32) {
	payload = length - min(length, h.rules.Outside)
	log2 := uint32(h.rules.ClassLog2)
	return payload, (uint32(bits.Len32(payload|1<<log2)) - 1 - log2) & 31
}

// payloadOf returns the least payload of a class.
func (h *Heap) payloadOf(class uint32) uint32 {
	log2 := uint32(h.rules.ClassLog2)
	if class < 2<<log2 {
		return class
	}
	k := class>>log2 - 1
	return (class - k<<log2) << k
}

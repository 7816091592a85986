// Package dlmalloc models dlmalloc 2.8.6, the allocator of Doug Lea from which
// many others descend.
//
// Chunks are multiples of two words. Free ones are of four kinds:
//
//	[used][small][used][dv][used][tree][used][top.................]
//
//	small   below 256 bytes: bins of one size each, the newest first
//	tree    256 bytes and more: bitwise tries, a bin for each half power of two
//	dv      the designated victim, in no bin: what the last split for a small
//	        request left over
//	top     the wilderness, in no bin: grows and shrinks with the break
//
// A small request takes a chunk of its size, or of eight bytes more; else it
// takes from the victim if that is large enough; else it splits the smallest
// chunk there is, whose remainder is the new victim; else it takes from the
// top. A large request takes the best fit of the trees, or the victim if that
// fits no worse, or the top. Of chunks in the trees of equal size the one that
// was binned first goes first. Free joins a chunk with both neighbours at once.
//
// A used chunk has the word in front of the header above for its own, and gives
// the word in front of its own header to the chunk below. So the blocks that the
// model shows begin a word above what upstream calls the start of a chunk.
//
// The heap is either an mspace, a fixed arena that begins with the state of the
// allocator, or the global heap over a break that grows by pages.
//
// Source: dlmalloc 2.8.6 (29 Aug 2012), public domain; copy in colorer/dlmalloc
// commit 26851dc1. Built without locks, footers and mmap. Written from a
// description of behaviour and from tables of its answers, not from its code.
//
// Differs from upstream: trimming, which gives memory back to the system once
// the top exceeds 2 MiB, is not modelled. After the break was refused once,
// upstream takes its memory for no longer contiguous; the model then asks for
// the full size, as upstream does, but what it gets still adjoins the top.
package dlmalloc

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Model is the catalog row of dlmalloc.
var Model = &heapmodel.Model{
	Name:   "dlmalloc",
	Family: "segregated fits",
	Title:  "dlmalloc 2.8.6: exact small bins, designated victim, best fit in tries",
	Doc: "Models dlmalloc 2.8.6 with memalign and realloc, built without locks, footers and mmap: an mspace in a fixed arena of capacity bytes, " +
		"or with grow the global heap over a contiguous break of pages of 4096 bytes. The state of an mspace and the 40 or 80 bytes " +
		"that are never used behind the top count as overhead. " +
		"Not modelled: trimming of a top above 2 MiB, several segments; once the break was refused, memory got later still adjoins the top. " +
		"A step is a look at the bitmap of small bins or at that of tree bins, at the tree bin of a large request, " +
		"at a chunk in a tree (in a search, until one of the exact size is met, in the insertion of another, or in search of the leaf that takes the place of a removed one), " +
		"or a merge of two chunks.",
	Source: "dlmalloc 2.8.6 (29 Aug 2012), copy in colorer/dlmalloc commit 26851dc1",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Doc: "bytes of an mspace, its state included; unset: 64KiB, unless grow is set"},
		{Key: "grow", Kind: heapmodel.ParamBytes, Doc: "bytes up to which the break may grow, in place of capacity"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "bits of a pointer; chunks are multiples of 8 or 16 bytes"},
	},
	New: newHeap,
}

const (
	defaultCapacity = 64 << 10
	pageLog2        = 12
	page            = 1 << pageLog2

	treeBins = 32
	// The records up to mid are the heads of the rings of chunks of so many units.
	// wall is the record below the lowest chunk. It counts as used, so that
	// nothing merges with it.
	wall     = mid
	reserved = wall + 1

	leastUnits = 2 // the smallest chunk
	// noVictim takes the place of the designated victim if there is none. It is
	// the head of the ring of chunks of no units: pushed there, it leaves that
	// empty, which saves a branch that would go either way at random.
	noVictim = 0
	// tabled is the number of units for which tree bins are looked up.
	tabled    = 2048
	leastTree = 256
)

// machine is what depends on the width of a pointer.
type machine struct {
	word       uint32
	shift      uint8      // log2 of the unit
	unit       uint64     // two words: the alignment of every chunk, in bytes
	pad        uint64     // bytes to add to a size before it is cut to whole units
	small      uint32     // chunks below so many units are in small bins
	smallMost  uint64     // the largest request for them, in bytes
	smallUnits [256]uint8 // unitsOf such a request; not by pointer, which takes a load more
	near       uint32     // the bins that the first look sees: a bit for that of the size, and maybe the next
	far        uint32     // 1 if what is one bin above is not near
	state      uint64     // bytes of the state at the start of an mspace
	foot       uint64     // bytes behind the top that are never used
	midSizes   *[mid]midSize
	treeBins   *[tabled]uint8  // treeBinOf for so many units
	keyShifts  [treeBins]uint8 // by tree bin, see key
}

var machines = func() map[string]*machine {
	out := map[string]*machine{
		// Bins are 8 bytes apart upstream. With units of 16 bytes every other one
		// is always empty, the one above that of a request among them.
		"32": {word: 4, shift: 3, near: 0b11, state: 480, foot: 40},
		"64": {word: 8, shift: 4, near: 0b1, far: 1, state: 944, foot: 80},
	}
	for _, m := range out {
		m.unit = 1 << m.shift
		m.pad = uint64(m.word) + m.unit - 1
		m.small = leastTree >> m.shift
		m.smallMost = leastTree - m.unit - uint64(m.word)
		for size := range m.smallMost + 1 {
			m.smallUnits[size] = uint8(m.unitsOf(size))
		}
		m.treeBins = new([tabled]uint8)
		for units := range uint64(tabled) {
			m.treeBins[units] = uint8(m.treeBinOf(units))
		}
		m.midSizes = midSizesOf(m)
		for bin := range m.keyShifts {
			// Bin 2k or 2k+1 leaves open the bits of a size in bytes from k+6 down.
			m.keyShifts[bin] = 63 - uint8(bin/2+6) + m.shift
		}
		// The last bin leaves open all bits that a size can have.
		m.keyShifts[treeBins-1] = 64 - uint8(8*m.word) + m.shift
	}
	return out
}()

// most returns the largest arena, in bytes.
func (m *machine) most() uint64 {
	if m.word == 4 {
		return 1<<32 - 1
	}
	return (1<<32 - 1) << m.shift // the table counts units in 32 bits
}

// unitsOf returns the units of a chunk for so many bytes.
func (m *machine) unitsOf(size uint64) uint64 {
	return max((size+m.pad)>>(m.shift&63), leastUnits)
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{machine: *machines[c.Text("ptr")], contiguous: true}
	start := uint32(0)
	if c.Set("grow") {
		h.limit = c.Bytes("grow")
		switch {
		case c.Set("capacity"):
			return nil, errors.New("capacity and grow exclude each other")
		case h.limit < page || h.limit > h.most():
			return nil, fmt.Errorf("grow=%s: the heap needs at least %d bytes and takes at most %d", c.Text("grow"), page, h.most())
		}
	} else {
		capacity := uint64(defaultCapacity)
		if c.Set("capacity") {
			capacity = c.Bytes("capacity")
		}
		fixed := h.state + h.foot
		if capacity <= fixed || capacity > h.most() {
			return nil, fmt.Errorf("capacity %d: the heap needs at least %d bytes and takes at most %d", capacity, fixed+1, h.most())
		}
		start = uint32(h.state >> h.shift)
		h.topEnd = capacity - h.foot
		h.use = heapmodel.Usage{Arena: capacity, Free: capacity - fixed, Overhead: fixed, FreeBlocks: 1}
	}
	// The chain of chunks is empty: the wall, and the end node, which is the top.
	blocks.Reserve(&h.t, reserved)
	h.top = h.t.Take()
	h.t.Nodes[h.top] = blocks.Node{Start: start, Low: wall, High: blocks.None}
	h.t.Nodes[wall].High = h.top
	h.tree = make([]leaf, holders)
	return h, nil
}

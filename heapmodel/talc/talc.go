// Package talc models talc 5, a Rust allocator for no_std programs.
//
// Chunks are multiples of U, four words, and have no header: what the program
// gets is the start of the chunk, and a tag in its last word says where it ends
// and whether the chunk above is free. Free chunks are called gaps. They lie in
// bins, doubly linked lists with the newest first: an exact bin for each size
// below 4*D times U, then D bins for each power of two, with D = 4 on 32-bit
// machines and 8 on 64-bit ones.
//
//	bin b       b+1    b+2
//	[newest]     .    [..]     a request of bin b gets the newest of b if there
//	[      ]                   is one, else that of the lowest filled bin above
//	[oldest]
//
// The bin of a request is the lowest whose gaps all hold it; only when no bin
// from there on is filled, the bin below is scanned for one that does. A
// request with an alignment above U scans bin after bin for a gap in which it
// fits. The low end is given out and the remainder is a gap again, however
// small. Free joins a chunk with both neighbours at once.
//
// The heads of the bins are in the arena itself, at its start.
//
// Source: SFBdragon/talc 5.0.4, commit ad7bae44 (2026-06-18), MIT licence.
// Written from a description of behaviour and from tables of its answers, not
// from its code.
//
// Differs from upstream: the arena is claimed once and never extended (source
// Manual). An object of no bytes, which Rust's contract forbids to ask for, is
// served like one of a byte.
package talc

import (
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
)

// Model is the catalog row of talc.
var Model = &heapmodel.Model{
	Name:   "talc",
	Family: "segregated fits",
	Title:  "talc 5: newest gap of the first bin that surely fits, immediate coalescing",
	Doc: "Models talc 5.0.4 with DefaultBinning and one arena that is claimed once, with aligned requests and its realloc, " +
		"which grows and shrinks in place upward. The heads of its bins are in the arena and count as overhead. " +
		"Not modelled: further claims, extending and truncating the arena, other sources than Manual. " +
		"A request of no bytes, which Rust forbids, is served like one of a byte. " +
		"A step is a look for the lowest filled bin from some bin on, a gap looked at in the scan of a bin, or a merge of two chunks.",
	Source: "SFBdragon/talc 5.0.4, commit ad7bae44 (2026-06-18)",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes of the arena that is claimed, bin heads included"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "bits of a pointer; chunks are multiples of 16 or 32 bytes"},
	},
	New: newHeap,
}

const (
	// bins is the most bins there are; record IDs below are heads of their lists.
	bins = 191
	// wall is the record below the lowest chunk. It counts as used, so that
	// nothing merges with it.
	wall = bins
	// reserved is the number of records that are no chunks.
	reserved = wall + 1
	// noBin is where a request goes that must scan the last bin. Its bit, and
	// all above, are never set in filled.
	noBin = 192
	// tabled is the number of units for which bins are looked up.
	tabled = 4096
)

// machine is what depends on the width of a pointer.
type machine struct {
	word      uint32 // bytes
	unit      uint32 // bytes: four words, the alignment and granule of chunks
	shift     uint8  // log2 of unit
	round     uint64 // keeps the whole units of a number of bytes
	pad       uint64 // bytes to add to a size before it is cut to whole units
	splitLog2 uint8  // log2 of the bins for a power of two
	last      uint32 // the highest bin
	exact     uint64 // units from which on bins hold more than one size
	// floor and ceil are floorBin and ceilBin for so many units.
	floor, ceil *[tabled]uint8
}

var machines = func() map[string]*machine {
	out := map[string]*machine{
		"32": {word: 4, unit: 16, shift: 4, round: ^uint64(15), pad: 4 + 15, splitLog2: 2, last: 94, exact: 16},
		"64": {word: 8, unit: 32, shift: 5, round: ^uint64(31), pad: 8 + 31, splitLog2: 3, last: 190, exact: 32},
	}
	for _, m := range out {
		m.floor, m.ceil = new([tabled]uint8), new([tabled]uint8)
		for units := uint32(1); units < tabled; units++ {
			m.floor[units], m.ceil[units] = uint8(m.floorBin(units)), uint8(m.ceilBin(units))
		}
	}
	return out
}()

// binOf returns the bin of so many units as if there was no last bin. Below 4*D
// units every length has its own; from there on, with the top bit at position p,
//
//	units  1 s s . . . .      (D = 4: two bits s select among the four bins)
//	bin    4*(p-1) + 4 + s
func (m *machine) binOf(units uint32) uint32 {
	d := uint32(m.splitLog2)
	if units>>(d+2) == 0 {
		return units
	}
	top := uint32(bits.Len32(units)) - 1
	return (top-d+1)<<d + units>>(top-d)
}

// floorBin returns the bin that holds a gap of so many units.
func (m *machine) floorBin(units uint32) uint32 { return min(m.binOf(units), m.last) }

// ceilBin returns the lowest bin whose gaps all have so many units, at least 1;
// noBin if that would be the last or none.
func (m *machine) ceilBin(units uint32) uint32 {
	if bin := m.binOf(units-1) + 1; bin < m.last {
		return bin
	}
	return noBin
}

// leastOf returns the least units of a bin's gaps.
func (m *machine) leastOf(bin uint32) uint32 {
	d := uint32(m.splitLog2)
	if bin>>(d+2) == 0 {
		return bin
	}
	return (1<<d | bin&(1<<d-1)) << (bin>>d - 2)
}

func (m *machine) floorOf(units uint32) uint32 {
	if units < tabled {
		return uint32(m.floor[units])
	}
	return m.floorBin(units)
}

func (m *machine) ceilOf(units uint32) uint32 {
	if units < tabled {
		return uint32(m.ceil[units])
	}
	return m.ceilBin(units)
}

// head returns the bytes in front of the first chunk: a pointer for each bin,
// and a tag.
func (m *machine) head() uint64 {
	u := uint64(m.unit)
	return (uint64(m.word)*uint64(m.last+2) + u - 1) &^ (u - 1)
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{machine: *machines[c.Text("ptr")]}
	capacity := c.Bytes("capacity")
	most := uint64(1<<32 - 1)
	if h.word == 8 {
		most = (1<<32-1)<<h.shift - 1 // the table counts units in 32 bits
	}
	if least := h.head() + uint64(h.unit); capacity < least || capacity > most {
		return nil, fmt.Errorf("capacity=%s: the heap needs at least %d bytes and takes at most %d", c.Text("capacity"), least, most)
	}
	start, end := uint32(h.head()>>h.shift), uint32(capacity>>h.shift)
	first := h.lay(start, end)
	free := uint64(end-start) << h.shift
	h.use = heapmodel.Usage{Arena: capacity, Free: free, Overhead: capacity - free}
	h.give(first)
	return h, nil
}

// units returns the units of a chunk for so many bytes: one word more, rounded
// up. More than the table can hold are cut to what no gap has.
func (m *machine) units(size uint64) uint32 {
	return uint32(min((size+m.pad)>>m.shift, 1<<32-1))
}

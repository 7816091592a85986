// Package kr models the storage allocator of The C Programming Language: next
// fit on a circular list of free blocks in address order, which grows by sbrk.
//
// Sizes are counted in units of a header, which holds a link and the size:
//
//	[header | payload, whole units ]
//
// One entry of the list, the base, has no size and is no part of the arena; it
// stands between the highest and the lowest block. The rover is at an entry. A
// search starts behind the rover and ends with it, after a lap; the block that
// is large enough gives its high end, so that it keeps its place on the list:
//
//	[free............] -> [free.....][given]
//
// A lap in vain asks for memory, at least a quantum, which is freed into the
// list, and the search starts again.
//
// The list is never walked. An index (package fit) finds the block behind the
// rover that is large enough, and counts the entries that the walk would pass.
//
// Differs from upstream: nothing known. The book has no realloc and no aligned
// entry point.
package kr

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the catalog row of kr.
var Model = &heapmodel.Model{
	Name:   "kr",
	Family: "sequential fits",
	Title:  "K&R malloc: next fit on a circular address-ordered list",
	Doc: "Blocks are whole units, a unit being a header: 8 bytes with 32 bits, 16 with 64; a request gets its units and " +
		"one for the header, so a request of size 0 gets a header alone. The search goes on behind the rover and once " +
		"around; the first block that is large enough is used whole if it has just the size, else from its high end, " +
		"whatever remains. The rover is then at the entry before. A freed block goes to its place by address, is " +
		"joined with both neighbours it touches, and the rover is at the entry below it. With grow, memory comes by " +
		"sbrk in quanta of 1024 units, or as many as are needed if that is more, up to the limit, and what is not a whole " +
		"quantum below the limit is not obtained; with capacity the whole arena is on the list from the start. " +
		"Realloc allocates anew, copies and frees. " +
		"A step is an entry of the list, the base included, that a search looks at, or that free looks at from the " +
		"rover to the entry below the freed block, both included, or a merge.\n\n" +
		"Differs from upstream: nothing known.",
	Source: "Kernighan and Ritchie, The C Programming Language, 2nd edition, 1988, section 8.7",
	Caps:   heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Doc: "bytes of a fixed arena; 64KiB if there is no grow"},
		{Key: "grow", Kind: heapmodel.ParamBytes, Doc: "limit of a growing arena in bytes, from nothing"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "pointer width in bits: a unit has twice as many"},
	},
	New: newHeap,
}

const (
	defaultCapacity = 64 << 10
	quantum         = 1024 // units
	// base is the rover at the base.
	base = blocks.None
)

// heap is a heap of the model. The granule of its table is a unit.
type heap struct {
	t        blocks.SlimTable
	free     *fit.SlimIndex // by address
	rover    blocks.ID      // of a free block, or base
	before   uint64         // entries before the rover; none before the base
	first    blocks.ID      // None before the first growth
	end      blocks.ID      // end node
	unitLog2 uint8
	limit    uint32 // units up to which the arena may grow
	use      heapmodel.Usage
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{unitLog2: 3, rover: base, first: blocks.None, end: blocks.None}
	h.free = fit.New(&h.t, fit.ByKey)
	most := uint64(1<<32 - 1)
	if c.Text("ptr") == "64" {
		h.unitLog2 = 4
		most <<= h.unitLog2
	}
	unit := h.bytes(1)
	if c.Set("grow") {
		grow := c.Bytes("grow")
		switch least := h.bytes(quantum); {
		case c.Set("capacity"):
			return nil, errors.New("capacity and grow exclude each other")
		case grow < least:
			return nil, fmt.Errorf("grow %d: needs at least %d bytes", grow, least)
		case grow > most:
			return nil, fmt.Errorf("grow %d: the most is %d bytes", grow, most)
		}
		h.limit = uint32(grow / unit)
		return h, nil
	}
	capacity := uint64(defaultCapacity)
	if c.Set("capacity") {
		capacity = c.Bytes("capacity")
	}
	switch {
	case capacity < 2*unit:
		return nil, fmt.Errorf("capacity %d: needs at least %d bytes", capacity, 2*unit)
	case capacity > most:
		return nil, fmt.Errorf("capacity %d: the most is %d bytes", capacity, most)
	}
	h.limit = uint32(capacity / unit)
	h.obtain(h.limit)
	h.use.Overhead = capacity - h.use.Arena
	h.use.Arena = capacity
	h.use.Steps = 0
	return h, nil
}

// bytes returns the bytes of a number of units.
func (h *heap) bytes(units uint32) uint64 { return uint64(units) << (h.unitLog2 & 7) }

// block returns the units of the block for a request, which may be more than
// any heap has.
func (h *heap) block(size uint64) uint64 {
	unit := uint64(1) << (h.unitLog2 & 7)
	return (size+unit-1)>>(h.unitLog2&7) + 1
}

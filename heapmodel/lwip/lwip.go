// Package lwip models the heap of the lwIP TCP/IP stack (mem.c with
// MEM_LIBC_MALLOC and MEM_USE_POOLS off), which serves pbufs of type RAM and
// whatever else the stack allocates by size.
//
// All blocks, used and free, are in one array, linked by indices in their
// headers. A request is served by the first block that is large enough, from
// the lowest free block up; a freed block merges at once with free neighbours.
//
//	[next prev used | payload ....... ][next prev used |          ] end marker
//
// A header has two indices and a byte, rounded up to the alignment. Indices
// have 16 bits if the array's nominal size is at most 64000 bytes, and 32 if it
// is larger, so that a larger heap has larger headers, 12 bytes instead of 8.
//
// Source: lwIP, src/core/mem.c, commit 3d896ba0 (2026-06-16, "2.2.2 dev"). BSD
// licence.
//
// Differs from upstream: mem_trim, which shortens a block in place, is not
// modelled, as there is no realloc that a trace could have meant by it; realloc
// allocates, copies and frees. Overflow checks (MEM_OVERFLOW_CHECK), which
// lengthen objects, are off. A capacity that is no multiple of the alignment
// loses the odd bytes at its end, where upstream would lengthen its array.
// A request that the type of its argument cannot hold fails.
package lwip

import (
	"fmt"
	"strconv"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/lowfit"
)

// Model is the model of lwIP's mem_malloc and mem_free.
var Model = &heapmodel.Model{
	Name:   "lwip-mem",
	Family: "embedded",
	Title:  "lwIP mem.c: first fit over all blocks from the lowest free one, immediate coalescing",
	Doc: "A search walks all blocks, used and free, in address order from the lowest free one. The first that is " +
		"large enough is used from its low end and split if a header and the smallest object would remain; else it " +
		"is used whole. Objects have min bytes at least, rounded up to align. A freed block merges at once with free " +
		"neighbours. Headers have 8 bytes (at align=4) in an arena of at most 64024 bytes, 12 in a larger one, and as much " +
		"again is unused behind the end marker; in arenas of 64017 to 64024 bytes some more. There is no aligned entry " +
		"point, mem_trim is not modelled, and malloc(0) gives a null pointer. " +
		"A step is a block that a search looks at, a block by which the start of searches moves up to the next free one " +
		"after the lowest was taken, or a merge.",
	Source: "lwIP src/core/mem.c, 2.2.2 dev (3d896ba0, 2026-06-16)",
	Params: []heapmodel.Param{
		{
			Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB",
			Doc: "bytes of the heap's array: MEM_SIZE and two headers (MEM_SIZE is at most 64000 with short headers)",
		},
		{
			Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"},
			Doc: "pointer width in bits, on which nothing in this heap depends",
		},
		{
			Key: "align", Kind: heapmodel.ParamEnum, Default: "4", Enum: []string{"1", "2", "4", "8"},
			Doc: "MEM_ALIGNMENT, bytes; upstream's own default is 1",
		},
		{
			Key: "min", Kind: heapmodel.ParamBytes, Default: "12",
			Doc: "MIN_SIZE: bytes of the smallest object, rounded up to align",
		},
	},
	New: newHeap,
}

const (
	shortMost   = 64000   // largest MEM_SIZE with indices of 16 bits
	longMost    = 1 << 32 // MEM_SIZE is less, with indices of 32 bits
	shortHeader = 6       // bytes: two indices, the used byte, and one to even it out
	longHeader  = 12
	maxMin      = 65536
)

// heap is a lowfit.Heap with lwIP's own figures.
type heap struct {
	*lowfit.Heap
	size uint64 // MEM_SIZE, rounded
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	align, err := strconv.ParseUint(c.Text("align"), 10, 8)
	if err != nil {
		return nil, err
	}
	up := func(bytes uint64) uint64 { return (bytes + align - 1) &^ (align - 1) }
	if c.Bytes("min") > maxMin {
		return nil, fmt.Errorf("min=%s: the most is %d bytes", c.Text("min"), maxMin)
	}
	capacity := c.Bytes("capacity")
	header, most := up(shortHeader), uint64(shortMost)
	if capacity > shortMost+2*up(longHeader) {
		header, most = up(longHeader), longMost-align
	}
	// An empty object needs a header, and an object at least one byte.
	object := max(up(c.Bytes("min")), align)
	if least := object + 3*header; capacity < least {
		return nil, fmt.Errorf("capacity=%s: needs at least %d bytes", c.Text("capacity"), least)
	}
	size := (capacity - 2*header) &^ (align - 1)
	if header == up(shortHeader) {
		size = min(size, shortMost)
	}
	if size > most {
		return nil, fmt.Errorf("capacity=%s: the most is %d bytes", c.Text("capacity"), most+2*header)
	}
	shift := uint(0)
	for align>>shift > 1 {
		shift++
	}
	h, err := lowfit.New(lowfit.Rules{
		Name: "lwip", AlignLog2: shift, Header: header, Least: object, End: size, Most: size,
	}, capacity)
	if err != nil {
		return nil, fmt.Errorf("capacity=%s: %w", c.Text("capacity"), err)
	}
	return &heap{Heap: h, size: size}, nil
}

// Realloc implements heapmodel.Heap: lwIP has none that grows.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	return heapmodel.Move(h, r, size, align)
}

// Native implements heapmodel.Native with the figures of lwip_stats.mem: used
// counts whole blocks, headers included. The free ones are what they leave of
// the heap's size.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "free_bytes", Value: h.size - h.Use.Allocated},
		{Key: "min_ever_free_bytes", Value: h.size - h.Peak},
		{Key: "avail_bytes", Value: h.size},
		{Key: "used_bytes", Value: h.Use.Allocated},
		{Key: "max_used_bytes", Value: h.Peak},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

// Package nuttx models the heap of NuttX (mm/mm_heap) in its default form, with
// one region and no memory pools.
//
// A node begins with the size of the node below, which lies in the last word of
// that node's data while it is used, and its own size, so that a used node costs
// 4 bytes:
//
//	[size below | size | data ................. | size below | size | ...
//	^ node               ^ object                 ^ next node
//	             [------ block, as surveys show it -----]
//
// Free nodes are in one list through 19 bins, which are heads of size 0 in it:
// bin i has sizes from 16<<i bytes up to twice that, the last all above. Within
// a bin the list rises by size, the newest of a size first, so that the first
// node that is large enough is the best fit. A freed node merges at once with
// free neighbours. Realloc grows into free neighbours on both sides.
//
// Source: NuttX, commit 4ebc8a72 (2026-08-20), mm/mm_heap, 32-bit, MM_ALIGN of
// 8. Apache 2.0 licence.
//
// Differs from upstream: nothing known for this configuration. Backtraces, guard
// bytes, mempools, delayed frees, several regions and CONFIG_MM_SMALL are not
// modelled.
package nuttx

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
)

// Model is the model of mm_malloc, mm_realloc, mm_memalign and mm_free.
var Model = &heapmodel.Model{
	Name:   "nuttx-mm",
	Family: "embedded",
	Title:  "NuttX mm_heap: best fit from lists sorted by size, immediate coalescing",
	Doc: "Free nodes are in one list in rising order of size, entered by 19 bins at powers of two. The first node that " +
		"is large enough, so the best fit and the newest of its size, is used from its low end and split if 16 bytes or " +
		"more remain. A node has 4 bytes besides the object, is a multiple of 8 bytes and 16 at least. A freed node merges at " +
		"once with free neighbours. Realloc shrinks in place, grows into free neighbours above and below if both " +
		"together are large enough, from the smaller one first, so that an object may move down a little; else it " +
		"moves it. An aligned request takes a node for the object and twice the alignment, and frees what is left " +
		"over on both sides. malloc(0) gives a node of 16 bytes, and so does realloc to 0. The figures that NuttX itself reports drift: a realloc " +
		"that would shorten a node by 8 bytes, but cannot, is counted as if it had. " +
		"A step is a node of the list that a search looks at, heads of bins on the way included, a node that an " +
		"insertion passes in its bin, or a neighbour that is merged with or grown into.\n\n" +
		"Not modelled: locks, frees that are put off, poisoning, and configurations in which nodes keep a process or a backtrace.",
	Source: "NuttX mm/mm_heap (4ebc8a72, 2026-08-20)",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{
			Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB",
			Doc: "bytes handed to mm_initialize, from an aligned start",
		},
		{
			Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32"},
			Doc: "pointer width in bits",
		},
		{
			Key: "control", Kind: heapmodel.ParamBytes, Default: "348",
			Doc: "bytes of struct mm_heap_s at the start, which depend on the kernel's options",
		},
	},
	New: newHeap,
}

// The granule of the table is 8 bytes, the alignment of objects.
const (
	unitLog2   = 3
	unit       = 1 << unitLog2
	word       = 4 // bytes: what a node has besides the object
	toData     = 8 // bytes from a node to its object
	guard      = 8 // bytes of the nodes at both ends, which are always used
	leastNode  = 16
	leastData  = leastNode - word
	leastUnits = leastNode >> unitLog2
	maxControl = 65536
	most       = 1<<32 - 1 // bytes: addresses have 32 bits
)

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	control, capacity := c.Bytes("control"), c.Bytes("capacity")
	if control > maxControl {
		return nil, fmt.Errorf("control=%s: the most is %d bytes", c.Text("control"), maxControl)
	}
	// The first object would be behind the record and 16 bytes; it is aligned.
	base := up(control+2*toData) - 2*toData
	first := base + guard
	least := first + leastNode + guard
	switch {
	case capacity < least:
		return nil, fmt.Errorf("capacity=%s: needs at least %d bytes", c.Text("capacity"), least)
	case capacity > most:
		return nil, fmt.Errorf("capacity=%s: the most is %d bytes", c.Text("capacity"), uint64(most))
	}
	end := capacity&^(unit-1) - guard
	h := &heap{arena: end + guard - base, used: 2 * guard, maxUsed: 2 * guard}
	h.first = h.t.Region(uint32(first>>unitLog2), uint32(end>>unitLog2))
	h.free.init(&h.t)
	h.free.insert(h.first, h.t.Size(h.first))
	h.use = heapmodel.Usage{Arena: capacity, Free: end - first, FreeBlocks: 1, Overhead: capacity - (end - first)}
	return h, nil
}

// up rounds up to the alignment.
func up(bytes uint64) uint64 { return (bytes + unit - 1) &^ (unit - 1) }

// Package segstorage models simple segregated storage: every size class has
// pages of its own, cut into objects of the class, and a list of those that are
// free. Nothing is ever split, joined, or given to another class, so allocation
// and free are a push and a pop, and memory once used for a size is lost to all
// others.
//
//	run of class 16                run of class 1536, pages of 4096   untouched
//	[16][16][16]...[16][16][16][16][1536......][1536......]  lost     [..........
//
// What the literature leaves open is decided so:
//
//   - A block is header and payload. It has the size of the smallest class that
//     holds both. With header=0 the class is that of the request.
//   - A class obtains memory when its list is empty: the fewest whole pages that
//     hold one object, next to the pages obtained last. All of it is cut at once
//     into as many objects as fit, which go on the list in address order; what
//     remains behind the last is lost.
//   - So an object larger than a page has pages to itself, and once freed serves
//     requests of its own class only. Of a user's list of classes, every number
//     of pages is a class above the last.
//   - Pages never return and never change their class.
//   - A freed object goes to the front (LIFO), to the back (FIFO) or to its place
//     by address in the list of its class, and a request takes the first.
//   - If the pages that are left do not suffice, a growing heap raises its break
//     by the multiple of the quantum that does. Bytes at the end that are no
//     whole page are overhead until the break rises.
package segstorage

import (
	"fmt"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the catalog row of simple-segregated.
var Model = &heapmodel.Model{
	Name:   "simple-segregated",
	Family: "segregated fits",
	Title:  "simple segregated storage: a size class owns its pages for good",
	Doc: "Requests are rounded up to a size class. A class obtains whole pages when its free list is empty, cuts them into " +
		"objects, and keeps them for ever; nothing is split, coalesced or given to another class. " +
		"Classes are powers of two, or these and three times a power of two, or a list; above a page an object has the fewest " +
		"pages that hold it to itself. Above the last class of a list every number of pages is a class. Pages come from the arena " +
		"in address order, or from a break that rises by a quantum. " +
		"A request of size 0 gets an object of the smallest class. Requests aligned above the natural alignment take an object with " +
		"room for any gap before the payload. Realloc moves, or leaves an object where it is if its class stays the same. " +
		"A step is a request, which looks at the list of its class, an object that is put on the list when pages are cut, and in an " +
		"address-ordered list an object passed on the way to the place of a freed one.\n\n" +
		"All rules are in the documentation of the package. A policy, not a model of one allocator.",
	Source: "Wilson, Johnstone, Neely and Boles, Dynamic Storage Allocation: A Survey and Critical Review, 1995, section 3.5; " +
		"Johnstone and Wilson, The Memory Fragmentation Problem: Solved?, ISMM 1998, section 3",
	Caps: heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: slices.Concat([]heapmodel.Param{
		arena.Capacity(),
		{Key: "classes", Kind: heapmodel.ParamText, Default: "pow2", Doc: "block sizes: pow2 (2^N), pow2x3 (2^N and 3*2^N), or a list as 16+32+48 in bytes, header included"},
		{Key: "order", Kind: heapmodel.ParamEnum, Default: "lifo", Enum: []string{"lifo", "fifo", "address"}, Doc: "order of the free list of a class"},
		{Key: "page", Kind: heapmodel.ParamBytes, Default: "4KiB", Doc: "bytes of a page, a multiple of the alignment"},
		{Key: "min", Kind: heapmodel.ParamBytes, Default: "0", Doc: "least bytes of a block, header included"},
		{Key: "realloc", Kind: heapmodel.ParamEnum, Default: "move", Enum: []string{"move", "inplace"}, Doc: "realloc always moves, or leaves an object where its class stays the same"},
	}, arena.Params("")),
	New: newHeap,
}

// Values of the parameter order.
type listOrder uint8

const (
	lifo listOrder = iota
	fifo
	byAddress
)

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{inPlace: c.Text("realloc") == "inplace"}
	h.order = map[string]listOrder{"lifo": lifo, "fifo": fifo, "address": byAddress}[c.Text("order")]
	if err := arena.Housekeeping(c, "min", "page"); err != nil {
		return nil, err
	}
	var err error
	if h.Config, err = arena.ReadLayout(c); err != nil {
		return nil, err
	}
	page := c.Bytes("page")
	if page == 0 || page%h.Grain != 0 {
		return nil, fmt.Errorf("page=%s is no multiple of the alignment of %d bytes", c.Text("page"), h.Grain)
	}
	h.page = uint32(page >> h.Shift)
	h.Least = max(h.Least, h.Up(c.Bytes("min")))
	if err := h.readClasses(c.Text("classes")); err != nil {
		return nil, fmt.Errorf("classes=%s: %w", c.Text("classes"), err)
	}
	least := h.Least
	if h.Config, err = arena.Read(c, "a page", func(*arena.Config) uint64 { return page }); err != nil {
		return nil, err
	}
	h.Least = least
	h.lists = make([]list, len(h.sizes))
	for i := range h.lists {
		h.lists[i] = empty
	}
	h.named = len(h.sizes)
	if h.order == byAddress {
		h.sorted = fit.New(&h.t, fit.BySize)
	}
	h.obtain(h.Capacity)
	return h, nil
}

// readClasses makes the table of classes, in granules, ascending.
func (h *heap) readClasses(text string) error {
	reach := uint64(h.Top(h.Reach()))
	add := func(granules uint64) {
		if granules > 0 && granules <= reach && granules<<h.Shift >= h.Least {
			h.sizes = append(h.sizes, uint32(granules))
		}
	}
	switch text {
	case "pow2", "pow2x3":
		for log2 := range 63 {
			bytes := uint64(1) << log2
			add(bytes >> h.Shift)
			// 3/2 of a power of two lies between it and the next; half a granule does not count.
			if half := bytes / 2; text == "pow2x3" && half >= h.Grain {
				add((bytes + half) >> h.Shift)
			}
		}
		return nil
	}
	sizes, err := arena.Sizes(text)
	if err != nil {
		return fmt.Errorf("want pow2, pow2x3 or SIZE+SIZE...: %w", err)
	}
	h.paged = true
	for _, size := range sizes {
		if size%h.Grain != 0 {
			return fmt.Errorf("%d is no multiple of the alignment of %d bytes", size, h.Grain)
		}
		add(size >> h.Shift)
	}
	return nil
}

// heap is the model. Addresses and sizes in its tables are granules of Grain
// bytes. A Ref is the index of an object; those of a run are in a row.
type heap struct {
	arena.Config
	order   listOrder
	inPlace bool
	paged   bool   // above the named classes every number of pages is a class
	page    uint32 // granules

	sizes []uint32 // of an object, by class: named ascending, then those of whole pages as they came up
	lists []list   // by class
	named int      // classes with a name
	wide  []uint32 // the other classes by ascending size
	runs  []run    // by address

	// t has a record for each object, free or not: Low is inUse or the next of
	// the free list, High the run, Start the gap in front of an aligned payload,
	// in granules, and X is the index's. The table itself links nothing.
	t      blocks.Table
	sorted *fit.Index // order=address: free objects by class and address

	next uint32 // start of the untouched pages
	top  uint32 // end of the arena
	brk  uint64 // the same in bytes
	use  heapmodel.Usage
}

// list is the free list of a class, linked from head to tail.
// With order=address the links are not used.
type list struct {
	head, tail uint32
	free       uint32 // objects
}

// run is the pages that a class obtained at once.
type run struct {
	start uint32
	first uint32 // object
	class uint32
}

// Values of Low that are no object.
const (
	inUse uint32 = 1<<32 - 1
	none  uint32 = 1<<32 - 2
)

var empty = list{head: none, tail: none}

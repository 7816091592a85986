// Package twoended models a heap that keeps apart what lives long and what does
// not in one arena: objects expected to live long are placed from the bottom up,
// transient ones from the top down, and the free memory between is for either.
//
//	[long][long][free][long][free ....................... ][brief][free][brief]
//	 ---- lowest block that fits --->      <--- highest block that fits -----
//
// One list holds the free blocks by address; it is searched first fit from one
// end or the other. An index (package fit) finds in O(log free blocks) the block
// that the walk would have found, and the number of blocks on the way. The plain
// list is the oracle of the tests.
//
// The exact rules:
//
//   - A long-lived object gets the low end of the lowest block that is large
//     enough, a transient one the high end of the highest. What remains is free,
//     unless it is smaller than the smallest block.
//   - Free neighbours are joined at once, whoever had them: the two sides may
//     reach into each other, and nothing is reserved for either.
//   - An object is for the end it was first placed at, wherever it is: a realloc
//     that moves looks from there.
//   - realloc=inplace shrinks an object where it is, giving back the high end,
//     and grows it into a free upper neighbour; else it moves.
//   - An aligned object searches a block with room for any gap. From the bottom
//     the gap is at the low end, from the top the object lies as high as its
//     alignment lets it; gaps are free blocks, and none is smaller than the
//     smallest block.
//   - The footprint is the arena without the least that was ever free in one block
//     between the two sides, as a high-water mark is that without the last block
//     of a heap with one end. In an arena shorter by so much all requests would
//     have been served alike. Once the sides have met it is the whole arena.
package twoended

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the catalog row of two-ended.
var Model = &heapmodel.Model{
	Name:   "two-ended",
	Family: "sequential fits",
	Title:  "first fit from both ends: long-lived objects from the bottom, transient ones from the top",
	Doc: "One address-ordered list of free blocks in a fixed arena, coalesced at once. Objects expected to live long get the lowest block that fits, " +
		"others the highest and of that the high end: two-ended:capacity=64KiB,by=life,cut=16KiB. " +
		"by=life takes for long-lived what lives longer than the cut, in bytes that the program requests meanwhile, which only an oracle knows; " +
		"by=site takes the objects of the call sites that are listed, as a program can: two-ended:capacity=64KiB,by=site,sites=#3|main.c:*. " +
		"A realloc that moves looks from the end where the object was first placed. " +
		"The footprint is the arena without the least that was ever free between the two sides: so much shorter it would have done the same. " +
		"Reported: the most bytes that lay below and above what is free between, and the least that was free there. " +
		"A step is a visited node of the free list: of a search, from the end where it begins; of the walk from the bottom to the place of a freed block; and one a joined block.\n\n" +
		"All rules are in the documentation of the package. A policy, not a model of one allocator.",
	Source: "adafruit/circuitpython PR 547 (long-lived objects at the other end of the heap; there the upper one); first fit: Knuth, TAOCP 1, section 2.5",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc,
	Params: slices.Concat([]heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes of arena"},
		{Key: "by", Kind: heapmodel.ParamEnum, Default: "life", Enum: []string{"life", "site"}, Doc: "what tells long-lived objects: how long they live, or their call site"},
		{Key: "cut", Kind: heapmodel.ParamBytes, Default: "16KiB", Doc: "by=life: an object that lives longer is long-lived; bytes requested meanwhile"},
		{Key: "sites", Kind: heapmodel.ParamText, Doc: "by=site: call sites of long-lived objects joined by |: names, patterns with * and ?, or #N; unset: none"},
		{Key: "realloc", Kind: heapmodel.ParamEnum, Default: "inplace", Enum: []string{"inplace", "move"}, Doc: "realloc shrinks in place and grows into a free upper neighbour, or always moves"},
	}, arena.LayoutParams("")),
	New: newHeap,
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{bySite: c.Text("by") == "site", cut: c.Bytes("cut"), inPlace: c.Text("realloc") == "inplace", long: true}
	var err error
	if h.Config, err = arena.ReadLayout(c); err != nil {
		return nil, err
	}
	if c.Set("sites") && !h.bySite {
		return nil, errors.New("sites: goes with by=site")
	}
	if h.bySite && c.Set("sites") {
		h.patterns = strings.Split(strings.Trim(c.Text("sites"), "[]"), "|")
		h.long = false
	}
	capacity := c.Bytes("capacity")
	switch {
	case capacity < h.Pad+h.Least:
		return nil, fmt.Errorf("capacity=%s: the least that holds a block is %d bytes", c.Text("capacity"), h.Pad+h.Least)
	case capacity > h.Reach():
		return nil, fmt.Errorf("capacity=%s: the most with this alignment is %d bytes", c.Text("capacity"), h.Reach())
	}
	h.end = h.Top(capacity)
	h.first = h.t.Region(0, h.end)
	h.free = fit.New(&h.t, fit.ByKey)
	h.free.Insert(h.first, 0, h.end)
	h.middle, h.gap = h.first, h.end
	free := h.Bytes(h.end)
	h.use = heapmodel.Usage{Arena: capacity, Free: free, FreeBlocks: 1, Overhead: capacity - free}
	return h, nil
}

// Package rustlinkedlist models the Heap of the Rust crate
// linked_list_allocator, which embedded-alloc offers as its LlffHeap: first fit
// over a list of holes in address order, joined at once when they touch.
//
// Blocks have no header: the program hands the size back when it frees. A hole
// holds its own size and the link, two words, so no hole may be smaller. That
// decides which holes a request gets:
//
//	[object.......][rest         ]   rest of at least two words: taken
//	[object.....................]    no rest: taken
//	[object....................][w]  rest of one word: the hole is passed over
//
//	[pad    ][object......][rest]    for alignment, pad of at least two words
//
// The list is never walked: an index (package fit) finds the first hole that is
// large enough and counts those before it. That a hole may be too large by a
// word breaks the rule that a larger hole is as good, so in a long list the holes of
// few words are also kept by their exact size (see exact).
//
// Differs from upstream: nothing known. Extending the heap is not modelled.
package rustlinkedlist

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the catalog row of rust-linked-list.
var Model = &heapmodel.Model{
	Name:   "rust-linked-list",
	Family: "sequential fits",
	Title:  "Rust linked_list_allocator, embedded-alloc LlffHeap: address-ordered first fit without headers",
	Doc: "Requests are rounded up to words, to two words at least, also those of size 0. The lowest hole is taken in " +
		"which nothing or at least two words remain; a hole that would leave a single word is passed over. The object " +
		"lies at the low end. If the hole's start is not aligned enough, the object starts at the first aligned " +
		"address at least two words above it, and what is below stays a hole. A freed block is joined with the holes " +
		"it touches. Realloc allocates anew with the same alignment, copies and frees, as GlobalAlloc does by default. " +
		"A step is a hole looked at by an allocation, a hole below the freed block that a free walks past, or a merge. " +
		"Aligned requests of more than a word cost time in proportion to the holes that are large enough but not " +
		"aligned, all others O(log holes).\n\n" +
		"Differs from upstream: nothing known; Heap::extend is not modelled.",
	Source: "linked_list_allocator 0.10.5, rust-osdev, commit b5caf327 (2024-05-30); embedded-alloc 0.7.0 uses it unchanged",
	Caps:   heapmodel.CapAlign,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes given to init, from an aligned start"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "pointer width in bits: the size of a word"},
	},
	New: newHeap,
}

// leastWords is the size of the smallest hole and the smallest block.
const leastWords = 2

// heap is a heap of the model. The granule of its table is a word.
type heap struct {
	t        blocks.Table // X is the index's; Y of a small hole is its place in exact
	holes    *fit.Index   // by address
	small    exact
	first    blocks.ID
	wordLog2 uint8
	use      heapmodel.Usage
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{wordLog2: 2}
	most := uint64(1<<32 - 1)
	if c.Text("ptr") == "64" {
		h.wordLog2 = 3
		most <<= h.wordLog2
	}
	capacity := c.Bytes("capacity")
	switch least := uint64(leastWords) << h.wordLog2; {
	case capacity < least:
		return nil, fmt.Errorf("capacity %d: needs at least %d bytes", capacity, least)
	case capacity > most:
		return nil, fmt.Errorf("capacity %d: the most is %d bytes", capacity, most)
	}
	words := uint32(capacity >> h.wordLog2)
	h.holes = fit.New(&h.t, fit.ByKey)
	h.first = h.t.Region(0, words)
	h.insert(h.first, words)
	h.use.Arena = capacity
	h.use.Free = h.bytes(words)
	h.use.Overhead = capacity - h.use.Free
	h.use.FreeBlocks = 1
	return h, nil
}

// bytes returns the bytes of a number of words.
func (h *heap) bytes(words uint32) uint64 { return uint64(words) << (h.wordLog2 & 7) }

// block returns the words of the block for a request, which may be more than
// any heap has.
func (h *heap) block(size uint64) uint64 {
	word := uint64(1) << (h.wordLog2 & 7)
	return max((size+word-1)>>(h.wordLog2&7), leastWords)
}

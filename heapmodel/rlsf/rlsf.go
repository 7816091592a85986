// Package rlsf models rlsf, a TLSF heap in Rust, which is also the "tlsf" heap
// of the crate embedded-alloc. It places differently from the TLSF written in
// C (package tlsf), from which it has the idea and no code.
//
// Blocks are multiples of four words. A used one has two words of header, its
// size and the block below; what the program gets is behind it, or at the next
// address of the alignment asked for if that is four words or more, with the
// word before holding the way back to the header:
//
//	[size below | payload ..................... ]   align up to two words
//	[size below | ...... back | payload ....... ]   align from four words on
//
// Free blocks lie in bins, as many for each power of two as a pointer has bits;
// the search, splitting and coalescing are those of package goodfit. There is
// no threshold: any remainder becomes a block. The last four words of the arena
// are a used block that ends it.
//
// Source: rlsf 0.2.1, yvt/rlsf commit 03664d5d (2025-12-08), MIT or Apache-2.0,
// with the parameters of embedded-alloc 0.7.0. Written from a description of
// behaviour and from tables of its answers, not from its code.
//
// Differs from upstream: nothing known. Several memory pools in one heap and
// the other sizes of its bitmaps are not modelled.
package rlsf

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/goodfit"
)

// Model is the catalog row of rlsf.
var Model = &heapmodel.Model{
	Name:   "rlsf",
	Family: "segregated fits",
	Title:  "TLSF in Rust (rlsf, embedded-alloc): O(1) good fit with immediate coalescing",
	Doc: "Models rlsf 0.2.1 as embedded-alloc 0.7.0 sets it up: bitmaps with as many bits as a pointer on both levels. " +
		"Blocks are multiples of four words with two words of header and are split without a threshold; " +
		"the last four words of the arena are lost to its end. " +
		"An alignment of four words or more enlarges the block, and what lies in front of the object stays in it. " +
		"realloc is that of GlobalAlloc, which allocates, copies and frees, or rlsf's own, which grows into free neighbours on both sides. " +
		"A request of no bytes gets a smallest block. " +
		"A step is a word of a bitmap read, a block taken from a bin, or a block merged with a neighbour. " +
		"Not modelled: several pools in one heap, bitmaps of other sizes.",
	Source: "rlsf 0.2.1, yvt/rlsf commit 03664d5d (2025-12-08)",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes of the arena, whose start is aligned"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "bits of a pointer, which set the word and the number of bins"},
		{Key: "realloc", Kind: heapmodel.ParamEnum, Default: "move", Enum: []string{"move", "inplace"}, Doc: "move: that of GlobalAlloc, as in embedded-alloc; inplace: Tlsf::reallocate"},
	},
	New: newHeap,
}

// heap is an rlsf heap in one state.
type heap struct {
	goodfit.Heap
	half    uint32 // bytes of a used header: half the alignment of blocks
	inPlace bool
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{half: 8, inPlace: c.Text("realloc") == "inplace"}
	rules := goodfit.Rules{
		GranuleLog2: 4, ClassLog2: 5, Header: 8, Align: 8, Plain: 8, Least: 1, Rest: 1,
		Levels: goodfit.Powers, Limit: mostSearched(32, 5, 4), Aligned: h.allocAligned,
	}
	most := uint64(1<<32 - 1)
	if c.Text("ptr") == "64" {
		h.half = 16
		rules.GranuleLog2, rules.ClassLog2 = 5, 6
		rules.Header, rules.Align, rules.Plain = 16, 16, 16
		rules.Limit = mostSearched(64, 6, 5)
		most = goodfit.MostGranules << 5
	}
	block := uint64(2 * h.half)
	capacity := c.Bytes("capacity")
	switch {
	case capacity < 2*block:
		return nil, fmt.Errorf("capacity %d: needs at least %d bytes", capacity, 2*block)
	case capacity > most:
		return nil, fmt.Errorf("capacity %d: the most is %d bytes", capacity, most)
	}
	granules := uint32(capacity/block - 1)
	h.Init(rules, granules)
	h.Add(0, granules, capacity)
	return h, nil
}

// mostSearched returns the longest block that is searched for, in granules. The
// size is rounded up to the next class first, which must not overflow a word:
//
//	1sssss0000...   the highest class, s all ones
func mostSearched(wordBits, classLog2, granuleLog2 int) uint64 {
	return (1<<(classLog2+1) - 1) << (wordBits - 1 - classLog2 - granuleLog2)
}

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 {
	return h.Heap.Need(h.search(size, align))
}

// search returns the granules to look for on behalf of a request.
func (h *heap) search(size uint64, align uint32) uint64 {
	if align > h.half {
		size += uint64(align - h.half)
	}
	return h.Length(size)
}

// Native implements heapmodel.Native. rlsf keeps no statistics; these are what
// a walk over its blocks would give, headers included.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "free_bytes", Value: h.Use.Free},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

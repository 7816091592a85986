// Package ummmalloc models umm_malloc, the heap for small microcontrollers that
// the ESP8266 core for Arduino made known.
//
// The arena is an array of blocks of 8 bytes, or 16, counted in 15 bits. A chunk
// is a run of blocks; its first begins with the numbers of the chunks above and
// below, 4 bytes, and a free one goes on with those of its neighbours on the
// free list:
//
//	block 0     block 1 ...                            N-1
//	[list head][above below payload ...][above below next prev ...][end]
//
// The list is not in address order. A freed chunk goes to its front, but where
// it joins a free chunk below it, that one keeps its place; what remains of a
// chunk that was split takes the place of the chunk. The order of the list
// decides first fit and the ties of best fit. For best fit it is modelled by a
// number for each chunk on it, falling from push to push, and package fit finds
// by size and number what the walk of the original would find. For first fit the
// list is a log, see type list.
//
// Source: umm_malloc, commit ed68d0b5 (2025-02-25). MIT licence.
//
// Differs from upstream: nothing known. Poison, integrity checks and inline
// metrics are off. Arenas of more than 32767 blocks are refused.
package ummmalloc

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
)

// Model is the model of umm_malloc.
var Model = &heapmodel.Model{
	Name:   "umm-malloc",
	Family: "embedded",
	Title:  "umm_malloc: best or first fit on a list by time of free, 15-bit block numbers",
	Doc: "The arena is an array of blocks of body bytes; the first is the head of the free list, the last an end marker, " +
		"and odd bytes behind are lost. A chunk is a run of blocks with 4 bytes of header, so that objects are aligned to 4 bytes " +
		"only. Best fit takes the smallest chunk that is large enough, the first of them in the list; first fit the first in " +
		"the list. The request gets the low end, and what remains, one block or more, takes the chunk's place in the list. A freed " +
		"chunk absorbs a free one above it, then goes into a free one below, which keeps its place, or else to the front of the list. " +
		"realloc stays if it can, takes the free chunk above if that fits exactly or none below is free, else moves down " +
		"into the free chunk below, with that above if it must, else allocates, copies and frees; what it does not need is freed. " +
		"There is no aligned entry point. malloc(0) gives a null pointer, realloc to 0 frees. " +
		"A step is a chunk of the list that a search looks at, which for best fit are all, or a merge of two chunks.\n\n" +
		"Not modelled: poisoning, integrity checks and inline metrics.",
	Source: "umm_malloc ed68d0b5 (2025-02-25)",
	Caps:   heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes of the arena, at most 32767 blocks"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "pointer width in bits, on which nothing in this heap depends"},
		{Key: "fit", Kind: heapmodel.ParamEnum, Default: "best", Enum: []string{"best", "first"}, Doc: "which free chunk is taken (UMM_BEST_FIT, UMM_FIRST_FIT)"},
		{Key: "body", Kind: heapmodel.ParamEnum, Default: "8", Enum: []string{"8", "16", "32", "64"}, Doc: "bytes of a block (UMM_BLOCK_BODY_SIZE)"},
	},
	New: newHeap,
}

const (
	header    = 4         // bytes of a chunk in front of its payload
	align     = 4         // of user pointers
	maxBlocks = 1<<15 - 1 // what 15 bits count
)

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	shift := map[string]uint{"8": 3, "16": 4, "32": 5, "64": 6}[c.Text("body")]
	capacity := c.Bytes("capacity")
	count := capacity >> shift
	if count < 3 {
		return nil, fmt.Errorf("capacity=%s: needs at least %d bytes", c.Text("capacity"), 3<<shift)
	}
	if count > maxBlocks {
		return nil, fmt.Errorf("capacity=%s: the most is %d bytes", c.Text("capacity"), (maxBlocks+1)<<shift-1)
	}
	size := (count - 2) << shift
	b := base{body: 1 << shift, shift: shift}
	b.use = heapmodel.Usage{Arena: capacity, Free: size, Overhead: capacity - size, FreeBlocks: 1}
	if c.Text("fit") == "best" {
		return newBestFit(b, uint32(count)), nil
	}
	return newFirstFit(b, uint32(count)), nil
}

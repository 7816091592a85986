// Package avrlibc models malloc, realloc and free of avr-libc: a break that
// rises and falls, and below it a free list in address order that is searched
// for an exact fit, then for the best.
//
// A header of 2 bytes holds the size of the payload; a free block links to the
// next in its payload, which therefore has 2 bytes at least. Nothing is
// aligned, so blocks have odd addresses and sizes as they come:
//
//	[block][block][free..][block]|......never used or given back......|
//	0                            break                               end
//
// A freed block that ends at the break lowers it, past a free block that then
// ends there, too. What is above the break is a free block here, but none on
// the list.
//
// The list is never walked. An index by size (package fit) finds the block, and
// a ranking of the addresses tells how far a walk would have come.
//
// Differs from upstream: the tables were made with host pointers, where the
// sum of an address and a size does not wrap at 64 KiB; neither does it here.
// The heap's end is fixed; the check against the stack pointer, for a heap
// without an end, is not modelled.
package avrlibc

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the catalog row of avr-libc.
var Model = &heapmodel.Model{
	Name:   "avr-libc",
	Family: "embedded",
	Title:  "avr-libc malloc: exact, then best fit, below a break that falls again",
	Doc: "A header of 2 bytes, no alignment, payloads of 2 bytes at least. The first free block of just the size is " +
		"taken, else the smallest that is larger, the lowest of those; it is used whole if less than 4 bytes would " +
		"remain, else from its high end. If there is none the break rises, up to the end of the heap. Freed blocks " +
		"are joined with free neighbours; a block at the break lowers it. Realloc shrinks in place and gives back 4 " +
		"bytes or more; it grows into a free block right above, or by raising the break if no free block would do; " +
		"else it moves. As in the original, growth at the break cannot reach the very end of the heap, and a block at " +
		"the break that has no room above fails to grow where no free block is larger. Realloc to size 0 frees. " +
		"What is above the break counts as a free block. Requests above 65535 bytes do not fit size_t and fail. " +
		"A step is an entry of the free list that malloc or realloc looks at, that free walks past on the way to the " +
		"block's place (to the end, if the block was at the break), or a merge with an entry.\n\n" +
		"Differs from upstream: sums of addresses and sizes do not wrap at 64 KiB, as in the tables, and the check " +
		"against the stack pointer of a heap without a fixed end is not modelled.",
	Source: "avr-libc libc/stdlib/malloc.c and realloc.c, commit b6c2bb81 (2026-06-13)",
	Caps:   heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "65024", Doc: "bytes from __malloc_heap_start to __malloc_heap_end, at most 65535"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "16", Enum: []string{"16"}, Doc: "pointer width in bits"},
	},
	New: newHeap,
}

const (
	header       = 2
	leastPayload = 2
	leastBlock   = header + leastPayload
	// most is the largest request and the largest heap.
	most = 1<<16 - 1
)

// heap is a heap of the model. The granule of its table is a byte.
type heap struct {
	t     blocks.SlimTable
	list  *fit.SlimIndex // by size of the block, then by address
	rank  ranking        // addresses of the blocks on the list
	first blocks.ID
	top   blocks.ID // what is above the break; may have no size
	use   heapmodel.Usage
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	capacity := c.Bytes("capacity")
	switch {
	case capacity < leastBlock:
		return nil, fmt.Errorf("capacity %d: needs at least %d bytes", capacity, leastBlock)
	case capacity > most:
		return nil, fmt.Errorf("capacity %d: the most is %d bytes", capacity, most)
	}
	h := &heap{}
	h.list = fit.New(&h.t, fit.BySize)
	h.first = h.t.Region(0, uint32(capacity))
	h.top = h.first
	h.use = heapmodel.Usage{Arena: capacity, Free: capacity, FreeBlocks: 1}
	return h, nil
}

// brk returns the break.
func (h *heap) brk() uint32 { return h.t.Nodes[h.top].Start }

// room returns the bytes above the break.
func (h *heap) room() uint32 { return h.t.Size(h.top) }

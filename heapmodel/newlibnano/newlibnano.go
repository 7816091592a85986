// Package newlibnano models malloc of newlib's small variant, nano-mallocr.c,
// which most bare-metal GCC toolchains link with --specs=nano.specs.
//
// Chunks fill the memory below a break that only rises. A chunk is a word with
// its size, the payload and, with 32-bit pointers, one word more, which lets the
// payload start at a multiple of 8 wherever the chunk does:
//
//	[size][payload .........][slack]      chunk at 4 modulo 8
//	[size][-4][payload .............]     chunk at 0 modulo 8: free goes 4 back
//
// Free chunks are in one list by address, searched from its start; a freed chunk
// merges at once with free neighbours. If none is large enough the break rises
// by exactly the chunk, even if the last chunk is free and would nearly do.
//
// The list is not walked here: package fit finds the chunk and its rank.
//
// Source: newlib, nano-mallocr.c, commit 9dc06b7e (2026-01-10), and the releases
// named below. BSD licence (ARM Ltd).
//
// Differs from upstream: releases 4.2.x, which corrupt the heap when they merge
// the last chunk with memory at the break, are refused; 4.3.0 is modelled as if
// it had the correction of February 2023 to the same code, without which it
// crashes when the list is empty or has that one chunk.
package newlibnano

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the model of newlib's nano malloc.
var Model = &heapmodel.Model{
	Name:   "newlib-nano",
	Family: "embedded",
	Title:  "newlib nano malloc: address-ordered first fit at a rising break",
	Doc: "Chunks have a header of a word and, with 32-bit pointers, a word of padding; the least has 12 bytes, 16 with " +
		"64-bit pointers. The lowest free chunk that is large enough is split if the least chunk would remain: since " +
		"4.3.0 the request gets the low end, up to 4.1.0 the high end. If there is none the break rises by exactly the " +
		"chunk. If it cannot, versions since 4.3.0 extend a free last chunk at the break; older ones fail. The break " +
		"never falls. A freed chunk merges at once with free neighbours. realloc keeps an object where it is if it fits and " +
		"has more than half of the usable bytes (up to 3.3.0: if it fits), changes no chunk then, and else allocates, copies " +
		"and frees. memalign takes a chunk with room to spare and frees what is in front and behind where that is large " +
		"enough, which may leave a chunk of two words. malloc(0) gives the least chunk, realloc to 0 frees. Chunks of 2^31 bytes fail. " +
		"A step is a free chunk that the search of malloc looks at, one passed on the way to the place of a chunk that is freed, " +
		"one passed on the second walk, to the last chunk, after the break was refused, or a merge of two chunks.\n\n" +
		"Versions 4.2.x corrupt the heap when memory runs out and are not modelled. " +
		"Locks, and other users of the break between two calls, are not modelled either.",
	Source: "newlib nano-mallocr.c, 3.3.0, 4.1.0 and 9dc06b7e (2026-01-10)",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "grow", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes up to which the break may rise"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "pointer width in bits: the size of a word"},
		{Key: "version", Kind: heapmodel.ParamVersion, Default: "4.5.0", Doc: "release of newlib; not 4.2"},
	},
	New: newHeap,
}

const (
	align    = 8       // of user pointers
	tooLarge = 1 << 31 // bytes of a chunk that malloc refuses
)

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	if !c.Before("version", 4, 2, 0) && c.Before("version", 4, 3, 0) {
		return nil, fmt.Errorf("version=%s is not modelled: it corrupts the heap when memory runs out", c.Text("version"))
	}
	h := &heap{
		splitHigh: c.Before("version", 4, 2, 0),
		keepsAll:  c.Before("version", 4, 0, 0),
		shift:     2, least: 3, beside: 2,
		limit: c.Bytes("grow"), head: blocks.None, end: blocks.None,
	}
	most := uint64(1) << 32
	if c.Text("ptr") == "64" {
		h.shift, h.least, h.beside = 3, 2, 1
		most = (1<<32 - 1) << h.shift
	}
	if least := h.bytes(h.least); h.limit < least {
		return nil, fmt.Errorf("grow=%s: needs at least %d bytes", c.Text("grow"), least)
	}
	if h.limit > most {
		return nil, fmt.Errorf("grow=%s: the most is %d bytes", c.Text("grow"), most)
	}
	h.pad = h.words(align) - 1
	h.free = fit.New(&h.t, fit.ByKey)
	return h, nil
}

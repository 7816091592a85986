// Package rustbuddy models the Heap of the Rust crate buddy_system_allocator:
// a binary buddy system whose free blocks lie on a stack for each power of two.
//
// Blocks have no header. A request is rounded up to a power of two, which is
// its class, and taken from the top of the lowest stack at or above it that is
// not empty. A larger block is halved until it fits; the lower part goes on,
// the upper halves go on their stacks:
//
//	class 6  [...............................]
//	class 5  [...............][pushed        ]
//	class 4  [given  ][pushed]
//
// A freed block is joined with its buddy, the block at its address XOR its
// size, as long as that is on the stack of the same class, and then pushed. So
// the order on the stacks decides addresses.
//
// The original looks for the buddy through the whole stack. Here it is one of
// the two neighbours of the freed block or it is nowhere, and the number of
// blocks the original would have looked at comes from a count of the blocks
// pushed after the buddy (see stack).
//
// Differs from upstream: nothing known. Locking and the rescue hook of
// LockedHeapWithRescue are not modelled, nor is adding more memory later.
package rustbuddy

import (
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Model is the catalog row of rust-buddy.
var Model = &heapmodel.Model{
	Name:   "rust-buddy",
	Family: "buddy",
	Title:  "Rust buddy_system_allocator: binary buddies on LIFO stacks",
	Doc: "Heap<32> of the crate: classes of 1 to 2^31 bytes, no headers. A block has the least power of two of bytes " +
		"that is no less than the request, its alignment and a word; a request of size 0 gets a word. The lowest " +
		"class with a free block serves it, halved as often as possible, and the lowest part is given out. " +
		"The arena starts at offset 0, taken as a multiple of every power of two, and is cut into the largest " +
		"powers of two that fit. Realloc allocates anew, copies and frees, as GlobalAlloc does by default. " +
		"A step is a class looked at by an allocation, a free block looked at in search of a buddy (from the newest " +
		"of the class on, all of them if the buddy is not there), or a merge.\n\n" +
		"Differs from upstream: nothing known; adding memory later and the rescue hook are not modelled.",
	Source: "buddy_system_allocator 0.11.0, rcore-os, commit 57ff1123 (2024-09-22)",
	Caps:   heapmodel.CapAlign,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes given to init, from an aligned start"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "pointer width in bits: the least block is a word"},
	},
	New: newHeap,
}

// order is the number of classes; class c has blocks of 2^c bytes.
const (
	order     = 32
	classMask = order - 1
)

// heap is a buddy heap. The granule of its table is a word.
type heap struct {
	t        blocks.Table // X: bytes requested of a used block, slot on the stack of a free one; Y: class
	first    blocks.ID
	wordLog2 uint32
	some     uint32 // bitmap of the classes whose stack is not empty
	stacks   [order]stack
	user     uint64 // sum of requested bytes
	use      heapmodel.Usage
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{wordLog2: 2}
	most := uint64(1<<32 - 1)
	if c.Text("ptr") == "64" {
		h.wordLog2 = 3
		most = (1<<32 - 1) << h.wordLog2
	}
	capacity := c.Bytes("capacity")
	switch word := uint64(1) << h.wordLog2; {
	case capacity < word:
		return nil, fmt.Errorf("capacity %d: needs at least %d bytes", capacity, word)
	case capacity > most:
		return nil, fmt.Errorf("capacity %d: the most is %d bytes", capacity, most)
	}
	words := uint32(capacity >> h.wordLog2)
	h.first = h.t.Region(0, words)
	h.use.Arena = capacity
	h.use.Free = uint64(words) << h.wordLog2
	h.use.Overhead = capacity - h.use.Free
	h.carve(words)
	return h, nil
}

// carve cuts the arena into powers of two, from its start on. As each is the
// largest that fits, the start of each is a multiple of its size.
func (h *heap) carve(words uint32) {
	id := h.first
	for words > 0 {
		log2 := min(uint32(bits.Len32(words))-1, order-1-h.wordLog2)
		size := uint32(1) << log2
		rest := blocks.None
		if words > size {
			rest = h.t.Split(id, size)
		}
		h.push(id, log2+h.wordLog2)
		h.use.FreeBlocks++
		words -= size
		id = rest
	}
}

// class returns the class of a request. It may be order or more, for a request
// that no heap serves.
func (h *heap) class(size uint64, align uint32) uint32 {
	bytes := max(size, 1) - 1
	if align > 1 {
		bytes |= uint64(align) - 1
	}
	return uint32(bits.Len64(bytes | (1<<(h.wordLog2&3) - 1)))
}

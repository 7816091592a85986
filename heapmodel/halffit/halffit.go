// Package halffit models half-fit, the first allocator of constant time: free
// blocks in one list for each power of two, and a request served from the first
// list whose every block surely fits.
//
//	list      4           5            6            7
//	sizes  [16, 32)    [32, 64)    [64, 128)   [128, 256) ...
//
// A block of s bytes is on list floor(log2 s). A block of r bytes is taken from
// list ceil(log2 r) or, if that is empty, from the next that is not, found in a
// bitmap. So a block that is large enough may lie on the list below and is
// passed over, which is what constant time costs.
//
// What the paper leaves open is settled like this:
//
//   - Lists are LIFO: what becomes free goes to the front, the front is taken.
//   - The low end of a block is used. What remains is split off if it is no
//     smaller than the smallest block.
//   - A freed block is joined with its free neighbours at once.
//   - A block of r bytes is the payload with its header, rounded up to the
//     alignment. Whether it is then cut out of a block of twice the size or
//     exactly fits, it has r bytes: sizes are not rounded to powers of two.
//   - A heap that grows raises its break by multiples of the quantum. What is
//     added extends a free last block, and there is as much of it as it takes
//     for that block to lie on a list that the search looks at. So a growing
//     heap finds no block that one of fixed size would not.
//   - An aligned request looks for a block with room for a gap before it. The
//     gap is nothing, or a block of its own.
package halffit

import (
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Model is the catalog row of half-fit.
var Model = &heapmodel.Model{
	Name:   "half-fit",
	Family: "segregated fits",
	Title:  "half-fit: a list for each power of two, and only lists whose every block fits",
	Doc: "A free block of s bytes is on list floor(log2 s); a block of r bytes comes from list ceil(log2 r) or the next that is not empty, " +
		"which a bitmap tells. Lists are LIFO. The low end is used and the rest split off; a freed block is joined with free neighbours " +
		"at once. A request of size 0 gets the smallest block. With a quantum the heap grows, at a break that rises by multiples of it, until " +
		"the last block is on a list that the search looks at. Aligned requests above the natural alignment search a block with room for a gap " +
		"before the payload, which becomes a free block. " +
		"A step is a look at the bitmap, a block taken from a list, or a block merged.\n\n" +
		"The exact rules are in the documentation of the package. A policy, not a model of one allocator.",
	Source: "Ogasawara, An Algorithm with Constant Execution Time for Dynamic Storage Allocation, RTCSA 1995, 21-25",
	Caps:   heapmodel.CapAlign | heapmodel.CapGrow,
	Params: slices.Concat([]heapmodel.Param{
		arena.Capacity(),
		{Key: "min", Kind: heapmodel.ParamBytes, Default: "0", Doc: "least bytes of a block, header included"},
	}, arena.Params("")),
	New: newHeap,
}

const (
	// mostGranules is the end of the largest arena.
	mostGranules = 1<<32 - 2
	lists        = 32
)

// heap is a half-fit heap. The lists are rings through X (next) and Y
// (previous), whose heads are the records with the ID of the list; list i has
// the blocks of 2^i granules and more.
type heap struct {
	arena.Config
	t     blocks.Table
	some  uint32    // bitmap of the lists that are not empty
	first blocks.ID // None: no memory
	last  blocks.ID // end node
	bound uint32    // no free block is larger, granules
	brk   uint64    // end of the arena, bytes
	use   heapmodel.Usage
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	if err := arena.Housekeeping(c, "min"); err != nil {
		return nil, err
	}
	h := &heap{first: blocks.None}
	var err error
	h.Config, err = arena.Read(c, "a block", func(g *arena.Config) uint64 {
		g.Least = max(g.Least, g.Up(c.Bytes("min")))
		return g.Least
	})
	if err != nil {
		return nil, err
	}
	blocks.Reserve(&h.t, lists)
	if h.Capacity > 0 {
		h.extend(h.Capacity)
	}
	return h, nil
}

// room returns the bytes of a free block in which a block of the given size
// finds a payload of the given alignment, wherever the block starts: the gap in
// front is nothing or a block of its own.
func (h *heap) room(block uint64, align uint32) uint64 {
	if uint64(align) <= h.Grain {
		return block
	}
	return block + uint64(align) + h.Least
}

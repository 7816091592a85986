// Package compacting is a heap that may move objects, but no more than a
// fraction 1/c of all bytes allocated so far: a c-partial compactor (Bendersky
// and Petrank). Between c=0, which never moves (address-ordered first fit), and
// c=1 it shows what how much moving is worth.
//
// Requests are served by address-ordered first fit with immediate coalescing.
// When no hole is large enough, and before the heap grows, one window of
// adjacent blocks is compacted: the objects in it slide down to its low end,
// and its holes become one at its high end:
//
//	[hole][a][hole][b][c][hole] -> [a][b][c][hole............]
//
// The window starts and ends with a hole, holds free bytes enough, and is the
// one with the fewest bytes of objects; of equal ones the lowest. If these bytes
// exceed what may still be moved, nothing moves. Objects with an alignment above
// that of the heap never move, so no window has one of them in it.
//
// The paper bounds what any such heap can achieve and gives a compactor for the
// worst case; the window above is what is chosen here, so that a request is
// served as cheaply as one window can. All bytes are those of blocks, headers
// and rounding in; the request that causes a compaction does not count as
// allocated yet.
package compacting

import (
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
)

// Model is the catalog row of compacting.
var Model = &heapmodel.Model{
	Name:   "compacting",
	Family: "reference",
	Title:  "first fit that may move 1/c of what was allocated: c-partial compaction",
	Doc: "Address-ordered first fit with immediate coalescing. When no hole is large enough, and before the heap grows, " +
		"objects move: of all runs of blocks between two holes that have free bytes enough together, the one with the fewest bytes " +
		"of objects is taken, the lowest of equal ones, and its objects slide down, which joins its holes. Nothing moves if these " +
		"bytes and those moved before exceed 1/c of the bytes allocated so far. c=0 never moves. " +
		"Objects with an alignment above the heap's never move. A realloc allocates anew and frees the old block. " +
		"Free blocks may be as small as the alignment. References stay valid when objects move; their addresses change. " +
		"A compaction costs O(blocks) and is tried only if enough bytes are free. A step is a hole visited by the search, " +
		"a block looked at for windows, or an object moved. The statistics give moved bytes, moves and compactions.",
	Source: "Bendersky and Petrank, Space overhead bounds for dynamic memory management with partial compaction, POPL 2011 (the limit; the rule of what moves is this model's own)",
	Caps:   heapmodel.CapAlign | heapmodel.CapGrow,
	Params: slices.Concat([]heapmodel.Param{
		arena.Capacity(),
		{Key: "c", Kind: heapmodel.ParamInt, Default: "10", Doc: "at most 1/c of all bytes allocated so far are moved; 0: none"},
	}, arena.Params("")),
	New: newHeap,
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	g, err := arena.Read(c, "a block", func(g *arena.Config) uint64 { return g.Least })
	if err != nil {
		return nil, err
	}
	h := &heap{c: uint64(c.Int("c"))}
	h.Init(g)
	if h.Capacity > 0 {
		h.Extend(h.Capacity)
	}
	return h, nil
}

// Package offline is the heap that knows the future: before the first request
// it is told the sizes and lifetimes of all, and plans an address for each of
// them. Packing with known lifetimes (dynamic storage allocation off line, or
// two-dimensional strip packing with one coordinate given) is NP-hard; what is
// here are good heuristics and a bounded search, with the lower bound beside
// them.
//
// A lifetime is a rectangle of time by address. Plans are made in these ways,
// the lowest is kept, and nothing more is tried once a plan is as low as the
// lower bound, the most bytes live at once. By number, as Native reports it:
//
//	1, 2    birth: in order of birth, as a heap that grows would: first fit, best fit
//	3, 4    reverse: the same against time, from the last death to the first birth
//	5       split: first fit with and against time, the short-lived kept above what
//	        the long-lived need; for six borders between short and long
//	6       size: the largest first, each at the lowest place (first fit) or in the
//	        smallest gap (best fit) that nothing placed before is in the way of
//	7       lifetime: the same, the longest-lived first
//	8       area: the same, the largest product of size and lifetime first
//	9       raise: from the best of these orders on, what ends above the lower
//	        bound is moved forward, and all are placed again, many times
//	10      search: branch and bound (see searcher)
//
// Ways 1 to 5 cost O(log live objects) a placement and are tried always; 6 to 9
// are quadratic and tried up to 20,000 placements (best fit: 6,000), 10 up to
// 3,000. The amount of work is bounded in steps, not in time, and pseudo-random
// numbers have fixed seeds: a plan depends on nothing but the lifetimes.
//
// Memory while planning is about 40 bytes a placement and 40 a live object,
// afterwards 4 a placement.
package offline

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
)

// Model is the catalog row of offline.
var Model = &heapmodel.Model{
	Name:   "offline",
	Family: "reference",
	Title:  "packing with known lifetimes: what a heap could do that knew the future",
	Doc: "Every object gets an address planned beforehand with the sizes and lifetimes of all known; nothing moves. " +
		"Several heuristics are tried and, up to 3,000 placements, a search by branch and bound; the lowest plan is kept. " +
		"The statistics give the lower bound (most bytes live at once, rounding in), what of it was proven to be out of reach, " +
		"the end of the plan, how many objects are left out of it, and the number of the heuristic that made it (1, 2 birth; 3, 4 reverse; 5 split; 6 size; " +
		"7 lifetime; 8 area; 9 raise; 10 search; see the package). " +
		"The arena ends with the highest object placed so far; with a capacity it has that size, and an object whose place " +
		"ends above it fails, as does one larger than the arena, which is left out of the plan. A realloc is a placement of its own, which may overlap the old one. " +
		"A call that is not what was planned, or whose place is taken since a failed realloc left an object where it was, " +
		"is served by first fit and counted. Without a plan the heap acts on line by address-ordered first fit, and realloc moves; " +
		"a step is a visited hole of that search, planned placements take none. " +
		"Without header and alignment, the default, no heap that does not move objects can need less than proven_bound_bytes; " +
		"planned_bytes is what the plan needs.",
	Source: "Gergov, Algorithms for compile-time memory optimization, SODA 1999 (the problem and its bounds); " +
		"Moffitt, MiniMalloc: a lightweight memory allocator for hardware-accelerated machine learning, ASPLOS 2023 (the search)",
	Caps: heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Doc: "bytes of arena; unset: it ends with the highest object so far"},
		{Key: "heuristic", Kind: heapmodel.ParamEnum, Default: "best", Enum: []string{"best", "birth", "reverse", "split", "size", "lifetime", "area"}, Doc: "how to plan; best: all ways, and the search"},
		{Key: "effort", Kind: heapmodel.ParamInt, Default: "300", Doc: "million steps that the search of heuristic=best may take"},
		{Key: "header", Kind: heapmodel.ParamBytes, Default: "0", Doc: "bytes in front of the payload"},
		{Key: "align", Kind: heapmodel.ParamBytes, Default: "1", Doc: "alignment of payloads and of block sizes, a power of two"},
	},
	New: newHeap,
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	if err := arena.Housekeeping(c, "header", "align"); err != nil {
		return nil, err
	}
	g := arena.Config{Header: c.Bytes("header"), Grain: c.Bytes("align")}
	if err := g.Lay(); err != nil {
		return nil, err
	}
	g.Least = g.Up(max(g.Header, 1)) // an object of no bytes has an address of its own
	h := &heap{fixed: c.Set("capacity"), heuristic: c.Text("heuristic"), effort: int64(c.Int("effort")) * 1e6}
	h.Init(g)
	if !h.fixed {
		return h, nil
	}
	capacity := c.Bytes("capacity")
	if least := h.Pad + h.Block(0); capacity < least {
		return nil, fmt.Errorf("capacity=%s: the least that holds a block is %d bytes", c.Text("capacity"), least)
	}
	if capacity > h.Reach() {
		return nil, fmt.Errorf("capacity=%s: the most with this alignment is %d bytes", c.Text("capacity"), h.Reach())
	}
	h.Extend(capacity)
	return h, nil
}

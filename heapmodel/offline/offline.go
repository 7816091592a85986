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
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
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

// config is what the parameters come to. Sizes are in bytes.
type config struct {
	header    uint64
	align     uint64
	pad       uint64 // every block starts at an address of pad modulo align
	shift     uint   // log2 align: granules are of align bytes, from pad on
	base      uint32 // granules from an address aligned to anything to the payload of a block at granule 0
	fixed     bool   // there is a capacity
	heuristic string
	effort    int64 // steps
}

// maxHousekeeping bounds header and align, so that sums never overflow.
const maxHousekeeping = 1 << 30

// reach is the number of granules that the block table can hold.
const reach = 1<<32 - 2

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{end: blocks.None}
	if err := h.config.read(c); err != nil {
		return nil, err
	}
	h.free = fit.New(&h.t, fit.ByKey)
	if !h.fixed {
		return h, nil
	}
	capacity := c.Bytes("capacity")
	if least := h.pad + h.bytes(h.block(0)); capacity < least {
		return nil, fmt.Errorf("capacity=%s: the least that holds a block is %d bytes", c.Text("capacity"), least)
	}
	if capacity > h.pad+h.bytes(reach) {
		return nil, fmt.Errorf("capacity=%s: the most with this alignment is %d bytes", c.Text("capacity"), h.pad+h.bytes(reach))
	}
	h.growTo((capacity - h.pad) >> h.shift)
	h.use.Arena = capacity
	h.use.Overhead = capacity - h.use.Free
	return h, nil
}

func (g *config) read(c heapmodel.Config) error {
	for _, key := range []string{"header", "align"} {
		if c.Bytes(key) > maxHousekeeping {
			return fmt.Errorf("%s=%s: the most is 1GiB", key, c.Text(key))
		}
	}
	g.header, g.align = c.Bytes("header"), c.Bytes("align")
	if g.align == 0 || g.align&(g.align-1) != 0 {
		return fmt.Errorf("align=%s is no power of two", c.Text("align"))
	}
	for g.shift = 0; 1<<g.shift < g.align; g.shift++ {
	}
	g.pad = (g.align - g.header%g.align) % g.align
	g.base = uint32((g.pad + g.header) >> g.shift)
	g.fixed = c.Set("capacity")
	g.heuristic = c.Text("heuristic")
	g.effort = int64(c.Int("effort")) * 1e6
	return nil
}

// bytes returns the bytes of so many granules.
func (g *config) bytes(granules uint64) uint64 { return granules << g.shift }

// block returns the granules of the block for a request of at most
// heapmodel.MaxSize bytes. An object of no bytes has an address of its own.
func (g *config) block(size uint64) uint64 {
	return (max(size+g.header, 1) + g.align - 1) >> g.shift
}

// mask returns the alignment of a request in granules, less one.
func (g *config) mask(align uint32) uint64 {
	if uint64(align) <= g.align {
		return 0
	}
	return uint64(align)>>g.shift - 1
}

// up rounds a position in granules up to where a payload is aligned.
func (g *config) up(pos, mask uint64) uint64 {
	return (pos+uint64(g.base)+mask)&^mask - uint64(g.base)
}

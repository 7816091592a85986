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
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
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
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Doc: "bytes of arena at the start; with a quantum the default is 0"},
		{Key: "c", Kind: heapmodel.ParamInt, Default: "10", Doc: "at most 1/c of all bytes allocated so far are moved; 0: none"},
		{Key: "header", Kind: heapmodel.ParamBytes, Doc: "bytes in front of the payload; default: a word"},
		{Key: "align", Kind: heapmodel.ParamBytes, Doc: "alignment of payloads and of block sizes, a power of two; default: two words"},
		{Key: "quantum", Kind: heapmodel.ParamBytes, Doc: "the heap grows by multiples of this many bytes"},
		{Key: "grow", Kind: heapmodel.ParamBytes, Doc: "limit of a growing arena in bytes; a quantum of 4KiB if none is given"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"16", "32", "64"}, Doc: "pointer width in bits: the size of a word"},
	},
	New: newHeap,
}

// config is what the parameters come to. Sizes are in bytes.
type config struct {
	c       uint64
	header  uint64
	align   uint64
	pad     uint64 // every block starts at an address of pad modulo align
	shift   uint   // log2 align: granules are of align bytes, from pad on
	base    uint64 // granules from an address aligned to anything to the payload of a block at granule 0
	quantum uint64 // zero: the heap does not grow
	limit   uint64 // of a growing arena
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
	capacity, most := c.Bytes("capacity"), h.pad+h.bytes(reach)
	if h.quantum == 0 && !c.Set("capacity") {
		return nil, errors.New("a heap of fixed size needs a capacity, a growing one a quantum")
	}
	if least := h.pad + h.bytes(h.block(0)); capacity < least && (h.quantum == 0 || capacity > 0) {
		return nil, fmt.Errorf("capacity=%s: the least that holds a block is %d bytes", c.Text("capacity"), least)
	}
	if capacity > most {
		return nil, fmt.Errorf("capacity=%s: the most with this alignment is %d bytes", c.Text("capacity"), most)
	}
	if h.quantum > 0 && capacity > h.limit {
		return nil, fmt.Errorf("capacity=%s is above the limit of growth of %d bytes", c.Text("capacity"), h.limit)
	}
	if capacity > 0 {
		h.growTo(capacity)
	}
	return h, nil
}

func (g *config) read(c heapmodel.Config) error {
	word := map[string]uint64{"16": 2, "32": 4, "64": 8}[c.Text("ptr")]
	g.c, g.header, g.align = uint64(c.Int("c")), word, 2*word
	if c.Set("header") {
		g.header = c.Bytes("header")
	}
	if c.Set("align") {
		g.align = c.Bytes("align")
	}
	if g.header > maxHousekeeping || g.align > maxHousekeeping {
		return errors.New("header and align: the most is 1GiB")
	}
	if g.align == 0 || g.align&(g.align-1) != 0 {
		return fmt.Errorf("align=%s is no power of two", c.Text("align"))
	}
	for g.shift = 0; 1<<g.shift < g.align; g.shift++ {
	}
	g.pad = (g.align - g.header%g.align) % g.align
	g.base = (g.pad + g.header) >> g.shift
	g.limit = g.pad + g.bytes(reach)
	if c.Set("grow") {
		g.quantum = 4 << 10
		g.limit = min(g.limit, c.Bytes("grow"))
	}
	if c.Set("quantum") {
		if g.quantum = c.Bytes("quantum"); g.quantum == 0 || g.quantum > heapmodel.MaxSize {
			return fmt.Errorf("quantum=%s is out of range", c.Text("quantum"))
		}
	}
	return nil
}

// bytes returns the bytes of so many granules.
func (g *config) bytes(granules uint64) uint64 { return granules << g.shift }

// block returns the granules of the block for a request of at most
// heapmodel.MaxSize bytes.
func (g *config) block(size uint64) uint64 {
	return (max(size+g.header, g.header+1) + g.align - 1) >> g.shift
}

// mask returns the alignment of a request in granules, less one.
func (g *config) mask(align uint32) uint64 {
	if uint64(align) <= g.align {
		return 0
	}
	return uint64(align)>>g.shift - 1
}

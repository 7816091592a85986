// Package sequential models the classic free-list heap as a family: one list of
// free blocks that is searched by first, best, next or worst fit. Order of the
// list, coalescing, splitting, headers, alignment and growth are parameters, so
// that one model covers the sequential fits the literature compares.
//
// Blocks fill the arena without gaps:
//
//	[header][guard][payload, rounded up][guard][footer]
//
// The list is never walked. An index (package fit) holds the free blocks in the
// order of the list, or for best fit by size and then in that order, and finds
// in O(log free blocks) the block the walk would have found and the number of
// blocks it would have visited. The plain list is the oracle of the tests.
//
// What the list does, exactly:
//
//   - A block that becomes free goes to its place by address, to the front
//     (LIFO) or to the back (FIFO).
//   - What remains of a split block takes the place of the block it was cut
//     from.
//   - Immediate coalescing takes free neighbours off the list before the freed
//     block, joined with them, goes on it.
//   - Deferred coalescing joins, when it is triggered, every run of adjacent
//     free blocks, in address order; the joined block has the place of the
//     lowest of them.
//   - Memory obtained at the break is a freed block: unless coalescing is off,
//     it joins a free last block.
//   - Next fit searches from the rover to the end of the list and then from its
//     start. After an allocation the rover is at the remainder, or without one
//     at the block behind the one that was taken. A block that leaves the list
//     otherwise hands the rover on: to the block it is joined with in an
//     address-ordered list, to the next in list order in the others; behind the
//     last block the rover is at the start again.
//   - Of equally large blocks best and worst fit take the first in list order.
package sequential

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the catalog row of sequential.
var Model = &heapmodel.Model{
	Name:   "sequential",
	Family: "sequential fits",
	Title:  "one free list: first, best, next or worst fit, with all the classic options",
	Doc: "A list of free blocks, searched by first, best, next or worst fit and kept by address, LIFO or FIFO; " +
		"coalescing at once, deferred or never; a block is split when at least the threshold remains. " +
		"With a quantum the heap grows when no block fits: at a break that rises by multiples of the quantum and " +
		"extends a free last block, or by separate chunks of multiples of the quantum that no block may span. " +
		"A request of size 0 gets the smallest block. Aligned requests above the natural alignment search a block " +
		"with room for any gap before the payload; the gap is always at the low end and becomes a free block in the " +
		"place of the block taken, and what remains above is freed like any other block. " +
		"A step is a visited list node: of the search, and of the walk to a block's place in an address-ordered list. " +
		"Best and worst fit visit every node. Steps of coalescing count one a joined block.\n\n" +
		"The exact rules of the list are in the documentation of the package. A policy, not a model of one allocator.",
	Source: "Knuth, TAOCP 1, section 2.5; Wilson, Johnstone, Neely and Boles, Dynamic Storage Allocation: A Survey and Critical Review, 1995",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Doc: "bytes of arena at the start; with a quantum the default is 0"},
		{Key: "fit", Kind: heapmodel.ParamEnum, Default: "first", Enum: []string{"first", "best", "next", "worst"}, Doc: "which free block is taken"},
		{Key: "order", Kind: heapmodel.ParamEnum, Default: "address", Enum: []string{"address", "lifo", "fifo"}, Doc: "order of the free list"},
		{Key: "coalesce", Kind: heapmodel.ParamEnum, Default: "immediate", Enum: []string{"immediate", "deferred", "never"}, Doc: "when free neighbours are joined; deferred: when no block fits, and every so many frees"},
		{Key: "every", Kind: heapmodel.ParamInt, Default: "0", Doc: "deferred coalescing also after this many frees; 0: only when no block fits"},
		{Key: "split", Kind: heapmodel.ParamEnum, Default: "low", Enum: []string{"low", "high"}, Doc: "which end of a split block is given to the request"},
		{Key: "threshold", Kind: heapmodel.ParamBytes, Doc: "smallest remainder that is split off, in bytes; default: the smallest block"},
		{Key: "min", Kind: heapmodel.ParamBytes, Default: "0", Doc: "least bytes of a block, header included"},
		{Key: "header", Kind: heapmodel.ParamBytes, Doc: "bytes in front of the payload; default: a word"},
		{Key: "footer", Kind: heapmodel.ParamBytes, Default: "0", Doc: "bytes behind the payload"},
		{Key: "guard", Kind: heapmodel.ParamBytes, Default: "0", Doc: "guard bytes on both sides of the payload"},
		{Key: "align", Kind: heapmodel.ParamBytes, Doc: "alignment of payloads and of block sizes, a power of two; default: two words"},
		{Key: "realloc", Kind: heapmodel.ParamEnum, Default: "move", Enum: []string{"move", "inplace"}, Doc: "realloc always moves, or shrinks in place and grows into a free upper neighbour"},
		{Key: "quantum", Kind: heapmodel.ParamBytes, Doc: "the heap grows by multiples of this many bytes"},
		{Key: "grow", Kind: heapmodel.ParamBytes, Doc: "limit of a growing arena in bytes; a quantum of 4KiB if none is given"},
		{Key: "growth", Kind: heapmodel.ParamEnum, Default: "contiguous", Enum: []string{"contiguous", "chunks"}, Doc: "how it grows: at a break that rises, or by chunks that no block spans"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"16", "32", "64"}, Doc: "pointer width in bits: the size of a word"},
	},
	New: newHeap,
}

// Values of the parameters that the code branches on.
type (
	fitPolicy uint8
	listOrder uint8
	coalesce  uint8
)

const (
	firstFit fitPolicy = iota
	bestFit
	nextFit
	worstFit
)

const (
	byAddress listOrder = iota
	lifo
	fifo
)

const (
	immediate coalesce = iota
	deferred
	never
)

// config is what the parameters come to. Sizes are in bytes.
type config struct {
	fit       fitPolicy
	order     listOrder
	coalesce  coalesce
	every     uint64
	splitHigh bool
	inPlace   bool
	chunks    bool

	front     uint64 // header and guard in front of the payload
	extra     uint64 // all bytes of a block beside the payload
	align     uint64
	least     uint64 // smallest block
	threshold uint64
	quantum   uint64 // zero: the heap does not grow
	limit     uint64 // of a growing arena
	pad       uint64 // every block starts at an address of pad modulo align
	shift     uint   // log2 align: addresses in the table are (address - pad) >> shift
}

// maxHousekeeping bounds header, footer, guard, min, threshold and align, so
// that sums of them never overflow.
const maxHousekeeping = 1 << 30

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{}
	if err := h.config.read(c); err != nil {
		return nil, err
	}
	order := fit.ByKey
	if h.fit == bestFit {
		order = fit.BySize
	}
	h.free = fit.New(&h.t, order)
	h.rover = blocks.None
	h.key = 1 << 31
	capacity := c.Bytes("capacity")
	if h.quantum == 0 && !c.Set("capacity") {
		return nil, fmt.Errorf("a heap of fixed size needs a capacity, a growing one a quantum")
	}
	if least := h.pad + h.least; capacity < least && (h.quantum == 0 || capacity > 0) {
		return nil, fmt.Errorf("capacity=%s: the least that holds a block is %d bytes", c.Text("capacity"), least)
	}
	if capacity > h.reach() {
		return nil, fmt.Errorf("capacity=%s: the most with this alignment is %d bytes", c.Text("capacity"), h.reach())
	}
	if h.quantum > 0 && capacity > h.limit {
		return nil, fmt.Errorf("capacity=%s is above the limit of growth of %d bytes", c.Text("capacity"), h.limit)
	}
	if capacity > 0 {
		h.addRegion(capacity)
	}
	return h, nil
}

func (g *config) read(c heapmodel.Config) error {
	g.fit = map[string]fitPolicy{"first": firstFit, "best": bestFit, "next": nextFit, "worst": worstFit}[c.Text("fit")]
	g.order = map[string]listOrder{"address": byAddress, "lifo": lifo, "fifo": fifo}[c.Text("order")]
	g.coalesce = map[string]coalesce{"immediate": immediate, "deferred": deferred, "never": never}[c.Text("coalesce")]
	g.every = uint64(c.Int("every"))
	g.splitHigh = c.Text("split") == "high"
	g.inPlace = c.Text("realloc") == "inplace"
	g.chunks = c.Text("growth") == "chunks"
	if g.every > 0 && g.coalesce != deferred {
		return fmt.Errorf("every=%d goes with coalesce=deferred", g.every)
	}
	word := map[string]uint64{"16": 2, "32": 4, "64": 8}[c.Text("ptr")]
	header, align := word, 2*word
	if c.Set("header") {
		header = c.Bytes("header")
	}
	if c.Set("align") {
		align = c.Bytes("align")
	}
	for _, key := range []string{"header", "footer", "guard", "align", "min", "threshold"} {
		if c.Bytes(key) > maxHousekeeping {
			return fmt.Errorf("%s=%s: the most is 1GiB", key, c.Text(key))
		}
	}
	if align == 0 || align&(align-1) != 0 {
		return fmt.Errorf("align=%s is no power of two", c.Text("align"))
	}
	g.align = align
	for g.shift = 0; 1<<g.shift < align; g.shift++ {
	}
	g.front = header + c.Bytes("guard")
	g.extra = g.front + c.Bytes("guard") + c.Bytes("footer")
	g.pad = (align - g.front%align) % align
	g.least = max(g.up(g.extra+1), g.up(c.Bytes("min")))
	g.threshold = g.least
	if c.Set("threshold") {
		g.threshold = max(g.least, g.up(c.Bytes("threshold")))
	}
	return g.readGrowth(c)
}

func (g *config) readGrowth(c heapmodel.Config) error {
	g.limit = g.reach()
	if c.Set("grow") {
		g.quantum = 4 << 10
		g.limit = min(g.limit, c.Bytes("grow"))
	}
	if c.Set("quantum") {
		g.quantum = c.Bytes("quantum")
		if g.quantum == 0 || g.quantum > heapmodel.MaxSize {
			return fmt.Errorf("quantum=%s is out of range", c.Text("quantum"))
		}
	}
	return nil
}

// up rounds bytes up to the alignment.
func (g *config) up(bytes uint64) uint64 { return (bytes + g.align - 1) &^ (g.align - 1) }

// reach is the largest address range that the block table can hold.
func (g *config) reach() uint64 { return (1<<32 - 2) << g.shift }

// block returns the bytes of the block for a request, which is at most
// heapmodel.MaxSize.
func (g *config) block(size uint64) uint64 { return max(g.least, g.up(size+g.extra)) }

// aligned returns the bytes of a free block in which a block of the given size
// finds a payload of the given alignment, wherever the block starts: the gap in
// front is nothing or a block of its own.
func (g *config) aligned(block uint64, align uint32) uint64 {
	if uint64(align) <= g.align {
		return block
	}
	return block + uint64(align) + g.least
}

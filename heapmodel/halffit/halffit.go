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
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
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
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Doc: "bytes of arena at the start; with a quantum the default is 0"},
		{Key: "min", Kind: heapmodel.ParamBytes, Default: "0", Doc: "least bytes of a block, header included"},
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
	front   uint64 // header
	align   uint64
	least   uint64 // smallest block
	pad     uint64 // every block starts at an address of pad modulo align
	shift   uint   // log2 align: addresses in the table are (address - pad) >> shift
	quantum uint64 // zero: the heap does not grow
	limit   uint64 // of a growing arena
}

const (
	// maxHousekeeping bounds header, min and align, so that sums of them never
	// overflow.
	maxHousekeeping = 1 << 30
	// mostGranules is the end of the largest arena.
	mostGranules = 1<<32 - 2
	lists        = 32
)

// heap is a half-fit heap. The lists are rings through X (next) and Y
// (previous), whose heads are the records with the ID of the list; list i has
// the blocks of 2^i granules and more.
type heap struct {
	config
	t     blocks.Table
	some  uint32    // bitmap of the lists that are not empty
	first blocks.ID // None: no memory
	last  blocks.ID // end node
	bound uint32    // no free block is larger, granules
	brk   uint64    // end of the arena, bytes
	use   heapmodel.Usage
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{first: blocks.None}
	if err := h.config.read(c); err != nil {
		return nil, err
	}
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
	h.t.Reserve(lists)
	if capacity > 0 {
		h.extend(capacity)
	}
	return h, nil
}

func (g *config) read(c heapmodel.Config) error {
	word := map[string]uint64{"16": 2, "32": 4, "64": 8}[c.Text("ptr")]
	g.front, g.align = word, 2*word
	if c.Set("header") {
		g.front = c.Bytes("header")
	}
	if c.Set("align") {
		g.align = c.Bytes("align")
	}
	for _, key := range []string{"header", "align", "min"} {
		if c.Bytes(key) > maxHousekeeping {
			return fmt.Errorf("%s=%s: the most is 1GiB", key, c.Text(key))
		}
	}
	if g.align == 0 || g.align&(g.align-1) != 0 {
		return fmt.Errorf("align=%s is no power of two", c.Text("align"))
	}
	g.shift = uint(bits.TrailingZeros64(g.align))
	g.pad = (g.align - g.front%g.align) % g.align
	g.least = g.up(max(g.front+1, c.Bytes("min")))
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
func (g *config) reach() uint64 { return mostGranules << g.shift }

// block returns the bytes of the block for a request, which is at most
// heapmodel.MaxSize.
func (g *config) block(size uint64) uint64 { return max(g.least, g.up(size+g.front)) }

// room returns the bytes of a free block in which a block of the given size
// finds a payload of the given alignment, wherever the block starts: the gap in
// front is nothing or a block of its own.
func (g *config) room(block uint64, align uint32) uint64 {
	if uint64(align) <= g.align {
		return block
	}
	return block + uint64(align) + g.least
}

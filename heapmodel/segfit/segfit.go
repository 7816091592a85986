// Package segfit models segregated fits: one arena whose blocks are split and
// joined at once, and a list of free blocks for each range of sizes. A request
// looks through the list of the class that its size falls in, then takes from
// the first higher class that has a block, where every one is large enough.
//
//	class  [32, 48)  [48, 64)  [64, 96)  ...
//	        |                   |
//	       [40]->[32]          [72]->[64]->[88]
//
// What the literature leaves open is decided so:
//
//   - A class is the blocks of at least its own size and less than the next
//     class's, header included. Classes are 2^N bytes, or four steps of a
//     quarter for each doubling, or a list, whose first class also has all
//     smaller blocks and whose last all larger ones. Classes that no size
//     of a block falls in are left out.
//   - Requests are rounded up to the alignment, not to their class.
//   - Within a class the first block of the list that fits is taken, or the best:
//     the smallest that fits, and of equally large ones the first of the list.
//   - A freed block is joined with its free neighbours, which leave their lists,
//     and the joined block goes to the front (LIFO), to the back (FIFO) or to its
//     place by address in the list of its class.
//   - The low end of a block serves the request. What remains, if it is at least
//     the threshold, goes on the list of its class as if it were freed.
//   - If no block fits, a growing heap raises its break by the multiple of the
//     quantum that does; the new memory is a freed block.
//
// Lists are never walked: each is an index (package fit) that knows the block a
// walk would have found and how many it would have passed.
package segfit

import (
	"fmt"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Model is the catalog row of segregated-fit.
var Model = &heapmodel.Model{
	Name:   "segregated-fit",
	Family: "segregated fits",
	Title:  "free lists by size class over one coalescing arena",
	Doc: "Free blocks are on lists by ranges of sizes. A request looks through the list of its own class by first or best fit and, " +
		"if none of it fits, takes the first or best block of the next higher class that has one. Blocks are split when at least the threshold remains and joined with " +
		"free neighbours at once. With a quantum the heap grows when no block fits, at a break that rises by multiples of " +
		"the quantum and extends a free last block. A request of size 0 gets the smallest block. Aligned requests above the " +
		"natural alignment search a block with room for any gap before the payload; the gap is always at the low end and goes " +
		"on the list of its class, then what remains above. Realloc moves, or shrinks in place and grows into a free upper " +
		"neighbour. " +
		"A step is a class looked at, empty or not, a visited list node, of the search and of the walk to a block's place in " +
		"an address-ordered list, and a block joined. Best fit visits every node of a class it looks through, and for it no " +
		"list needs an order, so that putting a block on one takes no steps.\n\n" +
		"All rules are in the documentation of the package. A policy, not a model of one allocator.",
	Source: "Wilson, Johnstone, Neely and Boles, Dynamic Storage Allocation: A Survey and Critical Review, 1995, section 3.6 (segregated fits); " +
		"Standish, Data Structure Techniques, 1980, section 6.2",
	Caps: heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: slices.Concat([]heapmodel.Param{
		arena.Capacity(),
		{Key: "classes", Kind: heapmodel.ParamText, Default: "pow2", Doc: "lower bounds of the classes: pow2 (2^N), quarter (four per doubling), or a list as 16+32+48 in bytes, header included"},
		{Key: "fit", Kind: heapmodel.ParamEnum, Default: "first", Enum: []string{"first", "best"}, Doc: "which block of a class is taken"},
		{Key: "order", Kind: heapmodel.ParamEnum, Default: "lifo", Enum: []string{"lifo", "fifo", "address"}, Doc: "order of the free list of a class"},
		{Key: "threshold", Kind: heapmodel.ParamBytes, Doc: "smallest remainder that is split off, in bytes; default: the smallest block"},
		{Key: "min", Kind: heapmodel.ParamBytes, Default: "0", Doc: "least bytes of a block, header included"},
		{Key: "realloc", Kind: heapmodel.ParamEnum, Default: "move", Enum: []string{"move", "inplace"}, Doc: "realloc always moves, or shrinks in place and grows into a free upper neighbour"},
	}, arena.Params("")),
	New: newHeap,
}

// Values of the parameter order.
type listOrder uint8

const (
	lifo listOrder = iota
	fifo
	byAddress
)

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{best: c.Text("fit") == "best", inPlace: c.Text("realloc") == "inplace", key: middle}
	h.order = map[string]listOrder{"lifo": lifo, "fifo": fifo, "address": byAddress}[c.Text("order")]
	if err := arena.Housekeeping(c, "min", "threshold"); err != nil {
		return nil, err
	}
	var err error
	h.Config, err = arena.Read(c, "a block", func(g *arena.Config) uint64 {
		g.Least = max(g.Least, g.Up(c.Bytes("min")))
		return g.Least
	})
	if err != nil {
		return nil, err
	}
	h.threshold = max(h.Least, h.Up(c.Bytes("threshold")))
	if err := h.readClasses(c.Text("classes")); err != nil {
		return nil, fmt.Errorf("classes=%s: %w", c.Text("classes"), err)
	}
	h.lists = make([]*fit.SlimIndex, len(h.bounds))
	h.filled = make([]uint64, (len(h.bounds)+63)/64)
	h.end = blocks.None
	if h.Capacity > 0 {
		h.obtain(h.Capacity)
	}
	return h, nil
}

// readClasses makes the table of lower bounds of classes, in granules: the
// first is zero.
func (h *heap) readClasses(text string) error {
	reach := h.Top(h.Reach())
	add := func(bytes uint64) {
		// Blocks are of whole granules, so a class begins with the next one.
		granules := h.Up(bytes) >> h.Shift
		last := h.bounds[len(h.bounds)-1]
		if bytes > h.Least && granules <= uint64(reach) && granules > uint64(last) {
			h.bounds = append(h.bounds, uint32(granules))
		}
	}
	h.bounds = []uint32{0}
	switch text {
	case "pow2", "quarter":
		for log2 := range 63 {
			size := uint64(1) << log2
			add(size)
			for quarter := uint64(1); quarter < 4 && text == "quarter" && log2 >= 2; quarter++ {
				add(size + quarter<<(log2-2))
			}
		}
		return nil
	}
	sizes, err := arena.Sizes(text)
	if err != nil {
		return fmt.Errorf("want pow2, quarter or SIZE+SIZE...: %w", err)
	}
	for _, size := range sizes[1:] { // the first class has all smaller blocks
		add(size)
	}
	return nil
}

// heap is the model. Addresses and sizes in its tables are granules of Grain
// bytes. A Ref is the ID of a block.
type heap struct {
	arena.Config
	order     listOrder
	best      bool
	inPlace   bool
	threshold uint64

	t      blocks.SlimTable
	first  blocks.ID        // lowest block
	end    blocks.ID        // end node; None before there is any memory
	bounds []uint32         // lower bounds of the classes
	lists  []*fit.SlimIndex // by class; nil if the class never had a block
	filled []uint64         // bitmap of the classes that have blocks
	key    uint32           // number of the block put on a LIFO or FIFO list last
	brk    uint64           // end of the arena in bytes
	use    heapmodel.Usage
}

// middle is where the numbers of LIFO and FIFO lists begin.
const middle = 1 << 31

// Package buddy models the buddy systems of the literature: binary, Fibonacci,
// weighted and double. All of them give out blocks of a few sizes only, split a
// block into two buddies of smaller sizes, and join two free buddies again.
//
//	binary      1 2 4 8 16 ...     2k -> k + k
//	fibonacci   1 2 3 5 8 ...      F(k) -> F(k-1) + F(k-2)
//	weighted    1 2 3 4 6 8 ...    4k -> 3k + k, 3k -> 2k + k
//	double      1 2 4 8 ..., 3 6 12 ...     two binary systems
//
// Sizes are multiples of the smallest block, the unit, a power of two of bytes.
//
// What the papers leave open, or disagree on, is settled like this:
//
//   - A request gets a block of the smallest size that holds it with its
//     header. It comes from the list of that size or, if that is empty, of the
//     next larger size that is not. The block is split as long as one part is
//     large enough; of two parts that are, the smaller goes on, of two halves
//     the low one. The other part goes on its list.
//   - The larger part lies low.
//   - The two smallest sizes of the Fibonacci and the weighted system are not
//     split: a request for 1 that finds only a 2 gets that.
//   - There is a list for each size, in the order LIFO: what becomes free goes
//     to the front, and the front is taken. FIFO and address order are options.
//   - A freed block is joined with its buddy at once, and the joined block with
//     its buddy, as long as that is free and whole.
//   - The arena is the low end of an endless tree of blocks. Its memory is cut
//     into the largest blocks of that tree that fit, from the low end up: a
//     capacity of 13 units is 8 + 4 + 1 in a binary system, 13 in a Fibonacci
//     system. What is left at the end and holds no block, for want of a size or
//     of a unit, is overhead.
//   - A growing arena is the same arena with an end that rises by multiples of
//     the quantum. The memory added is cut like that, and each block is freed,
//     so it joins what is free below. A request that finds no block raises the
//     end by the fewest quanta with which it does. As blocks of a size lie only
//     where the tree has them, that can be far more than the size; what is
//     passed over on the way is free memory of the heap.
//   - A buddy that would end beyond the arena is not looked at.
//   - The double system has two trees, one of 2^r, one of 3 x 2^r units. Both
//     begin at the same address, and no memory belongs to both. Of an arena of
//     fixed size the tree of threes gets the lower half. Growth gives new memory
//     to the tree that a request found empty, but for one or two units up to a
//     multiple of three, which go to the other; one or two units left over at
//     the end wait for the next growth. A request is rounded up to the nearest
//     size of either tree and served by that tree only; with spill=true the
//     other tree serves it, with its next larger size, before the heap grows or
//     fails.
//   - An aligned request gets, from the binary system and from the powers of two
//     of the double one, a block no smaller than the alignment, which lies at a
//     multiple of it. The other systems give it a block in which it finds an
//     aligned place wherever the block lies.
//
// How the original finds a buddy does not matter for what it answers; see
// system for how it is found here.
package buddy

import (
	"math/bits"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

const (
	rules = "The request with its header is rounded up to a size; the smallest free block that is no smaller is split down to it, " +
		"and a freed block is joined with its buddy as long as that is free. A capacity is cut into the largest blocks that fit. " +
		"With a quantum the end of the arena rises until there is a block for the request, and the new memory is freed. "
	stepRule = "A step is a free list looked at, from the size wanted up to the first that has a block or up to the largest size the arena " +
		"can hold, a buddy looked at, a merge, or in address order a block passed on the way to a place in the list.\n\n" +
		"The exact rules are in the documentation of the package. A policy, not a model of one allocator."
)

// Binary is the catalog row of the binary buddy system.
var Binary = &heapmodel.Model{
	Name:   "binary-buddy",
	Family: "buddy",
	Title:  "binary buddy system: powers of two, split into halves",
	Doc:    "Blocks of 2^k units, split into halves. " + rules + stepRule,
	Source: "Knowlton, A Fast Storage Allocator, CACM 8(10), 1965, 623-625; Knuth, TAOCP 1, section 2.5, algorithms R and S",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: params,
	New:    func(c heapmodel.Config) (heapmodel.Heap, error) { return newHeap(c, binary()) },
}

// Fibonacci is the catalog row of the Fibonacci buddy system.
var Fibonacci = &heapmodel.Model{
	Name:   "fibonacci-buddy",
	Family: "buddy",
	Title:  "Fibonacci buddy system: a block is split into the two sizes below",
	Doc: "Blocks of 1, 2, 3, 5, 8 ... units; each but the first two is split into the two sizes before it, the larger at the low end, " +
		"and the smaller is used if it is large enough. " + rules + stepRule,
	Source: "Hirschberg, A Class of Dynamic Memory Allocation Algorithms, CACM 16(10), 1973, 615-618; " +
		"Cranston and Thomas, A Simplified Recombination Scheme for the Fibonacci Buddy System, CACM 18(6), 1975, 331-332",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: params,
	New:    func(c heapmodel.Config) (heapmodel.Heap, error) { return newHeap(c, fibonacci()) },
}

// Weighted is the catalog row of the weighted buddy system.
var Weighted = &heapmodel.Model{
	Name:   "weighted-buddy",
	Family: "buddy",
	Title:  "weighted buddy system: 2^k and 3 x 2^k, four into three and one, three into two and one",
	Doc: "Blocks of 2^k and 3 x 2^k units; 4 x 2^k is split into 3 x 2^k and 2^k, 3 x 2^k into 2 x 2^k and 2^k, the larger at the low end, " +
		"and the smaller is used if it is large enough. Blocks of 1 and 2 units are not split. " + rules + stepRule,
	Source: "Shen and Peterson, A Weighted Buddy Method for Dynamic Storage Allocation, CACM 17(10), 1974, 558-562; " +
		"Peterson and Norman, Buddy Systems, CACM 20(6), 1977, 421-431",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: params,
	New:    func(c heapmodel.Config) (heapmodel.Heap, error) { return newHeap(c, weighted()) },
}

// Double is the catalog row of the double buddy system.
var Double = &heapmodel.Model{
	Name:   "double-buddy",
	Family: "buddy",
	Title:  "double buddy system: two binary systems, 2^k and 3 x 2^k, that share no memory",
	Doc: "Two binary buddy systems, of 2^k and of 3 x 2^k units. A request is rounded up to the nearest size of either and served by that one. " +
		"Of a fixed capacity the system of threes has the lower half; memory that a growing heap obtains belongs to the system that needed it. " +
		rules + stepRule,
	Source: "Wise, The Double Buddy System, Indiana University, technical report 79, 1978; Page and Hagins, Improving the Performance of Buddy Systems, " +
		"IEEE Transactions on Computers 35(5), 1986, 441-447; as Johnstone and Wilson, The Memory Fragmentation Problem: Solved?, ISMM 1998, 26-36, have it",
	Caps: heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: append(params[:len(params):len(params)],
		heapmodel.Param{Key: "spill", Kind: heapmodel.ParamBool, Default: "false", Doc: "whether the other system serves a request before the heap grows or fails"}),
	New: func(c heapmodel.Config) (heapmodel.Heap, error) { return newHeap(c, double()) },
}

var params = slices.Concat([]heapmodel.Param{
	arena.Capacity(),
	{Key: "order", Kind: heapmodel.ParamEnum, Default: "lifo", Enum: []string{"lifo", "fifo", "address"}, Doc: "which block of a size is taken: freed last, freed first, or lowest"},
	{Key: "min", Kind: heapmodel.ParamBytes, Default: "0", Doc: "least bytes of a block, header included; rounded up to a power of two, which is the unit of all sizes"},
	{Key: "realloc", Kind: heapmodel.ParamEnum, Default: "move", Enum: []string{"move", "inplace"}, Doc: "realloc always moves, or stays if the new size gets a block of the same size"},
}, arena.Params(""))

// order is the order of the free lists.
type order uint8

const (
	lifo order = iota
	fifo
	byAddress
)

// heap is a buddy heap. The granule of its table is the unit.
type heap struct {
	arena.Config
	order   order
	inPlace bool
	spill   bool

	sys   *system
	t     blocks.Table // Y of a used block: bytes from its start to the payload
	tags  []tag        // by block
	some  uint64       // bitmap of the classes whose list is not empty
	fits  uint64       // bitmap of the classes whose size the arena can hold
	first blocks.ID    // None: no memory
	last  blocks.ID    // end node
	end   uint64       // of the last block, in units
	brk   uint64       // end of the arena, bytes
	use   heapmodel.Usage

	// The lists of an address-ordered heap are indexes by address, made when they
	// are needed; else they are rings through X (next) and Y (previous) whose
	// heads are the records with the ID of the class.
	index [lists]*fit.Index
}

func newHeap(c heapmodel.Config, s *system) (heapmodel.Heap, error) {
	h := &heap{sys: s, first: blocks.None, inPlace: c.Text("realloc") == "inplace"}
	h.order = map[string]order{"lifo": lifo, "fifo": fifo, "address": byAddress}[c.Text("order")]
	h.spill = s.trees == 2 && c.Bool("spill")
	if err := arena.Housekeeping(c, "min"); err != nil {
		return nil, err
	}
	var err error
	h.Config, err = arena.Read(c, "a block", func(g *arena.Config) uint64 {
		g.Shift = uint(bits.Len64(max(c.Bytes("min"), g.Header+1, g.Grain) - 1))
		// The lowest block of the tree may be one that is not split.
		smallest := s.root[0]
		for s.low[smallest] != none {
			smallest = s.low[smallest]
		}
		return s.size[smallest] << g.Shift
	})
	if err != nil {
		return nil, err
	}
	blocks.Reserve(&h.t, lists)
	if h.Capacity > 0 {
		h.start(h.Capacity)
	}
	return h, nil
}

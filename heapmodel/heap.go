// Package heapmodel says what a heap model is: the Heap interface every model
// implements, the Model row that describes it in the catalog, the counters it
// keeps, and the spec strings ("tlsf:capacity=64KiB,ptr=32") that name one.
//
// A model is the allocator, offset for offset: it hands out the addresses the
// original would, but holds no memory of its own beyond a small record for
// each block. It sees sizes, alignments and addresses, never traces, which is
// what makes it comparable with the original's answers.
package heapmodel

import "iter"

// Addr is a byte offset from the start of the arena.
type Addr uint64

// Null is the address of an object for which the heap returned a null pointer
// without failing (a request of size 0 in many heaps).
const Null = ^Addr(0)

// Ref names a live object in the Heap that returned it, until it is freed or
// reallocated: an index into the model's block records, not an address, so
// that Free and Realloc need no search. Heap.Addr gives the address.
type Ref uint32

// NullRef is the Ref of an object at Null.
const NullRef = ^Ref(0)

// Heap is one heap in one state. A Heap is deterministic and used by one
// goroutine at a time. The methods Alloc, Realloc, Free and Usage allocate no
// memory except to grow the model's own tables.
type Heap interface {
	// Alloc places an object of size bytes. align is zero for a plain malloc
	// and otherwise the power of two handed to the heap's aligned entry point,
	// even when it is no larger than Align; a model without CapAlign is only
	// called with zero. If no block fits, ok is false and the heap unchanged.
	// If the original returns a null pointer that means no failure, the Ref is
	// NullRef and ok is true.
	Alloc(size uint64, align uint32) (r Ref, ok bool)
	// Realloc gives a live object a new size, where the original would. The
	// result may equal r; r is dead if it does not. If ok is false the object
	// stays as it was. align is the alignment the object was allocated with;
	// models of C heaps ignore it. Models without CapRealloc return
	// Move(h, r, size, align).
	Realloc(r Ref, size uint64, align uint32) (s Ref, ok bool)
	// Free frees a live object; of NullRef it does nothing. It panics on a Ref
	// that is not live.
	Free(r Ref)
	// Addr returns the address handed to the program, Null for NullRef. O(1).
	Addr(r Ref) Addr
	// Align returns the alignment of every address a plain Alloc returns. O(1).
	Align() uint32
	// Need returns the size of the smallest free block from which the request
	// could be served, header and rounding included, in the units of Block.
	// It does not depend on the heap's state. O(1).
	Need(size uint64, align uint32) uint64
	// Usage returns the heap's own counters: the pointer stays valid, what it
	// points to is current after every call, and callers only read it. O(1).
	Usage() *Usage
	// LargestFree returns the bytes of the largest free block, zero if there is
	// none. At most O(free blocks); models keep it near O(1).
	LargestFree() uint64
	// Blocks walks all blocks, used and free, in address order. The heap must
	// not change during the walk. O(blocks).
	Blocks() iter.Seq[Block]
	// Check returns the first broken invariant, or nil. O(blocks).
	Check() error
}

// Usage counts, in bytes unless named otherwise. At any time
// Arena = Allocated + Free + Overhead.
type Usage struct {
	Arena      uint64 // address range the heap owns by now, gaps left out
	HighWater  uint64 // end of the highest block ever used, as an address
	Allocated  uint64 // blocks in use: payload, header, rounding, unsplit remainder
	Free       uint64 // free blocks, header included
	Overhead   uint64 // control structures, sentinels and lost ends outside blocks
	UsedBlocks uint64 // count
	FreeBlocks uint64 // count
	Grown      Growth // the latest growth; zero if there was none
	// Steps counts the elementary steps of searching that the original's code
	// would have taken since the start: list or tree nodes visited, bins or
	// bitmap words probed, blocks merged. What a step is in a model is said in
	// its Doc. Models derive it from their indexes, without walking.
	Steps uint64
}

// Growth says why the arena grew: what was needed and what there was just
// before. Bytes, in the units of Block.
type Growth struct{ Need, Free, LargestFree uint64 }

// Block is one block of a heap as a walk finds it.
type Block struct {
	Addr    Addr   // start of the block, its header included
	Size    uint64 // bytes, header included
	Payload Addr   // what the program was given, in a used block; else Addr
	Used    bool
	Wall    bool // first block of a region or chunk: it never merges with what lies below
	Ref     Ref  // the object, in a used block; else NullRef
}

// Limits on what a model accepts, so that sizes never overflow inside one.
const (
	// MaxSize is the largest request the replay hands to a model: 2^62 bytes.
	// Every model must fail cleanly up to there.
	MaxSize = 1 << 62
	// MaxAlign is the largest alignment a model must fail or serve cleanly.
	MaxAlign = 1 << 31
)

// Caps says what a model can do.
type Caps uint8

// The capabilities of models.
const (
	CapAlign   Caps = 1 << iota // has an aligned entry point
	CapRealloc                  // has its own realloc rules
	CapGrow                     // can obtain more memory after the start
	// CapNoLayout marks a reference point without an arena (ideal): its
	// addresses are mere names, its arena is its live bytes, and no block of it
	// is ever free.
	CapNoLayout
)

// Model is a row of the catalog: a kind of heap and how to make one.
type Model struct {
	Name   string // in specs: "freertos-heap4"
	Family string // "embedded", "sequential fits", "reference" ...
	Title  string // one line: what it is
	Doc    string // what is modelled, what is not, in sentences
	Source string // paper, or upstream and version
	Caps   Caps
	Params []Param // in the order help shows them
	// New makes an empty heap. A capacity too small for the control structure
	// is an error that says the least capacity.
	New func(Config) (Heap, error)
}

// Native is implemented by models of heaps that keep or compute statistics of
// their own.
type Native interface {
	// Native returns the figures the original itself would report now.
	Native() []Stat
}

// Stat is one figure of an original heap, under the original's definition.
type Stat struct {
	Key   string // "free_bytes", "min_ever_free_bytes", "largest_free_bytes", "break"
	Value uint64
}

// Move is realloc as a program without one does it: allocate anew, copy, free
// the old block. A shrink moves too. Models without CapRealloc use it.
func Move(h Heap, r Ref, size uint64, align uint32) (Ref, bool) {
	s, ok := h.Alloc(size, align)
	if !ok {
		return r, false
	}
	h.Free(r)
	return s, true
}

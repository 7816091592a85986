// Package chains finds growing containers in a trace. A container that outgrows
// its block shows in one of two ways: as reallocs of the same object, or, in C++,
// Rust without realloc and old C, as a larger object that is allocated, filled
// from the old one, and outlives it: alloc, copy, free. Both make a chain of
// objects that are one container to the program. Reallocs are in the trace;
// finding the pairs of the other kind is what this package does.
//
// A pair is a free of object A for which an earlier alloc B of the same thread
// stands ready: B is younger than A, alive, larger, of A's call site, and since B
// the thread has freed nothing younger than B. In between lie few events, or as
// many allocs as frees: elements that were copied. Programs free and allocate
// at one site for other reasons too, so most of that could be chance. How much
// of it is, the trace itself tells:
//
//	alloc B   ...   free A      size(B) > size(A): a pair, or chance
//	alloc B   ...   free A      size(B) < size(A): chance
//
// Containers grow, while objects that have nothing to do with each other come
// in either order as often: for every chance pair that looks like growth there
// is one that looks like its reverse. So the reverses are counted as a sample
// of the false (target-decoy counting, as in Elias and Gygi, Target-decoy
// search strategy, Nature Methods 4, 2007), among pairs that are alike: in how
// the sizes relate (exactly twice, half more, a few bytes more ...), in what
// lies between, in how often just these two sizes were seen at the site, and at
// the site itself. A growth rule gives the same few pairs of sizes again and
// again; chance scatters them. What comes in one order only without being
// growth has other marks: see flow and prune.
//
// Detect reads the trace twice: first it counts, on long traces a sample, then
// it links, for each free, the likeliest B if it is likely enough. A trace
// without sites is searched as if all came from one site, one without threads
// as if one thread had done it all; both are found less well, and Table.Notes
// says so.
//
// Not found are containers that change their call site as they grow, those that
// all grow just once and by the same two sizes, and those whose copying makes
// temporaries.
package chains

// None is the number of no object.
const None = ^uint32(0)

// MaxObjects is the number of objects up to which a trace can be searched.
const MaxObjects = 1 << 26

// Table says of every object of a trace, by the number of its alloc from zero,
// which object it took over from and which took it over by allocate, copy and
// free; reallocs keep their object. 8 bytes an object.
type Table struct {
	Prev, Next []uint32 // None at the ends of a chain
	Copied     uint64   // bytes that the program copied from object to object
	Links      uint64   // pairs found
	// Doubt is how many of the links are expected to be chance. Habits of a
	// program that look like growth, such as a larger node that is always made
	// before a smaller one dies, are not in it.
	Doubt float64
	// Notes say, in sentences, what the trace lacks and what follows.
	Notes []string
}

// Head returns the first object of the chain that the object belongs to.
func (t *Table) Head(object uint32) uint32 {
	for t.Prev[object] != None {
		object = t.Prev[object]
	}
	return object
}

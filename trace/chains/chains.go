// Package chains finds growing containers in a trace. A container that outgrows
// its block shows in one of two ways: as reallocs of the same object, or, in C++,
// Rust without realloc and old C, as a larger object that is allocated, filled
// from the old one, and outlives it: alloc, copy, free. Both make a chain of
// objects that are one container to the program.
package chains

// None is the number of no object.
const None = ^uint32(0)

// MaxObjects is the number of objects up to which a trace can be searched.
const MaxObjects = 1 << 26

// Table says of every object of a trace, by the number of its alloc from zero,
// which object it took over from and which took it over by allocate, copy and
// free; reallocs keep their object. 16 bytes an object.
type Table struct {
	Prev, Next []uint32 // None at the ends of a chain
	Copied     uint64   // bytes that the program copied from object to object
}

// Head returns the first object of the chain that the object belongs to.
func (t *Table) Head(object uint32) uint32 {
	for t.Prev[object] != None {
		object = t.Prev[object]
	}
	return object
}

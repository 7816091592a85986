// Package several puts heaps side by side in one address space, as the parts of
// a heap that is made of them: it hands out Refs that tell the part, adds up the
// counters, and gives aligned requests to parts that have no entry point for
// them. Which part a request goes to is for the model to say.
package several

import (
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
)

// Most is the number of parts at most.
const Most = 16

// Part is one of the heaps.
type Part struct {
	Heap heapmodel.Heap
	// Base is added to the addresses of the heap.
	Base uint64
	// Regions are the ranges that the heap may own, in its own addresses,
	// ascending.
	Regions []heapmodel.Region
	Foot    heapmodel.Footprint
	// Align is the largest alignment that the heap's aligned entry point is
	// asked for: at most the alignment of Base. Zero: it has none.
	Align uint32
	entry bool // the heap has an aligned entry point: see Put
}

// Heaps are the parts of a heap. Besides memory for the parts it takes that of
// their numbers only, and a byte an object from the first padded one on.
//
// A Ref of part i of n is that of the heap times the next power of two from n,
// plus i. So it stays as dense as those of the parts, and a part may have 2^32
// by that power objects, less two.
type Heaps struct {
	Use   heapmodel.Usage
	parts []part
	order []int // parts by address
	bits  uint  // of a Ref: part
	foot  uint64
	align uint32
}

// part is a Part and what is known of it since the call before.
type part struct {
	Part
	use    *heapmodel.Usage
	was    heapmodel.Usage // after the latest call
	foot   uint64          // then
	sure   uint32          // alignment that all its addresses have
	padded []uint8         // by Ref: log2 of the alignment of a padded object, else 0; nil until there is one
}

// New returns heaps with the parts, which must be empty and in ascending order
// of address if order is nil; else order names them in that order.
func New(parts []Part, order []int) (*Heaps, error) {
	if len(parts) == 0 || len(parts) > Most {
		return nil, fmt.Errorf("%d heaps: want 1 to %d", len(parts), Most)
	}
	s := &Heaps{order: order, bits: uint(bits.Len(uint(len(parts) - 1))), align: heapmodel.MaxAlign}
	for i, p := range parts {
		if order == nil {
			s.order = append(s.order, i)
		}
		s.parts = append(s.parts, part{Part: p, use: p.Heap.Usage(), sure: p.Heap.Align()})
		s.align = min(s.align, p.Heap.Align())
	}
	for i := range s.parts {
		s.settle(i)
	}
	return s, nil
}

// Len returns the number of parts.
func (s *Heaps) Len() int { return len(s.parts) }

// Heap returns a part's heap.
func (s *Heaps) Heap(i int) heapmodel.Heap { return s.parts[i].Heap }

// Of returns the part that a Ref belongs to, and the Ref there. It panics if
// there is no such part.
func (s *Heaps) Of(r heapmodel.Ref) (i int, inner heapmodel.Ref) {
	i = int(r & (1<<s.bits - 1))
	if i >= len(s.parts) {
		panic(fmt.Sprintf("several: Ref %d of a heap that is not there", r))
	}
	return i, r >> s.bits
}

func (s *Heaps) ref(i int, inner heapmodel.Ref) heapmodel.Ref {
	return inner<<s.bits | heapmodel.Ref(i)
}

// full reports whether the Ref of a part cannot be told from those that mean
// something else once the part's number is in it.
func (s *Heaps) full(inner heapmodel.Ref) bool {
	return inner >= (heapmodel.NullRef-1)>>s.bits
}

// settle adds to the counters what the latest call changed in those of a part.
func (s *Heaps) settle(i int) {
	p, u := &s.parts[i], &s.Use
	now, was := p.use, &p.was
	if now.Arena > was.Arena {
		u.Grown = now.Grown
	}
	u.Arena += now.Arena - was.Arena
	u.Allocated += now.Allocated - was.Allocated
	u.Free += now.Free - was.Free
	u.Overhead += now.Overhead - was.Overhead
	u.UsedBlocks += now.UsedBlocks - was.UsedBlocks
	u.FreeBlocks += now.FreeBlocks - was.FreeBlocks
	u.Steps += now.Steps - was.Steps
	if now.HighWater > was.HighWater {
		u.HighWater = max(u.HighWater, p.Base+now.HighWater)
	}
	foot := p.Foot.Bytes()
	s.foot += foot - p.foot
	p.foot = foot
	*was = *now
}

// ask returns what to ask a part for on behalf of a request: a heap without an
// aligned entry point, or with less alignment than is wanted, is asked for
// enough bytes to find an aligned address among them. If even that is more than
// any heap may be asked for, ok is false.
func (p *part) ask(size uint64, align uint32) (bytes uint64, to uint32, ok bool) {
	switch {
	case align == 0:
		return size, 0, true
	case align <= p.Align:
		return size, align, true
	case align <= p.sure:
		return size, 0, true
	}
	// An object of no bytes takes one, or its address might be the next block's.
	bytes = max(size, 1) + uint64(align-max(p.Align, p.sure))
	return bytes, p.Align, bytes <= heapmodel.MaxSize
}

// pads reports whether a request of that alignment is padded.
func (p *part) pads(align uint32) bool { return align > p.Align && align > p.sure }

// mark notes whether an object is padded.
func (p *part) mark(r heapmodel.Ref, pads bool, align uint32) {
	if p.padded == nil && !pads {
		return
	}
	for uint64(r) >= uint64(len(p.padded)) {
		p.padded = append(p.padded, 0)
	}
	p.padded[r] = 0
	if pads {
		p.padded[r] = uint8(bits.TrailingZeros32(align))
	}
}

// Alloc places an object in a part.
func (s *Heaps) Alloc(i int, size uint64, align uint32) (heapmodel.Ref, bool) {
	p := &s.parts[i]
	bytes, to, ok := p.ask(size, align)
	if !ok {
		return heapmodel.NullRef, false
	}
	r, ok := p.Heap.Alloc(bytes, to)
	if ok && r != heapmodel.NullRef {
		if s.full(r) {
			p.Heap.Free(r)
			s.settle(i)
			return heapmodel.NullRef, false
		}
		if p.padded != nil || align > p.sure {
			p.mark(r, p.pads(align), align)
		}
		r = s.ref(i, r)
	}
	s.settle(i)
	return r, ok
}

// Realloc gives an object a new size in the part where it is; NullRef is
// reallocated in part i. A padded object loses its alignment, as one of a C
// program would: what the heap knows of it is the plain block.
func (s *Heaps) Realloc(i int, r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	inner := r
	if r != heapmodel.NullRef {
		i, inner = s.Of(r)
	}
	p := &s.parts[i]
	n, ok := p.Heap.Realloc(inner, size, min(align, p.Align))
	switch {
	case !ok:
		n = r
	case n == heapmodel.NullRef:
	case s.full(n):
		panic(fmt.Sprintf("several: more than %d objects in heap %d", uint32(n), i))
	default:
		p.mark(n, false, 0)
		n = s.ref(i, n)
	}
	s.settle(i)
	return n, ok
}

// Move gives an object a new size in another part: it is allocated anew,
// copied, and freed.
func (s *Heaps) Move(i int, r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	n, ok := s.Alloc(i, size, align)
	if !ok {
		return r, false
	}
	s.Free(r)
	return n, true
}

// Free implements heapmodel.Heap.
func (s *Heaps) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	i, inner := s.Of(r)
	s.parts[i].Heap.Free(inner)
	s.settle(i)
}

// Addr implements heapmodel.Heap.
func (s *Heaps) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	i, inner := s.Of(r)
	p := &s.parts[i]
	return p.place(inner, p.Heap.Addr(inner))
}

// place returns the address handed to the program for a payload of the part.
func (p *part) place(r heapmodel.Ref, a heapmodel.Addr) heapmodel.Addr {
	a += heapmodel.Addr(p.Base)
	if uint64(r) < uint64(len(p.padded)) && p.padded[r] > 0 {
		unit := heapmodel.Addr(1) << p.padded[r]
		a = (a + unit - 1) &^ (unit - 1)
	}
	return a
}

// Align implements heapmodel.Heap.
func (s *Heaps) Align() uint32 { return s.align }

// Need returns what a request needs of a part: see heapmodel.Heap.
func (s *Heaps) Need(i int, size uint64, align uint32) uint64 {
	p := &s.parts[i]
	bytes, to, ok := p.ask(size, align)
	if !ok {
		return bytes
	}
	return p.Heap.Need(bytes, to)
}

// Usage implements heapmodel.Heap.
func (s *Heaps) Usage() *heapmodel.Usage { return &s.Use }

// Footprint implements heapmodel.Composed.
func (s *Heaps) Footprint() uint64 { return s.foot }

// LargestFree implements heapmodel.Heap: the largest free block of any part.
func (s *Heaps) LargestFree() (largest uint64) {
	for i := range s.parts {
		largest = max(largest, s.parts[i].Heap.LargestFree())
	}
	return largest
}

// FootprintOf returns the footprint of a part.
func (s *Heaps) FootprintOf(i int) uint64 { return s.parts[i].foot }

// ReallocFault returns the least size for which the realloc of a part succeeds
// though it is impossible, as that of some originals does: see
// modeltest.ReallocFaulter.
func (s *Heaps) ReallocFault() uint64 {
	least := ^uint64(0)
	for i := range s.parts {
		if f, faulty := s.parts[i].Heap.(interface{ ReallocFault() uint64 }); faulty {
			least = min(least, f.ReallocFault())
		}
	}
	return least
}

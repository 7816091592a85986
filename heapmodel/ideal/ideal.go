// Package ideal is the heap no heap can beat: it needs exactly the live bytes
// at any time, as if every free byte could be given to anyone and blocks moved
// at no cost. It is the lower bound in comparisons and models no real heap.
package ideal

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
)

// Model is the catalog row of ideal.
var Model = &heapmodel.Model{
	Name:   "ideal",
	Family: "reference",
	Title:  "the lower bound: footprint = live bytes",
	Doc: "Every request succeeds and takes exactly its bytes; a free gives them back at once. " +
		"There is no arena, no header, no rounding and no free block. Addresses are names only: each object gets the next " +
		"ones that were never used, from zero again after 2^62 bytes. Only more than 2^62 live bytes fail.",
	Source: "none: a reference point",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow | heapmodel.CapNoLayout,
	New:    func(heapmodel.Config) (heapmodel.Heap, error) { return &heap{}, nil },
}

// heap keeps 16 bytes for each object that ever lived at the same time.
type heap struct {
	objects []object
	spare   []heapmodel.Ref
	next    uint64 // first address never used
	use     heapmodel.Usage
}

type object struct {
	addr uint64
	size uint64 // bytes; freed marks a Ref that is not live
}

const freed = ^uint64(0)

func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize-h.use.Allocated {
		return heapmodel.NullRef, false
	}
	o := object{addr: h.name(size, align), size: size}
	h.use.UsedBlocks++
	h.resize(0, size)
	if n := len(h.spare); n > 0 {
		r := h.spare[n-1]
		h.spare = h.spare[:n-1]
		h.objects[r] = o
		return r, true
	}
	h.objects = append(h.objects, o)
	return heapmodel.Ref(len(h.objects) - 1), true
}

// name returns the address of a new object and passes over its bytes.
func (h *heap) name(size uint64, align uint32) (addr uint64) {
	if h.next > heapmodel.MaxSize {
		h.next = 0
	}
	if align > 1 {
		h.next = (h.next + uint64(align) - 1) &^ (uint64(align) - 1)
	}
	addr = h.next
	// An object of no bytes needs an address of its own all the same.
	h.next += max(size, 1)
	return addr
}

// resize accounts for an object of was bytes that has now bytes.
func (h *heap) resize(was, now uint64) {
	h.use.Allocated += now - was
	h.use.Arena = h.use.Allocated
	h.use.HighWater = max(h.use.HighWater, h.use.Arena)
}

func (h *heap) live(r heapmodel.Ref) *object {
	if int(r) >= len(h.objects) || h.objects[r].size == freed {
		panic(fmt.Sprintf("ideal: object %d is not live", r))
	}
	return &h.objects[r]
}

func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	o := h.live(r)
	if size > heapmodel.MaxSize-(h.use.Allocated-o.size) {
		return r, false
	}
	h.resize(o.size, size)
	if size > o.size {
		o.addr = h.name(size, align) // a larger object gets addresses like a new one
	}
	o.size = size
	return r, true
}

func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	o := h.live(r)
	h.resize(o.size, 0)
	h.use.UsedBlocks--
	o.size = freed
	h.spare = append(h.spare, r)
}

func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.objects[r].addr)
}

func (h *heap) Align() uint32                         { return 1 }
func (h *heap) Need(size uint64, align uint32) uint64 { return size }
func (h *heap) Usage() *heapmodel.Usage               { return &h.use }
func (h *heap) LargestFree() uint64                   { return 0 }

func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	var blocks []heapmodel.Block
	for i, o := range h.objects {
		if o.size != freed {
			a := heapmodel.Addr(o.addr)
			blocks = append(blocks, heapmodel.Block{Addr: a, Size: o.size, Payload: a, Used: true, Ref: heapmodel.Ref(i)})
		}
	}
	slices.SortFunc(blocks, func(a, b heapmodel.Block) int { return cmp.Compare(a.Addr, b.Addr) })
	return slices.Values(blocks)
}

func (h *heap) Check() error {
	var bytes, count uint64
	for _, o := range h.objects {
		if o.size != freed {
			bytes += o.size
			count++
		}
	}
	if bytes != h.use.Allocated || count != h.use.UsedBlocks || h.use.Arena != bytes {
		return fmt.Errorf("ideal: counted %d bytes in %d objects, kept %d in %d", bytes, count, h.use.Allocated, h.use.UsedBlocks)
	}
	return nil
}

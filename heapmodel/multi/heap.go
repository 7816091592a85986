package multi

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/several"
)

// overflow says where a request goes that its heap cannot serve.
type overflow uint8

const (
	toNext overflow = iota
	toNone
	toLast
)

// heap is several heaps and the way to them.
type heap struct {
	*several.Heaps
	router
	overflow overflow

	hint   heapmodel.Hint      // of the next request
	to     int                 // the heap it goes to, unless by size
	hinted []heapmodel.Hinted  // by heap: those that look at hints themselves, else nil; nil if none does
	kinds  heapmodel.HintKinds // that the heaps look at
	served []uint64            // by heap: requests served in place of another heap
	failed uint64              // requests that no heap served
	strand uint64              // most bytes free where a failing request might not go
}

// learn finds which heaps look at hints. A heap made of heaps may.
func (h *heap) learn() {
	for i := range h.Len() {
		inner, ok := h.Heap(i).(heapmodel.Hinted)
		if !ok || inner.Hints() == 0 {
			continue
		}
		if h.hinted == nil {
			h.hinted = make([]heapmodel.Hinted, h.Len())
		}
		h.hinted[i] = inner
		h.kinds |= inner.Hints()
	}
	h.to = h.byHint(&h.hint)
}

// Hints implements heapmodel.Hinted.
func (h *heap) Hints() heapmodel.HintKinds { return h.kinds | h.wants() }

// Bind implements heapmodel.Hinted.
func (h *heap) Bind(sites []string) error {
	if err := h.bind(sites); err != nil {
		return err
	}
	for i, inner := range h.hinted {
		if inner == nil {
			continue
		}
		if err := inner.Bind(sites); err != nil {
			return fmt.Errorf("heap %d: %w", i, err)
		}
	}
	h.to = h.byHint(&h.hint)
	return nil
}

// Hint implements heapmodel.Hinted.
func (h *heap) Hint(hint heapmodel.Hint) {
	h.hint = hint
	h.to = h.byHint(&hint)
}

// first returns the heap that a request goes to.
func (h *heap) first(size uint64) int {
	if h.by == bySize {
		return h.within(size)
	}
	return h.to
}

// after returns the heap that a request goes to after heap i, or one that is not
// there.
func (h *heap) after(i int) int {
	switch last := h.Len() - 1; {
	case h.overflow == toNext:
		return i + 1
	case h.overflow == toLast && i < last:
		return last
	}
	return h.Len()
}

// tell passes the hint on to a heap that looks at it.
func (h *heap) tell(i int) {
	if h.hinted != nil && h.hinted[i] != nil {
		h.hinted[i].Hint(h.hint)
	}
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	first := h.first(size)
	for i := first; i < h.Len(); i = h.after(i) {
		h.tell(i)
		if r, ok := h.Heaps.Alloc(i, size, align); ok {
			if i != first {
				h.served[i]++
			}
			return r, true
		}
	}
	h.stranded(first)
	return heapmodel.NullRef, false
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	own := h.Len()
	if r != heapmodel.NullRef {
		own, _ = h.Of(r)
	}
	first := own
	if h.by == bySize || r == heapmodel.NullRef {
		first = h.first(size)
	}
	for i := first; i < h.Len(); i = h.after(i) {
		h.tell(i)
		var s heapmodel.Ref
		var ok bool
		if i == own || r == heapmodel.NullRef {
			s, ok = h.Heaps.Realloc(i, r, size, align)
		} else {
			s, ok = h.Move(i, r, size, align)
		}
		if ok {
			if i != first {
				h.served[i]++
			}
			return s, true
		}
	}
	h.stranded(first)
	return r, false
}

// stranded notes what is free in the heaps that a request did not go to, which
// nothing could serve.
func (h *heap) stranded(first int) {
	h.failed++
	free := h.Use.Free
	for i := first; i < h.Len(); i = h.after(i) {
		free -= h.Heap(i).Usage().Free
	}
	h.strand = max(h.strand, free)
}

// Need implements heapmodel.Heap: the least that the request needs in one of the
// heaps that it may go to. By anything but size a realloc, which stays with its
// heap, may differ.
func (h *heap) Need(size uint64, align uint32) uint64 {
	need := ^uint64(0)
	for i := h.first(size); i < h.Len(); i = h.after(i) {
		need = min(need, h.Heaps.Need(i, size, align))
	}
	return need
}

// Native implements heapmodel.Native.
func (h *heap) Native() []heapmodel.Stat {
	var stats []heapmodel.Stat
	for i := range h.Len() {
		inner, name := h.Heap(i), fmt.Sprintf("heap%d.", i)
		u := inner.Usage()
		stats = append(stats,
			heapmodel.Stat{Key: name + "arena_bytes", Value: u.Arena},
			heapmodel.Stat{Key: name + "footprint_bytes", Value: h.FootprintOf(i)},
			heapmodel.Stat{Key: name + "used_bytes", Value: u.Allocated},
			heapmodel.Stat{Key: name + "free_bytes", Value: u.Free},
			heapmodel.Stat{Key: name + "largest_free_bytes", Value: inner.LargestFree()},
			heapmodel.Stat{Key: name + "served_for_others", Value: h.served[i]})
		if n, ok := inner.(heapmodel.Native); ok {
			for _, s := range n.Native() {
				stats = append(stats, heapmodel.Stat{Key: name + "own_" + s.Key, Value: s.Value})
			}
		}
	}
	return append(stats,
		heapmodel.Stat{Key: "failed_requests", Value: h.failed},
		heapmodel.Stat{Key: "stranded_bytes", Value: h.strand})
}

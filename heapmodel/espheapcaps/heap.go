package espheapcaps

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/esptlsf"
	"github.com/fragprof/fragprof/heapmodel/internal/several"
)

// heap is the regions and the order in which malloc tries them.
type heap struct {
	*several.Heaps
	regions   []*esptlsf.Heap
	kinds     []kind            // by region
	tries     [either + 1][]int // by kind: the regions in the order they are tried
	threshold uint64
}

// rank makes the lists of regions to try from the order of registration.
func (h *heap) rank(order []int, late []bool) {
	for _, after := range []bool{false, true} {
		for _, i := range order {
			if late[i] != after || h.kinds[i] == 0 {
				continue
			}
			h.tries[h.kinds[i]] = append(h.tries[h.kinds[i]], i)
		}
	}
	// External memory is the last resort of all.
	h.tries[either] = append(append([]int{}, h.tries[internal]...), h.tries[external]...)
}

// preferred returns which kind of memory a request is to have if it can: either, if
// there is only one.
func (h *heap) preferred(size uint64) kind {
	switch {
	case len(h.tries[external]) == 0 || len(h.tries[internal]) == 0:
		return either
	case size <= h.threshold:
		return internal
	}
	return external
}

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	if k := h.preferred(size); k != either {
		if r, ok := h.first(k, size, align); ok {
			return r, true
		}
	}
	return h.first(either, size, align)
}

// first places an object in the first region of the kind that has room.
func (h *heap) first(k kind, size uint64, align uint32) (heapmodel.Ref, bool) {
	for _, i := range h.tries[k] {
		if r, ok := h.Heaps.Alloc(i, size, align); ok {
			return r, true
		}
	}
	return heapmodel.NullRef, false
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	if size == 0 {
		h.Free(r)
		return heapmodel.NullRef, true
	}
	if k := h.preferred(size); k != either {
		if s, ok := h.reallocIn(k, r, size); ok {
			return s, true
		}
	}
	return h.reallocIn(either, r, size)
}

// reallocIn gives an object a new size in memory of the kind: in its own region
// if that is of the kind and has room, else in the first one that has.
func (h *heap) reallocIn(k kind, r heapmodel.Ref, size uint64) (heapmodel.Ref, bool) {
	if i, _ := h.Of(r); h.kinds[i]&k != 0 {
		if s, ok := h.Heaps.Realloc(i, r, size, 0); ok {
			return s, true
		}
	}
	s, ok := h.first(k, size, 0)
	if !ok {
		return r, false
	}
	h.Free(r)
	return s, true
}

// Need implements heapmodel.Heap: the least that the request needs in a region
// that malloc gives out.
func (h *heap) Need(size uint64, align uint32) uint64 {
	need := ^uint64(0)
	for _, i := range h.tries[either] {
		need = min(need, h.Heaps.Need(i, size, align))
	}
	return need
}

// Native implements heapmodel.Native. The figures of a kind of memory are those
// that heap_caps adds up over its regions, the largest block apart; the least
// ones of the regions need not have been at the same time.
func (h *heap) Native() []heapmodel.Stat {
	var stats []heapmodel.Stat
	for _, k := range []struct {
		kind kind
		name string
	}{{internal, "internal"}, {external, "spiram"}} {
		regions := h.tries[k.kind]
		if len(regions) == 0 {
			continue
		}
		var free, least, largest uint64
		for _, i := range regions {
			now, low := h.regions[i].FreeBytes()
			free += now
			least += low
			largest = max(largest, usable(h.regions[i]))
		}
		stats = append(stats,
			heapmodel.Stat{Key: k.name + ".free_bytes", Value: free},
			heapmodel.Stat{Key: k.name + ".min_ever_free_bytes", Value: least},
			heapmodel.Stat{Key: k.name + ".largest_free_bytes", Value: largest})
	}
	for i, r := range h.regions {
		name := fmt.Sprintf("region%d.", i)
		now, low := r.FreeBytes()
		stats = append(stats,
			heapmodel.Stat{Key: name + "footprint_bytes", Value: h.FootprintOf(i)},
			heapmodel.Stat{Key: name + "free_bytes", Value: now},
			heapmodel.Stat{Key: name + "min_ever_free_bytes", Value: low},
			heapmodel.Stat{Key: name + "largest_free_bytes", Value: usable(r)})
	}
	return stats
}

// usable returns the payload of a region's largest free block.
func usable(r *esptlsf.Heap) uint64 {
	const word = 4
	if largest := r.LargestFree(); largest > 0 {
		return largest - word
	}
	return 0
}

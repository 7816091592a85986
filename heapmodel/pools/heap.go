package pools

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/several"
)

// heap is pools and perhaps an overflow heap: parts 0 and 1.
type heap struct {
	*several.Heaps
	pools    *fixed
	over     heapmodel.Heap   // nil if there is none
	hinted   heapmodel.Hinted // the overflow heap, if it looks at hints
	overflow uint64           // requests that the overflow heap served
	failed   uint64           // requests that nobody served
}

const (
	inPools = iota
	inOverflow
)

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	r, ok := h.Heaps.Alloc(inPools, size, align)
	if !ok && h.over != nil {
		if r, ok = h.Heaps.Alloc(inOverflow, size, align); ok {
			h.overflow++
		}
	}
	if !ok {
		h.failed++
	}
	return r, ok
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	own, _ := h.Of(r)
	s, ok := h.Heaps.Realloc(own, r, size, align)
	switch {
	case ok:
		return s, true
	case own == inOverflow:
		s, ok = h.Move(inPools, r, size, align)
	case h.over != nil:
		if s, ok = h.Move(inOverflow, r, size, align); ok {
			h.overflow++
		}
	}
	if !ok {
		h.failed++
	}
	return s, ok
}

// Need implements heapmodel.Heap: the least that the request needs in a pool or
// in the overflow heap.
func (h *heap) Need(size uint64, align uint32) uint64 {
	need := h.Heaps.Need(inPools, size, align)
	if h.over == nil {
		return need
	}
	over := h.Heaps.Need(inOverflow, size, align)
	if h.pools.smallest(size, align) == nil {
		return over
	}
	return min(need, over)
}

// Hints implements heapmodel.Hinted: the overflow heap may want some.
func (h *heap) Hints() heapmodel.HintKinds {
	if h.hinted == nil {
		return 0
	}
	return h.hinted.Hints()
}

// Bind implements heapmodel.Hinted.
func (h *heap) Bind(sites []string) error {
	if h.hinted == nil {
		return nil
	}
	if err := h.hinted.Bind(sites); err != nil {
		return fmt.Errorf("overflow: %w", err)
	}
	return nil
}

// Hint implements heapmodel.Hinted. A hint for an object that gets a block of a
// pool is replaced by the next.
func (h *heap) Hint(hint heapmodel.Hint) {
	if h.hinted != nil {
		h.hinted.Hint(hint)
	}
}

// Native implements heapmodel.Native.
func (h *heap) Native() []heapmodel.Stat {
	var stats []heapmodel.Stat
	for i := range h.pools.pools {
		p, name := &h.pools.pools[i], fmt.Sprintf("pool%d.", i)
		stats = append(stats,
			heapmodel.Stat{Key: name + "block_bytes", Value: p.usable},
			heapmodel.Stat{Key: name + "blocks", Value: uint64(p.count)},
			heapmodel.Stat{Key: name + "used_blocks", Value: uint64(p.used)},
			heapmodel.Stat{Key: name + "peak_blocks", Value: uint64(len(p.links))},
			heapmodel.Stat{Key: name + "found_empty", Value: p.misses},
			heapmodel.Stat{Key: name + "served_for_others", Value: p.others})
	}
	stats = append(stats,
		heapmodel.Stat{Key: "too_large_for_pools", Value: h.pools.large},
		heapmodel.Stat{Key: "overflowed_requests", Value: h.overflow},
		heapmodel.Stat{Key: "failed_requests", Value: h.failed})
	if h.over == nil {
		return stats
	}
	stats = append(stats, heapmodel.Stat{Key: "overflow.footprint_bytes", Value: h.FootprintOf(inOverflow)})
	if n, ok := h.over.(heapmodel.Native); ok {
		for _, s := range n.Native() {
			stats = append(stats, heapmodel.Stat{Key: "overflow.own_" + s.Key, Value: s.Value})
		}
	}
	return stats
}

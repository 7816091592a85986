package heapmodel

// Composed is implemented by heaps that are made of several others, each of
// which fills up by itself: one high-water mark would count all memory below
// the highest of them.
type Composed interface {
	Heap
	// Footprint returns the footprints of the heaps it is made of, added up.
	// Bytes. O(1).
	Footprint() uint64
}

// Footprint tells how much memory a heap needs: the arena of a growing heap,
// which may fall, the high-water mark of a fixed one less the gaps between its
// regions, and of a composed one what it says itself.
type Footprint struct {
	counter  *uint64  // of Usage, if it is one of those; else nil
	composed Composed // or nil
	use      *Usage
	regions  []Region // of a fixed heap in several pieces
}

// FootprintOf returns the measure for a heap of the spec.
func FootprintOf(s *Spec, h Heap) Footprint {
	use := h.Usage()
	composed, _ := h.(Composed)
	regions := RegionsOf(s, h)
	switch {
	case composed != nil:
		return Footprint{composed: composed}
	case s.Grows():
		return Footprint{counter: &use.Arena}
	case regions != nil:
		return FootprintIn(h, regions)
	}
	return Footprint{counter: &use.HighWater}
}

// FootprintIn returns the measure for a fixed heap in the regions.
func FootprintIn(h Heap, regions []Region) Footprint {
	return Footprint{use: h.Usage(), regions: regions}
}

// RegionsOf returns the address ranges that a heap of the spec may own, if it
// has several with gaps between them, as the heap or else the spec says; nil if
// it has one from address 0 on.
func RegionsOf(s *Spec, h Heap) []Region {
	if apart, ok := h.(Apart); ok {
		return apart.Regions()
	}
	return s.Regions()
}

// Bytes returns the footprint: of a growing heap now, of a fixed one so far.
// O(1), or O(regions).
func (f *Footprint) Bytes() uint64 {
	if f.counter != nil {
		return *f.counter
	}
	return f.apart()
}

func (f *Footprint) apart() uint64 {
	if f.composed != nil {
		return f.composed.Footprint()
	}
	var bytes uint64
	for _, r := range f.regions {
		if start := uint64(r.Addr); f.use.HighWater > start {
			bytes += min(f.use.HighWater-start, r.Size)
		}
	}
	return bytes
}

package several

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
)

// window is the limit of growth of a part that has none.
const window = 1 << 40

// Make makes the heap of a part; Put gives it its place. A growing heap without
// a limit may grow to 1 TiB. The error says why a heap of the spec cannot be one
// of several.
func Make(s *heapmodel.Spec) (p Part, err error) {
	if s.Model.Caps&heapmodel.CapNoLayout != 0 {
		return p, fmt.Errorf("%s has no arena and cannot stand beside others", s.Model.Name)
	}
	if s.Grows() && s.GrowLimit() >= heapmodel.MaxSize && s.Has("grow") && !s.Given("grow") {
		if s, err = s.With("grow", heapmodel.FormatBytes(window)); err != nil {
			return p, err
		}
	}
	if p.Heap, err = s.New(); err != nil {
		return p, err
	}
	if _, planned := p.Heap.(heapmodel.Planned); planned {
		return p, fmt.Errorf("%s plans all requests beforehand and cannot get a part of them", s.Model.Name)
	}
	p.Foot = heapmodel.FootprintOf(s, p.Heap)
	p.Regions = regionsOf(s, p.Heap)
	p.entry = s.Model.Caps&heapmodel.CapAlign != 0
	return p, nil
}

// regionsOf returns the address ranges that an empty heap of a spec may own.
func regionsOf(s *heapmodel.Spec, h heapmodel.Heap) []heapmodel.Region {
	regions := heapmodel.RegionsOf(s, h)
	if _, apart := h.(heapmodel.Apart); len(regions) > 0 && (apart || !s.Grows()) {
		return regions
	}
	length := h.Usage().Arena
	if s.Grows() {
		length = max(length, s.GrowLimit())
	}
	for b := range h.Blocks() {
		length = max(length, uint64(b.Addr)+b.Size)
	}
	return []heapmodel.Region{{Size: length}}
}

// Put gives a part that Make made its place, and an aligned entry point as far
// as the heap has one and the place allows. It returns the end of the part; ok is
// false if that is above 2^62.
func (p *Part) Put(base uint64) (end uint64, ok bool) {
	last := p.Regions[len(p.Regions)-1]
	length := uint64(last.Addr) + last.Size
	p.Base, p.Align = base, 0
	switch {
	case p.entry && base == 0:
		p.Align = heapmodel.MaxAlign
	case p.entry:
		p.Align = uint32(min(base&-base, heapmodel.MaxAlign))
	}
	return base + length, base <= heapmodel.MaxSize && length <= heapmodel.MaxSize-base
}

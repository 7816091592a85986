// Package holdback models a program that sets a block of its heap aside at the
// start: an emergency block that it frees when a request fails for the first
// time, to try once more, or a block that it frees at once, so that a heap which
// grows has grown beforehand.
//
//	start          [held......][free..........................]
//	later          [held......][used][free][used][used][free..]
//	a request      [free......][used][free][used][used][free..]   and once more
//	fails
//
// The heap inside is any model with an arena. It does not know of the
// arrangement: the held block is an object to it, the first one.
//
// What is decided here:
//
//   - The held block counts as free, and shows as a free block of the size that
//     the heap made of it. A request that needs it gets it, so to whoever asks
//     how much could be served it is free memory; it just does not join its free
//     neighbours before it is released.
//   - Any failing request releases it, also one so large that it fails again.
//   - It is not taken back when there is room again.
package holdback

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/several"
)

// Model is the catalog row of holdback.
var Model = &heapmodel.Model{
	Name:   "holdback",
	Family: "several heaps",
	Title:  "any heap with a block set aside at the start, for an emergency or to grow beforehand",
	Doc: "Allocates a block from the heap inside before anything else: holdback:bytes=4KiB,heap=[tlsf:capacity=64KiB]. " +
		"With release=failure it is freed when an alloc or realloc fails for the first time, which is then tried once more; the block is not taken back. " +
		"A heap that cannot hold the block is refused, and one that does not reuse blocks one by one. " +
		"With release=start it is freed at once: a heap that grows has grown by then, unless it gives memory back, and a heap that has no room for it goes on without. " +
		"While it is held it counts as a free block that does not join its neighbours, since a request that needs it gets it; in the heap's own figures it is in use. " +
		"Steps are those of the heap, the failing attempt and the second one included. " +
		"Reported beside the heap's own figures: the bytes held now, the number of the request that released the block (0: none yet), and the requests that it served, 0 or 1. " +
		"An alignment that the heap has no entry point for is got by asking for more bytes.",
	Source: "none: the arrangement is a program's own; known as a rainy-day fund, as in Noble and Weir, Small Memory Software, 2001, Partial Failure",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "bytes", Kind: heapmodel.ParamBytes, Default: "1KiB", Doc: "the block that is set aside"},
		{Key: "release", Kind: heapmodel.ParamEnum, Default: "failure", Enum: []string{"failure", "start"}, Doc: "when it is freed: at the first failure, or at once"},
		{Key: "heap", Kind: heapmodel.ParamSpecs, Doc: "the heap, one"},
	},
	New: newHeap,
}

// window is the limit of growth of a heap that has none.
const window = 1 << 40

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	specs := c.Specs("heap")
	if len(specs) != 1 {
		return nil, fmt.Errorf("heap=%s: want one, as in heap=[tlsf:capacity=64KiB]", c.Text("heap"))
	}
	bytes := c.Bytes("bytes")
	if bytes == 0 || bytes > heapmodel.MaxSize {
		return nil, fmt.Errorf("bytes=%s: want 1 byte to 2^62", c.Text("bytes"))
	}
	part, err := newPart(specs[0])
	if err != nil {
		return nil, err
	}
	if err := reuses(specs[0], bytes); err != nil {
		return nil, err
	}
	inner := part.Heap
	r, ok := inner.Alloc(bytes, 0)
	if c.Text("release") == "start" {
		if ok {
			inner.Free(r)
		}
		r = heapmodel.NullRef
	} else if !ok || r == heapmodel.NullRef {
		return nil, fmt.Errorf("bytes=%s: %s has no room for it", c.Text("bytes"), specs[0])
	}
	h := &heap{held: r}
	if h.Heaps, err = several.New([]several.Part{part}, nil); err != nil {
		return nil, err
	}
	if hinted, ok := inner.(heapmodel.Hinted); ok && hinted.Hints() != 0 {
		h.hinted = hinted
	}
	if r != heapmodel.NullRef {
		h.block = blockOf(inner, r)
	}
	h.settle()
	return h, nil
}

// newPart makes the heap inside.
func newPart(s *heapmodel.Spec) (p several.Part, err error) {
	if s.Model.Caps&heapmodel.CapNoLayout != 0 {
		return p, fmt.Errorf("%s has no arena and no block to hold back", s.Model.Name)
	}
	if s.Grows() && s.GrowLimit() == heapmodel.MaxSize && s.Has("grow") {
		if s, err = s.With("grow", heapmodel.FormatBytes(window)); err != nil {
			return p, err
		}
	}
	if p.Heap, err = s.New(); err != nil {
		return p, err
	}
	if _, planned := p.Heap.(heapmodel.Planned); planned {
		return p, fmt.Errorf("%s plans all requests beforehand: none of them is an emergency", s.Model.Name)
	}
	p.Foot = heapmodel.FootprintOf(s, p.Heap)
	if s.Model.Caps&heapmodel.CapAlign != 0 {
		p.Align = heapmodel.MaxAlign // it begins at address 0
	}
	_, apart := p.Heap.(heapmodel.Apart)
	if p.Regions = heapmodel.RegionsOf(s, p.Heap); len(p.Regions) > 0 && (apart || !s.Grows()) {
		return p, nil
	}
	length := p.Heap.Usage().Arena
	if s.Grows() {
		length = max(length, s.GrowLimit())
	}
	for b := range p.Heap.Blocks() {
		length = max(length, uint64(b.Addr)+b.Size)
	}
	if length > heapmodel.MaxSize {
		return p, errors.New("the heap reaches above 2^62 bytes: give it a lower limit of growth")
	}
	p.Regions = []heapmodel.Region{{Size: length}}
	return p, nil
}

// reuses returns an error if a heap of the spec does not get a block back that is
// freed below another, as those do that only free all at once.
func reuses(s *heapmodel.Spec, bytes uint64) error {
	h, err := s.New()
	if err != nil {
		return err
	}
	r, ok := h.Alloc(bytes, 0)
	if !ok || r == heapmodel.NullRef {
		return nil
	}
	size := blockOf(h, r).Size
	h.Alloc(1, 0)
	before := h.Usage().Allocated
	if h.Free(r); h.Usage().Allocated != before-size {
		return fmt.Errorf("%s does not reuse a block that is freed: it is no use to hold one back", s.Model.Name)
	}
	return nil
}

// blockOf returns the block of an object.
func blockOf(h heapmodel.Heap, r heapmodel.Ref) heapmodel.Block {
	for b := range h.Blocks() {
		if b.Used && b.Ref == r {
			return b
		}
	}
	return heapmodel.Block{}
}

// Package o1heap models o1heap, a heap whose operations take constant time.
//
// Blocks (upstream's fragments) are multiples of eight words, of which the
// header of a used one takes four. A request with its header is rounded up to a
// power of two, which is what the block gets:
//
//	[next below size used | payload .................. ]
//	 four words             the rest of 2^k bytes
//
// Free blocks need not be powers of two. They lie in bins, one for each power
// of two, by the largest that they hold; a bitmap says which bins have any. The
// search begins in the bin of the request and takes the head of the first bin
// that is not empty, so what a block has above its power of two does not count.
// Free coalesces at once, on both sides.
//
// Source: pavel-kirienko/o1heap, commit b3a1aa43 (2025-05-12), version 2, MIT.
// The idea is half-fit, Ogasawara, "An algorithm with constant execution time
// for dynamic storage allocation", RTCSA 1995. Written from a description of
// behaviour and from tables of its answers, not from its code.
//
// Differs from upstream: nothing known. Its optional lock and assertions are
// not modelled.
package o1heap

import (
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/goodfit"
)

// Model is the catalog row of o1heap.
var Model = &heapmodel.Model{
	Name:   "o1heap",
	Family: "segregated fits",
	Title:  "o1heap: half-fit in constant time, requests rounded up to powers of two",
	Doc: "Models o1heap 2. A request with its header of four words is rounded up to a power of two; the remainder of the " +
		"block used is split off without a threshold. Free coalesces at once. It has no realloc and no aligned entry point. " +
		"The instance at the start of the arena, and at its end what is less than the smallest block of eight words, count as overhead. " +
		"malloc(0) gives a null pointer. " +
		"A step is a look at the word of the bitmap, a block taken from a bin, or a block merged. " +
		"Not modelled: its lock and its assertions, which decide no placement.",
	Source: "pavel-kirienko/o1heap, commit b3a1aa43e1ff0a4ce8b2c5180e878c2011b6bc25 (2025-05-12), version 2",
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes of the arena, instance included, whose start is aligned"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "bits of a pointer, which set header, alignment and instance"},
	},
	New: newHeap,
}

// heap is an o1heap in one state.
type heap struct {
	goodfit.Heap
	header      uint64 // bytes, the alignment of payloads too; blocks are multiples of twice that
	capacity    uint64 // bytes of all blocks
	peakRequest uint64 // bytes
	failures    uint64
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{header: 16}
	rules := goodfit.Rules{GranuleLog2: 5, Header: 16, Align: 16, Least: 1, Rest: 1, Rounded: true, Levels: goodfit.OneLevel}
	// The instance: as many bins as a word has bits, and the statistics.
	instance, most := uint64(160), uint64(1)<<31
	if c.Text("ptr") == "64" {
		h.header = 32
		rules.GranuleLog2, rules.Header, rules.Align = 6, 32, 32
		instance, most = 576, (goodfit.MostGranules-9)<<6
	}
	block := 2 * h.header
	arena := c.Bytes("capacity")
	switch {
	case arena < instance+block:
		return nil, fmt.Errorf("capacity %d: needs at least %d bytes", arena, instance+block)
	case arena-instance >= most+block:
		return nil, fmt.Errorf("capacity %d: the most is %d bytes", arena, instance+most+block-1)
	}
	granules := uint32((arena - instance) / block)
	h.capacity = uint64(granules) * block
	rules.Limit = uint64(granules)
	h.Init(rules, granules)
	h.Add(uint32(instance/block), granules, arena)
	return h, nil
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *heap) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size > h.peakRequest {
		h.peakRequest = size
	}
	if size == 0 {
		return heapmodel.NullRef, true
	}
	r, ok := h.Heap.Alloc(size, 0)
	if !ok {
		h.failures++
	}
	return r, ok
}

// Realloc implements heapmodel.Heap: o1heap has none.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	return heapmodel.Move(h, r, size, align)
}

// Need implements heapmodel.Heap: the power of two that the request is rounded
// up to.
func (h *heap) Need(size uint64, _ uint32) uint64 {
	if size == 0 {
		return 0
	}
	return 1 << bits.Len64(size+h.header-1)
}

// Native implements heapmodel.Native with the diagnostics of o1heap. Sizes are
// of blocks, headers included, but for the peak of requests. Calls that fail
// count in that; requests of no bytes are no failures.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "capacity_bytes", Value: h.capacity},
		{Key: "allocated_bytes", Value: h.Use.Allocated},
		{Key: "peak_allocated_bytes", Value: h.Peak},
		{Key: "peak_request_bytes", Value: h.peakRequest},
		{Key: "failures", Value: h.failures},
		{Key: "free_bytes", Value: h.capacity - h.Use.Allocated},
		{Key: "min_ever_free_bytes", Value: h.capacity - h.Peak},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

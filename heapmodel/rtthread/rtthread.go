// Package rtthread models the small memory management of RT-Thread (mem.c,
// rt_smem), the heap of a system with RT_USING_SMALL_MEM_AS_HEAP.
//
// It descends from lwIP's heap: all blocks, used and free, are linked by
// offsets in their headers, and a request is served by the first block that is
// large enough, from the lowest free block up. A pool object lies at the start
// of the arena, and an end marker at its end:
//
//	pool object | [owner next prev | payload .......][owner next prev |   ] | end marker
//
// Source: RT-Thread, rtthread-nano commit 44d75c74 (2024-09-20, RT-Thread
// 4.1.1), mem.c. Apache 2.0 licence, with parts under BSD.
//
// Differs from upstream: nothing known for 32-bit systems, the only ones
// modelled. Memory tracing (RT_USING_MEMTRACE), which lengthens headers, is
// off. The wrapper for aligned requests above this heap is not modelled.
package rtthread

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/lowfit"
)

// Model is the model of rt_smem_alloc, rt_smem_realloc and rt_smem_free.
var Model = &heapmodel.Model{
	Name:   "rtthread-smem",
	Family: "embedded",
	Title:  "RT-Thread small memory: first fit over all blocks from the lowest free one, moving realloc",
	Doc: "A search walks all blocks, used and free, in address order from the lowest free one. The first that is " +
		"large enough is used from its low end and split if a header and the smallest object would remain; else it " +
		"is used whole. A header has three words, rounded up to align, and an object as much at least. A freed block " +
		"merges at once with free neighbours. Realloc shortens a block in place if more than a header and 12 bytes " +
		"would remain, and then to less than the smallest object if asked to; to any other size, smaller or larger, it " +
		"moves the object, and fails if there is no other block for it. Realloc to 0 frees. The pool object at the start " +
		"takes pool bytes; the end takes two headers. There is no aligned entry point, and malloc(0) gives a null pointer. " +
		"A step is a block that a search looks at, a block by which the start of searches moves up to the next free one " +
		"after the lowest was taken, or a merge.\n\n" +
		"Not modelled: locks, tracing of owners, and the aligned wrapper above this level.",
	Source: "RT-Thread 4.1.1 mem.c (rtthread-nano 44d75c74, 2024-09-20)",
	Caps:   heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{
			Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB",
			Doc: "bytes handed to rt_system_heap_init, from an aligned start",
		},
		{
			Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32"},
			Doc: "pointer width in bits",
		},
		{
			Key: "align", Kind: heapmodel.ParamEnum, Default: "8", Enum: []string{"4", "8"},
			Doc: "RT_ALIGN_SIZE, bytes: headers have 12 bytes with 4, 16 with 8",
		},
		{
			Key: "pool", Kind: heapmodel.ParamBytes, Default: "56",
			Doc: "bytes of the pool object, which depend on the kernel's options: 56 with names of 8 characters",
		},
	},
	New: newHeap,
}

const (
	words   = 12      // bytes of the three words of a header, before rounding
	maxPool = 65536   // bytes
	most    = 1 << 32 // the arena ends below, as addresses do
)

// heap is a lowfit.Heap with realloc and RT-Thread's own figures.
type heap struct {
	*lowfit.Heap
	header uint64 // bytes
	total  uint64 // bytes: what the original gives as its size, and its largest request
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	alignLog2 := uint(3)
	if c.Text("align") == "4" {
		alignLog2 = 2
	}
	mask := uint64(1)<<alignLog2 - 1
	if c.Bytes("pool") > maxPool {
		return nil, fmt.Errorf("pool=%s: the most is %d bytes", c.Text("pool"), maxPool)
	}
	header := (words + mask) &^ mask
	base := (c.Bytes("pool") + mask) &^ mask
	// The smallest object is as large as a header. With it, its own and that of
	// the end marker there are three of them.
	capacity, least := c.Bytes("capacity"), base+3*header
	switch {
	case capacity < least:
		return nil, fmt.Errorf("capacity=%s: needs at least %d bytes", c.Text("capacity"), least)
	case capacity >= most:
		return nil, fmt.Errorf("capacity=%s: the most is %d bytes", c.Text("capacity"), uint64(most-1))
	}
	total := capacity&^mask - base - 2*header
	h, err := lowfit.New(lowfit.Rules{
		Name: "rtthread", AlignLog2: alignLog2, Header: header, Least: header, Base: base,
		End: total + header, Most: total, Inclusive: true,
	}, capacity)
	if err != nil {
		return nil, fmt.Errorf("capacity=%s: %w", c.Text("capacity"), err)
	}
	return &heap{Heap: h, header: header, total: total}, nil
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	payload := h.Payload(r)
	mask := uint64(h.Align()) - 1
	want := (size + mask) &^ mask
	switch {
	case want > h.total:
		return r, false
	case want == 0:
		h.Free(r)
		return heapmodel.NullRef, true
	case want == payload:
		return r, true
	case want+h.header+words < payload:
		h.Trim(r, want)
		return r, true
	}
	return heapmodel.Move(h, r, size, align)
}

// Native implements heapmodel.Native. total, used and max_used are those of
// rt_memory_info: used counts whole blocks, headers included, and total leaves
// one header out, so that a full heap has used more than there is. The free
// ones are the difference, 0 if it is negative.
func (h *heap) Native() []heapmodel.Stat {
	free := func(used uint64) uint64 { return h.total - min(used, h.total) }
	return []heapmodel.Stat{
		{Key: "free_bytes", Value: free(h.Use.Allocated)},
		{Key: "min_ever_free_bytes", Value: free(h.Peak)},
		{Key: "total_bytes", Value: h.total},
		{Key: "used_bytes", Value: h.Use.Allocated},
		{Key: "max_used_bytes", Value: h.Peak},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

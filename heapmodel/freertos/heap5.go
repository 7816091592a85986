package freertos

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Heap5 is the model of heap_5.
var Heap5 = &heapmodel.Model{
	Name:   "freertos-heap5",
	Family: "embedded",
	Title:  "FreeRTOS heap_5: heap_4 over several regions of memory",
	Doc: "The blocks, the splits and the merges are those of freertos-heap4, on one list of all regions in address " +
		"order, so that the lowest region fills first. Every region ends with a marker of one header, hence no block spans " +
		"two, even if they touch. All markers but the last are entries of the list without a size until a block right " +
		"below one is freed, which takes it in: they are counted as free blocks by the original's statistics, not by " +
		"the number of free blocks of this program. The regions are given once, before the first malloc. " +
		"Versions 10.5.0 and 10.5.1 add 8 bytes to requests that are multiples of 8. malloc(0) gives a null pointer. " +
		"A step is an entry of the list, marker or free block, visited by the search of malloc or by the walk of free to " +
		"the block's place, or a merge, that with a marker included.\n\n" +
		"Not modelled: the hook for failed allocations, and the heap protector.",
	Source: source + ", heap_5.c",
	Params: []heapmodel.Param{
		{
			Key: "regions", Kind: heapmodel.ParamRegions, Default: "64KiB@0",
			Doc: "regions of memory SIZE@ADDR (HeapRegion_t), bytes lost to alignment included",
		},
		paramPtr,
		paramVersion,
	},
	New: newHeap5,
}

func newHeap5(c heapmodel.Config) (heapmodel.Heap, error) {
	f, err := newFrame(c, overpad(c))
	if err != nil {
		return nil, err
	}
	h := &firstFit{frame: f, started: true}
	h.free = fit.New(&h.t, fit.ByKey)
	for _, r := range c.Regions("regions") {
		if end := uint64(r.Addr) + r.Size; f.limit == 1<<31 && end > 1<<32 {
			return nil, fmt.Errorf("regions=%s: region %d@%d ends above 4GiB, where ptr=32 does not reach", c.Text("regions"), r.Size, r.Addr)
		}
		if err := h.addRegion(r); err != nil {
			return nil, fmt.Errorf("regions=%s: region %d@%d: %w", c.Text("regions"), r.Size, r.Addr, err)
		}
	}
	return h, nil
}

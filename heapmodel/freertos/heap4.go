package freertos

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Heap4 is the model of heap_4.
var Heap4 = &heapmodel.Model{
	Name:   "freertos-heap4",
	Family: "embedded",
	Title:  "FreeRTOS heap_4: address-ordered first fit with immediate coalescing",
	Doc: "Blocks have a header of two words, rounded up to 8 bytes. The lowest free block that is large enough " +
		"is used from its low end and split if more than two headers would remain; else it is used whole. " +
		"A freed block merges at once with free neighbours. The end marker takes one header at the end of the " +
		"array. Versions 10.5.0 and 10.5.1 add 8 bytes to requests that are multiples of 8. The heap protector " +
		"and clearing of freed memory change no size. malloc(0) gives a null pointer. " +
		"A step is a free block visited by the search of malloc or by the walk of free to the block's place, or a merge.\n\n" +
		"Not modelled: the hook for failed allocations, and resetting the statistics.",
	Source: source + ", heap_4.c",
	Params: []heapmodel.Param{paramCapacity, paramPtr, paramVersion},
	New:    newHeap4,
}

func newHeap4(c heapmodel.Config) (heapmodel.Heap, error) {
	f, err := newFrame(c, overpad(c))
	if err != nil {
		return nil, err
	}
	h := &firstFit{frame: f}
	h.free = fit.New(&h.t, fit.ByKey)
	capacity := c.Bytes("capacity")
	if err := h.addRegion(heapmodel.Region{Size: capacity}); err != nil {
		return nil, fmt.Errorf("capacity=%s: %w", c.Text("capacity"), err)
	}
	return h, nil
}

// overpad reports whether the version of heap_4 and heap_5 rounds up by a full
// 8 bytes.
func overpad(c heapmodel.Config) bool {
	return !c.Before("version", 10, 5, 0) && c.Before("version", 10, 6, 0)
}

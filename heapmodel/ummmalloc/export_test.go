package ummmalloc

import "github.com/fragprof/fragprof/heapmodel"

// Long reports whether the list of a first-fit heap is so long that it is in
// groups.
func Long(h heapmodel.Heap) bool { return h.(*firstFit).list.long() }

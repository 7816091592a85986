package talc

import "github.com/fragprof/fragprof/heapmodel"

// Scanned returns the number of indexes of bins that the heap has.
func Scanned(h heapmodel.Heap) int { return h.(*heap).scanned }

// AgeIndexes makes the keys of all indexes nearly run out, as they do after two
// thousand million gaps.
func AgeIndexes(h heapmodel.Heap) {
	for _, x := range h.(*heap).byBin {
		for ; x != nil; x = x.next {
			x.Rekey(2)
			x.newest = 2
		}
	}
}

// Bins calls f with every size of up to so many units, its bin, the lowest bin
// that surely holds it, and the least size in its bin.
func Bins(ptr string, units uint32, f func(units, floor, ceil, least uint32)) {
	m := machines[ptr]
	for u := uint32(1); u <= units; u++ {
		f(u, m.floorOf(u), m.ceilOf(u), m.leastOf(m.floorOf(u)))
	}
}

// NoBin is what Bins gives for sizes that only the last bin may hold.
const NoBin = noBin

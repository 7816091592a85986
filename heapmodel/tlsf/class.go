package tlsf

import "math/bits"

// A class is a range of payloads, in words: each of 0 to 31, and 32 equal
// ranges of each power of two from 32 on. With the top bit at position k+5,
//
//	payload  1 s s s s s . . . .      (k bits below s)
//	class    32k + 32 + s
//
// floorClass is the class a free block is in, ceilClass the lowest class whose
// blocks all hold a request.

// tabled is the payload below which classes are looked up: a load from the
// cache is faster here than the bit scan and the shifts.
const tabled = 1024

var floorTable, ceilTable = func() (f, c [tabled]uint16) {
	for words := range uint32(tabled) {
		f[words], c[words] = uint16(floorClassOf(words)), uint16(ceilClassOf(words))
	}
	return f, c
}()

func floorClass(words uint32) uint32 {
	if words < tabled {
		return uint32(floorTable[words])
	}
	return floorClassOf(words)
}

func ceilClass(words uint32) uint32 {
	if words < tabled {
		return uint32(ceilTable[words])
	}
	return ceilClassOf(words)
}

func floorClassOf(words uint32) uint32 {
	k := step(words)
	return k<<5 + words>>k
}

func ceilClassOf(words uint32) uint32 {
	k := step(words)
	return k<<5 + (words+1<<k-1)>>k
}

// ceilPayload returns the least payload of class ceilClass(words).
func ceilPayload(words uint32) uint32 {
	k := step(words)
	return (words + 1<<k - 1) >> k << k
}

// step returns the log2 of the number of payloads in the class of words.
func step(words uint32) uint32 { return (uint32(bits.Len32(words|32)) - 6) & 31 }

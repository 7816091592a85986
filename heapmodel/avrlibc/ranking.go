package avrlibc

import "math/bits"

// ranking is a set of addresses below 64 KiB that tells how many are below one,
// adding up 63 numbers at most. It is a bitmap, with the number of addresses in
// each run of 32 words.
type ranking struct {
	words [1024]uint64
	runs  [1024 / runWords]uint16
}

const runWords = 32

// add puts an address into the set.
func (r *ranking) add(addr uint32) {
	w := addr >> 6 & 1023
	r.words[w] |= 1 << (addr & 63)
	r.runs[w/runWords]++
}

// remove takes an address out of the set.
func (r *ranking) remove(addr uint32) {
	w := addr >> 6 & 1023
	r.words[w] &^= 1 << (addr & 63)
	r.runs[w/runWords]--
}

// below returns the number of addresses in the set that are lower.
func (r *ranking) below(addr uint32) uint64 {
	w := addr >> 6 & 1023
	count := bits.OnesCount64(r.words[w] & (1<<(addr&63) - 1))
	run := w / runWords
	for _, n := range r.runs[:run] {
		count += int(n)
	}
	for _, word := range r.words[run*runWords : w] {
		count += bits.OnesCount64(word)
	}
	return uint64(count)
}

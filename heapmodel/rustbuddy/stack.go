package rustbuddy

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// stack is a stack from which blocks are also taken out of the middle, and
// which counts in O(log length) the blocks above one.
//
// It is a slice in which what is taken out leaves a gap, and a bitmap of the
// slots that are not gaps. Its top word is at hand, so that most pushes and pops
// are an operation on it; of the words below, a Fenwick tree has the counts.
// When the slice is full, gaps are closed or, if they are few, the slice grows;
// so a push is O(log length) amortised.
//
//	slots   7 - 3 9 - - 2 | 5 8 - - - - -
//	live                  | 1 1 0 0 0 0 0     above are no blocks
//	words   1 0 1 1 0 0 1 |
//
// The X of a block's record in the table is its slot.
type stack struct {
	live  uint64              // bitmap of the top word; it may be 0 though there are blocks below
	top   *[perWord]blocks.ID // slots of the top word; nil in a new stack
	base  uint32              // first slot of the top word
	below uint32              // blocks in the words below
	rest  *rest               // nil in a new stack
}

// rest is what most operations do not need of a stack.
type rest struct {
	slots []blocks.ID
	words []uint64 // bitmaps of the words below the top one
	tally []uint32 // Fenwick tree over words: their blocks
}

const perWord = 64 // slots of a word of a bitmap

// length returns the number of blocks.
func (s *stack) length() uint32 { return s.below + uint32(bits.OnesCount64(s.live)) }

// push puts a block on top. Its record gets the slot.
func (s *stack) push(t *blocks.Table, id blocks.ID) {
	i := uint32(bits.Len64(s.live))
	if i == perWord || s.top == nil {
		s.raise(t)
		i = uint32(bits.Len64(s.live))
	}
	s.top[i%perWord] = id
	s.live |= 1 << (i % perWord)
	t.Nodes[id].X = s.base + i
}

// pop takes the newest block. There is one.
func (s *stack) pop() blocks.ID {
	if s.live == 0 {
		s.lower()
	}
	i := uint32(bits.Len64(s.live)) - 1
	s.live &^= 1 << (i % perWord)
	return s.top[i%perWord]
}

// remove takes the block in a slot out.
func (s *stack) remove(slot uint32) {
	if slot >= s.base {
		s.live &^= 1 << (slot % perWord)
		return
	}
	s.rest.words[slot/perWord] &^= 1 << (slot % perWord)
	s.count(slot/perWord, ^uint32(0))
}

// has reports whether a slot is not a gap.
func (s *stack) has(slot uint32) bool {
	word := s.live
	switch {
	case slot >= s.base+perWord:
		return false
	case slot < s.base:
		word = s.rest.words[slot/perWord]
	}
	return word>>(slot%perWord)&1 == 1
}

// above returns the number of blocks pushed after the one in a slot.
func (s *stack) above(slot uint32) uint32 {
	if slot >= s.base {
		return uint32(bits.OnesCount64(s.live >> (slot % perWord) >> 1))
	}
	w := slot / perWord
	above := s.length() - uint32(bits.OnesCount64(s.rest.words[w]<<(perWord-1-slot%perWord)))
	for ; w > 0; w &= w - 1 {
		above -= s.rest.tally[w-1]
	}
	return above
}

// count adds to the number of blocks in a word below the top one.
func (s *stack) count(word, add uint32) {
	s.below += add
	for ; int(word) < len(s.rest.tally); word |= word + 1 {
		s.rest.tally[word] += add
	}
}

// lower makes the highest word that has blocks the top one. There is one below.
//
//go:noinline
func (s *stack) lower() {
	w := s.base / perWord
	for s.live == 0 {
		w--
		s.live = s.rest.words[w]
	}
	s.count(w, -uint32(bits.OnesCount64(s.live)))
	s.setTop(w)
}

// setTop makes a word the top one.
func (s *stack) setTop(w uint32) {
	s.base = w * perWord
	s.top = (*[perWord]blocks.ID)(s.rest.slots[s.base:])
}

// raise makes room for a block in a top word whose last slot is taken.
//
//go:noinline
func (s *stack) raise(t *blocks.Table) {
	if s.rest == nil {
		s.rest = new(rest)
	}
	r := s.rest
	if w := s.base / perWord; int(w)+1 < len(r.words) {
		r.words[w] = s.live
		s.count(w, uint32(bits.OnesCount64(s.live)))
		s.live = 0
		s.setTop(w + 1)
		return
	}
	// Closing the gaps must leave a quarter of the slice for pushes, or it would
	// be done too often.
	slots, words, length := r.slots, r.words, s.length()
	if size := uint32(len(slots)); length > size-size/4 || size == 0 {
		grown := max(1, len(words)+(len(words)+1)/2)
		*r = rest{slots: make([]blocks.ID, grown*perWord), words: make([]uint64, grown), tally: make([]uint32, grown)}
	}
	if len(words) > 0 {
		words[len(words)-1] = s.live
	}
	to := uint32(0)
	for w, word := range words {
		for ; word != 0; word &= word - 1 {
			id := slots[w*perWord+bits.TrailingZeros64(word)]
			r.slots[to] = id
			t.Nodes[id].X = to
			to++
		}
	}
	s.setTop(length / perWord)
	s.below = s.base
	s.live = 1<<(length%perWord) - 1
	clear(r.tally)
	for w := range r.tally {
		if uint32(w) < s.base/perWord {
			r.words[w] = ^uint64(0)
			r.tally[w] += perWord
		}
		if up := w | (w + 1); up < len(r.tally) {
			r.tally[up] += r.tally[w]
		}
	}
}

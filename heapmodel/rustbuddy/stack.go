package rustbuddy

import (
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// stack is a stack from which blocks are also taken out of the middle, and
// which counts in O(log length) the blocks above one.
//
// It is a slice in which what is taken out leaves a gap. A bitmap marks the
// slots that are not gaps, and a Fenwick tree counts those of the words of the
// bitmap. When the slice is full, gaps are closed or, if they are few, the
// slice grows; so a push is O(log length) amortised.
//
//	slots   7 - 3 9 - - 2         the top is never a gap
//	live    1 0 1 1 0 0 1
//
// The X of a block's record in the table is its slot.
type stack struct {
	slots  []blocks.ID
	live   []uint64 // bitmap of the slots that are not gaps
	tally  []uint32 // Fenwick tree over the words of live; not kept of a single word
	top    uint32   // slots in use, gaps included
	length uint32   // blocks
}

const wordLog2 = 6 // slots of a word of live

// push puts a block on top. Its record gets the slot.
func (s *stack) push(t *blocks.Table, id blocks.ID) {
	if int(s.top) == len(s.slots) {
		s.room(t)
	}
	slot := s.top
	s.slots[slot] = id
	s.live[slot>>wordLog2] |= 1 << (slot & 63)
	if len(s.tally) > 1 {
		s.count(slot>>wordLog2, 1)
	}
	t.Nodes[id].X = slot
	s.top++
	s.length++
}

// pop takes the newest block. There is one.
func (s *stack) pop() blocks.ID {
	slot := s.top - 1
	id := s.slots[slot]
	if w := slot >> wordLog2; len(s.tally) > 1 || s.live[w]&(1<<(slot&63)-1) == 0 {
		s.remove(slot)
	} else {
		s.live[w] &^= 1 << (slot & 63)
		s.top = w<<wordLog2 + uint32(bits.Len64(s.live[w]))
		s.length--
	}
	return id
}

// remove takes the block in a slot out.
func (s *stack) remove(slot uint32) {
	s.live[slot>>wordLog2] &^= 1 << (slot & 63)
	s.length--
	if len(s.tally) > 1 {
		s.count(slot>>wordLog2, ^uint32(0))
	}
	if slot != s.top-1 {
		return
	}
	// Each gap passed here was left by a remove.
	w := slot >> wordLog2
	for s.live[w] == 0 {
		if w == 0 {
			s.top = 0
			return
		}
		w--
	}
	s.top = w<<wordLog2 + uint32(bits.Len64(s.live[w]))
}

// above returns the number of blocks pushed after the one in a slot.
func (s *stack) above(slot uint32) uint32 {
	w := slot >> wordLog2
	upTo := uint32(bits.OnesCount64(s.live[w] << (63 - slot&63)))
	for ; w > 0; w &= w - 1 {
		upTo += s.tally[w-1]
	}
	return s.length - upTo
}

// count adds to the number of blocks in a word of live.
func (s *stack) count(word, add uint32) {
	for ; int(word) < len(s.tally); word |= word + 1 {
		s.tally[word] += add
	}
}

// room makes room for a block in a slice that is full.
//
//go:noinline
func (s *stack) room(t *blocks.Table) {
	// Closing the gaps must leave a quarter of the slice for pushes, or it would
	// be done too often.
	slots, live := s.slots, s.live
	if size := len(slots); int(s.length) > size-size/4 || size == 0 {
		words := max(1, len(live)+(len(live)+1)/2)
		s.slots = make([]blocks.ID, words<<wordLog2)
		s.live = make([]uint64, words)
		s.tally = make([]uint32, words)
	}
	to := uint32(0)
	for w, word := range live {
		for ; word != 0; word &= word - 1 {
			id := slots[w<<wordLog2+bits.TrailingZeros64(word)]
			s.slots[to] = id
			t.Nodes[id].X = to
			to++
		}
	}
	s.top = to
	for w := range s.live {
		switch full := to >> wordLog2; {
		case uint32(w) < full:
			s.live[w] = ^uint64(0)
		case uint32(w) == full:
			s.live[w] = 1<<(to&63) - 1
		default:
			s.live[w] = 0
		}
	}
	if len(s.tally) == 1 {
		return
	}
	clear(s.tally)
	for w, word := range s.live {
		s.tally[w] += uint32(bits.OnesCount64(word))
		if up := w | (w + 1); up < len(s.tally) {
			s.tally[up] += s.tally[w]
		}
	}
}

package trace

import "math/bits"

// SlotPool hands out slots: always the lowest free one. The zero SlotPool is
// ready. Take and Give cost O(log64 slots); the pool needs a bit a slot.
type SlotPool struct {
	// Bit i of levels[0] is set when slot i is free, bit i of levels[l+1] when
	// word i of levels[l] is not zero. Slots at and above size have never been
	// taken and are in no bitmap. 64^6 > 2^32.
	levels [6][]uint64
	size   uint32
}

// Take returns the lowest free slot and marks it live.
func (p *SlotPool) Take() Slot {
	top := len(p.levels) - 1
	for top > 0 && len(p.levels[top]) == 0 {
		top--
	}
	if len(p.levels[top]) == 0 || p.levels[top][0] == 0 {
		return p.extend()
	}
	i := 0
	for l := top; l >= 0; l-- {
		i = i<<6 | bits.TrailingZeros64(p.levels[l][i])
	}
	slot := Slot(i)
	for l := 0; l <= top; l++ {
		w := &p.levels[l][i>>6]
		*w &^= 1 << (i & 63)
		if *w != 0 {
			break
		}
		i >>= 6
	}
	return slot
}

// extend takes the first slot that was never used and makes room for its bit.
// No slot is free when it is called, so every new word is zero.
func (p *SlotPool) extend() Slot {
	slot := p.size
	p.size++
	i := int(slot)
	for l := range p.levels {
		i >>= 6
		if i < len(p.levels[l]) {
			break
		}
		p.levels[l] = append(p.levels[l], 0)
		if i == 0 {
			break
		}
	}
	return Slot(slot)
}

// Live reports whether the slot is taken.
func (p *SlotPool) Live(slot Slot) bool {
	return uint32(slot) < p.size && p.levels[0][slot>>6]&(1<<(slot&63)) == 0
}

// Give frees a live slot.
func (p *SlotPool) Give(slot Slot) {
	i := int(slot)
	for l := range p.levels {
		if len(p.levels[l]) == 0 {
			return
		}
		w := &p.levels[l][i>>6]
		was := *w
		*w |= 1 << (i & 63)
		if was != 0 {
			return
		}
		i >>= 6
	}
}

// Len returns the number of slots ever taken.
func (p *SlotPool) Len() uint32 { return p.size }

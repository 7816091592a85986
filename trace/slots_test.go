package trace

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// lowestFree is a SlotPool written down plainly: it looks at every slot.
type lowestFree struct{ live []bool }

func (p *lowestFree) take() Slot {
	i := slices.Index(p.live, false)
	if i < 0 {
		i = len(p.live)
		p.live = append(p.live, false)
	}
	p.live[i] = true
	return Slot(i)
}

func (p *lowestFree) isLive(s Slot) bool { return int(s) < len(p.live) && p.live[s] }

// TestSlotPool compares a SlotPool with the plain one on takes and gives at
// random, over enough slots for two levels of bitmaps and a third to begin.
func TestSlotPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got SlotPool
		want := &lowestFree{}
		for range rapid.IntRange(0, 30).Draw(t, "phases") {
			count := rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(60, 70), rapid.IntRange(4000, 4200)).Draw(t, "count")
			take := rapid.Bool().Draw(t, "take")
			seed := rapid.Uint64().Draw(t, "seed")
			rng := rand.New(rand.NewPCG(seed, 0))
			for range count {
				if take || len(want.live) == 0 {
					if g, w := got.Take(), want.take(); g != w {
						t.Fatalf("took slot %d, want %d", g, w)
					}
					continue
				}
				slot := Slot(rng.IntN(len(want.live) + 1))
				if live := want.isLive(slot); got.Live(slot) != live {
					t.Fatalf("slot %d: live %v, want %v", slot, !live, live)
				} else if live {
					got.Give(slot)
					want.live[slot] = false
				}
			}
			if got.Len() != uint32(len(want.live)) {
				t.Fatalf("%d slots, want %d", got.Len(), len(want.live))
			}
		}
		for slot, live := range want.live {
			if got.Live(Slot(slot)) != live {
				t.Fatalf("slot %d: live %v, want %v", slot, !live, live)
			}
		}
	})
}

// TestSlotPoolLevels fills four levels of bitmaps, frees slots at the edges of
// their words, and expects them back lowest first.
func TestSlotPoolLevels(t *testing.T) {
	const slots = 64*64*64 + 70
	var p SlotPool
	for want := range Slot(slots) {
		if got := p.Take(); got != want {
			t.Fatalf("took slot %d, want %d", got, want)
		}
	}
	edges := []Slot{0, 1, 63, 64, 4095, 4096, 4097, 64*64*64 - 1, 64 * 64 * 64, slots - 1}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		shuffled := slices.Clone(edges)
		rng.Shuffle(len(edges), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for _, slot := range shuffled {
			p.Give(slot)
		}
		for _, slot := range edges {
			if p.Live(slot) {
				t.Fatalf("slot %d is live after Give", slot)
			}
		}
		for _, want := range edges {
			if got := p.Take(); got != want {
				t.Fatalf("took slot %d, want %d", got, want)
			}
		}
	}
	if got := p.Take(); got != slots || p.Len() != slots+1 {
		t.Errorf("took slot %d of %d, want a new one", got, p.Len())
	}
	if p.Live(slots + 1) {
		t.Error("a slot never taken is live")
	}
}

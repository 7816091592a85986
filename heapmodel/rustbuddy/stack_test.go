package rustbuddy

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"pgregory.net/rapid"
)

// A stack does what a slice does, over many words of its bitmap.
func TestStackIsASlice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var tab blocks.Table
		const most = 3000
		blocks.Reserve(&tab, most)
		var s stack
		var plain, spare []blocks.ID
		for id := range blocks.ID(most) {
			spare = append(spare, id)
		}
		seed := rapid.Uint32().Draw(rt, "seed")
		rise := rapid.Uint32Range(1, 7).Draw(rt, "pushes of 8")
		for i := range 4000 {
			seed = seed*1664525 + 1013904223
			pick := seed >> 8
			switch {
			case len(plain) == 0 || pick%8 < rise && len(spare) > 0:
				id := spare[len(spare)-1]
				spare = spare[:len(spare)-1]
				s.push(&tab, id)
				plain = append(plain, id)
			case pick%16 < 8:
				want := plain[len(plain)-1]
				plain = plain[:len(plain)-1]
				if got := s.pop(); got != want {
					rt.Fatalf("operation %d: pops %d, want %d", i, got, want)
				}
				spare = append(spare, want)
			default:
				at := int(pick>>4) % len(plain)
				id := plain[at]
				slot := tab.Nodes[id].X
				if got := int(s.above(slot)); got != len(plain)-1-at {
					rt.Fatalf("operation %d: %d blocks above, want %d", i, got, len(plain)-1-at)
				}
				s.remove(slot)
				plain = slices.Delete(plain, at, at+1)
				spare = append(spare, id)
			}
			if int(s.length()) != len(plain) {
				rt.Fatalf("operation %d: length %d, want %d", i, s.length(), len(plain))
			}
		}
		if size := len(s.rest.slots); size > max(64, 3*most) {
			rt.Fatalf("%d slots for at most %d blocks", size, most)
		}
	})
}

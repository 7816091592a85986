package fit

import (
	"testing"

	"pgregory.net/rapid"
)

// TestLastFit compares it with a walk from the end, in lists of one leaf and of
// several levels, with gaps.
func TestLastFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 9000
		ids := rapid.SampledFrom([]int{1, 40, 200, 3000, most}).Draw(t, "ids")
		largest := rapid.SampledFrom([]int{60, 100, 1000}).Draw(t, "largest")
		p := newPair(t, ByKey, most+1, uint32(largest))
		rnd := rapid.Uint64().Draw(t, "seed")
		next := func(n int) int {
			rnd = rnd*6364136223846793005 + 1442695040888963407
			return int(rnd >> 33 % uint64(n))
		}
		for k := range ids {
			p.insert(uint32(k*7+1), uint32(1+next(largest)))
		}
		for range ids / 3 {
			p.remove(next(len(p.l.items)))
		}
		for range 20 {
			want := uint32(1 + next(largest+largest/10))
			at := len(p.l.items) - 1
			for at >= 0 && p.l.items[at].size < want {
				at--
			}
			p.same("last fit", p.x.LastFit(want), at)
		}
	})
}

package chains

import (
	"cmp"
	"slices"

	"github.com/fragprof/fragprof/trace/growth"
)

// fits is the part of the growths that a rule must explain to be named.
const fits = 0.75

// elems are the sizes of elements that are tried, in bytes.
var elems = []uint64{1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 96, 104, 112, 128, 160, 192, 256}

// explain finds the rule that growths follow.
func explain(growths map[stride]uint64) (g Growth) {
	steps := make([]stride, 0, len(growths))
	total := uint64(0)
	for at, n := range growths {
		steps = append(steps, at)
		total += n
	}
	if total == 0 {
		return g
	}
	slices.SortFunc(steps, func(a, b stride) int {
		return cmp.Or(cmp.Compare(factor(a), factor(b)), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	seen := uint64(0)
	g.Step = steps[0].to - steps[0].from
	for _, at := range steps {
		if seen += growths[at]; 2*seen >= total && g.Factor == 0 {
			g.Factor = factor(at)
		}
		if at.to-at.from != g.Step {
			g.Step = 0
		}
	}
	for _, r := range growth.Rules {
		explained := uint64(0)
		for _, at := range steps {
			if follows(r, at) {
				explained += growths[at]
			}
		}
		// The first of the table wins a tie: the rules of many libraries begin
		// alike.
		if fit := float64(explained) / float64(total); fit >= fits && fit > g.Fit {
			g.Rule, g.Fit = r, fit
		}
	}
	return g
}

// factor returns how many times as large a buffer grows.
func factor(at stride) float64 { return float64(at.to) / float64(max(at.from, 1)) }

// follows reports whether a full container of the rule, of elements of some
// size, makes the growth when one element is added.
func follows(r *growth.Rule, at stride) bool {
	const probe = 1 << 20
	header := r.Bytes(probe, 1) - probe
	if at.from <= header {
		return false
	}
	tried := elems
	if r.Text {
		tried = elems[:1]
	}
	for _, elem := range tried {
		capacity := (at.from - header) / elem
		if capacity > 0 && r.Bytes(capacity, elem) == at.from && r.Bytes(r.Next(capacity, capacity+1, elem), elem) == at.to {
			return true
		}
	}
	return false
}

package strategy

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/chains"
	rules "github.com/fragprof/fragprof/trace/growth"
)

// A trace shows which capacities a container had, not how much was in it. What
// it needed is read off how its call site grows: a step that a growth rule
// makes when one element is too many was made for that one element; a step
// that no rule explains was made for all it brought.

// fit is how the containers of a call site grow.
type fit struct {
	rule  *rules.Rule // nil: by no known rule
	loose bool        // without a rule: by about the same factor again and again
	elem  uint64      // bytes of an element of most of its containers; 1 without a rule
}

// exactly reports whether the sizes of the site's containers are what they need.
func (f *fit) exactly() bool { return f.rule == nil && !f.loose }

// fits are the growing call sites of a trace. Without call sites there is one.
type fits struct {
	bySite  bool
	sites   []fit
	all     fit            // of sites that were not learned: exact
	explain map[string]int // sites by the name of what they grow by
}

func (f *fits) of(site trace.SiteID) *fit {
	if !f.bySite {
		site = 0
	}
	if int(site) < len(f.sites) {
		return &f.sites[site]
	}
	return &f.all
}

// The rules of a fit:
const (
	// histories is the number of containers of a site that are looked at.
	histories = 1000
	// loosely is the smallest factor that counts as growth ahead of need.
	loosely = 1.25
	// looseSteps is the number of steps below which no factor is read off a site.
	looseSteps = 8
	// octave is the number of bins of a factor of two, in a histogram of factors.
	octave = 8
)

// votes is what the containers of a site say.
type votes struct {
	seen    int
	steps   uint64
	natural []uint64            // by rule: steps it makes when one element is too many
	starts  []uint64            // by rule: containers that begin as the rule does
	elems   []map[uint64]uint64 // by rule: containers by bytes of an element
	factors [8 * octave]uint64  // steps by the logarithm of their factor
}

// learnFits finds out how each chosen site grows: by the rule called was, or if
// that is "auto" by the rule that explains most of its steps, preferring the
// given one, or exactly if none explains half of them.
func learnFits(src trace.Source, of *objects, chosen []bool, was string, prefer *rules.Rule) (*fits, error) {
	h := src.Header()
	f := &fits{bySite: h.HasSite, all: fit{elem: 1}, explain: map[string]int{}}
	candidates := rules.Rules
	switch was {
	case "auto":
	case "exact":
		candidates = nil
	default:
		r, err := rules.Lookup(was)
		if err != nil {
			return nil, fmt.Errorf("was: %w", unknownRule(err, "auto", "exact"))
		}
		candidates = []*rules.Rule{r}
	}
	all := make([]*votes, max(len(h.Sites), 1))
	err := eachHistory(src, of, chosen, func(c *history) {
		site := c.site
		if !f.bySite {
			site = 0
		}
		for int(site) >= len(all) {
			all = append(all, nil)
		}
		v := all[site]
		if v == nil {
			n := len(candidates)
			v = &votes{natural: make([]uint64, n), starts: make([]uint64, n), elems: make([]map[uint64]uint64, n)}
			all[site] = v
		}
		if v.seen++; v.seen <= histories {
			v.add(candidates, c)
		}
	})
	if err != nil {
		return nil, err
	}
	f.sites = make([]fit, len(all))
	for i, v := range all {
		f.sites[i] = fit{elem: 1}
		if v != nil {
			f.sites[i] = v.decide(candidates, prefer, was != "auto")
			f.explain[f.sites[i].name()]++
		}
	}
	return f, nil
}

// unknownRule lists the names that are known.
func unknownRule(err error, others ...string) error {
	var u *rules.UnknownRuleError
	if errors.As(err, &u) {
		return fmt.Errorf("%w: there are %s", err, strings.Join(append(others, u.Known...), ", "))
	}
	return err
}

func (v *votes) add(candidates []*rules.Rule, c *history) {
	for i := 1; i < len(c.sizes); i++ {
		if from, to := c.sizes[i-1], c.sizes[i]; to > from {
			v.steps++
			v.factors[factorBin(from, to)]++
		}
	}
	for i, r := range candidates {
		elem, natural, start := explain(r, c.sizes)
		v.natural[i] += natural
		if start {
			v.starts[i]++
		}
		if v.elems[i] == nil {
			v.elems[i] = map[uint64]uint64{}
		}
		v.elems[i][elem]++
	}
}

// factorBin returns the bin of the factor from from to to.
func factorBin(from, to uint64) int {
	if from == 0 {
		return 8*octave - 1
	}
	bin := 0
	for f := float64(to) / float64(from); f >= eighth && bin < 8*octave-1; f /= eighth {
		bin++
	}
	return bin
}

// eighth is the eighth root of two.
const eighth = 1.0905077326652577

// decide takes the rule with most votes, or if forced the only one.
func (v *votes) decide(candidates []*rules.Rule, prefer *rules.Rule, forced bool) fit {
	best := -1
	for i, r := range candidates {
		if best < 0 || v.better(i, best, r, candidates[best], prefer) {
			best = i
		}
	}
	if best >= 0 && (forced || 2*v.natural[best] >= v.steps && v.natural[best] > 0) {
		f := fit{rule: candidates[best], elem: 1}
		var most uint64
		for elem, n := range v.elems[best] {
			if n > most || n == most && elem < f.elem {
				f.elem, most = elem, n
			}
		}
		return f
	}
	for bin := 3; !forced && bin+1 < len(v.factors); bin++ { // from the bin of loosely
		if 4*(v.factors[bin]+v.factors[bin+1]) >= 3*v.steps && v.steps >= looseSteps {
			return fit{loose: true, elem: 1}
		}
	}
	return fit{elem: 1}
}

// better reports whether rule i explains more than rule k.
func (v *votes) better(i, k int, r, s, prefer *rules.Rule) bool {
	if v.natural[i] != v.natural[k] {
		return v.natural[i] > v.natural[k]
	}
	if (r == prefer) != (s == prefer) {
		return r == prefer
	}
	return v.starts[i] > v.starts[k]
}

// name returns what the site grows by.
func (f *fit) name() string {
	switch {
	case f.rule != nil:
		return f.rule.Name
	case f.loose:
		return "some factor"
	}
	return "exact"
}

// headerOf returns the bytes of a request beside the elements.
func headerOf(r *rules.Rule) uint64 {
	if r == nil {
		return 0
	}
	return r.Bytes(r.Inline()+1, 1) - r.Inline() - 1
}

// firstCapacities are capacities that containers begin with, of the rules and
// of programs, and commonElems are bytes of elements.
var (
	firstCapacities = []uint64{1, 2, 4, 8, 5, 10, 17, 3, 6, 16, 32, 64}
	commonElems     = []uint64{8, 4, 16, 24, 12, 32, 2, 1}
)

// explain returns the size of an element with which the rule makes most of the
// steps of a container when one element is too many, how many steps that are,
// and whether the first capacity is that of the rule, too.
func explain(r *rules.Rule, sizes []uint64) (elem, natural uint64, start bool) {
	if r.Text {
		natural, start = naturals(r, sizes, 1)
		return 1, natural, start
	}
	header := headerOf(r)
	first := sizes[0]
	if first == 0 && len(sizes) > 1 {
		first = sizes[1]
	}
	elem = 1
	try := func(e uint64) {
		if e == 0 || e >= 1<<16 {
			return
		}
		if n, s := naturals(r, sizes, e); n > natural || n == natural && s && !start {
			elem, natural, start = e, n, s
		}
	}
	if first > header {
		for _, m := range firstCapacities {
			if (first-header)%m == 0 {
				try((first - header) / m)
			}
		}
	}
	if natural+1 < uint64(len(sizes)) {
		for _, e := range commonElems {
			try(e)
		}
	}
	return elem, natural, start
}

// naturals counts the steps that the rule makes when one element is too many.
func naturals(r *rules.Rule, sizes []uint64, elem uint64) (count uint64, start bool) {
	header := headerOf(r)
	capacity := func(bytes uint64) (uint64, bool) {
		if bytes == 0 {
			return r.Inline(), true
		}
		if bytes < header || (bytes-header)%elem != 0 {
			return 0, false
		}
		return (bytes - header) / elem, true
	}
	for i, size := range sizes {
		var before uint64
		if i > 0 {
			before = sizes[i-1]
		}
		if size <= before {
			continue
		}
		a, ok := capacity(before)
		b, whole := capacity(size)
		if !ok || !whole || r.Next(a, a+1, elem) != b {
			continue
		}
		if i == 0 {
			start = true
		} else {
			count++
		}
	}
	return count, start
}

// elemOf returns the bytes of an element of a container of the site.
func (f *fit) elemOf(sizes []uint64) uint64 {
	if f.rule == nil {
		return 1
	}
	elem, natural, _ := explain(f.rule, sizes)
	steps := uint64(0)
	for i := 1; i < len(sizes); i++ {
		if sizes[i] > sizes[i-1] {
			steps++
		}
	}
	if 2*natural < steps {
		return f.elem
	}
	return elem
}

// least returns the fewest bytes, elements and header, for which a container
// with elements of elem bytes takes to bytes when it has from. It is above
// from, unless to is not.
func (f *fit) least(from, to, elem uint64) uint64 {
	if to <= from || f.exactly() {
		return to
	}
	if f.rule == nil {
		if float64(to) >= loosely*float64(from) && from > 0 {
			return from + 1
		}
		return to
	}
	header := headerOf(f.rule)
	a, b := f.rule.Inline(), uint64(0)
	if from > header {
		a = (from - header + elem - 1) / elem
	}
	if to > header {
		b = (to - header) / elem
	}
	if b <= a {
		return to
	}
	if f.rule.Next(a, b, elem) != b || header+b*elem != to {
		// About what the rule gives, as where sizes are those of blocks.
		if natural := f.rule.Bytes(f.rule.Next(a, a+1, elem), elem); near(natural, to) {
			return min(header+(a+1)*elem, to)
		}
		return to
	}
	// The needs for which the rule gives b are a range that ends at b.
	low, high := a+1, b
	for low < high {
		if mid := low + (high-low)/2; f.rule.Next(a, mid, elem) == b {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return header + low*elem
}

// near reports whether two sizes differ by a sixteenth or two bytes at most.
func near(a, b uint64) bool {
	d := max(a, b) - min(a, b)
	return d <= 1<<max(bits.Len64(b)-5, 1)
}

// makes reports whether a container of the site that has from bytes can go on
// with to: a rule gives what it gives for one element more, or more than that.
func (f *fit) makes(from, to uint64) bool {
	switch {
	case f.exactly():
		return true
	case f.rule == nil:
		return float64(to) >= loosely*float64(from)
	case f.rule.Text:
		return f.gives(from, to, 1)
	}
	for _, elem := range commonElems {
		if f.gives(from, to, elem) {
			return true
		}
	}
	return f.gives(from, to, f.elem)
}

func (f *fit) gives(from, to, elem uint64) bool {
	header := headerOf(f.rule)
	if from < header {
		return true
	}
	a := max((from-header)/elem, f.rule.Inline())
	natural := f.rule.Bytes(f.rule.Next(a, a+1, elem), elem)
	return to >= natural || near(natural, to)
}

// cut parts containers that only seem to be one: one died right after another
// of the site began, which is larger, but not as much as the site's containers
// grow. It returns how many.
func (f *fits) cut(of *objects) (count int) {
	t := of.chain
	for b, a := range t.Prev {
		if a != chains.None && !f.of(of.site[b]).makes(of.last[a], of.first[b]) {
			t.Prev[b], t.Next[a] = chains.None, chains.None
			count++
		}
	}
	return count
}

// note says how sites grow.
func (f *fits) note() string {
	if len(f.explain) == 0 {
		return ""
	}
	var parts []string
	total := 0
	for _, r := range rules.Rules {
		if n := f.explain[r.Name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d as %s", n, r.Name))
			total += n
		}
	}
	if n := f.explain["some factor"]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d by a factor of no known rule", n))
		total += n
	}
	if n := f.explain["exact"]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d by no rule, so that its sizes are taken as its needs", n))
		total += n
	}
	return fmt.Sprintf("of %d sites that grow: %s", total, strings.Join(parts, ", "))
}

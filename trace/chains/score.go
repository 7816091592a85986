package chains

import "math"

// tally counts pairs that look like growth and their reverses.
type tally struct{ target, reverse float64 }

func (t *tally) add(target bool, count float64) {
	if target {
		t.target += count
	} else {
		t.reverse += count
	}
}

// chance estimates which part of the targets is chance, given what to believe
// before any are counted, and how many counts that belief weighs. It is
// cautious: by two standard deviations of the reverses.
func (t *tally) chance(prior, weight float64) float64 {
	return min((t.reverse+2*math.Sqrt(t.reverse)+weight*prior)/(t.target+weight), 1)
}

// spot is where pairs are counted together: at a site, with a class of lag,
// and with a ratio or all.
type spot struct {
	site       uint32
	lag, ratio uint8
	again      bool // pairs that were seen more than once
}

// anyRatio is the ratio of a spot of all ratios.
const anyRatio = ratios

// scorer knows how likely pairs of a kind are chance.
type scorer struct {
	lag   [lags]float64
	kind  [lags][ratios][scales][counts]float64
	spots map[spot]*tally

	masks []uint64 // by site: a bit for each lag and ratio that can be linked
	rest  uint64   // the same for sites beyond
	memo  [1 << 12]memo
}

// memo keeps the score of a pair that was not counted.
type memo struct {
	key    uint64 // what was scored, plus one
	chance float32
}

const (
	doubt  = 0.5 // what is believed of a kind of pair of which nothing is known
	weight = 4   // of a belief, in counts
)

// newScorer counts the pairs by kind and gives each its verdict.
func newScorer(p *pairs) *scorer {
	s := &scorer{spots: map[spot]*tally{}}
	var all [lags]tally
	var kinds [lags][ratios][scales][counts]tally
	for i := range p.table {
		q := &p.table[i]
		if q.key == 0 {
			continue
		}
		for l, n := range q.count {
			if n == 0 {
				continue
			}
			l, c := uint8(l), countClass(q.total(uint8(l)))
			all[l].add(q.target, float64(n))
			kinds[l][q.ratio][q.scale][c].add(q.target, float64(n))
			s.spot(spot{q.site, l, anyRatio, false}).add(q.target, float64(n))
			s.spot(spot{q.site, l, q.ratio, c > 0}).add(q.target, float64(n))
		}
	}
	for l := range all {
		for r := range p.rare[l] {
			for z, t := range p.rare[l][r] {
				for _, k := range []*tally{&all[l], &kinds[l][r][z][0]} {
					k.target += t.target
					k.reverse += t.reverse
				}
			}
		}
		s.lag[l] = all[l].chance(doubt, weight)
		for r := range kinds[l] {
			for z := range kinds[l][r] {
				for c := range kinds[l][r][z] {
					s.kind[l][r][z][c] = kinds[l][r][z][c].chance(s.lag[l], weight)
				}
			}
		}
	}
	s.judge(p)
	return s
}

// judge gives each pair its chances and each site its mask.
func (s *scorer) judge(p *pairs) {
	sites := uint32(0)
	for i := range p.table {
		sites = max(sites, p.table[i].site+1)
	}
	s.masks = make([]uint64, sites)
	f := newFlow(p)
	for i := range p.table {
		q := &p.table[i]
		plain := q.target && f.plain(q, p.sizes[i])
		for l := range uint8(lags) {
			if !q.target {
				break
			}
			if !plain {
				q.chance[l] = 255
				continue
			}
			chance := s.score(q.site, l, q.ratio, q.scale, countClass(q.total(l)))
			q.chance[l] = uint8(math.Round(float64(chance) * 255))
			if chance < accept[l] {
				s.masks[q.site] |= 1 << (l*ratios + q.ratio)
			}
		}
	}
	for l := range uint8(lags) {
		for r := range uint8(ratios) {
			for z := range uint8(scales) {
				for site := range sites {
					if s.score(site, l, r, z, 0) < accept[l] {
						s.masks[site] |= 1 << (l*ratios + r)
					}
				}
				if s.kind[l][r][z][0] < float64(accept[l]) {
					s.rest |= 1 << (l*ratios + r)
				}
			}
		}
	}
}

// mask returns a bit for each lag and ratio with which a pair of the site can
// be linked.
func (s *scorer) mask(site uint32) uint64 {
	if int(site) < len(s.masks) {
		return s.masks[site]
	}
	return s.rest
}

// unseen returns how likely a pair that was not counted is chance.
func (s *scorer) unseen(site uint32, lag, ratio, scale uint8) float32 {
	key := (uint64(site)<<24 | uint64(lag)<<16 | uint64(ratio)<<8 | uint64(scale)) + 1
	m := &s.memo[key*0x9e3779b97f4a7c15>>52]
	if m.key != key {
		*m = memo{key, s.score(site, lag, ratio, scale, 0)}
	}
	return m.chance
}

func (s *scorer) spot(at spot) *tally {
	t := s.spots[at]
	if t == nil {
		t = &tally{}
		s.spots[at] = t
	}
	return t
}

// score returns how likely a pair is chance. The evidence of its kind and of
// its site multiply as odds; what was seen of the kind at the site goes above
// both as far as it is much.
func (s *scorer) score(site uint32, lag, ratio, scale, count uint8) float32 {
	f := s.kind[lag][ratio][scale][count]
	if site == 0 { // which is all sites and none
		return float32(f)
	}
	if t := s.spots[spot{site, lag, anyRatio, false}]; t != nil {
		f = odds(f) * odds(t.chance(s.lag[lag], weight)) / odds(s.lag[lag])
		f /= 1 + f
	}
	if t := s.spots[spot{site, lag, ratio, count > 0}]; t != nil {
		f = t.chance(f, weight)
	}
	return float32(f)
}

func odds(p float64) float64 {
	const least, most = 0.01, 0.99
	p = min(max(p, least), most)
	return p / (1 - p)
}

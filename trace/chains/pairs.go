package chains

import "math/bits"

// How sizes a < b relate.
const (
	double      = iota // b is 2a
	aboutDouble        // 2a but for a terminator, a header or rounding
	exactHalf          // 1.5 times
	step               // at most 16 bytes more
	fifth              // up to 1.2 times
	third              // up to 1.45
	half               // up to 1.56
	nearly             // up to 1.9
	twice              // up to 2.2
	four               // up to 4
	more               // up to most times and some bytes
	ratios
)

// B is at most most times as large as A and some bytes.
const (
	most = 16
	some = 256
)

// ratio returns how a relates to b, 0 < a < b; ok is false if b is far larger.
func ratio(a, b uint64) (class uint8, ok bool) {
	switch {
	case b > most*a+some:
		return 0, false
	case b == 2*a:
		return double, true
	case b+min(32, a/8+1) >= 2*a && b <= 2*a+min(32, a/8+1) && a > 4:
		return aboutDouble, true
	case 2*b+1 == 3*a || 2*b == 3*a:
		return exactHalf, true
	case b-a <= 16:
		return step, true
	case 5*b <= 6*a:
		return fifth, true
	case 20*b <= 29*a:
		return third, true
	case 25*b <= 39*a:
		return half, true
	case 10*b <= 19*a:
		return nearly, true
	case 5*b <= 11*a:
		return twice, true
	case b <= 4*a:
		return four, true
	}
	return more, true
}

// What lies between alloc and free in the events of the thread. It is even if
// the thread allocates as often as it frees there, or once more or less, as it
// does that copies elements and drops the originals.
const (
	adjacent  = iota // nothing
	closeEven        // up to 4 events
	close            // up to 4, not even
	apartEven        // more
	lags
	apart // more, and not even: not looked at
)

// lag returns the class of a number of events between, of which surplus more
// were allocs than frees.
func lag(events uint32, surplus int32) uint8 {
	even := surplus >= -1 && surplus <= 1
	switch {
	case events == 0:
		return adjacent
	case events <= 4 && even:
		return closeEven
	case events <= 4:
		return close
	case even:
		return apartEven
	}
	return apart
}

// counts is the number of classes of how often a pair of sizes was seen.
const counts = 6

// countClass returns 0 for one or none, 1 for 2 and 3, 2 up to 7, 3 up to 31, 4
// up to 127, 5 for more.
func countClass(count uint32) uint8 {
	return [...]uint8{0, 0, 1, 2, 3, 3, 4, 4, 5}[min(bits.Len32(count), 8)]
}

// scales is the number of classes of sizes: requests of a few words, up to a
// KiB, and larger, which chance brings together ever less often.
const scales = 3

// scale returns the class of the smaller size of a pair.
func scale(a uint64) uint8 {
	switch {
	case a < 64:
		return 0
	case a <= 1024:
		return 1
	}
	return 2
}

// pair counts how often an alloc of size b was followed by a free of size a at
// one site.
type pair struct {
	key    uint64 // hash of site and sizes; zero in an empty place
	site   uint32
	count  [lags]uint16 // by class of lag; saturated
	led    uint16       // of these, freed objects that were in a target themselves
	chance [lags]uint8  // how likely a link of the pair is chance, in 1/255
	ratio  uint8
	scale  uint8
	target bool // b > a
}

// total returns how often the pair was seen with that lag or less.
func (p *pair) total(lag uint8) uint32 {
	var sum uint32
	for _, n := range p.count[:lag+1] {
		sum += uint32(n)
	}
	return sum
}

// maxPairs bounds the table. Beyond it, the rarest pairs are forgotten.
const maxPairs = 1 << 17

// pairs is a hash table of pairs.
type pairs struct {
	table []pair
	sizes []stride // of the pairs, which are smaller without: they take half a cache line
	used  int
	rare  [lags][ratios][scales]tally // what was forgotten
}

// hash mixes site and sizes; it is never zero.
func hash(site uint32, a, b uint64) uint64 {
	h := a*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(b*0xc2b2ae3d27d4eb4f, 31) ^ uint64(site)*0xd6e8feb86659fd93
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>29 | 1
}

// add counts one pair: a was freed after b was allocated. There was a rehash
// before the first.
func (p *pairs) add(site uint32, a, b uint64, lag uint8, led bool) {
	key := hash(site, a, b)
	if q := &p.table[p.find(key)]; q.key == key {
		q.count[lag] = max(q.count[lag]+1, q.count[lag])
		if led {
			q.led = max(q.led+1, q.led)
		}
		return
	}
	class, ok := ratio(min(a, b), max(a, b))
	if !ok {
		return
	}
	if 2*p.used >= len(p.table) {
		p.rehash()
	}
	place := p.find(key)
	p.sizes[place] = stride{a, b}
	q := &p.table[place]
	*q = pair{key: key, site: site, ratio: class, scale: scale(min(a, b)), target: b > a}
	q.count[lag] = 1
	if led {
		q.led = 1
	}
	p.used++
}

// find returns the place of the key: its own, or the empty one where it belongs.
func (p *pairs) find(key uint64) uint64 {
	mask := uint64(len(p.table) - 1)
	for i := key >> 1 & mask; ; i = (i + 1) & mask {
		if q := &p.table[i]; q.key == key || q.key == 0 {
			return i
		}
	}
}

// rehash makes room: it doubles the table, or forgets the rarest pairs so that
// at most a quarter is full.
func (p *pairs) rehash() {
	old, sizes := p.table, p.sizes
	size, rarest := max(2*len(old), 1<<10), uint32(0)
	if size > maxPairs {
		size, rarest = maxPairs, rarer(old, maxPairs/4)
	}
	p.table, p.sizes, p.used = make([]pair, size), make([]stride, size), 0
	for i := range old {
		q := &old[i]
		if q.key == 0 {
			continue
		}
		if q.total(lags-1) <= rarest {
			for l, n := range q.count {
				p.rare[l][q.ratio][q.scale].add(q.target, float64(n))
			}
			continue
		}
		place := p.find(q.key)
		p.table[place], p.sizes[place] = *q, sizes[i]
		p.used++
	}
}

// rarer returns the least count that no more than keep pairs exceed.
func rarer(table []pair, keep int) uint32 {
	for least := uint32(1); ; least *= 2 {
		above := 0
		for i := range table {
			if table[i].total(lags-1) > least {
				above++
			}
		}
		if above <= keep {
			return least
		}
	}
}

package chains

// flow is how the sizes of a site lead to each other. Two patterns that are no
// growth come in one order only, so that their reverses do not betray them:
//
//   - a temporary of any size is freed after a node of one size was made. Then
//     many sizes lead to one, which itself leads nowhere.
//   - objects of two sizes take turns. Then one size leads to one, and that is
//     all: what is freed was not led to itself, nor is what was made ever freed
//     for a third. It could as well be containers that all grow once, from the
//     same size to the same, and these are lost.
type flow map[sized]*through

type sized struct {
	site uint32
	size uint64
}

// through is what leads to and from a size.
type through struct {
	in, out fan
	led     float64 // of what leads from the size, objects that something had led to
}

// fan sums up the counts of some pairs.
type fan struct{ sum, squares, most float64 }

func (f *fan) add(count float64) {
	f.sum += count
	f.squares += count * count
	f.most = max(f.most, count)
}

// width is how many pairs share the counts, were they equal.
func (f *fan) width() float64 { return f.sum * f.sum / max(f.squares, 1) }

func newFlow(p *pairs) flow {
	f := flow{}
	for i := range p.table {
		if q := &p.table[i]; q.target {
			n := float64(q.total(lags - 1))
			f.at(q.site, p.sizes[i].to).in.add(n)
			from := f.at(q.site, p.sizes[i].from)
			from.out.add(n)
			from.led += float64(q.led)
		}
	}
	return f
}

func (f flow) at(site uint32, size uint64) *through {
	key := sized{site, size}
	t := f[key]
	if t == nil {
		t = &through{}
		f[key] = t
	}
	return t
}

// plain reports whether the sizes of a target are not in one of the patterns.
func (f flow) plain(q *pair, sizes stride) bool {
	const (
		known   = 8   // counts from which a size is known
		many    = 8   // sizes that lead to one
		onward  = 0.2 // part of what leads to a size that leads on, at most, if it leads nowhere
		support = 0.1 // part of the pair's count that another must have to continue it
	)
	b := f.at(q.site, sizes.to)
	if b.in.sum >= 4*known && b.in.width() > many && b.out.sum < onward*b.in.sum {
		return false
	}
	n := float64(q.total(lags - 1))
	return n < known || max(float64(q.led), b.led) >= support*n
}

// prune takes back the links of pairs of sizes that are nearly all alone: no
// link leads to their first object and none on from their second. Containers
// of a rule that have grown that often have also grown further, some of them.
func (d *detector) prune() {
	const (
		known = 8   // links from which a pair is known
		joint = 0.1 // part of them that belong to longer chains, at least
	)
	links := make([]struct{ all, alone uint32 }, len(d.pairs.table))
	for a, place := range d.via {
		if place == None {
			continue
		}
		links[place].all++
		if d.alone(uint32(a)) {
			links[place].alone++
		}
	}
	before := d.t.Links
	for a, place := range d.via {
		if place == None || d.pairs.table[place].key == 0 || !d.alone(uint32(a)) {
			continue
		}
		if l := links[place]; l.all >= known && float64(l.all-l.alone) < joint*float64(l.all) {
			d.t.Prev[d.t.Next[a]] = None
			d.t.Next[a] = None
			d.t.Links--
			d.t.Copied -= d.pairs.sizes[place].from
		}
	}
	if before > 0 {
		d.t.Doubt *= float64(d.t.Links) / float64(before)
	}
}

// alone reports whether the link from the object is all of its chain.
func (d *detector) alone(object uint32) bool {
	return d.t.Prev[object] == None && d.t.Next[d.t.Next[object]] == None
}

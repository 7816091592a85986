package fit

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"pgregory.net/rapid"
)

// item and list are the plain form of an Index: a sorted slice.
type item struct {
	id        blocks.ID
	key, size uint32
}

type list struct {
	order Order
	items []item
}

func (l *list) compare(a, b item) int {
	if l.order == BySize && a.size != b.size {
		return cmp.Compare(a.size, b.size)
	}
	return cmp.Compare(a.key, b.key)
}

func (l *list) insert(e item) {
	at, _ := slices.BinarySearchFunc(l.items, e, l.compare)
	l.items = slices.Insert(l.items, at, e)
}

func (l *list) remove(at int) item {
	e := l.items[at]
	l.items = slices.Delete(l.items, at, at+1)
	return e
}

// firstFit returns the index of the first item from at on that is large
// enough, -1 if there is none.
func (l *list) firstFit(at int, want uint32) int {
	for i := at; i < len(l.items); i++ {
		if l.items[i].size >= want {
			return i
		}
	}
	return -1
}

func (l *list) largest() uint32 {
	m := uint32(0)
	for _, e := range l.items {
		m = max(m, e.size)
	}
	return m
}

// pair drives an Index and its plain form side by side.
type pair struct {
	t       rapid.TB
	table   blocks.Table
	x       *Index
	l       list
	idle    []blocks.ID
	used    map[uint32]bool // keys
	maxSize uint32
}

func newPair(t rapid.TB, order Order, ids int, maxSize uint32) *pair {
	return newPairOf(t, New[uint32], order, ids, maxSize)
}

func newPairOf(t rapid.TB, newIndex func(*blocks.Table, Order) *Index, order Order, ids int, maxSize uint32) *pair {
	p := &pair{t: t, l: list{order: order}, used: map[uint32]bool{}, maxSize: maxSize}
	p.table.Nodes = make([]blocks.Node, ids)
	p.x = newIndex(&p.table, order)
	for i := ids - 1; i >= 0; i-- {
		p.idle = append(p.idle, blocks.ID(i))
	}
	return p
}

func (p *pair) insert(key, size uint32) {
	if len(p.idle) == 0 || p.used[key] {
		return
	}
	id := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	p.used[key] = true
	p.x.Insert(id, key, size)
	p.l.insert(item{id, key, size})
}

func (p *pair) remove(at int) {
	e := p.l.remove(at)
	p.x.Remove(p.x.Find(e.id))
	p.idle = append(p.idle, e.id)
	delete(p.used, e.key)
}

// update gives item at a new size and a key that keeps its place in the order
// ByKey, moved by shift if there is room, and if swap is set another ID.
func (p *pair) update(at int, shift int64, size uint32, swap bool) {
	e := p.l.items[at]
	next := e
	next.size = size
	key := int64(e.key) + shift
	if key >= 0 && key < 1<<32 && !p.used[uint32(key)] &&
		(p.l.order == BySize || (at == 0 || key > int64(p.l.items[at-1].key)) &&
			(at+1 == len(p.l.items) || key < int64(p.l.items[at+1].key))) {
		next.key = uint32(key)
	}
	if swap && len(p.idle) > 0 {
		next.id = p.idle[len(p.idle)-1]
		p.idle[len(p.idle)-1] = e.id
	}
	delete(p.used, e.key)
	p.used[next.key] = true
	p.x.Update(p.x.Find(e.id), next.id, next.key, next.size)
	p.l.remove(at)
	p.l.insert(next)
}

// queries compares the answers about size want, key key and item at.
func (p *pair) queries(want, key uint32, at int) {
	x, l := p.x, &p.l
	if x.Len() != len(l.items) {
		p.t.Fatalf("Len: got %d, want %d", x.Len(), len(l.items))
	}
	if want%2 == 0 && x.Largest() != l.largest() { // not always: it makes a loose bound tight
		p.t.Fatalf("Largest: got %d, want %d", x.Largest(), l.largest())
	}
	p.same(fmt.Sprintf("FirstFit(%d)", want), x.FirstFit(want), l.firstFit(0, want))
	p.walk(want, 0)
	if l.order == ByKey {
		p.walk(want, want+key%2)
	}
	p.same("First", x.First(), min(0, len(l.items)-1))
	p.same("Last", x.Last(), len(l.items)-1)
	if l.order == ByKey {
		from := slices.IndexFunc(l.items, func(e item) bool { return e.key >= key })
		p.same(fmt.Sprintf("From(%d)", key), x.From(key), from)
	}
	if len(l.items) == 0 {
		return
	}
	pos := x.Find(l.items[at].id)
	p.same("Find", pos, at)
	p.same("Prev", x.Prev(pos), at-1)
	if at+1 == len(l.items) {
		p.same("Next", x.Next(pos), -1)
	} else {
		p.same("Next", x.Next(pos), at+1)
	}
	if l.order == ByKey {
		p.same(fmt.Sprintf("FirstFitFrom(%d, %d)", at, want), x.FirstFitFrom(pos, want), l.firstFit(at, want))
	}
}

// walk compares the answers of a walk.
func (p *pair) walk(want, odd uint32) {
	at := slices.IndexFunc(p.l.items, func(e item) bool { return e.size >= want && e.size != odd })
	got, passed := p.x.Walk(want, odd)
	p.same(fmt.Sprintf("Walk(%d, %d)", want, odd), got, at)
	if got != NoPos && passed != uint64(at) {
		p.t.Fatalf("Walk(%d, %d): got %d passed, want %d", want, odd, passed, at)
	}
}

// same fails unless pos is the place of item at, or of none if at is -1.
func (p *pair) same(what string, pos Pos, at int) {
	if (pos != NoPos) != (at >= 0) {
		p.t.Fatalf("%s: got a place: %v, want item %d", what, (pos != NoPos), at)
	}
	if at < 0 {
		return
	}
	id, size := p.x.At(pos)
	if got := (item{id, p.x.Key(pos), size}); got != p.l.items[at] {
		p.t.Fatalf("%s: got %+v, want item %d, %+v", what, got, at, p.l.items[at])
	}
	if rank := p.x.Rank(pos); rank != at {
		p.t.Fatalf("%s: Rank: got %d, want %d", what, rank, at)
	}
}

func (p *pair) check() {
	if err := p.x.Check(); err != nil {
		p.t.Fatal(err)
	}
}

// TestIndexIsAList drives random changes by phases of growing and shrinking
// far enough to make and unmake three levels.
func TestIndexIsAList(t *testing.T) {
	for _, c := range []struct {
		name     string
		newIndex func(*blocks.Table, Order) *Index
		order    Order
	}{{"by key", New[uint32], ByKey}, {"by size", New[uint32], BySize}, {"lean", NewLean[uint32], ByKey}} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(c.order)))
			p := newPairOf(t, c.newIndex, c.order, 3000, 200)
			top := uint32(0)
			for phase, target := range []int{40, 0, 2500, 1200, 2600, 3, 900, 0} {
				for step := 0; len(p.l.items) != target; step++ {
					up := rng.IntN(10) < 7
					if len(p.l.items) > target {
						up = !up
					}
					switch {
					case up || len(p.l.items) == 0:
						key := rng.Uint32N(1 << 20)
						if phase == 4 { // rising keys, as in a FIFO list
							top++
							key = 1<<20 + top
						}
						p.insert(key, 1+rng.Uint32N(p.maxSize))
					case phase == 3: // from the front, as a rover eats
						p.remove(0)
					default:
						p.remove(rng.IntN(len(p.l.items)))
					}
					if n := len(p.l.items); n > 0 {
						p.update(rng.IntN(n), rng.Int64N(2001)-1000, 1+rng.Uint32N(p.maxSize), rng.IntN(2) == 0)
						p.queries(1+rng.Uint32N(p.maxSize+1), rng.Uint32N(1<<21), rng.IntN(n))
					}
					if step%64 == 0 {
						p.check()
					}
				}
				p.check()
				p.queries(1, 0, 0)
			}
		})
	}
}

// TestRowIsAList churns short lists, by address, LIFO and FIFO, whose row is
// laid out anew now and then, and whose numbers are about those at which a tree
// is made and given up.
func TestRowIsAList(t *testing.T) {
	for _, c := range []struct {
		name string
		key  func(i uint32, rng *rand.Rand) uint32
	}{
		{"by address", func(_ uint32, rng *rand.Rand) uint32 { return rng.Uint32N(1 << 20) }},
		{"by few addresses", func(_ uint32, rng *rand.Rand) uint32 { return rng.Uint32N(300) }},
		{"LIFO", func(i uint32, _ *rand.Rand) uint32 { return 1<<31 - i }},
		{"FIFO", func(i uint32, _ *rand.Rand) uint32 { return 1<<31 + i }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(5, 5))
			p := newPair(t, ByKey, 400, 300)
			target := 0
			for i := range uint32(20000) {
				if i%1000 == 0 {
					target = []int{3, 50, 110, rowMost, rowAgain}[rng.IntN(5)]
				}
				switch n := len(p.l.items); {
				case n == 0 || n < target && rng.IntN(4) > 0 || rng.IntN(4) == 0:
					p.insert(c.key(i, rng), rng.Uint32N(p.maxSize)) // a size of zero fits nothing
				case rng.IntN(2) == 0:
					p.remove(0)
				default:
					p.remove(rng.IntN(n))
				}
				if n := len(p.l.items); n > 0 {
					p.update(rng.IntN(n), rng.Int64N(101)-50, 1+rng.Uint32N(p.maxSize), rng.IntN(2) == 0)
					p.queries(1+rng.Uint32N(p.maxSize+1), c.key(i, rng), rng.IntN(n))
				}
				if i%16 == 0 {
					p.check()
				}
			}
		})
	}
}

// churn makes one small change for each step and asks after each.
func churn(t rapid.TB, order Order, steps []uint64) {
	p := newPair(t, order, 400, 9)
	for _, s := range steps {
		key, size, n := uint32(s>>8)%1000, 1+uint32(s>>32)%9, len(p.l.items)
		switch {
		case s%8 < 5 || n == 0:
			p.insert(key, size)
		case s%8 < 6:
			p.remove(int(key) % n)
		default:
			p.update(int(key)%n, int64(s>>40%64)-32, size, s>>50%2 == 0)
		}
		if n = len(p.l.items); n > 0 {
			p.queries(size, key, int(key)%n)
		}
	}
	p.check()
}

// TestIndexShrinks finds the least sequences of changes that break an Index.
func TestIndexShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		order := rapid.SampledFrom([]Order{ByKey, BySize}).Draw(t, "order")
		least := rapid.SampledFrom([]int{1, 100, 1000}).Draw(t, "least")
		churn(t, order, rapid.SliceOfN(rapid.Uint64(), least, -1).Draw(t, "steps"))
	})
}

func FuzzIndex(f *testing.F) {
	// Insertions in rising, falling and mixed order, then changes of all kinds.
	var rising, falling, mixed []byte
	for i := range uint64(300) {
		rising = binary.LittleEndian.AppendUint64(rising, i<<8|i<<32)
		falling = binary.LittleEndian.AppendUint64(falling, (999-i)<<8|i<<32)
		mixed = binary.LittleEndian.AppendUint64(mixed, i*0x9e3779b97f4a7c15)
	}
	f.Add(false, rising)
	f.Add(false, falling)
	f.Add(false, mixed)
	f.Add(true, mixed)
	f.Fuzz(func(t *testing.T, bySize bool, data []byte) {
		order := ByKey
		if bySize {
			order = BySize
		}
		var steps []uint64
		for ; len(data) >= 8 && len(steps) < 2000; data = data[8:] {
			steps = append(steps, binary.LittleEndian.Uint64(data))
		}
		churn(t, order, steps)
	})
}

func TestRekeyKeepsOrder(t *testing.T) {
	for name, order := range map[string]Order{"by key": ByKey, "by size": BySize} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, uint64(order)))
			p := newPair(t, order, 2000, 20)
			for range 1500 {
				p.insert(1<<31+rng.Uint32N(1<<31), 1+rng.Uint32N(20))
			}
			const base = 7
			p.x.Rekey(base)
			keys := make([]uint32, 0, 1500)
			for _, e := range p.l.items {
				keys = append(keys, e.key)
			}
			slices.Sort(keys)
			clear(p.used)
			for i := range p.l.items {
				at, _ := slices.BinarySearch(keys, p.l.items[i].key)
				p.l.items[i].key = base + uint32(at)
				p.used[base+uint32(at)] = true
			}
			p.check()
			for i := range p.l.items {
				p.same("item", p.x.Find(p.l.items[i].id), i)
			}
			for range 400 { // the bounds serve insertions at both ends
				p.insert(rng.Uint32N(base), 1+rng.Uint32N(20))
				p.insert(5000+rng.Uint32N(1000), 1+rng.Uint32N(20))
				p.queries(1+rng.Uint32N(20), rng.Uint32N(6000), rng.IntN(len(p.l.items)))
			}
			p.check()
		})
	}
}

// TestCheckFindsDamage sees to it that Check is no formality.
func TestCheckFindsDamage(t *testing.T) {
	damage := map[string]func(x *Index){
		"key":     func(x *Index) { x.nodes[x.last].key[x.Last()&slotMask] = 0 },
		"size":    func(x *Index) { x.nodes[x.first].size[0] += 1000 },
		"tally":   func(x *Index) { x.tallies[x.nodes[x.root].tally].slot[0]++ },
		"bound":   func(x *Index) { x.nodes[x.root].key[x.nodes[x.last].above&slotMask] = ^uint32(0) },
		"above":   func(x *Index) { x.nodes[x.last].above-- },
		"link":    func(x *Index) { x.nodes[x.last].prev = none },
		"length":  func(x *Index) { x.length++ },
		"largest": func(x *Index) { x.largest++ },
		"bitmap":  func(x *Index) { x.nodes[x.first].used &= x.nodes[x.first].used - 1 },
		"record":  func(x *Index) { x.table.Nodes[x.nodes[x.last].ref[x.Last()&slotMask]].X++ },
	}
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, ByKey, 400, 50)
			for i := range uint32(400) {
				p.insert(i*10+5, 1+i%50)
			}
			p.check()
			harm(p.x)
			if err := p.x.Check(); err == nil {
				t.Error("Check found nothing")
			}
		})
	}
}

// TestCheckFindsDamageInRow is that for a short list.
func TestCheckFindsDamageInRow(t *testing.T) {
	damage := map[string]func(x *Index){
		"key":     func(x *Index) { x.row.key[rowSlot(x.Last())] = 0 },
		"size":    func(x *Index) { x.row.size[rowSlot(x.First())] += 1000 },
		"class":   func(x *Index) { x.row.setClass(rowSlot(x.Last()), 9) },
		"before":  func(x *Index) { x.row.before += 1 << 32 },
		"front":   func(x *Index) { x.row.front = rowSlot(x.First()) + 1 },
		"width":   func(x *Index) { x.row.width /= 2 },
		"length":  func(x *Index) { x.length++ },
		"largest": func(x *Index) { x.largest++ },
		"bound":   func(x *Index) { x.largest, x.row.loose = x.largest-1, true },
		"bitmap":  func(x *Index) { x.row.used[0] &= x.row.used[0] - 1 },
		"record":  func(x *Index) { id, _ := x.At(x.Last()); x.table.Nodes[id].X++ },
	}
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, ByKey, 200, 50)
			for i := range uint32(150) {
				p.insert(i*10+5, 1+i%50)
			}
			p.x.Largest()
			p.check()
			harm(p.x)
			if err := p.x.Check(); err == nil {
				t.Error("Check found nothing")
			}
		})
	}
}

// TestFillIsDense holds the index to its memory after long churn: blocks taken
// out at random, put in where the list would have them.
func TestFillIsDense(t *testing.T) {
	const most = 6000
	for _, c := range []struct {
		name  string
		key   func(i uint32, rng *rand.Rand) uint32
		least float64
	}{
		{"by address", func(_ uint32, rng *rand.Rand) uint32 { return rng.Uint32N(1<<32 - 1) }, 0.65},
		{"LIFO", func(i uint32, _ *rand.Rand) uint32 { return 1<<31 - i }, 0.55},
		{"FIFO", func(i uint32, _ *rand.Rand) uint32 { return 1<<31 + i }, 0.55},
	} {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 3))
			p := newPair(t, ByKey, most, 100)
			for i := range uint32(20 * most) {
				if n := len(p.l.items); n < most*9/10 || n < most && i%2 == 0 {
					p.insert(c.key(i, rng), 1+rng.Uint32N(p.maxSize))
				} else {
					p.remove(rng.IntN(n))
				}
			}
			p.check()
			leaves := 0
			for leaf := p.x.first; leaf != none; leaf = p.x.nodes[leaf].next {
				leaves++
			}
			fill := float64(p.x.Len()) / float64(leaves*fanout)
			t.Logf("%d blocks in %d leaves: %.2f full", p.x.Len(), leaves, fill)
			if fill < c.least {
				t.Errorf("leaves are %.2f full, want at least %.2f", fill, c.least)
			}
		})
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	var table blocks.Table
	table.Nodes = make([]blocks.Node, 3000)
	x := New(&table, ByKey)
	for i := range blocks.ID(3000) {
		x.Insert(i, i*8, 1+rng.Uint32N(99))
	}
	step := func() {
		id := blocks.ID(rng.Uint32N(3000))
		x.Remove(x.Find(id))
		x.Insert(id, id*8+rng.Uint32N(8), 1+rng.Uint32N(99))
		x.FirstFit(1 + rng.Uint32N(100))
	}
	for range 20000 {
		step()
	}
	if got := testing.AllocsPerRun(5000, step); got != 0 {
		t.Errorf("%v allocations an operation, want 0", got)
	}
}

package walk

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// row is a block of the naive list.
type row struct {
	start uint32
	id    ID
}

// pair is a List beside a slice that is walked.
type pair struct {
	t    rapid.TB
	l    *List
	rows []row
	end  uint32
	live []ID
}

func newPair(t rapid.TB, start, end uint32) *pair {
	return &pair{t: t, l: New(start, end), rows: []row{{start, None}}, end: end}
}

func (p *pair) size(i int) uint32 {
	if i+1 < len(p.rows) {
		return p.rows[i+1].start - p.rows[i].start
	}
	return p.end - p.rows[i].start
}

// place returns the Pos of a row, as a walk finds it.
func (p *pair) place(i int) Pos {
	if id := p.rows[i].id; id != None {
		return p.l.Find(id)
	}
	if i == 0 {
		return p.l.First()
	}
	if p.rows[i-1].id != None {
		return p.l.Next(p.l.Find(p.rows[i-1].id))
	}
	at := p.l.First()
	for range i {
		at = p.l.Next(at)
	}
	return at
}

func (p *pair) free(i int) bool { return i >= 0 && i < len(p.rows) && p.rows[i].id == None }

// change does what a number says, if it can be done.
func (p *pair) change(v uint64, fill uint64) {
	i := int(v >> 16 % uint64(len(p.rows)))
	size := 1 + uint32(v>>40)%40
	take := v%64 < fill
	switch {
	case take: // first fit
		if i = p.firstFit(size, false); i < 0 {
			return
		}
		room := p.size(i)
		id := p.l.Take(p.place(i), size)
		p.rows[i].id = id
		p.live = append(p.live, id)
		if size < room {
			p.rows = slices.Insert(p.rows, i+1, row{p.rows[i].start + size, None})
		}
	case v>>6%8 == 0 && !p.free(i) && p.size(i) > size:
		p.l.Cut(p.place(i), size)
		p.rows = slices.Insert(p.rows, i+1, row{p.rows[i].start + size, None})
	case v>>6%8 < 5 && len(p.live) > 0:
		at := int(v >> 16 % uint64(len(p.live)))
		id := p.live[at]
		p.live = slices.Delete(p.live, at, at+1)
		i = slices.IndexFunc(p.rows, func(r row) bool { return r.id == id })
		p.l.Release(p.l.Find(id))
		p.rows[i].id = None
	case p.free(i + 1):
		at := p.l.Join(p.place(i))
		p.rows = slices.Delete(p.rows, i+1, i+2)
		p.same(at, i)
	}
}

func (p *pair) firstFit(want uint32, seams bool) int {
	for i := range p.rows {
		if p.free(i) && (p.size(i) >= want || seams && p.free(i+1)) {
			return i
		}
	}
	return -1
}

func (p *pair) queries(v uint64) {
	want := 1 + uint32(v)%60
	for _, seams := range []bool{false, true} {
		got := p.l.FirstFit(want)
		if seams {
			got = p.l.FirstFitOrSeam(want)
		}
		p.same(got, p.firstFit(want, seams))
	}
	start := uint32(v>>20) % (p.end + 2)
	var blocks, free uint64
	for i, r := range p.rows {
		if r.start < start {
			blocks++
			if p.free(i) {
				free++
			}
		}
	}
	if b, f := p.l.Below(start); b != blocks || f != free {
		p.t.Fatalf("below %d: %d blocks, %d free; want %d and %d", start, b, f, blocks, free)
	}
	i := int(v >> 30 % uint64(len(p.rows)))
	at := p.place(i)
	p.same(at, i)
	p.same(p.l.Prev(at), i-1)
	if i+1 < len(p.rows) {
		p.same(p.l.Next(at), i+1)
	} else if p.l.Next(at) != NoPos {
		p.t.Fatal("there is a block above the last")
	}
}

// same compares a place with a row, -1 for none.
func (p *pair) same(at Pos, i int) {
	if (at == NoPos) != (i < 0) {
		p.t.Fatalf("place %d, want that of row %d", at, i)
	}
	if i < 0 {
		return
	}
	start, size, id := p.l.At(at)
	if start != p.rows[i].start || size != p.size(i) || id != p.rows[i].id || p.l.Free(at) != p.free(i) {
		p.t.Fatalf("block %d+%d of object %d, want %d+%d of %d", start, size, id, p.rows[i].start, p.size(i), p.rows[i].id)
	}
	if id != None && (!p.l.Live(id) || p.l.Start(id) != start) {
		p.t.Fatalf("object %d at %d: its record says %d", id, start, p.l.Start(id))
	}
}

func (p *pair) check() {
	p.t.Helper()
	if err := p.l.Check(); err != nil {
		p.t.Fatal(err)
	}
	largest := uint32(0)
	for i := range p.rows {
		if p.free(i) {
			largest = max(largest, p.size(i))
		}
	}
	if got := p.l.Largest(); got != largest {
		p.t.Fatalf("largest %d, want %d", got, largest)
	}
}

// TestListIsAWalk drives random changes by phases of filling and draining, far
// enough to make and unmake two levels of inner nodes.
func TestListIsAWalk(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	p := newPair(t, 3, 140000)
	deepest := uint32(0)
	for phase, fill := range []uint64{40, 10, 63, 8, 34, 4, 60, 2} {
		for step := range 6000 {
			p.change(rng.Uint64(), fill)
			if step%8 == 0 {
				p.queries(rng.Uint64())
			}
			if step%256 == 0 {
				p.check()
			}
		}
		p.check()
		deepest = max(deepest, p.l.inners[p.l.root].level)
		t.Logf("phase %d: %d blocks, %d leaves, %d levels", phase, len(p.rows), len(p.l.leaves)-1, p.l.inners[p.l.root].level)
	}
	if deepest < 2 {
		t.Errorf("the tree had %d levels of inner nodes, want 2", deepest)
	}
	for len(p.live) > 0 {
		p.change(1<<6, 0) // a release
	}
	for len(p.rows) > 1 {
		p.l.Join(p.l.First())
		p.rows = slices.Delete(p.rows, 1, 2)
		if len(p.rows)%64 == 0 {
			p.check()
		}
	}
	p.check()
}

// churn makes one change for each number and asks after each.
func churn(t rapid.TB, fill uint64, steps []uint64) {
	p := newPair(t, 0, 4000)
	for _, v := range steps {
		p.change(v, fill)
		p.queries(v * 0x9e3779b97f4a7c15)
	}
	p.check()
}

// TestListShrinks finds the least sequences of changes that break a List.
func TestListShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fill := rapid.SampledFrom([]uint64{24, 40, 60}).Draw(t, "fill")
		least := rapid.SampledFrom([]int{1, 100, 500}).Draw(t, "least")
		churn(t, fill, rapid.SliceOfN(rapid.Uint64(), least, -1).Draw(t, "steps"))
	})
}

func FuzzList(f *testing.F) {
	var rising, mixed []byte
	for i := range uint64(400) {
		rising = binary.LittleEndian.AppendUint64(rising, i<<16|i<<42|i%3*20)
		mixed = binary.LittleEndian.AppendUint64(mixed, i*0x9e3779b97f4a7c15)
	}
	f.Add(byte(60), rising)
	f.Add(byte(40), rising)
	f.Add(byte(30), mixed)
	f.Add(byte(50), mixed)
	f.Fuzz(func(t *testing.T, fill byte, data []byte) {
		var steps []uint64
		for ; len(data) >= 8 && len(steps) < 2000; data = data[8:] {
			steps = append(steps, binary.LittleEndian.Uint64(data))
		}
		churn(t, uint64(fill%64), steps)
	})
}

// TestCheckFindsDamage sees to it that Check is no formality.
func TestCheckFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(l *List){
		"start":   func(l *List) { l.leaves[1].start[3] = l.leaves[1].start[2] },
		"object":  func(l *List) { l.leaves[1].ref[2]++ },
		"free":    func(l *List) { l.leaves[1].free ^= 4 },
		"beyond":  func(l *List) { l.leaves[1].free |= 1 << l.leaves[1].n },
		"record":  func(l *List) { l.records[2].start++ },
		"spare":   func(l *List) { l.spareRecord = 0 },
		"link":    func(l *List) { l.leaves[2].prev = none },
		"parent":  func(l *List) { l.leaves[2].up++ },
		"low":     func(l *List) { l.inners[l.root].low[1]++ },
		"count":   func(l *List) { l.inners[l.root].count[0]++ },
		"frees":   func(l *List) { l.inners[l.root].free[0]++ },
		"largest": func(l *List) { l.inners[l.root].most[0]++ },
		"seam":    func(l *List) { l.inners[l.root].seam ^= 1 },
		"end":     func(l *List) { l.end = l.leaves[1].start[0] },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 0, 2000)
			for i := range uint64(200) {
				p.change(i<<16|4<<40, 60)
			}
			p.l.Release(p.l.Find(20))
			if err := p.l.Check(); err != nil {
				t.Fatal(err)
			}
			harm(p.l)
			if err := p.l.Check(); err == nil {
				t.Error("Check found nothing")
			}
		})
	}
}

// TestMemory holds the List to its bytes a block after long churn.
func TestMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	l := New(0, 1<<31)
	var live []ID
	for range 200000 {
		live = append(live, l.Take(l.FirstFit(20), 1+rng.Uint32N(20)))
	}
	for range 400000 {
		i := rng.IntN(len(live))
		p := l.Find(live[i])
		l.Release(p)
		if n := l.Next(p); l.Free(n) {
			l.Join(p)
		}
		if n := l.Prev(l.First()); n != NoPos {
			t.Fatal("there is a block below the first")
		}
		size := 1 + rng.Uint32N(20)
		live[i] = l.Take(l.FirstFit(size), size)
	}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	bytes := 536*cap(l.leaves) + 1304*cap(l.inners) + 8*cap(l.records)
	blocks, _ := l.Below(1 << 31)
	t.Logf("%d blocks, %.1f bytes each, %.1f a live one", blocks, float64(bytes)/float64(blocks), float64(bytes)/float64(len(live)))
	if bytes > 32*len(live) {
		t.Errorf("%d bytes for %d objects, want at most 32 each", bytes, len(live))
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	l := New(0, 1<<20)
	var live []ID
	for range 3000 {
		live = append(live, l.Take(l.FirstFit(20), 20))
	}
	step := func() {
		i := rng.IntN(len(live))
		p := l.Find(live[i])
		l.Release(p)
		if l.Free(l.Next(p)) {
			l.Join(p)
		}
		size := 1 + rng.Uint32N(20)
		live[i] = l.Take(l.FirstFit(size), size)
	}
	for range 20000 {
		step()
	}
	if got := testing.AllocsPerRun(5000, step); got != 0 {
		t.Errorf("%v allocations an operation, want 0", got)
	}
}

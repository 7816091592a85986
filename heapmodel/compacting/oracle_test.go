package compacting

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// plain is the heap as one would write it first: a list of blocks by address,
// walked for everything. Sizes are in granules; it has no header and does not
// grow. Windows are all pairs of holes.
type plain struct {
	c             uint64
	blocks        []plainBlock
	served, moved uint64
	moves, steps  uint64
	compactions   uint64
}

type plainBlock struct {
	size   uint64
	id     int // of the object; 0 in a hole
	pinned bool
}

func (p *plain) holes() (count, free uint64) {
	for _, b := range p.blocks {
		if b.id == 0 {
			count++
			free += b.size
		}
	}
	return count, free
}

func (p *plain) alloc(id int, size, align uint64) bool {
	need := size
	if align > 1 {
		need += align - 1
	}
	if p.place(id, size, align, need) {
		return true
	}
	holes, free := p.holes()
	p.steps += holes
	if p.c == 0 || p.served/p.c == p.moved || free < need {
		return false
	}
	p.steps += uint64(len(p.blocks))
	first, last, least := -1, -1, uint64(0)
	for i := range p.blocks {
		if p.blocks[i].id != 0 {
			continue
		}
		room, load := uint64(0), uint64(0)
		for j := i; j < len(p.blocks) && !p.blocks[j].pinned; j++ {
			if p.blocks[j].id != 0 {
				load += p.blocks[j].size
				continue
			}
			if room += p.blocks[j].size; room >= need {
				if first < 0 || load < least {
					first, last, least = i, j, load
				}
				break
			}
		}
	}
	if first < 0 || p.moved+least > p.served/p.c {
		return false
	}
	var window []plainBlock
	room := uint64(0)
	for _, b := range p.blocks[first : last+1] {
		if b.id == 0 {
			room += b.size
			continue
		}
		window = append(window, b)
		p.moves++
		p.steps++
		p.moved += b.size
	}
	p.blocks = slices.Replace(p.blocks, first, last+1, append(window, plainBlock{size: room})...)
	p.compactions++
	return p.place(id, size, align, need)
}

// place puts the object in the lowest hole of need granules.
func (p *plain) place(id int, size, align, need uint64) bool {
	start, holes := uint64(0), uint64(0)
	for i, b := range p.blocks {
		if b.id == 0 {
			holes++
			if b.size >= need {
				gap := uint64(0)
				if align > 1 {
					gap = (align - start%align) % align
				}
				var parts []plainBlock
				if gap > 0 {
					parts = append(parts, plainBlock{size: gap})
				}
				parts = append(parts, plainBlock{size, id, align > 1})
				if rest := b.size - gap - size; rest > 0 {
					parts = append(parts, plainBlock{size: rest})
				}
				p.blocks = slices.Replace(p.blocks, i, i+1, parts...)
				p.served += size
				p.steps += holes
				return true
			}
		}
		start += b.size
	}
	return false
}

func (p *plain) free(id int) {
	i := slices.IndexFunc(p.blocks, func(b plainBlock) bool { return b.id == id })
	p.blocks[i].id, p.blocks[i].pinned = 0, false
	for j := max(i-1, 0); j+1 < len(p.blocks); {
		if p.blocks[j].id == 0 && p.blocks[j+1].id == 0 {
			p.blocks[j].size += p.blocks[j+1].size
			p.blocks = slices.Delete(p.blocks, j+1, j+2)
		} else {
			j++
		}
	}
}

// twin is the model and the plain heap side by side.
type twin struct {
	h    *heap
	p    *plain
	refs map[int]heapmodel.Ref
	next int
}

func newTwin(t testing.TB, capacity, c int) *twin {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, fmt.Sprintf("compacting:capacity=%d,c=%d,header=0,align=1", capacity, c))
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return &twin{h: h.(*heap), p: &plain{c: uint64(c), blocks: []plainBlock{{size: uint64(capacity)}}}, refs: map[int]heapmodel.Ref{}}
}

func (w *twin) alloc(size, align uint64) error {
	w.next++
	r, ok := w.h.Alloc(size, uint32(align))
	if want := w.p.alloc(w.next, size, align); ok != want {
		return fmt.Errorf("alloc of %d, align %d: served %v, want %v", size, align, ok, want)
	}
	if ok {
		w.refs[w.next] = r
	}
	return w.compare()
}

func (w *twin) free(id int) error {
	w.h.Free(w.refs[id])
	delete(w.refs, id)
	w.p.free(id)
	return w.compare()
}

func (w *twin) compare() error {
	start, i := uint64(0), 0
	for b := range w.h.Blocks() {
		if i == len(w.p.blocks) {
			return fmt.Errorf("a block more than %d", i)
		}
		want := w.p.blocks[i]
		if uint64(b.Addr) != start || b.Size != want.size || b.Used != (want.id != 0) || b.Used && b.Ref != w.refs[want.id] {
			return fmt.Errorf("block %d is %+v, want %+v at %d", i, b, want, start)
		}
		if b.Used && uint64(w.h.Addr(b.Ref)) != start {
			return fmt.Errorf("object %d is at %d, want %d", b.Ref, w.h.Addr(b.Ref), start)
		}
		start += b.Size
		i++
	}
	if i != len(w.p.blocks) {
		return fmt.Errorf("%d blocks, want %d", i, len(w.p.blocks))
	}
	got := [5]uint64{w.h.served, w.h.moved, w.h.moves, w.h.compactions, w.h.Use.Steps}
	if want := [5]uint64{w.p.served, w.p.moved, w.p.moves, w.p.compactions, w.p.steps}; got != want {
		return fmt.Errorf("served, moved, moves, compactions, steps %v, want %v", got, want)
	}
	return w.h.Check()
}

// TestExhaustive runs all sequences of five operations, of eight kinds, on a heap of
// 12 granules that was filled with small objects.
func TestExhaustive(t *testing.T) {
	for _, c := range []int{0, 1, 2, 5} {
		t.Run(fmt.Sprint("c=", c), func(t *testing.T) {
			t.Parallel()
			const ops, kinds = 5, 8
			total := 1
			for range ops {
				total *= kinds
			}
			moves := uint64(0)
			for code := range total {
				w := newTwin(t, 12, c)
				for _, size := range []uint64{2, 1, 3, 1, 2, 1, 2} {
					if err := w.alloc(size, 0); err != nil {
						t.Fatal(err)
					}
				}
				var done []string
				for n, i := code, 0; i < ops; n, i = n/kinds, i+1 {
					var err error
					if kind := n % kinds; kind < 4 { // free the first, the third, ...
						ids := w.p.live()
						if len(ids) == 0 {
							break
						}
						id := ids[kind*2%len(ids)]
						done = append(done, fmt.Sprint("free ", id))
						err = w.free(id)
					} else {
						size, align := []uint64{1, 3, 5, 2}[kind-4], []uint64{0, 0, 0, 4}[kind-4]
						done = append(done, fmt.Sprint("alloc ", size, " ", align))
						err = w.alloc(size, align)
					}
					if err != nil {
						t.Fatalf("%v: %v", done, err)
					}
				}
				moves += w.h.moves
			}
			if (moves > 0) != (c > 0) {
				t.Errorf("%d moves", moves)
			}
		})
	}
}

func (p *plain) live() (ids []int) {
	for _, b := range p.blocks {
		if b.id != 0 {
			ids = append(ids, b.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// TestRandom runs long sequences on larger heaps.
func TestRandom(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newTwin(t, 200+rng.IntN(800), []int{0, 1, 3, 10, 50}[seed%5])
		for op := range 1500 {
			var err error
			if ids := w.p.live(); len(ids) > 0 && rng.IntN(100) < 48 {
				err = w.free(ids[rng.IntN(len(ids))])
			} else {
				align := uint64(0)
				if rng.IntN(12) == 0 {
					align = 1 << (1 + rng.IntN(5))
				}
				err = w.alloc(1+rng.Uint64N(1+rng.Uint64N(60)), align)
			}
			if err != nil {
				t.Fatalf("seed %d, operation %d: %v", seed, op, err)
			}
		}
	}
}

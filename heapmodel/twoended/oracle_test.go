package twoended

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

var long = flag.Bool("long", false, "try longer sequences of operations on tiny heaps")

// plain is the heap as the documentation of the package has it: blocks in a
// slice by address, and nothing but walks. It takes header, alignment and the
// smallest block from the model's Config and shares no more with it.
type plain struct {
	grain, header, pad, least, capacity uint64
	inPlace                             bool
	blocks                              []*part
	steps                               uint64
}

type part struct {
	start, size uint64
	used, long  bool
}

func newPlain(h *heap, capacity uint64) *plain {
	p := &plain{grain: h.Grain, header: h.Header, pad: h.Pad, least: h.Least, capacity: capacity, inPlace: h.inPlace}
	size := (capacity - p.pad) / p.grain * p.grain
	p.blocks = []*part{{start: p.pad, size: size}}
	return p
}

func (p *plain) round(n uint64) uint64 { return (n + p.grain - 1) / p.grain * p.grain }

// free returns the free blocks by address.
func (p *plain) free() (out []*part) {
	for _, b := range p.blocks {
		if !b.used {
			out = append(out, b)
		}
	}
	return out
}

// cut cuts a block into pieces of so many bytes, of which those of zero are
// left out, and returns the pieces, nil for those.
func (p *plain) cut(b *part, sizes ...uint64) []*part {
	at := slices.Index(p.blocks, b)
	start := b.start
	var pieces, all []*part
	for _, size := range sizes {
		var piece *part
		if size > 0 {
			piece = &part{start: start, size: size}
			all = append(all, piece)
		}
		pieces = append(pieces, piece)
		start += size
	}
	p.blocks = slices.Replace(p.blocks, at, at+1, all...)
	return pieces
}

func (p *plain) alloc(size, align uint64, long bool) *part {
	want := max(p.round(size+p.header), p.least)
	need := want
	if align > p.grain {
		need += align + 2*p.least
	}
	free := p.free()
	if !long {
		slices.Reverse(free)
	}
	for _, b := range free {
		p.steps++
		if b.size < need {
			continue
		}
		low := uint64(0)
		if !long {
			low = b.size - want
		}
		fits := func(low uint64) bool {
			gap := b.size - want - low // above
			aligned := align <= p.grain || (b.start+low+p.header)%align == 0
			return aligned && (low == 0 || low >= p.least) && (align <= p.grain || long || gap == 0 || gap >= p.least)
		}
		for !fits(low) {
			if long {
				low += p.grain
			} else if low == 0 {
				break // the whole block: the gap above is too small to be one
			} else {
				low -= p.grain
			}
		}
		high := b.size - want - low
		took := want
		if high < p.least {
			took, high = took+high, 0
		}
		mid := p.cut(b, low, took, high)[1]
		mid.used, mid.long = true, long
		return mid
	}
	return nil
}

func (p *plain) release(b *part) {
	for _, f := range p.free() {
		if f.start < b.start {
			p.steps++
		}
	}
	b.used = false
	at := slices.Index(p.blocks, b)
	if at+1 < len(p.blocks) && !p.blocks[at+1].used {
		b.size += p.blocks[at+1].size
		p.blocks = slices.Delete(p.blocks, at+1, at+2)
		p.steps++
	}
	if at > 0 && !p.blocks[at-1].used {
		p.blocks[at-1].size += b.size
		p.blocks = slices.Delete(p.blocks, at, at+1)
		p.steps++
	}
}

func (p *plain) realloc(b *part, size, align uint64) *part {
	want := max(p.round(size+p.header), p.least)
	at := slices.Index(p.blocks, b)
	room := b.size
	var up *part
	if want > b.size && at+1 < len(p.blocks) && !p.blocks[at+1].used {
		up = p.blocks[at+1]
		room += up.size
	}
	if p.inPlace && want <= room {
		if up != nil {
			p.blocks = slices.Delete(p.blocks, at+1, at+2)
		}
		b.size = room
		if rest := room - want; rest >= p.least {
			b.size = want
			up = &part{start: b.start + want, size: rest, used: true}
			p.blocks = slices.Insert(p.blocks, at+1, up)
			p.release(up)
		}
		return b
	}
	n := p.alloc(size, align, b.long)
	if n != nil {
		p.release(b)
	}
	return n
}

// twin drives the model and the plain heap side by side.
type twin struct {
	h    *heap
	p    *plain
	refs []heapmodel.Ref
	of   []*part
}

func newTwin(text string) (*twin, error) {
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, text)
	if err != nil {
		return nil, err
	}
	made, err := s.New()
	if err != nil {
		return nil, err
	}
	h := made.(*heap)
	return &twin{h: h, p: newPlain(h, h.use.Arena)}, nil
}

// op plays one operation, a, r or f on an object by its number, and compares.
func (x *twin) op(kind byte, object int, size uint64, align uint32, life uint64) error {
	var ok bool
	var r heapmodel.Ref
	var b *part
	x.h.Hint(heapmodel.Hint{Life: life})
	switch kind {
	case 'a':
		r, ok = x.h.Alloc(size, align)
		if b = x.p.alloc(size, uint64(align), life > x.h.cut); ok {
			x.refs, x.of = append(x.refs, r), append(x.of, b)
		}
	case 'r':
		r, ok = x.h.Realloc(x.refs[object], size, align)
		if b = x.p.realloc(x.of[object], size, uint64(align)); ok {
			x.refs[object], x.of[object] = r, b
		}
	case 'f':
		x.h.Free(x.refs[object])
		x.p.release(x.of[object])
		x.refs, x.of = slices.Delete(x.refs, object, object+1), slices.Delete(x.of, object, object+1)
	}
	if kind != 'f' {
		if ok != (b != nil) || ok && uint64(x.h.Addr(r)) != b.start+x.p.header {
			return fmt.Errorf("%t at %d, want %v", ok, int64(x.h.Addr(r)), b)
		}
	}
	return x.same()
}

func (x *twin) same() error {
	if x.h.use.Steps != x.p.steps {
		return fmt.Errorf("steps: got %d, want %d", x.h.use.Steps, x.p.steps)
	}
	i, largest := 0, uint64(0)
	for b := range x.h.Blocks() {
		if i >= len(x.p.blocks) || uint64(b.Addr) != x.p.blocks[i].start || b.Size != x.p.blocks[i].size || b.Used != x.p.blocks[i].used {
			return fmt.Errorf("block %d is at %d with %d bytes, used %t, want %v", i, b.Addr, b.Size, b.Used, x.p.blocks[min(i, len(x.p.blocks)-1)])
		}
		if !b.Used {
			largest = max(largest, b.Size)
		}
		i++
	}
	switch {
	case i != len(x.p.blocks):
		return fmt.Errorf("%d blocks, want %d", i, len(x.p.blocks))
	case x.h.LargestFree() != largest:
		return fmt.Errorf("largest free block of %d bytes, want %d", x.h.LargestFree(), largest)
	}
	return x.h.Check()
}

// TestTinyHeaps plays all sequences of a few operations on heaps of a few
// granules.
func TestTinyHeaps(t *testing.T) {
	length := 4
	if *long {
		length = 5
	}
	for _, text := range []string{
		"two-ended:capacity=12,header=0,align=1,cut=5",
		"two-ended:capacity=12,header=0,align=1,cut=5,realloc=move",
		"two-ended:capacity=64,header=12,align=4,cut=5", // blocks of four granules at least
	} {
		x, err := newTwin(text)
		if err != nil {
			t.Fatal(err)
		}
		unit := x.h.Grain
		var play func(ops []string, x func() *twin) error
		play = func(ops []string, replay func() *twin) error {
			if len(ops) == length {
				return nil
			}
			live := len(replay().refs)
			try := func(kind byte, object int, size uint64, life uint64) error {
				text := fmt.Sprintf("%c %d %d %d", kind, object, size, life)
				y := replay()
				if err := y.op(kind, object, size, 0, life); err != nil {
					return fmt.Errorf("%v then %s: %w", ops, text, err)
				}
				return play(append(slices.Clone(ops), text), func() *twin {
					z := replay()
					if err := z.op(kind, object, size, 0, life); err != nil {
						panic(err)
					}
					return z
				})
			}
			for _, size := range []uint64{1, 2, 5} {
				for _, life := range []uint64{0, 9} {
					if err := try('a', 0, size*unit, life); err != nil {
						return err
					}
				}
				for object := range live {
					if err := try('r', object, size*unit, 0); err != nil {
						return err
					}
				}
			}
			for object := range live {
				if err := try('f', object, 0, 0); err != nil {
					return err
				}
			}
			return nil
		}
		err = play(nil, func() *twin {
			z, err := newTwin(text)
			if err != nil {
				panic(err)
			}
			return z
		})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestLikeAList(t *testing.T) {
	for _, text := range []string{
		"two-ended:capacity=3000,cut=50",
		"two-ended:capacity=3001,cut=50,header=0,align=1",
		"two-ended:capacity=5000,cut=50,header=20,align=8,ptr=64",
		"two-ended:capacity=4000,cut=50,header=3,align=4,realloc=move",
	} {
		t.Run(text, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				x, err := newTwin(text)
				if err != nil {
					rt.Fatal(err)
				}
				for range rapid.IntRange(1, 150).Draw(rt, "operations") {
					kind := rapid.SampledFrom([]byte("aaarff")).Draw(rt, "kind")
					object := 0
					if kind != 'a' {
						if len(x.refs) == 0 {
							continue
						}
						object = rapid.IntRange(0, len(x.refs)-1).Draw(rt, "object")
					}
					size := rapid.OneOf(rapid.Uint64Range(0, 40), rapid.Uint64Range(0, 600)).Draw(rt, "size")
					align := rapid.SampledFrom([]uint32{0, 0, 0, 1, 8, 16, 64, 256}).Draw(rt, "align")
					if err := x.op(kind, object, size, align, rapid.Uint64Range(0, 100).Draw(rt, "life")); err != nil {
						rt.Fatal(err)
					}
				}
			})
		})
	}
}

// TestFootprintIsEnough replays random operations, and again in an arena as
// long as the footprint: what lies below the middle has the same address, and
// what lies above is lower by what was left out. With a byte less something
// differs.
func TestFootprintIsEnough(t *testing.T) {
	type op struct {
		kind   byte
		object int
		size   uint64
		life   uint64
	}
	type answer struct {
		addr  uint64
		ok    bool
		above bool // the middle
	}
	run := func(t rapid.TB, capacity uint64, ops []op) (h *heap, answers []answer) {
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, fmt.Sprintf("two-ended:capacity=%d,cut=50,header=0,align=1", capacity))
		if err != nil {
			t.Fatal(err)
		}
		made, err := s.New()
		if err != nil {
			t.Fatal(err)
		}
		h = made.(*heap)
		var refs []heapmodel.Ref
		for _, o := range ops {
			h.Hint(heapmodel.Hint{Life: o.life})
			var r heapmodel.Ref
			var ok bool
			switch i := o.object % max(len(refs), 1); {
			case o.kind == 'a' || len(refs) == 0:
				if r, ok = h.Alloc(o.size, 0); ok {
					refs = append(refs, r)
				}
			case o.kind == 'r':
				r, ok = h.Realloc(refs[i], o.size, 0)
				refs[i] = r
			default:
				h.Free(refs[i])
				refs = slices.Delete(refs, i, i+1)
				continue
			}
			a := answer{ok: ok}
			if ok {
				a.addr = uint64(h.Addr(r))
				a.above = h.middle != blocks.None && a.addr >= uint64(h.t.Nodes[h.middle].Start)
			}
			answers = append(answers, a)
		}
		return h, answers
	}
	rapid.Check(t, func(rt *rapid.T) {
		var ops []op
		for range rapid.IntRange(1, 80).Draw(rt, "operations") {
			ops = append(ops, op{
				rapid.SampledFrom([]byte("aaarff")).Draw(rt, "kind"),
				rapid.IntRange(0, 1000).Draw(rt, "object"),
				rapid.Uint64Range(0, 400).Draw(rt, "size"),
				rapid.SampledFrom([]uint64{1, 100}).Draw(rt, "life"),
			})
		}
		const capacity = 6000
		h, want := run(rt, capacity, ops)
		footprint := h.Footprint()
		if footprint == 0 || footprint == capacity {
			return // nothing was placed, or the sides have met
		}
		alike := func(less uint64) (at int) {
			_, got := run(rt, capacity-less, ops)
			for i, w := range want {
				if w.above {
					w.addr -= less
				}
				if got[i].ok != w.ok || got[i].addr != w.addr {
					return i
				}
			}
			return -1
		}
		if at := alike(capacity - footprint); at >= 0 {
			rt.Fatalf("request %d is placed elsewhere in %d bytes than in %d", at, footprint, capacity)
		}
		if footprint > 1 && alike(capacity-footprint+1) < 0 {
			rt.Fatalf("%d bytes would have done, the footprint is %d", footprint-1, footprint)
		}
	})
}

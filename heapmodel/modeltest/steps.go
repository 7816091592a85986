package modeltest

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/fragprof/fragprof/heapmodel"
	"pgregory.net/rapid"
)

// A step is an operation before it is known which objects live: object picks
// one of those that were allocated and not freed. Any list of steps makes a
// valid trace, so lists can be cut and changed at will.
type step struct {
	kind   Kind
	size   uint64
	align  uint32
	object uint32
}

// nothing is the kind of a step that is left out.
const nothing Kind = 0

// makeTrace turns steps into a trace. A step on an object when there is none
// becomes an allocation.
func makeTrace(name string, steps []step) *Trace {
	t := &Trace{Name: name, Ops: make([]Op, 0, len(steps))}
	var open []uint32
	for _, s := range steps {
		if s.kind == nothing {
			continue
		}
		if s.kind == Alloc || len(open) == 0 {
			t.Ops = append(t.Ops, Op{Kind: Alloc, ID: t.Objects, Size: s.size, Align: s.align})
			open = append(open, t.Objects)
			t.Objects++
			continue
		}
		i := int(s.object % uint32(len(open)))
		o := Op{Kind: s.kind, ID: open[i], Size: s.size}
		if s.kind == Free {
			o.Size = 0
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
		}
		t.Ops = append(t.Ops, o)
	}
	return t
}

// freeAll adds the frees of all objects that are left.
func freeAll(t *Trace) {
	open := make([]bool, t.Objects)
	for _, o := range t.Ops {
		open[o.ID] = o.Kind != Free
	}
	for id, is := range open {
		if is {
			t.Ops = append(t.Ops, Op{Kind: Free, ID: uint32(id)})
		}
	}
}

// taste is what to ask of a heap: sizes around its own, and alignments only if
// it has an entry point for them.
type taste struct {
	scale  uint64 // bytes the heap can hold, about
	aligns bool
}

func tasteOf(s *heapmodel.Spec, h heapmodel.Heap) taste {
	scale := h.LargestFree()
	if s.Grows() {
		scale = max(scale, min(s.GrowLimit(), 1<<20))
	}
	if scale == 0 {
		scale = 1 << 16
	}
	return taste{scale: scale, aligns: s.Model.Caps&heapmodel.CapAlign != 0}
}

// steps returns a rapid generator of lists of steps. Since rapid prefers short
// lists, and does not shrink below the least length, they are long and shrink
// by steps that become nothing.
func (ta taste) steps() *rapid.Generator[[]step] {
	small, medium := rapid.Uint64Range(1, 64), rapid.Uint64Range(1, 600)
	part := rapid.Uint64Range(1, max(1, ta.scale/8))
	large := rapid.Uint64Range(ta.scale/2, ta.scale+16)
	// Around powers of two, up to the largest request there is.
	edge := rapid.Custom(func(t *rapid.T) uint64 {
		return min(1<<rapid.IntRange(3, 62).Draw(t, "log2")+rapid.Uint64Range(0, 24).Draw(t, "more")-8, heapmodel.MaxSize)
	})
	size := rapid.OneOf(small, small, small, small, medium, medium, medium, part, part, large, edge, rapid.Just(uint64(0)))
	align := rapid.Just(uint32(0))
	if ta.aligns {
		plain := rapid.Just(uint32(0))
		usual := rapid.Map(rapid.IntRange(0, 9), func(log2 int) uint32 { return 1 << log2 })
		absurd := rapid.Map(rapid.IntRange(10, 31), func(log2 int) uint32 { return 1 << log2 })
		align = rapid.OneOf(plain, plain, plain, plain, usual, usual, absurd)
	}
	kind := rapid.SampledFrom([]Kind{nothing, Alloc, Alloc, Alloc, Alloc, Free, Free, Free, Realloc, Realloc})
	one := rapid.Custom(func(t *rapid.T) step {
		s := step{kind: kind.Draw(t, "kind")}
		if s.kind == nothing {
			return s
		}
		if s.kind != Alloc {
			s.object = rapid.Uint32Range(0, 1<<10).Draw(t, "object")
		}
		if s.kind != Free {
			s.size = size.Draw(t, "size")
		}
		if s.kind == Alloc {
			s.align = align.Draw(t, "align")
		}
		return s
	})
	return rapid.SliceOfN(one, 50, 150)
}

// soak returns count steps that keep the heap near full: sizes of four kinds,
// freed in the order of no list.
func (ta taste) soak(seed uint64, count int) []step {
	rng := rand.New(rand.NewPCG(seed, 0x6d6f64656c))
	out := make([]step, count)
	for i := range out {
		s := step{kind: Alloc, object: rng.Uint32()}
		// Phases of filling and of draining.
		switch draining := i/200%3 == 2; {
		case rng.IntN(10) == 0:
			s.kind = Realloc
		case rng.IntN(20) < 9, draining && rng.IntN(3) == 0:
			s.kind = Free
		}
		switch rng.IntN(8) {
		case 0:
			s.size = 1 + rng.Uint64N(max(1, ta.scale/16))
		case 1, 2:
			s.size = 8 << rng.IntN(7)
		default:
			s.size = 1 + rng.Uint64N(max(8, min(400, ta.scale/8)))
		}
		if s.kind == Alloc && ta.aligns && rng.IntN(6) == 0 {
			s.align = 1 << rng.IntN(10)
		}
		out[i] = s
	}
	return out
}

// stepsOf reads steps from arbitrary bytes, four for each.
func (ta taste) stepsOf(data []byte) []step {
	var out []step
	for ; len(data) >= 4; data = data[4:] {
		v := binary.LittleEndian.Uint32(data)
		s := step{kind: []Kind{Alloc, Alloc, Free, Realloc}[v&3], object: v >> 8}
		mantissa := uint64(v>>8) & 0xfff
		switch shift := v >> 20 & 0xf; {
		case shift < 12:
			s.size = mantissa >> (11 - min(11, shift))
		case shift < 15:
			s.size = mantissa * (ta.scale>>12 + 1)
		default:
			s.size = min(mantissa<<(v>>2&0x3f), heapmodel.MaxSize)
		}
		if log2 := v >> 24 & 0x7f; s.kind == Alloc && ta.aligns && log2 < 32 {
			s.align = 1 << log2
		}
		if s.kind == Free {
			s.size = 0
		}
		out = append(out, s)
	}
	return out
}

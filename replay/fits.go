package replay

import (
	"fmt"
	"io"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// Fit says whether a heap serves a whole trace.
type Fit struct {
	OK     bool
	Event  uint64 // of the first failure, if not OK
	Events uint64 // replayed
	// Refused is why the heap could not be made: a capacity below what its
	// control structure needs. Not OK then, at event 0.
	Refused error
}

// Fits replays a trace through an empty heap of the spec up to the first
// request that it cannot serve, and measures nothing else: the question that
// sizing asks thousands of times. An error is one of the trace or of a model
// that broke.
func Fits(src trace.Source, s *heapmodel.Spec) (Fit, error) {
	p, err := newPlayer(s, src.Header(), &Options{OnFailure: Stop, Samples: 1})
	if err != nil {
		return Fit{Refused: err}, nil
	}
	known, err := foresee(src, []*player{p})
	if err != nil {
		return Fit{}, err
	}
	p.know(known)
	if p.res.Err != nil {
		return Fit{}, p.res.Err
	}
	r, err := src.Open()
	if err != nil {
		return Fit{}, err
	}
	defer r.Close()
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			return Fit{OK: true, Events: p.events}, nil
		} else if err != nil {
			return Fit{}, err
		}
		if at, ok := p.skim(&b); !ok {
			return Fit{Event: at, Events: at + 1}, p.res.Err
		}
	}
}

// skim replays a block without measuring. It returns the event that was not
// served, if any.
func (p *player) skim(b *trace.Block) (failed uint64, ok bool) {
	at := 0
	defer func() {
		if v := recover(); v != nil {
			p.res.Err = fmt.Errorf("model %s broke near event %d: %v (invariant: %v)", p.res.Spec, b.First+uint64(at), v, p.check())
			failed, ok = b.First+uint64(at), false
		}
	}()
	p.reserve(b)
	h, refs := p.h, p.refs
	ops, slots, sizes, aligns := b.Op, b.Slot[:len(b.Op)], b.Size[:len(b.Op)], b.Align[:len(b.Op)]
	for i, op := range ops {
		at = i
		slot := slots[i]
		if op == trace.OpFree {
			h.Free(refs[slot])
			continue
		}
		if p.hinted != nil {
			p.hint(b, i)
		}
		var r heapmodel.Ref
		var ok bool
		if op == trace.OpAlloc {
			align := aligns[i]
			if align == 0 {
				r, ok = h.Alloc(sizes[i], 0)
			} else {
				r, ok = p.allocAligned(sizes[i], align)
			}
			if p.aligns != nil || align != 0 {
				p.setAlign(int(slot), align)
			}
		} else {
			align := uint32(0)
			if p.aligns != nil {
				align = p.aligns[slot]
			}
			r, ok = h.Realloc(refs[slot], sizes[i], align)
		}
		if !ok {
			return b.First + uint64(i), false
		}
		refs[slot] = r
	}
	p.events += uint64(len(ops))
	return 0, true
}

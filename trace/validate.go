package trace

import (
	"errors"
	"io"
)

// Validator holds a trace to its rules: known operations, slots that are
// dense and handed out lowest-free-first, frees and reallocs of live objects
// only, alignments that are powers of two, sizes up to MaxSize, a clock that
// never goes back. The zero Validator is ready. It needs a bit for each slot.
type Validator struct {
	slots SlotPool
	next  uint64 // index of the next event
	time  int64
}

// Block checks the next block of a trace and returns a *SemanticError for the
// first event that breaks a rule.
func (v *Validator) Block(b *Block) error {
	n := b.Len()
	if len(b.Slot) != n || len(b.Size) != n || len(b.Align) != n || len(b.Time) != n || len(b.Thread) != n || len(b.Site) != n {
		return &SemanticError{Event: b.First, Rule: "columns of different lengths"}
	}
	if b.First != v.next {
		return &SemanticError{Event: b.First, Rule: "block out of order"}
	}
	for i, op := range b.Op {
		slot := b.Slot[i]
		rule := ""
		switch op {
		case OpAlloc:
			if want := v.slots.Take(); want != slot {
				rule = "alloc is not at the lowest free slot"
			}
		case OpFree:
			if !v.slots.Live(slot) {
				rule = "free of an object that is not live"
			} else {
				v.slots.Give(slot)
			}
		case OpRealloc:
			if !v.slots.Live(slot) {
				rule = "realloc of an object that is not live"
			}
		default:
			rule = "unknown operation"
		}
		if a := b.Align[i]; a&(a-1) != 0 {
			rule = "alignment is no power of two"
		}
		if b.Size[i] > MaxSize {
			rule = "size above 2^62"
		}
		if b.Time[i] < v.time {
			rule = "time goes back"
		}
		if rule != "" {
			return &SemanticError{Event: b.First + uint64(i), Slot: slot, Rule: rule}
		}
		v.time = b.Time[i]
	}
	v.next += uint64(n)
	return nil
}

// Validated returns a Reader that passes on r's blocks once a Validator has
// found no fault in them.
func Validated(r Reader) Reader { return &validated{Reader: r} }

type validated struct {
	Reader
	v Validator
}

func (r *validated) Next(b *Block) error {
	if err := r.Reader.Next(b); err != nil {
		return err
	}
	if err := r.v.Block(b); err != nil {
		b.Reset(b.First)
		return err
	}
	return nil
}

// ReadAll reads every event of r into memory, to at most limit bytes of
// columns, and closes it. It returns ok false, without an error, when the
// trace is larger than that.
func ReadAll(r Reader, limit int64) (m *Memory, ok bool, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	var blocks []*Block
	for {
		b := new(Block)
		if err := r.Next(b); err == io.EOF {
			return NewMemory(r.Header(), blocks), true, nil
		} else if err != nil {
			return nil, false, err
		}
		if limit -= int64(b.Len()) * EventBytes; limit < 0 {
			return nil, false, nil
		}
		blocks = append(blocks, b)
	}
}

// EventBytes is what one event takes in a Block.
const EventBytes = 1 + 4 + 8 + 4 + 8 + 4 + 4

package modeltest

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
)

// dead is the Ref of an object that is not live, as its allocation failed.
const dead = heapmodel.NullRef - 1

// player replays operations through a heap, as the golden tables were made.
type player struct {
	h      heapmodel.Heap
	refs   []heapmodel.Ref // by ID
	aligns []uint32        // by ID, of the call that placed the object
	at     int             // operations replayed
	hinted heapmodel.Hinted
	life   []uint64 // by ID, of a heap that looks at hints
}

// newPlayer returns a player of the trace through an empty heap, which gets to
// know what it wants. The error says why it does not take that.
func newPlayer(h heapmodel.Heap, t *Trace) (*player, error) {
	return newPlayerOf(h, t, 1)
}

// newPlayerOf is newPlayer for a trace that is replayed so many times over.
func newPlayerOf(h heapmodel.Heap, t *Trace, times int) (*player, error) {
	p := &player{h: h, refs: make([]heapmodel.Ref, t.Objects), aligns: make([]uint32, t.Objects)}
	return p, p.ready(t, times)
}

// play replays one operation and returns the heap's answer. A realloc of an
// object that is not live is an allocation without alignment.
func (p *player) play(o Op) golden.Answer {
	r := p.refs[o.ID]
	ok := true
	if p.hinted != nil && o.Kind != Free {
		p.hinted.Hint(p.hintOf(o))
	}
	switch {
	case o.Kind == Free && r == dead:
		return golden.Skipped
	case o.Kind == Free:
		p.h.Free(r)
		return golden.Freed
	case o.Kind == Realloc && r != dead:
		if r, ok = p.h.Realloc(r, o.Size, p.aligns[o.ID]); !ok {
			return golden.Null
		}
	default:
		if r, ok = p.h.Alloc(o.Size, o.Align); !ok {
			p.refs[o.ID] = dead
			return golden.Null
		}
		p.aligns[o.ID] = o.Align
	}
	p.refs[o.ID] = r
	return golden.Answer(p.h.Addr(r))
}

// Answers replays the trace through an empty heap and returns what the golden
// tables hold, a line an operation: the address of the object, "!" for a null
// pointer, "." for a free, "_" for a free of an object that is not live since
// its allocation failed. It panics if the heap does not take what it gets to
// know of the trace beforehand.
func Answers(h heapmodel.Heap, t *Trace) []byte {
	p, err := newPlayer(h, t)
	if err != nil {
		panic(err)
	}
	return p.answers(t)
}

func (p *player) answers(t *Trace) []byte {
	out := make([]byte, 0, 6*len(t.Ops))
	for i, o := range t.Ops {
		p.at = i
		out = append(p.play(o).Append(out), '\n')
	}
	return out
}

// Compare replays the trace through a heap of the spec and returns an error
// about the first line that differs from the table want, with the blocks
// around before and after the operation; nil if the texts are equal.
func Compare(s *heapmodel.Spec, t *Trace, want []byte) (err error) {
	h, err := s.New()
	if err != nil {
		return err
	}
	p, err := newPlayer(h, t)
	if err != nil {
		return err
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("line %d: %s: panic: %v\n%s", p.at+1, t.Ops[p.at], v, debug.Stack())
		}
	}()
	got := p.answers(t)
	if bytes.Equal(got, want) {
		return nil
	}
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	i := 0
	for i < len(g) && i < len(w) && bytes.Equal(g[i], w[i]) {
		i++
	}
	if i >= len(t.Ops) {
		return fmt.Errorf("the table has %d lines, the trace %d operations", len(w)-1, len(t.Ops))
	}
	wanted := "nothing: the table ends"
	if i+1 < len(w) {
		wanted = string(w[i])
	}
	return fmt.Errorf("line %d: %s\n got %s\nwant %s\n%s", i+1, t.Ops[i], g[i], wanted, situation(s, t, i, wanted))
}

// situation tells how the heap stood around operation i, by replaying up to it
// once more.
func situation(s *heapmodel.Spec, t *Trace, i int, wanted string) string {
	h, err := s.New()
	if err != nil {
		return err.Error()
	}
	p, err := newPlayer(h, t)
	if err != nil {
		return err.Error()
	}
	for _, o := range t.Ops[:i] {
		p.play(o)
	}
	var near []heapmodel.Addr
	if a, err := strconv.ParseUint(wanted, 10, 64); err == nil {
		near = append(near, heapmodel.Addr(a))
	}
	if r := p.refs[t.Ops[i].ID]; t.Ops[i].Kind != Alloc && r != dead {
		near = append(near, h.Addr(r))
	}
	before := slices.Collect(h.Blocks())
	if a, ok := p.play(t.Ops[i]).At(); ok {
		near = append(near, a)
	}
	var b strings.Builder
	if t.Ops[i].Kind != Free {
		fmt.Fprintf(&b, "need %d, largest free %d, counters %+v\n", h.Need(t.Ops[i].Size, t.Ops[i].Align), h.LargestFree(), *h.Usage())
	}
	fmt.Fprintf(&b, "earlier operations: %s\n", earlier(t, i))
	fmt.Fprintf(&b, "blocks before:\n%sblocks after:\n%s", golden.Window(slices.Values(before), near...), golden.Window(h.Blocks(), near...))
	if err := h.Check(); err != nil {
		fmt.Fprintf(&b, "check: %v\n", err)
	}
	return b.String()
}

// earlier lists the operations before i, and all those on its object.
func earlier(t *Trace, i int) string {
	var own, last []string
	for j, o := range t.Ops[:i] {
		if o.ID == t.Ops[i].ID {
			own = append(own, fmt.Sprintf("%d: %s", j+1, o))
		}
		if j >= i-4 {
			last = append(last, fmt.Sprintf("%d: %s", j+1, o))
		}
	}
	if len(own) > 6 {
		own = own[len(own)-6:]
	}
	if len(own) > 0 {
		return strings.Join(last, "; ") + "; on the object: " + strings.Join(own, "; ")
	}
	return strings.Join(last, "; ")
}

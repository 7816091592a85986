package modeltest

import (
	"bytes"
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
)

// dead is the Ref of an object that is not live, as its allocation failed.
const dead = heapmodel.NullRef - 1

// player replays operations through a heap, as the golden tables were made.
type player struct {
	h      heapmodel.Heap
	refs   []heapmodel.Ref // by ID
	aligns []uint32        // by ID, of the call that placed the object
	at     int             // operations replayed
}

func newPlayer(h heapmodel.Heap, t *Trace) *player {
	return &player{h: h, refs: make([]heapmodel.Ref, t.Objects), aligns: make([]uint32, t.Objects)}
}

// The outcomes of operations that give no address.
const (
	freed   = heapmodel.Null - 1 // a live object was freed
	skipped = heapmodel.Null - 2 // free of an object that is not live
)

// play replays one operation and returns the address of the object, Null if
// the heap returned a null pointer, or freed or skipped. A realloc of an object
// that is not live is an allocation without alignment.
func (p *player) play(o Op) heapmodel.Addr {
	r := p.refs[o.ID]
	ok := true
	switch {
	case o.Kind == Free && r == dead:
		return skipped
	case o.Kind == Free:
		p.h.Free(r)
		return freed
	case o.Kind == Realloc && r != dead:
		if r, ok = p.h.Realloc(r, o.Size, p.aligns[o.ID]); !ok {
			return heapmodel.Null
		}
	default:
		if r, ok = p.h.Alloc(o.Size, o.Align); !ok {
			p.refs[o.ID] = dead
			return heapmodel.Null
		}
		p.aligns[o.ID] = o.Align
	}
	p.refs[o.ID] = r
	return p.h.Addr(r)
}

// Answers replays the trace through an empty heap and returns what the golden
// tables hold, a line an operation: the address of the object, "!" for a null
// pointer, "." for a free, "_" for a free of an object that is not live since
// its allocation failed.
func Answers(h heapmodel.Heap, t *Trace) []byte {
	return newPlayer(h, t).answers(t)
}

func (p *player) answers(t *Trace) []byte {
	out := make([]byte, 0, 6*len(t.Ops))
	for i, o := range t.Ops {
		p.at = i
		out = appendAnswer(out, p.play(o))
	}
	return out
}

func appendAnswer(out []byte, a heapmodel.Addr) []byte {
	switch a {
	case heapmodel.Null:
		out = append(out, '!')
	case freed:
		out = append(out, '.')
	case skipped:
		out = append(out, '_')
	default:
		out = strconv.AppendUint(out, uint64(a), 10)
	}
	return append(out, '\n')
}

// Compare replays the trace through a heap of the spec and returns an error
// about the first line that differs from the table want, with the blocks
// around before and after the operation; nil if the texts are equal.
func Compare(s *heapmodel.Spec, t *Trace, want []byte) (err error) {
	h, err := s.New()
	if err != nil {
		return err
	}
	p := newPlayer(h, t)
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
	p := newPlayer(h, t)
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
	got := p.play(t.Ops[i])
	if got < skipped {
		near = append(near, got)
	}
	var b strings.Builder
	if t.Ops[i].Kind != Free {
		fmt.Fprintf(&b, "need %d, largest free %d, counters %+v\n", h.Need(t.Ops[i].Size, t.Ops[i].Align), h.LargestFree(), *h.Usage())
	}
	fmt.Fprintf(&b, "earlier operations: %s\n", earlier(t, i))
	fmt.Fprintf(&b, "blocks before:\n%sblocks after:\n%s", window(before, near), window(slices.Collect(h.Blocks()), near))
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

// window formats the blocks that hold or border the addresses, a line each,
// with "..." where some are left out.
func window(all []heapmodel.Block, near []heapmodel.Addr) string {
	const margin = 3
	show := make([]bool, len(all))
	for _, a := range near {
		at, _ := slices.BinarySearchFunc(all, a, func(b heapmodel.Block, a heapmodel.Addr) int {
			return cmp.Compare(b.Addr, a)
		})
		for j := max(0, at-margin); j < min(len(all), at+margin); j++ {
			show[j] = true
		}
	}
	var b strings.Builder
	gap := false
	for j, blk := range all {
		if !show[j] && len(all) > 4*margin {
			if !gap {
				b.WriteString("  ...\n")
			}
			gap = true
			continue
		}
		gap = false
		b.WriteString("  " + FormatBlock(blk) + "\n")
	}
	return b.String()
}

// FormatBlock writes a block as "[3188, 3204) 16 used, payload 3192" or
// "[3204, 65532) 62328 free".
func FormatBlock(b heapmodel.Block) string {
	text := fmt.Sprintf("[%d, %d) %d", b.Addr, uint64(b.Addr)+b.Size, b.Size)
	if !b.Used {
		return text + " free"
	}
	return fmt.Sprintf("%s used, payload %d", text, b.Payload)
}

package oracle

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
)

// Plain is a naive heap: lists in slices, searches that really walk, and
// counters that are added up when asked for.
type Plain interface {
	// Alloc returns Null if it places nothing.
	Alloc(size uint64, align uint32) heapmodel.Addr
	// Realloc returns Null if it fails, and the object stays as it was.
	Realloc(addr heapmodel.Addr, size uint64, align uint32) heapmodel.Addr
	Free(addr heapmodel.Addr)
	// Usage returns counters that compare with the model's in all fields.
	Usage() heapmodel.Usage
	// Blocks returns all blocks in address order. Payload, Wall and Ref do not
	// count.
	Blocks() []heapmodel.Block
}

// Pair runs a model and a plain heap side by side. Objects are numbered from
// zero; a freed one gives its number to the last.
type Pair struct {
	H      heapmodel.Heap
	P      Plain
	refs   []heapmodel.Ref
	addrs  []heapmodel.Addr
	aligns []uint32
}

// Step is an operation on a Pair.
type Step struct {
	Kind   byte // a, r or f
	Object int
	Size   uint64
	Align  uint32 // of an a
}

// Live returns the number of live objects.
func (x *Pair) Live() int { return len(x.refs) }

// Do runs one operation on both heaps and compares the addresses.
func (x *Pair) Do(s Step) error {
	switch s.Kind {
	case 'a':
		r, ok := x.H.Alloc(s.Size, s.Align)
		want := x.P.Alloc(s.Size, s.Align)
		if err := x.same(r, ok, want); err != nil {
			return err
		}
		if ok {
			x.refs, x.addrs, x.aligns = append(x.refs, r), append(x.addrs, want), append(x.aligns, s.Align)
		}
	case 'r':
		r, ok := x.H.Realloc(x.refs[s.Object], s.Size, x.aligns[s.Object])
		want := x.P.Realloc(x.addrs[s.Object], s.Size, x.aligns[s.Object])
		if err := x.same(r, ok, want); err != nil {
			return err
		}
		if ok {
			x.refs[s.Object], x.addrs[s.Object] = r, want
		}
	case 'f':
		x.H.Free(x.refs[s.Object])
		x.P.Free(x.addrs[s.Object])
		last := len(x.refs) - 1
		x.refs[s.Object], x.addrs[s.Object], x.aligns[s.Object] = x.refs[last], x.addrs[last], x.aligns[last]
		x.refs, x.addrs, x.aligns = x.refs[:last], x.addrs[:last], x.aligns[:last]
	}
	return nil
}

func (x *Pair) same(r heapmodel.Ref, ok bool, want heapmodel.Addr) error {
	got := heapmodel.Null
	if ok {
		got = x.H.Addr(r)
	}
	if got != want {
		return fmt.Errorf("the model says %d, the plain heap %d\n%s", int64(got), int64(want), x)
	}
	return nil
}

// Compare compares counters, blocks and the addresses of all objects.
func (x *Pair) Compare() error {
	for i, r := range x.refs {
		if got := x.H.Addr(r); got != x.addrs[i] {
			return fmt.Errorf("object %d is at %d, in the plain heap at %d\n%s", i, got, x.addrs[i], x)
		}
	}
	if got, want := *x.H.Usage(), x.P.Usage(); got != want {
		return fmt.Errorf("usage %+v, of the plain heap %+v\n%s", got, want, x)
	}
	all := x.P.Blocks()
	if !sameBlocks(x.H, all) {
		return fmt.Errorf("blocks differ\n%s", x)
	}
	if got, want := x.H.LargestFree(), Growth(0, all).LargestFree; got != want {
		return fmt.Errorf("the largest free block has %d bytes, in the plain heap %d\n%s", got, want, x)
	}
	return x.H.Check()
}

func sameBlocks(h heapmodel.Heap, want []heapmodel.Block) bool {
	i := 0
	for b := range h.Blocks() {
		if i == len(want) || b.Addr != want[i].Addr || b.Size != want[i].Size || b.Used != want[i].Used {
			return false
		}
		i++
	}
	return i == len(want)
}

// String returns the blocks of both heaps.
func (x *Pair) String() string {
	return "plain heap: " + lines(x.P.Blocks()) + "\nmodel:      " + lines(slices.Collect(x.H.Blocks()))
}

// lines writes blocks as Layout does.
func lines(all []heapmodel.Block) string {
	parts := make([]string, len(all))
	for i, b := range all {
		sign := "-"
		if b.Used {
			sign = "+"
		}
		parts[i] = fmt.Sprint(uint64(b.Addr), sign, b.Size)
	}
	return strings.Join(parts, " ")
}

// Sequences tries every sequence of up to depth operations: an alloc of each of
// the sizes, a free of each live object and, with reallocs, a realloc of each to
// each of the sizes. It compares the heaps of a new pair after each operation
// and returns the number of sequences.
func Sequences(newPair func() (*Pair, error), sizes []uint64, reallocs bool, depth int) (count int, err error) {
	steps := make([]Step, 0, depth)
	var try func() error
	try = func() error {
		x, err := newPair()
		if err != nil {
			return err
		}
		for _, s := range steps {
			if err = x.Do(s); err != nil {
				break
			}
		}
		if err == nil {
			err = x.Compare() // after shorter sequences the rest was compared
		}
		if err != nil {
			return fmt.Errorf("%s: %w", Text(steps), err)
		}
		count++
		if len(steps) == depth {
			return nil
		}
		live := x.Live()
		next := make([]Step, 0, 64)
		for _, size := range sizes {
			next = append(next, Step{Kind: 'a', Size: size})
		}
		for object := range live {
			next = append(next, Step{Kind: 'f', Object: object})
			for _, size := range sizes {
				if reallocs {
					next = append(next, Step{Kind: 'r', Object: object, Size: size})
				}
			}
		}
		for _, s := range next {
			steps = append(steps, s)
			if err := try(); err != nil {
				return err
			}
			steps = steps[:len(steps)-1]
		}
		return nil
	}
	return count, try()
}

// Text writes operations as "a 24, r 0 8, f 1", objects by their numbers.
func Text(steps []Step) string {
	parts := make([]string, len(steps))
	for i, s := range steps {
		switch s.Kind {
		case 'a':
			parts[i] = fmt.Sprintf("a %d", s.Size)
			if s.Align != 0 {
				parts[i] += fmt.Sprintf(" aligned to %d", s.Align)
			}
		case 'r':
			parts[i] = fmt.Sprintf("r %d %d", s.Object, s.Size)
		default:
			parts[i] = fmt.Sprintf("f %d", s.Object)
		}
	}
	return strings.Join(parts, ", ")
}

// Random runs up to most drawn operations, and at least a third of that, on a pair and compares the heaps
// after each. Some allocs are aligned to one of aligns, if there are any.
func Random(t *rapid.T, x *Pair, sizes []uint64, aligns []uint32, most int) {
	ops := rapid.IntRange(most/3, most).Draw(t, "operations")
	for i := range ops {
		s := Step{Kind: 'a'}
		if x.Live() > 0 {
			s.Kind = rapid.SampledFrom([]byte("aaaffr")).Draw(t, "kind")
		}
		if s.Kind != 'a' {
			s.Object = rapid.IntRange(0, x.Live()-1).Draw(t, "object")
		}
		if s.Kind != 'f' {
			s.Size = rapid.SampledFrom(sizes).Draw(t, "size")
		}
		if s.Kind == 'a' && len(aligns) > 0 && rapid.IntRange(0, 7).Draw(t, "aligned") == 0 {
			s.Align = rapid.SampledFrom(aligns).Draw(t, "align")
		}
		err := x.Do(s)
		if err == nil {
			err = x.Compare()
		}
		if err != nil {
			t.Fatalf("operation %d, %s: %v", i, Text([]Step{s}), err)
		}
	}
}

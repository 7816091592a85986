package modeltest

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
)

// Shadow is a judge of a heap: a heapmodel.Heap that passes every call on and
// compares what it sees from outside with what a heap must do. It knows no
// placement policy and shares no code with any model.
//
// After each call it holds against the heap that
//
//   - payloads of live objects do not overlap, so that no byte of an object is
//     given to another while it lives, and their addresses differ;
//   - addresses have the alignment asked for and Align;
//   - a call that fails changes nothing that can be seen in Usage but Steps;
//   - the high-water mark and the count of steps never fall, and the mark is not
//     below any payload's end;
//   - a request larger than the largest run of free blocks fails, unless the
//     arena grows.
//
// Survey compares the blocks of the heap with its counters and with the
// objects. Err returns the first breach; later ones are not looked for.
type Shadow struct {
	h       heapmodel.Heap
	rules   Rules
	layout  bool
	err     error
	objects map[heapmodel.Ref]object
	places  []place // by start, then end
	high    uint64  // highest high-water mark so far
	steps   uint64  // most steps so far
	blocks  []heapmodel.Block
	surveys uint64
}

// Rules are what a Shadow does not hold against a heap, since the original is
// so. The zero Rules are the strictest.
type Rules struct {
	// NoLayout is for models with heapmodel.CapNoLayout: addresses and blocks
	// mean nothing.
	NoLayout bool
	// FailureMerges allows a call that fails to coalesce free blocks.
	FailureMerges bool
	// FailureGrows allows a call that fails to grow the arena.
	FailureGrows bool
	// Moves allows a call that succeeds to move other objects: their addresses
	// are read anew after each call, and a request may be served that no run of
	// free blocks held.
	Moves bool
}

// ReallocFaulter is implemented by models of heaps whose Realloc succeeds for
// some impossible sizes, with a block that is too small. The Shadow then takes
// the object for one of size 0.
type ReallocFaulter interface {
	// ReallocFault returns the least size for which that may happen.
	ReallocFault() uint64
}

type object struct {
	addr  heapmodel.Addr
	size  uint64
	found uint64 // number of the latest survey that met it in a block
}

type place struct {
	start, end uint64 // end is start for an object of size 0
	ref        heapmodel.Ref
}

// NewShadow returns a judge of the heap, which must be empty.
func NewShadow(h heapmodel.Heap, rules Rules) *Shadow {
	s := &Shadow{h: h, rules: rules, layout: !rules.NoLayout, objects: map[heapmodel.Ref]object{}}
	s.high = h.Usage().HighWater
	return s
}

// Err returns the first breach of a rule, or nil.
func (s *Shadow) Err() error { return s.err }

func (s *Shadow) breach(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// Alloc passes the call on and judges it.
func (s *Shadow) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	before, room := *s.h.Usage(), s.room()
	need := s.h.Need(size, align)
	r, ok := s.h.Alloc(size, align)
	what := fmt.Sprintf("alloc of %d bytes, align %d", size, align)
	if need < size {
		s.breach("%s: the heap says that it needs %d bytes", what, need)
	}
	if !ok || r == heapmodel.NullRef {
		s.unchanged(what, before)
		return r, ok
	}
	if s.rules.Moves {
		s.moved(what)
	} else if arena := s.h.Usage().Arena; s.layout && need > room && arena <= before.Arena {
		s.breach("%s: succeeds, though it needs %d bytes and the longest run of free blocks has %d", what, need, room)
	}
	s.add(what, r, size)
	s.aligned(what, r, max(align, 1))
	if align == 0 {
		s.aligned(what, r, s.h.Align())
	}
	s.after(what)
	return r, ok
}

// Realloc passes the call on and judges it.
func (s *Shadow) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	before := *s.h.Usage()
	old, live := s.objects[r]
	if !live && r != heapmodel.NullRef {
		s.breach("the test itself reallocates %d, which is not live", r)
	}
	n, ok := s.h.Realloc(r, size, align)
	what := fmt.Sprintf("realloc to %d bytes of %d, %d bytes at %d", size, r, old.size, old.addr)
	if !ok {
		if n != r {
			s.breach("%s: fails and returns another Ref, %d", what, n)
		}
		s.unchanged(what, before)
		return n, ok
	}
	if live {
		s.remove(r)
	}
	if s.rules.Moves {
		s.moved(what)
	}
	if n != heapmodel.NullRef {
		if f, faulty := s.h.(ReallocFaulter); faulty && size >= f.ReallocFault() {
			size = 0
		}
		s.add(what, n, size)
		s.aligned(what, n, s.h.Align())
	}
	s.after(what)
	return n, ok
}

// Free passes the call on and judges it.
func (s *Shadow) Free(r heapmodel.Ref) {
	o, live := s.objects[r]
	if !live && r != heapmodel.NullRef {
		s.breach("the test itself frees %d, which is not live", r)
	}
	before := *s.h.Usage()
	s.h.Free(r)
	what := fmt.Sprintf("free of %d, %d bytes at %d", r, o.size, o.addr)
	if r == heapmodel.NullRef {
		s.unchanged("free of a null pointer", before)
		return
	}
	s.remove(r)
	s.after(what)
}

// add notes a new object.
func (s *Shadow) add(what string, r heapmodel.Ref, size uint64) {
	if _, live := s.objects[r]; live {
		s.breach("%s: returns Ref %d, which is live already", what, r)
		return
	}
	a := s.h.Addr(r)
	s.objects[r] = object{addr: a, size: size}
	if !s.layout {
		return
	}
	if a == heapmodel.Null || uint64(a)+size < uint64(a) {
		s.breach("%s: the object is at %d", what, a)
		return
	}
	p := place{start: uint64(a), end: uint64(a) + size, ref: r}
	at := s.search(p.start)
	// Neighbours suffice: the places before this call did not overlap.
	for _, other := range s.places[max(0, at-1):min(len(s.places), at+1)] {
		if p.start == other.start || (p.start < other.end && other.start < p.end) {
			s.breach("%s: gets [%d, %d), object %d has [%d, %d)", what, p.start, p.end, other.ref, other.start, other.end)
		}
	}
	s.places = slices.Insert(s.places, at, p)
}

// moved reads the addresses of all objects anew: they must still be aligned and
// not overlap. Ties of address are left to add.
func (s *Shadow) moved(what string) {
	for i := range s.places {
		p := &s.places[i]
		o := s.objects[p.ref]
		o.addr = s.h.Addr(p.ref)
		s.objects[p.ref] = o
		p.start, p.end = uint64(o.addr), uint64(o.addr)+o.size
		s.aligned(what, p.ref, s.h.Align())
	}
	slices.SortFunc(s.places, func(a, b place) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(s.places); i++ {
		if low, up := s.places[i-1], s.places[i]; low.end > up.start || low.start == up.start {
			s.breach("%s: moves object %d to [%d, %d), object %d is at [%d, %d)", what, low.ref, low.start, low.end, up.ref, up.start, up.end)
		}
	}
}

func (s *Shadow) remove(r heapmodel.Ref) {
	o := s.objects[r]
	delete(s.objects, r)
	for at := s.search(uint64(o.addr)); at < len(s.places); at++ {
		if s.places[at].ref == r {
			s.places = slices.Delete(s.places, at, at+1)
			return
		}
	}
}

// search returns the index of the first place that starts at start or above.
func (s *Shadow) search(start uint64) int {
	return sort.Search(len(s.places), func(i int) bool { return s.places[i].start >= start })
}

func (s *Shadow) aligned(what string, r heapmodel.Ref, align uint32) {
	if a := s.h.Addr(r); s.layout && uint64(a)%uint64(align) != 0 {
		s.breach("%s: address %d is no multiple of %d", what, a, align)
	}
}

// unchanged compares the counters after a call that was to change nothing.
func (s *Shadow) unchanged(what string, before heapmodel.Usage) {
	now := *s.h.Usage()
	if now.Steps > before.Steps {
		now.Steps = before.Steps // a search in vain takes steps, too
	}
	if s.rules.FailureMerges && now.FreeBlocks <= before.FreeBlocks {
		now.FreeBlocks = before.FreeBlocks
	}
	if s.rules.FailureGrows && now.Arena >= before.Arena {
		now.Arena, now.Free, now.Overhead = before.Arena, before.Free, before.Overhead
		now.FreeBlocks, now.Grown = before.FreeBlocks, before.Grown
	}
	if now != before {
		s.breach("%s: places nothing and changes %+v to %+v", what, before, now)
	}
	s.after(what)
}

// after checks what must hold after every call, in O(1).
func (s *Shadow) after(what string) {
	u := s.h.Usage()
	if u.Arena != u.Allocated+u.Free+u.Overhead {
		s.breach("%s: arena %d is not allocated %d + free %d + overhead %d", what, u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	if u.HighWater < s.high {
		s.breach("%s: the high-water mark falls from %d to %d", what, s.high, u.HighWater)
	}
	s.high = u.HighWater
	if u.Steps < s.steps {
		s.breach("%s: the count of steps falls from %d to %d", what, s.steps, u.Steps)
	}
	s.steps = u.Steps
	if len(s.places) > 0 && s.layout {
		if end := s.places[len(s.places)-1].end; end > u.HighWater {
			s.breach("%s: the high-water mark %d is below an object's end, %d", what, u.HighWater, end)
		}
	}
}

// room returns the longest run of free blocks that touch each other, bytes: a
// heap that coalesces late may join them to serve a request.
func (s *Shadow) room() uint64 {
	var longest, run, end uint64
	for b := range s.h.Blocks() {
		if b.Used || uint64(b.Addr) != end {
			run = 0
		}
		if !b.Used {
			run += b.Size
		}
		end = uint64(b.Addr) + b.Size
		longest = max(longest, run)
	}
	return longest
}

// Survey walks the blocks and returns the first breach so far, one found now
// included. O(blocks + objects).
func (s *Shadow) Survey() error {
	if s.err == nil {
		s.err = s.survey()
	}
	return s.err
}

func (s *Shadow) survey() error {
	if err := s.h.Check(); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	for _, p := range s.places {
		if now := s.h.Addr(p.ref); now != heapmodel.Addr(p.start) {
			return fmt.Errorf("object %d moves from %d to %d unasked", p.ref, p.start, now)
		}
	}
	if !s.layout {
		return nil
	}
	s.surveys++
	s.blocks = slices.AppendSeq(s.blocks[:0], s.h.Blocks())
	return errors.Join(s.surveyBlocks(), s.surveyObjects())
}

// surveyBlocks compares the blocks with the counters.
func (s *Shadow) surveyBlocks() error {
	var want heapmodel.Usage
	var end, largest uint64
	for i, b := range s.blocks {
		if uint64(b.Addr) < end || (i > 0 && b.Addr == s.blocks[i-1].Addr) || b.Size == 0 {
			return fmt.Errorf("block %s follows one that ends at %d", golden.FormatBlock(b), end)
		}
		end = uint64(b.Addr) + b.Size
		if b.Used {
			want.Allocated += b.Size
			want.UsedBlocks++
			want.HighWater = end
			continue
		}
		want.Free += b.Size
		want.FreeBlocks++
		largest = max(largest, b.Size)
		if b.Ref != heapmodel.NullRef || b.Payload != b.Addr {
			return fmt.Errorf("free block %s has Ref %d and payload %d", golden.FormatBlock(b), b.Ref, b.Payload)
		}
	}
	u := s.h.Usage()
	switch {
	case want.Allocated != u.Allocated || want.Free != u.Free:
		return fmt.Errorf("counters say allocated %d, free %d; blocks say %d, %d", u.Allocated, u.Free, want.Allocated, want.Free)
	case want.UsedBlocks != u.UsedBlocks || want.FreeBlocks != u.FreeBlocks:
		return fmt.Errorf("counters say %d used and %d free blocks; a walk finds %d and %d", u.UsedBlocks, u.FreeBlocks, want.UsedBlocks, want.FreeBlocks)
	case want.HighWater > u.HighWater:
		return fmt.Errorf("the high-water mark %d is below a used block's end, %d", u.HighWater, want.HighWater)
	case s.h.LargestFree() != largest:
		return fmt.Errorf("the largest free block has %d bytes, the heap says %d", largest, s.h.LargestFree())
	}
	return nil
}

// surveyObjects compares the used blocks with the objects. A used block without
// a Ref is the heap's own, or lost to it.
func (s *Shadow) surveyObjects() error {
	seen := 0
	for _, b := range s.blocks {
		if !b.Used || b.Ref == heapmodel.NullRef {
			continue
		}
		o, live := s.objects[b.Ref]
		end := uint64(b.Addr) + b.Size
		switch {
		case !live:
			return fmt.Errorf("block %s has Ref %d, which is not live", golden.FormatBlock(b), b.Ref)
		case b.Payload != o.addr:
			return fmt.Errorf("block %s belongs to object %d at %d", golden.FormatBlock(b), b.Ref, o.addr)
		case b.Payload < b.Addr || uint64(b.Payload)+o.size > end:
			return fmt.Errorf("block %s does not hold object %d of %d bytes", golden.FormatBlock(b), b.Ref, o.size)
		case o.found == s.surveys:
			return fmt.Errorf("block %s has Ref %d, as another block has", golden.FormatBlock(b), b.Ref)
		}
		o.found = s.surveys
		s.objects[b.Ref] = o
		seen++
	}
	if seen != len(s.objects) {
		return fmt.Errorf("%d of %d live objects are in blocks", seen, len(s.objects))
	}
	return nil
}

// Addr passes the call on.
func (s *Shadow) Addr(r heapmodel.Ref) heapmodel.Addr { return s.h.Addr(r) }

// Align passes the call on.
func (s *Shadow) Align() uint32 { return s.h.Align() }

// Need passes the call on.
func (s *Shadow) Need(size uint64, align uint32) uint64 { return s.h.Need(size, align) }

// Usage passes the call on.
func (s *Shadow) Usage() *heapmodel.Usage { return s.h.Usage() }

// LargestFree passes the call on.
func (s *Shadow) LargestFree() uint64 { return s.h.LargestFree() }

// Blocks passes the call on.
func (s *Shadow) Blocks() iter.Seq[heapmodel.Block] { return s.h.Blocks() }

// Check passes the call on.
func (s *Shadow) Check() error { return s.h.Check() }

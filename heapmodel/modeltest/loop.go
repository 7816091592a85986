package modeltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/fragprof/fragprof/heapmodel"
)

// A loop is a trace as dense arrays, objects numbered by slots that are reused,
// to be replayed again and again: the set-up once, then passes, each of which
// leaves the slots live that it found live.
type loop struct {
	name  string
	kind  []Kind
	slot  []uint32
	size  []uint32
	setup int // operations before the pass
	slots int
	live  int // objects before and after a pass
}

func (l *loop) add(kind Kind, slot, size uint32) {
	l.kind = append(l.kind, kind)
	l.slot = append(l.slot, slot)
	l.size = append(l.size, size)
}

// loopOf makes a loop of a trace that frees all its objects.
func loopOf(t *Trace) (*loop, error) {
	l := &loop{name: t.Name}
	slots := make([]uint32, t.Objects)
	var spare []uint32
	live := 0
	for i, o := range t.Ops {
		if o.Size > math.MaxUint32 || o.Align != 0 {
			return nil, fmt.Errorf("trace %s: line %d: a loop has no size above 4 GiB and no align", t.Name, i+1)
		}
		switch {
		case o.Kind == Alloc && len(spare) > 0:
			slots[o.ID] = spare[len(spare)-1]
			spare = spare[:len(spare)-1]
			live++
		case o.Kind == Alloc:
			slots[o.ID] = uint32(l.slots)
			l.slots++
			live++
		case o.Kind == Free:
			spare = append(spare, slots[o.ID])
			live--
		}
		l.add(o.Kind, slots[o.ID], uint32(o.Size))
	}
	if live != 0 {
		return nil, fmt.Errorf("trace %s leaves %d objects live", t.Name, live)
	}
	return l, nil
}

// steadyLoop makes a loop with so many live objects. A pass replaces objects
// at random, and reallocates one now and then.
func steadyLoop(live, ops int) *loop {
	l := &loop{name: fmt.Sprintf("live%dk", live/1000), slots: live, live: live, setup: live}
	rng := rand.New(rand.NewPCG(uint64(live), 0x737465616479))
	for slot := range live {
		l.add(Alloc, uint32(slot), mixedSize(rng))
	}
	for len(l.kind) < l.setup+ops {
		slot := uint32(rng.IntN(live))
		if rng.IntN(20) == 0 {
			l.add(Realloc, slot, mixedSize(rng))
			continue
		}
		l.add(Free, slot, 0)
		l.add(Alloc, slot, mixedSize(rng))
	}
	return l
}

// mixedSize draws from a mix of sizes as programs have them: most small and of
// few values, a thin tail up to 16 KiB.
func mixedSize(rng *rand.Rand) uint32 {
	popular := [...]uint32{16, 24, 24, 32, 40, 48, 56, 64, 96, 128}
	switch p := rng.IntN(100); {
	case p < 45:
		return popular[rng.IntN(len(popular))]
	case p < 80:
		return 8 + rng.Uint32N(120)
	case p < 94:
		return 100 + rng.Uint32N(500)
	case p < 99:
		return 600 + rng.Uint32N(3400)
	default:
		return 4000 + rng.Uint32N(12384)
	}
}

// driver replays operations [from, to) of a loop and returns the number of
// failures.
type driver func(refs []heapmodel.Ref, from, to int) (failures int)

// driver returns what replays the loop through the heap. The error says why
// there is nothing: the heap wants to know lifetimes, and a loop has no end.
func (l *loop) driver(h heapmodel.Heap) (driver, error) {
	if _, planned := h.(heapmodel.Planned); planned {
		return nil, errors.New("a heap that plans cannot replay a loop without an end")
	}
	hinted, ok := h.(heapmodel.Hinted)
	if !ok || hinted.Hints() == 0 {
		return func(refs []heapmodel.Ref, from, to int) int { return l.replay(h, refs, from, to) }, nil
	}
	if err := hinted.Bind(Sites()); err != nil {
		return nil, err
	}
	sites := uint32(len(Sites()))
	return func(refs []heapmodel.Ref, from, to int) (failures int) {
		for i := from; i < to; i++ {
			if l.kind[i] != Free {
				slot := l.slot[i]
				hinted.Hint(heapmodel.Hint{Site: slot % sites, Thread: slot % Threads, Life: uint64(l.size[i]) << (slot % 16)})
			}
			failures += l.replay(h, refs, i, i+1)
		}
		return failures
	}, nil
}

// replay is the loop that is timed. It returns the number of failures.
func (l *loop) replay(h heapmodel.Heap, refs []heapmodel.Ref, from, to int) (failures int) {
	kinds := l.kind[from:to]
	slots, sizes := l.slot[from:to][:len(kinds)], l.size[from:to][:len(kinds)]
	for i, k := range kinds {
		slot := slots[i]
		switch k {
		case Alloc:
			r, ok := h.Alloc(uint64(sizes[i]), 0)
			if !ok {
				failures++
				r = dead
			}
			refs[slot] = r
		case Free:
			if r := refs[slot]; r != dead {
				h.Free(r)
			}
		default:
			if !l.realloc(h, refs, slot, uint64(sizes[i])) {
				failures++
			}
		}
	}
	return failures
}

func (l *loop) realloc(h heapmodel.Heap, refs []heapmodel.Ref, slot uint32, size uint64) bool {
	var ok bool
	if r := refs[slot]; r != dead {
		refs[slot], ok = h.Realloc(r, size, 0)
		return ok
	}
	r, ok := h.Alloc(size, 0)
	if ok {
		refs[slot] = r
	}
	return ok
}

// write writes the arrays as testdata/glibcloop.c reads them.
func (l *loop) write(w io.Writer) error {
	head := []uint32{uint32(l.setup), uint32(len(l.kind) - l.setup), uint32(l.slots)}
	for _, part := range []any{head, l.kind, l.slot, l.size} {
		if err := binary.Write(w, binary.NativeEndian, part); err != nil {
			return err
		}
	}
	return nil
}

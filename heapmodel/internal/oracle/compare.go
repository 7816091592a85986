package oracle

import (
	"fmt"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

// Heap is a naive heap. Null is the address of what it does not place.
type Heap interface {
	Alloc(size uint64, align uint32) heapmodel.Addr
	// Realloc returns Null if it fails, and the object stays as it was.
	Realloc(addr heapmodel.Addr, size uint64, align uint32) heapmodel.Addr
	Free(addr heapmodel.Addr)
	Arena() *Arena
}

// Compare replays random operations and recorded traces through a model and
// its naive twin and compares, after each operation, the address, the count of
// steps and the free bytes, and now and then all blocks.
func Compare(t *testing.T, m *heapmodel.Model, spec string, newHeap func() Heap) {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{m}, spec)
	if err != nil {
		t.Fatal(err)
	}
	aligned := m.Caps&heapmodel.CapAlign != 0
	names := []string{"exhaust", "realloc", "tiny", "wide"}
	if aligned {
		names = append(names, "aligned", "fa1", "fa5")
	}
	for _, name := range names {
		tr, err := modeltest.LoadTrace(name)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, s, newHeap(), name, tr.Ops[:min(len(tr.Ops), 6000)])
	}
	for seed := range uint64(6) {
		compare(t, s, newHeap(), fmt.Sprint("seed ", seed), randomOps(seed, 4000, aligned))
	}
}

// randomOps returns operations that fill a heap of some ten thousand bytes and
// keep it about full, with sizes of all kinds.
func randomOps(seed uint64, count int, aligned bool) []modeltest.Op {
	rng := random(seed)
	var ops []modeltest.Op
	var live []uint32
	next := uint32(0)
	size := func() uint64 {
		switch rng.below(12) {
		case 0:
			return 1 << rng.below(63) // some that no heap has
		case 1:
			return rng.below(20000)
		case 2, 3:
			return rng.below(3000)
		default:
			return rng.below(200)
		}
	}
	for len(ops) < count {
		switch k := rng.below(20); {
		case k < 10 || len(live) == 0:
			o := modeltest.Op{Kind: modeltest.Alloc, ID: next, Size: size()}
			if aligned && rng.below(4) == 0 {
				o.Align = 1 << rng.below(12)
			}
			ops = append(ops, o)
			live = append(live, next)
			next++
		default:
			i := rng.below(uint64(len(live)))
			if k < 13 {
				ops = append(ops, modeltest.Op{Kind: modeltest.Realloc, ID: live[i], Size: size()})
				continue
			}
			ops = append(ops, modeltest.Op{Kind: modeltest.Free, ID: live[i]})
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
		}
	}
	return ops
}

// random is a generator of pseudo-random numbers, splitmix64: the same on every
// machine and in every version of Go.
type random uint64

// below returns a number below n.
func (r *random) below(n uint64) uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return (z ^ z>>31) % n
}

type object struct {
	ref   heapmodel.Ref
	addr  heapmodel.Addr
	align uint32
}

func compare(t *testing.T, s *heapmodel.Spec, o Heap, name string, ops []modeltest.Op) {
	t.Helper()
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	objects := map[uint32]object{} // those that were placed, null pointers included
	for i, op := range ops {
		old, live := objects[op.ID]
		now := old
		ok, want := true, heapmodel.Null
		switch {
		case op.Kind == modeltest.Free && !live:
			continue
		case op.Kind == modeltest.Free:
			h.Free(old.ref)
			if old.addr != heapmodel.Null {
				o.Free(old.addr)
			}
			delete(objects, op.ID)
		case op.Kind == modeltest.Realloc && live:
			now.ref, ok = h.Realloc(old.ref, op.Size, old.align)
			want = o.Realloc(old.addr, op.Size, old.align)
		default:
			now.ref, ok = h.Alloc(op.Size, op.Align)
			now.align = op.Align
			want = o.Alloc(op.Size, op.Align)
		}
		got := heapmodel.Null
		if ok && op.Kind != modeltest.Free {
			now.addr = h.Addr(now.ref)
			got = now.addr
			objects[op.ID] = now
		}
		if err := same(h, o.Arena(), i%97 == 0 || i == len(ops)-1); got != want || err != nil {
			t.Fatalf("%s: %s: operation %d, %s: got %d, want %d; %v", s, name, i+1, op, int64(got), int64(want), err)
		}
	}
}

// same compares a heap with an arena.
func same(h heapmodel.Heap, a *Arena, all bool) error {
	u := h.Usage()
	if u.Steps != a.Steps {
		return fmt.Errorf("steps: got %d, want %d", u.Steps, a.Steps)
	}
	free := uint64(0)
	for _, b := range a.Blocks {
		if b.Free {
			free += b.Size
		}
	}
	if u.Free != free || int(u.UsedBlocks+u.FreeBlocks) != len(a.Blocks) {
		return fmt.Errorf("got %d free bytes and %d blocks, want %d and %d", u.Free, u.UsedBlocks+u.FreeBlocks, free, len(a.Blocks))
	}
	if !all {
		return nil
	}
	var got []Block
	for b := range h.Blocks() {
		got = append(got, Block{Start: uint64(b.Addr), Size: b.Size, Free: !b.Used})
	}
	if !slices.Equal(got, a.Blocks) {
		return fmt.Errorf("blocks: got %v, want %v", got, a.Blocks)
	}
	return h.Check()
}

package rustlinkedlist_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/rustlinkedlist"
)

// naive is the heap as its description has it: all blocks in a slice, walked
// from the start.
type naive struct {
	word   uint64
	blocks []oracle.Block
	steps  uint64
}

func (o *naive) Alloc(size uint64, align uint32) heapmodel.Addr {
	least := 2 * o.word
	k := oracle.Up(max(size, least), o.word)
	for i, b := range o.blocks {
		if !b.Free {
			continue
		}
		o.steps++
		at := b.Start
		if al := max(uint64(align), o.word); at%al != 0 {
			at = oracle.Up(at+least, al)
		}
		end := b.Start + b.Size
		if at+k > end || at+k < end && end-(at+k) < least {
			continue
		}
		var parts []oracle.Block
		if at > b.Start {
			parts = append(parts, oracle.Block{Start: b.Start, Size: at - b.Start, Free: true})
		}
		parts = append(parts, oracle.Block{Start: at, Size: k})
		if at+k < end {
			parts = append(parts, oracle.Block{Start: at + k, Size: end - at - k, Free: true})
		}
		o.blocks = slices.Replace(o.blocks, i, i+1, parts...)
		return heapmodel.Addr(at)
	}
	return heapmodel.Null
}

func (o *naive) Free(addr heapmodel.Addr) {
	at := 0
	for o.blocks[at].Start != uint64(addr) {
		if o.blocks[at].Free {
			o.steps++
		}
		at++
	}
	o.blocks[at].Free = true
	if at+1 < len(o.blocks) && o.blocks[at+1].Free {
		o.join(at)
	}
	if at > 0 && o.blocks[at-1].Free {
		o.join(at - 1)
	}
}

func (o *naive) join(at int) {
	o.steps++
	o.blocks[at].Size += o.blocks[at+1].Size
	o.blocks = slices.Delete(o.blocks, at+1, at+2)
}

func (o *naive) Realloc(addr heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	moved := o.Alloc(size, align)
	if moved != heapmodel.Null {
		o.Free(addr)
	}
	return moved
}

func (o *naive) Arena() *oracle.Arena { return &oracle.Arena{Blocks: o.blocks, Steps: o.steps} }

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec           string
		capacity, word uint64
	}{
		{"rust-linked-list:capacity=40001", 40001, 4},
		{"rust-linked-list:capacity=64KiB", 65536, 4},
		{"rust-linked-list:capacity=64KiB,ptr=64", 65536, 8},
		{"rust-linked-list:capacity=12345,ptr=64", 12345, 8},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, rustlinkedlist.Model, c.spec, func() oracle.Heap {
				return &naive{word: c.word, blocks: []oracle.Block{{Size: c.capacity / c.word * c.word, Free: true}}}
			})
		})
	}
}

// A list of many small holes, which is kept by exact size, too, and shrinks
// again.
func TestOracleManyHoles(t *testing.T) {
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{rustlinkedlist.Model}, "rust-linked-list:capacity=64KiB,ptr=64")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(4) {
		h, err := s.New()
		if err != nil {
			t.Fatal(err)
		}
		o := &naive{word: 8, blocks: []oracle.Block{{Size: 65536, Free: true}}}
		rng := rand.New(rand.NewPCG(seed, 1))
		var refs []heapmodel.Ref
		most := uint64(0)
		for i := range 8000 {
			// It fills and empties twice.
			if rng.IntN(10) < 5+3*(1-i/2000%2*2) || len(refs) == 0 {
				size := 1 + rng.Uint64N(100)
				r, ok := h.Alloc(size, 0)
				if want := o.Alloc(size, 0); ok != (want != heapmodel.Null) || ok && h.Addr(r) != want {
					t.Fatalf("seed %d: operation %d: %d bytes, placed %t at %d, want %d", seed, i, size, ok, h.Addr(r), want)
				}
				if ok {
					refs = append(refs, r)
				}
			} else {
				at := rng.IntN(len(refs))
				o.Free(h.Addr(refs[at]))
				h.Free(refs[at])
				refs[at] = refs[len(refs)-1]
				refs = refs[:len(refs)-1]
			}
			most = max(most, h.Usage().FreeBlocks)
			if got := h.Usage().Steps; got != o.steps {
				t.Fatalf("seed %d: operation %d: %d steps, want %d", seed, i, got, o.steps)
			}
			if i%100 == 0 {
				if err := h.Check(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if last := h.Usage().FreeBlocks; most < 280 || last > 100 {
			t.Errorf("seed %d: %d holes at most, %d at the end; want a test of 280 and 100", seed, most, last)
		}
	}
}

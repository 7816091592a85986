package oracle

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// Sum adds up the blocks of a plain heap whose arena has so many bytes; what is
// in no block is overhead. HighWater, Steps and Grown are left to the caller.
func Sum(all []heapmodel.Block, arena uint64) heapmodel.Usage {
	u := heapmodel.Usage{Arena: arena}
	for _, b := range all {
		if b.Used {
			u.UsedBlocks++
			u.Allocated += b.Size
		} else {
			u.FreeBlocks++
			u.Free += b.Size
		}
	}
	u.Overhead = arena - u.Allocated - u.Free
	return u
}

// Growth returns what a plain heap with these blocks says of growing for a
// request that needs so many bytes.
func Growth(need uint64, all []heapmodel.Block) heapmodel.Growth {
	g := heapmodel.Growth{Need: need}
	for _, b := range all {
		if !b.Used {
			g.Free += b.Size
			g.LargestFree = max(g.LargestFree, b.Size)
		}
	}
	return g
}

// Pairs returns a function that makes pairs of a heap of the spec, one of the
// models, and the plain heap that plain makes for it.
func Pairs(models []*heapmodel.Model, spec string, plain func(heapmodel.Heap) Plain) (func() (*Pair, error), error) {
	s, err := heapmodel.ParseSpec(models, spec)
	if err != nil {
		return nil, err
	}
	return func() (*Pair, error) {
		h, err := s.New()
		if err != nil {
			return nil, err
		}
		return &Pair{H: h, P: plain(h)}, nil
	}, nil
}

// Tree says which sequences of operations Exhaust tries: see Sequences.
type Tree struct {
	Sizes    []uint64
	Reallocs bool
	Depth    int
}

// Exhaust tries all sequences of each tree on new pairs.
func Exhaust(t *testing.T, newPair func() (*Pair, error), trees ...Tree) {
	t.Helper()
	for _, tree := range trees {
		count, err := Sequences(newPair, tree.Sizes, tree.Reallocs, tree.Depth)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d sequences", count)
	}
}

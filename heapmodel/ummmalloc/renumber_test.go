package ummmalloc

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// TestNumbersRunOut makes the numbers of a best-fit list run out every few frees
// and compares the places of objects with those of a heap where they do not.
func TestNumbersRunOut(t *testing.T) {
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, "umm-malloc:capacity=4KiB")
	if err != nil {
		t.Fatal(err)
	}
	var heaps [2]heapmodel.Heap
	for i := range heaps {
		if heaps[i], err = s.New(); err != nil {
			t.Fatal(err)
		}
	}
	short := heaps[0].(*bestFit)
	var refs [2][40]heapmodel.Ref
	for i := range refs[0] {
		refs[0][i], refs[1][i] = heapmodel.NullRef, heapmodel.NullRef
	}
	ranOut := 0
	state := uint64(42)
	for i := range 5000 {
		state = state*6364136223846793005 + 1442695040888963407
		slot, size := state>>33%40, state>>40%90+1
		if i%7 == 0 {
			short.free.Rekey(3)
			short.key = 3
		}
		before := short.key
		for k, h := range heaps {
			h.Free(refs[k][slot])
			r, ok := h.Alloc(size, 0)
			if !ok {
				r = heapmodel.NullRef
			}
			refs[k][slot] = r
		}
		if short.key > before {
			ranOut++
		}
		if a, b := heaps[0].Addr(refs[0][slot]), heaps[1].Addr(refs[1][slot]); a != b {
			t.Fatalf("operation %d: at %d, want %d", i, a, b)
		}
		if err := heaps[0].Check(); err != nil {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
	if ranOut == 0 {
		t.Error("the numbers never ran out")
	}
}

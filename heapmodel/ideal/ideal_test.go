package ideal

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestConformance(t *testing.T) { modeltest.Run(t, Model, "ideal") }

func FuzzOps(f *testing.F) { modeltest.Fuzz(f, Model) }

func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, Model) }

// TestHugeObjectIsNotTheEnd frees an object of the largest size and goes on.
func TestHugeObjectIsNotTheEnd(t *testing.T) {
	h, err := Model.New(heapmodel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		r, ok := h.Alloc(heapmodel.MaxSize, 0)
		if !ok {
			t.Fatal("an object of the largest size fails")
		}
		if _, ok := h.Alloc(1, 0); ok {
			t.Error("one byte more than the largest size is placed")
		}
		if _, ok := h.Realloc(r, heapmodel.MaxSize, 0); !ok {
			t.Error("a realloc to the same size fails")
		}
		h.Free(r)
		if u := h.Usage(); u.Arena != 0 || u.HighWater != heapmodel.MaxSize {
			t.Errorf("arena %d, high-water mark %d after the free", u.Arena, u.HighWater)
		}
	}
}

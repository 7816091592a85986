package lowfit

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// TestCheckFindsDamage sees to it that Check is no formality.
func TestCheckFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(h *Heap){
		"taken, not counted":   func(h *Heap) { h.List.Take(h.List.FirstFit(1), 3) },
		"block below a header": func(h *Heap) { h.List.Cut(h.List.Find(0), 1) },
		"neighbours free":      func(h *Heap) { h.List.Release(h.List.Find(0)) },
		"free bytes":           func(h *Heap) { h.Use.Free += 4; h.Use.Allocated -= 4 },
		"free blocks":          func(h *Heap) { h.Use.FreeBlocks++ },
		"used blocks":          func(h *Heap) { h.Use.UsedBlocks-- },
		"overhead":             func(h *Heap) { h.Use.Overhead++ },
		"lowest":               func(h *Heap) { h.lowest = h.end },
		"peak":                 func(h *Heap) { h.Peak = h.Use.Allocated - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			h, err := New(Rules{Name: "test", AlignLog2: 2, Header: 8, Least: 12, Base: 100, End: 4000, Most: 4000}, 4200)
			if err != nil {
				t.Fatal(err)
			}
			var refs []heapmodel.Ref
			for range 4 {
				r, ok := h.Alloc(40, 0)
				if !ok {
					t.Fatal("alloc fails")
				}
				refs = append(refs, r)
			}
			if at := h.Addr(refs[1]); at != 100+48+8 {
				t.Fatalf("the second object is at %d", at)
			}
			h.Free(refs[1])
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			harm(h)
			if h.Check() == nil {
				t.Error("Check found nothing")
			}
		})
	}
}

func TestTooManyGranules(t *testing.T) {
	rules := Rules{Name: "test", Header: 6, Least: 1, End: 1<<32 - 1, Most: 1<<32 - 1}
	if _, err := New(rules, 1<<32+11); err != nil {
		t.Error(err)
	}
	rules.End++
	want := "the most is 4294967307 bytes"
	if _, err := New(rules, 1<<32+12); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

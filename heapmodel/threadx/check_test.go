package threadx

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/walk"
)

// TestCheckFindsDamage sees to it that Check is no formality.
func TestCheckFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(h *heap){
		"list":                    func(h *heap) { h.list.Release(h.list.Find(0)) },
		"block of a header":       func(h *heap) { h.list.Cut(h.list.Find(0), 2) },
		"below the search":        func(h *heap) { h.search = h.end },
		"search beside blocks":    func(h *heap) { h.search-- },
		"merged and not counted":  func(h *heap) { h.list.Join(h.list.FirstFit(1)) },
		"free bytes":              func(h *heap) { h.use.Free += 4; h.use.Allocated -= 4 },
		"free blocks":             func(h *heap) { h.use.FreeBlocks++ },
		"used blocks":             func(h *heap) { h.use.UsedBlocks-- },
		"overhead":                func(h *heap) { h.use.Overhead++ },
		"split off, not counted":  func(h *heap) { h.list.Cut(h.list.Find(0), 5) },
		"taken, but not as given": func(h *heap) { h.list.Take(h.list.FirstFit(1), 9) },
	} {
		t.Run(name, func(t *testing.T) {
			model, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, Model.Name)
			if err != nil {
				t.Fatal(err)
			}
			made, err := model.New()
			if err != nil {
				t.Fatal(err)
			}
			h := made.(*heap)
			for range 5 {
				if _, ok := h.Alloc(40, 0); !ok {
					t.Fatal("alloc fails")
				}
			}
			h.Free(1)
			h.Free(2)
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			if h.list.Start(walk.ID(3)) != 36 {
				t.Fatalf("the fourth object is at granule %d", h.list.Start(3))
			}
			harm(h)
			if h.Check() == nil {
				t.Error("Check found nothing")
			}
		})
	}
}

package offline

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

// sharedTrace reads a recorded trace of the full test material, nil if that is
// not there.
func sharedTrace(t *testing.T, name string) *modeltest.Trace {
	t.Helper()
	if modeltest.SharedDir() == "" {
		return nil
	}
	f, err := os.Open(filepath.Join(modeltest.SharedDir(), "ops", "real", name+".ops.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := modeltest.ParseOps(name, z)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// livesOf returns the lifetimes of a trace's placements.
func livesOf(tr *modeltest.Trace) []heapmodel.Lifetime {
	var lives []heapmodel.Lifetime
	open := make([]int, tr.Objects)
	align := make([]uint32, tr.Objects)
	for _, o := range tr.Ops {
		if o.Kind != modeltest.Alloc {
			lives[open[o.ID]].Death = uint64(len(lives))
		} else {
			align[o.ID] = o.Align
		}
		if o.Kind != modeltest.Free {
			open[o.ID] = len(lives)
			lives = append(lives, heapmodel.Lifetime{Size: o.Size, Birth: uint64(len(lives)), Death: heapmodel.Forever, Align: align[o.ID]})
		}
	}
	return lives
}

// newPlanned makes a heap of the spec and has it plan.
func newPlanned(t testing.TB, spec string, lives []heapmodel.Lifetime) *heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, spec)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.(*heap).Plan(lives); err != nil {
		t.Fatal(err)
	}
	return h.(*heap)
}

// TestMinimalloc plans the sets published with MiniMalloc, which fit in the
// capacity of their names, 1 MiB, and no less: it is live at once in all but C.
func TestMinimalloc(t *testing.T) {
	for _, c := range []struct {
		name     string
		capacity uint64
	}{
		{"input.12", 12},
		{"A.1048576", 1 << 20},
		{"B.1048576", 1 << 20},
		{"C.1048576", 1 << 20},
		{"E.1048576", 1 << 20},
		{"F.1048576", 1 << 20},
		{"G.1048576", 1 << 20},
		{"I.1048576", 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr := sharedTrace(t, "minimalloc-"+c.name)
			if tr == nil {
				t.Skip("the trace is only in the full test material")
			}
			h := newPlanned(t, "offline", livesOf(tr))
			t.Log(h.Native())
			if h.top > c.capacity {
				t.Errorf("the plan ends at %d, above %d", h.top, c.capacity)
			}
		})
	}
}

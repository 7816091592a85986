package dlmalloc_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/dlmalloc"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"pgregory.net/rapid"
)

// logged is a heap that keeps the number of steps after each call.
type logged struct {
	heapmodel.Heap
	steps []uint64
}

func (l *logged) note() { l.steps = append(l.steps, l.Usage().Steps) }

func (l *logged) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	defer l.note()
	return l.Heap.Alloc(size, align)
}

func (l *logged) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	defer l.note()
	return l.Heap.Realloc(r, size, align)
}

func (l *logged) Free(r heapmodel.Ref) {
	defer l.note()
	l.Heap.Free(r)
}

// compare replays a trace through the model and the naive heap, which have to
// agree in every address and, after every call, in the steps taken.
func compare(h, n heapmodel.Heap, tr *modeltest.Trace) error {
	got, want := &logged{Heap: h}, &logged{Heap: n}
	a := bytes.Split(modeltest.Answers(got, tr), []byte("\n"))
	b := bytes.Split(modeltest.Answers(want, tr), []byte("\n"))
	for i, o := range tr.Ops {
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Errorf("trace %s: line %d: %s: got %s, want %s", tr.Name, i+1, o, a[i], b[i])
		}
	}
	for i := range got.steps {
		if got.steps[i] != want.steps[i] {
			return fmt.Errorf("trace %s: call %d: %d steps so far, want %d", tr.Name, i+1, got.steps[i], want.steps[i])
		}
	}
	return nil
}

// oracles names heaps and how to make the naive ones.
var oracles = []struct {
	spec  string
	naive func() *naive
}{
	{"dlmalloc:capacity=40001,ptr=32", func() *naive { return newMspace(40001, 4) }},
	{"dlmalloc:capacity=50000,ptr=64", func() *naive { return newMspace(50000, 8) }},
	{"dlmalloc:capacity=3000,ptr=32", func() *naive { return newMspace(3000, 4) }},
	{"dlmalloc:grow=16MiB,ptr=32", func() *naive { return newGlobal(16<<20, 4) }},
	{"dlmalloc:grow=65536,ptr=64", func() *naive { return newGlobal(1<<16, 8) }},
}

func newHeap(t testing.TB, spec string) heapmodel.Heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{dlmalloc.Model}, spec)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestOracleTraces(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			for _, name := range []string{"exhaust", "mixed", "realloc", "aligned", "wide", "fa1", "fa2", "fa5", "fn1"} {
				tr, err := modeltest.LoadTrace(name)
				if err != nil {
					t.Fatal(err)
				}
				if err := compare(newHeap(t, o.spec), o.naive(), tr); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestOracleRandom(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				tr := drawTrace(rt)
				if err := compare(newHeap(t, o.spec), o.naive(), tr); err != nil {
					rt.Fatalf("%v\n%s", err, tr)
				}
			})
		})
	}
}

// drawTrace draws a trace with many small objects, a few large ones and some
// that no heap holds.
func drawTrace(rt *rapid.T) *modeltest.Trace {
	small, medium, large := rapid.Uint64Range(0, 40), rapid.Uint64Range(1, 700), rapid.Uint64Range(500, 9000)
	size := rapid.OneOf(small, small, medium, medium, large, rapid.Just(uint64(heapmodel.MaxSize)))
	log2 := rapid.OneOf(rapid.IntRange(0, 8), rapid.IntRange(0, 31))
	kind := rapid.SampledFrom([]modeltest.Kind{modeltest.Alloc, modeltest.Alloc, modeltest.Free, modeltest.Realloc})
	tr := &modeltest.Trace{Name: "random"}
	var live []uint32
	for range rapid.IntRange(1, 300).Draw(rt, "operations") {
		o := modeltest.Op{Kind: kind.Draw(rt, "kind")}
		if len(live) == 0 {
			o.Kind = modeltest.Alloc
		}
		if o.Kind == modeltest.Alloc {
			o.ID = tr.Objects
			tr.Objects++
			live = append(live, o.ID)
			if rapid.IntRange(0, 4).Draw(rt, "aligned") == 0 {
				o.Align = 1 << log2.Draw(rt, "align")
			}
		} else {
			i := rapid.IntRange(0, len(live)-1).Draw(rt, "object")
			o.ID = live[i]
			if o.Kind == modeltest.Free {
				live = slices.Delete(live, i, i+1)
			}
		}
		if o.Kind != modeltest.Free {
			o.Size = size.Draw(rt, "size")
		}
		tr.Ops = append(tr.Ops, o)
	}
	return tr
}

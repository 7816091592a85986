package oracle

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

// logged is a heap that keeps the number of steps after each call.
type logged struct {
	heapmodel.Heap
	steps []uint64
	after func() // called after each call; may be nil
}

func (l *logged) note() {
	l.steps = append(l.steps, l.Usage().Steps)
	if l.after != nil {
		l.after()
	}
}

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

// SameSteps replays a trace through a model and a naive heap of the same
// interface, which have to agree in every address and, after every call, in the
// steps taken. It calls after, if that is not nil, after each call of the model.
func SameSteps(model, naive heapmodel.Heap, tr *modeltest.Trace, after func()) error {
	got, want := &logged{Heap: model, after: after}, &logged{Heap: naive}
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

// stepTraces are the traces of the test material that TracesSteps replays.
var stepTraces = []string{"exhaust", "mixed", "realloc", "aligned", "wide", "fa1", "fa2", "fa5", "fn1"}

// TracesSteps runs SameSteps over traces of the test material.
func TracesSteps(t *testing.T, m *heapmodel.Model, spec string, naive func() heapmodel.Heap) {
	t.Helper()
	for _, name := range stepTraces {
		tr, err := modeltest.LoadTrace(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := SameSteps(Open(t, m, spec), naive(), tr, nil); err != nil {
			t.Error(err)
		}
	}
}

// RandomSteps runs SameSteps over traces that are drawn at random.
func RandomSteps(t *testing.T, m *heapmodel.Model, spec string, naive func() heapmodel.Heap, sizes *rapid.Generator[uint64]) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		tr := DrawTrace(rt, sizes)
		if err := SameSteps(Open(t, m, spec), naive(), tr, nil); err != nil {
			rt.Fatalf("%v\n%s", err, tr)
		}
	})
}

// DrawTrace draws a trace of objects of the sizes, every fifth of them aligned,
// now and then beyond what a heap can do.
func DrawTrace(rt *rapid.T, sizes *rapid.Generator[uint64]) *modeltest.Trace {
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
			o.Size = sizes.Draw(rt, "size")
		}
		tr.Ops = append(tr.Ops, o)
	}
	return tr
}

// MixedSizes draws many small sizes, a few large ones, those of further
// generators, and one that no heap holds.
func MixedSizes(further ...*rapid.Generator[uint64]) *rapid.Generator[uint64] {
	small, medium, large := rapid.Uint64Range(0, 40), rapid.Uint64Range(1, 700), rapid.Uint64Range(500, 9000)
	kinds := []*rapid.Generator[uint64]{small, small, medium, medium, large, rapid.Just(uint64(heapmodel.MaxSize))}
	return rapid.OneOf(append(kinds, further...)...)
}

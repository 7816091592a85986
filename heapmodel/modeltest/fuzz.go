package modeltest

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// Fuzz fuzzes the model: bytes choose a spec and the operations, a Shadow
// judges them. Use it as the body of a fuzz target.
func Fuzz(f *testing.F, m *heapmodel.Model) {
	f.Helper()
	Inside(nil).Fuzz(f, m)
}

// Fuzz fuzzes a model with others inside. Specs are taken in addition to those
// of Inside.Specs.
func (in Inside) Fuzz(f *testing.F, m *heapmodel.Model, more ...string) {
	f.Helper()
	specs, must, err := in.Specs(m)
	specs = slices.Insert(specs, must, more...)
	must += len(more)
	if err != nil {
		f.Fatal(err)
	}
	var heaps []*heapmodel.Spec
	for i, text := range specs {
		s, err := in.parse(m, text)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := s.New(); err == nil {
			heaps = append(heaps, s)
		} else if i < must {
			f.Fatal(err)
		}
	}
	f.Add([]byte{0})
	f.Add([]byte("\x01aaaabbbbccccddddeeeeffffgggghhhh"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		s := heaps[int(data[0])%len(heaps)]
		h, err := s.New()
		if err != nil {
			t.Fatal(err)
		}
		const most = 4 * 250 // bytes of steps: the judge is quadratic
		tr := makeTrace("fuzz", tasteOf(s, h).stepsOf(data[1:min(len(data), 1+most)]))
		if err := Judge(s, tr, 5); err != nil {
			t.Fatalf("%s: %v\ntrace:\n%s", s, err, tr)
		}
	})
}

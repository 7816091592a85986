package modeltest

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// Fuzz fuzzes the model: bytes choose a spec and the operations, a Shadow
// judges them. Use it as the body of a fuzz target.
func Fuzz(f *testing.F, m *heapmodel.Model) {
	specs, must, err := Specs(m)
	if err != nil {
		f.Fatal(err)
	}
	heaps := make([]*heapmodel.Spec, must)
	for i, text := range specs[:must] {
		if heaps[i], err = heapmodel.ParseSpec([]*heapmodel.Model{m}, text); err != nil {
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
		const most = 4 * 400 // bytes of steps: the judge is quadratic
		tr := makeTrace("fuzz", tasteOf(s, h).stepsOf(data[1:min(len(data), 1+most)]))
		if err := Judge(s, tr, 1); err != nil {
			t.Fatalf("%s: %v\ntrace:\n%s", s, err, tr)
		}
	})
}

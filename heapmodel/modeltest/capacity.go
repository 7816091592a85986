package modeltest

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// sizeKeys are the parameters that say how large a heap is.
var sizeKeys = []string{"capacity", "regions", "grow", "quantum"}

// capacityBases returns the specs without the parameters that say how large a
// heap is, each once; none for a model without a capacity.
func (in Inside) capacityBases(t *testing.T, m *heapmodel.Model, specs []string) []*heapmodel.Spec {
	t.Helper()
	if !slices.ContainsFunc(m.Params, func(p heapmodel.Param) bool { return p.Key == "capacity" }) {
		return nil
	}
	var texts []string
	var out []*heapmodel.Spec
	for _, text := range specs {
		s, err := in.parse(m, text)
		if err != nil {
			t.Fatal(err)
		}
		s = s.Without(sizeKeys...)
		if !slices.Contains(texts, s.String()) {
			texts = append(texts, s.String())
			out = append(out, s)
		}
	}
	return out
}

// checkCapacities tries the smallest and the largest capacities.
func checkCapacities(s *heapmodel.Spec) error {
	least := uint64(0)
	if _, err := withCapacity(s, 0); err != nil {
		if least, err = leastIn(s, 0, err); err != nil {
			return err
		}
	}
	capacities := []uint64{1, 2, 3, 7, 8, 15, 16, 31, 64, 100, least / 2}
	for more := range uint64(70) {
		capacities = append(capacities, least+more)
	}
	for _, capacity := range capacities {
		// So small a heap is full at once; what it does then is the test.
		sized, err := withCapacity(s, capacity)
		if err != nil {
			if _, err := leastIn(s, capacity, err); err != nil {
				return err
			}
		} else if err := judgeSoak(sized, 64); err != nil {
			return err
		}
	}
	// The largest must be refused, or modelled without memory for each byte.
	for log2 := 20; log2 < 64; log2++ {
		for _, capacity := range []uint64{1<<log2 - 1, 1 << log2, 1<<log2 + 8} {
			if sized, err := withCapacity(s, capacity); err == nil {
				if err := judgeSoak(sized, capacity); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// withCapacity returns the spec with the capacity, and the error of making a
// heap of it.
func withCapacity(s *heapmodel.Spec, capacity uint64) (*heapmodel.Spec, error) {
	sized, err := s.With("capacity", heapmodel.FormatBytes(capacity))
	if err != nil {
		return nil, err
	}
	_, err = sized.New()
	return sized, err
}

func judgeSoak(s *heapmodel.Spec, scale uint64) error {
	ta := taste{scale: scale, aligns: s.Model.Caps&heapmodel.CapAlign != 0}
	for seed := range uint64(2) {
		tr := makeTrace("soak", ta.soak(seed, 60))
		if err := Judge(s, tr, 1); err != nil {
			return fmt.Errorf("%s: %w\ntrace:\n%s", s, err, tr)
		}
	}
	return nil
}

var sizeText = regexp.MustCompile(`[0-9]+( ?[KMGT]iB)?`)

// leastIn returns the capacity above the one tried that the error names, after
// a test that it works and one byte less does not.
func leastIn(s *heapmodel.Spec, capacity uint64, failed error) (uint64, error) {
	for _, text := range sizeText.FindAllString(failed.Error(), -1) {
		least, err := heapmodel.ParseBytes(text)
		if err != nil || least <= capacity {
			continue
		}
		if _, err := withCapacity(s, least); err != nil {
			continue
		}
		if _, err := withCapacity(s, least-1); err != nil {
			return least, nil
		}
	}
	return 0, fmt.Errorf("%s: capacity %d: the error names no least capacity that works while one byte less does not: %w", s, capacity, failed)
}

package strategy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
)

// Strategies that wrap a heap have to know how much memory it has and to give
// it less: what is set apart comes out of it. The memory of a heap is its
// capacity, the limit of its growth, its regions, or that of the heaps in it.

// memoryOf returns the bytes of memory that a heap of the spec may have. bounded
// is false for one that grows without a limit.
func memoryOf(s *heapmodel.Spec) (bytes uint64, bounded bool, err error) {
	if inner := s.Inside(); len(inner) > 0 {
		for _, in := range inner {
			b, bounded, err := memoryOf(in)
			if err != nil || !bounded {
				return 0, false, err
			}
			bytes += b
		}
		return bytes, true, nil
	}
	for _, r := range s.Regions() {
		bytes += r.Size
	}
	switch {
	case bytes > 0:
		return bytes, true, nil
	case s.Model.Caps&heapmodel.CapNoLayout != 0:
		return 0, false, fmt.Errorf("%s has no arena to change", s.Model.Name)
	case s.Grows():
		limit := s.GrowLimit()
		return limit, limit < heapmodel.MaxSize, nil
	}
	bytes, ok := capacityOf(s)
	if !ok {
		return 0, false, fmt.Errorf("%s has no capacity that is known: give it one", s)
	}
	return bytes, true, nil
}

// capacityOf returns the capacity of a spec, given or by default.
func capacityOf(s *heapmodel.Spec) (uint64, bool) {
	if !s.Has("capacity") {
		return 0, false
	}
	c, err := s.Config()
	if err != nil || !c.Set("capacity") {
		return 0, false
	}
	return c.Bytes("capacity"), true
}

// withMemory returns the spec with so many bytes of memory, which must be
// bounded. Heaps inside share them as before, and of several regions the largest
// changes.
func withMemory(s *heapmodel.Spec, bytes uint64) (*heapmodel.Spec, error) {
	was, _, err := memoryOf(s)
	if err != nil {
		return nil, err
	}
	if inner := s.Inside(); len(inner) > 0 {
		return withMemoryInside(s, inner, was, bytes)
	}
	if regions := s.Regions(); len(regions) > 0 {
		return withRegions(s, regions, was, bytes)
	}
	text := fmt.Sprint(bytes)
	if !s.Grows() {
		return s.With("capacity", text)
	}
	if capacity, ok := capacityOf(s); ok && s.Given("capacity") {
		// What it has at the start goes first.
		if taken := was - min(was, bytes); taken < capacity {
			s, err = s.With("capacity", fmt.Sprint(min(capacity-taken, bytes)))
		} else {
			s = s.Without("capacity")
		}
		if err != nil {
			return nil, err
		}
	}
	return s.With("grow", text)
}

// withMemoryInside shares memory among the heaps inside, in the proportion they
// have it.
func withMemoryInside(s *heapmodel.Spec, inner []*heapmodel.Spec, was, bytes uint64) (*heapmodel.Spec, error) {
	weights := make([]uint64, len(inner))
	for i, in := range inner {
		weights[i], _, _ = memoryOf(in)
	}
	shares := shareOut(bytes, weights)
	at := 0
	for i := range s.Model.Params {
		key := s.Model.Params[i].Key
		specs := s.Specs(key)
		if len(specs) == 0 {
			continue
		}
		for k := range specs {
			var err error
			if specs[k], err = withMemory(specs[k], shares[at]); err != nil {
				return nil, fmt.Errorf("%s, of %d bytes: %w", s.Model.Name, was, err)
			}
			at++
		}
		var err error
		if s, err = s.WithSpecs(key, specs); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func withRegions(s *heapmodel.Spec, regions []heapmodel.Region, was, bytes uint64) (*heapmodel.Spec, error) {
	regions = slices.Clone(regions)
	largest := 0
	for i, r := range regions {
		if r.Size > regions[largest].Size {
			largest = i
		}
	}
	r := &regions[largest]
	if bytes > was || was-bytes >= r.Size {
		return nil, fmt.Errorf("%s: the largest of its regions has %d bytes and cannot lose %d", s.Model.Name, r.Size, int64(was-bytes))
	}
	r.Size -= was - bytes
	texts := make([]string, len(regions))
	for i, r := range regions {
		texts[i] = fmt.Sprintf("%d@%d", r.Size, r.Addr)
	}
	return s.With("regions", strings.Join(texts, "+"))
}

// lessMemory returns the spec with so many bytes less. A heap that grows
// without a limit stays as it is.
func lessMemory(s *heapmodel.Spec, bytes uint64) (*heapmodel.Spec, error) {
	was, bounded, err := memoryOf(s)
	switch {
	case err != nil || !bounded:
		return s, err
	case bytes >= was:
		return nil, fmt.Errorf("%d bytes set apart leave nothing of the %d that %s has", bytes, was, s.Model.Name)
	}
	return withMemory(s, was-bytes)
}

// shareOut divides bytes in the proportion of the weights, all but the last
// share a multiple of 16.
func shareOut(bytes uint64, weights []uint64) []uint64 {
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	shares := make([]uint64, len(weights))
	left := bytes
	for i, w := range weights[:len(weights)-1] {
		if total > 0 {
			shares[i] = min(uint64(float64(bytes)*(float64(w)/total)), left) &^ 15
		}
		left -= shares[i]
	}
	shares[len(shares)-1] = left
	return shares
}

// behind applies a change to the heap that stands behind pools or a block held
// back, where a strategy is applied to what another has wrapped. ok is false for
// any other spec.
func behind(s *heapmodel.Spec, change func(*heapmodel.Spec) (*heapmodel.Spec, error)) (out *heapmodel.Spec, ok bool, err error) {
	key, ok := map[string]string{"pools": "overflow", "holdback": "heap"}[s.Model.Name]
	inner := s.Specs(key)
	if !ok || len(inner) != 1 {
		return nil, false, nil
	}
	if inner[0], err = change(inner[0]); err != nil {
		return nil, true, err
	}
	out, err = s.WithSpecs(key, inner)
	return out, true, err
}

// wordOf returns the parameter ptr that a heap beside one of the spec gets, as
// ",ptr=64", or nothing.
func wordOf(s *heapmodel.Spec) string {
	if !s.Has("ptr") {
		return ""
	}
	if c, err := s.Config(); err == nil && c.Set("ptr") {
		return ",ptr=" + c.Text("ptr")
	}
	return ""
}

package several

import (
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/sequential"
)

func newPart(t *testing.T, base uint64, spec string) Part {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{sequential.Model}, spec)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return Part{Heap: h, Base: base, Regions: []heapmodel.Region{{Size: h.Usage().Arena}}, Foot: heapmodel.FootprintOf(s, h), Align: 1 << 10}
}

func newPair(t *testing.T) *Heaps {
	t.Helper()
	s, err := New([]Part{newPart(t, 4096, "sequential:capacity=1KiB"), newPart(t, 0, "sequential:capacity=1KiB")}, []int{1, 0})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNumberOfParts(t *testing.T) {
	one := newPart(t, 0, "sequential:capacity=1KiB")
	for _, count := range []int{0, Most + 1} {
		if _, err := New(slices.Repeat([]Part{one}, count), nil); err == nil || !strings.Contains(err.Error(), "want 1 to 16") {
			t.Errorf("%d parts: error %v", count, err)
		}
	}
	if _, err := New(slices.Repeat([]Part{one}, Most), nil); err != nil {
		t.Error(err)
	}
}

func TestRefsTellTheirPart(t *testing.T) {
	for count := 1; count <= Most; count++ {
		var parts []Part
		for i := range count {
			parts = append(parts, newPart(t, uint64(i)<<12, "sequential:capacity=1KiB"))
		}
		s, err := New(parts, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range count {
			r, ok := s.Alloc(i, 10, 0)
			of, _ := s.Of(r)
			if !ok || of != i || s.Addr(r)>>12 != heapmodel.Addr(i) || uint64(r) >= 64*Most {
				t.Fatalf("of %d parts, object %d in part %d is at %d in part %d", count, r, i, s.Addr(r), of)
			}
		}
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		foreign := heapmodel.Ref(count)
		if count&(count-1) != 0 && !panics(func() { s.Of(foreign) }) {
			t.Errorf("a Ref of part %d of %d is no panic", foreign, count)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// huge is a heap whose Refs are as high as Refs of a part can be.
type huge struct {
	heapmodel.Heap
	next  heapmodel.Ref
	freed int
	use   heapmodel.Usage
}

func (h *huge) Alloc(uint64, uint32) (heapmodel.Ref, bool)                  { return h.next, true }
func (h *huge) Realloc(heapmodel.Ref, uint64, uint32) (heapmodel.Ref, bool) { return h.next, true }
func (h *huge) Free(heapmodel.Ref)                                          { h.freed++ }
func (h *huge) Usage() *heapmodel.Usage                                     { return &h.use }
func (h *huge) Align() uint32                                               { return 8 }

func TestRefsThatAreTooHigh(t *testing.T) {
	h := &huge{next: 1<<30 - 2}
	part := Part{Heap: h, Regions: []heapmodel.Region{{Size: 1}}, Foot: heapmodel.FootprintIn(h, nil)}
	s, err := New([]Part{part, part, part}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := s.Alloc(2, 10, 0)
	if !ok || r != 1<<32-6 {
		t.Errorf("the highest Ref but one is %d, %t", r, ok)
	}
	h.next++
	if r, ok := s.Alloc(2, 10, 0); ok || r != heapmodel.NullRef || h.freed != 1 {
		t.Errorf("a Ref that would be NullRef: %d, %t, %d frees", r, ok, h.freed)
	}
	if !panics(func() { s.Realloc(2, r, 10, 0) }) {
		t.Error("no panic of a realloc with such a Ref")
	}
}

func TestCheckFindsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(*Heaps)
		want   string
	}{
		"none":          {func(*Heaps) {}, ""},
		"behind":        {func(s *Heaps) { s.parts[0].Heap.Alloc(10, 0) }, "the latest seen"},
		"sum":           {func(s *Heaps) { s.Use.Allocated++ }, "come to"},
		"footprint":     {func(s *Heaps) { s.foot++ }, "come to"},
		"overlap":       {func(s *Heaps) { s.parts[0].Base = 512 }, "below the end of another"},
		"out of place":  {func(s *Heaps) { s.parts[0].Regions[0].Size = 512 }, "outside its regions"},
		"padded beyond": {func(s *Heaps) { s.parts[0].mark(1, true, 1<<20) }, "outside its block"},
	} {
		s := newPair(t)
		r, _ := s.Alloc(0, 100, 0)
		if _, inner := s.Of(r); name == "padded beyond" {
			s.parts[0].mark(inner, true, 1<<20)
		}
		c.damage(s)
		err := s.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// TestPaddingEndsWithTheObject holds that a Ref that is used again does not
// inherit the alignment of the object before.
func TestPaddingEndsWithTheObject(t *testing.T) {
	p := newPart(t, 0, "sequential:capacity=64KiB")
	p.Align = 0 // as a heap without an aligned entry point
	s, err := New([]Part{p}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := s.Alloc(0, 10, 0)
	plain := s.Addr(first)
	s.Free(first)
	padded, _ := s.Alloc(0, 10, 1024)
	if s.Addr(padded) != 1024 {
		t.Errorf("the padded object is at %d", s.Addr(padded))
	}
	if s.Need(0, 10, 1024) <= s.Need(0, 10, 0)+1000 {
		t.Errorf("padded needs %d bytes, plain %d", s.Need(0, 10, 1024), s.Need(0, 10, 0))
	}
	again, _ := s.Realloc(0, padded, 10, 1024)
	if s.Addr(again)%8 != 4 && s.Addr(again)%8 != 0 || s.Addr(again) == 1024 {
		t.Errorf("the reallocated object is at %d", s.Addr(again))
	}
	s.Free(again)
	if last, _ := s.Alloc(0, 10, 0); s.Addr(last) != plain {
		t.Errorf("a plain object is at %d, before a padded one it was at %d", s.Addr(last), plain)
	}
}

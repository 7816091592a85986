package twoended

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

var specs = []string{
	"two-ended:capacity=64KiB",
	"two-ended:capacity=8KiB,cut=500",
	"two-ended:capacity=8KiB,by=site,sites=net/*|#5|main.c:??",
	"two-ended:capacity=8KiB,by=site",
	"two-ended:capacity=16KiB,cut=2KiB,header=20,align=8,ptr=64",
	"two-ended:capacity=5001,cut=300,header=0,align=1,realloc=move",
}

func TestConformance(t *testing.T) { modeltest.Run(t, Model, specs...) }

func FuzzOps(f *testing.F) { modeltest.Inside(nil).Fuzz(f, Model, specs...) }

func BenchmarkHeap(b *testing.B) {
	modeltest.Bench(b, Model, "two-ended:capacity=64KiB", "two-ended:capacity=64KiB,by=site")
}

func newHeapOf(t *testing.T, text string) *heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h.(*heap)
}

// TestBothEnds follows a few objects through an arena of 100 bytes. A positive
// number allocates a long-lived object, a negative one a transient one, a letter
// frees the object of that place.
func TestBothEnds(t *testing.T) {
	for _, c := range []struct {
		name, ops, want string
		footprint       uint64
	}{
		{"long", "10 20", "0+10 10+20 30-70", 30},
		{"transient", "-10 -20", "0-70 70+20 90+10", 30},
		{"both", "10 -20 30 -5", "0+10 10+30 40-35 75+5 80+20", 65},
		{"holes are taken from the end", "10 10 10 -10 -10 -10 a b e 5 -5 15", "0+5 5+15 20+10 30-40 70+10 80-5 85+5 90+10", 60},
		{"they meet", "40 -40 15 -10", "0+40 40+15 55-5 60+40", 95}, // 10 bytes no longer fit
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHeapOf(t, "two-ended:capacity=100,header=0,align=1,cut=50")
			var refs []heapmodel.Ref
			for word := range strings.FieldsSeq(c.ops) {
				if word[0] >= 'a' {
					h.Free(refs[word[0]-'a'])
					continue
				}
				life := heapmodel.Forever
				digits, transient := strings.CutPrefix(word, "-")
				if transient {
					life = 3
				}
				size, err := heapmodel.ParseBytes(digits)
				if err != nil {
					t.Fatal(err)
				}
				h.Hint(heapmodel.Hint{Life: life})
				r, _ := h.Alloc(size, 0)
				refs = append(refs, r)
			}
			if got := oracle.Layout(h); got != c.want || h.Footprint() != c.footprint {
				t.Errorf("got %s, footprint %d; want %s, %d", got, h.Footprint(), c.want, c.footprint)
			}
		})
	}
}

// TestHintOfARealloc holds that an object stays one of its end, whatever is
// known by the time of a realloc.
func TestHintOfARealloc(t *testing.T) {
	h := newHeapOf(t, "two-ended:capacity=100,header=0,align=1,by=site,sites=long,realloc=move")
	if err := h.Bind([]string{"", "long", "brief"}); err != nil {
		t.Fatal(err)
	}
	h.Hint(heapmodel.Hint{Site: 1})
	a, _ := h.Alloc(10, 0)
	h.Hint(heapmodel.Hint{Site: 2})
	b, _ := h.Alloc(10, 0)
	a, _ = h.Realloc(a, 20, 0)
	h.Hint(heapmodel.Hint{Site: 1})
	b, _ = h.Realloc(b, 20, 0)
	if h.Addr(a) != 10 || h.Addr(b) != 70 {
		t.Errorf("long-lived at %d, transient at %d; want 10, 70", h.Addr(a), h.Addr(b))
	}
	if err := h.Bind([]string{"", "other"}); err == nil || !strings.Contains(err.Error(), `named "long", of 1 sites`) {
		t.Errorf("error %v, want one that names the site", err)
	}
}

func TestBadConfigs(t *testing.T) {
	for spec, want := range map[string]string{
		"two-ended:capacity=11":                      "the least that holds a block is 12 bytes",
		"two-ended:capacity=64GiB":                   "the most with this alignment",
		"two-ended:align=12":                         "no power of two",
		"two-ended:sites=a":                          "goes with by=site",
		"two-ended:capacity=1KiB,header=0x800000000": "most is 1GiB",
	} {
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{Model}, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

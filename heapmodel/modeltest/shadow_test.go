package modeltest

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"pgregory.net/rapid"
)

func toyTrace(seed uint64) *Trace {
	tr := makeTrace("toy", taste{scale: 8 << 10, aligns: true}.soak(seed, 600))
	freeAll(tr)
	return tr
}

func TestShadowAcceptsASoundHeap(t *testing.T) {
	for seed := range uint64(5) {
		if err := Judge(toySpec(""), toyTrace(seed), 1); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func TestShadowFindsFaults(t *testing.T) {
	for _, c := range []struct{ fault, want string }{
		{"overlap", "has ["},
		{"beyond the block", "does not hold object"},
		{"misaligned", "is no multiple of 8"},
		{"ignores align", "is no multiple of"},
		{"ref twice", "which is live already"},
		{"moves another", "unasked"},
		{"null address", "the object is at"},
		{"free ref", "has Ref 7"},
		{"forgets", "the object is at"},
		{"leaves one out", "live objects are in blocks"},
		{"leaks", "which is not live"},
		{"allocated off", "counters say allocated"},
		{"sum off", "is not allocated"},
		{"used blocks off", "used and"},
		{"free blocks off", "used and"},
		{"largest off", "the largest free block has"},
		{"mark falls", "falls from"},
		{"mark low", "high-water mark"},
		{"order", "follows one that ends at"},
		{"blocks overlap", "follows one that ends at"},
		{"need below size", "the heap says that it needs"},
		{"need too large", "the longest run of free blocks"},
		{"failure changes counters", "places nothing and changes"},
		{"failed realloc moves", "returns another Ref"},
		{"failed realloc frees", "places nothing and changes"},
		{"check", "check: toy says so"},
		{"panic", "panic: toy breaks"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			err := Judge(toySpec(c.fault), toyTrace(1), 1)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "operation ") && !strings.HasPrefix(err.Error(), "empty heap: ") {
				t.Errorf("error %v: want it to begin with the operation", err)
			}
		})
	}
}

// Rules let pass what a strict Shadow does not.
func TestRules(t *testing.T) {
	h, err := newToy(1024, "")
	if err != nil {
		t.Fatal(err)
	}
	before := heapmodel.Usage{Arena: 100, Free: 90, Overhead: 10, FreeBlocks: 4}
	merged, grown := before, before
	merged.FreeBlocks = 3
	grown.Arena, grown.Overhead = 120, 30
	for _, c := range []struct {
		name  string
		rules Rules
		now   heapmodel.Usage
		ok    bool
	}{
		{"same", Rules{}, before, true},
		{"merged, strict", Rules{}, merged, false},
		{"merged", Rules{FailureMerges: true}, merged, true},
		{"grown, strict", Rules{}, grown, false},
		{"grown, merges allowed", Rules{FailureMerges: true}, grown, false},
		{"grown", Rules{FailureGrows: true}, grown, true},
	} {
		h.use = c.now
		s := NewShadow(h, c.rules)
		s.unchanged(c.name, before)
		if ok := s.Err() == nil; ok != c.ok {
			t.Errorf("%s: %v", c.name, s.Err())
		}
	}
}

func TestSuiteFindsFaults(t *testing.T) {
	for _, c := range []struct {
		fault, want string
		check       func(*heapmodel.Spec) error
	}{
		{"frees the dead", "does not panic", checkDead},
		{"allocates memory", "allocations in", checkSteady},
		{"wrong least capacity", "names no least capacity", checkCapacities},
		{"overlap", "soak seed 0", checkSoak},
		{"overlap", "trace exhaust", checkTraces},
	} {
		t.Run(c.fault, func(t *testing.T) {
			err := c.check(toySpec(c.fault))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if c.fault == "allocates memory" {
				return
			}
			if err := c.check(toySpec("")); err != nil {
				t.Errorf("a sound heap: %v", err)
			}
		})
	}
}

func TestSuiteFindsRunsThatDiffer(t *testing.T) {
	m := toyModel("not deterministic")
	plain := m.New
	m.New = func(c heapmodel.Config) (heapmodel.Heap, error) {
		toyRuns++
		return plain(c)
	}
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{m}, "toy")
	if err != nil {
		t.Fatal(err)
	}
	if err := checkRepeat(s); err == nil {
		t.Error("two runs that differ pass")
	}
	if err := checkRepeat(toySpec("")); err != nil {
		t.Errorf("a sound heap: %v", err)
	}
}

// The random traces must reach what they are made for.
func TestRandomTracesCover(t *testing.T) {
	s := toySpec("")
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	steps := tasteOf(s, h).steps()
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		tr := makeTrace("random", steps.Draw(rt, "steps"))
		h, err := s.New()
		if err != nil {
			rt.Fatal(err)
		}
		p, err := newPlayer(h, tr)
		if err != nil {
			rt.Fatal(err)
		}
		for _, o := range tr.Ops {
			seen[string(o.Kind)]++
			a := p.play(o)
			for what, is := range map[string]bool{
				"size 0":         o.Kind == Alloc && o.Size == 0,
				"largest size":   o.Size > 1<<60,
				"aligned":        o.Align > 8,
				"largest align":  o.Align >= 1<<28,
				"failed alloc":   o.Kind == Alloc && o.Size > 0 && a == golden.Null,
				"failed realloc": o.Kind == Realloc && o.Size > 0 && a == golden.Null,
				"free of dead":   a == golden.Skipped,
			} {
				if is {
					seen[what]++
				}
			}
		}
	})
	for _, what := range []string{"a", "r", "f", "size 0", "largest size", "aligned", "largest align", "failed alloc", "failed realloc", "free of dead"} {
		if seen[what] == 0 {
			t.Errorf("no random trace has: %s", what)
		}
	}
}

func TestConformanceOfASoundToy(t *testing.T) {
	steady := toyModel("")
	Run(t, steady, "toy:capacity=4KiB")
}

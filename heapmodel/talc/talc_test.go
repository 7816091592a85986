package talc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/talc"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, talc.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, talc.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, talc.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, talc.Model) }

// summary is what the originals' summary says of a trace.
type summary struct {
	config, trace string
	failures      int
	highest       uint64 // highest end of an object
}

// summaries are a few rows of the summary; with the full test material, all.
func summaries(t *testing.T) []summary {
	out := []summary{
		{"fixed40001-32", "exhaust", 1957, 39996},
		{"fixed40001-32", "wide", 221, 39996},
		{"fixed65536-32", "mixed", 0, 50752},
		{"fixed65536-64", "exhaust", 1422, 65526},
		{"fixed65536-64", "aligned", 0, 41792},
	}
	shared := modeltest.SharedDir()
	if shared == "" {
		return out
	}
	text, err := os.ReadFile(filepath.Join(shared, "golden", "golden-summary.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	out = out[:0]
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "\ttalc\t") {
			continue
		}
		var s summary
		var set, heap string
		var events, end int
		if _, err := fmt.Sscan(line, &set, &heap, &s.config, &s.trace, &events, &s.failures, &end, &s.highest); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, s)
	}
	return out
}

var specs = map[string]string{
	"fixed40001-32": "talc:capacity=40001,ptr=32",
	"fixed65536-32": "talc:capacity=65536,ptr=32",
	"fixed65536-64": "talc:capacity=65536,ptr=64",
}

func TestSummaries(t *testing.T) {
	for _, s := range summaries(t) {
		t.Run(s.config+"/"+s.trace, func(t *testing.T) {
			tr, err := modeltest.LoadTrace(s.trace)
			if err != nil {
				t.Fatal(err)
			}
			h := oracle.Open(t, talc.Model, specs[s.config])
			free := h.Usage().Free
			l := &ends{Heap: h}
			failures := strings.Count(string(modeltest.Answers(l, tr)), "!")
			if failures != s.failures || l.highest != s.highest {
				t.Errorf("%d failures, highest end %d; want %d and %d", failures, l.highest, s.failures, s.highest)
			}
			if n := oracle.Native(h); n["free_bytes"] != free || n["free_blocks"] != 1 || n["allocated_bytes"] != 0 || n["allocations"] != 0 {
				t.Errorf("figures at the end: %v, want %d bytes free in one gap", n, free)
			}
		})
	}
}

// ends is a heap that keeps the highest end of an object.
type ends struct {
	heapmodel.Heap
	highest uint64
}

func (e *ends) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	r, ok := e.Heap.Alloc(size, align)
	if ok {
		e.highest = max(e.highest, uint64(e.Addr(r))+size)
	}
	return r, ok
}

func (e *ends) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	s, ok := e.Heap.Realloc(r, size, align)
	if ok {
		e.highest = max(e.highest, uint64(e.Addr(s))+size)
	}
	return s, ok
}

func TestNativeAllocated(t *testing.T) {
	h := oracle.Open(t, talc.Model, "talc")
	var refs []heapmodel.Ref
	total := uint64(0)
	check := func() {
		t.Helper()
		n := oracle.Native(h)
		if n["allocated_bytes"] != total || n["allocations"] != h.Usage().UsedBlocks || n["free_bytes"] != h.Usage().Free {
			t.Errorf("figures %v, want %d bytes in %d allocations", n, total, h.Usage().UsedBlocks)
		}
	}
	for size := range uint64(300) {
		r, ok := h.Alloc(size, 0)
		if !ok {
			t.Fatalf("%d bytes do not fit", size)
		}
		refs = append(refs, r)
		total += size
	}
	check()
	for i, r := range refs {
		size := uint64(i)
		switch i % 3 {
		case 0:
			h.Free(r)
			total -= size
		case 1:
			if _, ok := h.Realloc(r, size/2, 0); !ok {
				t.Fatal("cannot shrink")
			}
			total -= size - size/2
		}
	}
	check()
}

func TestRefusedSpecs(t *testing.T) {
	for _, c := range []struct{ name, spec, want string }{
		{"too small", "talc:capacity=399", "at least 400 bytes"},
		{"too small, 64 bits", "talc:capacity=1567,ptr=64", "at least 1568 bytes"},
		{"too large for 32 bits", "talc:capacity=4GiB", "at most 4294967295"},
		{"too large for the model", "talc:capacity=128GiB,ptr=64", "at most 137438953439"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := heapmodel.ParseSpec([]*heapmodel.Model{talc.Model}, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.New(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestBins holds the bins of all sizes against what they are for.
func TestBins(t *testing.T) {
	for _, ptr := range []string{"32", "64"} {
		before := uint32(0)
		talc.Bins(ptr, 1<<16, func(units, floor, ceil, least uint32) {
			switch {
			case floor < before || floor > before+1:
				t.Errorf("ptr=%s: %d units are in bin %d, a unit less in %d", ptr, units, floor, before)
			case least > units:
				t.Errorf("ptr=%s: bin %d begins with %d units and has %d", ptr, floor, least, units)
			case ceil != floor && ceil != floor+1:
				t.Errorf("ptr=%s: %d units are in bin %d, those that hold as much from bin %d on", ptr, units, floor, ceil)
			case (ceil == floor) != (least == units):
				t.Errorf("ptr=%s: bin %d begins with %d units; %d units are held from bin %d on", ptr, floor, least, units, ceil)
			}
			before = floor
		})
	}
}

func TestExtremeRequests(t *testing.T) {
	for _, c := range []struct {
		spec  string
		first int64
	}{{"talc", 384}, {"talc:ptr=64", 1536}} {
		t.Run(c.spec, func(t *testing.T) {
			h := oracle.Open(t, talc.Model, c.spec)
			unit := int64(h.Align())
			for _, c := range []struct {
				size  uint64
				align uint32
				want  int64
			}{
				{0, 0, c.first}, // like a byte
				{1, 0, c.first + unit},
				{65536, 0, oracle.Nowhere},
				{1<<32 - 1, 0, oracle.Nowhere},
				{heapmodel.MaxSize, 0, oracle.Nowhere},
				{heapmodel.MaxSize, heapmodel.MaxAlign, oracle.Nowhere},
				{1, heapmodel.MaxAlign, oracle.Nowhere},
				{1, 32768, 32768},
			} {
				oracle.Place(t, h, c.size, c.align, c.want)
			}
		})
	}
}

// TestAlignedMissesFit fails though a gap fits: an aligned request looks at no
// bin below that of its alignment.
func TestAlignedMissesFit(t *testing.T) {
	h := oracle.Open(t, talc.Model, "talc:capacity=1024,ptr=32")
	low := oracle.Place(t, h, 60, 0, 384) // [384, 448)
	oracle.Place(t, h, 12, 0, 448)
	top := oracle.Place(t, h, 1024-464-4, 0, 464)
	h.Free(low)
	// [384, 448) holds 12 bytes at 384, a multiple of 128.
	oracle.Place(t, h, 12, 128, oracle.Nowhere)
	oracle.Place(t, h, 12, 64, 384)
	h.Free(top)
}

// TestBinBelow takes from the bin below that of the request when no other is
// filled, the newest gap that fits.
func TestBinBelow(t *testing.T) {
	// Bin 16 has 16 to 19 units of 16 bytes; a request of 17 begins at bin 17.
	h := oracle.Open(t, talc.Model, "talc:capacity=1792,ptr=32")
	var refs []heapmodel.Ref
	at := int64(384)
	for _, units := range []int64{17, 18, 16, 19} {
		refs = append(refs, oracle.Place(t, h, uint64(16*units-4), 0, at))
		oracle.Place(t, h, 12, 0, at+16*units)
		at += 16*units + 16
	}
	oracle.Place(t, h, uint64(1792-at-4), 0, at)
	for _, r := range refs[:3] {
		h.Free(r)
	}
	steps := h.Usage().Steps
	oracle.Place(t, h, 16*17-4, 0, 384+18*16) // past the gap of 16 units, the newest
	if got := h.Usage().Steps - steps; got != 3 {
		t.Errorf("%d steps, want 3: a look at the bins and two gaps", got)
	}
	oracle.Place(t, h, 16*19-4, 0, oracle.Nowhere)
}

func TestReallocInPlace(t *testing.T) {
	h := oracle.Open(t, talc.Model, "talc:ptr=32")
	a := oracle.Place(t, h, 100, 0, 384)
	b := oracle.Place(t, h, 100, 0, 496)
	for _, c := range []struct {
		name string
		size uint64
		used uint64 // bytes of both chunks
	}{
		{"shrink", 10, 16 + 112},
		{"grow into the tail", 108, 112 + 112},
		{"to no bytes", 0, 16 + 112},
		{"within the chunk", 12, 16 + 112},
	} {
		r, ok := h.Realloc(a, c.size, 0)
		if !ok || r != a || h.Usage().Allocated != c.used {
			t.Errorf("%s: %d, %t, %d bytes allocated, want %d", c.name, r, ok, h.Usage().Allocated, c.used)
		}
		if err := h.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if r, ok := h.Realloc(b, heapmodel.MaxSize, 0); ok || r != b {
		t.Errorf("realloc to %d bytes: %d, %t", uint64(heapmodel.MaxSize), r, ok)
	}
	if r, ok := h.Realloc(heapmodel.NullRef, 10, 64); !ok || h.Addr(r)%64 != 0 {
		t.Errorf("realloc of a null pointer: %d, %t", r, ok)
	}
}

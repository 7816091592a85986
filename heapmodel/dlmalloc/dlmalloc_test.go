package dlmalloc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/dlmalloc"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, dlmalloc.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, dlmalloc.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, dlmalloc.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, dlmalloc.Model) }

// summary is what the originals' summary says of a trace.
type summary struct {
	config, trace string
	failures      int
	end, highest  uint64 // final break, highest end of an object
}

// summaries are a few rows of the summary; with the full test material, all.
func summaries(t *testing.T) []summary {
	out := []summary{
		{"mspace40001-32", "exhaust", 1925, 40001, 39956},
		{"mspace65536-64", "exhaust", 1343, 65536, 65426},
		{"sbrk16M-32", "exhaust", 0, 122880, 121920},
		{"sbrk16M-32", "seed-example", 0, 4096, 45},
		{"sbrk16M-64", "exhaust", 0, 135168, 134320},
		{"sbrk16M-64", "realloc", 0, 57344, 56496},
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
		if !strings.Contains(line, "\tdlmalloc\t") {
			continue
		}
		var s summary
		var set, heap string
		var events int
		if _, err := fmt.Sscan(line, &set, &heap, &s.config, &s.trace, &events, &s.failures, &s.end, &s.highest); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, s)
	}
	return out
}

var specs = map[string]string{
	"mspace40001-32": "dlmalloc:capacity=40001,ptr=32",
	"mspace65536-32": "dlmalloc:capacity=65536,ptr=32",
	"mspace65536-64": "dlmalloc:capacity=65536,ptr=64",
	"sbrk16M-32":     "dlmalloc:grow=16MiB,ptr=32",
	"sbrk16M-64":     "dlmalloc:grow=16MiB,ptr=64",
}

func TestSummaries(t *testing.T) {
	for _, s := range summaries(t) {
		t.Run(s.config+"/"+s.trace, func(t *testing.T) {
			tr, err := modeltest.LoadTrace(s.trace)
			if err != nil {
				t.Fatal(err)
			}
			e := &ends{Heap: oracle.Open(t, dlmalloc.Model, specs[s.config])}
			failures := strings.Count(string(modeltest.Answers(e, tr)), "!")
			n := oracle.Native(e.Heap)
			if failures != s.failures || e.highest != s.highest || n["break"] != s.end {
				t.Errorf("%d failures, highest end %d, break %d; want %d, %d and %d", failures, e.highest, n["break"], s.failures, s.highest, s.end)
			}
			if n["footprint_bytes"] != s.end || n["free_blocks"] != 1 || n["free_bytes"]+n["allocated_bytes"] != s.end {
				t.Errorf("figures at the end: %v, want one free block and a footprint of %d bytes", n, s.end)
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

func TestNativeOfMspace(t *testing.T) {
	h := oracle.Open(t, dlmalloc.Model, "dlmalloc:capacity=4096,ptr=32")
	check := func(free, blocks, top uint64) {
		t.Helper()
		n := oracle.Native(h)
		if n["free_bytes"] != free || n["free_blocks"] != blocks || n["top_bytes"] != top || n["allocated_bytes"] != 4096-free {
			t.Errorf("figures %v, want %d bytes free in %d blocks, top %d", n, free, blocks, top)
		}
	}
	check(4096-480, 1, 4096-480-40)
	var refs []heapmodel.Ref
	for range 3 {
		r, ok := h.Alloc(100, 0) // 104 bytes each
		if !ok {
			t.Fatal("no room")
		}
		refs = append(refs, r)
	}
	check(4096-480-3*104, 1, 4096-480-40-3*104)
	h.Free(refs[1])
	check(4096-480-2*104, 2, 4096-480-40-3*104)
}

func TestRefusedSpecs(t *testing.T) {
	for _, c := range []struct{ name, spec, want string }{
		{"too small", "dlmalloc:capacity=520", "at least 521 bytes"},
		{"too small, 64 bits", "dlmalloc:capacity=1024,ptr=64", "at least 1025 bytes"},
		{"too large for 32 bits", "dlmalloc:capacity=4GiB", "at most 4294967295"},
		{"too large for the model", "dlmalloc:capacity=64GiB,ptr=64", "at most 68719476720"},
		{"break below a page", "dlmalloc:grow=4095", "at least 4096 bytes"},
		{"break too large", "dlmalloc:grow=1TiB,ptr=64", "at most 68719476720"},
		{"both", "dlmalloc:capacity=64KiB,grow=1MiB", "exclude each other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := heapmodel.ParseSpec([]*heapmodel.Model{dlmalloc.Model}, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.New(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestExtremeRequests(t *testing.T) {
	for _, c := range []struct {
		spec        string
		first, unit int64
	}{
		{"dlmalloc", 488, 8},
		{"dlmalloc:ptr=64", 960, 16},
		{"dlmalloc:grow=64KiB", 8, 8},
		{"dlmalloc:grow=64KiB,ptr=64", 16, 16},
	} {
		t.Run(c.spec, func(t *testing.T) {
			h := oracle.Open(t, dlmalloc.Model, c.spec)
			for _, c := range []struct {
				size  uint64
				align uint32
				want  int64
			}{
				{0, 0, c.first}, // the smallest chunk
				{1, 0, c.first + 2*c.unit},
				{65536, 0, oracle.Nowhere},
				{1<<32 - 1, 0, oracle.Nowhere},
				{heapmodel.MaxSize, 0, oracle.Nowhere},
				{heapmodel.MaxSize, heapmodel.MaxAlign, oracle.Nowhere},
				{1, heapmodel.MaxAlign, oracle.Nowhere},
				{1, 1, c.first + 4*c.unit},
				{1, 16384, 16384},
			} {
				oracle.Place(t, h, c.size, c.align, c.want)
			}
		})
	}
}

// TestTopKeepsAByte pins that the top never becomes empty: it must be larger
// than what is taken from it.
func TestTopKeepsAByte(t *testing.T) {
	for _, c := range []struct {
		capacity string
		want     int64
	}{{"1120", oracle.Nowhere}, {"1121", 488}} {
		h := oracle.Open(t, dlmalloc.Model, "dlmalloc:ptr=32,capacity="+c.capacity) // 480 + 600 + 40
		oracle.Place(t, h, 596, 0, c.want)
	}
}

// TestReallocIntoTop is the same for growth in place.
func TestReallocIntoTop(t *testing.T) {
	for _, c := range []struct {
		capacity string
		want     bool
	}{{"1120", false}, {"1121", true}} {
		h := oracle.Open(t, dlmalloc.Model, "dlmalloc:ptr=32,capacity="+c.capacity)
		r := oracle.Place(t, h, 12, 0, 488)
		if s, ok := h.Realloc(r, 596, 0); ok != c.want || s != r {
			t.Errorf("capacity %s: realloc gives %d, %t, want %d, %t", c.capacity, s, ok, r, c.want)
		}
	}
}

func TestReallocToNothing(t *testing.T) {
	h := oracle.Open(t, dlmalloc.Model, "dlmalloc")
	r, ok := h.Realloc(heapmodel.NullRef, 100, 0)
	if !ok || h.Addr(r) != 488 {
		t.Fatalf("realloc of a null pointer: %d, %t", r, ok)
	}
	if s, ok := h.Realloc(r, 0, 0); !ok || s != r || h.Usage().Allocated != 16 {
		t.Errorf("realloc to no bytes: %d, %t, %d bytes allocated; want the smallest chunk in place", s, ok, h.Usage().Allocated)
	}
	if s, ok := h.Realloc(r, heapmodel.MaxSize, 0); ok || s != r {
		t.Errorf("realloc to %d bytes: %d, %t", uint64(heapmodel.MaxSize), s, ok)
	}
}

// TestBreak pins how the break moves, and that a refused request leaves it.
func TestBreak(t *testing.T) {
	h := oracle.Open(t, dlmalloc.Model, "dlmalloc:grow=12288,ptr=32")
	end := func(want uint64) {
		t.Helper()
		if got := oracle.Native(h)["break"]; got != want {
			t.Errorf("break at %d, want %d", got, want)
		}
	}
	end(0)
	// 4096 bytes are asked for up to chunks of 4096 - 40 - 8.
	r := oracle.Place(t, h, 4096-48-4, 0, 8)
	end(4096)
	if g := h.Usage().Grown; g.Need != 4048 || g.Free != 0 {
		t.Errorf("grown %+v, want a need of 4048 with nothing free", g)
	}
	h.Free(r)
	// The top of 4056 bytes counts towards what is needed.
	r = oracle.Place(t, h, 8104-4, 0, 8)
	end(8192)
	oracle.Place(t, h, 5000, 0, oracle.Nowhere)
	end(8192)
	// From now on the heap asks for the whole need, though 48 bytes are free:
	// that is two pages for 4080 bytes, one for 4008.
	oracle.Place(t, h, 4080-4, 0, oracle.Nowhere)
	oracle.Place(t, h, 4008-4, 0, 8104+8)
	end(12288)
	oracle.Place(t, h, 200, 0, oracle.Nowhere)
	h.Free(r)
	oracle.Place(t, h, 200, 0, 8)
}

// TestOldestOfEquals takes, of equal chunks in a tree, the one binned first,
// and of equal small ones the one binned last.
func TestOldestOfEquals(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes int64 // of a chunk
		order []int
	}{
		{"small", 64, []int{1, 2, 0}},
		{"tree", 512, []int{0, 2, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := oracle.Open(t, dlmalloc.Model, "dlmalloc:capacity=64KiB,ptr=32")
			var refs []heapmodel.Ref
			at := []int64{}
			next := int64(488)
			for range 3 {
				refs = append(refs, oracle.Place(t, h, uint64(c.bytes-4), 0, next))
				at = append(at, next)
				oracle.Place(t, h, 1, 0, next+c.bytes)
				next += c.bytes + 16
			}
			for _, i := range []int{0, 2, 1} {
				h.Free(refs[i])
			}
			for _, i := range c.order {
				oracle.Place(t, h, uint64(c.bytes-4), 0, at[i])
			}
		})
	}
}

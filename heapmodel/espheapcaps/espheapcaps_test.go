package espheapcaps_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/espheapcaps"
	"github.com/fragprof/fragprof/heapmodel/esptlsf"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"pgregory.net/rapid"
)

var specs = []string{
	"esp-heap-caps",
	"esp-heap-caps:regions=64KiB@0",
	"esp-heap-caps:regions=8KiB@0+4KiB@16KiB+24KiB@64KiB,caps=internal/8bit/exec+internal/dma/8bit+spiram,threshold=100",
	"esp-heap-caps:regions=4KiB@0+8KiB@4KiB+8KiB@16KiB+16KiB@32KiB,caps=spiram+internal/exec+internal/8bit+spiram/8bit/32bit,threshold=0",
	"esp-heap-caps:regions=8KiB@0+4KiB@16KiB+20KiB@64KiB,order=2/0/1",
}

func TestConformance(t *testing.T) { modeltest.Run(t, espheapcaps.Model, specs...) }

func FuzzOps(f *testing.F) { modeltest.Inside(nil).Fuzz(f, espheapcaps.Model, specs...) }

func BenchmarkHeap(b *testing.B) {
	modeltest.Bench(b, espheapcaps.Model, "esp-heap-caps", "esp-heap-caps:regions=64KiB@0")
}

func newHeap(t rapid.TB, spec string) heapmodel.Heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{espheapcaps.Model, esptlsf.Model}, spec)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestErrors(t *testing.T) {
	for args, want := range map[string]string{
		"caps=spiram":                                         "want the regions",
		"regions=64KiB@0,caps=spiram+spiram":                  "of 2 regions, there are 1",
		"regions=64KiB@0,caps=fast":                           `"fast": want internal, spiram`,
		"regions=64KiB@0,caps=8bit":                           "either internal or spiram",
		"regions=64KiB@0,caps=internal/spiram/8bit":           "either internal or spiram",
		"regions=64KiB@0,caps=internal/exec":                  "no region is memory for data",
		"regions=64KiB@0+64KiB@1MiB,caps=internal/dma+spiram": "want internal/8bit for data",
		"regions=64KiB@0+100@64KiB":                           "region 1 of 100: needs at least",
		"regions=64KiB@2":                                     "multiples of 4",
		"regions=64KiB@0,order=1":                             "each number from 0 to 0",
		"regions=64KiB@0+64KiB@1MiB,order=1":                  "1 of 2 regions",
		"regions=64KiB@0+64KiB@1MiB,order=1/1":                "once",
	} {
		s, err := heapmodel.ParseSpec([]*heapmodel.Model{espheapcaps.Model}, "esp-heap-caps:"+args)
		if err == nil {
			_, err = s.New()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", args, err, want)
		}
	}
}

// TestOneRegion holds that a heap of one region answers as that region does, of
// which there are tables of the original's answers.
func TestOneRegion(t *testing.T) {
	for _, trace := range []string{"mixed", "exhaust", "realloc", "aligned", "fa1"} {
		tr, err := modeltest.LoadTrace(trace)
		if err != nil {
			t.Fatal(err)
		}
		got := modeltest.Answers(newHeap(t, "esp-heap-caps:regions=64KiB@0"), tr)
		want := modeltest.Answers(newHeap(t, "esp-tlsf:capacity=64KiB,prefix=20"), tr)
		if !bytes.Equal(got, want) {
			t.Errorf("trace %s: answers differ", trace)
		}
	}
}

// The regions of the tests by hand: data memory at 64 KiB, data or instruction
// memory below it, instruction memory, and external memory at 1 MiB.
const mixedRegions = "esp-heap-caps:regions=4KiB@0+4KiB@16KiB+4KiB@64KiB+16KiB@1MiB,caps=internal/8bit/exec+internal/exec+internal/dma/8bit+spiram,threshold=200"

// where returns the region of an object of the heap above.
func where(a heapmodel.Addr) string {
	switch {
	case a == heapmodel.Null:
		return "null"
	case a < 16<<10:
		return "diram"
	case a < 64<<10:
		return "iram"
	case a < 1<<20:
		return "dram"
	}
	return "spiram"
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		name, ops string
		want      string // regions of the objects after each alloc or realloc, ! for a failure
	}{
		{"small, large", "a0 200 a1 201 a2 1", "dram spiram dram"},
		{"nothing", "a0 0", "null"},
		{"dedicated memory first, then the other internal, then external", "fill a0 200", "spiram"},
		{"versatile memory when dedicated memory is full", "a0 200 x200 a1 200", "dram diram"},
		{"large ones go to internal memory when external memory is full", "a0 9000 a1 3000 a2 2500 a3 2000 a4 4000", "spiram spiram spiram dram !"},
		{"grows in its region", "a0 50 r0 150", "dram dram"},
		{"grows over the threshold", "a0 200 r0 201", "dram spiram"},
		{"shrinks below the threshold", "a0 500 r0 200", "spiram dram"},
		{"freed by a realloc to nothing", "a0 500 r0 0", "spiram null"},
		{"of nothing", "a0 0 r0 300", "null spiram"},
		{"stays where it is if the preferred kind is full", "a0 200 a1 9000 a2 3000 a3 2600 r0 1000", "dram spiram spiram spiram dram"},
		{"moves to any if its own region is full, too", "a0 200 a1 9000 a2 3000 a3 2600 x200 r0 2000", "dram spiram spiram spiram diram"},
		{"fails, and the object stays", "a0 200 a1 9000 r0 12000 r0 100", "dram spiram ! dram"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHeap(t, mixedRegions)
			if got := playRoutes(t, h, c.ops); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if err := h.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFigures(t *testing.T) {
	h := newHeap(t, mixedRegions)
	all := map[string]uint64{}
	for _, s := range h.(heapmodel.Native).Native() {
		all[s.Key] = s.Value
	}
	// Behind a record of 20 bytes 36 + 4*8 + 4*8*8 of control structure.
	if want := uint64(4096 - 20 - 324); all["region0.free_bytes"] != want {
		t.Errorf("region0.free_bytes is %d, want %d", all["region0.free_bytes"], want)
	}
	if all["internal.free_bytes"] != 2*all["region0.free_bytes"] || all["spiram.free_bytes"] != all["region3.free_bytes"] {
		t.Errorf("the kinds do not add up: %v", all)
	}
	r, _ := h.Alloc(100, 0)
	h.Free(r)
	if low := stat(h, "internal.min_ever_free_bytes"); low != all["internal.free_bytes"]-108 {
		t.Errorf("internal.min_ever_free_bytes is %d after a block of 104 and its size word, it was %d", low, all["internal.free_bytes"])
	}
	if foot := stat(h, "region2.footprint_bytes"); foot != h.(heapmodel.Composed).Footprint() || foot == 0 {
		t.Errorf("footprint %d of region 2, %d of the heap", foot, h.(heapmodel.Composed).Footprint())
	}
}

func stat(h heapmodel.Heap, key string) uint64 {
	for _, s := range h.(heapmodel.Native).Native() {
		if s.Key == key {
			return s.Value
		}
	}
	return ^uint64(0)
}

// TestExample holds that the spec in Doc is one.
func TestExample(t *testing.T) {
	_, rest, _ := strings.Cut(espheapcaps.Model.Doc, "esp-heap-caps:")
	spec, _, _ := strings.Cut(rest, ". ")
	h := newHeap(t, "esp-heap-caps:"+spec)
	var got []heapmodel.Addr
	for _, size := range []uint64{16384, 16385, 40_000, 30_000} {
		r, ok := h.Alloc(size, 0)
		if !ok {
			t.Fatalf("no room for %d bytes", size)
		}
		got = append(got, h.Addr(r)>>16)
	}
	if want := []heapmodel.Addr{0, 64, 64, 64}; !slices.Equal(got, want) {
		t.Errorf("the objects are at %d * 64 KiB, want %d", got, want)
	}
}

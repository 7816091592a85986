package zephyr_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/zephyr"
)

func TestGolden(t *testing.T)    { modeltest.Golden(t, zephyr.Model) }
func TestMinHeap(t *testing.T)   { modeltest.MinHeap(t, zephyr.Model) }
func TestConform(t *testing.T)   { modeltest.Run(t, zephyr.Model) }
func FuzzOps(f *testing.F)       { modeltest.Fuzz(f, zephyr.Model) }
func BenchmarkHeap(b *testing.B) { modeltest.Bench(b, zephyr.Model) }

// configs are the configurations of the golden tables with the bytes that the
// original's walk finds free in an empty heap.
var configs = []struct {
	folder, spec string
	free         uint64
}{
	{"auto-big-300k-m32", "zephyr-sys-heap:capacity=300KiB,ptr=32,mode=auto", 307112},
	{"big-64k-m32", "zephyr-sys-heap:capacity=64KiB,ptr=32,mode=big", 65456},
	{"big-64k-m64", "zephyr-sys-heap:capacity=64KiB,ptr=64,mode=big", 65456},
	{"small-32k-m32", "zephyr-sys-heap:capacity=32KiB,ptr=32,mode=small", 32696},
	{"small-64k-m32", "zephyr-sys-heap:capacity=64KiB,ptr=32,mode=small", 65456},
	{"small-stats-64k-m32", "zephyr-sys-heap:capacity=64KiB,ptr=32,mode=small,stats=true", 65448},
	{"v2.5-64k-m64", "zephyr-sys-heap:capacity=64KiB,ptr=64,version=2.5", 65408},
	{"v2.5-small-64k-m32", "zephyr-sys-heap:capacity=64KiB,ptr=32,mode=small,version=2.5", 65456},
}

func TestNativeFree(t *testing.T) {
	for _, c := range configs {
		t.Run(c.folder, func(t *testing.T) {
			h := oracle.Open(t, zephyr.Model, c.spec)
			check := func(when string, want uint64) {
				t.Helper()
				if got := oracle.Native(h)["free_bytes"]; got != want {
					t.Errorf("%s: %d bytes free, want %d", when, got, want)
				}
			}
			check("at the start", c.free)
			r, ok := h.Alloc(100, 0)
			if !ok {
				t.Fatal("100 bytes do not fit")
			}
			check("with 100 bytes allocated", c.free-h.Need(100, 0))
			h.Free(r)
			check("after the free", c.free)
		})
	}
}

// TestSummaries compares with what the original's walk found after each trace.
func TestSummaries(t *testing.T) {
	shared := modeltest.SharedDir()
	if shared == "" {
		t.Skip("the summaries are only in the full test material")
	}
	for _, c := range configs {
		t.Run(c.folder, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(shared, "golden", "zephyr", c.folder, "summary.json"))
			if err != nil {
				t.Fatal(err)
			}
			var summary struct {
				Info   string
				Traces map[string]struct {
					Failures uint64
					Final    uint64 `json:"final_free_bytes"`
				}
			}
			if err := json.Unmarshal(text, &summary); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("initial_free=%d", c.free); !strings.HasSuffix(summary.Info, want) {
				t.Errorf("summary says %q, the test %q", summary.Info, want)
			}
			for name, want := range summary.Traces {
				tr, err := modeltest.LoadTrace(name)
				if err != nil {
					t.Fatal(err)
				}
				h := oracle.Open(t, zephyr.Model, c.spec)
				failures := uint64(strings.Count(string(modeltest.Answers(h, tr)), "!"))
				if got := oracle.Native(h)["free_bytes"]; got != want.Final || failures != want.Failures {
					t.Errorf("trace %s: %d bytes free, %d failures; want %d and %d", name, got, failures, want.Final, want.Failures)
				}
			}
		})
	}
}

func TestRefusedSpecs(t *testing.T) {
	for _, c := range []struct{ name, spec, want string }{
		{"too small", "zephyr-sys-heap:capacity=43", "at least 44 bytes"},
		{"too small with stats", "zephyr-sys-heap:capacity=51,stats=true", "at least 52 bytes"},
		{"too small, big", "zephyr-sys-heap:capacity=55,mode=big", "at least 56 bytes"},
		{"too small, 2.5", "zephyr-sys-heap:capacity=63,ptr=64,version=2.5", "at least 64 bytes"},
		{"too large for small", "zephyr-sys-heap:capacity=262148,mode=small", "at most 262147"},
		{"too large for 32 bits", "zephyr-sys-heap:capacity=4GiB", "at most 4294967295"},
		{"small with 64 bits", "zephyr-sys-heap:ptr=64,mode=small", "always big"},
		{"old version", "zephyr-sys-heap:version=2.4", "the first is 2.5"},
		{"no probes", "zephyr-sys-heap:loops=0", "want 1 to 1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := heapmodel.ParseSpec([]*heapmodel.Model{zephyr.Model}, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.New(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestEdgeOfAuto pins where heaps become big in mode auto.
func TestEdgeOfAuto(t *testing.T) {
	for _, c := range []struct {
		capacity string
		align    uint32
	}{{"1KiB", 4}, {"256KiB", 4}, {"262147", 4}, {"262148", 8}, {"300KiB", 8}} {
		if got := oracle.Open(t, zephyr.Model, "zephyr-sys-heap:capacity="+c.capacity).Align(); got != c.align {
			t.Errorf("capacity %s: header of %d bytes, want %d", c.capacity, got, c.align)
		}
	}
}

// null stands for the address of a null pointer that is no failure.
const null = -1

func TestExtremeRequests(t *testing.T) {
	for _, spec := range []string{"zephyr-sys-heap", "zephyr-sys-heap:mode=big", "zephyr-sys-heap:ptr=64"} {
		t.Run(spec, func(t *testing.T) {
			h := oracle.Open(t, zephyr.Model, spec)
			for _, c := range []struct {
				size  uint64
				align uint32
				want  int64
			}{
				{0, 0, null},
				{0, 64, null},
				{65536, 0, oracle.Nowhere},
				{1<<32 - 1, 0, oracle.Nowhere},
				{heapmodel.MaxSize, 0, oracle.Nowhere},
				{heapmodel.MaxSize, heapmodel.MaxAlign, oracle.Nowhere},
				{1, heapmodel.MaxAlign, oracle.Nowhere},
				{8, 32768, 32768},
			} {
				oracle.Place(t, h, c.size, c.align, c.want)
			}
		})
	}
}

func TestReallocOfNothingAndToNothing(t *testing.T) {
	h := oracle.Open(t, zephyr.Model, "zephyr-sys-heap")
	r, ok := h.Realloc(heapmodel.NullRef, 10, 0)
	if !ok || h.Addr(r) != 76 {
		t.Fatalf("realloc of a null pointer: %d, %t, want address 76", r, ok)
	}
	if r, ok = h.Realloc(r, 0, 0); r != heapmodel.NullRef || !ok || h.Usage().UsedBlocks != 0 {
		t.Errorf("realloc to no bytes: %d, %t, %d used blocks", r, ok, h.Usage().UsedBlocks)
	}
}

// TestFailureAmongEnough fails though a chunk in the bucket of the request is
// large enough, and succeeds in the next try, since the first moved the cursor.
func TestFailureAmongEnough(t *testing.T) {
	// A control structure of 5 units, then 8 + 1 four times, 15 + 1, and 6.
	h := oracle.Open(t, zephyr.Model, "zephyr-sys-heap:capacity=508,mode=small")
	var holes []heapmodel.Ref
	at := int64(8*5 + 4)
	for _, units := range []int64{8, 8, 8, 8, 15} {
		holes = append(holes, oracle.Place(t, h, uint64(8*units-4), 0, at))
		oracle.Place(t, h, 4, 0, at+8*units)
		at += 8*units + 8
	}
	oracle.Place(t, h, 8*6-4, 0, at)
	for _, r := range holes {
		h.Free(r)
	}
	oracle.Place(t, h, 8*9-4, 0, oracle.Nowhere) // probes the first three of 8 units
	oracle.Place(t, h, 8*9-4, 0, at-128)         // and now the fourth and the one of 15
}

// TestSolo leaves a unit of a big heap that no request can get until it merges.
func TestSolo(t *testing.T) {
	h := oracle.Open(t, zephyr.Model, "zephyr-sys-heap:capacity=80,mode=big")
	free := h.Usage().Free
	r, ok := h.Alloc(free-8-8, 0)
	if !ok {
		t.Fatal("no room")
	}
	if u := h.Usage(); u.Free != 8 || u.FreeBlocks != 1 || h.LargestFree() != 8 {
		t.Errorf("%d bytes free in %d blocks, largest %d; want 8 in 1", u.Free, u.FreeBlocks, h.LargestFree())
	}
	oracle.Place(t, h, 1, 0, oracle.Nowhere)
	if s, ok := h.Realloc(r, free-8, 0); !ok || s != r {
		t.Errorf("realloc over the unit left: %d, %t", s, ok)
	}
	h.Free(r)
	if u := h.Usage(); u.Free != free || u.FreeBlocks != 1 {
		t.Errorf("%d bytes free in %d blocks, want %d in 1", u.Free, u.FreeBlocks, free)
	}
}

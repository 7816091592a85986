package freertos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"pgregory.net/rapid"
)

func TestHeap4Golden(t *testing.T)  { modeltest.Golden(t, Heap4) }
func TestHeap4MinHeap(t *testing.T) { modeltest.MinHeap(t, Heap4) }
func TestHeap4Conform(t *testing.T) { modeltest.Run(t, Heap4) }
func FuzzHeap4(f *testing.F)        { modeltest.Fuzz(f, Heap4) }
func BenchmarkHeap4(b *testing.B)   { modeltest.Bench(b, Heap4) }

// fataler is a testing.TB or a rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func parse(t fataler, text string) *heapmodel.Spec {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{Heap1, Heap2, Heap4, Heap5}, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t fataler, text string) heapmodel.Heap {
	t.Helper()
	h, err := parse(t, text).New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// native returns the figures of the original by key.
func native(h heapmodel.Heap) map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range h.(heapmodel.Native).Native() {
		out[s.Key] = s.Value
	}
	return out
}

// summary is what the original said of itself after a trace.
type summary struct {
	Traces map[string]struct {
		Failures uint64 `json:"failures"`
		HighUsed uint64 `json:"highest_used_offset"`
		Free     uint64 `json:"final_free_bytes"`
		MinFree  uint64 `json:"min_ever_free_bytes"`
	} `json:"traces"`
}

// TestHeap4ReportsWhatTheOriginalReported replays every trace and compares the
// counters of the original with the model's.
func TestHeap4ReportsWhatTheOriginalReported(t *testing.T) {
	checkSummaries(t, "heap4", [][2]string{
		{"freertos-heap4:capacity=32KiB,ptr=32", "32k-m32"},
		{"freertos-heap4:capacity=64KiB,ptr=32", "64k-m32"},
		{"freertos-heap4:capacity=64KiB,ptr=64", "64k-m64"},
		{"freertos-heap4:capacity=64KiB,ptr=32,version=10.4.6", "v10.4.6-64k-m32"},
		{"freertos-heap4:capacity=64KiB,ptr=32,version=10.5.1", "v10.5.1-64k-m32"},
	})
}

// checkSummaries replays every trace in heaps of specs, each with the name of
// its configuration, and compares their figures with the originals' summaries.
func checkSummaries(t *testing.T, heap string, configs [][2]string) {
	for _, c := range configs {
		spec, config := c[0], c[1]
		t.Run(config, func(t *testing.T) {
			t.Parallel()
			for trace, want := range readSummary(t, heap, config).Traces {
				if trace == "long" && modeltest.SharedDir() == "" {
					continue
				}
				tr, err := modeltest.LoadTrace(trace)
				if err != nil {
					t.Fatal(err)
				}
				h := open(t, spec)
				failures := uint64(strings.Count(string(modeltest.Answers(h, tr)), "!\n"))
				got := native(h)
				// heap_1 and heap_2 keep no least figure: null in the summary.
				if got["free_bytes"] != want.Free || got["min_ever_free_bytes"] != want.MinFree || failures != want.Failures {
					t.Errorf("%s: free %d, least free %d, %d failures; the original %d, %d, %d", trace,
						got["free_bytes"], got["min_ever_free_bytes"], failures, want.Free, want.MinFree, want.Failures)
				}
				if mark := h.Usage().HighWater; mark < want.HighUsed {
					t.Errorf("%s: high-water mark %d is below the last byte used, %d", trace, mark, want.HighUsed)
				}
			}
		})
	}
}

// readSummary reads the original's own summary, of which testdata has one.
func readSummary(t *testing.T, heap, config string) (s summary) {
	path := filepath.Join("testdata", heap+"-"+config+"-summary.json")
	if dir := modeltest.SharedDir(); dir != "" {
		path = filepath.Join(dir, "golden", "freertos_"+heap, config, "summary.json")
	}
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) && modeltest.SharedDir() == "" {
		t.Skip("this summary is only in the full test material")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Traces) < 11 {
		t.Fatalf("%s has %d traces", path, len(s.Traces))
	}
	return s
}

func TestHeap4EmptyHeap(t *testing.T) {
	for _, c := range []struct {
		spec       string
		free, over uint64
	}{
		{"freertos-heap4", 65528, 8},
		{"freertos-heap4:ptr=64", 65520, 16},
		{"freertos-heap4:capacity=65535", 65520, 15}, // the end is rounded down
		{"freertos-heap4:capacity=24", 16, 8},
		{"freertos-heap4:capacity=40,ptr=64", 24, 16},
		{"freertos-heap4:capacity=2147483647", 1<<31 - 16, 15},
		{"freertos-heap4:capacity=34359738360,ptr=64", 1<<35 - 24, 16},
	} {
		h := open(t, c.spec)
		if u := h.Usage(); u.Free != c.free || u.Overhead != c.over || h.LargestFree() != c.free {
			t.Errorf("%s: %d bytes free, %d overhead, want %d and %d", c.spec, u.Free, u.Overhead, c.free, c.over)
		}
		// The original sets itself up in the first malloc.
		if got := native(h); got["free_bytes"] != 0 || got["min_ever_free_bytes"] != 0 || got["free_blocks"] != 0 {
			t.Errorf("%s: figures before the first malloc %v, want zeros", c.spec, got)
		}
		h.Alloc(0, 0)
		if got := native(h); got["free_bytes"] != c.free || got["min_ever_free_bytes"] != c.free || got["smallest_free_bytes"] != c.free {
			t.Errorf("%s: figures after a first malloc(0) %v, want %d bytes free", c.spec, got, c.free)
		}
	}
}

func TestHeap4BadConfigs(t *testing.T) {
	for spec, want := range map[string]string{
		"freertos-heap4:capacity=23":                 "capacity=23: the least that holds an object is 24 bytes",
		"freertos-heap4:capacity=39,ptr=64":          "capacity=39: the least that holds an object is 40 bytes",
		"freertos-heap4:capacity=2GiB":               "capacity=2GiB: the most is 2147483647 bytes",
		"freertos-heap4:capacity=32GiB,ptr=64":       "the most is 34359738360 bytes",
		"freertos-heap4:capacity=0xffffffffffffffff": "the most is",
		"freertos-heap4:version=9.0.0":               "version=9.0.0 is not modelled, the first is 10.0.0",
	} {
		if _, err := parse(t, spec).New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

// layout formats the blocks of a heap on a line, used ones with +: "0+24 24-8".
func layout(h heapmodel.Heap) string {
	var parts []string
	for b := range h.Blocks() {
		sign := "-"
		if b.Used {
			sign = "+"
		}
		parts = append(parts, fmt.Sprint(uint64(b.Addr), sign, b.Size))
	}
	return strings.Join(parts, " ")
}

// TestHeap4Splits tries remainders around the threshold, which must be passed
// and not only reached.
func TestHeap4Splits(t *testing.T) {
	for _, c := range []struct {
		spec string
		size uint64
		want string
	}{
		{"freertos-heap4:capacity=128", 96, "0+120"},        // 16 bytes would remain: two headers
		{"freertos-heap4:capacity=128", 88, "0+96 96-24"},   // 24 bytes: more
		{"freertos-heap4:capacity=128,ptr=64", 64, "0+112"}, // 32 bytes: two headers
		{"freertos-heap4:capacity=128,ptr=64", 56, "0+72 72-40"},
		{"freertos-heap4:capacity=128", 1, "0+16 16-104"},
		{"freertos-heap4:capacity=128", 8, "0+16 16-104"},
		{"freertos-heap4:capacity=128", 9, "0+24 24-96"},
		{"freertos-heap4:capacity=128,version=10.5.0", 8, "0+24 24-96"}, // a multiple of 8 costs 8 more
		{"freertos-heap4:capacity=128,version=10.5.1", 9, "0+24 24-96"},
		{"freertos-heap4:capacity=128,version=10.4.99", 8, "0+16 16-104"},
		{"freertos-heap4:capacity=128,version=10.6.0", 8, "0+16 16-104"},
		{"freertos-heap4:capacity=128,version=12.0.0", 8, "0+16 16-104"},
	} {
		h := open(t, c.spec)
		r, ok := h.Alloc(c.size, 0)
		if !ok || layout(h) != c.want {
			t.Errorf("%s: %d bytes: blocks %s, want %s", c.spec, c.size, layout(h), c.want)
			continue
		}
		var header heapmodel.Addr = 8
		if strings.Contains(c.spec, "ptr=64") {
			header = 16
		}
		if a := h.Addr(r); a != header {
			t.Errorf("%s: first object at %d, want %d", c.spec, a, header)
		}
	}
}

func TestHeap4Merges(t *testing.T) {
	for _, c := range []struct {
		name  string
		frees []int
		want  string
	}{
		{"none", []int{1}, "0+16 16-16 32+16 48+16 64-56"},
		{"with the block below", []int{0, 1}, "0-32 32+16 48+16 64-56"},
		{"with the block above", []int{1, 0}, "0-32 32+16 48+16 64-56"},
		{"with both", []int{0, 2, 1}, "0-48 48+16 64-56"},
		{"with the last block", []int{3}, "0+16 16+16 32+16 48-72"},
		{"all", []int{1, 3, 0, 2}, "0-120"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, "freertos-heap4:capacity=128")
			var refs []heapmodel.Ref
			for range 4 {
				r, ok := h.Alloc(8, 0)
				if !ok {
					t.Fatal("alloc fails")
				}
				refs = append(refs, r)
			}
			for _, i := range c.frees {
				h.Free(refs[i])
			}
			if got := layout(h); got != c.want {
				t.Errorf("blocks %s, want %s", got, c.want)
			}
			if err := h.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHeap4RefusesHugeRequests(t *testing.T) {
	for _, spec := range []string{"freertos-heap4", "freertos-heap4:ptr=64", "freertos-heap4:version=10.5.0"} {
		h := open(t, spec)
		for log2 := 16; log2 <= 62; log2++ {
			for _, size := range []uint64{1<<log2 - 1, 1 << log2} {
				if r, ok := h.Alloc(size, 0); ok {
					t.Errorf("%s: %d bytes are placed as %d", spec, size, r)
				}
			}
		}
		if r, ok := h.Alloc(0, 0); !ok || r != heapmodel.NullRef {
			t.Errorf("%s: malloc(0) gives %d, %v, want a null pointer that is no failure", spec, r, ok)
		}
	}
}

// walker is heap_4 as its description has it: a list of free blocks in address
// order, walked from its head by every call. It counts the blocks it visits.
// With markers of no size in the list it is heap_5.
type walker struct {
	header  uint64
	overpad bool
	free    []span // by address
	used    map[uint64]uint64
	bytes   uint64 // free
	steps   uint64
}

type span struct{ start, size uint64 }

func (w *walker) malloc(size uint64) (addr uint64, ok bool) {
	want := size + w.header
	if w.overpad {
		want += 8 - size%8
	}
	for want%8 != 0 {
		want++
	}
	if want > w.bytes {
		return 0, false
	}
	for i, s := range w.free {
		w.steps++
		if s.size < want {
			continue
		}
		if s.size-want > 2*w.header {
			w.free[i] = span{s.start + want, s.size - want}
			s.size = want
		} else {
			w.free = slices.Delete(w.free, i, i+1)
		}
		w.used[s.start+w.header] = s.size
		w.bytes -= s.size
		return s.start + w.header, true
	}
	return 0, false
}

func (w *walker) release(addr uint64) {
	s := span{addr - w.header, w.used[addr]}
	delete(w.used, addr)
	w.bytes += s.size
	i := 0
	for i < len(w.free) && w.free[i].start < s.start {
		w.steps++
		i++
	}
	w.free = slices.Insert(w.free, i, s)
	for _, at := range []int{i, i - 1} {
		if at < 0 || at+1 == len(w.free) || w.free[at].start+w.free[at].size != w.free[at+1].start {
			continue
		}
		w.free[at].size += w.free[at+1].size
		w.free = slices.Delete(w.free, at+1, at+2)
		w.steps++
	}
}

// TestHeap4IsAWalkedList compares addresses, steps and free blocks with those
// of a plain list.
func TestHeap4IsAWalkedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ptr := rapid.SampledFrom([]uint64{32, 64}).Draw(t, "ptr")
		version := rapid.SampledFrom([]string{"10.4.6", "10.5.1", "11.1.0"}).Draw(t, "version")
		capacity := rapid.Uint64Range(40, 6000).Draw(t, "capacity")
		h := open(t, fmt.Sprintf("freertos-heap4:capacity=%d,ptr=%d,version=%s", capacity, ptr, version))
		w := &walker{header: ptr / 4, overpad: version == "10.5.1", used: map[uint64]uint64{}}
		w.bytes = (capacity - w.header) &^ 7
		w.free = []span{{0, w.bytes}}
		compareWithList(t, h, w)
	})
}

// compareWithList runs a random program on both.
func compareWithList(t *rapid.T, h heapmodel.Heap, w *walker) {
	h.Alloc(0, 0) // heap_4 sets itself up
	compareAddresses(t, h, w, &w.steps)
	if got := native(h)["free_blocks"]; got != uint64(len(w.free)) {
		t.Fatalf("%d entries on the list, want %d", got, len(w.free))
	}
	w.free = slices.DeleteFunc(w.free, func(s span) bool { return s.size == 0 })
	var free []span
	for b := range h.Blocks() {
		if !b.Used {
			free = append(free, span{uint64(b.Addr), b.Size})
		}
	}
	if !slices.Equal(free, w.free) {
		t.Fatalf("free blocks %v, want %v", free, w.free)
	}
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
}

// plain is a heap written down as its description has it.
type plain interface {
	malloc(size uint64) (addr uint64, ok bool)
	release(addr uint64)
}

// compareAddresses runs a random program on both heaps and compares addresses
// and steps after every call.
func compareAddresses(t *rapid.T, h heapmodel.Heap, w plain, steps *uint64) {
	type object struct {
		ref  heapmodel.Ref
		addr uint64
	}
	var live []object
	least := rapid.SampledFrom([]int{1, 100, 400}).Draw(t, "least")
	for _, step := range rapid.SliceOfN(rapid.Uint32(), least, -1).Draw(t, "steps") {
		if step%5 < 2 && len(live) > 0 {
			at := int(step>>3) % len(live)
			w.release(live[at].addr)
			h.Free(live[at].ref)
			live = slices.Delete(live, at, at+1)
		} else {
			size := uint64(1 + step>>3%200)
			addr, fits := w.malloc(size)
			r, ok := h.Alloc(size, 0)
			if ok != fits || ok && uint64(h.Addr(r)) != addr {
				t.Fatalf("%d bytes: placed %v at %d, want %v at %d", size, ok, h.Addr(r), fits, addr)
			}
			if ok {
				live = append(live, object{r, addr})
			}
		}
		if got := h.Usage().Steps; got != *steps {
			t.Fatalf("steps: got %d, want %d", got, *steps)
		}
	}
}

// TestCheckFindsDamage sees to it that Check is no formality.
func TestCheckFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(h *firstFit){
		"used block marked free":  func(h *firstFit) { h.t.SetFree(h.heads[0]) },
		"free block marked used":  func(h *firstFit) { h.t.SetUsed(h.t.Next(h.heads[0])) },
		"boundary moved":          func(h *firstFit) { h.t.Nodes[h.t.Next(h.heads[0])].Start++ },
		"free block not in index": func(h *firstFit) { h.free.Remove(h.free.First()) },
		"free bytes":              func(h *firstFit) { h.use.Free += 8; h.use.Allocated -= 8 },
		"free blocks":             func(h *firstFit) { h.use.FreeBlocks++ },
		"used blocks":             func(h *firstFit) { h.use.UsedBlocks-- },
		"overhead":                func(h *firstFit) { h.use.Overhead++ },
		"least free bytes ever":   func(h *firstFit) { h.minFree = h.use.Free + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, "freertos-heap4").(*firstFit)
			var refs []heapmodel.Ref
			for range 4 {
				r, _ := h.Alloc(40, 0)
				refs = append(refs, r)
			}
			h.Free(refs[1])
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			harm(h)
			if h.Check() == nil {
				t.Error("Check found nothing")
			}
		})
	}
}

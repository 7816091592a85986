package freertos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"pgregory.net/rapid"
)

func TestHeap2Golden(t *testing.T)  { modeltest.Golden(t, Heap2) }
func TestHeap2MinHeap(t *testing.T) { modeltest.MinHeap(t, Heap2) }
func TestHeap2Conform(t *testing.T) { modeltest.Run(t, Heap2) }
func FuzzHeap2(f *testing.F)        { modeltest.Fuzz(f, Heap2) }
func BenchmarkHeap2(b *testing.B)   { modeltest.Bench(b, Heap2) }

func TestHeap2ReportsWhatTheOriginalReported(t *testing.T) {
	checkSummaries(t, "heap2", [][2]string{
		{"freertos-heap2:capacity=32KiB,ptr=32", "32k-m32"},
		{"freertos-heap2:capacity=64KiB,ptr=32", "64k-m32"},
		{"freertos-heap2:capacity=64KiB,ptr=64", "64k-m64"},
		{"freertos-heap2:capacity=64KiB,ptr=32,version=10.4.4", "v10.4.4-64k-m32"},
		{"freertos-heap2:capacity=64KiB,ptr=32,version=10.6.2", "v10.6.2-64k-m32"},
	})
}

func TestHeap2Configs(t *testing.T) {
	for _, c := range []struct {
		spec       string
		free, over uint64
		err        string
	}{
		{"freertos-heap2", 65528, 8, ""},
		{"freertos-heap2:ptr=64", 65528, 8, ""},
		{"freertos-heap2:capacity=65535", 65520, 15, ""},
		{"freertos-heap2:version=10.4.5", 65528, 8, ""},
		{"freertos-heap2:capacity=24", 16, 8, ""},
		{"freertos-heap2:capacity=32,ptr=64", 24, 8, ""},
		{"freertos-heap2:capacity=23", 0, 0, "capacity=23: the least that holds an object is 24 bytes"},
		{"freertos-heap2:capacity=31,ptr=64", 0, 0, "capacity=31: the least that holds an object is 32 bytes"},
		{"freertos-heap2:capacity=2GiB", 0, 0, "the most is 2147483647 bytes"},
		{"freertos-heap2:capacity=32GiB,ptr=64", 0, 0, "the most is 34359738360 bytes"},
		{"freertos-heap2:version=9.9.9", 0, 0, "version=9.9.9 is not modelled"},
	} {
		h, err := parse(t, c.spec).New()
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want one with %q", c.spec, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if u := h.Usage(); u.Free != c.free || u.Overhead != c.over || native(h)["free_bytes"] != c.free {
			t.Errorf("%s: %d bytes free, %d overhead, want %d and %d", c.spec, u.Free, u.Overhead, c.free, c.over)
		}
	}
}

func TestHeap2Splits(t *testing.T) {
	for _, c := range []struct {
		spec string
		size uint64
		want string
	}{
		{"freertos-heap2:capacity=128", 96, "0+120"}, // two headers would remain
		{"freertos-heap2:capacity=128", 88, "0+96 96-24"},
		{"freertos-heap2:capacity=128,ptr=64", 72, "0+120"},
		{"freertos-heap2:capacity=128,ptr=64", 64, "0+80 80-40"},
		{"freertos-heap2:capacity=128", 8, "0+16 16-104"},
		{"freertos-heap2:capacity=128,version=10.6.2", 8, "0+24 24-96"},
		{"freertos-heap2:capacity=128,version=10.6.2", 9, "0+24 24-96"},
		{"freertos-heap2:capacity=128,version=10.4.6", 8, "0+24 24-96"},
		{"freertos-heap2:capacity=128,version=10.4.5", 8, "8+24 32-96"},
		{"freertos-heap2:capacity=128,version=11.0.0", 8, "0+16 16-104"},
	} {
		h := open(t, c.spec)
		if _, ok := h.Alloc(c.size, 0); !ok || layout(h) != c.want {
			t.Errorf("%s: %d bytes: blocks %s, want %s", c.spec, c.size, layout(h), c.want)
		}
	}
}

func TestHeap2RefusesHugeRequests(t *testing.T) {
	for _, spec := range []string{"freertos-heap2", "freertos-heap2:ptr=64", "freertos-heap2:version=10.4.4"} {
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

// sizeWalker is heap_2 as its description has it: a list in order of size,
// walked from its head by every call.
type sizeWalker struct {
	header  uint64
	overpad bool
	free    []span // by size, the youngest first among equals
	used    map[uint64]uint64
	bytes   uint64 // free
	steps   uint64
}

func (w *sizeWalker) insert(s span) {
	i := 0
	for i < len(w.free) && w.free[i].size < s.size {
		w.steps++
		i++
	}
	w.free = slices.Insert(w.free, i, s)
}

func (w *sizeWalker) malloc(size uint64) (addr uint64, ok bool) {
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
		w.free = slices.Delete(w.free, i, i+1)
		if s.size-want > 2*w.header {
			w.insert(span{s.start + want, s.size - want})
			s.size = want
		}
		w.used[s.start+w.header] = s.size
		w.bytes -= s.size
		return s.start + w.header, true
	}
	return 0, false
}

func (w *sizeWalker) release(addr uint64) {
	s := span{addr - w.header, w.used[addr]}
	delete(w.used, addr)
	w.bytes += s.size
	w.insert(s)
}

// TestHeap2IsAWalkedList compares addresses, steps and the list itself with
// those of a plain list, also when keys run out.
func TestHeap2IsAWalkedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ptr := rapid.SampledFrom([]uint64{32, 64}).Draw(t, "ptr")
		version := rapid.SampledFrom([]string{"10.4.4", "10.6.2", "11.1.0"}).Draw(t, "version")
		capacity := rapid.Uint64Range(40, 6000).Draw(t, "capacity")
		h := open(t, fmt.Sprintf("freertos-heap2:capacity=%d,ptr=%d,version=%s", capacity, ptr, version)).(*bestFit)
		w := &sizeWalker{header: ptr / 4, overpad: version != "11.1.0", used: map[uint64]uint64{}}
		w.bytes = capacity/8*8 - 8
		w.free = []span{{0, w.bytes}}
		if version == "10.4.4" {
			w.free[0].start = 8
		}
		if short := rapid.Uint32Range(0, 60).Draw(t, "keys"); short > 0 {
			h.free.Rekey(short) // as after very many insertions
			h.key = short
		}
		compareAddresses(t, h, w, &w.steps)
		var list []span
		for p := h.free.First(); p != 0; p = h.free.Next(p) {
			id, size := h.free.At(p)
			list = append(list, span{uint64(h.t.Nodes[id].Start) * 8, uint64(size) * 8})
		}
		if !slices.Equal(list, w.free) {
			t.Fatalf("list %v, want %v", list, w.free)
		}
		if err := h.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestHeap2CheckFindsDamage sees to it that Check is no formality.
func TestHeap2CheckFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(h *bestFit){
		"used block marked free":  func(h *bestFit) { h.t.SetFree(h.head) },
		"free block marked used":  func(h *bestFit) { h.t.SetUsed(h.t.Next(h.head)) },
		"boundary moved":          func(h *bestFit) { h.t.Nodes[h.t.Next(h.head)].Start++ },
		"free block not in index": func(h *bestFit) { h.free.Remove(h.free.First()) },
		"free bytes":              func(h *bestFit) { h.use.Free += 8; h.use.Allocated -= 8 },
		"free blocks":             func(h *bestFit) { h.use.FreeBlocks++ },
		"used blocks":             func(h *bestFit) { h.use.UsedBlocks-- },
		"overhead":                func(h *bestFit) { h.use.Overhead++ },
		"key used twice":          func(h *bestFit) { h.key += 2 },
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, "freertos-heap2").(*bestFit)
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

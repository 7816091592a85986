package freertos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"pgregory.net/rapid"
)

func TestHeap5Golden(t *testing.T)  { modeltest.Golden(t, Heap5) }
func TestHeap5MinHeap(t *testing.T) { modeltest.MinHeap(t, Heap5) }
func TestHeap5Conform(t *testing.T) { modeltest.Run(t, Heap5) }
func FuzzHeap5(f *testing.F)        { modeltest.Fuzz(f, Heap5) }
func BenchmarkHeap5(b *testing.B)   { modeltest.Bench(b, Heap5) }

func TestHeap5ReportsWhatTheOriginalReported(t *testing.T) {
	checkSummaries(t, "heap5", [][2]string{
		{"freertos-heap5:regions=24576@0+40960@32768,ptr=32", "2reg-m32"},
		{"freertos-heap5:regions=24576@0+40960@32768,ptr=64", "2reg-m64"},
		{"freertos-heap5:regions=12288@0+20480@16384,ptr=32", "2reg32k-m32"},
		{"freertos-heap5:regions=16380@4+20476@20484+28672@45056,ptr=32", "3reg-m32"},
		{"freertos-heap5:regions=16380@4+20476@20484+28672@45056,ptr=64", "3reg-m64"},
		{"freertos-heap5:regions=24576@0+40960@32768,ptr=32,version=10.5.1", "v10.5.1-2reg-m32"},
	})
}

// TestHeap5EmptyHeap wants figures before the first malloc, as the original's
// regions are set up before it.
func TestHeap5EmptyHeap(t *testing.T) {
	for _, c := range []struct {
		spec                      string
		free, over, largest, list uint64
	}{
		{"freertos-heap5", 65528, 8, 65528, 1},
		{"freertos-heap5:regions=24576@0+40960@32768", 65520, 16, 40952, 3},
		{"freertos-heap5:regions=24576@0+40960@32768,ptr=64", 65504, 32, 40944, 3},
		{"freertos-heap5:regions=16380@4+20476@20484+28672@45056", 65496, 32, 28664, 5},
		{"freertos-heap5:regions=16380@4+20476@20484+28672@45056,ptr=64", 65472, 56, 28656, 5},
		{"freertos-heap5:regions=64@0+64@64", 112, 16, 56, 3}, // they touch and stay two
		{"freertos-heap5:regions=64@34359738000,ptr=64", 48, 16, 48, 1},
	} {
		h := open(t, c.spec)
		if u := h.Usage(); u.Free != c.free || u.Overhead != c.over || h.LargestFree() != c.largest {
			t.Errorf("%s: %d bytes free, %d overhead, largest %d, want %d, %d, %d", c.spec, u.Free, u.Overhead, h.LargestFree(), c.free, c.over, c.largest)
		}
		if got := native(h); got["free_bytes"] != c.free || got["min_ever_free_bytes"] != c.free || got["free_blocks"] != c.list || got["smallest_free_bytes"] == 0 {
			t.Errorf("%s: figures %v, want %d bytes free and %d free blocks", c.spec, got, c.free, c.list)
		}
	}
}

func TestHeap5BadConfigs(t *testing.T) {
	for spec, want := range map[string]string{
		"freertos-heap5:regions=23@0":                         "region 23@0: the least that holds an object is 24 bytes",
		"freertos-heap5:regions=64@0+27@68":                   "region 27@68: the least that holds an object is 28 bytes",
		"freertos-heap5:regions=39@0,ptr=64":                  "region 39@0: the least that holds an object is 40 bytes",
		"freertos-heap5:regions=2GiB@0":                       "the most is 2147483647 bytes",
		"freertos-heap5:regions=64@4294967240":                "ends above 4GiB, where ptr=32 does not reach",
		"freertos-heap5:regions=64@0xffffffffffffff00,ptr=64": "the most is",
		"freertos-heap5:regions=7@0xfffffffffffffff8,ptr=64":  "the least",
		"freertos-heap5:version=9.0.0":                        "version=9.0.0 is not modelled, the first is 10.0.0",
	} {
		if _, err := parse(t, spec).New(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}

// TestHeap5Markers follows the marker between two regions of 56 bytes, whose
// blocks are a, b, c in the first and d in the second.
func TestHeap5Markers(t *testing.T) {
	for _, c := range []struct {
		name  string
		frees string
		want  string
		list  uint64 // entries, the rest of the second region included
		steps uint64
	}{
		// A walk to a place counts the entries before it, a merge one.
		{"stays", "b", "0+16 16-16 32+24 64+16 80-40", 3, 0},
		{"taken in", "c", "0+16 16+16 32-24 64+16 80-40", 2, 1},
		{"taken in by a block merged below", "bc", "0+16 16-40 64+16 80-40", 2, 0 + 3}, // marker, merge, visit of b
		{"out of reach of a merge", "cb", "0+16 16-40 64+16 80-40", 2, 1 + 1},
		{"does not join regions", "cd", "0+16 16+16 32-24 64-56", 2, 1 + 2},
		{"in the way of a walk", "d", "0+16 16+16 32+24 64-56", 2, 1 + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, "freertos-heap5:regions=64@0+64@64")
			refs := map[rune]heapmodel.Ref{}
			for _, o := range []struct {
				name rune
				size uint64
			}{{'a', 8}, {'b', 8}, {'c', 16}, {'d', 8}} {
				r, ok := h.Alloc(o.size, 0)
				if !ok {
					t.Fatal("alloc fails")
				}
				refs[o.name] = r
			}
			before := h.Usage().Steps
			if before != 3+2 { // a, b, c at the first entry; d behind the marker
				t.Errorf("%d steps of malloc, want 5", before)
			}
			for _, name := range c.frees {
				h.Free(refs[name])
			}
			steps := h.Usage().Steps - before
			if got := layout(h); got != c.want || native(h)["free_blocks"] != c.list || steps != c.steps {
				t.Errorf("blocks %s, %d entries, %d steps; want %s, %d, %d", got, native(h)["free_blocks"], steps, c.want, c.list, c.steps)
			}
			if err := h.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHeap5IsAWalkedList compares addresses, steps and free blocks with those
// of a plain list that has the markers in it.
func TestHeap5IsAWalkedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ptr := rapid.SampledFrom([]uint64{32, 64}).Draw(t, "ptr")
		version := rapid.SampledFrom([]string{"10.4.6", "10.5.1", "11.1.0"}).Draw(t, "version")
		w := &walker{header: ptr / 4, overpad: version == "10.5.1", used: map[uint64]uint64{}}
		var regions []string
		addr := uint64(0)
		for range rapid.IntRange(1, 5).Draw(t, "regions") {
			addr += rapid.Uint64Range(0, 20).Draw(t, "gap")
			size := rapid.Uint64Range(48, 1500).Draw(t, "size")
			regions = append(regions, fmt.Sprintf("%d@%d", size, addr))
			start := (addr + 7) / 8 * 8
			addr += size
			mark := (addr - w.header) / 8 * 8
			w.free = append(w.free, span{start, mark - start}, span{mark, 0})
			w.bytes += mark - start
		}
		w.free = w.free[:len(w.free)-1] // the last marker is the end of the list
		h := open(t, fmt.Sprintf("freertos-heap5:regions=%s,ptr=%d,version=%s", strings.Join(regions, "+"), ptr, version))
		compareWithList(t, h, w)
	})
}

// TestHeap5CheckFindsDamage harms the markers in the index.
func TestHeap5CheckFindsDamage(t *testing.T) {
	for name, harm := range map[string]func(h *firstFit){
		"last marker listed": func(h *firstFit) {
			end := h.t.Next(h.heads[1])
			h.free.Insert(end, h.t.Nodes[end].Start, 0)
		},
		"block without a size listed": func(h *firstFit) {
			id, _ := h.free.At(h.free.First())
			h.free.Update(h.free.First(), id, h.t.Nodes[id].Start, 0)
		},
		"marker moved": func(h *firstFit) { h.t.Nodes[h.t.Next(h.heads[0])].Start-- },
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, "freertos-heap5:regions=64@0+64@64").(*firstFit)
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

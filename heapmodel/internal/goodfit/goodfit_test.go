package goodfit

import (
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// rules are those of TLSF with words of 4 bytes.
var rules = Rules{
	GranuleLog2: 2, ClassLog2: 5, Header: 4, Align: 4, Plain: 4, Outside: 1, Least: 4, Rest: 4,
	Levels: Linear, Limit: 1 << 28,
}

// TestClasses compares the classes with their definition: powers of two cut
// into equal ranges, or into single payloads where those would be fractions.
func TestClasses(t *testing.T) {
	for _, log2 := range []uint8{0, 3, 4, 5, 6} {
		for outside := range uint32(3) {
			t.Run(fmt.Sprintf("log2 %d outside %d", log2, outside), func(t *testing.T) {
				t.Parallel()
				h := new(Heap)
				r := rules
				r.ClassLog2, r.Outside = log2, outside
				h.Init(r, MostGranules)
				if h.heads > sets*64 {
					t.Fatalf("%d classes, the bitmap has %d bits", h.heads, sets*64)
				}
				checkClasses(t, h)
			})
		}
	}
}

func checkClasses(t *testing.T, h *Heap) {
	outside := h.rules.Outside
	payloads := []uint32{}
	for p := uint32(1); p < 5000; p++ {
		payloads = append(payloads, p)
	}
	for top := 12; top < 31; top++ {
		for _, part := range []uint32{0, 1, 2, 31, 32, 33, 63} {
			p := uint32(1)<<top + part<<(top-6)
			payloads = append(payloads, p-1, p, p+1)
		}
	}
	for _, p := range payloads {
		floor, ceil := h.floorClass(p+outside), h.ceilClass(p+outside)
		least, next := h.payloadOf(floor), h.payloadOf(floor+1)
		if p < least || p >= next {
			t.Fatalf("payload %d is in class %d, of %d to %d", p, floor, least, next-1)
		}
		want := floor
		if p > least {
			want++
		}
		if ceil != want {
			t.Fatalf("payload %d: the first class that holds it is %d, got %d", p, want, ceil)
		}
		width := uint32(1) << (bits.Len32(p) - 1) >> h.rules.ClassLog2
		if next-least != max(width, 1) {
			t.Fatalf("payload %d: its class has %d payloads, want %d", p, next-least, max(width, 1))
		}
		if head := h.T.Nodes[floor]; head.Start != least {
			t.Fatalf("class %d: its head says %d, want %d", floor, head.Start, least)
		}
		if want := uint64(h.payloadOf(ceil)+outside) << h.shift; h.Need(uint64(p+outside)) != want {
			t.Fatalf("payload %d needs %d bytes, want %d", p, h.Need(uint64(p+outside)), want)
		}
	}
}

// region returns a heap of one region, of 1000 granules from granule 10 on.
func region(t *testing.T) *Heap {
	t.Helper()
	h := new(Heap)
	h.Init(rules, 1000)
	h.Add(10, 1000, 4100)
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
	return h
}

func alloc(t *testing.T, h *Heap, size uint64) heapmodel.Ref {
	t.Helper()
	r, ok := h.Alloc(size, 0)
	if !ok {
		t.Fatalf("alloc of %d bytes fails", size)
	}
	return r
}

func TestRegionsDoNotMerge(t *testing.T) {
	h := region(t)
	h.Add(1011, 500, 2004)
	a := alloc(t, h, 3968) // the highest class of the first
	b := alloc(t, h, 1900)
	h.Free(b)
	h.Free(a)
	var got []string
	for b := range h.Blocks() {
		got = append(got, fmt.Sprintf("%d-%d wall %t", b.Addr, b.Size, b.Wall))
	}
	if want := "40-4000 wall true, 4044-2000 wall true"; strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := heapmodel.Usage{Arena: 6104, HighWater: 4044 + 1904, Free: 6000, Overhead: 104, FreeBlocks: 2, Steps: h.Use.Steps}
	if *h.Usage() != want {
		t.Errorf("counters %+v, want %+v", *h.Usage(), want)
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	for _, c := range []struct {
		name, want string
		damage     func(h *Heap, used, free blocks.ID)
	}{
		{"none", "", func(*Heap, blocks.ID, blocks.ID) {}},
		{"bytes", "counters", func(h *Heap, _, _ blocks.ID) { h.Use.Free += 4; h.Use.Allocated -= 4 }},
		{"count", "counters", func(h *Heap, _, _ blocks.ID) { h.Use.UsedBlocks++ }},
		{"lost record", "records in use", func(h *Heap, _, _ blocks.ID) { h.T.Take() }},
		{"high-water mark", "high-water mark", func(h *Heap, _, _ blocks.ID) { h.Use.HighWater = 40 }},
		{"peak", "at most 8 ever were", func(h *Heap, _, _ blocks.ID) { h.Peak = 8 }},
		{"free neighbours", "free lower neighbour", func(h *Heap, used, _ blocks.ID) { h.T.SetFree(used) }},
		{"lower neighbour", "lower neighbour is record", func(h *Heap, used, _ blocks.ID) { h.T.Nodes[used].Low = blocks.UsedBit }},
		{"order", "ends at granule", func(h *Heap, used, _ blocks.ID) { h.T.Nodes[used].Start = 5000 }},
		{"loop", "ends at granule", func(h *Heap, used, _ blocks.ID) { h.T.Nodes[used].High = used }},
		{"end", "end at granule 1010 is not marked used", func(h *Heap, _, _ blocks.ID) {
			for id := h.firsts[0]; ; id = h.T.Next(id) {
				if h.T.Next(id) == blocks.None {
					h.T.SetFree(id)
					return
				}
			}
		}},
		{"object", "its object is 5000 bytes from its start", func(h *Heap, used, _ blocks.ID) { h.T.Nodes[used].Y = 5000 }},
		{"bit", "its bit is false", func(h *Heap, _, free blocks.ID) { h.filled[h.floorClass(h.T.Size(free))/64] = 0 }},
		{"bit of no class", "there are", func(h *Heap, _, _ blocks.ID) { h.filled[sets-1] = 1 }},
		{"links", "its links disagree", func(h *Heap, _, free blocks.ID) { h.T.Nodes[free].Y++ }},
		{"class", "it has the block at granule", func(h *Heap, _, free blocks.ID) {
			n := h.T.Nodes[free]
			h.unlink(h.T.Nodes, n.X, n.Y)
			h.insert(h.T.Nodes, free, 40)
		}},
		{"no bin", "are in no bin", func(h *Heap, _, free blocks.ID) {
			n := h.T.Nodes[free]
			h.unlink(h.T.Nodes, n.X, n.Y)
		}},
		{"last", "the head says", func(h *Heap, _, free blocks.ID) { h.T.Nodes[h.T.Nodes[free].X].Y = h.heads + 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := region(t)
			free, used := alloc(t, h, 100), alloc(t, h, 200)
			alloc(t, h, 300)
			h.Free(free)
			c.damage(h, blocks.ID(used), blocks.ID(free))
			err := h.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestLargestFreeLooksThroughTheHighestClass(t *testing.T) {
	h := new(Heap)
	h.Init(rules, 100000)
	h.Add(0, 100000, 400000)
	var refs []heapmodel.Ref
	// 1024 to 1052 bytes are one class of payloads, 2048 to 2104 another.
	for _, size := range []uint64{1024, 1052, 1036} {
		refs = append(refs, alloc(t, h, size))
		alloc(t, h, 1)
	}
	for h.LargestFree() > 1024 {
		alloc(t, h, min(h.LargestFree()/64*62, 1<<16))
	}
	for i, want := range []uint64{1028, 1056, 1056} {
		h.Free(refs[i])
		if got := h.LargestFree(); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

package talc_test

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/talc"
	"pgregory.net/rapid"
)

// chunk is a chunk of the naive heap, in bytes.
type chunk struct {
	start, size uint64
	used        bool
}

func (c *chunk) end() uint64 { return c.start + c.size }

// naive is talc as its description has it: chunks in address order, bins as
// slices that begin with the newest gap. It counts steps while it walks.
// Methods that a replay does not call are missing.
type naive struct {
	heapmodel.Heap
	word, divisions uint64
	chunks          []*chunk
	bins            [][]*chunk
	objects         []*chunk
	use             heapmodel.Usage
}

func newNaive(capacity, word uint64) *naive {
	h := &naive{word: word, divisions: word}
	h.bins = make([][]*chunk, 24*word-1)
	unit := 4 * word
	start := roundUp(word*uint64(len(h.bins))+word, unit)
	h.chunks = []*chunk{{start: start, size: capacity/unit*unit - start}}
	h.push(h.chunks[0])
	return h
}

func roundUp(n, unit uint64) uint64 { return (n + unit - 1) / unit * unit }

// bin returns the bin of a size as if there was no last one.
func (h *naive) bin(z uint64) int {
	unit := 4 * h.word
	x := unit * h.divisions * 4
	if z <= x {
		return int(z / unit)
	}
	l, d := bits.Len64(z)-1, bits.Len64(h.divisions)-1
	return (l-(bits.Len64(x)-1)+3)<<d + int(z>>(l-d))
}

func (h *naive) stored(z uint64) int { return min(h.bin(z), len(h.bins)-1) }

func (h *naive) push(c *chunk) {
	c.used = false
	b := h.stored(c.size)
	h.bins[b] = slices.Insert(h.bins[b], 0, c)
}

func (h *naive) remove(c *chunk) {
	b := h.stored(c.size)
	i := slices.Index(h.bins[b], c)
	h.bins[b] = slices.Delete(h.bins[b], i, i+1)
}

func (h *naive) need(n uint64) uint64 { return roundUp(n+h.word, 4*h.word) }

// filled counts a look and returns the lowest filled bin from one on, -1 if
// there is none.
func (h *naive) filled(from int) int {
	h.use.Steps++
	for b := from; b < len(h.bins); b++ {
		if len(h.bins[b]) > 0 {
			return b
		}
	}
	return -1
}

func (h *naive) scan(b int, k, align uint64) *chunk {
	for _, c := range h.bins[b] {
		h.use.Steps++
		if roundUp(c.start, align)+k <= c.end() {
			return c
		}
	}
	return nil
}

func (h *naive) search(k, align uint64) *chunk {
	b := h.bin(max(k, align)-1) + 1
	if b >= len(h.bins)-1 {
		return h.scan(len(h.bins)-1, k, align)
	}
	c := h.filled(b)
	if align <= 4*h.word && c >= 0 {
		return h.bins[c][0]
	}
	for c >= 0 {
		if g := h.scan(c, k, align); g != nil {
			return g
		}
		c = h.filled(c + 1)
	}
	return h.scan(b-1, k, align)
}

// split cuts a chunk; neither part is in a bin.
func (h *naive) split(c *chunk, size uint64) *chunk {
	rest := &chunk{start: c.start + size, size: c.size - size}
	c.size = size
	h.chunks = slices.Insert(h.chunks, slices.Index(h.chunks, c)+1, rest)
	return rest
}

func (h *naive) absorb(c, next *chunk) {
	h.use.Steps++
	c.size += next.size
	i := slices.Index(h.chunks, next)
	h.chunks = slices.Delete(h.chunks, i, i+1)
}

// gapAbove returns the gap above a chunk, nil if there is none.
func (h *naive) gapAbove(c *chunk) *chunk {
	if i := slices.Index(h.chunks, c) + 1; i < len(h.chunks) && !h.chunks[i].used {
		return h.chunks[i]
	}
	return nil
}

func (h *naive) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size >= 1<<60 {
		// Only the last bin is asked, and has nothing like it.
		h.use.Steps += uint64(len(h.bins[len(h.bins)-1]))
		return heapmodel.NullRef, false
	}
	k, a := h.need(size), max(uint64(align), h.word)
	c := h.search(k, a)
	if c == nil {
		return heapmodel.NullRef, false
	}
	h.remove(c)
	if front := roundUp(c.start, max(a, 4*h.word)) - c.start; front > 0 {
		up := h.split(c, front)
		h.push(c)
		c = up
	}
	if c.size > k {
		h.push(h.split(c, k))
	}
	c.used = true
	h.objects = append(h.objects, c)
	return heapmodel.Ref(len(h.objects) - 1), true
}

func (h *naive) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	c := h.objects[r]
	if i := slices.Index(h.chunks, c); i > 0 && !h.chunks[i-1].used {
		low := h.chunks[i-1]
		h.remove(low)
		h.absorb(low, c)
		c = low
	}
	if high := h.gapAbove(c); high != nil {
		h.remove(high)
		h.absorb(c, high)
	}
	h.push(c)
}

func (h *naive) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	c, k := h.objects[r], h.need(min(size, 1<<60))
	high := h.gapAbove(c)
	switch {
	case k == c.size:
		return r, true
	case k < c.size:
		tail := h.split(c, k)
		if high != nil {
			h.remove(high)
			h.absorb(tail, high)
		}
		h.push(tail)
		return r, true
	case high != nil && c.size+high.size >= k:
		h.remove(high)
		h.absorb(c, high)
		if c.size > k {
			h.push(h.split(c, k))
		}
		return r, true
	}
	s, ok := h.Alloc(size, align)
	if !ok {
		return r, false
	}
	h.Free(r)
	return s, true
}

func (h *naive) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.objects[r].start)
}

func (h *naive) Usage() *heapmodel.Usage { return &h.use }

// oracles names heaps and how to make the naive ones.
var oracles = []struct {
	spec  string
	naive func() heapmodel.Heap
}{
	{"talc:capacity=40001,ptr=32", func() heapmodel.Heap { return newNaive(40001, 4) }},
	{"talc:capacity=50000,ptr=64", func() heapmodel.Heap { return newNaive(50000, 8) }},
	{"talc:capacity=3000,ptr=32", func() heapmodel.Heap { return newNaive(3000, 4) }},
	{"talc:capacity=1GiB,ptr=32", func() heapmodel.Heap { return newNaive(1<<30, 4) }},
}

func TestOracleTraces(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			oracle.TracesSteps(t, talc.Model, o.spec, o.naive)
		})
	}
}

func TestOracleRandom(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			oracle.RandomSteps(t, talc.Model, o.spec, o.naive, oracle.MixedSizes(rapid.Uint64Range(100<<20, 600<<20)))
		})
	}
}

// longBins is a trace of a heap that is full but for many gaps of a few bins,
// among which plain and aligned requests have to search.
func longBins(seed uint64, sizes, wants []uint64, aligns []uint32) *modeltest.Trace {
	rng := rand.New(rand.NewPCG(seed, 1))
	tr := &modeltest.Trace{Name: fmt.Sprintf("long bins, seed %d", seed)}
	var live []uint32
	alloc := func(size uint64, align uint32) {
		tr.Ops = append(tr.Ops, modeltest.Op{Kind: modeltest.Alloc, ID: tr.Objects, Size: size, Align: align})
		live = append(live, tr.Objects)
		tr.Objects++
	}
	free := func(i int) {
		tr.Ops = append(tr.Ops, modeltest.Op{Kind: modeltest.Free, ID: live[i]})
		live = slices.Delete(live, i, i+1)
	}
	for range 2000 {
		alloc(sizes[rng.IntN(len(sizes))], 0)
	}
	for i := 1; i < len(live); i++ {
		free(i)
	}
	for range 4000 {
		switch rng.IntN(5) {
		case 0:
			free(rng.IntN(len(live)))
		case 1:
			alloc(sizes[rng.IntN(len(sizes))], 0)
		case 2:
			alloc(wants[rng.IntN(len(wants))], 0)
		case 3:
			alloc(wants[rng.IntN(len(wants))], aligns[rng.IntN(len(aligns))])
		default:
			i := rng.IntN(len(live))
			tr.Ops = append(tr.Ops, modeltest.Op{Kind: modeltest.Realloc, ID: live[i], Size: wants[rng.IntN(len(wants))]})
		}
	}
	return tr
}

// TestOracleLongBins makes bins so long that scans go through indexes.
func TestOracleLongBins(t *testing.T) {
	for _, c := range []struct {
		name, spec   string
		naive        func() heapmodel.Heap
		sizes, wants []uint64
		aligns       []uint32
	}{
		{"exact bins", "talc:capacity=36000,ptr=32", func() heapmodel.Heap { return newNaive(36000, 4) }, []uint64{12, 12, 12, 12, 12, 28}, []uint64{18, 20, 24}, []uint32{32, 64}},
		{"coarse bins", "talc:capacity=700000,ptr=32", func() heapmodel.Heap { return newNaive(700000, 4) }, []uint64{330, 340, 350, 360}, []uint64{345, 360, 364}, []uint32{32, 64, 128, 256, 4096}},
		{"64 bits", "talc:capacity=2900000,ptr=64", func() heapmodel.Heap { return newNaive(2900000, 8) }, []uint64{1300, 1350, 1400, 1430}, []uint64{1340, 1400, 1440}, []uint32{64, 1024, 2048}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				h := oracle.Open(t, talc.Model, c.spec)
				most, calls := 0, 0
				err := oracle.SameSteps(h, c.naive(), longBins(seed, c.sizes, c.wants, c.aligns), func() {
					most = max(most, talc.Scanned(h))
					if calls++; calls%64 == 0 {
						if err := h.Check(); err != nil {
							t.Fatal(err)
						}
					}
					if calls%1000 == 0 {
						talc.AgeIndexes(h)
					}
				})
				if err != nil {
					t.Error(err)
				}
				if most == 0 {
					t.Error("no scan was long enough for an index")
				}
				t.Logf("seed %d: up to %d indexes, %d at the end", seed, most, talc.Scanned(h))
			}
		})
	}
}

package zephyr_test

import (
	"math/bits"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/zephyr"
)

// chunk is a chunk of the naive heap, in units.
type chunk struct {
	start, length, payload uint64 // payload in bytes
	used                   bool
}

// naive is sys_heap as its description has it: chunks in address order, and
// rings as slices that begin with the cursor's chunk. It counts steps while it
// walks. Methods that a replay does not call are missing.
type naive struct {
	heapmodel.Heap
	header, least uint64
	end           uint64
	loops         int
	chunks        []*chunk
	rings         [32][]*chunk
	objects       []*chunk // by Ref
	use           heapmodel.Usage
}

// newNaive makes a heap of the capacity that probes so many chunks; bucket and
// extra are the bytes of a bucket and of statistics in the control structure.
func newNaive(loops int, capacity, header, bucket, extra uint64) *naive {
	h := &naive{header: header, least: header / 4, end: (capacity - header) / 8, loops: loops}
	control := (16 + bucket*uint64(h.bucket(h.end)+1) + extra + 7) / 8
	h.chunks = []*chunk{{start: control, length: h.end - control}}
	h.insert(h.chunks[0])
	return h
}

func (h *naive) bucket(units uint64) int { return bits.Len64(units-h.least+1) - 1 }

func (h *naive) insert(c *chunk) {
	c.used = false
	if c.length >= h.least {
		b := h.bucket(c.length)
		h.rings[b] = append(h.rings[b], c)
	}
}

func (h *naive) unlink(c *chunk) {
	if c.length < h.least {
		return
	}
	b := h.bucket(c.length)
	i := slices.Index(h.rings[b], c)
	h.rings[b] = slices.Concat(h.rings[b][i+1:], h.rings[b][:i])
}

// split cuts a chunk and inserts neither part.
func (h *naive) split(c *chunk, units uint64) *chunk {
	rest := &chunk{start: c.start + units, length: c.length - units}
	c.length = units
	h.chunks = slices.Insert(h.chunks, slices.Index(h.chunks, c)+1, rest)
	return rest
}

// merge joins a chunk with the one above it.
func (h *naive) merge(c *chunk) {
	i := slices.Index(h.chunks, c)
	c.length += h.chunks[i+1].length
	h.chunks = slices.Delete(h.chunks, i+1, i+2)
	h.use.Steps++
}

func (h *naive) search(units uint64) *chunk {
	b := h.bucket(units)
	for range min(h.loops, len(h.rings[b])) {
		h.use.Steps++
		c := h.rings[b][0]
		if c.length >= units {
			h.unlink(c)
			return c
		}
		h.rings[b] = append(h.rings[b][1:], c)
	}
	h.use.Steps++
	for b++; b < len(h.rings); b++ {
		if len(h.rings[b]) > 0 {
			c := h.rings[b][0]
			h.unlink(c)
			return c
		}
	}
	return nil
}

func (h *naive) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	aligned := uint64(align) > h.header
	bytes := size + h.header
	if aligned {
		bytes = size + uint64(align)
	}
	units := min((bytes+7)/8, h.end)
	c := h.search(units)
	if c == nil {
		return heapmodel.NullRef, false
	}
	c.payload = 8*c.start + h.header
	if aligned {
		a := uint64(align)
		payload := (c.payload + a - 1) / a * a
		if front := (payload-h.header)/8 - c.start; front > 0 {
			up := h.split(c, front)
			h.insert(c)
			c = up
		}
		c.payload = payload
		units = (payload+size+7)/8 - c.start
	}
	if c.length > units {
		h.insert(h.split(c, units))
	}
	c.used = true
	h.objects = append(h.objects, c)
	return heapmodel.Ref(len(h.objects) - 1), true
}

func (h *naive) Free(r heapmodel.Ref) {
	if r != heapmodel.NullRef {
		h.release(h.objects[r])
	}
}

func (h *naive) release(c *chunk) {
	i := slices.Index(h.chunks, c)
	if i+1 < len(h.chunks) && !h.chunks[i+1].used {
		h.unlink(h.chunks[i+1])
		h.merge(c)
	}
	if i > 0 && !h.chunks[i-1].used {
		low := h.chunks[i-1]
		h.unlink(low)
		h.merge(low)
		c = low
	}
	h.insert(c)
}

func (h *naive) Realloc(r heapmodel.Ref, size uint64, _ uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, 0)
	}
	if size == 0 {
		h.Free(r)
		return heapmodel.NullRef, true
	}
	c := h.objects[r]
	units := (size + c.payload - 8*c.start + 7) / 8
	i := slices.Index(h.chunks, c)
	switch {
	case units == c.length:
		return r, true
	case units < c.length:
		h.release(h.split(c, units))
		return r, true
	case i+1 < len(h.chunks) && !h.chunks[i+1].used && c.length+h.chunks[i+1].length >= units:
		h.unlink(h.chunks[i+1])
		h.merge(c)
		if c.length > units {
			h.insert(h.split(c, units))
		}
		return r, true
	}
	s, ok := h.Alloc(size, 0)
	if !ok {
		return r, false
	}
	h.release(c)
	return s, true
}

func (h *naive) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.objects[r].payload)
}

func (h *naive) Usage() *heapmodel.Usage { return &h.use }

// oracles names heaps and how to make the naive ones.
var oracles = []struct {
	spec  string
	naive func() heapmodel.Heap
}{
	{"zephyr-sys-heap:capacity=64KiB,mode=small", func() heapmodel.Heap { return newNaive(3, 65536, 4, 4, 0) }},
	{"zephyr-sys-heap:capacity=33333,mode=small,stats=true", func() heapmodel.Heap { return newNaive(3, 33333, 4, 4, 12) }},
	{"zephyr-sys-heap:capacity=40004,mode=big", func() heapmodel.Heap { return newNaive(3, 40004, 8, 4, 0) }},
	{"zephyr-sys-heap:capacity=2000,ptr=64,version=2.5", func() heapmodel.Heap { return newNaive(3, 2000, 8, 8, 0) }},
	{"zephyr-sys-heap:capacity=700,mode=small", func() heapmodel.Heap { return newNaive(3, 700, 4, 4, 0) }},
	{"zephyr-sys-heap:capacity=16KiB,mode=small,loops=1", func() heapmodel.Heap { return newNaive(1, 16384, 4, 4, 0) }},
	{"zephyr-sys-heap:capacity=64KiB,mode=big,loops=20", func() heapmodel.Heap { return newNaive(20, 65536, 8, 4, 0) }},
}

func TestOracleTraces(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			oracle.TracesSteps(t, zephyr.Model, o.spec, o.naive)
		})
	}
}

func TestOracleRandom(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			oracle.RandomSteps(t, zephyr.Model, o.spec, o.naive, oracle.MixedSizes())
		})
	}
}

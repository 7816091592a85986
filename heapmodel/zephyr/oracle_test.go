package zephyr_test

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
	"github.com/fragprof/fragprof/heapmodel/zephyr"
	"pgregory.net/rapid"
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

// logged is a heap that keeps the number of steps after each call.
type logged struct {
	heapmodel.Heap
	steps []uint64
}

func (l *logged) note() { l.steps = append(l.steps, l.Usage().Steps) }

func (l *logged) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	defer l.note()
	return l.Heap.Alloc(size, align)
}

func (l *logged) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	defer l.note()
	return l.Heap.Realloc(r, size, align)
}

func (l *logged) Free(r heapmodel.Ref) {
	defer l.note()
	l.Heap.Free(r)
}

// compare replays a trace through the model and the naive heap, which have to
// agree in every address and, after every call, in the steps taken.
func compare(h, n heapmodel.Heap, tr *modeltest.Trace) error {
	got, want := &logged{Heap: h}, &logged{Heap: n}
	a := bytes.Split(modeltest.Answers(got, tr), []byte("\n"))
	b := bytes.Split(modeltest.Answers(want, tr), []byte("\n"))
	for i, o := range tr.Ops {
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Errorf("trace %s: line %d: %s: got %s, want %s", tr.Name, i+1, o, a[i], b[i])
		}
	}
	for i := range got.steps {
		if got.steps[i] != want.steps[i] {
			return fmt.Errorf("trace %s: call %d: %d steps so far, want %d", tr.Name, i+1, got.steps[i], want.steps[i])
		}
	}
	return nil
}

// oracles names heaps and how to make the naive ones.
var oracles = []struct {
	spec  string
	naive func() *naive
}{
	{"zephyr-sys-heap:capacity=64KiB,mode=small", func() *naive { return newNaive(3, 65536, 4, 4, 0) }},
	{"zephyr-sys-heap:capacity=33333,mode=small,stats=true", func() *naive { return newNaive(3, 33333, 4, 4, 12) }},
	{"zephyr-sys-heap:capacity=40004,mode=big", func() *naive { return newNaive(3, 40004, 8, 4, 0) }},
	{"zephyr-sys-heap:capacity=2000,ptr=64,version=2.5", func() *naive { return newNaive(3, 2000, 8, 8, 0) }},
	{"zephyr-sys-heap:capacity=700,mode=small", func() *naive { return newNaive(3, 700, 4, 4, 0) }},
	{"zephyr-sys-heap:capacity=16KiB,mode=small,loops=1", func() *naive { return newNaive(1, 16384, 4, 4, 0) }},
	{"zephyr-sys-heap:capacity=64KiB,mode=big,loops=20", func() *naive { return newNaive(20, 65536, 8, 4, 0) }},
}

func newHeap(t testing.TB, spec string) heapmodel.Heap {
	t.Helper()
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{zephyr.Model}, spec)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestOracleTraces(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			for _, name := range []string{"exhaust", "mixed", "realloc", "aligned", "wide", "fa1", "fa2", "fa5", "fn1"} {
				tr, err := modeltest.LoadTrace(name)
				if err != nil {
					t.Fatal(err)
				}
				if err := compare(newHeap(t, o.spec), o.naive(), tr); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestOracleRandom(t *testing.T) {
	for _, o := range oracles {
		t.Run(o.spec, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				tr := drawTrace(rt)
				if err := compare(newHeap(t, o.spec), o.naive(), tr); err != nil {
					rt.Fatalf("%v\n%s", err, tr)
				}
			})
		})
	}
}

// drawTrace draws a trace with many small objects, a few large ones and some
// that no heap holds.
func drawTrace(rt *rapid.T) *modeltest.Trace {
	small, medium, large := rapid.Uint64Range(0, 40), rapid.Uint64Range(1, 700), rapid.Uint64Range(500, 9000)
	size := rapid.OneOf(small, small, medium, large, rapid.Just(uint64(heapmodel.MaxSize)))
	log2 := rapid.OneOf(rapid.IntRange(0, 8), rapid.IntRange(0, 31))
	kind := rapid.SampledFrom([]modeltest.Kind{modeltest.Alloc, modeltest.Alloc, modeltest.Free, modeltest.Realloc})
	tr := &modeltest.Trace{Name: "random"}
	var live []uint32
	for range rapid.IntRange(1, 300).Draw(rt, "operations") {
		o := modeltest.Op{Kind: kind.Draw(rt, "kind")}
		if len(live) == 0 {
			o.Kind = modeltest.Alloc
		}
		if o.Kind == modeltest.Alloc {
			o.ID = tr.Objects
			tr.Objects++
			live = append(live, o.ID)
			if rapid.IntRange(0, 4).Draw(rt, "aligned") == 0 {
				o.Align = 1 << log2.Draw(rt, "align")
			}
		} else {
			i := rapid.IntRange(0, len(live)-1).Draw(rt, "object")
			o.ID = live[i]
			if o.Kind == modeltest.Free {
				live = slices.Delete(live, i, i+1)
			}
		}
		if o.Kind != modeltest.Free {
			o.Size = size.Draw(rt, "size")
		}
		tr.Ops = append(tr.Ops, o)
	}
	return tr
}

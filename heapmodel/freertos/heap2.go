package freertos

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Heap2 is the model of heap_2.
var Heap2 = &heapmodel.Model{
	Name:   "freertos-heap2",
	Family: "embedded",
	Title:  "FreeRTOS heap_2: best fit without coalescing",
	Doc: "Blocks have a header of two words, rounded up to 8 bytes. The smallest free block that is large enough, " +
		"the youngest of its size, is used from its low end and split if more than two headers would remain; else it is " +
		"used whole. Free blocks never merge: a boundary once cut stays. 8 bytes of the array are never used: the last " +
		"ones, or up to version 10.4.5 the first ones. Versions before 11.0.0 add 8 bytes to requests that are multiples " +
		"of 8. malloc(0) gives a null pointer. " +
		"A step is a free block visited by the search of malloc, or passed by the walk that puts a block on the list in " +
		"order of size: in free, and for what remains of a split in malloc. " +
		"Differs from upstream: a capacity that is no multiple of 8 is taken as the next lower one.",
	Source: source + ", heap_2.c",
	Params: []heapmodel.Param{paramCapacity, paramPtr, paramVersion},
	New:    newHeap2,
}

// bestFit is heap_2. The granule of its table is 8 bytes.
type bestFit struct {
	frame
	t    blocks.SlimTable
	free *fit.SlimIndex // by size, the youngest first among equals
	head blocks.ID      // the lowest block
	key  uint32         // of the youngest block on the list; they fall
	use  heapmodel.Usage
}

func newHeap2(c heapmodel.Config) (heapmodel.Heap, error) {
	f, err := newFrame(c, c.Before("version", 11, 0, 0))
	if err != nil {
		return nil, err
	}
	capacity := c.Bytes("capacity")
	least := 2*align + uint64(f.header)
	switch {
	case capacity < least:
		return nil, fmt.Errorf("capacity=%s: the least that holds an object is %d bytes", c.Text("capacity"), least)
	case capacity >= f.limit || capacity > reach:
		return nil, fmt.Errorf("capacity=%s: the most is %d bytes", c.Text("capacity"), min(f.limit-1, reach))
	}
	start, end := uint32(0), uint32(capacity>>alignLog2)-1
	if c.Before("version", 10, 4, 6) {
		start, end = 1, end+1
	}
	h := &bestFit{frame: f, key: 1<<32 - 1}
	h.free = fit.New(&h.t, fit.BySize)
	h.head = h.t.Region(start, end)
	h.free.Insert(h.head, h.newKey(), end-start)
	size := uint64(end-start) << alignLog2
	h.use = heapmodel.Usage{Arena: capacity, Free: size, Overhead: capacity - size, FreeBlocks: 1}
	return h, nil
}

// newKey returns the key of a block that goes on the list.
func (h *bestFit) newKey() uint32 {
	if h.key == 0 {
		// Once in four thousand million insertions.
		h.key = 1<<32 - 1 - uint32(h.free.Len())
		h.free.Rekey(h.key)
	}
	h.key--
	return h.key
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *bestFit) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	bytes := h.block(size)
	u := &h.use
	if bytes > u.Free {
		return heapmodel.NullRef, false // the original looks here first, too
	}
	want := uint32(bytes >> alignLog2)
	p := h.free.FirstFit(want)
	if p == fit.NoPos {
		u.Steps += u.FreeBlocks
		return heapmodel.NullRef, false
	}
	u.Steps += uint64(h.free.Rank(p)) + 1
	id, room := h.free.At(p)
	if room-want > 2*h.header>>alignLog2 {
		// [id............] -> [id: want][rest]
		rest := h.t.Split(id, want)
		h.free.Update(p, rest, h.newKey(), room-want)
		u.Steps += uint64(h.free.Rank(h.free.Find(rest)))
	} else {
		h.free.Remove(p)
		u.FreeBlocks--
		bytes = uint64(room) << alignLog2
	}
	h.t.SetUsed(id)
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	u.HighWater = max(u.HighWater, uint64(h.t.Nodes[id].Start)<<alignLog2+bytes)
	return heapmodel.Ref(id), true
}

// Realloc implements heapmodel.Heap: FreeRTOS has none.
func (h *bestFit) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	return heapmodel.Move(h, r, size, align)
}

// Free implements heapmodel.Heap.
func (h *bestFit) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic("freertos: free of an object that is not live")
	}
	h.t.SetFree(id)
	size := h.t.Size(id)
	bytes := uint64(size) << alignLog2
	u := &h.use
	u.UsedBlocks--
	u.FreeBlocks++
	u.Allocated -= bytes
	u.Free += bytes
	u.Steps += uint64(h.free.Rank(h.free.Insert(id, h.newKey(), size)))
}

// Addr implements heapmodel.Heap.
func (h *bestFit) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(uint64(h.t.Nodes[r].Start)<<alignLog2 + uint64(h.header))
}

// Align implements heapmodel.Heap.
func (h *bestFit) Align() uint32 { return align }

// Need implements heapmodel.Heap.
func (h *bestFit) Need(size uint64, _ uint32) uint64 {
	if size == 0 {
		return 0
	}
	return h.block(size)
}

// Usage implements heapmodel.Heap.
func (h *bestFit) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *bestFit) LargestFree() uint64 { return uint64(h.free.Largest()) << alignLog2 }

// Native implements heapmodel.Native with what xPortGetFreeHeapSize reports;
// heap_2 keeps no other figure. Headers are included.
func (h *bestFit) Native() []heapmodel.Stat {
	return []heapmodel.Stat{{Key: "free_bytes", Value: h.use.Free}}
}

// Blocks implements heapmodel.Heap.
func (h *bestFit) Blocks() iter.Seq[heapmodel.Block] { return h.walk(&h.t, h.head) }

// Check implements heapmodel.Heap.
func (h *bestFit) Check() error {
	if err := h.free.Check(); err != nil {
		return err
	}
	var sum heapmodel.Usage
	for id := h.head; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
		size := h.t.Size(id)
		bytes := uint64(size) << alignLog2
		if bytes < uint64(h.header)+align {
			return fmt.Errorf("block at %d has %d bytes", uint64(h.t.Nodes[id].Start)<<alignLog2, bytes)
		}
		if h.t.Used(id) {
			sum.UsedBlocks++
			sum.Allocated += bytes
			continue
		}
		sum.FreeBlocks++
		sum.Free += bytes
		p := h.free.Find(id)
		if p == fit.NoPos {
			return fmt.Errorf("free block %d is not in the index", id)
		}
		if at, indexed := h.free.At(p); at != id || indexed != size || h.free.Key(p) < h.key {
			return fmt.Errorf("free block %d of %d bytes is not in its place of the index", id, bytes)
		}
	}
	u := h.use
	switch {
	case uint64(h.free.Len()) != sum.FreeBlocks:
		return errors.New("the index has a block that is not free")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}

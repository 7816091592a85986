package segstorage

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
)

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.Grain) }

// Need implements heapmodel.Heap: the size of the class.
func (h *heap) Need(size uint64, align uint32) uint64 {
	want := h.want(size, align)
	low, high := 0, h.named
	for low < high {
		if mid := (low + high) / 2; h.Bytes(h.sizes[mid]) < want {
			low = mid + 1
		} else {
			high = mid
		}
	}
	switch page := h.Bytes(h.page); {
	case low < h.named:
		return h.Bytes(h.sizes[low])
	case h.paged:
		return (want + page - 1) / page * page
	}
	return want
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(classes).
func (h *heap) LargestFree() uint64 {
	largest := h.untouched()
	for i := len(h.wide) - 1; i >= 0; i-- {
		if class := h.wide[i]; h.lists[class].free > 0 {
			return h.Bytes(max(largest, h.sizes[class]))
		}
	}
	for class := h.named - 1; class >= 0 && h.sizes[class] > largest; class-- {
		if h.lists[class].free > 0 {
			largest = h.sizes[class]
		}
	}
	return h.Bytes(largest)
}

// Blocks implements heapmodel.Heap. The untouched pages are one free block.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for i := range h.runs {
			if !h.yieldRun(i, yield) {
				return
			}
		}
		if rest := h.untouched(); rest > 0 {
			at := heapmodel.Addr(h.At(h.next))
			yield(heapmodel.Block{Addr: at, Size: h.Bytes(rest), Payload: at, Wall: true, Ref: heapmodel.NullRef})
		}
	}
}

// yieldRun yields the objects of a run.
func (h *heap) yieldRun(i int, yield func(heapmodel.Block) bool) bool {
	r := h.runs[i]
	size := h.sizes[r.class]
	for id, end := r.first, h.endOf(i); id < end; id++ {
		at := heapmodel.Addr(h.At(r.start + (id-r.first)*size))
		b := heapmodel.Block{Addr: at, Size: h.Bytes(size), Payload: at, Wall: id == r.first, Ref: heapmodel.NullRef}
		if h.t.Nodes[id].Low == inUse {
			b.Used, b.Ref = true, heapmodel.Ref(id)
			b.Payload = h.Addr(b.Ref)
		}
		if !yield(b) {
			return false
		}
	}
	return true
}

// endOf returns the object behind the last of a run.
func (h *heap) endOf(i int) uint32 {
	if i+1 < len(h.runs) {
		return h.runs[i+1].first
	}
	return uint32(len(h.t.Nodes))
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	var sum heapmodel.Usage
	free := make([]uint32, len(h.sizes))
	at := uint32(0)
	for i, r := range h.runs {
		count := h.endOf(i) - r.first
		size := uint64(h.sizes[r.class])
		pages := (size + uint64(h.page) - 1) / uint64(h.page) * uint64(h.page)
		if r.start != at || uint64(count) != pages/size {
			return fmt.Errorf("run %d starts at granule %d and has %d objects, want %d and %d", i, r.start, count, at, pages/size)
		}
		at += uint32(pages)
		for id := r.first; id < r.first+count; id++ {
			o := h.t.Nodes[id]
			if o.High != uint32(i) {
				return fmt.Errorf("object %d is in run %d and says %d", id, i, o.High)
			}
			if o.Low == inUse {
				sum.UsedBlocks++
				sum.Allocated += size << h.Shift
				continue
			}
			sum.FreeBlocks++
			sum.Free += size << h.Shift
			free[r.class]++
		}
	}
	if at != h.next || h.top != h.Top(h.brk) || h.next > h.top {
		return fmt.Errorf("runs end at granule %d, the untouched pages are [%d, %d)", at, h.next, h.top)
	}
	if rest := h.untouched(); rest > 0 {
		sum.FreeBlocks++
		sum.Free += h.Bytes(rest)
	}
	if err := arena.Counted(&h.use, &sum, h.brk); err != nil {
		return err
	}
	return h.checkLists(free)
}

// checkLists compares the lists with the number of free objects by class.
func (h *heap) checkLists(free []uint32) error {
	if h.order == byAddress {
		if err := h.sorted.Check(); err != nil {
			return err
		}
	}
	for class, want := range free {
		l := h.lists[class]
		if l.free != want {
			return fmt.Errorf("class %d says %d free objects of %d", class, l.free, want)
		}
		if h.order == byAddress {
			continue
		}
		last := none
		count := uint32(0)
		for id := l.head; id != none && count <= want; id = h.t.Nodes[id].Low {
			if id >= uint32(len(h.t.Nodes)) || h.runs[h.t.Nodes[id].High].class != uint32(class) {
				return fmt.Errorf("the list of class %d has object %d, which is not of it", class, id)
			}
			last = id
			count++
		}
		if count != want || l.tail != last {
			return fmt.Errorf("the list of class %d has %d free objects of %d and ends with object %d, not %d", class, count, want, l.tail, last)
		}
	}
	if h.order != byAddress {
		return nil
	}
	listed := uint32(0)
	for id := range h.t.Nodes {
		if h.t.Nodes[id].Low == inUse {
			continue
		}
		listed++
		if got, in := h.sorted.At(h.sorted.Find(uint32(id))); got != uint32(id) || in != h.runs[h.t.Nodes[id].High].class+1 {
			return fmt.Errorf("free object %d is not in its place of the list", id)
		}
	}
	if uint32(h.sorted.Len()) != listed {
		return errors.New("the lists have objects that are not free")
	}
	return nil
}

package freertos

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// firstFit is an address-ordered first fit heap of blocks with headers. The
// granule of its table is 8 bytes.
type firstFit struct {
	frame
	t       blocks.SlimTable
	free    *fit.SlimIndex // by address, and the listed markers with size 0
	use     heapmodel.Usage
	minFree uint64 // bytes free at the worst time
	started bool   // heap_4 initialises itself in the first malloc
	allocs  uint64 // successful
	frees   uint64
	heads   []blocks.ID // the first block of each region, in address order
}

// reach is the end of the highest region that the table can hold, in bytes.
const reach = (1<<32 - 1) << alignLog2

// addRegion gives the heap a region above those it has. Its end marker is
// outside the blocks, as is what alignment costs at both ends. The marker of
// the region below becomes an entry of the list:
//
//	[free] -> [free] -> (marker) -> [free] -> end
//	region 1 .................      region 2
//
// It stays one until a freed block right below it takes it in. In the index it
// is the end node of its region, which has no size, so that it fits no request
// and counts as visited.
func (h *firstFit) addRegion(r heapmodel.Region) error {
	header := uint64(h.header)
	start := (uint64(r.Addr) + align - 1) &^ (align - 1)
	end := uint64(r.Addr) + r.Size
	switch least := 2*header + align + start - uint64(r.Addr); {
	case r.Size < least:
		return fmt.Errorf("the least that holds an object is %d bytes", least)
	case r.Size >= h.limit || end > reach:
		return fmt.Errorf("the most is %d bytes", min(h.limit-1, reach))
	}
	mark := (end - header) &^ (align - 1)
	if n := len(h.heads); n > 0 {
		below := h.t.Next(h.heads[n-1]) // a new region is one block
		h.free.Insert(below, h.t.Nodes[below].Start, 0)
	}
	id := h.t.Region(uint32(start>>alignLog2), uint32(mark>>alignLog2))
	h.heads = append(h.heads, id)
	h.free.Insert(id, h.t.Nodes[id].Start, h.t.Size(id))
	size := mark - start
	h.use.Arena += r.Size
	h.use.Free += size
	h.use.Overhead += r.Size - size
	h.use.FreeBlocks++
	h.minFree = h.use.Free
	return nil
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *firstFit) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	h.started = true
	if size == 0 {
		return heapmodel.NullRef, true
	}
	bytes := h.block(size)
	if bytes > h.use.Free {
		return heapmodel.NullRef, false // the original looks here first, too
	}
	want := uint32(bytes >> alignLog2)
	p, passed := h.free.Walk(want, 0)
	if p == fit.NoPos {
		h.use.Steps += uint64(h.free.Len())
		return heapmodel.NullRef, false
	}
	h.use.Steps += passed + 1
	id, room := h.free.At(p)
	if room-want > 2*h.header>>alignLog2 {
		// [id............] -> [id: want][rest]
		rest := h.t.Split(id, want)
		h.free.Update(p, rest, h.t.Nodes[rest].Start, room-want)
	} else {
		h.free.Remove(p)
		h.use.FreeBlocks--
		bytes = uint64(room) << alignLog2
	}
	n := &h.t.Nodes[id]
	n.Low |= blocks.UsedBit
	n.X = 0
	h.allocs++
	u := &h.use
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	h.minFree = min(h.minFree, u.Free)
	u.HighWater = max(u.HighWater, uint64(n.Start)<<alignLog2+bytes)
	return heapmodel.Ref(id), true
}

// Realloc implements heapmodel.Heap: FreeRTOS has none.
func (h *firstFit) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	return heapmodel.Move(h, r, size, align)
}

// Free implements heapmodel.Heap.
func (h *firstFit) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic("freertos: free of an object that is not live")
	}
	nodes := h.t.Nodes
	n := &nodes[id]
	low, high := n.Low&^blocks.UsedBit, n.High
	n.Low = low
	above := &nodes[high]
	start, size := n.Start, above.Start-n.Start
	bytes := uint64(size) << alignLog2
	h.frees++
	u := &h.use
	u.UsedBlocks--
	u.Allocated -= bytes
	u.Free += bytes
	joinHigh := above.Low&blocks.UsedBit == 0 // an end node is used
	if above.X != 0 && !joinHigh {
		// [id](marker) -> [id]: of what is used, only a listed marker has an X
		h.free.Remove(fit.Pos(above.X))
		above.X = 0
		u.Steps++
	}
	if low != blocks.None && nodes[low].Low&blocks.UsedBit == 0 {
		// [low][id] -> [low.....]
		u.Steps++
		if joinHigh {
			u.Steps++
			size += nodes[above.High].Start - above.Start
			h.free.Remove(h.free.Find(high))
			u.FreeBlocks--
			h.t.Merge(id)
		}
		p := h.free.Find(low)
		u.Steps += uint64(h.free.Rank(p)) + 1
		h.free.Update(p, low, nodes[low].Start, size+start-nodes[low].Start)
		h.t.Merge(low)
		return
	}
	if joinHigh {
		// [id][high] -> [id......]
		size += nodes[above.High].Start - above.Start
		p := h.free.Find(high)
		u.Steps += uint64(h.free.Rank(p)) + 1
		h.free.Update(p, id, start, size)
		h.t.Merge(id)
		return
	}
	u.FreeBlocks++
	u.Steps += uint64(h.free.Rank(h.free.Insert(id, start, size)))
}

// Addr implements heapmodel.Heap.
func (h *firstFit) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(uint64(h.t.Nodes[r].Start)<<alignLog2 + uint64(h.header))
}

// Align implements heapmodel.Heap.
func (h *firstFit) Align() uint32 { return align }

// Need implements heapmodel.Heap.
func (h *firstFit) Need(size uint64, _ uint32) uint64 {
	if size == 0 {
		return 0
	}
	return h.block(size)
}

// Usage implements heapmodel.Heap.
func (h *firstFit) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *firstFit) LargestFree() uint64 { return uint64(h.free.Largest()) << alignLog2 }

// Native implements heapmodel.Native with what xPortGetFreeHeapSize,
// xPortGetMinimumEverFreeHeapSize and vPortGetHeapStats report: sizes include
// headers, and all is zero in heap_4 before the first malloc. The least free
// block is left out when there is none.
func (h *firstFit) Native() []heapmodel.Stat {
	var free, minFree, largest, least, count uint64
	if h.started {
		free, minFree, largest = h.use.Free, h.minFree, h.LargestFree()
		count = uint64(h.free.Len()) // markers included, as upstream
		for p := h.free.First(); p != fit.NoPos; p = h.free.Next(p) {
			_, granules := h.free.At(p)
			if size := uint64(granules) << alignLog2; size != 0 && (least == 0 || size < least) {
				least = size
			}
		}
	}
	stats := []heapmodel.Stat{
		{Key: "free_bytes", Value: free},
		{Key: "min_ever_free_bytes", Value: minFree},
		{Key: "largest_free_bytes", Value: largest},
		{Key: "free_blocks", Value: count},
		{Key: "successful_allocs", Value: h.allocs},
		{Key: "successful_frees", Value: h.frees},
	}
	if least != 0 {
		stats = append(stats, heapmodel.Stat{Key: "smallest_free_bytes", Value: least})
	}
	return stats
}

// Blocks implements heapmodel.Heap.
func (h *firstFit) Blocks() iter.Seq[heapmodel.Block] { return h.walk(&h.t, h.heads...) }

// Check implements heapmodel.Heap.
func (h *firstFit) Check() error {
	if err := h.free.Check(); err != nil {
		return err
	}
	var sum heapmodel.Usage
	p, err := h.skipMarkers(h.free.First())
	if err != nil {
		return err
	}
	free := false
	for b := range h.Blocks() {
		switch {
		case b.Used && b.Size < uint64(h.header)+align:
			return fmt.Errorf("block at %d has %d bytes", b.Addr, b.Size)
		case b.Used:
			sum.UsedBlocks++
			sum.Allocated += b.Size
		case free && !b.Wall:
			return fmt.Errorf("block at %d and the one below are free", b.Addr)
		case p == fit.NoPos:
			return fmt.Errorf("free block at %d is not in the index", b.Addr)
		default:
			id, size := h.free.At(p)
			if uint64(h.t.Nodes[id].Start)<<alignLog2 != uint64(b.Addr) || uint64(size)<<alignLog2 != b.Size {
				return fmt.Errorf("free block at %d is not in its place of the index", b.Addr)
			}
			if p, err = h.skipMarkers(h.free.Next(p)); err != nil {
				return err
			}
			sum.FreeBlocks++
			sum.Free += b.Size
		}
		free = !b.Used
	}
	u := h.use
	switch {
	case p != fit.NoPos:
		return errors.New("the index has a block that is not free")
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	case h.minFree > u.Free:
		return fmt.Errorf("least free bytes ever are %d, above the %d now", h.minFree, u.Free)
	}
	return nil
}

// skipMarkers returns the first place from p on that is not a marker's, after
// a test that those passed are markers below the last.
func (h *firstFit) skipMarkers(p fit.Pos) (fit.Pos, error) {
	for ; p != fit.NoPos; p = h.free.Next(p) {
		id, size := h.free.At(p)
		n := &h.t.Nodes[id]
		switch {
		case size != 0:
			return p, nil
		case n.High != blocks.None || n.Start != h.free.Key(p):
			return p, fmt.Errorf("entry %d of the index has no size and is no marker", id)
		case n.Start > h.t.Nodes[h.heads[len(h.heads)-1]].Start:
			return p, errors.New("the last marker is in the index")
		}
	}
	return p, nil
}

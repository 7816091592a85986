package tlsf

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr((uint64(h.t.Nodes[r].Start) + 1) << h.shift)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return h.word }

// Need implements heapmodel.Heap. It is the block that would hold the request:
// a free block of that size may still be passed over, since the search begins
// at the next class boundary.
func (h *heap) Need(size uint64, align uint32) uint64 {
	if size == 0 {
		return 0
	}
	size = min(size, heapmodel.MaxSize)
	words := max((size-1)>>h.shift+1, minPayload)
	if align > h.word {
		unit := uint64(align) >> h.shift
		words = roundUp(words+unit+minRest, unit)
	}
	return (words + 1) << h.shift
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1) if the largest free block has a
// payload below 32 words, else O(blocks in the highest class), a range of 3 %.
func (h *heap) LargestFree() uint64 {
	for set := sets - 1; set >= 0; set-- {
		if h.filled[set] == 0 {
			continue
		}
		class := uint32(set*64 + bits.Len64(h.filled[set]) - 1)
		id := h.t.Nodes[class].X
		largest := h.t.Size(id)
		if class >= 32 {
			for ; id != class; id = h.t.Nodes[id].X {
				largest = max(largest, h.t.Size(id))
			}
		}
		return uint64(largest) << h.shift
	}
	return 0
}

// Native implements heapmodel.Native. TLSF keeps no statistics; these are what
// a walk over its pools with its own functions gives, size words left out.
// short_reallocs counts the calls that Realloc describes.
func (h *heap) Native() []heapmodel.Stat {
	largest := h.LargestFree()
	if largest > 0 {
		largest -= uint64(h.word)
	}
	return []heapmodel.Stat{
		{Key: "free_bytes", Value: h.use.Free - h.use.FreeBlocks*uint64(h.word)},
		{Key: "largest_free_bytes", Value: largest},
		{Key: "short_reallocs", Value: h.short},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for _, first := range h.pools {
			for id := first; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
				b := h.block(id)
				b.Wall = id == first
				if !yield(b) {
					return
				}
			}
		}
	}
}

// block returns all of a block but Wall.
func (h *heap) block(id blocks.ID) heapmodel.Block {
	start := heapmodel.Addr(uint64(h.t.Nodes[id].Start) << h.shift)
	b := heapmodel.Block{Addr: start, Size: uint64(h.t.Size(id)) << h.shift, Payload: start, Ref: heapmodel.NullRef}
	if h.t.Used(id) {
		b.Used, b.Payload, b.Ref = true, start+heapmodel.Addr(h.word), heapmodel.Ref(id)
	}
	return b
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	count, err := h.checkBlocks()
	if err != nil {
		return err
	}
	records := heads + len(h.pools) + int(count.UsedBlocks+count.FreeBlocks)
	if h.t.Len() != records {
		return fmt.Errorf("%d records in use, want %d", h.t.Len(), records)
	}
	want := h.use
	want.Allocated, want.Free = count.Allocated, count.Free
	want.UsedBlocks, want.FreeBlocks = count.UsedBlocks, count.FreeBlocks
	want.Overhead = want.Arena - want.Allocated - want.Free
	if h.use != want {
		return fmt.Errorf("counters %+v, a survey gives %+v", h.use, want)
	}
	if count.HighWater > h.use.HighWater {
		return fmt.Errorf("high-water mark %d is below a used block that ends at %d", h.use.HighWater, count.HighWater)
	}
	return h.checkLists(count.FreeBlocks)
}

// checkBlocks walks the pools and counts what it finds.
func (h *heap) checkBlocks() (count heapmodel.Usage, err error) {
	limit := len(h.t.Nodes)
	for _, first := range h.pools {
		prev, lastFree := blocks.None, false
		for id := first; ; {
			n := &h.t.Nodes[id]
			if limit--; limit < 0 {
				return count, fmt.Errorf("the chain of blocks does not end")
			}
			if low := h.t.Prev(id); low != prev {
				return count, fmt.Errorf("block at word %d: its lower neighbour is record %d, want %d", n.Start, low, prev)
			}
			if n.High == blocks.None {
				if !h.t.Used(id) {
					return count, fmt.Errorf("end at word %d is not marked used", n.Start)
				}
				break
			}
			if h.t.Nodes[n.High].Start <= n.Start {
				return count, fmt.Errorf("block at word %d ends at word %d", n.Start, h.t.Nodes[n.High].Start)
			}
			bytes := uint64(h.t.Size(id)) << h.shift
			if free := !h.t.Used(id); free {
				if lastFree {
					return count, fmt.Errorf("free block at word %d has a free lower neighbour", n.Start)
				}
				count.Free += bytes
				count.FreeBlocks++
				lastFree = true
			} else {
				count.Allocated += bytes
				count.UsedBlocks++
				count.HighWater = max(count.HighWater, uint64(h.t.Nodes[n.High].Start)<<h.shift)
				lastFree = false
			}
			prev, id = id, n.High
		}
	}
	return count, nil
}

// checkLists walks the free lists.
func (h *heap) checkLists(freeBlocks uint64) error {
	for class := range uint32(heads) {
		filled := h.filled[class/64%sets]>>(class%64)&1 != 0
		if first := h.t.Nodes[class].X; filled != (first != class) {
			return fmt.Errorf("class %d: its bit is %t, its list begins with record %d", class, filled, first)
		}
		prev := class
		for id := h.t.Nodes[class].X; id != class; id = h.t.Nodes[id].X {
			n := &h.t.Nodes[id]
			switch {
			case freeBlocks == 0:
				return fmt.Errorf("class %d: more blocks in lists than free blocks", class)
			case h.t.Used(id) || n.Y != prev:
				return fmt.Errorf("class %d: block at word %d is used or its links disagree", class, n.Start)
			case floorClassOf(h.t.Size(id)-1) != class:
				return fmt.Errorf("class %d: it has the block at word %d of %d words", class, n.Start, h.t.Size(id))
			}
			freeBlocks--
			prev = id
		}
		if h.t.Nodes[class].Y != prev {
			return fmt.Errorf("class %d: its last record is %d, the head says %d", class, prev, h.t.Nodes[class].Y)
		}
	}
	if freeBlocks != 0 {
		return fmt.Errorf("%d free blocks are in no list", freeBlocks)
	}
	return nil
}

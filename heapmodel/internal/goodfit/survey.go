package goodfit

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Addr implements heapmodel.Heap.
func (h *Heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	n := &h.T.Nodes[r]
	return heapmodel.Addr(uint64(n.Start)<<h.shift + uint64(n.Y))
}

// Align implements heapmodel.Heap.
func (h *Heap) Align() uint32 { return h.rules.Align }

// Usage implements heapmodel.Heap.
func (h *Heap) Usage() *heapmodel.Usage { return &h.Use }

// LargestFree implements heapmodel.Heap. O(1) if the largest free block is in a
// class of one size, else O(blocks in the highest class that has any).
func (h *Heap) LargestFree() uint64 {
	for set := sets - 1; set >= 0; set-- {
		if h.filled[set] == 0 {
			continue
		}
		class := uint32(set*64 + bits.Len64(h.filled[set]) - 1)
		id := h.T.Nodes[class].X
		largest := h.T.Size(id)
		if class >= h.exact {
			for ; id != class; id = h.T.Nodes[id].X {
				largest = max(largest, h.T.Size(id))
			}
		}
		return uint64(largest) << h.shift
	}
	return 0
}

// Blocks implements heapmodel.Heap.
func (h *Heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for _, first := range h.firsts {
			for id := first; h.T.Next(id) != blocks.None; id = h.T.Next(id) {
				b := h.block(id)
				b.Wall = id == first
				if !yield(b) {
					return
				}
			}
		}
	}
}

func (h *Heap) block(id blocks.ID) heapmodel.Block {
	start := heapmodel.Addr(uint64(h.T.Nodes[id].Start) << h.shift)
	b := heapmodel.Block{Addr: start, Size: uint64(h.T.Size(id)) << h.shift, Payload: start, Ref: heapmodel.NullRef}
	if h.T.Used(id) {
		b.Used, b.Ref = true, heapmodel.Ref(id)
		b.Payload += heapmodel.Addr(h.T.Nodes[id].Y)
	}
	return b
}

// Check implements heapmodel.Heap.
func (h *Heap) Check() error {
	var count heapmodel.Usage
	for _, first := range h.firsts {
		if err := h.checkRegion(first, &count); err != nil {
			return err
		}
	}
	// Besides the blocks there are the heads of the bins and the end nodes.
	if records := int(h.heads) + len(h.firsts) + int(count.UsedBlocks+count.FreeBlocks); h.T.Len() != records {
		return fmt.Errorf("%d records in use, want %d", h.T.Len(), records)
	}
	want := h.Use
	want.Allocated, want.Free = count.Allocated, count.Free
	want.UsedBlocks, want.FreeBlocks = count.UsedBlocks, count.FreeBlocks
	want.Overhead = want.Arena - want.Allocated - want.Free
	switch {
	case h.Use != want:
		return fmt.Errorf("counters %+v, a survey gives %+v", h.Use, want)
	case count.HighWater > h.Use.HighWater:
		return fmt.Errorf("high-water mark %d is below a used block that ends at %d", h.Use.HighWater, count.HighWater)
	case count.Allocated > h.Peak:
		return fmt.Errorf("%d bytes are allocated, at most %d ever were", count.Allocated, h.Peak)
	}
	return h.checkBins(count.FreeBlocks)
}

// checkRegion walks the blocks of a region and counts what it finds.
func (h *Heap) checkRegion(first blocks.ID, count *heapmodel.Usage) error {
	prev, lastFree := blocks.None, false
	// The chain ends, since each block must begin above the one before.
	for id := first; ; {
		n := &h.T.Nodes[id]
		switch {
		case h.T.Prev(id) != prev:
			return fmt.Errorf("block at granule %d: its lower neighbour is record %d, want %d", n.Start, h.T.Prev(id), prev)
		case n.High == blocks.None && !h.T.Used(id):
			return fmt.Errorf("end at granule %d is not marked used", n.Start)
		case n.High == blocks.None:
			return nil
		case h.T.Nodes[n.High].Start < n.Start+h.least:
			return fmt.Errorf("block at granule %d ends at granule %d, want %d granules", n.Start, h.T.Nodes[n.High].Start, h.least)
		}
		bytes := uint64(h.T.Size(id)) << h.shift
		free := !h.T.Used(id)
		switch {
		case free && lastFree:
			return fmt.Errorf("free block at granule %d has a free lower neighbour", n.Start)
		case free:
			count.Free += bytes
			count.FreeBlocks++
		case n.Y < h.header || uint64(n.Y) > bytes:
			return fmt.Errorf("block at granule %d of %d bytes: its object is %d bytes from its start", n.Start, bytes, n.Y)
		default:
			count.Allocated += bytes
			count.UsedBlocks++
			count.HighWater = uint64(h.T.Nodes[n.High].Start) << h.shift
		}
		prev, lastFree, id = id, free, n.High
	}
}

// checkBins walks the bins.
func (h *Heap) checkBins(freeBlocks uint64) error {
	for class := range uint32(sets * 64) {
		filled := h.filled[class/64]>>(class%64)&1 != 0
		if class >= h.heads {
			if filled {
				return fmt.Errorf("class %d: its bit is set, there are %d classes", class, h.heads)
			}
			continue
		}
		if first := h.T.Nodes[class].X; filled != (first != class) {
			return fmt.Errorf("class %d: its bit is %t, its bin begins with record %d", class, filled, first)
		}
		prev := class
		for id := h.T.Nodes[class].X; id != class; id = h.T.Nodes[id].X {
			n := &h.T.Nodes[id]
			switch {
			case freeBlocks == 0:
				return fmt.Errorf("class %d: more blocks in bins than free blocks", class)
			case h.T.Used(id) || n.Y != prev:
				return fmt.Errorf("class %d: block at granule %d is used or its links disagree", class, n.Start)
			case h.floorClassOf(h.T.Size(id)) != class:
				return fmt.Errorf("class %d: it has the block at granule %d of %d granules", class, n.Start, h.T.Size(id))
			}
			freeBlocks--
			prev = id
		}
		if h.T.Nodes[class].Y != prev {
			return fmt.Errorf("class %d: its last record is %d, the head says %d", class, prev, h.T.Nodes[class].Y)
		}
	}
	if freeBlocks != 0 {
		return fmt.Errorf("%d free blocks are in no bin", freeBlocks)
	}
	return nil
}

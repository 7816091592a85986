package talc

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.all[r].start) << h.shift
}

// Align implements heapmodel.Heap: 16 bytes on 32-bit machines, 32 on others.
func (h *heap) Align() uint32 { return h.unit }

// Need implements heapmodel.Heap. For a small object with a large alignment it
// is the least size in the lowest bin that is scanned.
func (h *heap) Need(size uint64, align uint32) uint64 {
	units := (min(size, heapmodel.MaxSize) + h.pad) >> h.shift
	if reach := uint64(align) >> h.shift; reach > units {
		lowest := h.last
		if bin := h.ceilOf(uint32(reach)); bin != noBin {
			lowest = bin - 1
		}
		units = max(units, uint64(h.leastOf(lowest)))
	}
	return units << h.shift
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1) if the largest gap has an exact
// bin, else O(gaps in the highest filled bin).
func (h *heap) LargestFree() uint64 {
	for set := len(h.filled) - 1; set >= 0; set-- {
		if h.filled[set] == 0 {
			continue
		}
		bin := uint32(set*64 + bits.Len64(h.filled[set]) - 1)
		id := h.all[bin].x
		largest := h.size(id)
		if bin>>(h.splitLog2+2) != 0 {
			for ; id != bin; id = h.all[id].x {
				largest = max(largest, h.size(id))
			}
		}
		return uint64(largest) << h.shift
	}
	return 0
}

// Native implements heapmodel.Native with figures of the feature counters.
// allocated_bytes is the sum of the sizes asked for. O(blocks).
func (h *heap) Native() []heapmodel.Stat {
	asked := h.use.Allocated
	for b := range h.Blocks() {
		if b.Used {
			asked -= uint64(h.all[b.Ref].x &^ usedBit)
		}
	}
	return []heapmodel.Stat{
		{Key: "free_bytes", Value: h.use.Free},
		{Key: "free_blocks", Value: h.use.FreeBlocks},
		{Key: "allocations", Value: h.use.UsedBlocks},
		{Key: "allocated_bytes", Value: asked},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		lowest := h.all[wall].high
		for id := lowest; h.all[id].high != none; id = h.all[id].high {
			start := heapmodel.Addr(h.all[id].start) << h.shift
			b := heapmodel.Block{
				Addr: start, Size: uint64(h.size(id)) << h.shift, Payload: start,
				Wall: id == lowest, Ref: heapmodel.NullRef,
			}
			if h.used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	count, err := h.checkChunks()
	if err != nil {
		return err
	}
	if records := reserved + int(count.UsedBlocks+count.FreeBlocks) + 1; h.inUse() != records {
		return fmt.Errorf("%d records in use, want %d", h.inUse(), records)
	}
	u := h.use
	switch {
	case count.UsedBlocks != u.UsedBlocks || count.FreeBlocks != u.FreeBlocks || count.Allocated != u.Allocated || count.Free != u.Free:
		return fmt.Errorf("counters say %d used chunks of %d bytes and %d gaps of %d, a walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, count.UsedBlocks, count.Allocated, count.FreeBlocks, count.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	case count.HighWater > u.HighWater:
		return fmt.Errorf("high-water mark %d is below a used chunk that ends at %d", u.HighWater, count.HighWater)
	}
	if err := h.checkBins(count.FreeBlocks); err != nil {
		return err
	}
	return h.checkScans()
}

// checkChunks walks the chunks and counts what it finds.
func (h *heap) checkChunks() (count heapmodel.Usage, err error) {
	limit := len(h.all)
	prev, lastFree := uint32(wall), false
	id := h.all[wall].high
	for ; h.all[id].high != none; id = h.all[id].high {
		n := &h.all[id]
		if limit--; limit < 0 {
			return count, errors.New("the chain of chunks does not end")
		}
		if h.all[id].low != prev || h.all[n.high].start <= n.start {
			return count, fmt.Errorf("chunk at unit %d is not linked between its neighbours", n.start)
		}
		bytes := uint64(h.size(id)) << h.shift
		used := h.used(id)
		switch {
		case used && (n.x&^usedBit < h.word || uint64(n.x&^usedBit) > h.pad || n.y != h.size(id)):
			return count, fmt.Errorf("used chunk at unit %d of %d units has %d bytes above its object and notes %d units", n.start, h.size(id), n.x&^usedBit, n.y)
		case used:
			count.UsedBlocks++
			count.Allocated += bytes
			count.HighWater = uint64(n.start)<<h.shift + bytes
		case lastFree:
			return count, fmt.Errorf("gap at unit %d follows a gap", n.start)
		default:
			count.FreeBlocks++
			count.Free += bytes
		}
		prev, lastFree = id, !used
	}
	if !h.used(id) || h.all[id].low != prev {
		return count, fmt.Errorf("the end at unit %d is not linked or not marked used", h.all[id].start)
	}
	return count, nil
}

// checkBins walks the bins, which have so many gaps.
func (h *heap) checkBins(gaps uint64) error {
	for bin := range uint32(bins) {
		prev := bin
		for id := h.all[bin].x; id != bin; id = h.all[id].x {
			n := &h.all[id]
			switch {
			case gaps == 0:
				return errors.New("more gaps are in bins than there are")
			case h.used(id) || prev != bin && n.y != prev || h.floorBin(h.size(id)) != bin:
				return fmt.Errorf("bin %d: chunk at unit %d does not belong there or its links disagree", bin, n.start)
			}
			gaps--
			prev = id
		}
		if filled := h.filled[bin/64]>>(bin%64)&1 != 0; filled != (prev != bin) {
			return fmt.Errorf("bin %d: its bit is %t, its last record %d", bin, filled, prev)
		}
	}
	if gaps != 0 || h.filled[3] != 0 {
		return fmt.Errorf("%d gaps are in no bin, bits above the bins are %#x", gaps, h.filled[3])
	}
	return nil
}

// checkScans compares the indexes with their bins.
func (h *heap) checkScans() error {
	count := 0
	for bin, x := range h.byBin {
		for ; x != nil; x = x.next {
			count++
			if err := x.Check(); err != nil {
				return fmt.Errorf("index of bin %d: %w", bin, err)
			}
			p := x.First()
			for id := h.all[bin].x; id != uint32(bin); id = h.all[id].x {
				if p == fit.NoPos {
					return fmt.Errorf("index of bin %d lacks gaps", bin)
				}
				if got, room := x.At(p); got != id || room != h.room(id, x.alignLog2) {
					return fmt.Errorf("index of bin %d has chunk %d with room %d, want %d", bin, got, room, id)
				}
				p = x.Next(p)
			}
			if p != fit.NoPos {
				return fmt.Errorf("index of bin %d has gaps too many", bin)
			}
		}
	}
	if count != h.scanned {
		return fmt.Errorf("%d indexes of bins, noted %d", count, h.scanned)
	}
	return nil
}

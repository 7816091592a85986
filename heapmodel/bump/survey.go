package bump

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Addr implements heapmodel.Heap.
func (h *region) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	n := &h.t.Nodes[r]
	return heapmodel.Addr(h.At(n.Start+n.X) + h.Header)
}

// Align implements heapmodel.Heap.
func (h *region) Align() uint32 { return uint32(h.Grain) }

// Need implements heapmodel.Heap: the bytes in the current chunk, without a gap,
// or those of a chunk of its own.
func (h *region) Need(size uint64, align uint32) uint64 {
	block := h.Block(size)
	most := h.Bytes(h.control) + block
	if uint64(align) > h.Grain {
		most += uint64(align) - h.Grain
	}
	if most > h.Bytes(h.chunk) {
		return most
	}
	return block
}

// Usage implements heapmodel.Heap.
func (h *region) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *region) LargestFree() uint64 {
	largest := h.free.Largest()
	if h.rest != blocks.None {
		largest = max(largest, h.t.Size(h.rest))
	}
	return h.Bytes(largest)
}

// Blocks implements heapmodel.Heap. Dead blocks are used ones without a Ref.
func (h *region) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		if h.end == blocks.None {
			return
		}
		wall := true
		for id := h.first; id != h.end; id = h.t.Next(id) {
			at := heapmodel.Addr(h.At(h.t.Nodes[id].Start))
			b := heapmodel.Block{Addr: at, Size: h.Bytes(h.t.Size(id)), Payload: at, Ref: heapmodel.NullRef}
			if h.t.Used(id) {
				number := h.t.Nodes[id].Y >> kindBits
				wall = wall || id == h.chunks[number].first
				switch h.kind(id) {
				case kindControl:
					continue
				case kindRest:
					if id != h.rest {
						continue
					}
				case kindObject:
					b.Used, b.Ref = true, heapmodel.Ref(id)
					b.Payload = h.Addr(b.Ref)
				case kindDead:
					b.Used = true
				}
			}
			b.Wall = wall
			if !yield(b) {
				return
			}
			wall = false
		}
	}
}

// Check implements heapmodel.Heap.
func (h *region) Check() error {
	if err := h.free.Check(); err != nil {
		return err
	}
	sum, chunks, err := h.checkBlocks()
	if err != nil {
		return err
	}
	listed := uint64(h.free.Len())
	if h.rest != blocks.None {
		listed++
	}
	if listed != sum.FreeBlocks {
		return fmt.Errorf("the list and the current chunk have %d free blocks, the walk finds %d", listed, sum.FreeBlocks)
	}
	if err := arena.Counted(&h.use, &sum, h.brk); err != nil {
		return err
	}
	given := 0
	for number := h.spare; number != 0 && given <= len(h.chunks); number = h.chunks[number-1].live {
		given++
	}
	if chunks+given != len(h.chunks) {
		return fmt.Errorf("%d chunks and %d given back have %d records", chunks, given, len(h.chunks))
	}
	return nil
}

// checkBlocks walks the blocks, adds them up and counts the chunks.
func (h *region) checkBlocks() (sum heapmodel.Usage, chunks int, err error) {
	if h.end == blocks.None {
		return sum, 0, nil
	}
	at, low := uint32(0), blocks.None
	live := uint32(0) // objects of the chunk that were not met
	for id := h.first; ; id = h.t.Next(id) {
		n := &h.t.Nodes[id]
		if n.Start != at || h.t.Prev(id) != low {
			return sum, 0, fmt.Errorf("block at granule %d follows one that ends at %d", n.Start, at)
		}
		begins := id == h.end || !h.t.Used(id) || low == blocks.None || !h.t.Used(low) || n.Y>>kindBits != h.t.Nodes[low].Y>>kindBits
		if begins && live != 0 {
			return sum, 0, fmt.Errorf("the chunk below granule %d lacks %d of its objects", at, live)
		}
		if id == h.end {
			break
		}
		size := h.t.Size(id)
		if size == 0 || size > h.Top(h.brk) {
			return sum, 0, fmt.Errorf("block at granule %d has %d granules", at, size)
		}
		if begins && h.t.Used(id) {
			c := h.chunks[n.Y>>kindBits]
			if chunks++; c.first != id || c.live == 0 {
				return sum, 0, fmt.Errorf("chunk at granule %d has %d objects and begins with block %d, not %d", at, c.live, c.first, id)
			}
			live = c.live
		}
		if err := h.checkPart(id, low, &sum, &live); err != nil {
			return sum, 0, fmt.Errorf("block at granule %d: %w", at, err)
		}
		at, low = at+size, id
	}
	if at != h.Top(h.brk) {
		return sum, 0, fmt.Errorf("blocks end at granule %d, the arena at %d", at, h.Top(h.brk))
	}
	return sum, chunks, nil
}

// checkPart adds one block to the sums.
func (h *region) checkPart(id, low blocks.ID, sum *heapmodel.Usage, live *uint32) error {
	bytes := h.Bytes(h.t.Size(id))
	lowY := uint32(0)
	if low != blocks.None {
		lowY = h.t.Nodes[low].Y
	}
	switch {
	case !h.t.Used(id):
		sum.FreeBlocks++
		sum.Free += bytes
		if low != blocks.None && !h.t.Used(low) {
			return errors.New("a free run, as the one below")
		}
		if got, in := h.free.At(h.free.Find(id)); got != id || h.Bytes(in) != bytes {
			return errors.New("a free run that is not in its place of the list")
		}
	case h.kind(id) == kindObject:
		sum.UsedBlocks++
		sum.Allocated += bytes
		*live--
	case h.kind(id) == kindDead:
		sum.UsedBlocks++
		sum.Allocated += bytes
		if low != blocks.None && h.t.Used(low) && lowY == h.t.Nodes[id].Y {
			return errors.New("dead, as the one below")
		}
	case id == h.rest:
		sum.FreeBlocks++
		sum.Free += bytes
	}
	return nil
}

package halffit

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// listFrom returns the first list whose every block has so many granules, at
// least 1.
func listFrom(granules uint32) uint32 { return uint32(bits.Len32(granules - 1)) }

// listOf returns the list of a free block of so many granules.
func listOf(granules uint32) uint32 { return uint32(bits.Len32(granules)) - 1 }

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	block := h.Block(size)
	room := h.room(block, align) >> h.Shift
	if room > mostGranules {
		return heapmodel.NullRef, false
	}
	from := listFrom(uint32(room))
	id := h.find(from)
	if id == blocks.None {
		if h.Quantum == 0 || !h.grow(from) {
			return heapmodel.NullRef, false
		}
		id = h.find(from)
	}
	h.unlink(id)
	if gap := h.gap(id, align); gap > 0 {
		// [id............] -> [id: gap][mid......]
		mid := h.t.Split(id, gap)
		h.insert(id)
		id = mid
	}
	want := uint32(block >> h.Shift)
	if rest := h.t.Size(id) - want; uint64(rest)<<h.Shift >= h.Least {
		// [id............] -> [id: want][rest]
		h.insert(h.t.Split(id, want))
	}
	h.t.SetUsed(id)
	at, bytes := h.at(id), h.bytes(id)
	u := &h.use
	u.Allocated += bytes
	u.Free -= bytes
	u.UsedBlocks++
	u.HighWater = max(u.HighWater, at+bytes)
	return heapmodel.Ref(id), true
}

// gap returns the granules from the start of a block to where a block begins
// whose payload is aligned.
func (h *heap) gap(id blocks.ID, align uint32) uint32 {
	a := uint64(align)
	if a <= h.Grain {
		return 0
	}
	gap := (a - (h.at(id)+h.Header)%a) % a
	for gap > 0 && gap < h.Least {
		gap += a
	}
	return uint32(gap >> h.Shift)
}

// find returns the block that is taken for a search that begins at a list, None
// if there is none.
func (h *heap) find(list uint32) blocks.ID {
	h.use.Steps++
	found := h.some >> list << list
	if found == 0 {
		return blocks.None
	}
	h.use.Steps++
	return h.t.Nodes[bits.TrailingZeros32(found)].X
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("half-fit: free of object %d, which is not live", r))
	}
	bytes := h.bytes(id)
	u := &h.use
	u.Allocated -= bytes
	u.Free += bytes
	u.UsedBlocks--
	h.t.SetFree(id)
	h.release(id)
}

// release joins a free block that is on no list with its free neighbours and
// puts it on its list.
func (h *heap) release(id blocks.ID) {
	if high := h.t.Next(id); !h.t.Used(high) { // an end node is used
		h.unlink(high)
		h.t.Merge(id)
		h.use.Steps++
	}
	if low := h.t.Prev(id); low != blocks.None && !h.t.Used(low) {
		h.unlink(low)
		h.t.Merge(low)
		h.use.Steps++
		id = low
	}
	h.insert(id)
}

// insert puts a free block at the front of its list.
func (h *heap) insert(id blocks.ID) {
	size := h.t.Size(id)
	list := listOf(size)
	nodes := h.t.Nodes
	front := nodes[list].X
	nodes[id].X, nodes[id].Y = front, list
	nodes[front].Y, nodes[list].X = id, id
	h.some |= 1 << list
	h.bound = max(h.bound, size)
	h.use.FreeBlocks++
}

// unlink takes a free block off its list.
func (h *heap) unlink(id blocks.ID) {
	nodes := h.t.Nodes
	next, prev := nodes[id].X, nodes[id].Y
	nodes[prev].X, nodes[next].Y = next, prev
	if next == prev { // both are the head, else they would differ
		h.some &^= 1 << next
	}
	h.use.FreeBlocks--
}

// extend gives the heap so many bytes at its break, as a free block.
func (h *heap) extend(bytes uint64) {
	h.brk += bytes
	to := uint32((h.brk - h.Pad) >> h.Shift)
	var id blocks.ID
	from := uint32(0)
	if h.first == blocks.None {
		id = h.t.Region(0, to)
		h.first, h.last = id, h.t.Next(id)
	} else {
		below := h.t.Prev(h.last)
		was := h.t.Size(below)
		from = h.t.Nodes[h.last].Start
		h.t.MoveEnd(h.last, to)
		id = h.t.Split(below, was)
	}
	u := &h.use
	u.Arena = h.brk
	u.Free += uint64(to-from) << h.Shift
	u.Overhead = h.brk - uint64(to)<<h.Shift
	h.release(id)
}

// grow raises the break by the fewest quanta that put the last block on the
// list, or one above, and reports whether it could.
func (h *heap) grow(list uint32) bool {
	if list >= lists {
		return false
	}
	end := uint64(1) << list
	if h.first != blocks.None {
		below := h.t.Prev(h.last)
		start := h.t.Nodes[h.last].Start
		if !h.t.Used(below) {
			start = h.t.Nodes[below].Start
		}
		end += uint64(start)
	}
	if end > mostGranules {
		return false
	}
	// The block ends beyond the break, or it would have been found.
	missing := end<<h.Shift + h.Pad - h.brk
	if missing > h.Limit {
		return false
	}
	size := (missing + h.Quantum - 1) / h.Quantum * h.Quantum
	if size > h.Limit || h.brk+size > h.Limit {
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: 1 << list << h.Shift, Free: h.use.Free, LargestFree: h.LargestFree()}
	h.extend(size)
	return true
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r != heapmodel.NullRef && !h.t.Live(blocks.ID(r)) {
		panic(fmt.Sprintf("half-fit: realloc of object %d, which is not live", r))
	}
	return heapmodel.Move(h, r, size, align)
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.at(blocks.ID(r)) + h.Header)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.Grain) }

// Need implements heapmodel.Heap: the power of two from which on blocks surely
// fit.
func (h *heap) Need(size uint64, align uint32) uint64 {
	granules := h.room(h.Block(min(size, heapmodel.MaxSize)), align) >> h.Shift
	return 1 << bits.Len64(granules-1) << h.Shift
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. It looks through the highest list that
// is not empty, as far as the first block that is as large as the largest there
// has been since the last call.
func (h *heap) LargestFree() uint64 {
	if h.some == 0 {
		return 0
	}
	head := listOf(h.some)
	largest := uint32(0)
	for id := h.t.Nodes[head].X; id != head && largest < h.bound; id = h.t.Nodes[id].X {
		largest = max(largest, h.t.Size(id))
	}
	h.bound = largest
	return uint64(largest) << h.Shift
}

// at returns the address of a block.
func (h *heap) at(id blocks.ID) uint64 { return h.At(h.t.Nodes[id].Start) }

// bytes returns the size of a block.
func (h *heap) bytes(id blocks.ID) uint64 { return h.Bytes(h.t.Size(id)) }

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		if h.first == blocks.None {
			return
		}
		for id := h.first; id != h.last; id = h.t.Next(id) {
			start := heapmodel.Addr(h.at(id))
			b := heapmodel.Block{Addr: start, Size: h.bytes(id), Payload: start, Wall: id == h.first, Ref: heapmodel.NullRef}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += heapmodel.Addr(h.Header)
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	var sum heapmodel.Usage
	var count [lists]uint64
	if h.first != blocks.None {
		free := false
		for id := h.first; id != h.last; id = h.t.Next(id) {
			size := h.bytes(id)
			if size < h.Least {
				return fmt.Errorf("block at %d has %d bytes", h.at(id), size)
			}
			if h.t.Used(id) {
				sum.UsedBlocks++
				sum.Allocated += size
				free = false
				continue
			}
			if free {
				return fmt.Errorf("block at %d and the one below are free", h.at(id))
			}
			free = true
			sum.FreeBlocks++
			sum.Free += size
			count[listOf(h.t.Size(id))]++
			if h.t.Size(id) > h.bound {
				return fmt.Errorf("block at %d is larger than the largest", h.at(id))
			}
		}
	}
	for list := range uint32(lists) {
		if err := h.checkList(list, count[list]); err != nil {
			return err
		}
	}
	return arena.Counted(&h.use, &sum, h.brk)
}

// checkList checks a list that is to have so many blocks.
func (h *heap) checkList(list uint32, want uint64) error {
	if h.some>>list&1 == 1 != (want > 0) {
		return fmt.Errorf("list %d: the bitmap is wrong about its %d blocks", list, want)
	}
	listed, below := uint64(0), list
	for id := h.t.Nodes[list].X; id != list; id = h.t.Nodes[id].X {
		if h.t.Nodes[id].Y != below || listed == want || id < lists || h.t.Used(id) || listOf(h.t.Size(id)) != list {
			return fmt.Errorf("list %d is broken at its block %d", list, listed)
		}
		listed++
		below = id
	}
	if listed != want || h.t.Nodes[list].Y != below {
		return fmt.Errorf("list %d: %d blocks on it, %d free", list, listed, want)
	}
	return nil
}

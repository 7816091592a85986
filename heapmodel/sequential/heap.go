package sequential

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// heap is a heap of the family. Addresses and sizes in its table are granules
// of config.align bytes.
type heap struct {
	config
	t     blocks.SlimTable
	free  *fit.SlimIndex
	use   heapmodel.Usage
	heads []blocks.ID // first block of each region
	ends  []blocks.ID // end node of each region
	brk   uint64      // end of the arena in bytes
	rover blocks.ID   // next fit: where the search starts; None is the start of the list
	key   uint32      // number of the block put on a LIFO or FIFO list last
	frees uint64      // since the last deferred coalescing
	loose bool        // deferred: a free block may have a free neighbour
}

// addr returns the address of a number of granules from the table's origin.
func (h *heap) addr(granules uint32) uint64 { return uint64(granules)<<h.shift + h.pad }

func (h *heap) bytes(granules uint32) uint64 { return uint64(granules) << h.shift }

// Alloc implements heapmodel.Heap.
func (h *heap) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	block := h.block(size)
	need := h.aligned(block, align)
	if need > h.bytes(1<<32-2) {
		return heapmodel.NullRef, false
	}
	want := uint32(need >> h.shift)
	p := h.find(want)
	if p == fit.NoPos {
		if p = h.makeRoom(want); p == fit.NoPos {
			return heapmodel.NullRef, false
		}
	}
	var id blocks.ID
	if uint64(align) <= h.align {
		id = h.take(p, want)
	} else {
		id = h.takeAligned(p, uint32(block>>h.shift), uint64(align))
	}
	return heapmodel.Ref(id), true
}

// find returns the place of the free block that the policy takes for want
// granules, and counts the nodes it visits.
func (h *heap) find(want uint32) fit.Pos {
	length := uint64(h.free.Len())
	switch h.fit {
	case bestFit:
		h.use.Steps += length
		return h.free.FirstFit(want)
	case worstFit:
		h.use.Steps += length
		if largest := h.free.Largest(); largest >= want {
			return h.free.FirstFit(largest)
		}
		return fit.NoPos
	case nextFit:
		if h.rover != blocks.None {
			return h.findFromRover(want)
		}
	}
	p := h.free.FirstFit(want)
	if p == fit.NoPos {
		h.use.Steps += length
	} else {
		h.use.Steps += uint64(h.free.Rank(p)) + 1
	}
	return p
}

func (h *heap) findFromRover(want uint32) fit.Pos {
	from := h.free.Find(h.rover)
	if p := h.free.FirstFitFrom(from, want); p != fit.NoPos {
		h.use.Steps += uint64(h.free.Rank(p)-h.free.Rank(from)) + 1
		return p
	}
	p := h.free.FirstFit(want)
	if p == fit.NoPos {
		h.use.Steps += uint64(h.free.Len())
	} else {
		h.use.Steps += uint64(h.free.Len()-h.free.Rank(from)+h.free.Rank(p)) + 1
	}
	return p
}

// makeRoom coalesces what was deferred, and grows the heap, until a block of
// want granules is there. NoPos if that cannot be.
func (h *heap) makeRoom(want uint32) fit.Pos {
	if h.coalesce == deferred {
		h.coalesceAll()
		if p := h.find(want); p != fit.NoPos {
			return p
		}
	}
	if h.quantum == 0 || !h.grow(want) {
		return fit.NoPos
	}
	return h.find(want)
}

// take makes the free block at p a used block of want granules, what remains
// of it staying free if it is large enough.
func (h *heap) take(p fit.Pos, want uint32) blocks.ID {
	id, room := h.free.At(p)
	switch rest := room - want; {
	case rest == 0 || h.bytes(rest) < h.threshold:
		h.pass(p)
		h.free.Remove(p)
	case h.splitHigh:
		// [id............] -> [id: rest][up: want]
		up := h.t.Split(id, rest)
		h.free.Update(p, id, h.free.Key(p), rest)
		h.roverTo(id)
		id = up
	default:
		// [id............] -> [id: want][up: rest]
		up := h.t.Split(id, want)
		h.free.Update(p, up, h.keyInPlace(p, up), rest)
		h.roverTo(up)
	}
	h.nowUsed(id)
	return id
}

// takeAligned makes part of the free block at p a used block of want granules
// whose payload is aligned: [id...........] -> [id: gap][mid: want][up: rest].
// The gap, if there is one, stays in the place of the block.
func (h *heap) takeAligned(p fit.Pos, want uint32, align uint64) blocks.ID {
	id, room := h.free.At(p)
	payload := h.addr(h.t.Nodes[id].Start) + h.front
	gap := (align - payload%align) % align
	for gap > 0 && gap < h.least {
		gap += align
	}
	mid := id
	if lead := uint32(gap >> h.shift); lead > 0 {
		mid = h.t.Split(id, lead)
		h.free.Update(p, id, h.free.Key(p), lead)
		h.roverTo(id)
		room -= lead
	} else {
		h.pass(p)
		h.free.Remove(p)
	}
	if rest := room - want; rest > 0 && h.bytes(rest) >= h.threshold {
		h.enter(h.t.Split(mid, want))
	}
	h.nowUsed(mid)
	return mid
}

// keyInPlace returns the key of a block that takes the place p.
func (h *heap) keyInPlace(p fit.Pos, id blocks.ID) uint32 {
	if h.order == byAddress {
		return h.t.Nodes[id].Start
	}
	return h.free.Key(p)
}

// nowUsed accounts for a block that was free, or part of one.
func (h *heap) nowUsed(id blocks.ID) {
	h.t.SetUsed(id)
	bytes := h.bytes(h.t.Size(id))
	u := &h.use
	u.UsedBlocks++
	u.FreeBlocks = uint64(h.free.Len())
	u.Allocated += bytes
	u.Free -= bytes
	u.HighWater = max(u.HighWater, h.addr(h.t.Nodes[id].Start)+bytes)
}

// roverTo puts the rover of next fit at a block of the list.
func (h *heap) roverTo(id blocks.ID) {
	if h.fit == nextFit {
		h.rover = id
	}
}

// pass puts the rover of next fit behind the block at p.
func (h *heap) pass(p fit.Pos) {
	if h.fit != nextFit {
		return
	}
	h.rover = blocks.None
	if next := h.free.Next(p); next != fit.NoPos {
		h.rover, _ = h.free.At(next)
	}
}

// unlink takes a block off the list that is to be joined with the block into.
func (h *heap) unlink(id, into blocks.ID) {
	p := h.free.Find(id)
	if h.rover == id && h.fit == nextFit {
		if h.order == byAddress {
			h.rover = into
		} else {
			h.pass(p)
		}
	}
	h.free.Remove(p)
}

// enter puts a free block on the list, where a freed block goes.
func (h *heap) enter(id blocks.ID) {
	p := h.free.Insert(id, h.newKey(id), h.t.Size(id))
	if h.order == byAddress && h.fit != bestFit {
		h.use.Steps += uint64(h.free.Rank(p))
	}
}

// newKey returns the key of a block that goes on the list anew.
func (h *heap) newKey(id blocks.ID) uint32 {
	switch h.order {
	case lifo:
		if h.key == 1 {
			h.renumber()
		}
		h.key--
	case fifo:
		if h.key == 1<<32-2 {
			h.renumber()
		}
		h.key++
	default:
		return h.t.Nodes[id].Start
	}
	return h.key
}

// renumber gives the blocks of the list keys in the middle of the range, once
// in two thousand million frees.
func (h *heap) renumber() {
	base := uint32(1<<31) - uint32(h.free.Len())/2
	h.free.Rekey(base)
	h.key = base
	if h.order == fifo {
		h.key += uint32(h.free.Len())
	}
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := blocks.ID(r)
	if !h.t.Live(id) {
		panic(fmt.Sprintf("sequential: free of object %d, which is not live", r))
	}
	bytes := h.bytes(h.t.Size(id))
	u := &h.use
	u.UsedBlocks--
	u.Allocated -= bytes
	u.Free += bytes
	h.t.SetFree(id)
	h.put(id)
	if h.coalesce == deferred {
		if h.frees++; h.every > 0 && h.frees >= h.every {
			h.coalesceAll()
		}
	}
	u.FreeBlocks = uint64(h.free.Len())
}

// put puts a block marked free on the list, joined with its neighbours if
// coalescing is immediate.
func (h *heap) put(id blocks.ID) {
	h.loose = true
	if h.coalesce == immediate {
		if h.order == byAddress && h.fit != bestFit && h.joinInPlace(id) {
			return
		}
		id = h.join(id)
	}
	h.enter(id)
}

// joinInPlace is join and enter at once for a list in address order, where the
// joined block has the place of its neighbour. It reports whether a neighbour
// is free, and does nothing if none is.
func (h *heap) joinInPlace(id blocks.ID) bool {
	low, high := h.t.Prev(id), h.t.Next(id)
	joinsHigh := !h.t.Used(high) // an end node is used
	if low == blocks.None || h.t.Used(low) {
		if !joinsHigh {
			return false
		}
		// [id][high] -> [id......]
		p := h.free.Find(high)
		if h.rover == high && h.fit == nextFit {
			h.rover = id
		}
		h.free.Update(p, id, h.t.Nodes[id].Start, h.t.Size(id)+h.t.Size(high))
		h.t.Merge(id)
		h.use.Steps += uint64(h.free.Rank(p)) + 1
		return true
	}
	if joinsHigh {
		h.unlink(high, low)
		h.t.Merge(id)
		h.use.Steps++
	}
	// [low][id] -> [low.....]
	p := h.free.Find(low)
	h.free.Update(p, low, h.t.Nodes[low].Start, h.t.Size(low)+h.t.Size(id))
	h.t.Merge(low)
	h.use.Steps += uint64(h.free.Rank(p)) + 1
	return true
}

// join joins a free block that is not on the list with its free neighbours,
// which leave the list, and returns the joined block.
func (h *heap) join(id blocks.ID) blocks.ID {
	low, high := h.t.Prev(id), h.t.Next(id)
	joined := id
	if low != blocks.None && !h.t.Used(low) {
		joined = low
	}
	if !h.t.Used(high) { // an end node is used
		h.unlink(high, joined)
		h.t.Merge(id)
		h.use.Steps++
	}
	if joined == low {
		h.unlink(low, low)
		h.t.Merge(low)
		h.use.Steps++
	}
	return joined
}

// coalesceAll joins every run of adjacent free blocks.
func (h *heap) coalesceAll() {
	h.frees = 0
	if !h.loose {
		return
	}
	h.loose = false
	for _, id := range h.heads {
		for ; h.t.Next(id) != blocks.None; id = h.t.Next(id) {
			if h.t.Used(id) || h.t.Used(h.t.Next(id)) {
				continue
			}
			for high := h.t.Next(id); !h.t.Used(high); high = h.t.Next(id) {
				h.unlink(high, id)
				h.t.Merge(id)
				h.use.Steps++
			}
			p := h.free.Find(id)
			h.free.Update(p, id, h.free.Key(p), h.t.Size(id))
		}
	}
	h.use.FreeBlocks = uint64(h.free.Len())
}

// Realloc implements heapmodel.Heap.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	if !h.t.Live(blocks.ID(r)) {
		panic(fmt.Sprintf("sequential: realloc of object %d, which is not live", r))
	}
	if !h.inPlace || size > heapmodel.MaxSize {
		return heapmodel.Move(h, r, size, align)
	}
	block := h.block(size)
	if block > h.bytes(1<<32-2) || !h.resize(blocks.ID(r), uint32(block>>h.shift)) {
		return heapmodel.Move(h, r, size, align)
	}
	return r, true
}

// resize makes a used block want granules long where it is, if it is long
// enough with a free upper neighbour.
func (h *heap) resize(id blocks.ID, want uint32) bool {
	was := h.t.Size(id)
	room, high := was, h.t.Next(id)
	if want > was {
		if h.t.Used(high) {
			return false
		}
		if room += h.t.Size(high); room < want {
			return false
		}
		// [id][high......] -> [id............]
		p := h.free.Find(high)
		if h.rover == high {
			h.pass(p)
		}
		h.free.Remove(p)
		h.t.Merge(id)
	}
	if rest := room - want; rest > 0 && h.bytes(rest) >= h.threshold {
		up := h.t.Split(id, want)
		h.put(up)
	}
	u := &h.use
	now := h.bytes(h.t.Size(id))
	u.Allocated += now - h.bytes(was)
	u.Free -= now - h.bytes(was)
	u.FreeBlocks = uint64(h.free.Len())
	u.HighWater = max(u.HighWater, h.addr(h.t.Nodes[id].Start)+now)
	return true
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(h.addr(h.t.Nodes[r].Start) + h.front)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return uint32(h.align) }

// Need implements heapmodel.Heap.
func (h *heap) Need(size uint64, align uint32) uint64 { return h.aligned(h.block(size), align) }

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *heap) LargestFree() uint64 { return h.bytes(h.free.Largest()) }

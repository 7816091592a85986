// Package bump models the heaps that hand out memory by raising a pointer: the
// bump allocator, whose arena comes back at best when nothing lives, and
// regions, which do the same in chunks and give back each chunk by itself.
//
// The bump heap:
//
//	[object][dead....][object][object]          free
//	                                  ^pointer        end of the arena or break
//
// An object that is freed stays in the arena as a dead block, which nobody can
// have: it counts as allocated. Adjacent dead blocks are counted as one. When
// memory comes back is the parameter reclaim:
//
//   - none: never;
//   - last: a free of the topmost object lowers the pointer to its start, or to
//     that of the gap in front of it; dead blocks below it stay dead;
//   - empty: when no object lives any more, the pointer returns to the start.
//
// With realloc=inplace the topmost object grows and shrinks where it is, and the
// pointer with it; any other object stays where it is if its block is large
// enough. The rules of regions are at Region.
package bump

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

const source = "Wilson, Johnstone, Neely and Boles, Dynamic Storage Allocation: A Survey and Critical Review, 1995; "

// Model is the catalog row of bump.
var Model = &heapmodel.Model{
	Name:   "bump",
	Family: "regions",
	Title:  "a pointer that only rises, or falls when the last or the only object is freed",
	Doc: "Objects are placed one after the other. A freed object stays in its place as a dead block, which counts as allocated, unless " +
		"the parameter reclaim says otherwise: with last, a free of the topmost object lowers the pointer; with empty, the pointer returns to the " +
		"start when no object lives. A request of size 0 gets the smallest block. The gap in front of an aligned payload is part of its block. " +
		"Realloc moves, or resizes the topmost object in place and leaves others where they are if they fit. " +
		"Nothing is searched: there are no steps.\n\n" +
		"All rules are in the documentation of the package. A policy, not a model of one allocator.",
	Source: source + "Hanson, Fast Allocation and Deallocation of Memory Based on Object Lifetimes, Software - Practice and Experience 20(1), 1990",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: slices.Concat([]heapmodel.Param{
		arena.Capacity(),
		{Key: "reclaim", Kind: heapmodel.ParamEnum, Default: "none", Enum: []string{"none", "last", "empty"}, Doc: "when the pointer falls: never, when the topmost object is freed, when no object lives"},
		{Key: "realloc", Kind: heapmodel.ParamEnum, Default: "move", Enum: []string{"move", "inplace"}, Doc: "realloc always moves, or resizes the topmost object in place"},
	}, arena.Params("0")),
	New: newBump,
}

// reclaim says when the pointer falls.
type reclaim uint8

const (
	reclaimNone reclaim = iota
	reclaimLast
	reclaimEmpty
)

func newBump(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &bump{inPlace: c.Text("realloc") == "inplace"}
	h.reclaim = map[string]reclaim{"none": reclaimNone, "last": reclaimLast, "empty": reclaimEmpty}[c.Text("reclaim")]
	var err error
	if h.Config, err = arena.Read(c, "a block", func(g *arena.Config) uint64 { return g.Least }); err != nil {
		return nil, err
	}
	h.first = h.t.Region(0, 0)
	h.rest, h.end = h.first, h.t.Next(h.first)
	h.obtain(h.Capacity)
	return h, nil
}

// bump is the heap. Its table holds the objects and dead blocks in address
// order, all marked used, and last the rest, marked free, which may be empty. A
// Ref is the ID of a block. X of an object's record is the gap in front of its
// payload, in granules of Grain bytes; Y is dead or alive.
type bump struct {
	arena.Config
	reclaim reclaim
	inPlace bool

	t     blocks.Table
	first blocks.ID
	rest  blocks.ID // from the pointer on
	end   blocks.ID // end node
	live  uint64    // objects
	brk   uint64    // end of the arena in bytes
	use   heapmodel.Usage
}

// Values of Node.Y.
const (
	alive = iota
	dead
)

// Alloc implements heapmodel.Heap.
func (h *bump) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	gap := h.gap(h.t.Nodes[h.rest].Start, align)
	want := gap + h.Block(size)
	if !h.reserve(want) {
		return heapmodel.NullRef, false
	}
	// [rest........] -> [id: want][rest]
	id := h.rest
	h.rest = h.t.Split(id, uint32(want>>h.Shift))
	h.t.SetUsed(id)
	h.t.Nodes[id].X, h.t.Nodes[id].Y = uint32(gap>>h.Shift), alive
	h.live++
	h.use.UsedBlocks++
	h.account()
	return heapmodel.Ref(id), true
}

// gap returns the bytes in front of a block at a granule so that its payload is
// aligned.
func (h *bump) gap(start, align uint32) uint64 {
	if uint64(align) <= h.Grain {
		return 0
	}
	payload := h.At(start) + h.Header
	return (uint64(align) - payload%uint64(align)) % uint64(align)
}

// reserve sees to it that so many bytes are in the rest, and reports whether
// they are.
func (h *bump) reserve(want uint64) bool {
	room := h.Bytes(h.t.Size(h.rest))
	if want <= room {
		return true
	}
	size, ok := h.Quanta(h.brk, h.At(h.t.Nodes[h.rest].Start)+want-h.brk)
	if !ok {
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: want, Free: h.use.Free, LargestFree: h.use.Free}
	h.obtain(size)
	return true
}

// obtain raises the break.
func (h *bump) obtain(size uint64) {
	h.brk += size
	h.t.MoveEnd(h.end, h.Top(h.brk))
	h.use.Arena = h.brk
	h.account()
}

// account makes the counters of bytes fit the pointer.
func (h *bump) account() {
	u := &h.use
	pointer := h.t.Nodes[h.rest].Start
	u.Allocated = h.Bytes(pointer)
	u.Free = h.Bytes(h.t.Size(h.rest))
	u.Overhead = u.Arena - u.Allocated - u.Free
	u.FreeBlocks = min(1, u.Free)
	if pointer > 0 {
		u.HighWater = max(u.HighWater, h.At(pointer))
	}
}

// Free implements heapmodel.Heap.
func (h *bump) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := h.object(r)
	h.live--
	switch {
	case h.reclaim == reclaimEmpty && h.live == 0:
		id = h.bury(id)
		h.lower(id)
	case h.reclaim == reclaimLast && h.t.Next(id) == h.rest:
		h.lower(id)
	default:
		h.bury(id)
	}
}

// lower gives the topmost block back.
func (h *bump) lower(id blocks.ID) {
	// [id][rest...] -> [rest......]
	h.t.SetFree(id)
	h.t.Merge(id)
	h.rest = id
	h.use.UsedBlocks--
	h.account()
}

// bury makes an object a dead block, one with its dead neighbours, and returns
// that.
func (h *bump) bury(id blocks.ID) blocks.ID {
	h.t.Nodes[id].Y = dead
	if high := h.t.Next(id); high != h.rest && h.t.Nodes[high].Y == dead {
		h.t.Merge(id)
		h.use.UsedBlocks--
	}
	if low := h.t.Prev(id); low != blocks.None && h.t.Nodes[low].Y == dead {
		h.t.Merge(low)
		h.use.UsedBlocks--
		id = low
	}
	return id
}

// object returns the block of a live object and panics if there is none.
func (h *bump) object(r heapmodel.Ref) blocks.ID {
	if !h.t.Live(blocks.ID(r)) || h.t.Nodes[r].Y == dead {
		panic("bump: the Ref is not that of a live object")
	}
	return blocks.ID(r)
}

// Realloc implements heapmodel.Heap.
func (h *bump) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := h.object(r)
	if h.inPlace && size <= heapmodel.MaxSize {
		want := h.Bytes(h.t.Nodes[id].X) + h.Block(size)
		if h.t.Next(id) == h.rest {
			return r, h.resize(id, want)
		}
		if want <= h.Bytes(h.t.Size(id)) {
			return r, true
		}
	}
	return heapmodel.Move(h, r, size, align)
}

// resize moves the pointer so that the topmost block has so many bytes, and
// reports whether it could. If not, a move would need even more.
func (h *bump) resize(id blocks.ID, want uint64) bool {
	if was := h.Bytes(h.t.Size(id)); want > was && !h.reserve(want-was) {
		return false
	}
	h.t.Nodes[h.rest].Start = h.t.Nodes[id].Start + uint32(want>>h.Shift)
	h.account()
	return true
}

// Addr implements heapmodel.Heap.
func (h *bump) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	n := &h.t.Nodes[r]
	return heapmodel.Addr(h.At(n.Start+n.X) + h.Header)
}

// Align implements heapmodel.Heap.
func (h *bump) Align() uint32 { return uint32(h.Grain) }

// Need implements heapmodel.Heap: without a gap, as the pointer may be aligned.
func (h *bump) Need(size uint64, _ uint32) uint64 { return h.Block(size) }

// Usage implements heapmodel.Heap.
func (h *bump) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(1).
func (h *bump) LargestFree() uint64 { return h.use.Free }

// Blocks implements heapmodel.Heap. Dead blocks are used ones without a Ref.
func (h *bump) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for id := h.first; id != h.end; id = h.t.Next(id) {
			n := &h.t.Nodes[id]
			at := heapmodel.Addr(h.At(n.Start))
			b := heapmodel.Block{Addr: at, Size: h.Bytes(h.t.Size(id)), Payload: at, Wall: id == h.first, Ref: heapmodel.NullRef}
			if id == h.rest && b.Size == 0 {
				return
			}
			if b.Used = id != h.rest; b.Used && n.Y == alive {
				b.Ref = heapmodel.Ref(id)
				b.Payload = h.Addr(b.Ref)
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *bump) Check() error {
	var live, used, at uint64
	low, lowDead := blocks.None, false
	for id := h.first; id != h.end; id = h.t.Next(id) {
		n, size := &h.t.Nodes[id], h.Bytes(h.t.Size(id))
		switch {
		case h.Bytes(n.Start) != at || h.t.Prev(id) != low:
			return fmt.Errorf("block at granule %d follows one that ends at %d", n.Start, at>>h.Shift)
		case h.t.Used(id) == (id == h.rest) || (h.t.Next(id) == h.end) != (id == h.rest):
			return fmt.Errorf("block at granule %d is marked used: %v, the rest is %v", n.Start, h.t.Used(id), id == h.rest)
		case size > h.brk || id != h.rest && size < h.Least:
			return fmt.Errorf("block at granule %d has %d bytes", n.Start, size)
		}
		at, low = at+size, id
		if id == h.rest {
			break
		}
		used++
		if n.Y == alive {
			live++
		} else if lowDead {
			return fmt.Errorf("block at granule %d and the one below are dead", n.Start)
		}
		lowDead = n.Y == dead
	}
	u := h.use
	pointer := h.Bytes(h.t.Nodes[h.rest].Start)
	switch {
	case at != h.Bytes(h.Top(h.brk)):
		return fmt.Errorf("blocks end at granule %d, the arena at %d", at>>h.Shift, h.Top(h.brk))
	case live != h.live || used != u.UsedBlocks:
		return fmt.Errorf("counters say %d objects in %d used blocks, the walk %d in %d", h.live, u.UsedBlocks, live, used)
	case u.Allocated != pointer || u.Free != at-pointer || u.FreeBlocks != min(1, u.Free):
		return fmt.Errorf("counters say %d bytes in use and %d free in %d blocks, the pointer is at %d of %d", u.Allocated, u.Free, u.FreeBlocks, pointer, at)
	case u.Arena != u.Allocated+u.Free+u.Overhead || u.Arena != h.brk:
		return fmt.Errorf("arena of %d bytes, break at %d: %d allocated, %d free, %d overhead", u.Arena, h.brk, u.Allocated, u.Free, u.Overhead)
	case h.reclaim == reclaimEmpty && h.live == 0 && pointer > 0:
		return errors.New("no object lives and the pointer is not at the start")
	}
	return nil
}

package bump

import (
	"fmt"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// Region is the catalog row of region.
//
// The arena is cut into chunks and free runs between them:
//
//	[control][object][dead..][object]  lost  [control][object]   rest      free run
//	 chunk, retired                           current chunk
//
// What the literature leaves open is decided so:
//
//   - An object goes behind the last one of the current chunk if it fits there.
//     If not, it goes into a new chunk, which becomes the current one; what was
//     left of the one before is lost until that is given back.
//   - An object that a chunk cannot hold, control and the largest possible gap of
//     an aligned payload included, gets a chunk of its own, exactly as large as
//     that, and the current chunk stays.
//   - A freed object becomes a dead block, one with its dead neighbours in the
//     chunk. A chunk whose last object dies is given back at once, the current
//     chunk too; then there is none until the next request.
//   - The memory of chunks is a list of free runs in address order: first fit,
//     the low end of a run, immediate coalescing. A growing heap raises its break
//     by the multiple of the quantum that makes the last run long enough.
var Region = &heapmodel.Model{
	Name:   "region",
	Family: "regions",
	Title:  "objects bumped into chunks; a chunk comes back when all its objects are dead",
	Doc: "As the obstacks and arenas of compilers and servers do, objects are placed one after the other in a chunk, and when one does not " +
		"fit, a new chunk is begun; here objects are freed one by one, and a chunk returns when its last one dies. " +
		"Objects larger than a chunk have one of their own. A freed object counts as allocated until its chunk returns; what was left of " +
		"a chunk when the next was begun is overhead, as are the control bytes at the start of each. Free blocks are the " +
		"rest of the current chunk and the free runs that chunks are cut from by first fit in address order. " +
		"A request of size 0 gets the smallest block. The gap in front of an aligned payload is part of its block. Realloc " +
		"moves, or resizes the last object of the current chunk in place and leaves others where they are if they fit. " +
		"A step is a request, which looks at the current chunk, a free run visited on the way to the first that fits or to the " +
		"place of one that is given back, and a run joined.\n\n" +
		"All rules are in the documentation of the package. A policy, not a model of one allocator.",
	Source: source + "Hanson, Fast Allocation and Deallocation of Memory Based on Object Lifetimes, Software - Practice and Experience 20(1), 1990; " +
		"The GNU C Library Reference Manual, section Obstacks",
	Caps: heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: slices.Concat([]heapmodel.Param{
		arena.Capacity(),
		{Key: "chunk", Kind: heapmodel.ParamBytes, Default: "4KiB", Doc: "bytes of a chunk, control included, rounded up to the alignment"},
		{Key: "control", Kind: heapmodel.ParamBytes, Doc: "bytes at the start of each chunk for its links; default: two words"},
		{Key: "realloc", Kind: heapmodel.ParamEnum, Default: "move", Enum: []string{"move", "inplace"}, Doc: "realloc always moves, or resizes the last object of the current chunk in place"},
	}, arena.Params("0")),
	New: newRegion,
}

func newRegion(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &region{inPlace: c.Text("realloc") == "inplace", current: noChunk, rest: blocks.None, end: blocks.None}
	if err := arena.Housekeeping(c, "chunk", "control"); err != nil {
		return nil, err
	}
	control, chunk, least := uint64(0), uint64(0), uint64(0)
	var err error
	h.Config, err = arena.Read(c, "a chunk", func(g *arena.Config) uint64 {
		control = 2 * g.Word
		if c.Set("control") {
			control = c.Bytes("control")
		}
		control, chunk = g.Up(control), g.Up(c.Bytes("chunk"))
		least = control + g.Least
		return max(chunk, least)
	})
	if err != nil {
		return nil, err
	}
	if chunk < least {
		return nil, fmt.Errorf("chunk=%s: the least that holds an object is %d bytes", c.Text("chunk"), least)
	}
	h.control, h.chunk = uint32(control>>h.Shift), uint32(chunk>>h.Shift)
	h.free = fit.New(&h.t, fit.ByKey)
	if h.Capacity > 0 {
		h.obtain(h.Capacity)
	}
	return h, nil
}

// region is the heap. Its table holds, in address order, the parts of chunks,
// all marked used, and the free runs. A Ref is the ID of an object's block. Y of
// a part's record is its chunk and kind; X of an object's is the gap in front of
// its payload, in granules of Grain bytes; X of a free run is the index's.
type region struct {
	arena.Config
	inPlace bool
	chunk   uint32 // granules
	control uint32 // granules

	t       blocks.Table
	free    *fit.Index // free runs by address
	chunks  []chunk
	spare   uint32 // chain of chunks given back through live, plus one
	current uint32
	rest    blocks.ID // of the current chunk, marked used; None if there is none
	first   blocks.ID // lowest block
	end     blocks.ID // end node; None before there is any memory
	brk     uint64    // end of the arena in bytes
	use     heapmodel.Usage
}

// chunk is the record of a chunk.
type chunk struct {
	first blocks.ID // its lowest part
	live  uint32    // objects
}

// noChunk is the number of no chunk.
const noChunk = 1<<30 - 1

// Kinds of the parts of chunks, in Node.Y with the number of the chunk above.
const (
	kindObject = iota
	kindDead
	kindControl
	kindRest // of the current chunk, or lost

	kindBits = 2
	kindMask = 1<<kindBits - 1
)

func (h *region) kind(id blocks.ID) uint32 { return h.t.Nodes[id].Y & kindMask }

func (h *region) setKind(id blocks.ID, chunk, kind uint32) {
	h.t.SetUsed(id)
	h.t.Nodes[id].Y = chunk<<kindBits | kind
}

// Alloc implements heapmodel.Heap.
func (h *region) Alloc(size uint64, align uint32) (heapmodel.Ref, bool) {
	if size > heapmodel.MaxSize {
		return heapmodel.NullRef, false
	}
	h.use.Steps++
	block := h.Block(size)
	most := block
	if uint64(align) > h.Grain {
		most += uint64(align) - h.Grain
	}
	length := h.Bytes(h.control) + most
	large := length > h.Bytes(h.chunk)
	if length > h.Reach() {
		return heapmodel.NullRef, false
	}
	if !large && h.rest != blocks.None {
		gap := h.gap(h.rest, align)
		if gap+block <= h.Bytes(h.t.Size(h.rest)) {
			return h.place(uint32(gap>>h.Shift), uint32(block>>h.Shift)), true
		}
	}
	want := h.chunk
	if large {
		want = uint32(length >> h.Shift)
	}
	id, number, ok := h.begin(want)
	if !ok {
		return heapmodel.NullRef, false
	}
	if large {
		h.chunks[number].live = 1
		h.setKind(id, number, kindObject)
		h.t.Nodes[id].X = uint32(h.gap(id, align) >> h.Shift)
		h.nowUsed(id)
		return heapmodel.Ref(id), true
	}
	h.retire()
	h.setKind(id, number, kindRest)
	h.current, h.rest = number, id
	h.use.FreeBlocks++
	return h.place(uint32(h.gap(id, align)>>h.Shift), uint32(block>>h.Shift)), true
}

// gap returns the bytes in front of a block in a part so that its payload is
// aligned.
func (h *region) gap(part blocks.ID, align uint32) uint64 {
	if uint64(align) <= h.Grain {
		return 0
	}
	payload := h.At(h.t.Nodes[part].Start) + h.Header
	return (uint64(align) - payload%uint64(align)) % uint64(align)
}

// place places an object in the rest of the current chunk, where it fits.
func (h *region) place(gap, block uint32) heapmodel.Ref {
	id, want := h.rest, gap+block
	h.use.FreeBlocks--
	if h.rest = blocks.None; h.t.Size(id) > want {
		// [id: rest....] -> [id: object][rest]
		h.rest = h.t.Split(id, want)
		h.setKind(h.rest, h.current, kindRest)
		h.use.FreeBlocks++
	}
	h.setKind(id, h.current, kindObject)
	h.t.Nodes[id].X = gap
	h.chunks[h.current].live++
	h.nowUsed(id)
	return heapmodel.Ref(id)
}

// nowUsed accounts for an object's block, whose bytes counted as free.
func (h *region) nowUsed(id blocks.ID) {
	u := &h.use
	bytes := h.Bytes(h.t.Size(id))
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	u.HighWater = max(u.HighWater, h.At(h.t.Nodes[id].Start)+bytes)
}

// retire makes the rest of the current chunk overhead.
func (h *region) retire() {
	if h.rest == blocks.None {
		return
	}
	bytes := h.Bytes(h.t.Size(h.rest))
	h.use.Free -= bytes
	h.use.Overhead += bytes
	h.use.FreeBlocks--
	h.rest = blocks.None
}

// begin takes a chunk of want granules and returns the part behind its control
// bytes, which counts as free still, and its number.
func (h *region) begin(want uint32) (part blocks.ID, number uint32, ok bool) {
	p := h.find(want)
	if p == fit.NoPos {
		if !h.grow(want) {
			return 0, 0, false
		}
		p = h.find(want)
	}
	id, room := h.free.At(p)
	if room > want {
		// [id: free......] -> [id: chunk][up: free]
		up := h.t.Split(id, want)
		h.free.Update(p, up, h.t.Nodes[up].Start, room-want)
	} else {
		h.free.Remove(p)
		h.use.FreeBlocks--
	}
	number = h.takeChunk()
	h.chunks[number] = chunk{first: id}
	if h.control == 0 {
		return id, number, true
	}
	part = h.t.Split(id, h.control)
	h.setKind(id, number, kindControl)
	bytes := h.Bytes(h.control)
	h.use.Free -= bytes
	h.use.Overhead += bytes
	return part, number, true
}

// takeChunk returns the number of an unused record.
func (h *region) takeChunk() uint32 {
	if number := h.spare; number != 0 {
		h.spare = h.chunks[number-1].live
		return number - 1
	}
	h.chunks = append(h.chunks, chunk{})
	return uint32(len(h.chunks) - 1)
}

// find returns the place of the first free run of want granules.
func (h *region) find(want uint32) fit.Pos {
	p := h.free.FirstFit(want)
	if p == fit.NoPos {
		h.use.Steps += uint64(h.free.Len())
	} else {
		h.use.Steps += uint64(h.free.Rank(p)) + 1
	}
	return p
}

// Free implements heapmodel.Heap.
func (h *region) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	id := h.object(r)
	number := h.t.Nodes[id].Y >> kindBits
	h.setKind(id, number, kindDead)
	if high := h.t.Next(id); h.inChunk(high, number) && h.kind(high) == kindDead {
		h.t.Merge(id)
		h.use.UsedBlocks--
	}
	if low := h.t.Prev(id); low != blocks.None && h.inChunk(low, number) && h.kind(low) == kindDead {
		h.t.Merge(low)
		h.use.UsedBlocks--
	}
	if h.chunks[number].live--; h.chunks[number].live == 0 {
		h.giveBack(number)
	}
}

// inChunk reports whether a block is a part of a chunk.
func (h *region) inChunk(id blocks.ID, number uint32) bool {
	return h.t.Live(id) && h.t.Nodes[id].Y>>kindBits == number
}

// giveBack makes a chunk without objects a free run. It has few parts: control,
// a dead block and a rest.
func (h *region) giveBack(number uint32) {
	if number == h.current {
		h.retire()
		h.current = noChunk
	}
	id := h.chunks[number].first
	u := &h.use
	for part := id; h.inChunk(part, number); part = h.t.Next(part) {
		bytes := h.Bytes(h.t.Size(part))
		u.Free += bytes
		if h.kind(part) == kindDead {
			u.Allocated -= bytes
			u.UsedBlocks--
		} else {
			u.Overhead -= bytes
		}
	}
	for h.inChunk(h.t.Next(id), number) {
		h.t.Merge(id)
	}
	h.chunks[number] = chunk{live: h.spare}
	h.spare = number + 1
	h.put(id)
}

// put makes a block a free run, one with the free runs beside it.
func (h *region) put(id blocks.ID) {
	h.t.SetFree(id)
	if high := h.t.Next(id); !h.t.Used(high) { // an end node is used
		h.unlink(high)
		h.t.Merge(id)
	}
	if low := h.t.Prev(id); low != blocks.None && !h.t.Used(low) {
		h.unlink(low)
		h.t.Merge(low)
		id = low
	}
	p := h.free.Insert(id, h.t.Nodes[id].Start, h.t.Size(id))
	h.use.Steps += uint64(h.free.Rank(p))
	h.use.FreeBlocks++
}

// unlink takes a free run off the list that is to be joined with another.
func (h *region) unlink(id blocks.ID) {
	h.free.Remove(h.free.Find(id))
	h.use.FreeBlocks--
	h.use.Steps++
}

// grow raises the break so that the last run has want granules, and reports
// whether it may.
func (h *region) grow(want uint32) bool {
	missing := want
	if h.end != blocks.None {
		if last := h.t.Prev(h.end); !h.t.Used(last) {
			missing -= min(want, h.t.Size(last))
		}
	}
	size, ok := h.Quanta(h.brk, h.At(h.Top(h.brk))+h.Bytes(missing)-h.brk)
	if !ok {
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: h.Bytes(want), Free: h.use.Free, LargestFree: h.LargestFree()}
	h.obtain(size)
	return true
}

// obtain raises the break by size bytes, which end at least a granule above the
// last block. They are a free run.
func (h *region) obtain(size uint64) {
	was := h.Top(h.brk)
	h.brk += size
	to := h.Top(h.brk)
	more := h.Bytes(to - was)
	u := &h.use
	u.Arena += size
	u.Free += more
	// The difference may be negative when lost bytes become part of a run.
	u.Overhead += size - more
	if h.end == blocks.None {
		h.first = h.t.Region(was, to)
		h.end = h.t.Next(h.first)
		h.put(h.first)
		return
	}
	last := h.t.Prev(h.end)
	length := h.t.Size(last)
	h.t.MoveEnd(h.end, to)
	h.put(h.t.Split(last, length))
}

// object returns the block of a live object and panics if there is none.
func (h *region) object(r heapmodel.Ref) blocks.ID {
	if !h.t.Live(blocks.ID(r)) || h.kind(blocks.ID(r)) != kindObject {
		panic("bump: the Ref is not that of a live object")
	}
	return blocks.ID(r)
}

// Realloc implements heapmodel.Heap.
func (h *region) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	if r == heapmodel.NullRef {
		return h.Alloc(size, align)
	}
	id := h.object(r)
	if h.inPlace && size <= heapmodel.MaxSize && h.resize(id, h.Bytes(h.t.Nodes[id].X)+h.Block(size)) {
		return r, true
	}
	return heapmodel.Move(h, r, size, align)
}

// resize makes an object's block so many bytes long if it is the last of the
// current chunk and they are there. It reports whether the object can stay,
// which another one can if they are in its block.
func (h *region) resize(id blocks.ID, bytes uint64) bool {
	number := h.t.Nodes[id].Y >> kindBits
	room := h.Bytes(h.t.Size(id))
	if number != h.current || h.rest == blocks.None || h.t.Next(id) != h.rest {
		if bytes > room {
			return false
		}
		if number != h.current || h.inChunk(h.t.Next(id), number) {
			return true
		}
	} else if bytes > room+h.Bytes(h.t.Size(h.rest)) {
		return false
	}
	if h.rest != blocks.None {
		// [id][rest....] -> [id........]
		h.t.Merge(id)
		h.rest = blocks.None
		h.use.FreeBlocks--
	}
	if want := uint32(bytes >> h.Shift); h.t.Size(id) > want {
		h.rest = h.t.Split(id, want)
		h.setKind(h.rest, number, kindRest)
		h.use.FreeBlocks++
	}
	u := &h.use
	u.Allocated += bytes - room
	u.Free -= bytes - room
	u.HighWater = max(u.HighWater, h.At(h.t.Nodes[id].Start)+bytes)
	return true
}

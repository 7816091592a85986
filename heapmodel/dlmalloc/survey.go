package dlmalloc

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Addr implements heapmodel.Heap: an object begins a unit above its chunk.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return (heapmodel.Addr(h.t.Nodes[r].Start) + 1) << h.shift
}

// Align implements heapmodel.Heap: 8 bytes on 32-bit machines, 16 on others.
func (h *heap) Align() uint32 { return uint32(h.unit) }

// Need implements heapmodel.Heap. The top must have a byte more.
func (h *heap) Need(size uint64, align uint32) uint64 {
	if uint64(align) > h.unit {
		size = h.padded(size, max(align, leastUnits<<h.shift))
	}
	return h.unitsOf(size) << h.shift
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap. O(depth of a trie).
func (h *heap) LargestFree() uint64 {
	units := max(h.dvUnits, h.largest())
	if h.smallMap != 0 {
		units = max(units, uint32(bits.Len32(h.smallMap)-1))
	}
	return max(uint64(units)<<h.shift, h.topBytes())
}

// Native implements heapmodel.Native with the figures of mallinfo: free_bytes
// is fordblks, which has the bytes behind the top that are never used,
// allocated_bytes uordblks, which has the state of an mspace, and top_bytes
// keepcost.
func (h *heap) Native() []heapmodel.Stat {
	free := h.use.Free
	if h.use.Arena > 0 {
		free += h.foot
	}
	return []heapmodel.Stat{
		{Key: "break", Value: h.use.Arena},
		{Key: "footprint_bytes", Value: h.use.Arena},
		{Key: "max_footprint_bytes", Value: h.use.Arena},
		{Key: "free_bytes", Value: free},
		{Key: "free_blocks", Value: h.use.FreeBlocks},
		{Key: "allocated_bytes", Value: h.use.Arena - free},
		{Key: "top_bytes", Value: h.topBytes()},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

// start returns where the bytes of a chunk start: the word in front of its
// header is that of the chunk below as long as that is used, and in return it
// has the first word of the chunk above.
func (h *heap) start(id blocks.ID) heapmodel.Addr {
	return heapmodel.Addr(h.t.Nodes[id].Start)<<h.shift + heapmodel.Addr(h.word)
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		lowest := h.t.Next(wall)
		for id := lowest; id != h.top; id = h.t.Next(id) {
			start := h.start(id)
			b := heapmodel.Block{
				Addr: start, Size: uint64(h.t.Size(id)) << h.shift, Payload: start,
				Wall: id == lowest, Ref: heapmodel.NullRef,
			}
			if h.t.Used(id) {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload = h.Addr(b.Ref)
			}
			if !yield(b) {
				return
			}
		}
		if size := h.topBytes(); size > 0 {
			start := h.start(h.top)
			yield(heapmodel.Block{Addr: start, Size: size, Payload: start, Wall: h.top == lowest, Ref: heapmodel.NullRef})
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	count, err := h.checkChunks()
	if err != nil {
		return err
	}
	u := h.use
	switch {
	case count.UsedBlocks != u.UsedBlocks || count.FreeBlocks != u.FreeBlocks || count.Allocated != u.Allocated || count.Free != u.Free:
		return fmt.Errorf("counters say %d used chunks of %d bytes and %d free of %d, a walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, count.UsedBlocks, count.Allocated, count.FreeBlocks, count.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	case count.HighWater > u.HighWater:
		return fmt.Errorf("high-water mark %d is below a used chunk that ends at %d", u.HighWater, count.HighWater)
	}
	binned := int(count.FreeBlocks)
	if h.topBytes() > 0 {
		binned--
	}
	if h.dv != noVictim {
		binned--
		if h.dv < reserved || h.t.Used(h.dv) || h.t.Size(h.dv) != h.dvUnits {
			return fmt.Errorf("designated victim is chunk %d of %d units", h.dv, h.dvUnits)
		}
	} else if h.dvUnits != 0 {
		return fmt.Errorf("no designated victim has %d units", h.dvUnits)
	}
	rings, err := h.checkRings(binned)
	if err != nil {
		return err
	}
	if err := h.checkTries(); err != nil {
		return err
	}
	leaves, err := h.checkTrees(binned)
	if err != nil {
		return err
	}
	if rings+leaves != binned {
		return fmt.Errorf("%d chunks are in rings and %d in trees, want %d in all", rings, leaves, binned)
	}
	return nil
}

// checkChunks walks the chunks and counts what it finds, top included.
func (h *heap) checkChunks() (count heapmodel.Usage, err error) {
	limit := len(h.t.Nodes)
	prev, lastFree := blocks.ID(wall), false
	id := h.t.Next(wall)
	for ; id != h.top; id = h.t.Next(id) {
		if limit--; limit < 0 || uint64(id) >= uint64(len(h.t.Nodes)) {
			return count, errors.New("the chain of chunks does not lead to the top")
		}
		n := &h.t.Nodes[id]
		if h.t.Prev(id) != prev || h.t.Nodes[n.High].Start <= n.Start {
			return count, fmt.Errorf("chunk at unit %d is not linked between its neighbours", n.Start)
		}
		bytes := uint64(h.t.Size(id)) << h.shift
		used := h.t.Used(id)
		switch {
		case h.t.Size(id) < leastUnits || used && n.Y != h.t.Size(id):
			return count, fmt.Errorf("chunk at unit %d has %d units, noted %d", n.Start, h.t.Size(id), n.Y)
		case used:
			count.UsedBlocks++
			count.Allocated += bytes
			count.HighWater = uint64(h.start(id)) + bytes
		case lastFree:
			return count, fmt.Errorf("free chunk at unit %d follows a free one", n.Start)
		default:
			count.FreeBlocks++
			count.Free += bytes
		}
		prev, lastFree = id, !used
	}
	top := uint64(h.t.Nodes[id].Start) << h.shift
	if h.t.Used(id) || h.t.Prev(id) != prev || lastFree || top > h.topEnd || h.t.Next(id) != blocks.None {
		return count, fmt.Errorf("the top at unit %d is not linked behind a used chunk", h.t.Nodes[id].Start)
	}
	if records := reserved + int(count.UsedBlocks+count.FreeBlocks) + 1; h.t.Len() != records {
		return count, fmt.Errorf("%d records in use, want %d", h.t.Len(), records)
	}
	if size := h.topBytes(); size > 0 {
		count.FreeBlocks++
		count.Free += size
	}
	return count, nil
}

// checkRings walks the rings of chunks of one size and returns how many chunks
// they have, which is at most limit.
func (h *heap) checkRings(limit int) (count int, err error) {
	for units := range uint32(mid) {
		prev := units
		for id := h.t.Nodes[units].X; id != units; id = h.t.Nodes[id].X {
			n := &h.t.Nodes[id]
			if count++; count > limit {
				return count, errors.New("more chunks are in rings than are free")
			}
			if id < reserved || h.t.Used(id) || id == h.dv || n.Y != prev || h.t.Size(id) != units {
				return count, fmt.Errorf("ring of %d units: chunk at unit %d does not belong there or its links disagree", units, n.Start)
			}
			prev = id
		}
		filled := h.has(units)
		switch {
		case units == noVictim: // the map says what it likes
			filled = false
		case units < h.small:
			filled = h.smallMap>>units&1 != 0
		}
		if h.t.Nodes[units].Y != prev || filled != (prev != units) {
			return count, fmt.Errorf("ring of %d units: its bit is %t, its last record %d, the head says %d", units, filled, prev, h.t.Nodes[units].Y)
		}
	}
	return count, nil
}

// has reports whether the map of sizes in tries has one, below mid.
func (m *mids) has(units uint32) bool { return m.filled[units/64]>>(units%64)&1 != 0 }

// checkTries checks the shapes of tries against the rings that are not empty.
func (h *heap) checkTries() error {
	var want [midBins]uint64
	for units := h.small; units < mid; units++ {
		if !h.has(units) {
			continue
		}
		s, place := &h.midSizes[units], h.places[units]
		t := &h.tries[s.bin]
		if s.path>>place&1 == 0 || uint32(t.units[place]) != units {
			return fmt.Errorf("tree bin %d: place %d has a node of %d units, want %d", s.bin, place, t.units[place], units)
		}
		want[s.bin] |= 1 << place
	}
	for bin := range h.tries {
		nodes := h.tries[bin].nodes
		if nodes != want[bin] {
			return fmt.Errorf("tree bin %d: nodes at places %b, want %b", bin, nodes, want[bin])
		}
		for place := 2; place < 64; place++ {
			if nodes>>place&1 > nodes>>(place/2)&1 {
				return fmt.Errorf("tree bin %d: the node at place %d has no parent", bin, place)
			}
		}
	}
	return nil
}

// checkTrees walks the trees and returns how many chunks they have, which is at
// most limit.
func (h *heap) checkTrees(limit int) (count int, err error) {
	c := treeCheck{h: h, left: limit}
	for bin := range uint32(treeBins) {
		root := h.tree[holder(bin)].child[0]
		if filled := h.treeMap>>bin&1 != 0; filled != (root != 0) {
			return 0, fmt.Errorf("tree bin %d: its bit is %t, its root %d", bin, filled, root)
		}
		if root != 0 {
			c.bin = bin
			c.node(root, holder(bin), 0, 0)
		}
	}
	return limit - c.left, c.err
}

// treeCheck walks a tree.
type treeCheck struct {
	h    *heap
	bin  uint32
	left int // chunks that there may still be
	err  error
}

// node checks the subtree of node t, whose keys begin with depth bits of
// prefix.
func (c *treeCheck) node(t, up, depth uint32, prefix uint64) {
	n := &c.h.tree[t]
	if n.up != up {
		c.err = fmt.Errorf("tree bin %d: node %d has parent %d, want %d", c.bin, t, n.up, up)
	}
	for m := t; c.err == nil; {
		x := &c.h.tree[m]
		bin := c.h.treeBin(uint64(x.units))
		key := c.h.key(uint64(x.units), bin)
		switch c.left--; {
		case c.left < 0:
			c.err = errors.New("more chunks are in trees than are free")
		case bin != c.bin || depth > 0 && key>>(64-depth) != prefix:
			c.err = fmt.Errorf("tree bin %d: a chunk of %d units is in the wrong place", c.bin, x.units)
		case x.units != n.units || m != t && (x.up != 0 || x.child != [2]uint32{}):
			c.err = fmt.Errorf("tree bin %d: a chunk of %d units is in the ring of one of %d", c.bin, x.units, n.units)
		case x.id < reserved || c.h.t.Used(x.id) || x.id == c.h.dv || c.h.t.Size(x.id) != x.units || c.h.t.Nodes[x.id].X != m:
			c.err = fmt.Errorf("tree bin %d: chunk %d of %d units is not free or says otherwise", c.bin, x.id, x.units)
		case c.h.tree[x.next].prev != m:
			c.err = fmt.Errorf("tree bin %d: a ring of chunks of %d units is broken", c.bin, x.units)
		}
		if m = x.next; m == t {
			break
		}
	}
	for bit, child := range n.child {
		if child != 0 && c.err == nil {
			c.node(child, t, depth+1, prefix<<1|uint64(bit))
		}
	}
}

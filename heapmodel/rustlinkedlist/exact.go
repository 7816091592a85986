package rustlinkedlist

import (
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
	"github.com/fragprof/fragprof/heapmodel/internal/fit"
)

// smallWords is the size from which holes are not kept by exact size. Those of
// one such size are at most a 32nd of the words of the arena.
const smallWords = 32

// exact has for each small size a binary heap of the holes of that size, the
// lowest address first. The Y of a hole's record is its place there.
//
// A short list of holes does without: to look at each hole that is too large
// by a word costs less than to keep them in order.
type exact struct {
	on     bool
	bySize [smallWords][]blocks.ID
}

// The numbers of holes at which exact is begun and given up.
const (
	exactFrom = 256
	exactTo   = 128
)

// lowest returns the lowest hole of a size, None if there is none.
func (x *exact) lowest(size uint32) blocks.ID {
	if len(x.bySize[size]) == 0 {
		return blocks.None
	}
	return x.bySize[size][0]
}

// insert adds a hole, if it is small.
func (x *exact) insert(t *blocks.Table, id blocks.ID, size uint32) {
	if size >= smallWords {
		return
	}
	q := x.bySize[size]
	if len(q) == cap(q) {
		// Growing by a quarter keeps the memory a hole near its 4 bytes.
		q = append(make([]blocks.ID, 0, max(8, len(q)+len(q)/4)), q...)
	}
	q = append(q, id)
	x.bySize[size] = q
	rise(t.Nodes, q, uint32(len(q))-1)
}

// remove takes a hole out, if it is small.
func (x *exact) remove(t *blocks.Table, id blocks.ID, size uint32) {
	if size >= smallWords {
		return
	}
	q := x.bySize[size]
	at := t.Nodes[id].Y
	last := q[len(q)-1]
	q = q[:len(q)-1]
	x.bySize[size] = q
	if last == id {
		return
	}
	q[at] = last
	t.Nodes[last].Y = at
	if !rise(t.Nodes, q, at) {
		sink(t.Nodes, q, at)
	}
}

// begin enters all holes.
func (x *exact) begin(t *blocks.Table, holes *fit.Index) {
	x.on = true
	for p := holes.First(); p != fit.NoPos; p = holes.Next(p) {
		id, size := holes.At(p)
		x.insert(t, id, size)
	}
}

// end empties the heaps and keeps their memory.
func (x *exact) end() {
	x.on = false
	for size := range x.bySize {
		x.bySize[size] = x.bySize[size][:0]
	}
}

// rise moves a hole up to its place and reports whether it moved.
func rise(nodes []blocks.Node, q []blocks.ID, at uint32) bool {
	from, id := at, q[at]
	for at > 0 {
		up := (at - 1) / 2
		if nodes[q[up]].Start < nodes[id].Start {
			break
		}
		q[at] = q[up]
		nodes[q[at]].Y = at
		at = up
	}
	q[at] = id
	nodes[id].Y = at
	return at != from
}

// sink moves a hole down to its place.
func sink(nodes []blocks.Node, q []blocks.ID, at uint32) {
	id := q[at]
	for {
		down := 2*at + 1
		if down >= uint32(len(q)) {
			break
		}
		if down+1 < uint32(len(q)) && nodes[q[down+1]].Start < nodes[q[down]].Start {
			down++
		}
		if nodes[id].Start < nodes[q[down]].Start {
			break
		}
		q[at] = q[down]
		nodes[q[at]].Y = at
		at = down
	}
	q[at] = id
	nodes[id].Y = at
}

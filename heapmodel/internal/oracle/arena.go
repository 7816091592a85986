// Package oracle has what the tests of models hold them against: naive heaps
// made of an Arena, and the figures that the originals left of their runs.
//
// An Arena is a heap with bins as a description draws it: blocks in a slice, a
// bin a slice of addresses, a bitmap its bins looked at one by one, and every
// step is really taken and counted. It shares no code with the models, is slow,
// and is meant to be read side by side with the description of a heap.
package oracle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
)

// Block is a block of the arena, header included, in bytes.
type Block struct {
	Start, Size uint64
	Free        bool
}

// Bin names a bin by its row and its column.
type Bin struct{ Row, Column int }

// Arena is a heap's blocks and bins. Indexes of blocks are valid until the next
// Cut or Join.
type Arena struct {
	Blocks []Block               // in address order
	BinOf  func(size uint64) Bin // of a free block, by its size
	Rows   int                   // of bins; with one row there is no word for the rows
	Steps  uint64                // words looked at, blocks taken, blocks merged
	bins   map[Bin][]uint64      // addresses of free blocks, newest first
	Front  map[uint64]uint64     // by address of a used block: bytes to its object
}

// NewArena returns an arena of one free block.
func NewArena(start, size uint64, rows int, binOf func(size uint64) Bin) *Arena {
	a := &Arena{BinOf: binOf, Rows: rows, bins: map[Bin][]uint64{}, Front: map[uint64]uint64{}}
	a.Blocks = []Block{{Start: start, Size: size}}
	a.Put(0)
	return a
}

// columns is more than any row has.
const columns = 64

// firstIn looks at the word of a row: its first bin from a column on that has
// blocks.
func (a *Arena) firstIn(row, from int) (Bin, bool) {
	a.Steps++
	for column := from; column < columns; column++ {
		if b := (Bin{row, column}); len(a.bins[b]) > 0 {
			return b, true
		}
	}
	return Bin{}, false
}

// rowAbove looks at the word for the rows: the first row above one that has
// blocks.
func (a *Arena) rowAbove(row int) (int, bool) {
	a.Steps++
	for row++; row < a.Rows; row++ {
		for column := range columns {
			if len(a.bins[Bin{row, column}]) > 0 {
				return row, true
			}
		}
	}
	return 0, false
}

// Search returns the index of the block that a search from a bin on finds, and
// leaves it where it is.
func (a *Arena) Search(from Bin) (at int, ok bool) {
	if from.Row >= a.Rows {
		return 0, false
	}
	b, ok := a.firstIn(from.Row, from.Column)
	if !ok {
		if a.Rows == 1 {
			return 0, false
		}
		row, any := a.rowAbove(from.Row)
		if !any {
			return 0, false
		}
		b, _ = a.firstIn(row, 0)
	}
	a.Steps++
	return a.At(a.bins[b][0]), true
}

// At returns the index of the block that begins at an address.
func (a *Arena) At(start uint64) int {
	return slices.IndexFunc(a.Blocks, func(b Block) bool { return b.Start == start })
}

// Object returns the index of the used block of the object at an address, -1 if
// there is none.
func (a *Arena) Object(addr uint64) int {
	return slices.IndexFunc(a.Blocks, func(b Block) bool { return !b.Free && b.Start+a.Front[b.Start] == addr })
}

// Use makes a block used, with its object so many bytes from its start, and
// returns the object's address.
func (a *Arena) Use(at int, front uint64) uint64 {
	a.Front[a.Blocks[at].Start] = front
	return a.Blocks[at].Start + front
}

// Put makes a block free and the newest of its bin.
func (a *Arena) Put(at int) {
	b := &a.Blocks[at]
	b.Free = true
	bin := a.BinOf(b.Size)
	a.bins[bin] = slices.Insert(a.bins[bin], 0, b.Start)
}

// Pull takes a free block out of its bin and makes it used.
func (a *Arena) Pull(at int) {
	b := &a.Blocks[at]
	b.Free = false
	bin := a.BinOf(b.Size)
	i := slices.Index(a.bins[bin], b.Start)
	a.bins[bin] = slices.Delete(a.bins[bin], i, i+1)
}

// Cut cuts a used block; the upper part, at the next index, is used, too.
func (a *Arena) Cut(at int, size uint64) {
	b := a.Blocks[at]
	a.Blocks[at].Size = size
	a.Blocks = slices.Insert(a.Blocks, at+1, Block{Start: b.Start + size, Size: b.Size - size})
}

// Join joins two used blocks, that at the index and the next.
func (a *Arena) Join(at int) {
	a.Steps++
	a.Blocks[at].Size += a.Blocks[at+1].Size
	a.Blocks = slices.Delete(a.Blocks, at+1, at+2)
}

// FreeAt reports whether there is a free block at the index.
func (a *Arena) FreeAt(at int) bool {
	return at >= 0 && at < len(a.Blocks) && a.Blocks[at].Free
}

// Release frees a used block and merges it with free neighbours.
func (a *Arena) Release(at int) {
	if a.FreeAt(at + 1) {
		a.Pull(at + 1)
		a.Join(at)
	}
	if a.FreeAt(at - 1) {
		at--
		a.Pull(at)
		a.Join(at)
	}
	a.Put(at)
}

// Trim cuts a used block to size if at least rest bytes remain. They join a
// free block above them.
func (a *Arena) Trim(at int, size, rest uint64) {
	if a.Blocks[at].Size < size+rest {
		return
	}
	a.Cut(at, size)
	if a.FreeAt(at + 2) {
		a.Pull(at + 2)
		a.Join(at + 1)
	}
	a.Put(at + 1)
}

// Up rounds up to a multiple of a unit.
func Up(n, unit uint64) uint64 { return (n + unit - 1) / unit * unit }

// Layout writes the blocks of a heap on a line: "3188+16 3204-62328", with +
// between address and size of a used block and - of a free one.
func Layout(h heapmodel.Heap) string {
	var parts []string
	for b := range h.Blocks() {
		sign := "-"
		if b.Used {
			sign = "+"
		}
		parts = append(parts, fmt.Sprint(uint64(b.Addr), sign, b.Size))
	}
	return strings.Join(parts, " ")
}

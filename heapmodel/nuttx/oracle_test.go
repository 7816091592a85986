package nuttx

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

// naive is the heap as its description has it: nodes in a slice, free ones in
// one chain through the heads of the bins, walked node by node. Blocks start 4
// bytes behind their nodes.
type naive struct {
	chain []link
	a     oracle.Arena
}

// link is a node of the chain: the head of a bin, or a free node by the start
// of its block.
type link struct {
	head  bool
	bin   int
	start uint64
}

func newNaive(capacity, control uint64) *naive {
	first := (control+16+7)/8*8 - 16 + 8
	n := &naive{}
	for bin := range 19 {
		n.chain = append(n.chain, link{head: true, bin: bin})
	}
	n.a.Blocks = []oracle.Block{{Start: first + 4, Size: capacity/8*8 - 8 - first}}
	n.add(0)
	return n
}

func (n *naive) Arena() *oracle.Arena { return &n.a }

// binFor returns the bin of a size: those double from 16 bytes on.
func binFor(size uint64) int {
	bin := 0
	for size >= 32 && bin < 18 {
		size /= 2
		bin++
	}
	return bin
}

func (n *naive) at(start uint64) int {
	return slices.IndexFunc(n.a.Blocks, func(b oracle.Block) bool { return b.Start == start })
}

func (n *naive) size(l link) uint64 {
	if l.head {
		return 0
	}
	return n.a.Blocks[n.at(l.start)].Size
}

// behind returns the place in the chain behind the head of a size's bin.
func (n *naive) behind(size uint64) int {
	return slices.IndexFunc(n.chain, func(l link) bool { return l.head && l.bin == binFor(size) }) + 1
}

// add makes a block free and puts it into the chain.
func (n *naive) add(i int) {
	b := &n.a.Blocks[i]
	b.Free = true
	at := n.behind(b.Size)
	for ; at < len(n.chain) && !n.chain[at].head && n.size(n.chain[at]) < b.Size; at++ {
		n.a.Steps++
	}
	n.chain = slices.Insert(n.chain, at, link{start: b.Start})
}

// drop takes a block out of the chain.
func (n *naive) drop(i int) {
	n.a.Blocks[i].Free = false
	n.chain = slices.DeleteFunc(n.chain, func(l link) bool { return !l.head && l.start == n.a.Blocks[i].Start })
}

// isFree reports whether there is a block and it is free.
func (n *naive) isFree(i int) bool { return i >= 0 && i < len(n.a.Blocks) && n.a.Blocks[i].Free }

// swallow merges a block with the one above, which is in the chain.
func (n *naive) swallow(i int) {
	n.drop(i + 1)
	n.a.Blocks[i].Size += n.a.Blocks[i+1].Size
	n.a.Blocks = slices.Delete(n.a.Blocks, i+1, i+2)
	n.a.Steps++
}

// cut splits a block and returns the upper part, in no list.
func (n *naive) cut(i int, size uint64) int {
	b := n.a.Blocks[i]
	n.a.Blocks[i].Size = size
	n.a.Blocks = slices.Insert(n.a.Blocks, i+1, oracle.Block{Start: b.Start + size, Size: b.Size - size})
	return i + 1
}

func roundUp(size, to uint64) uint64 { return (size + to - 1) / to * to }

func (n *naive) malloc(size uint64) heapmodel.Addr {
	want := roundUp(max(size, 12)+4, 8)
	for at := n.behind(want); at < len(n.chain); at++ {
		n.a.Steps++
		if n.size(n.chain[at]) < want {
			continue
		}
		i := n.at(n.chain[at].start)
		n.drop(i)
		if n.a.Blocks[i].Size >= want+16 {
			n.add(n.cut(i, want))
		}
		return heapmodel.Addr(n.a.Blocks[i].Start + 4)
	}
	return heapmodel.Null
}

func (n *naive) Free(addr heapmodel.Addr) { n.release(n.at(uint64(addr) - 4)) }

func (n *naive) release(i int) {
	if n.isFree(i + 1) {
		n.swallow(i)
	}
	if n.isFree(i - 1) {
		n.drop(i - 1)
		n.a.Blocks[i-1].Size += n.a.Blocks[i].Size
		n.a.Blocks = slices.Delete(n.a.Blocks, i, i+1)
		n.a.Steps++
		i--
	}
	n.add(i)
}

func (n *naive) shrink(i int, want uint64) {
	rest := n.a.Blocks[i].Size - want
	if rest == 0 || rest < 16 && !n.isFree(i+1) {
		return
	}
	tail := n.cut(i, want)
	if n.isFree(tail + 1) {
		n.swallow(tail)
	}
	n.add(tail)
}

func (n *naive) Alloc(size uint64, align uint32) heapmodel.Addr {
	if align <= 8 {
		return n.malloc(size)
	}
	a := max(uint64(align), 16)
	size = max(size, 12)
	raw := n.malloc(roundUp(size, 8) + 2*a)
	if raw == heapmodel.Null {
		return raw
	}
	i := n.at(uint64(raw) - 4)
	object := roundUp(uint64(raw), a)
	if object != uint64(raw) {
		if object-uint64(raw) < 16 {
			object += a
		}
		up := n.cut(i, object-uint64(raw))
		if n.isFree(i - 1) {
			n.drop(i - 1)
			n.a.Blocks[i-1].Size += n.a.Blocks[i].Size
			n.a.Blocks = slices.Delete(n.a.Blocks, i, i+1)
			n.a.Steps++
			i, up = i-1, up-1
		}
		n.add(i)
		i = up
	}
	n.shrink(i, roundUp(size+4, 8))
	return heapmodel.Addr(object)
}

func (n *naive) Realloc(addr heapmodel.Addr, size uint64, _ uint32) heapmodel.Addr {
	want := roundUp(max(size, 12)+4, 8)
	i := n.at(uint64(addr) - 4)
	cur := n.a.Blocks[i].Size
	if want <= cur {
		n.shrink(i, want)
		return addr
	}
	var below, above uint64
	if n.isFree(i - 1) {
		below = n.a.Blocks[i-1].Size
	}
	if n.isFree(i + 1) {
		above = n.a.Blocks[i+1].Size
	}
	if below+cur+above < want {
		moved := n.malloc(size)
		if moved != heapmodel.Null {
			n.Free(addr)
		}
		return moved
	}
	need := want - cur
	low := min(need, below)
	if above <= below {
		low = need - min(need, above)
	}
	high := need - low
	if low > 0 {
		n.drop(i - 1)
		n.a.Steps++
		if below < low+16 {
			n.a.Blocks[i].Start, n.a.Blocks[i].Size = n.a.Blocks[i-1].Start, cur+below
			n.a.Blocks = slices.Delete(n.a.Blocks, i-1, i)
			i--
		} else {
			n.a.Blocks[i].Start -= low
			n.a.Blocks[i].Size += low
			n.a.Blocks[i-1].Size -= low
			n.add(i - 1)
		}
	}
	if high > 0 {
		n.swallow(i)
		if above >= high+16 {
			n.add(n.cut(i, n.a.Blocks[i].Size-above+high))
		}
	}
	return heapmodel.Addr(n.a.Blocks[i].Start + 4)
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec              string
		capacity, control uint64
	}{
		{"nuttx-mm", 65536, 348},
		{"nuttx-mm:capacity=32KiB", 32768, 348},
		{"nuttx-mm:capacity=10003,control=0", 10003, 0},
		{"nuttx-mm:capacity=20001,control=357", 20001, 357},
		{"nuttx-mm:capacity=1MiB", 1 << 20, 348}, // all bins but the last
		{"nuttx-mm:capacity=600", 600, 348},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, Model, c.spec, func() oracle.Heap { return newNaive(c.capacity, c.control) })
		})
	}
}

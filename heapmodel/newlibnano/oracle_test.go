package newlibnano_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/newlibnano"
)

// naive is the heap as its description has it: chunks in a slice by address,
// the free ones among them the list, and every step really taken.
type naive struct {
	a         oracle.Arena
	word, pad uint64
	limit     uint64
	high      bool // 4.1.0 and older: high end, no extension of the last chunk
	keepsAll  bool // 3.3.0 and older
}

func newNaive(word, pad, limit uint64, high, keepsAll bool) *naive {
	return &naive{a: oracle.Arena{Front: map[uint64]uint64{}}, word: word, pad: pad, limit: limit, high: high, keepsAll: keepsAll}
}

func (n *naive) Arena() *oracle.Arena { return &n.a }

func (n *naive) brk() uint64 {
	if len(n.a.Blocks) == 0 {
		return 0
	}
	last := n.a.Blocks[len(n.a.Blocks)-1]
	return last.Start + last.Size
}

func (n *naive) least() uint64 { return 2*n.word + n.pad }

// malloc returns the index of a used chunk for a request, -1 if it fails.
func (n *naive) malloc(size uint64) int {
	need := max(oracle.Up(size, n.word)+n.pad+n.word, n.least())
	if need >= 1<<31 {
		return -1
	}
	last := -1
	for i := range n.a.Blocks {
		b := &n.a.Blocks[i]
		if !b.Free {
			continue
		}
		n.a.Steps++
		last = i
		if b.Size < need {
			continue
		}
		rest := b.Size - need
		b.Free = false
		switch {
		case rest < n.least():
		case n.high:
			n.a.Cut(i, rest)
			n.a.Blocks[i].Free = true
			i++
		default:
			n.a.Cut(i, need)
			n.a.Blocks[i+1].Free = true
		}
		return i
	}
	brk := n.brk()
	if brk+need <= n.limit {
		n.a.Blocks = append(n.a.Blocks, oracle.Block{Start: brk, Size: need})
		return len(n.a.Blocks) - 1
	}
	if n.high {
		return -1
	}
	for _, b := range n.a.Blocks {
		if b.Free {
			n.a.Steps++
		}
	}
	if last < 0 {
		return -1
	}
	if b := &n.a.Blocks[last]; b.Start+b.Size == brk && b.Start+need <= n.limit {
		b.Size, b.Free = need, false
		return last
	}
	return -1
}

// place puts the payload of a used chunk at a multiple of the alignment.
func (n *naive) place(i int, align uint64) heapmodel.Addr {
	start := n.a.Blocks[i].Start
	return heapmodel.Addr(n.a.Use(i, oracle.Up(start+n.word, align)-start))
}

func (n *naive) Alloc(size uint64, align uint32) heapmodel.Addr {
	if align == 0 {
		i := n.malloc(size)
		if i < 0 {
			return heapmodel.Null
		}
		return n.place(i, 8)
	}
	al := max(uint64(align), 8)
	m := max(oracle.Up(size, n.word), n.word)
	i := n.malloc(m + al - 8)
	if i < 0 {
		return heapmodel.Null
	}
	start := n.a.Blocks[i].Start
	p := oracle.Up(start+n.word, al)
	if off := p - n.word - start; off >= n.least() {
		n.a.Cut(i, off)
		n.release(i)
		i = n.a.At(start + off)
		start += off
	}
	n.a.Use(i, p-start)
	if b := n.a.Blocks[i]; b.Start+b.Size > p+m+n.least() {
		n.a.Cut(i, p+m-b.Start)
		n.release(i + 1)
	}
	return heapmodel.Addr(p)
}

// release walks the list to a chunk's place and merges it.
func (n *naive) release(i int) {
	for _, b := range n.a.Blocks[:i] {
		if b.Free {
			n.a.Steps++
		}
	}
	n.a.Blocks[i].Free = true
	if n.a.FreeAt(i + 1) {
		n.a.Join(i)
	}
	if n.a.FreeAt(i - 1) {
		n.a.Join(i - 1)
	}
}

func (n *naive) Free(addr heapmodel.Addr) { n.release(n.a.Object(uint64(addr))) }

func (n *naive) Realloc(addr heapmodel.Addr, size uint64, _ uint32) heapmodel.Addr {
	if addr == heapmodel.Null {
		return n.Alloc(size, 0)
	}
	if size == 0 {
		n.Free(addr)
		return heapmodel.Null
	}
	b := n.a.Blocks[n.a.Object(uint64(addr))]
	usable := b.Start + b.Size - uint64(addr)
	if size <= usable && (n.keepsAll || size > usable/2) {
		return addr
	}
	to := n.Alloc(size, 0)
	if to != heapmodel.Null {
		n.Free(addr)
	}
	return to
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec             string
		word, pad, limit uint64
		high, keepsAll   bool
	}{
		{"newlib-nano:grow=20001", 4, 4, 20001, false, false},
		{"newlib-nano:grow=40000,ptr=64", 8, 0, 40000, false, false},
		{"newlib-nano:grow=16MiB,version=4.3.0", 4, 4, 16 << 20, false, false},
		{"newlib-nano:grow=20001,version=4.1.0", 4, 4, 20001, true, false},
		{"newlib-nano:grow=20001,version=3.3.0", 4, 4, 20001, true, true},
		{"newlib-nano:grow=30000,ptr=64,version=3.0.0", 8, 0, 30000, true, true},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, newlibnano.Model, c.spec, func() oracle.Heap {
				return newNaive(c.word, c.pad, c.limit, c.high, c.keepsAll)
			})
		})
	}
}

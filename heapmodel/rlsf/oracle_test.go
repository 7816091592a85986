package rlsf_test

import (
	"math/bits"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/rlsf"
)

// naive is rlsf as its description has it, in bytes and on two levels.
type naive struct {
	a       *oracle.Arena
	g       uint64 // granularity: four words
	sli     int    // log2 of the bins of a row
	word    int    // bits of a word
	inPlace bool
}

func newNaive(capacity uint64, wordBits int, inPlace bool) *naive {
	o := &naive{g: 16, sli: 5, word: wordBits, inPlace: inPlace}
	if wordBits == 64 {
		o.g, o.sli = 32, 6
	}
	o.a = oracle.NewArena(0, capacity/o.g*o.g-o.g, wordBits, o.bin)
	return o
}

func (o *naive) Arena() *oracle.Arena { return o.a }

func (o *naive) bin(size uint64) oracle.Bin {
	top := bits.Len64(size) - 1
	below := size - 1<<top
	column := below << max(0, o.sli-top) >> max(0, top-o.sli)
	return oracle.Bin{Row: top - (bits.Len64(o.g) - 1), Column: int(column)}
}

// front returns the distance from a block to an object in it.
func (o *naive) front(start, align uint64) uint64 {
	return oracle.Up(start+o.g/2, max(align, 1)) - start
}

func (o *naive) Alloc(size uint64, align uint32) heapmodel.Addr {
	k := size
	if uint64(align) > o.g/2 {
		k += uint64(align) - o.g/2
	}
	k = oracle.Up(k+o.g/2, o.g)
	if f := bits.Len64(k) - 1; f > o.sli {
		k = oracle.Up(k, 1<<(f-o.sli))
	}
	if o.word == 32 && k >= 1<<32 {
		return heapmodel.Null
	}
	at, ok := o.a.Search(o.bin(k))
	if !ok {
		return heapmodel.Null
	}
	o.a.Pull(at)
	return o.use(at, o.front(o.a.Blocks[at].Start, uint64(align)), size)
}

// use cuts a block to its object.
func (o *naive) use(at int, front, size uint64) heapmodel.Addr {
	o.a.Trim(at, oracle.Up(front+size, o.g), o.g)
	return heapmodel.Addr(o.a.Use(at, front))
}

func (o *naive) Free(addr heapmodel.Addr) { o.a.Release(o.a.Object(uint64(addr))) }

func (o *naive) Realloc(addr heapmodel.Addr, size uint64, align uint32) heapmodel.Addr {
	if addr != heapmodel.Null && o.inPlace {
		if a, ok := o.resize(o.a.Object(uint64(addr)), size, uint64(align)); ok {
			return a
		}
	}
	moved := o.Alloc(size, align)
	if addr != heapmodel.Null && moved != heapmodel.Null {
		o.Free(addr)
	}
	return moved
}

// resize applies the rules 1 to 3 of reallocate.
func (o *naive) resize(at int, size, align uint64) (heapmodel.Addr, bool) {
	b := o.a.Blocks[at]
	front := o.a.Front[b.Start]
	t, next := oracle.Up(front+size, o.g), uint64(0)
	if o.a.FreeAt(at + 1) {
		next = o.a.Blocks[at+1].Size
	}
	switch {
	case t <= b.Size:
		return o.use(at, front, size), true
	case t <= b.Size+next:
		o.a.Pull(at + 1)
		o.a.Join(at)
		return o.use(at, front, size), true
	case !o.a.FreeAt(at - 1):
		return 0, false
	}
	low := o.a.Blocks[at-1]
	front = o.front(low.Start, align)
	if oracle.Up(front+size, o.g) > low.Size+b.Size+next {
		return 0, false
	}
	if next > 0 {
		o.a.Pull(at + 1)
		o.a.Join(at)
	}
	o.a.Pull(at - 1)
	o.a.Join(at - 1)
	return o.use(at-1, front, size), true
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec     string
		capacity uint64
		wordBits int
		inPlace  bool
	}{
		{"rlsf:capacity=40001", 40001, 32, false},
		{"rlsf:capacity=20000,ptr=64", 20000, 64, false},
		{"rlsf:capacity=20000,realloc=inplace", 20000, 32, true},
		{"rlsf:capacity=65536,ptr=64,realloc=inplace", 65536, 64, true},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, rlsf.Model, c.spec, func() oracle.Heap { return newNaive(c.capacity, c.wordBits, c.inPlace) })
		})
	}
}

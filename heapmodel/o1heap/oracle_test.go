package o1heap_test

import (
	"math/bits"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/o1heap"
)

// naive is o1heap as its description has it.
type naive struct {
	a                   *oracle.Arena
	header, f, capacity uint64 // f is the smallest block
}

func newNaive(arena, word uint64) *naive {
	o := &naive{header: 4 * word, f: 8 * word}
	instance := uint64(160)
	if word == 8 {
		instance = 576
	}
	o.capacity = (arena - instance) / o.f * o.f
	o.a = oracle.NewArena(instance, o.capacity, 1, o.bin)
	return o
}

func (o *naive) bin(size uint64) oracle.Bin {
	return oracle.Bin{Column: bits.Len64(size/o.f) - 1}
}

func (o *naive) Arena() *oracle.Arena { return o.a }

func (o *naive) Alloc(size uint64, _ uint32) heapmodel.Addr {
	if size == 0 || size > o.capacity-o.header {
		return heapmodel.Null
	}
	block := uint64(1)
	for block < size+o.header {
		block *= 2
	}
	at, ok := o.a.Search(o.bin(block))
	if !ok {
		return heapmodel.Null
	}
	o.a.Pull(at)
	o.a.Trim(at, block, o.f)
	return heapmodel.Addr(o.a.Use(at, o.header))
}

func (o *naive) Free(addr heapmodel.Addr) { o.a.Release(o.a.Object(uint64(addr))) }

func (o *naive) Realloc(addr heapmodel.Addr, size uint64, _ uint32) heapmodel.Addr {
	moved := o.Alloc(size, 0)
	if addr != heapmodel.Null && (moved != heapmodel.Null || size == 0) {
		o.Free(addr)
	}
	return moved
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec        string
		arena, word uint64
	}{
		{"o1heap:capacity=32KiB", 32768, 4},
		{"o1heap:capacity=65549", 65549, 4},
		{"o1heap:capacity=64KiB,ptr=64", 65536, 8},
		{"o1heap:capacity=20000,ptr=64", 20000, 8},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, o1heap.Model, c.spec, func() oracle.Heap { return newNaive(c.arena, c.word) })
		})
	}
}

package kr_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/kr"
)

// entry is an entry of the circular list. The base has no size.
type entry struct {
	start, size uint64 // bytes
	next        *entry
}

// naive is the heap as its description has it, walked entry by entry.
type naive struct {
	unit, brk, limit uint64
	rover            *entry
	base             *entry
	used             map[uint64]uint64 // size by start
	steps            uint64
}

func newNaive(unit, pool, limit uint64) *naive {
	o := &naive{unit: unit, limit: limit, base: &entry{}, used: map[uint64]uint64{}}
	o.base.next = o.base
	o.rover = o.base
	if pool > 0 {
		o.brk = pool / unit * unit
		o.limit = o.brk
		o.insert(0, o.brk)
		o.steps = 0
	}
	return o
}

func (o *naive) Alloc(size uint64, _ uint32) heapmodel.Addr {
	need := (size+o.unit-1)/o.unit*o.unit + o.unit
	for {
		before := o.rover
		for {
			e := before.next
			o.steps++
			if e.size >= need {
				at := e.start + e.size - need
				e.size -= need
				if e.size == 0 {
					before.next = e.next
				}
				o.rover = before
				o.used[at] = need
				return heapmodel.Addr(at + o.unit)
			}
			if e == o.rover {
				break
			}
			before = e
		}
		grow := max(need, 1024*o.unit)
		if grow > o.limit-o.brk {
			return heapmodel.Null
		}
		o.brk += grow
		o.insert(o.brk-grow, grow)
	}
}

// insert frees a piece of the arena.
func (o *naive) insert(start, size uint64) {
	below := o.base
	for e := o.base.next; e != o.base && e.start < start; e = e.next {
		below = e
	}
	for e := o.rover; ; e = e.next {
		o.steps++
		if e == below {
			break
		}
	}
	o.rover = below
	e := &entry{start: start, size: size, next: below.next}
	below.next = e
	if up := e.next; up != o.base && start+size == up.start {
		o.steps++
		e.size += up.size
		e.next = up.next
	}
	if below != o.base && below.start+below.size == start {
		o.steps++
		below.size += e.size
		below.next = e.next
	}
}

func (o *naive) Free(addr heapmodel.Addr) {
	at := uint64(addr) - o.unit
	size := o.used[at]
	delete(o.used, at)
	o.insert(at, size)
}

func (o *naive) Realloc(addr heapmodel.Addr, size uint64, _ uint32) heapmodel.Addr {
	moved := o.Alloc(size, 0)
	if moved != heapmodel.Null {
		o.Free(addr)
	}
	return moved
}

func (o *naive) Arena() *oracle.Arena {
	a := &oracle.Arena{Steps: o.steps}
	for at, size := range o.used {
		a.Blocks = append(a.Blocks, oracle.Block{Start: at, Size: size})
	}
	for e := o.base.next; e != o.base; e = e.next {
		a.Blocks = append(a.Blocks, oracle.Block{Start: e.start, Size: e.size, Free: true})
	}
	slices.SortFunc(a.Blocks, func(a, b oracle.Block) int { return int(int64(a.Start) - int64(b.Start)) })
	return a
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec              string
		unit, pool, limit uint64
	}{
		{"kr:capacity=40001", 8, 40001, 0},
		{"kr:capacity=3000,ptr=64", 16, 3000, 0},
		{"kr:grow=65536", 8, 0, 65536},
		{"kr:grow=100000,ptr=64", 16, 0, 100000},
		{"kr:grow=1MiB", 8, 0, 1 << 20},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, kr.Model, c.spec, func() oracle.Heap { return newNaive(c.unit, c.pool, c.limit) })
		})
	}
}

package lowfit_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/lwip"
	"github.com/fragprof/fragprof/heapmodel/rtthread"
)

// naive is a heap as its description has it: all blocks in a slice, walked from
// the lowest free one, every step taken and counted.
type naive struct {
	header, least, align uint64
	base, most, end      uint64
	inclusive            bool // the walk goes up to most - size, not to below it
	trims                bool // realloc cuts in place
	lowest               uint64
	a                    oracle.Arena
}

func (n *naive) open() *naive {
	n.a.Blocks = []oracle.Block{{Start: n.base, Size: n.end, Free: true}}
	n.lowest = n.base
	return n
}

func (n *naive) Arena() *oracle.Arena { return &n.a }

func (n *naive) round(size uint64) uint64 { return (size + n.align - 1) / n.align * n.align }

func (n *naive) at(start uint64) int {
	return slices.IndexFunc(n.a.Blocks, func(b oracle.Block) bool { return b.Start == start })
}

func (n *naive) Alloc(size uint64, _ uint32) heapmodel.Addr {
	want := max(n.round(size), n.least)
	if size == 0 || want > n.most {
		return heapmodel.Null
	}
	bound := n.base + n.most - want
	for i := n.at(n.lowest); i >= 0 && i < len(n.a.Blocks); i++ {
		b := n.a.Blocks[i]
		if b.Start > bound || b.Start == bound && !n.inclusive {
			break
		}
		n.a.Steps++
		if !b.Free || b.Size-n.header < want {
			continue
		}
		n.a.Blocks[i].Free = false
		if b.Size-n.header >= want+n.header+n.least {
			n.cut(i, want)
		}
		if b.Start == n.lowest {
			for ; i < len(n.a.Blocks) && !n.a.Blocks[i].Free; i++ {
				n.a.Steps++
			}
			n.lowest = n.base + n.end
			if i < len(n.a.Blocks) {
				n.lowest = n.a.Blocks[i].Start
			}
		}
		return heapmodel.Addr(b.Start + n.header)
	}
	return heapmodel.Null
}

// cut makes a free block of what a block has beyond a payload.
func (n *naive) cut(i int, payload uint64) {
	b := &n.a.Blocks[i]
	keep := payload + n.header
	rest := oracle.Block{Start: b.Start + keep, Size: b.Size - keep, Free: true}
	b.Size = keep
	n.a.Blocks = slices.Insert(n.a.Blocks, i+1, rest)
}

func (n *naive) Free(addr heapmodel.Addr) {
	i := n.at(uint64(addr) - n.header)
	n.a.Blocks[i].Free = true
	n.plug(i)
}

// plug merges a free block with its neighbours.
func (n *naive) plug(i int) {
	n.lowest = min(n.lowest, n.a.Blocks[i].Start)
	for _, low := range []int{i, i - 1} {
		if low >= 0 && low+1 < len(n.a.Blocks) && n.a.Blocks[low].Free && n.a.Blocks[low+1].Free {
			n.a.Blocks[low].Size += n.a.Blocks[low+1].Size
			n.a.Blocks = slices.Delete(n.a.Blocks, low+1, low+2)
			n.a.Steps++
		}
	}
}

func (n *naive) Realloc(addr heapmodel.Addr, size uint64, _ uint32) heapmodel.Addr {
	if n.trims {
		want := n.round(size)
		switch {
		case addr == heapmodel.Null:
			return n.Alloc(size, 0)
		case want > n.most:
			return heapmodel.Null
		case want == 0:
			n.Free(addr)
			return heapmodel.Null
		}
		i := n.at(uint64(addr) - n.header)
		payload := n.a.Blocks[i].Size - n.header
		if want == payload {
			return addr
		}
		if want+n.header+12 < payload {
			n.cut(i, want)
			n.plug(i + 1)
			return addr
		}
	}
	moved := n.Alloc(size, 0)
	if (moved != heapmodel.Null || size == 0) && addr != heapmodel.Null {
		n.Free(addr)
	}
	return moved
}

func TestLwip(t *testing.T) {
	for _, c := range []struct {
		spec                     string
		header, least, align, to uint64
	}{
		{"lwip-mem:capacity=32KiB", 8, 12, 4, 32752},
		{"lwip-mem", 12, 12, 4, 65512},
		{"lwip-mem:capacity=64020", 8, 12, 4, 64000},
		{"lwip-mem:capacity=10001,align=8,min=20", 8, 24, 8, 9984},
		{"lwip-mem:capacity=10001,align=1,min=0", 6, 1, 1, 9989},
		{"lwip-mem:capacity=70001,align=2", 12, 12, 2, 69976},
		{"lwip-mem:capacity=400", 8, 12, 4, 384},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, lwip.Model, c.spec, func() oracle.Heap {
				return (&naive{header: c.header, least: c.least, align: c.align, most: c.to, end: c.to}).open()
			})
		})
	}
}

func TestRTThread(t *testing.T) {
	for _, c := range []struct {
		spec                       string
		header, align, base, total uint64
	}{
		{"rtthread-smem", 16, 8, 56, 65448},
		{"rtthread-smem:align=4", 12, 4, 56, 65456},
		{"rtthread-smem:capacity=10001,pool=61", 16, 8, 64, 9904},
		{"rtthread-smem:capacity=10003,pool=0,align=4", 12, 4, 0, 9976},
		{"rtthread-smem:capacity=400", 16, 8, 56, 312},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, rtthread.Model, c.spec, func() oracle.Heap {
				return (&naive{
					header: c.header, least: c.header, align: c.align, base: c.base, most: c.total,
					end: c.total + c.header, inclusive: true, trims: true,
				}).open()
			})
		})
	}
}

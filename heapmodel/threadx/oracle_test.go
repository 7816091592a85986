package threadx_test

import (
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/threadx"
)

// naive is a byte pool as its description has it: a ring of blocks, of which
// the last, at the end, is none of the arena's, and a search that goes round
// it, budget and all. A turn of the search is a step.
type naive struct {
	size      uint64 // bytes up to the block at the end
	search    uint64 // address of a block
	available uint64
	fragments int
	a         oracle.Arena
}

func newNaive(capacity uint64) *naive {
	n := &naive{size: capacity/4*4 - 8, fragments: 2}
	n.available = n.size
	n.a.Blocks = []oracle.Block{{Size: n.size, Free: true}}
	return n
}

func (n *naive) Arena() *oracle.Arena { return &n.a }

func (n *naive) at(start uint64) int {
	if i := slices.IndexFunc(n.a.Blocks, func(b oracle.Block) bool { return b.Start == start }); i >= 0 {
		return i
	}
	return len(n.a.Blocks) // the block at the end
}

// start returns the address of a block by its number.
func (n *naive) start(i int) uint64 {
	if i == len(n.a.Blocks) {
		return n.size
	}
	return n.a.Blocks[i].Start
}

func (n *naive) after(i int) int { return (i + 1) % (len(n.a.Blocks) + 1) }

func (n *naive) free(i int) bool { return i < len(n.a.Blocks) && n.a.Blocks[i].Free }

func (n *naive) Alloc(size uint64, _ uint32) heapmodel.Addr {
	want := (size + 3) / 4 * 4
	if size == 0 || want >= n.available+uint64(n.fragments-2)*8 {
		return heapmodel.Null
	}
	budget, found := n.fragments+1, false
	spend := func() {
		if budget > 0 {
			budget--
		}
	}
	for i := n.at(n.search); budget > 0; spend() {
		n.a.Steps++
		if !n.free(i) {
			i = n.after(i)
			continue
		}
		if !found {
			n.search, found = n.start(i), true
		}
		next := n.after(i)
		switch {
		case n.a.Blocks[i].Size-8 >= want:
			return n.take(i, want)
		case n.free(next):
			if n.search == n.start(next) {
				n.search = n.start(i)
			}
			n.a.Blocks[i].Size += n.a.Blocks[next].Size
			n.a.Blocks = slices.Delete(n.a.Blocks, next, next+1)
			n.fragments--
		default:
			i = n.after(next)
			spend()
		}
	}
	return heapmodel.Null
}

func (n *naive) take(i int, want uint64) heapmodel.Addr {
	b := &n.a.Blocks[i]
	b.Free = false
	start := b.Start
	if rest := b.Size - 8 - want; rest >= 20 {
		b.Size -= rest
		n.a.Blocks = slices.Insert(n.a.Blocks, i+1, oracle.Block{Start: start + 8 + want, Size: rest, Free: true})
		n.fragments++
	}
	n.available -= n.a.Blocks[i].Size
	if n.search == start {
		n.search = n.start(i + 1)
	}
	return heapmodel.Addr(start + 8)
}

func (n *naive) Free(addr heapmodel.Addr) {
	b := &n.a.Blocks[n.at(uint64(addr)-8)]
	b.Free = true
	n.available += b.Size
	n.search = min(n.search, b.Start)
}

func (n *naive) Realloc(addr heapmodel.Addr, size uint64, _ uint32) heapmodel.Addr {
	moved := n.Alloc(size, 0)
	if (moved != heapmodel.Null || size == 0) && addr != heapmodel.Null {
		n.Free(addr)
	}
	return moved
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec     string
		capacity uint64
	}{
		{"threadx-byte-pool", 65536},
		{"threadx-byte-pool:capacity=32KiB", 32768},
		{"threadx-byte-pool:capacity=10003", 10003},
		{"threadx-byte-pool:capacity=1001", 1001},
		{"threadx-byte-pool:capacity=100", 100},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, threadx.Model, c.spec, func() oracle.Heap { return newNaive(c.capacity) })
		})
	}
}

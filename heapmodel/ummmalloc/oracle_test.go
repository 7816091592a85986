package ummmalloc_test

import (
	"cmp"
	"slices"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/ummmalloc"
)

// naive is the heap as its description has it: chunks in a slice by address,
// the list a slice of their starts, and every step really taken.
type naive struct {
	a    oracle.Arena
	list []uint64
	body uint64
	best bool
}

func newNaive(capacity, body uint64, best bool) *naive {
	count := capacity / body
	n := &naive{body: body, best: best, list: []uint64{body}}
	n.a.Front = map[uint64]uint64{}
	n.a.Blocks = []oracle.Block{{Start: body, Size: (count - 2) * body, Free: true}}
	return n
}

// at returns the index of the chunk that begins at an address.
func (n *naive) at(start uint64) int {
	at, _ := slices.BinarySearchFunc(n.a.Blocks, start, func(b oracle.Block, start uint64) int { return cmp.Compare(b.Start, start) })
	return at
}

func (n *naive) Arena() *oracle.Arena { return &n.a }

// size returns the bytes of the chunk for a request.
func (n *naive) size(size uint64) uint64 {
	if size <= n.body-4 {
		return n.body
	}
	return min(2+(size-(n.body-4)-1)/n.body, 32767) * n.body
}

func (n *naive) Alloc(size uint64, _ uint32) heapmodel.Addr {
	if size == 0 {
		return heapmodel.Null
	}
	need, found := n.size(size), -1
	for i, start := range n.list {
		n.a.Steps++
		b := n.a.Blocks[n.at(start)]
		if b.Size < need {
			continue
		}
		if found < 0 || b.Size < n.a.Blocks[n.at(n.list[found])].Size {
			found = i
		}
		if !n.best {
			break
		}
	}
	if found < 0 {
		return heapmodel.Null
	}
	at := n.at(n.list[found])
	if n.a.Blocks[at].Size > need {
		n.a.Cut(at, need)
		n.a.Blocks[at+1].Free = true
		n.list[found] = n.a.Blocks[at+1].Start
	} else {
		n.list = slices.Delete(n.list, found, found+1)
	}
	n.a.Blocks[at].Free = false
	return heapmodel.Addr(n.a.Use(at, 4))
}

// unlink takes a chunk off the list.
func (n *naive) unlink(at int) {
	i := slices.Index(n.list, n.a.Blocks[at].Start)
	n.list = slices.Delete(n.list, i, i+1)
}

func (n *naive) release(at int) {
	if n.a.FreeAt(at + 1) {
		n.unlink(at + 1)
		n.a.Join(at)
	}
	n.a.Blocks[at].Free = true
	if n.a.FreeAt(at - 1) {
		n.a.Join(at - 1)
		return
	}
	n.list = slices.Insert(n.list, 0, n.a.Blocks[at].Start)
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
	at := n.a.Object(uint64(addr))
	k, z := n.size(size), n.a.Blocks[at].Size
	nz, pz := uint64(0), uint64(0)
	if n.a.FreeAt(at + 1) {
		nz = n.a.Blocks[at+1].Size
	}
	if n.a.FreeAt(at - 1) {
		pz = n.a.Blocks[at-1].Size
	}
	up := func() {
		n.unlink(at + 1)
		n.a.Join(at)
	}
	down := func() {
		at--
		n.unlink(at)
		n.a.Join(at)
		n.a.Blocks[at].Free = false
	}
	switch {
	case z >= k: // rule 1
	case z+nz == k: // 2
		up()
	case pz == 0 && z+nz >= k: // 3
		up()
	case pz+z >= k: // 4
		down()
	case pz+z+nz >= k: // 5
		up()
		down()
	default: // 6
		to := n.Alloc(size, 0)
		if to != heapmodel.Null {
			n.Free(addr)
		}
		return to
	}
	if n.a.Blocks[at].Size > k {
		n.a.Cut(at, k)
		n.release(at + 1)
	}
	return heapmodel.Addr(n.a.Use(at, 4))
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec           string
		capacity, body uint64
		best           bool
	}{
		{"umm-malloc:capacity=20001", 20001, 8, true},
		{"umm-malloc:capacity=3000", 3000, 8, true},
		{"umm-malloc:capacity=262143", 262143, 8, true},
		{"umm-malloc:capacity=40000,body=16", 40000, 16, true},
		{"umm-malloc:capacity=20001,fit=first", 20001, 8, false},
		{"umm-malloc:capacity=262143,fit=first", 262143, 8, false},
		{"umm-malloc:capacity=8KiB,fit=first,body=64", 8192, 64, false},
		{"umm-malloc:capacity=40000,fit=first,body=16", 40000, 16, false},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, ummmalloc.Model, c.spec, func() oracle.Heap { return newNaive(c.capacity, c.body, c.best) })
		})
	}
}

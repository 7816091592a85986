package picolibc_test

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
	"github.com/fragprof/fragprof/heapmodel/picolibc"
)

// naive is the heap as its description has it: chunks in a slice by address,
// the list those that are free and in no bucket, buckets slices of addresses,
// and every step really taken.
type naive struct {
	a       oracle.Arena
	word    uint64
	limit   uint64
	brk     uint64
	sizes   []uint64          // of buckets
	buckets [][]uint64        // starts of chunks, newest last
	bucket  map[uint64]uint64 // by start of a free chunk in a bucket: its size
}

func newNaive(word, limit, most uint64) *naive {
	n := &naive{word: word, limit: limit, bucket: map[uint64]uint64{}}
	n.a.Front = map[uint64]uint64{}
	for size := uint64(16); size < 2*most; size *= 2 {
		n.sizes = append(n.sizes, size+oracle.Up(word, 2*word))
		n.buckets = append(n.buckets, nil)
	}
	return n
}

func (n *naive) Arena() *oracle.Arena { return &n.a }

func (n *naive) chunk(size uint64) uint64 {
	return max(2*n.word, oracle.Up(size+n.word, 2*n.word))
}

// onList reports whether there is a free chunk of the list at the index.
func (n *naive) onList(i int) bool {
	return n.a.FreeAt(i) && n.bucket[n.a.Blocks[i].Start] == 0
}

// sbrk raises the break; ok is false if it must not.
func (n *naive) sbrk(bytes uint64) (at uint64, ok bool) {
	if bytes > n.limit || n.brk+bytes > n.limit {
		return 0, false
	}
	at = n.brk
	n.brk += bytes
	return at, true
}

// fresh returns the index of a new chunk at the break, -1 if there is none.
func (n *naive) fresh(need uint64) int {
	p, ok := n.sbrk(need)
	if !ok {
		return -1
	}
	q := oracle.Up(p+n.word, 2*n.word) - n.word
	if q != p {
		if _, ok := n.sbrk(q - p); !ok {
			return -1
		}
	}
	n.a.Blocks = append(n.a.Blocks, oracle.Block{Start: q, Size: need})
	return len(n.a.Blocks) - 1
}

// bucketOf returns the bucket for chunks of exactly this size, or -1.
func (n *naive) bucketOf(size uint64) int {
	for i, s := range n.sizes {
		if s == size {
			return i
		}
	}
	return -1
}

func (n *naive) push(i, bucket int) {
	b := &n.a.Blocks[i]
	b.Free = true
	n.bucket[b.Start] = b.Size
	n.buckets[bucket] = append(n.buckets[bucket], b.Start)
}

// settle moves a free chunk to the bucket for its size, if there is one.
func (n *naive) settle(i int) {
	if b := n.bucketOf(n.a.Blocks[i].Size); b >= 0 {
		n.push(i, b)
	}
}

func (n *naive) malloc(size uint64) int {
	need := n.chunk(size)
	for b, s := range n.sizes {
		if need > s {
			continue
		}
		n.a.Steps++
		last := len(n.buckets[b]) - 1
		if last < 0 {
			return n.fresh(s)
		}
		start := n.buckets[b][last]
		n.buckets[b] = n.buckets[b][:last]
		delete(n.bucket, start)
		i := n.a.At(start)
		n.a.Blocks[i].Free = false
		return i
	}
	for i := range n.a.Blocks {
		if !n.onList(i) {
			continue
		}
		n.a.Steps++
		if n.a.Blocks[i].Size < need {
			continue
		}
		n.a.Blocks[i].Free = false
		if n.a.Blocks[i].Size > need {
			n.a.Cut(i, need)
			n.a.Blocks[i+1].Free = true
			n.settle(i + 1)
		}
		return i
	}
	return n.fresh(need)
}

func (n *naive) Alloc(size uint64, align uint32) heapmodel.Addr {
	if align == 0 {
		if i := n.malloc(size); i >= 0 {
			return heapmodel.Addr(n.a.Use(i, n.word))
		}
		return heapmodel.Null
	}
	a, k := max(uint64(align), 4), n.chunk(size)
	i := n.malloc(k + a + 2*n.word)
	if i < 0 {
		return heapmodel.Null
	}
	u := n.a.Blocks[i].Start + n.word
	p := oracle.Up(u, a)
	if p > u {
		n.a.Cut(i, p-u)
		n.release(i)
		i = n.a.At(p - n.word)
	}
	if n.a.Blocks[i].Size-k >= 2*n.word {
		n.a.Cut(i, k)
		n.release(i + 1)
	}
	return heapmodel.Addr(n.a.Use(i, n.word))
}

func (n *naive) release(i int) {
	if b := n.bucketOf(n.a.Blocks[i].Size); b >= 0 {
		n.push(i, b)
		return
	}
	for low := range i {
		if n.onList(low) {
			n.a.Steps++
		}
	}
	n.a.Blocks[i].Free = true
	if n.onList(i + 1) {
		n.a.Join(i)
	}
	if n.onList(i - 1) {
		i--
		n.a.Join(i)
	}
	n.settle(i)
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
	i := n.a.Object(uint64(addr))
	b := &n.a.Blocks[i]
	k, free := n.chunk(size), n.bucketOf(b.Size) < 0
	switch {
	case k <= b.Size:
		if free && b.Size-k >= 2*n.word {
			n.a.Cut(i, k)
			n.release(i + 1)
		}
		return addr
	case free && i == len(n.a.Blocks)-1:
		if _, ok := n.sbrk(k - b.Size); ok {
			b.Size = k
			return addr
		}
	}
	to := n.Alloc(size, 0)
	if to != heapmodel.Null {
		n.Free(addr)
	}
	return to
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec               string
		word, limit, small uint64
	}{
		{"picolibc:grow=20001", 4, 20001, 0},
		{"picolibc:grow=40000,ptr=64", 8, 40000, 0},
		{"picolibc:grow=16MiB", 4, 16 << 20, 0},
		{"picolibc:grow=20001,bucket=128", 4, 20001, 128},
		{"picolibc:grow=40000,ptr=64,bucket=100", 8, 40000, 100},
		{"picolibc:grow=30000,bucket=16", 4, 30000, 16},
		{"picolibc:grow=16MiB,ptr=64,bucket=4096", 8, 16 << 20, 4096},
		{"picolibc:grow=200,bucket=64", 4, 200, 64},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, picolibc.Model, c.spec, func() oracle.Heap { return newNaive(c.word, c.limit, c.small) })
		})
	}
}

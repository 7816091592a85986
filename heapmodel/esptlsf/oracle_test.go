package esptlsf_test

import (
	"math/bits"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/esptlsf"
	"github.com/fragprof/fragprof/heapmodel/internal/oracle"
)

// naive is the fork as its description has it, in bytes and on two levels.
// Sizes are payloads; blocks have the size word in front of them.
type naive struct {
	a         *oracle.Arena
	word      uint64
	bits      uint64 // of the region's length
	k         uint64 // log2 of the lists of a row
	small     uint64 // payloads below are in row 0
	smallBits uint64
}

func newNaive(capacity, word, prefix uint64) *naive {
	o := &naive{word: word, bits: uint64(bits.Len64(capacity - prefix)), k: 5}
	switch length := capacity - prefix; {
	case length <= 16384:
		o.k = 3
	case length <= 262144:
		o.k = 4
	}
	o.smallBits = o.k + 2
	o.small = 1 << o.smallBits
	rows := o.bits - o.smallBits + 1
	control := uint64(36)
	if word == 8 {
		control = 72
	}
	control += 4*rows + word*rows*(1<<o.k)
	pool := capacity - prefix - control
	payload := (pool - 2*word) / 4 * 4
	o.a = oracle.NewArena(prefix+control, payload+word, int(rows), func(size uint64) oracle.Bin { return o.bin(size - word) })
	return o
}

func (o *naive) Arena() *oracle.Arena { return o.a }

func (o *naive) bin(payload uint64) oracle.Bin {
	if payload < o.small {
		return oracle.Bin{Row: 0, Column: int(payload / 4)}
	}
	log2 := uint64(bits.Len64(payload) - 1)
	return oracle.Bin{Row: int(log2 - o.smallBits + 1), Column: int(payload>>(log2-o.k) - 1<<o.k)}
}

// payload rounds a request up. It is 0 for what the fork does not look for.
func (o *naive) payload(size uint64) uint64 {
	p := max(oracle.Up(size, 4), 3*o.word)
	if size == 0 || p >= 1<<o.bits {
		return 0
	}
	return p
}

// search returns the block for a payload and the size of the class searched.
func (o *naive) search(payload uint64) (at int, class uint64, ok bool) {
	if payload == 0 {
		return 0, 0, false
	}
	class = payload
	if payload >= o.small {
		class = oracle.Up(payload, 1<<(uint64(bits.Len64(payload)-1)-o.k))
	}
	at, ok = o.a.Search(o.bin(class))
	return at, class, ok
}

func (o *naive) Alloc(size uint64, align uint32) heapmodel.Addr {
	if align > 0 {
		return o.aligned(size, uint64(align))
	}
	at, class, ok := o.search(o.payload(size))
	if !ok {
		return heapmodel.Null
	}
	o.a.Pull(at)
	o.a.Trim(at, class+o.word, 4*o.word)
	return heapmodel.Addr(o.a.Use(at, o.word))
}

func (o *naive) aligned(size, align uint64) heapmodel.Addr {
	payload := o.payload(size)
	wide := payload
	if align > 4 && payload > 0 {
		wide = o.payload(oracle.Up(payload+align+4*o.word, align))
	}
	at, _, ok := o.search(wide)
	if !ok {
		return heapmodel.Null
	}
	u := o.a.Blocks[at].Start + o.word
	p := oracle.Up(u, align)
	if gap := p - u; gap > 0 && gap < 4*o.word {
		p = oracle.Up(p+max(4*o.word-gap, align), align)
	}
	o.a.Pull(at)
	if p > u {
		o.a.Cut(at, p-u)
		o.a.Put(at)
		at++
	}
	o.a.Trim(at, payload+o.word, 4*o.word)
	return heapmodel.Addr(o.a.Use(at, o.word))
}

func (o *naive) Free(addr heapmodel.Addr) { o.a.Release(o.a.Object(uint64(addr))) }

func (o *naive) Realloc(addr heapmodel.Addr, size uint64, _ uint32) heapmodel.Addr {
	if addr == heapmodel.Null {
		return o.Alloc(size, 0)
	}
	if size == 0 {
		o.Free(addr)
		return heapmodel.Null
	}
	payload := o.payload(size)
	if payload == 0 {
		return heapmodel.Null
	}
	at := o.a.Object(uint64(addr))
	if have := o.a.Blocks[at].Size - o.word; payload > have {
		if !o.a.FreeAt(at+1) || payload > have+o.a.Blocks[at+1].Size {
			moved := o.Alloc(size, 0)
			if moved != heapmodel.Null {
				o.Free(addr)
			}
			return moved
		}
		o.a.Pull(at + 1)
		o.a.Join(at)
	}
	o.a.Trim(at, payload+o.word, 4*o.word)
	return addr
}

func TestOracle(t *testing.T) {
	for _, c := range []struct {
		spec                   string
		capacity, word, prefix uint64
	}{
		{"esp-tlsf:capacity=16KiB", 16384, 4, 0},
		{"esp-tlsf:capacity=64KiB,prefix=20", 65536, 4, 20},
		{"esp-tlsf:capacity=12003,ptr=64", 12003, 8, 0},
		{"esp-tlsf:capacity=40000,prefix=40,ptr=64", 40000, 8, 40},
		{"esp-tlsf:capacity=300KiB", 307200, 4, 0},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			oracle.Compare(t, esptlsf.Model, c.spec, func() oracle.Heap { return newNaive(c.capacity, c.word, c.prefix) })
		})
	}
}

// Package tlsf models TLSF 3.1, the two-level segregated fit heap of Matthew
// Conte. It is the heap of record, not ESP-IDF's fork or the Rust crate rlsf,
// which place differently.
//
// A block is a size word and a payload of whole words, at least three. Free
// blocks lie in doubly linked lists, one a class: 32 exact classes below 32
// words, then 32 for each power of two. Two bitmaps say which lists have
// blocks, so that a search is two instructions:
//
//	first level     second level    lists (LIFO)
//	  . 1 . 1   ->   1 . . 1 ...  ->  [free] <-> [free]
//
// A request is rounded up to the next class boundary for the search only, so
// the head of the list found is always large enough, and blocks in the
// request's own class may be passed over though they fit ("good fit"). The low
// end of the block is given out; a remainder of four words or more is split
// off. Free coalesces at once, on both sides.
//
// Source: mattconte/tlsf, commit deff9ab5 (2020-03-29), BSD-3-Clause; the paper
// is Masmano, Ripoll, Crespo and Real, "TLSF: a new dynamic memory allocator
// for real-time systems", ECRTS 2004. Written from a description of behaviour
// and from tables of its answers, not from its code.
//
// Differs from upstream: growth is ours. Upstream leaves adding pools to its
// user; with grow or quantum set, a request that fails adds a pool right
// behind the arena and is tried again, which is a plain use of upstream's
// add-pool call. Pools are never merged with each other, there as here. A
// block that a too large realloc has shrunk to no payload (see Realloc) has no
// room for its list links when it is freed; upstream then damages the block
// behind it, the model goes on with a sound heap and counts such reallocs.
package tlsf

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Model is the catalog row of TLSF.
var Model = &heapmodel.Model{
	Name:   "tlsf",
	Family: "segregated fits",
	Title:  "two-level segregated fit: O(1) good fit with immediate coalescing",
	Doc: "Models TLSF 3.1 with its pools, aligned entry point and in-place realloc. " +
		"The bytes of its control structure count as overhead. " +
		"With grow or quantum set, a request that fails adds a pool behind the arena; upstream leaves that to its user. " +
		"A step is a word of a bitmap looked at, a list head taken, or a block merged.\n\n" +
		"Not modelled: removing pools, and upstream's integrity walks.",
	Source: "mattconte/tlsf, commit deff9ab509341f264addbd3c8ada533678591905 (2020-03-29)",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Doc: "bytes of the arena, control structure included; unset: 64KiB, or one quantum if the heap grows"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "bits of a pointer, which set word, alignment and control structure"},
		{Key: "control", Kind: heapmodel.ParamEnum, Default: "internal", Enum: []string{"internal", "external"}, Doc: "control structure at the start of the arena, or elsewhere"},
		{Key: "regions", Kind: heapmodel.ParamRegions, Doc: "pools SIZE@ADDR in place of capacity; an internal control structure is at the start of the first"},
		{Key: "quantum", Kind: heapmodel.ParamBytes, Doc: "least bytes of a pool added when a request fails; 4KiB if only grow is set"},
		{Key: "grow", Kind: heapmodel.ParamBytes, Doc: "bytes up to which the arena may grow; unset with quantum set: as far as addresses reach"},
	},
	New: newHeap,
}

const (
	defaultCapacity = 64 << 10
	defaultQuantum  = 4 << 10
)

// machine is what depends on the width of a pointer.
type machine struct {
	word        uint32 // bytes; the alignment and the granule, too
	shift       uint8  // log2 of word
	firstLevels uint64 // of lists
	maxPayload  uint32 // words
	addressEnd  uint64 // addresses must stay below; in words they fit 32 bits
}

var machines = map[string]machine{
	"32": {word: 4, shift: 2, firstLevels: 24, maxPayload: 1<<28 - 1, addressEnd: 1 << 32},
	"64": {word: 8, shift: 3, firstLevels: 25, maxPayload: 1<<29 - 1, addressEnd: 8 * (1<<32 - 1)},
}

// controlBytes returns the size of the control structure: the null block, the
// bitmaps, and a pointer for each list.
func (m *machine) controlBytes() uint64 {
	w := uint64(m.word)
	bitmaps := (4 + 4*m.firstLevels + w - 1) &^ (w - 1)
	return 4*w + bitmaps + 32*w*m.firstLevels
}

// leastPool and mostPool are the limits of a pool's size in bytes: a pool has
// the smallest or the largest block, its size word, that of the end marker,
// and an end of less than a word that is lost.
func (m *machine) leastPool() uint64 { return uint64(minPayload+2) << m.shift }
func (m *machine) mostPool() uint64  { return uint64(m.maxPayload+3)<<m.shift - 1 }

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	h := &heap{machine: machines[c.Text("ptr")]}
	h.limit = uint64(h.maxPayload) << h.shift
	control := uint64(0)
	if c.Text("control") == "internal" {
		control = h.controlBytes()
	}
	if err := h.setGrowth(c); err != nil {
		return nil, err
	}
	regions, err := h.regions(c, control)
	if err != nil {
		return nil, err
	}
	blocks.Reserve(&h.t, heads)
	h.use.Arena, h.use.Overhead = control, control
	for _, r := range regions {
		h.addPool(r.Addr+heapmodel.Addr(control), r.Size-control)
		control = 0
	}
	if h.quantum > 0 && h.end > h.reach {
		return nil, fmt.Errorf("grow %d: the arena starts with %d bytes", h.reach, h.end)
	}
	return h, nil
}

// setGrowth reads the parameters of growth. Quantum stays zero if there is to
// be none.
func (h *heap) setGrowth(c heapmodel.Config) error {
	if !c.Set("grow") && !c.Set("quantum") {
		return nil
	}
	h.quantum, h.reach = defaultQuantum, h.addressEnd
	if c.Set("quantum") {
		h.quantum = c.Bytes("quantum")
	}
	if c.Set("grow") {
		h.reach = min(h.reach, c.Bytes("grow"))
	}
	if h.quantum < h.leastPool() || h.quantum > h.mostPool() {
		return fmt.Errorf("quantum %d: want at least %d and at most %d bytes", h.quantum, h.leastPool(), h.mostPool())
	}
	return nil
}

// regions returns the address ranges the heap starts with. A control structure
// of so many bytes is at the start of the first.
func (h *heap) regions(c heapmodel.Config, control uint64) ([]heapmodel.Region, error) {
	regions := c.Regions("regions")
	if len(regions) > 0 {
		if c.Set("capacity") {
			return nil, errors.New("capacity and regions exclude each other")
		}
		return regions, h.checkRegions(regions, control)
	}
	capacity := uint64(defaultCapacity)
	switch {
	case c.Set("capacity"):
		capacity = c.Bytes("capacity")
	case h.quantum > 0:
		capacity = min(control+h.quantum, h.reach)
	}
	if least, most := control+h.leastPool(), control+h.mostPool(); capacity < least || capacity > most {
		return nil, fmt.Errorf("capacity %d: want at least %d and at most %d bytes", capacity, least, most)
	}
	return []heapmodel.Region{{Size: capacity}}, nil
}

func (h *heap) checkRegions(regions []heapmodel.Region, control uint64) error {
	for _, r := range regions {
		least, most := control+h.leastPool(), control+h.mostPool()
		switch {
		case uint64(r.Addr)%uint64(h.word) != 0:
			return fmt.Errorf("region at %d: the address is no multiple of %d", r.Addr, h.word)
		case r.Size < least || r.Size > most:
			return fmt.Errorf("region at %d of %d bytes: want at least %d and at most %d", r.Addr, r.Size, least, most)
		case uint64(r.Addr)+r.Size > h.addressEnd:
			return fmt.Errorf("region at %d of %d bytes: it ends above %d", r.Addr, r.Size, h.addressEnd)
		}
		control = 0
	}
	return nil
}

// addPool adds a pool of one free block:
//
//	[size word | payload ...............][end marker's size word] lost end
func (h *heap) addPool(addr heapmodel.Addr, size uint64) {
	start := uint32(uint64(addr) >> h.shift)
	length := uint32(size>>h.shift) - 1
	id := h.t.Region(start, start+length)
	h.pools = append(h.pools, id)
	h.insert(h.t.Nodes, id, floorClass(length-1))
	h.end = uint64(addr) + size
	bytes := uint64(length) << h.shift
	h.use.Arena += size
	h.use.Free += bytes
	h.use.Overhead += size - bytes
	h.use.FreeBlocks++
}

// grow adds a pool right behind the arena from which a payload of so many
// words can be served, if the heap may grow that far.
func (h *heap) grow(words uint32) bool {
	// The new block must be in a class that a search for words looks at.
	payload := ceilPayload(words)
	if h.quantum == 0 || payload > h.maxPayload {
		return false
	}
	addr := (h.end + uint64(h.word) - 1) &^ (uint64(h.word) - 1)
	size := max(uint64(payload+2)<<h.shift, h.quantum)
	if addr+size > h.reach {
		return false
	}
	h.use.Grown = heapmodel.Growth{Need: uint64(words+1) << h.shift, Free: h.use.Free, LargestFree: h.LargestFree()}
	h.addPool(heapmodel.Addr(addr), size)
	return true
}

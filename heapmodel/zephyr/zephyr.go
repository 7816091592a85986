// Package zephyr models sys_heap, the heap of the Zephyr kernel and the base of
// its k_heap and k_malloc.
//
// Memory is counted in units of 8 bytes. A chunk is a header and a payload; the
// header has 4 bytes in small heaps, so that their pointers are 4 modulo 8, and
// 8 bytes in big ones. Free chunks lie in rings, one a bucket: bucket b holds
// those of 1<<b to 2<<b - 1 units (one more in big heaps, whose smallest chunk
// has two units). Each ring has a cursor:
//
//	bucket 3     v cursor
//	       ... [11 units] -> [8] -> [15] -> [9] ...
//	            ^ a freed chunk goes in front of the cursor, that is last
//
// A search looks at no more than three chunks of its own bucket, from the
// cursor on, and moves the cursor past those that are too small; then it takes
// what the cursor of the lowest filled bucket above points to. So a request can
// fail although a chunk of its bucket would hold it, and a search that fails
// still moves cursors. The low end of a chunk is given out and any remainder
// split off; free coalesces at once, on both sides. In big heaps a remainder of
// one unit is free but in no ring.
//
// Source: zephyrproject-rtos/zephyr lib/os/heap.c, as of v3.7 to v4.0 and of
// v2.5.0. Apache-2.0. Written from a description of behaviour and from tables
// of its answers, not from its code.
//
// Differs from upstream: nothing known. Canaries, hardening at the level "full"
// and statistics by thread are not modelled, nor is the pointer that k_malloc
// puts in front of an object.
package zephyr

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

// Model is the catalog row of sys_heap.
var Model = &heapmodel.Model{
	Name:   "zephyr-sys-heap",
	Family: "embedded",
	Title:  "Zephyr sys_heap: power-of-two buckets with cursors, at most three probes",
	Doc: "Models sys_heap with its aligned entry point and its realloc, which grows in place upward only. " +
		"A request may fail although a chunk in its bucket would hold it, since at most loops chunks of the bucket are probed. " +
		"The capacity is the buffer given to sys_heap_init: control structure and end marker count as overhead. " +
		"In mode auto, heaps of more than 32767 units of 8 bytes after the end marker of a small heap are big; no table pins that edge. " +
		"Versions before 2.6 have buckets of a pointer each, later ones of 4 bytes; in which version that changed is not known exactly. " +
		"Not modelled: canaries, hardening at level full, statistics by thread, the extra pointer of k_malloc. " +
		"The figures of RUNTIME_STATS count whole chunks; some versions leave the headers out. " +
		"A step is a chunk probed in the bucket of the request, the look for a filled bucket above it, or a merge of two chunks.",
	Source: "zephyrproject-rtos/zephyr lib/os/heap.c, v3.7 to v4.0 (matched pair in zophai-liu/rtk-zephyr 5979841) and v2.5.0 (wiifor/framework-zephyr f6ede45)",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes given to sys_heap_init, whose start is aligned to 8"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "bits of a pointer; with 64 every heap is big"},
		{
			Key: "mode", Kind: heapmodel.ParamEnum, Default: "auto", Enum: []string{"auto", "small", "big"},
			Doc: "headers of 4 bytes (small), of 8 (big), or by the size of the heap (auto)",
		},
		{Key: "stats", Kind: heapmodel.ParamBool, Default: "false", Doc: "CONFIG_SYS_HEAP_RUNTIME_STATS, which lengthens the control structure"},
		{Key: "loops", Kind: heapmodel.ParamInt, Default: "3", Doc: "CONFIG_SYS_HEAP_ALLOC_LOOPS: chunks probed in a bucket, 1 to 1000"},
		{Key: "version", Kind: heapmodel.ParamVersion, Default: "4.0", Doc: "version of the kernel, 2.5 or later"},
	},
	New: newHeap,
}

const (
	unitLog2 = 3
	unit     = 1 << unitLog2
	// A small heap has 15 bits for the units of a chunk, a big one 31.
	smallUnits = 1<<15 - 1
	bigUnits   = 1<<31 - 1
	maxLoops   = 1000
)

// frame is what does not change in the life of a heap.
type frame struct {
	header uint32 // bytes
	least  uint32 // units of the smallest chunk that is in a ring
	end    uint32 // unit of the end marker, and thereby the units of the heap
	loops  int    // chunks probed in a bucket
	stats  bool

	word   uint64 // bytes of a pointer
	bucket uint64 // bytes of a bucket in the control structure
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	capacity := c.Bytes("capacity")
	f, err := newFrame(c, capacity)
	if err != nil {
		return nil, err
	}
	h := &heap{frame: f}
	start := f.control(f.end)
	h.first = h.t.Region(start, f.end)
	free := uint64(f.end-start) << unitLog2
	h.use = heapmodel.Usage{Arena: capacity, Free: free, Overhead: capacity - free, FreeBlocks: 1}
	h.insert(h.first, f.end-start)
	return h, nil
}

func newFrame(c heapmodel.Config, capacity uint64) (frame, error) {
	var f frame
	if c.Before("version", 2, 5, 0) {
		return f, fmt.Errorf("version=%s is not modelled, the first is 2.5", c.Text("version"))
	}
	if f.loops = c.Int("loops"); f.loops < 1 || f.loops > maxLoops {
		return f, fmt.Errorf("loops=%d: want 1 to %d", f.loops, maxLoops)
	}
	f.stats = c.Bool("stats")
	f.word, f.bucket = 4, 4
	if c.Text("ptr") == "64" {
		f.word = 8
	}
	if c.Before("version", 2, 6, 0) {
		f.bucket = f.word
	}
	mode := c.Text("mode")
	if mode == "small" && f.word == 8 {
		return f, errors.New("mode=small: heaps are always big with ptr=64")
	}
	f.header, f.least = 4, 1
	units := uint64(smallUnits)
	if mode == "big" || f.word == 8 || mode == "auto" && f.unitsOf(capacity) > smallUnits {
		f.header, f.least = 8, 2
		units = bigUnits
	}
	if f.word == 4 {
		units = min(units, (1<<32-1-uint64(f.header))>>unitLog2)
	}
	least := f.leastCapacity()
	if most := units<<unitLog2 + uint64(f.header) + unit - 1; capacity < least || capacity > most {
		return f, fmt.Errorf("capacity=%s: the heap needs at least %d bytes and takes at most %d", c.Text("capacity"), least, most)
	}
	f.end = uint32(f.unitsOf(capacity))
	return f, nil
}

// unitsOf returns the units in front of the end marker of so many bytes.
func (f *frame) unitsOf(capacity uint64) uint64 {
	return (max(capacity, uint64(f.header)) - uint64(f.header)) >> unitLog2
}

// control returns the units that the control structure of a heap of so many
// units takes: 16 bytes, the statistics, and a bucket each up to that of the
// whole heap.
func (f *frame) control(units uint32) uint32 {
	bytes := 16 + f.bucket*uint64(f.bucketOf(units)+1)
	if f.stats {
		bytes += 3 * f.word
	}
	return uint32((bytes + unit - 1) >> unitLog2)
}

// leastCapacity returns the bytes of the smallest heap that has a chunk. A unit
// more lengthens the control structure by no more than a unit, so every larger
// capacity has one, too.
func (f *frame) leastCapacity() uint64 {
	units := f.least
	for f.control(units)+f.least > units {
		units++
	}
	return uint64(units)<<unitLog2 + uint64(f.header)
}

// bucketOf returns the bucket of a chunk of so many units, at least f.least.
func (f *frame) bucketOf(units uint32) uint32 {
	return uint32(bits.Len32(units-f.least+1)) - 1
}

// units returns the units of a chunk for so many bytes, header included. More
// than the heap has are cut to all it has, which no chunk is.
func (f *frame) units(bytes uint64) uint32 {
	return uint32(min((bytes+unit-1)>>unitLog2, uint64(f.end)))
}

// heap is a sys_heap in one state. The rings go through X (next) and Y
// (previous). X of a used chunk is the gap in bytes between its header and its
// payload, which some aligned objects have.
type heap struct {
	t      blocks.Table
	filled uint32        // a bit for each bucket whose ring has chunks
	cursor [32]blocks.ID // by bucket; valid if filled
	frame
	use     heapmodel.Usage
	first   blocks.ID // lowest chunk
	maxUsed uint64    // most bytes ever allocated
}

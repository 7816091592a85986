// Package threadx models the byte pools of ThreadX (tx_byte_allocate and
// tx_byte_release), which serve requests of any size first fit and merge free
// blocks only when a search comes across them.
//
// All blocks, used and free, are in a ring: each begins with the address of the
// next, and a word that says that the block is free or names its pool. A block
// of 8 bytes at the end, always used, leads back to the start. The control
// block is outside the pool.
//
//	[next free |      ][next free |   ][next pool | payload .......] end
//	^ search: no block below is free
//
// Releasing a block only marks it. A search begins at the search pointer and
// joins each free block that is too small with the free blocks that follow it,
// until it is large enough or a used block follows. What a search has joined
// stays so even if it fails.
//
// Source: ThreadX 6.4.2, commit 7ad78c40 (2025-02-27), common/src. MIT licence.
//
// Differs from upstream: no thread waits for memory; a request that cannot be
// served at once fails (TX_NO_WAIT). Only ports with 32 bits are modelled.
package threadx

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/walk"
)

// Model is the model of a byte pool.
var Model = &heapmodel.Model{
	Name:   "threadx-byte-pool",
	Family: "embedded",
	Title:  "ThreadX byte pool: first fit over all blocks, coalescing deferred to the search",
	Doc: "A search walks all blocks, used and free, from the search pointer, below which no block is free. It joins a " +
		"free block that is too small with free blocks right above until it is large enough; merges of a search that " +
		"fails stay. The block is used from its low end and split if 20 bytes, a header included, would remain; else it is " +
		"used whole. A freed block is only marked. Headers have 8 bytes, payloads are multiples of 4, and the pool ends with " +
		"8 bytes of its own. A request for as much as all free bytes and the headers between them, or more, fails without a " +
		"search. There is no realloc and no aligned entry point. A request of 0 bytes, which the API refuses, gives a null pointer. " +
		"A step is a turn of the search's loop: a used block passed, a merge, a free block passed together with the used one " +
		"behind it, or the block taken; a search that fails goes once round the ring and one turn further.\n\n" +
		"Not modelled: tasks that wait for memory, as every request is made without waiting, tasks that interrupt a search, and the optional counters.",
	Source: "ThreadX 6.4.2 tx_byte_allocate, tx_byte_pool_search, tx_byte_release (7ad78c40, 2025-02-27)",
	Params: []heapmodel.Param{
		{
			Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB",
			Doc: "bytes of the pool, from an aligned start",
		},
		{
			Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32"},
			Doc: "pointer width in bits",
		},
	},
	New: newHeap,
}

// The granule of the list of blocks is 4 bytes.
const (
	alignLog2 = 2
	align     = 1 << alignLog2
	header    = 8            // bytes: the pointer to the next block, and the owner
	leastRest = 20           // bytes, header included, of a block that is split off
	most      = 1<<32 - 1    // bytes of the largest pool: addresses have 32 bits
	least     = 2*header + 4 // bytes of the smallest pool: a block of 4, and the end
)

type heap struct {
	list   *walk.List
	use    heapmodel.Usage
	search uint32 // start of the block where searches begin, in granules
	end    uint32 // start of the block at the end
}

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	capacity := c.Bytes("capacity")
	switch {
	case capacity < least:
		return nil, fmt.Errorf("capacity=%s: needs at least %d bytes", c.Text("capacity"), least)
	case capacity > most:
		return nil, fmt.Errorf("capacity=%s: the most is %d bytes", c.Text("capacity"), uint64(most))
	}
	size := capacity&^(align-1) - header
	h := &heap{end: uint32(size >> alignLog2)}
	h.list = walk.New(0, h.end)
	h.use = heapmodel.Usage{Arena: capacity, Free: size, FreeBlocks: 1, Overhead: capacity - size}
	return h, nil
}

// Alloc implements heapmodel.Heap. align is zero.
func (h *heap) Alloc(size uint64, _ uint32) (heapmodel.Ref, bool) {
	if size == 0 {
		return heapmodel.NullRef, true
	}
	u := &h.use
	payload := (size + align - 1) &^ (align - 1)
	if payload >= u.Free+(u.UsedBlocks+u.FreeBlocks-1)*header {
		return heapmodel.NullRef, false
	}
	want := uint32((payload + header) >> alignLog2)
	p := h.find(want)
	if p == walk.NoPos {
		return heapmodel.NullRef, false
	}
	start, room, _ := h.list.At(p)
	taken := want
	if room-want < leastRest>>alignLog2 {
		taken = room
		u.FreeBlocks--
	}
	if start == h.search {
		h.search = start + taken
	}
	bytes := uint64(taken) << alignLog2
	u.UsedBlocks++
	u.Allocated += bytes
	u.Free -= bytes
	u.HighWater = max(u.HighWater, uint64(start)<<alignLog2+bytes)
	return heapmodel.Ref(h.list.Take(p, taken)), true
}

// find searches for a free block of so many granules and sets the search
// pointer to the first free block that it comes to. It joins what the original
// joins: as no block below the search pointer is free, that is a prefix of all
// free blocks in address order, and the blocks between need no visit.
//
// The original counts the blocks it passes, merged ones included, and gives up
// after one more than there were. A turn of its loop passes one block, but for
// a free one that is too small: the used block behind is passed with it.
func (h *heap) find(want uint32) walk.Pos {
	u := &h.use
	before := u.UsedBlocks + u.FreeBlocks + 1 // with the block at the end
	from, merges := h.search, uint64(0)
	if p := h.list.FirstFit(1); p != walk.NoPos {
		h.search, _, _ = h.list.At(p)
	}
	for {
		p := h.list.FirstFitOrSeam(want)
		if p == walk.NoPos {
			u.Steps += before - u.FreeBlocks + 1
			return walk.NoPos
		}
		start, room, _ := h.list.At(p)
		for room < want && h.list.Free(h.list.Next(p)) {
			p = h.list.Join(p)
			u.FreeBlocks--
			merges++
			_, room, _ = h.list.At(p)
		}
		if room < want {
			continue // a used block follows
		}
		blocks, free := h.list.Below(start)
		if from > 0 {
			below, _ := h.list.Below(from)
			blocks -= below
		}
		u.Steps += blocks - free + merges + 1
		return p
	}
}

// Realloc implements heapmodel.Heap: ThreadX has none.
func (h *heap) Realloc(r heapmodel.Ref, size uint64, align uint32) (heapmodel.Ref, bool) {
	return heapmodel.Move(h, r, size, align)
}

// Free implements heapmodel.Heap.
func (h *heap) Free(r heapmodel.Ref) {
	if r == heapmodel.NullRef {
		return
	}
	if !h.list.Live(walk.ID(r)) {
		panic("threadx: free of an object that is not live")
	}
	p := h.list.Find(walk.ID(r))
	start, size, _ := h.list.At(p)
	h.list.Release(p)
	h.search = min(h.search, start)
	bytes := uint64(size) << alignLog2
	u := &h.use
	u.UsedBlocks--
	u.Allocated -= bytes
	u.FreeBlocks++
	u.Free += bytes
}

// Addr implements heapmodel.Heap.
func (h *heap) Addr(r heapmodel.Ref) heapmodel.Addr {
	if r == heapmodel.NullRef {
		return heapmodel.Null
	}
	return heapmodel.Addr(uint64(h.list.Start(walk.ID(r)))<<alignLog2 + header)
}

// Align implements heapmodel.Heap.
func (h *heap) Align() uint32 { return align }

// Need implements heapmodel.Heap. Free blocks that touch each other serve as
// one.
func (h *heap) Need(size uint64, _ uint32) uint64 {
	if size == 0 {
		return 0
	}
	return (size+align-1)&^(align-1) + header
}

// Usage implements heapmodel.Heap.
func (h *heap) Usage() *heapmodel.Usage { return &h.use }

// LargestFree implements heapmodel.Heap: the largest block as it is, free
// blocks that a search would join with it left out. O(1).
func (h *heap) LargestFree() uint64 { return uint64(h.list.Largest()) << alignLog2 }

// Native implements heapmodel.Native with what tx_byte_pool_info_get reports:
// bytes available, headers of free blocks included, and the number of blocks,
// which ThreadX calls fragments, with the one at the end.
func (h *heap) Native() []heapmodel.Stat {
	return []heapmodel.Stat{
		{Key: "free_bytes", Value: h.use.Free},
		{Key: "fragments", Value: h.use.UsedBlocks + h.use.FreeBlocks + 1},
		{Key: "largest_free_bytes", Value: h.LargestFree()},
	}
}

// Blocks implements heapmodel.Heap.
func (h *heap) Blocks() iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for p := h.list.First(); p != walk.NoPos; p = h.list.Next(p) {
			start, size, id := h.list.At(p)
			b := heapmodel.Block{
				Addr: heapmodel.Addr(start) << alignLog2, Size: uint64(size) << alignLog2,
				Wall: start == 0, Ref: heapmodel.NullRef,
			}
			b.Payload = b.Addr
			if id != walk.None {
				b.Used, b.Ref = true, heapmodel.Ref(id)
				b.Payload += header
			}
			if !yield(b) {
				return
			}
		}
	}
}

// Check implements heapmodel.Heap.
func (h *heap) Check() error {
	if err := h.list.Check(); err != nil {
		return err
	}
	var sum heapmodel.Usage
	search := uint64(h.search) << alignLog2
	found := h.search == h.end
	for b := range h.Blocks() {
		found = found || uint64(b.Addr) == search
		switch {
		case b.Size <= header:
			return fmt.Errorf("block at %d has %d bytes", b.Addr, b.Size)
		case b.Used:
			sum.UsedBlocks++
			sum.Allocated += b.Size
		case uint64(b.Addr) < search:
			return fmt.Errorf("free block at %d is below the search pointer, %d", b.Addr, search)
		default:
			sum.FreeBlocks++
			sum.Free += b.Size
		}
	}
	u := h.use
	switch {
	case !found:
		return fmt.Errorf("no block starts at the search pointer, %d", search)
	case sum.UsedBlocks != u.UsedBlocks || sum.FreeBlocks != u.FreeBlocks || sum.Allocated != u.Allocated || sum.Free != u.Free:
		return fmt.Errorf("counters say %d used blocks of %d bytes and %d free of %d, the walk %d of %d and %d of %d",
			u.UsedBlocks, u.Allocated, u.FreeBlocks, u.Free, sum.UsedBlocks, sum.Allocated, sum.FreeBlocks, sum.Free)
	case u.Arena != u.Allocated+u.Free+u.Overhead:
		return fmt.Errorf("arena of %d bytes is not %d allocated, %d free and %d overhead", u.Arena, u.Allocated, u.Free, u.Overhead)
	}
	return nil
}

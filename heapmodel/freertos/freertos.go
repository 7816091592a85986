// Package freertos models the heaps that come with the FreeRTOS kernel, of
// which an application links one: heap_1, heap_2, heap_4 and heap_5.
//
// All of them serve addresses that are multiples of 8 (portBYTE_ALIGNMENT of
// the common ports) and, heap_1 apart, put a header of two words in front of
// each object, rounded up to 8: a link and the size of the block, whose top bit
// marks it used.
//
//	[link size | payload ....... ]       used, top bit of size set
//	[link size |                 ] --->  free, linked to the next free block
//
// A request becomes a block by the rule in frame, which changed with the
// version of the kernel. None of the heaps has a realloc or an aligned entry
// point, and none grows.
//
// Source: FreeRTOS-Kernel, portable/MemMang, commit 4269c69a (2026-07-23,
// "V11.1.0+"), and the tags of the older versions named below. MIT licence.
//
// Differs from upstream: free does nothing in heap_1, where it is an assertion,
// and heap_2 leaves out odd bytes at the end of its array. What a malloc_failed
// hook or an assert of the application would do is not modelled.
package freertos

import (
	"fmt"
	"iter"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/blocks"
)

const source = "FreeRTOS-Kernel portable/MemMang, V10.0.0 to V11.1.0+ (4269c69a)"

// The alignment of all heaps, which is also the granule of their tables.
const (
	alignLog2 = 3
	align     = 1 << alignLog2
)

var (
	paramCapacity = heapmodel.Param{
		Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB",
		Doc: "bytes of the heap's array (configTOTAL_HEAP_SIZE), whose start is aligned",
	}
	paramPtr = heapmodel.Param{
		Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"},
		Doc: "pointer width in bits: a header has 8 bytes with 32, 16 with 64",
	}
	paramVersion = heapmodel.Param{
		Key: "version", Kind: heapmodel.ParamVersion, Default: "11.1.0",
		Doc: "version of the kernel, 10.0.0 or later",
	}
)

// frame is how the heaps with headers turn requests into blocks.
type frame struct {
	header  uint32 // bytes
	limit   uint64 // block sizes from here on have the top bit, or overflow
	overpad bool   // requests that are multiples of 8 get 8 bytes more
}

// newFrame returns the frame of a configuration. overpad says whether the
// heap's version rounds up by a full 8 bytes.
func newFrame(c heapmodel.Config, overpad bool) (frame, error) {
	if c.Before("version", 10, 0, 0) {
		return frame{}, fmt.Errorf("version=%s is not modelled, the first is 10.0.0", c.Text("version"))
	}
	f := frame{header: 8, limit: 1 << 31, overpad: overpad}
	if c.Text("ptr") == "64" {
		f.header, f.limit = 16, 1<<63
	}
	return f, nil
}

// block returns the bytes of the block for a request of size bytes, not zero.
// They have no meaning from f.limit on.
func (f *frame) block(size uint64) uint64 {
	bytes := size + uint64(f.header)
	if f.overpad {
		return bytes + align - size%align
	}
	return (bytes + align - 1) &^ (align - 1)
}

// walk yields the blocks of regions, given by their first blocks in address
// order.
func (f *frame) walk(t *blocks.SlimTable, heads ...blocks.ID) iter.Seq[heapmodel.Block] {
	return func(yield func(heapmodel.Block) bool) {
		for _, id := range heads {
			for wall := true; t.Next(id) != blocks.None; id, wall = t.Next(id), false {
				start := uint64(t.Nodes[id].Start) << alignLog2
				b := heapmodel.Block{
					Addr: heapmodel.Addr(start), Size: uint64(t.Size(id)) << alignLog2,
					Payload: heapmodel.Addr(start), Wall: wall, Ref: heapmodel.NullRef,
				}
				if t.Used(id) {
					b.Used, b.Ref = true, heapmodel.Ref(id)
					b.Payload += heapmodel.Addr(f.header)
				}
				if !yield(b) {
					return
				}
			}
		}
	}
}

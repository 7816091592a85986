package gen

import (
	"errors"

	"github.com/fragprof/fragprof/trace"
)

var robson = &Workload{
	Name:  "robson",
	Title: "the adversary: a program written to fragment first fit",
	Doc: `Robson's program, played against address-ordered first fit. It fills the memory it
is allowed with units. Then, for each power of two up to the largest, it keeps one
object in each stretch of that length, at an offset chosen so that what it keeps
wastes most, frees all others, and asks for objects of that length, for which
there is no hole. Any allocator needs about M(1 + log2(n)/2) for the worst of
programs, M being the live memory and n the ratio of the largest to the smallest
request; this one drives first fit there.

The program knows where first fit puts its objects: what a block takes must be a
whole number of units, so header says what the heap adds to each request. Other
heaps answer with other places, and suffer less.

The heap to look at: sequential:fit=first,quantum=4KiB,header=8,align=8,ptr=64, or
freertos-heap4, whose blocks also take 8 bytes more than is asked for.`,
	Source: "Robson, Bounds for some functions concerning dynamic storage allocation, JACM 1974",
	ptr:    32,
	Params: []Param{
		{Key: "live", Kind: Count, Default: "4096", Min: 1, Max: 1 << 22, Doc: "units of memory that may be live at once"},
		{Key: "largest", Kind: Count, Default: "1024", Min: 1, Max: 1 << 22, Doc: "units of the largest object; rounded down to a power of two"},
		{Key: "unit", Kind: Bytes, Default: "16", Min: 1, Max: 1 << 16, Doc: "bytes of a unit"},
		{Key: "header", Kind: Bytes, Default: "8", Max: 1 << 16, Doc: "bytes that the heap adds to each request"},
		unbounded,
	},
	run: runRobson,
	fine: func(v values) error {
		if v.number("header") > v.number("unit") {
			return errors.New("header is more than a unit")
		}
		return nil
	},
}

// placed is an object where first fit has put it. Addresses and lengths are in
// units.
type placed struct {
	object
	addr, length uint64
}

// covers reports whether the object holds a unit whose address is offset modulo
// step.
func (p *placed) covers(offset, step uint64) bool {
	// The first such unit at or above addr.
	first := p.addr + (offset-p.addr%step+step)%step
	return first < p.addr+p.length
}

func runRobson(e *emitter, v values) {
	live, used, offset := v.number("live"), uint64(0), uint64(0)
	var blocks []placed // in address order
	for length := uint64(1); length <= v.number("largest") && e.more(); length *= 2 {
		if length > 1 {
			offset = keepOffset(blocks, offset, length)
			kept := blocks[:0]
			for _, b := range blocks {
				if b.covers(offset, length) {
					kept = append(kept, b)
				} else {
					e.free(b.object)
					used -= b.length
				}
			}
			blocks = kept
			e.wait(1_000_000)
		}
		count := (live - used) / length
		used += count * length
		blocks = firstFit(e, e.site("adversary.c:step"), blocks, length, count, length*v.number("unit")-v.number("header"))
	}
}

// keepOffset returns which of the two offsets that continue the one before
// makes the objects kept waste most of their stretches.
func keepOffset(blocks []placed, before, length uint64) uint64 {
	best, bestWaste := before, uint64(0)
	for _, offset := range []uint64{before, before + length/2} {
		waste := uint64(0)
		for i := range blocks {
			if blocks[i].covers(offset, length) {
				waste += length - blocks[i].length
			}
		}
		if waste > bestWaste {
			best, bestWaste = offset, waste
		}
	}
	return best
}

// firstFit allocates count objects of length units where address-ordered first
// fit would put them, and returns all blocks in address order.
func firstFit(e *emitter, site trace.SiteID, blocks []placed, length, count, size uint64) []placed {
	all := make([]placed, 0, uint64(len(blocks))+count)
	end := uint64(0) // of the block before
	fill := func(until uint64) {
		for ; count > 0 && end+length <= until && e.more(); count-- {
			all = append(all, placed{object: e.alloc(site, size), addr: end, length: length})
			end += length
		}
	}
	for _, b := range blocks {
		fill(b.addr)
		all = append(all, b)
		end = b.addr + b.length
	}
	fill(end + count*length)
	return all
}

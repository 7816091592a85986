// Package pools models fixed-block pools, the heap of programs that may not
// fragment: arrays of blocks of a few sizes, made at compile time, from which a
// request takes a block of the smallest size that holds it. Behind the pools
// there may be another heap, of any model, for what they cannot serve.
//
//	 16x4            32x2        64x1          overflow
//	[16][16][16][16][32....][32....][64..........]   [heap of its own ..........
//
// What real pools do differently from one to the next is decided so:
//
//   - The size of a block is what a program can use of it. The parameter header
//     adds bytes in front of each block, as pools do that note the pool in it;
//     with none, a free block holds the link of the free list. Block and header
//     are rounded up to the alignment.
//   - The pools lie one after the other in the order they are given, the control
//     structure of each, of so many bytes as the parameter control says, in front
//     of its blocks, and as many bytes between as alignment takes.
//   - A request is for the pool of the smallest blocks that hold it; among equal
//     ones the first. Aligned requests look at those pools only whose blocks all
//     have the alignment by where they start and how long they are.
//   - If that pool is empty, fallback=next tries the pools of larger blocks in
//     order, fallback=none tries none.
//   - A request that no pool serves goes to the overflow heap, or fails.
//   - Free blocks are a stack, at first with the lowest on top. So the blocks of a
//     pool that were ever used are its lowest, and as many as were used at most at
//     a time.
//   - A realloc leaves an object in a pool where it is as long as the block holds
//     it, however small it gets. Else it takes a block, or goes to the overflow
//     heap, as a new request does. In the overflow heap, that heap's realloc
//     decides; only if it fails the object moves to a pool that holds it.
//
// The footprint counts of each pool the control structure and the blocks that
// were ever used, which is what a program would give it that knew, and adds that
// of the overflow heap.
package pools

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/arena"
	"github.com/fragprof/fragprof/heapmodel/internal/several"
)

// Model is the catalog row of pools.
var Model = &heapmodel.Model{
	Name:   "pools",
	Family: "several heaps",
	Title:  "pools of fixed blocks, with any heap behind them",
	Doc: "Arrays of blocks of fixed sizes: pools:blocks=16x64+32x32,overflow=[tlsf:capacity=8KiB] has 64 blocks of 16 bytes and " +
		"32 of 32, and a heap for what they cannot serve. A request takes a block of the smallest size that holds it; if that " +
		"pool is empty, one of the next larger pools (fallback=next) or none, then the overflow heap, if there is one. Aligned requests look " +
		"at pools only all of whose blocks are aligned so. A realloc leaves an object in its block as long as that holds " +
		"it; an object in the overflow heap stays there unless the heap's realloc fails. A request of size 0 gets a block of " +
		"the smallest pool. The overflow heap lies in an address range of its own; one given without a capacity or limit of growth gets " +
		"that which it would get alone, and a growing one without a limit grows to 1 TiB. The footprint is that of each pool's control structure and its blocks " +
		"that were ever used, and of the overflow heap. " +
		"A step is a pool looked at, those of too small blocks included; steps of the overflow heap are added. " +
		"Reported for each pool, in the order given: its blocks, those used now and at most, requests that found it empty, and " +
		"those it served in place of a smaller one; further the requests too large for every pool, those served by the overflow heap, those that failed, and the overflow heap's own figures.\n\n" +
		"All rules are in the documentation of the package. A policy, not a model of one allocator.",
	Source: "Wilson, Johnstone, Neely and Boles, Dynamic Storage Allocation: A Survey and Critical Review, 1995, section 3.5; " +
		"Noble and Weir, Small Memory Software, 2001, Memory Pool and Fixed Allocation",
	Caps: heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: slices.Concat([]heapmodel.Param{
		{Key: "blocks", Kind: heapmodel.ParamText, Default: "16x64+32x64+64x32+128x16", Doc: "the pools as SIZExCOUNT+..., usable bytes of a block and their number; up to 32 pools"},
		{Key: "fallback", Kind: heapmodel.ParamEnum, Default: "next", Enum: []string{"next", "none"}, Doc: "what an empty pool's requests try: the pools of larger blocks, or none"},
		{Key: "overflow", Kind: heapmodel.ParamSpecs, Doc: "one heap for what the pools cannot serve; unset: that fails"},
		{Key: "control", Kind: heapmodel.ParamBytes, Default: "0", Doc: "bytes of control structure in front of each pool"},
	}, arena.LayoutParams("0")),
	New: newHeap,
}

// Bounds on what a spec may ask for.
const (
	mostPoolsLog2 = 5
	mostBlocks    = 1 << 24 // of a pool
	mostSize      = 1 << 30 // of a block
)

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	g, err := arena.ReadLayout(c)
	if err != nil {
		return nil, err
	}
	if err := arena.Housekeeping(c, "control"); err != nil {
		return nil, err
	}
	f := &fixed{Config: g, next: c.Text("fallback") == "next"}
	if err := f.read(c.Text("blocks"), c.Bytes("control")); err != nil {
		return nil, fmt.Errorf("blocks=%s: %w", c.Text("blocks"), err)
	}
	parts := []several.Part{{
		Heap: f, Regions: f.Regions(), Align: heapmodel.MaxAlign,
		Foot: heapmodel.FootprintOf(nil, f), // it needs no spec of a composed heap that knows its regions
	}}
	h := &heap{pools: f}
	if specs := c.Specs("overflow"); len(specs) > 1 {
		return nil, fmt.Errorf("overflow=%s: want one heap", c.Text("overflow"))
	} else if len(specs) == 1 {
		p, err := overflowPart(specs[0], f.use.Arena)
		if err != nil {
			return nil, fmt.Errorf("overflow: %w", err)
		}
		parts = append(parts, p)
		h.over = p.Heap
		if hinted, ok := h.over.(heapmodel.Hinted); ok && hinted.Hints() != 0 {
			h.hinted = hinted
		}
	}
	h.Heaps, err = several.New(parts, nil)
	return h, err
}

// read makes the pools of a list SIZExCOUNT+...
func (f *fixed) read(text string, control uint64) error {
	end := uint64(0)
	for part := range strings.SplitSeq(text, "+") {
		at := strings.LastIndexByte(part, 'x')
		if at < 0 {
			return fmt.Errorf("%q: want SIZExCOUNT, as in 16x64+32x32", part)
		}
		size, err := heapmodel.ParseBytes(part[:at])
		if err != nil {
			return err
		}
		count, err := strconv.ParseUint(part[at+1:], 10, 32)
		switch {
		case err != nil || count == 0 || count > mostBlocks:
			return fmt.Errorf("%q: want 1 to %d blocks", part, mostBlocks)
		case size == 0 || size > mostSize:
			return fmt.Errorf("%q: want blocks of 1 byte to 1GiB", part)
		case len(f.pools) == 1<<mostPoolsLog2:
			return fmt.Errorf("more than %d pools", 1<<mostPoolsLog2)
		}
		p := pool{start: f.Up(end+control+f.Header) - f.Header, stride: f.Up(size + f.Header), count: uint32(count), head: none}
		p.usable = p.stride - f.Header
		sure := p.start + f.Header | p.stride
		p.align = uint32(min(sure&-sure, heapmodel.MaxAlign))
		end = p.start + p.stride*count
		f.use.Free += p.stride * count
		f.use.FreeBlocks += count
		f.pools = append(f.pools, p)
	}
	f.use.Arena, f.use.Overhead = end, end-f.use.Free
	for i := range f.pools {
		f.bySize = append(f.bySize, uint8(i))
	}
	slices.SortStableFunc(f.bySize, func(a, b uint8) int {
		return int(int64(f.pools[a].usable) - int64(f.pools[b].usable))
	})
	return nil
}

// aligned is the alignment of the place of an overflow heap at most, unless its
// own is larger.
const aligned = 64 << 10

// overflowPart makes the overflow heap and gives it a place behind the pools,
// which end at an address.
func overflowPart(s *heapmodel.Spec, end uint64) (several.Part, error) {
	p, err := several.Make(s)
	if err != nil {
		return p, err
	}
	_, align := several.Span(p.Heap, p.Regions, aligned)
	if _, ok := p.Put((end + align - 1) &^ (align - 1)); !ok {
		return p, errors.New("the heap reaches above 2^62 bytes: give it a lower limit of growth")
	}
	return p, nil
}

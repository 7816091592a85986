// Package multi models a program with several heaps: small objects apart from
// large ones, a heap for each thread, for each part of the program, for objects
// that live long. Each heap is any model of the catalog, in an address range of
// its own; this package routes requests to them.
//
//	          size <= 64    size <= 1KiB     the rest
//	request ------+-------------+---------------+
//	              v             v               v
//	        [ heap 0 ]    [ heap 1 ]    [ heap 2 ............ ]
//	              '-- full ---->'----- full --->'
//	                  overflow=next
//
// # Routes
//
// The parameter cuts has one entry fewer than there are heaps; what no entry
// takes goes to the last heap. Without cuts everything goes to the first heap,
// and to others only by overflow.
//
//	by=size    ascending bounds on the requested size, inclusive: 64+1KiB
//	by=life    ascending bounds on the object's life, inclusive, in bytes that
//	           the program requests meanwhile: 4KiB+1MiB
//	by=thread  sets of thread numbers: 0/2+1 gives threads 0 and 2 to heap 0
//	           and thread 1 to heap 1
//	by=site    sets of call sites, a semicolon between heaps and a bar within a
//	           set: net/*|0x565cb64c;#3. A site is named as the trace names it,
//	           with * for any run of characters and ? for any one, or by its
//	           number. The first heap with a pattern that fits gets it.
//
// A request that its heap cannot serve goes on as overflow says: to the heaps
// after it in turn, to the last heap, or nowhere.
//
// # Realloc
//
// By size, a realloc goes where an allocation of the new size would: if that is
// another heap than the object's, the object moves. By anything else it stays
// with its heap. In both cases it then overflows as an allocation does; when the
// turn of the object's own heap comes, that heap's realloc is asked. An object
// that overflowed is taken home by a realloc by size that finds room there.
//
// # Addresses
//
// Heaps of fixed size lie lowest, in their order, each at a multiple of the power
// of two that is not below its length, and at most of 4 KiB or its alignment.
// Growing ones follow, as far apart as their limits of growth, or 1 TiB if a heap
// has none. Between two heaps is a byte at least, so that an object of no bytes
// at the end of one does not have the address of an object in the next. Gaps
// between heaps are nobody's memory. The footprint is the sum of
// the heaps' footprints: arenas of growing ones, high-water marks of the others.
//
// Alignments above that of a heap's place, and all above its natural one in a
// heap without an aligned entry point, are served as such programs do: by asking
// for enough bytes to find an aligned address among them.
package multi

import (
	"errors"
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/several"
)

// Model is the catalog row of multi.
var Model = &heapmodel.Model{
	Name:   "multi",
	Family: "several heaps",
	Title:  "several heaps in one program, chosen by size, call site, thread or life",
	Doc: "Routes each request to one of several heaps, each of which is any model with an arena: " +
		"multi:by=size,cuts=64+1KiB,heaps=[freertos-heap4:capacity=8KiB]+[tlsf:capacity=16KiB]+[tlsf:capacity=64KiB] " +
		"puts objects of up to 64 bytes into the first heap and those of up to 1 KiB into the second. " +
		"Cuts by=life are bounds as well, on the bytes that the program requests while the object lives, known from the whole trace: multi:by=life,cuts=4KiB,heaps=[...]+[...]. " +
		"Cuts by=thread are sets of thread numbers, as in 0/2+1; cuts by=site are sets of call sites as in net/*|0x8c64;#3, with a semicolon between heaps, a bar between sites of one, " +
		"* for any run of characters, ? for any one (use it for a comma), and #N for the site of that number. What no cut takes goes to the last heap; without cuts everything goes to the first. " +
		"What a heap cannot serve goes to the following ones in turn, to the last one, or nowhere, as overflow says. " +
		"A realloc by size that crosses a cut moves the object to the other heap; by anything else it stays in its heap unless it overflows. " +
		"Heaps lie in address ranges of their own, and the gaps between are no footprint: that is the sum of the heaps' footprints. " +
		"A heap given without a capacity or a limit of growth gets that which it would get alone, for the whole trace; a growing heap without a limit grows to 1 TiB. " +
		"An alignment that a heap has no entry point for, or that exceeds the 4 KiB to which heaps are aligned, is got by asking for more bytes. " +
		"A failed request needs the smallest block that would do in one of the heaps it may go to; the largest free block is that of any heap, so that room in a heap it may not go to shows as the verdict policy. " +
		"Steps are those of the heaps; choosing one takes none. " +
		"Reported for each heap: its memory, footprint, bytes used and free, largest free block, objects served in place of another heap, and its own figures; " +
		"and stranded_bytes, the most bytes that were free in the heaps that a failing request might not go to.",
	Source: "none: the arrangement is a program's own",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc | heapmodel.CapGrow,
	Params: []heapmodel.Param{
		{Key: "by", Kind: heapmodel.ParamEnum, Default: "size", Enum: []string{"size", "site", "thread", "life"}, Doc: "what decides which heap a request goes to"},
		{Key: "cuts", Kind: heapmodel.ParamText, Doc: "what goes to each heap but the last: 64+1KiB by size or life, 0/2+1 by thread, net/*|#4;main.c:7 by site; unset: all to the first"},
		{Key: "heaps", Kind: heapmodel.ParamSpecs, Doc: "the heaps, up to 16"},
		{Key: "overflow", Kind: heapmodel.ParamEnum, Default: "next", Enum: []string{"next", "none", "last"}, Doc: "where a request goes that its heap cannot serve: the following heaps in turn, nowhere, or the last heap"},
	},
	New: newHeap,
}

// aligned is the alignment of the heaps' places at most, unless a heap's own is
// larger.
const aligned = 4 << 10

func newHeap(c heapmodel.Config) (heapmodel.Heap, error) {
	specs := c.Specs("heaps")
	if len(specs) == 0 {
		return nil, errors.New("heaps: want one at least, as in heaps=[tlsf:capacity=8KiB]+[tlsf:capacity=64KiB]")
	}
	h := &heap{hint: heapmodel.Hint{Life: heapmodel.Forever}}
	if err := h.router.read(c.Text("by"), c.Text("cuts"), len(specs)); err != nil {
		return nil, err
	}
	h.overflow = map[string]overflow{"next": toNext, "none": toNone, "last": toLast}[c.Text("overflow")]
	parts := make([]several.Part, len(specs))
	grows := make([]bool, len(specs))
	for i, s := range specs {
		var err error
		if parts[i], err = several.Make(s); err != nil {
			return nil, fmt.Errorf("heap %d: %w", i, err)
		}
		grows[i] = s.Grows()
	}
	order, err := lay(parts, grows)
	if err != nil {
		return nil, err
	}
	if h.Heaps, err = several.New(parts, order); err != nil {
		return nil, err
	}
	h.learn()
	h.served = make([]uint64, len(parts))
	return h, nil
}

// lay gives each part its place and returns their order by address.
func lay(parts []several.Part, grows []bool) (order []int, err error) {
	end := uint64(0)
	for _, growing := range []bool{false, true} {
		for i := range parts {
			if grows[i] != growing {
				continue
			}
			_, align := several.Span(parts[i].Heap, parts[i].Regions, aligned)
			base, ok := uint64(0), false
			if len(order) > 0 {
				base = (end + align) &^ (align - 1)
			}
			if end, ok = parts[i].Put(base); !ok {
				return nil, fmt.Errorf("heap %d: the heaps reach above 2^62 bytes: give them less memory or lower limits of growth", i)
			}
			order = append(order, i)
		}
	}
	return order, nil
}

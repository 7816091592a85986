// Package esptlsf models the TLSF fork of ESP-IDF, the heap of one memory
// region of an ESP32.
//
// It is TLSF 3.1 (package tlsf) but for these points. The control structure is
// made for the length of the region, with fewer and wider classes the shorter
// the region is. Alignment is 4 bytes whatever the width of a pointer. And a
// plain request gets a block as long as the size that was searched for, so that
// blocks of medium and large objects end where a class begins:
//
//	request            1 s s s x x x x
//	searched for       1 s s s 0 0 0 0  + 1 0 0 0 0, if any x was not 0
//	tlsf gives         1 s s s x x x x
//	the fork gives     what was searched for
//
// Aligned requests and reallocs in place are cut to the request, as in TLSF. For
// an alignment of at most 4 that is from reading: no table has one.
//
// ESP-IDF puts a record of five words, multi_heap, in front of each region's
// control structure, with a lock and counters of free bytes. Prefix is its
// length: 20 on an ESP32, 0 for the bare fork.
//
// Source: espressif/tlsf, commit ba64d198 (2024-09-16), BSD-3-Clause. Written
// from a description of behaviour and from tables of its answers, not from its
// code; the counters of multi_heap from a description alone.
//
// Differs from upstream: nothing known. What heap poisoning adds to each
// request is not modelled. A region whose length has 32 bits or more is
// refused, 33 with pointers of 64 bits.
package esptlsf

import (
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/internal/goodfit"
)

// Model is the catalog row of ESP-IDF's TLSF.
var Model = &heapmodel.Model{
	Name:   "esp-tlsf",
	Family: "segregated fits",
	Title:  "TLSF fork of ESP-IDF: blocks rounded up to size classes, control structure made to measure",
	Doc: "Models one region of ESP-IDF's heap: TLSF with classes that depend on the region's length, " +
		"alignment of 4 bytes, blocks of plain requests rounded up to the class searched for, and realloc in place. " +
		"With prefix=20 a multi_heap record lies in front, as on the chip, and its counters are reported: they start 8 bytes (two size words) " +
		"above the free payloads, and a realloc that moves counts as one change. The bytes of the record and of the control structure count as overhead. " +
		"A step is a word of a bitmap looked at, a list head taken, or a block merged. " +
		"Not modelled: heap poisoning, which enlarges each request; the choice of a region by its capabilities.",
	Source: "espressif/tlsf, commit ba64d198a845df70b481e2c55004521ca643dea6 (2024-09-16)",
	Caps:   heapmodel.CapAlign | heapmodel.CapRealloc,
	Params: []heapmodel.Param{
		{Key: "capacity", Kind: heapmodel.ParamBytes, Default: "64KiB", Doc: "bytes of the region, prefix and control structure included"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"32", "64"}, Doc: "bits of a pointer, which set the size word and the control structure"},
		{Key: "prefix", Kind: heapmodel.ParamBytes, Default: "0", Doc: "bytes in front of the control structure, a multiple of 4: 20 for the multi_heap record"},
	},
	New: func(c heapmodel.Config) (heapmodel.Heap, error) {
		r := Region{Size: c.Bytes("capacity"), Prefix: c.Bytes("prefix"), PtrBits: 32}
		if c.Text("ptr") == "64" {
			r.PtrBits = 64
		}
		h, err := New(r)
		if err != nil {
			return nil, fmt.Errorf("capacity %w", err)
		}
		return h, nil
	},
}

// Record32 is the length in bytes of the multi_heap record with pointers of 32
// bits: Region.Prefix as on an ESP32.
const Record32 = 20

// alignLog2 is the log2 of the alignment, which is the granule, too.
const alignLog2 = 2

// Region says where a heap lies and how it is set up.
type Region struct {
	Addr    heapmodel.Addr // of its first byte, a multiple of 4; addresses are counted from the same origin
	Size    uint64         // bytes, prefix and control structure included
	Prefix  uint64         // bytes in front of the control structure, a multiple of 4
	PtrBits int            // 32 or 64
}

// Heap is the heap of one region. Besides heapmodel.Heap it has what a heap of
// several regions needs of each.
type Heap struct {
	goodfit.Heap
	word    uint64 // bytes: a size word, in front of each payload
	classes classes
	prefix  uint64
	length  uint64 // bytes handed to TLSF
	control uint64 // bytes of the control structure
}

// New returns an empty heap. A region too small is an error that says the
// least size.
func New(r Region) (*Heap, error) {
	h := &Heap{word: uint64(r.PtrBits) / 8, prefix: r.Prefix}
	most := uint64(1)<<(30+h.word/4) - 1 + r.Prefix
	least := h.leastFrom(r.Size - min(r.Size, r.Prefix))
	switch {
	case r.Prefix%(1<<alignLog2) != 0 || uint64(r.Addr)%(1<<alignLog2) != 0:
		return nil, fmt.Errorf("%d: the prefix of %d bytes and address %d have to be multiples of 4", r.Size, r.Prefix, r.Addr)
	case r.Prefix > 1<<16:
		return nil, fmt.Errorf("%d: the prefix of %d bytes is longer than 64KiB", r.Size, r.Prefix)
	case r.Size < r.Prefix+least:
		return nil, fmt.Errorf("%d: needs at least %d bytes", r.Size, r.Prefix+least)
	case r.Size > most:
		return nil, fmt.Errorf("%d: the most is %d bytes", r.Size, most)
	case uint64(r.Addr) > goodfit.MostGranules<<alignLog2-most:
		return nil, fmt.Errorf("%d: the address %d is too high", r.Size, r.Addr)
	}
	h.length = r.Size - r.Prefix
	h.classes = classesFor(h.length)
	h.control = h.classes.control(h.word)
	// [prefix | control structure | size word | payload ....... | end's size word]
	granules := uint32((h.length-h.control)>>alignLog2) - uint32(h.word>>alignLog2)
	h.Init(h.rules(), granules)
	h.Add(uint32((uint64(r.Addr)+r.Prefix+h.control)>>alignLog2), granules, r.Size)
	return h, nil
}

// classes says how TLSF divides the sizes of a region: 2^log2 classes for each
// power of two, up to blocks of less than 2^bits bytes.
type classes struct{ bits, log2 int }

// classesFor returns the classes for a length in bytes of at least 32. A power
// of two counts among the lengths above it.
func classesFor(length uint64) classes {
	c := classes{bits: bits.Len64(length), log2: 5}
	switch {
	case length <= 16<<10:
		c.log2 = 3
	case length <= 256<<10:
		c.log2 = 4
	}
	return c
}

// control returns the bytes of the control structure: fixed fields, a bitmap
// for each row of lists, and a pointer for each list. In the first row are the
// payloads below 2^log2 granules.
func (c classes) control(word uint64) uint64 {
	rows := uint64(c.bits - (c.log2 + alignLog2) + 1)
	return 9*word + 4*rows + word*rows<<c.log2
}

// leastFrom returns the least length from the given one on that has room for a
// block. The control structure grows with each power of two, so that a length
// just below one may do where the next does not.
func (h *Heap) leastFrom(length uint64) uint64 {
	length = max(length, 32)
	for {
		least := classesFor(length).control(h.word) + 5*h.word // two size words and a payload
		if least <= length {
			return length
		}
		length = least
	}
}

func (h *Heap) rules() goodfit.Rules {
	word, c := uint32(h.word), h.classes
	// The search is for the next class, of which the last begins below 2^bits.
	last := uint64(2<<c.log2-1) << (c.bits - 1 - c.log2 - alignLog2)
	return goodfit.Rules{
		GranuleLog2: alignLog2, ClassLog2: uint8(c.log2), Header: word, Align: 1 << alignLog2,
		Outside: word >> alignLog2, Least: 4 * word >> alignLog2, Rest: 4 * word >> alignLog2,
		Rounded: true, Levels: goodfit.Linear, Limit: last + h.word>>alignLog2, Aligned: h.allocAligned,
	}
}

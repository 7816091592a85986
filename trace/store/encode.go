package store

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/format"
)

// value is what columns hold. Slots and the like are not named here because
// each has one of these forms.
type value interface {
	~uint8 | ~uint32 | ~uint64 | ~int64
}

// rawBytes returns the memory of a column.
func rawBytes[T value](vals []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(vals))), len(vals)*int(unsafe.Sizeof(T(0))))
}

// as returns a column of one type as one of another of the same width: Parquet
// keeps unsigned numbers as the signed ones of the same bits.
func as[U int32 | int64, T value](vals []T) []U {
	return unsafe.Slice((*U)(unsafe.Pointer(unsafe.SliceData(vals))), len(vals))
}

// constant reports whether all values are equal, at the speed of memory: it
// compares the column with itself, moved by one value.
func constant[T value](vals []T) bool {
	raw, width := rawBytes(vals), int(unsafe.Sizeof(T(0)))
	return bytes.Equal(raw[width:], raw[:len(raw)-width])
}

// chunk is one column of the row group being written: its encoded pages and
// its dictionary.
type chunk struct {
	pages []page
	dict  dictionary
}

// page is an encoded page of a chunk.
type page struct {
	events   int
	encoding format.Encoding
	data     []byte
}

// grow adds a page to the chunk, in the storage of an earlier row group if
// there is any.
func (c *chunk) grow() *page {
	n := len(c.pages)
	if n < cap(c.pages) {
		c.pages = c.pages[:n+1]
	} else {
		c.pages = append(c.pages, page{})
	}
	p := &c.pages[n]
	if p.data == nil && n > 0 { // pages of a chunk are of about one length
		p.data = make([]byte, 0, len(c.pages[n-1].data)*9/8+slack)
	}
	p.data = p.data[:0]
	return p
}

func (c *chunk) reset() {
	c.pages = c.pages[:0]
	c.dict.truncate(0)
	c.dict.full = false
}

// encoder holds what the encoding of a page needs besides its chunk.
type encoder struct {
	index []int32 // places in the dictionary, a page of them
	runs  []byte  // a page encoded, before it has its first bytes
	rle   rle.Encoding
	delta delta.BinaryPackedEncoding
}

// encodePage adds a page of the given values, at least one, to the chunk.
func encodePage[T value](e *encoder, c *chunk, preferDelta bool, vals []T) (err error) {
	p := c.grow()
	p.events, p.encoding = len(vals), format.RLEDictionary
	switch {
	case constant(vals) && places(&c.dict, vals[:1], e.index):
		width := c.dict.bitWidth()
		p.data = append(p.data, byte(width))
		p.data = binary.AppendUvarint(p.data, uint64(len(vals))<<1) // a run
		for place := e.index[0]; width > 0; width, place = width-8, place>>8 {
			p.data = append(p.data, byte(place))
		}
	case !preferDelta && places(&c.dict, vals, e.index):
		err = e.encodePlaces(p, c.dict.bitWidth())
	default:
		p.encoding = format.DeltaBinaryPacked
		if unsafe.Sizeof(vals[0]) == 8 {
			p.data, err = e.encodeDelta64(p.data, as[int64](vals))
		} else {
			p.data, err = e.delta.EncodeInt32(p.data, as[int32](vals))
		}
	}
	return err
}

// encodePlaces sets the content of a page to the places in e.index: a byte
// that tells their width, then runs and bit-packed groups.
func (e *encoder) encodePlaces(p *page, width int) (err error) {
	e.rle.BitWidth = width
	if e.runs, err = e.rle.EncodeInt32(e.runs, e.index[:p.events]); err != nil {
		return err
	}
	p.data = append(append(p.data, byte(width)), e.runs...)
	return nil
}

// encodeDelta64 delta-encodes 64-bit values. Nearly always those of a page are
// within 2^31 of the first and above it, as times are. Then their differences
// are those of the 32-bit distances from the first, which take half as long to
// encode, and only the first value in the frame has to be put right.
func (e *encoder) encodeDelta64(dst []byte, vals []int64) (_ []byte, err error) {
	first := vals[0]
	near := e.index[:len(vals)]
	far := uint64(0)
	for i, v := range vals {
		d := uint64(v - first)
		far |= d
		near[i] = int32(d)
	}
	if far >= 1<<31 {
		return e.delta.EncodeInt64(dst, vals)
	}
	if e.runs, err = e.delta.EncodeInt32(e.runs, near); err != nil {
		return nil, err
	}
	counts := len(dst)
	for _, n := range [3]uint64{deltaBlock, deltaMinis, uint64(len(vals))} {
		dst = binary.AppendUvarint(dst, n)
	}
	counts = len(dst) - counts
	dst = binary.AppendVarint(dst, first)
	return append(dst, e.runs[counts+1:]...), nil // without the 0 that was the first
}

// dictionary numbers the values of a column in order of appearance. Small
// values are found in a table by value, the others by hashing.
type dictionary struct {
	values []uint64
	small  []uint16 // place + 1 by value; zero is absent
	large  []entry  // open addressing with linear probing, at most half full
	full   bool     // a page had more values than fit
}

// entry is a value and its place + 1; zero is an empty entry.
type entry struct {
	value uint64
	place uint32
}

const (
	smallValues = 1 << 14
	largeLog2   = 16
	_           = uint(1<<largeLog2 - 2*maxDict) // at most half full
)

// places sets index to the places of the values, which it adds to the
// dictionary. If there are too many it adds none and returns false, from then
// on for all pages of the chunk.
func places[T value](d *dictionary, vals []T, index []int32) bool {
	if d.full {
		return false
	}
	if d.small == nil {
		d.small = make([]uint16, smallValues)
	}
	before := len(d.values)
	small := (*[smallValues]uint16)(d.small)
	index = index[:len(vals)]
	for i, v := range vals {
		var place uint32
		if uint64(v) < smallValues {
			place = uint32(small[uint64(v)])
		} else {
			place = d.find(uint64(v)).place
		}
		if place == 0 {
			if len(d.values) == maxDict {
				d.truncate(before)
				d.full = true
				return false
			}
			place = d.add(uint64(v))
		}
		index[i] = int32(place - 1)
	}
	return true
}

// add gives a new value its place and returns that + 1.
func (d *dictionary) add(v uint64) uint32 {
	d.values = append(d.values, v)
	place := uint32(len(d.values))
	if v < smallValues {
		d.small[v] = uint16(place)
	} else {
		*d.find(v) = entry{value: v, place: place}
	}
	return place
}

// find returns the entry of a value, an empty one if it is not there.
func (d *dictionary) find(v uint64) *entry {
	if d.large == nil {
		d.large = make([]entry, 1<<largeLog2)
	}
	// Fibonacci hashing: the high bits of a product with 2^64/phi.
	for i := v * 0x9e3779b97f4a7c15 >> (64 - largeLog2); ; i = (i + 1) & (1<<largeLog2 - 1) {
		if e := &d.large[i]; e.place == 0 || e.value == v {
			return e
		}
	}
}

// truncate forgets all values but the first n. Taken last in, first out, they
// leave no holes in the chains of the hash table.
func (d *dictionary) truncate(n int) {
	for i := len(d.values) - 1; i >= n; i-- {
		if v := d.values[i]; v < smallValues {
			d.small[v] = 0
		} else {
			*d.find(v) = entry{}
		}
	}
	d.values = d.values[:n]
}

// bitWidth returns the bits of a place. It is never zero, which not all
// readers expect.
func (d *dictionary) bitWidth() int { return max(1, bits.Len(uint(len(d.values)-1))) }

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/format"
)

// slack is room behind encoded data that parquet-go's kernels may read in.
const slack = 64

// decoder holds what the decoding of a page needs besides the page.
type decoder struct {
	index []int32 // places in the dictionary, a page of them with slack
	rle   rle.Encoding
	delta delta.BinaryPackedEncoding
}

// decodePage decodes data, the content of a page of len(vals) events, at least
// one, into vals.
//
// parquet-go's decoders make room for as many values as the data claims to
// hold and read where it says, so that is checked before them.
func decodePage[T value](d *decoder, encoding format.Encoding, data []byte, dict []uint64, vals []T) error {
	switch encoding {
	case format.RLEDictionary:
		return decodeDict(d, data, dict, vals)
	case format.DeltaBinaryPacked:
		return decodeDelta(d, data, vals)
	}
	return fmt.Errorf("a page of encoding %s: want %s or %s", encoding, format.RLEDictionary, format.DeltaBinaryPacked)
}

var errShort = errors.New("a page ends too early")

func decodeDelta[T value](d *decoder, data []byte, vals []T) error {
	switch unsafe.Sizeof(vals[0]) {
	case 8:
		if err := checkDelta(data, len(vals), 64); err != nil {
			return err
		}
		got, err := d.delta.DecodeInt64(as[int64](vals), data)
		if err == nil && len(got) != len(vals) {
			err = errShort
		}
		return err
	case 4:
		if err := checkDelta(data, len(vals), 32); err != nil {
			return err
		}
		got, err := d.delta.DecodeInt32(as[int32](vals), data)
		if err == nil && len(got) != len(vals) {
			err = errShort
		}
		return err
	}
	return fmt.Errorf("a page of encoding %s for values of %d bytes", format.DeltaBinaryPacked, unsafe.Sizeof(vals[0]))
}

// The sizes of delta encoding as everyone writes it.
const (
	deltaBlock = 128 // values
	deltaMinis = 4   // runs of one bit width in a block
)

// checkDelta walks the frame of delta-encoded data and returns an error unless
// it holds the given number of values, none wider than maxWidth bits.
func checkDelta(data []byte, values, maxWidth int) error {
	for _, want := range [3]uint64{deltaBlock, deltaMinis, uint64(values)} {
		got, n := binary.Uvarint(data)
		if n <= 0 || got != want {
			return fmt.Errorf("a delta-encoded page of %d events says %d for %d", values, got, want)
		}
		data = data[n:]
	}
	_, n := binary.Varint(data) // the first value
	if n <= 0 {
		return errShort
	}
	data = data[n:]
	for left := values - 1; left > 0; left -= deltaBlock {
		if _, n = binary.Varint(data); n <= 0 || len(data) < n+deltaMinis {
			return errShort
		}
		widths := data[n : n+deltaMinis]
		data = data[n+deltaMinis:]
		for mini, width := range widths {
			// Behind the last value, widths are not used and their data is absent.
			if mini*(deltaBlock/deltaMinis) >= left {
				break
			}
			size := int(width) * (deltaBlock / deltaMinis) / 8
			if int(width) > maxWidth || size > len(data) {
				return errShort
			}
			data = data[size:]
		}
	}
	if len(data) != 0 {
		return fmt.Errorf("%d bytes behind the last value", len(data))
	}
	return nil
}

// decodeDict decodes places in a dictionary, of whose width the first byte
// tells, and looks them up.
func decodeDict[T value](d *decoder, data []byte, dict []uint64, vals []T) error {
	if len(data) == 0 {
		return errShort
	}
	width := int(data[0])
	if data = data[1:]; width == 0 || width > maxWidth {
		return fmt.Errorf("places of %d bits in a dictionary", width)
	}
	place, run, err := checkRuns(data, len(vals), width)
	if err != nil {
		return err
	}
	if run { // a constant page
		if place >= uint64(len(dict)) {
			return fmt.Errorf("place %d in a dictionary of %d", place, len(dict))
		}
		fill(vals, T(dict[place]))
		return nil
	}
	if cap(d.index) < len(vals)+slack {
		d.index = make([]int32, len(vals)+slack)
	}
	d.rle.BitWidth = width
	index, err := d.rle.DecodeInt32(d.index, data)
	if err != nil {
		return err
	}
	if len(index) < len(vals) {
		return errShort
	}
	return gather(vals, index, dict)
}

// maxWidth is the bits of the largest place in a dictionary.
const maxWidth = 15

// checkRuns walks the frame of a series of runs and bit-packed groups of 8,
// and returns an error unless it holds the given number of values, up to 7
// more in the last group. run says that all are one run of place.
func checkRuns(data []byte, values, width int) (place uint64, run bool, err error) {
	valueBytes := (width + 7) / 8
	total := values
	for values > 0 {
		head, n := binary.Uvarint(data)
		if n <= 0 {
			return 0, false, errShort
		}
		data = data[n:]
		count, size := head>>1, valueBytes
		if head&1 != 0 {
			if count > uint64(len(data)) {
				return 0, false, errShort
			}
			size = int(count) * width
			count *= 8
		}
		if count == 0 || count > uint64(values+7)&^7 || head&1 == 0 && count > uint64(values) || size > len(data) {
			return 0, false, fmt.Errorf("%d of %d values left and a run of %d", values, total, count)
		}
		if head&1 == 0 && count == uint64(total) {
			var b [8]byte
			copy(b[:], data[:size])
			place, run = binary.LittleEndian.Uint64(b[:]), true
		}
		data = data[size:]
		values -= int(count)
	}
	if len(data) != 0 {
		return 0, false, fmt.Errorf("%d bytes behind the last value", len(data))
	}
	return place, run, nil
}

// fill sets all values to v.
func fill[T value](vals []T, v T) {
	if v == 0 {
		clear(vals)
		return
	}
	// Doubling copies go at the speed of memory.
	vals[0] = v
	for n := 1; n < len(vals); n *= 2 {
		copy(vals[n:], vals[:n])
	}
}

// gather sets vals to the entries of the dictionary at the given places.
func gather[T value](vals []T, index []int32, dict []uint64) error {
	index = index[:len(vals)]
	for i := range vals {
		place := uint32(index[i])
		if uint64(place) >= uint64(len(dict)) {
			return fmt.Errorf("place %d in a dictionary of %d", place, len(dict))
		}
		vals[i] = T(dict[place])
	}
	return nil
}

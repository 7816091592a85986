package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/encoding/thrift"
)

// protocol is how Parquet writes its metadata.
var protocol thrift.CompactProtocol

const (
	// maxThriftDepth bounds structs within structs. Parquet needs 6: parquet-go
	// skips what it does not know by recursion, and a stack that overflows ends
	// the process.
	maxThriftDepth = 12
	// maxThriftList bounds lists within lists: parquet-go makes room for as
	// many elements as a list claims.
	maxThriftList = 64
)

var errThrift = errors.New("metadata is cut off or no metadata")

// checkThrift walks a struct of Parquet metadata at the start of b, decoding
// nothing, and returns an error if it is longer than b, nested too deep, or
// claims lists longer than there are bytes (outermost ones) or maxThriftList
// (those within). What passes can be given to parquet-go's decoder, an element
// of the outermost lists at a time.
func checkThrift(b []byte) error {
	w := walker{b: b}
	if err := w.structure(0); err != nil {
		return err
	}
	if len(w.b) != 0 {
		return fmt.Errorf("%d bytes behind the metadata", len(w.b))
	}
	return nil
}

// walker steps over values at the start of b.
type walker struct{ b []byte }

func (w *walker) skip(n uint64) error {
	if n > uint64(len(w.b)) {
		return errThrift
	}
	w.b = w.b[n:]
	return nil
}

func (w *walker) uvarint() (uint64, error) {
	v, n := binary.Uvarint(w.b)
	if n <= 0 {
		return 0, errThrift
	}
	w.b = w.b[n:]
	return v, nil
}

func (w *walker) octet() (byte, error) {
	if len(w.b) == 0 {
		return 0, errThrift
	}
	c := w.b[0]
	w.b = w.b[1:]
	return c, nil
}

func (w *walker) structure(depth int) error {
	if depth > maxThriftDepth {
		return fmt.Errorf("metadata is nested deeper than %d", maxThriftDepth)
	}
	for {
		head, err := w.octet()
		if err != nil || head == 0 {
			return err
		}
		if head>>4 == 0 { // the field's number follows
			if _, err := w.uvarint(); err != nil {
				return err
			}
		}
		// As a field, a boolean has its value in its type.
		if t := thrift.Type(head & 0xf); t != thrift.TRUE && t != thrift.FALSE {
			if err := w.value(t, depth); err != nil {
				return err
			}
		}
	}
}

func (w *walker) value(t thrift.Type, depth int) error {
	switch t {
	case thrift.TRUE, thrift.FALSE, thrift.I8:
		return w.skip(1)
	case thrift.I16, thrift.I32, thrift.I64:
		_, err := w.uvarint()
		return err
	case thrift.DOUBLE:
		return w.skip(8)
	case thrift.BINARY:
		n, err := w.uvarint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case thrift.LIST, thrift.SET:
		return w.list(depth)
	case thrift.STRUCT:
		return w.structure(depth + 1)
	}
	return fmt.Errorf("metadata of type %d", t)
}

func (w *walker) list(depth int) error {
	head, err := w.octet()
	if err != nil {
		return err
	}
	length := uint64(head >> 4)
	if length == 15 {
		if length, err = w.uvarint(); err != nil {
			return err
		}
	}
	if length > uint64(len(w.b)) || depth > 0 && length > maxThriftList {
		return fmt.Errorf("metadata has a list of %d elements in %d bytes", length, len(w.b))
	}
	for range length {
		// One deeper, so that lists of lists end too.
		if depth >= maxThriftDepth {
			return fmt.Errorf("metadata is nested deeper than %d", maxThriftDepth)
		}
		if err := w.value(thrift.Type(head&0xf), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// Package store keeps traces as Parquet files. (Being written.)
package store

import (
	"errors"
	"io"
	"os"

	"github.com/fragprof/fragprof/trace"
)

var errTODO = errors.New("parquet store: not built yet")

// Sniff reports whether a file begins as a Parquet file does.
func Sniff(head []byte) bool { return len(head) >= 4 && string(head[:4]) == "PAR1" }

// Open reads a stored trace from a file, which the reader then owns.
func Open(f *os.File) (trace.Reader, error) { return nil, errTODO }

// OpenStream reads a stored trace from a stream.
func OpenStream(r io.Reader, name string) (trace.Reader, error) { return nil, errTODO }

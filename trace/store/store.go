// Package store keeps traces as Parquet files: columns of events, a few bytes
// an event, with everything a trace.Header says in the file's metadata. Any
// Parquet reader can query them (DuckDB: select op, count(*) from
// 'trace.parquet' group by op); this package alone imports parquet-go.
//
// # Columns
//
// One row is one event, in program order. All columns are required (never
// null) and appear in this order:
//
//	op      UINT8   1 alloc, 2 free, 3 realloc
//	slot    UINT32  the object: lowest free index first, reused after a free
//	size    UINT64  bytes asked for; 0 for a free
//	align   UINT32  bytes, a power of two; 0 if the program asked for none
//	time    INT64   nanoseconds since the first event; 0 without a clock
//	thread  UINT32  thread number in order of appearance, from 0
//	site    UINT32  call site, an index into fragprof.sites; 0 if unknown
//
// # Metadata
//
// The key/value metadata is text, in this order; numbers are decimal:
//
//	fragprof.version                      1
//	fragprof.program, .source             Header.Program, Header.Source
//	fragprof.ptr_bits                     0, 16, 32 or 64
//	fragprof.sizes                        requested or block
//	fragprof.synthetic                    true or false
//	fragprof.has_time, .has_thread, .has_site
//	fragprof.summary.*                    one a field of trace.Summary, as
//	                                      summary.peak_live_bytes
//	fragprof.loss.*                       one a trace.LossKind, by its key;
//	                                      0 if absent
//	fragprof.sites                        JSON list of strings, by SiteID
//	fragprof.crc32                        of the values above: see checksum
//
// Text is UTF-8; other bytes become U+FFFD.
//
// # Layout
//
// A row group is 16 blocks of trace.BlockEvents events (the last may be
// shorter), a page is one block, and all columns have their page borders at
// the same events, so that a reader needs one page of each column at a time.
// Column chunks follow one another without gaps. Columns of few values have
// dictionaries; slot and time, and columns that outgrow their dictionary, are
// DELTA_BINARY_PACKED. The pages of a chunk are compressed with zstd level 1 if
// that saves two fifths, else not at all: pages of version 2 say which, so that
// the codec is one and the same for a column in all row groups, as some readers
// expect. Every page has a CRC. Equal traces give equal bytes, however they are cut into blocks.
//
// Note: parquet-go's own writer takes four to thirteen times as long for the
// same events, because its dictionary columns take one value at a time, and
// its reader allocates what a file claims. So pages are put together and taken
// apart here, and parquet-go does what is below them (package format, thrift
// and the encodings). Files are read back by parquet-go's reader and DuckDB in
// the tests.
package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

const (
	magic     = "PAR1"
	createdBy = "fragprof version 1"

	// maxRowGroups is the most that Parquet allows.
	maxRowGroups = 1<<15 - 1
	// maxDict is the number of entries at which a dictionary is full.
	maxDict = 1 << 15
	// maxPage bounds a page in bytes. Delta encoding at its worst takes 8 bytes
	// an event and 14 every 128 events: 531 KiB.
	maxPage = 640 << 10
	// maxSites bounds the number of call sites, maxSiteText the bytes of their
	// list, and maxSiteName a name in it, as JSON.
	maxSites    = 1 << 20
	maxSiteText = 64 << 20
	maxSiteName = 64 << 10
	// maxFooter bounds the file's metadata: the sites and about 700 bytes a
	// row group.
	maxFooter = 96 << 20
)

// column names a column by its place in the file.
type column int

const (
	colOp column = iota
	colSlot
	colSize
	colAlign
	colTime
	colThread
	colSite
	columns
)

// schema has one row a column. Columns with delta set have too many values
// for a dictionary.
var schema = [columns]struct {
	name      string
	physical  format.Type
	logical   format.IntType
	converted deprecated.ConvertedType
	delta     bool
}{
	colOp:     {"op", format.Int32, format.IntType{BitWidth: 8}, deprecated.Uint8, false},
	colSlot:   {"slot", format.Int32, format.IntType{BitWidth: 32}, deprecated.Uint32, true},
	colSize:   {"size", format.Int64, format.IntType{BitWidth: 64}, deprecated.Uint64, false},
	colAlign:  {"align", format.Int32, format.IntType{BitWidth: 32}, deprecated.Uint32, false},
	colTime:   {"time", format.Int64, format.IntType{BitWidth: 64, IsSigned: true}, deprecated.Int64, true},
	colThread: {"thread", format.Int32, format.IntType{BitWidth: 32}, deprecated.Uint32, false},
	colSite:   {"site", format.Int32, format.IntType{BitWidth: 32}, deprecated.Uint32, false},
}

// width returns the bytes of one plain value of the column.
func (k column) width() int {
	if schema[k].physical == format.Int64 {
		return 8
	}
	return 4
}

// Sniff reports whether a file that begins with head is a Parquet file.
func Sniff(head []byte) bool { return len(head) >= len(magic) && string(head[:len(magic)]) == magic }

// Open opens a stored trace, of which it reads the metadata only. The header
// is complete from the start. Every block is held to the rules of a
// trace.Validator, and to the header's counts of slots, threads and call
// sites, before it is passed on; after the last, all counts must be those of
// the header. That takes two to six times as long as the decoding. The reader
// owns f and Close closes it; if Open returns an error, f is still the
// caller's.
//
// The reader needs about 3 MB, 200 bytes a row group, the call sites, and 8
// bytes a slot. Damage shows as a *trace.SyntaxError or, where the file is
// sound and its events are not, a *trace.SemanticError; never as a panic.
func Open(f *os.File) (trace.Reader, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &trace.SyntaxError{File: f.Name(), Msg: "is no regular file: a stored trace is read from its end"}
	}
	r, err := newReader(f, st.Size(), f.Name())
	if err != nil {
		return nil, err
	}
	r.close = f.Close
	return newChecked(r), nil
}

// maxSpool bounds the streams OpenStream takes, in bytes.
const maxSpool = 16 << 30

// OpenStream opens a stored trace that comes as a stream of at most 16 GiB, by
// copying it to a temporary file, which Close removes (at once where files in
// use can be removed). name is what errors call the stream.
func OpenStream(r io.Reader, name string) (trace.Reader, error) {
	return openStream(r, name, maxSpool)
}

func openStream(r io.Reader, name string, limit int64) (_ trace.Reader, err error) {
	var head [len(magic)]byte
	if n, err := io.ReadFull(r, head[:]); err == io.EOF || err == io.ErrUnexpectedEOF || err == nil && !Sniff(head[:]) {
		return nil, &trace.SyntaxError{File: name, Msg: fmt.Sprintf("is no Parquet file: it begins with %q", head[:n])}
	} else if err != nil {
		return nil, &trace.SyntaxError{File: name, Err: err}
	}
	f, err := os.CreateTemp("", "fragprof-*.parquet")
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", name, err)
	}
	drop := f.Close
	if os.Remove(f.Name()) != nil {
		drop = func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, drop())
		}
	}()
	if _, err := f.Write(head[:]); err != nil {
		return nil, fmt.Errorf("spool %s: %w", name, err)
	}
	copied, err := io.Copy(f, io.LimitReader(r, limit-int64(len(head))+1))
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", name, err)
	}
	size := copied + int64(len(head))
	if size > limit {
		return nil, &trace.SyntaxError{File: name, Msg: fmt.Sprintf("is longer than %d MiB: save it to a file and read that", limit>>20)}
	}
	raw, err := newReader(f, size, name)
	if err != nil {
		return nil, err
	}
	raw.close = drop
	return newChecked(raw), nil
}

// WriteAll stores what is left of r, and leaves r open. See Writer.
func WriteAll(w io.Writer, r trace.Reader) error {
	out := NewWriter(w, r.Header(), Options{})
	b := new(trace.Block)
	for {
		if err := r.Next(b); err == io.EOF {
			return out.Close()
		} else if err != nil {
			return err
		}
		if err := out.Write(b); err != nil {
			return err
		}
	}
}

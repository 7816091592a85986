package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

// rowGroup is what a reader keeps of a row group's metadata.
type rowGroup struct {
	events int64
	chunks [columns]extent
}

// extent is where a column chunk lies in the file.
type extent struct {
	off, size int64
	dict      bool // it begins with a dictionary page
}

// footer is the metadata of a file.
type footer struct {
	header *trace.Header
	groups []rowGroup
}

// readFooter reads and checks the metadata of a file of the given size. What
// it allocates is bounded by the metadata's length, which is bounded.
func readFooter(f io.ReaderAt, size int64) (*footer, error) {
	const frame = len(magic) + 4 // the length and the magic at the end
	var head [len(magic)]byte
	var tail [frame]byte
	if size < int64(len(head)+frame) {
		return nil, fmt.Errorf("is cut off: %d bytes", size)
	}
	if err := readFull(f, head[:], 0); err != nil {
		return nil, err
	}
	if err := readFull(f, tail[:], size-int64(frame)); err != nil {
		return nil, err
	}
	if !Sniff(head[:]) {
		return nil, fmt.Errorf("is no Parquet file: it begins with %q", head)
	}
	if !Sniff(tail[4:]) {
		return nil, fmt.Errorf("is cut off or was never finished: it ends with %q, not %q", tail[4:], magic)
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	end := size - int64(frame) - length // of the data
	if length > maxFooter || end < int64(len(head)) {
		return nil, fmt.Errorf("claims metadata of %d bytes in a file of %d: at most %d are read", length, size, maxFooter)
	}
	b := make([]byte, length)
	if err := readFull(f, b, end); err != nil {
		return nil, err
	}
	if err := checkThrift(b); err != nil {
		return nil, err
	}
	ft, err := parseFooter(b)
	if errors.Is(err, io.EOF) {
		err = errThrift // to callers, io.EOF is the good end
	}
	if err != nil {
		return nil, err
	}
	return ft, ft.checkLayout(end)
}

// parseFooter decodes metadata that checkThrift has passed, one row group at a
// time: decoded whole it would take some ten times its length.
func parseFooter(b []byte) (*footer, error) {
	r := protocol.NewReaderFromBytes(b)
	dec := thrift.NewDecoder(r)
	ft := &footer{}
	var rows int64 = -1
	var kvs []format.KeyValue
	schemaSeen := false
	for id, seen := int16(0), int16(0); ; seen = id {
		f, err := r.ReadField()
		if err != nil {
			return nil, err
		}
		if f.Type == thrift.STOP {
			break
		}
		if id = f.ID; f.Delta {
			id += seen
		}
		if id <= seen {
			return nil, fmt.Errorf("metadata has field %d behind field %d", id, seen)
		}
		switch id {
		case 1: // version
			err = readTyped(f, thrift.I32, func() error { _, err := r.ReadInt32(); return err })
		case 2:
			schemaSeen = true
			err = readSchema(r, dec, f)
		case 3:
			err = readTyped(f, thrift.I64, func() (err error) { rows, err = r.ReadInt64(); return err })
		case 4:
			err = ft.readGroups(r, dec, f)
		case 5:
			const most = 256
			err = readList(r, f, most, func(int) error {
				var kv format.KeyValue
				err := dec.Decode(&kv)
				kvs = append(kvs, kv)
				return err
			})
		case 6: // created_by
			err = readTyped(f, thrift.BINARY, func() error { _, err := r.ReadBytes(); return err })
		case 7: // column_orders, the same in every file of this schema
			err = readList(r, f, int(columns), func(int) error { return dec.Decode(new(format.ColumnOrder)) })
		default:
			err = fmt.Errorf("metadata has field %d, as in an encrypted file", id)
		}
		if err != nil {
			return nil, err
		}
	}
	if !schemaSeen {
		return nil, fmt.Errorf("metadata has no schema")
	}
	h, err := decodeHeader(kvs)
	if err != nil {
		return nil, err
	}
	ft.header = h
	if rows < 0 || uint64(rows) != h.Summary.Events {
		return nil, fmt.Errorf("has %d rows for %d events", rows, h.Summary.Events)
	}
	return ft, nil
}

func readTyped(f thrift.Field, want thrift.Type, read func() error) error {
	if f.Type != want {
		return fmt.Errorf("metadata has a field of type %s for one of type %s", f.Type, want)
	}
	return read()
}

// readList reads a list of structs of at most the given length.
func readList(r thrift.Reader, f thrift.Field, most int, each func(i int) error) error {
	return readTyped(f, thrift.LIST, func() error {
		l, err := r.ReadList()
		if err != nil {
			return err
		}
		if l.Size < 0 || int(l.Size) > most || l.Size > 0 && l.Type != thrift.STRUCT {
			return fmt.Errorf("metadata has a list of %d values of type %s, longer than %d or no structs", l.Size, l.Type, most)
		}
		for i := range int(l.Size) {
			if err := each(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// readSchema accepts the one schema there is.
func readSchema(r thrift.Reader, dec *thrift.Decoder, f thrift.Field) error {
	want := schemaElements()
	read := 0
	err := readList(r, f, len(want), func(i int) error {
		var e format.SchemaElement
		if err := dec.Decode(&e); err != nil {
			return err
		}
		w := &want[i]
		read++
		if i == 0 { // readers and writers disagree about the root's details
			if e.NumChildren != w.NumChildren {
				return fmt.Errorf("has %d columns: want %d", e.NumChildren.V, w.NumChildren.V)
			}
			return nil
		}
		if e.Name != w.Name || e.Type != w.Type || e.RepetitionType != w.RepetitionType || e.NumChildren.V != 0 {
			return fmt.Errorf("has a column %.40q of type %s %s: want %q, %s %s",
				e.Name, e.RepetitionType.V, e.Type.V, w.Name, w.RepetitionType.V, w.Type.V)
		}
		return nil
	})
	if err == nil && read != len(want) {
		err = fmt.Errorf("has a schema of %d elements: want %d", read, len(want))
	}
	return err
}

func (ft *footer) readGroups(r thrift.Reader, dec *thrift.Decoder, f thrift.Field) error {
	var g format.RowGroup
	return readList(r, f, maxRowGroups, func(i int) error {
		g.Reset()
		if err := dec.Decode(&g); err != nil {
			return err
		}
		kept, err := keepGroup(&g)
		if err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
		ft.groups = append(ft.groups, kept)
		return nil
	})
}

// keepGroup returns what is needed of a row group's metadata.
func keepGroup(g *format.RowGroup) (kept rowGroup, err error) {
	if g.NumRows <= 0 || len(g.Columns) != int(columns) {
		return kept, fmt.Errorf("%d rows in %d columns", g.NumRows, len(g.Columns))
	}
	kept.events = g.NumRows
	for k := range columns {
		c := &g.Columns[k]
		m := &c.MetaData
		switch {
		case c.FilePath != "":
			return kept, fmt.Errorf("column %s is in another file", schema[k].name)
		case len(m.PathInSchema) != 1 || m.PathInSchema[0] != schema[k].name || m.Type != schema[k].physical:
			return kept, fmt.Errorf("column %.80q of type %s: want %s, %s", m.PathInSchema, m.Type, schema[k].name, schema[k].physical)
		case m.NumValues != g.NumRows:
			return kept, fmt.Errorf("column %s has %d values in %d rows", schema[k].name, m.NumValues, g.NumRows)
		case m.Codec != format.Zstd:
			return kept, fmt.Errorf("column %s is compressed with %s: want %s", schema[k].name, m.Codec, format.Zstd)
		}
		x := extent{off: m.DataPageOffset, size: m.TotalCompressedSize}
		if m.DictionaryPageOffset != 0 {
			x.off, x.dict = m.DictionaryPageOffset, true
		}
		kept.chunks[k] = x
	}
	return kept, nil
}

// checkLayout holds the column chunks to the layout: one after another from
// the magic at the start up to the metadata, at end.
func (ft *footer) checkLayout(end int64) error {
	at, events := int64(len(magic)), uint64(0)
	for i := range ft.groups {
		g := &ft.groups[i]
		if events += uint64(g.events); events > ft.header.Summary.Events {
			break // both are below 2^63, so this cannot wrap unseen
		}
		for k := range columns {
			x := &g.chunks[k]
			if x.off != at || x.size <= 0 || x.size > end-at {
				return fmt.Errorf("row group %d: column %s is said to be %d bytes at byte %d: want at byte %d, before byte %d",
					i, schema[k].name, x.size, x.off, at, end)
			}
			at += x.size
		}
	}
	if events != ft.header.Summary.Events {
		return fmt.Errorf("has %d row groups of other than %d events", len(ft.groups), ft.header.Summary.Events)
	}
	if at != end {
		return fmt.Errorf("has %d bytes that belong to no column", end-at)
	}
	return nil
}

// readFull fills b from the file at off.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	if off > math.MaxInt64-int64(len(b)) {
		return io.ErrUnexpectedEOF
	}
	if n, err := f.ReadAt(b, off); n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read %d bytes at byte %d: %w", len(b), off, err)
	}
	return nil
}

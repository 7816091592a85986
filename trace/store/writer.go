package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

// Options are for a Writer. The zero Options are the usual ones.
type Options struct {
	// RowGroup is the number of events in a row group, rounded up to whole
	// blocks; 0 is 16 blocks. Fewer give a query more to skip and take more
	// space.
	RowGroup int
}

const (
	rowGroupPages = 16
	// zstdWindow is the largest block of zstd, and holds all but the worst
	// pages: one block without a history goes fastest.
	zstdWindow = 128 << 10
)

// Writer stores a trace. It writes front to back and needs about 10 MB for a
// row group in the making, up to 40 MB if the events are random, and 700 bytes
// for each finished one. It is used by one goroutine.
//
// What it has written is no trace until Close has returned nil: a file that
// stops before is refused by Open.
type Writer struct {
	w          io.Writer
	header     *trace.Header
	pageEvents int // of a full page: a block, except in tests
	pages      int // of a full row group
	err        error
	closed     bool

	off     int64 // bytes written
	events  uint64
	pending trace.Block // events that make no full page yet
	chunks  [columns]chunk
	times   span
	enc     encoder
	zstd    *zstd.Encoder

	head   bytes.Buffer // of one page
	packed []byte       // one page, compressed
	groups bytes.Buffer // metadata of the finished row groups, encoded
	count  int          // of them
}

// span is a range of times.
type span struct{ first, last int64 }

// extend widens the span to hold all the times. They rise in a sound trace,
// but statistics must be right for any.
func (s *span) extend(times []int64) {
	if slices.IsSorted(times) {
		s.first, s.last = min(s.first, times[0]), max(s.last, times[len(times)-1])
		return
	}
	s.first, s.last = min(s.first, slices.Min(times)), max(s.last, slices.Max(times))
}

// NewWriter returns a Writer that stores a trace described by h to w. h may
// become complete during the writing; it is read by Close.
func NewWriter(w io.Writer, h *trace.Header, o Options) *Writer {
	out := &Writer{w: w, header: h, pageEvents: trace.BlockEvents, pages: rowGroupPages}
	if o.RowGroup > 0 {
		out.pages = (o.RowGroup + trace.BlockEvents - 1) / trace.BlockEvents
	}
	out.enc.index = make([]int32, trace.BlockEvents)
	// The options are constants that the encoder accepts.
	out.zstd, _ = zstd.NewWriter(nil, zstd.WithWindowSize(zstdWindow), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	out.put([]byte(magic))
	return out
}

// Write stores the events of b, which must follow those of the last Write. It
// keeps nothing of b. After an error the file is lost, and Close returns the
// error.
func (w *Writer) Write(b *trace.Block) error {
	n := b.Len()
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return errors.New("store: write after close")
	case len(b.Slot) != n || len(b.Size) != n || len(b.Align) != n || len(b.Time) != n || len(b.Thread) != n || len(b.Site) != n:
		w.err = &trace.SemanticError{Event: w.events, Rule: "columns of different lengths"}
	case n > trace.BlockEvents:
		w.err = &trace.SemanticError{Event: w.events, Rule: fmt.Sprintf("%d events in one block", n)}
	case n > 0 && b.First != w.events:
		w.err = &trace.SemanticError{Event: w.events, Rule: fmt.Sprintf("block out of order: it begins at event %d", b.First)}
	case n == w.pageEvents && w.pending.Len() == 0:
		w.encode(b)
	default:
		w.collect(b)
	}
	w.events += uint64(n)
	return w.err
}

// collect adds the events of a block to the pending ones, and writes those
// when they make a page.
func (w *Writer) collect(b *trace.Block) {
	p := &w.pending
	p.Grow(w.pageEvents)
	for from := 0; from < b.Len(); {
		to := min(b.Len(), from+w.pageEvents-p.Len())
		p.Op = append(p.Op, b.Op[from:to]...)
		p.Slot = append(p.Slot, b.Slot[from:to]...)
		p.Size = append(p.Size, b.Size[from:to]...)
		p.Align = append(p.Align, b.Align[from:to]...)
		p.Time = append(p.Time, b.Time[from:to]...)
		p.Thread = append(p.Thread, b.Thread[from:to]...)
		p.Site = append(p.Site, b.Site[from:to]...)
		from = to
		if p.Len() == w.pageEvents {
			w.encode(p)
			p.Reset(0)
		}
	}
}

// encode adds a page to each column, and writes the row group when it is full.
func (w *Writer) encode(b *trace.Block) {
	e, c := &w.enc, &w.chunks
	if len(c[colTime].pages) == 0 {
		w.times = span{b.Time[0], b.Time[0]}
	}
	w.times.extend(b.Time)
	w.keep(errors.Join(
		encodePage(e, &c[colOp], schema[colOp].delta, b.Op),
		encodePage(e, &c[colSlot], schema[colSlot].delta, b.Slot),
		encodePage(e, &c[colSize], schema[colSize].delta, b.Size),
		encodePage(e, &c[colAlign], schema[colAlign].delta, b.Align),
		encodePage(e, &c[colTime], schema[colTime].delta, b.Time),
		encodePage(e, &c[colThread], schema[colThread].delta, b.Thread),
		encodePage(e, &c[colSite], schema[colSite].delta, b.Site),
	))
	if len(c[0].pages) == w.pages {
		w.flush()
	}
}

// keep remembers the first error.
func (w *Writer) keep(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *Writer) put(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.off += int64(n)
	w.keep(err)
}

// flush writes the pages collected in the chunks as a row group.
func (w *Writer) flush() {
	if w.count == maxRowGroups {
		w.keep(fmt.Errorf("more than %d row groups of %d events: no Parquet file holds more", maxRowGroups, w.pages*w.pageEvents))
	}
	g := format.RowGroup{FileOffset: w.off, Ordinal: int16(w.count)}
	for _, p := range w.chunks[0].pages {
		g.NumRows += int64(p.events)
	}
	for k := range columns {
		c := &w.chunks[k]
		meta := w.writeChunk(k, c)
		meta.NumValues = g.NumRows
		g.TotalByteSize += meta.TotalUncompressedSize
		g.TotalCompressedSize += meta.TotalCompressedSize
		g.Columns = append(g.Columns, format.ColumnChunk{MetaData: meta})
		c.reset()
	}
	w.keep(thrift.NewEncoder(protocol.NewWriter(&w.groups)).Encode(&g))
	w.count++
}

// writeChunk writes one column of the row group.
func (w *Writer) writeChunk(k column, c *chunk) format.ColumnMetaData {
	meta := format.ColumnMetaData{
		Type:         schema[k].physical,
		PathInSchema: []string{schema[k].name},
		Codec:        format.Zstd,
		Statistics:   w.statistics(k, c),
	}
	compressed := w.compresses(c)
	start := w.off
	if len(c.dict.values) > 0 {
		meta.Encoding = append(meta.Encoding, format.Plain)
		meta.DictionaryPageOffset = start
		meta.TotalUncompressedSize += w.putPage(c.dict.plain(nil, k.width()), true, &format.PageHeader{
			Type:                 format.DictionaryPage,
			DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: int32(len(c.dict.values)), Encoding: format.Plain}),
		})
	}
	meta.DataPageOffset = w.off
	for i := range c.pages {
		p := &c.pages[i]
		if !slices.Contains(meta.Encoding, p.encoding) {
			meta.Encoding = append(meta.Encoding, p.encoding)
		}
		meta.TotalUncompressedSize += w.putPage(p.data, compressed, &format.PageHeader{
			Type: format.DataPageV2,
			DataPageHeaderV2: thrift.New(format.DataPageHeaderV2{
				NumValues: int32(p.events), NumRows: int32(p.events), Encoding: p.encoding,
				IsCompressed: thrift.New(compressed),
			}),
		})
	}
	meta.TotalCompressedSize = w.off - start
	return meta
}

// compresses reports whether zstd saves two fifths of the chunk's pages, going
// by a sample of its largest page. Where it saves less it takes longer than
// all else together: on a trace of random sizes, 11 ns an event for half a
// byte.
func (w *Writer) compresses(c *chunk) bool {
	sample := c.pages[0].data
	for _, p := range c.pages {
		if len(p.data) > len(sample) {
			sample = p.data
		}
	}
	const (
		tiny  = 64 // bytes; a frame's own costs are 10 or so
		large = 16 << 10
	)
	if len(sample) < tiny {
		return false
	}
	sample = sample[:min(len(sample), large)]
	w.packed = w.zstd.EncodeAll(sample, w.packed[:0])
	return len(w.packed) < len(sample)*3/5
}

// putPage writes a page with its header and returns the length of both
// without compression.
func (w *Writer) putPage(plain []byte, compressed bool, h *format.PageHeader) int64 {
	stored := plain
	if compressed {
		w.packed = w.zstd.EncodeAll(plain, w.packed[:0])
		stored = w.packed
	}
	h.UncompressedPageSize, h.CompressedPageSize = int32(len(plain)), int32(len(stored))
	h.CRC = int32(crc32.ChecksumIEEE(stored))
	w.head.Reset()
	w.keep(thrift.NewEncoder(protocol.NewWriter(&w.head)).Encode(h))
	w.put(w.head.Bytes())
	w.put(stored)
	return int64(w.head.Len() + len(plain))
}

// plain appends the dictionary in plain encoding to b.
func (d *dictionary) plain(b []byte, width int) []byte {
	for _, v := range d.values {
		if width == 8 {
			b = binary.LittleEndian.AppendUint64(b, v)
		} else {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
	}
	return b
}

// statistics returns the range of the values of a chunk where it costs nothing
// to know: for times, and where a dictionary holds all values.
func (w *Writer) statistics(k column, c *chunk) (s format.Statistics) {
	d := dictionary{}
	switch {
	case k == colTime:
		d.values = []uint64{uint64(w.times.first), uint64(w.times.last)}
	case slices.ContainsFunc(c.pages, func(p page) bool { return p.encoding != format.RLEDictionary }):
		return s
	default:
		d.values = []uint64{slices.Min(c.dict.values), slices.Max(c.dict.values)}
	}
	b := d.plain(nil, k.width())
	s.MinValue, s.MaxValue = b[:k.width()], b[k.width():]
	return s
}

// Close writes what is pending and the metadata, from the header, which must
// be complete by now and count as many events as were written. It does not
// close the file below. Close returns the first error of all writing.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	defer w.zstd.Close()
	if w.err != nil {
		return w.err
	}
	if !w.header.Complete {
		w.keep(errors.New("store: close: the header is not complete: read the trace to its end first"))
	} else if w.header.Summary.Events != w.events {
		w.keep(fmt.Errorf("store: close: the header counts %d events, %d were written", w.header.Summary.Events, w.events))
	} else if err := checkSummary(w.header); err != nil {
		w.keep(fmt.Errorf("store: close: %w", err))
	}
	if w.err == nil && w.pending.Len() > 0 {
		w.encode(&w.pending)
	}
	if w.err == nil && len(w.chunks[0].pages) > 0 {
		w.flush()
	}
	if w.err == nil {
		w.footer()
	}
	return w.err
}

// footer writes the file's metadata. Its outermost struct is spelled out here,
// field by field, because parquet-go's takes all row groups decoded.
func (w *Writer) footer() {
	kvs, err := encodeHeader(w.header)
	if err != nil {
		w.keep(fmt.Errorf("store: close: %w", err))
		return
	}
	var buf bytes.Buffer
	t := protocol.NewWriter(&buf)
	enc := thrift.NewEncoder(t)
	list := func(id int16, length int) error {
		return errors.Join(t.WriteField(thrift.Field{ID: id, Type: thrift.LIST}), t.WriteList(thrift.List{Size: int32(length), Type: thrift.STRUCT}))
	}
	// Field numbers go from 1 to 7 without gaps, so each is one more than the
	// last, which is what the protocol writes.
	w.keep(t.WriteField(thrift.Field{ID: 1, Type: thrift.I32}))
	w.keep(t.WriteInt32(2))
	elements := schemaElements()
	w.keep(list(1, len(elements)))
	for i := range elements {
		w.keep(enc.Encode(&elements[i]))
	}
	w.keep(t.WriteField(thrift.Field{ID: 1, Type: thrift.I64}))
	w.keep(t.WriteInt64(int64(w.events)))
	w.keep(list(1, w.count))
	buf.Write(w.groups.Bytes())
	w.keep(list(1, len(kvs)))
	for i := range kvs {
		w.keep(enc.Encode(&kvs[i]))
	}
	w.keep(t.WriteField(thrift.Field{ID: 1, Type: thrift.BINARY}))
	w.keep(t.WriteString(createdBy))
	w.keep(list(1, int(columns)))
	for range columns {
		w.keep(enc.Encode(&format.ColumnOrder{Value: &format.TypeDefinedOrder{}}))
	}
	w.keep(t.WriteField(thrift.Field{Type: thrift.STOP}))
	if buf.Len() > maxFooter {
		w.keep(fmt.Errorf("store: close: metadata of %d bytes: at most %d can be stored", buf.Len(), maxFooter))
		return
	}
	w.put(buf.Bytes())
	w.put(append(binary.LittleEndian.AppendUint32(nil, uint32(buf.Len())), magic...))
}

// schemaElements returns the schema as Parquet writes it: the root and a
// required element for each column.
func schemaElements() []format.SchemaElement {
	elements := []format.SchemaElement{{Name: "trace", NumChildren: thrift.New(int32(columns))}}
	for k := range columns {
		s := &schema[k]
		logical := s.logical
		elements = append(elements, format.SchemaElement{
			Type:           thrift.New(s.physical),
			RepetitionType: thrift.New(format.Required),
			Name:           s.name,
			ConvertedType:  thrift.New(s.converted),
			LogicalType:    format.LogicalType{Value: &logical},
		})
	}
	return elements
}

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

// reader decodes a stored trace and holds it to its form, not to the rules of
// events: see checked.
type reader struct {
	file  io.ReaderAt
	name  string
	close func() error // nil if nothing is to be closed
	err   error        // sticks once it is not nil

	footer *footer
	group  int   // index of the next row group
	left   int64 // events of the present row group not read yet
	next   uint64

	cursors [columns]cursor
	dec     decoder
	zstd    *zstd.Decoder
	raw     []byte // a page as it is in the file, with slack
	plain   []byte // a page after decompression, with slack
}

// cursor is how far a column of the present row group has been read.
type cursor struct {
	extent
	dict []uint64
	page int // bytes of the last page with its header: a guess at the next
}

// newReader opens a stored trace of the given size.
func newReader(f io.ReaderAt, size int64, name string) (r *reader, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, &trace.SyntaxError{File: name, Msg: fmt.Sprintf("metadata is corrupt: %v", p)}
		}
	}()
	ft, err := readFooter(f, size)
	if err != nil {
		return nil, &trace.SyntaxError{File: name, Err: err}
	}
	r = &reader{file: f, name: name, footer: ft}
	r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxPage), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *reader) Header() *trace.Header { return r.footer.header }

func (r *reader) Close() error {
	if r.err == os.ErrClosed {
		return nil
	}
	r.err = os.ErrClosed
	r.zstd.Close()
	if r.close == nil {
		return nil
	}
	return r.close()
}

// Next decodes the next page of each column.
func (r *reader) Next(b *trace.Block) (err error) {
	if r.err == nil {
		r.err = r.read(b)
	}
	if r.err != nil {
		b.Reset(r.next)
	}
	return r.err
}

func (r *reader) read(b *trace.Block) (err error) {
	var k column
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("is corrupt: %v", p)
		}
		if err != nil && err != io.EOF {
			err = &trace.SyntaxError{
				File: r.name, Off: r.cursors[k].off,
				Msg: fmt.Sprintf("column %s of the events from %d on", schema[k].name, r.next), Err: err,
			}
		}
	}()
	if r.left == 0 {
		if r.group == len(r.footer.groups) {
			return io.EOF
		}
		g := &r.footer.groups[r.group]
		r.group++
		r.left = g.events
		for k = range columns {
			if err := r.open(k, g.chunks[k]); err != nil {
				return err
			}
		}
	}
	events := 0
	for k = range columns {
		p, err := r.dataPage(k)
		if err != nil {
			return err
		}
		if k == 0 {
			events = p.events
		} else if p.events != events {
			return fmt.Errorf("a page of %d events beside one of %d", p.events, events)
		}
		if err := r.decode(b, k, p); err != nil {
			return err
		}
	}
	if r.left -= int64(events); r.left == 0 {
		for k = range columns {
			if size := r.cursors[k].size; size != 0 {
				return fmt.Errorf("%d bytes behind the last page", size)
			}
		}
	}
	b.First = r.next
	r.next += uint64(events)
	return nil
}

// decode decodes a page into its column of b.
func (r *reader) decode(b *trace.Block, k column, p dataPage) error {
	dict := r.cursors[k].dict
	switch k {
	case colOp:
		return decodeColumn(&r.dec, p, dict, &b.Op)
	case colSlot:
		return decodeColumn(&r.dec, p, dict, &b.Slot)
	case colSize:
		return decodeColumn(&r.dec, p, dict, &b.Size)
	case colAlign:
		return decodeColumn(&r.dec, p, dict, &b.Align)
	case colTime:
		return decodeColumn(&r.dec, p, dict, &b.Time)
	case colThread:
		return decodeColumn(&r.dec, p, dict, &b.Thread)
	default:
		return decodeColumn(&r.dec, p, dict, &b.Site)
	}
}

func decodeColumn[T value](d *decoder, p dataPage, dict []uint64, col *[]T) error {
	if cap(*col) < p.events {
		*col = make([]T, p.events)
	}
	*col = (*col)[:p.events]
	return decodePage(d, p.encoding, p.data, dict, *col)
}

// open starts a column of a row group and reads its dictionary.
func (r *reader) open(k column, x extent) error {
	c := &r.cursors[k]
	c.extent, c.dict = x, c.dict[:0]
	if c.page == 0 || c.page > smallRead {
		c.page = smallRead
	}
	if !x.dict {
		return nil
	}
	h, data, err := r.pageAt(c)
	if err != nil {
		return err
	}
	d, width := &h.DictionaryPageHeader.V, k.width()
	switch {
	case h.Type != format.DictionaryPage || !h.DictionaryPageHeader.Valid:
		return fmt.Errorf("a page of type %s: want the dictionary", h.Type)
	case d.Encoding != format.Plain:
		return fmt.Errorf("a dictionary of encoding %s: want %s", d.Encoding, format.Plain)
	case d.NumValues <= 0 || d.NumValues > maxDict || int(d.NumValues)*width != len(data):
		return fmt.Errorf("a dictionary of %d values in %d bytes", d.NumValues, len(data))
	}
	for i := 0; i < len(data); i += width {
		v := uint64(binary.LittleEndian.Uint32(data[i:]))
		if width == 8 {
			v = binary.LittleEndian.Uint64(data[i:])
		}
		if k == colOp && v > 0xff {
			return fmt.Errorf("operation %d", v)
		}
		c.dict = append(c.dict, v)
	}
	return nil
}

// dataPage is a page as far as it concerns decoding. data is valid until the
// next page is read.
type dataPage struct {
	events   int
	encoding format.Encoding
	data     []byte
}

// dataPage reads the next page of a column.
func (r *reader) dataPage(k column) (p dataPage, err error) {
	h, data, err := r.pageAt(&r.cursors[k])
	if err != nil {
		return p, err
	}
	d := &h.DataPageHeaderV2.V
	switch {
	case h.Type != format.DataPageV2 || !h.DataPageHeaderV2.Valid:
		return p, fmt.Errorf("a page of type %s: want %s", h.Type, format.DataPageV2)
	case d.NumRows != d.NumValues || d.NumNulls != 0 || d.DefinitionLevelsByteLength != 0 || d.RepetitionLevelsByteLength != 0:
		return p, errors.New("a page with nulls or lists")
	case d.NumValues <= 0 || d.NumValues > trace.BlockEvents || int64(d.NumValues) > r.left:
		return p, fmt.Errorf("a page of %d events, %d left in the row group, at most %d in a page", d.NumValues, r.left, trace.BlockEvents)
	}
	return dataPage{events: int(d.NumValues), encoding: d.Encoding, data: data}, nil
}

const (
	// pageHeaderRoom bounds a page's header; ours have about 40 bytes.
	pageHeaderRoom = 1 << 10
	// smallRead is what is read for a page whose length cannot be guessed.
	smallRead = 16 << 10
)

// pageAt reads the page at the cursor, checks it, decompresses it and moves
// the cursor behind it. What it allocates is bounded by maxPage. data is valid
// until the next call.
func (r *reader) pageAt(c *cursor) (h format.PageHeader, data []byte, err error) {
	have := int(min(int64(c.page+pageHeaderRoom), c.size))
	r.raw = sized(r.raw, have)
	if err := readFull(r.file, r.raw, c.off); err != nil {
		return h, nil, err
	}
	t := protocol.NewReaderFromBytes(r.raw[:min(have, pageHeaderRoom)])
	if err := thrift.NewDecoder(t).Decode(&h); err != nil {
		return h, nil, fmt.Errorf("page header: %v", err) // not as a cause: it can be io.EOF
	}
	head, stored, size := t.BytesRead(), int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
	if stored < 0 || stored > maxPage || stored > c.size-int64(head) || size < 0 || size > maxPage {
		return h, nil, fmt.Errorf("a page of %d bytes, %d decompressed: %d are left of the column, at most %d are read", stored, size, c.size-int64(head), maxPage)
	}
	end := head + int(stored)
	r.raw = sized(r.raw, end)
	if end > have {
		if err := readFull(r.file, r.raw[have:], c.off+int64(have)); err != nil {
			return h, nil, err
		}
	}
	data = r.raw[head:]
	if sum := crc32.ChecksumIEEE(data); sum != uint32(h.CRC) {
		return h, nil, fmt.Errorf("a page has checksum %08x: want %08x", sum, uint32(h.CRC))
	}
	if v2 := &h.DataPageHeaderV2.V; !v2.IsCompressed.Valid || v2.IsCompressed.V {
		r.plain = sized(r.plain, int(size))
		if data, err = r.zstd.DecodeAll(data, r.plain[:0]); err != nil {
			return h, nil, err
		}
	}
	if int64(len(data)) != size {
		return h, nil, fmt.Errorf("a page of %d bytes: want %d", len(data), size)
	}
	c.off, c.size, c.page = c.off+int64(end), c.size-int64(end), end
	return h, data, nil
}

// sized returns b with the given length and slack behind it, keeping what it
// holds.
func sized(b []byte, length int) []byte {
	if cap(b) < length+slack {
		b = append(make([]byte, 0, length+length/4+slack), b...)
	}
	return b[:length]
}

// checked is a reader held to what a trace must be: see Open.
type checked struct {
	*reader
	validator trace.Validator
	counter   trace.Counter
}

func newChecked(r *reader) *checked { return &checked{reader: r} }

func (c *checked) Next(b *trace.Block) error {
	err := c.reader.Next(b)
	switch {
	case err == io.EOF:
		if c.counter.Summary() != c.Header().Summary {
			err = &trace.SyntaxError{File: c.name, Msg: "the events do not add up to the summary in the metadata"}
		}
	case err == nil:
		if err = c.validator.Block(b); err == nil {
			err = c.count(b)
		}
	}
	if err != nil {
		c.err = err
		b.Reset(c.next)
	}
	return err
}

// count counts a block and refuses it if it holds more than the header says,
// by which others may have made room.
func (c *checked) count(b *trace.Block) error {
	c.counter.Block(b)
	got, want := c.counter.Summary(), &c.Header().Summary
	if got.Slots > want.Slots || got.Threads > want.Threads || got.SiteIDs > want.SiteIDs {
		return &trace.SyntaxError{
			File: c.name,
			Msg: fmt.Sprintf("the events up to %d name %d slots, %d threads and %d call sites: the metadata says %d, %d and %d",
				c.next, got.Slots, got.Threads, got.SiteIDs, want.Slots, want.Threads, want.SiteIDs),
		}
	}
	return nil
}

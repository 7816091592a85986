package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

// readMetadata and withMetadata take a file's metadata apart and put other
// metadata in its place.
func readMetadata(tb testing.TB, file []byte) (md format.FileMetaData, data []byte) {
	tb.Helper()
	end := len(file) - 8
	start := end - int(binary.LittleEndian.Uint32(file[end:]))
	if err := thrift.Unmarshal(&protocol, file[start:end], &md); err != nil {
		tb.Fatal(err)
	}
	return md, file[:start:start]
}

func withMetadata(tb testing.TB, data []byte, md *format.FileMetaData) []byte {
	tb.Helper()
	b, err := thrift.Marshal(&protocol, md)
	if err != nil {
		tb.Fatal(err)
	}
	return withFooter(data, b)
}

func withFooter(data, footer []byte) []byte {
	file := append(slices.Clone(data), footer...)
	return append(binary.LittleEndian.AppendUint32(file, uint32(len(footer))), magic...)
}

// setKey changes a value of the metadata, and its checksum with it.
func setKey(md *format.FileMetaData, key, value string) {
	kvs := md.KeyValueMetadata
	for i := range kvs {
		if kvs[i].Key == keyPrefix+key {
			kvs[i].Value = value
		}
	}
	for i := range kvs {
		if kvs[i].Key == keySum {
			kvs[i].Value = checksum(kvs)
		}
	}
}

func TestHostileMetadata(t *testing.T) {
	m, file := smallTrace(t)
	column := func(md *format.FileMetaData) *format.ColumnMetaData { return &md.RowGroups[1].Columns[2].MetaData }
	tests := []struct {
		name string
		do   func(md *format.FileMetaData)
		want string // of the error; none if empty
	}{
		{"nothing changed", func(*format.FileMetaData) {}, ""},
		{"rows", func(md *format.FileMetaData) { md.NumRows = 1 << 62 }, "rows for"},
		{"negative rows", func(md *format.FileMetaData) { md.NumRows = -1 }, "rows for"},
		{"rows of a row group", func(md *format.FileMetaData) { md.RowGroups[0].NumRows = 1 << 62 }, "values in"},
		{"rows of all row groups", func(md *format.FileMetaData) {
			for i := range md.RowGroups {
				md.RowGroups[i].NumRows = math.MaxInt64
				for k := range md.RowGroups[i].Columns {
					md.RowGroups[i].Columns[k].MetaData.NumValues = math.MaxInt64
				}
			}
		}, "other than"},
		{"a row group and all counts of 2^62", func(md *format.FileMetaData) {
			const many = 1 << 62
			md.NumRows = many
			md.RowGroups = md.RowGroups[:1]
			md.RowGroups[0].NumRows = many
			for k := range md.RowGroups[0].Columns {
				md.RowGroups[0].Columns[k].MetaData.NumValues = many
			}
			setKey(md, "summary.events", fmt.Sprint(int64(many)))
		}, "do not make"},
		{"no row group", func(md *format.FileMetaData) { md.RowGroups = nil }, "0 row groups"},
		{"a row group missing", func(md *format.FileMetaData) { md.RowGroups = md.RowGroups[1:] }, "is said to be"},
		{"row groups swapped", func(md *format.FileMetaData) {
			md.RowGroups[0], md.RowGroups[1] = md.RowGroups[1], md.RowGroups[0]
		}, "is said to be"},
		{"the last row group twice", func(md *format.FileMetaData) {
			md.RowGroups = append(md.RowGroups, md.RowGroups[len(md.RowGroups)-1])
		}, "other than"},
		{"many row groups", func(md *format.FileMetaData) {
			md.RowGroups = slices.Repeat(md.RowGroups[:1], maxRowGroups+1)
		}, "longer than"},
		{"a column missing", func(md *format.FileMetaData) { md.RowGroups[0].Columns = md.RowGroups[0].Columns[1:] }, "columns"},
		{"many columns", func(md *format.FileMetaData) {
			md.RowGroups[0].Columns = slices.Repeat(md.RowGroups[0].Columns, 100)
		}, "list of 700"},
		{"columns swapped", func(md *format.FileMetaData) {
			c := md.RowGroups[0].Columns
			c[0], c[1] = c[1], c[0]
		}, "want op"},
		{"offset before the file", func(md *format.FileMetaData) { column(md).DictionaryPageOffset = -5 }, "is said to be"},
		{"offset behind the file", func(md *format.FileMetaData) { column(md).DictionaryPageOffset = math.MaxInt64 }, "is said to be"},
		{"offset of another column", func(md *format.FileMetaData) { column(md).DictionaryPageOffset = 4 }, "is said to be"},
		{"negative size", func(md *format.FileMetaData) { column(md).TotalCompressedSize = -1 }, "is said to be"},
		{"size beyond the file", func(md *format.FileMetaData) { column(md).TotalCompressedSize = math.MaxInt64 }, "is said to be"},
		{"size of one byte less", func(md *format.FileMetaData) { column(md).TotalCompressedSize-- }, "is said to be"},
		{"values", func(md *format.FileMetaData) { column(md).NumValues = 5 }, "has 5 values"},
		{"codec", func(md *format.FileMetaData) { column(md).Codec = format.Gzip }, "GZIP"},
		{"no such codec", func(md *format.FileMetaData) { column(md).Codec = 77 }, "compressed with"},
		{"type", func(md *format.FileMetaData) { column(md).Type = format.ByteArray }, "BYTE_ARRAY"},
		{"another file", func(md *format.FileMetaData) { md.RowGroups[0].Columns[0].FilePath = "/etc/passwd" }, "another file"},
		{"long path", func(md *format.FileMetaData) { column(md).PathInSchema = slices.Repeat([]string{"x"}, 1000) }, "list of 1000"},
		{"encodings", func(md *format.FileMetaData) { column(md).Encoding = make([]format.Encoding, 1<<20) }, "list of"},
		{"no schema", func(md *format.FileMetaData) { md.Schema = nil }, "schema of 0"},
		{"long schema", func(md *format.FileMetaData) { md.Schema = slices.Repeat(md.Schema, 1000) }, "longer than"},
		{"renamed column", func(md *format.FileMetaData) { md.Schema[3].Name = "colour" }, `want "size"`},
		{"optional column", func(md *format.FileMetaData) { md.Schema[3].RepetitionType.Set(format.Optional) }, "OPTIONAL"},
		{"nested column", func(md *format.FileMetaData) { md.Schema[3].NumChildren.Set(1000) }, "column"},
		{"many children", func(md *format.FileMetaData) { md.Schema[0].NumChildren.Set(math.MaxInt32) }, "columns"},
		{"many keys", func(md *format.FileMetaData) {
			md.KeyValueMetadata = slices.Repeat(md.KeyValueMetadata, 100)
		}, "longer than"},
		{"no keys", func(md *format.FileMetaData) { md.KeyValueMetadata = nil }, "no trace of fragprof's"},
		{"encrypted", func(md *format.FileMetaData) { md.EncryptionAlgorithm.Value = &format.AesGcmV1{} }, "encrypted"},
		{"changed text", func(md *format.FileMetaData) { md.KeyValueMetadata[1].Value += "!" }, "checksum"},
		{"more slots than objects", func(md *format.FileMetaData) { setKey(md, "summary.slots", "4294967295") }, "slots"},
		{"more threads than events", func(md *format.FileMetaData) { setKey(md, "summary.threads", "4294967295") }, "threads"},
		{"more sites than can be", func(md *format.FileMetaData) { setKey(md, "summary.site_ids", "4294967295") }, "call sites"},
		{"fewer threads than there are", func(md *format.FileMetaData) { setKey(md, "summary.threads", "1") }, "threads"},
		{"fewer sites than there are", func(md *format.FileMetaData) { setKey(md, "summary.site_ids", "1") }, "call sites"},
		{"another peak", func(md *format.FileMetaData) { setKey(md, "summary.peak_live_bytes", "1") }, "add up"},
		{"sites no list", func(md *format.FileMetaData) { setKey(md, "sites", `{"a":1}`) }, "list"},
		{"sites cut off", func(md *format.FileMetaData) { setKey(md, "sites", `["a","b]`) }, "does not end"},
		{"sites not strings", func(md *format.FileMetaData) { setKey(md, "sites", `[1,2]`) }, "want a string"},
		{"sites nested", func(md *format.FileMetaData) {
			setKey(md, "sites", strings.Repeat("[", 1000)+strings.Repeat("]", 1000))
		}, "want a string"},
		{"sites without commas", func(md *format.FileMetaData) { setKey(md, "sites", `["a""b"]`) }, "comma"},
		{"sites with a comma too many", func(md *format.FileMetaData) { setKey(md, "sites", `["a",]`) }, "want a string"},
		{"sites with a bad escape", func(md *format.FileMetaData) { setKey(md, "sites", `["\x"]`) }, "site 0"},
		{"a site of no text", func(md *format.FileMetaData) { setKey(md, "sites", "[\"\xff\"]") }, "UTF-8"},
		{"a site that never ends", func(md *format.FileMetaData) { setKey(md, "sites", `["`+strings.Repeat("x", 1<<20)+`"]`) }, "does not end"},
		// Wrong types in annotations do not concern the reading of the events.
		{"other annotation", func(md *format.FileMetaData) { md.Schema[3].ConvertedType.Set(deprecated.Int64) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			md, data := readMetadata(t, file)
			tt.do(&md)
			refuse(t, withMetadata(t, data, &md), m, tt.want)
		})
	}
}

// refuse reads a hostile file and wants an error that says why, and little
// memory.
func refuse(t *testing.T, file []byte, m *trace.Memory, want string) {
	t.Helper()
	before := allocated()
	err := tryRead(file, m)
	if got, limit := allocated()-before, uint64(4<<20+8*len(file)); got > limit {
		t.Errorf("%d bytes allocated for a file of %d bytes", got, len(file))
	}
	var silent silentError
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case want != "" && (err == nil || errors.As(err, &silent) || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want an error with %q", err, want)
	}
}

func TestHostileFooter(t *testing.T) {
	m, file := smallTrace(t)
	_, data := readMetadata(t, file)
	nested := bytes.Repeat([]byte{0x1c}, 1<<20)                         // field 1 is a struct, of which field 1 is ...
	lists := append([]byte{0x19}, bytes.Repeat([]byte{0x19}, 1<<20)...) // a list of one list of one list of ...
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"claims 4 GiB", append(slices.Clone(file[:len(file)-8]), "\xff\xff\xff\xffPAR1"...), "claims metadata"},
		{"claims the whole file", append(slices.Clone(file[:len(file)-8]), append(binary.LittleEndian.AppendUint32(nil, uint32(len(file)-11)), magic...)...), "claims metadata"},
		{"empty", withFooter(data, nil), "cut off"},
		{"only an end", withFooter(data, []byte{0}), "no schema"},
		{"structs in structs", withFooter(data, nested), "nested deeper"},
		{"lists in lists", withFooter(data, lists), "nested deeper"},
		{"a list of 2^31 structs", withFooter(data, []byte{0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0, 0}), "list of 2147483647"},
		{"a list of 2^64 structs", withFooter(data, append([]byte{0x49, 0xfc}, bytes.Repeat([]byte{0xff}, 9)...)), "cut off"},
		{"text of 2^31 bytes", withFooter(data, []byte{0x68, 0xff, 0xff, 0xff, 0xff, 0x07, 'x', 0}), "cut off"},
		{"a map", withFooter(data, []byte{0x1b, 1, 0x88, 1, 'a', 1, 'b', 0}), "type 11"},
		{"fields backwards", withFooter(data, []byte{0x15, 2, 0x05, 2, 2, 0}), "behind field"},
		{"bytes behind it", withFooter(data, []byte{0, 1, 2, 3}), "behind the metadata"},
		{"other end", append(slices.Clone(file[:len(file)-4]), "PARE"...), "never finished"},
		{"other start", append([]byte("PARE"), file[4:]...), "begins with"},
		{"magic alone", []byte("PAR1PAR1"), "cut off"},
		{"smallest", []byte("PAR1\x00\x00\x00\x00PAR1"), "cut off"},
		{"empty file", nil, "cut off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refuse(t, tt.file, m, tt.want) })
	}
}

// editPage changes the first page of a column of the first row group, which is
// the dictionary if it has one, and moves what is behind it. The page has the
// right CRC, whatever edit does.
func editPage(t *testing.T, file []byte, k column, edit func(h *format.PageHeader, data []byte) []byte) []byte {
	t.Helper()
	md, data := readMetadata(t, file)
	c := &md.RowGroups[0].Columns[k].MetaData
	start := c.DataPageOffset
	if c.DictionaryPageOffset != 0 {
		start = c.DictionaryPageOffset
	}
	var h format.PageHeader
	r := protocol.NewReaderFromBytes(data[start:])
	if err := thrift.NewDecoder(r).Decode(&h); err != nil {
		t.Fatal(err)
	}
	from := int(start) + r.BytesRead()
	to := from + int(h.CompressedPageSize)
	content := edit(&h, slices.Clone(data[from:to]))
	h.CRC = int32(crc32.ChecksumIEEE(content))
	head, err := thrift.Marshal(&protocol, &h)
	if err != nil {
		t.Fatal(err)
	}
	moved := int64(len(head)+len(content)) - (int64(to) - start)
	out := slices.Concat(data[:start], head, content, data[to:])
	c.TotalCompressedSize += moved
	for i := range md.RowGroups {
		for j := range md.RowGroups[i].Columns {
			x := &md.RowGroups[i].Columns[j].MetaData
			if x.DataPageOffset > start {
				x.DataPageOffset += moved
			}
			if x.DictionaryPageOffset > start {
				x.DictionaryPageOffset += moved
			}
		}
	}
	return withMetadata(t, out, &md)
}

func TestHostilePages(t *testing.T) {
	m, file := smallTrace(t)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	bomb := enc.EncodeAll(make([]byte, 1<<30>>2), nil)
	dictionary := func(values int32, plain []byte) func(*format.PageHeader, []byte) []byte {
		return func(h *format.PageHeader, _ []byte) []byte {
			packed := enc.EncodeAll(plain, nil)
			h.DictionaryPageHeader.V.NumValues = values
			h.UncompressedPageSize, h.CompressedPageSize = int32(len(plain)), int32(len(packed))
			return packed
		}
	}
	page := func(f func(h *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte) func(*format.PageHeader, []byte) []byte {
		return func(h *format.PageHeader, data []byte) []byte { return f(h, &h.DataPageHeaderV2.V, data) }
	}
	tests := []struct {
		name string
		k    column
		edit func(h *format.PageHeader, data []byte) []byte
		want string
	}{
		{"nothing changed", colSlot, func(_ *format.PageHeader, data []byte) []byte { return data }, ""},
		{"no dictionary", colSize, func(h *format.PageHeader, data []byte) []byte {
			h.Type = format.DataPageV2
			return data
		}, "want the dictionary"},
		{"dictionary of 2^31 values", colSize, func(h *format.PageHeader, data []byte) []byte {
			h.DictionaryPageHeader.V.NumValues = math.MaxInt32
			return data
		}, "dictionary of 2147483647"},
		{"dictionary of no values", colSize, func(h *format.PageHeader, data []byte) []byte {
			h.DictionaryPageHeader.V.NumValues = 0
			return data
		}, "dictionary of 0"},
		{"dictionary encoding", colSize, func(h *format.PageHeader, data []byte) []byte {
			h.DictionaryPageHeader.V.Encoding = format.DeltaBinaryPacked
			return data
		}, "dictionary of encoding"},
		{"short dictionary", colSize, dictionary(1, make([]byte, 8)), "place"},
		{"operation 300", colOp, dictionary(1, []byte{44, 1, 0, 0}), "operation 300"},
		{"operation 9", colOp, dictionary(3, []byte{9, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0}), "unknown operation"},
		{"compression bomb in a dictionary", colSize, func(h *format.PageHeader, _ []byte) []byte {
			h.CompressedPageSize, h.UncompressedPageSize = int32(len(bomb)), 80
			return bomb
		}, "size"},
		{"compression bomb that says so", colSize, func(h *format.PageHeader, _ []byte) []byte {
			h.CompressedPageSize, h.UncompressedPageSize = int32(len(bomb)), 1<<28
			return bomb
		}, "at most"},
		{"a frame of 2^62 bytes", colSize, func(h *format.PageHeader, _ []byte) []byte {
			data := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0}
			h.CompressedPageSize = int32(len(data))
			return data
		}, "size"},
		{"a window of 2^41 bytes", colSize, func(h *format.PageHeader, _ []byte) []byte {
			data := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0}
			h.CompressedPageSize = int32(len(data))
			return data
		}, "window"},
		{"no frame", colSize, func(_ *format.PageHeader, data []byte) []byte { return make([]byte, len(data)) }, "magic"},
		{"uncompressed size", colSlot, page(func(h *format.PageHeader, _ *format.DataPageHeaderV2, data []byte) []byte {
			h.UncompressedPageSize = math.MaxInt32
			return data
		}), "at most"},
		{"compressed size", colSlot, page(func(h *format.PageHeader, _ *format.DataPageHeaderV2, data []byte) []byte {
			h.CompressedPageSize = math.MaxInt32
			return data
		}), "at most"},
		{"negative size", colSlot, page(func(h *format.PageHeader, _ *format.DataPageHeaderV2, data []byte) []byte {
			h.CompressedPageSize = -1
			return data
		}), "of -1 bytes"},
		{"both sizes wrong", colSlot, page(func(h *format.PageHeader, _ *format.DataPageHeaderV2, data []byte) []byte {
			h.UncompressedPageSize++
			return data
		}), "want"},
		{"no events", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.NumValues, d.NumRows = 0, 0
			return data
		}), "a page of 0 events"},
		{"2^31 events", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.NumValues, d.NumRows = math.MaxInt32, math.MaxInt32
			return data
		}), "at most 65536"},
		{"one event less", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.NumValues, d.NumRows = 99, 99
			return data
		}), "beside"},
		{"nulls", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.NumNulls = 1
			return data
		}), "nulls"},
		{"levels", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.DefinitionLevelsByteLength = math.MaxInt32
			return data
		}), "nulls"},
		{"encoding", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.Encoding = format.Plain
			return data
		}), "encoding PLAIN"},
		{"dictionary places where no dictionary is", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.Encoding = format.RLEDictionary
			return data
		}), "places of"},
		{"flag of compression", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.IsCompressed.Set(true)
			return data
		}), "magic"},
		{"other page type", colSlot, page(func(h *format.PageHeader, _ *format.DataPageHeaderV2, data []byte) []byte {
			h.Type = format.IndexPage
			return data
		}), "INDEX"},
		{"long header", colSlot, page(func(_ *format.PageHeader, d *format.DataPageHeaderV2, data []byte) []byte {
			d.Statistics.MaxValue = make([]byte, 1<<20)
			return data
		}), "page header"},
		{"bytes behind the last value", colSlot, page(func(h *format.PageHeader, _ *format.DataPageHeaderV2, data []byte) []byte {
			h.UncompressedPageSize += 3
			h.CompressedPageSize += 3
			return append(data, 1, 2, 3)
		}), "3 bytes behind"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			refuse(t, editPage(t, file, tt.k, tt.edit), m, tt.want)
		})
	}
}

package formats

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/fragprof/fragprof/trace"
)

const plainOps = "a 0 5\nf 0\n"

// compressors make a stream of each kind that is read.
var compressors = []struct {
	name string
	pack func(t testing.TB, text string) string
}{
	{"gzip", packGzip},
	{"zstd", packZstd},
	{"xz", func(t testing.TB, text string) string { return packXz(t, text, xz.WriterConfig{}) }},
	{"zip", func(t testing.TB, text string) string {
		return packZip(t, zipEntry{name: "x.txt", method: zip.Deflate, text: text})
	}},
}

func packGzip(t testing.TB, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func packZstd(t testing.TB, text string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(text), nil))
}

func packXz(t testing.TB, text string, c xz.WriterConfig) string {
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type zipEntry struct {
	name, text string
	method     uint16
	sumFirst   bool // sum and sizes before the data instead of behind it
}

func packZip(t testing.TB, entries ...zipEntry) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: e.method}
		var f io.Writer
		var err error
		if e.sumFirst {
			h.CRC32 = crc32.ChecksumIEEE([]byte(e.text))
			h.CompressedSize64, h.UncompressedSize64 = uint64(len(e.text)), uint64(len(e.text))
			f, err = w.CreateRaw(h)
		} else {
			f, err = w.CreateHeader(h)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// unpacked reads all of a stream as decompress gives it.
func unpacked(packed string) (string, error) {
	r, _, err := decompress(iotest.HalfReader(strings.NewReader(packed)))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestDecompress(t *testing.T) {
	long := strings.Repeat("a 0 5\nf 0\n", 100_000)
	for _, c := range compressors {
		for _, text := range []string{plainOps, long} {
			got, err := unpacked(c.pack(t, text))
			if err != nil || got != text {
				t.Errorf("%s of %d bytes: got %d bytes, %v", c.name, len(text), len(got), err)
			}
		}
		two := c.pack(t, plainOps) + c.pack(t, plainOps)
		if got, err := unpacked(two); c.name != "zip" && (err != nil || got != plainOps+plainOps) {
			t.Errorf("%s, two streams: got %q, %v", c.name, got, err)
		}
		for _, d := range compressors {
			if got, err := unpacked(c.pack(t, d.pack(t, plainOps))); err != nil || got != plainOps {
				t.Errorf("%s in %s: got %q, %v", d.name, c.name, got, err)
			}
		}
	}
	if got, err := unpacked(bzip2Ops); err != nil || got != plainOps {
		t.Errorf("bzip2: got %q, %v", got, err)
	}
	if got, err := unpacked(packGzip(t, bzip2Ops)); err != nil || got != plainOps {
		t.Errorf("bzip2 in gzip: got %q, %v", got, err)
	}
	skippable := "\x52\x2a\x4d\x18\x03\x00\x00\x00abc" + packZstd(t, plainOps)
	if got, err := unpacked(skippable); err != nil || got != plainOps {
		t.Errorf("zstd behind a skippable frame: got %q, %v", got, err)
	}
	for _, text := range []string{"", "a", "BZhello world\n", "BZh", "PK", "\x1f", plainOps} {
		if got, err := unpacked(text); err != nil || got != text {
			t.Errorf("not compressed %q: got %q, %v", text, got, err)
		}
	}
}

// bzip2Ops is plainOps as bzip2 packs it.
var bzip2Ops = func() string {
	b, err := hex.DecodeString("425a6839314159265359a38e537e000004590000104000420021002000221868" +
		"3007021e76177245385090a38e537e")
	if err != nil {
		panic(err)
	}
	return string(b)
}()

func TestDecompressDepth(t *testing.T) {
	text := plainOps
	for range maxLayers {
		text = packGzip(t, text)
	}
	if got, err := unpacked(text); err != nil || got != plainOps {
		t.Errorf("%d times: got %q, %v", maxLayers, got, err)
	}
	if _, err := unpacked(packGzip(t, text)); err == nil || !strings.Contains(err.Error(), "more than 3 times") {
		t.Errorf("%d times: error %v", maxLayers+1, err)
	}
}

// TestDecompressCut cuts a stream of each kind at each of its bytes: that must
// give the whole text, or an error.
func TestDecompressCut(t *testing.T) {
	text := strings.Repeat("a 0 5\nf 0\nr 7 8\n", 20) + "a 1 123456\n"
	packed := map[string]string{
		"bzip2":      bzip2Ops,
		"stored zip": packZip(t, zipEntry{name: "x", method: zip.Store, text: text, sumFirst: true}),
	}
	for _, c := range compressors {
		packed[c.name] = c.pack(t, text)
	}
	for name, p := range packed {
		for n := len(p) - 1; n > 10; n-- {
			got, err := unpacked(p[:n])
			// What follows the data of a zip is not needed, nor is all behind
			// the last block of an xz or zstd stream.
			if err == nil && got != text && got != plainOps {
				t.Errorf("%s cut to %d of %d bytes: %d bytes of text and no error", name, n, len(p), len(got))
			}
			if err != nil && strings.Contains(err.Error(), "EOF") && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut to %d bytes: error %v", name, n, err)
			}
		}
	}
}

// TestDecompressDamaged changes each byte of a stream of each kind: that must
// never give another text without an error.
func TestDecompressDamaged(t *testing.T) {
	text := strings.Repeat("a 0 5\nf 0\nr 7 8\n", 20) + "a 1 123456\n"
	packed := map[string]string{
		"bzip2":      bzip2Ops,
		"stored zip": packZip(t, zipEntry{name: "x", method: zip.Store, text: text, sumFirst: true}),
	}
	for _, c := range compressors {
		packed[c.name] = c.pack(t, text)
	}
	for name, p := range packed {
		for i := 10; i < len(p); i++ {
			damaged := p[:i] + string(p[i]^0x40) + p[i+1:]
			if got, err := unpacked(damaged); err == nil && got != text && got != plainOps {
				t.Errorf("%s damaged at byte %d: %d bytes of text and no error", name, i, len(got))
			}
		}
	}
}

func TestZip(t *testing.T) {
	deflated := zipEntry{name: "x.txt", method: zip.Deflate, text: plainOps}
	stored := zipEntry{name: "x.txt", method: zip.Store, text: plainOps, sumFirst: true}
	folder := zipEntry{name: "traces/", method: zip.Store}
	one, two := packZip(t, deflated), packZip(t, stored, deflated)
	encrypted := []byte(packZip(t, stored))
	encrypted[6] |= zipEncrypted
	lzma := []byte(packZip(t, stored))
	lzma[8] = 14
	tests := []struct {
		name, in string
		more     bool
		err      string
	}{
		{name: "deflated, sum behind", in: one},
		{name: "stored, sum in front", in: packZip(t, stored)},
		{name: "folder first", in: packZip(t, folder, deflated)},
		{name: "two files", in: two, more: true},
		{name: "file and folder", in: packZip(t, deflated, folder), more: true},
		{name: "64-bit sizes", in: zip64(plainOps)},
		{name: "64-bit sizes behind", in: zip64Behind(t), more: true},
		{name: "empty archive", in: packZip(t), err: "no file in the archive"},
		{name: "folder only", in: packZip(t, folder), err: "no file in the archive"},
		{name: "stored, sum behind", in: packZip(t, zipEntry{name: "x", method: zip.Store, text: plainOps}), err: "unpack it first"},
		{name: "encrypted", in: string(encrypted), err: "encrypted"},
		{name: "another method", in: string(lzma), err: "method 14"},
		{name: "cut header", in: one[:20], err: "unexpected EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, more, err := decompress(strings.NewReader(tt.in))
			var text []byte
			if err == nil {
				text, err = io.ReadAll(r)
			}
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || string(text) != plainOps || more() != tt.more {
				t.Errorf("got %q, %v, more %v", text, err, more())
			}
		})
	}
	_, h, err := readText(strings.NewReader(two), Options{})
	if err != nil || h.Loss[trace.LossOtherFiles] != 1 {
		t.Errorf("two files: loss %v, %v", h.Loss, err)
	}
}

// zip64 returns an archive with one stored file whose sizes are in the extra
// field, as in archives of files over 4 GiB.
func zip64(text string) string {
	le := binary.LittleEndian
	b := append([]byte("PK\x03\x04"), 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint32(b, crc32.ChecksumIEEE([]byte(text)))
	b = le.AppendUint32(b, 1<<32-1)
	b = le.AppendUint32(b, 1<<32-1)
	b = le.AppendUint16(b, 1)
	b = le.AppendUint16(b, 20)
	b = append(b, 'x')
	b = le.AppendUint16(b, 1)
	b = le.AppendUint16(b, 16)
	b = le.AppendUint64(b, uint64(len(text)))
	b = le.AppendUint64(b, uint64(len(text)))
	return string(b) + text + "PK\x01\x02"
}

// zip64Behind returns an archive of a deflated file with 64-bit sizes behind
// its data, and the start of another.
func zip64Behind(t testing.TB) string {
	le := binary.LittleEndian
	var data bytes.Buffer
	w, err := flate.NewWriter(&data, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, plainOps); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := append([]byte("PK\x03\x04"), 45, 0, zipSumAfter, 0, zipDeflated, 0, 0, 0, 0, 0)
	b = append(b, make([]byte, 12)...)
	b = le.AppendUint16(b, 1)
	b = le.AppendUint16(b, 4)
	b = append(b, "x\x01\x00\x00\x00"...)
	b = append(b, data.Bytes()...)
	b = append(b, "PK\x07\x08"...)
	b = le.AppendUint32(b, crc32.ChecksumIEEE([]byte(plainOps)))
	b = le.AppendUint64(b, uint64(data.Len()))
	b = le.AppendUint64(b, uint64(len(plainOps)))
	return string(b) + "PK\x03\x04"
}

// TestXzCut cuts an xz file inside its second stream, and in the padding
// before it.
func TestXzCut(t *testing.T) {
	stream := packXz(t, plainOps, xz.WriterConfig{})
	two := stream + "\x00\x00\x00\x00" + stream
	for n := len(stream) + 1; n < len(two); n++ {
		text, err := unpacked(two[:n])
		if whole := n == len(stream)+4; whole != (err == nil) || whole && text != plainOps {
			t.Errorf("cut to %d of %d bytes: %d bytes of text, %v", n, len(two), len(text), err)
		}
	}
}

// TestXzBlocks reads xz files of many blocks and streams, of every check sum,
// through the guard.
func TestXzBlocks(t *testing.T) {
	text := strings.Repeat("a 0 5\nf 0\nr 7 8\n", 10_000)
	for _, check := range []byte{xz.None, xz.CRC32, xz.CRC64, xz.SHA256} {
		c := xz.WriterConfig{BlockSize: 10_000, CheckSum: check, NoCheckSum: check == xz.None}
		stream := packXz(t, text, c)
		for name, packed := range map[string]string{"one stream": stream, "two streams": stream + stream, "padding": stream + "\x00\x00\x00\x00" + stream} {
			guard := &xzGuard{r: iotest.HalfReader(strings.NewReader(packed))}
			through, err := io.ReadAll(guard)
			if err != nil || string(through) != packed {
				t.Errorf("check %d, %s: guard gave %d of %d bytes, %v", check, name, len(through), len(packed), err)
			}
			// The guard must have followed the structure to its end: it waits
			// for the start of another stream.
			if guard.need != 4 || guard.skip != 0 || len(guard.head) != 0 {
				t.Errorf("check %d, %s: guard lost its way", check, name)
			}
			if got, err := unpacked(packed); err != nil || len(got) != len(text)*strings.Count(packed, xzMagic) {
				t.Errorf("check %d, %s: got %d bytes, %v", check, name, len(got), err)
			}
		}
	}
}

// TestXzDictionary asks for a dictionary of 1 GiB in the first, in a later
// block, and in a later stream.
func TestXzDictionary(t *testing.T) {
	text := strings.Repeat(plainOps, 5000)
	small := packXz(t, text, xz.WriterConfig{BlockSize: 10_000, DictCap: 4096})
	blocks := strings.Count(small, "\x21\x01\x00")
	if blocks != 5 {
		t.Fatalf("%d blocks, want 5", blocks)
	}
	for i := range blocks {
		if _, err := unpacked(hugeDict(small, i)); err == nil || !strings.Contains(err.Error(), "dictionary of 1024 MiB") {
			t.Errorf("block %d: error %v", i, err)
		}
		if _, err := unpacked(small + hugeDict(small, i)); err == nil || !strings.Contains(err.Error(), "dictionary of 1024 MiB") {
			t.Errorf("block %d of the second stream: error %v", i, err)
		}
	}
}

// hugeDict makes block i of an xz file ask for 1 GiB, with a good check sum.
func hugeDict(packed string, i int) string {
	b := []byte(packed)
	at := 0
	for ; ; i-- {
		at += bytes.Index(b[at:], []byte("\x21\x01\x00")) + 3
		if i == 0 {
			break
		}
	}
	const gib = 36 // as xz codes it: 2 << (36/2 + 11)
	b[at-1] = gib
	start := at - 5 // of a header without sizes: its size, flags, filter
	size := (int(b[start]) + 1) * 4
	binary.LittleEndian.PutUint32(b[start+size-4:], crc32.ChecksumIEEE(b[start:start+size-4]))
	return string(b)
}

// TestZstdWindow asks for a window of 1 GiB.
func TestZstdWindow(t *testing.T) {
	// A frame header without a content size; exponent 20, mantissa 0.
	frame := "\x28\xb5\x2f\xfd\x00\xa0" + "\x01\x00\x00"
	if _, err := unpacked(frame); err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("error %v", err)
	}
}

// TestSeekableStart reads a file that something was read from before.
func TestSeekableStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("skip\n"+plainOps), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	r, _, err := decompress(f)
	if err != nil || r != io.Reader(f) {
		t.Fatalf("%v, %v, want the file itself", r, err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != plainOps {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestDetectCompressed reads a trace of each kind of compression to its events.
func TestDetectCompressed(t *testing.T) {
	log := "= Start\n@ p:[0x1] + 0x10 0x5\n@ p:[0x1] - 0x10\n= End\n"
	for _, c := range compressors {
		got, h, err := readText(strings.NewReader(c.pack(t, log)), Options{})
		if err != nil || got != plainOps || h.Source != "mtrace" {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
	}
}

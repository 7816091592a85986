package formats

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// maxLayers bounds compression inside compression, which a hostile file could
// nest without end.
const maxLayers = 3

// maxWindow bounds the memory a compressed stream may claim: as much as zstd's
// own command line tool allows without being told to.
const maxWindow = 128 << 20

// decompress undoes compression as its magic numbers show it, whatever the
// file's name: gzip, zstd, bzip2, xz, and the first file of a zip. It returns
// r itself, where it stood, if there is none and r can seek. moreFiles is nil,
// or reports at the end of the stream that the zip holds further files.
func decompress(r io.Reader) (plain io.Reader, moreFiles func() bool, err error) {
	start := int64(0)
	seeker, canSeek := r.(io.Seeker)
	if canSeek {
		start, err = seeker.Seek(0, io.SeekCurrent)
		canSeek = err == nil
	}
	for layer := 0; ; layer++ {
		b := bufio.NewReaderSize(r, 256<<10)
		magic, err := b.Peek(10)
		if err != nil && err != io.EOF {
			return nil, nil, err
		}
		open := decompressor(magic)
		if open == nil {
			if layer == 0 && canSeek {
				_, err := seeker.Seek(start, io.SeekStart)
				return r, nil, err
			}
			return b, moreFiles, nil
		}
		if layer == maxLayers {
			return nil, nil, fmt.Errorf("compressed more than %d times over", maxLayers)
		}
		if r, err = open(b); err != nil {
			return nil, nil, noEOF(err)
		}
		if z, ok := r.(*zipFile); ok {
			moreFiles = func() bool { return z.more }
		}
	}
}

// decompressor returns what opens the compressed stream that begins with
// magic, or nil if it is not compressed in a known way.
func decompressor(magic []byte) func(*bufio.Reader) (io.Reader, error) {
	switch {
	case hasPrefix(magic, "\x1f\x8b"):
		return func(b *bufio.Reader) (io.Reader, error) { return gzip.NewReader(b) }
	case hasPrefix(magic, "\x28\xb5\x2f\xfd"), isSkippable(magic):
		return func(b *bufio.Reader) (io.Reader, error) {
			return zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		}
	case isBzip2(magic):
		return func(b *bufio.Reader) (io.Reader, error) { return bzip2.NewReader(b), nil }
	case hasPrefix(magic, xzMagic):
		return func(b *bufio.Reader) (io.Reader, error) {
			// The capacity given here is the least the reader reserves; what a
			// block asks for beyond it is up to the guard.
			return xz.ReaderConfig{DictCap: lzma.MinDictCap}.NewReader(bufio.NewReaderSize(&xzGuard{r: b}, 64<<10))
		}
	case hasPrefix(magic, "PK\x03\x04"), hasPrefix(magic, "PK\x05\x06"):
		return openZip
	}
	return nil
}

// isSkippable recognizes the frame of user data that some writers of zstd put
// first.
func isSkippable(magic []byte) bool {
	return len(magic) >= 4 && magic[0]&0xf0 == 0x50 && string(magic[1:4]) == "\x2a\x4d\x18"
}

// isBzip2 asks for more than the first three letters, with which a text may
// begin as well: the block size and the magic of a block or of the end.
func isBzip2(magic []byte) bool {
	if len(magic) < 10 || !hasPrefix(magic, "BZh") || magic[3] < '1' || magic[3] > '9' {
		return false
	}
	m := string(magic[4:10])
	return m == "1AY&SY" || m == "\x17\x72\x45\x38\x50\x90"
}

// noEOF makes an end of input inside something an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

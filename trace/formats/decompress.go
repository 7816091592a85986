package formats

import (
	"bufio"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxLayers bounds compression inside compression, which a hostile file could
// nest without end.
const maxLayers = 3

// maxWindow bounds the memory a compressed stream may claim.
const maxWindow = 64 << 20

// decompress undoes compression as its magic numbers show it, whatever the
// file's name: gzip, zstd, bzip2, xz, and the first member of a zip. It
// returns r itself if there is none and r is a file at its start.
func decompress(r io.Reader) (io.Reader, error) {
	for range maxLayers {
		b := bufio.NewReaderSize(r, 256<<10)
		magic, err := b.Peek(6)
		if err != nil && err != io.EOF {
			return nil, err
		}
		switch {
		case hasPrefix(magic, "\x1f\x8b"):
			r, err = gzip.NewReader(b)
		case hasPrefix(magic, "\x28\xb5\x2f\xfd"):
			r, err = zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		case hasPrefix(magic, "BZh"):
			r, err = bzip2.NewReader(b), nil
		case hasPrefix(magic, "\xfd7zXZ\x00"):
			r, err = xz.ReaderConfig{DictCap: maxWindow}.NewReader(b)
		case hasPrefix(magic, "PK\x03\x04"):
			r, err = zipMember(b)
		default:
			if s, ok := r.(io.Seeker); ok {
				if _, err := s.Seek(0, io.SeekStart); err == nil {
					return r, nil
				}
			}
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("compressed more than %d times over", maxLayers)
}

// zipMember returns the content of the first member of a zip archive, read as
// a stream: its local header says how it is stored, and deflate data ends by
// itself.
func zipMember(b *bufio.Reader) (io.Reader, error) {
	var h [30]byte
	if _, err := io.ReadFull(b, h[:]); err != nil {
		return nil, fmt.Errorf("zip header: %w", noEOF(err))
	}
	le := binary.LittleEndian
	flags, method := le.Uint16(h[6:]), le.Uint16(h[8:])
	size := int64(le.Uint32(h[18:]))
	if _, err := b.Discard(int(le.Uint16(h[26:])) + int(le.Uint16(h[28:]))); err != nil {
		return nil, fmt.Errorf("zip header: %w", noEOF(err))
	}
	switch {
	case flags&1 != 0:
		return nil, errors.New("the zip member is encrypted")
	case method == 8:
		return flate.NewReader(b), nil
	case method == 0 && flags&8 == 0:
		return io.LimitReader(b, size), nil
	}
	return nil, fmt.Errorf("the zip member is stored by method %d: unpack it first", method)
}

// noEOF makes an end of input inside something an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

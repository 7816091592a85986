package formats

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
)

// zipFile reads the first file in a zip archive as a stream, without the
// directory at the archive's end: the header before a file says how it is
// stored, and deflated data ends by itself.
type zipFile struct {
	b    *bufio.Reader // the archive
	data io.Reader     // the content
	err  error

	head zipHeader
	sum  uint32 // CRC-32 of the content so far
	size uint64 // bytes of content so far
	more bool   // another file follows; known at the end
}

// zipHeader is what precedes a file in a zip archive.
type zipHeader struct {
	flags, method uint16
	sum           uint32 // CRC-32 of the content; zero if it follows the data
	packed, size  uint64 // bytes; zero if they follow the data
	wide          bool   // sizes that follow the data have 64 bits
	dir           bool   // a folder
}

const (
	zipEncrypted = 1 << 0
	zipSumAfter  = 1 << 3 // sum and sizes follow the data

	zipStored   = 0
	zipDeflated = 8
)

// openZip opens the first file in the archive, passing over folders.
func openZip(b *bufio.Reader) (io.Reader, error) {
	for {
		h, err := readZipHeader(b)
		if err != nil {
			return nil, fmt.Errorf("read zip header: %w", noEOF(err))
		}
		z := &zipFile{b: b, head: h}
		switch {
		case h.dir:
			continue
		case h.flags&zipEncrypted != 0:
			return nil, errors.New("the file in the zip is encrypted")
		case h.method == zipDeflated:
			z.data = flate.NewReader(b)
		case h.method == zipStored && h.flags&zipSumAfter == 0:
			z.data = io.LimitReader(b, int64(min(h.size, 1<<63-1)))
		default:
			return nil, fmt.Errorf("the file in the zip is stored by method %d in a way that cannot be streamed: unpack it first", h.method)
		}
		return z, nil
	}
}

func readZipHeader(b *bufio.Reader) (h zipHeader, err error) {
	le := binary.LittleEndian
	var fixed [30]byte
	if _, err := io.ReadFull(b, fixed[:4]); err != nil {
		return h, err
	}
	if m := string(fixed[:4]); m != "PK\x03\x04" {
		if m == "PK\x01\x02" || m == "PK\x05\x06" {
			return h, errors.New("no file in the archive")
		}
		return h, fmt.Errorf("no header of a file but %q", m)
	}
	if _, err := io.ReadFull(b, fixed[4:]); err != nil {
		return h, err
	}
	h.flags, h.method, h.sum = le.Uint16(fixed[6:]), le.Uint16(fixed[8:]), le.Uint32(fixed[14:])
	h.packed, h.size = uint64(le.Uint32(fixed[18:])), uint64(le.Uint32(fixed[22:]))
	rest := make([]byte, int(le.Uint16(fixed[26:]))+int(le.Uint16(fixed[28:])))
	if _, err := io.ReadFull(b, rest); err != nil {
		return h, err
	}
	nameLen := le.Uint16(fixed[26:])
	h.dir = nameLen > 0 && rest[nameLen-1] == '/' && h.size == 0
	for extra := rest[nameLen:]; len(extra) >= 4; {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			break
		}
		// The extra field of zip64 holds both sizes in a header like this.
		if field := extra[:n]; id == 1 {
			h.wide = true
			if n >= 16 && h.size == 1<<32-1 {
				h.size, h.packed = le.Uint64(field), le.Uint64(field[8:])
			}
		}
		extra = extra[n:]
	}
	return h, nil
}

func (z *zipFile) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	n, err := z.data.Read(p)
	z.sum = crc32.Update(z.sum, crc32.IEEETable, p[:n])
	z.size += uint64(n)
	if err == io.EOF {
		err = z.end()
	}
	z.err = err
	return n, err
}

// end holds what was read to its sum and looks for another file. It returns
// io.EOF if all is well.
func (z *zipFile) end() error {
	h := &z.head
	if h.flags&zipSumAfter != 0 {
		if err := z.readTrailer(); err != nil {
			return fmt.Errorf("read zip trailer: %w", noEOF(err))
		}
	} else if z.size < h.size {
		return io.ErrUnexpectedEOF
	}
	if z.sum != h.sum {
		return fmt.Errorf("the file in the zip is damaged: checksum %08x, want %08x", z.sum, h.sum)
	}
	next, _ := z.b.Peek(4)
	z.more = string(next) == "PK\x03\x04"
	return io.EOF
}

// readTrailer reads the sum and the sizes that follow the data: with or
// without a signature, which the format leaves open.
func (z *zipFile) readTrailer() error {
	if sig, _ := z.b.Peek(4); string(sig) == "PK\x07\x08" {
		if _, err := z.b.Discard(4); err != nil {
			return err
		}
	}
	var sum [4]byte
	if _, err := io.ReadFull(z.b, sum[:]); err != nil {
		return err
	}
	z.head.sum = binary.LittleEndian.Uint32(sum[:])
	sizes := 8
	if z.head.wide {
		sizes = 16
	}
	_, err := z.b.Discard(sizes)
	return err
}

package formats

import (
	"fmt"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

const xzMagic = "\xfd7zXZ\x00"

// xzGuard passes on an xz file unchanged and does two things the xz reader
// does not. It fails at the first block that asks for a dictionary larger than
// maxWindow: the reader reserves at once what a block asks for, up to 4 GiB.
// And it makes an end of the file inside a stream an error: the reader takes
// one inside the header of a block for the end of all.
//
// It follows the structure of the file, which is readable without
// decompressing: a stream header, blocks of a header and of chunks with their
// sizes in front, an index, a footer. Whatever else is wrong it leaves to the
// reader behind it, and from there on lets everything pass.
type xzGuard struct {
	r     io.Reader
	err   error
	state func(*xzGuard) // takes the bytes in head
	head  []byte         // the bytes collected for state
	need  int            // bytes that head must hold for state to be called
	skip  uint64         // bytes to pass over before that
	sum   int            // bytes of a block's checksum
	size  uint64         // bytes of the block's data or of the index so far
	whole bool           // a stream is complete and no other has begun

	// Of the index:
	counted bool   // its count of blocks has been read
	left    uint64 // numbers still to come
	num     uint64 // the number being read
	shift   uint
}

func (g *xzGuard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	if g.state == nil {
		g.expect(0, 4, (*xzGuard).stream)
	}
	n, err := g.r.Read(p)
	if g.scan(p[:n]); g.err != nil {
		return 0, g.err
	}
	if err == io.EOF && g.need > 0 && !(g.whole && g.skip == 0 && len(g.head) == 0) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// expect waits for need bytes behind the next skip bytes.
func (g *xzGuard) expect(skip uint64, need int, state func(*xzGuard)) {
	g.skip, g.need, g.state, g.head = skip, need, state, g.head[:0]
}

// scan follows the structure through the next bytes of the file.
func (g *xzGuard) scan(b []byte) {
	for len(b) > 0 && g.need > 0 && g.err == nil {
		if g.skip > 0 {
			n := min(g.skip, uint64(len(b)))
			g.skip -= n
			b = b[n:]
			continue
		}
		n := min(g.need-len(g.head), len(b))
		g.head = append(g.head, b[:n]...)
		if b = b[n:]; len(g.head) == g.need {
			g.state(g)
		}
	}
}

// pass lets everything through from here on.
func (g *xzGuard) pass() { g.expect(0, 0, (*xzGuard).pass) }

// stream takes the first 4 bytes of a stream, or of padding before one.
func (g *xzGuard) stream() {
	switch string(g.head) {
	case xzMagic[:4]:
		g.whole = false
		g.expect(0, 8, (*xzGuard).streamHeader)
	case "\x00\x00\x00\x00":
		g.expect(0, 4, (*xzGuard).stream)
	default:
		g.pass()
	}
}

// streamHeader takes the rest of a stream header.
func (g *xzGuard) streamHeader() {
	g.sum = [...]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[g.head[3]&15]
	g.expect(0, 1, (*xzGuard).blockSize)
}

// blockSize takes the first byte of a block header, or of the index.
func (g *xzGuard) blockSize() {
	if g.head[0] == 0 {
		g.size, g.counted, g.num, g.shift = 1, false, 0, 0
		g.expect(0, 1, (*xzGuard).index)
		return
	}
	g.expect(0, int(g.head[0])*4+3, (*xzGuard).blockHeader)
}

// index takes the next byte of the index: the number of blocks, then two
// numbers a block.
func (g *xzGuard) index() {
	c := g.head[0]
	g.size++
	g.num |= uint64(c&0x7f) << g.shift
	if g.shift += 7; c >= 0x80 {
		g.expect(0, 1, (*xzGuard).index)
		return
	}
	if g.counted {
		g.left--
	} else {
		g.counted, g.left = true, 2*g.num
	}
	g.num, g.shift = 0, 0
	if g.left > 0 {
		g.expect(0, 1, (*xzGuard).index)
		return
	}
	g.whole = true
	const indexSum, footer = 4, 12
	g.expect(-g.size&3+indexSum+footer, 4, (*xzGuard).stream)
}

// blockHeader takes the rest of a block header: flags, sizes, filters.
func (g *xzGuard) blockHeader() {
	h := g.head
	flags := h[0]
	h = h[1:]
	for bit := byte(0x40); bit != 0; bit <<= 1 { // packed size, then size
		if flags&bit != 0 {
			h = h[min(varintLen(h), len(h)):]
		}
	}
	if flags&3 != 0 || len(h) < 3 || h[0] != 0x21 || h[1] != 1 {
		g.pass() // filters the reader does not know
		return
	}
	dict, err := lzma.DecodeDictCap(h[2])
	if err != nil {
		g.pass()
		return
	}
	if dict > maxWindow {
		g.err = fmt.Errorf("xz: needs a dictionary of %d MiB, more than %d", dict>>20, maxWindow>>20)
		return
	}
	g.expect(0, 1, (*xzGuard).chunk)
	g.size = 0
}

// chunk takes the first byte of a chunk of compressed data.
func (g *xzGuard) chunk() {
	switch c := g.head[0]; {
	case c == 0: // end of the block: padding to 4 bytes, then its sum
		g.size++
		padding := -g.size & 3
		g.expect(padding+uint64(g.sum), 1, (*xzGuard).blockSize)
	case c <= 2: // not compressed
		g.expect(0, 2, (*xzGuard).plainChunk)
	case c >= 0xc0: // with a byte of properties
		g.expect(2, 3, (*xzGuard).packedChunk)
	case c >= 0x80:
		g.expect(2, 2, (*xzGuard).packedChunk)
	default:
		g.pass()
	}
}

// plainChunk takes the size of a chunk that is stored as it is.
func (g *xzGuard) plainChunk() {
	size := uint64(g.head[0])<<8 + uint64(g.head[1]) + 1
	g.size += 3 + size
	g.expect(size, 1, (*xzGuard).chunk)
}

// packedChunk takes the packed size of a chunk, and its byte of properties if
// there is one.
func (g *xzGuard) packedChunk() {
	size := uint64(g.head[0])<<8 + uint64(g.head[1]) + 1
	g.size += 3 + uint64(len(g.head)) + size
	g.expect(size, 1, (*xzGuard).chunk)
}

// varintLen returns the length of the variable-length number b begins with.
func varintLen(b []byte) int {
	for i, c := range b {
		if c < 0x80 {
			return i + 1
		}
	}
	return len(b)
}

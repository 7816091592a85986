package golden

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// maxLine is the length of the longest line a table may have, comments
// included: what is longer is no table.
const maxLine = 4 << 10

// Reader reads a table, plain or gzipped, answer by answer. It holds a few KiB
// whatever the table's length. It is used by one goroutine.
type Reader struct {
	in   *bufio.Reader
	name string
	line uint64
	err  error
}

// NewReader returns a Reader of the table's text, whose name errors begin
// with. Whether it is gzipped is seen from its first bytes.
func NewReader(r io.Reader, name string) (*Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(2)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if bytes.HasPrefix(head, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, unexpected(err))
		}
		in = bufio.NewReaderSize(z, 64<<10)
	}
	return &Reader{in: in, name: name}, nil
}

// Line returns the number of the line last read, from one.
func (r *Reader) Line() uint64 { return r.line }

// Next returns the next answer, and io.EOF after the last. Any other error
// names the line, and ends the table.
func (r *Reader) Next() (Answer, error) {
	if r.err != nil {
		return 0, r.err
	}
	for {
		line, err := r.in.ReadSlice('\n')
		if len(line) == 0 && err == io.EOF {
			r.err = io.EOF
			return 0, r.err
		}
		r.line++
		if err == bufio.ErrBufferFull || len(line) > maxLine {
			return 0, r.fail(fmt.Errorf("%q...: %w", line[:32], errSyntax))
		}
		if err != nil && err != io.EOF {
			return 0, r.fail(unexpected(err))
		}
		if line[0] == '#' {
			continue
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		a, err := parse(line)
		if err != nil {
			return 0, r.fail(fmt.Errorf("%q: %w", line[:min(len(line), 32)], err))
		}
		return a, nil
	}
}

func (r *Reader) fail(err error) error {
	r.err = fmt.Errorf("%s:%d: %w", r.name, r.line, err)
	return r.err
}

// unexpected turns the end of a compressed stream before its time into an
// error that cannot be taken for the end of the table.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the compressed table stops in the middle")
	}
	return err
}

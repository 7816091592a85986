package formats

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/fragprof/fragprof/trace"
)

// verdict is what a line turned out to be.
type verdict uint8

const (
	lineEvent verdict = iota // an event, or another line the format defines
	lineOther                // output of something else
	lineBad                  // should be an event and is not
)

// lineParser is what a line-based format adds to a lineReader: it reads one
// line, without its end, and calls the emitter for the events in it. The line
// is only valid during the call.
type lineParser interface {
	parse(line []byte) verdict
	// finish is called once after the last line; it settles what is pending.
	finish()
}

// lineReader is the trace.Reader of every line-based format.
type lineReader struct {
	emitter
	lines  lineScanner
	parser lineParser
	in     *Input
	done   bool
	err    error // ends the trace; given again by every further Next

	// strict makes a line that does not parse an error: for forms that carry
	// nothing but events and are written by this tool or by hand.
	strict bool
	// freeText says that other output between the events is normal, so that
	// even a few events in many lines make a trace.
	freeText bool
	// tornOK accepts a compressed stream that ends too early, as a killed
	// recorder leaves it.
	tornOK bool
	// wholeLines says that the writer ends every line, so that a last line
	// without an end was cut.
	wholeLines bool

	// noEvents says why an input without an event has none, if the parser
	// knows more than that.
	noEvents func() string
	// failed is set by a parser, with a lineBad, to end the trace.
	failed error

	nonEmpty, bad, other uint64 // lines; bad and other are part of nonEmpty
}

// A reader that has understood none of so many lines gives up: it was told to
// read something else. Where other output is normal it waits longer, unless
// the content looks like another format.
const (
	patience         = 1 << 12
	freeTextPatience = 1 << 20
)

// newLineReader returns a reader of in. The caller sets parser and options.
func newLineReader(in *Input, source string) *lineReader {
	r := &lineReader{in: in}
	r.lines.r = in.r
	r.hdr.Source = source
	r.hdr.Sites = []string{""}
	return r
}

func (r *lineReader) Header() *trace.Header { return &r.hdr }

func (r *lineReader) Close() error {
	if r.in.close == nil {
		return nil
	}
	return r.in.close()
}

func (r *lineReader) Next(b *trace.Block) error {
	r.begin(b)
	if r.err == nil && !r.done {
		r.err = r.fill(b)
	}
	if r.err != nil {
		b.Reset(r.events)
		return r.err
	}
	r.block()
	if b.Len() == 0 {
		return io.EOF
	}
	return nil
}

// fill reads lines until the block is full or the input ends.
func (r *lineReader) fill(b *trace.Block) error {
	for b.Len() < trace.BlockEvents {
		line, err := r.lines.next()
		if err != nil {
			return r.end(err)
		}
		if len(line) == 0 || line[0] <= ' ' && len(trimEnd(line)) == 0 {
			continue
		}
		r.nonEmpty++
		if v := r.parser.parse(line); v != lineEvent {
			if err := r.notEvent(line, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// notEvent counts a line that is none of the format's and says if that ends
// the trace.
func (r *lineReader) notEvent(line []byte, v verdict) error {
	if v == lineOther {
		r.other++
		r.hdr.Loss[trace.LossOtherLines]++
	} else {
		r.bad++
		if r.failed != nil {
			return r.failed
		}
		if r.strict {
			return r.syntaxError(fmt.Sprintf("%.80q is no line of the %s form", line, r.hdr.Source))
		}
		// A line cut by the end of the input is counted there.
		if !r.wholeLines || !r.lines.torn {
			r.hdr.Loss[trace.LossUnparsedLines]++
		}
	}
	limit := uint64(patience)
	if r.freeText && r.in.looks == "" {
		limit = freeTextPatience
	}
	if r.nonEmpty == limit && r.understood() == 0 {
		return r.noEvent()
	}
	return nil
}

// understood returns the number of lines that are of the format.
func (r *lineReader) understood() uint64 { return r.nonEmpty - r.bad - r.other }

// end settles the reader at the end of its input and says if that is an error.
func (r *lineReader) end(err error) error {
	r.done = true
	if err != io.EOF {
		if !r.tornOK || !errors.Is(err, io.ErrUnexpectedEOF) {
			e := r.syntaxError("")
			e.Err = err
			return e
		}
		r.hdr.Loss[trace.LossTruncated]++
	} else if r.wholeLines && r.lines.torn {
		r.hdr.Loss[trace.LossTruncated]++
	}
	if r.in.moreFiles != nil && r.in.moreFiles() {
		r.hdr.Loss[trace.LossOtherFiles]++
	}
	r.parser.finish()
	if r.events+uint64(r.b.Len()+r.pending()) == 0 {
		return r.noEvent()
	}
	if !r.freeText && 2*r.understood() < r.nonEmpty {
		return r.syntaxError(fmt.Sprintf("%d of %d lines are no %s events", r.bad+r.other, r.nonEmpty, r.hdr.Source))
	}
	return nil
}

// noEvent says that the input holds no event, and as far as it is known why.
func (r *lineReader) noEvent() error {
	msg := ""
	if r.noEvents != nil {
		msg = r.noEvents()
	} else {
		msg = fmt.Sprintf("no %s event in %d lines", r.hdr.Source, r.nonEmpty)
	}
	return r.syntaxError(msg)
}

// syntaxError returns an error at the line read last. To an input that was said
// to be of this format and does not look so it adds what it looks like.
func (r *lineReader) syntaxError(msg string) *trace.SyntaxError {
	if r.in.looks != "" {
		if msg != "" {
			msg += ": "
		}
		msg += "it looks like " + r.in.looks
	}
	return &trace.SyntaxError{File: r.in.Name, Line: r.lines.line, Msg: msg}
}

// maxLine bounds a line; the rest of a longer one is passed over. maxLongLine
// bounds that rest: what has no line ends at all is no log.
const (
	maxLine     = 1 << 20
	maxLongLine = 64 << 20
)

var errLongLine = errors.New("a line goes on for more than 64 MiB: this is no text")

// lineScanner cuts a stream into lines without copying them.
type lineScanner struct {
	r          io.Reader
	buf        []byte
	start, end int
	line       uint64 // number of the line returned last
	torn       bool   // the line returned last had no end
	err        error
}

// next returns the next line without its end ("\n" or "\r\n"). It is valid
// until the next call.
func (s *lineScanner) next() ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(s.buf[s.start+scanned:s.end], '\n'); i >= 0 {
			line := s.buf[s.start : s.start+scanned+i]
			s.start += scanned + i + 1
			s.line++
			return trimCR(line), nil
		}
		scanned = s.end - s.start
		if s.err != nil {
			if scanned > 0 && s.err == io.EOF {
				line := s.buf[s.start:s.end]
				s.start = s.end
				s.line++
				s.torn = true
				return trimCR(line), nil
			}
			return nil, s.err
		}
		if scanned > maxLine {
			return s.longLine()
		}
		s.fill()
	}
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// fill reads more behind what is buffered.
func (s *lineScanner) fill() {
	if s.buf == nil {
		s.buf = make([]byte, 256<<10)
	}
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.start, s.end = 0, s.end-s.start
	}
	if s.end == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if s.err = err; n > 0 || err != nil {
			return
		}
	}
	s.err = io.ErrNoProgress
}

// longLine returns the first part of a line that is too long and passes over
// the rest of it.
func (s *lineScanner) longLine() ([]byte, error) {
	line := bytes.Clone(s.buf[s.start : s.start+maxLine])
	s.line++
	for passed := 0; ; {
		if i := bytes.IndexByte(s.buf[s.start:s.end], '\n'); i >= 0 {
			s.start += i + 1
			return line, nil
		}
		passed += s.end - s.start
		s.start, s.end = 0, 0
		if s.err != nil {
			return line, nil
		}
		if passed > maxLongLine {
			s.err = errLongLine
			return nil, s.err
		}
		s.fill()
	}
}

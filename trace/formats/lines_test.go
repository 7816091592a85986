package formats

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
)

// chunks gives its pieces one by one and then an error.
type chunks struct {
	pieces [][]byte
	err    error
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.pieces) == 0 {
		return 0, c.err
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func scanAll(r io.Reader) (lines []string, s *lineScanner, err error) {
	s = &lineScanner{r: r}
	for {
		line, err := s.next()
		if err != nil {
			return lines, s, err
		}
		lines = append(lines, string(line))
	}
}

// TestLineScanner cuts texts into lines and into pieces at random.
func TestLineScanner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-c\r]{0,9}`)).Draw(t, "lines")
		text := strings.Join(lines, "\n")
		rest := []byte(text)
		src := &chunks{err: io.EOF}
		for len(rest) > 0 {
			n := rapid.IntRange(0, len(rest)).Draw(t, "piece")
			src.pieces = append(src.pieces, rest[:n])
			rest = rest[n:]
		}
		want := strings.Split(text, "\n")
		torn := want[len(want)-1] != ""
		if !torn {
			want = want[:len(want)-1]
		}
		for i := range want {
			want[i] = strings.TrimSuffix(want[i], "\r")
		}
		got, s, err := scanAll(src)
		if err != io.EOF || !slices.Equal(got, want) || s.line != uint64(len(want)) || s.torn != torn {
			t.Fatalf("got %q, line %d, torn %v, %v, want %q, torn %v", got, s.line, s.torn, err, want, torn)
		}
	})
}

func TestLineScannerLong(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	for _, tt := range []struct {
		name, in string
		want     []int // lengths of the lines
	}{
		{"between", "a\n" + long + "\nb\n", []int{1, maxLine, 1}},
		{"first and last", long, []int{maxLine}},
		{"as long as allowed", "a\n" + long[:maxLine] + "\nb\n", []int{1, maxLine, 1}},
		{"two", long + "\n" + long + "\n", []int{maxLine, maxLine}},
	} {
		got, s, err := scanAll(strings.NewReader(tt.in))
		var lengths []int
		for _, line := range got {
			lengths = append(lengths, len(line))
		}
		if err != io.EOF || !slices.Equal(lengths, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, lengths, err, tt.want)
		}
		if len(s.buf) > 4*maxLine {
			t.Errorf("%s: buffer of %d bytes", tt.name, len(s.buf))
		}
	}
	if _, s, err := scanAll(&endless{text: "x"}); err != errLongLine || len(s.buf) > 4*maxLine {
		t.Errorf("endless line: %v, buffer of %d bytes", err, len(s.buf))
	}
}

func TestLineScannerErrors(t *testing.T) {
	broken := errors.New("broken")
	// What stands before the error is given if its line is complete.
	got, _, err := scanAll(&chunks{pieces: [][]byte{[]byte("a\nb")}, err: broken})
	if err != broken || !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, _, err := scanAll(idle{}); err != io.ErrNoProgress {
		t.Errorf("reader that gives nothing: %v", err)
	}
}

// idle reads nothing, without an error.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// TestReadError reads a trace that breaks off in the middle: the error names
// the place, stays, and leaves the block empty.
func TestReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	src := io.MultiReader(strings.NewReader("a 0 5\nf 0\n"), iotest.ErrReader(broken))
	// More than is read ahead at the opening.
	src = io.MultiReader(strings.NewReader(strings.Repeat("a 0 5\nf 0\n", SniffBytes)), src)
	r, err := Open("-", src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b trace.Block
	for err = r.Next(&b); err == nil; err = r.Next(&b) {
	}
	for range 2 {
		var syntax *trace.SyntaxError
		if !errors.As(err, &syntax) || !errors.Is(err, broken) || syntax.Line != 2*SniffBytes+2 || b.Len() != 0 {
			t.Errorf("error %v with %d events", err, b.Len())
		}
		err = r.Next(&b)
	}
}

// TestStrictError reads on after a line that is an error: it stays one.
func TestStrictError(t *testing.T) {
	r, err := Open("-", strings.NewReader("a 0 5\nf 0\nhello\na 1 5\n"), Options{From: "ops"})
	if err != nil {
		t.Fatal(err)
	}
	var b trace.Block
	for range 3 {
		var syntax *trace.SyntaxError
		if err := r.Next(&b); !errors.As(err, &syntax) || syntax.Line != 3 || b.Len() != 0 {
			t.Errorf("error %v with %d events, want one at line 3", err, b.Len())
		}
	}
}

// TestTornCompressed reads a gzip stream without its end: an error, but for
// the formats whose recorders are killed.
func TestTornCompressed(t *testing.T) {
	packed := packGzip(t, strings.Repeat("a 0 5\nf 0\n", 100))
	_, _, err := readText(strings.NewReader(packed[:len(packed)-9]), Options{})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}

// TestClose closes the file with the reader.
func TestClose(t *testing.T) {
	closed := 0
	in := &Input{Name: "x", r: bytes.NewReader(nil), close: func() error { closed++; return nil }}
	for i, f := range []func(*Input, Options) (trace.Reader, error){openOps, openRep, openMtrace, openMemoryReplay, openValgrind} {
		r, err := f(in, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil || closed != i+1 {
			t.Errorf("reader %d: closed %d times, %v", i, closed, err)
		}
	}
}

// TestEmptyAtEnd asks for more after the end.
func TestEmptyAtEnd(t *testing.T) {
	r, err := Open("-", strings.NewReader("a 0 5\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b trace.Block
	if err := r.Next(&b); err != nil || b.Len() != 1 || r.Header().Complete {
		t.Errorf("first block: %d events, %v, complete %v", b.Len(), err, r.Header().Complete)
	}
	for range 3 {
		if err := r.Next(&b); err != io.EOF || b.Len() != 0 || !r.Header().Complete {
			t.Errorf("at the end: %d events, %v, complete %v", b.Len(), err, r.Header().Complete)
		}
	}
}

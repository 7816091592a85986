// Package formats reads allocation logs as other tools and programs write
// them, and writes traces as text. One row of the Formats table and one file
// per format; everything the formats have in common is here and in emit.go.
//
// Every reader streams: it keeps a table of the live objects and of the call
// sites, never the events. Reading follows common rules: see the emitter.
package formats

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/store"
)

// Format is one kind of input.
type Format struct {
	Name string   // as --from and Header.Source name it
	Doc  string   // one line: what writes it
	Exts []string // usual file name extensions, for help only; content decides
	// Sniff reports whether a file that begins with head (at most SniffBytes,
	// decompressed) is of this format.
	Sniff func(head []byte) bool
	// Open starts reading a stream. Nil for the stored form, which needs
	// random access.
	Open func(in *Input, o Options) (trace.Reader, error)
}

// SniffBytes is how much of an input a Sniff function sees at most.
const SniffBytes = 64 << 10

// Formats is the table of the formats that can be read, in the order they are
// tried: of two that match, the first wins.
var Formats = []Format{
	{Name: "parquet", Doc: "fragprof's own stored trace", Exts: []string{".parquet"}, Sniff: store.Sniff},
	{Name: "ops", Doc: "text form: a ID SIZE [ALIGN], r ID SIZE, f ID", Exts: []string{".ops"}, Sniff: sniffOps, Open: openOps},
}

// Options say how to read what a file does not say itself. The zero Options
// detect everything.
type Options struct {
	From string // name of a format; "" detects it from the content
}

// UnknownFormatError is returned when no format of that name exists.
type UnknownFormatError struct {
	Name  string
	Known []string
}

func (e *UnknownFormatError) Error() string { return fmt.Sprintf("unknown trace format %q", e.Name) }

// Lookup returns the format of the given name, or an *UnknownFormatError.
func Lookup(name string) (*Format, error) {
	known := make([]string, len(Formats))
	for i := range Formats {
		if Formats[i].Name == name {
			return &Formats[i], nil
		}
		known[i] = Formats[i].Name
	}
	return nil, &UnknownFormatError{Name: name, Known: known}
}

// Open opens a trace file of any format, compressed or not; "-" is stdin. The
// reader owns the file and Close closes it.
func Open(path string, stdin io.Reader, o Options) (trace.Reader, error) {
	if path == "-" {
		return open(stdin, nil, "standard input", o)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil {
		return nil, errors.Join(err, f.Close())
	} else if st.IsDir() {
		return nil, errors.Join(fmt.Errorf("%s is a directory: name the trace files in it", path), f.Close())
	}
	r, err := open(f, f, path, o)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// open detects the format of r and starts it. file is r if r is a file, and
// owned by the returned reader.
func open(r io.Reader, file *os.File, name string, o Options) (trace.Reader, error) {
	var want *Format
	if o.From != "" {
		f, err := Lookup(o.From)
		if err != nil {
			return nil, err
		}
		want = f
	}
	plain, err := decompress(r)
	if err != nil {
		return nil, &trace.SyntaxError{File: name, Err: err}
	}
	buffered := bufio.NewReaderSize(plain, SniffBytes)
	head, err := buffered.Peek(SniffBytes)
	if len(head) == 0 {
		if err != nil && err != io.EOF {
			return nil, &trace.SyntaxError{File: name, Err: err}
		}
		return nil, &trace.SyntaxError{File: name, Msg: "is empty"}
	}
	if want == nil {
		if want, err = detect(head, name); err != nil {
			return nil, err
		}
	}
	if want.Open == nil {
		if file != nil && plain == io.Reader(file) {
			return store.Open(file)
		}
		return store.OpenStream(buffered, name)
	}
	in := &Input{Name: name, r: buffered}
	if file != nil {
		in.close = file.Close
	}
	return want.Open(in, o)
}

// detect returns the format of a file from its first bytes.
func detect(head []byte, name string) (*Format, error) {
	for i := range Formats {
		if f := &Formats[i]; f.Sniff != nil && f.Sniff(head) {
			return f, nil
		}
	}
	return nil, refuse(head, name)
}

// Input is a decompressed stream with the name error messages give it.
type Input struct {
	Name  string
	r     io.Reader
	close func() error
}

// Source is a trace.Source over a file that is read anew each time.
type fileSource struct {
	path   string
	o      Options
	header *trace.Header
}

func (s *fileSource) Header() *trace.Header       { return s.header }
func (s *fileSource) Open() (trace.Reader, error) { return Open(s.path, nil, s.o) }

// Load reads a trace once and returns it as a Source with complete counts.
// Traces up to limit bytes of columns are kept in memory; larger ones are read
// from the file again by each Open. Standard input larger than limit is
// refused with advice. each is called with every block on the way and may be
// nil.
func Load(path string, stdin io.Reader, o Options, limit int64, each func(*trace.Block)) (trace.Source, error) {
	r, err := Open(path, stdin, o)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	o.From = r.Header().Source
	keep := true
	var blocks []*trace.Block
	var counter trace.Counter
	b := new(trace.Block)
	for {
		err := r.Next(b)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		counter.Block(b)
		if each != nil {
			each(b)
		}
		if limit -= int64(b.Len()) * trace.EventBytes; keep && limit < 0 {
			keep, blocks = false, nil
			if path == "-" {
				return nil, errors.New("standard input is too large to be read twice: save it to a file, or convert it to Parquet first")
			}
		}
		if keep {
			blocks = append(blocks, b)
			b = new(trace.Block)
		}
	}
	h := *r.Header()
	h.Summary, h.Complete = counter.Summary(), true
	if keep {
		return trace.NewMemory(&h, blocks), nil
	}
	return &fileSource{path: path, o: o, header: &h}, nil
}

// Kinds of files people offer that hold no events.
var refusals = []struct {
	sniff  func(head []byte) bool
	is, do string
}{
	{func(h []byte) bool { return hasPrefix(h, "\x7fELF") }, "an ELF program, not a trace of one", "record it first, for example with heaptrack or glibc's mtrace"},
}

// refuse says what a file is that no format matches, and what to do about it.
func refuse(head []byte, name string) error {
	for i := range refusals {
		if r := &refusals[i]; r.sniff(head) {
			return &trace.SyntaxError{File: name, Msg: "is " + r.is + ": " + r.do}
		}
	}
	if i := slices.Index(head, 0); i >= 0 {
		return &trace.SyntaxError{File: name, Off: int64(i), Msg: "is binary data of no known trace format"}
	}
	first, _, _ := strings.Cut(string(head[:min(len(head), 200)]), "\n")
	return &trace.SyntaxError{File: name, Line: 1, Msg: fmt.Sprintf("no known trace format begins with %.60q: name one with --from, or describe the lines with --from regex", first)}
}

func hasPrefix(b []byte, p string) bool { return len(b) >= len(p) && string(b[:len(p)]) == p }

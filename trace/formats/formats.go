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
	// Processes says that the format names processes: Options.PID applies.
	Processes bool
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
	{Name: "rep", Doc: "traces of malloc labs: four numbers, then a ID SIZE, r ID SIZE, f ID", Exts: []string{".rep"}, Sniff: sniffRep, Open: openRep},
	{Name: "mtrace", Doc: "glibc's mtrace() (MALLOC_TRACE)", Exts: []string{".mtrace"}, Sniff: sniffMtrace, Open: openMtrace},
	{Name: "memory_replay", Doc: "Android's memory_replay and record_allocs", Exts: []string{".txt", ".zip"}, Sniff: sniffMemoryReplay, Open: openMemoryReplay},
	{Name: "valgrind", Doc: "valgrind --trace-malloc=yes", Exts: []string{".vg", ".log"}, Sniff: sniffValgrind, Processes: true, Open: openValgrind},
	{Name: "heaptrack", Doc: "heaptrack, raw or interpreted (its own libstdc++ adds a block of 0x11c00 bytes)", Exts: []string{".raw.zst", ".zst", ".gz"}, Sniff: sniffHeaptrack, Open: openHeaptrack},
	{Name: "hrec", Doc: "text of an LD_PRELOAD recorder: NS TID CALL PTR ... CALLER", Exts: []string{".hrec.txt"}, Sniff: sniffHrec, Open: openHrec},
	{Name: "freertos", Doc: "FreeRTOS hooks that print traceMALLOC: 0xADDR [SIZE], traceFREE: 0xADDR [SIZE]", Exts: []string{".log", ".txt"}, Sniff: sniffFreertos, Open: openFreertos},
	{Name: regexFormat, Doc: "lines of a log that regular expressions describe", Open: openRegex},
}

// Options say how to read what a file does not say itself. The zero Options
// detect everything.
type Options struct {
	From string // name of a format; "" detects it from the content
	// PID is the process whose events are read from a log of several; zero
	// takes the one with most events, or the first if the input can be read
	// only once. Formats that name no processes refuse it.
	PID uint64
	// Sizes says what the sizes of the trace count, against what the source
	// says or is taken to mean; nil leaves that as it is.
	Sizes *trace.SizeKind
	// PtrBits is the pointer width of the recorded program, 16, 32 or 64,
	// against what the source says; zero leaves that as it is.
	PtrBits int
	// Program is the name of the recorded program, against what the source
	// says; "" leaves that as it is.
	Program string
	// Regex describes the lines of the input to the regex format, which it
	// implies; nil for all others.
	Regex *Regex
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
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Regex != nil {
		o.From = regexFormat
	}
	tr, err := start(r, file, name, o)
	if err != nil {
		return nil, err
	}
	return o.override(tr), nil
}

// start is open without the options that hold for all formats.
func start(r io.Reader, file *os.File, name string, o Options) (trace.Reader, error) {
	var want *Format
	if o.From != "" {
		f, err := Lookup(o.From)
		if err != nil {
			return nil, err
		}
		want = f
	}
	plain, moreFiles, err := decompress(r)
	if err != nil {
		return nil, &trace.SyntaxError{File: name, Err: err}
	}
	buffered := bufio.NewReaderSize(plain, SniffBytes)
	head, err := buffered.Peek(SniffBytes)
	if hasPrefix(head, utf8BOM) {
		if _, err := buffered.Discard(len(utf8BOM)); err != nil {
			return nil, &trace.SyntaxError{File: name, Err: err}
		}
		head = head[len(utf8BOM):]
	}
	if len(head) == 0 {
		if err != nil && err != io.EOF {
			return nil, &trace.SyntaxError{File: name, Err: err}
		}
		return nil, &trace.SyntaxError{File: name, Msg: "is empty"}
	}
	looks := ""
	if want == nil {
		if want, err = detect(head, name); err != nil {
			return nil, err
		}
	} else if want.Sniff != nil && !want.Sniff(head) {
		looks = looksLike(head)
	}
	if o.PID != 0 && !want.Processes {
		return nil, fmt.Errorf("read %s: process %d asked for, but the %s format names no processes", name, o.PID, want.Name)
	}
	if want.Open == nil {
		if file != nil && plain == io.Reader(file) {
			return store.Open(file)
		}
		return store.OpenStream(buffered, name)
	}
	in := &Input{Name: name, r: buffered, moreFiles: moreFiles, looks: looks}
	if file != nil {
		in.close = file.Close
		if st, err := file.Stat(); err == nil && st.Mode().IsRegular() {
			in.again = func() (io.ReadCloser, error) { return reopen(name) }
		}
	}
	return want.Open(in, o)
}

// utf8BOM is what Windows programs put before text in UTF-8.
const utf8BOM = "\xef\xbb\xbf"

// reopen opens a file a second time, decompressed.
func reopen(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	plain, _, err := decompress(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{plain, f}, nil
}

// detect returns the format of a file from its first bytes.
func detect(head []byte, name string) (*Format, error) {
	if f := sniff(head); f != nil {
		return f, nil
	}
	return nil, refuse(head, name)
}

// sniff returns the first format that head matches, or nil.
func sniff(head []byte) *Format {
	for i := range Formats {
		if f := &Formats[i]; f.Sniff != nil && f.Sniff(head) {
			return f
		}
	}
	return nil
}

// Input is a decompressed stream with the name error messages give it.
type Input struct {
	Name  string
	r     io.Reader
	close func() error

	// again opens the same input a second time, for a reader that has to
	// count before it reads. Nil if the input can be read only once.
	again func() (io.ReadCloser, error)
	// looks says what the content looks like if the format was named and the
	// content is not of it; "" otherwise.
	looks string
	// moreFiles reports, once the stream has ended, whether the archive it
	// came from holds further files. Nil if it came from none.
	moreFiles func() bool
}

func hasPrefix(b []byte, p string) bool { return len(b) >= len(p) && string(b[:len(p)]) == p }

package formats

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/fragprof/fragprof/trace"
)

// fuzzReader adds the goldens of a format as seeds and checks what its reader
// makes of any input.
func fuzzReader(f *testing.F, format string) {
	logs, err := filepath.Glob("testdata/" + format + "-*.in")
	if err != nil || len(logs) == 0 {
		f.Fatalf("%d logs, %v", len(logs), err)
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text[:min(len(text), 2000)])
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkInput(t, input, Options{From: format}) })
}

func FuzzRep(f *testing.F)          { fuzzReader(f, "rep") }
func FuzzMtrace(f *testing.F)       { fuzzReader(f, "mtrace") }
func FuzzMemoryReplay(f *testing.F) { fuzzReader(f, "memory_replay") }
func FuzzValgrind(f *testing.F)     { fuzzReader(f, "valgrind") }

// FuzzOpen lets the content decide, compressed or not.
func FuzzOpen(f *testing.F) {
	logs, err := filepath.Glob("testdata/*.in")
	if err != nil || len(logs) == 0 {
		f.Fatalf("%d logs, %v", len(logs), err)
	}
	for i, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			f.Fatal(err)
		}
		text = text[:min(len(text), 1000)]
		f.Add(text)
		c := compressors[i%len(compressors)]
		f.Add([]byte(c.pack(f, string(text))))
	}
	f.Add([]byte(bzip2Ops))
	f.Add([]byte(packGzip(f, packGzip(f, plainOps))))
	f.Add([]byte(packXz(f, strings.Repeat(plainOps, 100), xz.WriterConfig{BlockSize: 300})))
	f.Add([]byte(packZip(f, zipEntry{name: "d/"}, zipEntry{name: "x", method: zip.Store, text: plainOps, sumFirst: true}, zipEntry{name: "y", method: zip.Deflate})))
	f.Add([]byte(zip64(plainOps)))
	f.Fuzz(func(t *testing.T, input []byte) { checkInput(t, input, Options{}) })
}

// maxFuzzText bounds how much a fuzzed input may decompress to before the rest
// is left unread: megabytes of a small gzip would only slow the search down.
const maxFuzzText = 4 << 20

// checkInput reads an input to its end and checks what must hold of any: no
// panic, memory in proportion to what was read, events by the rules of a
// trace, counts that agree with them, and a text form that is read back as the
// same.
func checkInput(t *testing.T, input []byte, o Options) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	text, h, err := readBounded(input, o)
	runtime.ReadMemStats(&after)
	// What a reader may allocate: what decompression reserves, a block and
	// the buffers, and for each byte read some bytes of tables.
	const reserve, perByte = 2*maxWindow + 64<<20, 256
	if used := after.TotalAlloc - before.TotalAlloc; used > reserve+perByte*uint64(len(input)+len(text)) {
		t.Errorf("%d bytes allocated for %d bytes of input and %d of events", used, len(input), len(text))
	}
	if err != nil {
		return
	}
	if !h.Complete || h.Summary.Events != uint64(strings.Count(text, "\n")) {
		t.Errorf("complete %v, %d events, want %d", h.Complete, h.Summary.Events, strings.Count(text, "\n"))
	}
	again, _, err := readText(strings.NewReader(text), Options{From: "ops"})
	if err != nil || again != text {
		t.Errorf("%q is read back as %q, %v", text, again, err)
	}
}

// readBounded is readText for input that may be a bomb.
func readBounded(input []byte, o Options) (string, *trace.Header, error) {
	r, err := Open("-", bytes.NewReader(input), o)
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	err = WriteOps(&limited{&out, maxFuzzText}, trace.Validated(r))
	return out.String(), r.Header(), err
}

// limited fails once more than left bytes have been written.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, io.ErrShortWrite
	}
	return l.w.Write(p)
}

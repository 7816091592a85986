package formats

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// pad returns text with zero bytes behind it, to n bytes.
func pad(text string, n int) string { return text + strings.Repeat("\x00", n-len(text)) }

// TestRefusals has a row for each row of the table, in its order.
func TestRefusals(t *testing.T) {
	ustar := pad("trace.txt", 257) + pad("ustar\x0000", 255) + "a 0 5\n"
	windows := []byte(pad("MZ\x90", 132))
	windows[60] = 128
	copy(windows[128:], "PE\x00\x00")
	tests := []struct{ name, head, is, do string }{
		{"massif", "desc: --massif-out-file=m\ncmd: ./prog -x\ntime_unit: i\n#-----------\nsnapshot=0\n", "massif profile", "--trace-malloc=yes"},
		{"DHAT", "{\"dhatFileVersion\":2\n,\"mode\":\"heap\"}", "DHAT profile", "--trace-malloc=yes"},
		{"callgrind", "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\n", "callgrind profile", "heaptrack"},
		{"old callgrind", "version: 1\ncreator: callgrind-3.19.0\n", "callgrind profile", "heaptrack"},
		{"gperftools", "heap profile:     10:     1024 [    20:   4096] @ heapprofile\n", "heap profile", "heaptrack"},
		{"jemalloc", "heap_v2/524288\n  t*: 1: 2 [0: 0]\n", "heap profile", "heaptrack"},
		{"pprof", "\x0a\x04\x08\x01\x10\x02\x0a\x04\x08\x03\x10\x04", "pprof profile", "heaptrack"},
		{"JavaScript", "{\"snapshot\":{\"meta\":{}}}", "heap snapshot", "heaptrack"},
		{"memcheck", "==77== Memcheck, a memory error detector\n==77== Command: x\n", "valgrind log without", "--trace-malloc=yes"},
		{"heaptrack_print", "reading file \"heaptrack.x.zst\"\nMOST CALLS TO ALLOCATION FUNCTIONS\n", "heaptrack_print", "heaptrack file"},
		{"perf.data", "PERFILE2\x68\x00\x00\x00", "perf.data", "perf script"},
		{"perf script", "git 77 [001] 12.345678: kmem:kmalloc: call_site=x ptr=0xff bytes_req=5 bytes_alloc=8\n", "kmem events", "not read yet"},
		{"ftrace", "# tracer: nop\n  git-77 [001] ..... 12.3: kmalloc: call_site=x ptr=00000000ab bytes_req=5\n", "kmem events", "not read yet"},
		{"ltrace", "26261 libsqlite3.so.0->malloc(48)                = 0x563decefe2a0\n", "ltrace", "not read yet"},
		{"ltrace unfinished", "3855 edge->malloc(100 <unfinished ...>\n3855 <... malloc resumed> )  = 0x7f48a4000b70\n", "ltrace", "not read yet"},
		{"logalloc", "1 1 calloc(4,42)=#3\n1 1 realloc(#3,84)=#2\n", "logalloc", "not read yet"},
		{"logalloc without threads", "512 malloc(42)=0x7f00\n512 free(0x7f00)\n", "logalloc", "not read yet"},
		{"Mbed OS", "start\n#m:0x20003240;0x600d-50\n#f:0x0;0x602f-0x20003240\n", "Mbed OS", "preset mbed"},
		{"NuttX", "init-1 [0] 3.1: tracing_mark_write: C|1|Heap Usage|96|malloc: heap: 0x1 size:96, address: 0x2\n", "NuttX", "preset nuttx"},
		{"SystemView", "[0.002] HEAP: Allocated 5 bytes @ 0x3ffb from task \"main\" on core 0 by:\n", "ESP-IDF", "not read yet"},
		{"heap_trace_dump", "====== Heap Trace: 3 records (100 capacity) ======\n", "ESP-IDF", "blocks, not events"},
		{"wee_alloc", "Alloc(5),\nFree(0),\n", "wee_alloc", "not read yet"},
		{"minimalloc", "id,lower,upper,size\nb1,0,3,4\n", "minimalloc", "not read yet"},
		{"mtr", "\x00\x00\x00\x00\xff\x00\x00\x00\x34\x12" + strings.Repeat("\x00", 54), "glibc-malloc-trace-utils", "not read yet"},
		{"strace", "execve(\"/bin/ls\", [\"ls\"], 0x7ffd) = 0\n", "strace", "record"},
		{"strace with processes", "77 mmap(NULL, 8192, PROT_READ) = 0x7f00\n", "system calls", "record"},
		{"ELF", "\x7fELF\x02\x01\x01", "ELF program", "record"},
		{"Windows", string(windows), "Windows program", "record"},
		{"Mach-O", "\xcf\xfa\xed\xfe\x07\x00\x00\x01", "macOS program", "record"},
		{"tar", ustar, "tar archive", "unpack"},
		{"7z", "7z\xbc\xaf\x27\x1c\x00\x04", "archive", "unpack"},
		{"lz4", "\x04\x22\x4d\x18\x64\x40", "compressed", "decompress"},
		{"compress", "\x1f\x9d\x90\x61", "compressed", "decompress"},
		{"PNG", "\x89PNG\r\n\x1a\n", "picture", "log"},
		{"PDF", "%PDF-1.7\n", "PDF", "log"},
		{"SQLite", "SQLite format 3\x00", "SQLite", "log"},
		{"Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS", "git lfs pull"},
		{"HTML", "\n<!DOCTYPE html>\n<html>", "web page", "download"},
		{"XML", "<?xml version=\"1.0\"?>\n<valgrindoutput>", "XML", "log"},
		{"UTF-16 with a mark", "\xff\xfea\x00 \x000\x00 \x005\x00\n\x00", "UTF-16", "iconv"},
		{"UTF-16 without a mark", "a\x00 \x000\x00 \x005\x00\n\x00", "UTF-16", "iconv"},
		{"JSON object", " {\"traceEvents\":[]}", "JSON", "log"},
		{"JSON array", "[\n  {\"ph\":\"X\"}\n]", "JSON", "log"},
		{"other binary", "abc\x00\x01\x02", "byte 3: is binary data", ""},
		{"other text", "Dear diary,\nhello\n", "begins with \"Dear diary,\"", "--from regex"},
	}
	hit := map[*refusal]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open("-", strings.NewReader(tt.head), Options{})
			var syntax *trace.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("error %v, want a SyntaxError", err)
			}
			if msg := err.Error(); !strings.HasPrefix(msg, "standard input") || !strings.Contains(msg, tt.is) || !strings.Contains(msg, tt.do) {
				t.Errorf("error %q, want one with %q and %q", msg, tt.is, tt.do)
			}
		})
		hit[findRefusal([]byte(tt.head))] = true
	}
	for i := range refusals {
		if !hit[&refusals[i]] {
			t.Errorf("no test of the refusal of %s", refusals[i].is)
		}
	}
}

// endless gives the same text again and again.
type endless struct {
	text string
	at   int
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	e.read += n
	return n, nil
}

// TestWrongFrom reads inputs without end under a wrong name: every format must
// find out soon, and say what the input looks like if that is known.
func TestWrongFrom(t *testing.T) {
	const allowed = maxLongLine + 4*maxLine
	inputs := []struct {
		name, text string
		isFormat   string // the format it is of; "" for none
		looks      string
	}{
		{"heaptrack", "v 10400 3\nX prog\n+ 5 1 10\n- 10\n", "heaptrack", "looks like heaptrack"},
		{"memory_replay", "4242: malloc 0x10 5\n4242: free 0x10\n", "memory_replay", "looks like memory_replay"},
		{"valgrind", "--7-- malloc(5) = 0x10\n--7-- free(0x10)\n", "valgrind", "looks like valgrind"},
		{"mtrace", "@ p:[0x1] + 0x10 0x5\n@ p:[0x1] - 0x10\n", "mtrace", "looks like mtrace"},
		{"program", pad("\x7fELF\x02\x01\x01", 4096), "", "ELF program"},
		{"zeros", pad("", 4096), "", "binary data"},
		{"JSON", "{\"a\": [1, 2, 3], \"b\": {\"c\": 4}}\n", "", "JSON"},
		{"text", "It was a dark and stormy night\n", "", ""},
	}
	for _, in := range inputs {
		for i := range Formats {
			f := &Formats[i]
			if f.Open == nil || f.Sniff == nil || f.Name == in.isFormat {
				continue
			}
			t.Run(in.name+" as "+f.Name, func(t *testing.T) {
				t.Parallel()
				src := &endless{text: in.text}
				_, _, err := readText(src, Options{From: f.Name})
				if err == nil || !strings.Contains(err.Error(), in.looks) {
					t.Errorf("error %v, want one with %q", err, in.looks)
				}
				if src.read > allowed {
					t.Errorf("%d bytes read", src.read)
				}
			})
		}
	}
}

func TestOpenErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		o          Options
		err        string
	}{
		{name: "no file", path: "testdata/nothing", err: "no such file"},
		{name: "folder", path: "testdata", err: "testdata is a directory"},
		{name: "empty file", path: empty, err: "empty: is empty"},
		{name: "unknown format", path: empty, o: Options{From: "mtrac"}, err: `unknown trace format "mtrac"`},
		{name: "process of a format without", path: "-", o: Options{PID: 7}, err: "names no processes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(tt.path, strings.NewReader("a 0 5\n"), tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want one with %q", err, tt.err)
			}
		})
	}
}

func TestByteOrderMark(t *testing.T) {
	got, _, err := readText(strings.NewReader("\xef\xbb\xbfa 0 5\nf 0\n"), Options{})
	if err != nil || got != "a 0 5\nf 0\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, _, err := readText(strings.NewReader("\xef\xbb\xbf"), Options{}); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("error %v, want one that it is empty", err)
	}
}

// TestBusiestProcessTie takes the first of two processes with as many events.
func TestBusiestProcessTie(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tie.vg")
	if err := os.WriteFile(path, []byte("--8-- malloc(8) = 0x10\n--7-- malloc(7) = 0x10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b trace.Block
	if err := r.Next(&b); err != nil || b.Len() != 1 || b.Size[0] != 8 {
		t.Errorf("sizes %v, %v, want 8", b.Size, err)
	}
}

// TestBusiestProcess reads a log of two processes, of which the second has
// more events, from a file and from a stream.
func TestBusiestProcess(t *testing.T) {
	var log bytes.Buffer
	log.WriteString("==7== Command: sh -c prog\n==8== Command: prog\n--7-- malloc(5) = 0x10\n--7-- free(0x10)\n")
	// The second process begins long after the first block has gone out.
	for range trace.BlockEvents {
		log.WriteString("--7-- malloc(1) = 0x20\n--7-- free(0x20)\n")
	}
	for range trace.BlockEvents + 7 {
		log.WriteString("--8-- malloc(2) = 0x20\n--8-- free(0x20)\n")
	}
	path := filepath.Join(t.TempDir(), "two.vg")
	if err := os.WriteFile(path, log.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	const events7, events8 = 2 * (trace.BlockEvents + 1), 2 * (trace.BlockEvents + 7)
	tests := []struct {
		name           string
		path           string
		o              Options
		events, others uint64
		program        string
	}{
		{"file", path, Options{}, events8, events7, "prog"},
		{"file, process asked for", path, Options{PID: 7}, events7, events8, "sh -c prog"},
		{"stream", "-", Options{}, events7, events8, "sh -c prog"},
		{"stream, process asked for", "-", Options{PID: 8}, events8, events7, "prog"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Open(tt.path, bytes.NewReader(log.Bytes()), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			m, ok, err := trace.ReadAll(trace.Validated(r), 1<<40)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			h := m.Header()
			if h.Summary.Events != tt.events || h.Loss[trace.LossOtherProcess] != tt.others || h.Program != tt.program {
				t.Errorf("%d events of %q and %d of others, want %d of %q and %d", h.Summary.Events, h.Program, h.Loss[trace.LossOtherProcess], tt.events, tt.program, tt.others)
			}
		})
	}
}

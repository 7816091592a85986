package formats

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/fragprof/fragprof/trace"
)

const (
	rawHead         = "v 10400 3\nx e /usr/bin/hello\nX hello world\nI 1000 5e298f\nm 1 -\nm 1 x 400000 0 1000\nm e /lib/libc.so.6 7f0000000000 0 1000\n"
	interpretedHead = "v 10400 3\nX hello world\nI 1000 5e298f\ns e /usr/bin/hello\ns e /lib/libc.so.6\ns 4 main\ns a /src/app.c\ns 4 open\n"
)

func TestHeaptrack(t *testing.T) {
	runReaderCases(t, "heaptrack", []readerCase{
		{
			name: "raw", in: rawHead + "t 400010 0\nt 7f0000000020 1\n+ 11c00 2 601000\n+ a 2 602000\n- 601000\n",
			want: "a 0 72704\na 1 10\nf 0\n",
		},
		{
			name: "realloc is a free and an alloc", in: rawHead + "t 400010 0\n+ 10 1 601000\n- 601000\n+ 20 1 601000\n",
			want: "a 0 16\nf 0\na 1 32\n",
		},
		{
			name: "missed free of a realloc to nothing", in: rawHead + "t 400010 0\n+ 10 1 601000\n+ 20 1 601000\n- 601000\n",
			want: "a 0 16\nf 0\na 1 32\nf 1\n", loss: "implicit_frees=1",
		},
		{
			name: "free from before", in: rawHead + "t 400010 0\n- 600000\n+ 10 1 601000\n",
			want: "a 0 16\n", loss: "unknown_frees=1",
		},
		{
			name: "attached, leak suppression, trailing comment", in: rawHead + "A\nt 400010 0\n+ 10 1 601000\nR 3e8\nS leak:x\n# bye\n",
			want: "a 0 16\n",
		},
		{
			name: "version 2", in: "v 10250 2\nx /usr/bin/hello\nX hello\nm -\nm x 400000 0 1000\nt 400010 0\n+ 10 1 601000\n- 601000\n",
			want: "a 0 16\nf 0\n",
		},
		{
			name: "version 0 has no version line", in: "x /usr/bin/hello\nm -\nm x 400000 0 1000\nt 400010 0\n+ 10 1 601000\n- 601000\n",
			want: "a 0 16\nf 0\n",
		},
		{
			name: "interpreted", in: interpretedHead + "i 400010 1 3\nt 1 0\na 10 1\n+ 0\na 20 1\n+ 1\n+ 0\n- 1\n- 0\n",
			want: "a 0 16\na 1 32\na 2 16\nf 1\nf 0\n", loss: "approximate_frees=1",
		},
		{
			name: "oldest of a class first", in: interpretedHead + "a 10 0\n+ 0\n+ 0\n+ 0\n- 0\n- 0\n+ 0\n- 0\n- 0\n- 0\n",
			want: "a 0 16\na 1 16\na 2 16\nf 0\nf 1\na 3 16\nf 2\nf 3\n", loss: "unknown_frees=1 approximate_frees=3",
		},
		{
			name: "interpreted version 0 has addresses", in: "X hello\ns /usr/bin/hello\ni 400010 1\nt 1 0\n+ 10 1 601000\n+ 20 1 602000\n- 601000\n",
			want: "a 0 16\na 1 32\nf 0\n",
		},
		{
			name: "class that is not there", in: interpretedHead + "a 10 0\n+ 0\n+ 1\n- 1\n",
			want: "a 0 16\n", loss: "unparsed_lines=2",
		},
		{
			name: "bad lines keep the numbers of others", in: interpretedHead + "a zz 0\na 10 0\na\na 20 0\n+ 1\n+ 3\n+ 0\n",
			want: "a 0 16\na 1 32\n", loss: "unparsed_lines=3",
		},
		{
			name: "forms do not mix", in: rawHead + "t 400010 0\n+ 10 1 601000\na 10 1\n+ 0\n- 601000\n",
			want: "a 0 16\nf 0\n", loss: "unparsed_lines=1",
		},
		{
			name: "stack node that is its own parent", in: rawHead + "t 400010 1\nt 400020 9\nt 400030 0\n+ 10 1 601000\n+ 10 3 602000\n",
			want: "a 0 16\na 1 16\n", loss: "unparsed_lines=2",
		},
		{
			name: "numbers too long, huge sizes, junk", in: rawHead + "+ 10 0 601000\n+ 11111111111111111 0 602000\n+ ffffffffffffffff 0 603000\n- x\n? 1 2\n+\nc fffffffffffffff\n",
			want: "a 0 16\n", loss: "unparsed_lines=6",
		},
		{
			name: "cut line at the end", in: rawHead + "+ 10 0 601000\n+ 20",
			want: "a 0 16\n", loss: "truncated=1",
		},
		{name: "newer version", in: "v 20000 4\nX hello\n+ 10 0 601000\n", err: "standard input:1: heaptrack file version 4 is newer"},
		{name: "nothing recorded", in: rawHead, err: "no heaptrack event"},
		{name: "mostly junk", in: rawHead + "+ 10 0 601000\n" + strings.Repeat("? 1 2\n", 100), err: "are no heaptrack events"},
	})
}

func TestHeaptrackDetected(t *testing.T) {
	tests := []struct {
		name, head string
		want       bool
	}{
		{"version 3", rawHead, true},
		{"version 2, CRLF", "v 10250 2\r\n", true},
		{"version 0", "x /usr/bin/a\nX a\nm -\nm x 400000 0 1000\nt 400010 0\n+ 10 1 601000\n- 601000\n+ 1", true},
		{"no call stack", "+ 10 1 601000\n- 601000\n", false},
		{"vertices of a mesh", "v 1 2 3\nv 2 3 4\n", false},
		{"version cut", "v 10400", false},
		{"stack of other things", "t hello there\nx 1\n", false},
		{"text form", "a 0 5\nf 0\n", false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		if got := sniffHeaptrack([]byte(tt.head)); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestHeaptrackSites(t *testing.T) {
	reset := "m 1 -\nm 1 x 400000 0 1000\nm 10 /lib/libother.so 7f0000000000 0 1000\n"
	tests := []struct {
		name, in string
		want     []string
	}{
		{
			"raw, innermost first", rawHead + "t 400010 0\nt 7f0000000020 1\nt 9999 2\n+ 1 3 601000\n+ 1 1 602000\n+ 1 0 603000\n",
			[]string{"", "0x9999 < libc.so.6+0x20 < hello+0x10", "hello+0x10"},
		},
		{
			"modules of the node's time", rawHead + "t 7f0000000020 0\n" + reset + "t 7f0000000020 0\nt 7f0000000030 1\n+ 1 2 601000\n+ 1 1 602000\n+ 1 3 603000\n",
			[]string{"", "libother.so+0x20", "libc.so.6+0x20", "libother.so+0x30 < libc.so.6+0x20"},
		},
		{
			"list of modules nobody saw", "v 10400 3\nm 1 -\nm e /lib/libc.so.6 7f0000000000 0 1000\n" + reset + "t 7f0000000020 0\n+ 1 1 601000\n",
			[]string{"", "libother.so+0x20"},
		},
		{
			"program loaded at its link address", "v 10400 3\nx e /usr/bin/hello\nm 1 x 0 400000 1000\nt 400010 0\nt 401000 0\n+ 1 1 601000\n+ 1 2 602000\n",
			[]string{"", "hello+0x400010", "0x401000"},
		},
		{
			"one site for one name", rawHead + "t 400010 0\nt 400010 0\n+ 1 1 601000\n+ 1 2 602000\n",
			[]string{"", "hello+0x10"},
		},
		{
			"eight frames", rawHead + "t 1 0\nt 2 1\nt 3 2\nt 4 3\nt 5 4\nt 6 5\nt 7 6\nt 8 7\nt 9 8\n+ 1 9 601000\n",
			[]string{"", "0x9 < 0x8 < 0x7 < 0x6 < 0x5 < 0x4 < 0x3 < 0x2"},
		},
		{
			"interpreted, inlined functions", interpretedHead + "i 400010 1 5 4 c 3 4 20\ni 7f0000000020 2\ni 400030 1 3\nt 3 0\nt 1 1\nt 2 2\nt 7 3\na 1 3\n+ 0\na 1 4\n+ 1\n",
			[]string{"", "libc.so.6@0x7f0000000020 < open (app.c:12) < main (app.c:32) < main", "? < libc.so.6@0x7f0000000020 < open (app.c:12) < main (app.c:32) < main"},
		},
		{
			"unreadable addresses keep the numbers of others", interpretedHead + "i zz\ni 400010 1 3\nt 2 0\nt 1 0\na 1 1\n+ 0\na 1 2\n+ 1\n",
			[]string{"", "main", "@0x0"},
		},
		{
			"control characters", "v 10250 2\nx /bin/a\x1b[31mb\nm x 0 0 1000\nt 10 0\n+ 1 1 601000\n",
			[]string{"", "a\uFFFD[31mb+0x10"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, h, err := readText(strings.NewReader(tt.in), Options{From: "heaptrack"})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(h.Sites, tt.want) || !h.HasSite {
				t.Errorf("got sites %q, want %q", h.Sites, tt.want)
			}
		})
	}
}

func TestHeaptrackHeader(t *testing.T) {
	tests := []struct {
		name, in, program string
		bits              int
		last              int64 // ns
		timed             bool
	}{
		{name: "command line", in: rawHead + "+ 1 0 7f0000601000\n", program: "hello world", bits: 64},
		{name: "no command line", in: "v 10400 3\nx e /usr/bin/hello\nt 10 0\n+ 1 0 601000\n", program: "/usr/bin/hello", bits: 32},
		{name: "heap below 4 GiB in a 64-bit program", in: rawHead + "t 7f0000000020 0\n+ 1 1 601000\n", program: "hello world", bits: 64},
		{name: "interpreted", in: interpretedHead + "i 7f0000000020 1\nt 1 0\na 1 1\n+ 0\n", program: "hello world", bits: 64},
		{name: "clock", in: rawHead + "+ 1 0 1000\nc a\n+ 1 0 2000\nc 14\n+ 1 0 3000\n", program: "hello world", bits: 32, last: 20e6, timed: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, h, err := readText(strings.NewReader(tt.in), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if h.Program != tt.program || h.PtrBits != tt.bits || h.HasTime != tt.timed || h.Summary.LastTime != tt.last || h.Summary.FirstTime != 0 {
				t.Errorf("got %+v", h)
			}
		})
	}
}

// TestHeaptrackTorn reads what a killed recorder leaves: a zstd stream without
// its end.
func TestHeaptrackTorn(t *testing.T) {
	var log bytes.Buffer
	log.WriteString(rawHead)
	for i := range 20_000 {
		fmt.Fprintf(&log, "+ %x 0 %x\n", i%977, 0x601000+uint64(i)*0x9e37)
	}
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	// Blocks end where the recorder's buffer was flushed.
	for chunk := range slices.Chunk(log.Bytes(), 32<<10) {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole, _, err := readText(strings.NewReader(packed.String()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	torn, h, err := readText(strings.NewReader(packed.String()[:packed.Len()*2/3]), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if h.Loss[trace.LossTruncated] != 1 || h.Loss.Any() != true {
		t.Errorf("lost %q, want it truncated", lossText(h.Loss))
	}
	if len(torn) < len(whole)/2 || len(torn) >= len(whole) || !strings.HasPrefix(whole, torn) {
		t.Errorf("%d bytes of events of %d: not a large first part", len(torn), len(whole))
	}
}

// TestHeaptrackBounds holds the tables of a reader to their bounds: a hostile
// file names more modules and strings than any program has.
func TestHeaptrackBounds(t *testing.T) {
	r := newLineReader(&Input{Name: "x"}, "heaptrack")
	p := &heaptrackParser{e: &r.emitter, r: r, file: heaptrackVersion}
	r.begin(new(trace.Block))
	line := []byte("m 1 y 1000" + strings.Repeat(" 0 1000", 1000))
	for range 2 * maxModules / 1000 {
		p.parse(line)
	}
	if p.modules.count != maxModules || len(p.modules.epochs[0].segments) != maxModules {
		t.Errorf("%d segments, want %d", p.modules.count, maxModules)
	}
	text := []byte("s 100000 " + strings.Repeat("x", 1<<20))
	for range 2 * maxTextBytes >> 20 {
		p.parse(text)
	}
	if len(p.symbols.text) > maxTextBytes || len(p.symbols.ends) != 2*maxTextBytes>>20 {
		t.Errorf("%d bytes of %d strings, want at most %d", len(p.symbols.text), len(p.symbols.ends), maxTextBytes)
	}
	frames := []byte("i 1000 1" + strings.Repeat(" 1 1 1", 100_000))
	for range 2 * maxStrings / 100_000 {
		p.parse(frames)
	}
	if len(p.symbols.frames) != maxStrings {
		t.Errorf("%d frames, want %d", len(p.symbols.frames), maxStrings)
	}
}

func FuzzHeaptrack(f *testing.F) {
	f.Add([]byte(rawHead + "t 400010 0\nt 7f0000000020 1\n+ 11c00 2 601000\nc a\n- 601000\n"))
	f.Add([]byte(interpretedHead + "i 400010 1 3 4 c\nt 1 0\na 10 1\n+ 0\n+ 0\n- 0\nc a\n"))
	f.Add([]byte("m -\nm x 400000 0 1000\nt 400010 0\n+ 10 1 601000\n- 601000\n"))
	fuzzReader(f, "heaptrack")
}

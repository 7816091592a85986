package formats

import (
	"slices"
	"strings"
	"testing"
)

func TestHrec(t *testing.T) {
	runReaderCases(t, "hrec", []readerCase{
		{
			name: "every call",
			in: "0 1 malloc 0x1000 10 0x40\n5 1 calloc 0x2000 3 7 0x41\n9 1 memalign 0x3000 64 100 0x42\n" +
				"12 1 rb 0x1000 20 0x43\n15 1 re 0x4000 0x1000 20 0x43\n20 1 free 0x2000 0x44\n21 1 realloc 0x5000 0x3000 9 0x45\n",
			want: "a 0 10\na 1 21\na 2 100 64\nr 0 20\nf 1\nr 2 9\n",
		},
		{
			name: "realloc of null", in: "0 1 rb 0x0 20 0x43\n1 1 re 0x4000 0x0 20 0x43\n2 1 free 0x4000 0x43\n",
			want: "a 0 20\nf 0\n",
		},
		{
			name: "address taken by another thread between the halves",
			in:   "0 1 malloc 0x1000 10 0x40\n1 1 rb 0x1000 20 0x43\n2 2 malloc 0x1000 30 0x40\n3 1 re 0x2000 0x1000 20 0x43\n4 2 free 0x1000 0x44\n5 1 free 0x2000 0x44\n",
			want: "a 0 10\na 1 30\nr 0 20\nf 1\nf 0\n",
		},
		{
			name: "two threads in realloc at once",
			in:   "0 1 malloc 0x1000 1 0x40\n1 1 malloc 0x2000 2 0x40\n2 1 rb 0x1000 3 0x43\n3 2 rb 0x2000 4 0x43\n4 1 re 0x2000 0x1000 3 0x43\n5 2 re 0x1000 0x2000 4 0x43\n6 1 free 0x1000 0x44\n",
			want: "a 0 1\na 1 2\nr 0 3\nr 1 4\nf 1\n",
		},
		{
			name: "realloc that failed", in: "0 1 malloc 0x1000 10 0x40\n1 1 rb 0x1000 20 0x43\n2 1 re 0x0 0x1000 20 0x43\n3 1 free 0x1000 0x44\n",
			want: "a 0 10\nf 0\n", loss: "failed_allocs=1",
		},
		{
			name: "realloc to nothing is a free", in: "0 1 malloc 0x1000 10 0x40\n1 1 rb 0x1000 0 0x43\n2 1 re 0x0 0x1000 0 0x43\n3 1 free 0x1000 0x44\n",
			want: "a 0 10\nf 0\n", loss: "unknown_frees=1",
		},
		{
			name: "realloc of an unknown object", in: "0 1 rb 0x1000 20 0x43\n1 1 re 0x2000 0x1000 20 0x43\n2 1 rb 0x3000 0 0x43\n3 1 re 0x0 0x3000 0 0x43\n4 1 rb 0x5000 1 0x43\n5 1 re 0x0 0x5000 1 0x43\n",
			want: "a 0 20\n", loss: "unknown_frees=1 unknown_reallocs=1 failed_allocs=1",
		},
		{
			name: "end without begin", in: "0 1 malloc 0x1000 10 0x40\n1 1 re 0x2000 0x1000 20 0x43\n2 1 free 0x2000 0x44\n",
			want: "a 0 10\nr 0 20\nf 0\n", loss: "unmatched_halves=1",
		},
		{
			name: "begin without end", in: "0 1 malloc 0x1000 10 0x40\n1 1 rb 0x1000 20 0x43\n2 1 rb 0x0 5 0x43\n3 1 re 0x2000 0x0 5 0x43\n4 1 free 0x1000 0x44\n",
			want: "a 0 10\na 1 5\nf 0\n", loss: "unmatched_halves=1",
		},
		{
			name: "begin without end, address taken", in: "0 1 malloc 0x1000 10 0x40\n1 1 rb 0x1000 20 0x43\n2 2 malloc 0x1000 30 0x40\n3 2 free 0x1000 0x44\n4 2 malloc 0x1000 40 0x40\n",
			want: "a 0 10\na 1 30\nf 1\na 2 40\nf 0\n", loss: "unmatched_halves=1",
		},
		{
			name: "end of another realloc", in: "0 1 malloc 0x1000 1 0x40\n1 1 malloc 0x2000 2 0x40\n2 1 rb 0x1000 3 0x43\n3 1 re 0x3000 0x2000 4 0x43\n4 1 free 0x1000 0x44\n",
			want: "a 0 1\na 1 2\nr 1 4\nf 0\n", loss: "unmatched_halves=2",
		},
		{
			name: "calls that failed", in: "0 1 malloc 0x0 10 0x40\n0 1 calloc 0x0 1 1 0x40\n0 1 calloc 0x10 4294967296 4294967296 0x40\n1 1 malloc 0x1000 1 0x40\n2 1 free 0x0 0x40\n",
			want: "a 0 1\n", loss: "failed_allocs=3 null_frees=1",
		},
		{
			name: "clock and alignment", in: "9 1 memalign 0x1000 48 1 0x40\n5 1 malloc 0x2000 1 0x40\n",
			want: "a 0 1\na 1 1\n", loss: "bad_alignments=1 bad_times=1",
		},
		{
			name: "unreadable lines",
			in: "0 1 malloc 0x1000 10 0x40\n0 1 malloc 0x2000 10\n0 1 malloc 0x2000 -1 0x40\n0 1 mallox 0x2000 10 0x40\n0 1 free 0x1000 0x40 1\n" +
				"0 1 malloc 2000 10 0x40\n1 1 re 0x2000 10 0x40\n1 1 free 0x1000 0x44\n1 1 malloc 0x1000 1 0x40\n1 1 free 0x1000 0x44\n2 1 malloc 0x1000 1 0x40\n2 1 free 0x1000 0x44\n",
			want: "a 0 10\nf 0\na 1 1\nf 1\na 2 1\nf 2\n", loss: "unparsed_lines=6",
		},
		{
			name: "cut line", in: "0 1 malloc 0x1000 10 0x40\n1 1 free 0x1000 0x44\n2 1 mall",
			want: "a 0 10\nf 0\n", loss: "truncated=1",
		},
		{name: "other text", in: "hello\nworld\n", err: "no hrec event"},
	})
}

func TestHrecHeader(t *testing.T) {
	log := "100 7 malloc 0x1000 10 0x7f0000000040\n105 9 malloc 0x2000 1 0xfffffffff7d74acb\n110 7 free 0x1000 0x7f0000000040\n"
	_, h, err := readText(strings.NewReader(log), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "0x7f0000000040", "0xf7d74acb"}; !slices.Equal(h.Sites, want) {
		t.Errorf("got sites %q, want %q", h.Sites, want)
	}
	if s := h.Summary; h.Source != "hrec" || h.PtrBits != 64 || !h.HasTime || !h.HasThread || s.Threads != 2 || s.FirstTime != 0 || s.LastTime != 10 {
		t.Errorf("header %+v", h)
	}
	// A caller whose sign was extended does not make a 32-bit program wider.
	_, h, err = readText(strings.NewReader("0 1 malloc 0x1000 10 0xfffffffff7d74acb\n"), Options{})
	if err != nil || h.PtrBits != 32 {
		t.Errorf("got %d bits, %v, want 32", h.PtrBits, err)
	}
}

func TestHrecDetected(t *testing.T) {
	tests := []struct {
		name, head string
		want       bool
	}{
		{"one line", "0 1 malloc 0x1000 10 0x40\n", true},
		{"half of the lines", "hello\n\n0 1 free 0x1000 0x40\n", true},
		{"few of the lines", "hello\nthere\n0 1 free 0x1000 0x40\n", false},
		{"no addresses", "0 1 malloc 1000 10 40\n", false},
		{"cut in the line", "0 1 malloc 0x1000 10", false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		if got := sniffHrec([]byte(tt.head)); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func FuzzHrec(f *testing.F) {
	f.Add([]byte("0 1 malloc 0x1000 10 0x40\n5 1 calloc 0x2000 3 7 0x41\n9 2 memalign 0x3000 64 100 0x42\n12 1 rb 0x1000 20 0x43\n15 1 re 0x4000 0x1000 20 0x43\n20 1 free 0x2000 0x44\n"))
	f.Add([]byte("0 1 rb 0x1000 20 0x43\n0 2 rb 0x1000 20 0x43\n0 1 realloc 0x1000 0x0 1 0x43\n1 2 re 0x1000 0x1000 0 0x40\n"))
	fuzzReader(f, "hrec")
}

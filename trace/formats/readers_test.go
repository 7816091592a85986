package formats

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fragprof/fragprof/trace"
)

// readerCase is a log and what a reader must make of it.
type readerCase struct {
	name, in string
	o        Options
	want     string // the events as text
	loss     string // what was dropped or repaired, as lossText prints it
	err      string // part of the error; want and loss are not compared
}

// lossText prints what is not zero in l, in the order of the kinds.
func lossText(l trace.Loss) string {
	var words []string
	for kind, n := range l {
		if n != 0 {
			words = append(words, fmt.Sprintf("%s=%d", trace.LossKind(kind).Key(), n))
		}
	}
	return strings.Join(words, " ")
}

// readText reads a log through a Validator and returns its events as text.
func readText(src io.Reader, o Options) (string, *trace.Header, error) {
	r, err := Open("-", src, o)
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	err = WriteOps(&out, trace.Validated(r))
	return out.String(), r.Header(), err
}

// runReaderCases reads each case three ways, which must give the same: whole,
// a byte at a time, and with the line ends of Windows.
func runReaderCases(t *testing.T, format string, cases []readerCase) {
	ways := []struct {
		name string
		src  func(text string) io.Reader
	}{
		{"whole", func(text string) io.Reader { return strings.NewReader(text) }},
		{"bytewise", func(text string) io.Reader { return iotest.OneByteReader(strings.NewReader(text)) }},
		{"CRLF", func(text string) io.Reader { return strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")) }},
	}
	for _, tt := range cases {
		for _, way := range ways {
			t.Run(tt.name+"/"+way.name, func(t *testing.T) {
				o := tt.o
				o.From = format
				got, h, err := readText(way.src(tt.in), o)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("error %v, want one with %q", err, tt.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got != tt.want {
					t.Errorf("got\n%swant\n%s", got, tt.want)
				}
				if loss := lossText(h.Loss); loss != tt.loss {
					t.Errorf("loss %q, want %q", loss, tt.loss)
				}
			})
		}
	}
}

func TestRep(t *testing.T) {
	runReaderCases(t, "rep", []readerCase{
		{name: "alloc, realloc, free", in: "20000\n2\n4\n1\na 0 512\na 1 128\nr 0 640\nf 0\nf 1\n", want: "a 0 512\na 1 128\nr 0 640\nf 0\nf 1\n"},
		{name: "three header lines", in: "20000\n1\n2\na 0 5\nf 0\n", want: "a 0 5\nf 0\n"},
		{name: "no header", in: "a 0 5\nf 0\n", want: "a 0 5\nf 0\n"},
		{name: "blank lines and blanks", in: "20000\n\n 1\n2 \n1\n\n  \na 0  5\n f 0 \n", want: "a 0 5\nf 0\n"},
		{name: "five header lines", in: "1\n2\n3\n4\n5\na 0 5\nf 0\n", want: "a 0 5\nf 0\n", loss: "unparsed_lines=1"},
		{name: "number between operations", in: "a 0 5\n7\nf 0\n", want: "a 0 5\nf 0\n", loss: "unparsed_lines=1"},
		{name: "IDs in any order, reused", in: "a 7 5\na 3 6\nf 7\na 7 8\nf 7\n", want: "a 0 5\na 1 6\nf 0\na 2 8\nf 2\n"},
		{name: "free of null", in: "a 0 5\nf -1\nf 0\n", want: "a 0 5\nf 0\n", loss: "null_frees=1"},
		{name: "other negative ID", in: "a 0 5\nf -2\nf 0\n", want: "a 0 5\nf 0\n", loss: "unparsed_lines=1"},
		{name: "alloc without a size", in: "a 0 5\na 7 \na 8\nf 7\nf 0\n", want: "a 0 5\nf 0\n", loss: "unparsed_lines=2 unknown_frees=1"},
		{name: "realloc of an ID never allocated", in: "r 0 16\nr 0 20\nf 0\n", want: "a 0 16\nr 0 20\nf 0\n", loss: "unknown_reallocs=1"},
		{name: "realloc to 0 frees", in: "a 0 5\nr 0 0\na 0 6\n", want: "a 0 5\nf 0\na 1 6\n"},
		{name: "realloc of nothing to 0", in: "r 0 0\nf 0\n", want: "a 0 0\nf 0\n", loss: "unknown_reallocs=1"},
		{name: "alloc of a live ID", in: "a 0 5\na 0 6\nf 0\n", want: "a 0 5\nf 0\na 1 6\nf 1\n", loss: "implicit_frees=1"},
		{name: "free twice", in: "a 0 5\nf 0\nf 0\n", want: "a 0 5\nf 0\n", loss: "unknown_frees=1"},
		{name: "size 0", in: "a 0 0\nf 0\n", want: "a 0 0\nf 0\n"},
		{name: "size over 64 bits", in: "a 0 5\na 1 18446744073709551616\nf 0\n", want: "a 0 5\nf 0\n", loss: "unparsed_lines=1"},
		{name: "size over 62 bits", in: "a 0 5\na 1 18446744073709551615\nr 0 9223372036854775808\nf 0\n", want: "a 0 5\nf 0\n", loss: "unparsed_lines=2"},
		{name: "foreign lines", in: "a 0 5\nhello\n# text\nf 0\na 1 1\n", want: "a 0 5\nf 0\na 1 1\n", loss: "other_lines=2"},
		{name: "no end of the last line", in: "a 0 5\nf 0", want: "a 0 5\nf 0\n"},
		{name: "mostly unreadable", in: "a 0 5\nx\ny\nz\n", err: "3 of 4 lines are no rep events"},
		{name: "header only", in: "1\n2\n3\n", err: "no rep event in 3 lines"},
		{name: "empty", in: "", err: "is empty"},
	})
}

func TestMtrace(t *testing.T) {
	runReaderCases(t, "mtrace", []readerCase{
		{
			name: "every operation", in: "= Start\n@ ./edge:[0x127a] + 0x55bdf14082a0 0x29\n@ ./edge:[0x127a] < 0x55bdf14082a0\n@ ./edge:[0x127a] > 0x55bdf14084c0 0x40\n@ ./edge:[0x127b] - 0x55bdf14084c0\n= End\n",
			want: "a 0 41\nr 0 64\nf 0\n",
		},
		{name: "without call sites", in: "= Start\n+ 0x10 0x8\n- 0x10\n", want: "a 0 8\nf 0\n"},
		{name: "blanks in the object path", in: "@ /home/a b/- 0x1 prog:(main+0x5)[0x9] + 0x10 0x8\n@ /home/a b/+ x:[0x9] - 0x10\n", want: "a 0 8\nf 0\n"},
		{name: "upper-case digits", in: "@ p:[0x1] + 0XAB 0XF\n@ p:[0x1] - 0xab\n", want: "a 0 15\nf 0\n"},
		{name: "failed malloc", in: "@ p:[0x1] + (nil) 0x4000000000000000\n@ p:[0x1] + 0x10 0x8\n", want: "a 0 8\n", loss: "failed_allocs=1"},
		{name: "size 0 has no prefix", in: "@ p:[0x1] + 0x10 0\n", want: "a 0 0\n"},
		{name: "size with neither", in: "@ p:[0x1] + 0x10 8\n@ p:[0x1] + 0x10 0x8\n", want: "a 0 8\n", loss: "unparsed_lines=1"},
		{name: "failed realloc", in: "+ 0x10 0x8\n! 0x10 0x800\n- 0x10\n", want: "a 0 8\nf 0\n", loss: "failed_allocs=1"},
		{name: "failed realloc in two lines", in: "+ 0x10 0x8\n< 0x10\n> (nil) 0x800\n- 0x10\n", want: "a 0 8\nf 0\n", loss: "failed_allocs=1"},
		{name: "realloc of a block never seen", in: "< 0x10\n> 0x20 0x8\n- 0x20\n", want: "a 0 8\nf 0\n", loss: "unknown_reallocs=1"},
		{name: "realloc of null", in: "< (nil)\n> 0x20 0x8\n- 0x20\n", want: "a 0 8\nf 0\n"},
		{name: "realloc in place", in: "+ 0x10 0x8\n< 0x10\n> 0x10 0x9\n- 0x10\n", want: "a 0 8\nr 0 9\nf 0\n"},
		{name: "realloc onto a live block", in: "+ 0x10 0x8\n+ 0x20 0x8\n< 0x10\n> 0x20 0x9\n- 0x20\n", want: "a 0 8\na 1 8\nf 1\nr 0 9\nf 0\n", loss: "implicit_frees=1"},
		{name: "alloc at a live address", in: "+ 0x10 0x8\n+ 0x10 0x9\n- 0x10\n", want: "a 0 8\nf 0\na 1 9\nf 1\n", loss: "implicit_frees=1"},
		{name: "another alloc takes the old address", in: "+ 0x10 0x8\n< 0x10\n+ 0x10 0x5\n> 0x20 0x9\n- 0x10\n- 0x20\n", want: "a 0 8\na 1 5\nr 0 9\nf 1\nf 0\n"},
		{name: "second half missing", in: "+ 0x10 0x8\n< 0x10\n+ 0x20 0x5\n< 0x20\n> 0x30 0x6\n- 0x10\n", want: "a 0 8\na 1 5\nr 1 6\nf 0\n", loss: "unmatched_halves=1"},
		{name: "second half missing before a free", in: "+ 0x10 0x8\n< 0x10\n- 0x10\n> 0x20 0x6\n", want: "a 0 8\nf 0\na 1 6\n", loss: "unmatched_halves=2"},
		{name: "second half missing at the end", in: "+ 0x10 0x8\n< 0x10\n", want: "a 0 8\n", loss: "unmatched_halves=1"},
		{name: "first half missing", in: "+ 0x10 0x8\n> 0x20 0x9\n- 0x20\n", want: "a 0 8\na 1 9\nf 1\n", loss: "unmatched_halves=1"},
		{name: "second half with an impossible size", in: "+ 0x10 0x8\n< 0x10\n> 0x20 0xffffffffffffffff\n- 0x10\n", want: "a 0 8\nf 0\n", loss: "unparsed_lines=1"},
		{name: "unknown free", in: "+ 0x10 0x8\n- 0x30\n- (nil)\n", want: "a 0 8\n", loss: "unknown_frees=1 null_frees=1"},
		{name: "second start", in: "= Start\n+ 0x10 0x8\n+ 0x20 0x9\n< 0x20\n= Start\n+ 0x10 0x5\n= End\n", want: "a 0 8\na 1 9\nf 0\nf 1\na 2 5\n", loss: "unmatched_halves=1 restarts=1"},
		{name: "second start with nothing live", in: "= Start\n+ 0x10 0x8\n- 0x10\n= Start\n+ 0x10 0x5\n", want: "a 0 8\nf 0\na 1 5\n"},
		{name: "foreign and damaged lines", in: "+ 0x10 0x8\nhello world\n= Middle\n@ p:[0x1] + 0x10\n@ p:[0x1] ? 0x10 0x5\n- 0x10\n+ 0x10 0x1\n- 0x10\n+ 0x20 0x1\n", want: "a 0 8\nf 0\na 1 1\nf 1\na 2 1\n", loss: "unparsed_lines=2 other_lines=2"},
		{name: "other output in front", in: "done.@ p:[0x1] + 0x10 0x8\nok - 0x10\n", want: "a 0 8\nf 0\n"},
		{name: "cut line in front", in: "@ p:[0x1] + 0x10 0x@ p:[0x1] + 0x20 0x8\n@ p:[0x@ p:[0x2] - 0x20\n@ /a@ b/p:[0x1] + 0x20 0x9\n", want: "a 0 8\nf 0\na 1 9\n", loss: "unparsed_lines=2"},
		{name: "cut last line, unreadable", in: "+ 0x10 0x8\n- 0x10\n@ p:[0x1", want: "a 0 8\nf 0\n", loss: "truncated=1"},
		{name: "cut last line, readable", in: "+ 0x10 0x8\n- 0x10", want: "a 0 8\nf 0\n", loss: "truncated=1"},
		{name: "start and end only", in: "= Start\n= End\n", err: "no mtrace event in 2 lines"},
	})
}

func TestMtraceSites(t *testing.T) {
	const log = "= Start\n" +
		"@ /usr/bin/cc1:(_Znwm+1c)[0x15dbc8c] + 0x10 0x30\n" +
		"@ ./a@ prog@@V1:[0x9] + 0x20 0x30\n" +
		"a@b + 0x30 0x30\n" +
		"@ /usr/bin/cc1:(_Znwm+1c)[0x15dbc8c] - 0x20\n" +
		"= Start\n"
	r, err := Open("-", strings.NewReader(log), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b trace.Block
	if err := r.Next(&b); err != nil {
		t.Fatal(err)
	}
	h := r.Header()
	if h.Source != "mtrace" || !h.HasSite || h.HasThread || h.HasTime {
		t.Errorf("header %+v", h)
	}
	want := []string{"/usr/bin/cc1:(_Znwm+1c)[0x15dbc8c]", "./a@ prog@@V1:[0x9]", "", "/usr/bin/cc1:(_Znwm+1c)[0x15dbc8c]", "", ""}
	if b.Len() != len(want) {
		t.Fatalf("%d events, want %d", b.Len(), len(want))
	}
	for i, name := range want {
		if got := h.SiteName(b.Site[i]); got != name {
			t.Errorf("event %d: site %q, want %q", i, got, name)
		}
	}
}

func TestMemoryReplay(t *testing.T) {
	runReaderCases(t, "memory_replay", []readerCase{
		{
			name: "every call", in: "4242: malloc 0x5581e0 10\n4242: calloc 0x1000 3 5\n4243: memalign 0x2000 64 7\n4242: realloc 0x5581e0 0x0 1624\n4242: realloc 0x3000 0x5581e0 9\n4242: free 0x3000\n4242: thread_done 0x0\n",
			want: "a 0 10\na 1 15\na 2 7 64\nf 0\na 3 1624\nr 3 9\nf 3\n", loss: "implicit_frees=1",
		},
		{name: "times", in: "1: malloc 0x10 5 100 110\n1: free 0x10 120 130\n1: thread_done 0x0 140\n", want: "a 0 5\nf 0\n"},
		{name: "one time, and further numbers", in: "1: malloc 0x10 5 100\n1: calloc 0x20 2 3 100 110 7 8 9\n1: free 0x10 120\n", want: "a 0 5\na 1 6\nf 0\n"},
		{name: "times going back", in: "1: malloc 0x10 5 100 110\n2: malloc 0x20 5 100 105\n", want: "a 0 5\na 1 5\n", loss: "bad_times=1"},
		{name: "words behind", in: "1: malloc 0x10 5\n1: malloc 0x20 5 x\n1: free 0x10 5x\n1: free 0x10\n1: malloc 0x30 1 \n", want: "a 0 5\nf 0\na 1 1\n", loss: "unparsed_lines=2"},
		{name: "pointers without a prefix", in: "1: malloc AB 5\n1: free 0\n1: free ab\n", want: "a 0 5\nf 0\n", loss: "null_frees=1"},
		{name: "failed calls", in: "1: malloc 0x0 5\n1: malloc 0x10 5\n1: realloc 0x0 0x10 99\n1: memalign 0x0 8 8\n1: free 0x10\n", want: "a 0 5\nf 0\n", loss: "failed_allocs=3"},
		{name: "realloc to 0", in: "1: malloc 0x10 5\n1: realloc 0x0 0x10 0\n1: malloc 0x20 5\n1: realloc 0x20 0x20 0\n", want: "a 0 5\nf 0\na 1 5\nr 1 0\n"},
		{name: "calloc overflows", in: "1: calloc 0x10 4294967296 4294967296\n1: malloc 0x20 1\n", want: "a 0 1\n", loss: "failed_allocs=1"},
		{name: "unknown blocks", in: "1: free 0x10\n1: realloc 0x20 0x30 5\n1: free 0x20\n", want: "a 0 5\nf 0\n", loss: "unknown_frees=1 unknown_reallocs=1"},
		{name: "alignment no power of two", in: "1: memalign 0x10 24 5\n1: memalign 0x20 0 5\n1: memalign 0x30 8589934592 5\n", want: "a 0 5\na 1 5\na 2 5\n", loss: "bad_alignments=2"},
		{name: "alignment of a call before is not kept", in: "1: memalign 0x10 64 5\n1: malloc 0x20 5\n", want: "a 0 5 64\na 1 5\n"},
		{name: "size 0", in: "1: malloc 0x10 0\n", want: "a 0 0\n"},
		{name: "negative size", in: "1: malloc 0x10 5\n1: malloc 0x20 -5\n1: malloc 0x30 18446744073709551611\n1: free 0x10\n1: free 0x0\n", want: "a 0 5\nf 0\n", loss: "unparsed_lines=2 null_frees=1"},
		{name: "foreign and damaged lines", in: "hello\n1: mal\n1: malloc 0x10 5\n1: malloc 0x20\n1:free 0x10\n1: free 0x10\n1: thread_done 0x0\n1: free 0x0\n", want: "a 0 5\nf 0\n", loss: "unparsed_lines=2 other_lines=2 null_frees=1"},
		{name: "other output in front", in: "I/libc: 5: 1: malloc 0x10 5\n12:30:45.678 1: free 0x10\n", want: "a 0 5\nf 0\n"},
		{name: "cut last line", in: "1: malloc 0x10 5\n1: free 0x1", want: "a 0 5\n", loss: "unknown_frees=1 truncated=1"},
		{name: "threads ending only", in: "1: thread_done 0x0\n", err: "no memory_replay event in 1 lines"},
	})
}

func TestMemoryReplayTimesAndThreads(t *testing.T) {
	const log = "70: malloc 0x10 5 100 130\n71: malloc 0x20 5 110 140\n70: free 0x10 150 190\n72: free 0x0 160 200\n71: free 0x20 170 210\n"
	r, err := Open("-", strings.NewReader(log), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b trace.Block
	if err := r.Next(&b); err != nil {
		t.Fatal(err)
	}
	h := r.Header()
	if h.Source != "memory_replay" || !h.HasThread || !h.HasTime || h.HasSite || h.PtrBits != 32 {
		t.Errorf("header %+v", h)
	}
	// An allocation counts when it ended, a free when it began.
	wantTime, wantThread := []int64{0, 10, 20, 40}, []uint32{0, 1, 0, 1}
	for i := range wantTime {
		if b.Time[i] != wantTime[i] || b.Thread[i] != wantThread[i] {
			t.Errorf("event %d: time %d thread %d, want %d %d", i, b.Time[i], b.Thread[i], wantTime[i], wantThread[i])
		}
	}
}

func TestValgrind(t *testing.T) {
	runReaderCases(t, "valgrind", []readerCase{
		{
			name: "every call", in: "==7== Command: prog -x\n--7-- malloc(5) = 0x4A42040\n--7-- calloc(13,16) = 0x4F670B0\n--7-- realloc(0x4A42040,9) = 0x4A42050\n--7-- realloc(0x0,7)malloc(7) = 0x4A42060\n--7-- memalign(al 64, size 100) = 0x4A42080\n--7-- malloc_usable_size(0x4A42080) = 100\n--7-- free(0x4A42050)\n==7== HEAP SUMMARY:\n",
			want: "a 0 5\na 1 208\nr 0 9\na 2 7\na 3 100 64\nf 0\n", loss: "other_lines=2",
		},
		{name: "new and delete", in: "--7-- _Znwm(48) = 0x10\n--7-- _ZnamRKSt9nothrow_t(40) = 0x20\n--7-- _ZdlPv(0x10)\n--7-- _ZdaPvm(0x20)\n--7-- _ZnwmSt11align_val_t(size 32, al 128) = 0x30\n--7-- _ZdlPvmSt11align_val_t(0x30,32,128)\n", want: "a 0 48\na 1 40\nf 0\nf 1\na 2 32 128\nf 2\n"},
		{name: "calls of newer versions", in: "--7-- aligned_alloc(al 64, size 100) = 0x10\n--7-- posix_memalign(size 5, al 16) = 0x20\n--7-- free_sized(0x10, 100)\n", want: "a 0 100 64\na 1 5 16\nf 0\n"},
		{name: "realloc to 0", in: "--7-- malloc(5) = 0x10\n--7-- realloc(0x10,0)free(0x10)\n--7--  = 0\n--7-- malloc(5) = 0x10\n--7-- realloc(0x10,0) = 0x20\n", want: "a 0 5\nf 0\na 1 5\nr 1 0\n"},
		{name: "failed calls", in: "--7-- malloc(5) = 0x10\n--7-- malloc(18446744073709551615) = 0x0\n--7-- realloc(0x10,9223372036854775807) = 0x0\n--7-- realloc(0x0,99)malloc(99) = 0x0\n--7-- free(0x10)\n", want: "a 0 5\nf 0\n", loss: "failed_allocs=3"},
		{name: "product overflows", in: "--7-- calloc(4294967296,4294967296) = 0x10\n--7-- malloc(1) = 0x20\n", want: "a 0 1\n", loss: "failed_allocs=1"},
		{name: "free of null and of nothing known", in: "--7-- malloc(5) = 0x10\n--7-- free(0x0)\n--7-- free(0x30)\n", want: "a 0 5\n", loss: "unknown_frees=1 null_frees=1"},
		{name: "time stamps", in: "--00:00:00:00.404 3895-- malloc(0) = 0x4A42040\n--00:00:00:01.405 3895-- free(0x4A42040)\n", want: "a 0 0\nf 0\n"},
		{name: "time stamps that are none", in: "--7-- malloc(1) = 0x10\n--00:24:00:00.404 7-- free(0x10)\n--00:00:00 7-- free(0x10)\n--99999999999:00:00:00.404 7-- free(0x10)\n", want: "a 0 1\n", loss: "other_lines=3"},
		{name: "output in front, without a line end", in: "hello--7-- malloc(5) = 0x10\n--- --9-- x ----7-- free(0x10)\n", want: "a 0 5\nf 0\n"},
		{name: "cut call in front", in: "--7-- malloc(5) = 0x1--7-- malloc(6) = 0x20\n--7-- fre--7-- free(0x20)\n", want: "a 0 6\nf 0\n", loss: "unparsed_lines=1"},
		{name: "messages that are no calls", in: "--7-- Reading syms from /usr/bin/x\n--7-- REDIR: 0x40(libc:malloc) redirected to 0x48 (malloc)\nmalloc(5) = 0x10\n--x-- malloc(5) = 0x10\n--7-- malloc(5) = 0x10\n", want: "a 0 5\n", loss: "other_lines=4"},
		{name: "calls that cannot be read", in: "--7-- malloc(5) = 0x10\n--7-- malloc(5) = 10\n--7-- malloc(5 = 0x20\n--7-- malloc(99999999999999999999) = 0x20\n--7-- realloc(5) = 0x20\n--7-- free(0x10\n--7-- free()\n--7-- valloc(4,4) = 0x10\n--7-- odd(0x10)\n--7-- memalign(al 8) = 0x20\n--7-- realloc(0x10,0)free(0x10\n--7-- realloc(0x10,0)free(0x10) x\n", want: "a 0 5\n", loss: "unparsed_lines=11"},
		{name: "first process of a stream", in: "--7-- malloc(5) = 0x10\n--8-- malloc(6) = 0x10\n--8-- malloc(7) = 0x20\n--8-- free(0x10)\n--7-- free(0x10)\n", want: "a 0 5\nf 0\n", loss: "other_process=3"},
		{name: "process asked for", o: Options{PID: 8}, in: "--7-- malloc(5) = 0x10\n--8-- malloc(6) = 0x10\n--7-- free(0x10)\n", want: "a 0 6\n", loss: "other_process=2"},
		{name: "process that is not there", o: Options{PID: 9}, in: "--7-- malloc(5) = 0x10\n--8-- malloc(6) = 0x10\n", err: "no valgrind event of process 9 in 2 lines, but 2 of other processes"},
		{name: "no calls", in: "==7== Memcheck, a memory error detector\n==7== Command: x\n", err: "--trace-malloc=yes"},
		{name: "few calls in much output", in: strings.Repeat("hello\n", 5000) + "--7-- malloc(5) = 0x10\n", want: "a 0 5\n", loss: "other_lines=5000"},
		{name: "cut last line", in: "--7-- malloc(5) = 0x10\n--7-- fre", want: "a 0 5\n", loss: "other_lines=1 truncated=1"},
	})
}

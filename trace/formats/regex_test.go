package formats

import (
	"bytes"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/quick"

	"github.com/fragprof/fragprof/trace"
)

const usualPattern = `(?P<op>\w+) (?P<ptr>\S+)(?: (?P<size>\S+))?`

func TestRegex(t *testing.T) {
	tests := []struct {
		name, in string
		patterns []string
		ops      []string
		x        Regex
		want     string
		loss     string
		err      string
	}{
		{
			name: "usual words", patterns: []string{usualPattern},
			in:   "malloc 0x10 8\nCALLOC 20 0x10\nfree 0x10\ntraceMALLOC 0X30 1\ntraceFREE 30\nAlloc 0x40 1\ndealloc 0x40\nrealloc 0x20 9\n",
			want: "a 0 8\na 1 16\nf 0\na 2 1\nf 2\na 3 1\nf 3\nr 1 9\n",
		},
		{
			name: "own words", patterns: []string{usualPattern}, ops: []string{"alloc=get|Grab", "free=PUT", "ignore=peek"},
			in: "get 0x10 8\ngrab 0x20 8\npeek 0x10\nput 0x10\n", want: "a 0 8\na 1 8\nf 0\n", loss: "other_lines=1",
		},
		{
			name: "own words win", patterns: []string{usualPattern}, ops: []string{"free=new"},
			in: "malloc 0x10 8\nnew 0x10\n", want: "a 0 8\nf 0\n",
		},
		{
			name:     "a pattern for each operation",
			patterns: []string{`alloc=got (?P<size>\d+) at (?P<ptr>\w+)`, `free=gone (?P<ptr>\w+)`, `realloc=moved (?P<old>\w+) to (?P<ptr>\w+), (?P<size>\d+)`},
			in:       "got 8 at 1000\nmoved 1000 to 2000, 16\ngone 1000\ngone 2000\n", want: "a 0 8\nr 0 16\nf 0\n", loss: "unknown_frees=1",
		},
		{
			name: "realloc rules", patterns: []string{`(?P<op>\w+) (?P<ptr>\S+) (?P<old>\S+) (?P<size>\S+)`},
			in:   "realloc 0x10 (nil) 5\nrealloc nil 0x10 9\nrealloc 0 0x10 0\nrealloc 0x20 0x30 7\nrealloc NULL NULL 7\n",
			want: "a 0 5\nf 0\na 1 7\n", loss: "unknown_reallocs=1 failed_allocs=2",
		},
		{
			name: "calloc", patterns: []string{`alloc=(?P<ptr>\w+)=calloc\((?P<count>\w+),(?P<size>\w+)\)`},
			in: "10=calloc(3,7)\n20=calloc(4294967296,4294967296)\n30=calloc(0xffffffff,0xffffffff)\n", want: "a 0 21\n", loss: "failed_allocs=2",
		},
		{
			name: "alignment", patterns: []string{`alloc=(?P<ptr>\w+) (?P<size>\w+) (?P<align>\w+)`},
			in: "10 3 64\n20 3 48\n", want: "a 0 3 64\na 1 3\n", loss: "bad_alignments=1",
		},
		{
			name: "alternatives with one name", patterns: []string{`(?:\+(?P<op>a)(?P<ptr>\w+):(?P<size>\d+)|-(?P<op>f)(?P<ptr>\w+))`},
			in: "xx +a10:5\n-f10 yy\n", want: "a 0 5\nf 0\n",
		},
		{
			name: "colours, CRLF, prefixes, other text", patterns: []string{`(?P<op>malloc|free) (?P<ptr>0x\w+)(?: (?P<size>\d+))?$`},
			in: "\x1b[0;32mI (9) mem: mal\x1b[1mloc 0x10 5\x1b[0m\r\nhello\r\nfree 0x10\r\n", want: "a 0 5\nf 0\n", loss: "other_lines=1",
		},
		{
			name: "values that cannot be read", patterns: []string{`(?P<op>\w+) (?P<ptr>\S+)(?: size=(?P<size>\S+))?(?: align=(?P<align>\S+))?(?: n=(?P<count>\S+))?(?: old=(?P<old>\S+))?`},
			in: "malloc 0x10 size=1\nmalloc 0x20 size=-1\nmalloc 0x20\nmalloc what size=1\nmalloc 0x20 size=1x\nmalloc 0x20 size=9223372036854775807\n" +
				"malloc 0x20 size=1 align=x\nmalloc 0x20 size=1 n=-1\nfrob 0x20 size=1\nrealloc 0x20 size=1 old=q\nmalloc 0x123456789abcdef01 size=1\n",
			want: "a 0 1\n", loss: "unparsed_lines=10",
		},
		{name: "nothing matches", patterns: []string{usualPattern + `!`}, in: "\nabc\ndef\n", err: `standard input:3: no line matches "(?P<op>`},
		{name: "nothing matches, first line shown", patterns: []string{`alloc=x(?P<ptr>\w+)y(?P<size>\w+)`}, in: "\nabc\ndef\n", err: `line 2 is "abc"`},
		{name: "nothing matches any", patterns: []string{`free=x(?P<ptr>\w+)`, `alloc=x(?P<ptr>\w+)y(?P<size>\w+)`}, in: "abc\n", err: `any of 2 patterns`},
		{name: "no word is known", patterns: []string{usualPattern}, in: "x\nhello 12 13\n", err: `line 2 matches, but the word "hello" names no known operation`},
		{name: "only failures", patterns: []string{usualPattern}, in: "free 0\nmalloc 0 1\n", err: "the lines that match are no allocs, frees or reallocs of objects"},
		{name: "no pattern", in: "x\n", err: "needs a pattern"},
		{name: "time without its unit", patterns: []string{`(?P<time>\d+) ` + usualPattern}, in: "x\n", err: "pattern 1 has a group time: give its unit"},
		{name: "no size", patterns: []string{`(?P<op>\w+) (?P<ptr>\w+)`}, in: "x\n", err: "no pattern has a group size"},
		{name: "bad pointers", patterns: []string{usualPattern}, x: Regex{PtrBits: 31}, in: "x\n", err: "31 bits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := tt.x
			for _, p := range tt.patterns {
				if err := x.AddPattern(p); err != nil {
					t.Fatal(err)
				}
			}
			for _, o := range tt.ops {
				if err := x.AddOps(o); err != nil {
					t.Fatal(err)
				}
			}
			got, h, err := readText(strings.NewReader(tt.in), Options{Regex: &x})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %q, %v, want %q", got, err, tt.want)
			}
			if l := lossText(h.Loss); l != tt.loss {
				t.Errorf("lost %q, want %q", l, tt.loss)
			}
		})
	}
}

func TestRegexHeader(t *testing.T) {
	log := "12.5 net malloc 0x20000010 8 main.c:7\n12.75 ui malloc 0x20000020 8 -\n13 net free 0x20000010 8 x\n12.9 ui free 0x20000020 8 x\n"
	x := &Regex{TimeUnit: "s", Sizes: trace.SizesBlock}
	if err := x.AddPattern(`^(?P<time>\S+) (?P<thread>\S+) ` + usualPattern + ` (?P<site>\S+)$`); err != nil {
		t.Fatal(err)
	}
	r, err := Open("-", strings.NewReader(log), Options{From: "regex", Regex: x})
	if err != nil {
		t.Fatal(err)
	}
	b := new(trace.Block)
	if err := r.Next(b); err != nil {
		t.Fatal(err)
	}
	h := r.Header()
	if h.Source != "regex" || h.Sizes != trace.SizesBlock || h.PtrBits != 32 || !h.HasTime || !h.HasThread || !h.HasSite || h.Loss[trace.LossBadTime] != 1 {
		t.Errorf("header %+v", h)
	}
	if want := []int64{0, 25e7, 5e8, 5e8}; !slices.Equal(b.Time, want) {
		t.Errorf("got times %d, want %d", b.Time, want)
	}
	if want := []uint32{0, 1, 0, 1}; !slices.Equal(b.Thread, want) {
		t.Errorf("got threads %d, want %d", b.Thread, want)
	}
	if want := []string{"", "main.c:7", "-", "x"}; !slices.Equal(h.Sites, want) {
		t.Errorf("got sites %q, want %q", h.Sites, want)
	}
}

func TestRegexPtrBits(t *testing.T) {
	tests := []struct {
		name, in  string
		set, want int
	}{
		{name: "handles say nothing", in: "malloc 1 8\nmalloc 2 8\n"},
		{name: "32", in: "malloc 20000010 8\n", want: 32},
		{name: "64", in: "malloc 7f0020000010 8\n", want: 64},
		{name: "said", in: "malloc 20000010 8\n", set: 16, want: 16},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, h, err := readText(strings.NewReader(tt.in), Options{Regex: &Regex{Patterns: []Pattern{{Expr: usualPattern}}, PtrBits: tt.set}})
			if err != nil || h.PtrBits != tt.want {
				t.Errorf("got %d, %v, want %d", h.PtrBits, err, tt.want)
			}
		})
	}
}

func TestRegexPatternErrors(t *testing.T) {
	tests := []struct{ name, spec, err string }{
		{"syntax", `(?P<ptr>`, "missing closing"},
		{"no ptr", `(?P<op>\w+)(?P<size>\d+)`, "no group ptr"},
		{"no op", `(?P<ptr>\w+)(?P<size>\d+)`, "no group op"},
		{"unknown group", `(?P<op>\w+)(?P<ptr>\w+)(?P<len>\d+)`, `unknown group "len"`},
		{"alloc without size", `alloc=(?P<ptr>\w+)`, "no group size, which alloc needs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := new(Regex).AddPattern(tt.spec); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want one with %q", err, tt.err)
			}
		})
	}
}

func TestRegexOpsErrors(t *testing.T) {
	tests := []struct{ name, spec, err string }{
		{"no words", "alloc", "want OP=WORD"},
		{"no operation", "grab=x", `operation "grab"`},
		{"empty word", "alloc=a||b", "an empty word"},
		{"two meanings", "free=GET", `word "get" means both alloc and free`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := &Regex{Ops: map[string]string{"Get": "alloc"}}
			if err := x.AddOps(tt.spec); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want one with %q", err, tt.err)
			}
		})
	}
}

// TestUsualWords finds no word with two meanings.
func TestUsualWords(t *testing.T) {
	seen := map[string]bool{}
	for _, words := range usualWords {
		for _, w := range words {
			if seen[w] || w != strings.ToLower(w) {
				t.Errorf("word %q", w)
			}
			seen[w] = true
		}
	}
}

func TestParseTime(t *testing.T) {
	tests := []struct {
		in   string
		unit uint64
		want int64
		ok   bool
	}{
		{"0", 1, 0, true},
		{"12.345", 1e9, 12_345_000_000, true},
		{"12,5", 1e6, 12_500_000, true},
		{"7.", 1e3, 7000, true},
		{"0.123456789123456789123456789", 1e9, 123_456_789, true},
		{"3", 10e6, 30_000_000, true},
		{"01:02:03.5", 1e6, 3723_500_000_000, true},
		{"02:03", 1, 123_000_000_000, true},
		{"9223372036854775807", 1, math.MaxInt64, true},
		{"9223372036854775808", 1, 0, false},
		{"18446744073709551615", 1e9, 0, false},
		{"9223372036.9", 1e9, 0, false},
		{"-1", 1, 0, false},
		{"1e3", 1, 0, false},
		{"1:99", 1, 0, false},
		{"1:", 1, 0, false},
		{"", 1, 0, false},
		{".5", 1, 0, false},
	}
	for _, tt := range tests {
		if got, ok := parseTime([]byte(tt.in), tt.unit); got != tt.want || ok != tt.ok {
			t.Errorf("%q of %d ns: got %d, %v, want %d, %v", tt.in, tt.unit, got, ok, tt.want, tt.ok)
		}
	}
}

func TestParseTimeUnit(t *testing.T) {
	for in, want := range map[string]uint64{"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "10ms": 10e6, "31.25us": 31_250} {
		if got, err := parseTimeUnit(in); got != want || err != nil {
			t.Errorf("%q: got %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "ticks", "10", "-1ms", "0s", "0.1ns"} {
		if got, err := parseTimeUnit(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
}

func TestStripEscapes(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"\x1b[0;32mgreen\x1b[0m", "green"},
		{"a\x1b", "a"},
		{"a\x1b[", "a"},
		{"a\x1b[12", "a"},
		{"a\x1b(Bb", "aBb"},
		{"\x1b[?25lx", "x"},
	}
	for _, tt := range tests {
		if got := stripEscapes([]byte(tt.in)); string(got) != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestRequiredLiterals(t *testing.T) {
	tests := []struct {
		expr string
		want []string
	}{
		{`trace(?P<op>MALLOC|FREE): (?P<ptr>\w+)`, []string{"trace"}},
		{`^\[(\d+)\] (malloc|free) 0x`, []string{"malloc", "free"}},
		{`(malloc|free|calloc) \w`, []string{"malloc", "free", "calloc"}},
		{`(?i)malloc \w`, nil},
		{`(?:malloc )?\w+`, nil},
		{`\w+`, nil},
		{`(?:heap: ){2,}x`, []string{"heap: "}},
		{`a|b|c\w|d\w|e|ff`, nil},
		{"\uFFFDxx", nil},
	}
	for _, tt := range tests {
		var got []string
		for _, l := range requiredLiterals(tt.expr) {
			got = append(got, string(l))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.expr, got, tt.want)
		}
	}
}

// TestLiteralsNeverHide matches lines with and without looking for literals.
func TestLiteralsNeverHide(t *testing.T) {
	exprs := []string{`a(b|c)d`, `(ab)+c?`, `x(?:ab|cd)*a`, `(?i)ab`, `a{2,3}b`, `ab|ba`, `(a|)b`}
	for _, expr := range exprs {
		c := compiledPattern{re: regexp.MustCompile(expr), literals: requiredLiterals(expr)}
		err := quick.Check(func(seed []byte) bool {
			line := make([]byte, len(seed))
			for i, s := range seed {
				line[i] = "abcdxAB"[int(s)%7]
			}
			return c.mayMatch(line) || !c.re.Match(line)
		}, &quick.Config{MaxCount: 2000})
		if err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func TestThreadNames(t *testing.T) {
	var names threadNames
	for i, want := range []uint64{0, 1, 0, 2, 2} {
		name := []string{"net", "", "net", "ui", "ui"}[i]
		if got := names.number([]byte(name)); got != want {
			t.Errorf("%q: got %d, want %d", name, got, want)
		}
	}
	for i := range maxThreadNames + 10 {
		names.number([]byte(strconv.Itoa(i)))
	}
	if len(names.names) != maxThreadNames || names.number([]byte("one more")) != maxThreadNames {
		t.Errorf("%d names, want %d", len(names.names), maxThreadNames)
	}
}

func FuzzRegex(f *testing.F) {
	f.Add([]byte("12.5 net malloc 0x20000010 8 main.c:7\n13 net free 0x20000010 8 x\n14 realloc 0x1 2 3\n"))
	f.Add([]byte("\x1b[0m1:02:03.4 - calloc (nil) 0x10\n\xff\xfe\n"))
	x := &Regex{TimeUnit: "10ms", Ops: map[string]string{"x": "ignore"}}
	for _, p := range []string{
		`^(?P<time>\S+) (?P<thread>\S+) ` + usualPattern + `(?: (?P<site>.*))?$`,
		`realloc=(?P<ptr>\S+) (?P<old>\S+) (?P<size>\S+)$`,
		`(?P<op>\w+) (?P<ptr>\S+)(?: (?P<size>\S+) (?P<count>\S+) (?P<align>\S+))?`,
	} {
		if err := x.AddPattern(p); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, log []byte) { checkInput(t, log, Options{Regex: x}) })
}

// FuzzRegexPattern compiles and runs any expression.
func FuzzRegexPattern(f *testing.F) {
	f.Add(usualPattern, []byte("malloc 0x10 8\nfree 0x10\n"))
	f.Add(`alloc=(?:(?P<ptr>a+)|(?P<ptr>b))*(?P<size>1)?`, []byte("aab1\n"))
	f.Fuzz(func(t *testing.T, expr string, log []byte) {
		x := &Regex{TimeUnit: "s"}
		if err := x.AddPattern(expr); err != nil || x.Validate() != nil {
			return
		}
		re := regexp.MustCompile(x.Patterns[0].Expr)
		c := compiledPattern{re: re, literals: requiredLiterals(x.Patterns[0].Expr)}
		for line := range bytes.Lines(log) {
			if re.Match(line) && !c.mayMatch(line) {
				t.Errorf("%q matches %q, but holds none of %q", expr, line, c.literals)
			}
		}
		checkInput(t, log, Options{Regex: x})
	})
}

package formats

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64().Draw(t, "n")
		zeros := strings.Repeat("0", rapid.IntRange(0, 30).Draw(t, "zeros"))
		tail := rapid.SampledFrom([]string{"", " ", "x", ",5", "\r", "-1"}).Draw(t, "tail")
		if got, rest, ok := decimal([]byte(zeros + strconv.FormatUint(n, 10) + tail)); got != n || string(rest) != tail || !ok {
			t.Fatalf("decimal: %d, %q, %v", got, rest, ok)
		}
		if got, rest, ok := longDecimal([]byte(zeros + strconv.FormatUint(n, 10) + tail)); got != n || string(rest) != tail || !ok {
			t.Fatalf("longDecimal: %d, %q, %v", got, rest, ok)
		}
		hex := fmt.Sprintf(rapid.SampledFrom([]string{"%x", "%X"}).Draw(t, "case"), n)
		if got, rest, ok := hexadecimal([]byte(zeros + hex + tail)); got != n || string(rest) != tail || !ok {
			t.Fatalf("hexadecimal: %d, %q, %v", got, rest, ok)
		}
		prefix := rapid.SampledFrom([]string{"", "0x", "0X"}).Draw(t, "prefix")
		if got, null, rest, ok := pointer([]byte(prefix + zeros + hex + tail)); got != n || null != (n == 0) || string(rest) != tail || !ok {
			t.Fatalf("pointer: %d, %v, %q, %v", got, null, rest, ok)
		}
	})
	for _, s := range []string{"", "x", "-1", " 1", "18446744073709551616", "99999999999999999999", "184467440737095516150"} {
		if n, rest, ok := decimal([]byte(s)); ok {
			t.Errorf("decimal %q: %d, %q", s, n, rest)
		}
		if n, rest, ok := longDecimal([]byte(s)); ok {
			t.Errorf("longDecimal %q: %d, %q", s, n, rest)
		}
	}
	for _, s := range []string{"", "g", "0x", "0xg", "-1", " 1", "10000000000000000", "fffffffffffffffff", "(nil", "nul"} {
		n, rest, ok := hexadecimal([]byte(s))
		if ok && !strings.HasPrefix(s, "0x") {
			t.Errorf("hexadecimal %q: %d, %q", s, n, rest)
		}
		// Of a prefix alone the zero can be read: the x is left over.
		if n, _, rest, ok := pointer([]byte(s)); ok && len(rest) == 0 {
			t.Errorf("pointer %q: %d", s, n)
		}
	}
	if n, _, ok := decimal([]byte("18446744073709551615")); n != math.MaxUint64 || !ok {
		t.Errorf("largest decimal: %d, %v", n, ok)
	}
}

// TestLongDecimal puts each byte at each place of a number: it ends it, or it
// counts.
func TestLongDecimal(t *testing.T) {
	for at := range 12 {
		for c := range 256 {
			b := []byte("123456789012")
			b[at] = byte(c)
			n, rest, ok := longDecimal(b)
			wantN, wantRest, wantOK := decimal(b)
			if n != wantN || string(rest) != string(wantRest) || ok != wantOK {
				t.Errorf("%q: %d, %q, %v, want %d, %q, %v", b, n, rest, ok, wantN, wantRest, wantOK)
			}
		}
	}
}

func TestPointerNull(t *testing.T) {
	for _, s := range []string{"(nil)", "nil", "NULL", "(null)", "0", "0x0", "0X0", "0000000000000000", "0x0000000000000000"} {
		if addr, null, rest, ok := pointer([]byte(s + " 5")); addr != 0 || !null || string(rest) != " 5" || !ok {
			t.Errorf("%q: %d, %v, %q, %v", s, addr, null, rest, ok)
		}
	}
}

func TestWords(t *testing.T) {
	tests := []struct{ in, first, rest, last, front string }{
		{"", "", "", "", ""},
		{"  ", "", "", "", ""},
		{"a", "a", "", "a", ""},
		{" a b\tc ", "a", "b\tc ", "c", " a b\t"},
		{"ab  c\r", "ab", "c\r", "c", "ab  "},
	}
	for _, tt := range tests {
		if w, rest := word([]byte(tt.in)); string(w) != tt.first || string(rest) != tt.rest {
			t.Errorf("word %q: %q, %q", tt.in, w, rest)
		}
		if w, front := lastWord([]byte(tt.in)); string(w) != tt.last || string(front) != tt.front {
			t.Errorf("last word %q: %q, %q", tt.in, w, front)
		}
	}
}

func TestHeadLines(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"a", "a"},
		{"a\nb", "a"},
		{"a\r\n\n  \nb \nc", "a|b"},
	}
	for _, tt := range tests {
		var got []string
		for line := range headLines([]byte(tt.in)) {
			got = append(got, string(line))
		}
		if s := strings.Join(got, "|"); s != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, s, tt.want)
		}
	}
}

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"":                    "",
		"prog -x ärger":       "prog -x ärger",
		"a\x1b[31mred\x00":    "a\ufffd[31mred\ufffd",
		"bad \xff utf8":       "bad \ufffd utf8",
		"tab\tand\u2028break": "tab\ufffdand\ufffdbreak",
	} {
		if got := cleanText(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

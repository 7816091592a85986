package formats

import (
	"fmt"
	"math"
	"math/bits"
	"regexp/syntax"
	"time"
	"unicode/utf8"
)

// threadNames numbers threads by what a log calls them. The zero threadNames
// is ready.
type threadNames struct {
	numbers map[string]uint64
	names   []string // by number
	last    uint64
}

// maxThreadNames and maxThreadName bound the table; threads beyond share a
// number.
const (
	maxThreadNames = 1 << 16
	maxThreadName  = 256
)

// number returns the number of a thread, from zero in order of appearance.
func (t *threadNames) number(name []byte) uint64 {
	name = name[:min(len(name), maxThreadName)]
	if len(t.names) > 0 && t.names[t.last] == string(name) {
		return t.last
	}
	n, ok := t.numbers[string(name)]
	if !ok {
		n = uint64(len(t.names))
		if n == maxThreadNames {
			return n
		}
		if t.numbers == nil {
			t.numbers = map[string]uint64{}
		}
		t.names = append(t.names, string(name))
		t.numbers[t.names[n]] = n
	}
	t.last = n
	return n
}

// escape begins an ANSI escape sequence.
const escape = 0x1b

// stripEscapes removes ANSI escape sequences from a line, in place.
func stripEscapes(line []byte) []byte {
	out := line[:0]
	for i := 0; i < len(line); i++ {
		if line[i] != escape {
			out = append(out, line[i])
			continue
		}
		if i+1 == len(line) || line[i+1] != '[' {
			i++ // two bytes
			continue
		}
		// ESC [ parameters final: only the final byte is at or above '@'.
		for i += 2; i < len(line) && (line[i] < '@' || line[i] > '~'); i++ {
		}
	}
	return out
}

// wholePointer reads a text that is an address and nothing else.
func wholePointer(b []byte) (addr uint64, null, ok bool) {
	addr, null, rest, ok := pointer(b)
	return addr, null, ok && len(rest) == 0
}

// wholeNumber reads a text that is a number and nothing else: decimal, or
// hexadecimal with 0x.
func wholeNumber(b []byte) (n uint64, ok bool) {
	var rest []byte
	if has0x(b) {
		n, rest, ok = hexadecimal(b[2:])
	} else {
		n, rest, ok = decimal(b)
	}
	return n, ok && len(rest) == 0
}

// parseTimeUnit returns the nanoseconds in a unit of time: ns, us, ms, s, or a
// duration such as 10ms.
func parseTimeUnit(s string) (uint64, error) {
	switch s {
	case "ns":
		return 1, nil
	case "us", "µs":
		return 1e3, nil
	case "ms":
		return 1e6, nil
	case "s":
		return 1e9, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("time unit %q: want ns, us, ms, s, or the length of a tick such as 10ms", s)
	}
	return uint64(d), nil
}

// fractionDigits is how many digits behind the point are read.
const fractionDigits = 18

// parseTime reads a time stamp in units of so many nanoseconds: decimal with
// an optional fraction behind a point or comma, or H:MM:SS, or MM:SS, whose
// last part is seconds.
func parseTime(b []byte, unit uint64) (ns int64, ok bool) {
	whole, rest, ok := decimal(b)
	if !ok {
		return 0, false
	}
	for len(rest) > 0 && rest[0] == ':' {
		var part uint64
		if part, rest, ok = decimal(rest[1:]); !ok || part >= 60 || whole > math.MaxInt64/60 {
			return 0, false
		}
		whole, unit = whole*60+part, uint64(time.Second)
	}
	var fraction uint64
	scale := uint64(1)
	if len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
		rest = rest[1:]
		i := 0
		for ; i < len(rest) && isDigit(rest[i]); i++ {
			if i < fractionDigits {
				fraction, scale = fraction*10+uint64(rest[i]-'0'), scale*10
			}
		}
		rest = rest[i:]
	}
	if len(rest) > 0 {
		return 0, false
	}
	over, n := bits.Mul64(whole, unit)
	if over != 0 {
		return 0, false
	}
	// fraction < scale, so that the quotient is below unit.
	hi, lo := bits.Mul64(fraction, unit)
	part, _ := bits.Div64(hi, lo, scale)
	if n += part; n < part || n > math.MaxInt64 {
		return 0, false
	}
	return int64(n), true
}

// maxLiterals is how many literals are looked for before a pattern is tried:
// with more, trying the pattern is as cheap.
const maxLiterals = 4

// requiredLiterals returns texts of which every match of the expression holds
// at least one, or nil if it finds none that are worth looking for. Looking
// for a text in a line is many times faster than matching the line.
func requiredLiterals(expr string) [][]byte {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	found := literalsOf(re.Simplify())
	if len(found) > maxLiterals {
		return nil
	}
	var out [][]byte
	for _, s := range found {
		out = append(out, []byte(s))
	}
	return out
}

func literalsOf(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		s := string(re.Rune)
		// A replacement character in an expression matches any bad UTF-8.
		if re.Flags&syntax.FoldCase != 0 || !utf8.ValidString(s) || containsRune(re.Rune, utf8.RuneError) {
			return nil
		}
		return []string{s}
	case syntax.OpCapture, syntax.OpPlus:
		return literalsOf(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return literalsOf(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if l := literalsOf(sub); l != nil && shortest(l) > shortest(best) {
				best = l
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			l := literalsOf(sub)
			if l == nil {
				return nil
			}
			all = append(all, l...)
		}
		return all
	}
	return nil
}

// shortest returns the length of the shortest text, 0 if there is none.
func shortest(texts []string) int {
	n := 0
	for i, s := range texts {
		if i == 0 || len(s) < n {
			n = len(s)
		}
	}
	return n
}

func containsRune(runes []rune, r rune) bool {
	for _, x := range runes {
		if x == r {
			return true
		}
	}
	return false
}

package formats

import (
	"bytes"
	"encoding/binary"
	"iter"
	"strings"
	"unicode"
)

// Scanning of numbers and words in a line. All functions take the rest of the
// line and return what is left behind what they read.

// skipSpace passes over blanks.
func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// trimEnd cuts the blanks and carriage returns at the end of b.
func trimEnd(b []byte) []byte {
	for len(b) > 0 {
		if c := b[len(b)-1]; c != ' ' && c != '\t' && c != '\r' {
			break
		}
		b = b[:len(b)-1]
	}
	return b
}

// word returns the bytes up to the next blank, and the rest behind blanks.
func word(b []byte) (w, rest []byte) {
	b = skipSpace(b)
	i := 0
	for i < len(b) && b[i] != ' ' && b[i] != '\t' {
		i++
	}
	return b[:i], skipSpace(b[i:])
}

// How many decimal and hexadecimal digits always fit into 64 bits.
const (
	safeDigits    = 19
	safeHexDigits = 16
)

// decimal reads a decimal number at the start of b. ok is false if there is
// none or it overflows.
func decimal(b []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < safeDigits; i++ {
		d := b[i] - '0'
		if d > 9 {
			return n, b[i:], i > 0
		}
		n = n*10 + uint64(d)
	}
	for ; i < len(b); i++ {
		d := b[i] - '0'
		if d > 9 {
			break
		}
		if n > (1<<64-1-uint64(d))/10 {
			return 0, b, false
		}
		n = n*10 + uint64(d)
	}
	return n, b[i:], i > 0
}

// longDecimal is decimal for numbers that mostly have many digits, such as
// times in nanoseconds: it reads the first 8 at once.
func longDecimal(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) < 8 {
		return decimal(b)
	}
	x := binary.LittleEndian.Uint64(b)
	// A byte is a digit if its high half is 3, and still is 6 further on.
	const high = 0xf0f0f0f0f0f0f0f0
	if x&high|((x+0x0606060606060606)&high)>>4 != 0x3333333333333333 {
		return decimal(b)
	}
	// Add up neighbours: digits to pairs, pairs to fours, fours to eight.
	x &= 0x0f0f0f0f0f0f0f0f
	x = (x * (10<<8 + 1)) >> 8 & 0x00ff00ff00ff00ff
	x = (x * (100<<16 + 1)) >> 16 & 0x0000ffff0000ffff
	x = (x * (10000<<32 + 1)) >> 32
	n = x
	i := 8
	for ; i < len(b) && i < safeDigits; i++ {
		d := b[i] - '0'
		if d > 9 {
			return n, b[i:], true
		}
		n = n*10 + uint64(d)
	}
	if i < len(b) && isDigit(b[i]) {
		return decimal(b)
	}
	return n, b[i:], true
}

// notHex is what hexDigit holds for a byte that is no hexadecimal digit.
const notHex = 0xff

// hexDigit holds the value of each hexadecimal digit.
var hexDigit = func() (t [256]uint8) {
	for i := range t {
		t[i] = notHex
	}
	for i := range 10 {
		t['0'+i] = uint8(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = uint8(10+i), uint8(10+i)
	}
	return t
}()

// hexadecimal reads hexadecimal digits, without a prefix, at the start of b.
// ok is false if there are none or more than 64 bits.
func hexadecimal(b []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < safeHexDigits; i++ {
		d := hexDigit[b[i]]
		if d == notHex {
			return n, b[i:], i > 0
		}
		n = n<<4 | uint64(d)
	}
	for ; i < len(b); i++ {
		d := hexDigit[b[i]]
		if d == notHex {
			break
		}
		if n>>60 != 0 {
			return 0, b, false
		}
		n = n<<4 | uint64(d)
	}
	return n, b[i:], i > 0
}

// has0x reports whether b begins with the prefix of a hexadecimal number.
func has0x(b []byte) bool { return len(b) > 2 && b[0] == '0' && b[1]|0x20 == 'x' }

// nulls are the ways to write the null pointer that are no number.
var nulls = [...]string{"(nil)", "nil", "NULL", "(null)"}

// pointer reads an address: hexadecimal with or without 0x, or one of the ways
// to write null. null is true for address 0.
func pointer(b []byte) (addr uint64, null bool, rest []byte, ok bool) {
	if has0x(b) {
		addr, rest, ok = hexadecimal(b[2:])
		return addr, addr == 0, rest, ok
	}
	if len(b) > 0 && hexDigit[b[0]] == notHex {
		for _, s := range nulls {
			if hasPrefix(b, s) {
				return 0, true, b[len(s):], true
			}
		}
	}
	addr, rest, ok = hexadecimal(b)
	return addr, addr == 0, rest, ok
}

// isDigit reports whether c is a decimal digit.
func isDigit(c byte) bool { return c-'0' <= 9 }

// completeLines cuts head after its last complete line, so that a Sniff
// function does not judge by a line cut in the middle. A head without any line
// end is returned whole.
func completeLines(head []byte) []byte {
	for i := len(head) - 1; i >= 0; i-- {
		if head[i] == '\n' {
			return head[:i+1]
		}
	}
	return head
}

// headLines gives the complete lines of head that are not blank, without their
// ends, to a Sniff function.
func headLines(head []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for line := range bytes.Lines(completeLines(head)) {
			line = trimEnd(bytes.TrimSuffix(line, []byte("\n")))
			if len(line) > 0 && !yield(line) {
				return
			}
		}
	}
}

// cleanText makes text of a log fit for reports and terminals: what is no
// UTF-8 or would not print becomes U+FFFD, the replacement character.
func cleanText(s string) string {
	clean := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strings.Map(clean, s)
		}
	}
	return s
}

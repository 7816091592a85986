package formats

// Scanning of numbers and words in a line. All functions take the rest of the
// line and return what is left behind what they read.

// skipSpace passes over blanks.
func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
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

// decimal reads a decimal number at the start of b. ok is false if there is
// none or it overflows.
func decimal(b []byte) (n uint64, rest []byte, ok bool) {
	i := 0
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

// hexDigit holds the value of each hexadecimal digit, 0xff for other bytes.
var hexDigit = func() (t [256]uint8) {
	for i := range t {
		t[i] = 0xff
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
	for ; i < len(b); i++ {
		d := hexDigit[b[i]]
		if d > 15 {
			break
		}
		if n>>60 != 0 {
			return 0, b, false
		}
		n = n<<4 | uint64(d)
	}
	return n, b[i:], i > 0
}

// pointer reads an address: hexadecimal with or without 0x, or one of the ways
// to write null. null is true for address 0.
func pointer(b []byte) (addr uint64, null bool, rest []byte, ok bool) {
	for _, s := range []string{"(nil)", "nil", "NULL", "(null)"} {
		if hasPrefix(b, s) {
			return 0, true, b[len(s):], true
		}
	}
	if len(b) > 2 && b[0] == '0' && b[1]|0x20 == 'x' {
		b = b[2:]
	}
	addr, rest, ok = hexadecimal(b)
	return addr, addr == 0, rest, ok
}

// lastLine cuts head after its last complete line, so that a Sniff function
// does not judge by a line cut in the middle.
func completeLines(head []byte) []byte {
	for i := len(head) - 1; i >= 0; i-- {
		if head[i] == '\n' {
			return head[:i+1]
		}
	}
	return head
}

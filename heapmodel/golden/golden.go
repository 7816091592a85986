// Package golden is the form of tables of answers: what a heap answered to
// each operation of a trace, a line an operation. Tables made from the code of
// real heaps are what models are held to, so the form is the same for whoever
// writes one and whoever compares:
//
//	40960    the address the program was given, as an offset from the arena's start
//	!        a null pointer
//	.        a live object was freed
//	_        a free of an object that is not live, since its allocation failed
//
// Lines that begin with # are comments and answer nothing.
package golden

import (
	"errors"
	"strconv"

	"github.com/fragprof/fragprof/heapmodel"
)

// Answer is what a heap answered to one operation: the address of the object,
// or one of the constants, which are above all addresses.
type Answer uint64

// The answers that are no address.
const (
	Null    = Answer(heapmodel.Null) // the heap returned a null pointer
	Freed   = Null - 1               // a live object was freed
	Skipped = Null - 2               // free of an object that is not live
)

// At returns the address of an answer that has one.
func (a Answer) At() (addr heapmodel.Addr, ok bool) {
	return heapmodel.Addr(a), a < Skipped
}

// ToFree reports whether only a free is answered so; an alloc or realloc gets
// all other answers.
func (a Answer) ToFree() bool { return a == Freed || a == Skipped }

// Append adds the answer's text, without the end of its line.
func (a Answer) Append(text []byte) []byte {
	switch a {
	case Null:
		return append(text, '!')
	case Freed:
		return append(text, '.')
	case Skipped:
		return append(text, '_')
	}
	return strconv.AppendUint(text, uint64(a), 10)
}

// String returns the answer's text.
func (a Answer) String() string { return string(a.Append(nil)) }

// errSyntax is what is wrong with a line that is no answer.
var errSyntax = errors.New("want an address, !, . or _")

// parse reads the text of an answer. Addresses are plain decimal numbers below
// 2^63.
func parse(text []byte) (Answer, error) {
	if len(text) == 1 {
		switch text[0] {
		case '!':
			return Null, nil
		case '.':
			return Freed, nil
		case '_':
			return Skipped, nil
		}
	}
	if len(text) == 0 || len(text) > 19 { // 2^63 - 1 has 19 digits
		return 0, errSyntax
	}
	a := uint64(0)
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, errSyntax
		}
		a = a*10 + uint64(c-'0')
	}
	if a >= 1<<63 {
		return 0, errSyntax
	}
	return Answer(a), nil
}

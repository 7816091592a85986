// Package growth knows how the containers of common languages and libraries
// grow: which capacity a vector or string takes when what it has is too small,
// and how many bytes it then asks of the heap. The table Rules is what
// generators of traces and strategies of reserving share.
//
// A container that grows leaves a trace in one of two forms. Most allocate the
// larger buffer, copy, and free the old one, so that both live for a moment
// and the old one leaves a hole; some call realloc, so that the heap may
// extend the buffer where it is (Rule.Realloc).
package growth

import (
	"fmt"
	"math/bits"
	"strconv"
)

// Rule is how one kind of container grows. Capacities and lengths count
// elements, except where a name says bytes; elem is the size of an element in
// bytes and at least 1, which is what a string has.
//
// The functions are exact for a container that is full when it grows, as one
// filled element by element is. They do not allocate, may be called by many
// goroutines, and saturate at MaxCapacity.
type Rule struct {
	Name   string // as in "rust-vec"
	Doc    string // one line
	Source string // where the rule is written down
	Text   bool   // a string of characters: elem is 1
	// Realloc says that the original grows by realloc; else it allocates,
	// copies and frees.
	Realloc bool

	inline uint64 // elements of a Text that need no heap
	next   func(capacity, need, elem uint64) uint64
	header uint64 // bytes of the request beside the elements
}

// MaxCapacity bounds what Next returns and the bytes of a request: capacities
// and needs above it count as that. It is far above any real container and low
// enough that no formula overflows.
const MaxCapacity = 1 << 40

// maxElem bounds the size of an element, for the same reason.
const maxElem = 1 << 16

// Inline returns how many elements the container holds before it asks the heap
// for anything: zero but for strings with a short form.
func (r *Rule) Inline() uint64 { return r.inline }

// Next returns the capacity, in elements, to which a container of the given
// capacity grows when it needs room for need elements: at least need. A
// container that has enough keeps its capacity.
func (r *Rule) Next(capacity, need, elem uint64) uint64 {
	capacity = max(capacity, r.inline)
	if need <= capacity {
		return capacity
	}
	need = min(need, MaxCapacity)
	elem = min(max(elem, 1), maxElem)
	return min(max(r.next(min(capacity, MaxCapacity), need, elem), need), MaxCapacity)
}

// Bytes returns the size of the request for a buffer of the given capacity:
// elements, terminator and header. It is zero if the elements need no heap.
func (r *Rule) Bytes(capacity, elem uint64) uint64 {
	if capacity <= r.inline {
		return 0
	}
	capacity, elem = min(capacity, MaxCapacity), min(max(elem, 1), maxElem)
	return r.header + capacity*elem
}

// Exact returns the size of the request that a container makes when it is told
// beforehand that it will hold length elements.
func (r *Rule) Exact(length, elem uint64) uint64 {
	if length <= r.inline {
		return 0
	}
	// Strings round what they reserve as they round what they grow to; a
	// vector takes what it is told.
	if r.Text {
		return r.Bytes(r.Next(r.inline, length, elem), elem)
	}
	return r.Bytes(length, elem)
}

// Sizes returns the requests, in bytes, of a container that starts empty and
// grows to length elements by one element at a time: at most limit of them.
func (r *Rule) Sizes(length, elem uint64, limit int) []uint64 {
	var sizes []uint64
	for capacity := r.inline; capacity < min(length, MaxCapacity) && len(sizes) < limit; {
		capacity = r.Next(capacity, capacity+1, elem)
		sizes = append(sizes, r.Bytes(capacity, elem))
	}
	return sizes
}

// UnknownRuleError is returned for a name that is not in the table.
type UnknownRuleError struct {
	Name  string
	Known []string
}

func (e *UnknownRuleError) Error() string { return fmt.Sprintf("unknown growth rule %q", e.Name) }

// Lookup returns the rule of the given name, or an *UnknownRuleError.
func Lookup(name string) (*Rule, error) {
	for _, r := range Rules {
		if r.Name == name {
			return r, nil
		}
	}
	known := make([]string, len(Rules))
	for i, r := range Rules {
		known[i] = r.Name
	}
	return nil, &UnknownRuleError{Name: name, Known: known}
}

// Factor returns the rule of a vector that multiplies its capacity by num/den,
// with 1 <= num/den <= 16, and takes what it needs where that is more:
// Factor(3, 2) grows by half. It panics on other factors.
func Factor(num, den uint64) *Rule {
	if den == 0 || den > 1<<10 || num < den || num > 16*den {
		panic("growth: factor " + strconv.FormatUint(num, 10) + "/" + strconv.FormatUint(den, 10) + " is not in 1 to 16")
	}
	return &Rule{
		Name: fmt.Sprintf("factor-%d/%d", num, den), Doc: fmt.Sprintf("capacity times %d/%d", num, den),
		Source: "none: for comparison",
		next: func(capacity, _, _ uint64) uint64 {
			hi, lo := bits.Mul64(capacity, num)
			q, _ := bits.Div64(hi, lo, den)
			return q
		},
	}
}

// Step returns the rule of a vector that grows by so many bytes, rounded up to
// whole elements, and takes what it needs where that is more.
func Step(bytes uint64) *Rule {
	bytes = min(bytes, MaxCapacity)
	return &Rule{
		Name: fmt.Sprintf("step-%d", bytes), Doc: fmt.Sprintf("%d bytes more", bytes), Source: "none: for comparison",
		next: func(capacity, _, elem uint64) uint64 { return capacity + (bytes+elem-1)/elem },
	}
}

// roundUp returns n rounded up to a multiple of unit, a power of two.
func roundUp(n, unit uint64) uint64 { return (n + unit - 1) &^ (unit - 1) }

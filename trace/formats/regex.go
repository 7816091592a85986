package formats

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"regexp"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/trace"
)

// Regex describes the lines of a home-made log to the "regex" format: a
// printf in a program's own malloc and free is all that it takes to record a
// trace. The zero Regex has no pattern and is an error; see AddPattern,
// ReadRegex and RegexPreset.
//
// Colours (ANSI escape sequences) are removed from a line before it is
// matched, and so is the CR of a CRLF. Lines that match no pattern are other
// output, which is normal, and are counted as LossOtherLines. Lines that match
// and whose values cannot be read are counted as LossUnparsedLines.
type Regex struct {
	// Patterns are tried on each line in this order; the first to match wins.
	Patterns []Pattern
	// Ops says what the words are that the group op finds, without regard to
	// case: alloc, free, realloc, or ignore. It adds to, and wins over, the
	// usual words: malloc, calloc, free, realloc, new, delete, traceMALLOC and
	// the like. A word that is neither here nor there makes a line unreadable.
	Ops map[string]string
	// TimeUnit is what the group time counts: "ns", "us", "ms", "s", or for a
	// clock that counts ticks the length of one, such as "10ms". It must be
	// given if a pattern has a group time.
	TimeUnit string
	// Sizes says whether sizes are what the program asked for or the heap's
	// blocks.
	Sizes trace.SizeKind
	// PtrBits is the pointer width of the recorded program: 16, 32 or 64. Zero
	// infers it from the addresses.
	PtrBits int
}

// Pattern is a Go regular expression (RE2 syntax) for one kind of line. It is
// searched for anywhere in the line. Its named groups, as in (?P<ptr>...), say
// where the values are:
//
//	op      word for what happened; may be missing if Op is set
//	ptr     address of the object: hexadecimal with or without 0x, or a null
//	        such as (nil). For a realloc, the new address. Required.
//	size    bytes, decimal or hexadecimal with 0x
//	count   number of elements of that size, for calloc
//	old     old address of a realloc; if missing, ptr is old and new address
//	align   alignment in bytes
//	thread  number or name of a thread
//	time    time stamp: decimal with an optional fraction, or H:MM:SS with one;
//	        see Regex.TimeUnit
//	site    call site, as a text
//
// A group may occur more than once, in alternatives; the first that took part
// in the match counts. Other named groups are an error. A line without a
// thread or a time counts as of the same as the line before.
type Pattern struct {
	Expr string
	// Op is what a line says that has no group op: alloc, free or realloc.
	Op string
}

// regexFormat is the name of the format that a Regex describes.
const regexFormat = "regex"

// regexOp is what a line of a log does. The zero regexOp is unknown.
type regexOp uint8

const (
	regexUnknown regexOp = iota
	regexAlloc
	regexFree
	regexRealloc
	regexIgnore
)

// regexOps are the names of the operations in a Regex.
var regexOps = map[string]regexOp{"alloc": regexAlloc, "free": regexFree, "realloc": regexRealloc, "ignore": regexIgnore}

// usualWords are what programs call their operations, in lower case.
var usualWords = map[regexOp][]string{
	regexAlloc: {
		"alloc", "allocate", "allocated", "malloc", "calloc", "valloc", "pvalloc", "memalign", "posix_memalign",
		"aligned_alloc", "new", "new[]", "operator new", "operator new[]", "pvportmalloc", "pvportcalloc", "tracemalloc",
		"kmalloc", "kzalloc", "a", "m", "+",
	},
	regexFree: {
		"free", "freed", "cfree", "dealloc", "deallocate", "deallocated", "release", "delete", "delete[]",
		"operator delete", "operator delete[]", "vportfree", "tracefree", "kfree", "f", "-",
	},
	regexRealloc: {"realloc", "reallocate", "reallocated", "reallocarray", "resize", "krealloc", "r"},
}

// regexGroup is a named group of a pattern.
type regexGroup int

const (
	groupOp regexGroup = iota
	groupPtr
	groupSize
	groupCount
	groupOld
	groupAlign
	groupThread
	groupTime
	groupSite
	groupKinds
)

var groupNames = [groupKinds]string{"op", "ptr", "size", "count", "old", "align", "thread", "time", "site"}

// compiledPattern is a Pattern ready to match.
type compiledPattern struct {
	re       *regexp.Regexp
	op       regexOp
	groups   [groupKinds][]int // submatch numbers of each group, in order
	literals [][]byte          // a line that matches holds one of them; nil if not known
}

// regexProgram is a Regex ready to match.
type regexProgram struct {
	patterns []compiledPattern
	words    map[string]regexOp // lower case
	unit     uint64             // ns
}

// Validate returns the first thing that is wrong with the description, naming
// the pattern by its number from 1.
func (x *Regex) Validate() error {
	_, err := x.compile()
	return err
}

func (x *Regex) compile() (*regexProgram, error) {
	if len(x.Patterns) == 0 {
		return nil, errors.New("the regex format needs a pattern with groups op, ptr and size")
	}
	p := &regexProgram{words: map[string]regexOp{}}
	for op, words := range usualWords {
		for _, w := range words {
			p.words[w] = op
		}
	}
	for _, w := range slices.Sorted(maps.Keys(x.Ops)) {
		op := regexOps[x.Ops[w]]
		if op == regexUnknown {
			return nil, fmt.Errorf("word %q: operation %q: want alloc, free, realloc or ignore", w, x.Ops[w])
		}
		p.words[strings.ToLower(w)] = op
	}
	if x.TimeUnit != "" {
		unit, err := parseTimeUnit(x.TimeUnit)
		if err != nil {
			return nil, err
		}
		p.unit = unit
	}
	switch x.PtrBits {
	case 0, 16, 32, 64:
	default:
		return nil, fmt.Errorf("pointers of %d bits: want 16, 32 or 64", x.PtrBits)
	}
	sized := false
	for i := range x.Patterns {
		c, err := x.Patterns[i].compile()
		if err != nil {
			return nil, fmt.Errorf("pattern %d: %w", i+1, err)
		}
		if len(c.groups[groupTime]) > 0 && p.unit == 0 {
			return nil, fmt.Errorf("pattern %d has a group time: give its unit, one of ns, us, ms, s, or the length of a tick such as 10ms", i+1)
		}
		sized = sized || len(c.groups[groupSize]) > 0
		p.patterns = append(p.patterns, c)
	}
	if !sized {
		return nil, errors.New("no pattern has a group size")
	}
	return p, nil
}

func (t *Pattern) compile() (c compiledPattern, err error) {
	if c.re, err = regexp.Compile(t.Expr); err != nil {
		return c, err
	}
	for i, name := range c.re.SubexpNames() {
		if name == "" {
			continue
		}
		g := slices.Index(groupNames[:], name)
		if g < 0 {
			return c, fmt.Errorf("unknown group %q: want one of %s", name, strings.Join(groupNames[:], ", "))
		}
		c.groups[g] = append(c.groups[g], i)
	}
	if len(c.groups[groupPtr]) == 0 {
		return c, errors.New("no group ptr: (?P<ptr>...) must say which object a line is about")
	}
	if t.Op == "" && len(c.groups[groupOp]) == 0 {
		return c, errors.New("no group op, and no operation given for all its lines")
	}
	if t.Op != "" {
		if c.op = regexOps[t.Op]; c.op == regexUnknown || c.op == regexIgnore {
			return c, fmt.Errorf("operation %q: want alloc, free or realloc", t.Op)
		}
		if c.op != regexFree && len(c.groups[groupOp]) == 0 && len(c.groups[groupSize]) == 0 {
			return c, fmt.Errorf("no group size, which %s needs", t.Op)
		}
	}
	c.literals = requiredLiterals(t.Expr)
	return c, nil
}

func openRegex(in *Input, o Options) (trace.Reader, error) {
	x := o.Regex
	if x == nil {
		x = &Regex{}
	}
	program, err := x.compile()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.Name, err)
	}
	r := newLineReader(in, regexFormat)
	r.freeText, r.tornOK = true, true
	r.hdr.Sizes, r.hdr.PtrBits = x.Sizes, x.PtrBits
	p := &regexParser{e: &r.emitter, r: r, regexProgram: *program, inferBits: x.PtrBits == 0}
	r.parser, r.noEvents = p, p.noEvents
	return r, nil
}

// regexParser reads lines by a regexProgram.
type regexParser struct {
	regexProgram
	e         *emitter
	r         *lineReader
	threads   threadNames
	lower     [64]byte // scratch for words
	inferBits bool

	// For the message when nothing is found: the first line that matched no
	// pattern, and the first that did and could not be read.
	other, bad         string
	otherLine, badLine uint64
	reason             string // why bad is bad
}

func (p *regexParser) parse(line []byte) verdict {
	if bytes.IndexByte(line, escape) >= 0 {
		line = stripEscapes(line)
	}
	for i := range p.patterns {
		c := &p.patterns[i]
		if !c.mayMatch(line) {
			continue
		}
		if loc := c.re.FindSubmatchIndex(line); loc != nil {
			return p.event(c, line, loc)
		}
	}
	if p.otherLine == 0 {
		p.otherLine, p.other = p.r.lines.line, excerpt(line)
	}
	return lineOther
}

// mayMatch reports whether the line holds one of the literals without which
// the pattern cannot match.
func (c *compiledPattern) mayMatch(line []byte) bool {
	if c.literals == nil {
		return true
	}
	for _, l := range c.literals {
		if bytes.Contains(line, l) {
			return true
		}
	}
	return false
}

// group returns the text of a group; ok is false if it took no part in the
// match.
func (c *compiledPattern) group(g regexGroup, line []byte, loc []int) (text []byte, ok bool) {
	for _, i := range c.groups[g] {
		if loc[2*i] >= 0 {
			return line[loc[2*i]:loc[2*i+1]], true
		}
	}
	return nil, false
}

// regexValues are the values of a line.
type regexValues struct {
	op                     regexOp
	ptr, old, size, align  uint64
	null, oldNull          bool
	overflow, sized, timed bool
	time                   int64
}

// event takes a line that matched.
func (p *regexParser) event(c *compiledPattern, line []byte, loc []int) verdict {
	v, reason := p.values(c, line, loc)
	if reason != "" {
		if p.badLine == 0 {
			p.badLine, p.bad, p.reason = p.r.lines.line, excerpt(line), reason
		}
		return lineBad
	}
	if v.op == regexIgnore {
		return lineOther
	}
	e := p.e
	if v.timed {
		e.at(v.time)
	}
	if name, ok := c.group(groupThread, line, loc); ok {
		e.thread(p.threads.number(name))
	}
	e.context.Site = 0
	if name, ok := c.group(groupSite, line, loc); ok && len(name) > 0 {
		e.siteName(name)
	}
	if p.inferBits && v.ptr > maxHandle {
		e.addresses = true
	}
	switch v.op {
	case regexFree:
		e.free(v.ptr, v.null)
		return lineEvent
	case regexRealloc:
		return e.realloc(v.old, v.ptr, v.size, v.oldNull, v.null || v.overflow)
	}
	return e.alloc(v.ptr, v.size, v.align, v.null || v.overflow)
}

// maxHandle is the highest number in a pointer's place that may be a handle
// and say nothing about the width of pointers.
const maxHandle = 1<<16 - 1

// values reads the values of a line that matched. reason says why it cannot.
func (p *regexParser) values(c *compiledPattern, line []byte, loc []int) (v regexValues, reason string) {
	v.op = c.op
	if word, ok := c.group(groupOp, line, loc); ok {
		if v.op = p.words[string(p.lowerCase(word))]; v.op == regexUnknown {
			return v, fmt.Sprintf("the word %.40q names no known operation: say which with alloc=WORD, free=WORD or the like", word)
		}
	}
	switch v.op {
	case regexIgnore:
		return v, ""
	case regexUnknown:
		return v, "it has no operation"
	}
	var ok bool
	text, _ := c.group(groupPtr, line, loc)
	if v.ptr, v.null, ok = wholePointer(text); !ok {
		return v, "its ptr is no address"
	}
	v.old, v.oldNull = v.ptr, v.null
	if text, ok = c.group(groupOld, line, loc); ok {
		if v.old, v.oldNull, ok = wholePointer(text); !ok {
			return v, "its old is no address"
		}
	}
	if text, ok = c.group(groupSize, line, loc); ok {
		if v.size, ok = wholeNumber(text); !ok || v.size > maxRequest {
			return v, "its size is no number of bytes"
		}
		v.sized = true
	}
	if text, ok = c.group(groupCount, line, loc); ok {
		count, ok := wholeNumber(text)
		if !ok {
			return v, "its count is no number"
		}
		// A product that overflows is a calloc that failed.
		over, size := bits.Mul64(v.size, count)
		v.size, v.overflow = size, over != 0 || size > maxRequest
	}
	if text, ok = c.group(groupAlign, line, loc); ok {
		if v.align, ok = wholeNumber(text); !ok {
			return v, "its align is no number of bytes"
		}
	}
	if text, ok = c.group(groupTime, line, loc); ok {
		if v.time, ok = parseTime(text, p.unit); !ok {
			return v, "its time is no time"
		}
		v.timed = true
	}
	if !v.sized && v.op != regexFree {
		return v, "it has no size"
	}
	return v, ""
}

// lowerCase returns a word in lower case, in scratch memory. Words too long
// for it are known to no table and are returned as they are.
func (p *regexParser) lowerCase(word []byte) []byte {
	if len(word) > len(p.lower) {
		return word
	}
	for i, c := range word {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		p.lower[i] = c
	}
	return p.lower[:len(word)]
}

func (p *regexParser) finish() {}

// noEvents says why a log held nothing.
func (p *regexParser) noEvents() string {
	switch {
	case p.badLine > 0:
		return fmt.Sprintf("no line could be read as an event: line %d matches, but %s: %q", p.badLine, p.reason, p.bad)
	case p.otherLine > 0 && len(p.patterns) == 1:
		return fmt.Sprintf("no line matches %q; line %d is %q", p.patterns[0].re, p.otherLine, p.other)
	case p.otherLine > 0:
		return fmt.Sprintf("no line matches any of %d patterns, the first of which is %q; line %d is %q",
			len(p.patterns), p.patterns[0].re, p.otherLine, p.other)
	}
	return "the lines that match are no allocs, frees or reallocs of objects"
}

// excerpt returns the beginning of a line for a message.
func excerpt(line []byte) string { return string(line[:min(len(line), 120)]) }

package formats

import (
	"bytes"

	"github.com/fragprof/fragprof/trace"
)

// The log of glibc's mtrace(), or of any program run with MALLOC_TRACE set and
// libc_malloc_debug.so preloaded:
//
//	= Start
//	@ WHERE + PTR SIZE      allocation; PTR (nil) if it failed
//	@ WHERE - PTR           free, or realloc to size 0
//	@ WHERE < OLD           realloc, always two lines:
//	@ WHERE > NEW SIZE
//	@ WHERE ! OLD SIZE      realloc that failed; the block lives on
//	= End
//
// WHERE is FILE:(SYMBOL+OFFSET)[ADDRESS], of which the first parts may be
// missing, and may hold blanks, so lines are read from the right. Alignments,
// threads and times are not in the log; calloc shows its product.

func openMtrace(in *Input, _ Options) (trace.Reader, error) {
	r := newLineReader(in, "mtrace")
	// A 64-bit program that is not position-independent has its heap below
	// 4 GiB.
	r.addresses, r.wideOnly = true, true
	r.wholeLines = true
	r.parser = &mtraceParser{e: &r.emitter}
	return r, nil
}

// sniffMtrace asks for the first line mtrace writes, or for a log cut from a
// longer one.
func sniffMtrace(head []byte) bool {
	lines, events := 0, 0
	for line := range headLines(head) {
		if lines == 0 && string(line) == "= Start" {
			return true
		}
		lines++
		if l, ok := scanMtrace(line); ok && l.where != nil {
			events++
		}
	}
	return events > 0 && 2*events >= lines
}

type mtraceParser struct {
	e       *emitter
	started bool // "= Start" was seen

	// A realloc of which only the line of the release was seen: half, the
	// object it detached, whether that was known, and its key.
	half  bool
	slot  trace.Slot
	known bool
	was   uint64
}

type mtraceLine struct {
	op        byte // + - < > !
	ptr, size uint64
	null      bool
	where     []byte // nil if the line has none
	glued     bool   // a cut line is in front of this one
}

// scanMtrace reads a line of an event without acting on it.
func scanMtrace(line []byte) (l mtraceLine, ok bool) {
	last, rest := lastWord(line)
	middle, rest := lastWord(rest)
	ptr := last
	if len(middle) == 1 && (middle[0] == '-' || middle[0] == '<') {
		l.op = middle[0]
	} else {
		var op []byte
		op, rest = lastWord(rest)
		if len(op) != 1 || op[0] != '+' && op[0] != '>' && op[0] != '!' {
			return l, false
		}
		l.op, ptr = op[0], middle
		if l.size, ok = mtraceSize(last); !ok {
			return l, false
		}
	}
	if !has0x(ptr) && string(ptr) != "(nil)" {
		return l, false
	}
	if l.ptr, l.null, ptr, ok = pointer(ptr); !ok || len(ptr) > 0 {
		return l, false
	}
	l.where, l.glued = scanWhere(trimEnd(rest))
	return l, true
}

// mtraceSize reads a size: 0x and digits, or 0 alone.
func mtraceSize(b []byte) (size uint64, ok bool) {
	if !has0x(b) {
		return 0, string(b) == "0"
	}
	size, b, ok = hexadecimal(b[2:])
	return size, ok && len(b) == 0
}

// scanWhere finds the call site in what precedes the operation: behind the
// first "@ ", since a path may hold another. But if an address stands between
// the two, the first belongs to a line that was cut and has no end.
func scanWhere(b []byte) (where []byte, glued bool) {
	const tag = "@ "
	if hasPrefix(b, tag) && bytes.IndexByte(b[1:], '@') < 0 {
		return b[len(tag):], false
	}
	first, last := bytes.Index(b, []byte(tag)), bytes.LastIndex(b, []byte(tag))
	if first < 0 {
		return nil, false
	}
	if bytes.Contains(b[first:last], []byte("[0x")) {
		return b[last+len(tag):], true
	}
	return b[first+len(tag):], false
}

// lastWord returns the word behind the last blank of b, and what is before it.
func lastWord(b []byte) (w, rest []byte) {
	b = trimEnd(b)
	i := len(b)
	for i > 0 && b[i-1] != ' ' && b[i-1] != '\t' {
		i--
	}
	return b[i:], b[:i]
}

func (p *mtraceParser) parse(line []byte) verdict {
	l, ok := scanMtrace(line)
	if !ok {
		return p.other(trimEnd(line))
	}
	if l.glued {
		p.e.hdr.Loss[trace.LossUnparsedLines]++
	}
	p.e.context.Site = 0
	if l.where != nil {
		p.e.siteName(l.where)
	}
	switch l.op {
	case '+':
		return p.e.alloc(l.ptr, l.size, 0, l.null)
	case '-':
		if p.half && l.ptr == p.was {
			p.settle()
		}
		p.e.free(l.ptr, l.null)
	case '<':
		p.settle()
		p.half, p.was = true, l.ptr
		p.slot, p.known = p.e.detach(l.ptr)
	case '>':
		return p.resize(l)
	case '!':
		p.e.hdr.Loss[trace.LossFailedAllocs]++
	}
	return lineEvent
}

// resize is the second line of a realloc.
func (p *mtraceParser) resize(l mtraceLine) verdict {
	e := p.e
	if !p.half {
		if l.size <= maxRequest {
			e.hdr.Loss[trace.LossUnmatchedHalves]++
		}
		return e.alloc(l.ptr, l.size, 0, l.null)
	}
	p.half = false
	if l.null || l.size > maxRequest {
		if p.known {
			e.reattach(p.slot, p.was)
		}
		if !l.null {
			return lineBad
		}
		e.hdr.Loss[trace.LossFailedAllocs]++
		return lineEvent
	}
	if p.was == 0 {
		return e.alloc(l.ptr, l.size, 0, false)
	}
	return e.attach(p.slot, p.known, l.ptr, l.size)
}

// settle closes a realloc whose second line is missing: the object lives on as
// it was, for all that is known.
func (p *mtraceParser) settle() {
	if !p.half {
		return
	}
	p.half = false
	p.e.hdr.Loss[trace.LossUnmatchedHalves]++
	if p.known {
		p.e.reattach(p.slot, p.was)
	}
}

// other takes a line that is no event.
func (p *mtraceParser) other(line []byte) verdict {
	switch string(line) {
	case "= Start":
		p.settle()
		if p.started {
			p.e.context.Site = 0
			p.e.restart()
		}
		p.started = true
		return lineEvent
	case "= End":
		return lineEvent
	}
	if hasPrefix(line, "@ ") || len(line) > 2 && line[1] == ' ' && bytes.IndexByte([]byte("+-<>!"), line[0]) >= 0 {
		return lineBad
	}
	return lineOther
}

func (p *mtraceParser) finish() { p.settle() }

package formats

import (
	"bytes"
	"fmt"
	"math/bits"

	"github.com/fragprof/fragprof/trace"
)

// The log of any valgrind tool run with --trace-malloc=yes, mixed with the
// tool's own messages and, on standard error, with the program's output:
//
//	--PID-- malloc(SIZE) = 0xPTR                   and any NAME(SIZE) of operator new
//	--PID-- calloc(NMEMB,SIZE) = 0xPTR
//	--PID-- realloc(0xOLD,SIZE) = 0xPTR
//	--PID-- realloc(0x0,SIZE)malloc(SIZE) = 0xPTR  one allocation
//	--PID-- realloc(0xOLD,0)free(0xOLD)            one free, and on the next line:
//	--PID--  = 0
//	--PID-- memalign(al ALIGN, size SIZE) = 0xPTR  and any call with these two
//	--PID-- free(0xPTR)                            and any NAME(0xPTR) of operator delete
//	--PID-- malloc_usable_size(0xPTR) = SIZE
//
// With --time-stamp=yes the process number follows a time and a blank:
// --DD:HH:MM:SS.mmm PID--. With --trace-children=yes several processes write
// into one log; see Options.PID.

func openValgrind(in *Input, o Options) (trace.Reader, error) {
	r := newLineReader(in, "valgrind")
	// Valgrind lays out the heap itself, below 4 GiB as long as there is room.
	r.addresses, r.wideOnly = true, true
	r.wholeLines, r.freeText = true, true
	p := &valgrindParser{e: &r.emitter, pid: o.PID, pinned: o.PID != 0}
	if !p.pinned && in.again != nil {
		p.pid, p.pinned = busiestValgrind(in)
	}
	r.parser = p
	r.noEvents = func() string {
		msg := fmt.Sprintf("no valgrind event in %d lines: was valgrind run with --trace-malloc=yes?", r.nonEmpty)
		if others := r.hdr.Loss[trace.LossOtherProcess]; others > 0 {
			msg = fmt.Sprintf("no valgrind event of process %d in %d lines, but %d of other processes", p.pid, r.nonEmpty, others)
		}
		return msg
	}
	return r, nil
}

func sniffValgrind(head []byte) bool {
	var c valgrindCall
	for line := range headLines(head) {
		if c.scan(line) == lineEvent && c.kind != valgrindNothing {
			return true
		}
	}
	return false
}

// busiestValgrind returns the process with most events in the input, the first
// of equals, for which it reads the whole input once, and again if there are
// several. What is wrong with the input the proper reading finds anew.
func busiestValgrind(in *Input) (pid uint64, ok bool) {
	pid, several := firstValgrind(in)
	if !several {
		return pid, pid != 0
	}
	var index table // process -> place in pids and counts
	var pids, counts []uint64
	eachValgrind(in, nil, func(c *valgrindCall) bool {
		i, known := index.get(c.pid)
		if !known {
			i = uint32(len(pids))
			index.put(c.pid, i)
			pids, counts = append(pids, c.pid), append(counts, 0)
		}
		counts[i]++
		return true
	})
	var most uint64
	for i, events := range counts {
		if events > most {
			most, pid = events, pids[i]
		}
	}
	return pid, most > 0
}

// firstValgrind returns the first process in the input, zero if there is none,
// and whether there are several. It costs little more than cutting the input
// into lines as long as all lines are of one process.
func firstValgrind(in *Input) (pid uint64, several bool) {
	var own []byte // what lines of the first process begin with
	eachValgrind(in, &own, func(c *valgrindCall) bool {
		if own == nil {
			pid = c.pid
			own = fmt.Appendf(nil, "--%d-- ", pid)
		}
		several = c.pid != pid
		return !several
	})
	return pid, several
}

// eachValgrind reads the input from its start and calls each with every event
// until that returns false. Lines that begin with *skip, if set, are passed
// over unread.
func eachValgrind(in *Input, skip *[]byte, each func(*valgrindCall) bool) {
	src, err := in.again()
	if err != nil {
		return
	}
	defer src.Close()
	lines := lineScanner{r: src}
	var c valgrindCall
	for {
		line, err := lines.next()
		if err != nil {
			return
		}
		if skip != nil && *skip != nil && bytes.HasPrefix(line, *skip) {
			continue
		}
		if c.scan(line) == lineEvent && c.kind != valgrindNothing && !each(&c) {
			return
		}
	}
}

type valgrindParser struct {
	e      *emitter
	pid    uint64 // the process whose events are read
	pinned bool   // pid is known
}

// valgrindKind says what a line does to the heap.
type valgrindKind uint8

const (
	valgrindNothing valgrindKind = iota
	valgrindAlloc
	valgrindRealloc
	valgrindFree
)

type valgrindCall struct {
	kind          valgrindKind
	damaged       bool // a call before this one on the line cannot be read
	timed         bool
	null, oldNull bool
	overflow      bool // of a product or a size
	pid           uint64
	time          int64 // ns
	ptr, old      uint64
	size, align   uint64
}

// scan reads one line without acting on it. What the program printed without
// ending its line stands before the valgrind message.
func (c *valgrindCall) scan(line []byte) verdict {
	damaged := false
	for {
		i := bytes.Index(line, []byte("--"))
		if i < 0 || len(line)-i < len("--1-- f") {
			if damaged {
				return lineBad
			}
			return lineOther
		}
		line = line[i+2:]
		for len(line) > 0 && line[0] == '-' {
			line = line[1:]
		}
		call, ok := c.scanPrefix(line)
		if !ok {
			continue
		}
		switch c.scanCall(call) {
		case lineEvent:
			c.damaged = damaged
			return lineEvent
		case lineBad:
			damaged = true
		}
		line = call
	}
}

// scanPrefix reads the process number and the time before it, up to the "-- "
// that ends them.
func (c *valgrindCall) scanPrefix(b []byte) (rest []byte, ok bool) {
	*c = valgrindCall{}
	n, rest, ok := decimal(b)
	if !ok || len(rest) < 3 {
		return b, false
	}
	if rest[0] == ':' {
		if rest, ok = c.scanTime(n, rest[1:]); !ok {
			return b, false
		}
		if n, rest, ok = decimal(rest); !ok {
			return b, false
		}
	}
	c.pid = n
	if !hasPrefix(rest, "-- ") {
		return b, false
	}
	return rest[3:], true
}

// scanTime reads what follows the days in DD:HH:MM:SS.mmm and a blank.
func (c *valgrindCall) scanTime(days uint64, b []byte) (rest []byte, ok bool) {
	const maxDays = 1 << 16 // still fits into 63 bits of nanoseconds
	if days > maxDays {
		return b, false
	}
	ms := days
	for _, f := range [...]struct {
		end  byte // what follows the field
		unit uint64
	}{{':', 24}, {':', 60}, {'.', 60}, {' ', 1000}} {
		var n uint64
		if n, b, ok = decimal(b); !ok || n >= f.unit || len(b) == 0 || b[0] != f.end {
			return b, false
		}
		b = b[1:]
		ms = ms*f.unit + n
	}
	c.time, c.timed = int64(ms)*1e6, true
	return b, true
}

// scanCall reads the call behind the prefix. Other messages give lineOther,
// calls that cannot be read lineBad.
func (c *valgrindCall) scanCall(b []byte) verdict {
	if hasPrefix(b, " = ") { // the result of realloc(p,0)free(p)
		return lineEvent
	}
	i := 0
	for i < len(b) && (b[i] == '_' || b[i]|0x20 >= 'a' && b[i]|0x20 <= 'z' || isDigit(b[i])) {
		i++
	}
	if i == 0 || i == len(b) || b[i] != '(' {
		return lineOther
	}
	name, args := b[:i], b[i+1:]
	ok := false
	switch {
	case string(name) == "realloc":
		ok = c.scanRealloc(args)
	case string(name) == "calloc":
		ok = c.scanCalloc(args)
	case len(args) > 0 && isDigit(args[0]) && !has0x(args):
		ok = c.scanAlloc(args)
	case has0x(args):
		ok = c.scanPointerCall(name, args)
	default:
		ok = c.scanNamed(args)
	}
	if !ok {
		return lineBad
	}
	return lineEvent
}

// scanAlloc reads "SIZE) = 0xPTR".
func (c *valgrindCall) scanAlloc(b []byte) (ok bool) {
	c.kind = valgrindAlloc
	c.size, b, ok = decimal(b)
	return ok && c.scanResult(b)
}

// scanCalloc reads "NMEMB,SIZE) = 0xPTR".
func (c *valgrindCall) scanCalloc(b []byte) (ok bool) {
	c.kind = valgrindAlloc
	var count, high uint64
	if count, b, ok = decimal(b); !ok || len(b) == 0 || b[0] != ',' {
		return false
	}
	if c.size, b, ok = decimal(skipSpace(b[1:])); !ok {
		return false
	}
	high, c.size = bits.Mul64(count, c.size)
	c.overflow = high != 0
	return c.scanResult(b)
}

// scanResult reads ") = 0xPTR" and the end of the line.
func (c *valgrindCall) scanResult(b []byte) (ok bool) {
	const equals = ") = 0x"
	if !hasPrefix(b, equals) {
		return false
	}
	c.ptr, b, ok = hexadecimal(b[len(equals):])
	c.null = c.ptr == 0
	return ok && len(trimEnd(b)) == 0
}

// scanRealloc reads the arguments of realloc and the call it turned into.
func (c *valgrindCall) scanRealloc(b []byte) (ok bool) {
	c.kind = valgrindRealloc
	if c.old, c.oldNull, b, ok = pointer(b); !ok || len(b) == 0 || b[0] != ',' {
		return false
	}
	if c.size, b, ok = decimal(skipSpace(b[1:])); !ok {
		return false
	}
	const malloc = ")malloc("
	switch {
	case hasPrefix(b, malloc):
		if _, b, ok = decimal(b[len(malloc):]); !ok {
			return false
		}
	case hasPrefix(b, ")free("):
		if _, _, b, ok = pointer(b[len(")free("):]); !ok {
			return false
		}
		c.kind, c.ptr, c.null = valgrindFree, c.old, c.oldNull
		return string(trimEnd(b)) == ")"
	}
	return c.scanResult(b)
}

// scanPointerCall reads the arguments of a call that takes a pointer first.
func (c *valgrindCall) scanPointerCall(name, b []byte) (ok bool) {
	if c.ptr, c.null, b, ok = pointer(b); !ok || len(b) == 0 {
		return false
	}
	switch {
	case string(name) == "malloc_usable_size":
		return b[0] == ')'
	case hasPrefix(name, "free"), hasPrefix(name, "_Zd"), string(name) == "cfree":
		// Sizes and alignments may follow, from C23 and C++14 on.
		c.kind = valgrindFree
		return b[0] == ')' && len(trimEnd(b[1:])) == 0 || b[0] == ',' && bytes.IndexByte(b, ')') >= 0
	}
	return false
}

// scanNamed reads arguments that have their names with them, in any order:
// "al ALIGN, size SIZE) = 0xPTR".
func (c *valgrindCall) scanNamed(b []byte) (ok bool) {
	c.kind = valgrindAlloc
	sized := false
	for {
		var n uint64
		b = skipSpace(b)
		switch {
		case hasPrefix(b, "al "):
			n, b, ok = decimal(b[3:])
			c.align = n
		case hasPrefix(b, "size "):
			n, b, ok = decimal(b[5:])
			c.size, sized = n, true
		}
		if !ok || len(b) == 0 {
			return false
		}
		if b[0] == ')' {
			return sized && c.scanResult(b)
		}
		if b[0] != ',' {
			return false
		}
		b, ok = b[1:], false
	}
}

func (p *valgrindParser) parse(line []byte) verdict {
	var c valgrindCall
	if v := c.scan(line); v != lineEvent {
		if v == lineOther {
			p.command(line)
		}
		return v
	}
	if c.damaged {
		p.e.hdr.Loss[trace.LossUnparsedLines]++
	}
	if c.kind == valgrindNothing {
		return lineEvent
	}
	if !p.pinned {
		p.pid, p.pinned = c.pid, true
	}
	e := p.e
	if c.pid != p.pid {
		e.hdr.Loss[trace.LossOtherProcess]++
		return lineEvent
	}
	if c.timed {
		e.at(c.time)
	}
	switch c.kind {
	case valgrindFree:
		e.free(c.ptr, c.null)
		return lineEvent
	case valgrindRealloc:
		return e.realloc(c.old, c.ptr, c.size, c.oldNull, c.null)
	}
	return e.alloc(c.ptr, c.size, c.align, c.null || c.overflow)
}

// command takes the name of the program from the line "==PID== Command: ...".
func (p *valgrindParser) command(line []byte) {
	const tag = "== Command: "
	if p.e.hdr.Program != "" || !hasPrefix(line, "==") {
		return
	}
	pid, rest, ok := decimal(line[2:])
	if ok && hasPrefix(rest, tag) && (pid == p.pid || !p.pinned) {
		p.e.hdr.Program = cleanText(string(trimEnd(rest[len(tag):])))
	}
}

func (p *valgrindParser) finish() {}

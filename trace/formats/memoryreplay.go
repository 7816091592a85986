package formats

import (
	"bytes"
	"math/bits"

	"github.com/fragprof/fragprof/trace"
)

// The text that Android's memory_replay reads and that libc's record_allocs
// option writes, a call a line:
//
//	TID: malloc PTR SIZE
//	TID: calloc PTR NMEMB SIZE
//	TID: memalign PTR ALIGN SIZE
//	TID: realloc NEW OLD SIZE
//	TID: free PTR
//	TID: thread_done 0x0
//
// Since 2023 two more numbers follow: when the call began and when it ended,
// in nanoseconds. An allocation is logged when it ended, a free when it began,
// so those are the times events get here. Further numbers are passed over.

func openMemoryReplay(in *Input, _ Options) (trace.Reader, error) {
	r := newLineReader(in, "memory_replay")
	r.addresses = true
	r.wholeLines = true
	r.parser = &replayParser{e: &r.emitter}
	return r, nil
}

func sniffMemoryReplay(head []byte) bool {
	lines, calls := 0, 0
	for line := range headLines(head) {
		lines++
		var c replayCall
		if v := c.scan(line); v == lineEvent && c.name != replayThreadDone {
			calls++
		}
	}
	return calls > 0 && 2*calls >= lines
}

type replayParser struct {
	e    *emitter
	call replayCall
}

// replayName says which call a line shows.
type replayName uint8

const (
	replayMalloc replayName = iota
	replayCalloc
	replayMemalign
	replayRealloc
	replayFree
	replayThreadDone
)

// replayCall is one line. Each scan sets what the named call has; the rest is
// left over from earlier ones.
type replayCall struct {
	name          replayName
	null, oldNull bool
	times         uint8 // how many times follow: 0, 1, 2
	overflow      bool  // of NMEMB times SIZE
	tid, ptr, old uint64
	size, align   uint64
	begin, end    uint64 // nanoseconds
}

// scan reads one line without acting on it. It says lineOther if the line does
// not begin as one of the form.
func (c *replayCall) scan(line []byte) verdict {
	var ok bool
	var b []byte
	if c.tid, b, ok = decimal(line); !ok || len(b) < 2 || b[0] != ':' || b[1] != ' ' {
		return lineOther
	}
	b = b[2:]
	c.times, c.align, c.overflow = 0, 0, false
	switch {
	case hasPrefix(b, "free "):
		c.name = replayFree
		c.ptr, c.null, b, ok = pointer(b[5:])
	case hasPrefix(b, "malloc "):
		c.name = replayMalloc
		if c.ptr, c.null, b, ok = pointer(b[7:]); ok {
			c.size, b, ok = number(b)
		}
	case hasPrefix(b, "realloc "):
		c.name = replayRealloc
		b, ok = c.scanRealloc(b[8:])
	case hasPrefix(b, "calloc "):
		c.name = replayCalloc
		var count, high uint64
		count, b, ok = c.scanTwo(b[7:])
		high, c.size = bits.Mul64(count, c.size)
		c.overflow = high != 0
	case hasPrefix(b, "memalign "):
		c.name = replayMemalign
		c.align, b, ok = c.scanTwo(b[9:])
	case hasPrefix(b, "thread_done "):
		c.name = replayThreadDone
		c.ptr, c.null, b, ok = pointer(b[12:])
	default:
		return lineBad
	}
	if !ok || len(b) > 0 && !c.scanTimes(b) {
		return lineBad
	}
	return lineEvent
}

// scanTwo reads PTR FIRST SIZE.
func (c *replayCall) scanTwo(b []byte) (first uint64, rest []byte, ok bool) {
	if c.ptr, c.null, b, ok = pointer(b); !ok {
		return 0, b, false
	}
	if first, b, ok = number(b); !ok {
		return 0, b, false
	}
	c.size, b, ok = number(b)
	return first, b, ok
}

// scanRealloc reads NEW OLD SIZE.
func (c *replayCall) scanRealloc(b []byte) (rest []byte, ok bool) {
	if c.ptr, c.null, b, ok = pointer(b); !ok || len(b) == 0 || b[0] != ' ' {
		return b, false
	}
	if c.old, c.oldNull, b, ok = pointer(b[1:]); !ok {
		return b, false
	}
	c.size, b, ok = number(b)
	return b, ok
}

// scanTimes reads the times, passes over further numbers, and reports whether
// there was nothing else.
func (c *replayCall) scanTimes(b []byte) bool {
	var ok bool
	for ; len(b) > 0; c.times = min(c.times+1, 2) {
		if b[0] != ' ' {
			return false
		}
		var n uint64
		if n, b, ok = longDecimal(b[1:]); !ok {
			return len(trimEnd(b)) == 0
		}
		switch c.times {
		case 0:
			c.begin, c.end = n, n
		case 1:
			c.end = n
		}
	}
	return true
}

// number reads a blank and a decimal number behind it.
func number(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != ' ' {
		return 0, b, false
	}
	n, rest, ok = decimal(b[1:])
	return n, rest, ok && (len(rest) == 0 || rest[0] == ' ')
}

func (p *replayParser) parse(line []byte) verdict {
	c := &p.call
	v := c.scan(line)
	if v == lineOther {
		v = c.salvage(line)
	}
	if v != lineEvent {
		return v
	}
	e := p.e
	if c.name == replayThreadDone {
		return lineEvent
	}
	e.thread(c.tid)
	if c.times > 0 {
		at := c.end
		if c.name == replayFree {
			at = c.begin
		}
		e.at(int64(at))
	}
	switch c.name {
	case replayFree:
		e.free(c.ptr, c.null)
		return lineEvent
	case replayRealloc:
		return e.realloc(c.old, c.ptr, c.size, c.oldNull, c.null)
	}
	return e.alloc(c.ptr, c.size, c.align, c.null || c.overflow)
}

// salvage looks for a call behind other text on the line.
func (c *replayCall) salvage(line []byte) verdict {
	for from := 0; ; {
		i := bytes.Index(line[from:], []byte(": "))
		if i < 0 {
			return lineOther
		}
		i += from
		start := i
		for start > from && isDigit(line[start-1]) {
			start--
		}
		if start > 0 && start < i {
			if c.scan(line[start:]) == lineEvent {
				return lineEvent
			}
		}
		from = i + 2
	}
}

func (p *replayParser) finish() {}

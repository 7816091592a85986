package formats

import (
	"bytes"
	"math"

	"github.com/fragprof/fragprof/trace"
)

// FreeRTOS leaves it to the program what its hooks traceMALLOC(address, size)
// and traceFREE(address, size) do. Most print
//
//	traceMALLOC: 0x20000A08 [128]
//	traceFREE: 0x20000A08 [128]
//
// with anything in front; a prefix "[TICK] TASK " gives time and thread, the
// tick taken as 1 ms (configTICK_RATE_HZ 1000). The sizes of heap_2, heap_4 and
// heap_5 are blocks: header, rounding and what was too small to split off
// included. Those of heap_1 and heap_3 are requests: then Options.Sizes says
// so. There is no realloc.

func openFreertos(in *Input, _ Options) (trace.Reader, error) {
	r := newLineReader(in, "freertos")
	r.freeText, r.tornOK = true, true
	r.addresses = true
	r.hdr.Sizes = trace.SizesBlock
	r.parser = &freertosParser{e: &r.emitter}
	return r, nil
}

func sniffFreertos(head []byte) bool {
	for rest := head; ; {
		call, ok := findFreertos(rest)
		if !ok {
			return false
		}
		// The head may end inside a line: then the next byte is missing.
		if call.ok && len(call.rest) > 0 {
			return true
		}
		rest = call.rest
	}
}

// freertosTick is the length of a tick in nanoseconds.
const freertosTick = 1_000_000

type freertosParser struct {
	e       *emitter
	threads threadNames
}

// freertosCall is one call of a hook in a line.
type freertosCall struct {
	free       bool
	ok         bool // addr and size could be read
	addr, size uint64
	prefix     []byte // what is in front
	rest       []byte // what is behind
}

const (
	freertosStem  = "trace"
	freertosAlloc = "MALLOC:"
	freertosFree  = "FREE:"
)

// findFreertos finds the first call in b.
func findFreertos(b []byte) (c freertosCall, found bool) {
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(freertosStem))
		if i < 0 {
			return c, false
		}
		c.prefix = b[:from+i]
		from += i + len(freertosStem)
		rest := b[from:]
		switch {
		case hasPrefix(rest, freertosAlloc):
			c.free, rest = false, rest[len(freertosAlloc):]
		case hasPrefix(rest, freertosFree):
			c.free, rest = true, rest[len(freertosFree):]
		default:
			continue
		}
		c.rest = rest
		var null, ok bool
		if c.addr, null, rest, ok = pointer(skipSpace(rest)); !ok {
			return c, true
		}
		if rest = skipSpace(rest); len(rest) == 0 || rest[0] != '[' {
			return c, true
		}
		if c.size, rest, ok = decimal(rest[1:]); !ok || len(rest) == 0 || rest[0] != ']' {
			return c, true
		}
		c.ok, c.rest = c.size <= maxRequest || null, rest[1:]
		return c, true
	}
}

// parse takes a line. Two tasks that print at once can leave two calls in one.
func (p *freertosParser) parse(line []byte) verdict {
	if bytes.IndexByte(line, escape) >= 0 {
		line = stripEscapes(line)
	}
	v := lineOther
	for {
		call, found := findFreertos(line)
		if !found {
			return v
		}
		if !call.ok {
			return lineBad
		}
		v = lineEvent
		p.origin(call.prefix)
		if call.free {
			p.e.free(call.addr, call.addr == 0)
		} else {
			p.e.alloc(call.addr, call.size, 0, call.addr == 0)
		}
		line = call.rest
	}
}

// origin reads time and thread from a prefix "[TICK] TASK ", if it is one.
func (p *freertosParser) origin(prefix []byte) {
	end := bytes.LastIndexByte(prefix, ']')
	if end < 0 {
		return
	}
	start := bytes.LastIndexByte(prefix[:end], '[')
	if start < 0 {
		return
	}
	tick, rest, ok := decimal(prefix[start+1 : end])
	if !ok || len(rest) > 0 || tick > math.MaxInt64/freertosTick {
		return
	}
	p.e.at(int64(tick) * freertosTick)
	if task := trimEnd(skipSpace(prefix[end+1:])); len(task) > 0 {
		p.e.thread(p.threads.number(task))
	}
}

func (p *freertosParser) finish() {}

package formats

import (
	"bytes"
	"math"
	"math/bits"
	"strconv"

	"github.com/fragprof/fragprof/trace"
)

// The text of an LD_PRELOAD recorder, a call a line:
//
//	NS TID malloc PTR SIZE CALLER
//	NS TID calloc PTR N SIZE CALLER
//	NS TID memalign PTR ALIGN SIZE CALLER
//	NS TID free PTR CALLER
//	NS TID rb OLD SIZE CALLER          realloc begins: OLD is released
//	NS TID re NEW OLD SIZE CALLER      realloc of the same thread ends
//	NS TID realloc NEW OLD SIZE CALLER     both at once
//
// Addresses have a 0x, other numbers are decimal. The release of an object is
// logged before the call and the rest after it, so that another thread may
// take OLD's address between rb and re. NEW is null if realloc failed, or if
// SIZE is 0: then it was a free.

func openHrec(in *Input, _ Options) (trace.Reader, error) {
	r := newLineReader(in, "hrec")
	r.tornOK, r.wholeLines = true, true
	r.addresses = true
	r.parser = &hrecParser{e: &r.emitter}
	return r, nil
}

// hrecSniffLines is how many lines a Sniff looks at; half of them must fit.
const hrecSniffLines = 32

func sniffHrec(head []byte) bool {
	lines, good := 0, 0
	for line := range bytes.Lines(completeLines(head)) {
		line = trimCR(bytes.TrimSuffix(line, []byte("\n")))
		if len(line) == 0 {
			continue
		}
		var c hrecCall
		if c.scan(line) {
			good++
		}
		if lines++; lines == hrecSniffLines {
			break
		}
	}
	return good > 0 && 2*good >= lines
}

type hrecParser struct {
	e *emitter
	// begun holds, by thread, the realloc that the thread is in.
	begun []hrecRealloc
}

// hrecRealloc is a realloc whose rb line was read and whose re line was not.
type hrecRealloc struct {
	begun, known bool // known: the object is live, in slot, and has no address
	old          uint64
	slot         trace.Slot
}

// hrecOp is the name of a call.
type hrecOp uint8

const (
	hrecMalloc hrecOp = iota
	hrecCalloc
	hrecMemalign
	hrecFree
	hrecBegin
	hrecEnd
	hrecWhole
)

// hrecCall is one line.
type hrecCall struct {
	op               hrecOp
	ns               int64
	tid              uint64
	ptr, old, caller uint64
	count, size      uint64 // count is the N of calloc or the ALIGN of memalign
}

// scan reads a line and reports whether it is one.
func (c *hrecCall) scan(b []byte) bool {
	ns, b, ok1 := decimalField(b)
	tid, b, ok2 := decimalField(b)
	if !ok1 || !ok2 || ns > math.MaxInt64 {
		return false
	}
	c.ns, c.tid = int64(ns), tid
	two := false
	switch {
	case hasPrefix(b, "malloc "):
		c.op, b = hrecMalloc, b[len("malloc "):]
	case hasPrefix(b, "free "):
		c.op, b = hrecFree, b[len("free "):]
	case hasPrefix(b, "calloc "):
		c.op, b, two = hrecCalloc, b[len("calloc "):], true
	case hasPrefix(b, "rb "):
		c.op, b = hrecBegin, b[len("rb "):]
	case hasPrefix(b, "re "):
		c.op, b = hrecEnd, b[len("re "):]
	case hasPrefix(b, "memalign "):
		c.op, b, two = hrecMemalign, b[len("memalign "):], true
	case hasPrefix(b, "realloc "):
		c.op, b = hrecWhole, b[len("realloc "):]
	default:
		return false
	}
	var ok bool
	if c.ptr, b, ok = addressField(b); !ok {
		return false
	}
	if c.op == hrecEnd || c.op == hrecWhole {
		if c.old, b, ok = addressField(b); !ok {
			return false
		}
	}
	if two {
		if c.count, b, ok = decimalField(b); !ok {
			return false
		}
	}
	if c.op != hrecFree {
		if c.size, b, ok = decimalField(b); !ok {
			return false
		}
	}
	c.caller, b, ok = addressField(b)
	return ok && len(b) == 0
}

// decimalField reads a decimal number and the blank behind it.
func decimalField(b []byte) (n uint64, rest []byte, ok bool) {
	for i, c := range b {
		d := c - '0'
		if d > 9 {
			return n, b[i+1:], c == ' ' && 0 < i && i <= safeDigits
		}
		n = n*10 + uint64(d)
	}
	return 0, nil, false
}

// addressField reads an address with a 0x and the blank behind it, if any.
func addressField(b []byte) (addr uint64, rest []byte, ok bool) {
	if !has0x(b) {
		return 0, b, false
	}
	return hexField(b[2:])
}

func (p *hrecParser) parse(line []byte) verdict {
	var c hrecCall
	if !c.scan(line) || c.size > maxRequest {
		return lineBad
	}
	e := p.e
	e.at(c.ns)
	e.thread(c.tid)
	p.site(c.caller)
	switch c.op {
	case hrecMalloc:
		return e.alloc(c.ptr, c.size, 0, c.ptr == 0)
	case hrecCalloc:
		over, size := bits.Mul64(c.count, c.size)
		return e.alloc(c.ptr, size, 0, c.ptr == 0 || over != 0)
	case hrecMemalign:
		return e.alloc(c.ptr, c.size, c.count, c.ptr == 0)
	case hrecFree:
		e.free(c.ptr, c.ptr == 0)
		return lineEvent
	case hrecBegin:
		p.begin(c.ptr)
		return lineEvent
	case hrecEnd:
		return p.end(&c)
	}
	return e.realloc(c.old, c.ptr, c.size, c.old == 0, c.ptr == 0)
}

// site sets the call site, named by its address. A recorder of a 32-bit
// program may write addresses above 2 GiB with their sign extended.
func (p *hrecParser) site(caller uint64) {
	if caller>>31 == 1<<33-1 {
		caller &= math.MaxUint32
	}
	p.e.addrMask |= caller
	p.e.site(caller, addressName)
}

// addressName is the name of a call site known by its address only.
func addressName(addr uint64) string { return "0x" + strconv.FormatUint(addr, 16) }

// ofThread returns the open realloc of the thread whose line was read last.
func (p *hrecParser) ofThread() *hrecRealloc {
	t := int(p.e.context.Thread)
	for len(p.begun) <= t {
		p.begun = append(p.begun, hrecRealloc{})
	}
	return &p.begun[t]
}

// begin takes an rb line.
func (p *hrecParser) begin(old uint64) {
	b := p.ofThread()
	p.abandon(b)
	*b = hrecRealloc{begun: true, old: old}
	if old != 0 {
		b.slot, b.known = p.e.detach(old)
	}
}

// abandon settles a realloc whose end was lost. Where its object went is not
// known: it keeps its address and size, or dies if that address is taken.
func (p *hrecParser) abandon(b *hrecRealloc) {
	if !b.begun {
		return
	}
	b.begun = false
	p.e.hdr.Loss[trace.LossUnmatchedHalves]++
	if !b.known {
		return
	}
	if _, taken := p.e.objects.get(b.old); taken {
		p.e.kill(b.slot)
		return
	}
	p.e.reattach(b.slot, b.old)
}

// end takes an re line.
func (p *hrecParser) end(c *hrecCall) verdict {
	e, b := p.e, p.ofThread()
	if !b.begun || b.old != c.old {
		// The begin was lost: as if realloc had been one line.
		p.abandon(b)
		e.hdr.Loss[trace.LossUnmatchedHalves]++
		return e.realloc(c.old, c.ptr, c.size, c.old == 0, c.ptr == 0)
	}
	b.begun = false
	null := c.ptr == 0
	switch {
	case c.old == 0:
		return e.alloc(c.ptr, c.size, 0, null)
	case !null:
		return e.attach(b.slot, b.known, c.ptr, c.size)
	case c.size > 0:
		e.hdr.Loss[trace.LossFailedAllocs]++
		if b.known {
			e.reattach(b.slot, c.old)
		}
	case b.known:
		e.kill(b.slot)
	default:
		e.hdr.Loss[trace.LossUnknownFrees]++
	}
	return lineEvent
}

func (p *hrecParser) finish() {
	for i := range p.begun {
		p.abandon(&p.begun[i])
	}
}

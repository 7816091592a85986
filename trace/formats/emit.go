package formats

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/fragprof/fragprof/trace"
)

// verdict is what a line turned out to be.
type verdict uint8

const (
	lineEvent verdict = iota // an event, or another line the format defines
	lineOther                // output of something else
	lineBad                  // should be an event and is not
)

// lineParser is what a line-based format adds to a lineReader: it reads one
// line, without its end, and calls the emitter for the events in it. The line
// is only valid during the call.
type lineParser interface {
	parse(line []byte) verdict
	// finish is called once after the last line; it settles what is pending.
	finish()
}

// lineReader is the trace.Reader of every line-based format.
type lineReader struct {
	emitter
	lines  lineScanner
	parser lineParser
	in     *Input
	done   bool

	// strict makes a line that does not parse an error: for forms that carry
	// nothing but events and are written by this tool or by hand.
	strict bool
	// freeText says that other output between the events is normal, so that
	// even a few events in many lines make a trace.
	freeText bool
	// tornOK accepts a compressed stream that ends too early, as a killed
	// recorder leaves it.
	tornOK bool

	nonEmpty, bad uint64
}

// newLineReader returns a reader of in. The caller sets parser and options.
func newLineReader(in *Input, source string) *lineReader {
	r := &lineReader{in: in}
	r.lines.r = in.r
	r.hdr.Source = source
	r.hdr.Sites = []string{""}
	return r
}

func (r *lineReader) Header() *trace.Header { return &r.hdr }

func (r *lineReader) Close() error {
	if r.in.close == nil {
		return nil
	}
	return r.in.close()
}

func (r *lineReader) Next(b *trace.Block) error {
	r.begin(b)
	for !r.done && b.Len() < trace.BlockEvents {
		line, err := r.lines.next()
		if err != nil {
			if err := r.end(err); err != nil {
				return err
			}
			break
		}
		if len(line) == 0 {
			continue
		}
		r.nonEmpty++
		switch r.parser.parse(line) {
		case lineEvent:
		case lineOther:
			r.hdr.Loss[trace.LossOtherLines]++
		case lineBad:
			r.bad++
			r.hdr.Loss[trace.LossUnparsedLines]++
			if r.strict {
				return r.syntaxError(fmt.Sprintf("%.80q is no line of the %s form", line, r.hdr.Source))
			}
		}
	}
	r.block()
	if b.Len() == 0 {
		return io.EOF
	}
	return nil
}

// end settles the reader at the end of its input and says if that is an error.
func (r *lineReader) end(err error) error {
	r.done = true
	if err != io.EOF {
		if !r.tornOK || !errors.Is(err, io.ErrUnexpectedEOF) {
			return &trace.SyntaxError{File: r.in.Name, Line: r.lines.line, Err: err}
		}
		r.hdr.Loss[trace.LossTruncated]++
	}
	r.parser.finish()
	events := r.events + uint64(r.b.Len()+len(r.overflow))
	if events == 0 {
		return r.syntaxError(fmt.Sprintf("no %s event in %d lines", r.hdr.Source, r.nonEmpty))
	}
	if !r.freeText && r.bad > r.nonEmpty/2 {
		return r.syntaxError(fmt.Sprintf("%d of %d lines are no %s events", r.bad, r.nonEmpty, r.hdr.Source))
	}
	return nil
}

func (r *lineReader) syntaxError(msg string) error {
	return &trace.SyntaxError{File: r.in.Name, Line: r.lines.line, Msg: msg}
}

// emitter turns what a log says about addresses into events about slots. Its
// rules are the same for all formats and everything it drops or repairs is
// counted in the header's Loss:
//
//   - A null result is a failed call: an alloc is dropped, a failed realloc
//     leaves the object as it was.
//   - realloc of null is an alloc; realloc to size 0 with a null result is a
//     free, with another result a realloc to size 0.
//   - A free of null or of an unknown address is dropped; a realloc of an
//     unknown address is an alloc.
//   - An alloc at a live address means a free was missed: the old object dies
//     first.
//
// Callers set the context (time, thread, site) before they emit.
type emitter struct {
	hdr      trace.Header
	b        *trace.Block
	overflow []trace.Event // events that did not fit into b, for the next one
	counter  trace.Counter
	events   uint64 // in finished blocks

	objects table // key -> slot
	slots   trace.SlotPool

	context trace.Event // Time, Thread and Site of the next events
	base    int64       // first time stamp
	timed   bool

	// addresses says that keys are addresses, from whose width the pointer
	// bits of the recorded program are inferred.
	addresses bool
	addrMask  uint64

	threads  map[uint64]uint32
	lastTID  uint64
	siteKeys table             // numeric key -> site
	siteText map[string]uint32 // textual key -> site
}

// begin starts a block with the events that did not fit into the last.
func (e *emitter) begin(b *trace.Block) {
	b.Grow(trace.BlockEvents)
	b.Reset(e.events)
	e.b = b
	n := min(len(e.overflow), trace.BlockEvents)
	for _, ev := range e.overflow[:n] {
		b.Append(ev)
	}
	e.overflow = append(e.overflow[:0], e.overflow[n:]...)
}

// block finishes the block begun last.
func (e *emitter) block() {
	e.counter.Block(e.b)
	e.events += uint64(e.b.Len())
	e.hdr.Summary = e.counter.Summary()
	e.hdr.Complete = e.b.Len() == 0
	if e.addresses && e.events > 0 {
		e.hdr.PtrBits = 32
		if e.addrMask>>32 != 0 {
			e.hdr.PtrBits = 64
		}
	}
}

func (e *emitter) push(op trace.Op, slot trace.Slot, size uint64, align uint32) {
	ev := trace.Event{
		Op: op, Slot: slot, Size: size, Align: align,
		Time: e.context.Time, Thread: e.context.Thread, Site: e.context.Site,
	}
	if e.b.Len() < trace.BlockEvents {
		e.b.Append(ev)
	} else {
		e.overflow = append(e.overflow, ev)
	}
}

// maxRequest is the largest size taken for real: larger ones are negative
// numbers or nonsense.
const maxRequest = 1 << 62

// alloc emits the birth of the object with the given key. null says that the
// call failed.
func (e *emitter) alloc(key, size uint64, align uint64, null bool) verdict {
	if null {
		e.hdr.Loss[trace.LossFailedAllocs]++
		return lineEvent
	}
	if size > maxRequest {
		return lineBad
	}
	e.addrMask |= key
	e.freeStale(key)
	slot := e.slots.Take()
	e.objects.put(key, uint32(slot))
	e.push(trace.OpAlloc, slot, size, e.checkAlign(align))
	return lineEvent
}

func (e *emitter) checkAlign(align uint64) uint32 {
	if align&(align-1) != 0 || align > 1<<31 {
		e.hdr.Loss[trace.LossBadAlign]++
		return 0
	}
	return uint32(align)
}

// freeStale frees the object that lives at key, if any: its free was missed.
func (e *emitter) freeStale(key uint64) {
	if slot, ok := e.objects.remove(key); ok {
		e.hdr.Loss[trace.LossImplicitFrees]++
		e.kill(trace.Slot(slot))
	}
}

func (e *emitter) kill(slot trace.Slot) {
	e.slots.Give(slot)
	e.push(trace.OpFree, slot, 0, 0)
}

// free emits the death of the object with the given key.
func (e *emitter) free(key uint64, null bool) {
	if null {
		e.hdr.Loss[trace.LossNullFrees]++
		return
	}
	slot, ok := e.objects.remove(key)
	if !ok {
		e.hdr.Loss[trace.LossUnknownFrees]++
		return
	}
	e.kill(trace.Slot(slot))
}

// realloc emits a new size for the object known as was, from now on known as
// key.
func (e *emitter) realloc(was, key, size uint64, wasNull, null bool) verdict {
	switch {
	case wasNull:
		return e.alloc(key, size, 0, null)
	case null && size == 0:
		e.free(was, false)
		return lineEvent
	case null:
		e.hdr.Loss[trace.LossFailedAllocs]++
		return lineEvent
	case size > maxRequest:
		return lineBad
	}
	slot, ok := e.detach(was)
	return e.attach(slot, ok, key, size)
}

// detach takes the key from a live object, which lives on without one: the
// first half of a realloc whose halves are logged apart.
func (e *emitter) detach(key uint64) (trace.Slot, bool) {
	slot, ok := e.objects.remove(key)
	return trace.Slot(slot), ok
}

// attach gives a detached object its new key and size. known says that detach
// found it; otherwise the object is new.
func (e *emitter) attach(slot trace.Slot, known bool, key, size uint64) verdict {
	if size > maxRequest {
		return lineBad
	}
	if !known {
		e.hdr.Loss[trace.LossUnknownReallocs]++
		return e.alloc(key, size, 0, false)
	}
	e.freeStale(key)
	e.objects.put(key, uint32(slot))
	e.push(trace.OpRealloc, slot, size, 0)
	return lineEvent
}

// reattach gives a detached object its old key back: the realloc failed.
func (e *emitter) reattach(slot trace.Slot, key uint64) {
	e.freeStale(key)
	e.objects.put(key, uint32(slot))
}

// restart frees every live object: the log began anew.
func (e *emitter) restart() {
	if e.objects.used == 0 {
		return
	}
	e.hdr.Loss[trace.LossRestarts]++
	e.objects = table{}
	for slot := range trace.Slot(e.slots.Len()) {
		if e.slots.Live(slot) {
			e.kill(slot)
		}
	}
}

// at sets the time of the next events, in nanoseconds on the log's own clock.
func (e *emitter) at(ns int64) {
	if !e.timed {
		e.base, e.timed, e.hdr.HasTime = ns, true, true
	}
	// Both ends of the range come from hostile files only; wrapping there
	// gives a wrong time and nothing worse.
	if ns -= e.base; ns < e.context.Time {
		e.hdr.Loss[trace.LossBadTime]++
		return
	}
	e.context.Time = ns
}

// thread sets the thread of the next events; threads are numbered in order of
// appearance.
func (e *emitter) thread(tid uint64) {
	if e.threads == nil {
		e.threads = map[uint64]uint32{tid: 0}
		e.hdr.HasThread = true
		e.lastTID = tid
	}
	if tid == e.lastTID {
		return
	}
	t, ok := e.threads[tid]
	if !ok {
		t = uint32(len(e.threads))
		e.threads[tid] = t
	}
	e.lastTID, e.context.Thread = tid, t
}

// maxSites bounds the table of call sites; a log with more of them is hostile
// or names something else. Further sites are unknown.
const maxSites = 1 << 20

// site sets the call site of the next events from a number that stands for
// it; name is called once for each number.
func (e *emitter) site(key uint64, name func(key uint64) string) {
	id, ok := e.siteKeys.get(key)
	if !ok {
		id = e.addSite(name(key))
		e.siteKeys.put(key, id)
	}
	e.context.Site = trace.SiteID(id)
}

// siteName sets the call site of the next events from its name.
func (e *emitter) siteName(name []byte) {
	id, ok := e.siteText[string(name)]
	if !ok {
		if e.siteText == nil {
			e.siteText = map[string]uint32{}
		}
		id = e.addSite(string(name))
		e.siteText[string(name)] = id
	}
	e.context.Site = trace.SiteID(id)
}

func (e *emitter) addSite(name string) uint32 {
	if len(e.hdr.Sites) >= maxSites || name == "" {
		return 0
	}
	e.hdr.HasSite = true
	e.hdr.Sites = append(e.hdr.Sites, name)
	return uint32(len(e.hdr.Sites) - 1)
}

// table maps 64-bit keys to 32-bit values: open addressing with linear
// probing, at most 3/4 full, 12 bytes an entry. A plain map costs several
// times as much per event and this is the hottest part of every import.
type table struct {
	keys []uint64
	vals []uint32 // value + 1; zero is an empty place
	used int
}

func (t *table) home(key uint64) int {
	hi, lo := bits.Mul64(key^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return int((hi ^ lo) & uint64(len(t.keys)-1))
}

// find returns the place of key, or the empty place where it would go.
func (t *table) find(key uint64) (int, bool) {
	i := t.home(key)
	for t.vals[i] != 0 {
		if t.keys[i] == key {
			return i, true
		}
		i = (i + 1) & (len(t.keys) - 1)
	}
	return i, false
}

func (t *table) get(key uint64) (uint32, bool) {
	if t.used == 0 {
		return 0, false
	}
	i, ok := t.find(key)
	if !ok {
		return 0, false
	}
	return t.vals[i] - 1, true
}

func (t *table) put(key uint64, val uint32) {
	if 4*(t.used+1) > 3*len(t.keys) {
		t.grow()
	}
	i, ok := t.find(key)
	if !ok {
		t.used++
	}
	t.keys[i], t.vals[i] = key, val+1
}

func (t *table) grow() {
	old := *t
	n := max(64, 2*len(old.keys))
	t.keys, t.vals = make([]uint64, n), make([]uint32, n)
	for i, v := range old.vals {
		if v != 0 {
			j, _ := t.find(old.keys[i])
			t.keys[j], t.vals[j] = old.keys[i], v
		}
	}
}

func (t *table) remove(key uint64) (uint32, bool) {
	if t.used == 0 {
		return 0, false
	}
	i, ok := t.find(key)
	if !ok {
		return 0, false
	}
	val := t.vals[i] - 1
	t.used--
	// Close the gap: move back every later entry of the run that may stand here.
	mask := len(t.keys) - 1
	for j := i; ; {
		j = (j + 1) & mask
		if t.vals[j] == 0 {
			break
		}
		if (j-t.home(t.keys[j]))&mask >= (j-i)&mask {
			t.keys[i], t.vals[i] = t.keys[j], t.vals[j]
			i = j
		}
	}
	t.vals[i] = 0
	return val, true
}

// maxLine bounds a line; the rest of a longer one is passed over.
const maxLine = 1 << 20

// lineScanner cuts a stream into lines without copying them.
type lineScanner struct {
	r          io.Reader
	buf        []byte
	start, end int
	line       uint64 // number of the line returned last
	err        error
}

// next returns the next line without its end ("\n" or "\r\n"). It is valid
// until the next call.
func (s *lineScanner) next() ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(s.buf[s.start+scanned:s.end], '\n'); i >= 0 {
			line := s.buf[s.start : s.start+scanned+i]
			s.start += scanned + i + 1
			s.line++
			return trimCR(line), nil
		}
		scanned = s.end - s.start
		if s.err != nil {
			if scanned > 0 && s.err == io.EOF {
				line := s.buf[s.start:s.end]
				s.start = s.end
				s.line++
				return trimCR(line), nil
			}
			return nil, s.err
		}
		if scanned > maxLine {
			return s.longLine()
		}
		s.fill()
	}
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// fill reads more behind what is buffered.
func (s *lineScanner) fill() {
	if s.buf == nil {
		s.buf = make([]byte, 256<<10)
	}
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.start, s.end = 0, s.end-s.start
	}
	if s.end == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if s.err = err; n > 0 || err != nil {
			return
		}
	}
	s.err = io.ErrNoProgress
}

// longLine returns the first part of a line that is too long and passes over
// the rest of it.
func (s *lineScanner) longLine() ([]byte, error) {
	line := bytes.Clone(s.buf[s.start : s.start+maxLine])
	s.line++
	for {
		if i := bytes.IndexByte(s.buf[s.start:s.end], '\n'); i >= 0 {
			s.start += i + 1
			return line, nil
		}
		s.start, s.end = 0, 0
		if s.err != nil {
			return line, nil
		}
		s.fill()
	}
}

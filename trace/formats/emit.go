package formats

import "github.com/fragprof/fragprof/trace"

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
	overflow []trace.Event // events that did not fit into b, for the next ones
	drained  int           // of overflow, already in a block
	counter  trace.Counter
	events   uint64 // in finished blocks

	objects table // key -> slot
	slots   trace.SlotPool

	context trace.Event // Time, Thread and Site of the next events
	base    int64       // first time stamp
	timed   bool

	// addresses says that keys are addresses, from whose width the pointer
	// bits of the recorded program are inferred. wideOnly says that a 64-bit
	// program may have its heap below 4 GiB as well, so that only addresses
	// above tell something.
	addresses, wideOnly bool
	addrMask            uint64 // all addresses or-ed

	threads  table // thread ID of the log -> number
	lastTID  uint64
	siteKeys table             // numeric key -> site
	siteText map[string]uint32 // textual key -> site
	siteSize int               // bytes in the names of sites and the keys of siteText
}

// begin starts a block with the events that did not fit into the last.
func (e *emitter) begin(b *trace.Block) {
	// Many traces are small; a first block that proves to be full has grown by
	// then.
	room := trace.BlockEvents
	if e.events == 0 {
		room = 1 << 10
	}
	b.Grow(room)
	b.Reset(e.events)
	e.b = b
	n := min(e.pending(), trace.BlockEvents)
	for _, ev := range e.overflow[e.drained : e.drained+n] {
		b.Append(ev)
	}
	if e.drained += n; e.pending() == 0 {
		e.overflow, e.drained = e.overflow[:0], 0
	}
}

// pending returns the number of events that wait for the next block.
func (e *emitter) pending() int { return len(e.overflow) - e.drained }

// block finishes the block begun last.
func (e *emitter) block() {
	e.counter.Block(e.b)
	e.events += uint64(e.b.Len())
	e.hdr.Summary = e.counter.Summary()
	e.hdr.Complete = e.b.Len() == 0
	if e.addresses && e.events > 0 {
		switch {
		case e.addrMask>>32 != 0:
			e.hdr.PtrBits = 64
		case !e.wideOnly:
			e.hdr.PtrBits = 32
		}
	}
}

func (e *emitter) push(op trace.Op, slot trace.Slot, size uint64, align uint32) {
	b := e.b
	n := len(b.Op)
	if n >= trace.BlockEvents {
		e.overflow = append(e.overflow, trace.Event{
			Op: op, Slot: slot, Size: size, Align: align,
			Time: e.context.Time, Thread: e.context.Thread, Site: e.context.Site,
		})
		return
	}
	b.Op = append(b.Op, op)
	b.Slot = append(b.Slot, slot)
	b.Size = append(b.Size, size)
	b.Align = append(b.Align, align)
	b.Time = append(b.Time, e.context.Time)
	b.Thread = append(b.Thread, e.context.Thread)
	b.Site = append(b.Site, e.context.Site)
}

// maxRequest is the largest size taken for real.
const maxRequest = trace.MaxSize

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
	place, stale := e.objects.place(key)
	if stale {
		e.hdr.Loss[trace.LossImplicitFrees]++
		e.kill(trace.Slot(place.val - 1))
	}
	slot := e.slots.Take()
	place.val = uint32(slot) + 1
	if align != 0 {
		align = uint64(e.checkAlign(align))
	}
	e.push(trace.OpAlloc, slot, size, uint32(align))
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
	if was == key {
		if slot, ok := e.objects.get(key); ok {
			e.push(trace.OpRealloc, trace.Slot(slot), size, 0)
			return lineEvent
		}
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
// found it; otherwise the object is new. A size that cannot be makes the line
// bad and leaves the object detached: the caller reattaches it.
func (e *emitter) attach(slot trace.Slot, known bool, key, size uint64) verdict {
	if size > maxRequest {
		return lineBad
	}
	if !known {
		e.hdr.Loss[trace.LossUnknownReallocs]++
		return e.alloc(key, size, 0, false)
	}
	e.addrMask |= key
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
	since := ns - e.base // wraps below zero if it does not fit
	if ns < e.base || since < e.context.Time {
		e.hdr.Loss[trace.LossBadTime]++
		return
	}
	e.context.Time = since
}

// thread sets the thread of the next events; threads are numbered in order of
// appearance.
func (e *emitter) thread(tid uint64) {
	if tid == e.lastTID && e.threads.used > 0 {
		return
	}
	t, ok := e.threads.get(tid)
	if !ok {
		e.hdr.HasThread = true
		t = uint32(e.threads.used)
		e.threads.put(tid, t)
	}
	e.lastTID, e.context.Thread = tid, t
}

// maxSites and maxSiteBytes bound the table of call sites; a log with more of
// them is hostile or names something else. Further sites are unknown.
const (
	maxSites     = 1 << 20
	maxSiteBytes = 512 << 20
)

// site sets the call site of the next events from a number that stands for
// it; name is called once for each number.
func (e *emitter) site(key uint64, name func(key uint64) string) {
	id, ok := e.siteKeys.get(key)
	if !ok && !e.sitesFull() {
		id = e.addSite(name(key))
		e.siteKeys.put(key, id)
	}
	e.context.Site = trace.SiteID(id)
}

// siteName sets the call site of the next events from its name.
func (e *emitter) siteName(name []byte) {
	id, ok := e.siteText[string(name)]
	if !ok && !e.sitesFull() {
		if e.siteText == nil {
			e.siteText = map[string]uint32{}
		}
		key := string(name)
		id = e.addSite(cleanText(key))
		e.siteText[key] = id
		e.siteSize += len(key)
	}
	e.context.Site = trace.SiteID(id)
}

// sitesFull reports that no further site is named, and counts the event that
// loses its site by that.
func (e *emitter) sitesFull() bool {
	if len(e.hdr.Sites) < maxSites && e.siteSize <= maxSiteBytes {
		return false
	}
	e.hdr.Loss[trace.LossSites]++
	return true
}

func (e *emitter) addSite(name string) uint32 {
	if name == "" {
		return 0
	}
	e.siteSize += len(name)
	e.hdr.HasSite = true
	e.hdr.Sites = append(e.hdr.Sites, name)
	return uint32(len(e.hdr.Sites) - 1)
}

// Package edit changes traces: an Editor sees the events of a trace one by one
// and writes others in their place, and Source makes of it a trace that can be
// replayed like any other. Slots are handed out anew, lowest free first, so
// that an edited trace is as sound as its original whatever an Editor drops,
// adds or moves, as long as it frees what it allocated and no more than once.
//
// An edit streams: it holds what its Editor holds, and a block of events.
package edit

import (
	"io"

	"github.com/fragprof/fragprof/trace"
)

// Editor changes the events of one reading of a trace. It is used by one
// goroutine and for one reading only.
type Editor interface {
	// Event takes the next event of the original; e.Slot is the original's. The
	// event is the callee's to change.
	Event(e *trace.Event, w *Writer)
	// End is called after the last event of the original.
	End(w *Writer)
}

// None is the slot of no object.
const None = ^trace.Slot(0)

// Writer takes the events of an edited trace. Slots it gives and takes are
// those of the edited trace.
type Writer struct {
	pool trace.SlotPool
	out  trace.Block // events not read yet start at from
	from int
}

// Alloc writes an alloc of e's size, alignment and circumstances, and returns
// the slot of the new object.
func (w *Writer) Alloc(e *trace.Event) trace.Slot {
	slot := w.pool.Take()
	w.append(trace.OpAlloc, slot, e.Size, e.Align, e)
	return slot
}

// Realloc writes a realloc of the object to size bytes.
func (w *Writer) Realloc(slot trace.Slot, size uint64, e *trace.Event) {
	w.append(trace.OpRealloc, slot, size, 0, e)
}

// Free writes a free of the object.
func (w *Writer) Free(slot trace.Slot, e *trace.Event) {
	w.append(trace.OpFree, slot, 0, 0, e)
	w.pool.Give(slot)
}

func (w *Writer) append(op trace.Op, slot trace.Slot, size uint64, align uint32, e *trace.Event) {
	w.out.Append(trace.Event{Op: op, Slot: slot, Size: size, Align: align, Time: e.Time, Thread: e.Thread, Site: e.Site})
}

// pending returns the number of events written and not read.
func (w *Writer) pending() int { return w.out.Len() - w.from }

// take moves up to a block of events to b.
func (w *Writer) take(b *trace.Block, first uint64) {
	b.Reset(first)
	to := min(w.out.Len(), w.from+trace.BlockEvents)
	o := &w.out
	b.Op = append(b.Op, o.Op[w.from:to]...)
	b.Slot = append(b.Slot, o.Slot[w.from:to]...)
	b.Size = append(b.Size, o.Size[w.from:to]...)
	b.Align = append(b.Align, o.Align[w.from:to]...)
	b.Time = append(b.Time, o.Time[w.from:to]...)
	b.Thread = append(b.Thread, o.Thread[w.from:to]...)
	b.Site = append(b.Site, o.Site[w.from:to]...)
	if w.from = to; to == o.Len() {
		o.Reset(0)
		w.from = 0
	}
}

// Slots maps the slots of the original to those of the edited trace, for
// Editors whose objects correspond one to one.
type Slots []trace.Slot

// Set notes that the object in slot of the original is now in the given slot,
// or None.
func (s *Slots) Set(original, edited trace.Slot) {
	for int(original) >= len(*s) {
		*s = append(*s, None)
	}
	(*s)[original] = edited
}

// Copy writes the event unchanged. An object that is None is passed over.
func (s *Slots) Copy(e *trace.Event, w *Writer) {
	switch e.Op {
	case trace.OpAlloc:
		s.Set(e.Slot, w.Alloc(e))
	case trace.OpRealloc:
		if slot := (*s)[e.Slot]; slot != None {
			w.Realloc(slot, e.Size, e)
		}
	case trace.OpFree:
		if slot := (*s)[e.Slot]; slot != None {
			w.Free(slot, e)
		}
		(*s)[e.Slot] = None
	}
}

// Source returns the trace that results when each reading of src goes through
// an Editor of its own. It reads src once to count, and keeps the result in
// memory if its columns take at most keep bytes. The header is src's, with
// the counts of the edited trace.
func Source(src trace.Source, keep uint64, edit func() (Editor, error)) (trace.Source, error) {
	header := *src.Header()
	e := &edited{src: src, edit: edit, header: &header}
	r, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var c trace.Counter
	var kept []*trace.Block
	var bytes uint64
	b := new(trace.Block)
	for {
		if err := r.Next(b); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		c.Block(b)
		if bytes += uint64(b.Len()) * trace.EventBytes; bytes <= keep {
			kept = append(kept, b)
			b = new(trace.Block)
		} else {
			kept = nil
		}
	}
	header.Summary, header.Complete = c.Summary(), true
	if bytes <= keep {
		return trace.CountedMemory(&header, kept), nil
	}
	return e, nil
}

type edited struct {
	src    trace.Source
	edit   func() (Editor, error)
	header *trace.Header
}

func (s *edited) Header() *trace.Header { return s.header }

func (s *edited) Open() (trace.Reader, error) {
	ed, err := s.edit()
	if err != nil {
		return nil, err
	}
	in, err := s.src.Open()
	if err != nil {
		return nil, err
	}
	return &reader{header: s.header, in: in, editor: ed}, nil
}

type reader struct {
	header *trace.Header
	in     trace.Reader
	editor Editor
	w      Writer
	block  trace.Block
	at     int // next event of block
	done   bool
	first  uint64
}

func (r *reader) Header() *trace.Header { return r.header }
func (r *reader) Close() error          { return r.in.Close() }

func (r *reader) Next(b *trace.Block) error {
	for !r.done && r.w.pending() < trace.BlockEvents {
		if r.at == r.block.Len() {
			r.at = 0
			if err := r.in.Next(&r.block); err == io.EOF {
				r.done = true
				r.editor.End(&r.w)
				break
			} else if err != nil {
				return err
			}
		}
		e := r.block.At(r.at)
		r.at++
		r.editor.Event(&e, &r.w)
	}
	r.w.take(b, r.first)
	r.first += uint64(b.Len())
	if b.Len() == 0 {
		return io.EOF
	}
	return nil
}

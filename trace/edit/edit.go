// Package edit changes traces: an Editor sees the events of a trace one by one
// and writes others in their place, and Source makes of it a trace that can be
// replayed like any other. Slots are handed out anew, lowest free first, so
// that an edited trace is as sound as its original whatever an Editor drops,
// adds or moves, as long as it frees what it allocated and no more than once.
//
// An edit streams: it holds what its Editor holds, and a block of events.
package edit

import (
	"errors"
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
	pool   trace.SlotPool
	events uint64
	out    trace.Block // events not read yet start at from
	from   int
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

// Events returns the number of events written so far.
func (w *Writer) Events() uint64 { return w.events }

func (w *Writer) append(op trace.Op, slot trace.Slot, size uint64, align uint32, e *trace.Event) {
	w.events++
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

// Generator writes the events of one reading of a trace. It is used by one
// goroutine.
type Generator interface {
	// Fill writes some events, at least one unless it returns io.EOF, after
	// which it is not called again.
	Fill(w *Writer) error
	io.Closer
}

// Source returns the trace that results when each reading of src goes through
// an Editor of its own. It reads src once to count, and keeps the result in
// memory if its columns take at most keep bytes. The header is src's, with
// the counts of the edited trace.
func Source(src trace.Source, keep uint64, edit func() (Editor, error)) (trace.Source, error) {
	return Generate(src.Header(), keep, func() (Generator, error) {
		editor, err := edit()
		if err != nil {
			return nil, err
		}
		in, err := src.Open()
		if err != nil {
			return nil, err
		}
		return &editing{in: in, editor: editor}, nil
	})
}

// editing is a Generator that passes a trace through an Editor.
type editing struct {
	in     trace.Reader
	editor Editor
	block  trace.Block
}

func (g *editing) Close() error { return g.in.Close() }

func (g *editing) Fill(w *Writer) error {
	err := g.in.Next(&g.block)
	if err == io.EOF {
		g.editor.End(w)
	}
	if err != nil {
		return err
	}
	for i := range g.block.Op {
		e := g.block.At(i)
		g.editor.Event(&e, w)
	}
	return nil
}

// Generate returns the trace that Generators write, each reading one of its
// own, which all write the same. It reads it once to count, and keeps it in
// memory if its columns take at most keep bytes. The header is h with other
// counts.
func Generate(h *trace.Header, keep uint64, generate func() (Generator, error)) (src trace.Source, err error) {
	header := *h
	g := &generated{header: &header, generate: generate}
	r, err := g.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
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
	return g, nil
}

type generated struct {
	header   *trace.Header
	generate func() (Generator, error)
}

func (s *generated) Header() *trace.Header { return s.header }

func (s *generated) Open() (trace.Reader, error) {
	g, err := s.generate()
	if err != nil {
		return nil, err
	}
	return &reader{header: s.header, g: g}, nil
}

type reader struct {
	header *trace.Header
	g      Generator
	w      Writer
	done   bool
	first  uint64
}

func (r *reader) Header() *trace.Header { return r.header }
func (r *reader) Close() error          { return r.g.Close() }

func (r *reader) Next(b *trace.Block) error {
	for !r.done && r.w.pending() < trace.BlockEvents {
		if err := r.g.Fill(&r.w); err == io.EOF {
			r.done = true
		} else if err != nil {
			return err
		}
	}
	r.w.take(b, r.first)
	r.first += uint64(b.Len())
	if b.Len() == 0 {
		return io.EOF
	}
	return nil
}

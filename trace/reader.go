package trace

import "io"

// Reader gives the events of a trace in order. It is used by one goroutine.
type Reader interface {
	// Header describes the trace as far as it is known by now: see
	// Header.Complete. The pointer stays valid and its fields grow with the
	// reading; callers do not write to it.
	Header() *Header
	// Next fills b with the next events, reusing b's columns, and returns
	// io.EOF, with b empty, after the last. An error ends the trace: a
	// SyntaxError names the line or byte, a SemanticError the event.
	Next(b *Block) error
	io.Closer
}

// Source is a trace that can be read many times, each time the same.
type Source interface {
	// Header describes the trace; its counts are complete.
	Header() *Header
	// Open starts a reading from the first event. Readings are independent
	// and may run at the same time.
	Open() (Reader, error)
}

// Memory is a Source whose blocks are held in memory and shared, read-only, by
// all its readers.
type Memory struct {
	header *Header
	blocks []*Block
}

// NewMemory returns a Source of the given blocks, which it takes over. It sets
// the header's Summary and marks it complete.
func NewMemory(h *Header, blocks []*Block) *Memory {
	var c Counter
	for _, b := range blocks {
		c.Block(b)
	}
	h.Summary, h.Complete = c.Summary(), true
	return &Memory{header: h, blocks: blocks}
}

// CountedMemory is NewMemory for blocks whose counts the header has already.
func CountedMemory(h *Header, blocks []*Block) *Memory {
	return &Memory{header: h, blocks: blocks}
}

// Header describes the trace.
func (m *Memory) Header() *Header { return m.header }

// Blocks returns the trace's blocks, which callers must not change.
func (m *Memory) Blocks() []*Block { return m.blocks }

// Open starts a reading. Its Next copies slice headers, not events, so blocks
// it fills must not be appended to.
func (m *Memory) Open() (Reader, error) { return &memoryReader{m: m}, nil }

type memoryReader struct {
	m    *Memory
	next int
}

func (r *memoryReader) Header() *Header { return r.m.header }
func (r *memoryReader) Close() error    { return nil }

func (r *memoryReader) Next(b *Block) error {
	if r.next == len(r.m.blocks) {
		*b = Block{}
		return io.EOF
	}
	*b = *r.m.blocks[r.next]
	r.next++
	return nil
}

package modeltest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/fragprof/fragprof/heapmodel"
)

// Kind is what an operation does.
type Kind uint8

// The kinds of operations, by the letter that begins their line.
const (
	Alloc   Kind = 'a'
	Realloc Kind = 'r'
	Free    Kind = 'f'
)

// Op is one operation of a trace. IDs are dense: the next new object has the
// next ID, and no ID is used twice.
type Op struct {
	Size  uint64 // bytes; 0 for Free
	ID    uint32
	Align uint32 // of an Alloc; 0 if it has none
	Kind  Kind
}

// String returns the operation's line.
func (o Op) String() string {
	switch {
	case o.Kind == Free:
		return fmt.Sprintf("f %d", o.ID)
	case o.Align != 0:
		return fmt.Sprintf("%c %d %d %d", o.Kind, o.ID, o.Size, o.Align)
	}
	return fmt.Sprintf("%c %d %d", o.Kind, o.ID, o.Size)
}

// Trace is a list of operations.
type Trace struct {
	Name    string
	Ops     []Op
	Objects uint32 // number of IDs
}

// String returns the trace as ParseOps reads it.
func (t *Trace) String() string {
	var b bytes.Buffer
	for _, o := range t.Ops {
		b.WriteString(o.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// ParseOps reads a trace, plain or gzipped. An operation a line:
//
//	a ID SIZE [ALIGN]    allocate
//	r ID SIZE            reallocate, or allocate if the object is not live
//	f ID                 free
//
// Lines that begin with # are comments. Errors name the line. A trace is read
// whole, at 24 bytes an operation.
func ParseOps(name string, r io.Reader) (*Trace, error) {
	in := bufio.NewReader(r)
	if head, _ := in.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		in = bufio.NewReader(z)
	}
	p := opsParser{t: &Trace{Name: name}}
	lines := bufio.NewScanner(in)
	for line := 1; lines.Scan(); line++ {
		if err := p.line(lines.Bytes()); err != nil {
			return nil, fmt.Errorf("%s:%d: %q: %w", name, line, lines.Bytes(), err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: after %d operations: %w", name, len(p.t.Ops), err)
	}
	return p.t, nil
}

type opsParser struct {
	t     *Trace
	freed []bool // by ID
}

func (p *opsParser) line(line []byte) error {
	if len(line) == 0 || line[0] == '#' {
		return nil
	}
	fields := bytes.Fields(line)
	o := Op{Kind: Kind(line[0])}
	least, most := 3, 3
	switch o.Kind {
	case Alloc:
		most = 4
	case Free:
		least, most = 2, 2
	case Realloc:
	default:
		return errors.New("want a, r or f")
	}
	if len(fields[0]) != 1 || len(fields) < least || len(fields) > most {
		return errors.New("want \"a ID SIZE [ALIGN]\", \"r ID SIZE\" or \"f ID\"")
	}
	id, err := strconv.ParseUint(string(fields[1]), 10, 31)
	if err != nil {
		return fmt.Errorf("ID: %w", errors.Unwrap(err))
	}
	o.ID = uint32(id)
	if len(fields) > 2 {
		if o.Size, err = strconv.ParseUint(string(fields[2]), 10, 64); err != nil {
			return fmt.Errorf("size: %w", errors.Unwrap(err))
		}
		if o.Size > heapmodel.MaxSize {
			return fmt.Errorf("size: at most %d", uint64(heapmodel.MaxSize))
		}
	}
	if len(fields) > 3 {
		align, err := strconv.ParseUint(string(fields[3]), 10, 32)
		if err != nil || align == 0 || align&(align-1) != 0 {
			return errors.New("align: want a power of two up to 2^31")
		}
		o.Align = uint32(align)
	}
	return p.add(o)
}

// add checks the rules about IDs.
func (p *opsParser) add(o Op) error {
	switch {
	case o.Kind == Alloc && o.ID != p.t.Objects:
		return fmt.Errorf("the next new ID is %d", p.t.Objects)
	case o.Kind == Alloc:
		p.t.Objects++
		p.freed = append(p.freed, false)
	case o.ID >= p.t.Objects:
		return errors.New("no such object")
	case p.freed[o.ID]:
		return errors.New("the object was freed before")
	case o.Kind == Free:
		p.freed[o.ID] = true
	}
	p.t.Ops = append(p.t.Ops, o)
	return nil
}

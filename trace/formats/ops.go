package formats

import (
	"bufio"
	"bytes"
	"io"
	"strconv"

	"github.com/fragprof/fragprof/trace"
)

// The text form, an operation a line:
//
//	a ID SIZE [ALIGN] [@SITE]    allocate
//	r ID SIZE                    reallocate
//	f ID                         free
//
// Numbers are decimal. IDs name objects and may be reused after a free. What
// begins with # is a comment, except that a line "#: key=value ..." sets what
// the form cannot say otherwise: program, ptr (16, 32, 64), sizes (requested,
// block), synthetic (true, false).

func openOps(in *Input, _ Options) (trace.Reader, error) {
	r := newLineReader(in, "ops")
	r.strict = true
	r.parser = &opsParser{e: &r.emitter}
	return r, nil
}

// sniffOps takes whatever begins with lines of the form, so that a bad line
// further on is an error of that line. Only f -1 is left to the rep format.
func sniffOps(head []byte) bool {
	e := &emitter{}
	p := &opsParser{e: e}
	seen := 0
	for line := range bytes.Lines(completeLines(head)) {
		line = trimCR(bytes.TrimSuffix(line, []byte("\n")))
		if len(line) == 0 {
			continue
		}
		l, ok := p.scan(line)
		if !ok {
			return seen > 0 && !hasPrefix(line, "f -")
		}
		if l.op != '#' {
			seen++
		}
	}
	return seen > 0
}

type opsParser struct{ e *emitter }

type opsLine struct {
	op              byte
	id, size, align uint64
	site            []byte
}

// scan reads one line without acting on it. Comments have op '#'.
func (p *opsParser) scan(line []byte) (l opsLine, ok bool) {
	if line[0] == '#' {
		return opsLine{op: '#'}, true
	}
	if len(line) < 3 || line[1] != ' ' {
		return l, false
	}
	l.op = line[0]
	rest := line[2:]
	if l.id, rest, ok = decimal(rest); !ok {
		return l, false
	}
	if l.op != 'f' {
		if len(rest) == 0 || rest[0] != ' ' {
			return l, false
		}
		if l.size, rest, ok = decimal(rest[1:]); !ok {
			return l, false
		}
	}
	rest = skipSpace(rest)
	switch l.op {
	case 'f', 'r':
	case 'a':
		if len(rest) > 0 && rest[0] != '@' {
			if l.align, rest, ok = decimal(rest); !ok || l.align == 0 {
				return l, false
			}
			rest = skipSpace(rest)
		}
		if len(rest) > 1 && rest[0] == '@' {
			l.site, rest = word(rest[1:])
		}
	default:
		return l, false
	}
	return l, len(rest) == 0
}

func (p *opsParser) parse(line []byte) verdict {
	l, ok := p.scan(line)
	if !ok {
		return lineBad
	}
	switch l.op {
	case '#':
		if text, ok := bytes.CutPrefix(line, []byte("#:")); ok {
			return p.directive(text)
		}
	case 'a':
		p.e.context.Site = 0
		if l.site != nil {
			p.e.siteName(l.site)
		}
		return p.e.alloc(l.id, l.size, l.align, false)
	case 'r':
		p.e.context.Site = 0
		return p.e.realloc(l.id, l.id, l.size, false, false)
	case 'f':
		p.e.context.Site = 0
		p.e.free(l.id, false)
	}
	return lineEvent
}

func (p *opsParser) directive(text []byte) verdict {
	h := &p.e.hdr
	for field := range bytes.FieldsSeq(text) {
		key, value, ok := bytes.Cut(field, []byte("="))
		if !ok {
			return lineBad
		}
		switch v := string(value); string(key) {
		case "program":
			h.Program = v
		case "ptr":
			if v != "16" && v != "32" && v != "64" {
				return lineBad
			}
			h.PtrBits, _ = strconv.Atoi(v)
		case "sizes":
			kind, err := trace.ParseSizeKind(v)
			if err != nil {
				return lineBad
			}
			h.Sizes = kind
		case "synthetic":
			h.Synthetic = v == "true"
		default:
			return lineBad
		}
	}
	return lineEvent
}

func (p *opsParser) finish() {}

// WriteOps writes a trace in the text form: IDs are dense in order of first
// appearance and never reused; times, threads and sites have no place in it.
// It needs 8 bytes for each slot.
func WriteOps(w io.Writer, r trace.Reader) error {
	out := bufio.NewWriterSize(w, 256<<10)
	var ids []uint64 // by slot
	var next uint64
	b := new(trace.Block)
	line := make([]byte, 0, 64)
	for {
		if err := r.Next(b); err == io.EOF {
			return out.Flush()
		} else if err != nil {
			return err
		}
		for i, op := range b.Op {
			slot := int(b.Slot[i])
			for slot >= len(ids) {
				ids = append(ids, 0)
			}
			switch op {
			case trace.OpAlloc:
				ids[slot] = next
				next++
				line = strconv.AppendUint(append(line[:0], "a "...), ids[slot], 10)
				line = strconv.AppendUint(append(line, ' '), b.Size[i], 10)
				if b.Align[i] != 0 {
					line = strconv.AppendUint(append(line, ' '), uint64(b.Align[i]), 10)
				}
			case trace.OpRealloc:
				line = strconv.AppendUint(append(line[:0], "r "...), ids[slot], 10)
				line = strconv.AppendUint(append(line, ' '), b.Size[i], 10)
			case trace.OpFree:
				line = strconv.AppendUint(append(line[:0], "f "...), ids[slot], 10)
			}
			line = append(line, '\n')
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
	}
}

package formats

import "github.com/fragprof/fragprof/trace"

// Traces of malloc labs, as courses on operating systems hand them out:
//
//	HEAPSIZE, NUM_IDS, NUM_OPS, WEIGHT    a line each; some have only three
//	a ID SIZE                             allocate
//	r ID SIZE                             reallocate; allocates an ID not live
//	f ID                                  free; ID -1 is the null pointer
//
// IDs may be reused after a free. The counts in front are often wrong and are
// not used. Nothing else is in such a file, but lines that cannot be read
// occur in traces handed around for years; they are counted.

// maxRepHeader is how many lines of a single number may come first.
const maxRepHeader = 4

func openRep(in *Input, _ Options) (trace.Reader, error) {
	r := newLineReader(in, "rep")
	r.parser = &repParser{e: &r.emitter}
	return r, nil
}

// sniffRep asks for the header and at least one operation behind it, or for
// operations only; most lines must be readable.
func sniffRep(head []byte) bool {
	p := &repParser{}
	lines, ops := 0, 0
	for line := range headLines(head) {
		lines++
		l, ok := p.scan(line)
		switch {
		case !ok && ops == 0:
			return false
		case ok && l.op != repNumber:
			ops++
		case !ok || ops > 0:
		default:
			lines-- // of the header
		}
	}
	return ops > 0 && 2*ops >= lines
}

type repParser struct {
	e      *emitter
	header int  // lines of the header so far
	begun  bool // an operation was seen
}

// repNumber is the op of a header line.
const repNumber = '0'

type repLine struct {
	op       byte
	id, size uint64
	null     bool // the ID is -1
}

// scan reads one line without acting on it.
func (p *repParser) scan(line []byte) (l repLine, ok bool) {
	line = trimEnd(skipSpace(line))
	if len(line) < 3 || line[1] != ' ' {
		return p.scanNumber(line)
	}
	l.op = line[0]
	rest := skipSpace(line[2:])
	if l.op == 'f' && string(rest) == "-1" {
		l.null = true
		return l, true
	}
	if l.id, rest, ok = decimal(rest); !ok {
		return l, false
	}
	switch l.op {
	case 'a', 'r':
		if len(rest) == 0 || rest[0] != ' ' {
			return l, false
		}
		if l.size, rest, ok = decimal(skipSpace(rest)); !ok {
			return l, false
		}
	case 'f':
	default:
		return p.scanNumber(line)
	}
	return l, len(rest) == 0
}

// scanNumber reads a line of the header.
func (p *repParser) scanNumber(line []byte) (l repLine, ok bool) {
	l.op = repNumber
	l.size, line, ok = decimal(line)
	return l, ok && len(line) == 0
}

func (p *repParser) parse(line []byte) verdict {
	l, ok := p.scan(line)
	if !ok {
		if l.op == 'a' || l.op == 'r' || l.op == 'f' {
			return lineBad
		}
		return lineOther
	}
	if l.op == repNumber {
		if p.header++; p.begun || p.header > maxRepHeader {
			return lineBad
		}
		return lineEvent
	}
	p.begun = true
	switch l.op {
	case 'a':
		return p.e.alloc(l.id, l.size, 0, false)
	case 'r':
		return p.realloc(l.id, l.size)
	}
	p.e.free(l.id, l.null)
	return lineEvent
}

// realloc follows C: of a pointer that is null, which an ID stands for until
// it is allocated, it allocates; a live object it frees when the size is 0.
func (p *repParser) realloc(id, size uint64) verdict {
	if _, live := p.e.objects.get(id); live {
		return p.e.realloc(id, id, size, false, size == 0)
	}
	return p.e.attach(0, false, id, size)
}

func (p *repParser) finish() {}

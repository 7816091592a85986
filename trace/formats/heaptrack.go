package formats

import (
	"bytes"
	"fmt"
	"math"

	"github.com/fragprof/fragprof/trace"
)

// heaptrack files, file versions 0 to 3, raw (heaptrack --raw) and interpreted
// (what heaptrack leaves behind by default). Both are text: a letter that says
// what the line is, then hexadecimal numbers without a prefix.
//
//	v APPVERSION FILEVERSION     first line; files of version 0 have none
//	X CMDLINE                    what ran
//	c MS                         the clock, about every 10 ms
//	t IP PARENT                  node of the tree of call stacks; numbered from 1
//
// A raw file says where each object is:
//
//	x [LEN] PATH                 the program; LEN since version 3
//	m [LEN] NAME BASE {VADDR MEMSZ}    a loaded module; "m [1] -" forgets them all
//	+ SIZE TRACE PTR             alloc; TRACE is the node of its caller
//	- PTR                        free
//
// An interpreted file has lost the addresses; the program's objects of one
// size and call stack are a class and cannot be told apart:
//
//	s [LEN] STRING               numbered from 1
//	i IP MODULE [FUNC FILE LINE {FUNC FILE LINE}]   innermost function first
//	a SIZE TRACE                 a class; numbered from 0
//	+ CLASS                      alloc
//	- CLASS                      free of an object of that class
//
// For a free in a class of more than one live object the oldest is taken:
// sizes and live bytes are exact, lifetimes within the class approximate, and
// each such free is counted as LossApproxFrees.
//
// heaptrack logs realloc as a free and an alloc, and realloc to size 0 not at
// all: the next alloc at that address then frees the object. Allocs of C++
// programs and others begin with a block of 0x11c00 bytes (72,704) that is not
// the program's: heaptrack's own libstdc++ takes it for exceptions it throws
// when out of memory. It is kept, since nothing in the file tells it from an
// alloc of the program's.

// Bounds of what a hostile file can make the reader hold; files of real
// programs stay below. Events of call stacks beyond the bound on nodes are
// counted as LossSites, functions beyond the others have no name, and events
// of classes beyond theirs are counted as unparsed.
const (
	maxStackNodes = 1 << 23
	maxClasses    = 1 << 23
	maxModules    = 1 << 18
	maxStrings    = 1 << 22
	maxTextBytes  = 64 << 20
)

// maxFrames is how many frames of a call stack, from the innermost, make the
// name of a site.
const maxFrames = 8

// heaptrackVersion is the newest file version this reader knows.
const heaptrackVersion = 3

func openHeaptrack(in *Input, _ Options) (trace.Reader, error) {
	r := newLineReader(in, "heaptrack")
	r.tornOK, r.wholeLines = true, true
	r.addresses = true
	r.parser = &heaptrackParser{e: &r.emitter, r: r}
	return r, nil
}

// sniffHeaptrack knows a file by its version line. Files of version 0 have
// none: their first lines must all be of known kinds, and one of them a call
// stack.
func sniffHeaptrack(head []byte) bool {
	if rest, ok := bytes.CutPrefix(head, []byte("v ")); ok {
		_, rest, ok1 := hexField(rest)
		_, rest, ok2 := hexadecimal(rest)
		return ok1 && ok2 && len(rest) > 0 && (rest[0] == '\n' || rest[0] == '\r')
	}
	stack := false
	for line := range bytes.Lines(completeLines(head)) {
		line = trimCR(bytes.TrimSuffix(line, []byte("\n")))
		if len(line) < 3 || line[1] != ' ' || bytes.IndexByte([]byte("xXImtsia+-cRS#"), line[0]) < 0 {
			return false
		}
		if line[0] != 't' {
			continue
		}
		_, rest, ok1 := hexField(line[2:])
		_, rest, ok2 := hexadecimal(rest)
		if !ok1 || !ok2 || len(rest) != 0 {
			return false
		}
		stack = true
	}
	return stack
}

// heaptrackForm says how the events of a file name their objects.
type heaptrackForm uint8

const (
	formUnknown heaptrackForm = iota
	formAddress               // + SIZE TRACE PTR, - PTR
	formClass                 // + CLASS, - CLASS
)

type heaptrackParser struct {
	e    *emitter
	r    *lineReader
	form heaptrackForm
	file uint64 // file version

	// nodes[i-1] is stack node i. A node's parent has a lower number, so that
	// every walk to the root ends. nodeLines counts the nodes that did not fit
	// as well.
	nodes     []stackNode
	nodeLines uint64
	name      []byte // scratch

	modules moduleHistory
	symbols symbolTable
	classes classTable
}

// stackNode is a frame and those who called it.
type stackNode struct {
	ip     uint64       // address of the call (raw), or number of an i line (interpreted)
	parent uint32       // 0 is the root
	site   trace.SiteID // known once an alloc came from here
}

func (p *heaptrackParser) parse(line []byte) verdict {
	if len(line) < 3 || line[1] != ' ' {
		return p.bare(line)
	}
	rest := line[2:]
	switch line[0] {
	case '+':
		return p.alloc(rest)
	case '-':
		return p.free(rest)
	case 't':
		return p.node(rest)
	case 'a':
		return p.class(rest)
	}
	return p.rare(line[0], rest)
}

// bare takes a line without a field. 'A' says that heaptrack was attached to a
// running process: what lives from before is unknown anyway. Empty strings
// are "s " or "s 0 ".
func (p *heaptrackParser) bare(line []byte) verdict {
	switch {
	case line[0] == 'A' && len(line) == 1, line[0] == 'X', line[0] == 'x', line[0] == '#', line[0] == 'S':
		return lineEvent
	case line[0] == 's':
		p.symbols.addString(nil)
		return lineEvent
	}
	return p.malformed(line[0])
}

// malformed keeps the numbers of later lines right: they are ordinals.
func (p *heaptrackParser) malformed(kind byte) verdict {
	switch kind {
	case 't':
		p.addNode(0, 0)
	case 'a':
		p.addClass(noSize, 0)
	case 's':
		p.symbols.addString(nil)
	case 'i':
		p.symbols.addIP(0, 0, len(p.symbols.frames))
	}
	return lineBad
}

func (p *heaptrackParser) alloc(rest []byte) verdict {
	size, rest, ok := hexField(rest)
	if !ok {
		return lineBad
	}
	if len(rest) == 0 {
		return p.classAlloc(size)
	}
	node, rest, ok1 := hexField(rest)
	addr, rest, ok2 := hexField(rest)
	if !ok1 || !ok2 || len(rest) != 0 || p.form == formClass {
		return lineBad
	}
	p.form = formAddress
	p.e.context.Site = p.site(node)
	return p.e.alloc(addr, size, 0, addr == 0)
}

func (p *heaptrackParser) free(rest []byte) verdict {
	key, rest, ok := hexField(rest)
	if !ok || len(rest) != 0 {
		return lineBad
	}
	p.e.context.Site = 0
	if p.form == formClass {
		return p.classFree(key)
	}
	p.e.free(key, key == 0)
	return lineEvent
}

func (p *heaptrackParser) node(rest []byte) verdict {
	ip, rest, ok1 := hexField(rest)
	parent, rest, ok2 := hexField(rest)
	if !ok1 || !ok2 || len(rest) != 0 || parent > p.nodeLines {
		return p.malformed('t')
	}
	if len(p.symbols.ips) == 0 {
		p.e.addrMask |= ip
	}
	p.addNode(ip, parent)
	return lineEvent
}

func (p *heaptrackParser) addNode(ip, parent uint64) {
	p.nodeLines++
	if len(p.nodes) < maxStackNodes {
		p.nodes = append(p.nodes, stackNode{ip: ip, parent: uint32(parent)})
	}
}

// rare takes the lines of which there are few.
func (p *heaptrackParser) rare(kind byte, rest []byte) verdict {
	h := &p.e.hdr
	switch kind {
	case 'v':
		return p.version(rest)
	case 'X':
		h.Program = cleanText(string(rest))
		return lineEvent
	case 'x':
		path, ok := p.counted(rest)
		if ok {
			p.modules.program = p.modules.nameOf(path)
			if h.Program == "" {
				h.Program = cleanText(string(path))
			}
			return lineEvent
		}
	case 'm':
		if p.module(rest) {
			return lineEvent
		}
	case 's':
		text, ok := p.counted(rest)
		if ok {
			p.symbols.addString(text)
			return lineEvent
		}
	case 'i':
		if p.frame(rest) {
			return lineEvent
		}
	case 'c':
		ms, rest, ok := hexField(rest)
		if ok && len(rest) == 0 && ms <= math.MaxInt64/1_000_000 {
			if !p.e.timed {
				p.e.at(0) // the clock starts with the recording, not with its first c line
			}
			p.e.at(int64(ms) * 1_000_000)
			return lineEvent
		}
	case 'I', 'R', 'S', '#': // page size, resident pages, leak suppression, comment
		return lineEvent
	}
	return p.malformed(kind)
}

func (p *heaptrackParser) version(rest []byte) verdict {
	_, rest, ok1 := hexField(rest)
	file, rest, ok2 := hexField(rest)
	if !ok1 || !ok2 || len(rest) != 0 {
		return lineBad
	}
	if file > heaptrackVersion {
		p.r.failed = p.r.syntaxError(fmt.Sprintf("heaptrack file version %d is newer than %d, the newest known", file, heaptrackVersion))
		return lineBad
	}
	p.file = file
	return lineEvent
}

// counted reads the text of an x or s line, which since version 3 has its
// length in bytes in front.
func (p *heaptrackParser) counted(rest []byte) (text []byte, ok bool) {
	if p.file < 3 {
		return rest, true
	}
	length, text, ok := hexField(rest)
	return text, ok && length == uint64(len(text))
}

// site returns the site of a stack node and names it the first time. Node 0
// and nodes that no line has named are the unknown site.
func (p *heaptrackParser) site(node uint64) trace.SiteID {
	if node-1 >= uint64(len(p.nodes)) {
		if node != 0 && node <= p.nodeLines {
			p.e.hdr.Loss[trace.LossSites]++
		}
		return 0
	}
	if site := p.nodes[node-1].site; site != 0 {
		return site
	}
	return p.nameSite(uint32(node))
}

func (p *heaptrackParser) nameSite(node uint32) trace.SiteID {
	p.name = p.name[:0]
	for i, frames := node, 0; i != 0 && frames < maxFrames; i = p.nodes[i-1].parent {
		frames += p.appendFrame(i, maxFrames-frames)
	}
	p.e.siteName(p.name)
	p.nodes[node-1].site = p.e.context.Site
	return p.e.context.Site
}

// frameSeparator stands between a function and its caller in a site's name.
const frameSeparator = " < "

// appendFrame adds at most limit frames, those of node i, to the name of a
// site and returns how many it added.
func (p *heaptrackParser) appendFrame(i uint32, limit int) int {
	ip := p.nodes[i-1].ip
	if len(p.symbols.ips) > 0 {
		var count int
		p.name, count = p.symbols.appendFrames(p.name, ip, limit)
		return count
	}
	p.name = appendSeparator(p.name)
	p.name = p.modules.appendFrame(p.name, ip, i)
	return 1
}

func appendSeparator(name []byte) []byte {
	if len(name) > 0 {
		name = append(name, frameSeparator...)
	}
	return name
}

func (p *heaptrackParser) finish() {}

// hexField reads a hexadecimal number and the blank behind it, if any. What
// follows the number must be a blank or the end.
func hexField(b []byte) (n uint64, rest []byte, ok bool) {
	for i, c := range b {
		d := hexDigit[c]
		if d == notHex {
			return n, b[i+1:], c == ' ' && 0 < i && i <= hexDigits64
		}
		n = n<<4 | uint64(d)
	}
	return n, nil, 0 < len(b) && len(b) <= hexDigits64
}

// hexDigits64 is how many hexadecimal digits fit into 64 bits.
const hexDigits64 = 16

package formats

import (
	"math"
	"strconv"

	"github.com/fragprof/fragprof/trace"
)

// symbolTable is what the s and i lines of an interpreted file say: strings,
// and the functions at each address.
type symbolTable struct {
	text []byte   // all strings
	ends []uint32 // ends[i-1] is where string i ends in text

	ips    []resolvedIP // ips[i-1] is i line i
	frames []symbolFrame
}

// resolvedIP is an address and the functions there, innermost first: more than
// one where functions were inlined.
type resolvedIP struct {
	ip     uint64
	module uint32 // string
	first  uint32 // index of the first frame; the next address's is the end
}

// symbolFrame is a function and the place in it, as numbers of strings.
type symbolFrame struct{ function, file, line uint32 }

// addString takes an s line.
func (t *symbolTable) addString(s []byte) {
	if len(t.ends) == maxStrings {
		return
	}
	if len(t.text)+len(s) <= maxTextBytes {
		t.text = append(t.text, s...)
	}
	t.ends = append(t.ends, uint32(len(t.text)))
}

// str returns string i, or nothing if there is none.
func (t *symbolTable) str(i uint32) []byte {
	switch {
	case i == 0 || uint64(i) > uint64(len(t.ends)):
		return nil
	case i == 1:
		return t.text[:t.ends[0]]
	}
	return t.text[t.ends[i-2]:t.ends[i-1]]
}

// frame takes an i line.
func (p *heaptrackParser) frame(rest []byte) bool {
	ip, rest, ok1 := hexField(rest)
	module, rest, ok2 := hexField(rest)
	if !ok1 || !ok2 || module > maxStrings {
		return false
	}
	t := &p.symbols
	first := len(t.frames)
	for len(rest) > 0 {
		// Each function has a file and a line, except that one may stand alone.
		var f [3]uint64
		fields := 0
		for ok := true; fields < len(f) && len(rest) > 0; fields++ {
			if f[fields], rest, ok = hexField(rest); !ok || f[fields] > math.MaxUint32 {
				t.frames = t.frames[:first]
				return false
			}
		}
		if len(t.frames) < maxStrings {
			t.frames = append(t.frames, symbolFrame{uint32(f[0]), uint32(f[1]), uint32(f[2])})
		}
	}
	p.e.addrMask |= ip
	t.addIP(ip, uint32(module), first)
	return true
}

// addIP ends an i line whose functions are the frames from first on.
func (t *symbolTable) addIP(ip uint64, module uint32, first int) {
	if len(t.ips) < maxStrings {
		t.ips = append(t.ips, resolvedIP{ip: ip, module: module, first: uint32(first)})
	}
}

// maxFunction bounds the name of a function in the name of a site, in bytes.
// Instances of C++ templates can have names of many kilobytes.
const maxFunction = 400

// appendFrames adds the functions of i line number i to the name of a site, at
// most limit of them, and returns how many it added.
func (t *symbolTable) appendFrames(name []byte, i uint64, limit int) ([]byte, int) {
	if i-1 >= uint64(len(t.ips)) {
		return append(appendSeparator(name), '?'), 1
	}
	at := t.ips[i-1]
	end := len(t.frames)
	if i < uint64(len(t.ips)) {
		end = int(t.ips[i].first)
	}
	frames := t.frames[at.first:end]
	if len(frames) == 0 || len(t.str(frames[0].function)) == 0 {
		// The file does not say where the module began.
		name = append(appendSeparator(name), lastPart(t.str(at.module))...)
		return strconv.AppendUint(append(name, "@0x"...), at.ip, 16), 1
	}
	frames = frames[:min(len(frames), limit)]
	for _, f := range frames {
		function := t.str(f.function)
		name = append(appendSeparator(name), function[:min(len(function), maxFunction)]...)
		if file := lastPart(t.str(f.file)); len(file) > 0 {
			name = append(append(name, " ("...), file...)
			name = strconv.AppendUint(append(name, ':'), uint64(f.line), 10)
			name = append(name, ')')
		}
	}
	return name, len(frames)
}

// classTable holds the objects of an interpreted file: for each class a queue
// of the live ones, oldest first.
type classTable struct {
	classes []objectClass
	newer   []uint32 // by slot: the slot + 1 of the next younger object of its class
}

// objectClass is the objects of one size and call stack.
type objectClass struct {
	size           uint64
	node           uint32 // stack node
	oldest, newest uint32 // slot + 1; oldest is zero if none is live
}

// class takes an a line.
func (p *heaptrackParser) class(rest []byte) verdict {
	size, rest, ok1 := hexField(rest)
	node, rest, ok2 := hexField(rest)
	if !ok1 || !ok2 || len(rest) != 0 || size > maxRequest {
		return p.malformed('a')
	}
	p.addClass(size, uint32(min(node, math.MaxUint32)))
	return lineEvent
}

// noSize marks a class that could not be read.
const noSize = math.MaxUint64

func (p *heaptrackParser) addClass(size uint64, node uint32) {
	if t := &p.classes; len(t.classes) < maxClasses {
		t.classes = append(t.classes, objectClass{size: size, node: node})
	}
}

// classAlloc takes an alloc in a class.
func (p *heaptrackParser) classAlloc(i uint64) verdict {
	t := &p.classes
	if p.form == formAddress || i >= uint64(len(t.classes)) || t.classes[i].size == noSize {
		return lineBad
	}
	p.form = formClass
	c := &t.classes[i]
	e := p.e
	slot := e.slots.Take()
	if int(slot) == len(t.newer) {
		t.newer = append(t.newer, 0)
	}
	t.newer[slot] = 0
	if c.oldest == 0 {
		c.oldest = uint32(slot) + 1
	} else {
		t.newer[c.newest-1] = uint32(slot) + 1
	}
	c.newest = uint32(slot) + 1
	e.context.Site = p.site(uint64(c.node))
	e.push(trace.OpAlloc, slot, c.size, 0)
	return lineEvent
}

// classFree takes a free in a class: of its oldest object.
func (p *heaptrackParser) classFree(i uint64) verdict {
	t := &p.classes
	if i >= uint64(len(t.classes)) {
		return lineBad
	}
	c := &t.classes[i]
	if c.oldest == 0 {
		p.e.hdr.Loss[trace.LossUnknownFrees]++
		return lineEvent
	}
	if c.oldest != c.newest {
		p.e.hdr.Loss[trace.LossApproxFrees]++
	}
	slot := c.oldest - 1
	c.oldest = t.newer[slot]
	p.e.kill(trace.Slot(slot))
	return lineEvent
}

package formats

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
)

// moduleHistory is the list of loaded modules as it was at every stack node.
// The list is written anew, after a line that forgets the last, whenever the
// program loads or unloads a library, so an address must be looked up in the
// list of its own time.
type moduleHistory struct {
	names   []string
	byName  map[string]uint32
	program uint32 // index of the program's own name, which modules call "x"
	bytes   int    // in names
	epochs  []moduleEpoch
	count   int // segments in all epochs
}

// moduleEpoch is one list of modules.
type moduleEpoch struct {
	node     uint32 // the first stack node that saw the list
	segments []segment
	sorted   bool
}

// segment is a range of addresses that belongs to a module.
type segment struct {
	start, end uint64
	base       uint64 // load address of the module
	name       uint32
}

// programName stands for the program's own module before its path is known.
const programName = "program"

// nameOf returns the index of a module's name: the last part of its path.
// Modules beyond the bound are all called "?".
func (m *moduleHistory) nameOf(path []byte) uint32 {
	if m.byName == nil {
		m.names = []string{programName, "?"}
		m.byName = map[string]uint32{}
	}
	path = lastPart(path)
	i, ok := m.byName[string(path)]
	if !ok {
		if m.bytes += len(path); m.bytes > maxTextBytes || len(m.names) >= maxModules {
			return 1
		}
		name := cleanText(string(path))
		i = uint32(len(m.names))
		m.names = append(m.names, name)
		m.byName[string(path)] = i
	}
	return i
}

// lastPart returns what is behind the last slash of a path.
func lastPart(path []byte) []byte {
	if i := bytes.LastIndexByte(path, '/'); i >= 0 && i+1 < len(path) {
		return path[i+1:]
	}
	return path
}

// module takes an m line.
func (p *heaptrackParser) module(rest []byte) bool {
	m := &p.modules
	var name []byte
	if p.file < 3 {
		name, rest = word(rest)
	} else {
		length, text, ok := hexField(rest)
		if !ok || length > uint64(len(text)) {
			return false
		}
		name, rest = text[:length], skipSpace(text[length:])
	}
	if len(rest) == 0 {
		if string(name) != "-" {
			return false
		}
		m.epochs = append(m.epochs, moduleEpoch{node: uint32(len(p.nodes) + 1)})
		m.dropUnused()
		return true
	}
	base, rest, ok := hexField(rest)
	if !ok {
		return false
	}
	id := m.nameOf(name)
	if string(name) == "x" {
		id = m.program
	}
	if len(m.epochs) == 0 {
		m.epochs = append(m.epochs, moduleEpoch{node: 1})
	}
	e := &m.epochs[len(m.epochs)-1]
	for len(rest) > 0 {
		var addr, size uint64
		var ok1, ok2 bool
		addr, rest, ok1 = hexField(rest)
		size, rest, ok2 = hexField(rest)
		if !ok1 || !ok2 {
			return false
		}
		if m.count < maxModules {
			m.count++
			e.segments = append(e.segments, segment{start: base + addr, end: base + addr + size, base: base, name: id})
			e.sorted = false
		}
	}
	return true
}

// dropUnused forgets the list before the last if no stack node saw it.
func (m *moduleHistory) dropUnused() {
	n := len(m.epochs)
	if n < 2 || m.epochs[n-2].node != m.epochs[n-1].node {
		return
	}
	m.count -= len(m.epochs[n-2].segments)
	m.epochs[n-2] = m.epochs[n-1]
	m.epochs = m.epochs[:n-1]
}

// appendFrame adds "module+0xoffset" for an address of stack node i to name,
// or the address itself if it is in no module.
func (m *moduleHistory) appendFrame(name []byte, ip uint64, i uint32) []byte {
	if s := m.find(ip, i); s != nil {
		name = append(name, m.names[s.name]...)
		name = append(name, '+')
		ip -= s.base
	}
	return strconv.AppendUint(append(name, "0x"...), ip, 16)
}

func (m *moduleHistory) find(ip uint64, i uint32) *segment {
	last := len(m.epochs)
	if last == 0 || m.epochs[last-1].node > i {
		last, _ = slices.BinarySearchFunc(m.epochs, i+1, func(e moduleEpoch, node uint32) int { return cmp.Compare(e.node, node) })
	}
	if last == 0 {
		return nil
	}
	e := &m.epochs[last-1]
	if !e.sorted {
		slices.SortFunc(e.segments, func(a, b segment) int { return cmp.Compare(a.start, b.start) })
		e.sorted = true
	}
	at, _ := slices.BinarySearchFunc(e.segments, ip, func(s segment, ip uint64) int {
		if s.start <= ip {
			return -1
		}
		return 1
	})
	if at == 0 || ip >= e.segments[at-1].end {
		return nil
	}
	return &e.segments[at-1]
}

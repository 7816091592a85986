// Package gen makes synthetic traces: programs of a known shape that are
// written down, not recorded. Each is named by a text, NAME[,key=value...], and
// the same text gives the same events, byte for byte, on every machine.
//
// Synthetic traces serve where the truth must be known: which containers grow,
// whether reserving can help, where a heap is pinned. They do not rank heaps:
// randomised traces lack the phases of real programs (Johnstone and Wilson,
// The Memory Fragmentation Problem: Solved?, 1998; the workload iid is there
// to show it). So the header of each says that it is synthetic, and reports
// repeat it.
//
// A workload is a function that plays a program on an emitter, in a file of its
// own, with a row in the table Workloads. It runs as a coroutine of the reader
// and stops at each full block, so that memory follows the live objects and
// not the number of events.
package gen

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fragprof/fragprof/trace"
)

// Prefix marks, where a trace is asked for, the text of a synthetic one.
const Prefix = "gen:"

// Workload is a shape of program.
type Workload struct {
	Name   string
	Title  string // what it is, on one line
	Doc    string // paragraphs: what it does, what it is for, the heap it is made for
	Source string // where the shape comes from
	Params []Param

	ptr  int // pointer width of the program that it imitates
	run  func(*emitter, values)
	fine func(values) error // what no single parameter shows; may be nil
}

// Workloads is the table of workloads.
var Workloads = []*Workload{
	containers,
	reserveHelps,
	reserveNeutral,
	reserveHarms,
	freenet,
	openevse,
	phases,
	iid,
	checkerboard,
	robson,
}

// maxBytes bounds the sizes that parameters ask for, so that no sum of the bytes
// of all events can overflow.
const maxBytes = 256 << 20

// common are the parameters that every workload has.
var common = []Param{
	{Key: "events", Kind: Count, Default: "200k", Min: 1, Max: 10e9, Doc: "events after which the trace ends"},
	{Key: "seed", Kind: Count, Default: "1", Max: 1 << 62, Doc: "start of the random numbers"},
}

// AllParams returns the workload's parameters, its own first, then those that
// all have.
func (w *Workload) AllParams() []Param {
	all := slices.Clone(w.Params)
	for _, p := range common {
		if !slices.ContainsFunc(w.Params, func(q Param) bool { return q.Key == p.Key }) {
			all = append(all, p)
		}
	}
	return all
}

// UnknownWorkloadError is returned for a name that is not in the table.
type UnknownWorkloadError struct {
	Name  string
	Known []string
}

func (e *UnknownWorkloadError) Error() string { return fmt.Sprintf("unknown workload %q", e.Name) }

// UnknownParamError is returned for a key that the workload does not have.
type UnknownParamError struct {
	Workload, Key string
	Known         []string
}

func (e *UnknownParamError) Error() string {
	return fmt.Sprintf("workload %s has no parameter %q", e.Workload, e.Key)
}

// Lookup returns the workload of the given name, or an *UnknownWorkloadError.
func Lookup(name string) (*Workload, error) {
	known := make([]string, len(Workloads))
	for i, w := range Workloads {
		if w.Name == name {
			return w, nil
		}
		known[i] = w.Name
	}
	return nil, &UnknownWorkloadError{Name: name, Known: known}
}

// Source is a synthetic trace. It implements trace.Source and may be used by
// many goroutines.
type Source struct {
	workload *Workload
	text     string
	values   values

	count  sync.Once
	header *trace.Header
}

// Parse reads NAME[,key=value...], with or without Prefix. Nothing is generated
// yet. Errors are an *UnknownWorkloadError, an *UnknownParamError, or name the
// value at fault.
func Parse(text string) (*Source, error) {
	text = strings.TrimPrefix(text, Prefix)
	name, args, has := strings.Cut(text, ",")
	w, err := Lookup(name)
	if err != nil {
		return nil, err
	}
	v := values{}
	params := w.AllParams()
	for i := range params {
		if err := v.set(&params[i], params[i].Default); err != nil {
			panic(fmt.Sprintf("gen: default of %s of %s: %v", params[i].Key, w.Name, err)) // a bug in the table
		}
	}
	if has {
		if err := v.read(w.Name, params, args); err != nil {
			return nil, fmt.Errorf("%s%s: %w", Prefix, text, err)
		}
	}
	if w.fine != nil {
		if err := w.fine(v); err != nil {
			return nil, fmt.Errorf("%s%s: %w", Prefix, text, err)
		}
	}
	return &Source{workload: w, text: Prefix + text, values: v}, nil
}

// String returns the text that names the trace, with Prefix.
func (s *Source) String() string { return s.text }

// newHeader describes the trace before any event.
func (s *Source) newHeader() *trace.Header {
	return &trace.Header{
		Program: s.workload.Name, Source: "gen", PtrBits: s.workload.ptr, Sizes: trace.SizesRequested,
		Synthetic: true, HasTime: true, HasThread: true, HasSite: true, Sites: []string{""},
	}
}

// Header describes the trace. The first call generates all events to count
// them, unless Load has.
func (s *Source) Header() *trace.Header {
	s.count.Do(func() {
		r := s.open(nil)
		defer r.Close()
		b := new(trace.Block)
		for r.Next(b) == nil {
		}
		s.header = r.header
	})
	return s.header
}

// Open starts to generate the events. Header of the reader grows with the
// reading and is complete at its end; no counting pass is made for it. The
// reader must be closed.
func (s *Source) Open() (trace.Reader, error) { return s.open(nil), nil }

// Load generates the trace once to count it, and calls each with every block
// and progress with the number of events so far; both may be nil. What takes up
// to limit bytes of columns is kept in memory; of more, s itself is returned,
// which generates the events anew for each reader.
func (s *Source) Load(limit int64, each func(*trace.Block), progress func(events uint64)) trace.Source {
	r := s.open(nil)
	defer r.Close()
	var blocks []*trace.Block
	keep := true
	b := new(trace.Block)
	for r.Next(b) == nil {
		if each != nil {
			each(b)
		}
		if progress != nil {
			progress(b.First + uint64(b.Len()))
		}
		if limit -= int64(b.Len()) * trace.EventBytes; limit < 0 {
			keep, blocks = false, nil
		}
		if keep {
			blocks = append(blocks, b)
			b = new(trace.Block)
		}
	}
	s.count.Do(func() { s.header = r.header })
	if keep {
		return trace.CountedMemory(r.header, blocks)
	}
	return s
}

// Package plot draws the figures of a replay: live bytes and footprint over
// time, the largest free block, the heap map, and the sizes of the free
// blocks. It is the only importer of gonum/plot.
//
// Every figure is a row of Figures and a file of this package. A figure makes
// one picture, or one for each heap, or none and says why. Pictures are written
// as SVG, PNG or PDF; the same results give the same bytes in each of them,
// with no dates inside.
//
// Colours are the Okabe-Ito set, and no two lines of an axis differ by colour
// alone: each has its own dashes and marker. The heap map's colours rise in
// lightness alone, so that a print in grey keeps their order.
package plot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"

	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// Figure is one kind of picture.
type Figure struct {
	Key   string // in file names and on the command line
	Title string
	Doc   string // what it shows, in a sentence or two
	make  func(*input) ([]*Picture, []Skipped)
}

// Figures is the table of all figures, in the order in which they are drawn.
var Figures = []Figure{
	{"timeline", "Live bytes and footprint over time", "The bytes the program holds as an area, and for each heap the memory it needs to hold them: a growing heap's arena, a fixed heap's high-water mark. Failed requests are marked above.", timeline},
	{"largest-free", "Largest free block over time", "The largest block each heap could have handed out at a time, against the trace's largest request. Zero means that nothing was free.", largestFree},
	{"map", "Heap map by age", "The heap over time: addresses upward, free memory white, used memory coloured by the age of its blocks.", mapByAge},
	{"map-size", "Heap map by block size", "The heap over time: addresses upward, free memory white, used memory coloured by the size of its blocks.", mapBySize},
	{"free-sizes-peak", "Free blocks at the peak of live bytes", "For each class of sizes, its share of all free bytes and the number of its free blocks, after the event at which the trace's live bytes peak.", freeSizesPeak},
	{"free-sizes-failure", "Free blocks at the first failure", "For each class of sizes, its share of all free bytes and the number of its free blocks, just before the first request that failed.", freeSizesFailure},
}

// Options say what is drawn. The zero Options are usable.
type Options struct {
	Figures []string // keys of the figures to draw; none means all
	Axis    Axis     // of time
	Trace   string   // name of the trace in titles; "" means the program that ran
	Names   []string // of the heaps, by result; nil means their specs
	DPI     int      // pixels an inch of a PNG; 0 means 144
}

// Picture is one drawing, ready to be rendered. It refers to the results it
// was made from, which must not change before it is rendered.
type Picture struct {
	Name   string // of its file, without an extension: "timeline", "map-03-tlsf"
	Figure string // the key of its figure
	Heap   int    // index of the only heap it shows, or -1
	Title  string
	Alt    string // what it shows, for those who cannot see it

	width, height vg.Length
	paint         func(canvas)
}

// Skipped is a figure, or its picture of one heap, that was not drawn because
// there is nothing to draw.
type Skipped struct {
	Figure string
	Heap   int // index of the result, or -1 for the whole figure
	Reason string
}

// String returns the skipped picture and the reason in a line.
func (s Skipped) String() string {
	if s.Heap < 0 {
		return s.Figure + ": " + s.Reason
	}
	return fmt.Sprintf("%s of heap %d: %s", s.Figure, s.Heap+1, s.Reason)
}

// Make lays out the figures of the results of one trace. Nothing is drawn
// before a picture is rendered. Errors are about the options: a figure that is
// not in the table, names that do not match the results, a time axis that the
// trace does not have.
func Make(results []*replay.Result, o Options) ([]*Picture, []Skipped, error) {
	if slices.Contains(results, nil) {
		return nil, nil, errors.New("plot: a result is nil")
	}
	if o.Names != nil && len(o.Names) != len(results) {
		return nil, nil, fmt.Errorf("plot: %d names for %d results", len(o.Names), len(results))
	}
	figures, err := choose(o.Figures)
	if err != nil {
		return nil, nil, err
	}
	in, err := newInput(results, &o)
	if err != nil {
		return nil, nil, err
	}
	var pictures []*Picture
	var skipped []Skipped
	for _, f := range figures {
		if len(results) == 0 {
			skipped = append(skipped, Skipped{f.Key, -1, "no results"})
			continue
		}
		in.figure = f
		made, left := f.make(in)
		pictures, skipped = append(pictures, made...), append(skipped, left...)
	}
	return pictures, skipped, nil
}

// choose returns the rows of the table with the given keys, in the table's
// order.
func choose(keys []string) ([]*Figure, error) {
	known := make([]string, len(Figures))
	var figures []*Figure
	for i := range Figures {
		known[i] = Figures[i].Key
		if len(keys) == 0 || slices.Contains(keys, known[i]) {
			figures = append(figures, &Figures[i])
		}
	}
	for _, key := range keys {
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("plot: no figure %q: want one of %s", key, strings.Join(known, ", "))
		}
	}
	return figures, nil
}

// input is what figures are made from.
type input struct {
	figure *Figure // being made
	axis   Axis
	heaps  []*heap
	under  string // the line below titles: what the trace is
	mark   string // to be added to titles
}

// heap is a result with what drawings of it share.
type heap struct {
	*replay.Result
	index int
	nr    int // from 1, as legends and file names count
	name  string
	base  timebase
}

// label returns the heap's name with its number.
func (h *heap) label() string { return fmt.Sprintf("%d. %s", h.nr, h.name) }

func newInput(results []*replay.Result, o *Options) (*input, error) {
	if o.Axis >= axisKinds {
		return nil, fmt.Errorf("plot: no time axis %d", o.Axis)
	}
	in := &input{axis: o.Axis}
	for i, r := range results {
		if o.Axis == Seconds && (r.Trace == nil || !r.Trace.HasTime) {
			return nil, errors.New("plot: the trace has no time stamps: use the axis events or bytes")
		}
		h := &heap{Result: r, index: i, nr: i + 1, base: newTimebase(r, o.Axis)}
		switch {
		case o.Names != nil:
			h.name = o.Names[i]
		case r.Spec != nil:
			h.name = r.Spec.String()
		}
		if h.name = clean(h.name); h.name == "" {
			h.name = "heap"
		}
		if r.Err != nil {
			h.name += " (broke)"
		}
		in.heaps = append(in.heaps, h)
	}
	in.describe(o.Trace)
	return in, nil
}

// describe makes the line below titles, and the mark in them, from the headers
// of the traces, which is one header unless a strategy rewrote the trace.
func (in *input) describe(name string) {
	var programs, parts []string
	synthetic, blocks := false, false
	for _, h := range in.heaps {
		if h.Trace == nil {
			continue
		}
		program := h.Trace.Program
		if program == "" {
			program = "unnamed program"
		}
		if h.Trace.Source != "" {
			program += " (" + h.Trace.Source + ")"
		}
		if !slices.Contains(programs, program) {
			programs = append(programs, program)
		}
		synthetic = synthetic || h.Trace.Synthetic
		blocks = blocks || h.Trace.Sizes == trace.SizesBlock
	}
	if name == "" {
		name = strings.Join(programs, ", ")
	}
	if name != "" {
		parts = append(parts, clean(name))
	}
	if len(in.heaps) > 0 {
		if hdr := in.heaps[0].Trace; hdr != nil && hdr.Summary.Events > 0 {
			parts = append(parts, thousands(hdr.Summary.Events)+" events",
				"peak live "+bytesText(hdr.Summary.PeakLiveBytes)+" at event "+thousands(hdr.Summary.PeakLiveEvent))
		}
	}
	if blocks {
		parts = append(parts, "sizes are the recorded heap's block sizes")
	}
	in.under = strings.Join(parts, " · ")
	if synthetic {
		in.mark = "SYNTHETIC trace: "
	}
}

// title returns the title of the figure being made, about a heap or about all.
func (in *input) title(about *heap) string {
	t := in.mark + in.figure.Title
	if about != nil {
		t += ": " + about.name
	}
	return t
}

// skip returns the single reason for which the whole figure is not drawn.
func (in *input) skip(reason string) []Skipped {
	return []Skipped{{in.figure.Key, -1, reason}}
}

// pictureName returns the name of a heap's picture: the figure's key, the
// heap's number and its model, in characters fit for any file system.
func (in *input) pictureName(h *heap) string {
	model := "heap"
	if h.Spec != nil && h.Spec.Model != nil {
		model = h.Spec.Model.Name
	}
	return fmt.Sprintf("%s-%02d-%s", in.figure.Key, h.nr, fileName(model))
}

// fileName keeps letters, digits, dots and dashes of ASCII in lower case and
// makes one dash of any run of others.
func fileName(s string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.' && b.Len() > 0:
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			dash = false
		default:
			dash = true
		}
		if b.Len() >= 60 {
			break
		}
	}
	if b.Len() == 0 {
		return "heap"
	}
	return b.String()
}

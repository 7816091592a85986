// Package perturb makes of one recorded trace others that could as well have
// happened: threads interleaved anew, events a little earlier or later, sizes a
// little different, the recording begun at another moment. What holds for all
// of them is not an accident of one ordering.
//
// Every perturbation keeps causality: an object is allocated before it is
// reallocated or freed, and the old block of a growing container is freed after
// the new one is there. The same trace, options and number give the same
// events.
package perturb

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// Kind is a row of the table: a way to perturb a trace.
type Kind struct {
	Name    string
	Doc     string // what it changes, and how its amount counts
	Default float64
	Unit    string // of the amount
	// needs says why a trace cannot be perturbed so; "" if it can. May be nil.
	needs func(h *trace.Header) string
}

// Kinds is the table of all kinds, in the order they are applied.
var Kinds = []Kind{
	{"start", "the recording begins at another moment: events from there to the end come first, on top of what lived then, and those before it afterwards, the whole trace once; of objects that are never freed there are not two. The amount is the share of recordings that are rotated.", 1, "share", nil},
	{"interleave", "threads run ahead or fall behind each other by up to so many events; each keeps its own order.", 64, "events", func(h *trace.Header) string {
		if h.Summary.Threads < 2 {
			return "the trace has one thread only"
		}
		return ""
	}},
	{"jitter", "each event comes up to so many events earlier or later; of the order of the program only that of each object is kept, as with interrupts and callbacks.", 8, "events", nil},
	{"sizes", "each object has up to so many percent more or fewer bytes, in all its life the same share.", 2, "percent", nil},
}

// Options say which kinds are applied and how much. The zero Options are no
// perturbation.
type Options struct {
	Amount [4]float64 // by Kinds; zero: not applied
	Seed   uint64
}

// Defaults returns every kind that the trace can be perturbed by, by its
// default amount, and sentences on those it cannot.
func Defaults(h *trace.Header) (o Options, notes []string) {
	for i := range Kinds {
		if k := &Kinds[i]; k.needs != nil && k.needs(h) != "" {
			notes = append(notes, fmt.Sprintf("perturbation %s is left out: %s", k.Name, k.needs(h)))
			continue
		}
		o.Amount[i] = Kinds[i].Default
	}
	return o, notes
}

// Parse reads a list of kinds, NAME or NAME=AMOUNT joined by commas, against
// the trace they are for.
func Parse(text string, h *trace.Header) (o Options, err error) {
	for part := range strings.SplitSeq(text, ",") {
		name, amount, given := strings.Cut(part, "=")
		i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name })
		if i < 0 {
			names := make([]string, len(Kinds))
			for i := range Kinds {
				names[i] = Kinds[i].Name
			}
			return o, fmt.Errorf("unknown perturbation %q: there are %s", name, strings.Join(names, ", "))
		}
		k := &Kinds[i]
		if k.needs != nil && k.needs(h) != "" {
			return o, fmt.Errorf("perturbation %s: %s", name, k.needs(h))
		}
		o.Amount[i] = k.Default
		if given {
			v, err := strconv.ParseFloat(amount, 64)
			if err != nil || !(v >= 0 && v <= maxAmount[i]) {
				return o, fmt.Errorf("perturbation %s: want 0 to %g %s", part, maxAmount[i], k.Unit)
			}
			o.Amount[i] = v
		}
	}
	return o, nil
}

// The indexes of Kinds, and the largest amounts.
const (
	start = iota
	interleave
	jitter
	sizes
)

var maxAmount = [4]float64{1, 1 << 16, 1 << 16, 50}

// String returns the kinds and amounts as Parse reads them.
func (o Options) String() string {
	var parts []string
	for i, a := range o.Amount {
		if a > 0 {
			parts = append(parts, Kinds[i].Name+"="+strconv.FormatFloat(a, 'g', -1, 64))
		}
	}
	return strings.Join(parts, ",")
}

// Source returns the perturbation of that number of the trace, counted from
// zero; each is drawn independently. The result is kept in memory if its columns
// take at most keep bytes.
func Source(src trace.Source, o Options, number, keep uint64) (trace.Source, error) {
	draw := rand.New(rand.NewPCG(o.Seed, number))
	var err error
	if draw.Float64() < o.Amount[start] {
		at := draw.Uint64N(max(src.Header().Summary.Events, 1))
		if src, err = rotate(src, at, keep); err != nil {
			return nil, err
		}
	}
	if o.Amount[interleave] > 0 || o.Amount[jitter] > 0 {
		if src, err = reorder(src, o, draw.Uint64(), keep); err != nil {
			return nil, err
		}
	}
	if o.Amount[sizes] > 0 {
		seed := draw.Uint64()
		src, err = edit.Source(src, keep, func() (edit.Editor, error) {
			return &sizer{share: o.Amount[sizes] / 100, seed: seed}, nil
		})
	}
	return src, err
}

// sizer gives each object its own share of more or fewer bytes.
type sizer struct {
	share  float64
	seed   uint64
	slots  edit.Slots
	factor []float64 // by slot
	number uint64    // of the next object
}

func (s *sizer) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(s.factor) {
		s.factor = append(s.factor, 1)
	}
	if e.Op == trace.OpAlloc {
		// A generator a number, so that readings agree whatever is read.
		s.factor[e.Slot] = 1 + s.share*(2*rand.New(rand.NewPCG(s.seed, s.number)).Float64()-1)
		s.number++
	}
	if e.Op != trace.OpFree && e.Size > 0 {
		e.Size = min(max(1, uint64(float64(e.Size)*s.factor[e.Slot]+0.5)), trace.MaxSize)
	}
	s.slots.Copy(e, w)
}

func (s *sizer) End(*edit.Writer) {}

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
	"errors"
	"fmt"
	"io"
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
	{"start", "the recording begins at another moment: events from there to the end come first, on top of what lived then, and those before it afterwards, the whole trace once; of objects that are never freed there are not two. What lives then lies together, in the order it was made, so that what led to holes before that moment is lost; so only some begin elsewhere. The amount is the share of orderings that do.", 0.5, "share", nil},
	{"interleave", "threads run ahead or fall behind each other by up to so many events; each keeps its own order.", 64, "events", func(h *trace.Header) string {
		if !h.HasThread {
			return "the trace does not name threads, and is taken for one thread's"
		}
		if h.Summary.Threads < 2 {
			return "the trace has one thread only"
		}
		return ""
	}},
	{"jitter", "each event comes up to so many events earlier or later: threads run past one another, and a thread makes what it makes, and gives back what it gives back, in another order, as with interrupts and callbacks. It does not make anything before it has given back what it gave back before, nor the other way round, so that no thread has more live than it had; and it does not carry anything across a pause of a millisecond, which only a trace with times shows.", 8, "events", nil},
	{"sizes", "each object has up to so many percent more or fewer bytes, in all its life the same share, but no more or fewer than any of its call site: what is of one size stays so, and what a program bounds stays within its bounds. Without call sites there are no bounds.", 2, "percent", nil},
}

// Options say which kinds are applied and how much. The zero Options are no
// perturbation.
type Options struct {
	Amount [4]float64 // by Kinds; zero: not applied
	Seed   uint64
}

// Defaults returns every kind that the trace can be perturbed by, by its
// default amount, and sentences on those it cannot, or not as well as a trace that
// has all there is to know.
func Defaults(h *trace.Header) (o Options, notes []string) {
	for i := range Kinds {
		if k := &Kinds[i]; k.needs != nil && k.needs(h) != "" {
			notes = append(notes, fmt.Sprintf("perturbation %s is left out: %s", k.Name, k.needs(h)))
			continue
		}
		o.Amount[i] = Kinds[i].Default
	}
	if !h.HasTime {
		o.Amount[jitter] = 0
		notes = append(notes, "perturbation jitter is left out unless it is asked for: the trace has no times, which would show what is near enough to change places")
	}
	if !h.HasSite {
		notes = append(notes, "the trace has no call sites: perturbation sizes knows no bounds of them")
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
	var still uint64 // events at the start that are no program's doing
	if draw.Float64() < o.Amount[start] {
		at := draw.Uint64N(max(src.Header().Summary.Events, 1))
		if src, still, err = rotate(src, at, keep); err != nil {
			return nil, err
		}
	}
	if o.Amount[interleave] > 0 || o.Amount[jitter] > 0 {
		if src, err = reorder(src, o, still, draw.Uint64(), keep); err != nil {
			return nil, err
		}
	}
	if o.Amount[sizes] > 0 {
		seed := draw.Uint64()
		bounds, err := boundsOf(src)
		if err != nil {
			return nil, err
		}
		return edit.Source(src, keep, func() (edit.Editor, error) {
			return &sizer{share: o.Amount[sizes] / 100, seed: seed, bounds: bounds}, nil
		})
	}
	return src, nil
}

// bound is the fewest and the most bytes that a site asks for.
type bound struct{ least, most uint64 }

// boundsOf reads the trace and returns the bounds of its sites, by number. The
// unknown site has none.
func boundsOf(src trace.Source) (bounds []bound, err error) {
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	bounds = make([]bound, max(len(src.Header().Sites), 1))
	for i := range bounds {
		bounds[i].least = trace.MaxSize
	}
	var of []trace.SiteID // by slot
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			bounds[0] = bound{0, trace.MaxSize}
			return bounds, nil
		} else if err != nil {
			return nil, err
		}
		for i, op := range b.Op {
			slot := b.Slot[i]
			for int(slot) >= len(of) {
				of = append(of, 0)
			}
			if op == trace.OpAlloc {
				of[slot] = b.Site[i]
			}
			if k := int(of[slot]); op != trace.OpFree && k < len(bounds) {
				bounds[k].least, bounds[k].most = min(bounds[k].least, b.Size[i]), max(bounds[k].most, b.Size[i])
			}
		}
	}
}

// sizer gives each object its own share of more or fewer bytes.
type sizer struct {
	share  float64
	seed   uint64
	slots  edit.Slots
	factor []float64      // by slot
	bounds []bound        // by site
	site   []trace.SiteID // by slot
	number uint64         // of the next object
}

func (s *sizer) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(s.factor) {
		s.factor, s.site = append(s.factor, 1), append(s.site, 0)
	}
	if e.Op == trace.OpAlloc {
		// A generator a number, so that readings agree whatever is read.
		s.factor[e.Slot] = 1 + s.share*(2*rand.New(rand.NewPCG(s.seed, s.number)).Float64()-1)
		s.number++
		s.site[e.Slot] = e.Site
	}
	if e.Op != trace.OpFree && e.Size > 0 {
		b := bound{0, trace.MaxSize}
		if k := int(s.site[e.Slot]); k < len(s.bounds) {
			b = s.bounds[k]
		}
		e.Size = min(max(1, b.least, uint64(float64(e.Size)*s.factor[e.Slot]+0.5)), b.most)
	}
	s.slots.Copy(e, w)
}

func (s *sizer) End(*edit.Writer) {}

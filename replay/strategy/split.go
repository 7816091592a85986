package strategy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// Split is the strategy split.
var Split = &Strategy{
	Name:  "split",
	Title: "several heaps in place of one, by size, call site, thread or life",
	Doc: "The heap is replaced by several of the same model that together have its memory, and requests go to one of them by their size, call site or thread, or by how " +
		"long the object lives, which only an oracle knows. Of a heap that grows the limit is shared. " +
		"Cuts are as in the model multi, in brackets: [64|1KiB] bytes by size or life, [0/2|1] sets of threads, [net*|#4;main.c:7] sets of sites; what none takes goes to the last heap. " +
		"Without cuts the recorded trace decides: by size, so that the heaps have about the same bytes live at the peak; by thread the same; by life one cut at the peak of live bytes, " +
		"and at a quarter of it and so on for more heaps; by site the same of the median life of the site's objects, which a program could write down. " +
		"Shares of the memory are given in percent, or follow the most that each heap had live in the recorded trace, with 8 bytes an object on top, when each has its control structure. " +
		"A heap that is full hands a request on to those after it, to the last, or to none. " +
		"Price: memory free in one heap does not serve another, unless it overflows: the bytes stranded at the least are those by which the peaks of the heaps exceed the peak of all.",
	Source: "a separate TLS or lwIP heap or a shared one: ArduinoCore-zephyr PR 465, esphome PR 18255, Sming #982; split heap: MicroPython #8940",
	Params: []heapmodel.Param{
		{Key: "by", Kind: heapmodel.ParamEnum, Default: "size", Enum: []string{"size", "site", "thread", "life"}, Doc: "what decides which heap a request goes to"},
		{Key: "cuts", Kind: heapmodel.ParamText, Doc: "what goes to each heap but the last, as in [64|1KiB], [0/2|1] or [net*;#4]; unset: as the trace suggests"},
		{Key: "heaps", Kind: heapmodel.ParamInt, Default: "2", Doc: "without cuts: number of heaps"},
		{Key: "shares", Kind: heapmodel.ParamText, Default: "auto", Doc: "percent of the memory for each heap, as in [30|70], or auto"},
		{Key: "overflow", Kind: heapmodel.ParamEnum, Default: "next", Enum: []string{"next", "none", "last"}, Doc: "where a request goes that its heap cannot serve: the following heaps in turn, nowhere, or the last heap"},
	},
	Kind: Wraps,
	New:  newSplit,
}

// mostHeaps is the number of heaps at most in the model multi.
const mostHeaps = 16

type split struct {
	by       string
	cuts     string // as given
	heaps    int
	shares   []uint64 // weights
	given    bool     // the shares
	overflow string

	groups groups
	text   string // the cuts as the model has them
	models []*heapmodel.Model
	notes  []string
}

func newSplit(c heapmodel.Config) (Change, error) {
	s := &split{by: c.Text("by"), cuts: strings.Trim(c.Text("cuts"), "[]"), heaps: c.Int("heaps"), overflow: c.Text("overflow")}
	if s.heaps < 2 || s.heaps > mostHeaps {
		return nil, fmt.Errorf("heaps=%d: want 2 to %d", s.heaps, mostHeaps)
	}
	if text := strings.Trim(c.Text("shares"), "[]"); text != "auto" {
		s.given = true
		sum := uint64(0)
		for part := range strings.SplitSeq(text, "|") {
			share, err := strconv.ParseUint(part, 10, 32)
			if err != nil || share == 0 || share >= 100 {
				return nil, fmt.Errorf("shares=%s: want percents joined by |, as in 30|70, or auto", text)
			}
			s.shares = append(s.shares, share)
			sum += share
		}
		if sum != 100 {
			return nil, fmt.Errorf("shares=%s: they come to %d percent", text, sum)
		}
	}
	return s, nil
}

// Learn finds the cuts and the shares.
func (s *split) Learn(src trace.Source, env *Env) (err error) {
	s.models = env.Models
	h := src.Header()
	if s.by == "thread" && !h.HasThread || s.by == "site" && !h.HasSite {
		s.notes = append(s.notes, fmt.Sprintf("the trace does not tell %ss: the heap is left as it is", s.by))
		return nil
	}
	var v *lifespans
	if s.by != "size" {
		if v, err = learnLifespans(src); err != nil {
			return err
		}
	}
	s.groups = groups{by: s.by, lives: v}
	if s.cuts != "" {
		err = s.groups.read(s.cuts, h)
	} else {
		err = s.groups.find(src, s.heaps)
	}
	if err != nil {
		return err
	}
	count := s.groups.count()
	if count < 2 {
		s.notes = append(s.notes, fmt.Sprintf("by %s there is nothing to tell apart: the heap is left as it is", s.by))
		return nil
	}
	if s.cuts == "" && count < s.heaps {
		s.notes = append(s.notes, fmt.Sprintf("by %s there are objects for %d heaps only", s.by, count))
	}
	if count > mostHeaps {
		return fmt.Errorf("cuts: %d heaps, the most is %d", count, mostHeaps)
	}
	if s.given && len(s.shares) != count {
		return fmt.Errorf("shares: %d for %d heaps", len(s.shares), count)
	}
	s.text = s.groups.text()
	return s.weigh(src)
}

// weigh takes the peaks of the groups for shares, if those are not given, and
// says what splitting costs at the least.
func (s *split) weigh(src trace.Source) error {
	peaks, together, err := s.groups.peaks(src)
	if err != nil {
		return err
	}
	sum := uint64(0)
	for _, p := range peaks {
		sum += p
	}
	if !s.given {
		s.shares = make([]uint64, len(peaks))
		for i, p := range peaks {
			s.shares[i] = max(p, sum/100) // none gets nothing
		}
	}
	weights := uint64(0)
	for _, w := range s.shares {
		weights += w
	}
	var parts []string
	for i, what := range s.groups.titles() {
		parts = append(parts, fmt.Sprintf("%s: %.1f%% of the memory, %d bytes live at most", what, 100*float64(s.shares[i])/float64(max(weights, 1)), peaks[i]))
	}
	s.notes = append(s.notes, strings.Join(parts, "; "))
	s.notes = append(s.notes, fmt.Sprintf("apart the heaps need %d bytes at the least, one shared by all %d: %d are stranded (8 bytes an object included)", sum, together, sum-together))
	return nil
}

// Notes says how the heap is split and what that costs.
func (s *split) Notes() []string { return s.notes }

// shareOut returns the memory of each heap. Shares that are not given are of
// what is left when each heap has its control structure.
func (s *split) shareOut(spec *heapmodel.Spec, bytes uint64) ([]uint64, error) {
	if s.given {
		return shareOut(bytes, s.shares), nil
	}
	h, err := spec.New()
	if err != nil {
		return nil, err
	}
	control, count := h.Usage().Overhead, uint64(len(s.shares))
	if control > bytes/count {
		return nil, fmt.Errorf("%d bytes do not hold the control structures of %d heaps, %d bytes each", bytes, count, control)
	}
	shares := shareOut(bytes-count*control, s.shares)
	for i := range shares {
		shares[i] += control
	}
	return shares, nil
}

// Wrap makes several heaps of one.
func (s *split) Wrap(spec *heapmodel.Spec, h *trace.Header) (*heapmodel.Spec, error) {
	if s.text == "" {
		return spec, nil
	}
	if out, ok, err := behind(spec, func(in *heapmodel.Spec) (*heapmodel.Spec, error) { return s.Wrap(in, h) }); ok {
		return out, err
	}
	switch {
	case len(spec.Inside()) > 0:
		return nil, fmt.Errorf("%s is made of several heaps already", spec.Model.Name)
	case len(spec.Regions()) > 0 || spec.Has("regions") && !spec.Has("capacity"):
		return nil, errors.New("a heap in regions is not split: name the heaps by the model multi")
	}
	bytes, bounded, err := memoryOf(spec)
	if err != nil {
		return nil, err
	}
	shares, err := s.shareOut(spec, bytes)
	if err != nil {
		return nil, err
	}
	inner := make([]*heapmodel.Spec, len(shares))
	capacities := make([]uint64, len(shares))
	capacity, starts := capacityOf(spec)
	if starts = starts && spec.Grows() && spec.Given("capacity"); starts {
		capacities = shareOut(capacity, s.shares)
	}
	for i, share := range shares {
		inner[i] = spec
		if starts {
			if inner[i], err = spec.With("capacity", fmt.Sprint(capacities[i])); err != nil {
				return nil, err
			}
		}
		switch {
		case !bounded:
		case spec.Grows():
			inner[i], err = inner[i].With("grow", fmt.Sprint(share))
		default:
			inner[i], err = inner[i].With("capacity", fmt.Sprint(share))
		}
		if err != nil {
			return nil, err
		}
	}
	several, err := heapmodel.ParseSpec(s.models, fmt.Sprintf("multi:by=%s,cuts=%s,overflow=%s", s.by, s.text, s.overflow))
	if err != nil {
		return nil, err
	}
	return several.WithSpecs("heaps", inner)
}

package strategy

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
	rules "github.com/fragprof/fragprof/trace/growth"
)

// Growth is the strategy growth.
var Growth = &Strategy{
	Name:  "growth",
	Title: "containers grow by another rule: 1.5, 2, exactly, as another library",
	Doc: "Containers, which show as reallocs to larger sizes or as alloc, copy, free, grow by another rule than they did. " +
		"A trace shows capacities and not needs, so that the needs are read off how a call site grew: if a known rule, or about " +
		"the same factor again and again, explains most of its steps, then a step was made for one element more than there was " +
		"room for, as far as the rule leaves that open; else sizes are needs. Up to the next step the container was filled one by one; what it holds after the last " +
		"one is unknown, and taken to be fill percent of the way from there to full. New steps happen at the events at " +
		"which the container grew, the only times known: those that fall between two happen at the later one, at most 64 of " +
		"them, one right after the other, so that other objects cannot come between them. After a realloc to a smaller size a " +
		"container has exactly that. What never grows is left alone. " +
		"The price is what containers have more than in the unchanged program, as slack, and copies. " +
		"A container of a rule with short strings in place asks the heap for nothing while it is short: that memory is in the " +
		"object around it and is not counted.",
	Source: "1.5 or 2: folly #954, rust #29931, dlang/dmd PR #7160, boostorg/mysql #502; Arduino #449 for Strings",
	Params: append([]heapmodel.Param{
		{Key: "rule", Kind: heapmodel.ParamText, Doc: "grow as this: " + strings.Join(ruleNames(), ", ")},
		{Key: "factor", Kind: heapmodel.ParamText, Doc: "grow by this factor, 1 to 16, or golden (1.618)"},
		{Key: "step", Kind: heapmodel.ParamBytes, Doc: "grow by so many bytes"},
		{Key: "exact", Kind: heapmodel.ParamBool, Default: "false", Doc: "grow to what is needed and no more"},
		{Key: "via", Kind: heapmodel.ParamEnum, Default: "keep", Enum: []string{"keep", "realloc", "copy"}, Doc: "grow as before, all by realloc, or all by alloc, copy, free"},
	}, needParams...),
	Kind: Rewrites,
	New:  newGrow,
}

// needParams are parameters of strategies that have to know what containers
// need.
var needParams = []heapmodel.Param{
	{Key: "was", Kind: heapmodel.ParamText, Default: "auto", Doc: "how the program grows: a rule, exact (sizes are needs), or auto, by what the sizes show"},
	{Key: "fill", Kind: heapmodel.ParamInt, Default: "50", Doc: "percent of its last step that a container needs in the end, where its rule leaves it open"},
	{Key: "elem", Kind: heapmodel.ParamBytes, Default: "0", Doc: "bytes of an element; 0: by what the sizes show"},
	{Key: "sites", Kind: heapmodel.ParamText, Doc: "call sites whose containers are changed, joined by |: names, patterns with * and ?, or #N; unset: all"},
}

// ruleNames returns the names of all growth rules.
func ruleNames() []string {
	names := make([]string, len(rules.Rules))
	for i, r := range rules.Rules {
		names[i] = r.Name
	}
	return names
}

// needing is what strategies that have to know what containers need share.
type needing struct {
	was, sites string
	fill, elem uint64
	chosen     []bool
	fits       *fits
	notes      []string
}

func newNeeding(c heapmodel.Config) (needing, error) {
	n := needing{was: c.Text("was"), sites: c.Text("sites"), fill: uint64(c.Int("fill")), elem: c.Bytes("elem")}
	if n.fill > 100 {
		return n, fmt.Errorf("fill=%d: want 0 to 100 percent", n.fill)
	}
	if n.elem > math.MaxUint16 {
		return n, fmt.Errorf("elem=%d: want at most %d bytes", n.elem, math.MaxUint16)
	}
	if _, err := rules.Lookup(n.was); err != nil && n.was != "auto" && n.was != "exact" {
		return n, fmt.Errorf("was: %w", unknownRule(err, "auto", "exact"))
	}
	return n, nil
}

// learn finds out how the chosen sites grow; a tie goes to prefer.
func (n *needing) learn(src trace.Source, prefer *rules.Rule) (of *objects, err error) {
	h := src.Header()
	if n.chosen, err = sitesOf(n.sites, h); err != nil {
		return nil, err
	}
	if of, err = learnObjects(src, forever); err != nil {
		return nil, err
	}
	if n.fits, err = learnFits(src, of, n.chosen, n.was, prefer); err != nil {
		return nil, err
	}
	if !h.HasSite {
		n.notes = append(n.notes, "the trace has no call sites: all containers count as one")
	}
	if h.Sizes == trace.SizesBlock {
		n.notes = append(n.notes, "the sizes are those of blocks: rules of growth show in them roughly at best")
	}
	if note := n.fits.note(); note != "" {
		n.notes = append(n.notes, note)
	} else {
		n.notes = append(n.notes, "no object of the trace grows at these sites")
	}
	if cut := n.fits.cut(of); cut > 0 {
		n.notes = append(n.notes, fmt.Sprintf("%d times an object died after a larger one was made that its site does not grow to: they are not one container", cut))
	}
	return of, nil
}

// Notes says how sites grow.
func (n *needing) Notes() []string { return n.notes }

// follow returns what an editor of the trace needs to follow its containers.
func (n *needing) follow(src trace.Source) (*objects, *sequels, error) {
	of, err := learnObjects(src, forever)
	if err != nil {
		return nil, nil, err
	}
	n.fits.cut(of)
	l, err := learnSequels(src, of, n.chosen, n.fits)
	return of, l, err
}

// elemOf returns the bytes of an element of the container.
func (n *needing) elemOf(l *sequels, c *grower) uint64 {
	if n.elem > 0 {
		return n.elem
	}
	return uint64(l.elem[c.number])
}

// final returns the bytes that a container needs in the end, of a step from
// least to capacity bytes.
func (n *needing) final(least, capacity uint64) uint64 {
	return least + (capacity-least)/100*n.fill + (capacity-least)%100*n.fill/100
}

// grow is the change.
type grow struct {
	needing
	rule  *rules.Rule
	named bool // the rule is of a library, with its own header and short strings
	via   string
}

func newGrow(c heapmodel.Config) (Change, error) {
	n, err := newNeeding(c)
	if err != nil {
		return nil, err
	}
	s := &grow{needing: n, via: c.Text("via")}
	given := 0
	if c.Set("rule") {
		given++
		s.named = true
		if s.rule, err = rules.Lookup(c.Text("rule")); err != nil {
			return nil, unknownRule(err)
		}
	}
	if c.Set("factor") {
		given++
		if s.rule, err = factorOf(c.Text("factor")); err != nil {
			return nil, err
		}
	}
	if c.Set("step") {
		given++
		step := c.Bytes("step")
		if step == 0 || step > rules.MaxCapacity {
			return nil, fmt.Errorf("step=%d: want 1 byte to %d", step, uint64(rules.MaxCapacity))
		}
		s.rule = rules.Step(step)
	}
	if c.Bool("exact") {
		given++
		s.rule = rules.Factor(1, 1)
	}
	if given != 1 {
		return nil, errors.New("one of rule, factor, step and exact must be given")
	}
	return s, nil
}

// factorOf reads a factor.
func factorOf(text string) (*rules.Rule, error) {
	if text == "golden" {
		return rules.Factor(987, 610), nil // Fibonacci numbers: 1.618034
	}
	var f float64
	if _, err := fmt.Sscanf(text+" ", "%g ", &f); err != nil || !(f >= 1 && f <= 16) {
		return nil, fmt.Errorf("factor=%s: want 1 to 16, or golden", text)
	}
	num, den := uint64(math.Round(f*1000)), uint64(1000)
	for _, p := range []uint64{2, 2, 2, 5, 5, 5} {
		if num%p == 0 && den%p == 0 {
			num, den = num/p, den/p
		}
	}
	return rules.Factor(num, den), nil
}

// Learn finds out how the sites grow.
func (s *grow) Learn(src trace.Source, _ *Env) error {
	var prefer *rules.Rule
	if s.named {
		prefer = s.rule
	}
	_, err := s.learn(src, prefer)
	return err
}

// For learns what becomes of each container of the trace.
func (s *grow) For(src trace.Source) (func(*Ledger) edit.Editor, error) {
	of, l, err := s.follow(src)
	if err != nil {
		return nil, err
	}
	return func(ledger *Ledger) edit.Editor {
		return &regrower{s: s, g: growers{of: of, chosen: s.chosen, sequels: l}, l: ledger}
	}, nil
}

// shape is how a container's elements come to bytes.
type shape struct {
	elem   uint64
	was    uint64 // bytes of a recorded request beside its elements
	now    uint64 // the same of requests that are written
	inline uint64 // elements that need no request
}

func (s *grow) shape(f *fit, elem uint64) shape {
	header := headerOf(f.rule)
	switch {
	case !s.named:
		sh := shape{elem: elem, was: header, now: header}
		if f.rule != nil {
			sh.inline = f.rule.Inline()
		}
		return sh
	case s.rule.Text:
		// Whatever it was made of, it is a string now, and had a terminator.
		return shape{elem: 1, was: headerOf(s.rule), now: headerOf(s.rule), inline: s.rule.Inline()}
	case f.rule == nil || f.rule.Text:
		return shape{elem: elem, now: headerOf(s.rule)}
	}
	return shape{elem: elem, was: header, now: headerOf(s.rule)}
}

// elements returns how many elements a recorded request is for.
func (sh *shape) elements(bytes uint64) uint64 {
	if bytes <= sh.was {
		return 0
	}
	return (bytes - sh.was + sh.elem - 1) / sh.elem
}

// request returns the bytes of a request for so many elements.
func (sh *shape) request(elements uint64) uint64 {
	if elements <= sh.inline {
		return 0
	}
	if elements > (trace.MaxSize-sh.now)/sh.elem {
		return trace.MaxSize
	}
	return sh.now + elements*sh.elem
}

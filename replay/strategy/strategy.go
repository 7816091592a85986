// Package strategy holds what a program could do differently so that its heap
// fragments less: reserve containers, grow them by another factor, put hot
// sizes into pools, move an object out of the heap. A strategy rewrites the
// trace as the changed program would have made it, wraps the heap as the
// changed firmware would configure it, or both, and keeps a Ledger of what that
// costs: memory that is reserved and not used, static memory, stack.
//
// Strategies compose: "reserve:at=p95+pools:auto" rewrites first by reserve and
// wraps by pools what comes of it. Adding one is a file and a row of Strategies.
package strategy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// Strategy is a row of the table: a kind of change and how to make one.
type Strategy struct {
	Name   string
	Title  string            // one line: what it does
	Doc    string            // how, with its assumptions and its price, in sentences
	Source string            // where the idea is from or asked for
	Params []heapmodel.Param // in the order help shows them
	Kind   Kind
	// New makes the change for one program: a Rewriter, a Wrapper, or both, as
	// Kind says.
	New func(heapmodel.Config) (Change, error)
}

// Kind says what a strategy changes.
type Kind uint8

// The kinds of changes.
const (
	Rewrites Kind = 1 << iota // of the trace
	Wraps                     // of the heap
)

// Strategies is the table of all strategies, in the order help shows them.
var Strategies = []*Strategy{
	Reserve,
	Static,
	Round,
	LongLivedFirst,
	Growth,
	Shrink,
	Container,
	ScopeArena,
	Stack,
	Pregrow,
	Pools,
	Split,
	Holdback,
	TwoEnded,
}

// Change is a strategy with its parameters, for one program. It is used by one
// goroutine until it has learned; after that its methods only read.
type Change interface {
	// Learn decides what the change does: which sites, which capacities, which
	// pools. It reads the recorded trace, as the strategies before it left it,
	// as often as it needs. It is called once, before anything else.
	Learn(src trace.Source, env *Env) error
}

// Rewriter is a Change of the trace.
type Rewriter interface {
	Change
	// For reads a trace of the program, the recorded one or another ordering of
	// it, and returns what makes the editor for one reading of it. The editor
	// books what the change costs in the ledger, which is nil for all readings
	// but one. Decisions are those of Learn; only an oracle looks further.
	For(src trace.Source) (func(l *Ledger) edit.Editor, error)
}

// Wrapper is a Change of the heap.
type Wrapper interface {
	Change
	// Wrap returns the spec of the changed heap, which takes as much memory as
	// s in all: what the change sets apart comes out of the capacity of s. An
	// error says why s is too small or cannot be changed so. h is the header of
	// the trace that will be replayed.
	Wrap(s *heapmodel.Spec, h *trace.Header) (*heapmodel.Spec, error)
}

// Noter is implemented by changes that have something to say after Learn.
type Noter interface {
	// Notes returns sentences for footnotes: what was chosen, what was guessed
	// because the trace lacks it.
	Notes() []string
}

// Env is what strategies need from outside.
type Env struct {
	Models []*heapmodel.Model // the catalog, for specs inside wrapped heaps
	Keep   uint64             // bytes of columns up to which an edited trace is kept in memory
	// Open reads another trace, for strategies that learn from one. May be nil.
	Open func(path string) (trace.Source, error)
}

// Set is some strategies, one applied after the other. An empty Set is the
// baseline, "none".
type Set struct {
	text  string
	parts []part
}

type part struct {
	row  *Strategy
	spec *heapmodel.Spec
}

// None is the name of the baseline.
const None = "none"

// UnknownError is returned for a strategy that is not in the table.
type UnknownError struct {
	Name  string
	Known []string
}

func (e *UnknownError) Error() string { return fmt.Sprintf("unknown strategy %q", e.Name) }

// Parse reads NAME[:key=value,...][+NAME...]; a word without a value is true, as
// in "pools:auto", and a value with a + or a comma in it stands in brackets.
// "none" is the empty Set. Errors are an *UnknownError, or name the parameter
// at fault.
func Parse(text string) (Set, error) {
	set := Set{text: text}
	if text == None {
		return set, nil
	}
	parts, err := heapmodel.SplitOutside(text, '+')
	if err != nil {
		return set, fmt.Errorf("strategy %q: %w", text, err)
	}
	for _, p := range parts {
		one, err := parseOne(p)
		if err != nil {
			return set, err
		}
		set.parts = append(set.parts, one)
	}
	return set, nil
}

// Lookup returns the strategy of that name, or an *UnknownError.
func Lookup(name string) (*Strategy, error) {
	for _, s := range Strategies {
		if s.Name == name {
			return s, nil
		}
	}
	known := []string{None}
	for _, s := range Strategies {
		known = append(known, s.Name)
	}
	return nil, &UnknownError{Name: name, Known: known}
}

// Changes returns what the strategy changes: "trace", "heap" or "trace, heap".
func (s *Strategy) Changes() string {
	var what []string
	if s.Kind&Rewrites != 0 {
		what = append(what, "trace")
	}
	if s.Kind&Wraps != 0 {
		what = append(what, "heap")
	}
	return strings.Join(what, ", ")
}

// parseOne reads one strategy by way of a model that has its parameters.
func parseOne(text string) (part, error) {
	name, rest, hasArgs := strings.Cut(text, ":")
	row, err := Lookup(name)
	if err != nil {
		return part{}, err
	}
	full := name
	if hasArgs {
		args, err := heapmodel.SplitOutside(rest, ',')
		if err != nil {
			return part{}, fmt.Errorf("strategy %q: %w", text, err)
		}
		for i, a := range args {
			if !strings.Contains(a, "=") {
				args[i] = a + "=true"
			}
		}
		full += ":" + strings.Join(args, ",")
	}
	spec, err := heapmodel.ParseSpec([]*heapmodel.Model{{Name: name, Params: row.Params}}, full)
	var param *heapmodel.UnknownParamError
	switch {
	case errors.As(err, &param):
		return part{}, fmt.Errorf("strategy %s has no parameter %q: it has %s", name, param.Key, strings.Join(param.Known, ", "))
	case err != nil:
		return part{}, fmt.Errorf("strategy: %w", err)
	}
	if _, err := row.build(spec); err != nil {
		return part{}, err
	}
	return part{row: row, spec: spec}, nil
}

func (s *Strategy) build(spec *heapmodel.Spec) (Change, error) {
	c, err := spec.Config()
	if err != nil {
		return nil, err
	}
	change, err := s.New(c)
	if err != nil {
		return nil, fmt.Errorf("strategy %s: %w", spec, err)
	}
	return change, nil
}

// name returns the strategy as messages call it: words that are true without
// saying so.
func (p part) name() string { return strings.ReplaceAll(p.spec.String(), "=true", "") }

// String returns the set as it was given.
func (s Set) String() string { return s.text }

// Empty reports whether the set changes nothing.
func (s Set) Empty() bool { return len(s.parts) == 0 }

// Learned is a set of strategies that has decided what it does to a program.
// Its methods may be called by several goroutines.
type Learned struct {
	Set     Set
	Notes   []string // what was chosen, and what was guessed
	env     *Env
	changes []learned
	first   *Applied // to the trace it was learned on
}

type learned struct {
	name   string
	change Change
}

// Applied is a set of strategies applied to one trace.
type Applied struct {
	*Learned
	Trace  trace.Source // as the changed program would have made it
	Ledger *Ledger      // what the changes of the trace cost together; of the baseline: nothing
	needs  []need       // of objects of Trace, as the last change of it told
}

// Learn has each strategy in turn decide what it does, by the recorded trace,
// and apply it for the next. It reads the trace a few times.
func (s Set) Learn(src trace.Source, env *Env) (*Learned, error) {
	d := &Learned{Set: s, env: env}
	a := &Applied{Learned: d, Trace: src, Ledger: &Ledger{}}
	for _, p := range s.parts {
		change, err := p.row.build(p.spec)
		if err != nil {
			return nil, err
		}
		if err := change.Learn(a.Trace, env); err != nil {
			return nil, fmt.Errorf("strategy %s: %w", p.spec, err)
		}
		if n, ok := change.(Noter); ok {
			for _, note := range n.Notes() {
				d.Notes = append(d.Notes, p.name()+": "+note)
			}
		}
		l := learned{p.name(), change}
		d.changes = append(d.changes, l)
		if err := a.rewrite(l); err != nil {
			return nil, err
		}
	}
	d.first = a
	return d, nil
}

// Recorded returns the set applied to the trace that it was learned on.
func (d *Learned) Recorded() *Applied { return d.first }

// Apply applies the set to another trace of the same program, with the same
// call sites: a perturbation of the one it was learned on.
func (d *Learned) Apply(src trace.Source) (*Applied, error) {
	a := &Applied{Learned: d, Trace: src, Ledger: &Ledger{}}
	for _, l := range d.changes {
		if err := a.rewrite(l); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// rewrite changes the trace, if the change does. The first reading, which
// counts, books the price.
func (a *Applied) rewrite(l learned) error {
	r, ok := l.change.(Rewriter)
	if !ok {
		return nil
	}
	if n, ok := r.(needsReader); ok {
		r = n.withNeeds(a.needs)
	}
	editor, err := r.For(a.Trace)
	if err != nil {
		return fmt.Errorf("strategy %s: %w", l.name, err)
	}
	ledger := newLedger(a.Trace.Header().Summary.Events)
	ledger.noting = len(a.Set.parts) > 1
	first := true
	a.Trace, err = edit.Source(a.Trace, a.env.Keep, func() (edit.Editor, error) {
		if first {
			first = false
			return &clocked{Editor: editor(ledger), l: ledger}, nil
		}
		return editor(nil), nil
	})
	if err != nil {
		return fmt.Errorf("strategy %s: %w", l.name, err)
	}
	ledger.close()
	a.needs, ledger.needs = ledger.needs, nil
	a.Ledger.merge(ledger)
	return nil
}

// needsReader is a Rewriter that makes use of what the change right before it
// knows of needs.
type needsReader interface {
	// withNeeds returns a Rewriter of the trace that these needs are of.
	withNeeds(needs []need) Rewriter
}

// clocked advances the ledger's clock with the events of the original.
type clocked struct {
	edit.Editor
	l *Ledger
}

func (c *clocked) Event(e *trace.Event, w *edit.Writer) {
	c.l.advance(e)
	c.Editor.Event(e, w)
}

// Wrap returns the spec of the heap as the set changes it, of as much memory as
// s in all.
func (a *Applied) Wrap(s *heapmodel.Spec) (*heapmodel.Spec, error) {
	for _, l := range a.changes {
		w, ok := l.change.(Wrapper)
		if !ok {
			continue
		}
		var err error
		if s, err = w.Wrap(s, a.Trace.Header()); err != nil {
			return nil, fmt.Errorf("strategy %s: %w", l.name, err)
		}
	}
	return s, nil
}

// Package advise finds out what to change in a program whose heap fragments. It
// tries changes of call sites one by one and together, each by a replay, and
// says what each costs and buys. It guesses nothing: what it does not try, such
// as a change of two sites that only help as a pair, it does not find.
package advise

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/replay/compare"
	"github.com/fragprof/fragprof/replay/perturb"
	"github.com/fragprof/fragprof/replay/plan"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
)

// Options say how much is tried. The zero Options are usable.
type Options struct {
	Sites   int // call sites that are tried, the most suspicious first; 0 means 16
	Steps   int // changes that are combined at most; 0 means 3
	Show    int // single changes that get a verdict; 0 means 8
	Tests   int // sizes tried for each minimum heap, about; 0 means 48
	Workers int // 0 means one a processor; results do not depend on it
	// Perturb and Count are the orderings that verdicts are based on, beside
	// the recorded one.
	Perturb perturb.Options
	Count   int
	// Progress is called now and then with the number of replayed changes. May
	// be nil.
	Progress func(done int)
}

// Report is what was found for one heap.
type Report struct {
	Base   *compare.Row // the heap as it is
	Advice []*Advice    // single changes, best first
	// Steps are changes combined greedily, each the best on top of those
	// before it; empty if no single change is better than none.
	Steps []*Advice
	Tried int // single changes replayed
	Notes []string
}

// Advice is a change and what it does.
type Advice struct {
	Action *Action
	Site   trace.SiteID // zero for an action that is not about one site
	Row    *compare.Row // the heap with the change; in a step, with those before it, too
	Better bool         // than without, in the recorded ordering
	// Elsewhere is the site of the first failure that is left, if it is another
	// than without the change: the failure only moved.
	Elsewhere *replay.Failure
	// Alone is, of a step, the same change by itself.
	Alone *Advice
}

// Action is a row of the table: something that can be done about a site, or
// about the program.
type Action struct {
	Name string // what to do, as reports say it
	Text string // the strategy; %d is the number of the site
	Site bool   // it is done about one site
	Bare bool   // it is done about the program, where the trace has no sites to tell
	// Applies reports whether it makes sense for a site. May be nil.
	Applies func(*suspect, uint64) bool
}

// Actions is the table of all actions.
var Actions = []Action{
	{Name: "make it static", Text: "static:sites=#%d", Site: true, Applies: func(s *suspect, heap uint64) bool { return s.static() <= heap/2 }},
	{Name: "reserve its largest size", Text: "reserve:at=max,sites=#%d", Site: true, Applies: func(s *suspect, _ uint64) bool { return s.growths > 0 }},
	{Name: "reserve its 95th percentile", Text: "reserve:at=p95,sites=#%d", Site: true, Applies: func(s *suspect, _ uint64) bool { return s.growths > 0 }},
	{Name: "reserve the largest size for all that grows", Text: "reserve:at=max", Bare: true},
	{Name: "reserve the 95th percentile for all that grows", Text: "reserve:at=p95", Bare: true},
	{Name: "pools for hot sizes", Text: "pools:auto"},
	{Name: "round requests to classes", Text: "round", Bare: true},
}

// Run tries the actions on the heap and reports what helps.
func Run(ctx context.Context, src trace.Source, heap *heapmodel.Spec, env *strategy.Env, o Options) (*Report, error) {
	o.Sites, o.Steps, o.Show, o.Tests = cmp.Or(o.Sites, 16), cmp.Or(o.Steps, 3), cmp.Or(o.Show, 8), cmp.Or(o.Tests, 48)
	a := &adviser{ctx: ctx, src: src, heap: heap, env: env, o: o}
	found, err := a.candidates()
	if err != nil {
		return nil, err
	}
	r := &Report{Tried: len(found)}
	if !src.Header().HasSite {
		r.Notes = append(r.Notes, "the trace has no call sites: only changes of the whole program were tried")
	}
	if r.Base, err = a.try(found, nil); err != nil {
		return nil, err
	}
	if r.Base.Err != nil {
		return nil, r.Base.Err
	}
	found = slices.DeleteFunc(found, func(d *Advice) bool { return d.Row.Err != nil })
	slices.SortStableFunc(found, func(x, y *Advice) int { return order(x.Row, y.Row) })
	r.Advice = found[:min(len(found), o.Show)]
	if err := a.combine(r); err != nil {
		return nil, err
	}
	return r, a.judge(r)
}

// adviser is a Run under way.
type adviser struct {
	ctx  context.Context
	src  trace.Source
	heap *heapmodel.Spec
	env  *strategy.Env
	o    Options
	done int
}

// candidates returns the changes to try.
func (a *adviser) candidates() ([]*Advice, error) {
	suspects, err := suspectsOf(a.src, a.o.Sites)
	if err != nil {
		return nil, err
	}
	room := a.src.Header().Summary.PeakLiveBytes * 4
	if size, ok := plan.FixedSize(a.heap); ok {
		room = size
	}
	var out []*Advice
	for i := range Actions {
		action := &Actions[i]
		if action.Bare && a.src.Header().HasSite {
			continue
		}
		if !action.Site {
			out = append(out, &Advice{Action: action})
			continue
		}
		for _, s := range suspects {
			if action.Applies == nil || action.Applies(s, room) {
				out = append(out, &Advice{Action: action, Site: s.site})
			}
		}
	}
	return out, nil
}

// set returns the strategies of the advice.
func (d *Advice) set() string {
	if d.Action.Site {
		return fmt.Sprintf(d.Action.Text, d.Site)
	}
	return d.Action.Text
}

// try replays every change on top of those before it, and returns the heap
// without any.
func (a *adviser) try(found, before []*Advice) (*compare.Row, error) {
	sets := make([]strategy.Set, len(found))
	for i, d := range found {
		text := ""
		for _, b := range before {
			text += b.set() + "+"
		}
		var err error
		if sets[i], err = strategy.Parse(text + d.set()); err != nil {
			return nil, err
		}
	}
	rows, err := compare.Run(a.ctx, a.src, []*heapmodel.Spec{a.heap}, sets, a.env, compare.Options{
		Replay:  replay.Options{Workers: a.o.Workers},
		MinHeap: &plan.Options{Tests: a.o.Tests, Workers: a.o.Workers},
		Progress: func(int, int) {
			if a.done++; a.o.Progress != nil {
				a.o.Progress(a.done)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	base := rows[0]
	for i, d := range found {
		k := slices.IndexFunc(rows, func(r *compare.Row) bool { return r.Base != nil && r.Set.String() == sets[i].String() })
		d.Row = rows[k]
		if d.Row.Err == nil && base.Err == nil {
			d.Better = better(d.Row, base)
			d.Elsewhere = elsewhere(d.Row, base)
		}
	}
	return base, nil
}

// order compares rows: failures, then the memory needed at least, as far as it
// matters, then the mean largest free block.
func order(x, y *compare.Row) int {
	if c := cmp.Compare(x.Result.Failures, y.Result.Failures); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(worth(x), worth(y)), cmp.Compare(least(x), least(y)))
}

// worth is the memory a row needs at least, less what its largest free block
// leaves: a byte of the one is worth as much as a byte of the other to a program
// that must keep a large block available.
func worth(r *compare.Row) float64 {
	if r.Result.Growing {
		return float64(least(r))
	}
	return float64(least(r)) - r.MeanLargest()
}

func least(r *compare.Row) uint64 {
	if r.Min == nil {
		return r.Memory()
	}
	return r.MinMemory()
}

// better reports whether a change is worth its name: fewer failures; as many,
// and compare.Material less memory needed; or as much, and in a heap of fixed
// size a mean largest free block larger by compare.MaterialLargest.
func better(with, without *compare.Row) bool {
	if with.Result.Failures != without.Result.Failures {
		return with.Result.Failures < without.Result.Failures
	}
	change := float64(least(with))/float64(least(without)) - 1
	if change <= -compare.Material {
		return true
	}
	return change < compare.Material && !without.Result.Growing &&
		with.MeanLargest() >= without.MeanLargest()*(1+compare.MaterialLargest)
}

// elsewhere returns the first failure that is left if it is of another site
// than the first without the change.
func elsewhere(with, without *compare.Row) *replay.Failure {
	w, o := with.Result.Failed, without.Result.Failed
	if len(w) == 0 || len(o) > 0 && o[0].Site == w[0].Site {
		return nil
	}
	return &w[0]
}

// combine adds one change after the other while that is better.
func (a *adviser) combine(r *Report) error {
	var chosen []*Advice
	current := r.Base
	for len(r.Steps) < a.o.Steps {
		var next []*Advice
		for _, d := range r.Advice {
			taken := slices.ContainsFunc(chosen, func(c *Advice) bool { return c.Site == d.Site && (d.Site != 0 || c.Action == d.Action) })
			if !taken && (d.Better || len(chosen) > 0) {
				next = append(next, &Advice{Action: d.Action, Site: d.Site, Alone: d})
			}
		}
		if len(next) == 0 {
			return nil
		}
		if len(chosen) == 0 {
			// The first step is the best single change, replayed already.
			best := r.Advice[0]
			if !best.Better {
				return nil
			}
			next = []*Advice{{Action: best.Action, Site: best.Site, Row: best.Row, Better: true, Elsewhere: best.Elsewhere, Alone: best}}
		} else if _, err := a.try(next, chosen); err != nil {
			return err
		}
		next = slices.DeleteFunc(next, func(d *Advice) bool { return d.Row.Err != nil })
		if len(next) == 0 {
			return nil
		}
		best := slices.MinFunc(next, func(x, y *Advice) int { return order(x.Row, y.Row) })
		if !better(best.Row, current) {
			return nil
		}
		best.Better, best.Elsewhere = true, elsewhere(best.Row, current)
		r.Steps = append(r.Steps, best)
		chosen, current = append(chosen, best), best.Row
	}
	return nil
}

// judge replays what is reported over perturbed orderings, too.
func (a *adviser) judge(r *Report) error {
	all := append(slices.Clone(r.Advice), r.Steps...)
	if a.o.Count == 0 || len(all) == 0 {
		return nil
	}
	var sets []strategy.Set
	for _, d := range all {
		if !slices.ContainsFunc(sets, func(s strategy.Set) bool { return s.String() == d.Row.Set.String() }) {
			sets = append(sets, d.Row.Set)
		}
	}
	rows, err := compare.Run(a.ctx, a.src, []*heapmodel.Spec{a.heap}, sets, a.env, compare.Options{
		Replay:  replay.Options{Workers: a.o.Workers},
		Perturb: a.o.Perturb, Count: a.o.Count,
		Progress: func(int, int) {
			if a.done++; a.o.Progress != nil {
				a.o.Progress(a.done)
			}
		},
	})
	if err != nil {
		return err
	}
	for _, d := range all {
		for _, row := range rows {
			if row.Base != nil && row.Set.String() == d.Row.Set.String() {
				d.Row.Verdict, d.Row.Paired = row.Verdict, row.Paired
			}
		}
	}
	return nil
}

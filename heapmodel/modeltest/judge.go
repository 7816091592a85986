package modeltest

import (
	"fmt"
	"runtime/debug"

	"github.com/fragprof/fragprof/heapmodel"
)

// rulesFor returns how strictly to judge a heap of the spec, from what is known
// of the original and of those of the specs inside.
func rulesFor(s *heapmodel.Spec) Rules {
	r := lenient[s.Model.Name]
	r.NoLayout = s.Model.Caps&heapmodel.CapNoLayout != 0
	for _, inner := range s.Inside() {
		of := rulesFor(inner)
		r.FailureMerges = r.FailureMerges || of.FailureMerges
		r.FailureGrows = r.FailureGrows || of.FailureGrows
		r.Moves = r.Moves || of.Moves
	}
	return r
}

// lenient lists the models whose originals do what a Shadow would else hold
// against them.
var lenient = map[string]Rules{
	"sequential":        {FailureMerges: true}, // coalescing that was deferred happens before a request fails
	"threadx-byte-pool": {FailureMerges: true}, // merges of a failing search stay
	"picolibc":          {FailureGrows: true},  // a refused second break request loses the first
	"dlmalloc":          {FailureGrows: true},  // asks for more than it needs, then again
	"compacting":        {Moves: true},
	"holdback":          {FailureMerges: true, FailureGrows: true}, // a failure releases the held block, which joins its neighbours and may empty a chunk
}

// Judge replays the trace through an empty heap of the spec under a Shadow and
// surveys it after every few operations and at the end. It returns the first
// breach, or a panic of the model, with the operation.
func Judge(s *heapmodel.Spec, t *Trace, every int) (err error) {
	h, err := s.New()
	if err != nil {
		return err
	}
	shadow := NewShadow(h, rulesFor(s))
	p, err := newPlayer(shadow, t)
	if err != nil {
		return err
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("operation %d: %s: panic: %v\n%s", p.at+1, t.Ops[p.at], v, debug.Stack())
		}
	}()
	if err := shadow.Survey(); err != nil {
		return fmt.Errorf("empty heap: %w", err)
	}
	for i, o := range t.Ops {
		p.at = i
		p.play(o)
		err := shadow.Err()
		if err == nil && (i%every == every-1 || i == len(t.Ops)-1) {
			err = shadow.Survey()
		}
		if err != nil {
			return fmt.Errorf("operation %d: %s: %w", i+1, o, err)
		}
	}
	return nil
}

// Package verify holds a heap model to a table of answers: it replays the
// trace that the table is about and compares, operation by operation, what the
// model answers with what the table says. The first difference is told with
// the blocks around it, before and after the operation.
//
// Table and trace are streamed: what a run needs grows with the live objects
// and blocks, not with the operations.
package verify

import (
	"context"
	"fmt"
	"io"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// Report says how far a model and a table agree.
type Report struct {
	Events uint64 // of the trace
	Equal  uint64 // operations, from the first on, answered as the table says
	// Extra counts the table's answers beyond the trace's last operation.
	Extra   uint64
	Diff    *Difference // the first; nil if there is none
	Figures []Figure    // of the whole replay; nil if there is a difference
}

// Agrees reports whether the table and the model agree on every operation, and
// the table has as many answers as the trace operations.
func (r *Report) Agrees() bool { return r.Diff == nil && r.Extra == 0 }

// Difference is the first operation that the model answers otherwise than the
// table, and the heap around it.
type Difference struct {
	Event  uint64      // its index in the trace, from zero
	Op     trace.Event // the operation
	Object uint64      // number of its object, in order of allocation from zero
	Line   uint64      // of the table; 0 if the table has ended
	Want   golden.Answer
	Got    golden.Answer

	// What follows is of the heap just before the operation.
	Was         heapmodel.Addr // where the object was; Null for an alloc
	Need        uint64         // bytes of block the request needs; 0 for a free
	LargestFree uint64         // bytes
	Usage       heapmodel.Usage

	Earlier []string // the operations just before, and the latest on the object
	Before  string   // blocks around the addresses in question, a line each
	After   string
	Check   error // invariant of the model that is broken after the operation
}

// Ended reports whether the table has no answer to the operation.
func (d *Difference) Ended() bool { return d.Line == 0 }

// OtherTrace reports whether the table answers to another kind of operation,
// so that it cannot be of this trace.
func (d *Difference) OtherTrace() bool {
	return !d.Ended() && d.Want.ToFree() != (d.Op.Op == trace.OpFree)
}

// Run replays the trace through an empty heap of the spec and compares its
// answers with the table. A difference is no error; a table or trace that cannot be read,
// or a model that breaks, is. progress is told the number of events replayed
// and may be nil.
func Run(ctx context.Context, src trace.Source, s *heapmodel.Spec, table *golden.Reader, progress func(events uint64)) (*Report, error) {
	c := comparer{table: table, figures: newFigures(src.Header())}
	results, err := replay.Run(ctx, src, []*heapmodel.Spec{s}, replay.Options{Observe: c.observe, Progress: progress, Samples: 1})
	switch {
	case err != nil:
		return nil, err
	case results[0].Err != nil:
		return nil, fmt.Errorf("after %d equal operations: %w", c.equal, results[0].Err)
	case c.err != nil:
		return nil, c.err
	}
	r := &Report{Events: src.Header().Summary.Events, Equal: c.equal, Diff: c.diff}
	if r.Diff != nil {
		if r.Diff.Ended() {
			return r, nil
		}
		return r, explain(ctx, src, s, r.Diff)
	}
	r.Figures = c.figures.all(results[0])
	r.Extra, err = rest(ctx, table)
	return r, err
}

// comparer compares answers with a table as they come.
type comparer struct {
	table   *golden.Reader
	equal   uint64
	diff    *Difference
	err     error
	figures figures
}

func (c *comparer) observe(_ heapmodel.Heap, b *trace.Block, i int, got golden.Answer) bool {
	want, err := c.table.Next()
	if err != nil && err != io.EOF {
		c.err = err
		return false
	}
	if err == io.EOF || want != got {
		c.diff = &Difference{Event: b.First + uint64(i), Op: b.At(i), Got: got, Want: want, Was: heapmodel.Null}
		if err == nil {
			c.diff.Line = c.table.Line()
		}
		return false
	}
	c.equal++
	c.figures.add(b, i, got)
	return true
}

// rest counts the answers left in a table.
func rest(ctx context.Context, table *golden.Reader) (answers uint64, err error) {
	for {
		if _, err := table.Next(); err == io.EOF {
			return answers, nil
		} else if err != nil {
			return answers, err
		}
		answers++
		if answers%(64<<10) == 0 && ctx.Err() != nil {
			return answers, ctx.Err()
		}
	}
}

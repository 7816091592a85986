// Package plan answers how big a heap must be. The smallest size that serves a
// trace is not enough: in most heaps a larger size can fail where a smaller one
// did not, since the last free block is a block like any other and its size
// decides what is preferred. So sizes are scanned, never only bisected, and a
// plan says which sizes were tried.
package plan

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// Options say how finely sizes are scanned. The zero Options are usable.
type Options struct {
	// Step is the bytes between two sizes that are tried. Zero means the heap's
	// alignment, or a multiple of it if the scan would else need more than Tests
	// replays; then the edges between serving and failing are refined.
	Step    uint64
	Tests   int // replays of an automatic scan, about; 0 means 512
	Workers int // 0 means one a processor; results do not depend on it
	// Wrap puts the heap of a size into another that takes as much memory in
	// all, such as pools beside a smaller heap. An error is a size that does not
	// do. May be nil.
	Wrap func(*heapmodel.Spec) (*heapmodel.Spec, error)
	// Progress is called after each replay with their number so far. May be nil.
	Progress func(tests int)
}

// Result is how big a heap of one spec must be for one trace.
type Result struct {
	Spec *heapmodel.Spec // at SafeFrom
	Size string          // the parameter that was varied: capacity, grow or regions

	// MinOK is the smallest size tried that served every request, in bytes.
	MinOK uint64
	// SafeFrom is the smallest size from which every size tried up to To, at
	// least 1.5 times as large, served every request.
	SafeFrom uint64
	// Failing are the ranges of sizes above MinOK that failed, each of sizes
	// tried one after the other.
	Failing []Range

	From, To uint64 // the first and the last size tried
	Step     uint64 // between two of them
	Fine     uint64 // the precision of MinOK and SafeFrom, refined below Step
	Tests    int    // replays

	// Short is the first request that was not served in the largest size tried
	// that failed; nil if none failed.
	Short *Short
}

// Range is a range of sizes in bytes, both ends included.
type Range struct{ From, To uint64 }

// Short is a request that a size could not serve.
type Short struct {
	Size  uint64 // of the heap
	Event uint64
}

// maxHeap is the size beyond which a scan gives up: no trace needs it.
const maxHeap = 1 << 44

// MinHeap scans the sizes of a heap of the spec, from the trace's peak of live
// bytes up to 1.5 times the largest that failed. The trace is replayed once a
// size, up to the first failure, so it had better be in memory.
func MinHeap(ctx context.Context, src trace.Source, s *heapmodel.Spec, o Options) (*Result, error) {
	c := &scan{ctx: ctx, src: src, spec: s, o: o, known: map[uint64]replay.Fit{}}
	var err error
	if c.size, err = SizeParam(s); err != nil {
		return nil, err
	}
	if c.o.Wrap == nil {
		c.o.Wrap = func(s *heapmodel.Spec) (*heapmodel.Spec, error) { return s, nil }
	}
	if c.o.Workers <= 0 {
		c.o.Workers = runtime.GOMAXPROCS(0)
	}
	if c.o.Tests <= 0 {
		c.o.Tests = 512
	}
	enough, err := c.enough()
	if err != nil {
		return nil, err
	}
	c.setStep(enough)
	if err := c.run(); err != nil {
		return nil, err
	}
	return c.result()
}

// SizeParam returns which parameter of the spec is the size of its heap:
// "capacity", "grow", or "regions" if there is one region.
func SizeParam(s *heapmodel.Spec) (string, error) {
	switch {
	case len(s.Regions()) > 1:
		return "", fmt.Errorf("%s has several regions: there is no one size to scan", s)
	case s.Has("regions") && (len(s.Regions()) == 1 || !s.Has("capacity")):
		return "regions", nil
	case s.Grows() && s.Has("grow"):
		return "grow", nil
	case s.Has("capacity") && !s.Grows():
		return "capacity", nil
	case s.Model.Caps&heapmodel.CapNoLayout != 0:
		return "", fmt.Errorf("%s has no arena: it needs what is live", s)
	}
	return "", fmt.Errorf("%s has no one size to scan", s)
}

// FixedSize returns the capacity of a heap of fixed size, if it has one.
func FixedSize(s *heapmodel.Spec) (uint64, bool) {
	if param, err := SizeParam(s); err != nil || param != "capacity" {
		return 0, false
	}
	c, err := s.Config()
	if err != nil || !c.Set("capacity") {
		return 0, false
	}
	return c.Bytes("capacity"), true
}

// Sized returns the spec with its heap's size set, by the parameter that
// SizeParam names.
func Sized(s *heapmodel.Spec, param string, size uint64) (*heapmodel.Spec, error) {
	if param != "regions" {
		return s.With(param, fmt.Sprint(size))
	}
	at := heapmodel.Addr(0)
	if r := s.Regions(); len(r) == 1 {
		at = r[0].Addr
	}
	return s.With(param, fmt.Sprintf("%d@%d", size, at))
}

// scan is a scan under way.
type scan struct {
	ctx   context.Context
	src   trace.Source
	spec  *heapmodel.Spec
	o     Options
	size  string
	step  uint64
	fine  uint64
	from  uint64
	to    uint64
	known map[uint64]replay.Fit
}

// try returns whether the sizes serve the trace, replaying those not known yet.
func (c *scan) try(sizes ...uint64) ([]replay.Fit, error) {
	fits := make([]replay.Fit, len(sizes))
	errs := make([]error, len(sizes))
	gate := make(chan struct{}, c.o.Workers)
	var wg sync.WaitGroup
	for i, size := range sizes {
		if f, ok := c.known[size]; ok {
			fits[i] = f
			continue
		}
		if err := c.ctx.Err(); err != nil {
			errs[i] = err
			break
		}
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			fits[i], errs[i] = c.fits(size)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, size := range sizes {
		c.known[size] = fits[i]
	}
	if c.o.Progress != nil {
		c.o.Progress(len(c.known))
	}
	return fits, nil
}

func (c *scan) fits(size uint64) (replay.Fit, error) {
	s, err := Sized(c.spec, c.size, size)
	if err != nil {
		return replay.Fit{}, err
	}
	wrapped, err := c.o.Wrap(s)
	if err != nil {
		return replay.Fit{Refused: err}, nil
	}
	return replay.Fits(c.src, wrapped)
}

// enough returns a size that serves the trace, found by doubling, and the
// smallest step that makes a difference.
func (c *scan) enough() (uint64, error) {
	peak := max(c.src.Header().Summary.PeakLiveBytes, 1)
	for size := max(up(peak, 4096), 4096); ; size *= 2 {
		fits, err := c.try(size)
		if err != nil {
			return 0, err
		}
		f := fits[0]
		switch {
		case f.OK:
			s, err := Sized(c.spec, c.size, size)
			if err != nil {
				return 0, err
			}
			h, err := s.New()
			if err != nil {
				return 0, err
			}
			c.fine = max(uint64(h.Align()), 1)
			return size, nil
		case size >= maxHeap && f.Refused != nil:
			return 0, f.Refused
		case size >= maxHeap:
			return 0, fmt.Errorf("%s serves the trace in no size up to %s: event %d fails", c.spec, heapmodel.FormatBytes(size), f.Event)
		case f.Refused != nil && size > 64*peak && size > 1<<32:
			// A size beyond what the heap can address is refused for good.
			return 0, f.Refused
		}
	}
}

// setStep chooses the step of the scan and where it begins.
func (c *scan) setStep(enough uint64) {
	peak := max(c.src.Header().Summary.PeakLiveBytes, 1)
	c.step = c.o.Step
	if c.step == 0 {
		c.step = c.fine
		if span := enough + enough/2 - min(peak, enough); span/c.step > uint64(c.o.Tests) {
			c.step = up(span/uint64(c.o.Tests), c.fine)
		}
	} else {
		c.fine = c.step
	}
	c.from = up(peak, c.step)
}

// run tries every size from c.from on, until the sizes that passed without a
// failure since reach 1.5 times the first of them.
func (c *scan) run() error {
	safe := uint64(0) // the first size after the latest failure
	const batch = 16  // whatever the workers, so that the same sizes are tried
	for size := c.from; ; {
		sizes := make([]uint64, 0, batch)
		for i := range uint64(batch) {
			// Beyond the end of the scan nothing is tried, so that results do not depend on the batch.
			if s := size + i*c.step; safe == 0 || s <= safe+safe/2 {
				sizes = append(sizes, s)
			}
		}
		if len(sizes) == 0 {
			return nil
		}
		fits, err := c.try(sizes...)
		if err != nil {
			return err
		}
		for i, s := range sizes {
			switch {
			case safe != 0 && s > safe+safe/2:
				return nil
			case !fits[i].OK:
				safe = 0
			case safe == 0:
				safe = s
			}
			c.to = s
		}
		if size = sizes[len(sizes)-1] + c.step; size > maxHeap {
			return fmt.Errorf("%s fails at sizes up to %s", c.spec, heapmodel.FormatBytes(size))
		}
	}
}

// result reads the scan's answer off the sizes tried, and refines its edges.
func (c *scan) result() (*Result, error) {
	r := &Result{Size: c.size, From: c.from, To: c.to, Step: c.step, Fine: c.fine}
	failed := uint64(0) // the largest that failed
	for size := c.from; size <= c.to; size += c.step {
		switch f := c.known[size]; {
		case f.OK && r.MinOK == 0:
			r.MinOK = size
		case !f.OK:
			failed = size
			r.Short = &Short{Size: size, Event: f.Event}
			if r.MinOK != 0 {
				r.fails(size, c.step)
			}
		}
	}
	r.SafeFrom = r.MinOK
	if failed != 0 {
		r.SafeFrom = max(failed+c.step, c.from)
	}
	if err := c.refine(r, failed); err != nil {
		return nil, err
	}
	r.Tests = len(c.known)
	s, err := Sized(c.spec, c.size, r.SafeFrom)
	r.Spec = s
	return r, err
}

func (r *Result) fails(size, step uint64) {
	if n := len(r.Failing); n > 0 && r.Failing[n-1].To+step == size {
		r.Failing[n-1].To = size
		return
	}
	r.Failing = append(r.Failing, Range{size, size})
}

// refine finds the edges below MinOK and below SafeFrom to the fine step, by
// halving the one coarse step in which they lie.
func (c *scan) refine(r *Result, failed uint64) error {
	if c.fine == c.step {
		return nil
	}
	edge := func(low, high uint64) (uint64, error) { // low fails, high serves
		for high-low > c.fine {
			mid := low + up((high-low)/2, c.fine)
			if mid == high {
				mid = low + c.fine
			}
			fits, err := c.try(mid)
			if err != nil {
				return 0, err
			}
			if fits[0].OK {
				high = mid
			} else {
				low = mid
				r.Short = &Short{Size: mid, Event: fits[0].Event}
			}
		}
		return high, nil
	}
	single := r.MinOK == r.SafeFrom
	if r.MinOK > c.from {
		var err error
		if r.MinOK, err = edge(r.MinOK-c.step, r.MinOK); err != nil {
			return err
		}
	}
	if single {
		r.SafeFrom = r.MinOK
		return nil
	}
	var err error
	r.SafeFrom, err = edge(failed, r.SafeFrom)
	return err
}

// up rounds bytes up to a multiple of step.
func up(bytes, step uint64) uint64 { return (bytes + step - 1) / step * step }

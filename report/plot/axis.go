package plot

import (
	"fmt"
	"sort"

	"gonum.org/v1/plot"

	"github.com/fragprof/fragprof/replay"
)

// Axis is what counts as time in figures over time.
type Axis uint8

// The axes of time.
const (
	Events  Axis = iota // events replayed
	Bytes               // bytes allocated so far, the clock of Johnstone & Wilson
	Seconds             // the trace's own clock, from its first event
	axisKinds
)

var axisNames = [axisKinds]string{"events", "bytes", "seconds"}

// String returns the axis as ParseAxis reads it.
func (a Axis) String() string {
	if a < axisKinds {
		return axisNames[a]
	}
	return fmt.Sprintf("Axis(%d)", uint8(a))
}

// ParseAxis reads events, bytes or seconds.
func ParseAxis(text string) (Axis, error) {
	for a, name := range axisNames {
		if text == name {
			return Axis(a), nil
		}
	}
	return 0, fmt.Errorf("time axis %q: want events, bytes or seconds", text)
}

// ticks returns the ticker of an axis that ends at end, with about want labels,
// and the axis's label.
func (a Axis) ticks(end float64, want int) (plot.Ticker, string) {
	switch a {
	case Bytes:
		return byteTicks{want}, "bytes allocated"
	case Seconds:
		unit, name := timeUnit(end)
		return numberTicks{want, unit}, "time (" + name + ")"
	}
	return numberTicks{want: want}, "events replayed"
}

// timebase places what happened in a replay on an axis of time.
//
// On the axis of events, event i takes the room from i to i+1: the state after
// it is drawn there, and a trace of n events ends at n.
type timebase struct {
	axis   Axis
	start  int64 // ns, of the first event
	events []uint64
	clock  []uint64
}

func newTimebase(r *replay.Result, a Axis) timebase {
	t := timebase{axis: a}
	if a == Seconds && r.Trace != nil {
		t.start = r.Trace.Summary.FirstTime
	}
	if a == Bytes {
		t.events, t.clock = make([]uint64, len(r.Series)), make([]uint64, len(r.Series))
		for i := range r.Series {
			t.events[i], t.clock[i] = r.Series[i].Event, r.Series[i].Clock
		}
	}
	return t
}

// after returns where the state after an event ends on the axis.
func (t *timebase) after(event uint64, time int64) float64 {
	switch t.axis {
	case Bytes:
		return t.clockAt(float64(event))
	case Seconds:
		return float64(max(time-t.start, 0))
	}
	return float64(event) + 1
}

// at returns the middle of an event on the axis.
func (t *timebase) at(event uint64, time int64) float64 {
	if t.axis == Events {
		return float64(event) + 0.5
	}
	return t.after(event, time)
}

// clockAt returns the bytes allocated up to an event, from the samples around
// it.
func (t *timebase) clockAt(event float64) float64 {
	i := sort.Search(len(t.events), func(i int) bool { return float64(t.events[i]) >= event })
	switch {
	case len(t.events) == 0:
		return 0
	case i == len(t.events):
		return float64(t.clock[i-1])
	}
	// Before event 0 nothing was allocated.
	e0, c0 := -1.0, 0.0
	if i > 0 {
		e0, c0 = float64(t.events[i-1]), float64(t.clock[i-1])
	}
	e1, c1 := float64(t.events[i]), float64(t.clock[i])
	if e1 <= e0 {
		return c1
	}
	return c0 + (c1-c0)*(event-e0)/(e1-e0)
}

// sample returns where the state of a sample ends.
func (t *timebase) sample(s *replay.Sample) float64 {
	if t.axis == Bytes {
		return float64(s.Clock)
	}
	return t.after(s.Event, s.Time)
}

// growth returns where the arena changes.
func (t *timebase) growth(g *replay.Growth) float64 {
	switch t.axis {
	case Bytes:
		return float64(g.Clock)
	case Seconds:
		return t.after(g.Event, g.Time)
	}
	return float64(g.Event)
}

// end returns where the replay of the result ends: after its last sample.
func (h *heap) end() float64 {
	if n := len(h.Series); n > 0 {
		return h.base.sample(&h.Series[n-1])
	}
	return 0
}

// lateSteps reports whether a state begins, rather than ends, at its place on
// the axis: so with time stamps, when every single event has a sample.
func (h *heap) lateSteps() bool {
	if h.base.axis != Seconds {
		return false
	}
	for i := 1; i < len(h.Series); i++ {
		if h.Series[i].Event != h.Series[i-1].Event+1 {
			return false
		}
	}
	return true
}

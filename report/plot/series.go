package plot

import (
	"github.com/fragprof/fragprof/replay"
)

// xy is a point of a line in the units of its axes.
type xy struct{ x, y float64 }

// maxPoints is the number of points of a line above which it is reduced. The
// axes are under 1,500 pixels wide.
const maxPoints = 2000

// minMax reduces a line to at most limit points without losing a peak: it
// keeps the first point, the last, and the lowest and highest of each of
// equally long parts of the line, in their order.
func minMax(pts []xy, limit int) []xy {
	limit = max(limit, 4)
	if len(pts) <= limit {
		return pts
	}
	parts := (limit - 2) / 2
	inner := pts[1 : len(pts)-1]
	out := make([]xy, 1, limit)
	out[0] = pts[0]
	for i := range parts {
		part := inner[len(inner)*i/parts : len(inner)*(i+1)/parts]
		lo, hi := 0, 0
		for j, p := range part {
			if p.y < part[lo].y {
				lo = j
			}
			if p.y > part[hi].y {
				hi = j
			}
		}
		out = append(out, part[min(lo, hi)])
		if lo != hi {
			out = append(out, part[max(lo, hi)])
		}
	}
	return append(out, pts[len(pts)-1])
}

// span is a stretch of time and the extremes of a value in it.
type span struct{ from, to, lo, hi float64 }

// reduceSpans merges neighbours into at most limit spans.
func reduceSpans(spans []span, limit int) []span {
	if len(spans) <= limit {
		return spans
	}
	out := make([]span, limit)
	for i := range out {
		part := spans[len(spans)*i/limit : len(spans)*(i+1)/limit]
		m := part[0]
		for _, s := range part {
			m.to, m.lo, m.hi = s.to, min(m.lo, s.lo), max(m.hi, s.hi)
		}
		out[i] = m
	}
	return out
}

// liveSpans returns the live bytes of a heap between its samples. Where a
// sample stands for one event its value is exact and the span has no height.
func (h *heap) liveSpans(limit int) []span {
	late := h.lateSteps()
	spans := make([]span, 0, len(h.Series))
	from, next := 0.0, uint64(0)
	for i := range h.Series {
		s := &h.Series[i]
		at := span{from: from, to: h.base.sample(s), lo: float64(s.LiveMin), hi: float64(s.LiveMax)}
		if s.Event == next {
			at.lo, at.hi = float64(s.Live), float64(s.Live)
		}
		if late {
			at.from = at.to
			if i+1 < len(h.Series) {
				at.to = h.base.sample(&h.Series[i+1])
			}
		}
		spans = append(spans, at)
		from, next = at.to, s.Event+1
	}
	return reduceSpans(spans, limit)
}

// upper and lower return the outlines of spans as lines of steps.
func upper(spans []span) []xy { return outline(spans, func(s span) float64 { return s.hi }) }
func lower(spans []span) []xy { return outline(spans, func(s span) float64 { return s.lo }) }

func outline(spans []span, of func(span) float64) []xy {
	var pts []xy
	for _, s := range spans {
		y := of(s)
		if n := len(pts); n > 0 && pts[n-1].y == y && pts[n-1].x == s.from {
			pts[n-1].x = s.to
			continue
		}
		pts = append(pts, xy{s.from, y}, xy{s.to, y})
	}
	return pts
}

// line returns a value of a heap's samples as a line of steps, reduced to
// about limit points.
func (h *heap) line(limit int, of func(*replay.Sample) float64) []xy {
	pts := make([]xy, len(h.Series))
	for i := range h.Series {
		pts[i] = xy{h.base.sample(&h.Series[i]), of(&h.Series[i])}
	}
	if h.lateSteps() {
		return stepsAfter(minMax(pts, limit), h.end())
	}
	return stepsBefore(minMax(pts, limit))
}

// stepsBefore joins points whose value holds up to them, from zero on.
func stepsBefore(pts []xy) []xy {
	out := make([]xy, 0, 2*len(pts))
	from := 0.0
	for _, p := range pts {
		if n := len(out); n > 0 && out[n-1].y == p.y {
			out[n-1].x = p.x
		} else {
			out = append(out, xy{from, p.y}, p)
		}
		from = p.x
	}
	return out
}

// stepsAfter joins points whose value holds from them on, the last to end.
func stepsAfter(pts []xy, end float64) []xy {
	out := make([]xy, 0, 2*len(pts))
	for i, p := range pts {
		to := max(end, p.x)
		if i+1 < len(pts) {
			to = pts[i+1].x
		}
		if n := len(out); n > 0 && out[n-1].y == p.y {
			out[n-1].x = to
		} else {
			out = append(out, p, xy{to, p.y})
		}
	}
	return out
}

// footprint returns the footprint of a heap as a line of steps. The arena of a
// growing heap changes at its growth events, if all of them were kept;
// otherwise the samples must do.
func (h *heap) footprint(limit int) []xy {
	if kept := uint64(len(h.Growths)); !h.Growing || kept == 0 || kept != h.Grown+h.Trimmed {
		return h.line(limit, func(s *replay.Sample) float64 { return float64(s.Footprint) })
	}
	pts := make([]xy, 1, len(h.Growths)+1)
	pts[0] = xy{0, float64(h.Growths[0].From)}
	for i := range h.Growths {
		pts = append(pts, xy{h.base.growth(&h.Growths[i]), float64(h.Growths[i].To)})
	}
	return stepsAfter(minMax(pts, limit), h.end())
}

// failures returns where requests failed, each place once to within 1/cells of
// the axis, the first one exact. Places are in order.
func (h *heap) failures(end float64, cells int) []float64 {
	var at []float64
	for i := range h.Failed {
		f := &h.Failed[i]
		x := h.base.at(f.Event, f.Time)
		if n := len(at); n == 0 || x-at[n-1] >= end/float64(max(cells, 1)) {
			at = append(at, x)
		}
	}
	return at
}

// valueAt returns the value of a line of steps at x.
func valueAt(pts []xy, x float64) (y float64, ok bool) {
	for i := 1; i < len(pts); i++ {
		if pts[i-1].x <= x && x <= pts[i].x {
			return pts[i-1].y, true
		}
	}
	return 0, false
}

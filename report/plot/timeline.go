package plot

import (
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// timeline draws live bytes and footprints: up to len(looks) heaps on the same
// axes, more of them in a panel each.
func timeline(in *input) ([]*Picture, []Skipped) {
	heaps := sampled(in.heaps)
	if len(heaps) == 0 {
		return nil, in.skip("no samples: the trace has no events, or no heap replayed any")
	}
	laid := laidOut(heaps)
	f := frame{title: in.title(nil), under: in.under, notes: endNotes(heaps)}
	if len(laid) > 1 && len(laid) <= len(looks) {
		return []*Picture{timelineTogether(in, f, heaps, laid)}, nil
	}
	if len(laid) == 0 {
		laid = heaps[:1]
	}
	return timelinePanels(in, f, heaps, laid), nil
}

// sampled returns the heaps that have samples.
func sampled(heaps []*heap) []*heap {
	var out []*heap
	for _, h := range heaps {
		if len(h.Series) > 0 {
			out = append(out, h)
		}
	}
	return out
}

// laidOut returns the heaps that have an arena.
func laidOut(heaps []*heap) []*heap {
	var out []*heap
	for _, h := range heaps {
		if h.Layout {
			out = append(out, h)
		}
	}
	return out
}

// reference returns the heap whose live bytes are closest to the program's:
// the ideal if it is there, otherwise the one that failed least.
func reference(heaps []*heap) *heap {
	best := heaps[0]
	for _, h := range heaps {
		switch {
		case best.Layout && !h.Layout, best.Layout == h.Layout && h.Failures < best.Failures:
			best = h
		}
	}
	return best
}

// lastEnd returns the end of the axis of time on which heaps are compared.
func lastEnd(heaps []*heap) float64 {
	end := 0.0
	for _, h := range heaps {
		end = max(end, h.end())
	}
	if end <= 0 {
		return 1
	}
	return end
}

// spread is how far apart values on an axis of bytes may be before its scale
// becomes logarithmic: a heap with 16 times the footprint of the live bytes
// would leave them 1/16 of the height.
const spread = 16

// scaleY makes y an axis of bytes up to most, on which a curve that peaks at
// peak stays readable.
func scaleY(a *axes, most, peak float64, want int) {
	if peak > 0 && most > spread*peak {
		a.logY(logBytes{floor: floorLog2(peak / 256), some: true, want: want + 2}, most)
		return
	}
	a.linearY(most*1.04, want)
}

// peaks returns the greatest footprint and live bytes among heaps.
func peaks(heaps []*heap) (footprint, live float64) {
	for _, h := range heaps {
		for i := range h.Series {
			s := &h.Series[i]
			footprint = max(footprint, float64(s.Footprint), float64(s.LiveMax))
			live = max(live, float64(s.LiveMax))
		}
		for i := range h.Growths {
			footprint = max(footprint, float64(h.Growths[i].To))
		}
	}
	return footprint, live
}

// timelineTogether draws all heaps on the same axes.
func timelineTogether(in *input, f frame, heaps, laid []*heap) *Picture {
	ref := reference(heaps)
	end := lastEnd(heaps)
	a := newAxes(end)
	a.X.Tick.Marker, a.X.Label.Text = in.axis.ticks(end, 9)
	most, live := peaks(heaps)
	scaleY(a, most, live, 7)
	a.grid()
	a.spans(ref.liveSpans(maxPoints))
	f.legend = append(f.legend, liveEntry("live bytes of "+ref.label()))
	own := false
	for i, h := range laid {
		if h != ref && len(h.Failed) > 0 && !h.Stopped {
			own = true
			a.line(ownLive(h), draw.LineStyle{Color: looks[i].ink, Width: 0.8})
		}
	}
	for i, h := range laid {
		heapLine(a, h.footprint(maxPoints), i, len(laid))
		f.legend = append(f.legend, lineEntry(i, "footprint of "+h.label()))
	}
	if own {
		f.notes = append(f.notes, "Thin lines: live bytes of a heap after its first failure, where they are no longer the program's.")
	}
	lanes := newLanes(laid, end, &f)
	return in.picture(in.figure.Key, nil, f, 330+lanes.height(), func(_ canvas, area draw.Canvas) {
		area.Max.X -= lanes.right()
		lanes.drawAbove(a, area)
		area.Max.Y -= lanes.height()
		a.Draw(area)
	})
}

// heapLine draws the line of the i-th of n heaps and its markers, which stand
// at other places for each heap so that lines on top of each other can be told
// apart.
func heapLine(a *axes, pts []xy, i, n int) {
	a.line(pts, style(i))
	const markers = 5
	var at []xy
	for j := range markers {
		x := a.X.Max * (float64(j) + (float64(i)+0.5)/float64(n)) / markers
		if y, ok := valueAt(pts, x); ok {
			at = append(at, xy{x, y})
		}
	}
	a.add(func(c draw.Canvas) {
		for _, p := range a.project(&c, at...) {
			looks[i].marker.draw(&c, p, looks[i].ink)
		}
	})
}

// ownLive returns the live bytes of a heap from its first failure on.
func ownLive(h *heap) []xy {
	from := h.base.at(h.Failed[0].Event, h.Failed[0].Time)
	spans := h.liveSpans(maxPoints)
	i := slices.IndexFunc(spans, func(s span) bool { return s.to >= from })
	if i < 0 {
		return nil
	}
	return upper(spans[i:])
}

// timelinePanels draws each heap in a panel of its own, all to the same scale.
func timelinePanels(in *input, f frame, heaps, laid []*heap) []*Picture {
	end := lastEnd(laid)
	ref := reference(heaps)
	most, live := peaks(append(slices.Clone(laid), ref))
	cols := columns(len(laid))
	rows := nameRows(laid, cols)
	panels := make([]*axes, len(laid))
	failed := false
	for i, h := range laid {
		a := newAxes(end)
		a.X.Tick.Marker, a.X.Label.Text = in.axis.ticks(end, 12/cols)
		scaleY(a, most, live, 5)
		a.Y.Max *= 1.06 // room for the marks of failures
		a.heading(h, rows, footprintLine(h))
		a.grid()
		a.spans(h.liveSpans(maxPoints / cols))
		if len(h.Failed) > 0 && ref != h {
			a.line(upper(ref.liveSpans(maxPoints/cols)), wantedStyle)
		}
		a.line(h.footprint(maxPoints/cols), soloStyle)
		a.rug(h, end)
		failed = failed || len(h.Failed) > 0
		panels[i] = a
	}
	f.legend = []entry{liveEntry("live bytes of the heap"), plainEntry("footprint", soloStyle)}
	if failed {
		if len(heaps) > 1 {
			f.legend = append(f.legend, plainEntry("live bytes of "+ref.label()+", where the heap failed", wantedStyle))
		}
		f.legend = append(f.legend, rugEntry())
	}
	f.notes = append(f.notes, keptNotes(laid)...)
	if !ref.Layout && ref != laid[0] {
		f.notes = append(f.notes, "Not in a panel of its own: "+ref.label()+", whose footprint is its live bytes, "+bytesText(ref.PeakLive)+" at their peak.")
	}
	return in.paged(f, panels, panelHeight(cols, rows))
}

// soloStyle is the line of a panel's only heap, and wantedStyle that of the live
// bytes it would have had without failures.
var (
	soloStyle   = draw.LineStyle{Color: soloInk, Width: 1.3}
	wantedStyle = draw.LineStyle{Color: needInk, Width: 0.7, Dashes: []vg.Length{2, 1.5}}
)

// panelHeight is the height of a panel with its heading, in so many columns and
// with so many rows of names.
func panelHeight(cols, rows int) vg.Length {
	return vg.Length(rows)*lineHeight + [...]vg.Length{1: 330, 2: 200, 3: 155}[cols]
}

// footprintLine says what a panel of the timeline shows in numbers.
func footprintLine(h *heap) string {
	s := "footprint " + bytesText(h.Footprint)
	if h.PeakLive > 0 {
		s += fmt.Sprintf(", %.2f× peak live", float64(h.Footprint)/float64(h.PeakLive))
	}
	return s + failureWords(h)
}

// failureWords says how many requests failed, if any.
func failureWords(h *heap) string {
	switch h.Failures {
	case 0:
		return ""
	case 1:
		return ", 1 failure"
	}
	return ", " + thousands(h.Failures) + " failures"
}

// endNotes says which replays did not go on to the end of the trace.
func endNotes(heaps []*heap) []string {
	var notes, stopped []string
	for _, h := range heaps {
		if h.Err != nil {
			notes = append(notes, "Heap "+h.label()+" broke during the replay; what is drawn ends there.")
		}
		if h.Stopped {
			stopped = append(stopped, h.label())
		}
	}
	if stopped != nil {
		notes = append(notes, "Stopped at the first failure: "+strings.Join(stopped, "; ")+".")
	}
	return notes
}

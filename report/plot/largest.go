package plot

import (
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/fragprof/fragprof/replay"
)

// largestFree draws the largest free block of each heap and all its free bytes,
// in a panel for each: where heaps are nearly full these lines are too restless
// to share axes.
func largestFree(in *input) ([]*Picture, []Skipped) {
	heaps := laidOut(sampled(in.heaps))
	if len(heaps) == 0 {
		return nil, in.skip("no samples of a heap with an arena")
	}
	f := frame{title: in.title(nil), under: in.under, notes: endNotes(heaps)}
	end := lastEnd(heaps)
	cols := columns(len(heaps))
	rows := nameRows(heaps, cols)
	scale, top := freeScale(heaps)
	panels := make([]*axes, len(heaps))
	failed, needed := false, false
	for i, h := range heaps {
		a := newAxes(end)
		a.X.Tick.Marker, a.X.Label.Text = in.axis.ticks(end, 12/cols)
		a.logY(scale, top)
		a.Y.Max *= 1.05 // room for the marks of failures
		a.heading(h, rows, leastLine(h))
		a.area(h.line(maxPoints/cols, sampleFree), areaInk)
		a.grid()
		a.line(h.line(maxPoints/cols, sampleLargest), draw.LineStyle{Color: soloInk, Width: 1})
		if need := float64(h.LargestNeed); need > 0 {
			needed = true
			a.line([]xy{{0, need}, {end, need}}, needStyle)
		}
		a.rug(h, end)
		failed = failed || len(h.Failed) > 0
		panels[i] = a
	}
	f.legend = []entry{boxEntry("all free bytes", areaInk), plainEntry("largest free block", soloStyle)}
	if needed {
		f.legend = append(f.legend, plainEntry("block that the trace's largest request needs", needStyle))
	}
	if failed {
		f.legend = append(f.legend, rugEntry())
	}
	f.notes = append(f.notes, keptNotes(heaps)...)
	return in.paged(f, panels, panelHeight(cols, rows)), nil
}

func sampleLargest(s *replay.Sample) float64 { return float64(s.LargestFree) }
func sampleFree(s *replay.Sample) float64    { return float64(s.Free) }

// needStyle is the line at a request's size.
var needStyle = draw.LineStyle{Color: needInk, Width: 1.2, Dashes: []vg.Length{1, 2.5}}

// freeScale returns a logarithmic scale for the free bytes of heaps, and their
// most. It goes down to the least of them, but no further than matters: a
// 4096th of the most, or an eighth of what the largest request needs.
func freeScale(heaps []*heap) (scale logBytes, most float64) {
	least := 0.0
	note := func(v float64) {
		most = max(most, v)
		if v > 0 && (least == 0 || v < least) {
			least = v
		}
	}
	for _, h := range heaps {
		for i := range h.Series {
			note(sampleLargest(&h.Series[i]))
			note(sampleFree(&h.Series[i]))
		}
	}
	bound := most / 4096
	for _, h := range heaps {
		if need := float64(h.LargestNeed); need > 0 {
			note(need)
			bound = min(bound, need/8)
		}
	}
	floor := floorLog2(max(least, bound) / 2)
	return logBytes{floor: floor, some: least > 0 && least <= floor, want: 6}, max(most, 2*floor)
}

// leastLine says what a panel shows in numbers.
func leastLine(h *heap) string {
	least := &h.Series[0]
	for i := range h.Series {
		if h.Series[i].LargestFree < least.LargestFree {
			least = &h.Series[i]
		}
	}
	return "least " + bytesText(least.LargestFree) + " at event " + thousands(least.Event) + failureWords(h)
}

package plot

import (
	"fmt"
	"image/color"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// lanes are rows above the axes, one for each heap that failed, with a mark
// where a request failed and a triangle at the first.
type lanes struct {
	rows []lane
	end  float64
}

type lane struct {
	*heap
	look int
	at   []float64
}

const (
	laneHeight vg.Length = 11
	markCells  int       = 800 // marks of failures on an axis at most
)

// newLanes makes the lanes of the heaps on an axis, and notes in the frame
// what they cannot show.
func newLanes(heaps []*heap, end float64, f *frame) *lanes {
	l := &lanes{end: end}
	for i, h := range heaps {
		if len(h.Failed) > 0 {
			l.rows = append(l.rows, lane{h, i, h.failures(end, markCells)})
		}
	}
	if len(l.rows) > 0 {
		f.notes = append(f.notes, "Above the axes: failed requests by number of the heap, a triangle at the first of each; how many failed at the right.")
	}
	f.notes = append(f.notes, keptNotes(heaps)...)
	return l
}

// keptNotes says of which heaps not all failures could be marked.
func keptNotes(heaps []*heap) []string {
	var some []string
	for _, h := range heaps {
		if kept := uint64(len(h.Failed)); kept < h.Failures {
			some = append(some, fmt.Sprintf("%s of %s failures of heap %d", thousands(kept), thousands(h.Failures), h.nr))
		}
	}
	if some == nil {
		return nil
	}
	return []string{"Marked are the first " + strings.Join(some, ", ") + "."}
}

func (l *lanes) height() vg.Length {
	if len(l.rows) == 0 {
		return 0
	}
	return vg.Length(len(l.rows))*laneHeight + 8
}

// right is the room for the counts at the end of the lanes.
func (l *lanes) right() vg.Length {
	if len(l.rows) == 0 {
		return 0
	}
	return 32
}

// drawAbove draws the lanes at the top of the area, over the axes that will be
// drawn in the rest of it.
func (l *lanes) drawAbove(a *axes, area draw.Canvas) {
	if len(l.rows) == 0 {
		return
	}
	below := area
	below.Max.Y -= l.height()
	data := a.DataCanvas(below)
	left, right := sans(tickSize, black), sans(tickSize, black)
	left.XAlign = draw.XRight
	for i, row := range l.rows {
		ink := looks[row.look].ink
		bottom := area.Max.Y - vg.Length(i+1)*laneHeight
		middle := bottom + laneHeight/2
		area.StrokeLine2(draw.LineStyle{Color: gridInk, Width: 0.6}, data.Min.X, middle, data.Max.X, middle)
		area.FillText(left, vg.Point{X: data.Min.X - 14, Y: bottom + 2}, fmt.Sprint(row.nr))
		looks[row.look].marker.draw(&area, vg.Point{X: data.Min.X - 7, Y: middle}, ink)
		drawMarks(&area, data, row.at, l.end, bottom+1, laneHeight-3, draw.LineStyle{Color: ink, Width: 0.8})
		area.FillText(right, vg.Point{X: data.Max.X + 3, Y: bottom + 2}, shortCount(row.Failures))
	}
}

// drawMarks draws a bar at each place, of the given height, and at the first a
// triangle whose tip stands on the bottom.
func drawMarks(c *draw.Canvas, data draw.Canvas, at []float64, end float64, bottom, height vg.Length, sty draw.LineStyle) {
	x := func(v float64) vg.Length { return data.X(clamp(v/end, 0, 1)) }
	for _, v := range at {
		c.StrokeLine2(sty, x(v), bottom, x(v), bottom+height)
	}
	if len(at) > 0 {
		tip := vg.Point{X: x(at[0]), Y: bottom - 1}
		c.SetColor(white)
		c.Fill(downward(vg.Point{X: tip.X, Y: tip.Y - 1.5}, height+3.5))
		c.SetColor(sty.Color)
		c.Fill(downward(tip, height+1.5))
	}
}

// shortCount writes a count in four characters or five: "843", "12.3k".
func shortCount(count uint64) string {
	if count < 10_000 {
		return fmt.Sprint(count)
	}
	v := float64(count)
	for _, s := range []string{"k", "M", "G", "T", "P", "E"} {
		if v /= 1000; v < 1000 {
			if v < 100 {
				return decimal(v, 1) + s
			}
			return decimal(v, 0) + s
		}
	}
	return fmt.Sprint(count)
}

// rug marks the failures of a panel's heap below its upper edge, and draws a
// line down from the first.
func (a *axes) rug(h *heap, end float64) {
	at := h.failures(end, markCells/2)
	if len(at) == 0 {
		return
	}
	a.add(func(c draw.Canvas) {
		x := c.X(clamp(at[0]/end, 0, 1))
		c.StrokeLine2(draw.LineStyle{Color: failInk, Width: 0.8, Dashes: []vg.Length{3, 2}}, x, c.Min.Y, x, c.Max.Y-6)
		drawMarks(&c, c, at, end, c.Max.Y-6, 6, draw.LineStyle{Color: failInk, Width: 0.8})
	})
}

// Entries of legends.

func rugEntry() entry {
	return entry{"failed requests, a triangle at the first", func(c *draw.Canvas, r vg.Rectangle) {
		sty := draw.LineStyle{Color: failInk, Width: 0.8}
		drawMarks(c, draw.Canvas{Canvas: c.Canvas, Rectangle: r}, []float64{0.2, 0.6, 0.7, 0.9}, 1, r.Min.Y+2, 6, sty)
	}}
}

func liveEntry(text string) entry {
	return entry{text, func(c *draw.Canvas, r vg.Rectangle) {
		c.SetColor(rangeInk)
		c.Fill(rectangle(r.Min.X, r.Min.Y, r.Max.X, r.Max.Y))
		c.SetColor(areaInk)
		c.Fill(rectangle(r.Min.X, r.Min.Y, r.Max.X, r.Min.Y+(r.Max.Y-r.Min.Y)*0.6))
		c.StrokeLine2(draw.LineStyle{Color: dim, Width: 0.5}, r.Min.X, r.Max.Y, r.Max.X, r.Max.Y)
	}}
}

func lineEntry(i int, text string) entry {
	return entry{text, func(c *draw.Canvas, r vg.Rectangle) {
		y := (r.Min.Y + r.Max.Y) / 2
		c.StrokeLine2(style(i), r.Min.X, y, r.Max.X, y)
		looks[i].marker.draw(c, vg.Point{X: (r.Min.X + r.Max.X) / 2, Y: y}, looks[i].ink)
	}}
}

func plainEntry(text string, sty draw.LineStyle) entry {
	return entry{text, func(c *draw.Canvas, r vg.Rectangle) {
		y := (r.Min.Y + r.Max.Y) / 2
		c.StrokeLine2(sty, r.Min.X, y, r.Max.X, y)
	}}
}

func boxEntry(text string, ink color.Color) entry {
	return entry{text, func(c *draw.Canvas, r vg.Rectangle) {
		c.SetColor(ink)
		c.Fill(rectangle(r.Min.X, r.Min.Y, r.Max.X, r.Max.Y))
	}}
}

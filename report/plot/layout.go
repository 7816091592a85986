package plot

import (
	"fmt"
	"image/color"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// canvas is where a picture is drawn. dpi is zero for vector graphics.
type canvas struct {
	draw.Canvas
	dpi float64
}

// Lengths in points.
const (
	pageWidth  vg.Length = 720
	margin     vg.Length = 12
	titleSize  vg.Length = 13
	textSize   vg.Length = 9.5
	tickSize   vg.Length = 8.5
	lineHeight vg.Length = 13
	swatchSize vg.Length = 30
)

// frame is what stands around the axes of a picture.
type frame struct {
	title  string
	under  string
	legend []entry
	notes  []string // below the legend
}

// entry is a row of a legend. swatch draws a sample into a small rectangle.
type entry struct {
	text   string
	swatch func(c *draw.Canvas, r vg.Rectangle)
}

const inner = pageWidth - 2*margin

// head is the title and the line below it, cut into lines.
func (f *frame) head() (title, under []string) {
	title = wrap(bold(titleSize), f.title, inner, 2)
	if f.under != "" {
		under = wrap(sans(textSize, dim), f.under, inner, 2)
	}
	return title, under
}

// room returns the height of everything around the axes.
func (f *frame) room() vg.Length {
	title, under := f.head()
	h := 2*margin + vg.Length(len(title))*(titleSize+4) + vg.Length(len(under))*lineHeight + 6
	rows := f.rows()
	if len(rows) > 0 {
		h += vg.Length(len(rows))*lineHeight + 8
	}
	return h + vg.Length(len(f.noteLines()))*lineHeight
}

func (f *frame) noteLines() []string {
	var lines []string
	for _, n := range f.notes {
		lines = append(lines, wrap(sans(textSize, dim), n, inner, 4)...)
	}
	return lines
}

// rows places the entries of the legend in rows, left to right.
func (f *frame) rows() [][]entry {
	var rows [][]entry
	sty := sans(textSize, black)
	x := inner + 1
	for _, e := range f.legend {
		e.text = fit(sty, e.text, inner-swatchSize-6)
		w := swatchSize + 6 + sty.Width(e.text) + 18
		if x+w-18 > inner {
			rows, x = append(rows, nil), 0
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], e)
		x += w
	}
	return rows
}

// draw draws the frame and returns the room left for the axes.
func (f *frame) draw(c canvas) draw.Canvas {
	c.SetColor(white)
	c.Fill(rectangle(c.Min.X, c.Min.Y, c.Max.X, c.Max.Y))
	x, y := c.Min.X+margin, c.Max.Y-margin
	title, under := f.head()
	for _, line := range title {
		y -= titleSize
		c.FillText(bold(titleSize), vg.Point{X: x, Y: y}, line)
		y -= 4
	}
	for _, line := range under {
		y -= lineHeight
		c.FillText(sans(textSize, dim), vg.Point{X: x, Y: y + 3}, line)
	}
	top := y - 6
	y = c.Min.Y + margin
	notes := f.noteLines()
	for i := len(notes) - 1; i >= 0; i-- {
		c.FillText(sans(textSize, dim), vg.Point{X: x, Y: y + 2}, notes[i])
		y += lineHeight
	}
	rows := f.rows()
	for i := len(rows) - 1; i >= 0; i-- {
		f.drawRow(&c.Canvas, rows[i], x, y)
		y += lineHeight
	}
	if len(rows) > 0 {
		y += 8
	}
	return draw.Canvas{Canvas: c.Canvas.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: x, Y: y}, Max: vg.Point{X: c.Max.X - margin, Y: top},
	}}
}

func (f *frame) drawRow(c *draw.Canvas, row []entry, x, y vg.Length) {
	sty := sans(textSize, black)
	for _, e := range row {
		e.swatch(c, vg.Rectangle{Min: vg.Point{X: x, Y: y}, Max: vg.Point{X: x + swatchSize, Y: y + lineHeight - 3}})
		c.FillText(sty, vg.Point{X: x + swatchSize + 6, Y: y + 2}, e.text)
		x += swatchSize + 6 + sty.Width(e.text) + 18
	}
}

// picture makes a picture of a frame around a body of the given height.
func (in *input) picture(name string, about *heap, f frame, body vg.Length, paint func(c canvas, area draw.Canvas)) *Picture {
	p := &Picture{
		Name: name, Figure: in.figure.Key, Heap: -1, Title: f.title, Alt: f.title + ". " + in.figure.Doc,
		width: pageWidth, height: body + f.room(),
	}
	if about != nil {
		p.Heap = about.index
	}
	p.paint = func(c canvas) { paint(c, f.draw(c)) }
	return p
}

// axes is one pair of axes and what is drawn on them.
type axes struct {
	*plot.Plot
	log logBytes // the scale of y, if its floor is not zero
}

// newAxes returns empty axes in the house style. x runs from zero to end.
func newAxes(end float64) *axes {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		label, tick := sans(textSize, black), sans(tickSize, black)
		label.XAlign, label.YAlign = a.Label.TextStyle.XAlign, a.Label.TextStyle.YAlign
		tick.XAlign, tick.YAlign = a.Tick.Label.XAlign, a.Tick.Label.YAlign
		a.Label.TextStyle, a.Tick.Label = label, tick
		a.Label.Padding = 3
		a.Padding = 0
		a.Tick.Length = 4
		a.LineStyle.Color, a.Tick.LineStyle.Color = dim, dim
		a.LineStyle.Width, a.Tick.LineStyle.Width = 0.7, 0.7
	}
	p.X.Min, p.X.Max = 0, end
	return &axes{Plot: p}
}

// linearY makes y an axis of bytes from zero to most.
func (a *axes) linearY(most float64, want int) {
	a.Y.Min, a.Y.Max = 0, max(most, 1)
	a.Y.Tick.Marker, a.Y.Label.Text = byteTicks{want}, "bytes"
}

// logY makes y an axis of bytes on a logarithmic scale up to a little above
// most. The plot's own units are then the scale's.
func (a *axes) logY(s logBytes, most float64) {
	a.log = s
	a.Y.Min, a.Y.Max = 0, max(s.place(most)*1.06, 1)
	a.Y.Tick.Marker, a.Y.Label.Text = s, "bytes (log scale)"
}

// paint is a plotter made of a function.
type paint func(c draw.Canvas)

// Plot implements plot.Plotter.
func (f paint) Plot(c draw.Canvas, _ *plot.Plot) { f(c) }

// add has a function draw on the axes, after those added before.
func (a *axes) add(f func(c draw.Canvas)) { a.Add(paint(f)) }

// panelWidth is the width of the axes of one of so many panels side by side, or
// a little less.
func panelWidth(cols int) vg.Length {
	return (inner - 64 - panelGap*vg.Length(cols-1)) / vg.Length(cols)
}

// nameRows returns how many lines the longest of the heaps' names takes above a
// panel: one or two.
func nameRows(heaps []*heap, cols int) int {
	for _, h := range heaps {
		if bold(textSize).Width(h.label()) > panelWidth(cols) {
			return 2
		}
	}
	return 1
}

// heading gives a panel a heap's name, in so many lines, and lines about it,
// cut to the width of its axes. It stands in the room of the title, which is
// left blank, because a title has one style and is centered.
func (a *axes) heading(h *heap, rows int, lines ...string) {
	const height = lineHeight - 2
	name, small := bold(textSize), sans(tickSize, dim)
	rows += len(lines)
	a.Title.TextStyle = sans(height, black)
	a.Title.TextStyle.YAlign = draw.YTop
	a.Title.Text = " " + strings.Repeat("\n ", rows-1)
	a.Title.Padding = 2
	a.add(func(c draw.Canvas) {
		names := wrap(name, h.label(), c.Size().X, rows-len(lines))
		y := c.Max.Y + a.Title.Padding + 2 + vg.Length(len(lines)+len(names))*height
		for _, line := range names {
			y -= height
			c.FillText(name, vg.Point{X: c.Min.X, Y: y}, line)
		}
		for _, line := range lines {
			y -= height
			c.FillText(small, vg.Point{X: c.Min.X, Y: y}, fit(small, line, c.Size().X))
		}
	})
}

// grid draws thin lines at the labelled ticks.
func (a *axes) grid() {
	xs, ys := a.X.Tick.Marker.Ticks(a.X.Min, a.X.Max), a.Y.Tick.Marker.Ticks(a.Y.Min, a.Y.Max)
	a.add(func(c draw.Canvas) {
		sty := draw.LineStyle{Color: gridInk, Width: 0.6}
		x, y := a.Transforms(&c)
		for _, t := range xs {
			if at := x(t.Value); t.Label != "" && c.ContainsX(at) {
				c.StrokeLine2(sty, at, c.Min.Y, at, c.Max.Y)
			}
		}
		for _, t := range ys {
			if at := y(t.Value); t.Label != "" && c.ContainsY(at) {
				c.StrokeLine2(sty, c.Min.X, at, c.Max.X, at)
			}
		}
	})
}

// project maps a line of data to the canvas, cut off at the axes' ends.
func (a *axes) project(c *draw.Canvas, pts ...xy) []vg.Point {
	x, y := a.Transforms(c)
	out := make([]vg.Point, len(pts))
	for i, pt := range pts {
		if a.log.floor != 0 {
			pt.y = a.log.place(pt.y)
		}
		out[i] = vg.Point{X: x(clamp(pt.x, a.X.Min, a.X.Max)), Y: y(clamp(pt.y, a.Y.Min, a.Y.Max))}
	}
	return out
}

func clamp(v, lo, hi float64) float64 {
	if !(v >= lo) {
		return lo
	}
	return min(v, hi)
}

// line draws a line of data.
func (a *axes) line(pts []xy, sty draw.LineStyle) {
	a.add(func(c draw.Canvas) { c.StrokeLines(sty, a.project(&c, pts...)) })
}

// area fills the room below a line of data.
func (a *axes) area(pts []xy, ink color.Color) {
	if len(pts) == 0 {
		return
	}
	a.add(func(c draw.Canvas) {
		outline := a.project(&c, pts...)
		outline = append(outline, vg.Point{X: outline[len(outline)-1].X, Y: c.Min.Y}, vg.Point{X: outline[0].X, Y: c.Min.Y})
		c.FillPolygon(ink, outline)
	})
}

// spans draws spans as an area up to their least and a lighter one up to their
// most.
func (a *axes) spans(spans []span) {
	a.area(upper(spans), rangeInk)
	a.area(lower(spans), areaInk)
	a.line(upper(spans), draw.LineStyle{Color: dim, Width: 0.5})
}

// columns returns how many panels stand side by side.
func columns(panels int) int {
	switch {
	case panels <= 1:
		return 1
	case panels <= 4:
		return 2
	}
	return 3
}

// panelGap is the room between panels side by side, in which labels of the
// axes' ends meet.
const panelGap vg.Length = 26

// tile draws panels row by row with axes of equal size. Labels of the axes
// stand only at the left column and below the lowest panel of each column.
func tile(area draw.Canvas, panels []*axes, cols int) {
	rows := (len(panels) + cols - 1) / cols
	grid := make([][]*plot.Plot, rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, cols)
	}
	for i, a := range panels {
		p := *a.Plot // the panel may be drawn again, in another format
		grid[i/cols][i%cols] = &p
		if i%cols > 0 {
			p.Y.Tick.Marker = silent{p.Y.Tick.Marker}
			p.Y.Label.Text = ""
		}
		if i+cols < len(panels) {
			p.X.Tick.Marker = silent{p.X.Tick.Marker}
			p.X.Label.Text = ""
		}
	}
	tiles := draw.Tiles{Rows: rows, Cols: cols, PadX: panelGap, PadY: 10}
	for j, row := range plot.Align(grid, tiles, area) {
		for i, c := range row {
			if grid[j][i] != nil {
				grid[j][i].Draw(c)
			}
		}
	}
}

// maxPanels is the number of panels up to which they share a picture.
const maxPanels = 24

// paged makes a picture of the panels, or several if there are many. Panels are
// of a height each.
func (in *input) paged(f frame, panels []*axes, each vg.Length) []*Picture {
	cols := columns(len(panels))
	pages := (len(panels) + maxPanels - 1) / maxPanels
	var made []*Picture
	for page := range pages {
		part := panels[page*maxPanels : min((page+1)*maxPanels, len(panels))]
		g, name := f, in.figure.Key
		if pages > 1 {
			g.title += fmt.Sprintf(" (part %d of %d)", page+1, pages)
			name += fmt.Sprintf("-%d", page+1)
		}
		rows := (len(part) + cols - 1) / cols
		height := vg.Length(rows)*(each+10) + 24
		made = append(made, in.picture(name, nil, g, height, func(_ canvas, area draw.Canvas) {
			tile(area, part, cols)
		}))
	}
	return made
}

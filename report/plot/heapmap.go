package plot

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"sort"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/fragprof/fragprof/replay"
)

func mapByAge(in *input) ([]*Picture, []Skipped)  { return heapMaps(in, byAge) }
func mapBySize(in *input) ([]*Picture, []Skipped) { return heapMaps(in, bySize) }

// heapMaps draws the map of each heap that has one.
func heapMaps(in *input, measured func(*replay.Map) (measure, bool)) (made []*Picture, left []Skipped) {
	for _, h := range in.heaps {
		reason := ""
		switch {
		case !h.Layout:
			reason = "the heap has no arena"
		case h.Map == nil:
			reason = "the replay kept no map"
		case len(h.Map.Cols) == 0 || h.Map.Rows == 0 || h.Map.RowBytes == 0:
			reason = "the map is empty"
		case mapTop(h.Map) == 0:
			reason = "the heap never had memory"
		}
		if reason == "" {
			if m, ok := measured(h.Map); ok {
				made = append(made, heapMap(in, h, m))
				continue
			}
			reason = "no memory was in use at any column of the map"
		}
		left = append(left, Skipped{in.figure.Key, h.index, reason})
	}
	return made, left
}

// mapTop returns the highest address of a map.
func mapTop(m *replay.Map) uint64 {
	top := uint64(0)
	for i := range m.Cols {
		top = max(top, m.Cols[i].Arena)
	}
	return top
}

// drawnTop returns the highest address to draw: the end of the map's highest
// row, or, if more than half of the map is free for all of the time at the upper
// end, a quarter above the highest row that was ever used.
func drawnTop(m *replay.Map) (top float64, cut bool) {
	used := 0
	for i := range m.Cols {
		for row := min(len(m.Cols[i].Used), m.Rows) - 1; row >= used; row-- {
			if m.Cols[i].Used[row] > 0 {
				used = row + 1
			}
		}
	}
	rows := math.Ceil(float64(mapTop(m)) / float64(m.RowBytes))
	if shown := math.Ceil(1.25 * float64(used)); used > 0 && 2*shown < rows {
		rows, cut = shown, true
	}
	return rows * float64(m.RowBytes), cut
}

const (
	mapHeight vg.Length = 380
	keyRoom   vg.Length = 112
	laneRoom  vg.Length = 13
)

// heapMap draws the map of one heap, with its key at the right and the peak
// and the failures above.
func heapMap(in *input, h *heap, m measure) *Picture {
	edges := mapEdges(h)
	end := edges[len(edges)-1]
	a := newAxes(end)
	a.X.Tick.Marker, a.X.Label.Text = in.axis.ticks(end, 8)
	top, cut := drawnTop(h.Map)
	a.linearY(top, 8)
	a.Y.Label.Text = "address, from the start of the arena"
	f := frame{title: in.title(h), under: in.under, notes: endNotes([]*heap{h})}
	if cut {
		f.notes = append(f.notes, "Not drawn: free memory above, up to "+bytesText(mapTop(h.Map))+".")
	}
	f.notes = append(f.notes, keptNotes([]*heap{h})...)
	return in.picture(in.pictureName(h), h, f, mapHeight+2*laneRoom, func(c canvas, area draw.Canvas) {
		below := area
		below.Max.X -= keyRoom
		below.Max.Y -= 2 * laneRoom
		data := a.DataCanvas(below)
		drawRaster(canvas{data, c.dpi}, data.Rectangle, func(w, ht int) image.Image {
			return rasterize(h.Map, m, edges, outside(h), top, w, ht, hatchPeriod(c.dpi))
		})
		drawCells(data, a, h.Map, edges)
		drawEvents(&area, data, h, end)
		a.Draw(below)
		key := area
		key.Min.X, key.Max.Y, key.Min.Y = data.Max.X+22, data.Max.Y-8, data.Min.Y
		drawKey(canvas{key, c.dpi}, m)
	})
}

// extent is a range of addresses.
type extent struct{ from, to float64 }

// outside returns the addresses, below the highest, that no block covers in any
// survey of the replay: control structures and the gaps between regions. It
// returns none if a survey has not kept its blocks.
func outside(h *heap) []extent {
	var covered []extent
	for _, s := range []*replay.Survey{h.Peak, h.FirstFailure, h.End} {
		if s == nil {
			continue
		}
		if s.Blocks == nil && s.Usage.UsedBlocks+s.Usage.FreeBlocks > 0 {
			return nil
		}
		for i := range s.Blocks {
			b := &s.Blocks[i]
			from, to := float64(b.Addr), float64(b.Addr)+float64(b.Size)
			if n := len(covered); n > 0 && covered[n-1].from <= from && from <= covered[n-1].to {
				covered[n-1].to = max(covered[n-1].to, to)
			} else {
				covered = append(covered, extent{from, to})
			}
		}
	}
	slices.SortFunc(covered, func(a, b extent) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	var gaps []extent
	end := 0.0
	for _, c := range covered {
		if c.from > end {
			gaps = append(gaps, extent{end, c.from})
		}
		end = max(end, c.to)
	}
	return gaps
}

// inside reports whether an address is in one of the extents, which ascend.
func inside(extents []extent, addr float64) bool {
	i := sort.Search(len(extents), func(i int) bool { return extents[i].to > addr })
	return i < len(extents) && extents[i].from <= addr
}

// mapEdges returns the ends of a map's columns on the axis of time; the first
// column starts at zero. The last is above zero.
func mapEdges(h *heap) []float64 {
	edges := make([]float64, len(h.Map.Cols))
	last := 0.0
	for i := range edges {
		c := &h.Map.Cols[i]
		last = max(last, h.base.after(c.Event, c.Time))
		edges[i] = last
	}
	if last <= 0 {
		edges[len(edges)-1] = 1
	}
	return edges
}

// drawRaster draws an image into a rectangle, at the pixels of the device if
// it has any and at 144 an inch in a vector drawing.
func drawRaster(c canvas, r vg.Rectangle, of func(w, h int) image.Image) {
	dpi := c.dpi
	if dpi == 0 {
		dpi = defaultDPI
	}
	pixels := func(l vg.Length) float64 { return math.Round(float64(l) * dpi / 72) }
	x0, y0, x1, y1 := pixels(r.Min.X), pixels(r.Min.Y), pixels(r.Max.X), pixels(r.Max.Y)
	w, h := max(1, x1-x0), max(1, y1-y0)
	if c.dpi != 0 {
		// On the pixels themselves nothing is blurred.
		at := vg.Length(72 / dpi)
		r = vg.Rectangle{Min: vg.Point{X: vg.Length(x0) * at, Y: vg.Length(y0) * at}, Max: vg.Point{X: vg.Length(x0+w) * at, Y: vg.Length(y0+h) * at}}
	}
	c.DrawImage(r, of(int(w), int(h)))
}

// hatchPeriod returns the distance between the lines of a hatching, in pixels.
func hatchPeriod(dpi float64) int {
	if dpi == 0 {
		dpi = defaultDPI
	}
	return max(3, int(math.Round(dpi/18)))
}

// rasterize paints a map into w by h pixels. The pixels span [0, the last
// edge] across and addresses [0, top] upward. A pixel shows the cell at its
// middle if cells are larger than pixels, and the mean of its cells if they
// are smaller.
func rasterize(m *replay.Map, by measure, edges []float64, outside []extent, top float64, w, h, hatch int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	cells := newGather(m, by, outside)
	blank := make([]bool, h)
	for py := range h {
		blank[py] = inside(outside, top*(float64(py)+0.5)/float64(h))
	}
	end := edges[len(edges)-1]
	from, to := -1, -1
	for px := range w {
		j0, j1 := cover(edges, end*float64(px)/float64(w), end*float64(px+1)/float64(w))
		if j0 != from || j1 != to {
			cells.gather(j0, j1)
			from, to = j0, j1
		}
		for py := range h {
			lo, hi := top*float64(py)/float64(h), top*float64(py+1)/float64(h)
			at := img.PixOffset(px, h-1-py)
			c := beyondShade
			switch mid := (lo + hi) / 2; {
			case mid < cells.arena && !blank[py]:
				c = cells.shade(lo, hi)
			case (px+py)%hatch == 0:
				c = hatchShade
			}
			img.Pix[at], img.Pix[at+1], img.Pix[at+2], img.Pix[at+3] = c.R, c.G, c.B, c.A
		}
	}
	return img
}

// cover returns the columns [j0, j1) that a pixel from x0 to x1 shows: all that
// it touches if one lies within it, otherwise the one at its middle.
func cover(edges []float64, x0, x1 float64) (j0, j1 int) {
	above := func(x float64) int {
		return min(sort.Search(len(edges), func(j int) bool { return edges[j] > x }), len(edges)-1)
	}
	j0 = above(x0)
	j1 = min(sort.Search(len(edges), func(j int) bool { return edges[j] >= x1 }), len(edges)-1) + 1
	from := 0.0
	if j0 > 0 {
		from = edges[j0-1]
	}
	for j := j0; j < j1; j++ {
		if from >= x0 && edges[j] <= x1 {
			return j0, j1
		}
		from = edges[j]
	}
	j := above((x0 + x1) / 2)
	return j, j + 1
}

// gather adds up columns of a map.
type gather struct {
	m     *replay.Map
	by    measure
	used  []float64 // bytes in use, of all columns
	sum   []float64 // the measure, weighted with them
	lost  []float64 // bytes of the row that are outside all blocks
	room  float64   // columns added up
	arena float64
}

func newGather(m *replay.Map, by measure, outside []extent) *gather {
	rows := 0
	for i := range m.Cols {
		rows = max(rows, min(len(m.Cols[i].Used), m.Rows))
	}
	g := &gather{m: m, by: by, used: make([]float64, rows), sum: make([]float64, rows), lost: make([]float64, rows)}
	per := float64(m.RowBytes)
	for _, e := range outside {
		for row := int(min(e.from/per, float64(rows))); row < rows && float64(row)*per < e.to; row++ {
			g.lost[row] += min(e.to, float64(row+1)*per) - max(e.from, float64(row)*per)
		}
	}
	return g
}

func (g *gather) gather(j0, j1 int) {
	clear(g.used)
	clear(g.sum)
	g.arena, g.room = 0, float64(j1-j0)
	for j := j0; j < j1; j++ {
		c := &g.m.Cols[j]
		g.arena = max(g.arena, float64(c.Arena))
		values := g.by.of(c)
		for row := range min(len(c.Used), len(values), len(g.used)) {
			used := float64(c.Used[row])
			g.used[row] += used
			g.sum[row] += used * float64(values[row])
		}
	}
}

// shade returns the colour of a pixel of addresses [lo, hi): of all rows that it
// touches if one lies within it, otherwise of the one at its middle.
func (g *gather) shade(lo, hi float64) color.RGBA {
	per, rows := float64(g.m.RowBytes), float64(len(g.used))
	from, to := math.Floor(lo/per), math.Ceil(hi/per)
	if whole := math.Ceil(lo / per); (whole+1)*per > hi {
		from = math.Floor((lo + hi) / 2 / per)
		to = from + 1
	}
	r0, r1 := int(min(from, rows)), int(min(to, rows))
	used, sum, room := 0.0, 0.0, 0.0
	for r := r0; r < r1; r++ {
		used += g.used[r]
		sum += g.sum[r]
		room += (clamp(g.arena-float64(r)*per, 0, per) - g.lost[r]) * g.room
	}
	if !(used > 0) || !(room > 0) {
		return freeShade
	}
	return shade(g.by.place(sum/used), used/room)
}

// drawCells draws white lines between the cells of a map whose cells are large
// enough to be told apart.
func drawCells(c draw.Canvas, a *axes, m *replay.Map, edges []float64) {
	const least = 7 // points
	size := c.Size()
	rows := a.Y.Max / float64(m.RowBytes)
	if float64(size.Y)/rows < least || float64(size.X)/float64(len(edges)) < least {
		return
	}
	sty := draw.LineStyle{Color: white, Width: 0.8}
	x, y := a.Transforms(&c)
	for _, e := range edges[:len(edges)-1] {
		c.StrokeLine2(sty, x(e), c.Min.Y, x(e), c.Max.Y)
	}
	for r := 1.0; r < rows; r++ {
		at := y(r * float64(m.RowBytes))
		c.StrokeLine2(sty, c.Min.X, at, c.Max.X, at)
	}
}

// drawEvents marks above the map the peak of live bytes and the failures.
func drawEvents(area *draw.Canvas, data draw.Canvas, h *heap, end float64) {
	sty := sans(tickSize, dim)
	if h.Peak != nil {
		at := data.X(clamp(h.base.at(h.Peak.Event, h.Peak.Time)/end, 0, 1))
		text := "the trace's peak: live " + bytesText(h.Peak.Live)
		half := sty.Width(text) / 2
		mid := vg.Length(clamp(float64(at), float64(data.Min.X+half), float64(data.Max.X-half)))
		area.FillText(sty, vg.Point{X: mid - half, Y: data.Max.Y + laneRoom + 4}, text)
		area.StrokeLine2(draw.LineStyle{Color: dim, Width: 0.8}, at, data.Max.Y, at, data.Max.Y+laneRoom+2)
	}
	if at := h.failures(end, markCells); len(at) > 0 {
		drawMarks(area, data, at, end, data.Max.Y+2, 7, draw.LineStyle{Color: failInk, Width: 0.8})
		text := shortCount(h.Failures) + " failures"
		if h.Failures == 1 {
			text = "1 failure"
		}
		area.FillText(sans(tickSize, failInk), vg.Point{X: data.Max.X + 6, Y: data.Max.Y + 2}, text)
	}
}

// drawKey draws the key of the colours: the measure upward, and across how much
// of a cell is in use.
func drawKey(c canvas, m measure) {
	label, small := sans(textSize, black), sans(tickSize, black)
	c.FillText(label, vg.Point{X: c.Min.X, Y: c.Max.Y - textSize}, m.label)
	const column, columns = 11, 4
	bar := vg.Rectangle{
		Min: vg.Point{X: c.Min.X, Y: c.Min.Y + 100},
		Max: vg.Point{X: c.Min.X + column*columns, Y: c.Max.Y - textSize - 8},
	}
	drawRaster(c, bar, func(w, h int) image.Image {
		img := image.NewRGBA(image.Rect(0, 0, w, h))
		for px := range w {
			used := float64(1+px*columns/w) / columns
			for py := range h {
				img.SetRGBA(px, h-1-py, shade((float64(py)+0.5)/float64(h), used))
			}
		}
		return img
	})
	thin := draw.LineStyle{Color: dim, Width: 0.7}
	for _, t := range m.ticks {
		y := bar.Min.Y + vg.Length(t.Value)*bar.Size().Y
		c.StrokeLine2(thin, bar.Max.X, y, bar.Max.X+4, y)
		c.FillText(small, vg.Point{X: bar.Max.X + 7, Y: y - tickSize*0.35}, t.Label)
	}
	for i := range columns {
		s := small
		s.XAlign = draw.XCenter
		s.Font.Size = 6.5
		c.FillText(s, vg.Point{X: bar.Min.X + column*(vg.Length(i)+0.5), Y: bar.Min.Y - 8}, fmt.Sprint(25*(i+1)))
	}
	y := bar.Min.Y - 20
	c.FillText(small, vg.Point{X: c.Min.X, Y: y}, "% of the cell in use")
	swatch := func(text string, ink color.RGBA, hatched bool) {
		y -= 18
		r := rectangle(c.Min.X, y-2, c.Min.X+18, y+8)
		c.SetColor(ink)
		c.Fill(r)
		if hatched {
			sty := draw.LineStyle{Color: hatchShade, Width: 0.5}
			for x := c.Min.X; x < c.Min.X+18; x += 4 {
				c.StrokeLine2(sty, x, y+8, min(x+10, c.Min.X+18), max(y+8-(c.Min.X+18-x), y-2))
			}
		}
		c.SetLineStyle(draw.LineStyle{Color: dim, Width: 0.5})
		c.Stroke(r)
		c.FillText(small, vg.Point{X: c.Min.X + 23, Y: y}, text)
	}
	swatch("free", freeShade, false)
	swatch("outside blocks", beyondShade, true)
}

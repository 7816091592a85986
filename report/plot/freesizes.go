package plot

import (
	"image/color"
	"math"
	"math/bits"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/fragprof/fragprof/replay"
)

// freeSizesPeak draws the free blocks at the trace's peak of live bytes,
// measured against its largest request.
func freeSizesPeak(in *input) ([]*Picture, []Skipped) {
	return freeSizes(in, "the peak was not reached", func(h *heap) (*replay.Survey, uint64, string) {
		if h.Peak == nil {
			return nil, 0, ""
		}
		return h.Peak, h.LargestNeed, "event " + thousands(h.Peak.Event) + ": largest request needs " + thousands(h.LargestNeed) + " B"
	})
}

// freeSizesFailure draws the free blocks before each heap's first failure,
// measured against the request that failed.
func freeSizesFailure(in *input) ([]*Picture, []Skipped) {
	return freeSizes(in, "no request failed", func(h *heap) (*replay.Survey, uint64, string) {
		if h.FirstFailure == nil || len(h.Failed) == 0 {
			return nil, 0, ""
		}
		f := &h.Failed[0]
		return h.FirstFailure, f.Need, "event " + thousands(f.Event) + ": needs " + thousands(f.Need) + " B, " + f.Verdict.String()
	})
}

// sizeClass is the free blocks of sizes from 2^log2 to below twice that.
type sizeClass struct {
	log2          int
	blocks, bytes uint64
	usable        uint64 // bytes in those that are at least as large as the need
}

// classes sorts the free blocks of a survey into classes, without gaps from
// the lowest class in use to the highest. With a need of zero all are usable.
func classes(s *replay.Survey, need uint64) []sizeClass {
	var out []sizeClass
	lowest := 64
	for _, f := range s.FreeSizes {
		if f.Size > 0 && f.Count > 0 {
			lowest = min(lowest, bits.Len64(f.Size)-1)
		}
	}
	for _, f := range s.FreeSizes {
		if f.Size == 0 || f.Count == 0 {
			continue
		}
		i := bits.Len64(f.Size) - 1 - lowest
		for len(out) <= i {
			out = append(out, sizeClass{log2: lowest + len(out)})
		}
		c := &out[i]
		c.blocks += f.Count
		c.bytes += f.Size * f.Count
		if f.Size >= need {
			c.usable += f.Size * f.Count
		}
	}
	return out
}

// sizesPanel is what one panel shows.
type sizesPanel struct {
	*heap
	classes []sizeClass
	need    uint64
	free    uint64 // bytes
	lines   []string
}

func newSizesPanel(h *heap, s *replay.Survey, need uint64, when string) *sizesPanel {
	p := &sizesPanel{heap: h, classes: classes(s, need), need: need}
	var blocks, usable uint64
	for _, c := range p.classes {
		blocks += c.blocks
		p.free += c.bytes
		usable += c.usable
	}
	p.free = max(p.free, 1) // sizes no heap has may add up to 2^64
	count := thousands(blocks) + " blocks"
	if blocks == 1 {
		count = "1 block"
	}
	p.lines = []string{bytesText(p.free) + " free in " + count + ", " + percent(usable, p.free) + " usable", when}
	return p
}

// percent writes a ratio; what is not all is never written as 100 %, nor what
// is not nothing as 0 %.
func percent(part, whole uint64) string {
	v := 100 * float64(part) / float64(whole)
	switch {
	case part == 0:
		return "none"
	case part == whole:
		return "all"
	case v < 1:
		return "<1 %"
	case v > 99:
		return ">99 %"
	}
	return decimal(v, 0) + " %"
}

// freeSizes draws a panel for each heap of which pick returns a survey.
func freeSizes(in *input, absent string, pick func(*heap) (*replay.Survey, uint64, string)) ([]*Picture, []Skipped) {
	var shown []*sizesPanel
	var missing, full []string
	for _, h := range laidOut(in.heaps) {
		s, need, when := pick(h)
		if s == nil {
			missing = append(missing, h.label())
			continue
		}
		p := newSizesPanel(h, s, need, when)
		if len(p.classes) == 0 {
			full = append(full, h.label())
			continue
		}
		shown = append(shown, p)
	}
	if len(shown) == 0 {
		switch {
		case len(full) > 0:
			return nil, in.skip("no heap had a free block")
		case len(missing) > 0:
			return nil, in.skip(absent)
		}
		return nil, in.skip("no heap with an arena")
	}
	f := frame{title: in.title(nil), under: in.under}
	if len(full) > 0 {
		f.notes = append(f.notes, "No free block then: "+strings.Join(full, "; ")+".")
	}
	if len(missing) > 0 {
		f.notes = append(f.notes, strings.ToUpper(absent[:1])+absent[1:]+" in: "+strings.Join(missing, "; ")+".")
	}
	return sizesPanels(in, f, shown), nil
}

// sizesScale is the shared scale of the panels: classes across, the count of
// blocks downward.
type sizesScale struct {
	lo, hi int     // log2: classes [lo, hi)
	most   float64 // blocks of a class
}

func newSizesScale(shown []*sizesPanel) sizesScale {
	s := sizesScale{lo: 64, hi: 0, most: 1}
	for _, p := range shown {
		for _, c := range p.classes {
			s.lo, s.hi = min(s.lo, c.log2), max(s.hi, c.log2+1)
			s.most = max(s.most, float64(c.blocks))
		}
		if p.need > 0 {
			s.lo, s.hi = min(s.lo, bits.Len64(p.need)-1), max(s.hi, bits.Len64(p.need))
		}
	}
	s.hi = max(s.hi, s.lo+4)
	return s
}

// countDepth is how far below zero the bar of the most frequent class reaches,
// as a part of the height of 100 %.
const countDepth = 0.7

// depth returns how far below zero a count of blocks is drawn. The scale is
// logarithmic and starts at one half, so that one block has a bar.
func (s sizesScale) depth(blocks float64) float64 {
	return countDepth * (math.Log2(max(blocks, 0.5)) + 1) / (math.Log2(s.most) + 1)
}

// Ticks implements plot.Ticker for the vertical axis of a panel.
func (s sizesScale) Ticks(_, _ float64) []plot.Tick {
	ticks := []plot.Tick{{Value: 1, Label: "100 %"}, {Value: 0.5, Label: "50 %"}, {Value: 0, Label: "0"}}
	counts := []float64{1, 2, 4}
	if s.most >= 8 {
		counts = nil
		for v := 1.0; v <= s.most; v *= 10 {
			counts = append(counts, v)
		}
	}
	labelled := 0.0 // below zero, which has a label
	for _, v := range counts {
		if v > s.most {
			break
		}
		t := plot.Tick{Value: -s.depth(v)}
		if -t.Value-labelled >= countDepth/5 {
			labelled, t.Label = -t.Value, shortCount(uint64(v))
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// classTicks marks the limits of classes.
func (s sizesScale) classTicks(want int) plot.Ticker {
	stride := max(1, (s.hi-s.lo+want-1)/want)
	var ticks plot.ConstantTicks
	for i := s.lo; i <= s.hi; i++ {
		t := plot.Tick{Value: float64(i)}
		if (i-s.lo)%stride == 0 {
			t.Label = byteLabel(math.Ldexp(1, i))
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// sizesPanels draws a panel for each heap, all to the same scale.
func sizesPanels(in *input, f frame, shown []*sizesPanel) []*Picture {
	scale := newSizesScale(shown)
	cols := columns(len(shown))
	names := make([]*heap, len(shown))
	for i, sp := range shown {
		names[i] = sp.heap
	}
	rows := nameRows(names, cols)
	panels := make([]*axes, len(shown))
	anyNeed := false
	for i, sp := range shown {
		a := newAxes(0)
		a.X.Min, a.X.Max = float64(scale.lo), float64(scale.hi)
		a.X.Tick.Marker, a.X.Label.Text = scale.classTicks(12/cols), "size of free blocks"
		a.Y.Min, a.Y.Max = -countDepth*1.05, 1.05
		a.Y.Tick.Marker = scale
		if i%cols == 0 {
			a.sides("share of bytes", "blocks")
		}
		a.heading(sp.heap, rows, sp.lines...)
		a.grid()
		a.classes(sp, scale)
		anyNeed = anyNeed || sp.need > 0
		panels[i] = a
	}
	f.legend = []entry{
		boxEntry("share of the free bytes in blocks large enough for the request (usable)", usableInk),
		boxEntry("in blocks too small for it", smallInk),
		boxEntry("downward: number of free blocks (log scale)", countInk),
	}
	if anyNeed {
		f.legend = append(f.legend, plainEntry("block that the request needs", needStyle))
	}
	return in.paged(f, panels, panelHeight(cols, rows)+30)
}

// sides labels the parts of the vertical axis above and below zero. It keeps
// their room free with an empty label.
func (a *axes) sides(above, below string) {
	a.Y.Label.Text = " "
	sty := a.Y.Label.TextStyle
	sty.Rotation = math.Pi / 2
	sty.XAlign, sty.YAlign = draw.XCenter, draw.YCenter
	a.add(func(c draw.Canvas) {
		_, y := a.Transforms(&c)
		x := c.Min.X - 40
		c.FillText(sty, vg.Point{X: x, Y: y(0.5)}, above)
		c.FillText(sty, vg.Point{X: x, Y: y(-countDepth / 2)}, below)
	})
}

// classes draws the two bars of each class and the line of the need.
func (a *axes) classes(sp *sizesPanel, scale sizesScale) {
	a.add(func(c draw.Canvas) {
		x, y := a.Transforms(&c)
		for _, k := range sp.classes {
			left, right := x(float64(k.log2)+0.06), x(float64(k.log2)+0.94)
			fill := func(ink color.Color, from, to float64) {
				if from != to {
					c.SetColor(ink)
					c.Fill(rectangle(left, y(from), right, y(to)))
				}
			}
			usable, all := clamp(float64(k.usable)/float64(sp.free), 0, 1), clamp(float64(k.bytes)/float64(sp.free), 0, 1)
			fill(usableInk, 0, usable)
			fill(smallInk, usable, all)
			if k.blocks > 0 {
				fill(countInk, 0, -scale.depth(float64(k.blocks)))
			}
		}
		c.StrokeLine2(draw.LineStyle{Color: dim, Width: 0.7}, c.Min.X, y(0), c.Max.X, y(0))
		if sp.need > 0 {
			at := x(clamp(math.Log2(float64(sp.need)), a.X.Min, a.X.Max))
			c.StrokeLine2(needStyle, at, c.Min.Y, at, c.Max.Y)
		}
	})
}

package plot

import (
	"image/color"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The colours of everything that is not a heap's line.
var (
	white     = color.RGBA{255, 255, 255, 255}
	black     = color.RGBA{0, 0, 0, 255}
	dim       = color.RGBA{0x55, 0x55, 0x55, 255} // secondary text, axes
	gridInk   = color.RGBA{0xe4, 0xe4, 0xe4, 255}
	areaInk   = color.RGBA{0xd0, 0xd0, 0xd0, 255} // live or free bytes
	rangeInk  = color.RGBA{0xe8, 0xe8, 0xe8, 255} // between the least and the most of them
	failInk   = color.RGBA{0xb0, 0x30, 0x00, 255} // failures
	needInk   = color.RGBA{0x30, 0x30, 0x30, 255} // a request's size as a line
	usableInk = color.RGBA{0x00, 0x72, 0xb2, 255} // free blocks that serve the request
	smallInk  = color.RGBA{0xe6, 0x9f, 0x00, 255} // free blocks too small for it
	countInk  = color.RGBA{0x77, 0x77, 0x77, 255} // numbers of blocks
	soloInk   = color.RGBA{0x00, 0x72, 0xb2, 255} // the line of a panel's only heap
)

// look is how the lines of one heap differ from another's.
type look struct {
	ink    color.RGBA
	dashes []vg.Length
	marker marker
}

// looks are the lines of one axis: Okabe & Ito's colours but for yellow, which
// is too light for a line on white.
var looks = [...]look{
	{color.RGBA{0x00, 0x72, 0xb2, 255}, nil, marker{circle, true}},
	{color.RGBA{0xd5, 0x5e, 0x00, 255}, []vg.Length{7, 2.5}, marker{square, true}},
	{color.RGBA{0x00, 0x9e, 0x73, 255}, []vg.Length{2, 2}, marker{triangle, true}},
	{color.RGBA{0xcc, 0x79, 0xa7, 255}, []vg.Length{8, 2, 2, 2}, marker{circle, false}},
	{color.RGBA{0xe6, 0x9f, 0x00, 255}, []vg.Length{12, 4}, marker{square, false}},
	{color.RGBA{0x56, 0xb4, 0xe9, 255}, []vg.Length{5, 1.5, 1.5, 1.5, 1.5, 1.5}, marker{triangle, false}},
}

// style returns the line of the i-th heap of an axis. Later lines are thinner,
// so that one drawn under another still shows at its edges.
func style(i int) draw.LineStyle {
	return draw.LineStyle{Color: looks[i].ink, Width: 2.6 - 0.26*vg.Length(i), Dashes: looks[i].dashes}
}

// shape is the outline of a marker.
type shape uint8

const (
	circle shape = iota
	square
	triangle
)

// marker is a small symbol on a line, filled or hollow.
type marker struct {
	shape  shape
	filled bool
}

// draw puts the marker at a point, on a white edge that keeps it apart from
// the lines below it.
func (m marker) draw(c *draw.Canvas, at vg.Point, ink color.Color) {
	c.SetColor(color.White)
	c.Fill(m.path(at, 4))
	c.SetColor(ink)
	c.Fill(m.path(at, 3))
	if !m.filled {
		c.SetColor(color.White)
		c.Fill(m.path(at, 1.7))
	}
}

func (m marker) path(at vg.Point, r vg.Length) vg.Path {
	var p vg.Path
	switch m.shape {
	case circle:
		p.Move(vg.Point{X: at.X + r, Y: at.Y})
		p.Arc(at, r, 0, 2*math.Pi)
	case square:
		r *= 0.9
		p.Move(vg.Point{X: at.X - r, Y: at.Y - r})
		p.Line(vg.Point{X: at.X + r, Y: at.Y - r})
		p.Line(vg.Point{X: at.X + r, Y: at.Y + r})
		p.Line(vg.Point{X: at.X - r, Y: at.Y + r})
	case triangle:
		r *= 1.2
		p.Move(vg.Point{X: at.X, Y: at.Y + r})
		p.Line(vg.Point{X: at.X - 0.9*r, Y: at.Y - 0.6*r})
		p.Line(vg.Point{X: at.X + 0.9*r, Y: at.Y - 0.6*r})
	}
	p.Close()
	return p
}

// downward returns a triangle whose tip touches a point from above, the sign
// of a first failure.
func downward(tip vg.Point, size vg.Length) vg.Path {
	var p vg.Path
	p.Move(tip)
	p.Line(vg.Point{X: tip.X - size*0.6, Y: tip.Y + size})
	p.Line(vg.Point{X: tip.X + size*0.6, Y: tip.Y + size})
	p.Close()
	return p
}

func rectangle(x0, y0, x1, y1 vg.Length) vg.Path {
	var p vg.Path
	p.Move(vg.Point{X: x0, Y: y0})
	p.Line(vg.Point{X: x1, Y: y0})
	p.Line(vg.Point{X: x1, Y: y1})
	p.Line(vg.Point{X: x0, Y: y1})
	p.Close()
	return p
}

// sans is a text style in the one font of all figures.
func sans(size vg.Length, ink color.Color) text.Style {
	return text.Style{
		Color:   ink,
		Font:    font.Font{Typeface: "Liberation", Variant: "Sans", Size: size},
		Handler: plot.DefaultTextHandler,
	}
}

// boldWeight is WeightBold of golang.org/x/image/font, in whose terms gonum's
// fonts are described.
const boldWeight = 3

func bold(size vg.Length) text.Style {
	s := sans(size, black)
	s.Font.Weight = boldWeight
	return s
}

// clean makes one line of plain characters of any text.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsSpace(r), !unicode.IsPrint(r):
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// fit shortens a text in its middle until it is no wider than width.
func fit(s text.Style, txt string, width vg.Length) string {
	if s.Width(txt) <= width {
		return txt
	}
	r := []rune(txt)
	lo, hi := 0, len(r) // runes kept: lo fits, hi does not
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; s.Width(shorten(r, mid)) <= width {
			lo = mid
		} else {
			hi = mid
		}
	}
	return shorten(r, lo)
}

// shorten keeps so many runes of a text: the first two thirds from its start,
// the others from its end.
func shorten(r []rune, kept int) string {
	if kept >= len(r) {
		return string(r)
	}
	tail := kept / 3
	return string(r[:kept-tail]) + "…" + string(r[len(r)-tail:])
}

// wrap breaks a text into at most so many lines of a width, at spaces and
// behind commas and colons if it can, and shortens the last.
func wrap(s text.Style, txt string, width vg.Length, lines int) []string {
	var out []string
	for len(out) < lines-1 && s.Width(txt) > width {
		r := []rune(txt)
		at := 0
		for i := 1; i < len(r) && s.Width(string(r[:i])) <= width; i++ {
			if r[i] == ' ' || strings.ContainsRune(" ,:", r[i-1]) {
				at = i
			}
		}
		if at == 0 {
			break
		}
		out = append(out, strings.TrimSpace(string(r[:at])))
		txt = strings.TrimSpace(string(r[at:]))
	}
	return append(out, fit(s, txt, width))
}

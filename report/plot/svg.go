package plot

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
)

// svgCanvas draws SVG for a page to hold as it is: no identifiers, no scripts,
// no links, and short paths. It is used in place of gonum's own because that
// one blurs and distorts images, names a font that many systems do not have,
// and writes twice as much.
type svgCanvas struct {
	w, h  vg.Length
	label string
	body  bytes.Buffer
	state svgState
	saved []svgState
}

type svgState struct {
	ink    color.Color
	width  vg.Length
	dashes []vg.Length
	offset vg.Length
	m      affine
}

// affine maps (x, y) to (a*x + c*y + e, b*x + d*y + f).
type affine struct{ a, b, c, d, e, f float64 }

// then returns the map that applies n first and m to its result.
func (m affine) then(n affine) affine {
	return affine{
		m.a*n.a + m.c*n.b, m.b*n.a + m.d*n.b,
		m.a*n.c + m.c*n.d, m.b*n.c + m.d*n.d,
		m.a*n.e + m.c*n.f + m.e, m.b*n.e + m.d*n.f + m.f,
	}
}

func (m affine) apply(p vg.Point) (x, y float64) {
	return m.a*float64(p.X) + m.c*float64(p.Y) + m.e, m.b*float64(p.X) + m.d*float64(p.Y) + m.f
}

// scale is the factor by which the map changes lengths.
func (m affine) scale() float64 { return math.Sqrt(math.Abs(m.a*m.d - m.b*m.c)) }

// newSVG returns an empty drawing; label tells those who cannot see it what it
// shows.
func newSVG(w, h vg.Length, label string) *svgCanvas {
	c := &svgCanvas{w: w, h: h, label: label}
	// The origin of vg is at the bottom.
	c.state.m = affine{1, 0, 0, -1, 0, float64(h)}
	vg.Initialize(c)
	return c
}

func (c *svgCanvas) Size() (w, h vg.Length)   { return c.w, c.h }
func (c *svgCanvas) SetLineWidth(w vg.Length) { c.state.width = w }
func (c *svgCanvas) SetColor(ink color.Color) { c.state.ink = ink }
func (c *svgCanvas) Push()                    { c.saved = append(c.saved, c.state) }
func (c *svgCanvas) Scale(x, y float64)       { c.state.m = c.state.m.then(affine{a: x, d: y}) }
func (c *svgCanvas) Translate(to vg.Point)    { c.state.m = c.state.m.then(shift(to)) }
func (c *svgCanvas) Pop()                     { c.state, c.saved = c.saved[len(c.saved)-1], c.saved[:len(c.saved)-1] }

func shift(to vg.Point) affine                       { return affine{1, 0, 0, 1, float64(to.X), float64(to.Y)} }
func (c *svgCanvas) number(v vg.Length) string       { return num(float64(v) * c.state.m.scale()) }
func (c *svgCanvas) paint(name string)               { c.body.WriteString(svgInk(name, c.state.ink)) }
func (c *svgCanvas) attr(name, value string)         { fmt.Fprintf(&c.body, " %s=%q", name, value) }
func (c *svgCanvas) point(p vg.Point) (x, y float64) { return c.state.m.apply(p) }

// SetLineDash implements vg.Canvas.
func (c *svgCanvas) SetLineDash(dashes []vg.Length, offset vg.Length) {
	c.state.dashes, c.state.offset = dashes, offset
}

// Rotate implements vg.Canvas.
func (c *svgCanvas) Rotate(rad float64) {
	sin, cos := math.Sincos(rad)
	c.state.m = c.state.m.then(affine{cos, sin, -sin, cos, 0, 0})
}

// Stroke implements vg.Canvas.
func (c *svgCanvas) Stroke(p vg.Path) {
	if c.state.width <= 0 || len(p) == 0 {
		return
	}
	c.body.WriteString(`<path d="` + c.data(p) + `" fill="none"`)
	c.paint("stroke")
	if w := c.number(c.state.width); w != "1" {
		c.attr("stroke-width", w)
	}
	if len(c.state.dashes) > 0 {
		dashes := make([]string, len(c.state.dashes))
		for i, d := range c.state.dashes {
			dashes[i] = c.number(d)
		}
		c.attr("stroke-dasharray", strings.Join(dashes, " "))
		if c.state.offset != 0 {
			c.attr("stroke-dashoffset", c.number(c.state.offset))
		}
	}
	c.body.WriteString("/>\n")
}

// Fill implements vg.Canvas.
func (c *svgCanvas) Fill(p vg.Path) {
	if len(p) == 0 {
		return
	}
	c.body.WriteString(`<path d="` + c.data(p) + `"`)
	c.paint("fill")
	c.body.WriteString("/>\n")
}

// data writes a path. Points closer to the last than the precision of num are
// left out.
func (c *svgCanvas) data(p vg.Path) string {
	b := make([]byte, 0, 16*len(p))
	var lastX, lastY string
	for i := range p {
		s := &p[i]
		px, py := c.point(s.Pos)
		x, y := num(px), num(py)
		switch s.Type {
		case vg.MoveComp:
			b = fmt.Appendf(b, "M%s %s", x, y)
		case vg.LineComp:
			switch {
			case x == lastX && y == lastY:
			case x == lastX:
				b = fmt.Appendf(b, "V%s", y)
			case y == lastY:
				b = fmt.Appendf(b, "H%s", x)
			default:
				b = fmt.Appendf(b, "L%s %s", x, y)
			}
		case vg.ArcComp:
			b, x, y = c.arc(b, s, lastX != "")
		case vg.CurveComp:
			b = append(b, "?QC"[len(s.Control)])
			for _, k := range s.Control {
				kx, ky := c.point(k)
				b = fmt.Appendf(b, "%s %s ", num(kx), num(ky))
			}
			b = fmt.Appendf(b, "%s %s", x, y)
		case vg.CloseComp:
			b = append(b, 'Z')
			continue
		}
		lastX, lastY = x, y
	}
	return string(b)
}

// arc writes an arc in pieces of at most half a turn, since one whose ends
// meet has no meaning in SVG.
func (c *svgCanvas) arc(b []byte, s *vg.PathComp, joined bool) (out []byte, x, y string) {
	at := func(angle float64) (string, string) {
		sin, cos := math.Sincos(angle)
		px, py := c.point(vg.Point{X: s.Pos.X + s.Radius*vg.Length(cos), Y: s.Pos.Y + s.Radius*vg.Length(sin)})
		return num(px), num(py)
	}
	x, y = at(s.Start)
	b = fmt.Appendf(b, "%c%s %s", "ML"[btoi(joined)], x, y)
	pieces := max(1, int(math.Ceil(math.Abs(s.Angle)/math.Pi-1e-9)))
	// A turn to the left is one to the right where y points down.
	sweep := btoi((s.Angle > 0) == (c.state.m.a*c.state.m.d-c.state.m.b*c.state.m.c > 0))
	r := c.number(s.Radius)
	for i := 1; i <= pieces; i++ {
		x, y = at(s.Start + s.Angle*float64(i)/float64(pieces))
		b = fmt.Appendf(b, "A%s %s 0 0 %d %s %s", r, r, sweep, x, y)
	}
	return b, x, y
}

func btoi(v bool) int {
	if v {
		return 1
	}
	return 0
}

// FillString implements vg.Canvas.
func (c *svgCanvas) FillString(f font.Face, at vg.Point, s string) {
	if f.Font.Size == 0 || s == "" {
		return
	}
	// Letters stand upright: undo the mirroring of y for them alone.
	m := c.state.m.then(affine{1, 0, 0, -1, float64(at.X), float64(at.Y)})
	if m.a == 1 && m.b == 0 && m.c == 0 && m.d == 1 {
		fmt.Fprintf(&c.body, `<text x="%s" y="%s"`, num(m.e), num(m.f))
	} else {
		fmt.Fprintf(&c.body, `<text transform="matrix(%s %s %s %s %s %s)"`, num(m.a), num(m.b), num(m.c), num(m.d), num(m.e), num(m.f))
	}
	c.attr("font-size", num(float64(f.Font.Size)))
	// Another font in place of the one that was measured keeps to its room.
	c.attr("textLength", num(float64(f.Width(s))))
	c.attr("lengthAdjust", "spacingAndGlyphs")
	if f.Font.Weight >= boldWeight {
		c.attr("font-weight", "bold")
	}
	if r, g, b, _ := c.state.ink.RGBA(); r|g|b != 0 {
		c.paint("fill")
	}
	c.body.WriteByte('>')
	xmlText(&c.body, s)
	c.body.WriteString("</text>\n")
}

// DrawImage implements vg.Canvas.
func (c *svgCanvas) DrawImage(r vg.Rectangle, img image.Image) {
	x0, y0 := c.point(r.Min)
	x1, y1 := c.point(r.Max)
	fmt.Fprintf(&c.body, `<image x="%s" y="%s" width="%s" height="%s" preserveAspectRatio="none" style="image-rendering:pixelated" xlink:href="data:image/png;base64,`,
		num(min(x0, x1)), num(min(y0, y1)), num(math.Abs(x1-x0)), num(math.Abs(y1-y0)))
	e := base64.NewEncoder(base64.StdEncoding, &c.body)
	// Writing to memory does not fail, and an image has a size by construction.
	_ = png.Encode(e, img)
	_ = e.Close()
	c.body.WriteString("\"/>\n")
}

// WriteTo implements io.WriterTo.
func (c *svgCanvas) WriteTo(w io.Writer) (int64, error) {
	var head bytes.Buffer
	fmt.Fprintf(&head, `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="%spt" height="%spt" viewBox="0 0 %s %s" role="img" aria-label="`,
		num(float64(c.w)), num(float64(c.h)), num(float64(c.w)), num(float64(c.h)))
	xmlText(&head, c.label)
	head.WriteString("\" font-family=\"'Liberation Sans', Arial, Helvetica, sans-serif\">\n")
	parts := io.MultiReader(&head, bytes.NewReader(c.body.Bytes()), strings.NewReader("</svg>\n"))
	return io.Copy(w, parts)
}

// xmlText escapes text; characters that XML cannot hold become U+FFFD.
func xmlText(b *bytes.Buffer, s string) {
	_ = xml.EscapeText(b, []byte(s)) // b does not fail
}

// num writes a number with at most two decimals, which is 1/7200 of an inch.
func num(v float64) string {
	v = math.Round(v*100) / 100
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// svgInk returns a colour as an attribute.
func svgInk(name string, ink color.Color) string {
	n := color.NRGBAModel.Convert(ink).(color.NRGBA)
	s := fmt.Sprintf(` %s="#%02x%02x%02x"`, name, n.R, n.G, n.B)
	if n.A != 255 {
		s += fmt.Sprintf(` %s-opacity="%s"`, name, num(float64(n.A)/255))
	}
	return s
}

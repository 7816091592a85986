package plot

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"

	"github.com/fragprof/fragprof/replay"
)

// shades are the colours of used memory, from light to dark: the lightness of
// Oklab falls evenly while the hue turns from yellow over green to violet, so
// that a print in grey keeps the order.
var shades = func() (s [256]color.RGBA) {
	for i := range s {
		t := float64(i) / 255
		hue := (100 + 195*t) * math.Pi / 180
		chroma := 0.15 - 0.05*math.Sin(math.Pi*t)
		s[i] = oklab(0.85-0.60*t, chroma*math.Cos(hue), chroma*math.Sin(hue))
	}
	return s
}()

// oklab converts a colour of Ottosson's Oklab space (2020) to sRGB.
func oklab(lightness, a, b float64) color.RGBA {
	l := cube(lightness + 0.3963377774*a + 0.2158037573*b)
	m := cube(lightness - 0.1055613458*a - 0.0638541728*b)
	s := cube(lightness - 0.0894841775*a - 1.2914855480*b)
	return color.RGBA{
		srgb(4.0767416621*l - 3.3077115913*m + 0.2309699292*s),
		srgb(-1.2684380046*l + 2.6097574011*m - 0.3413193965*s),
		srgb(-0.0041960863*l - 0.7034186147*m + 1.7076147010*s),
		255,
	}
}

func cube(v float64) float64 { return v * v * v }

// srgb encodes a linear part of light.
func srgb(v float64) uint8 {
	v = clamp(v, 0, 1)
	if v <= 0.0031308 {
		v *= 12.92
	} else {
		v = 1.055*math.Pow(v, 1/2.4) - 0.055
	}
	return uint8(math.Round(v * 255))
}

var (
	freeShade   = color.RGBA{0xfc, 0xfc, 0xfc, 255} // free memory
	beyondShade = color.RGBA{0xee, 0xee, 0xee, 255} // above the highest block
	hatchShade  = color.RGBA{0xbb, 0xbb, 0xbb, 255} // the lines on it
)

// shade returns the colour of memory of which a part is used: t says where on
// the scale the used part is. Lightness rises as less is used, to no lighter
// than leaves a trace of it.
func shade(t, used float64) color.RGBA {
	if !(used > 0) {
		return freeShade
	}
	s := shades[int(clamp(t, 0, 1)*255)]
	w := 0.2 + 0.8*min(used, 1)
	mix := func(a, b uint8) uint8 { return uint8(math.Round(float64(a)*w + float64(b)*(1-w))) }
	return color.RGBA{mix(s.R, freeShade.R), mix(s.G, freeShade.G), mix(s.B, freeShade.B), 255}
}

// measure is what the heap map's colours stand for: how to get it from a
// column, and where a value is on the scale, whose ticks are on [0, 1].
type measure struct {
	label string
	of    func(*replay.MapCol) []float32
	place func(v float64) float64
	ticks []plot.Tick
}

func cellAge(c *replay.MapCol) []float32  { return c.Age }
func cellSize(c *replay.MapCol) []float32 { return c.SizeLog2 }

// cellRange returns the extremes of a measure over all cells in use.
func cellRange(m *replay.Map, of func(*replay.MapCol) []float32) (lo, hi float64, ok bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for i := range m.Cols {
		c := &m.Cols[i]
		for row, v := range of(c) {
			if row < len(c.Used) && c.Used[row] > 0 {
				lo, hi = min(lo, float64(v)), max(hi, float64(v))
			}
		}
	}
	return lo, hi, hi >= lo && !math.IsInf(hi, 0)
}

// byAge is logarithmic in the age in events, since most objects die young. An
// object is one event old when it is first seen.
func byAge(m *replay.Map) (measure, bool) {
	s := measure{label: "age in events", of: cellAge}
	_, oldest, ok := cellRange(m, cellAge)
	if !ok {
		return s, false
	}
	oldest = max(oldest, 1)
	top := math.Log(max(oldest, 2))
	s.place = func(v float64) float64 { return math.Log(max(v, 1)) / top }
	steps := []float64{1}
	if oldest < 100 {
		steps = []float64{1, 2, 5}
	}
	for decade := 1.0; decade <= oldest; decade *= 10 {
		for _, step := range steps {
			if v := decade * step; v <= max(oldest, 2) {
				s.ticks = append(s.ticks, plot.Tick{Value: s.place(v), Label: roundCount(v)})
			}
		}
	}
	return s, true
}

// bySize is logarithmic in the block size.
func bySize(m *replay.Map) (measure, bool) {
	s := measure{label: "block size", of: cellSize}
	lo, hi, ok := cellRange(m, cellSize)
	if !ok {
		return s, false
	}
	lo, hi = math.Floor(clamp(lo, 0, 64)), math.Ceil(clamp(hi, 0, 64))
	if hi <= lo {
		hi = lo + 1
	}
	s.place = func(v float64) float64 { return (v - lo) / (hi - lo) }
	stride := max(1, math.Ceil((hi-lo)/8))
	for v := lo; v <= hi; v += stride {
		s.ticks = append(s.ticks, plot.Tick{Value: s.place(v), Label: byteLabel(math.Exp2(v))})
	}
	return s, true
}

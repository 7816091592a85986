package plot

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

var byteUnits = [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// byteTicks marks multiples of a power of two, at most want+1 of them, as
// "0", "64 KiB", "128 KiB".
type byteTicks struct{ want int }

// Ticks implements plot.Ticker.
func (t byteTicks) Ticks(lo, hi float64) []plot.Tick {
	step := 1.0
	for (hi-lo)/step > float64(max(t.want, 1)) {
		step *= 2
	}
	return multiples(lo, hi, step, 2, byteLabel)
}

// multiples returns a tick at each multiple of step, and minor ones that cut a
// step into parts, unless that would be less than 1.
func multiples(lo, hi, step float64, parts int, label func(float64) string) []plot.Tick {
	if !(hi > lo) || math.IsInf(hi-lo, 0) || step <= 0 {
		return nil
	}
	if step/float64(parts) < 1 {
		parts = 1
	}
	var ticks []plot.Tick
	minor := step / float64(parts)
	first := math.Ceil(lo/minor-1e-9) + 0 // which makes -0 of it 0
	for i := first; i*minor <= hi+step*1e-9 && len(ticks) < 1000; i++ {
		tick := plot.Tick{Value: i * minor}
		if math.Mod(i, float64(parts)) == 0 {
			tick.Label = label(i * minor)
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// byteLabel writes bytes with the largest unit that leaves at least 1, and at
// most three decimals: "0", "768 KiB", "1.25 MiB".
func byteLabel(v float64) string {
	if v == 0 {
		return "0"
	}
	unit := 0
	for math.Abs(v) >= 1024 && unit+1 < len(byteUnits) {
		v, unit = v/1024, unit+1
	}
	return decimal(v, 3) + " " + byteUnits[unit]
}

// bytesText writes bytes in running text, to three digits: "1.23 MiB".
func bytesText(bytes uint64) string {
	v, unit := float64(bytes), 0
	for v >= 1024 && unit+1 < len(byteUnits) {
		v, unit = v/1024, unit+1
	}
	decimals := 0
	switch {
	case unit == 0:
	case v < 10:
		decimals = 2
	case v < 100:
		decimals = 1
	}
	return decimal(v, decimals) + " " + byteUnits[unit]
}

// decimal writes v with at most so many decimals and no trailing zeros.
func decimal(v float64, decimals int) string {
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// thousands writes a count in running text: "1,234,567".
func thousands(count uint64) string {
	s := strconv.FormatUint(count, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// shorts are the units of large counts on an axis, and the greatest value on
// the axis from which each is used.
var shorts = [...]struct {
	from, unit float64
	suffix     string
}{
	{1e15, 1e15, "P"},
	{1e12, 1e12, "T"},
	{1e9, 1e9, "G"},
	{1e6, 1e6, "M"},
	{1e4, 1e3, "k"},
}

// roundCount writes a count with few digits, "100k", in the largest unit that
// leaves at least 1.
func roundCount(v float64) string {
	suffix := ""
	for _, s := range shorts {
		if v >= s.unit {
			v, suffix = v/s.unit, s.suffix
			break
		}
	}
	return decimal(v, 3) + suffix
}

// numberTicks marks multiples of 1, 2 or 5 times a power of ten of a unit that
// the axis's label names. With unit 0 it finds one by itself and adds it to the
// labels, as counts have it: "500k", "1M".
type numberTicks struct {
	want int
	unit float64
}

// Ticks implements plot.Ticker.
func (t numberTicks) Ticks(lo, hi float64) []plot.Tick {
	unit, suffix := t.unit, ""
	if unit == 0 {
		unit = 1
		for _, s := range shorts {
			if hi >= s.from {
				unit, suffix = s.unit, s.suffix
				break
			}
		}
	}
	span := (hi - lo) / unit / float64(max(t.want, 1))
	if !(span > 0) || math.IsInf(span, 0) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10(span)))
	parts := 5
	switch {
	case step >= span:
	case step*2 >= span:
		step, parts = step*2, 2
	case step*5 >= span:
		step *= 5
	default:
		step *= 10
	}
	return multiples(lo, hi, max(step*unit, 1), parts, func(v float64) string {
		if v == 0 {
			return "0"
		}
		return decimal(v/unit, 3) + suffix
	})
}

// timeUnits are the units of an axis of time, in ns, and the length of the axis
// from which each is used.
var timeUnits = [...]struct {
	from, unit float64
	name       string
}{
	{2 * 86400e9, 86400e9, "days"},
	{3 * 3600e9, 3600e9, "h"},
	{300e9, 60e9, "min"},
	{1e9, 1e9, "s"},
	{1e6, 1e6, "ms"},
	{1e3, 1e3, "µs"},
	{0, 1, "ns"},
}

// timeUnit returns the unit, in ns, for an axis of time that ends at end ns.
func timeUnit(end float64) (unit float64, name string) {
	for _, u := range timeUnits {
		if end >= u.from {
			return u.unit, u.name
		}
	}
	return 1, "ns"
}

// logBytes is a scale of powers of two that ends in zero: everything up to
// floor, a power of two, is at its lower end. It implements plot.Ticker for an
// axis in its own units.
type logBytes struct {
	floor float64
	some  bool // there are values above zero at the lower end
	want  int
}

// place returns where a number of bytes is: how many doublings above floor.
func (s logBytes) place(bytes float64) float64 {
	return math.Log2(max(bytes, s.floor) / s.floor)
}

// Ticks implements plot.Ticker.
func (s logBytes) Ticks(_, hi float64) []plot.Tick {
	if !(hi > 0) || math.IsInf(hi, 0) {
		return nil
	}
	stride := 1
	for _, stride = range []int{1, 2, 4, 5, 10, 20} {
		if hi/float64(stride) <= float64(max(s.want, 1)) {
			break
		}
	}
	ticks := []plot.Tick{{Value: 0, Label: "0"}}
	if s.some {
		ticks[0].Label = "0–" + byteLabel(s.floor)
	}
	for i := 1; float64(i) <= hi+1e-9; i++ {
		tick := plot.Tick{Value: float64(i)}
		if i%stride == 0 {
			tick.Label = byteLabel(math.Ldexp(s.floor, i))
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// floorLog2 returns the largest power of two that is at most v, but no less
// than one half, which leaves one byte above zero on a logBytes scale.
func floorLog2(v float64) float64 {
	if !(v >= 0.5) {
		return 0.5
	}
	return math.Exp2(math.Floor(math.Log2(v)))
}

// silent keeps the marks of a ticker and drops their labels, for axes that
// share those of the next panel.
type silent struct{ plot.Ticker }

// Ticks implements plot.Ticker.
func (s silent) Ticks(lo, hi float64) []plot.Tick {
	var kept []plot.Tick
	for _, t := range s.Ticker.Ticks(lo, hi) {
		if t.Label != "" {
			kept = append(kept, plot.Tick{Value: t.Value})
		}
	}
	return kept
}

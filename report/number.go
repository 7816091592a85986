package report

import (
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"
)

// thousands writes a count with separators: 1,234,567.
func thousands(n uint64) string {
	if n > math.MaxInt64 {
		return strconv.FormatUint(n, 10)
	}
	return humanize.Comma(int64(n))
}

// bytesText writes bytes for people: exact below 10 KiB, else to a tenth of
// the unit.
func bytesText(n uint64) string {
	if n < 10<<10 {
		return exactBytes(n)
	}
	v, unit := float64(n)/(1<<10), 0
	units := [...]string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for v >= 1<<10 && unit+1 < len(units) {
		v, unit = v/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}

// exactBytes writes bytes exactly.
func exactBytes(n uint64) string { return thousands(n) + " B" }

// text writes a value of the metric's unit for people; "-" where it has no
// meaning.
func (u Unit) text(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	switch u {
	case Bytes:
		return bytesText(uint64(v))
	case Frac:
		return fmt.Sprintf("%.1f %%", 100*v)
	case Ratio:
		return fmt.Sprintf("%.1f", v)
	}
	return thousands(uint64(v))
}

// number writes a value for machines, shortest exact form; empty where it has
// no meaning.
func (u Unit) number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	if u == Frac || u == Ratio {
		return strconv.FormatFloat(v, 'g', 10, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

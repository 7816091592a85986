package study

import (
	"cmp"
	"math"
	"slices"
)

// Mean returns the arithmetic mean.
func Mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// SD returns the standard deviation of a sample: with n - 1 in the denominator,
// which is how the paper's come out of its table. Zero for fewer than two values.
func SD(x []float64) float64 {
	if len(x) < 2 {
		return 0
	}
	mean, sum := Mean(x), 0.0
	for _, v := range x {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / float64(len(x)-1))
}

// Ranks returns the place of each value among all, the smallest first, from
// one. Equal values share the mean of their places.
func Ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	out := make([]float64, len(x))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && x[order[to]] == x[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			out[i] = float64(from+1+to) / 2
		}
		from = to
	}
	return out
}

// Spearman returns the rank correlation of two lists of values: the linear
// correlation of their Ranks. It is NaN if all values of a list are equal.
func Spearman(x, y []float64) float64 {
	a, b := Ranks(x), Ranks(y)
	ma, mb := Mean(a), Mean(b)
	var ab, aa, bb float64
	for i := range a {
		ab += (a[i] - ma) * (b[i] - mb)
		aa += (a[i] - ma) * (a[i] - ma)
		bb += (b[i] - mb) * (b[i] - mb)
	}
	return ab / math.Sqrt(aa*bb)
}

// Kendall returns the rank correlation tau-b of two lists of values: of all
// pairs that differ in both, the share in the same order less that in the
// opposite order, ties allowed for. It is NaN if all values of a list are equal.
func Kendall(x, y []float64) float64 {
	var same, opposite, tiedX, tiedY float64
	for i := range x {
		for j := range i {
			dx, dy := cmp.Compare(x[i], x[j]), cmp.Compare(y[i], y[j])
			switch {
			case dx == 0 && dy == 0:
			case dx == 0:
				tiedX++
			case dy == 0:
				tiedY++
			case dx == dy:
				same++
			default:
				opposite++
			}
		}
	}
	return (same - opposite) / math.Sqrt((same+opposite+tiedX)*(same+opposite+tiedY))
}

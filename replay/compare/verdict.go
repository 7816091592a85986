package compare

import (
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// Word is a verdict in a word.
type Word uint8

// The verdicts.
const (
	Undecided Word = iota // the orderings do not agree, or are too few to tell
	Helps                 // fewer failures, or as many and less memory
	NoEffect              // neither failures nor memory change by what matters
	Harms                 // more failures, or as many and more memory
)

// String returns the verdict as reports print it.
func (w Word) String() string {
	return [...]string{"undecided", "helps", "no effect", "harms"}[w]
}

// On is what a verdict rests on.
type On uint8

// What verdicts rest on. Failures decide first; if they do not differ in any
// ordering, memory does; if that is no effect or goes either way, and the heap is
// of fixed size, so that what matters is what is left of it, the largest free
// block does.
const (
	OnFailures On = iota // count
	OnMemory             // bytes: Row.Memory
	OnLargest            // bytes: Row.MeanLargest; more is better, and less no worse as far as it is held in reserve
)

// String returns what it is in a few words.
func (o On) String() string {
	return [...]string{"failures", "memory", "mean largest free block"}[o]
}

// Verdict says whether a strategy helps on a heap.
type Verdict struct {
	Word Word
	On   On
	// Mean is the mean of the paired differences, with minus without, and Low
	// and High are its 95 % bootstrap interval. With one ordering all three are
	// its difference, and there is no interval.
	Mean, Low, High float64
	Base            float64 // mean of what is compared, without the strategy
	Orderings       int     // 1: the recorded one only
	TooFew          bool    // fewer orderings than an interval needs
}

const (
	// Material is the share of the memory needed without a strategy below which
	// a difference is no effect.
	Material = 0.01
	// MaterialLargest is the same of the mean largest free block, which varies
	// more.
	MaterialLargest = 0.05
	// MinOrderings is the number of orderings below which a bootstrap interval
	// of the mean is too narrow to be believed.
	MinOrderings = 10
	// resamples of the bootstrap.
	resamples = 10_000
)

// judge returns the verdict on a row with a baseline.
func judge(r *Row, seed uint64) Verdict {
	differences := r.Paired
	if len(differences) == 0 {
		differences = []Difference{differ(r.outcome(), r.Base.outcome())}
	}
	v := rest(differences, OnFailures, seed)
	if slices.ContainsFunc(differences, func(d Difference) bool { return d.Failures != 0 }) {
		return v
	}
	v = rest(differences, OnMemory, seed)
	if r.Base.Result.Growing || v.Word == Helps || v.Word == Harms {
		return v
	}
	largest := rest(differences, OnLargest, seed)
	if largest.Word == NoEffect || largest.Word == Undecided && v.Word == Undecided {
		return v
	}
	return largest
}

// rest returns the verdict that rests on one of the outcomes.
func rest(differences []Difference, on On, seed uint64) Verdict {
	values := make([]float64, len(differences))
	v := Verdict{On: on, Orderings: len(differences)}
	v.TooFew = v.Orderings < MinOrderings
	sign, material := 1.0, 0.0
	for i, d := range differences {
		base := d.Base.Failures
		switch values[i] = d.Failures; on {
		case OnMemory:
			values[i], base, material = d.Memory, d.Base.Memory, Material
		case OnLargest:
			values[i], base, sign, material = d.fragmented(), d.Base.Largest, -1, MaterialLargest
		}
		v.Base += base / float64(len(differences))
	}
	v.Mean, v.Low, v.High = interval(values, seed)
	low, high := sign*v.Low, sign*v.High
	v.Word = word(sign*v.Mean, min(low, high), max(low, high), material*v.Base)
	return v
}

// word reads a verdict off an interval of a difference, less being better.
func word(mean, low, high, material float64) Word {
	switch {
	case high < 0 && -mean >= material:
		return Helps
	case low > 0 && mean >= material:
		return Harms
	case low >= -material && high <= material:
		return NoEffect
	}
	return Undecided
}

// interval returns the mean of the values and its 95 % interval by the
// percentile bootstrap.
func interval(values []float64, seed uint64) (mean, low, high float64) {
	mean = stat.Mean(values, nil)
	if len(values) == 1 {
		return mean, mean, mean
	}
	draw := rand.New(rand.NewPCG(seed, 0x62_6f_6f_74))
	means := make([]float64, resamples)
	sample := make([]float64, len(values))
	for i := range means {
		for k := range sample {
			sample[k] = values[draw.IntN(len(values))]
		}
		means[i] = stat.Mean(sample, nil)
	}
	slices.Sort(means)
	return mean, stat.Quantile(0.025, stat.Empirical, means, nil), stat.Quantile(0.975, stat.Empirical, means, nil)
}

package gen

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind says what the value of a parameter looks like.
type Kind uint8

// The kinds of parameters.
const (
	Count    Kind = iota // a whole number, "1000", or with k, M, G for powers of a thousand: "200k"
	Bytes                // "4096" or "4KiB"
	Word                 // one of Param.Enum
	Words                // some of Param.Enum joined by +
	Fraction             // "0.25" or "1/4", from 0 to 1
	Duration             // "1.5s", "200ms", "14h"
)

// String returns what a value of the kind looks like, for help.
func (k Kind) String() string {
	return [...]string{"number", "bytes", "word", "word+...", "fraction", "duration"}[k]
}

// Param is one parameter of a workload.
type Param struct {
	Key      string
	Kind     Kind
	Default  string
	Enum     []string // of Word and Words
	Min, Max uint64   // of Count and Bytes, and of Duration in nanoseconds, both allowed
	Doc      string   // one line, with the unit
}

// values are the parameters of one trace by key. Its getters panic on a key
// that is not declared, which is a bug.
type values map[string]value

type value struct {
	number uint64
	frac   float64
	words  []string
}

func (v values) get(key string) value {
	x, ok := v[key]
	if !ok {
		panic("gen: undeclared parameter " + key)
	}
	return x
}

// number returns a Count, or Bytes.
func (v values) number(key string) uint64 { return v.get(key).number }

// int returns a Count that fits an int.
func (v values) int(key string) int { return int(v.get(key).number) }

// nanoseconds returns a Duration.
func (v values) nanoseconds(key string) int64 { return int64(v.get(key).number) }

// frac returns a Fraction.
func (v values) frac(key string) float64 { return v.get(key).frac }

// word returns a Word.
func (v values) word(key string) string { return v.get(key).words[0] }

// words returns Words.
func (v values) words(key string) []string { return v.get(key).words }

// read sets what the text key=value[,key=value...] says.
func (v values) read(workload string, params []Param, text string) error {
	given := map[string]bool{}
	for arg := range strings.SplitSeq(text, ",") {
		key, val, ok := strings.Cut(arg, "=")
		switch {
		case !ok || val == "":
			return fmt.Errorf("%q is not key=value", arg)
		case given[key]:
			return fmt.Errorf("%s is given twice", key)
		}
		given[key] = true
		i := slices.IndexFunc(params, func(p Param) bool { return p.Key == key })
		if i < 0 {
			known := make([]string, len(params))
			for i := range params {
				known[i] = params[i].Key
			}
			return &UnknownParamError{Workload: workload, Key: key, Known: known}
		}
		if err := v.set(&params[i], val); err != nil {
			return fmt.Errorf("%s=%s: %w", key, val, err)
		}
	}
	return nil
}

// set reads the value of one parameter.
func (v values) set(p *Param, text string) (err error) {
	var x value
	switch p.Kind {
	case Count:
		x.number, err = parseCount(text)
	case Bytes:
		x.number, err = parseBytes(text)
	case Fraction:
		x.frac, err = parseFraction(text)
	case Duration:
		var d time.Duration
		if d, err = time.ParseDuration(text); err != nil || d < 0 {
			err = errors.New("want a time such as 1.5s or 200ms")
		}
		x.number = uint64(d)
	case Word:
		x.words = []string{text}
		if !slices.Contains(p.Enum, text) {
			err = fmt.Errorf("want one of %s", strings.Join(p.Enum, ", "))
		}
	case Words:
		x.words = strings.Split(text, "+")
		for _, w := range x.words {
			if !slices.Contains(p.Enum, w) {
				err = fmt.Errorf("%q is none of %s", w, strings.Join(p.Enum, ", "))
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if k := p.Kind; k == Count || k == Bytes || k == Duration {
		if x.number < p.Min || x.number > p.Max {
			if k == Duration {
				return fmt.Errorf("want %v to %v", time.Duration(p.Min), time.Duration(p.Max))
			}
			return fmt.Errorf("want %d to %d", p.Min, p.Max)
		}
	}
	v[p.Key] = x
	return nil
}

// parseCount reads a whole number, with k, M or G for powers of a thousand.
func parseCount(text string) (uint64, error) {
	digits, unit := text, uint64(1)
	for suffix, u := range map[string]uint64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if cut, ok := strings.CutSuffix(text, suffix); ok {
			digits, unit = cut, u
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, errors.New("want a whole number, as in 5000, 200k or 100M")
	}
	if n > math.MaxUint64/unit {
		return 0, errors.New("is too large")
	}
	return n * unit, nil
}

// parseBytes reads bytes, with KiB, MiB or GiB.
func parseBytes(text string) (uint64, error) {
	digits, shift := strings.TrimSuffix(text, "B"), 0
	for suffix, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if cut, ok := strings.CutSuffix(text, suffix); ok {
			digits, shift = cut, bits
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, errors.New("want bytes, as in 4096 or 4KiB")
	}
	if n > math.MaxUint64>>shift {
		return 0, errors.New("is too large")
	}
	return n << shift, nil
}

// parseFraction reads a number from 0 to 1, or a quotient of two numbers.
func parseFraction(text string) (float64, error) {
	num, den, quotient := strings.Cut(text, "/")
	f, err := strconv.ParseFloat(num, 64)
	if quotient && err == nil {
		var d float64
		d, err = strconv.ParseFloat(den, 64)
		f /= d
	}
	if err != nil || !(f >= 0 && f <= 1) { // NaN fails both
		return 0, errors.New("want a fraction from 0 to 1, as in 0.25 or 1/4")
	}
	return f, nil
}

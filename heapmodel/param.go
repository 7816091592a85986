package heapmodel

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ParamKind says what the value of a parameter looks like.
type ParamKind uint8

// The kinds of parameters.
const (
	ParamBytes   ParamKind = iota // "64KiB", "65536", "0x10000"
	ParamInt                      // a whole number
	ParamEnum                     // one of Param.Enum
	ParamBool                     // "true" or "false"
	ParamVersion                  // "10.4.6": compared part by part
	ParamRegions                  // "24576@0+40960@32768": SIZE@ADDR joined by +, ascending
	ParamText                     // anything without a comma
	ParamSpecs                    // specs of other heaps in brackets: "[tlsf:capacity=8KiB]+[ideal]"
)

// String returns what a value of the kind looks like, for help.
func (k ParamKind) String() string {
	return [...]string{"bytes", "number", "word", "true|false", "version", "SIZE@ADDR+...", "text", "[SPEC]+..."}[k]
}

// Param is one parameter of a model.
type Param struct {
	Key     string
	Kind    ParamKind
	Default string   // value if the spec has none; "" means unset
	Enum    []string // the values of a ParamEnum, the default included
	Doc     string   // one line, with the unit
}

// Region is a part of the address space given to a heap: bytes [Addr, Addr+Size).
type Region struct {
	Addr Addr
	Size uint64
}

// Config is the values of a model's parameters as Model.New gets them. Its
// getters panic on a key the model does not declare, which is a bug.
type Config struct{ values map[string]value }

type value struct {
	set     bool
	text    string
	number  uint64
	version [3]int
	regions []Region
	specs   []*Spec
}

func (c Config) get(key string) value {
	v, ok := c.values[key]
	if !ok {
		panic("heapmodel: undeclared parameter " + key)
	}
	return v
}

// Set reports whether the parameter has a value, given or by default.
func (c Config) Set(key string) bool { return c.get(key).set }

// Bytes returns a ParamBytes, zero if unset.
func (c Config) Bytes(key string) uint64 { return c.get(key).number }

// Int returns a ParamInt, zero if unset.
func (c Config) Int(key string) int { return int(c.get(key).number) }

// Bool returns a ParamBool, false if unset.
func (c Config) Bool(key string) bool { return c.get(key).number != 0 }

// Text returns the text of any parameter, "" if unset.
func (c Config) Text(key string) string { return c.get(key).text }

// Before reports whether a ParamVersion is lower than major.minor.patch.
func (c Config) Before(key string, major, minor, patch int) bool {
	v := c.get(key).version
	return slices.Compare(v[:], []int{major, minor, patch}) < 0
}

// Regions returns a ParamRegions in ascending order, nil if unset.
func (c Config) Regions(key string) []Region { return c.get(key).regions }

// Specs returns a ParamSpecs in its order, nil if unset.
func (c Config) Specs(key string) []*Spec { return c.get(key).specs }

func (p *Param) parse(models []*Model, text string) (v value, err error) {
	v.text = text
	switch p.Kind {
	case ParamBytes:
		v.number, err = ParseBytes(text)
	case ParamInt:
		v.number, err = strconv.ParseUint(text, 10, 31)
		if err != nil {
			err = errors.New("want a whole number below 2^31")
		}
	case ParamEnum:
		if !slices.Contains(p.Enum, text) {
			err = fmt.Errorf("want one of %s", strings.Join(p.Enum, ", "))
		}
	case ParamBool:
		switch text {
		case "true":
			v.number = 1
		case "false":
		default:
			err = errors.New("want true or false")
		}
	case ParamVersion:
		v.version, err = parseVersion(text)
	case ParamRegions:
		v.regions, err = parseRegions(text)
	case ParamSpecs:
		v.specs, err = parseSpecs(models, text)
	}
	return v, err
}

// parseSpecs reads [SPEC]+[SPEC]...
func parseSpecs(models []*Model, text string) ([]*Spec, error) {
	parts, err := SplitOutside(text, '+')
	if err != nil {
		return nil, err
	}
	specs := make([]*Spec, len(parts))
	for i, part := range parts {
		inner, open := strings.CutPrefix(part, "[")
		inner, closed := strings.CutSuffix(inner, "]")
		if !open || !closed {
			return nil, errors.New("want specs in brackets joined by +, as in [tlsf:capacity=8KiB]+[ideal]")
		}
		if specs[i], err = ParseSpec(models, inner); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// SplitOutside cuts the text at every sep that is not inside brackets, as specs
// and the like do.
func SplitOutside(text string, sep byte) ([]string, error) {
	var parts []string
	depth, start := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '[':
			depth++
		case ']':
			if depth--; depth < 0 {
				return nil, fmt.Errorf("%q has a ] without its [", text)
			}
		case sep:
			if depth == 0 {
				parts = append(parts, text[start:i])
				start = i + 1
			}
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("%q has a [ without its ]", text)
	}
	return append(parts, text[start:]), nil
}

func parseVersion(text string) (v [3]int, err error) {
	parts := strings.Split(text, ".")
	if len(parts) > 3 {
		return v, errors.New("want a version such as 10.4.6")
	}
	for i, p := range parts {
		if v[i], err = strconv.Atoi(p); err != nil || v[i] < 0 {
			return v, errors.New("want a version such as 10.4.6")
		}
	}
	return v, nil
}

func parseRegions(text string) ([]Region, error) {
	var out []Region
	var end uint64
	for part := range strings.SplitSeq(text, "+") {
		size, addr, ok := strings.Cut(part, "@")
		if !ok {
			return nil, errors.New("want SIZE@ADDR joined by +")
		}
		s, err := ParseBytes(size)
		if err != nil {
			return nil, err
		}
		a, err := ParseBytes(addr)
		if err != nil {
			return nil, err
		}
		if s == 0 || a < end || a+s < a {
			return nil, errors.New("regions must be non-empty, ascending and apart")
		}
		end = a + s
		out = append(out, Region{Addr: Addr(a), Size: s})
	}
	return out, nil
}

// FormatBytes writes a number of bytes as ParseBytes reads it, with the largest
// suffix that divides it: "64KiB", "65537".
func FormatBytes(n uint64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i+1 < len(units) {
		n, i = n/1024, i+1
	}
	return strconv.FormatUint(n, 10) + units[i]
}

// ParseBytes reads a number of bytes: decimal, 0x hexadecimal, or with one of
// the suffixes B, KiB, MiB, GiB. K, KB, MB and the like are refused, since
// people mean two different things by them.
func ParseBytes(text string) (uint64, error) {
	num, shift := strings.TrimSpace(text), 0
	for suffix, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40} {
		if cut, ok := strings.CutSuffix(num, suffix); ok {
			num, shift = strings.TrimSpace(cut), bits
			break
		}
	}
	if shift == 0 && !strings.HasPrefix(num, "0x") {
		num = strings.TrimSpace(strings.TrimSuffix(num, "B"))
	}
	n, err := strconv.ParseUint(num, 0, 64)
	if octal := len(num) > 1 && num[0] == '0' && num[1] != 'x'; err != nil || octal || strings.Contains(num, "_") {
		if strings.TrimRight(text, "kKmMgGtTbB ") != text {
			return 0, fmt.Errorf("size %q: write KiB, MiB or GiB (powers of 1024), or plain bytes", text)
		}
		return 0, fmt.Errorf("size %q: want bytes, as in 65536, 0x10000 or 64KiB", text)
	}
	if n > math.MaxUint64>>shift {
		return 0, fmt.Errorf("size %q is too large", text)
	}
	return n << shift, nil
}

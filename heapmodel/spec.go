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

// Spec is a model with values for some of its parameters, as the string
// NAME[:key=value,...] names it. Use ParseSpec to make one.
type Spec struct {
	Model  *Model
	models []*Model          // the catalog it was read against, for specs inside it
	text   map[string]string // as given; every key is a parameter of the model
}

// UnknownModelError is returned for a name that is not in the catalog.
type UnknownModelError struct {
	Name  string
	Known []string
}

func (e *UnknownModelError) Error() string { return fmt.Sprintf("unknown model %q", e.Name) }

// UnknownParamError is returned for a key that the model does not have.
type UnknownParamError struct {
	Model, Key string
	Known      []string
}

func (e *UnknownParamError) Error() string {
	return fmt.Sprintf("model %s has no parameter %q", e.Model, e.Key)
}

// ParseSpec reads NAME[:key=value,...] against the models of a catalog. A value
// of ParamSpecs holds further specs in brackets, which may hold further ones.
// Errors are an *UnknownModelError, an *UnknownParamError, or name the value at
// fault.
func ParseSpec(models []*Model, text string) (*Spec, error) {
	name, rest, hasArgs := strings.Cut(text, ":")
	if name == "" {
		return nil, fmt.Errorf("spec %q names no model", text)
	}
	i := slices.IndexFunc(models, func(m *Model) bool { return m.Name == name })
	if i < 0 {
		known := make([]string, len(models))
		for i, m := range models {
			known[i] = m.Name
		}
		return nil, &UnknownModelError{Name: name, Known: known}
	}
	s := &Spec{Model: models[i], models: models, text: map[string]string{}}
	if !hasArgs {
		return s, nil
	}
	args, err := SplitOutside(rest, ',')
	if err != nil {
		return nil, fmt.Errorf("spec %q: %w", text, err)
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || value == "" {
			return nil, fmt.Errorf("spec %q: %q is not key=value", text, arg)
		}
		if _, twice := s.text[key]; twice {
			return nil, fmt.Errorf("spec %q: %s is given twice", text, key)
		}
		if err := s.set(key, value); err != nil {
			return nil, fmt.Errorf("spec %q: %w", text, err)
		}
	}
	return s, nil
}

func (s *Spec) set(key, value string) error {
	p := s.Model.param(key)
	if p == nil {
		known := make([]string, len(s.Model.Params))
		for i := range s.Model.Params {
			known[i] = s.Model.Params[i].Key
		}
		return &UnknownParamError{Model: s.Model.Name, Key: key, Known: known}
	}
	if _, err := p.parse(s.models, value); err != nil {
		return fmt.Errorf("%s=%s: %w", key, value, err)
	}
	s.text[key] = value
	return nil
}

// Has reports whether the model has the parameter.
func (s *Spec) Has(key string) bool { return s.Model.param(key) != nil }

// Default returns the default of a parameter, "" if it has none or the model has
// no such parameter.
func (s *Spec) Default(key string) string {
	if p := s.Model.param(key); p != nil {
		return p.Default
	}
	return ""
}

// Given reports whether the spec sets the parameter.
func (s *Spec) Given(key string) bool { _, ok := s.text[key]; return ok }

// Grows reports whether a heap of the spec can obtain memory after the start:
// its model can, and a limit or a quantum of growth is set, or there is none
// to set and no capacity given. A model with specs inside grows if one of them does.
func (s *Spec) Grows() bool {
	if s.Model.Caps&CapGrow == 0 {
		return false
	}
	if inner := s.Inside(); len(inner) > 0 && slices.ContainsFunc(inner, (*Spec).Grows) {
		return true
	}
	switch grow, quantum := s.Model.param("grow"), s.Model.param("quantum"); {
	case grow == nil && quantum == nil:
		return !s.Model.composed() && !s.Given("capacity")
	case grow != nil && (s.Given("grow") || grow.Default != "" && quantum == nil):
		return true
	default:
		return quantum != nil && (s.Given("quantum") || quantum.Default != "")
	}
}

// GrowLimit returns the bytes up to which a growing heap of the spec may grow:
// its parameter grow, or MaxSize if that is not set. For a model with specs
// inside and no such parameter it is the largest limit of those that grow.
func (s *Spec) GrowLimit() uint64 {
	p := s.Model.param("grow")
	if p == nil && s.Model.composed() {
		most := uint64(0)
		for _, inner := range s.Inside() {
			if inner.Grows() {
				most = max(most, inner.GrowLimit())
			}
		}
		return most
	}
	if p == nil {
		return MaxSize
	}
	text := p.Default
	if t, ok := s.text["grow"]; ok {
		text = t
	}
	if v, err := p.parse(s.models, text); err == nil && text != "" {
		return v.number
	}
	return MaxSize
}

// Inside returns the specs inside all parameters of the spec, in their order.
func (s *Spec) Inside() (specs []*Spec) {
	for i := range s.Model.Params {
		specs = append(specs, s.Specs(s.Model.Params[i].Key)...)
	}
	return specs
}

// Specs returns the specs inside the spec's parameter of that key, given or by
// default; nil if it has none.
func (s *Spec) Specs(key string) []*Spec {
	p := s.Model.param(key)
	if p == nil || p.Kind != ParamSpecs {
		return nil
	}
	text := p.Default
	if t, ok := s.text[key]; ok {
		text = t
	}
	if text == "" {
		return nil
	}
	v, err := p.parse(s.models, text)
	if err != nil {
		return nil
	}
	return v.specs
}

// Regions returns the pieces of address space that the spec's parameter regions
// names, nil if it names none.
func (s *Spec) Regions() []Region {
	p, text := s.Model.param("regions"), s.text["regions"]
	if p == nil || p.Kind != ParamRegions || text == "" {
		return nil
	}
	v, err := p.parse(s.models, text)
	if err != nil {
		return nil
	}
	return v.regions
}

// With returns a copy of the spec with one parameter set to a value.
func (s *Spec) With(key, value string) (*Spec, error) {
	c := &Spec{Model: s.Model, models: s.models, text: make(map[string]string, len(s.text)+1)}
	for k, v := range s.text {
		c.text[k] = v
	}
	return c, c.set(key, value)
}

// WithSpecs returns a copy of the spec with other specs inside the parameter of
// that key.
func (s *Spec) WithSpecs(key string, specs []*Spec) (*Spec, error) {
	texts := make([]string, len(specs))
	for i, inner := range specs {
		texts[i] = "[" + inner.String() + "]"
	}
	return s.With(key, strings.Join(texts, "+"))
}

// Without returns a copy of the spec with the parameters of those keys unset.
func (s *Spec) Without(keys ...string) *Spec {
	c := &Spec{Model: s.Model, models: s.models, text: make(map[string]string, len(s.text))}
	for k, v := range s.text {
		if !slices.Contains(keys, k) {
			c.text[k] = v
		}
	}
	return c
}

// String returns the spec with its parameters in the model's order, as
// ParseSpec reads it.
func (s *Spec) String() string {
	var b strings.Builder
	b.WriteString(s.Model.Name)
	sep := byte(':')
	for i := range s.Model.Params {
		if v, ok := s.text[s.Model.Params[i].Key]; ok {
			b.WriteByte(sep)
			b.WriteString(s.Model.Params[i].Key + "=" + v)
			sep = ','
		}
	}
	return b.String()
}

// New makes an empty heap of the spec.
func (s *Spec) New() (Heap, error) {
	c, err := s.Config()
	if err != nil {
		return nil, err
	}
	h, err := s.Model.New(c)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", s, err)
	}
	return h, nil
}

// Config returns the values of the spec's parameters, given or by default.
func (s *Spec) Config() (Config, error) {
	c := Config{values: make(map[string]value, len(s.Model.Params))}
	for i := range s.Model.Params {
		p := &s.Model.Params[i]
		text, given := s.text[p.Key]
		if !given {
			text = p.Default
		}
		v := value{}
		if text != "" {
			var err error
			if v, err = p.parse(s.models, text); err != nil {
				return c, fmt.Errorf("model %s: %s=%s: %w", s.Model.Name, p.Key, text, err)
			}
			v.set = true
		}
		c.values[p.Key] = v
	}
	return c, nil
}

func (m *Model) param(key string) *Param {
	for i := range m.Params {
		if m.Params[i].Key == key {
			return &m.Params[i]
		}
	}
	return nil
}

// composed reports whether specs can stand inside those of the model.
func (m *Model) composed() bool {
	return slices.ContainsFunc(m.Params, func(p Param) bool { return p.Kind == ParamSpecs })
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

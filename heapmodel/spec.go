package heapmodel

import (
	"fmt"
	"slices"
	"strings"
)

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

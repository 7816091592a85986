package formats

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/fragprof/fragprof/trace"
)

// freertosPattern finds a call of a FreeRTOS hook.
const freertosPattern = `trace(?P<op>MALLOC|FREE): (?P<ptr>0x[0-9A-Fa-f]+) \[(?P<size>-?\d+)\]`

// regexPresets are descriptions of logs that are common enough to have a name.
var regexPresets = []struct {
	name, doc string
	regex     Regex
}{
	{
		"freertos", "FreeRTOS hooks that print traceMALLOC: 0xADDR [SIZE], with or without [TICK] TASK in front; ticks of 1 ms",
		Regex{
			// The first is the common case, and several times as fast as the second.
			Patterns: []Pattern{
				{Expr: `^\[(?P<time>\d+)\] (?P<thread>\S+) ` + freertosPattern},
				{Expr: `\[(?P<time>\d+)\] (?P<thread>[^\[\]]+) ` + freertosPattern},
				{Expr: freertosPattern},
			},
			Ops:      map[string]string{"MALLOC": "alloc", "FREE": "free"},
			TimeUnit: "1ms",
			Sizes:    trace.SizesBlock,
		},
	},
	{
		"mbed", "default callback of Mbed OS memory tracing: #m:0xADDR;0xCALLER-SIZE and the like",
		Regex{Patterns: []Pattern{
			{Op: "alloc", Expr: `#m:(?P<ptr>(?:0x)?[0-9A-Fa-f]+);(?P<site>(?:0x)?[0-9A-Fa-f]+)-(?P<size>\d+)`},
			{Op: "alloc", Expr: `#c:(?P<ptr>(?:0x)?[0-9A-Fa-f]+);(?P<site>(?:0x)?[0-9A-Fa-f]+)-(?P<count>\d+);(?P<size>\d+)`},
			{Op: "realloc", Expr: `#r:(?P<ptr>(?:0x)?[0-9A-Fa-f]+);(?P<site>(?:0x)?[0-9A-Fa-f]+)-(?P<old>(?:0x)?[0-9A-Fa-f]+);(?P<size>\d+)`},
			{Op: "free", Expr: `#f:(?:0x)?0+;(?P<site>(?:0x)?[0-9A-Fa-f]+)-(?P<ptr>(?:0x)?[0-9A-Fa-f]+)`},
		}},
	},
	{
		"nuttx", "NuttX heap notes as text: SEC.NS: ... malloc: heap: 0xHEAP size:N, address: 0xADDR",
		Regex{
			Patterns: []Pattern{{Expr: `(?P<time>\d+\.\d+): tracing_mark_write: C\|(?P<thread>\d+)\|.*\|(?P<op>malloc|free): heap: \S+ size:(?P<size>\d+), address: (?P<ptr>0x[0-9A-Fa-f]+)`}},
			TimeUnit: "s",
			Sizes:    trace.SizesBlock,
		},
	},
}

// RegexPresets returns the names of the built-in descriptions and, for each, a
// line on what it reads.
func RegexPresets() (names, docs []string) {
	for i := range regexPresets {
		names = append(names, regexPresets[i].name)
		docs = append(docs, regexPresets[i].doc)
	}
	return names, docs
}

// UnknownPresetError is returned when no preset of that name exists.
type UnknownPresetError struct {
	Name  string
	Known []string
}

func (e *UnknownPresetError) Error() string {
	return fmt.Sprintf("unknown preset %q: want one of %s", e.Name, strings.Join(e.Known, ", "))
}

// RegexPreset returns a built-in description, which the caller may change, or
// an *UnknownPresetError.
func RegexPreset(name string) (*Regex, error) {
	for i := range regexPresets {
		if p := &regexPresets[i]; p.name == name {
			x := p.regex
			x.Patterns, x.Ops = slices.Clone(x.Patterns), maps.Clone(x.Ops)
			return &x, nil
		}
	}
	known, _ := RegexPresets()
	return nil, &UnknownPresetError{Name: name, Known: known}
}

// AddPattern adds a pattern: an expression, or OP=EXPRESSION where OP is alloc,
// free or realloc and says what all lines are that match.
func (x *Regex) AddPattern(spec string) error {
	p := Pattern{Expr: spec}
	if op, expr, ok := strings.Cut(spec, "="); ok && regexOps[op] != regexUnknown && regexOps[op] != regexIgnore {
		p = Pattern{Op: op, Expr: expr}
	}
	if _, err := p.compile(); err != nil {
		return fmt.Errorf("pattern %q: %w", spec, err)
	}
	x.Patterns = append(x.Patterns, p)
	return nil
}

// AddOps adds words to Ops from OP=WORD|WORD..., where OP is alloc, free,
// realloc or ignore. A word cannot mean two things.
func (x *Regex) AddOps(spec string) error {
	op, words, ok := strings.Cut(spec, "=")
	if !ok {
		return fmt.Errorf("words %q: want OP=WORD|WORD, such as alloc=get_mem|grab", spec)
	}
	return x.addOps(op, strings.Split(words, "|"))
}

func (x *Regex) addOps(op string, words []string) error {
	if regexOps[op] == regexUnknown {
		return fmt.Errorf("operation %q: want alloc, free, realloc or ignore", op)
	}
	for _, w := range words {
		if w == "" {
			return fmt.Errorf("an empty word for %s", op)
		}
		w = strings.ToLower(w)
		for was, meaning := range x.Ops {
			if strings.ToLower(was) == w && meaning != op {
				return fmt.Errorf("word %q means both %s and %s", w, meaning, op)
			}
		}
		if x.Ops == nil {
			x.Ops = map[string]string{}
		}
		x.Ops[w] = op
	}
	return nil
}

// maxRegexFile bounds a description in bytes.
const maxRegexFile = 1 << 20

// regexFile is the YAML form of a Regex.
type regexFile struct {
	Preset   string               `yaml:"preset"`
	Patterns []patternNode        `yaml:"patterns"`
	Ops      map[string]wordsNode `yaml:"ops"`
	Time     textNode             `yaml:"time"`
	Sizes    textNode             `yaml:"sizes"`
	Ptr      int                  `yaml:"ptr"`
}

// textNode is a text and the line it stands on.
type textNode struct {
	text string
	line int
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (n *textNode) UnmarshalYAML(node ast.Node) error {
	n.line = node.GetToken().Position.Line
	return yaml.NodeToValue(node, &n.text, yaml.Strict())
}

// patternNode is a pattern: an expression alone, or a map of regex and op.
type patternNode struct {
	Pattern
	line int
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (n *patternNode) UnmarshalYAML(node ast.Node) error {
	n.line = node.GetToken().Position.Line
	switch node.Type() {
	case ast.MappingType, ast.MappingValueType:
		var m struct {
			Regex string `yaml:"regex"`
			Op    string `yaml:"op"`
		}
		if err := yaml.NodeToValue(node, &m, yaml.Strict()); err != nil {
			return err
		}
		n.Pattern = Pattern{Expr: m.Regex, Op: m.Op}
		return nil
	}
	return yaml.NodeToValue(node, &n.Expr, yaml.Strict())
}

// wordsNode is a list of words, or words with | between them.
type wordsNode struct {
	words []string
	line  int
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (n *wordsNode) UnmarshalYAML(node ast.Node) error {
	n.line = node.GetToken().Position.Line
	if node.Type() == ast.SequenceType {
		return yaml.NodeToValue(node, &n.words, yaml.Strict())
	}
	var s string
	if err := yaml.NodeToValue(node, &s, yaml.Strict()); err != nil {
		return err
	}
	n.words = strings.Split(s, "|")
	return nil
}

// ReadRegex reads a description in YAML, for example
//
//	patterns:
//	  - '\[(?P<time>\d+)\] (?P<op>get|put) (?P<ptr>0x\w+)(?: (?P<size>\d+))?'
//	  - regex: 'moved (?P<old>0x\w+) to (?P<ptr>0x\w+), now (?P<size>\d+)'
//	    op: realloc
//	ops:
//	  alloc: get|grab
//	  free: [put, drop]
//	time: ms          # or ns, us, s, 10ms (a tick)
//	sizes: requested  # or block
//	ptr: 32
//
// or "preset: freertos" in place of, or before, the rest. Errors are a
// *trace.SyntaxError with the file's name and line; unknown keys are errors.
func ReadRegex(r io.Reader, name string) (*Regex, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxRegexFile+1))
	if err != nil {
		return nil, &trace.SyntaxError{File: name, Err: err}
	}
	if len(text) > maxRegexFile {
		return nil, &trace.SyntaxError{File: name, Msg: "is larger than 1 MiB: this is no description of a log"}
	}
	var f regexFile
	if err := yaml.UnmarshalWithOptions(text, &f, yaml.Strict()); err != nil {
		return nil, yamlError(err, name)
	}
	x := &Regex{}
	fail := func(line int, err error) (*Regex, error) {
		return nil, &trace.SyntaxError{File: name, Line: uint64(max(line, 0)), Err: err}
	}
	if f.Preset != "" {
		if x, err = RegexPreset(f.Preset); err != nil {
			return fail(0, err)
		}
	}
	for i := range f.Patterns {
		p := &f.Patterns[i]
		if _, err := p.compile(); err != nil {
			return fail(p.line, err)
		}
		x.Patterns = append(x.Patterns, p.Pattern)
	}
	for _, op := range slices.Sorted(maps.Keys(f.Ops)) {
		if err := x.addOps(op, f.Ops[op].words); err != nil {
			return fail(f.Ops[op].line, err)
		}
	}
	if f.Time.text != "" {
		if _, err := parseTimeUnit(f.Time.text); err != nil {
			return fail(f.Time.line, err)
		}
		x.TimeUnit = f.Time.text
	}
	if f.Sizes.text != "" {
		if x.Sizes, err = trace.ParseSizeKind(f.Sizes.text); err != nil {
			return fail(f.Sizes.line, err)
		}
	}
	if f.Ptr != 0 {
		x.PtrBits = f.Ptr
	}
	if err := x.Validate(); err != nil {
		return fail(0, err)
	}
	return x, nil
}

// yamlError gives an error of the YAML decoder the form of the house.
func yamlError(err error, name string) error {
	e := &trace.SyntaxError{File: name, Err: err}
	var y yaml.Error
	if errors.As(err, &y) {
		e.Err, e.Msg = nil, y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			e.Line = uint64(max(t.Position.Line, 0))
		}
	}
	return e
}

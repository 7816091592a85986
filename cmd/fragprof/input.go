package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
	"github.com/fragprof/fragprof/trace/gen"
)

// traceFlags are the flags of every command that reads traces.
type traceFlags struct {
	from    string
	pid     uint64
	sizes   string
	ptr     int
	program string

	patterns []string
	ops      []string
	file     string
	preset   string
	timeUnit string
}

func (f *traceFlags) add(fs *pflag.FlagSet) {
	presets, _ := formats.RegexPresets()
	fs.StringVar(&f.from, "from", "", "format of the input, if its content does not tell (see fragprof formats)")
	fs.Uint64Var(&f.pid, "pid", 0, "process to read from a log of several (default: the one with most events)")
	fs.StringVar(&f.sizes, "sizes", "", "what sizes count, against what the source says: requested or block")
	fs.IntVar(&f.ptr, "ptr", 0, "pointer width of the recorded program, against what the source says: 16, 32 or 64")
	fs.StringVar(&f.program, "program", "", "name of the recorded program, for reports")
	fs.StringArrayVar(&f.patterns, "regex", nil, "read lines by a pattern with named groups op, ptr, size, old, align, count, thread, time, site; repeatable, or OP=PATTERN")
	fs.StringArrayVar(&f.ops, "regex-op", nil, "what words mean that the group op finds: alloc=get_mem|grab; repeatable")
	fs.StringVar(&f.file, "regex-file", "", "YAML file with patterns, ops, time, sizes, ptr")
	fs.StringVar(&f.preset, "regex-preset", "", "a built-in description: "+strings.Join(presets, ", "))
	fs.StringVar(&f.timeUnit, "time-unit", "", "what the group time counts: ns, us, ms, s, or the length of a tick, such as 10ms")
}

func (f *traceFlags) options() (formats.Options, error) {
	o := formats.Options{From: f.from, PID: f.pid, PtrBits: f.ptr, Program: f.program}
	if f.from != "" {
		if _, err := formats.Lookup(f.from); err != nil {
			return o, usageError{err}
		}
	}
	if f.sizes != "" {
		kind, err := trace.ParseSizeKind(f.sizes)
		if err != nil {
			return o, usageError{err}
		}
		o.Sizes = &kind
	}
	switch f.ptr {
	case 0, 16, 32, 64:
	default:
		return o, usagef("--ptr %d: want 16, 32 or 64", f.ptr)
	}
	var err error
	o.Regex, err = f.regex()
	if err != nil {
		return o, usageError{err}
	}
	if f.from == "regex" && o.Regex == nil {
		return o, usagef("--from regex needs --regex, --regex-file or --regex-preset")
	}
	return o, nil
}

// regex returns the description of lines that the flags add up to, nil if
// there is none.
func (f *traceFlags) regex() (x *formats.Regex, err error) {
	switch {
	case f.preset != "" && f.file != "":
		return nil, errors.New("--regex-preset and --regex-file exclude each other")
	case f.preset != "":
		x, err = formats.RegexPreset(f.preset)
	case f.file != "":
		x, err = readRegexFile(f.file)
	case len(f.patterns) > 0:
		x = &formats.Regex{}
	case len(f.ops) > 0 || f.timeUnit != "":
		return nil, errors.New("--regex-op and --time-unit need --regex, --regex-file or --regex-preset")
	}
	if x == nil || err != nil {
		return nil, err
	}
	for _, p := range f.patterns {
		if err := x.AddPattern(p); err != nil {
			return nil, err
		}
	}
	for _, op := range f.ops {
		if err := x.AddOps(op); err != nil {
			return nil, err
		}
	}
	if f.timeUnit != "" {
		x.TimeUnit = f.timeUnit
	}
	return x, x.Validate()
}

func readRegexFile(path string) (x *formats.Regex, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return formats.ReadRegex(f, path)
}

// cacheBytes is how much of a decoded trace is kept in memory between the
// pass that counts and the pass that replays; larger traces are decoded twice.
const cacheBytes = 64 << 20

// load reads a trace, or generates it, so that its counts are known. each is
// called with every block on the way and may be nil.
func (e *env) load(path string, f *traceFlags, each func(*trace.Block)) (trace.Source, error) {
	if strings.HasPrefix(path, gen.Prefix) {
		s, err := f.generator(path)
		if err != nil {
			return nil, err
		}
		step, end := e.progress("generate "+traceName(path), -1)
		defer end()
		return s.Load(cacheBytes, each, step), nil
	}
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	step, end := e.progress("read "+traceName(path), -1)
	src, err := formats.Load(path, e.stdin, o, cacheBytes, each, step)
	end()
	return src, reading(err)
}

// stream starts to read a trace, or to generate it, whose counts are known at its
// end.
func (e *env) stream(path string, f *traceFlags) (trace.Reader, error) {
	if strings.HasPrefix(path, gen.Prefix) {
		s, err := f.generator(path)
		if err != nil {
			return nil, err
		}
		return s.Open()
	}
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	r, err := formats.Open(path, e.stdin, o)
	return r, reading(err)
}

// generator returns the synthetic trace that the text names.
func (f *traceFlags) generator(text string) (*gen.Source, error) {
	s, err := gen.Parse(text)
	if err != nil {
		return nil, usageError{err}
	}
	if f.from != "" || f.pid != 0 || f.sizes != "" || f.ptr != 0 || f.program != "" || len(f.patterns)+len(f.ops) > 0 || f.file != "" || f.preset != "" || f.timeUnit != "" {
		return nil, usagef("%s is generated: flags that say how to read a file do not apply", text)
	}
	return s, nil
}

// fill completes the specs with what follows from the trace. The notes say what
// was filled in, each once.
func fill(specs []*heapmodel.Spec, h *trace.Header) (filled []*heapmodel.Spec, notes []string, err error) {
	filled = make([]*heapmodel.Spec, len(specs))
	for i, s := range specs {
		var more []string
		if filled[i], more, err = replay.Fill(s, h); err != nil {
			return nil, nil, err
		}
		for _, n := range more {
			if !slices.Contains(notes, n) {
				notes = append(notes, n)
			}
		}
	}
	return filled, notes, nil
}

// reading prefixes an error of reading a trace with what was done, unless it
// says so itself.
func reading(err error) error {
	var path *fs.PathError
	if err == nil || errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("read %w", err)
}

// adviseLoss prints what an import dropped or repaired, a line a kind.
func (e *env) adviseLoss(name string, h *trace.Header) {
	for k, count := range h.Loss {
		if count > 0 {
			e.advise("%s: %d %s", name, count, trace.LossKind(k).Doc())
		}
	}
}

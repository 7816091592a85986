package formats

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// presetOptions are the options that read a log by a preset.
func presetOptions(name string) Options {
	x, err := RegexPreset(name)
	if err != nil {
		panic(err)
	}
	return Options{Regex: x}
}

func TestReadRegex(t *testing.T) {
	freertos, err := RegexPreset("freertos")
	if err != nil {
		t.Fatal(err)
	}
	freertos.TimeUnit = "10ms"
	freertos.Ops["grab"] = "alloc"
	tests := []struct {
		name, in string
		want     *Regex
		err      string
	}{
		{
			name: "everything",
			in: `# my heap
patterns:
  - '(?P<time>\d+) (?P<op>\w+) (?P<ptr>0x\w+)(?: (?P<size>\d+))?'
  - regex: 'moved (?P<old>0x\w+) to (?P<ptr>0x\w+), now (?P<size>\d+)'
    op: realloc
ops:
  alloc: get|Grab
  free: [put, drop]
time: ms
sizes: block
ptr: 32
`,
			want: &Regex{
				Patterns: []Pattern{
					{Expr: `(?P<time>\d+) (?P<op>\w+) (?P<ptr>0x\w+)(?: (?P<size>\d+))?`},
					{Expr: `moved (?P<old>0x\w+) to (?P<ptr>0x\w+), now (?P<size>\d+)`, Op: "realloc"},
				},
				Ops:      map[string]string{"get": "alloc", "grab": "alloc", "put": "free", "drop": "free"},
				TimeUnit: "ms", Sizes: trace.SizesBlock, PtrBits: 32,
			},
		},
		{name: "preset", in: "preset: freertos\ntime: 10ms\nops:\n  alloc: grab\n", want: freertos},
		{name: "unknown key", in: "preset: freertos\nsize: block\n", err: "log.yaml:2: unknown field"},
		{name: "unknown key of a pattern", in: "patterns:\n  - regex: x\n    opp: free\n", err: "log.yaml:3: unknown field"},
		{name: "bad YAML", in: "patterns: [\n", err: "log.yaml:1: "},
		{name: "bad expression", in: "patterns:\n  - '(?P<op>\\w+) (?P<ptr>\\w+) (?P<size>\\w+)'\n  - '(?P<ptr>'\n", err: "log.yaml:3: error parsing regexp"},
		{name: "bad group", in: "patterns:\n  - regex: '(?P<pointer>x)'\n", err: "log.yaml:2: unknown group"},
		{name: "bad operation", in: "preset: mbed\nops:\n  take: x\n", err: `log.yaml:3: operation "take"`},
		{name: "word with two meanings", in: "preset: freertos\nops:\n  alloc: FREE\n", err: `log.yaml:3: word "free" means both`},
		{name: "bad unit", in: "preset: freertos\n\ntime: parsecs\n", err: "log.yaml:3: time unit"},
		{name: "bad sizes", in: "preset: freertos\nsizes: big\n", err: "log.yaml:2: size kind"},
		{name: "sizes are a list", in: "preset: freertos\nsizes: [1]\n", err: "log.yaml:2: "},
		{name: "bad pointers", in: "preset: freertos\nptr: 8\n", err: "log.yaml: pointers of 8 bits"},
		{name: "unknown preset", in: "preset: zephyr\n", err: "want one of freertos, mbed"},
		{name: "empty", in: "", err: "needs a pattern"},
		{name: "huge", in: strings.Repeat("#", maxRegexFile+1), err: "larger than 1 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadRegex(strings.NewReader(tt.in), "log.yaml")
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				if e := new(trace.SyntaxError); !errors.As(err, &e) {
					t.Errorf("error %T, want a SyntaxError", err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestRegexPresets(t *testing.T) {
	names, docs := RegexPresets()
	if len(names) == 0 || len(names) != len(docs) {
		t.Fatalf("%d names, %d docs", len(names), len(docs))
	}
	for _, name := range names {
		x, err := RegexPreset(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range x.Patterns {
			if requiredLiterals(x.Patterns[i].Expr) == nil {
				t.Errorf("%s: pattern %d has no literal to look for", name, i+1)
			}
		}
		// What the caller changes is its own.
		x.Patterns[0].Expr = "changed"
		if x.Ops != nil {
			x.Ops["changed"] = "free"
		}
		if y, _ := RegexPreset(name); y.Patterns[0].Expr == "changed" || y.Ops["changed"] != "" {
			t.Errorf("%s: a change reached the table", name)
		}
	}
	var unknown *UnknownPresetError
	if _, err := RegexPreset("zephyr"); !errors.As(err, &unknown) || unknown.Name != "zephyr" {
		t.Errorf("error %v, want an UnknownPresetError", err)
	}
}

func TestRegexPresetLogs(t *testing.T) {
	tests := []struct{ preset, in, want string }{
		{"mbed", "boot #m:0x20003240;0x600d-50\n#c:20003280;0x600d-3;7\n#r:0x20003300;0x600d-0x20003240;60\nnoise#f:0x0;0x602f-0x20003300\n#m:0x0;0x1-9\n", "a 0 50\na 1 21\nr 0 60\nf 0\n"},
		{
			"nuttx", "init-1 [0] 0.000000000: tracing_mark_write: C|1|Heap Usage|0|malloc: heap: 0x20000000 size:504, address: 0x20001000\n" +
				"init-1 [0] 1.500000000: tracing_mark_write: C|1|Heap Usage|0|free: heap: 0x20000000 size:504, address: 0x20001000\n",
			"a 0 504\nf 0\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.preset, func(t *testing.T) {
			x, err := RegexPreset(tt.preset)
			if err != nil {
				t.Fatal(err)
			}
			got, h, err := readText(strings.NewReader(tt.in), Options{Regex: x})
			if err != nil || got != tt.want || h.Loss[trace.LossUnparsedLines] != 0 {
				t.Errorf("got %q, %v, lost %q, want %q", got, err, lossText(h.Loss), tt.want)
			}
		})
	}
}

func TestOverride(t *testing.T) {
	block, requested := trace.SizesBlock, trace.SizesRequested
	tests := []struct {
		name, in string
		o        Options
		sizes    trace.SizeKind
		bits     int
		program  string
		err      string
	}{
		{name: "as the source says", in: "#: program=old ptr=32 sizes=block\na 0 1\n", sizes: block, bits: 32, program: "old"},
		{name: "program alone", in: "#: program=old ptr=32 sizes=block\na 0 1\n", o: Options{Program: "new one"}, sizes: block, bits: 32, program: "new one"},
		{name: "against the source", in: "#: ptr=32 sizes=block\na 0 1\n", o: Options{Sizes: &requested, PtrBits: 64}, sizes: requested, bits: 64},
		{name: "sizes alone", in: "traceMALLOC: 0x20001000 [8]\n", o: Options{Sizes: &requested}, sizes: requested, bits: 32},
		{name: "against what addresses tell", in: "traceMALLOC: 0x20001000 [8]\n", o: Options{PtrBits: 16}, sizes: block, bits: 16},
		{name: "bad pointers", in: "a 0 1\n", o: Options{PtrBits: 24}, err: "24 bits"},
		{name: "described lines of a known format", in: "a 0 1\n", o: Options{From: "ops", Regex: &Regex{}}, err: "format named is ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Open("-", strings.NewReader(tt.in), tt.o)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			h := r.Header()
			if tt.o.PtrBits != 0 && h.PtrBits != tt.bits {
				t.Errorf("got %d bits before the first block, want %d", h.PtrBits, tt.bits)
			}
			for b := new(trace.Block); err == nil; err = r.Next(b) {
			}
			if h != r.Header() || h.Sizes != tt.sizes || h.PtrBits != tt.bits || h.Program != tt.program || !h.Complete || h.Summary.Events != 1 {
				t.Errorf("header %+v, want sizes %v, %d bits, program %q", h, tt.sizes, tt.bits, tt.program)
			}
		})
	}
}

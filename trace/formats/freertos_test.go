package formats

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

func TestFreertos(t *testing.T) {
	tests := []struct {
		name, in, want, loss, err string
		threads                   uint32
		last                      int64
	}{
		{name: "bare", in: "traceMALLOC: 0x20000A08 [128]\r\ntraceFREE: 0x20000A08 [128]\r\n", want: "a 0 128\nf 0\n", threads: 1},
		{
			name: "tick and task", in: "[0] init traceMALLOC: 0x1000 [8]\n[7] Tmr Svc traceMALLOC: 0x2000 [16]\n[9] init traceFREE: 0x1000 [8]\n",
			want: "a 0 8\na 1 16\nf 0\n", threads: 2, last: 9e6,
		},
		{name: "tick alone", in: "[1] traceMALLOC: 0x1000 [8]\n[4] traceFREE: 0x1000 [8]\n", want: "a 0 8\nf 0\n", threads: 1, last: 3e6},
		{
			name: "other output, colours, other prefixes", in: "boot\n\x1b[0;32mI (123) [x] heap: traceMALLOC: 0x1000 [8]\x1b[0m\ntraceTASK: 1\ntraceMALLOC hook on\n",
			want: "a 0 8\n", loss: "other_lines=3", threads: 1,
		},
		{name: "two calls in a line", in: "traceMALLOC: 0x1000 [8]traceFREE: 0x1000 [8]\n", want: "a 0 8\nf 0\n", threads: 1},
		{name: "failed", in: "traceMALLOC: 0x0 [0]\ntraceMALLOC: 0x10 [8]\ntraceFREE: 0x00000000 [0]\n", want: "a 0 8\n", loss: "failed_allocs=1 null_frees=1", threads: 1},
		{
			name: "cut, negative and interleaved lines", in: "traceMALLOC: 0x1000 [8]\ntraceMALLOC: 0x20\ntraceMALLOC: 0x3000 [-2147483640]\ntraceMALLOC: 0xtraceFREE: 0x1000 [8]\n",
			want: "a 0 8\n", loss: "unparsed_lines=3", threads: 1,
		},
		{name: "none", in: "hello\n", err: "no freertos event"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, h, err := readText(strings.NewReader(tt.in), Options{From: "freertos"})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %q, %v, want %q", got, err, tt.want)
			}
			if l := lossText(h.Loss); l != tt.loss {
				t.Errorf("lost %q, want %q", l, tt.loss)
			}
			if h.Sizes != trace.SizesBlock || h.Summary.Threads != tt.threads || h.Summary.LastTime != tt.last || h.PtrBits != 32 {
				t.Errorf("header %+v", h)
			}
			if _, found, err := readText(strings.NewReader(tt.in), Options{}); err != nil || found.Source != "freertos" {
				t.Errorf("not known by its content: %v", err)
			}
		})
	}
}

// TestFreertosPreset holds the regular expressions of the preset to the reader
// that is written by hand.
func TestFreertosPreset(t *testing.T) {
	log := "[0] init traceMALLOC: 0x20001000 [8]\nhello\n[7] Tmr Svc traceMALLOC: 0x20002000 [16]\n\x1b[0mtraceFREE: 0x20001000 [8]\ntraceMALLOC: 0x0 [0]\n[9] init traceFREE: 0x20002000 [16]\ntraceMALLOC: 0x20003000 [-8]\n"
	want, wantHeader, err := readText(strings.NewReader(log), Options{From: "freertos"})
	if err != nil {
		t.Fatal(err)
	}
	x, err := RegexPreset("freertos")
	if err != nil {
		t.Fatal(err)
	}
	got, h, err := readText(strings.NewReader(log), Options{Regex: x})
	if err != nil || got != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
	if h.Loss != wantHeader.Loss || h.Summary != wantHeader.Summary || h.Sizes != wantHeader.Sizes || h.PtrBits != wantHeader.PtrBits {
		t.Errorf("got header %+v, want %+v", h, wantHeader)
	}
}

func FuzzFreertos(f *testing.F) {
	f.Add([]byte("[0] init traceMALLOC: 0x565844A8 [4104]\n[312] mgr traceFREE: 0x565844A8 [4104]\nnoise\n"))
	f.Add([]byte("\x1b[0;32mtraceMALLOC: 0x10 [1]traceFREE: 0x10 [1]\x1b["))
	fuzzReader(f, "freertos")
}

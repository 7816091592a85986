package strategy_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
)

var env = &strategy.Env{Models: catalog.Models, Keep: 1 << 30}

// parse reads a trace in the text form.
func parse(t *testing.T, text string) trace.Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.ops")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := formats.Load(path, nil, formats.Options{From: "ops"}, 1<<30, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// events returns a trace in a short text form: op slot size, and checks that it
// is sound.
func events(t *testing.T, src trace.Source) string {
	t.Helper()
	r, err := src.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var v trace.Validator
	var lines []string
	for {
		var b trace.Block
		if err := r.Next(&b); err == io.EOF {
			return strings.Join(lines, "\n")
		} else if err != nil {
			t.Fatal(err)
		}
		if err := v.Block(&b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Op {
			lines = append(lines, line(b.At(i)))
		}
	}
}

// line is one event as tests write it: "a 0 100 @vec", "r 0 200", "f 0".
func line(e trace.Event) string {
	switch e.Op {
	case trace.OpAlloc:
		return fmt.Sprintf("a %d %d", e.Slot, e.Size)
	case trace.OpRealloc:
		return fmt.Sprintf("r %d %d", e.Slot, e.Size)
	}
	return fmt.Sprintf("f %d", e.Slot)
}

// apply rewrites the trace by the strategies.
func apply(t *testing.T, set, text string) *strategy.Applied {
	t.Helper()
	s, err := strategy.Parse(set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Learn(parse(t, text), env)
	if err != nil {
		t.Fatal(err)
	}
	return d.Recorded()
}

// want is a rewritten trace and its price.
type want struct {
	events                    string
	slackPeak, static, copies uint64 // copies avoided
}

func check(t *testing.T, a *strategy.Applied, w want) {
	t.Helper()
	if got := events(t, a.Trace); got != strings.Join(strings.Fields(w.events), " ") && got != unindent(w.events) {
		t.Errorf("trace:\n%s\nwant:\n%s", got, unindent(w.events))
	}
	if l := a.Ledger; l.Slack.Peak != w.slackPeak || l.Static.Peak != w.static || l.CopiesAvoided != w.copies {
		t.Errorf("slack at most %d, static %d, copies avoided %d; want %d, %d, %d", l.Slack.Peak, l.Static.Peak, l.CopiesAvoided, w.slackPeak, w.static, w.copies)
	}
	if l := a.Ledger; l.Slack.Now > l.Slack.Peak || l.Stack.Now > l.Stack.Peak {
		t.Errorf("more is given back than was taken: slack %d, stack %d", int64(l.Slack.Now), int64(l.Stack.Now))
	}
}

func unindent(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

// TestSummary holds the counts of an edited trace to a count of its events.
func TestSummary(t *testing.T) {
	a := apply(t, "reserve", "a 0 8 @v\na 1 50 @x\nr 0 16\nr 0 32\nf 1\nf 0\n")
	r, err := a.Trace.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var c trace.Counter
	var b trace.Block
	for r.Next(&b) == nil {
		c.Block(&b)
	}
	if got, want := a.Trace.Header().Summary, c.Summary(); got != want {
		t.Errorf("header says %+v, the events %+v", got, want)
	}
}

// applyTo rewrites another ordering of the program that the strategies learned
// on.
func applyTo(t *testing.T, set, recorded, other string) *strategy.Applied {
	t.Helper()
	s, err := strategy.Parse(set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Learn(parse(t, recorded), env)
	if err != nil {
		t.Fatal(err)
	}
	a, err := d.Apply(parse(t, other))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

package strategy_test

import (
	"strings"
	"testing"

	"github.com/fragprof/fragprof/replay/strategy"
)

// TestBareTraces: on a trace without call sites, threads and times every
// strategy says what it does without, or why it cannot do anything.
func TestBareTraces(t *testing.T) {
	const text = "a 0 16\na 1 8\nf 1\nr 0 40\na 1 80\nr 0 90\nf 0\nf 1\n"
	// What each says, notes and error alike; none needs times.
	says := map[string][]string{
		"reserve": {"no call sites"}, "reserve:at=max": {"no call sites"}, "static:sites=x": {`matches "x"`},
		"growth:factor=2": {"no call sites"}, "shrink": {"no call sites"}, "container": {"no call sites"},
		"long-lived-first:by=site": {"no call sites"}, "two-ended:by=site": {"no call sites"},
		"scope-arena": {"no call sites", "not name threads"}, "stack": {"no call sites", "not name threads"},
		"split:by=site": {"sites"}, "split:by=thread": {"threads"},
	}
	tried := map[string]bool{}
	for set, wants := range says {
		tried[strings.Split(set, ":")[0]] = true
		s, err := strategy.Parse(set)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		said := ""
		if d, err := s.Learn(parse(t, text), env); err != nil {
			said = err.Error()
		} else {
			said = strings.Join(d.Notes, "\n")
		}
		for _, want := range wants {
			if !strings.Contains(said, want) {
				t.Errorf("%s says %q, want something of %q", set, said, want)
			}
		}
	}
	// The others look at sizes and lives only, or want to be told more.
	for _, row := range strategy.Strategies {
		s, err := strategy.Parse(row.Name)
		if tried[row.Name] || err != nil {
			continue
		}
		if _, err := s.Learn(parse(t, text), env); err != nil {
			t.Errorf("%s: %v", row.Name, err)
		}
	}
}

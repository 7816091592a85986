package strategy_test

import (
	"testing"

	"github.com/fragprof/fragprof/replay/strategy"
	"github.com/fragprof/fragprof/trace"
)

func TestReserve(t *testing.T) {
	for _, c := range []struct {
		name, set, trace string
		want             want
	}{
		{
			"exact, by realloc", "reserve",
			"a 0 8 @v\na 1 50 @x\nr 0 16\nr 0 32\nf 1\nf 0\n",
			want{events: "a 0 32\na 1 50\nf 1\nf 0", slackPeak: 24},
		},
		{
			"exact, by alloc, copy, free", "reserve",
			"a 0 8 @v\na 1 50 @x\na 2 16 @v\nf 0\na 3 32 @v\nf 2\nf 1\nf 3\n",
			want{events: "a 0 32\na 1 50\nf 1\nf 0", slackPeak: 24, copies: 8 + 16},
		},
		{
			"fixed and outgrown", "reserve:at=20",
			"a 0 8 @v\na 1 50 @x\nr 0 16\nr 0 32\nf 1\nf 0\n",
			want{events: "a 0 20\na 1 50\nr 0 32\nf 1\nf 0", slackPeak: 12},
		},
		{
			"a pair that outgrows", "reserve:at=20",
			"a 0 8 @v\na 2 16 @v\nf 0\na 3 32 @v\nf 2\nf 3\n",
			want{events: "a 0 20\na 1 32\nf 0\nf 1", slackPeak: 12, copies: 8},
		},
		{
			"a shrink stays", "reserve",
			"a 0 8 @v\nr 0 64\nr 0 16\nf 0\n",
			want{events: "a 0 64\nr 0 16\nf 0", slackPeak: 56},
		},
		{
			"a percentile is for all of a site", "reserve:at=p50",
			"a 0 8 @v\nr 0 32\nf 0\na 1 10 @v\nf 1\na 2 8 @v\nr 2 40\nf 2\n",
			want{events: "a 0 32\nf 0\na 0 32\nf 0\na 0 32\nr 0 40\nf 0", slackPeak: 24},
		},
		{
			"learned on a prefix", "reserve:at=max,prefix=40",
			"a 0 8 @v\nr 0 16\nf 0\na 1 8 @v\nr 1 16\nr 1 32\nf 1\na 2 8 @w\nr 2 9\nf 2\n",
			want{events: "a 0 16\nf 0\na 0 16\nr 0 32\nf 0\na 0 8\nr 0 9\nf 0", slackPeak: 8},
		},
		{
			"only one site", "reserve:sites=w*",
			"a 0 8 @v\nr 0 16\nf 0\na 2 8 @wide\nr 2 9\nf 2\n",
			want{events: "a 0 8\nr 0 16\nf 0\na 0 9\nf 0", slackPeak: 1},
		},
		{
			"the top site", "reserve:top=1",
			"a 0 8 @v\nr 0 16\nf 0\na 2 8 @w\nr 2 9\nf 2\n",
			want{events: "a 0 16\nf 0\na 0 8\nr 0 9\nf 0", slackPeak: 8},
		},
		{
			"without sites only what grows", "reserve:at=max",
			"a 0 8\na 1 8\nr 0 16\nf 0\nf 1\n",
			want{events: "a 0 16\na 1 8\nf 0\nf 1", slackPeak: 8},
		},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, apply(t, c.set, c.trace), c.want) })
	}
}

// TestReserveLearnedElsewhere: capacities are learned on another trace, by the
// names of its sites, and may be wrong; a site that it does not have is left
// alone, and said.
func TestReserveLearnedElsewhere(t *testing.T) {
	const other = "a 0 1 @w\na 1 8 @v\nr 1 24\nf 1\n"
	elsewhere := *env
	elsewhere.Open = func(path string) (trace.Source, error) {
		if path != "other.ops" {
			t.Errorf("opens %q", path)
		}
		return parse(t, other), nil
	}
	s, err := strategy.Parse("reserve:at=max,from=other.ops")
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Learn(parse(t, "a 0 8 @v\nr 0 16\na 1 9 @u\nr 1 10\nr 0 40\nf 0\nf 1\n"), &elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	check(t, d.Recorded(), want{events: "a 0 24\na 1 9\nr 1 10\nr 0 40\nf 0\nf 1", slackPeak: 16})
	if len(d.Notes) != 1 || d.Notes[0] != "reserve:at=max,from=other.ops: 1 of 2 sites are not in what was learned and are not reserved" {
		t.Errorf("notes %q", d.Notes)
	}
}

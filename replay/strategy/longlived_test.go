package strategy_test

import "testing"

func TestLongLivedFirst(t *testing.T) {
	for _, c := range []struct {
		name, set, trace string
		want             want
	}{
		{
			"every object that stays", "long-lived-first",
			"a 0 8 @x\na 1 50 @y\nf 0\na 2 9 @x\nr 1 60\nr 1 55\n",
			want{events: "a 0 60\na 1 9\na 2 8\nf 2", slackPeak: 69},
		},
		{
			"sites of which enough stays", "long-lived-first:by=site,share=60",
			"a 0 8 @x\na 1 50 @y\nf 0\na 2 9 @x\na 3 5 @y\nf 3\na 4 6 @y\n",
			want{events: "a 0 50\na 1 6\na 2 8\nf 2\na 2 9\na 3 5\nf 3", slackPeak: 56},
		},
		{
			"one site", "long-lived-first:sites=y",
			"a 0 8 @x\na 1 50 @y\n",
			want{events: "a 0 50\na 1 8", slackPeak: 50},
		},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, apply(t, c.set, c.trace), c.want) })
	}
}

package strategy_test

import "testing"

func TestRound(t *testing.T) {
	for _, c := range []struct {
		name, set, trace string
		want             want
	}{
		{"to 16", "round", "a 0 1 @x\na 1 16 @x\na 2 0 @x\nf 0\n", want{events: "a 0 16\na 1 16\na 2 0\nf 0", slackPeak: 15}},
		{"to a power of two", "round:to=pow2", "a 0 33\na 1 1\na 2 64\n", want{events: "a 0 64\na 1 1\na 2 64", slackPeak: 31}},
		{"to a quarter of one", "round:to=quarter", "a 0 33\na 1 8\na 2 9\na 3 41\n", want{events: "a 0 40\na 1 8\na 2 10\na 3 48", slackPeak: 7 + 1 + 7}},
		{"to a list", "round:to=[20|10]", "a 0 7\na 1 10\na 2 11\na 3 21\n", want{events: "a 0 10\na 1 10\na 2 20\na 3 21", slackPeak: 3 + 9}},
		{"a realloc within the class", "round:to=32", "a 0 8\nr 0 30\nr 0 40\nr 0 3\nf 0\n", want{events: "a 0 32\nr 0 64\nr 0 32\nf 0", slackPeak: 29}},
		{"one site, above a size", "round:to=64,sites=b,above=10", "a 0 12 @a\na 1 12 @b\na 2 9 @b\nr 0 13\n", want{events: "a 0 12\na 1 64\na 2 9\nr 0 13", slackPeak: 52}},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, apply(t, c.set, c.trace), c.want) })
	}
}

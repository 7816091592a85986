package strategy_test

import "testing"

func TestStatic(t *testing.T) {
	for _, c := range []struct {
		name, set, trace string
		want             want
	}{
		{
			"one buffer", "static:sites=draw",
			"a 0 8 @x\na 1 100 @draw\nf 1\na 2 90 @draw\nf 0\nf 2\n",
			want{events: "a 0 8\nf 0", static: 100},
		},
		{
			"as many as live at a time, as large as the largest", "static:sites=d*",
			"a 0 10 @draw\na 1 20 @draw\nf 0\na 2 5 @draw\nr 2 30\nf 1\nf 2\na 3 7 @x\n",
			want{events: "a 0 7", static: 2 * 30},
		},
		{
			"two sites", "static:sites=a|b",
			"a 0 10 @a\na 1 20 @b\na 2 1 @c\nf 0\nf 1\nf 2\n",
			want{events: "a 0 1\nf 0", static: 10 + 20},
		},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, apply(t, c.set, c.trace), c.want) })
	}
}

// TestStaticOverflow: in another ordering of the program the buffers are those
// of the recorded one, and what finds none goes to the heap.
func TestStaticOverflow(t *testing.T) {
	const recorded = "a 0 10 @d\nf 0\na 1 20 @d\nf 1\na 2 20 @d\nr 2 5\nf 2\n"
	const other = "a 0 10 @d\na 1 20 @d\nf 0\na 2 21 @d\na 3 9 @d\nr 3 25\nf 3\nf 1\nf 2\n"
	a := applyTo(t, "static:sites=d", recorded, other)
	check(t, a, want{events: "a 0 20\na 1 21\na 2 25\nf 2\nf 0\nf 1", static: 20})
	if a.Ledger.Copies != 9 {
		t.Errorf("copied %d bytes out of an outgrown buffer, want 9", a.Ledger.Copies)
	}
}

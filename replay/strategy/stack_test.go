package strategy_test

import (
	"strings"
	"testing"
)

func TestStack(t *testing.T) {
	for _, c := range []struct {
		name, set, trace string
		want             want
		room             uint64
		removed          uint64
	}{
		{
			"nested scopes", "stack",
			"#: ptr=32\na 0 10 @a\na 1 20 @b\na 2 500 @x\nf 1\nf 0\nf 2\n",
			want{events: "a 0 500\nf 0"},
			12 + 20, 2,
		},
		{
			"room is that of the deepest moment", "stack",
			"#: ptr=32\na 0 16 @a\na 1 8 @b\nf 1\na 1 4 @b\nf 1\nf 0\na 0 12 @a\nf 0\n",
			want{events: ""},
			16 + 8, 4,
		},
		{
			"a site that is in its own way", "stack",
			"a 0 16 @q\na 1 16 @q\nf 0\na 0 16 @q\nf 1\nf 0\n",
			want{events: "a 0 16\na 1 16\nf 0\na 0 16\nf 1\nf 0"},
			0, 0,
		},
		{
			// Of a, one of four is freed below b; of b, one of one.
			"the worse of two stays on the heap", "stack",
			"#: ptr=32\na 0 16 @a\nf 0\na 0 16 @a\nf 0\na 0 16 @a\nf 0\na 0 16 @a\na 1 8 @b\nf 0\nf 1\n",
			want{events: "a 0 8\nf 0"},
			16, 4,
		},
		{
			"too large, too long, never freed, grown", "stack:max=64,events=3",
			"a 0 65 @large\nf 0\na 0 8 @long\na 1 70 @x\nf 1\na 1 70 @x\nf 0\nf 1\na 0 8 @kept\na 1 8 @grown\nr 1 16\nf 1\n",
			want{events: "a 0 65\nf 0\na 0 8\na 1 70\nf 1\na 1 70\nf 0\nf 1\na 0 8\na 1 8\nr 1 16\nf 1"},
			0, 0,
		},
		{
			"a share of a site may be wrong, and waits", "stack:share=50",
			"#: ptr=32\na 0 16 @a\na 1 16 @a\nf 1\na 1 8 @b\nf 0\na 0 4 @b\nf 0\nf 1\n",
			want{events: ""},
			16 + 16, 4,
		},
		{
			"only the sites asked for", "stack:sites=b",
			"#: ptr=32\na 0 16 @a\na 1 8 @b\nf 1\nf 0\n",
			want{events: "a 0 16\nf 0"},
			8, 1,
		},
		{
			"an oracle moves what nests", "stack:by=object",
			"#: ptr=32\na 0 16 @q\na 1 8 @q\nf 0\na 0 4 @q\nf 0\nf 1\n",
			want{events: "a 0 8\nf 0"},
			16, 2,
		},
		{
			"without sites as by an oracle", "stack",
			"#: ptr=32\na 0 16\na 1 8\nf 1\nf 0\n",
			want{events: ""},
			16 + 8, 2,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := apply(t, c.set, c.trace)
			check(t, a, c.want)
			if l := a.Ledger; l.StackRoom != c.room || l.Removed != c.removed || l.Stack.Now != 0 {
				t.Errorf("room on stacks %d, %d objects removed, %d bytes left; want %d, %d, 0", l.StackRoom, l.Removed, l.Stack.Now, c.room, c.removed)
			}
		})
	}
}

// TestStackOverflow: in another ordering, what comes out of turn keeps its room,
// and what outgrows it goes to the heap.
func TestStackOverflow(t *testing.T) {
	const recorded = "#: ptr=32\na 0 16 @a\na 1 8 @b\nf 1\nf 0\n"
	for _, c := range []struct {
		name, trace, events string
		room, copies        uint64
	}{
		{"freed out of turn", "a 0 16 @a\na 1 8 @b\nf 0\na 0 16 @a\nf 0\nf 1\n", "", 16 + 8 + 16, 0},
		{"in turn again", "a 0 16 @a\na 1 8 @b\nf 0\nf 1\na 0 16 @a\nf 0\n", "", 16 + 8, 0},
		{"outgrown", "a 0 16 @a\nr 0 12\nr 0 40\nf 0\n", "a 0 40\nf 0", 16, 12},
		{"too large", "a 0 300 @a\nf 0\n", "a 0 300\nf 0", 0, 0},
	} {
		a := applyTo(t, "stack", recorded, "#: ptr=32\n"+c.trace)
		if got := events(t, a.Trace); got != c.events {
			t.Errorf("%s: trace %q, want %q", c.name, got, c.events)
		}
		if l := a.Ledger; l.StackRoom != c.room || l.Copies != c.copies || l.Stack.Now != 0 {
			t.Errorf("%s: room %d, copied %d, left %d; want %d, %d, 0", c.name, l.StackRoom, l.Copies, l.Stack.Now, c.room, c.copies)
		}
	}
}

// TestStackNotes: what the trace lacks is said.
func TestStackNotes(t *testing.T) {
	a := apply(t, "stack", "a 0 16\nf 0\n")
	text := strings.Join(a.Notes, "\n")
	for _, want := range []string{"does not name threads", "no call sites", "1 of 1 objects move"} {
		if !strings.Contains(text, want) {
			t.Errorf("notes %q do not say %q", text, want)
		}
	}
}

package strategy_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestScopeArena(t *testing.T) {
	for _, c := range []struct {
		name, set, trace string
		want             want
		removed, added   uint64
	}{
		{
			// 8 is the alignment of 32-bit heaps: 10 takes 16.
			"objects in one chunk", "scope-arena:objects=3,chunk=64",
			"#: ptr=32\na 0 10 @a\na 1 20 @a\na 2 16 @a\na 3 5 @x\nf 0\nf 1\nf 2\n",
			want{events: "a 0 64\na 1 5\nf 0", slackPeak: 64 - 10},
			3, 1,
		},
		{
			"chunks as needed, the large one its own", "scope-arena:objects=3,chunk=64",
			"#: ptr=32\na 0 40 @a\na 1 100 @a\na 2 8 @a\na 3 30 @a\nf 3\nf 2\nf 1\nf 0\n",
			// Into what is left of the first go 8 at 40, not 30 at 48.
			want{events: "a 0 64\na 1 100\na 2 64\nf 0\nf 1\nf 2", slackPeak: 64 + 100 + 64 - 40},
			4, 3,
		},
		{
			"two scopes, and one object that is freed alone", "scope-arena:objects=2,chunk=64,share=60",
			"#: ptr=32\na 0 8 @a\na 1 8 @a\nf 0\nf 1\na 0 8 @a\na 1 8 @a\na 2 8 @x\na 3 8 @x\na 4 8 @x\na 5 8 @x\na 6 8 @x\nf 0\nf 1\na 0 8 @a\na 1 8 @x\na 7 8 @x\na 8 8 @x\na 9 8 @x\na 10 8 @x\nf 0\n",
			want{events: "a 0 64\nf 0\na 0 64\na 1 8\na 2 8\na 3 8\na 4 8\na 5 8\nf 0\na 0 64\na 6 8\na 7 8\na 8 8\na 9 8\na 10 8\nf 0", slackPeak: 56},
			5, 3,
		},
		{
			"sites that die together share, others do not", "scope-arena:objects=2,chunk=64",
			"#: ptr=32\na 0 8 @a\na 1 8 @b\nf 0\nf 1\na 0 8 @c\na 1 8 @c\na 2 8 @x\na 3 8 @x\na 4 8 @x\na 5 8 @x\na 6 8 @x\nf 0\nf 1\n",
			want{events: "a 0 64\nf 0\na 0 64\na 1 8\na 2 8\na 3 8\na 4 8\na 5 8\nf 0", slackPeak: 56},
			4, 2,
		},
		{
			"too few objects", "scope-arena:objects=3",
			"a 0 8 @a\na 1 8 @a\nf 0\nf 1\n",
			want{events: "a 0 8\na 1 8\nf 0\nf 1"},
			0, 0,
		},
		{
			"not one after the other", "scope-arena:objects=2,window=0",
			"a 0 8 @a\na 1 8 @a\nf 0\na 0 8 @x\nf 1\n",
			want{events: "a 0 8\na 1 8\nf 0\na 0 8\nf 1"},
			0, 0,
		},
		{
			"a realloc of the last, and of another", "scope-arena:objects=2,chunk=64",
			"#: ptr=32\na 0 8 @a\na 1 8 @a\nr 1 40\nr 0 16\nr 1 48\nf 0\nf 1\n",
			// 1 grows to 40 at 8; 0 is copied, to 64 in another chunk; then 1 ends at 56.
			want{events: "a 0 64\na 1 64\nf 0\nf 1", slackPeak: 128 - 48},
			2, 2,
		},
		{
			"an oracle gives each run an arena", "scope-arena:by=object,objects=2,chunk=64,window=0",
			"#: ptr=32\na 0 8 @a\na 1 8 @a\na 2 8 @a\na 3 8 @a\nf 1\nf 3\na 1 8 @x\nf 0\nf 2\n",
			want{events: "a 0 64\na 1 64\nf 1\na 1 8\nf 0", slackPeak: 128 - 16},
			4, 2,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := apply(t, c.set, c.trace)
			check(t, a, c.want)
			if l := a.Ledger; l.Removed != c.removed || l.Added != c.added || l.Slack.Now != 0 {
				t.Errorf("%d objects removed, %d added, slack %d left; want %d, %d, 0", l.Removed, l.Added, l.Slack.Now, c.removed, c.added)
			}
		})
	}
}

// TestScopeArenaCopies: a realloc that cannot be served in place is a copy.
func TestScopeArenaCopies(t *testing.T) {
	a := apply(t, "scope-arena:objects=2,chunk=64", "#: ptr=32\na 0 24 @a\na 1 8 @a\nr 0 32\nr 0 20\nr 0 30\nf 0\nf 1\n")
	check(t, a, want{events: "a 0 64\nf 0", slackPeak: 64 - 8})
	if a.Ledger.Copies != 24 {
		t.Errorf("copied %d bytes, want 24", a.Ledger.Copies)
	}
}

// TestScopeArenaOverlap: in another ordering a scope that begins before the one
// before it has ended gets an arena of its own once that has begun to end.
func TestScopeArenaOverlap(t *testing.T) {
	const recorded = "#: ptr=32\na 0 8 @a\na 1 8 @a\nf 0\nf 1\n"
	a := applyTo(t, "scope-arena:objects=2,chunk=64", recorded, "#: ptr=32\na 0 8 @a\na 1 8 @a\nf 0\na 0 8 @a\na 2 8 @a\nf 1\nf 0\nf 2\n")
	check(t, a, want{events: "a 0 64\na 1 64\nf 0\nf 1", slackPeak: 56 + 56})
}

// TestScopeArenaNotes: what was found is said, and what the trace lacks.
func TestScopeArenaNotes(t *testing.T) {
	var b strings.Builder
	b.WriteString("#: ptr=32\n")
	for range 3 {
		fmt.Fprint(&b, "a 0 8 @a\na 1 8 @a\nf 0\nf 1\n")
	}
	a := apply(t, "scope-arena:objects=2", b.String())
	text := strings.Join(a.Notes, "\n")
	for _, want := range []string{"does not name threads", "1 call sites in 1 groups that die together move, with 6 of 6 objects"} {
		if !strings.Contains(text, want) {
			t.Errorf("notes %q do not say %q", text, want)
		}
	}
	if notes := strings.Join(apply(t, "scope-arena", "a 0 8\nf 0\n").Notes, "\n"); !strings.Contains(notes, "no call sites") {
		t.Errorf("notes %q do not say that there are no call sites", notes)
	}
}

package strategy_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
)

func TestShrink(t *testing.T) {
	for _, c := range []struct {
		name, set, trace string
		want             want
	}{
		{
			// Of the last step from 32 to 64, the 5th element of 8 is needed, and
			// half of the other 24 bytes.
			"by realloc", "shrink",
			"a 0 8 @v\nr 0 16\nr 0 32\nr 0 64\na 1 50 @x\nf 1\nf 0\n",
			want{events: "a 0 8\nr 0 16\nr 0 32\nr 0 64\nr 0 52\na 1 50\nf 1\nf 0"},
		},
		{
			"by copying, after the old object is gone", "shrink:fill=0",
			"a 0 8 @v\na 1 16 @v\nf 0\na 0 32 @v\na 2 50 @x\nf 1\na 1 50 @x\n",
			want{events: "a 0 8\na 1 16\nf 0\na 0 32\na 2 50\nf 1\na 1 24\nf 0\na 0 50"},
		},
		{"sizes are needs", "shrink", "a 0 8 @v\nr 0 13\nr 0 17\nr 0 18\na 1 50 @x\nf 0\n", want{events: "a 0 8\nr 0 13\nr 0 17\nr 0 18\na 1 50\nf 0"}},
		{"too little to give back", "shrink:least=13", "a 0 8 @v\nr 0 16\nr 0 32\nr 0 64\na 1 50 @x\nf 0\n", want{events: "a 0 8\nr 0 16\nr 0 32\nr 0 64\na 1 50\nf 0"}},
		{
			"the program does it later", "shrink:was=exact",
			"a 0 8 @v\nr 0 64\na 1 50 @x\nr 0 20\nf 1\nr 0 10\nf 0\n",
			want{events: "a 0 8\nr 0 64\nr 0 20\na 1 50\nf 1\nr 0 10\nf 0"},
		},
		{
			"idle", "shrink:idle=2,fill=0",
			"a 0 8 @v\nr 0 16\nr 0 32\na 1 50 @x\na 2 51 @x\na 3 52 @x\nr 0 64\nf 1\nf 0\n",
			want{events: "a 0 8\nr 0 16\nr 0 32\na 1 50\na 2 51\nr 0 24\na 3 52\nr 0 64\nf 1\nf 0"},
		},
		{
			"what reserve added, known exactly", "reserve:at=100+shrink",
			"a 0 8 @v\nr 0 9\na 1 50 @x\nr 0 17\na 2 51 @x\nf 0\n",
			want{events: "a 0 100\na 1 50\nr 0 17\na 2 51\nf 0", slackPeak: 92},
		},
		{
			"what reserve added, when idle", "reserve:at=100+shrink:idle=1",
			"a 0 8 @v\nr 0 9\na 1 50 @x\nf 1\nr 0 17\na 2 51 @x\nf 0\n",
			// At 17 bytes it goes back to what was reserved, and shrinks again.
			want{events: "a 0 100\na 1 50\nr 0 9\nf 1\nr 0 100\na 1 51\nr 0 17\nf 0", slackPeak: 92},
		},
		{
			"what growth added", "growth:factor=2+shrink",
			"a 0 10 @v\nr 0 13\nr 0 17\nr 0 21\na 1 50 @x\nf 1\nf 0\n",
			want{events: "a 0 10\nr 0 20\nr 0 40\nr 0 21\na 1 50\nf 1\nf 0", slackPeak: 19},
		},
		{"only one site", "shrink:sites=w,fill=0", "a 0 8 @v\nr 0 16\na 1 8 @w\nr 1 16\na 2 50 @x\n", want{events: "a 0 8\nr 0 16\na 1 8\nr 1 16\na 2 50"}},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, apply(t, c.set, c.trace), c.want) })
	}
}

// TestShrinkSound: whatever the trace, what comes out is sound, no more is live
// at the end than before, and other sites are as they were.
func TestShrinkSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawGrowing(t)
		set := fmt.Sprintf("shrink:idle=%d,fill=%d,least=%d,via=%s,was=%s",
			rapid.IntRange(0, 4).Draw(t, "idle"), rapid.IntRange(0, 100).Draw(t, "fill"), rapid.IntRange(0, 20).Draw(t, "least"),
			rapid.SampledFrom([]string{"keep", "realloc", "copy"}).Draw(t, "via"), rapid.SampledFrom([]string{"auto", "exact", "libstdcxx-vector"}).Draw(t, "was"))
		site := ""
		if src.Header().HasSite && rapid.Bool().Draw(t, "one site") {
			site = "v"
			set += ",sites=v"
		}
		before := src
		if first := rapid.SampledFrom([]string{"", "reserve:at=max", "reserve:at=200", "growth:factor=2", "growth:rule=rust-vec,via=copy"}).Draw(t, "first"); first != "" {
			before = rewrite(t, first, src).Trace
			set = first + "+" + set
		}
		a := rewrite(t, set, src)
		was, is := rows(t, before), rows(t, a.Trace)
		if b, a := leftOver(was), leftOver(is); a > b {
			t.Fatalf("%s: %d bytes in objects at the end, before %d", set, a, b)
		}
		if b, a := at(was, 1), at(is, 1); site != "" && !slices.Equal(b, a) {
			t.Fatalf("%s: another site had %v and has %v", set, b, a)
		}
	})
}

// leftOver returns the bytes in objects that are never freed, of each at most
// 2^40.
func leftOver(events []trace.Event) (sum uint64) {
	live := map[trace.Slot]uint64{}
	for _, e := range events {
		delete(live, e.Slot)
		if e.Op != trace.OpFree {
			live[e.Slot] = min(e.Size, 1<<40)
		}
	}
	for _, size := range live {
		sum += size
	}
	return sum
}

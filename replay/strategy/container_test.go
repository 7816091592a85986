package strategy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
)

func TestContainer(t *testing.T) {
	const pairs = "a 0 8 @v\na 1 16 @v\nf 0\na 0 32 @v\nf 1\nf 0\n"
	for _, c := range []struct {
		name, set, trace string
		want             want
		removed          uint64
	}{
		{
			// Elements of 8 and two pointers of 4; the third is there when 32
			// bytes are, and half of the one that is left is rounded up.
			"a list", "container:kind=list", "a 0 8 @v\na 1 50 @x\nr 0 16\nr 0 32\nf 1\nf 0\n",
			want{events: "a 0 16\na 1 50\na 2 16\na 3 16\na 4 16\nf 1\nf 0\nf 2\nf 3\nf 4"},
			1,
		},
		{
			// At 64 bytes there are five elements; three more come in the six events
			// up to the next growth, at which there is one more.
			"evenly", "container:kind=list,elem=8,fill=0",
			"a 0 8 @v\nr 0 16\nr 0 32\nr 0 64\na 1 50 @x\na 2 50 @x\na 3 50 @x\na 4 50 @x\na 5 50 @x\nr 0 128\n",
			want{events: "a 0 16\na 1 16\na 2 16\na 3 16\na 4 16\na 5 50\na 6 16\na 7 50\na 8 50\na 9 16\na 10 50\na 11 50\na 12 16\na 13 16"},
			1,
		},
		{
			"a list by copying", "container:kind=list,links=1,fill=0", pairs,
			want{events: "a 0 12\na 1 12\na 2 12\nf 0\nf 1\nf 2", copies: 8 + 16},
			3,
		},
		{
			"a deque", "container:kind=deque,chunk=16,fill=100", pairs,
			want{events: "a 0 32\na 1 16\na 2 16\na 3 16\nf 1\nf 2\nf 3\nf 0", copies: 8 + 16},
			3,
		},
		{
			"a shrink", "container:kind=list,was=exact,elem=8", "a 0 8 @v\nr 0 16\nr 0 24\nr 0 8\nf 0\n",
			want{events: "a 0 16\na 1 16\na 2 16\nf 2\nf 1\nf 0"},
			1,
		},
		{"nobody knows the element", "container:kind=list", "a 0 8 @v\nr 0 13\nr 0 17\nf 0\n", want{events: "a 0 8\nr 0 13\nr 0 17\nf 0"}, 0},
		{
			"nodes become a vector", "container:kind=vector,sites=n",
			"a 0 20 @n\na 1 50 @x\na 2 20 @n\na 3 20 @n\nf 0\nf 2\na 0 20 @n\nf 0\nf 3\nf 1\n",
			// Entries of 20 without two pointers: 12.
			want{events: "a 0 12\na 1 50\na 2 24\nf 0\na 0 48\nf 2\nf 0\nf 1", slackPeak: 36},
			4,
		},
		{"objects of two sizes stay", "container:kind=vector,sites=n", "a 0 20 @n\na 1 24 @n\nf 0\n", want{events: "a 0 20\na 1 24\nf 0"}, 0},
		{"objects that grow stay", "container:kind=vector,sites=n", "a 0 20 @n\nr 0 24\nf 0\n", want{events: "a 0 20\nr 0 24\nf 0"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := apply(t, c.set, strings.TrimSpace(c.trace)+"\n")
			check(t, a, c.want)
			if a.Ledger.Removed != c.removed {
				t.Errorf("%d objects removed, want %d", a.Ledger.Removed, c.removed)
			}
		})
	}
}

// TestDeque holds chunks and maps to those of a std::deque<int> of GCC 12 that
// was filled to 6000 elements, as operator new and delete saw it.
func TestDeque(t *testing.T) {
	a := rewrite(t, "container:kind=deque,was=exact,elem=4", parse(t, "a 0 4 @v\nr 0 24000\nf 0\n"))
	var got []string
	chunks := 0
	for _, e := range rows(t, a.Trace) {
		switch {
		case e.Op == trace.OpAlloc && e.Size == 512:
			chunks++
		case e.Op == trace.OpAlloc:
			got = append(got, fmt.Sprintf("%d:%d", chunks*128, e.Size))
		}
	}
	// On 64 bits maps of 8, 18, 38 and 78 pointers; here they are of 4 bytes.
	// Before the map grows there are so many chunks, all but one place full.
	if want := []string{"0:32", "640:72", "1536:152", "3328:312"}; !slices.Equal(got, want) || chunks != 6000/128+1 {
		t.Errorf("maps %v, %d chunks; want %v, %d", got, chunks, want, 6000/128+1)
	}
}

// TestContainerSound: whatever the trace, what comes out is sound, frees all
// that it did, and leaves other sites as they were.
func TestContainerSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := smaller(drawGrowing(t))
		kind := rapid.SampledFrom([]string{"list", "deque", "vector"}).Draw(t, "kind")
		set := fmt.Sprintf("container:kind=%s,elem=%d,was=%s,fill=%d,chunk=%d", kind, rapid.IntRange(0, 9).Draw(t, "elem"),
			rapid.SampledFrom([]string{"auto", "exact", "libstdcxx-vector"}).Draw(t, "was"), rapid.IntRange(0, 100).Draw(t, "fill"), rapid.IntRange(1, 64).Draw(t, "chunk"))
		site := src.Header().HasSite
		switch {
		case site:
			set += ",sites=v"
		case kind == "vector":
			return
		}
		a := rewrite(t, set, src)
		before, after := rows(t, src), rows(t, a.Trace)
		if b, a := at(before, 1), at(after, 1); site && !slices.Equal(b, a) {
			t.Fatalf("%s: another site had %v and has %v", set, b, a)
		}
		if l := a.Ledger; l.Slack.Now > l.Slack.Peak {
			t.Fatalf("%s: slack of %d bytes at the end", set, int64(l.Slack.Now))
		}
		objects := func(events []trace.Event) (n, live int) {
			for _, e := range events {
				switch e.Op {
				case trace.OpAlloc:
					n++
					live++
				case trace.OpFree:
					live--
				}
			}
			return n, live
		}
		was, left := objects(before)
		is, leaves := objects(after)
		if is-was != int(a.Ledger.Added)-int(a.Ledger.Removed) {
			t.Fatalf("%s: %d more objects, booked are %d", set, is-was, int(a.Ledger.Added)-int(a.Ledger.Removed))
		}
		if left == 0 && leaves != 0 {
			t.Fatalf("%s: everything was freed, and %d objects stay", set, leaves)
		}
	})
}

// smaller returns the trace with no object above 2000 bytes.
func smaller(src trace.Source) trace.Source {
	var b trace.Block
	r, err := src.Open()
	if err != nil {
		panic(err)
	}
	defer r.Close()
	if err := r.Next(&b); err == nil {
		for i := range b.Size {
			b.Size[i] = min(b.Size[i], 2000)
		}
	}
	return trace.NewMemory(src.Header(), []*trace.Block{&b})
}

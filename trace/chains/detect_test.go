package chains

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/gen"
	"github.com/fragprof/fragprof/trace/growth"
)

// events makes a trace of events, each block of its own.
func events(h trace.Header, list []trace.Event) trace.Source {
	var blocks []*trace.Block
	for i, e := range list {
		b := &trace.Block{First: uint64(i)}
		b.Append(e)
		blocks = append(blocks, b)
	}
	return trace.NewMemory(&h, blocks)
}

func TestEmpty(t *testing.T) {
	for _, list := range [][]trace.Event{
		nil,
		{{Op: trace.OpAlloc, Size: 1}},
		{{Op: trace.OpAlloc, Size: 1}, {Op: trace.OpFree}},
		{{Op: trace.OpAlloc, Size: 0}, {Op: trace.OpAlloc, Size: 0, Slot: 1}, {Op: trace.OpFree}},
		{{Op: trace.OpAlloc, Size: trace.MaxSize}, {Op: trace.OpAlloc, Size: trace.MaxSize - 1, Slot: 1}, {Op: trace.OpFree, Slot: 1}, {Op: trace.OpFree}},
	} {
		table, err := Detect(events(trace.Header{HasSite: true, HasThread: true}, list))
		if err != nil || table.Links != 0 || len(table.Notes) != 0 {
			t.Errorf("%v: got %+v and error %v", list, table, err)
		}
	}
}

func TestNotes(t *testing.T) {
	table, err := Detect(events(trace.Header{Sizes: trace.SizesBlock}, nil))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(table.Notes, "\n")
	for _, want := range []string{"no call sites", "no threads", "blocks of the recorded heap"} {
		if !strings.Contains(text, want) {
			t.Errorf("notes %q lack %q", text, want)
		}
	}
}

func TestTooMany(t *testing.T) {
	m := trace.CountedMemory(&trace.Header{Summary: trace.Summary{Allocs: MaxObjects + 1}}, nil)
	if _, err := Detect(m); err == nil || !strings.Contains(err.Error(), fmt.Sprint(MaxObjects)) {
		t.Errorf("error %v", err)
	}
}

// TestLinks holds every link to what a link is: a younger, larger object of the
// site that was alive when the older was freed by the thread that made it.
func TestLinks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := fmt.Sprintf("containers,events=%d,seed=%d,live=%d,threads=%d,decoys=0.%d,mimics=0.%d,queues=%d,nested=0.%d,twins=0.%d,style=%s",
			rapid.IntRange(1, 8000).Draw(rt, "events"), rapid.IntRange(0, 1000).Draw(rt, "seed"), rapid.IntRange(1, 40).Draw(rt, "live"),
			rapid.IntRange(1, 300).Draw(rt, "threads"), rapid.IntRange(0, 9).Draw(rt, "decoys"), rapid.IntRange(0, 9).Draw(rt, "mimics"),
			rapid.IntRange(0, 5).Draw(rt, "queues"), rapid.IntRange(0, 9).Draw(rt, "nested"), rapid.IntRange(0, 9).Draw(rt, "twins"),
			rapid.SampledFrom([]string{"own", "realloc", "copy", "mixed"}).Draw(rt, "style"))
		s, err := gen.Parse(text)
		if err != nil {
			rt.Fatal(err)
		}
		src := stripped(t, s, rapid.Bool().Draw(rt, "no sites"), rapid.Bool().Draw(rt, "no threads"))
		table, err := Detect(src)
		if err != nil {
			rt.Fatal(err)
		}
		checkLinks(rt, src, table)
		again, err := Detect(src)
		if err != nil || !slices.Equal(again.Next, table.Next) {
			rt.Fatal("a second search found other links")
		}
	})
}

func checkLinks(f interface{ Fatalf(string, ...any) }, src trace.Source, table *Table) {
	type alloc struct {
		trace.Event
		alive bool
	}
	var objects []alloc
	number := map[trace.Slot]uint32{}
	links := uint64(0)
	r, _ := src.Open()
	var b trace.Block
	for r.Next(&b) == nil {
		for i := range b.Op {
			e := b.At(i)
			switch e.Op {
			case trace.OpAlloc:
				number[e.Slot] = uint32(len(objects))
				objects = append(objects, alloc{e, true})
			case trace.OpRealloc:
				objects[number[e.Slot]].Size = e.Size
			case trace.OpFree:
				n := number[e.Slot]
				a := &objects[n]
				a.alive = false
				next := table.Next[n]
				if next == None {
					continue
				}
				links++
				if int(next) >= len(objects) || next <= n || table.Prev[next] != n {
					f.Fatalf("object %d leads to %d, whose previous is not it", n, next)
				}
				if to := &objects[next]; !to.alive || to.Size <= a.Size || to.Site != a.Site || to.Thread != e.Thread {
					f.Fatalf("object %d, %+v, leads to %d, %+v", n, *a, next, *to)
				}
			}
		}
	}
	if len(table.Next) != len(objects) || len(table.Prev) != len(objects) || links != table.Links {
		f.Fatalf("%d links of %d objects, table of %d says %d", links, len(objects), len(table.Next), table.Links)
	}
}

// TestNoGrowth wants no links where objects only come and go in one order: of
// sizes that always follow each other, of temporaries of any size that die after
// a node was made, and in a queue, where few may look like it.
func TestNoGrowth(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	turns, nodes, queue := []trace.Event{}, []trace.Event{}, []trace.Event{}
	for i := range 1000 {
		turns = append(
			turns,
			trace.Event{Op: trace.OpAlloc, Slot: 0, Size: 24, Site: 1}, trace.Event{Op: trace.OpAlloc, Slot: 1, Size: 48, Site: 1},
			trace.Event{Op: trace.OpFree, Slot: 0}, trace.Event{Op: trace.OpFree, Slot: 1},
		)
		nodes = append(
			nodes,
			trace.Event{Op: trace.OpAlloc, Slot: 0, Size: 17 + random.Uint64N(60), Site: 1},
			trace.Event{Op: trace.OpAlloc, Slot: trace.Slot(i + 1), Size: 80, Site: 1}, trace.Event{Op: trace.OpFree, Slot: 0},
		)
		const room = 16
		queue = append(queue, trace.Event{Op: trace.OpAlloc, Slot: trace.Slot(i % room), Size: 8 + random.Uint64N(1000), Site: 1})
		if i >= room-1 {
			queue = append(queue, trace.Event{Op: trace.OpFree, Slot: trace.Slot((i + 1) % room)})
		}
	}
	for _, tt := range []struct {
		name string
		list []trace.Event
		most uint64
	}{{"turns", turns, 0}, {"nodes", nodes, 0}, {"queue", queue, 50}} {
		table, err := Detect(events(trace.Header{HasSite: true, HasThread: true, Sites: []string{"", "x"}}, tt.list))
		if err != nil {
			t.Fatal(err)
		}
		if table.Links > tt.most {
			t.Errorf("%s: %d links", tt.name, table.Links)
		}
	}
}

// TestForget counts more different pairs than the table holds: the memory stays
// bounded and the frequent pair is kept.
func TestForget(t *testing.T) {
	var p pairs
	p.rehash()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 4 * maxPairs {
		p.add(1, 1000+random.Uint64N(1000), 1000+random.Uint64N(1000), adjacent, false)
		if i%100 == 0 {
			p.add(1, 64, 128, adjacent, false)
		}
	}
	if len(p.table) > maxPairs || 2*p.used > len(p.table) {
		t.Errorf("%d pairs in %d places", p.used, len(p.table))
	}
	if q := &p.table[p.find(hash(1, 64, 128))]; q.key == 0 || q.count[adjacent] < 1000 {
		t.Errorf("the frequent pair is %+v", *q)
	}
	if r := p.rare[adjacent][step][1]; r.target == 0 || r.reverse == 0 {
		t.Errorf("forgotten: %+v", r)
	}
}

// TestSummarize adds up the chains of a small program by hand.
func TestSummarize(t *testing.T) {
	const rows, name = 1, 2
	var list []trace.Event
	for range 20 { // 16, 32, 64, freed in the end
		list = append(
			list,
			trace.Event{Op: trace.OpAlloc, Slot: 0, Size: 16, Site: rows},
			trace.Event{Op: trace.OpAlloc, Slot: 1, Size: 32, Site: rows}, trace.Event{Op: trace.OpFree, Slot: 0},
			trace.Event{Op: trace.OpAlloc, Slot: 0, Size: 64, Site: rows}, trace.Event{Op: trace.OpFree, Slot: 1},
			trace.Event{Op: trace.OpFree, Slot: 0},
		)
	}
	list = append(
		list,
		trace.Event{Op: trace.OpAlloc, Slot: 0, Size: 10, Site: name},
		trace.Event{Op: trace.OpRealloc, Slot: 0, Size: 20, Site: name},
		trace.Event{Op: trace.OpRealloc, Slot: 0, Size: 5, Site: name},
		trace.Event{Op: trace.OpRealloc, Slot: 0, Size: 15, Site: name},
		trace.Event{Op: trace.OpAlloc, Slot: 1, Size: 7, Site: name},
	)
	src := events(trace.Header{HasSite: true, HasThread: true, Sites: []string{"", "rows", "name"}}, list)
	table, err := Detect(src)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Summarize(src, table)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Sites) != 2 || s.Sites[0].Site != rows || s.Sites[1].Site != name {
		t.Fatalf("sites %+v", s.Sites)
	}
	one := func(v uint64) Spread { return Spread{Mean: float64(v), P50: v, P95: v, Max: v} }
	if r := s.Sites[0]; r.Chains != 20 || r.Buffers != one(3) || r.First != one(16) || r.Final != one(64) ||
		r.ByCopy != 40 || r.ByRealloc != 0 || r.Copied != 20*48 || r.Holes != 20*48 ||
		r.Growth.Factor != 2 || r.Growth.Rule == nil || r.Growth.Rule.Name != "libstdcxx-vector" || r.Growth.Fit != 1 {
		t.Errorf("rows: %+v", r)
	}
	if n := s.Sites[1]; n.Chains != 1 || n.Buffers != one(3) || n.First != one(10) || n.Final != one(15) ||
		n.ByCopy != 0 || n.ByRealloc != 2 || n.Copied != 0 || n.Holes != 15 || n.Growth.Step != 10 {
		t.Errorf("name: %+v", n)
	}
	if s.Total.Chains != 21 || s.Total.Holes != 20*48+15 || s.Links != 40 {
		t.Errorf("total: %+v", s.Total)
	}
}

// TestExplain gives the growths of each rule to explain, of one container with
// elements of 8 bytes: the rule that is named must fit as well as the true one.
func TestExplain(t *testing.T) {
	for _, r := range growth.Rules {
		elem := uint64(8)
		if r.Text {
			elem = 1
		}
		sizes := r.Sizes(5000, elem, 40)
		growths := map[stride]uint64{}
		for i := 1; i < len(sizes); i++ {
			growths[stride{sizes[i-1], sizes[i]}]++
		}
		g := explain(growths)
		if g.Rule == nil || g.Fit != 1 {
			t.Errorf("%s: %+v", r.Name, g)
			continue
		}
		for at := range growths {
			if !follows(g.Rule, at) || !follows(r, at) {
				t.Errorf("%s: %v is not explained by %s", r.Name, at, g.Rule.Name)
			}
		}
	}
	if g := explain(map[stride]uint64{{100, 117}: 1, {40, 171}: 1}); g.Rule != nil || g.Step != 0 {
		t.Errorf("no rule: %+v", g)
	}
}

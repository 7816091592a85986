package formats

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
)

// rules is the emitter's rules written down a second time, plainly: a map of
// live objects by key, and events that name objects by number.
type rules struct {
	live   map[uint64]int
	events []string
	next   int
	loss   trace.Loss
}

func (r *rules) alloc(key, size, align uint64, null bool) {
	if null {
		r.loss[trace.LossFailedAllocs]++
		return
	}
	r.bury(key)
	if align&(align-1) != 0 || align > 1<<31 {
		r.loss[trace.LossBadAlign]++
		align = 0
	}
	r.live[key] = r.next
	r.events = append(r.events, fmt.Sprintf("a %d %d %d", r.next, size, align))
	r.next++
}

// bury frees what lives at key.
func (r *rules) bury(key uint64) {
	if id, ok := r.live[key]; ok {
		r.loss[trace.LossImplicitFrees]++
		r.events = append(r.events, fmt.Sprintf("f %d", id))
		delete(r.live, key)
	}
}

func (r *rules) free(key uint64, null bool) {
	id, ok := r.live[key]
	switch {
	case null:
		r.loss[trace.LossNullFrees]++
	case !ok:
		r.loss[trace.LossUnknownFrees]++
	default:
		r.events = append(r.events, fmt.Sprintf("f %d", id))
		delete(r.live, key)
	}
}

func (r *rules) realloc(was, key, size uint64, wasNull, null bool) {
	id, ok := r.live[was]
	switch {
	case wasNull:
		r.alloc(key, size, 0, null)
	case null && size == 0:
		r.free(was, false)
	case null:
		r.loss[trace.LossFailedAllocs]++
	case !ok:
		r.loss[trace.LossUnknownReallocs]++
		r.alloc(key, size, 0, false)
	default:
		delete(r.live, was)
		r.bury(key)
		r.live[key] = id
		r.events = append(r.events, fmt.Sprintf("r %d %d", id, size))
	}
}

// collect ends the emitter's block, holds it to the rules of a trace, and adds
// its events with the objects' numbers.
func collect(t interface{ Fatal(...any) }, e *emitter, v *trace.Validator, ids map[trace.Slot]int, next *int) (events []string) {
	b := e.b
	e.block()
	if err := v.Block(b); err != nil {
		t.Fatal(err)
	}
	for i := range b.Len() {
		switch ev := b.At(i); ev.Op {
		case trace.OpAlloc:
			ids[ev.Slot] = *next
			*next++
			events = append(events, fmt.Sprintf("a %d %d %d", ids[ev.Slot], ev.Size, ev.Align))
		case trace.OpFree:
			events = append(events, fmt.Sprintf("f %d", ids[ev.Slot]))
		case trace.OpRealloc:
			events = append(events, fmt.Sprintf("r %d %d", ids[ev.Slot], ev.Size))
		}
	}
	return events
}

// TestEmitterRules compares the emitter with the rules on calls at random.
func TestEmitterRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &emitter{}
		e.hdr.Sites = []string{""}
		want := &rules{live: map[uint64]int{}}
		var v trace.Validator
		var got []string
		ids, next := map[trace.Slot]int{}, 0
		e.begin(new(trace.Block))
		keys := rapid.Uint64Range(1, 12)
		sizes := rapid.SampledFrom([]uint64{0, 1, 5, 1 << 40, maxRequest})
		for range rapid.IntRange(0, 60).Draw(t, "calls") {
			key, was, size := keys.Draw(t, "key"), keys.Draw(t, "was"), sizes.Draw(t, "size")
			null, wasNull := rapid.IntRange(0, 9).Draw(t, "null") == 0, rapid.IntRange(0, 9).Draw(t, "wasNull") == 0
			switch rapid.IntRange(0, 9).Draw(t, "call") {
			case 0, 1, 2:
				align := rapid.SampledFrom([]uint64{0, 0, 1, 16, 24, 1 << 31, 1 << 32}).Draw(t, "align")
				e.alloc(key, size, align, null)
				want.alloc(key, size, align, null)
			case 3, 4, 5:
				e.free(key, null)
				want.free(key, null)
			case 6, 7, 8:
				e.realloc(was, key, size, wasNull, null)
				want.realloc(was, key, size, wasNull, null)
			case 9:
				got = append(got, collect(t, e, &v, ids, &next)...)
				e.begin(new(trace.Block))
			}
		}
		got = append(got, collect(t, e, &v, ids, &next)...)
		if !slices.Equal(got, want.events) {
			t.Fatalf("got  %q\nwant %q", got, want.events)
		}
		if e.hdr.Loss != want.loss {
			t.Fatalf("loss %q, want %q", lossText(e.hdr.Loss), lossText(want.loss))
		}
	})
}

// TestEmitterSize refuses sizes that cannot be, and changes nothing.
func TestEmitterSize(t *testing.T) {
	e := &emitter{}
	e.begin(new(trace.Block))
	e.alloc(16, 5, 0, false)
	for name, v := range map[string]verdict{
		"alloc":   e.alloc(16, maxRequest+1, 0, false),
		"realloc": e.realloc(16, 32, maxRequest+1, false, false),
		"fresh":   e.realloc(0, 16, 1<<63, true, false),
	} {
		if v != lineBad {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
	if e.b.Len() != 1 {
		t.Errorf("%d events, want 1", e.b.Len())
	}
	e.free(16, false)
	if e.b.Len() != 2 || e.hdr.Loss != (trace.Loss{}) {
		t.Errorf("%d events, want 2; loss %q", e.b.Len(), lossText(e.hdr.Loss))
	}
}

// TestEmitterDetach splits a realloc in two, with others between.
func TestEmitterDetach(t *testing.T) {
	e := &emitter{}
	e.begin(new(trace.Block))
	e.alloc(16, 5, 0, false)  // slot 0
	slot, ok := e.detach(16)  // slot 0 lives on without a key
	e.alloc(16, 6, 0, false)  // slot 1
	e.attach(slot, ok, 32, 7) // slot 0 again
	e.free(16, false)         // slot 1
	slot, ok = e.detach(32)
	e.reattach(slot, 32)
	e.free(32, false) // slot 0
	if _, unknown := e.detach(99); unknown || !ok {
		t.Error("detach found what is not there, or did not find what is")
	}
	b := e.b
	wantOp := []trace.Op{trace.OpAlloc, trace.OpAlloc, trace.OpRealloc, trace.OpFree, trace.OpFree}
	wantSlot := []trace.Slot{0, 1, 0, 1, 0}
	if !slices.Equal(b.Op, wantOp) || !slices.Equal(b.Slot, wantSlot) || e.hdr.Loss != (trace.Loss{}) {
		t.Errorf("got %v %v, loss %q", b.Op, b.Slot, lossText(e.hdr.Loss))
	}
}

// TestRestart frees more objects at once than a block holds: they go out over
// several blocks, in order, before what follows.
func TestRestart(t *testing.T) {
	const live = 2*trace.BlockEvents + 100
	e := &emitter{}
	var v trace.Validator
	ids, next := map[trace.Slot]int{}, 0
	e.begin(new(trace.Block))
	total := 0
	for key := range uint64(live) {
		e.alloc(key+1, 1, 0, false)
		if e.b.Len() == trace.BlockEvents {
			total += len(collect(t, e, &v, ids, &next))
			e.begin(new(trace.Block))
		}
	}
	e.context.Time = 77
	e.restart()
	e.alloc(1, 9, 0, false)
	var events []string
	for {
		events = append(events, collect(t, e, &v, ids, &next)...)
		e.begin(new(trace.Block))
		if e.b.Len() == 0 {
			break
		}
	}
	if total+len(events) != 2*live+1 || e.pending() != 0 {
		t.Errorf("%d events, want %d", total+len(events), 2*live+1)
	}
	if last := events[len(events)-1]; last != fmt.Sprintf("a %d 9 0", live) {
		t.Errorf("last event %q", last)
	}
	if e.hdr.Loss[trace.LossRestarts] != 1 || e.objects.used != 1 || e.slots.Len() != live {
		t.Errorf("loss %q, %d objects, %d slots", lossText(e.hdr.Loss), e.objects.used, e.slots.Len())
	}
	// With nothing live there is nothing to restart.
	e.free(1, false)
	e.restart()
	if e.hdr.Loss[trace.LossRestarts] != 1 {
		t.Error("counted a restart of nothing")
	}
}

func TestEmitterTime(t *testing.T) {
	e := &emitter{}
	for _, tt := range []struct{ at, want int64 }{{1000, 0}, {1500, 500}, {1400, 500}, {1500, 500}, {900, 500}, {1 << 62, 1<<62 - 1000}, {-1 << 63, 1<<62 - 1000}} {
		e.at(tt.at)
		if e.context.Time != tt.want {
			t.Errorf("at %d: time %d, want %d", tt.at, e.context.Time, tt.want)
		}
	}
	if !e.hdr.HasTime || e.hdr.Loss[trace.LossBadTime] != 3 {
		t.Errorf("loss %q", lossText(e.hdr.Loss))
	}
}

func TestEmitterThreads(t *testing.T) {
	e := &emitter{}
	for _, tt := range []struct {
		tid  uint64
		want uint32
	}{{0, 0}, {70, 1}, {0, 0}, {70, 1}, {70, 1}, {3, 2}, {1 << 63, 3}, {3, 2}} {
		e.thread(tt.tid)
		if e.context.Thread != tt.want {
			t.Errorf("thread %d: %d, want %d", tt.tid, e.context.Thread, tt.want)
		}
	}
	if !e.hdr.HasThread {
		t.Error("names no threads")
	}
}

func TestEmitterSites(t *testing.T) {
	e := &emitter{}
	e.hdr.Sites = []string{""}
	named := 0
	name := func(key uint64) string { named++; return fmt.Sprint("site ", key) }
	for _, tt := range []struct {
		set  func()
		want string
	}{
		{func() { e.siteName([]byte("main")) }, "main"},
		{func() { e.site(5, name) }, "site 5"},
		{func() { e.siteName([]byte("")) }, ""},
		{func() { e.siteName([]byte("main")) }, "main"},
		{func() { e.site(5, name) }, "site 5"},
		{func() { e.site(6, func(uint64) string { return "" }) }, ""},
	} {
		tt.set()
		if got := e.hdr.SiteName(e.context.Site); got != tt.want {
			t.Errorf("site %q, want %q", got, tt.want)
		}
	}
	if named != 1 || len(e.hdr.Sites) != 3 {
		t.Errorf("named %d times, sites %q", named, e.hdr.Sites)
	}
	// A full table gives no name to a new site, counts its events, and still
	// knows the old ones.
	e.siteSize = maxSiteBytes + 1
	e.siteName([]byte("new"))
	e.site(7, name)
	if e.context.Site != 0 || named != 1 || e.hdr.Loss[trace.LossSites] != 2 || len(e.siteText) > 2 {
		t.Errorf("site %d, named %d times, loss %q", e.context.Site, named, lossText(e.hdr.Loss))
	}
	e.siteName([]byte("main"))
	if got := e.hdr.SiteName(e.context.Site); got != "main" {
		t.Errorf("site %q, want main", got)
	}
}

func TestEmitterPtrBits(t *testing.T) {
	for _, tt := range []struct {
		addresses, wideOnly bool
		key                 uint64
		want                int
	}{
		{false, false, 1 << 40, 0},
		{true, false, 0xffff_fff0, 32},
		{true, false, 1 << 32, 64},
		{true, true, 0xffff_fff0, 0},
		{true, true, 1 << 32, 64},
	} {
		for _, moved := range []bool{false, true} {
			e := &emitter{addresses: tt.addresses, wideOnly: tt.wideOnly}
			e.begin(new(trace.Block))
			if moved {
				e.alloc(16, 1, 0, false)
				e.realloc(16, tt.key, 2, false, false)
			} else {
				e.alloc(tt.key, 1, 0, false)
			}
			e.block()
			if e.hdr.PtrBits != tt.want {
				t.Errorf("%+v, moved there %v: %d bits", tt, moved, e.hdr.PtrBits)
			}
		}
	}
}

// TestReadAllocatesNothing reads lines without allocating for any of them.
func TestReadAllocatesNothing(t *testing.T) {
	for name, p := range map[string]struct {
		open  func(in *Input, o Options) (trace.Reader, error)
		lines []string
	}{
		"rep":           {openRep, []string{"a 0 5", "r 0 6", "f 0", "f -1"}},
		"mtrace":        {openMtrace, []string{"@ p:[0x1] + 0x10 0x5", "@ p:[0x1] < 0x10", "@ p:[0x1] > 0x20 0x6", "@ p:[0x2] - 0x20"}},
		"memory_replay": {openMemoryReplay, []string{"1: malloc 0x10 5 7 7", "2: realloc 0x20 0x10 6 7 7", "1: free 0x20 7 7", "text"}},
		"valgrind":      {openValgrind, []string{"--7-- malloc(5) = 0x10", "--7-- realloc(0x10,6) = 0x20", "--7-- free(0x20)", "==7== text"}},
	} {
		reader, err := p.open(&Input{Name: name}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := reader.(*lineReader)
		var lines [][]byte
		for _, line := range p.lines {
			lines = append(lines, []byte(line))
		}
		b := new(trace.Block)
		r.begin(b)
		read := func() {
			for _, line := range lines {
				r.parser.parse(line)
			}
			b.Reset(0)
		}
		read()
		if n := testing.AllocsPerRun(100, read); n != 0 {
			t.Errorf("%s: %.1f allocations in %d lines", name, n, len(lines))
		}
	}
}

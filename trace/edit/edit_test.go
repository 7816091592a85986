package edit_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// read returns all events and holds them to the rules of traces, and the header
// to their count.
func read(t interface{ Fatal(...any) }, src trace.Source) (events []trace.Event) {
	r, err := src.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var v trace.Validator
	var c trace.Counter
	for {
		var b trace.Block
		if err := r.Next(&b); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := v.Block(&b); err != nil {
			t.Fatal(err)
		}
		c.Block(&b)
		for i := range b.Op {
			events = append(events, b.At(i))
		}
	}
	if src.Header().Summary != c.Summary() || !src.Header().Complete {
		t.Fatal("the header's counts are not those of the events")
	}
	return events
}

// drawTrace makes a random trace whose slots are handed out lowest first.
func drawTrace(t *rapid.T) trace.Source {
	var pool trace.SlotPool
	b := &trace.Block{}
	var live []trace.Slot
	for i := range rapid.IntRange(1, 120).Draw(t, "events") {
		e := trace.Event{Time: int64(i), Thread: uint32(i % 3), Site: trace.SiteID(i % 5)}
		switch kind := rapid.IntRange(0, 4).Draw(t, "kind"); {
		case kind < 2 || len(live) == 0:
			e.Op, e.Slot, e.Size = trace.OpAlloc, pool.Take(), uint64(i)
			e.Align = uint32(rapid.SampledFrom([]int{0, 0, 16}).Draw(t, "align"))
			live = append(live, e.Slot)
		case kind == 2:
			e.Op, e.Slot, e.Size = trace.OpRealloc, rapid.SampledFrom(live).Draw(t, "slot"), uint64(2*i)
		default:
			k := rapid.IntRange(0, len(live)-1).Draw(t, "dies")
			e.Op, e.Slot = trace.OpFree, live[k]
			pool.Give(live[k])
			live = slices.Delete(live, k, k+1)
		}
		b.Append(e)
	}
	return trace.NewMemory(&trace.Header{Program: "drawn", HasTime: true}, []*trace.Block{b})
}

// copier writes what it reads, and counts its readings.
type copier struct {
	slots edit.Slots
	ended *int
}

func (c *copier) Event(e *trace.Event, w *edit.Writer) { c.slots.Copy(e, w) }
func (c *copier) End(*edit.Writer)                     { *c.ended++ }

// TestCopy: an Editor that copies makes the same trace, slots included, kept in
// memory or not, as often as it is read.
func TestCopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawTrace(t)
		want := fmt.Sprint(read(t, src))
		for _, keep := range []uint64{0, 1 << 20} {
			ended := 0
			p, err := edit.Source(src, keep, func() (edit.Editor, error) { return &copier{ended: &ended}, nil })
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(read(t, p)); got != want || fmt.Sprint(read(t, p)) != want {
				t.Fatalf("keep %d: got %s, want %s", keep, got, want)
			}
			if p.Header().Program != "drawn" || keep == 0 && ended != 3 || keep > 0 && ended != 1 {
				t.Fatalf("keep %d: header %+v, ended %d times", keep, p.Header(), ended)
			}
		}
	})
}

// dropper drops every other object with all its events.
type dropper struct {
	slots edit.Slots
	count int
}

func (d *dropper) Event(e *trace.Event, w *edit.Writer) {
	if e.Op == trace.OpAlloc {
		if d.count++; d.count%2 == 0 {
			d.slots.Set(e.Slot, edit.None)
			return
		}
	}
	d.slots.Copy(e, w)
}

func (d *dropper) End(*edit.Writer) {}

// TestDrop: what is dropped is gone with all its events, and slots are handed
// out anew.
func TestDrop(t *testing.T) {
	b := &trace.Block{}
	for _, e := range []trace.Event{
		{Op: trace.OpAlloc, Slot: 0, Size: 10},
		{Op: trace.OpAlloc, Slot: 1, Size: 20},
		{Op: trace.OpAlloc, Slot: 2, Size: 30},
		{Op: trace.OpRealloc, Slot: 1, Size: 25},
		{Op: trace.OpFree, Slot: 1},
		{Op: trace.OpFree, Slot: 2},
	} {
		b.Append(e)
	}
	src := trace.NewMemory(&trace.Header{}, []*trace.Block{b})
	p, err := edit.Source(src, 0, func() (edit.Editor, error) { return &dropper{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	want := []trace.Event{{Op: trace.OpAlloc, Slot: 0, Size: 10}, {Op: trace.OpAlloc, Slot: 1, Size: 30}, {Op: trace.OpFree, Slot: 1}}
	if got := read(t, p); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// flood writes more events at once than a block holds.
type flood struct {
	left int
	fail error
}

func (f *flood) Close() error { return nil }

func (f *flood) Fill(w *edit.Writer) error {
	if f.left == 0 {
		if f.fail != nil {
			return f.fail
		}
		return io.EOF
	}
	f.left--
	for range trace.BlockEvents + 1 {
		e := trace.Event{Size: 8}
		w.Free(w.Alloc(&e), &e)
	}
	return nil
}

// TestFlood: blocks stay within their bound whatever is written at once, and an
// error of a Generator is an error of the trace.
func TestFlood(t *testing.T) {
	p, err := edit.Generate(&trace.Header{}, 0, func() (edit.Generator, error) { return &flood{left: 2}, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := len(read(t, p)); got != 4*(trace.BlockEvents+1) {
		t.Errorf("%d events", got)
	}
	bad := errors.New("broken")
	if _, err := edit.Generate(&trace.Header{}, 0, func() (edit.Generator, error) { return &flood{left: 1, fail: bad}, nil }); !errors.Is(err, bad) {
		t.Errorf("error %v, want %v", err, bad)
	}
	if _, err := edit.Generate(&trace.Header{}, 0, func() (edit.Generator, error) { return nil, bad }); !errors.Is(err, bad) {
		t.Errorf("error %v, want %v", err, bad)
	}
}

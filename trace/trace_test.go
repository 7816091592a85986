package trace

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// block makes a block of events.
func block(first uint64, events ...Event) *Block {
	b := new(Block)
	b.Reset(first)
	for _, e := range events {
		b.Append(e)
	}
	return b
}

func alloc(slot Slot, size uint64) Event   { return Event{Op: OpAlloc, Slot: slot, Size: size} }
func realloc(slot Slot, size uint64) Event { return Event{Op: OpRealloc, Slot: slot, Size: size} }
func free(slot Slot) Event                 { return Event{Op: OpFree, Slot: slot} }

func aligned(slot Slot, size uint64, align uint32) Event {
	return Event{Op: OpAlloc, Slot: slot, Size: size, Align: align}
}

func at(time int64, e Event) Event {
	e.Time = time
	return e
}

// TestValidator has a case for each rule.
func TestValidator(t *testing.T) {
	uneven := block(0, alloc(0, 1), free(0))
	uneven.Align = uneven.Align[:1]
	tests := []struct {
		name   string
		blocks []*Block
		event  uint64 // of the fault
		rule   string // part of it; "" for none
	}{
		{name: "no events", blocks: []*Block{block(0)}},
		{name: "all operations", blocks: []*Block{block(0, alloc(0, 5), aligned(1, 5, 64), realloc(0, 9), free(1), free(0), alloc(0, 1))}},
		{name: "lowest free slot", blocks: []*Block{block(0, alloc(0, 1), alloc(1, 1), alloc(2, 1), free(0), free(1), alloc(0, 1), alloc(1, 1), alloc(3, 1))}},
		{name: "two blocks", blocks: []*Block{block(0, at(5, alloc(0, 1))), block(1, at(5, free(0)))}},
		{name: "same time twice", blocks: []*Block{block(0, at(5, alloc(0, 1)), at(5, free(0)))}},

		{name: "first slot is not 0", blocks: []*Block{block(0, alloc(1, 1))}, rule: "lowest free slot"},
		{name: "higher slot while a lower is free", blocks: []*Block{block(0, alloc(0, 1), alloc(1, 1), free(0), alloc(2, 1))}, event: 3, rule: "lowest free slot"},
		{name: "alloc in a live slot", blocks: []*Block{block(0, alloc(0, 1), alloc(0, 1))}, event: 1, rule: "lowest free slot"},
		{name: "free of nothing", blocks: []*Block{block(0, free(0))}, rule: "free of an object that is not live"},
		{name: "second free", blocks: []*Block{block(0, alloc(0, 1), free(0)), block(2, free(0))}, event: 2, rule: "free of an object that is not live"},
		{name: "free of a slot never used", blocks: []*Block{block(0, alloc(0, 1), free(1<<32-1))}, event: 1, rule: "free of an object that is not live"},
		{name: "realloc of nothing", blocks: []*Block{block(0, alloc(0, 1), realloc(1, 1))}, event: 1, rule: "realloc of an object that is not live"},
		{name: "realloc after free", blocks: []*Block{block(0, alloc(0, 1), free(0), realloc(0, 1))}, event: 2, rule: "realloc of an object that is not live"},
		{name: "no operation", blocks: []*Block{block(0, Event{})}, rule: "unknown operation"},
		{name: "unknown operation", blocks: []*Block{block(0, alloc(0, 1), Event{Op: 4})}, event: 1, rule: "unknown operation"},
		{name: "alignment", blocks: []*Block{block(0, aligned(0, 1, 24))}, rule: "alignment is no power of two"},
		{name: "size", blocks: []*Block{block(0, alloc(0, MaxSize+1))}, rule: "size above 2^62"},
		{name: "alignment of a free", blocks: []*Block{block(0, alloc(0, 1), Event{Op: OpFree, Align: 3})}, event: 1, rule: "alignment is no power of two"},
		{name: "time before 0", blocks: []*Block{block(0, at(-1, alloc(0, 1)))}, rule: "time goes back"},
		{name: "time going back in a block", blocks: []*Block{block(0, at(5, alloc(0, 1)), at(4, free(0)))}, event: 1, rule: "time goes back"},
		{name: "time going back between blocks", blocks: []*Block{block(0, at(5, alloc(0, 1))), block(1, at(4, free(0)))}, event: 1, rule: "time goes back"},
		{name: "gap between blocks", blocks: []*Block{block(0, alloc(0, 1)), block(2, free(0))}, event: 2, rule: "block out of order"},
		{name: "first block not at 0", blocks: []*Block{block(1, alloc(0, 1))}, event: 1, rule: "block out of order"},
		{name: "columns of different lengths", blocks: []*Block{uneven}, rule: "columns of different lengths"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v Validator
			var err error
			for _, b := range tt.blocks {
				if err = v.Block(b); err != nil {
					break
				}
			}
			if tt.rule == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var fault *SemanticError
			if !errors.As(err, &fault) || fault.Event != tt.event || !strings.Contains(fault.Rule, tt.rule) {
				t.Errorf("error %v, want event %d: %s", err, tt.event, tt.rule)
			}
		})
	}
}

// TestValidatorColumns shortens each column in turn.
func TestValidatorColumns(t *testing.T) {
	for i, cut := range []func(b *Block){
		func(b *Block) { b.Op = b.Op[:1] },
		func(b *Block) { b.Slot = b.Slot[:1] },
		func(b *Block) { b.Size = b.Size[:1] },
		func(b *Block) { b.Align = b.Align[:1] },
		func(b *Block) { b.Time = b.Time[:1] },
		func(b *Block) { b.Thread = b.Thread[:1] },
		func(b *Block) { b.Site = b.Site[:1] },
	} {
		b := block(0, alloc(0, 1), free(0))
		cut(b)
		var v Validator
		if err := v.Block(b); err == nil {
			t.Errorf("column %d: no error", i)
		}
	}
}

func TestCounter(t *testing.T) {
	tests := []struct {
		name   string
		events []Event
		want   Summary
	}{
		{name: "no events", want: Summary{}},
		{
			name:   "peak reached by a realloc, kept after frees",
			events: []Event{at(3, alloc(0, 10)), at(4, aligned(1, 0, 16)), at(4, realloc(0, 30)), at(7, free(0)), at(9, alloc(0, 20)), at(9, aligned(2, 5, 64)), at(11, realloc(0, 3))},
			want: Summary{
				Events: 7, Allocs: 4, Frees: 1, Reallocs: 2, Objects: 4, Slots: 3, Threads: 1, SiteIDs: 1,
				Aligned: 2, ZeroSize: 1, Largest: 30, MaxAlign: 64, AllocSum: 10 + 0 + 30 + 20 + 5 + 3,
				FirstTime: 3, LastTime: 11,
				PeakLiveBytes: 30, PeakLiveEvent: 2, PeakLiveObjects: 3, EndLiveBytes: 8, NeverFreed: 3,
			},
		},
		{
			name:   "same peak twice: the first counts",
			events: []Event{alloc(0, 8), free(0), alloc(0, 8), free(0)},
			want: Summary{
				Events: 4, Allocs: 2, Frees: 2, Objects: 2, Slots: 1, Threads: 1, SiteIDs: 1,
				Largest: 8, AllocSum: 16, PeakLiveBytes: 8, PeakLiveEvent: 0, PeakLiveObjects: 1,
			},
		},
		{
			name:   "realloc in the same place does not count twice",
			events: []Event{alloc(0, 8), realloc(0, 8), realloc(0, 16), realloc(0, 4), free(0)},
			want: Summary{
				Events: 5, Allocs: 1, Frees: 1, Reallocs: 3, Objects: 1, Slots: 1, Threads: 1, SiteIDs: 1,
				Largest: 16, AllocSum: 36, PeakLiveBytes: 16, PeakLiveEvent: 2, PeakLiveObjects: 1,
			},
		},
		{
			name:   "threads and sites",
			events: []Event{{Op: OpAlloc, Size: 1, Thread: 4, Site: 9}, {Op: OpFree, Thread: 2, Site: 3}},
			want: Summary{
				Events: 2, Allocs: 1, Frees: 1, Objects: 1, Slots: 1, Threads: 5, SiteIDs: 10,
				Largest: 1, AllocSum: 1, PeakLiveBytes: 1, PeakLiveObjects: 1,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// However the events are cut into blocks, the counts are the same.
			for size := 1; size <= len(tt.events)+1; size++ {
				var c Counter
				first := uint64(0)
				for events := range slices.Chunk(tt.events, size) {
					c.Block(block(first, events...))
					c.Block(block(first + uint64(len(events)))) // empty
					first += uint64(len(events))
				}
				if got := c.Summary(); got != tt.want {
					t.Errorf("blocks of %d:\ngot  %+v\nwant %+v", size, got, tt.want)
				}
			}
		})
	}
}

// TestCounterBadBlocks counts events that break the rules, without a panic.
func TestCounterBadBlocks(t *testing.T) {
	var c Counter
	c.Block(block(0, free(0), realloc(5, 7), alloc(2, 1), alloc(2, 1), Event{Op: 77, Slot: 1}, free(9)))
	if s := c.Summary(); s.Events != 6 || s.Slots != 10 {
		t.Errorf("got %+v", s)
	}
}

// blocksReader is a Reader of given blocks that ends with an error.
type blocksReader struct {
	header Header
	blocks []*Block
	err    error
	closed error
	closes int
}

func (r *blocksReader) Header() *Header { return &r.header }

func (r *blocksReader) Next(b *Block) error {
	if len(r.blocks) == 0 {
		b.Reset(0)
		return r.err
	}
	*b = *r.blocks[0]
	r.blocks = r.blocks[1:]
	return nil
}

func (r *blocksReader) Close() error {
	r.closes++
	return r.closed
}

// testBlocks returns a trace of three events in two blocks.
func testBlocks() []*Block {
	return []*Block{block(0, alloc(0, 5), alloc(1, 6)), block(2, free(0))}
}

func TestMemory(t *testing.T) {
	m := NewMemory(&Header{Program: "p"}, testBlocks())
	h := m.Header()
	if !h.Complete || h.Program != "p" || h.Summary.Events != 3 || h.Summary.PeakLiveBytes != 11 || len(m.Blocks()) != 2 {
		t.Errorf("header %+v, %d blocks", h, len(m.Blocks()))
	}
	// Two readings at once, each from the first event.
	var readers [2]Reader
	for i := range readers {
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		readers[i] = Validated(r)
	}
	var b Block
	for i, want := range m.Blocks() {
		for _, r := range readers {
			if err := r.Next(&b); err != nil || b.First != want.First || !slices.Equal(b.Size, want.Size) {
				t.Fatalf("block %d: %+v, %v", i, b, err)
			}
		}
	}
	for _, r := range readers {
		for range 2 {
			if err := r.Next(&b); err != io.EOF || b.Len() != 0 {
				t.Errorf("at the end: %d events, %v", b.Len(), err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if m.Blocks()[1].Len() != 1 {
		t.Error("reading changed the trace")
	}
}

func TestReadAll(t *testing.T) {
	broken, stuck := errors.New("broken"), errors.New("stuck")
	tests := []struct {
		name  string
		r     *blocksReader
		limit int64
		ok    bool
		count uint64 // events
		errs  []error
	}{
		{name: "fits exactly", r: &blocksReader{blocks: testBlocks(), err: io.EOF}, limit: 3 * EventBytes, ok: true, count: 3},
		{name: "one byte too large", r: &blocksReader{blocks: testBlocks(), err: io.EOF}, limit: 3*EventBytes - 1},
		{name: "empty", r: &blocksReader{err: io.EOF}, ok: true},
		{name: "error in the middle", r: &blocksReader{blocks: testBlocks(), err: broken}, limit: 1 << 20, errs: []error{broken}},
		{name: "error in closing", r: &blocksReader{blocks: testBlocks(), err: io.EOF, closed: stuck}, limit: 1 << 20, ok: true, count: 3, errs: []error{stuck}},
		{name: "both errors", r: &blocksReader{err: broken, closed: stuck}, errs: []error{broken, stuck}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, ok, err := ReadAll(tt.r, tt.limit)
			if ok != tt.ok || tt.r.closes != 1 {
				t.Errorf("ok %v, closed %d times", ok, tt.r.closes)
			}
			if (err != nil) != (len(tt.errs) > 0) {
				t.Errorf("error %v", err)
			}
			for _, want := range tt.errs {
				if !errors.Is(err, want) {
					t.Errorf("error %v, want %v in it", err, want)
				}
			}
			if ok && (m.Header().Summary.Events != tt.count || !m.Header().Complete) {
				t.Errorf("%d events, want %d", m.Header().Summary.Events, tt.count)
			}
		})
	}
}

// TestEventBytes holds the constant to the columns of a Block.
func TestEventBytes(t *testing.T) {
	total := uintptr(0)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Block]()) {
		if field.Type.Kind() == reflect.Slice {
			total += field.Type.Elem().Size()
		}
	}
	if total != EventBytes {
		t.Errorf("EventBytes %d, want %d", EventBytes, total)
	}
}

func TestBlock(t *testing.T) {
	b := new(Block)
	b.Append(alloc(0, 5))
	full := Event{Op: OpRealloc, Time: 7, Size: 9, Align: 16, Thread: 2, Site: 3}
	b.Append(full)
	b.Grow(BlockEvents)
	if b.Len() != 2 || b.At(0) != alloc(0, 5) || b.At(1) != full {
		t.Errorf("after Grow: %d events, %+v, %+v", b.Len(), b.At(0), b.At(1))
	}
	b.Reset(44)
	if b.Len() != 0 || b.First != 44 {
		t.Errorf("after Reset: %d events from %d", b.Len(), b.First)
	}
	// A grown block takes a full block of events without allocating.
	if n := testing.AllocsPerRun(2, func() {
		b.Reset(0)
		b.Grow(BlockEvents)
		for range BlockEvents {
			b.Append(full)
		}
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}

func TestLoss(t *testing.T) {
	keys := map[string]bool{}
	harmless := map[LossKind]bool{LossNullFrees: true, LossFailedAllocs: true, LossOtherLines: true, LossOtherProcess: true}
	for kind := range LossKinds {
		if kind.Key() == "" || kind.Doc() == "" || keys[kind.Key()] {
			t.Errorf("kind %d: key %q, doc %q", kind, kind.Key(), kind.Doc())
		}
		keys[kind.Key()] = true
		var l Loss
		if l.Any() {
			t.Error("no loss counts as one")
		}
		l[kind] = 1
		if l.Any() == harmless[kind] {
			t.Errorf("%s: loss %v", kind.Key(), l.Any())
		}
	}
}

func TestNames(t *testing.T) {
	for op, want := range map[Op]string{OpAlloc: "alloc", OpFree: "free", OpRealloc: "realloc", 0: "invalid", 4: "invalid"} {
		if op.String() != want {
			t.Errorf("op %d: %s", op, op)
		}
	}
	for _, kind := range []SizeKind{SizesRequested, SizesBlock} {
		if got, err := ParseSizeKind(kind.String()); err != nil || got != kind {
			t.Errorf("%v: %v, %v", kind, got, err)
		}
	}
	if _, err := ParseSizeKind("blocks"); err == nil {
		t.Error("no error for an unknown kind of sizes")
	}
	h := Header{Sites: []string{"", "main"}}
	if h.SiteName(1) != "main" || h.SiteName(0) != "" || h.SiteName(2) != "" {
		t.Errorf("sites %q %q %q", h.SiteName(0), h.SiteName(1), h.SiteName(2))
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("disk on fire")
	for want, err := range map[string]error{
		"x.log: is empty":                     &SyntaxError{File: "x.log", Msg: "is empty"},
		"x.log:7: no event":                   &SyntaxError{File: "x.log", Line: 7, Off: 99, Msg: "no event"},
		"x.log: byte 99: bad: disk on fire":   &SyntaxError{File: "x.log", Off: 99, Msg: "bad", Err: cause},
		"x.log: disk on fire":                 &SyntaxError{File: "x.log", Err: cause},
		"event 3: slot 5: free of the unborn": &SemanticError{Event: 3, Slot: 5, Rule: "free of the unborn"},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
	if !errors.Is(&SyntaxError{Err: cause}, cause) {
		t.Error("the cause is not in the error")
	}
}

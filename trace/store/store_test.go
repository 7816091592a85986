package store

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
)

// drawEvents draws a sound trace.
func drawEvents(t *rapid.T) []trace.Event {
	var slots trace.SlotPool
	var live []trace.Slot
	var now int64
	threads := uint32(0)
	size := rapid.OneOf(rapid.Uint64Range(0, trace.MaxSize), rapid.Uint64Range(0, 100), rapid.Just(uint64(0)))
	events := make([]trace.Event, rapid.IntRange(0, 300).Draw(t, "events"))
	for i := range events {
		now += rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, math.MaxInt64/1000)).Draw(t, "dt")
		e := trace.Event{
			Time: now, Thread: rapid.Uint32Range(0, threads).Draw(t, "thread"),
			Site: trace.SiteID(rapid.OneOf(rapid.Uint32Range(0, 3), rapid.Uint32Range(0, maxSites-1)).Draw(t, "site")),
		}
		threads = max(threads, min(e.Thread+1, uint32(len(events)-1)))
		e.Op = trace.OpAlloc
		if len(live) > 0 {
			e.Op = trace.Op(rapid.IntRange(1, 3).Draw(t, "op"))
		}
		if e.Op != trace.OpFree {
			e.Size = size.Draw(t, "size")
		}
		if e.Op == trace.OpAlloc {
			e.Slot = slots.Take()
			live = append(live, e.Slot)
			e.Align = rapid.SampledFrom([]uint32{0, 0, 1, 16, 1 << 31}).Draw(t, "align")
		} else {
			k := rapid.IntRange(0, len(live)-1).Draw(t, "object")
			e.Slot = live[k]
			if e.Op == trace.OpFree {
				slots.Give(live[k])
				live = slices.Delete(live, k, k+1)
			}
		}
		events[i] = e
	}
	return events
}

func drawHeader(t *rapid.T) *trace.Header {
	h := &trace.Header{
		Program:   rapid.String().Draw(t, "program"),
		Source:    rapid.String().Draw(t, "source"),
		PtrBits:   rapid.SampledFrom([]int{0, 16, 32, 64}).Draw(t, "ptr"),
		Sizes:     trace.SizeKind(rapid.IntRange(0, 1).Draw(t, "sizes")),
		Synthetic: rapid.Bool().Draw(t, "synthetic"),
		HasTime:   rapid.Bool().Draw(t, "time"), HasThread: rapid.Bool().Draw(t, "thread"), HasSite: rapid.Bool().Draw(t, "site"),
		Sites: rapid.SliceOf(rapid.String()).Draw(t, "sites"),
	}
	for k := range h.Loss {
		h.Loss[k] = rapid.Uint64().Draw(t, "loss")
	}
	return h
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		m := trace.NewMemory(drawHeader(t), blocksOf(events, rapid.IntRange(1, 100).Draw(t, "block")))
		var out bytes.Buffer
		if err := storeTo(&out, m); err != nil {
			t.Fatal(err)
		}
		h, got, err := readBytes(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, events) {
			t.Fatalf("got %v, want %v", got, events)
		}
		compareHeaders(t, h, m.Header())

		// Cut elsewhere, it is the same file.
		var again bytes.Buffer
		if err := storeTo(&again, trace.NewMemory(m.Header(), blocksOf(events, rapid.IntRange(1, 100).Draw(t, "block")))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), out.Bytes()) {
			t.Fatal("the same trace in other blocks gives another file")
		}
	})
}

// compareHeaders reports where headers differ. An empty list of sites is none.
func compareHeaders(t interface{ Errorf(string, ...any) }, got, want *trace.Header) {
	var gotVersion, wantVersion uint64
	g, w := fields(got, &gotVersion), fields(want, &wantVersion)
	for i := range w {
		if g[i].text() != w[i].text() {
			t.Errorf("%s: got %s, want %s", w[i].key, g[i].text(), w[i].text())
		}
	}
	if !slices.Equal(got.Sites, want.Sites) {
		t.Errorf("sites: got %q, want %q", got.Sites, want.Sites)
	}
	if !got.Complete {
		t.Errorf("the header is not complete")
	}
}

func TestShapes(t *testing.T) {
	full := func(events int, set func(i int, e *trace.Event)) []trace.Event {
		list := make([]trace.Event, events)
		for i := range list {
			list[i] = trace.Event{Op: trace.OpAlloc + trace.Op(i%2)}
			set(i, &list[i])
			if list[i].Op == trace.OpFree {
				list[i].Size, list[i].Align = 0, 0
			}
		}
		return list
	}
	mixed, _ := synthetic(7, 3*trace.BlockEvents+17)
	tests := []struct {
		name   string
		events []trace.Event
	}{
		{"empty", nil},
		{"one event", mixed[:1]},
		{"one event more than a block", full(trace.BlockEvents+1, func(int, *trace.Event) {})},
		{"exactly two blocks", full(2*trace.BlockEvents, func(i int, e *trace.Event) { e.Size = uint64(i) })},
		{"every column", mixed},
		{"all objects stay", full(trace.BlockEvents*2, func(i int, e *trace.Event) { e.Op, e.Slot = trace.OpAlloc, trace.Slot(i) })},
		{"sizes outgrow the dictionary in the first page", full(trace.BlockEvents*2, func(i int, e *trace.Event) {
			e.Op, e.Slot, e.Size = trace.OpAlloc, trace.Slot(i), uint64(i)*0x9e3779b97f4a7c15>>2
		})},
		{"sizes outgrow the dictionary in the second page", full(trace.BlockEvents*3, func(i int, e *trace.Event) {
			e.Op, e.Slot, e.Size = trace.OpAlloc, trace.Slot(i), uint64(i/3)
		})},
		{"sites outgrow the dictionary", full(trace.BlockEvents*2, func(i int, e *trace.Event) { e.Site = trace.SiteID(i) })},
		{"threads outgrow the dictionary", full(trace.BlockEvents*2, func(i int, e *trace.Event) { e.Thread = uint32(i) })},
		{"constant page after another", full(trace.BlockEvents*3, func(i int, e *trace.Event) { e.Time = int64(min(i, trace.BlockEvents)) })},
		{"extremes", full(1000, func(i int, e *trace.Event) {
			e.Size, e.Align = uint64(trace.MaxSize)>>(i%63), 1<<(i%32)
			e.Time, e.Site = math.MaxInt64>>(1000-i), maxSites-1-trace.SiteID(i)
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, group := range []int{1, 3 * trace.BlockEvents, 0} {
				m := memoryOf(tt.events, nil, 10_000)
				var out bytes.Buffer
				w := NewWriter(&out, m.Header(), Options{RowGroup: group})
				for _, b := range m.Blocks() {
					if err := w.Write(b); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				h, got, err := readBytes(out.Bytes())
				if err != nil {
					t.Fatal(err)
				}
				compareHeaders(t, h, m.Header())
				if !slices.Equal(got, tt.events) {
					t.Fatalf("row groups of %d: events differ", group)
				}
			}
		})
	}
}

// row is an event as parquet-go's own reader sees it.
type row struct {
	Op     uint8  `parquet:"op"`
	Slot   uint32 `parquet:"slot"`
	Size   uint64 `parquet:"size"`
	Align  uint32 `parquet:"align"`
	Time   int64  `parquet:"time"`
	Thread uint32 `parquet:"thread"`
	Site   uint32 `parquet:"site"`
}

func TestReadByParquetGo(t *testing.T) {
	events, sites := synthetic(5, 2*trace.BlockEvents)
	file := stored(t, memoryOf(events, sites, trace.BlockEvents))
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.Schema().String(), parquet.SchemaOf(row{}).String(); strings.ReplaceAll(got, "trace", "row") != want {
		t.Errorf("schema: got %s, want %s", got, want)
	}
	rows, err := parquet.Read[row](bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(events) {
		t.Fatalf("%d rows, want %d", len(rows), len(events))
	}
	for i, r := range rows {
		got := trace.Event{
			Op: trace.Op(r.Op), Slot: trace.Slot(r.Slot), Size: r.Size, Align: r.Align,
			Time: r.Time, Thread: r.Thread, Site: trace.SiteID(r.Site),
		}
		if got != events[i] {
			t.Fatalf("row %d: got %+v, want %+v", i, got, events[i])
		}
	}
}

func TestDeterministic(t *testing.T) {
	events, sites := synthetic(11, 3*trace.BlockEvents+5)
	var files [][]byte
	for _, length := range []int{trace.BlockEvents, 1000, 65_535, trace.BlockEvents} {
		var out bytes.Buffer
		if err := storeTo(&out, memoryOf(events, sites, length)); err != nil {
			t.Fatal(err)
		}
		files = append(files, out.Bytes())
	}
	for i, file := range files[1:] {
		if !bytes.Equal(file, files[0]) {
			t.Errorf("file %d differs from file 0: %d and %d bytes", i+1, len(file), len(files[0]))
		}
	}
}

func TestBytesPerEvent(t *testing.T) {
	check := func(t *testing.T, m *trace.Memory, most float64) {
		var out bytes.Buffer
		if err := storeTo(&out, m); err != nil {
			t.Fatal(err)
		}
		got := float64(out.Len()) / float64(m.Header().Summary.Events)
		t.Logf("%d events, %.3f bytes each", m.Header().Summary.Events, got)
		if got > most {
			t.Errorf("%.3f bytes an event, want at most %g", got, most)
		}
	}
	t.Run("synthetic", func(t *testing.T) { // where the test material is not there
		events, sites := synthetic(47, 200_000)
		check(t, memoryOf(events, sites, trace.BlockEvents), 7) // all columns are noise
	})
	for i := range benchInputs {
		t.Run(benchInputs[i].name, func(t *testing.T) { check(t, benchTrace(t, i), 6.5) })
	}
}

func TestOpen(t *testing.T) {
	events, sites := synthetic(17, 1000)
	file := stored(t, memoryOf(events, sites, 100))
	path := filepath.Join(t.TempDir(), "trace.parquet")
	if err := os.WriteFile(path, file, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Header().Complete {
		t.Error("the header is not complete before the first event")
	}
	if got, err := readEvents(r); err != nil || !slices.Equal(got, events) {
		t.Errorf("got %d events, %v", len(got), err)
	}
	b := new(trace.Block)
	if err := r.Next(b); err != io.EOF || b.Len() != 0 {
		t.Errorf("Next at the end: %v and %d events", err, b.Len())
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Close left the file open: %v", err)
	}
	if err := r.Next(b); err == nil || err == io.EOF {
		t.Errorf("Next after Close: %v", err)
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory: %v", err)
	}
}

func TestOpenStream(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	events, sites := synthetic(19, 1000)
	file := stored(t, memoryOf(events, sites, 100))
	broken := errors.New("cable pulled")
	tests := []struct {
		name  string
		in    io.Reader
		limit int64
		want  string // of the error
	}{
		{name: "whole", in: bytes.NewReader(file), limit: maxSpool},
		{name: "of the largest length", in: bytes.NewReader(file), limit: int64(len(file))},
		{name: "too long", in: bytes.NewReader(file), limit: int64(len(file)) - 1, want: "is longer than"},
		{name: "cut off", in: bytes.NewReader(file[:len(file)/2]), limit: maxSpool, want: "cut off"},
		{name: "empty", in: bytes.NewReader(nil), limit: maxSpool, want: "is no Parquet file"},
		{name: "short", in: strings.NewReader("PAR"), limit: maxSpool, want: "is no Parquet file"},
		{name: "other", in: strings.NewReader("a 0 5\n"), limit: maxSpool, want: "is no Parquet file"},
		{name: "broken", in: io.MultiReader(bytes.NewReader(file[:100]), &failingReader{broken}), limit: maxSpool, want: "cable pulled"},
		{name: "broken at once", in: &failingReader{broken}, limit: maxSpool, want: "cable pulled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := openStream(tt.in, "stdin", tt.limit)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "stdin") {
					t.Errorf("got %v, want an error with stdin and %q", err, tt.want)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				if got, err := readEvents(r); err != nil || !slices.Equal(got, events) {
					t.Errorf("got %d events, %v", len(got), err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
			if left, err := os.ReadDir(temp); len(left) != 0 || err != nil {
				t.Errorf("temporary files left behind: %v, %v", left, err)
			}
		})
	}
	if r, err := OpenStream(bytes.NewReader(file), "stdin"); err != nil {
		t.Error(err)
	} else if err := r.Close(); err != nil {
		t.Error(err)
	}
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestSniff(t *testing.T) {
	for head, want := range map[string]bool{"PAR1": true, "PAR1\x15\x04": true, "PAR": false, "": false, "PARE....": false, "a 0 5\n": false} {
		if got := Sniff([]byte(head)); got != want {
			t.Errorf("Sniff(%q) = %v", head, got)
		}
	}
}

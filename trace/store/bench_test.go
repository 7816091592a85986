package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fragprof/fragprof/trace"
)

var long = flag.Bool("long", false, "measure and test on 20 M events instead of 2 M")

func benchEvents() int {
	if *long {
		return 20_000_000
	}
	return 2_000_000
}

// benchInputs are the traces that speed and size are measured on, each again
// and again up to benchEvents.
var benchInputs = []struct{ name, file string }{
	{"long", "ops/synthetic/long.ops.gz"},
	{"node", "traces/hrec-text/node.hrec.txt.gz"},
	{"python", "traces/hrec-text/python.hrec.txt.gz"},
}

// The yardstick: a plain encoding by hand of the same columns, event by event.
// A byte holds the operation and says which of the columns that are often
// absent or unchanged follow; then come slot, size, alignment, time since the
// last event, thread and call site as varints, each only if it is there.
const (
	varSize = 1 << (2 + iota)
	varAlign
	varTime
	varThread
	varSite
)

// maxVarint bounds the bytes of an event.
const maxVarint = 1 + 5 + 10 + 5 + 10 + 5 + 5

type varintState struct {
	time   int64
	thread uint32
}

// appendVarint appends the events of b to out.
func (s *varintState) appendVarint(out []byte, b *trace.Block) []byte {
	n := len(b.Op)
	slots, sizes, aligns, times := b.Slot[:n], b.Size[:n], b.Align[:n], b.Time[:n]
	threads, sites := b.Thread[:n], b.Site[:n]
	now, thread := s.time, s.thread
	for i, op := range b.Op {
		at := len(out)
		out = append(out, 0)
		head := byte(op)
		out = binary.AppendUvarint(out, uint64(slots[i]))
		if v := sizes[i]; v != 0 {
			head |= varSize
			out = binary.AppendUvarint(out, v)
		}
		if v := aligns[i]; v != 0 {
			head |= varAlign
			out = binary.AppendUvarint(out, uint64(v))
		}
		if v := times[i]; v != now {
			head |= varTime
			out = binary.AppendUvarint(out, uint64(v-now))
			now = v
		}
		if v := threads[i]; v != thread {
			head |= varThread
			out = binary.AppendUvarint(out, uint64(v))
			thread = v
		}
		if v := sites[i]; v != 0 {
			head |= varSite
			out = binary.AppendUvarint(out, uint64(v))
		}
		out[at] = head
	}
	s.time, s.thread = now, thread
	return out
}

// uvarint is binary.Uvarint with its usual case in line.
func uvarint(b []byte, i int) (uint64, int) {
	if v := b[i]; v < 0x80 {
		return uint64(v), i + 1
	}
	v, n := binary.Uvarint(b[i:])
	return v, i + n
}

// decodeVarint fills b with events from in, which has maxVarint bytes behind
// the last event, and returns the bytes read.
func (s *varintState) decodeVarint(in []byte, b *trace.Block, events int) int {
	ops, slots, sizes, aligns := b.Op[:events], b.Slot[:events], b.Size[:events], b.Align[:events]
	times, threads, sites := b.Time[:events], b.Thread[:events], b.Site[:events]
	now, thread := s.time, s.thread
	at := 0
	for i := range ops {
		head := in[at]
		at++
		ops[i] = trace.Op(head & 3)
		var v uint64
		v, at = uvarint(in, at)
		slots[i] = trace.Slot(v)
		if v = 0; head&varSize != 0 {
			v, at = uvarint(in, at)
		}
		sizes[i] = v
		if v = 0; head&varAlign != 0 {
			v, at = uvarint(in, at)
		}
		aligns[i] = uint32(v)
		if head&varTime != 0 {
			v, at = uvarint(in, at)
			now += int64(v)
		}
		times[i] = now
		if head&varThread != 0 {
			v, at = uvarint(in, at)
			thread = uint32(v)
		}
		threads[i] = thread
		if v = 0; head&varSite != 0 {
			v, at = uvarint(in, at)
		}
		sites[i] = trace.SiteID(v)
	}
	s.time, s.thread = now, thread
	return at
}

// varintReader reads varint events from a file by the block.
type varintReader struct {
	in    *bufio.Reader
	left  uint64
	next  uint64
	state varintState
}

func (r *varintReader) Next(b *trace.Block) error {
	if r.left == 0 {
		return io.EOF
	}
	b.Grow(trace.BlockEvents)
	b.Reset(r.next)
	events := int(min(r.left, trace.BlockEvents))
	b.Op, b.Slot, b.Size, b.Align = b.Op[:events], b.Slot[:events], b.Size[:events], b.Align[:events]
	b.Time, b.Thread, b.Site = b.Time[:events], b.Thread[:events], b.Site[:events]
	in, err := r.in.Peek(trace.BlockEvents * maxVarint)
	if err != nil && err != io.EOF {
		return err
	}
	if len(in) < events*maxVarint { // near the end
		in = append(slices.Clone(in), make([]byte, maxVarint)...)
	}
	if _, err := r.in.Discard(r.state.decodeVarint(in, b, events)); err != nil {
		return err
	}
	r.next += uint64(events)
	r.left -= uint64(events)
	return nil
}

// varintTo writes a trace as varints to w, a block at a time through buf.
func varintTo(w io.Writer, buf []byte, m *trace.Memory) error {
	var s varintState
	for _, b := range m.Blocks() {
		buf = s.appendVarint(buf[:0], b)
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// TestVarint makes sure that the yardstick measures what it should.
func TestVarint(t *testing.T) {
	events, sites := synthetic(1, 100_000)
	m := memoryOf(events, sites, trace.BlockEvents)
	var out bytes.Buffer
	if err := varintTo(&out, nil, m); err != nil {
		t.Fatal(err)
	}
	r := &varintReader{in: bufio.NewReaderSize(&out, trace.BlockEvents*maxVarint), left: uint64(len(events))}
	b := new(trace.Block)
	for first := 0; first < len(events); first += b.Len() {
		if err := r.Next(b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Len() {
			if got, want := b.At(i), events[first+i]; got != want {
				t.Fatalf("event %d: got %+v, want %+v", first+i, got, want)
			}
		}
	}
}

// benchTrace is an input in memory.
func benchTrace(tb testing.TB, i int) *trace.Memory {
	events, sites := loadEvents(tb, benchInputs[i].file)
	m, ok, err := trace.ReadAll(newRepeated(freeAll(events), sites, benchEvents()), 1<<40)
	if err != nil || !ok {
		tb.Fatal(ok, err)
	}
	return m
}

// freeAll adds frees of the objects that are alive after the last event.
func freeAll(events []trace.Event) []trace.Event {
	last := events[len(events)-1]
	live := map[trace.Slot]bool{}
	for _, e := range events {
		live[e.Slot] = e.Op != trace.OpFree
	}
	for _, slot := range slices.Sorted(maps.Keys(live)) {
		if live[slot] {
			events = append(events, trace.Event{Op: trace.OpFree, Slot: slot, Time: last.Time, Thread: last.Thread})
		}
	}
	return events
}

// nexter is what varintReader and reader have in common.
type nexter interface{ Next(*trace.Block) error }

// drain reads all events into one block and returns how long that took and how
// many there were. That both readers give the same events is TestVarint's.
func drain(tb testing.TB, r nexter) (took time.Duration, events uint64) {
	b := new(trace.Block)
	b.Grow(trace.BlockEvents)
	start := time.Now()
	for {
		err := r.Next(b)
		if err == io.EOF {
			return time.Since(start), events
		}
		if err != nil {
			tb.Fatal(err)
		}
		events += uint64(b.Len())
	}
}

func writeFile(tb testing.TB, write func(io.Writer) error) *os.File {
	f, err := os.Create(filepath.Join(tb.TempDir(), "trace"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	if err := write(f); err != nil {
		tb.Fatal(err)
	}
	return f
}

func fileSize(tb testing.TB, f *os.File) int64 {
	st, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	return st.Size()
}

func storeTo(w io.Writer, m *trace.Memory) error {
	r, err := m.Open()
	if err != nil {
		return err
	}
	return errors.Join(WriteAll(w, r), r.Close())
}

// BenchmarkDecode reads stored traces from files, and the same events encoded
// as varints, in turn. One iteration is the whole trace. checked/raw is the
// cost of Open's reader, which also validates and counts the events, as a
// multiple of that of decoding alone.
func BenchmarkDecode(b *testing.B) {
	for i := range benchInputs {
		b.Run(benchInputs[i].name, func(b *testing.B) {
			m := benchTrace(b, i)
			events := m.Header().Summary.Events
			stored := writeFile(b, func(w io.Writer) error { return storeTo(w, m) })
			plain := writeFile(b, func(w io.Writer) error { return varintTo(w, nil, m) })
			size, varintSize := fileSize(b, stored), fileSize(b, plain)
			open := func() *reader {
				r, err := newReader(stored, size, "trace")
				if err != nil {
					b.Fatal(err)
				}
				return r
			}
			in := bufio.NewReaderSize(nil, trace.BlockEvents*maxVarint)
			var raw, check, varint []float64
			for b.Loop() {
				took, n := drain(b, open())
				raw = append(raw, took.Seconds())
				if _, err := plain.Seek(0, io.SeekStart); err != nil {
					b.Fatal(err)
				}
				in.Reset(plain)
				took, n2 := drain(b, &varintReader{in: in, left: events})
				varint = append(varint, took.Seconds())
				took, n3 := drain(b, newChecked(open()))
				check = append(check, took.Seconds())
				if n != events || n2 != events || n3 != events {
					b.Fatalf("read %d, %d and %d events, want %d", n, n2, n3, events)
				}
			}
			b.ReportMetric(float64(events)/median(raw)/1e6, "Mevents/s")
			b.ReportMetric(median(varint)/median(raw), "ratio_to_varint")
			b.ReportMetric(median(check)/median(raw), "checked/raw")
			b.ReportMetric(float64(size)/float64(events), "B/event")
			b.ReportMetric(float64(varintSize)/float64(events), "varint_B/event")
		})
	}
}

// BenchmarkEncode stores traces in a buffer made in advance, and encodes the
// same events as varints into another, in turn.
func BenchmarkEncode(b *testing.B) {
	for i := range benchInputs {
		b.Run(benchInputs[i].name, func(b *testing.B) {
			m := benchTrace(b, i)
			events := m.Header().Summary.Events
			out := bytes.NewBuffer(make([]byte, 0, events*maxVarint/2))
			buf := make([]byte, 0, trace.BlockEvents*maxVarint)
			var stored, varint []float64
			size := 0
			for b.Loop() {
				out.Reset()
				start := time.Now()
				if err := storeTo(out, m); err != nil {
					b.Fatal(err)
				}
				stored = append(stored, time.Since(start).Seconds())
				size = out.Len()

				out.Reset()
				start = time.Now()
				if err := varintTo(out, buf, m); err != nil {
					b.Fatal(err)
				}
				varint = append(varint, time.Since(start).Seconds())
			}
			b.ReportMetric(float64(events)/median(stored)/1e6, "Mevents/s")
			b.ReportMetric(median(varint)/median(stored), "ratio_to_varint")
			b.ReportMetric(float64(size)/float64(events), "B/event")
		})
	}
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

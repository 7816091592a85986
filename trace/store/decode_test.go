package store

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/format"

	"github.com/fragprof/fragprof/trace"
)

// uvarints returns numbers as the encodings write them.
func uvarints(nums ...uint64) (b []byte) {
	for _, n := range nums {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func TestDecodePage(t *testing.T) {
	const (
		dict  = format.RLEDictionary
		delta = format.DeltaBinaryPacked
	)
	abc := []uint64{10, 20, 30}
	tests := []struct {
		name     string
		encoding format.Encoding
		data     []byte
		want     []uint64 // as many as there are asked for; nil if there is an error
		err      string
	}{
		{name: "one run", encoding: dict, data: []byte{2, 4 << 1, 2}, want: []uint64{30, 30, 30, 30}},
		{name: "runs", encoding: dict, data: []byte{2, 1 << 1, 1, 2 << 1, 2}, want: []uint64{20, 30, 30}},
		{name: "bit-packed", encoding: dict, data: []byte{2, 1<<1 | 1, 0b10_01_00_10, 0b00}, want: []uint64{30, 10, 20, 30}},
		{name: "wide place of a run", encoding: dict, data: []byte{9, 2 << 1, 1, 0}, want: []uint64{20, 20}},
		{name: "empty", encoding: dict, data: nil, err: "too early"},
		{name: "width alone", encoding: dict, data: []byte{2}, err: "too early"},
		{name: "width 0", encoding: dict, data: []byte{0, 4 << 1}, err: "0 bits"},
		{name: "width 16", encoding: dict, data: []byte{16, 4 << 1, 0, 0}, err: "16 bits"},
		{name: "width 255", encoding: dict, data: []byte{255, 4 << 1, 0, 0}, err: "255 bits"},
		{name: "place of a run", encoding: dict, data: []byte{2, 4 << 1, 3}, err: "place 3 in a dictionary of 3"},
		{name: "bit-packed place", encoding: dict, data: []byte{2, 1<<1 | 1, 0b11, 0}, err: "place 3 in a dictionary of 3"},
		{name: "run without its value", encoding: dict, data: []byte{2, 4 << 1}, err: "a run of 4"},
		{name: "run of 0", encoding: dict, data: []byte{2, 0, 0}, err: "a run of 0"},
		{name: "run too long", encoding: dict, data: []byte{2, 5 << 1, 0}, err: "a run of 5"},
		{name: "run of 2^31", encoding: dict, data: append([]byte{2}, uvarints(1<<32)...), err: "a run of"},
		{name: "run of 2^63", encoding: dict, data: append([]byte{2}, uvarints(1<<64-2)...), err: "a run of"},
		{name: "too few", encoding: dict, data: []byte{2, 3 << 1, 0}, err: "too early"},
		{name: "2^63 groups", encoding: dict, data: append([]byte{2}, uvarints(1<<64-1)...), err: "too early"},
		{name: "groups without data", encoding: dict, data: []byte{2, 1<<1 | 1, 0}, err: "a run of 8"},
		{name: "two groups for four values", encoding: dict, data: []byte{2, 2<<1 | 1, 0, 0, 0, 0}, err: "a run of 16"},
		{name: "bytes behind the runs", encoding: dict, data: []byte{2, 4 << 1, 1, 9}, err: "1 bytes behind"},
		{name: "endless number", encoding: dict, data: append([]byte{2}, bytes.Repeat([]byte{0x80}, 20)...), err: "too early"},
		{name: "delta", encoding: delta, data: append(uvarints(128, 4, 4, 10<<1), 5<<1, 0, 0, 0, 0), want: []uint64{10, 15, 20, 25}},
		{name: "delta of one value", encoding: delta, data: uvarints(128, 4, 1, 7<<1), want: []uint64{7}},
		{name: "delta of no bytes", encoding: delta, data: nil, err: "delta-encoded"},
		{name: "delta block size", encoding: delta, data: append(uvarints(1<<40, 4, 4, 20), 10, 0, 0, 0, 0), err: "for 128"},
		{name: "delta mini-blocks", encoding: delta, data: append(uvarints(128, 0, 4, 20), 10, 0, 0, 0, 0), err: "for 4"},
		{name: "delta of 2^31 values", encoding: delta, data: append(uvarints(128, 4, 1<<31, 20), 10, 0, 0, 0, 0), err: "says 2147483648"},
		{name: "delta of one value less", encoding: delta, data: append(uvarints(128, 4, 3, 20), 10, 0, 0, 0, 0), err: "says 3"},
		{name: "delta without blocks", encoding: delta, data: uvarints(128, 4, 4, 20), err: "too early"},
		{name: "delta width", encoding: delta, data: append(append(uvarints(128, 4, 4, 20), 10, 65, 0, 0, 0), make([]byte, 4096)...), err: "too early"},
		{name: "delta data", encoding: delta, data: append(append(uvarints(128, 4, 4, 20), 10, 8, 0, 0, 0), make([]byte, 31)...), err: "too early"},
		{name: "bytes behind the deltas", encoding: delta, data: append(uvarints(128, 4, 4, 20), 10, 0, 0, 0, 0, 1), err: "1 bytes behind"},
		{name: "plain", encoding: format.Plain, data: make([]byte, 32), err: "PLAIN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			vals := make([]uint64, max(len(tt.want), 4*min(1, len(tt.err))))
			err := decodePage(new(decoder), tt.encoding, withSlack(tt.data), abc, vals)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want an error with %q", err, tt.err)
				}
			} else if err != nil || !slices.Equal(vals, tt.want) {
				t.Fatalf("got %v, %v, want %v", vals, err, tt.want)
			}
		})
	}
	if err := decodePage(new(decoder), delta, withSlack(uvarints(128, 4, 1, 2)), abc, make([]trace.Op, 1)); err == nil {
		t.Error("operations were delta-decoded")
	}
	wide := withSlack(append(append(uvarints(128, 4, 4, 20), 10, 33, 0, 0, 0), make([]byte, 33*4)...))
	if err := decodePage(new(decoder), delta, wide, abc, make([]uint32, 4)); err == nil {
		t.Error("a 32-bit column took deltas of 33 bits")
	}
}

// withSlack returns data as the reader has it, with room behind.
func withSlack(data []byte) []byte { return append(make([]byte, 0, len(data)+slack), data...) }

// FuzzDecodePage feeds the decoders what no CRC has seen: they return an error
// or as many values as were asked for, and allocate no more than those take.
func FuzzDecodePage(f *testing.F) {
	f.Add(true, uint16(4), uint16(3), []byte{2, 4 << 1, 2})
	f.Add(true, uint16(8), uint16(300), []byte{9, 1<<1 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add(false, uint16(4), uint16(0), append(uvarints(128, 4, 4, 20), 10, 0, 0, 0, 0))
	packed, err := new(delta.BinaryPackedEncoding).EncodeInt32(nil, []int32{1, 5, -7, 1 << 30, 9, 9, 9, 0, -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, uint16(9), uint16(0), packed)
	f.Fuzz(func(t *testing.T, dictionary bool, events, entries uint16, data []byte) {
		if events == 0 {
			return
		}
		encoding := format.DeltaBinaryPacked
		if dictionary {
			encoding = format.RLEDictionary
		}
		dict := make([]uint64, entries)
		for i := range dict {
			dict[i] = uint64(i)
		}
		data = withSlack(data)
		small, wide := make([]uint32, events), make([]uint64, events)
		before := allocated()
		smallErr := decodePage(new(decoder), encoding, data, dict, small)
		wideErr := decodePage(new(decoder), encoding, data, dict, wide)
		if got := allocated() - before; got > 8<<20 {
			t.Errorf("%d bytes allocated for %d values", got, events)
		}
		if dictionary && (smallErr == nil) != (wideErr == nil) {
			t.Errorf("one column can be read and the other not: %v, %v", smallErr, wideErr)
		}
		for i := range wide {
			if dictionary && wideErr == nil && (wide[i] >= uint64(entries) || uint64(small[i]) != wide[i]) {
				t.Fatalf("value %d: %d and %d from a dictionary of %d", i, small[i], wide[i], entries)
			}
		}
	})
}

// FuzzOpen feeds the reader files: it returns a trace that keeps the rules or
// an error, and a trace it accepts can be stored and read again.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 1, 60} {
		events, sites := synthetic(uint64(n), n)
		m := memoryOf(events, sites, 100)
		f.Add(storedSmall(f, m, 20, 2))
	}
	f.Add([]byte("PAR1\x00\x00\x00\x00PAR1"))
	f.Fuzz(func(t *testing.T, file []byte) {
		before := allocated()
		h, events, err := readBytes(file)
		if got, limit := allocated()-before, uint64(64<<20+100*len(file)); got > limit {
			t.Errorf("%d bytes allocated for a file of %d", got, len(file))
		}
		if err != nil {
			if err == io.EOF || strings.Contains(err.Error(), "runtime error") {
				t.Errorf("bad error: %v", err)
			}
			return
		}
		again := *h
		m := trace.NewMemory(&again, blocksOf(events, trace.BlockEvents))
		if m.Header().Summary != h.Summary {
			t.Errorf("summary %+v, counted %+v", h.Summary, m.Header().Summary)
		}
		h2, events2, err := readBytes(stored(t, m))
		if err != nil || !slices.Equal(events2, events) {
			t.Fatalf("stored again: %d events, %v, want %d", len(events2), err, len(events))
		}
		compareHeaders(t, h2, h)
	})
}

func TestCheckThrift(t *testing.T) {
	deep := func(n int) []byte {
		return append(bytes.Repeat([]byte{0x1c}, n), make([]byte, n+1)...)
	}
	tests := []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"empty struct", []byte{0}, true},
		{"numbers", []byte{0x15, 2, 0x16, 0x80, 1, 0x13, 9, 0x14, 4, 0}, true},
		{"flags", []byte{0x11, 0x12, 0}, true},
		{"double", append([]byte{0x17}, make([]byte, 9)...), true},
		{"text", []byte{0x18, 2, 'a', 'b', 0}, true},
		{"long field number", []byte{0x05, 0x80, 2, 2, 0}, true},
		{"list of numbers", []byte{0x19, 0x25, 1, 1, 0}, true},
		{"list of flags", []byte{0x19, 0x22, 1, 2, 0}, true},
		{"list of empty structs", []byte{0x19, 0x3c, 0, 0, 0, 0}, true},
		{"structs as deep as allowed", deep(maxThriftDepth), true},
		{"structs one deeper", deep(maxThriftDepth + 1), false},
		{"nothing", nil, false},
		{"no end", []byte{0x15, 2}, false},
		{"number cut off", []byte{0x15, 0x80}, false},
		{"double cut off", []byte{0x17, 1, 2, 3}, false},
		{"text cut off", []byte{0x18, 5, 'a', 'b', 0}, false},
		{"list cut off", []byte{0x19, 0x35, 1, 1}, false},
		{"list longer than the rest", []byte{0x19, 0xf5, 0x7f, 1, 1, 0}, false},
		{"inner list too long", slices.Concat([]byte{0x1c, 0x19, 0xf3, maxThriftList + 1}, make([]byte, maxThriftList+3)), false},
		{"inner list as long as allowed", slices.Concat([]byte{0x1c, 0x19, 0xf3, maxThriftList}, make([]byte, maxThriftList+2)), true},
		{"no such type", []byte{0x1f, 0}, false},
		{"byte behind the end", []byte{0, 0}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := checkThrift(tt.b); (err == nil) != tt.ok {
				t.Errorf("got %v, want no error: %v", err, tt.ok)
			}
		})
	}
}

// TestChecked stores events that break a rule, which a Writer does not see,
// and wants the reader to.
func TestChecked(t *testing.T) {
	sound, sites := synthetic(29, 500)
	tests := []struct {
		name   string
		change func(events []trace.Event)
		want   string
	}{
		{"nothing", func([]trace.Event) {}, ""},
		{"unknown operation", func(e []trace.Event) { e[300].Op = 9 }, "event 300: slot "},
		{"slot not the lowest", func(e []trace.Event) { e[0].Slot = 1 }, "event 0: slot 1: alloc is not at the lowest free slot"},
		{"free of nothing", func(e []trace.Event) { e[0].Op, e[0].Size, e[0].Align = trace.OpFree, 0, 0 }, "event 0"},
		{"odd alignment", func(e []trace.Event) { e[400].Align = 3 }, "event 400"},
		{"time goes back", func(e []trace.Event) { e[200].Time = 0 }, "event 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			events := slices.Clone(sound)
			tt.change(events)
			m := memoryOf(events, sites, 100)
			good := *memoryOf(sound, sites, 100).Header()
			file := storedSmall(t, trace.CountedMemory(&good, m.Blocks()), 100, 2)
			_, got, err := readBytes(file)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if len(got)%100 != 0 || !slices.Equal(got, sound[:len(got)]) {
				t.Errorf("%d events were passed on before the fault, not all of them sound", len(got))
			}
		})
	}
}

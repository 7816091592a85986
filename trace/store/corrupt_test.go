package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// allocated returns the bytes of heap ever allocated by the process.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// smallTrace is a trace in a file of many pages and row groups, and that file.
func smallTrace(tb testing.TB) (*trace.Memory, []byte) {
	events, sites := synthetic(23, 700)
	m := memoryOf(events, sites, 100)
	return m, storedSmall(tb, m, 100, 3)
}

// tryRead reads a file that may be damaged. It returns nil only if what it
// reads is m, to the last field.
func tryRead(file []byte, m *trace.Memory) error {
	r, err := openBytes(file)
	if err != nil {
		return err
	}
	defer r.Close()
	var diff differences
	compareHeaders(&diff, r.Header(), m.Header())
	events, err := readEvents(r)
	if err != nil {
		return err
	}
	want, err := readEvents(must(m.Open()))
	if err != nil {
		return err
	}
	if !slices.Equal(events, want) {
		diff = append(diff, "other events")
	}
	if len(diff) > 0 {
		return silentError(strings.Join(diff, ", "))
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// silentError is what must never happen: wrong data without an error.
type silentError string

func (e silentError) Error() string { return "read without an error: " + string(e) }

type differences []string

func (d *differences) Errorf(form string, args ...any) { *d = append(*d, fmt.Sprintf(form, args...)) }

// TestCorruption damages a file in every way that accidents do.
func TestCorruption(t *testing.T) {
	m, file := smallTrace(t)
	footerAt := len(file) - 8 - int(binary.LittleEndian.Uint32(file[len(file)-8:]))
	rng := rand.New(rand.NewPCG(1, 2))
	damage := []struct {
		name   string
		trials int
		do     func(b []byte, i int) []byte
		benign bool // some damage of this kind concerns nobody, as in statistics
	}{
		{name: "truncated at every length", trials: len(file), do: func(b []byte, i int) []byte { return b[:i] }},
		{name: "a bit of every byte of the pages", trials: footerAt, do: func(b []byte, i int) []byte {
			b[i] ^= 1 << rng.IntN(8)
			return b
		}, benign: true},
		{name: "every bit of the footer's end", trials: 8 * 64, do: func(b []byte, i int) []byte {
			b[len(b)-1-i/8] ^= 1 << (i % 8)
			return b
		}, benign: true},
		{name: "a bit of every byte of the footer", trials: len(file) - footerAt, do: func(b []byte, i int) []byte {
			b[footerAt+i] ^= 1 << rng.IntN(8)
			return b
		}, benign: true},
		{name: "random bytes", trials: 3000, do: func(b []byte, i int) []byte {
			for range 1 + i%3 {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			return b
		}, benign: true},
		{name: "random bytes of the footer", trials: 3000, do: func(b []byte, i int) []byte {
			for range 1 + i%3 {
				b[footerAt+rng.IntN(len(b)-footerAt)] = byte(rng.Uint32())
			}
			return b
		}, benign: true},
		{name: "zeros at the end, as a crash leaves", trials: 100, do: func(b []byte, i int) []byte {
			clear(b[len(b)*i/100:])
			return b
		}},
		{name: "a piece is missing", trials: 1000, do: func(b []byte, _ int) []byte {
			from := rng.IntN(len(b) - 1)
			return slices.Delete(b, from, from+1+rng.IntN(len(b)-from-1))
		}},
	}
	for _, d := range damage {
		t.Run(d.name, func(t *testing.T) {
			unharmed := 0
			var most uint64
			for i := range d.trials {
				b := d.do(slices.Clone(file), i)
				before := allocated()
				err := tryRead(b, m)
				most = max(most, allocated()-before)
				var silent silentError
				var syntax *trace.SyntaxError
				var semantic *trace.SemanticError
				switch {
				case err == nil:
					if !d.benign && !bytes.Equal(b, file) {
						t.Fatalf("trial %d: read without an error", i)
					}
					unharmed++
				case errors.As(err, &silent):
					t.Fatalf("trial %d: %v", i, err)
				case !errors.As(err, &syntax) && !errors.As(err, &semantic):
					t.Fatalf("trial %d: error of type %T: %v", i, err, err)
				case errors.Is(err, io.EOF):
					t.Fatalf("trial %d: an error that is io.EOF: %v", i, err)
				case strings.Contains(err.Error(), "runtime error"):
					t.Fatalf("trial %d: the error is a recovered panic: %v", i, err)
				}
			}
			t.Logf("%d trials, %d with nothing lost, at most %d KiB allocated", d.trials, unharmed, most>>10)
			if limit := uint64(4 << 20); most > limit {
				t.Errorf("a damaged file of %d bytes made %d MiB be allocated", len(file), most>>20)
			}
		})
	}
}

package formats

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// benchLog writes a log of many allocations and frees of a program with some
// 20,000 live objects, a call by a call, in the form that print gives it.
func benchLog(events int, print func(w *bytes.Buffer, op byte, addr, old, size uint64)) []byte {
	const live = 20_000
	rng := rand.New(rand.NewPCG(1, 2))
	var out bytes.Buffer
	addrs := make([]uint64, 0, live)
	next := uint64(0x7f3a_5c00_0000)
	for range events {
		size := uint64(8 << rng.IntN(8))
		switch i := rng.IntN(max(len(addrs), 1)); {
		case len(addrs) == 0 || len(addrs) < live && rng.IntN(2) == 0:
			addrs = append(addrs, next)
			print(&out, 'a', next, 0, size)
			next += size + 16
		case rng.IntN(20) == 0:
			print(&out, 'r', next, addrs[i], size)
			addrs[i] = next
			next += size + 16
		default:
			print(&out, 'f', addrs[i], 0, 0)
			addrs[i] = addrs[len(addrs)-1]
			addrs = addrs[:len(addrs)-1]
		}
	}
	return out.Bytes()
}

// benchRead reports how many lines a second a reader takes.
func benchRead(b *testing.B, format string, log []byte) {
	benchReadOptions(b, format, log, Options{})
}

// benchReadOptions is benchRead with options.
func benchReadOptions(b *testing.B, format string, log []byte, o Options) {
	f, err := Lookup(format)
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Count(log, []byte("\n"))
	block := new(trace.Block)
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := f.Open(&Input{Name: "bench", r: bytes.NewReader(log)}, o)
		if err != nil {
			b.Fatal(err)
		}
		for err = r.Next(block); err == nil; err = r.Next(block) {
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlines/s")
}

const benchEvents = 300_000

// replayLog is a log in the older form of memory_replay.
func replayLog() []byte {
	return benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, size uint64) {
		switch op {
		case 'a':
			fmt.Fprintf(w, "4242: malloc %#x %d\n", addr, size)
		case 'r':
			fmt.Fprintf(w, "4242: realloc %#x %#x %d\n", addr, old, size)
		case 'f':
			fmt.Fprintf(w, "4242: free %#x\n", addr)
		}
	})
}

func BenchmarkMemoryReplay(b *testing.B) { benchRead(b, "memory_replay", replayLog()) }

// BenchmarkLineScanner only cuts the same log into lines: what part of the
// readers' time that is.
func BenchmarkLineScanner(b *testing.B) {
	log := replayLog()
	b.SetBytes(int64(len(log)))
	lines := 0
	for b.Loop() {
		s := lineScanner{r: bytes.NewReader(log)}
		for _, err := s.next(); err == nil; _, err = s.next() {
			lines++
		}
	}
	b.ReportMetric(float64(lines)/b.Elapsed().Seconds()/1e6, "Mlines/s")
}

func BenchmarkMemoryReplayTimes(b *testing.B) {
	now := uint64(1859295649076)
	benchRead(b, "memory_replay", benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, size uint64) {
		now += 70
		tid := 4242 + now%5
		switch op {
		case 'a':
			fmt.Fprintf(w, "%d: malloc %#x %d %d %d\n", tid, addr, size, now, now+40)
		case 'r':
			fmt.Fprintf(w, "%d: realloc %#x %#x %d %d %d\n", tid, addr, old, size, now, now+40)
		case 'f':
			fmt.Fprintf(w, "%d: free %#x %d %d\n", tid, addr, now, now+40)
		}
	}))
}

func BenchmarkMtrace(b *testing.B) {
	benchRead(b, "mtrace", benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, size uint64) {
		where := fmt.Sprintf("@ /usr/lib/libsqlite3.so.0:(sqlite3_free+62)[%#x]", 0xa6cd2+size)
		switch op {
		case 'a':
			fmt.Fprintf(w, "%s + %#x %#x\n", where, addr, size)
		case 'r':
			fmt.Fprintf(w, "%s < %#x\n%s > %#x %#x\n", where, old, where, addr, size)
		case 'f':
			fmt.Fprintf(w, "%s - %#x\n", where, addr)
		}
	}))
}

func BenchmarkRep(b *testing.B) {
	ids := map[uint64]int{}
	id := func(addr uint64) int {
		if _, ok := ids[addr]; !ok {
			ids[addr] = len(ids)
		}
		return ids[addr]
	}
	log := benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, size uint64) {
		switch op {
		case 'a':
			fmt.Fprintf(w, "a %d %d\n", id(addr), size)
		case 'r':
			ids[addr] = id(old)
			fmt.Fprintf(w, "r %d %d\n", id(addr), size)
		case 'f':
			fmt.Fprintf(w, "f %d\n", id(addr))
		}
	})
	benchRead(b, "rep", append([]byte("20000000\n300000\n300000\n1\n"), log...))
}

func valgrindLog() []byte {
	return benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, size uint64) {
		switch op {
		case 'a':
			fmt.Fprintf(w, "--4242-- malloc(%d) = 0x%X\n", size, addr)
		case 'r':
			fmt.Fprintf(w, "--4242-- realloc(0x%X,%d) = 0x%X\n", old, size, addr)
		case 'f':
			fmt.Fprintf(w, "--4242-- free(0x%X)\n", addr)
		}
	})
}

func BenchmarkValgrind(b *testing.B) { benchRead(b, "valgrind", valgrindLog()) }

// BenchmarkValgrindFile reads a file, which is counted first to find the
// process with most events, and the same with the process given.
func BenchmarkValgrindFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.vg")
	if err := os.WriteFile(path, valgrindLog(), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, pid := range []uint64{0, 4242} {
		b.Run(fmt.Sprint("pid=", pid), func(b *testing.B) {
			block := new(trace.Block)
			for b.Loop() {
				r, err := Open(path, nil, Options{PID: pid})
				if err != nil {
					b.Fatal(err)
				}
				for err = r.Next(block); err == nil; err = r.Next(block) {
				}
				if err != io.EOF {
					b.Fatal(err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

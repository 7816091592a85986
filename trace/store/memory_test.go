package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// memoryChild is the variable that makes TestMemory's own process do the work.
const memoryChild = "FRAGPROF_STORE_MEMORY"

// TestMemory stores a long trace in a file and reads it back in a process of
// its own, and looks at the most memory that had.
func TestMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process's peak memory")
	}
	if raceEnabled {
		t.Skip("the race detector's memory would be counted")
	}
	if path := os.Getenv(memoryChild); path != "" {
		storeAndRead(t, path)
		return
	}
	const (
		most   = 100 << 10 // KiB
		prefix = "VmHWM:"
	)
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
	cmd.Env = append(os.Environ(), memoryChild+"="+filepath.Join(t.TempDir(), "long.parquet"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, after, ok := strings.Cut(string(out), prefix)
	var peak int
	if n, err := fmt.Sscanf(after, "%d", &peak); !ok || n != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("at most %.1f MB for %d events", float64(peak)*1024/1e6, memoryEvents)
	if peak > most {
		t.Errorf("at most %d KiB, want at most %d KiB", peak, most)
	}
}

const memoryEvents = 20_000_000

func storeAndRead(t *testing.T, path string) {
	events, sites := synthetic(37, 50_000)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteAll(f, newRepeated(events, sites, memoryEvents)); err != nil {
		t.Fatal(err)
	}
	r, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, n := drain(t, r); n != memoryEvents {
		t.Fatalf("read %d events, want %d", n, memoryEvents)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Print(line)
		}
	}
}

// TestAllocations makes sure that reading and writing allocate by the page at
// most, not by the event.
func TestAllocations(t *testing.T) {
	events, sites := synthetic(43, 4*trace.BlockEvents)
	m := memoryOf(events, sites, trace.BlockEvents)
	file := stored(t, m)
	count := testing.AllocsPerRun(3, func() {
		r, err := openBytes(file)
		if err != nil {
			t.Fatal(err)
		}
		drain(t, r)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if perEvent := count / float64(len(events)); perEvent > 0.01 {
		t.Errorf("reading: %.4f allocations an event", perEvent)
	}
	count = testing.AllocsPerRun(3, func() { stored(t, m) })
	if perEvent := count / float64(len(events)); perEvent > 0.01 {
		t.Errorf("writing: %.4f allocations an event", perEvent)
	}
}

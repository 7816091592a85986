package formats

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden reads every log in testdata, without being told its format, and
// compares the events and what the header says with the golden beside it. Logs
// are named FORMAT-WHAT.in.
func TestGolden(t *testing.T) {
	logs, err := filepath.Glob("testdata/*.in")
	if err != nil || len(logs) < 8 {
		t.Fatalf("%d logs, %v", len(logs), err)
	}
	for _, log := range logs {
		t.Run(filepath.Base(log), func(t *testing.T) {
			r, err := Open(log, nil, Options{})
			if err != nil {
				t.Fatal(err)
			}
			format, _, _ := strings.Cut(filepath.Base(log), "-")
			if got := r.Header().Source; got != format {
				t.Errorf("read as %s", got)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			src, err := os.Open(log)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			ops, h, err := readText(src, Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("# %q ptr=%d sizes=%v time=%v threads=%d sites=%d events=%d\n# %s\n%s",
				h.Program, h.PtrBits, h.Sizes, h.HasTime, h.Summary.Threads, h.Summary.SiteIDs, h.Summary.Events, lossText(h.Loss), ops)
			golden := strings.TrimSuffix(log, ".in") + ".ops"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			// The text form is read back as what it was written from.
			again, _, err := readText(strings.NewReader(got), Options{})
			if err != nil || again != ops {
				t.Errorf("read back as\n%s%v", again, err)
			}
		})
	}
}

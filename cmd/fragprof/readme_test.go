package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite expected outputs")

var long = flag.Bool("long", false, "run the commands on recordings that are not shipped, too")

// documents show commands and what they print, with the least number of them
// that must run.
var documents = map[string]int{
	"README.md": 3,
	filepath.Join("samples", "with-and-without.md"): 1,
}

// TestDocuments runs the commands of the documents' console blocks, at the root
// of the module, and compares what they print with what the documents show. A
// command is a line "$ fragprof ..." or "$ go run ./cmd/fragprof ..."; what
// follows it up to the next command or the end of the block is its output.
// Outputs that end in "..." are compared up to there. Files in recordings/ are
// not shipped: their commands run with -long, where there is material for tests.
func TestDocuments(t *testing.T) {
	if testing.Short() {
		t.Skip("too long for the race detector")
	}
	t.Chdir(filepath.Join("..", ".."))
	for name, least := range documents {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out, ran := runBlocks(t, name, string(text))
			if ran < least {
				t.Errorf("%s has %d commands that run, want %d at least", name, ran, least)
			}
			if *update {
				if err := os.WriteFile(name, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// runBlocks runs the commands of a document and returns the document as it
// should be, and how many commands ran.
func runBlocks(t *testing.T, name, text string) (out string, ran int) {
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); i++ {
		out += lines[i]
		if strings.TrimSpace(lines[i]) != "```console" {
			continue
		}
		for i++; !strings.HasPrefix(lines[i], "```"); {
			command := lines[i]
			out += command
			want := ""
			for i++; !strings.HasPrefix(lines[i], "$ ") && !strings.HasPrefix(lines[i], "```"); i++ {
				want += lines[i]
			}
			args, ok := fragprofArgs(command)
			if !ok || !findRecordings(args) {
				out += want
				continue
			}
			ran++
			out += checkOutput(t, name, args, want)
		}
		out += lines[i]
	}
	return out, ran
}

// findRecordings puts the material for tests in the place of recordings/ in the
// arguments. It returns false if a recording is not to be had.
func findRecordings(args []string) bool {
	for i, a := range args {
		file, ok := strings.CutPrefix(a, "recordings/")
		if !ok {
			continue
		}
		args[i] = filepath.Join("..", "shared", "traces", "hrec-text", file)
		if _, err := os.Stat(args[i]); err != nil || !*long {
			return false
		}
	}
	return true
}

func fragprofArgs(command string) ([]string, bool) {
	command = strings.TrimSpace(strings.TrimPrefix(command, "$ "))
	for _, prefix := range []string{"fragprof ", "go run ./cmd/fragprof "} {
		if rest, ok := strings.CutPrefix(command, prefix); ok {
			return splitShell(rest), true
		}
	}
	return nil, false
}

// splitShell splits a command line at blanks, single quotes kept together.
func splitShell(line string) []string {
	var args []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	return args
}

// TestReadmePicture holds the picture in README to what the command draws.
func TestReadmePicture(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	dir := t.TempDir()
	args := []string{"replay", "samples/mosquitto-32.parquet", "--plots", dir, "--figures", "timeline", "--plot-format", "svg"}
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), args, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, &stderr)
	}
	got, err := os.ReadFile(filepath.Join(dir, "timeline.svg"))
	if err != nil {
		t.Fatal(err)
	}
	shown := filepath.Join("samples", "mosquitto-32.svg")
	if *update {
		if err := os.WriteFile(shown, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(shown); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what fragprof %s draws (%v)", shown, strings.Join(args, " "), err)
	}
}

// checkOutput runs a command and returns the text that the document should show.
func checkOutput(t *testing.T, name string, args []string, want string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), args, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Errorf("fragprof %s: exit %d: %s", strings.Join(args, " "), code, &stderr)
	}
	got := stdout.String()
	if head, ok := strings.CutSuffix(want, "...\n"); ok {
		count := strings.Count(head, "\n")
		got = strings.Join(strings.SplitAfter(got, "\n")[:min(count, strings.Count(got, "\n"))], "") + "...\n"
	}
	if got != want && !*update {
		t.Errorf("fragprof %s prints\n%s\n%s shows\n%s", strings.Join(args, " "), got, name, want)
	}
	if want == "" && !*update {
		t.Errorf("%s shows no output of fragprof %s", name, strings.Join(args, " "))
	}
	return got
}

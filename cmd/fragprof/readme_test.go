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

// TestReadme runs the commands of README.md's console blocks, at the root of
// the module, and compares what they print with what README shows. A command
// is a line "$ fragprof ..." or "$ go run ./cmd/fragprof ..."; what follows it
// up to the next command or the end of the block is its output. Outputs that
// end in "..." are compared up to there.
func TestReadme(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ran := 0
	lines := strings.SplitAfter(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		out.WriteString(lines[i])
		if strings.TrimSpace(lines[i]) != "```console" {
			continue
		}
		for i++; !strings.HasPrefix(lines[i], "```"); {
			command := lines[i]
			out.WriteString(command)
			want := ""
			for i++; !strings.HasPrefix(lines[i], "$ ") && !strings.HasPrefix(lines[i], "```"); i++ {
				want += lines[i]
			}
			args, ok := fragprofArgs(command)
			if !ok {
				out.WriteString(want)
				continue
			}
			ran++
			out.WriteString(checkReadmeOutput(t, args, want))
		}
		out.WriteString(lines[i])
	}
	if ran < 3 {
		t.Errorf("README has %d commands to test, want 3 at least", ran)
	}
	if *update {
		if err := os.WriteFile("README.md", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
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

// checkReadmeOutput runs a command and returns the text README should show.
func checkReadmeOutput(t *testing.T, args []string, want string) string {
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
		t.Errorf("fragprof %s prints\n%s\nREADME shows\n%s", strings.Join(args, " "), got, want)
	}
	if want == "" && !*update {
		t.Errorf("README shows no output of fragprof %s", strings.Join(args, " "))
	}
	return got
}

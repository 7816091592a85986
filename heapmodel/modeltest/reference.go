package modeltest

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/glibcloop.c
var referenceSource string

// reference is the C loop through malloc as a child process, which makes a pass
// when told to.
type reference struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startReference compiles the C loop and starts it on the arrays of l. It ends
// with the benchmark. The error says why there is none: no compiler, mostly.
func startReference(b *testing.B, l *loop) (*reference, error) {
	dir := b.TempDir()
	program, err := buildReference(dir)
	if err != nil {
		return nil, err
	}
	arrays := filepath.Join(dir, "arrays")
	f, err := os.Create(arrays)
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriter(f)
	if err := errors.Join(l.write(w), w.Flush(), f.Close()); err != nil {
		return nil, err
	}
	c := &reference{cmd: exec.Command(program, arrays)}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	b.Cleanup(func() {
		c.in.Close()
		c.cmd.Wait() //nolint:errcheck // it has nothing more to say
	})
	return c, nil
}

func buildReference(dir string) (program string, err error) {
	for _, cc := range []string{"cc", "gcc", "clang"} {
		path, lookErr := exec.LookPath(cc)
		if lookErr != nil {
			err = errors.Join(err, lookErr)
			continue
		}
		source := filepath.Join(dir, "glibcloop.c")
		if err := os.WriteFile(source, []byte(referenceSource), 0o600); err != nil {
			return "", err
		}
		program = filepath.Join(dir, "glibcloop")
		args := []string{"-O2", "-o", program, source}
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s %s: %w\n%s", cc, strings.Join(args, " "), err, out)
		}
		return program, nil
	}
	return "", err
}

// pass makes one pass and returns what a pass takes, as the sum of the fastest
// time of each slice so far; nothing on a nil reference.
func (c *reference) pass(b *testing.B) time.Duration {
	if c == nil {
		return 0
	}
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		b.Fatal(err)
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		b.Fatalf("C loop: %v", err)
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		b.Fatalf("C loop: %v", err)
	}
	return time.Duration(ns)
}

package arena

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

// read returns the Config of a spec of a model that has the common parameters.
func read(t *testing.T, args string) (g Config, err error) {
	t.Helper()
	m := &heapmodel.Model{
		Name: "m", Caps: heapmodel.CapGrow, Params: slices.Concat([]heapmodel.Param{Capacity()}, Params("")),
		New: func(c heapmodel.Config) (heapmodel.Heap, error) {
			g, err = Read(c, "a block", func(g *Config) uint64 { return g.Least })
			return nil, err
		},
	}
	s, err := heapmodel.ParseSpec([]*heapmodel.Model{m}, "m:"+args)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.New()
	return g, err
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		args string
		want Config
	}{
		{"capacity=64", Config{Word: 4, Header: 4, Grain: 8, Shift: 3, Pad: 4, Least: 8, Capacity: 64, Limit: 64}},
		{"capacity=64,ptr=64", Config{Word: 8, Header: 8, Grain: 16, Shift: 4, Pad: 8, Least: 16, Capacity: 64, Limit: 64}},
		{"capacity=1,header=0,align=1", Config{Word: 4, Grain: 1, Least: 1, Capacity: 1, Limit: 1}},
		{"capacity=64,header=9,align=4", Config{Word: 4, Header: 9, Grain: 4, Shift: 2, Pad: 3, Least: 12, Capacity: 64, Limit: 64}},
		{"quantum=100", Config{Word: 4, Header: 4, Grain: 8, Shift: 3, Pad: 4, Least: 8, Quantum: 100, Limit: 8 * (1<<32 - 2)}},
		{"grow=64KiB", Config{Word: 4, Header: 4, Grain: 8, Shift: 3, Pad: 4, Least: 8, Quantum: 4096, Limit: 65536}},
	} {
		got, err := read(t, c.args)
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.args, got, err, c.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"ptr=32":                      "needs a capacity",
		"capacity=11":                 "the least that holds a block is 12 bytes",
		"capacity=0":                  "the least that holds a block is 12 bytes",
		"capacity=11,quantum=8":       "the least that holds a block is 12 bytes",
		"capacity=1KiB,align=12":      "align=12 is no power of two",
		"capacity=1KiB,align=0":       "align=0 is no power of two",
		"capacity=1KiB,align=2GiB":    "the most is 1GiB",
		"capacity=1KiB,header=2GiB":   "the most is 1GiB",
		"capacity=64GiB":              "the most with this alignment is 34359738352 bytes",
		"capacity=0xffffffffffffffff": "the most with this alignment is",
		"capacity=1KiB,quantum=0":     "quantum=0 is out of range",
		"quantum=0x7000000000000000":  "is out of range",
		"capacity=1KiB,grow=1000":     "above the limit of growth of 1000 bytes",
	} {
		if _, err := read(t, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", args, err, want)
		}
	}
}

func TestQuanta(t *testing.T) {
	g, err := read(t, "quantum=100,grow=1000")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		brk, bytes, size uint64
		ok               bool
	}{
		{0, 1, 100, true},
		{0, 100, 100, true},
		{900, 100, 100, true},
		{900, 101, 0, false},
		{950, 1, 0, false},
		{0, 1000, 1000, true},
		{0, 1001, 0, false},
		{1000, 1 << 62, 0, false},
	} {
		if size, ok := g.Quanta(c.brk, c.bytes); ok != c.ok || ok && size != c.size {
			t.Errorf("from %d by %d: got %d, %v, want %d, %v", c.brk, c.bytes, size, ok, c.size, c.ok)
		}
	}
	g.Quantum = 0
	if _, ok := g.Quanta(0, 1); ok {
		t.Error("a heap without a quantum grows")
	}
}

// TestGranules holds the arithmetic of addresses against its definition:
// payloads behind a header are aligned, and no boundary lies higher below the
// end.
func TestGranules(t *testing.T) {
	for _, args := range []string{"header=0,align=1", "header=4,align=8", "header=9,align=4", "header=8,align=64"} {
		g, err := read(t, "capacity=4KiB,"+args)
		if err != nil {
			t.Fatal(err)
		}
		for addr := uint64(0); addr < 300; addr++ {
			top := g.Top(addr)
			start := g.At(top)
			if (start+g.Header)%g.Grain != 0 {
				t.Fatalf("%s: a block at %d has no aligned payload", args, start)
			}
			if start > addr && top > 0 || start+g.Grain <= addr {
				t.Fatalf("%s: blocks end at %d in an arena of %d bytes", args, start, addr)
			}
			if b := g.Block(addr); b < addr+g.Header || b%g.Grain != 0 || b >= max(addr, 1)+g.Header+g.Grain {
				t.Fatalf("%s: %d bytes get a block of %d", args, addr, b)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]string{
		"16":             "[16]",
		"16+32+1KiB":     "[16 32 1024]",
		"":               "want bytes",
		"16+":            "want bytes",
		"16+x":           "want bytes",
		"0+16":           "a class of 0 bytes",
		"16+16":          "want them ascending",
		"32+16":          "want them ascending",
		"2TiB":           "want 1 byte to 1TiB",
		"1+" + manySizes: "more than 4096 classes",
	} {
		sizes, err := Sizes(text)
		got := fmt.Sprint(sizes)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%.20s: got %.60s, want %s", text, got, want)
		}
	}
}

var manySizes = func() string {
	parts := make([]string, 4096)
	for i := range parts {
		parts[i] = fmt.Sprint(i + 2)
	}
	return strings.Join(parts, "+")
}()

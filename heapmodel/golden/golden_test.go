package golden_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
)

// readAll returns the answers up to the first error, which is nil at the end.
func readAll(t testing.TB, text string) ([]golden.Answer, error) {
	t.Helper()
	r, err := golden.NewReader(strings.NewReader(text), "t")
	if err != nil {
		return nil, err
	}
	var out []golden.Answer
	for {
		a, err := r.Next()
		if err != nil {
			if _, again := r.Next(); again != err {
				t.Errorf("after %v Next gives %v", err, again)
			}
			if err == io.EOF {
				err = nil
			}
			return out, err
		}
		out = append(out, a)
	}
}

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReader(t *testing.T) {
	all := []golden.Answer{0, 40960, golden.Null, golden.Freed, golden.Skipped}
	for _, c := range []struct {
		name, text string
		want       []golden.Answer
	}{
		{"empty", "", nil},
		{"every answer", "0\n40960\n!\n.\n_\n", all},
		{"no newline at the end", "0\n40960\n!\n.\n_", all},
		{"carriage returns", "0\r\n40960\r\n!\r\n.\r\n_\r\n", all},
		{"comments", "# heap at 0\n0\n40960\n#\n!\n.\n_\n# end", all},
		{"gzipped", gzipped(t, "0\n40960\n!\n.\n_\n"), all},
		{"gzipped in parts", gzipped(t, "0\n40960\n!\n") + gzipped(t, ".\n_\n"), all},
		{"highest address", "9223372036854775807\n", []golden.Answer{math.MaxInt64}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readAll(t, c.text)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v, %v\nwant %v", got, err, c.want)
			}
		})
	}
}

func TestReaderErrors(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       string
	}{
		{"word", "0\n!\nfoo\n", `t:3: "foo": want an address, !, . or _`},
		{"blank line", "0\n\n0\n", `t:2: "": want an address, !, . or _`},
		{"hexadecimal", "0x10\n", `t:1: "0x10": want an address`},
		{"sign", "-1\n", `t:1: "-1": want an address`},
		{"blank before", " 1\n", `t:1: " 1": want an address`},
		{"two answers", "1 2\n", `t:1: "1 2": want an address`},
		{"address above 2^63", "9223372036854775808\n", `t:1: "9223372036854775808": want an address`},
		{"20 digits", "18446744073709551615\n", `t:1: "18446744073709551615": want an address`},
		{"line without end", strings.Repeat("1", 1<<20), `t:1: "11111111111111111111111111111111"...: want an address`},
		{"comment without end", "#" + strings.Repeat(" ", 1<<20), `t:1: `},
		{"binary", "\x00\x01\x02\n", `t:1: "\x00\x01\x02": want an address`},
		{"gzip cut", gzipped(t, strings.Repeat("123\n", 1000))[:30], "the compressed table stops in the middle"},
		{"gzip of nothing", "\x1f\x8b", "t: the compressed table stops in the middle"},
		{"gzip with a false sum", falseSum(t), "gzip: invalid checksum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readAll(t, c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func falseSum(t testing.TB) string {
	text := []byte(gzipped(t, "1\n2\n"))
	text[len(text)-8] ^= 1
	return string(text)
}

// TestReaderHoldsLittle reads a table whose text would not fit.
func TestReaderHoldsLittle(t *testing.T) {
	const answers = 1 << 20
	r, err := golden.NewReader(strings.NewReader(gzipped(t, strings.Repeat("1234567\n", answers))), "t")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	allocs := testing.AllocsPerRun(1, func() {
		for {
			if _, err := r.Next(); err != nil {
				return
			}
			read++
		}
	})
	// gzip allocates for each of its own blocks, not for lines.
	if read != answers || allocs > 100 {
		t.Errorf("%d answers with %v allocations", read, allocs)
	}
}

func TestAnswerRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.SliceOf(rapid.OneOf(
			rapid.Map(rapid.Uint64Range(0, math.MaxInt64), func(a uint64) golden.Answer { return golden.Answer(a) }),
			rapid.SampledFrom([]golden.Answer{golden.Null, golden.Freed, golden.Skipped}),
		)).Draw(rt, "answers")
		var text []byte
		for _, a := range want {
			text = append(a.Append(text), '\n')
			if at, ok := a.At(); ok != (a <= math.MaxInt64) || ok && at != heapmodel.Addr(a) {
				rt.Fatalf("%s is at %d, %v", a, at, ok)
			}
			if a.ToFree() != (a.String() == "." || a.String() == "_") {
				rt.Fatalf("%s answers a free: %v", a, a.ToFree())
			}
		}
		got, err := readAll(t, string(text))
		if err != nil || !slices.Equal(got, want) {
			rt.Fatalf("got %v, %v\nwant %v", got, err, want)
		}
	})
}

// FuzzReader reads anything without a panic, and the same answers again from
// what it would write of them.
func FuzzReader(f *testing.F) {
	f.Add([]byte("0\n!\n.\n_\n"))
	f.Add([]byte("# c\n12\r\n"))
	f.Add([]byte(gzipped(f, "1\n.\n")))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<12 {
			t.Skip("gzip of so much may be too much to keep")
		}
		got, err := readAll(t, string(text))
		if err != nil && !strings.HasPrefix(err.Error(), "t:") {
			t.Errorf("error without a place: %v", err)
		}
		var again []byte
		for _, a := range got {
			again = append(a.Append(again), '\n')
		}
		same, err := readAll(t, string(again))
		if err != nil || !slices.Equal(got, same) {
			t.Errorf("read %v, then %v, %v", got, same, err)
		}
	})
}

// blocks returns a heap of adjoining blocks of 10 bytes.
func blocks(count int) []heapmodel.Block {
	out := make([]heapmodel.Block, count)
	for i := range out {
		addr := heapmodel.Addr(10 * i)
		out[i] = heapmodel.Block{Addr: addr, Size: 10, Payload: addr + 2, Used: i%2 == 0}
	}
	return out
}

func TestWindow(t *testing.T) {
	for _, c := range []struct {
		name   string
		blocks int
		near   []heapmodel.Addr
		want   string // start addresses
	}{
		{"no block", 0, []heapmodel.Addr{5}, ""},
		{"few blocks are shown whole", 12, nil, "0 10 20 30 40 50 60 70 80 90 100 110"},
		{"nowhere", 13, nil, "..."},
		{"inside a block", 20, []heapmodel.Addr{92}, "... 70 80 90 100 110 120 ..."},
		{"start of a block", 20, []heapmodel.Addr{90}, "... 60 70 80 90 100 110 ..."},
		{"lowest", 20, []heapmodel.Addr{0}, "0 10 20 ..."},
		{"above all", 20, []heapmodel.Addr{1000}, "... 170 180 190"},
		{"two apart", 30, []heapmodel.Addr{222, 52}, "... 30 40 50 60 70 80 ... 200 210 220 230 240 250 ..."},
		{"two that meet", 30, []heapmodel.Addr{52, 92}, "... 30 40 50 60 70 80 90 100 110 120 ..."},
		{"two that nearly meet", 30, []heapmodel.Addr{52, 122}, "... 30 40 50 60 70 80 ... 100 110 120 130 140 150 ..."},
		{"the same twice", 20, []heapmodel.Addr{92, 92}, "... 70 80 90 100 110 120 ..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for line := range strings.Lines(golden.Window(slices.Values(blocks(c.blocks)), c.near...)) {
				start, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "["), ",")
				got = append(got, start)
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
	const want = "  [0, 10) 10 used, payload 2\n  [10, 20) 10 free\n"
	if got := golden.Window(slices.Values(blocks(2))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

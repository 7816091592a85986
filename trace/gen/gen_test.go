package gen

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/trace"
)

// read generates a trace, holds it to the rules of a Validator, and returns its
// events and header.
func read(t testing.TB, s *Source) ([]trace.Event, *trace.Header) {
	t.Helper()
	r, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	v := trace.Validated(r)
	var events []trace.Event
	var b trace.Block
	for {
		if err := v.Next(&b); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		for i := range b.Len() {
			events = append(events, b.At(i))
		}
	}
	if !r.Header().Complete {
		t.Fatalf("%s: the header is not complete at the end", s)
	}
	return events, r.Header()
}

func parse(t testing.TB, text string) *Source {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWorkloads holds every workload to what all of them promise.
func TestWorkloads(t *testing.T) {
	for _, w := range Workloads {
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			s := parse(t, "gen:"+w.Name+",events=150k")
			events, h := read(t, s)
			if len(events) == 0 || len(events) > 150_000 {
				t.Fatalf("%d events", len(events))
			}
			if !h.Synthetic || h.Source != "gen" || h.Program != w.Name || !h.HasTime || !h.HasThread || !h.HasSite {
				t.Errorf("header %+v", h)
			}
			if h.Sites[0] != "" {
				t.Errorf("site 0 is %q", h.Sites[0])
			}
			next := uint32(0) // threads are numbered in order of appearance
			for i, e := range events {
				if e.Op != trace.OpFree && (e.Site == 0 || int(e.Site) >= len(h.Sites)) {
					t.Fatalf("event %d has site %d of %d", i, e.Site, len(h.Sites))
				}
				if e.Thread > next {
					t.Fatalf("event %d: thread %d before thread %d", i, e.Thread, next)
				}
				next = max(next, e.Thread+1)
			}

			again, _ := read(t, parse(t, w.Name+",events=150k"))
			if !slices.Equal(events, again) {
				t.Error("the same text gave other events")
			}
			if !w.seedless() {
				other, _ := read(t, parse(t, w.Name+",events=150k,seed=2"))
				if slices.Equal(events, other) {
					t.Error("another seed gave the same events")
				}
			}
			cut := min(len(events)/2, 1000)
			short, _ := read(t, parse(t, w.Name+",events="+strconv.Itoa(cut)))
			if len(short) != cut {
				t.Errorf("events=%d gave %d", cut, len(short))
			}
			if w.Name != "phases" && !slices.Equal(short, events[:cut]) { // the phases divide the events among them
				t.Error("a shorter trace is not the beginning of the longer")
			}

			// The header of the source, the one after Load, and that of the reader agree.
			if got := s.Header(); !reflect.DeepEqual(got, h) {
				t.Errorf("header of the source %+v, of the reader %+v", got, h)
			}
			var counted, told uint64
			loaded := parse(t, w.Name+",events=150k").Load(1<<30, func(b *trace.Block) { counted += uint64(b.Len()) }, func(n uint64) { told = n })
			if _, ok := loaded.(*trace.Memory); !ok || !reflect.DeepEqual(loaded.Header(), h) {
				t.Errorf("Load gave a %T with header %+v", loaded, loaded.Header())
			}
			if counted != uint64(len(events)) || told != counted {
				t.Errorf("Load showed %d events and told of %d, want %d", counted, told, len(events))
			}
			if small := parse(t, w.Name+",events=150k").Load(1, nil, nil); !reflect.DeepEqual(small.Header(), h) {
				t.Error("Load without room gave another header")
			}
		})
	}
}

// seedless reports whether the workload draws no random sizes, so that a seed
// can change its times only, or nothing.
func (w *Workload) seedless() bool { return w.Name == "robson" || w.Name == "checkerboard" }

// digest is a hash of the trace that any change of any event changes.
func digest(t *testing.T, s *Source) uint64 {
	var h maphash.Hash
	h.SetSeed(digestSeed)
	events, header := read(t, s)
	for _, e := range events {
		maphash.WriteComparable(&h, e)
	}
	for _, site := range header.Sites {
		h.WriteString(site)
	}
	return h.Sum64()
}

var digestSeed = maphash.MakeSeed()

var update = flag.Bool("update", false, "rewrite testdata/digests.txt")

// TestDigests compares every workload with what it was when testdata/digests.txt
// was written, on whatever machine: recorded figures name traces by their text
// alone. A change of a workload that is meant rewrites the file with -update.
func TestDigests(t *testing.T) {
	const path = "testdata/digests.txt"
	var got strings.Builder
	for _, w := range Workloads {
		text := "gen:" + w.Name + ",events=20k"
		sum := fnv.New64a()
		events, header := read(t, parse(t, text))
		for _, e := range events {
			fmt.Fprintln(sum, e.Time, e.Size, e.Slot, e.Align, e.Thread, e.Site, e.Op)
		}
		fmt.Fprintln(sum, strings.Join(header.Sites, "\n"))
		fmt.Fprintf(&got, "%s %016x\n", text, sum.Sum64())
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the traces changed: got\n%swant\n%s", got.String(), want)
	}
}

// TestReadingsAtOnce reads one source by several readers in turns: none may
// disturb another.
func TestReadingsAtOnce(t *testing.T) {
	for _, w := range Workloads {
		s := parse(t, w.Name+",events=140k")
		want := digest(t, s)
		var readers [3]trace.Reader
		var got [3]maphash.Hash
		for i := range readers {
			r, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			readers[i] = r
			got[i].SetSeed(digestSeed)
		}
		b := new(trace.Block)
		for left := len(readers); left > 0; {
			left = 0
			for i, r := range readers {
				if r.Next(b) != nil {
					continue
				}
				left++
				for j := range b.Len() {
					maphash.WriteComparable(&got[i], b.At(j))
				}
			}
		}
		for i, r := range readers {
			for _, site := range r.Header().Sites {
				got[i].WriteString(site)
			}
			if got[i].Sum64() != want {
				t.Errorf("%s: reader %d saw other events", w.Name, i)
			}
		}
	}
}

// TestCloseEarly closes readers after none and one of several blocks.
func TestCloseEarly(t *testing.T) {
	for _, w := range Workloads {
		for blocks := range 2 {
			r, err := parse(t, w.Name+",events=100k").Open()
			if err != nil {
				t.Fatal(err)
			}
			for range blocks {
				if err := r.Next(new(trace.Block)); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if err := r.Next(new(trace.Block)); err != io.EOF {
				t.Errorf("%s: Next after Close: %v", w.Name, err)
			}
		}
	}
}

// draw makes a text with some of the workload's parameters, small enough for a
// test.
func draw(t *rapid.T) string {
	w := rapid.SampledFrom(Workloads).Draw(t, "workload")
	text := w.Name + ",events=" + strconv.FormatUint(rapid.Uint64Range(1, 3000).Draw(t, "events"), 10)
	for _, p := range w.AllParams() {
		if p.Key == "events" || rapid.Bool().Draw(t, "default "+p.Key) {
			continue
		}
		var value string
		switch p.Kind {
		case Count, Bytes, Duration:
			n := rapid.OneOf(rapid.Uint64Range(p.Min, min(p.Max, p.Min+5)), rapid.Uint64Range(p.Min, min(p.Max, max(p.Min, 4000))), rapid.Just(min(p.Max, max(p.Min, 100_000))), rapid.Just(p.Max)).Draw(t, p.Key)
			if value = strconv.FormatUint(n, 10); p.Kind == Duration {
				value += "ns"
			}
			if p.Kind == Count && (p.Key == "live" || p.Key == "objects" || p.Key == "sites" || p.Key == "slots") {
				value = strconv.FormatUint(min(n, 50_000), 10) // state of that many before the first event
			}
		case Fraction:
			value = strconv.FormatFloat(rapid.OneOf(rapid.Float64Range(0, 1), rapid.Just(0.0), rapid.Just(1.0)).Draw(t, p.Key), 'g', -1, 64)
		case Word:
			value = rapid.SampledFrom(p.Enum).Draw(t, p.Key)
		case Words:
			value = strings.Join(rapid.SliceOfN(rapid.SampledFrom(p.Enum), 1, 3).Draw(t, p.Key), "+")
		}
		text += "," + p.Key + "=" + value
	}
	return text
}

// TestAnyParameters generates traces with parameters at random, their bounds
// included: each is sound, or refused.
func TestAnyParameters(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := draw(rt)
		s, err := Parse(text)
		if err != nil {
			if !strings.Contains(err.Error(), ": max is more than") && !strings.Contains(err.Error(), ": header is more than") &&
				!strings.Contains(err.Error(), ": log is more than") && !strings.Contains(err.Error(), "million larger") {
				rt.Fatalf("%s: %v", text, err)
			}
			return
		}
		events, h := read(t, s)
		if uint64(len(events)) != h.Summary.Events || len(events) > 3000 {
			rt.Fatalf("%s: %d events, the header counts %d", text, len(events), h.Summary.Events)
		}
	})
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", `unknown workload ""`},
		{"gen:", `unknown workload ""`},
		{"gen:contaners", `unknown workload "contaners"`},
		{"gen:iid:events=5", `unknown workload "iid:events=5"`},
		{"gen:iid,", `gen:iid,: "" is not key=value`},
		{"gen:iid,events", `"events" is not key=value`},
		{"gen:iid,events=", `"events=" is not key=value`},
		{"gen:iid,events=0", "events=0: want 1 to 10000000000"},
		{"gen:iid,events=11G", "events=11G: want 1 to 10000000000"},
		{"gen:iid,events=18446744073709551615G", "is too large"},
		{"gen:iid,events=99999999999999999999", "want a whole number"},
		{"gen:iid,events=-1", "want a whole number"},
		{"gen:iid,events=1e3", "want a whole number"},
		{"gen:iid,events=5,events=6", "events is given twice"},
		{"gen:iid,evnets=5", `workload iid has no parameter "evnets"`},
		{"gen:iid,max=4K", "want bytes, as in 4096 or 4KiB"},
		{"gen:iid,max=0", "max=0: want 1 to 268435456"},
		{"gen:iid,max=99999999999999GiB", "is too large"},
		{"gen:iid,sizes=big", "want one of exponential, uniform, powers"},
		{"gen:freenet,survive=2", "want a fraction from 0 to 1"},
		{"gen:freenet,survive=NaN", "want a fraction from 0 to 1"},
		{"gen:freenet,survive=1/0", "want a fraction from 0 to 1"},
		{"gen:freenet,survive=0/0", "want a fraction from 0 to 1"},
		{"gen:openevse,every=soon", "want a time such as"},
		{"gen:openevse,every=-5s", "want a time such as"},
		{"gen:openevse,every=0s", "want 1ms to 1h0m0s"},
		{"gen:containers,rules=rust-vec+rust-vek", `"rust-vek" is none of all, libstdcxx-vector`},
		{"gen:reserve-helps,max=1MiB,piece=1", "max is more than 65536 pieces"},
		{"gen:checkerboard,objects=16M,size=1KiB,larger=1", "16 million"},
		{"gen:robson,unit=8,header=9", "header is more than a unit"},
		{"gen:openevse,log=256MiB,nodes=8", "more than a million nodes"},
	} {
		if _, err := Parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.text, err, c.want)
		}
	}
	var workload *UnknownWorkloadError
	if _, err := Parse("gen:iidd"); !errors.As(err, &workload) || !slices.Contains(workload.Known, "iid") {
		t.Errorf("unknown workload: %v", err)
	}
	var param *UnknownParamError
	if _, err := Parse("gen:iid,sed=1"); !errors.As(err, &param) || !slices.Contains(param.Known, "seed") {
		t.Errorf("unknown parameter: %v", err)
	}
}

func TestParseValues(t *testing.T) {
	for _, c := range []struct {
		text string
		key  string
		want uint64
	}{
		{"iid,events=100M", "events", 100_000_000},
		{"iid,events=7k", "events", 7000},
		{"iid,max=16KiB", "max", 16384},
		{"iid,max=1MiB", "max", 1 << 20},
		{"iid,max=77B", "max", 77},
		{"openevse,every=250ms", "every", 250_000_000},
	} {
		if got := parse(t, c.text).values.number(c.key); got != c.want {
			t.Errorf("%s: %s is %d, want %d", c.text, c.key, got, c.want)
		}
	}
	if got := parse(t, "freenet,survive=1/8").values.frac("survive"); got != 0.125 {
		t.Errorf("1/8 is %v", got)
	}
	if got := parse(t, "iid").String(); got != "gen:iid" {
		t.Errorf("the name of the trace is %q", got)
	}
}

// TestTable holds the table to what help and Parse rely on.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range Workloads {
		if w.Name == "" || w.Title == "" || w.Doc == "" || w.Source == "" || w.run == nil || w.ptr == 0 {
			t.Errorf("%s is incomplete", w.Name)
		}
		if seen[w.Name] || strings.ContainsAny(w.Name, ",:= ") {
			t.Errorf("name %q", w.Name)
		}
		seen[w.Name] = true
		keys := map[string]bool{}
		for _, p := range w.AllParams() {
			if keys[p.Key] || p.Doc == "" || p.Default == "" {
				t.Errorf("%s: parameter %+v", w.Name, p)
			}
			keys[p.Key] = true
		}
		if !keys["seed"] || !keys["events"] {
			t.Errorf("%s has no seed or no events", w.Name)
		}
		parse(t, w.Name) // panics on a bad default
	}
}

// FuzzParse reads any text, and generates the beginning of what it names.
func FuzzParse(f *testing.F) {
	for _, w := range Workloads {
		f.Add(w.Name)
		f.Add("gen:" + w.Name + ",events=100,seed=3")
	}
	f.Add("gen:containers,rules=all+go-slice,style=mixed,live=1,max=64,threads=1,decoys=0")
	f.Add("gen:reserve-harms,reserve=p95,max=1KiB,piece=1,live=3,steps=50")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if n := s.values.number("events"); n > 2000 {
			s.values = cloneWith(s.values, "events", 2000)
		}
		for _, key := range []string{"live", "objects", "sites", "slots", "kept"} { // state of that many, or time before the first event
			if v, ok := s.values[key]; ok && v.number > 20_000 {
				s.values = cloneWith(s.values, key, 20_000)
			}
		}
		read(t, s)
	})
}

func cloneWith(v values, key string, number uint64) values {
	c := values{}
	for k, x := range v {
		c[k] = x
	}
	x := c[key]
	x.number = number
	c[key] = x
	return c
}

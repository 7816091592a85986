package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// TestAnyResults draws results that no replay would give: no panic, no
// number that is none, and XML that can be read.
func TestAnyResults(t *testing.T) {
	counts := rapid.OneOf(rapid.Uint64Range(0, 100), rapid.Uint64())
	survey := rapid.Custom(func(t *rapid.T) *replay.Survey {
		if rapid.Bool().Draw(t, "nil") {
			return nil
		}
		s := &replay.Survey{Event: counts.Draw(t, "event"), Time: rapid.Int64().Draw(t, "time"), Live: counts.Draw(t, "live")}
		for range rapid.IntRange(0, 4).Draw(t, "sizes") {
			s.FreeSizes = append(s.FreeSizes, replay.SizeCount{Size: counts.Draw(t, "size"), Count: counts.Draw(t, "count")})
		}
		for range rapid.IntRange(0, 4).Draw(t, "blocks") {
			s.Blocks = append(s.Blocks, heapmodel.Block{Addr: heapmodel.Addr(counts.Draw(t, "addr")), Size: counts.Draw(t, "size")})
		}
		return s
	})
	cells := rapid.SliceOfN(rapid.OneOf(rapid.Float32(), rapid.Float32Range(0, 9)), 0, 6)
	result := rapid.Custom(func(t *rapid.T) *replay.Result {
		r := &replay.Result{
			Trace:  &trace.Header{Program: rapid.String().Draw(t, "program"), HasTime: true},
			Layout: rapid.Bool().Draw(t, "layout"), Growing: rapid.Bool().Draw(t, "growing"), Failures: counts.Draw(t, "failures"),
			LargestNeed: counts.Draw(t, "need"), PeakLive: counts.Draw(t, "peak"), Footprint: counts.Draw(t, "footprint"),
			Peak: survey.Draw(t, "peak"), FirstFailure: survey.Draw(t, "first"), End: survey.Draw(t, "end"), Stopped: rapid.Bool().Draw(t, "stopped"),
		}
		for range rapid.IntRange(0, 5).Draw(t, "samples") {
			r.Series = append(r.Series, replay.Sample{
				Event: counts.Draw(t, "event"), Time: rapid.Int64().Draw(t, "time"), Clock: counts.Draw(t, "clock"), Live: counts.Draw(t, "live"),
				LiveMin: counts.Draw(t, "min"), LiveMax: counts.Draw(t, "max"), Footprint: counts.Draw(t, "foot"), Free: counts.Draw(t, "free"), LargestFree: counts.Draw(t, "largest"),
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "growths") {
			r.Growths = append(r.Growths, replay.Growth{Event: counts.Draw(t, "event"), From: counts.Draw(t, "from"), To: counts.Draw(t, "to")})
			r.Grown++
		}
		for range rapid.IntRange(0, 3).Draw(t, "failed") {
			r.Failed = append(r.Failed, replay.Failure{Event: counts.Draw(t, "event"), Need: counts.Draw(t, "need")})
		}
		if rapid.Bool().Draw(t, "map") {
			r.Map = &replay.Map{RowBytes: counts.Draw(t, "row"), Rows: rapid.IntRange(0, 6).Draw(t, "rows")}
			for range rapid.IntRange(0, 4).Draw(t, "cols") {
				r.Map.Cols = append(r.Map.Cols, replay.MapCol{Event: counts.Draw(t, "event"), Used: cells.Draw(t, "used"), Age: cells.Draw(t, "age"), SizeLog2: cells.Draw(t, "size"), Arena: counts.Draw(t, "arena")})
			}
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		results := rapid.SliceOfN(result, 1, 3).Draw(t, "results")
		made, _, err := Make(results, Options{Axis: rapid.SampledFrom([]Axis{Events, Bytes, Seconds}).Draw(t, "axis")})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range made {
			b, err := p.Render("svg", 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := wellFormed(b); err != nil {
				t.Fatalf("%s: %v", p.Name, err)
			}
		}
		if len(made) > 0 {
			p := rapid.SampledFrom(made).Draw(t, "picture")
			if _, err := p.Render(rapid.SampledFrom(Formats).Draw(t, "format"), 20); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// wellFormed reads an SVG to its end, and looks for elements that are not ours
// and numbers that are none.
func wellFormed(b []byte) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if e, ok := token.(xml.StartElement); ok {
			if !slices.Contains([]string{"svg", "path", "text", "image"}, e.Name.Local) {
				return errors.New("element " + e.Name.Local)
			}
			for _, a := range e.Attr {
				if a.Name.Local != "aria-label" && a.Name.Local != "href" && (strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf")) {
					return errors.New(e.Name.Local + " " + a.Name.Local + "=" + a.Value)
				}
			}
		}
	}
}

// FuzzNames draws with any name of a program and a heap.
func FuzzNames(f *testing.F) {
	f.Add("prog \"x\" <y> & 'z'", "heap:capacity=64KiB,ptr=32")
	f.Add("\x00\x1b[31m\xff\u202e", "a\nb\tc")
	f.Add("</text><script>alert(1)</script>", "]]><!--")
	results := small(f)[1:]
	f.Fuzz(func(t *testing.T, program, name string) {
		made, _ := pictures(t, results, Options{Figures: []string{"timeline"}, Trace: program, Names: []string{name}})
		b := render(t, made["timeline"], "svg", 0)
		if err := wellFormed(b); err != nil {
			t.Fatal(err)
		}
		if len(name) < 100 && len(program) < 100 {
			render(t, made["timeline"], "pdf", 0)
		}
	})
}

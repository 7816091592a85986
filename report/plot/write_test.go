package plot

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"image"
	"image/png"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/cmpimg"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

var update = flag.Bool("update", false, "write the golden files")

// pictures makes the figures, which must succeed, by name.
func pictures(t testing.TB, results []*replay.Result, o Options) (map[string]*Picture, []Skipped) {
	t.Helper()
	made, skipped, err := Make(results, o)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*Picture{}
	for _, p := range made {
		if byName[p.Name] != nil {
			t.Fatalf("two pictures are named %s", p.Name)
		}
		byName[p.Name] = p
	}
	return byName, skipped
}

func render(t testing.TB, p *Picture, format string, dpi int) []byte {
	t.Helper()
	b, err := p.Render(format, dpi)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPictureGoldens compares one picture or more of every figure.
func TestPictureGoldens(t *testing.T) {
	smallOnes, _ := pictures(t, small(t), Options{})
	mediumOnes, _ := pictures(t, medium(t), Options{})
	covered := map[string]bool{}
	for name, p := range map[string]*Picture{
		"small-timeline": smallOnes["timeline"], "small-map": smallOnes["map-02-toy"], "small-map-size": smallOnes["map-size-02-toy"],
		"timeline": mediumOnes["timeline"], "largest-free": mediumOnes["largest-free"], "map": mediumOnes["map-03-toy"],
		"map-size": mediumOnes["map-size-05-toy"], "free-sizes-peak": mediumOnes["free-sizes-peak"], "free-sizes-failure": mediumOnes["free-sizes-failure"],
	} {
		t.Run(name, func(t *testing.T) {
			if p == nil {
				t.Fatal("not made")
			}
			covered[p.Figure] = true
			golden(t, name+".png", render(t, p, "png", 72), func(got, want []byte) bool {
				same, err := cmpimg.EqualApprox("png", got, want, 0.1)
				return err == nil && same
			})
		})
	}
	for _, f := range Figures {
		if !covered[f.Key] {
			t.Errorf("figure %s has no golden", f.Key)
		}
	}
}

func TestFiguresTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Figures {
		if f.Key == "" || f.Title == "" || !strings.HasSuffix(f.Doc, ".") || f.make == nil || seen[f.Key] || fileName(f.Key) != f.Key {
			t.Errorf("row %+v", f)
		}
		seen[f.Key] = true
	}
}

// TestWriteTwice checks that files are the same bytes each time, as a set and
// one by one.
func TestWriteTwice(t *testing.T) {
	read := func(dir string) map[string]string {
		w, err := Write(dir, Formats, medium(t), Options{DPI: 50})
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for _, path := range w.Files {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.Base(path)] = string(b)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != len(files) || len(files) != len(w.Files) {
			t.Fatalf("%d files in the folder, %d written, %v", len(entries), len(w.Files), err)
		}
		if info, err := os.Stat(w.Files[0]); err != nil || info.Mode().Perm()&0o444 != 0o444 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		return files
	}
	dir := filepath.Join(t.TempDir(), "new", "folder")
	first := read(dir)
	if len(first) != 3*(1+1+4+4+1+1) {
		t.Errorf("%d files", len(first))
	}
	for name, content := range read(dir) { // over the files that are there
		if first[name] != content {
			t.Errorf("%s differs", name)
		}
		if strings.HasSuffix(name, ".pdf") && !strings.Contains(content, "/CreationDate (D:20000101000000)") {
			t.Errorf("%s has a date of its own", name)
		}
	}
}

// TestPDFOrder draws a PDF with an image, fonts and colours often enough for a
// random order inside to show.
func TestPDFOrder(t *testing.T) {
	made, _ := pictures(t, small(t), Options{})
	first := render(t, made["map-02-toy"], "pdf", 0)
	for range 20 {
		if !bytes.Equal(render(t, made["map-02-toy"], "pdf", 0), first) {
			t.Fatal("differs")
		}
	}
	if same, err := cmpimg.Equal("pdf", first, first); err != nil || !same {
		t.Errorf("not a PDF that can be read: %v", err)
	}
}

// TestFormatsAreIndependent renders one format after another from the same
// picture and from a fresh one.
func TestFormatsAreIndependent(t *testing.T) {
	results := medium(t)
	used, _ := pictures(t, results, Options{})
	for _, f := range Formats {
		fresh, _ := pictures(t, results, Options{})
		for _, name := range []string{"largest-free", "free-sizes-peak", "timeline"} {
			if !bytes.Equal(render(t, used[name], f, 50), render(t, fresh[name], f, 50)) {
				t.Errorf("%s.%s depends on what was drawn before", name, f)
			}
		}
	}
}

var embedded = regexp.MustCompile(`href="data:image/png;base64,([^"]*)"`)

// TestMapImageInSVG checks that the image in the SVG is the map, upright.
func TestMapImageInSVG(t *testing.T) {
	results := small(t)
	made, _ := pictures(t, results, Options{})
	m := embedded.FindSubmatch(render(t, made["map-02-toy"], "svg", 0))
	if m == nil {
		t.Fatal("no image")
	}
	raw, err := base64.StdEncoding.DecodeString(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	checkUpright(t, img, img.Bounds())
}

// checkUpright looks at the middle of three cells of the textbook's map, of
// which room is the part of the image that holds it.
func checkUpright(t *testing.T, img image.Image, room image.Rectangle) {
	t.Helper()
	used := func(address, event float64) bool {
		x := room.Min.X + int(float64(room.Dx())*(event+0.5)/12)
		y := room.Max.Y - 1 - int(float64(room.Dy())*(address+0.5)/10)
		r, g, b, _ := img.At(x, y).RGBA()
		return r+g+b < 3*0xf000
	}
	if !used(0, 0) || used(9, 0) || !used(8, 4) || used(4, 4) || !used(6, 11) || used(7, 11) {
		t.Error("the map is not where it should be")
	}
}

// TestMapImageInPDF checks the same of the PDF, which gonum would draw upside
// down, where poppler is there to show it.
func TestMapImageInPDF(t *testing.T) {
	tool, err := exec.LookPath("pdftoppm")
	if err != nil {
		t.Skip("no pdftoppm")
	}
	made, _ := pictures(t, small(t), Options{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "map.pdf"), render(t, made["map-02-toy"], "pdf", 0), 0o600); err != nil {
		t.Fatal(err)
	}
	shot := func(name string) image.Image {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	cmd := exec.Command(tool, "-r", "72", "-png", "-singlefile", filepath.Join(dir, "map.pdf"), filepath.Join(dir, "pdf"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "ours.png"), render(t, made["map-02-toy"], "png", 72), 0o600); err != nil {
		t.Fatal(err)
	}
	// Where the map is in the picture, as the PNG shows it: the first and last
	// dark pixels of a colour of the map.
	ours, theirs := shot("ours.png"), shot("pdf.png")
	if ours.Bounds() != theirs.Bounds() {
		t.Fatalf("%v and %v", ours.Bounds(), theirs.Bounds())
	}
	different := 0
	for y := range ours.Bounds().Dy() {
		for x := range ours.Bounds().Dx() {
			r0, g0, b0, _ := ours.At(x, y).RGBA()
			r1, g1, b1, _ := theirs.At(x, y).RGBA()
			for _, d := range []float64{float64(r0) - float64(r1), float64(g0) - float64(g1), float64(b0) - float64(b1)} {
				if math.Abs(d) > 0x6000 {
					different++
					break
				}
			}
		}
	}
	// Letters and edges differ; a map upside down is a third of the picture.
	if all := ours.Bounds().Dx() * ours.Bounds().Dy(); different > all/20 {
		t.Errorf("%d of %d pixels differ from the PNG", different, all)
	}
}

func TestTitles(t *testing.T) {
	made, _ := pictures(t, small(t), Options{})
	svg := string(render(t, made["map-02-toy"], "svg", 0))
	for _, want := range []string{"SYNTHETIC trace: Heap map by age: toy:capacity=10", "textbook (ops) · 12 events · peak live 14 B at event 6", "1 failure"} {
		if !strings.Contains(svg, ">"+want+"<") {
			t.Errorf("no %q", want)
		}
	}
	blocks := replayed(t, trace.Header{Sizes: trace.SizesBlock}, textbook, replay.Options{}, "toy:capacity=99", "ideal/ref", "toy")
	made, _ = pictures(t, blocks, Options{Trace: "run.log", Names: []string{"a & b", "best", "<c>"}})
	svg = string(render(t, made["timeline"], "svg", 0))
	for _, want := range []string{"run.log · 12 events · peak live 14 B at event 6 · sizes are the recorded heap&#39;s block sizes", "footprint of 1. a &amp; b", "footprint of 3. &lt;c&gt;"} {
		if !strings.Contains(svg, ">"+want+"<") {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(svg, "SYNTHETIC") {
		t.Error("a recorded trace is called synthetic")
	}
}

func TestOptionErrors(t *testing.T) {
	results := small(t)
	for name, tt := range map[string]struct {
		results []*replay.Result
		o       Options
		want    string
	}{
		"figure":     {results, Options{Figures: []string{"timeline", "pie"}}, `no figure "pie": want one of timeline, largest-free`},
		"names":      {results, Options{Names: []string{"a"}}, "1 names for 2 results"},
		"no clock":   {results, Options{Axis: Seconds}, "no time stamps"},
		"axis":       {results, Options{Axis: 9}, "no time axis 9"},
		"nil result": {[]*replay.Result{nil}, Options{}, "a result is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			_, err := Write(dir, Formats, tt.results, tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Error("a folder was made")
			}
		})
	}
	if _, err := Write(t.TempDir(), []string{"gif"}, results, Options{}); err == nil || !strings.Contains(err.Error(), `no format "gif"`) {
		t.Errorf("got %v", err)
	}
	if _, err := ParseAxis("minutes"); err == nil {
		t.Error("an axis that is none was read")
	}
	for a := range axisKinds {
		if b, err := ParseAxis(a.String()); err != nil || a != b {
			t.Errorf("%v: %v %v", a, b, err)
		}
	}
	made, _ := pictures(t, results, Options{Figures: []string{"timeline"}})
	if _, err := made["timeline"].Render("png", 1_000_000); err == nil {
		t.Error("a PNG of a million dots an inch was drawn")
	}
}

// TestWriteErrors checks that nothing half done is left.
func TestWriteErrors(t *testing.T) {
	results := small(t)
	t.Run("not a folder", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(file, Formats, results, Options{}); err == nil {
			t.Error("no error")
		}
		if b, _ := os.ReadFile(file); string(b) != "mine" {
			t.Error("the file was changed")
		}
	})
	t.Run("a folder has a picture's name", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "map-02-toy.svg", "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		w, err := Write(dir, []string{"svg"}, results, Options{})
		if err == nil {
			t.Fatal("no error")
		}
		entries, _ := os.ReadDir(dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if want := []string{"largest-free.svg", "map-02-toy.svg", "timeline.svg"}; !slices.Equal(names, want) || len(w.Files) != 2 {
			t.Errorf("left %v, returned %v", names, w.Files)
		}
	})
	t.Run("read-only folder", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Create(filepath.Join(dir, "probe")); err == nil {
			f.Close()
			t.Skip("this user may write anywhere")
		}
		if _, err := Write(dir, Formats, results, Options{}); err == nil {
			t.Error("no error")
		}
	})
}

// TestSkipped checks that there is a reason, not an empty picture, where there
// is nothing to draw.
func TestSkipped(t *testing.T) {
	hdr := &trace.Header{Program: "p"}
	bare := func(change func(*replay.Result)) []*replay.Result {
		r := &replay.Result{Trace: hdr, Layout: true}
		change(r)
		return []*replay.Result{r}
	}
	series := []replay.Sample{{Event: 0, Live: 5, LiveMax: 5, Footprint: 8, LargestFree: 3}}
	empty := []string{
		"timeline: no samples: the trace has no events, or no heap replayed any",
		"largest-free: no samples of a heap with an arena",
		"map of heap 1: the replay kept no map", "map-size of heap 1: the replay kept no map",
		"free-sizes-peak: the peak was not reached", "free-sizes-failure: no request failed",
	}
	for name, tt := range map[string]struct {
		results []*replay.Result
		made    []string
		skipped []string
	}{
		"no results": {nil, nil, []string{
			"timeline: no results", "largest-free: no results", "map: no results", "map-size: no results",
			"free-sizes-peak: no results", "free-sizes-failure: no results",
		}},
		"no events":  {bare(func(*replay.Result) {}), nil, empty},
		"no header":  {[]*replay.Result{{Layout: true}}, nil, empty},
		"one sample": {bare(func(r *replay.Result) { r.Series = series }), []string{"largest-free", "timeline"}, empty[2:]},
		"an empty map": {bare(func(r *replay.Result) { r.Series, r.Map = series, &replay.Map{RowBytes: 1} }), []string{"largest-free", "timeline"}, []string{
			"map of heap 1: the map is empty", "map-size of heap 1: the map is empty", empty[4], empty[5],
		}},
		"a map of nothing": {bare(func(r *replay.Result) {
			r.Series, r.Map = series, &replay.Map{RowBytes: 1, Rows: 1, Cols: []replay.MapCol{{Used: []float32{0}, Age: []float32{0}, SizeLog2: []float32{0}, Arena: 1}}}
		}), []string{"largest-free", "timeline"}, []string{
			"map of heap 1: no memory was in use at any column of the map", "map-size of heap 1: no memory was in use at any column of the map", empty[4], empty[5],
		}},
		"only the ideal": {replayed(t, *hdr, textbook, replay.Options{}, "ideal/ref"), []string{"timeline"}, []string{
			"largest-free: no samples of a heap with an arena", "map of heap 1: the heap has no arena", "map-size of heap 1: the heap has no arena",
			"free-sizes-peak: no heap with an arena", "free-sizes-failure: no heap with an arena",
		}},
		"full at the peak": {bare(func(r *replay.Result) { r.Peak = &replay.Survey{} }), nil, append(slices.Clone(empty[:4]), "free-sizes-peak: no heap had a free block", empty[5])},
		"everything failed": {replayed(t, *hdr, textbook, replay.Options{}, "toy:capacity=1"), []string{"free-sizes-failure", "free-sizes-peak", "largest-free", "timeline"}, []string{
			"map of heap 1: no memory was in use at any column of the map", "map-size of heap 1: no memory was in use at any column of the map",
		}},
		"stopped at once": {replayed(t, *hdr, textbook, replay.Options{OnFailure: replay.Stop}, "toy:capacity=1"), []string{"free-sizes-failure", "largest-free", "timeline"}, []string{
			"map of heap 1: the map is empty", "map-size of heap 1: the map is empty", empty[4],
		}},
	} {
		t.Run(name, func(t *testing.T) {
			made, skipped := pictures(t, tt.results, Options{})
			var names, reasons []string
			for name, p := range made {
				names = append(names, name)
				for _, f := range Formats {
					if len(render(t, p, f, 30)) == 0 {
						t.Errorf("%s.%s is empty", name, f)
					}
				}
			}
			for _, s := range skipped {
				reasons = append(reasons, s.String())
			}
			slices.Sort(names)
			if !slices.Equal(names, tt.made) || !slices.Equal(reasons, tt.skipped) {
				t.Errorf("made %q\nskipped %q", names, reasons)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "none")
	w, err := Write(dir, Formats, nil, Options{})
	if err != nil || len(w.Files) != 0 || len(w.Skipped) != len(Figures) {
		t.Errorf("got %+v, %v", w, err)
	}
}

// TestManyHeaps checks that panels go over several pictures and names stay
// apart.
func TestManyHeaps(t *testing.T) {
	specs := make([]string, 30)
	for i := range specs {
		specs[i] = "toy:capacity=12"
	}
	made, _ := pictures(t, replayed(t, trace.Header{}, textbook, replay.Options{}, specs...), Options{})
	for _, name := range []string{"timeline-1", "timeline-2", "largest-free-2", "free-sizes-peak-1", "map-01-toy", "map-30-toy"} {
		if made[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	svg := string(render(t, made["timeline-2"], "svg", 0))
	if !strings.Contains(svg, "(part 2 of 2)") || !strings.Contains(svg, ">30. toy:capacity=12<") || strings.Contains(svg, ">24. toy:capacity=12<") {
		t.Error("the second part does not show heaps 25 to 30")
	}
}

// TestSVG draws each operation of a canvas once.
func TestSVG(t *testing.T) {
	s := newSVG(100, 50, `say "hi" <b>`)
	c := draw.New(s)
	c.SetLineStyle(draw.LineStyle{Color: failInk, Width: 2, Dashes: []vg.Length{3, 1.5}, DashOffs: 1})
	c.Stroke(rectangle(10, 10, 20, 30))
	c.SetColor(usableInk)
	c.Fill(marker{circle, true}.path(vg.Point{X: 50, Y: 25}, 5))
	c.Push()
	c.Translate(vg.Point{X: 10, Y: 0})
	c.Scale(2, 2)
	c.StrokeLines(draw.LineStyle{Color: black, Width: 1}, []vg.Point{{X: 0, Y: 0}, {X: 5, Y: 5}, {X: 5.001, Y: 5.001}})
	c.Pop()
	c.FillText(sans(10, black), vg.Point{X: 1, Y: 2}, "a<b")
	c.DrawImage(vg.Rectangle{Max: vg.Point{X: 10, Y: 20}}, image.NewGray(image.Rect(0, 0, 1, 1)))
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "canvas.svg", b.Bytes(), bytes.Equal)
	if err := wellFormed(b.Bytes()); err != nil {
		t.Error(err)
	}
}

package plot

import (
	"bytes"
	"fmt"
	"image"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"codeberg.org/go-pdf/fpdf"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgpdf"

	"github.com/fragprof/fragprof/replay"
)

// Formats are the formats of pictures, which are also the extensions of their
// files.
var Formats = []string{"svg", "png", "pdf"}

// Written is what Write did.
type Written struct {
	Files   []string // paths, in the order of Figures, heaps and formats
	Skipped []Skipped
}

// Write makes the figures of the results of one trace and writes each, in each
// of the formats, to a file of the folder dir, which it creates if need be. A
// file is written whole or not at all and takes the place of one with the same
// name; no other files are touched. On an error the files so far stay, and are
// returned.
func Write(dir string, formats []string, results []*replay.Result, o Options) (*Written, error) {
	for _, f := range formats {
		if !slices.Contains(Formats, f) {
			return nil, fmt.Errorf("plot: no format %q: want one of %s", f, strings.Join(Formats, ", "))
		}
	}
	pictures, skipped, err := Make(results, o)
	if err != nil {
		return nil, err
	}
	w := &Written{Skipped: skipped}
	if len(pictures) == 0 {
		return w, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return w, err
	}
	for _, p := range pictures {
		for _, f := range formats {
			b, err := p.Render(f, o.DPI)
			if err != nil {
				return w, err
			}
			path := filepath.Join(dir, p.Name+"."+f)
			if err := replaceFile(path, b); err != nil {
				return w, err
			}
			w.Files = append(w.Files, path)
		}
	}
	return w, nil
}

// replaceFile puts a file in place of what has its name, in one step.
func replaceFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	// A temporary file is for its owner alone.
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// The greatest and the default resolution of a PNG, in pixels an inch.
const (
	defaultDPI = 144
	maxDPI     = 1200
)

// Render draws the picture in one of Formats. dpi is the resolution of a PNG
// in pixels an inch; 0 means 144. The same picture always gives the same bytes.
func (p *Picture) Render(format string, dpi int) (b []byte, err error) {
	if dpi == 0 {
		dpi = defaultDPI
	}
	if dpi < 1 || dpi > maxDPI {
		return nil, fmt.Errorf("plot: %d dpi: want 1 to %d", dpi, maxDPI)
	}
	// The PDF library panics when it has no folder for temporary files.
	defer func() {
		if v := recover(); v != nil {
			b, err = nil, fmt.Errorf("draw %s as %s: %v", p.Name, format, v)
		}
	}()
	var sheet vg.CanvasSizer
	var out io.WriterTo
	raster := 0.0
	switch format {
	case "svg":
		c := newSVG(p.width, p.height, p.Alt)
		sheet, out = c, c
	case "png":
		c := vgimg.NewWith(vgimg.UseWH(p.width, p.height), vgimg.UseDPI(dpi))
		sheet, out, raster = c, vgimg.PngCanvas{Canvas: c}, float64(dpi)
	case "pdf":
		c := newPDF(p.width, p.height)
		sheet, out = c, c
	default:
		return nil, fmt.Errorf("plot: no format %q: want one of %s", format, strings.Join(Formats, ", "))
	}
	p.paint(canvas{draw.New(sheet), raster})
	var buf bytes.Buffer
	if _, err := out.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("draw %s as %s: %w", p.Name, format, err)
	}
	return buf.Bytes(), nil
}

// pdfCanvas hands the PDF library text in the encoding of its fonts.
type pdfCanvas struct{ *vgpdf.Canvas }

// plainPDF makes new PDFs free of dates and of random order. The library has
// these as settings of the process only where its canvas is behind gonum's.
var plainPDF = sync.OnceFunc(func() {
	fixed := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	fpdf.SetDefaultCreationDate(fixed)
	fpdf.SetDefaultModificationDate(fixed)
	fpdf.SetDefaultCatalogSort(true)
})

func newPDF(w, h vg.Length) pdfCanvas {
	plainPDF()
	return pdfCanvas{vgpdf.New(w, h)}
}

// FillString implements vg.Canvas. Characters that the encoding does not have
// become question marks.
func (c pdfCanvas) FillString(f font.Face, at vg.Point, s string) {
	s = codePage1252(s)
	if f.Font.Weight == boldWeight {
		// gonum's canvas has no bold fonts and but one font a document. Two
		// plain copies side by side look bold, and are narrower than bold text.
		f.Font.Weight = 0
		f = font.DefaultCache.Lookup(f.Font, f.Font.Size)
		c.Canvas.FillString(f, at.Add(vg.Point{X: f.Font.Size / 30}), s)
	}
	c.Canvas.FillString(f, at, s)
}

// DrawImage implements vg.Canvas. gonum's canvas draws images upside down.
func (c pdfCanvas) DrawImage(r vg.Rectangle, img image.Image) {
	c.Push()
	c.Translate(vg.Point{Y: r.Min.Y + r.Max.Y})
	c.Scale(1, -1)
	c.Canvas.DrawImage(r, img)
	c.Pop()
}

// codePage1252 encodes a text: Latin-1 with punctuation in place of some
// control characters.
func codePage1252(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		switch {
		case r < 0x80, r >= 0xa0 && r <= 0xff:
			b = append(b, byte(r))
		default:
			b = append(b, "?\x80\x85\x91\x92\x93\x94\x95\x96\x97"[1+slices.Index([]rune("€…‘’“”•–—"), r)])
		}
	}
	return string(b)
}

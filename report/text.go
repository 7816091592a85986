package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/replay"
	"github.com/fragprof/fragprof/trace"
)

// textColumns are the metrics of the ranked table.
var textColumns = []string{
	"failures", "footprint_bytes", "jw4_frac", "jw1_frac", "internal_frac",
	"peak_free_bytes", "peak_largest_free_bytes", "f2_frac", "growth_events",
}

// writeText writes each run as a ranked table with its failures and footnotes.
func writeText(w io.Writer, runs []*Run) error {
	out := bufio.NewWriter(w)
	for i, run := range runs {
		if i > 0 {
			fmt.Fprintln(out)
		}
		writeTrace(out, run)
		writeRanking(out, run)
		for _, r := range Ranked(run.Results) {
			writeFailures(out, r)
		}
		writeNotes(out, run)
	}
	if len(runs) > 0 {
		writeDefinitions(out)
	}
	return out.Flush()
}

// writeTrace says what the trace is.
func writeTrace(w io.Writer, run *Run) {
	h, s := run.Header, &run.Header.Summary
	kind := "recorded"
	if h.Synthetic {
		kind = "SYNTHETIC"
	}
	fmt.Fprintf(w, "%s: %s", run.Name, kind)
	if h.Program != "" {
		fmt.Fprintf(w, " %s", h.Program)
	}
	fmt.Fprintf(w, ", %s format", h.Source)
	if h.PtrBits != 0 {
		fmt.Fprintf(w, ", %d-bit", h.PtrBits)
	}
	fmt.Fprintf(w, ", %s sizes\n", h.Sizes)
	fmt.Fprintf(w, "%s events: %s allocs, %s frees, %s reallocs; peak %s live in up to %s objects; %s never freed\n\n",
		thousands(s.Events), thousands(s.Allocs), thousands(s.Frees), thousands(s.Reallocs),
		exactBytes(s.PeakLiveBytes), thousands(s.PeakLiveObjects), thousands(s.NeverFreed))
}

// newTable returns an empty table in the house's style.
func newTable(head ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Format.Header = text.FormatDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader = true
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.AppendHeader(table.Row(head))
	return t
}

// rightFrom aligns every column from the given one on to the right.
func rightFrom(t table.Writer, first, columns int) {
	var c []table.ColumnConfig
	for i := first; i <= columns; i++ {
		c = append(c, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(c)
}

func render(w io.Writer, t table.Writer) {
	for line := range strings.SplitSeq(t.Render(), "\n") {
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

func writeRanking(w io.Writer, run *Run) {
	head := []any{"#", "heap"}
	for _, key := range textColumns {
		head = append(head, Lookup(key).Title)
	}
	t := newTable(head...)
	rightFrom(t, 3, len(head))
	rank := 0
	for _, r := range Ranked(run.Results) {
		place := "ref"
		switch {
		case r.Err != nil:
			place = "-"
		case r.Layout:
			rank++
			place = fmt.Sprint(rank)
		}
		row := table.Row{place, name(r.Spec)}
		for _, key := range textColumns {
			m := Lookup(key)
			cell := "-"
			if r.Err == nil {
				cell = m.Unit.text(m.Of(r))
			}
			row = append(row, cell)
		}
		t.AppendRow(row)
	}
	render(w, t)
}

// maxSizesShown is how many sizes of failed requests the text form lists.
const maxSizesShown = 5

// writeFailures tells how and why a heap failed.
func writeFailures(w io.Writer, r *replay.Result) {
	if r.Failures == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s: %s failures: %s\n", name(r.Spec), thousands(r.Failures), Verdicts(r))
	fmt.Fprintf(w, "  first  %s\n", Explain(&r.Failed[0], r.Trace))
	sizes := make([]string, 0, maxSizesShown)
	for _, s := range r.BySize[:min(len(r.BySize), maxSizesShown)] {
		sizes = append(sizes, fmt.Sprintf("%s x %s", thousands(s.Count), exactBytes(s.Size)))
	}
	more := ""
	if n := len(r.BySize) - maxSizesShown; n > 0 {
		more = fmt.Sprintf(", and %s other sizes", thousands(uint64(n)))
	}
	fmt.Fprintf(w, "  sizes  %s%s\n", strings.Join(sizes, ", "), more)
	if s := r.FirstFailure; s != nil && len(s.Blocks) > 0 {
		fmt.Fprintf(w, "  map    |%s| before the first failure: %s\n", strip(s.Blocks, mapWidth), mapLegend)
	}
}

const (
	mapWidth  = 64
	mapLegend = "# used, + mostly used, : mostly free, . free"
)

// strip draws the address range of the blocks in the given number of columns,
// by how much of each is free. What is in no block is not free.
func strip(blocks []heapmodel.Block, columns int) string {
	last := blocks[len(blocks)-1]
	end := uint64(last.Addr) + last.Size
	cell := (end + uint64(columns) - 1) / uint64(columns)
	free := make([]uint64, (end+cell-1)/cell)
	for _, b := range blocks {
		if b.Used {
			continue
		}
		for from, to := uint64(b.Addr), uint64(b.Addr)+b.Size; from < to; {
			stop := min(to, (from/cell+1)*cell)
			free[from/cell] += stop - from
			from = stop
		}
	}
	var s strings.Builder
	for i, f := range free {
		switch size := min(cell, end-uint64(i)*cell); {
		case f == 0:
			s.WriteByte('#')
		case f == size:
			s.WriteByte('.')
		case 2*f > size:
			s.WriteByte(':')
		default:
			s.WriteByte('+')
		}
	}
	return s.String()
}

func writeNotes(w io.Writer, run *Run) {
	notes := append(append([]string{}, run.Notes...), Notes(run.Header, run.Results)...)
	if len(notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	for _, f := range run.Figures {
		fmt.Fprintf(w, "figure: %s\n", f)
	}
}

// writeDefinitions prints what the columns of the ranked table mean.
func writeDefinitions(w io.Writer) {
	fmt.Fprintln(w)
	t := newTable("column", "definition")
	for _, key := range textColumns {
		m := Lookup(key)
		t.AppendRow(table.Row{m.Title, m.Doc})
	}
	render(w, t)
}

// WriteSteps draws a small heap after each event, a letter for each object (or
// call site, if the trace has them), "-" for free bytes, "#" for headers, dead
// objects that the heap does not take back, and bytes outside blocks, "|" between address ranges that no block may
// span.
func WriteSteps(w io.Writer, r *replay.Result) error {
	out := bufio.NewWriter(w)
	if r.Spec != nil {
		fmt.Fprintf(out, "%s\n", name(r.Spec))
	}
	end := uint64(1)
	for i := range r.Steps {
		end = max(end, r.Steps[i].End)
	}
	cell := (end + maxStepColumns - 1) / maxStepColumns
	if cell > 1 {
		fmt.Fprintf(out, "a column is %d bytes, drawn as what most of it is\n", cell)
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		what := fmt.Sprintf("%s %c", s.Event.Op, letter(s.Label))
		if s.Event.Op != trace.OpFree {
			what += fmt.Sprintf(" %d", s.Event.Size)
		}
		fmt.Fprintf(out, "%4d  %-14s  %s", i, what, picture(s, cell))
		if f := s.Failed; f != nil {
			fmt.Fprintf(out, "  failed: %d bytes free, largest %d: %s", f.Free, f.LargestFree, f.Verdict)
		}
		fmt.Fprintln(out)
	}
	return out.Flush()
}

const maxStepColumns = 128

// letter returns the letter that stands for an object or site.
func letter(label uint32) byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return letters[label%uint32(len(letters))]
}

// picture draws one step, a column for each cell bytes.
func picture(s *replay.Step, cell uint64) string {
	columns := int((s.End + cell - 1) / cell)
	best := make([]uint64, columns) // bytes of the winner of each column
	draw := make([]byte, columns)
	for i := range draw {
		draw[i] = '#'
	}
	paint := func(from, to uint64, c byte) {
		for from < to {
			col := from / cell
			stop := min(to, (col+1)*cell)
			if stop-from > best[col] {
				best[col], draw[col] = stop-from, c
			}
			from = stop
		}
	}
	used := 0
	var walls []uint64
	for i, b := range s.Blocks {
		from, to := uint64(b.Addr), uint64(b.Addr)+b.Size
		if b.Used {
			paint(from, uint64(b.Payload), '#')
			if label := s.Labels[used]; label == replay.NoLabel {
				paint(uint64(b.Payload), to, '#')
			} else {
				paint(uint64(b.Payload), to, letter(label))
			}
			used++
		} else {
			paint(from, to, '-')
		}
		if b.Wall && i > 0 {
			walls = append(walls, from/cell)
		}
	}
	var out strings.Builder
	for i, c := range draw {
		if len(walls) > 0 && walls[0] == uint64(i) {
			out.WriteByte('|')
			walls = walls[1:]
		}
		out.WriteByte(c)
	}
	return out.String()
}

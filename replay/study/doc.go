package study

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Row is a load and what every policy needed for it.
type Row struct {
	Load *Load
	Out  []Outcome // in the order of Policies
}

// fours returns measure 4 of every policy, in percent.
func (r *Row) fours() []float64 {
	out := make([]float64, len(r.Out))
	for i, o := range r.Out {
		out[i] = 100 * o.Measure4()
	}
	return out
}

// table returns measure 4 in percent, a row a policy and a column a load.
func table(rows []Row) [][]float64 {
	out := make([][]float64, len(Policies))
	for i := range out {
		for _, r := range rows {
			out[i] = append(out[i], 100*r.Out[i].Measure4())
		}
	}
	return out
}

// means returns the mean of each row of a table.
func means(t [][]float64) []float64 {
	out := make([]float64, len(t))
	for i, row := range t {
		out[i] = Mean(row)
	}
	return out
}

// means3 returns the mean of measure 3 of every policy, in percent.
func means3(rows []Row) []float64 {
	out := make([]float64, len(Policies))
	for i := range out {
		for _, r := range rows {
			out[i] += 100 * r.Out[i].Measure3() / float64(len(rows))
		}
	}
	return out
}

// Data is what the document is made of.
type Data struct {
	Recorded    []Row
	FreeFirst   []Row // the recorded traces with reallocs that free first, in the same order
	Shuffled    []Row // the recorded traces shuffled, in the same order
	Exponential []Row
	Samples     []Row // shipped with the module
}

// SamplesHeading begins the last section of the document, which is made of
// Data.Samples alone.
const SamplesHeading = "## The shipped samples\n"

// Write writes the document, in Markdown.
func (d *Data) Write(w io.Writer) error {
	var b strings.Builder
	b.WriteString(intro)
	d.ranking(&b)
	d.agreement(&b)
	d.recorded(&b)
	d.reasons(&b)
	d.random(&b)
	WriteSamples(&b, d.Samples)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteSamples writes the section of the shipped samples.
func WriteSamples(b *strings.Builder, rows []Row) {
	b.WriteString(SamplesHeading + `
Measure #4 in percent on the recordings in this folder, which every run of the
tests measures anew.

`)
	writeLoads(b, rows)
	fmt.Fprintf(b, "\nKendall's tau between these means and the paper's: %.2f.\n", Kendall(means(table(rows)), publishedMeans()))
}

func publishedMeans() []float64 {
	out := make([]float64, len(Policies))
	for i := range Policies {
		out[i] = Policies[i].Published.Mean4
	}
	return out
}

// percent writes a percentage with about three digits.
func percent(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// place writes a rank: 3, or 3.5 for two that share 3 and 4.
func place(rank float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", rank), ".0") }

// writeTable writes a Markdown table whose columns but the first are aligned to
// the right, padded so that its source can be read as it is.
func writeTable(b *strings.Builder, rows [][]string) {
	wide := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			wide[i] = max(wide[i], len([]rune(cell)))
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", wide[i]-len([]rune(cell)))
			if i == 0 {
				fmt.Fprintf(b, "| %s%s |", cell, pad)
			} else {
				fmt.Fprintf(b, " %s%s |", pad, cell)
			}
		}
		b.WriteString("\n")
		if n == 0 {
			for i := range row {
				if i == 0 {
					fmt.Fprintf(b, "|%s|", strings.Repeat("-", wide[i]+2))
				} else {
					fmt.Fprintf(b, "%s:|", strings.Repeat("-", wide[i]+1))
				}
			}
			b.WriteString("\n")
		}
	}
}

// writeLoads writes measure 4 of every policy and load, with mean and standard
// deviation, the mean of measure 3, and what is known of each load.
func writeLoads(b *strings.Builder, rows []Row) {
	head := []string{"policy"}
	for _, r := range rows {
		head = append(head, r.Load.Name)
	}
	out := [][]string{append(head, "mean", "sd", "mean #3")}
	t, threes := table(rows), means3(rows)
	for i := range Policies {
		row := []string{Policies[i].Name}
		for _, v := range t[i] {
			row = append(row, percent(v))
		}
		out = append(out, append(row, percent(Mean(t[i])), percent(SD(t[i])), percent(threes[i])))
	}
	pages, taus, live, allocs := []string{"*whole pages*"}, []string{"*tau with the paper*"}, []string{"*peak live, KB*"}, []string{"*allocations*"}
	for _, r := range rows {
		floor := Outcome{PeakLive: r.Out[1].PeakLive, PeakHeap: (r.Out[1].PeakLive + 4095) / 4096 * 4096}
		pages = append(pages, percent(100*floor.Measure4()))
		taus = append(taus, fmt.Sprintf("%.2f", Kendall(r.fours(), publishedMeans())))
		live = append(live, fmt.Sprintf("%.0f", float64(r.Out[1].PeakLive)/1000))
		allocs = append(allocs, fmt.Sprint(len(r.Load.Sizes)))
	}
	for _, row := range [][]string{pages, taus, live, allocs} {
		out = append(out, append(row, "", "", ""))
	}
	writeTable(b, out)
}

// ranking writes the means of all kinds of loads side by side.
func (d *Data) ranking(b *strings.Builder) {
	b.WriteString(`## Ranking

Mean of measure #4 in percent, its standard deviation, and the place that the
mean gives the policy; in the columns *#3* the mean of that measure. *Shuffled*
are the same traces with sizes and lifetimes dealt anew, *exponential* are made
of nothing but two distributions; both are [below](#random-traces).

`)
	recorded, shuffled, exponential := means(table(d.Recorded)), means(table(d.Shuffled)), means(table(d.Exponential))
	ranks := [][]float64{Ranks(publishedMeans()), Ranks(recorded), Ranks(shuffled), Ranks(exponential)}
	t, threes := table(d.Recorded), means3(d.Recorded)
	rows := [][]string{{"policy", "paper", "sd", "place", "recorded", "sd", "place", "paper, #3", "recorded, #3", "shuffled", "place", "exponential", "place"}}
	for i := range Policies {
		p := &Policies[i]
		rows = append(rows, []string{
			p.Name, percent(p.Published.Mean4), percent(p.Published.SD4), place(ranks[0][i]),
			percent(recorded[i]), percent(SD(t[i])), place(ranks[1][i]), percent(p.Published.Mean3), percent(threes[i]),
			percent(shuffled[i]), place(ranks[2][i]), percent(exponential[i]), place(ranks[3][i]),
		})
	}
	writeTable(b, rows)
	b.WriteString("\n")
}

// agreement writes rank correlations.
func (d *Data) agreement(b *strings.Builder) {
	recorded, shuffled, exponential := means(table(d.Recorded)), means(table(d.Shuffled)), means(table(d.Exponential))
	rows := [][]string{{"rankings", "Kendall's tau-b", "Spearman's rho"}}
	for _, c := range []struct {
		name string
		x, y []float64
	}{
		{"paper and recorded", publishedMeans(), recorded},
		{"paper and shuffled", publishedMeans(), shuffled},
		{"paper and exponential", publishedMeans(), exponential},
		{"recorded and shuffled", recorded, shuffled},
		{"recorded and exponential", recorded, exponential},
	} {
		rows = append(rows, []string{c.name, fmt.Sprintf("%.2f", Kendall(c.x, c.y)), fmt.Sprintf("%.2f", Spearman(c.x, c.y))})
	}
	b.WriteString("## Agreement\n\n")
	writeTable(b, rows)
	b.WriteString("\n")
	theirs, ours := halves(Table4), halves(table(d.Recorded))
	paragraph(b, `How much can be asked? Take half of the paper's own eight programs and compare their ranking
with that of the other half, in all ways there are: tau is %.2f on the average, and below %.2f in a
tenth of the cases. Halves of the traces here agree with %.2f on the average, a tenth of them with less
than %.2f.`, Mean(theirs), theirs[len(theirs)/10], Mean(ours), ours[len(ours)/10])
	paragraph(b, `The best seven are so close, in the paper and here, that their order among each other says little.
Of the pairs of policies that the paper has more than %d %% apart, how many are in the same order here,
and which are not:`, apart)
	order := [][]string{{"traces", "same", "opposite"}}
	var recordedPairs []string
	for _, c := range []struct {
		name string
		y    []float64
	}{{"recorded", recorded}, {"shuffled", shuffled}, {"exponential", exponential}} {
		same, opposite := pairs(publishedMeans(), c.y, apart)
		order = append(order, []string{c.name, fmt.Sprint(same), fmt.Sprint(len(opposite))})
		if recordedPairs == nil {
			recordedPairs = opposite
		}
	}
	writeTable(b, order)
	b.WriteString("\n")
	paragraph(b, "On the recorded traces, the policies in the opposite order are %s.", strings.Join(recordedPairs, "; "))
}

// apart is how many percent make a difference between two policies.
const apart = 2

// pairs returns how many pairs of policies that differ by more than so many
// percent in x are in the same order in y, and which are in the opposite one, the
// better in x first.
func pairs(x, y []float64, apart float64) (same int, opposite []string) {
	for i := range x {
		for j := range x {
			switch {
			case x[j]-x[i] <= apart:
			case y[i] <= y[j]:
				same++
			default:
				opposite = append(opposite, Policies[i].Name+" and "+Policies[j].Name)
			}
		}
	}
	return same, opposite
}

// halves returns tau between the means over half of a table's columns and over
// the other half, for all ways to halve them, ascending. Of an odd number of
// columns one half has one more.
func halves(t [][]float64) []float64 {
	columns := len(t[0])
	var out []float64
	x, y := make([]float64, len(t)), make([]float64, len(t))
	for set := range 1 << columns {
		count := 0
		for i := range columns {
			count += set >> i & 1
		}
		if count != columns/2 || columns%2 == 0 && set&1 == 0 { // the same two halves once
			continue
		}
		for i, row := range t {
			x[i], y[i] = 0, 0
			for j, v := range row {
				if set>>j&1 == 1 {
					x[i] += v
				} else {
					y[i] += v
				}
			}
		}
		out = append(out, Kendall(x, y)) // sums rank as means do
	}
	slices.Sort(out)
	return out
}

// recorded writes the table of the recorded traces.
func (d *Data) recorded(b *strings.Builder) {
	b.WriteString(`## Recorded traces

Measure #4 in percent. The last rows are no policies: *whole pages* is the least
that any heap of 4 KiB pages can have, *tau* how well the column agrees with the
paper's means.

`)
	writeLoads(b, d.Recorded)
	b.WriteString("\n")
	for _, r := range d.Recorded {
		fmt.Fprintf(b, "- *%s*: %s\n", r.Load.Name, r.Load.About)
	}
	b.WriteString("\n")
}

package study

import (
	"fmt"
	"slices"
	"strings"
)

// random writes the random loads.
func (d *Data) random(b *strings.Builder) {
	b.WriteString("## Random traces\n\n")
	paragraph(b, `*Shuffled*: the sizes of a recorded trace and its lifetimes (counted in allocations), each in
random order, dealt to objects one after the other. The distributions are exactly those of the program;
what is gone is that objects of a size live alike, that they come in runs, and that the program has
phases.`)
	writeLoads(b, d.Shuffled)
	var own, before, after []float64
	for i := range d.Shuffled {
		own = append(own, Kendall(d.Recorded[i].fours(), d.Shuffled[i].fours()))
		before = append(before, 100*d.Recorded[i].Load.Together(together))
		after = append(after, 100*d.Shuffled[i].Load.Together(together))
	}
	slices.Sort(own)
	b.WriteString("\n")
	paragraph(b, `Between the ranking of a recorded trace and that of the same trace shuffled, tau is %.2f on the
average, %.2f at least and %.2f at most.`, Mean(own), own[0], own[len(own)-1])
	paragraph(b, `*Exponential*: 200,000 objects with sizes around a mean of 64 bytes and lifetimes around a mean
of 2,000 allocations, both exponentially distributed.`)
	writeLoads(b, d.Exponential)
	b.WriteString("\n")
	d.shift(b)
	d.deaths(b, before, after)
}

// together is how many allocations apart two frees may be to count as together.
const together = 10

// shift says which policies the random traces put elsewhere.
func (d *Data) shift(b *strings.Builder) {
	recorded, shuffled, exponential := means(table(d.Recorded)), means(table(d.Shuffled)), means(table(d.Exponential))
	ranks := [][]float64{Ranks(recorded), Ranks(shuffled), Ranks(exponential)}
	var moved []string
	for i := range Policies {
		if max(ranks[0][i], ranks[1][i], ranks[2][i])-min(ranks[0][i], ranks[1][i], ranks[2][i]) >= 3 {
			moved = append(moved, fmt.Sprintf("%s %s, %s, %s", Policies[i].Name, place(ranks[0][i]), place(ranks[1][i]), place(ranks[2][i])))
		}
	}
	paragraph(b, `**How the ranking shifts.** Of 16 places, these policies move by 3 or more (recorded, shuffled, exponential): %s.`,
		strings.Join(moved, "; "))
	paragraph(b, `Policies that use whatever hole comes next (FF LIFO and next fit) waste %s %% of the live bytes on the recorded traces
and %s %% on the shuffled ones; policies that round sizes (buddy systems and segregated storage) %s %% and %s %%.
Double buddy needs less than FF LIFO on %d of %d recorded traces and on %d of the same traces shuffled,
less than NF AO on %d and on %d. Who chose by random traces would round sizes, where
programs tell not to. What random traces tell rightly is who is best: best fit, first fit in address order, and Lea.`,
		percent(group(d.Recorded, anyHole)), percent(group(d.Shuffled, anyHole)), percent(group(d.Recorded, rounding)), percent(group(d.Shuffled, rounding)),
		len(worse(d.Recorded, "FF LIFO", "double buddy", 0)), len(d.Recorded), len(worse(d.Shuffled, "FF LIFO", "double buddy", 0)),
		len(worse(d.Recorded, "NF AO", "double buddy", 0)), len(worse(d.Shuffled, "NF AO", "double buddy", 0)))
}

var (
	anyHole  = []string{"FF LIFO", "NF AO", "NF LIFO", "NF FIFO"}
	rounding = []string{"binary buddy", "double buddy", "seg 2^N", "seg 2^N, 3*2^N"}
)

// deaths says what the shuffle takes away.
func (d *Data) deaths(b *strings.Builder, before, after []float64) {
	paragraph(b, `The reason can be counted. Of two objects that a program allocates one right after the other, and both
frees, the frees have at most %d allocations between them in %.0f %% of the cases on the average of the
recorded traces, and in %.0f %% of the same traces shuffled:`, together, Mean(before), Mean(after))
	head, recorded, shuffled := []string{"freed together, %"}, []string{"recorded"}, []string{"shuffled"}
	for i := range d.Recorded {
		head = append(head, d.Recorded[i].Load.Name)
		recorded, shuffled = append(recorded, fmt.Sprintf("%.0f", before[i])), append(shuffled, fmt.Sprintf("%.0f", after[i]))
	}
	writeTable(b, [][]string{head, recorded, shuffled})
	b.WriteString("\n")
	_, recordedLarge := bySize(d.Recorded, d.Recorded)
	_, shuffledLarge := bySize(d.Shuffled, d.Recorded)
	paragraph(b, `Neighbours in time tend to be neighbours in memory, so in a program holes join
to larger ones whatever the heap does; dealt at random, holes stay apart, and what
to do with such holes is what policies differ in. Rounding has little part in this: without the two small heaps
it costs %s %% and %s %%.`, percent(group(recordedLarge, rounding)), percent(group(shuffledLarge, rounding)))
}

// group returns the mean of measure 4 over several policies, in percent.
func group(rows []Row, policies []string) float64 {
	var out []float64
	for _, p := range policies {
		out = append(out, mean(rows, p))
	}
	return Mean(out)
}

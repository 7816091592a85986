package strategy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// groups tells which of several heaps an object is for.
type groups struct {
	by     string
	lives  *lifespans // unless by size
	bounds []uint64   // by size and life: of each group but the last
	sets   [][]uint32 // by thread and site: of each group but the last
	table  []int      // by thread or site: its group
}

// count returns the number of groups.
func (g *groups) count() int { return max(len(g.bounds), len(g.sets)) + 1 }

// text returns the cuts as the model multi has them.
func (g *groups) text() string {
	var parts []string
	for _, b := range g.bounds {
		parts = append(parts, strconv.FormatUint(b, 10))
	}
	for _, set := range g.sets {
		var members []string
		for _, m := range set {
			if g.by == "site" {
				members = append(members, fmt.Sprintf("#%d", m))
			} else {
				members = append(members, fmt.Sprint(m))
			}
		}
		parts = append(parts, strings.Join(members, map[string]string{"site": "|", "thread": "/"}[g.by]))
	}
	if g.by == "site" {
		return strings.Join(parts, ";")
	}
	return strings.Join(parts, "+")
}

// titles returns a few words for each group.
func (g *groups) titles() []string {
	var out []string
	for _, b := range g.bounds {
		if g.by == "life" {
			out = append(out, fmt.Sprintf("lives of up to %d bytes requested", b))
		} else {
			out = append(out, fmt.Sprintf("up to %d bytes", b))
		}
	}
	for _, set := range g.sets {
		if len(set) > 3 {
			out = append(out, fmt.Sprintf("%d %ss", len(set), g.by))
		} else {
			out = append(out, fmt.Sprintf("%s %s", g.by, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(set)), " and "), "[]")))
		}
	}
	return append(out, "the rest")
}

// read reads cuts that are given.
func (g *groups) read(text string, h *trace.Header) error {
	separator := ";"
	if g.by != "site" {
		separator, text = "|", strings.ReplaceAll(text, "+", "|") // as in the model multi
	}
	for part := range strings.SplitSeq(text, separator) {
		var err error
		switch g.by {
		case "size", "life":
			err = g.readBound(part)
		case "thread":
			var set []uint32
			for number := range strings.SplitSeq(part, "/") {
				thread, bad := strconv.ParseUint(number, 10, 16)
				if bad != nil {
					return fmt.Errorf("cuts: %q: want numbers of threads up to 65535 joined by a slash", part)
				}
				set = append(set, uint32(thread))
			}
			g.sets = append(g.sets, set)
		case "site":
			err = g.readSites(part, h)
		}
		if err != nil {
			return fmt.Errorf("cuts: %w", err)
		}
	}
	g.index()
	return nil
}

func (g *groups) readBound(text string) error {
	bound, err := heapmodel.ParseBytes(text)
	if err == nil && len(g.bounds) > 0 && bound <= g.bounds[len(g.bounds)-1] {
		err = fmt.Errorf("%s is not above the one before", text)
	}
	g.bounds = append(g.bounds, bound)
	return err
}

func (g *groups) readSites(text string, h *trace.Header) error {
	if text == "" {
		return errors.New("a set without call sites")
	}
	chosen, err := sitesOf(text, h)
	if err != nil {
		return err
	}
	var set []uint32
	for site, in := range chosen {
		if in && !g.has(uint32(site)) {
			set = append(set, uint32(site))
		}
	}
	if len(set) == 0 {
		return fmt.Errorf("the sites of %q are all in sets before", text)
	}
	g.sets = append(g.sets, set)
	return nil
}

func (g *groups) has(member uint32) bool {
	return slices.ContainsFunc(g.sets, func(set []uint32) bool { return slices.Contains(set, member) })
}

// index makes the table from the sets.
func (g *groups) index() {
	g.table = nil
	for group, set := range g.sets {
		for _, m := range set {
			for int(m) >= len(g.table) {
				g.table = append(g.table, len(g.sets))
			}
			g.table[m] = group
		}
	}
}

// of returns the group of an object by its number and a size.
func (g *groups) of(number uint32, size uint64) int {
	key := uint64(0)
	switch g.by {
	case "size":
		return g.within(size)
	case "life":
		return g.within(g.lives.life[number])
	case "thread":
		key = uint64(g.lives.thread[number])
	case "site":
		key = uint64(g.lives.site[number])
	}
	if key < uint64(len(g.table)) {
		return g.table[key]
	}
	return len(g.sets)
}

func (g *groups) within(bytes uint64) int {
	i := 0
	for i < len(g.bounds) && bytes > g.bounds[i] {
		i++
	}
	return i
}

// eachLive reads the trace and calls change with each change of what is live,
// for what was there and for what comes: plus or minus one object of so many
// bytes; and after with the number of each event.
func eachLive(src trace.Source, change func(number uint32, bytes uint64, sign int64), after func(event uint64)) error {
	type open struct {
		number uint32
		bytes  uint64
	}
	var live []open // by slot
	next, event := uint32(0), uint64(0)
	return eachEvent(src, func(e *trace.Event) {
		for int(e.Slot) >= len(live) {
			live = append(live, open{})
		}
		o := &live[e.Slot]
		if e.Op != trace.OpAlloc {
			change(o.number, o.bytes, -1)
		} else {
			o.number = next
			next++
		}
		if o.bytes = e.Size; e.Op != trace.OpFree {
			change(o.number, e.Size, +1)
		}
		after(event)
		event++
	})
}

// onTop is what a split counts on top of each object's bytes: a header.
const onTop = 8

// peaks returns the most bytes that each group had live, and all together.
func (g *groups) peaks(src trace.Source) (peaks []uint64, together uint64, err error) {
	now := make([]uint64, g.count())
	peaks = make([]uint64, g.count())
	all := uint64(0)
	err = eachLive(src, func(number uint32, bytes uint64, sign int64) {
		i := g.of(number, bytes)
		now[i] += uint64(sign * int64(bytes+onTop))
		all += uint64(sign * int64(bytes+onTop))
		if sign > 0 {
			peaks[i] = max(peaks[i], now[i])
		}
	}, func(uint64) { together = max(together, all) })
	return peaks, together, err
}

// find decides on the cuts for up to so many heaps.
func (g *groups) find(src trace.Source, heaps int) error {
	switch h := src.Header(); g.by {
	case "size":
		return g.findSizes(src, heaps)
	case "thread":
		return g.findThreads(src, heaps)
	case "life":
		g.bounds = turnovers(h.Summary.PeakLiveBytes, heaps)
		g.prune(func(used []bool) {
			for _, life := range g.lives.life {
				used[g.within(life)] = true
			}
		})
	case "site":
		g.findSites(h, heaps)
	}
	return nil
}

// turnovers returns bounds on lives: the peak of live bytes, a quarter of it and
// so on, ascending.
func turnovers(peak uint64, heaps int) []uint64 {
	var bounds []uint64
	for range heaps - 1 {
		if peak == 0 {
			break
		}
		bounds = append(bounds, peak)
		peak /= 4
	}
	slices.Reverse(bounds)
	return bounds
}

// prune drops bounds between which there is nothing.
func (g *groups) prune(mark func(used []bool)) {
	used := make([]bool, len(g.bounds)+1)
	mark(used)
	var bounds []uint64
	some := false // of the groups below the bound, since the last that was kept
	for i, b := range g.bounds {
		some = some || used[i]
		if some && slices.Contains(used[i+1:], true) {
			bounds = append(bounds, b)
			some = false
		}
	}
	g.bounds = bounds
}

// findSizes puts the cuts where the bytes live at the peak divide evenly.
func (g *groups) findSizes(src trace.Source, heaps int) error {
	bySize, peak := map[uint64]uint64{}, src.Header().Summary.PeakLiveEvent
	past := false
	err := eachLive(src, func(_ uint32, bytes uint64, sign int64) {
		if !past {
			bySize[bytes] += uint64(sign * int64(bytes))
		}
	}, func(event uint64) { past = event >= peak })
	type some struct{ size, bytes uint64 }
	var sizes []some
	total := uint64(0)
	for size, bytes := range bySize {
		if bytes > 0 {
			sizes = append(sizes, some{size, bytes})
			total += bytes
		}
	}
	slices.SortFunc(sizes, func(a, b some) int { return cmp.Compare(a.size, b.size) })
	below := uint64(0)
	for i, s := range sizes {
		below += s.bytes
		// The last size is for the last heap, whatever there is of it.
		done := float64(len(g.bounds)+1) * float64(total) / float64(heaps)
		left := len(sizes) - 1 - i          // sizes above
		wanted := heaps - 1 - len(g.bounds) // cuts to come
		if wanted > 0 && left > 0 && (float64(below) >= done || left <= wanted) {
			g.bounds = append(g.bounds, s.size)
		}
	}
	return err
}

// findThreads deals the threads to the heaps, those with most bytes live at the
// peak first, each to the heap that has least by then.
func (g *groups) findThreads(src trace.Source, heaps int) error {
	var bytesOf []uint64 // by thread
	past, peak := false, src.Header().Summary.PeakLiveEvent
	err := eachLive(src, func(number uint32, bytes uint64, sign int64) {
		thread := g.lives.thread[number]
		for int(thread) >= len(bytesOf) {
			bytesOf = append(bytesOf, 0)
		}
		if !past {
			bytesOf[thread] += uint64(sign * int64(bytes))
		}
	}, func(event uint64) { past = event >= peak })
	order := make([]uint32, len(bytesOf))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(bytesOf[b], bytesOf[a]) })
	heaps = min(heaps, len(order))
	sets, sums := make([][]uint32, heaps), make([]uint64, heaps)
	for _, thread := range order {
		least := 0
		for i := range sums {
			if sums[i] < sums[least] || sums[i] == sums[least] && len(sets[i]) < len(sets[least]) {
				least = i
			}
		}
		sets[least] = append(sets[least], thread)
		sums[least] += bytesOf[thread]
	}
	for _, set := range sets {
		slices.Sort(set)
	}
	g.sets = sets[:max(heaps, 1)-1]
	g.index()
	return err
}

// findSites groups the sites by the median life of their objects.
func (g *groups) findSites(h *trace.Header, heaps int) {
	median, any := g.lives.medians(len(h.Sites))
	lives := groups{by: "life", bounds: turnovers(h.Summary.PeakLiveBytes, heaps)}
	lives.prune(func(used []bool) {
		for site, life := range median {
			used[lives.within(life)] = used[lives.within(life)] || any[site]
		}
	})
	g.sets = make([][]uint32, len(lives.bounds))
	for site, life := range median {
		if i := lives.within(life); any[site] && i < len(g.sets) {
			g.sets[i] = append(g.sets[i], uint32(site))
		}
	}
	g.index()
}

package multi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
)

// by is what decides which heap a request goes to.
type by uint8

const (
	bySize by = iota
	bySite
	byThread
	byLife
)

// maxThread is the highest thread number in cuts.
const maxThread = 1<<16 - 1

// router finds the heap for a request.
type router struct {
	by    by
	rest  uint8      // the heap for what no cut takes
	cuts  []uint64   // by size or life: the bound of each heap, inclusive, ascending
	table []uint8    // by site or thread: the heap of each; beyond it, rest
	sets  [][]string // by site: the patterns of each heap
}

// read reads the cuts for so many heaps.
func (t *router) read(kind, cuts string, heaps int) error {
	t.by = map[string]by{"size": bySize, "site": bySite, "thread": byThread, "life": byLife}[kind]
	if cuts == "" {
		return nil // all to the first heap
	}
	t.rest = uint8(heaps - 1)
	between := "+"
	if t.by == bySite {
		between = ";"
	}
	parts := strings.Split(cuts, between)
	if len(parts) != heaps-1 {
		return fmt.Errorf("cuts=%s: %d for %d heaps: want one fewer than heaps, with %q between them", cuts, len(parts), heaps, between)
	}
	for i, part := range parts {
		var err error
		switch t.by {
		case bySize, byLife:
			err = t.addBound(part)
		case byThread:
			err = t.addThreads(uint8(i), part)
		case bySite:
			err = t.addSites(part)
		}
		if err != nil {
			return fmt.Errorf("cuts=%s: %w", cuts, err)
		}
	}
	return nil
}

func (t *router) addBound(text string) error {
	bound, err := heapmodel.ParseBytes(text)
	if err != nil {
		return err
	}
	if n := len(t.cuts); n > 0 && bound <= t.cuts[n-1] {
		return fmt.Errorf("%s is not above the bound before it", text)
	}
	t.cuts = append(t.cuts, bound)
	return nil
}

func (t *router) addThreads(heap uint8, text string) error {
	for number := range strings.SplitSeq(text, "/") {
		thread, err := strconv.ParseUint(number, 10, 32)
		if err != nil || thread > maxThread {
			return fmt.Errorf("thread %q: want numbers up to %d with / between them, as in 0/2", number, maxThread)
		}
		for uint64(len(t.table)) <= thread {
			t.table = append(t.table, t.rest)
		}
		if t.table[thread] != t.rest {
			return fmt.Errorf("thread %d is in two sets", thread)
		}
		t.table[thread] = heap
	}
	return nil
}

func (t *router) addSites(text string) error {
	set := strings.Split(text, "|")
	for _, pattern := range set {
		if pattern == "" {
			return errors.New("an empty name of a call site")
		}
		if number, ok := strings.CutPrefix(pattern, "#"); ok {
			if _, err := strconv.ParseUint(number, 10, 32); err != nil {
				return fmt.Errorf("site %q: want the number of a call site behind the #", pattern)
			}
		}
	}
	t.sets = append(t.sets, set)
	return nil
}

// wants returns which fields of hints the routes depend on.
func (t *router) wants() heapmodel.HintKinds {
	switch {
	case len(t.cuts) > 0 && t.by == byLife:
		return heapmodel.HintLife
	case len(t.table) > 0 && t.by == byThread:
		return heapmodel.HintThread
	case len(t.sets) > 0:
		return heapmodel.HintSite
	}
	return 0
}

// bind makes the table of call sites from their names.
func (t *router) bind(sites []string) error {
	if len(t.sets) == 0 {
		return nil
	}
	table := make([]uint8, len(sites))
	for site := range table {
		table[site] = t.rest
	}
	// The first set with a fit counts: so from the last one back.
	for heap := len(t.sets) - 1; heap >= 0; heap-- {
		for _, pattern := range t.sets[heap] {
			found := false
			for site, name := range sites {
				if fits(pattern, name, site) {
					table[site], found = uint8(heap), true
				}
			}
			if !found {
				return fmt.Errorf("cuts: no call site of the trace is named %q, of %d sites", pattern, max(len(sites), 1)-1)
			}
		}
	}
	t.table = table
	return nil
}

// fits reports whether a pattern means a call site. The site of unknown name is
// only meant by its number, 0.
func fits(pattern, name string, site int) bool {
	if number, ok := strings.CutPrefix(pattern, "#"); ok {
		return number == strconv.Itoa(site)
	}
	return name != "" && match(pattern, name)
}

// match reports whether a pattern with * and ? fits a name. O(len(pattern) *
// len(name)): after a failure only the latest * is tried with more.
func match(pattern, name string) bool {
	p, n := 0, 0
	star, from := -1, 0 // the latest *, and where what follows it was tried
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// within returns the first heap whose bound is not below a number of bytes.
func (t *router) within(bytes uint64) int {
	for i, bound := range t.cuts {
		if bytes <= bound {
			return i
		}
	}
	return int(t.rest)
}

// byHint returns the heap for an object, unless by size.
func (t *router) byHint(hint *heapmodel.Hint) int {
	key := uint64(hint.Site)
	switch t.by {
	case byLife:
		return t.within(hint.Life)
	case byThread:
		key = uint64(hint.Thread)
	}
	if key < uint64(len(t.table)) {
		return int(t.table[key])
	}
	return int(t.rest)
}

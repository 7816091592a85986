package verify

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxSummary is the length in bytes of the longest summary that is read.
const maxSummary = 64 << 20

// NoEntryError says that a summary has no entry for a table.
type NoEntryError struct{ Table string }

func (e *NoEntryError) Error() string { return fmt.Sprintf("has no entry for %s", e.Table) }

// ReadSummary returns what a summary says of the table at the path: figures
// that whoever made the table took at its end. Two forms are known:
//
//	{"traces": {"mixed": {"failures": 0, "final_free_bytes": 65520}}}
//
// of JSON, with an entry for each table under its file's name, and rows of
// tab-separated columns under a header, with the last three parts of the
// table's path in columns allocator, config and trace. A null and a negative
// number mean that there is no such figure. The error is a *NoEntryError if
// the summary says nothing of the table.
func ReadSummary(r io.Reader, table string) ([]Figure, error) {
	in := bufio.NewReader(io.LimitReader(r, maxSummary))
	head, err := in.Peek(1)
	if err != nil {
		return nil, errors.New("is empty")
	}
	if head[0] == '{' {
		return jsonSummary(in, table)
	}
	return tabSummary(in, table)
}

// place is what a table's path says of it.
type place struct{ allocator, config, trace string }

func placeOf(table string) place {
	dir := filepath.Dir(table)
	return place{
		allocator: filepath.Base(filepath.Dir(dir)),
		config:    filepath.Base(dir),
		trace:     strings.TrimSuffix(filepath.Base(table), ".gz"),
	}
}

// names returns what the table's trace may be called: mixed.txt, mixed.
func (p place) names() []string {
	return []string{p.trace, strings.TrimSuffix(p.trace, filepath.Ext(p.trace))}
}

func jsonSummary(r io.Reader, table string) ([]Figure, error) {
	var s struct {
		Traces map[string]map[string]json.RawMessage
	}
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	p := placeOf(table)
	var entry map[string]json.RawMessage
	for _, name := range p.names() {
		if entry == nil {
			entry = s.Traces[name]
		}
	}
	if entry == nil {
		return nil, &NoEntryError{Table: p.trace}
	}
	var out []Figure
	for key, raw := range entry {
		if string(raw) == "null" {
			continue
		}
		f, ok, err := figure(key, string(raw))
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b Figure) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// columns are the figures that tables of summaries call otherwise.
var columns = map[string]string{
	"failed_allocs":  "failures",
	"max_end_offset": "highest_used_offset",
}

func tabSummary(r io.Reader, table string) ([]Figure, error) {
	rows := csv.NewReader(r)
	rows.Comma, rows.LazyQuotes = '\t', true
	head, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	p := placeOf(table)
	wanted := map[string][]string{"allocator": {p.allocator}, "config": {p.config}, "trace": p.names()}
	for name := range wanted {
		if !slices.Contains(head, name) {
			return nil, fmt.Errorf("line 1: no column %q", name)
		}
	}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return nil, &NoEntryError{Table: p.allocator + "/" + p.config + "/" + p.trace}
		} else if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		mine := true
		for i, name := range head {
			values, ok := wanted[name]
			mine = mine && (!ok || slices.Contains(values, row[i]))
		}
		if !mine {
			continue
		}
		var out []Figure
		for i, name := range head {
			if _, ok := wanted[name]; ok || name == "set" {
				continue
			}
			key, ok := columns[name]
			if !ok {
				key = name
			}
			f, ok, err := figure(key, row[i])
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, f)
			}
		}
		return out, nil
	}
}

// figure reads a number; ok is false if it says that there is none.
func figure(key, text string) (f Figure, ok bool, err error) {
	if strings.HasPrefix(text, "-") {
		return f, false, nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return f, false, fmt.Errorf("%s: want a number, not %q", key, text)
	}
	return Figure{Key: key, Value: v}, true, nil
}

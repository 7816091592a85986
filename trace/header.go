package trace

import "fmt"

// SizeKind says what the sizes of a trace count.
type SizeKind uint8

const (
	// SizesRequested means sizes are what the program asked for.
	SizesRequested SizeKind = iota
	// SizesBlock means sizes are the recorded heap's blocks, with its header,
	// rounding and unsplit remainder. Replaying them through a model that adds
	// its own overhead counts that overhead twice.
	SizesBlock
)

// String returns "requested" or "block".
func (k SizeKind) String() string {
	if k == SizesBlock {
		return "block"
	}
	return "requested"
}

// ParseSizeKind is the inverse of SizeKind.String.
func ParseSizeKind(s string) (SizeKind, error) {
	switch s {
	case "requested":
		return SizesRequested, nil
	case "block":
		return SizesBlock, nil
	}
	return 0, fmt.Errorf("size kind %q: want requested or block", s)
}

// LossKind names one way in which an importer had to drop or repair what it
// read. The zero LossKind is valid.
type LossKind int

// The kinds of loss, in the order reports print them.
const (
	LossUnparsedLines   LossKind = iota // lines that should be events of the format and are not: dropped
	LossOtherLines                      // lines of other output between the events: passed over
	LossUnknownFrees                    // frees of an object that was never seen: dropped
	LossUnknownReallocs                 // reallocs of an object that was never seen: taken as allocs
	LossImplicitFrees                   // allocs at a live address: the old object was freed first
	LossFailedAllocs                    // allocs and reallocs that failed in the recorded program: dropped
	LossNullFrees                       // frees of the null pointer: dropped
	LossOtherProcess                    // events of another process in the same log: dropped
	LossUnmatchedHalves                 // halves of a two-line realloc without the other: repaired
	LossApproxFrees                     // frees that name only a class of objects: the oldest was taken
	LossRestarts                        // fresh starts inside one log: all live objects were freed
	LossBadAlign                        // alignments that are no power of two: taken as none
	LossBadTime                         // time stamps that went backwards: held at the latest
	LossSites                           // events of a call site beyond what the table of sites holds: site unknown
	LossOtherFiles                      // archives with further files: only the first was read
	LossTruncated                       // inputs that stopped in the middle: read up to there
	LossKinds                           // the number of kinds
)

// lossTable has one row a LossKind: its key in JSON and Parquet, and what it
// means in a report.
var lossTable = [LossKinds]struct{ key, doc string }{
	LossUnparsedLines:   {"unparsed_lines", "lines that could not be read as events"},
	LossOtherLines:      {"other_lines", "lines of other output between the events"},
	LossUnknownFrees:    {"unknown_frees", "frees of objects never seen, dropped"},
	LossUnknownReallocs: {"unknown_reallocs", "reallocs of objects never seen, taken as allocs"},
	LossImplicitFrees:   {"implicit_frees", "allocs at a live address, its old object freed first"},
	LossFailedAllocs:    {"failed_allocs", "calls that failed in the recorded program, dropped"},
	LossNullFrees:       {"null_frees", "frees of the null pointer, dropped"},
	LossOtherProcess:    {"other_process", "events of another process, dropped"},
	LossUnmatchedHalves: {"unmatched_halves", "reallocs with one of their two lines, repaired"},
	LossApproxFrees:     {"approximate_frees", "frees that name only size and site, the oldest object taken"},
	LossRestarts:        {"restarts", "fresh starts inside the log, all live objects freed"},
	LossBadAlign:        {"bad_alignments", "alignments that are no power of two, taken as none"},
	LossBadTime:         {"bad_times", "time stamps going backwards, held at the latest"},
	LossSites:           {"unnamed_sites", "events of call sites beyond the bound on sites, site unknown"},
	LossOtherFiles:      {"other_files", "archives with further files, only the first was read"},
	LossTruncated:       {"truncated", "input stopped in the middle, read up to there"},
}

// Key returns the kind's name in JSON and in the Parquet metadata.
func (k LossKind) Key() string { return lossTable[k].key }

// Doc returns what the kind means, in a few words.
func (k LossKind) Doc() string { return lossTable[k].doc }

// Loss counts by kind what an importer dropped or repaired.
type Loss [LossKinds]uint64

// Any reports whether anything of the program's was lost or repaired. Frees of
// null, calls that failed in the recorded program and foreign lines lose
// nothing and do not count.
func (l *Loss) Any() bool {
	for k, count := range l {
		switch LossKind(k) {
		case LossNullFrees, LossFailedAllocs, LossOtherLines, LossOtherProcess:
		default:
			if count != 0 {
				return true
			}
		}
	}
	return false
}

// Header describes a trace. A streaming reader knows its Program, Source and
// the like from the start and its counts only after the last event; a stored
// trace knows all of them at once (Complete).
type Header struct {
	Program   string // what ran, as far as the source says; may be empty
	Source    string // name of the format it came from, as in the formats table
	PtrBits   int    // pointer width of the recorded program: 16, 32, 64; zero if unknown
	Sizes     SizeKind
	Synthetic bool // generated, not recorded; every report says so
	HasTime   bool // the source has a clock
	HasThread bool // the source names threads
	HasSite   bool // the source names call sites

	// Complete reports that the counts below are final.
	Complete bool
	Summary  Summary
	Loss     Loss
	Sites    []string // call sites by SiteID; Sites[0] is "" (unknown)
}

// SiteName returns the name of a call site, or "" if it is unknown. O(1).
func (h *Header) SiteName(id SiteID) string {
	if int(id) < len(h.Sites) {
		return h.Sites[id]
	}
	return ""
}

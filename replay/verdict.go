package replay

// Verdict says why an allocation failed.
type Verdict uint8

// The verdicts, from the sizes at the moment of failure. Need is the smallest
// free block from which the heap could have served the request.
const (
	TooBig     Verdict = iota // need exceeds the largest block the heap could ever have
	Full                      // free < need
	Fragmented                // free >= need > largest free block
	Policy                    // a free block is large enough, and the heap did not find it
	Verdicts                  // the number of verdicts
)

// verdictTable has one row a Verdict: what reports call it, its JSON key, and
// what it means.
var verdictTable = [Verdicts]struct{ name, key, doc string }{
	TooBig:     {"too big", "too_big", "the request is larger than the heap"},
	Full:       {"full", "full", "fewer bytes are free than the request needs"},
	Fragmented: {"fragmented", "fragmented", "enough bytes are free, but no free block is large enough"},
	Policy:     {"policy", "policy", "a free block is large enough, and the heap did not find it (rounding, class search, bounded probes)"},
}

// String returns the verdict as reports print it.
func (v Verdict) String() string { return verdictTable[v].name }

// Key returns the verdict's name in JSON and CSV.
func (v Verdict) Key() string { return verdictTable[v].key }

// Doc returns what the verdict means.
func (v Verdict) Doc() string { return verdictTable[v].doc }

// Failure is one allocation or reallocation that the heap could not serve.
type Failure struct {
	Event       uint64
	Time        int64
	Request     uint64 // bytes asked for
	Align       uint32
	Realloc     bool
	Site        uint32
	Need        uint64 // bytes of block
	Free        uint64 // bytes free, in blocks
	LargestFree uint64
	FreeBlocks  uint64
	Verdict     Verdict
}

// judge returns the verdict on a request that failed; limit is the largest
// block the heap could ever have.
func judge(need, free, largest, limit uint64) Verdict {
	switch {
	case need > limit:
		return TooBig
	case free < need:
		return Full
	case largest < need:
		return Fragmented
	}
	return Policy
}

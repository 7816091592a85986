package gen

import (
	"errors"
	"math/bits"
)

var iid = &Workload{
	Name:  "iid",
	Title: "random sizes and lifetimes, independent of each other: how not to compare heaps",
	Doc: `Objects come one after the other with sizes drawn independently, and each dies
with the same chance at any moment, however old it is: lifetimes are exponential
and the live objects make a random walk about their mean. There are no phases, no
peaks to speak of, and no groups that die together, which is what decides about
fragmentation in real programs; heaps come out in another order here than on
recorded traces. The workload is here to show that, and as a load for tests.`,
	Source: "Johnstone and Wilson 1998, and Zorn and Grunwald 1994, on what such traces are worth",
	ptr:    64,
	Params: []Param{
		{Key: "live", Kind: Count, Default: "1000", Min: 1, Max: 1 << 24, Doc: "mean number of live objects"},
		{Key: "sizes", Kind: Word, Default: "exponential", Enum: []string{"exponential", "uniform", "powers"}, Doc: "how sizes are spread: exponentially, evenly, or evenly over the powers of two"},
		{Key: "min", Kind: Bytes, Default: "8", Max: maxBytes, Doc: "least bytes of an object"},
		{Key: "mean", Kind: Bytes, Default: "100", Min: 1, Max: maxBytes, Doc: "mean bytes of an exponential size"},
		{Key: "max", Kind: Bytes, Default: "4KiB", Min: 1, Max: maxBytes, Doc: "most bytes of an object"},
	},
	run: runIID,
}

func runIID(e *emitter, v values) {
	site := e.site("random.c:main")
	lo, hi := min(v.number("min"), v.number("max")), v.number("max")
	want, mean, sizes := float64(v.number("live")), float64(v.number("mean")), v.word("sizes")
	least, most := uint64(bits.Len64(max(lo, 1)-1)), uint64(bits.Len64(hi)-1)
	var live []object
	for e.more() {
		e.wait(int64(e.between(0, 2000)))
		// Births come at rate 1, the death of each object at rate 1/mean.
		deaths := float64(len(live)) / want
		if e.chance(deaths / (1 + deaths)) {
			var o object
			live, o = remove(live, e.rand.IntN(len(live)))
			e.free(o)
			continue
		}
		var size uint64
		switch sizes {
		case "exponential":
			size = uint64(e.rand.ExpFloat64() * mean)
		case "uniform":
			size = e.between(lo, hi)
		case "powers":
			size = uint64(1) << e.between(least, most)
		}
		live = append(live, e.alloc(site, min(max(size, lo), hi)))
	}
}

var checkerboard = &Workload{
	Name:  "checkerboard",
	Title: "objects that die alternate with objects that stay",
	Doc: `Each round makes a run of objects of one size, every second of which dies at the
end of the run; then it asks for objects a little larger than the holes. Half of
the memory is free, and none of it is of use, unless the heap keeps the two kinds
apart. At the end of a round everything dies.

Suggested heaps: any of a fixed size; the first round already needs one and a half
of what is live at its peak.`,
	Source: "circuitpython #2885 and PR #547, on separating long-lived objects",
	ptr:    32,
	Params: []Param{
		{Key: "objects", Kind: Count, Default: "500", Min: 2, Max: 1 << 24, Doc: "objects of a run"},
		{Key: "size", Kind: Bytes, Default: "64", Min: 1, Max: maxBytes, Doc: "bytes of an object of the run"},
		{Key: "larger", Kind: Bytes, Default: "96", Min: 1, Max: maxBytes, Doc: "bytes of what is asked for then"},
		{Key: "stride", Kind: Count, Default: "2", Min: 2, Max: 1 << 20, Doc: "one of so many objects stays"},
	},
	run: runCheckerboard,
	fine: func(v values) error {
		if v.number("objects")*v.number("size")/v.number("larger") > 1<<24 {
			return errors.New("the objects freed in a round make more than 16 million larger ones")
		}
		return nil
	},
}

func runCheckerboard(e *emitter, v values) {
	short, long, larger := e.site("parser.c:token"), e.site("symbols.c:intern"), e.site("compiler.c:emit")
	count, stride, size, more := v.int("objects"), v.int("stride"), v.number("size"), v.number("larger")
	var stay, die, then []object
	for e.more() {
		stay, die, then = stay[:0], die[:0], then[:0]
		for i := 0; i < count && e.more(); i++ {
			if i%stride == 0 {
				stay = append(stay, e.alloc(long, size))
			} else {
				die = append(die, e.alloc(short, size))
			}
			e.wait(10_000)
		}
		freed := uint64(len(die)) * size
		e.freeAll(die)
		for sum := more; sum <= freed && e.more(); sum += more {
			then = append(then, e.alloc(larger, more))
			e.wait(10_000)
		}
		e.freeAll(then)
		e.freeAll(stay)
		e.wait(100_000_000)
	}
}

package gen

var freenet = &Workload{
	Name:  "freenet",
	Title: "a burst of objects of which one in sixteen stays",
	Doc: `A node starts up or catches up: a burst of small objects, then all of them are
freed but one in sixteen, and these lie scattered over everything the burst
touched. Live memory falls to a sixteenth; a page can be given back only if none
of its objects stayed, which of pages of 4 KiB and objects of 64 bytes is one in
thirty. What comes next asks for larger pieces, which fit none of the holes. With
several rounds the survivors of one round die in the middle of the next.

The heaps to look at are those that grow: sequential:fit=best,quantum=4KiB,
dlmalloc.`,
	Source: "freenet-core #4565: 80 MB live hold 1,178 MB of memory with musl, 1,293 MB with glibc",
	ptr:    64,
	Params: []Param{
		{Key: "rounds", Kind: Count, Default: "1", Min: 1, Max: 1e6, Doc: "bursts"},
		{Key: "objects", Kind: Count, Default: "250k", Min: 1, Max: 1 << 24, Doc: "objects of a burst"},
		{Key: "size", Kind: Bytes, Default: "64", Min: 1, Max: maxBytes, Doc: "mean bytes of an object; sizes are spread from half to one and a half of it"},
		{Key: "survive", Kind: Fraction, Default: "1/16", Doc: "part of the objects that stay"},
		{Key: "scatter", Kind: Word, Default: "random", Enum: []string{"random", "even", "together"}, Doc: "which objects stay: each by chance, every sixteenth, or the last ones, which pin nothing"},
		{Key: "after", Kind: Count, Default: "1000", Max: 1 << 24, Doc: "pieces asked for after the burst, and freed at the end of the round"},
		{Key: "piece", Kind: Bytes, Default: "4KiB", Min: 1, Max: maxBytes, Doc: "bytes of such a piece"},
		unbounded,
	},
	run: runFreenet,
}

func runFreenet(e *emitter, v values) {
	make1, ring, fetch := e.site("node.rs:Burst::message"), e.site("ring.rs:Peer::insert"), e.site("store.rs:fetch")
	count, size, survive := v.int("objects"), v.number("size"), v.frac("survive")
	var stayed []object
	for round := uint64(0); round < v.number("rounds") && e.more(); round++ {
		burst := make([]object, 0, count)
		stays := make([]bool, count)
		for i := range stays {
			switch v.word("scatter") {
			case "random":
				stays[i] = e.chance(survive)
			case "even":
				stays[i] = uint64(float64(i+1)*survive) != uint64(float64(i)*survive)
			case "together":
				stays[i] = float64(i) >= float64(count)*(1-survive)
			}
		}
		for i := 0; i < count && e.more(); i++ {
			if i == count/2 {
				e.freeAll(stayed)
				stayed = stayed[:0]
			}
			site := make1
			if stays[i] {
				site = ring
			}
			burst = append(burst, e.alloc(site, e.between(size-size/2, size+size/2)))
			e.wait(int64(e.between(0, 40_000)))
		}
		for i, o := range burst {
			if stays[i] {
				stayed = append(stayed, o)
			} else {
				e.free(o)
			}
		}
		e.wait(1_000_000_000)
		var after []object
		for i := 0; i < v.int("after") && e.more(); i++ {
			after = append(after, e.alloc(fetch, v.number("piece")))
			e.wait(100_000)
		}
		e.wait(10_000_000_000)
		e.freeAll(after)
	}
}

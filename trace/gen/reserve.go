package gen

import (
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/growth"
)

// reserveParam is how the programs reserve-* treat their containers.
var reserveParam = Param{
	Key: "reserve", Kind: Word, Default: "none", Enum: []string{"none", "exact", "p95", "max"},
	Doc: "capacity reserved at the start of each container: none, its final length, the 95th percentile or the maximum of all final lengths",
}

// roundsParam bounds a program by its work, so that the variants of it that
// reserve do the same as those that do not.
func roundsParam(key, def, doc string) Param {
	return Param{Key: key, Kind: Count, Default: def, Min: 1, Max: 1e9, Doc: doc}
}

// unbounded is the parameter events of programs that end by themselves.
var unbounded = Param{Key: "events", Kind: Count, Default: "10G", Min: 1, Max: 10e9, Doc: "events after which the trace ends, if it did not end before"}

// pieces refuses buffers of so many pieces that filling them takes long.
func pieces(v values) error {
	if v.number("max")/v.number("piece") > 1<<16 {
		return errors.New("max is more than 65536 pieces")
	}
	return nil
}

// reserving is the choice of a capacity beforehand.
type reserving struct {
	mode     string
	p95, max uint64
}

// newReserving finds the 95th percentile of the lengths that draw gives, from a
// sample with random numbers of its own: they do not depend on the mode, so
// that the programs with and without reserving are otherwise the same.
func newReserving(v values, most uint64, draw func(*rand.Rand) uint64) reserving {
	rng := rand.New(rand.NewPCG(v.number("seed"), seedStream+1))
	lengths := make([]uint64, 4000)
	for i := range lengths {
		lengths[i] = draw(rng)
	}
	slices.Sort(lengths)
	return reserving{mode: v.word("reserve"), p95: lengths[len(lengths)*95/100], max: most}
}

// start reserves for a container that will hold length elements.
func (r reserving) start(e *emitter, c *container, length uint64) {
	switch r.mode {
	case "exact":
		c.reserve(e, length)
	case "p95":
		c.reserve(e, r.p95)
	case "max":
		c.reserve(e, r.max)
	}
}

// newBuffer returns an empty container of bytes for the rule of that name, which
// must be in the table.
func newBuffer(rule string, site trace.SiteID) container {
	r, err := growth.Lookup(rule)
	if err != nil {
		panic(err) // the parameter takes known rules only
	}
	return container{rule: r, realloc: r.Realloc, elem: 1, site: site, capacity: r.Inline()}
}

var reserveHelps = &Workload{
	Name:  "reserve-helps",
	Title: "buffers that grow while small objects that stay are made: reserving must help",
	Doc: `A small device handles one message after the other. For each, a few buffers grow
in turn, a piece at a time, and in between come small records that stay: a table
of sessions whose oldest entry goes when it is full. So a record lands wherever a
growing buffer has just left a hole, and there it stays. Then the buffers are
freed and the answer is encrypted in one large block. With what the buffers will
need reserved at the start there are no holes for the records: the buffers lie
together, and leave one hole that fits the large block.

Suggested heaps: freertos-heap4, umm-malloc and sequential:fit=best with
capacity=15KiB, newlib-nano with grow=15KiB, tlsf with capacity=23KiB, on which
nothing fails with reserve=exact and thousands of allocations with reserve=none.
More is not always better: with 16KiB best fit places a buffer elsewhere, and the
large block fails again. With vary=1/64, so that messages differ a little in length, an exact
reserve leaves holes of many lengths and helps far less than reserve=max.`,
	Source: "pull requests that add reserve(), such as IRremoteESP8266 #1536",
	ptr:    32,
	Params: []Param{
		reserveParam,
		roundsParam("rounds", "300", "messages"),
		{Key: "rule", Kind: Word, Default: "esp8266-string", Enum: ruleNames(), Doc: "how the buffers grow"},
		{Key: "buffers", Kind: Count, Default: "4", Min: 1, Max: 1000, Doc: "buffers of a message"},
		{Key: "max", Kind: Bytes, Default: "2500", Min: 64, Max: maxBytes, Doc: "bytes of the largest buffer"},
		{Key: "vary", Kind: Fraction, Default: "0", Doc: "by how much the smallest buffer is smaller"},
		{Key: "piece", Kind: Bytes, Default: "64", Min: 1, Max: maxBytes, Doc: "bytes added to a buffer at once"},
		{Key: "kept", Kind: Count, Default: "80", Min: 1, Max: 1 << 20, Doc: "records in the table"},
		{Key: "every", Kind: Count, Default: "8", Min: 1, Max: 1 << 20, Doc: "pieces between two new records"},
		{Key: "block", Kind: Bytes, Default: "8KiB", Max: maxBytes, Doc: "bytes of the block for the answer; 0: none"},
		unbounded,
	},
	run:  runReserveHelps,
	fine: pieces,
}

func runReserveHelps(e *emitter, v values) {
	most, piece := v.number("max"), v.number("piece")
	spread := uint64(v.frac("vary") * float64(most))
	draw := func(rng *rand.Rand) uint64 { return most - rng.Uint64N(spread+1) }
	res := newReserving(v, most, draw)
	record, tls := e.site("session.cpp:Session::touch"), e.site("tls.cpp:encrypt")
	names := []string{"message.cpp:header +=", "message.cpp:topic +=", "message.cpp:body +=", "message.cpp:reply +="}
	buffers := make([]container, v.int("buffers"))
	lengths, wants := make([]uint64, len(buffers)), make([]uint64, len(buffers))
	var table []object
	for len(table) < v.int("kept") && e.more() {
		table = append(table, e.alloc(record, e.between(20, 60)))
	}
	oldest, pieces := 0, 0
	for round := uint64(0); round < v.number("rounds") && e.more(); round++ {
		for i := range buffers {
			buffers[i] = newBuffer(v.word("rule"), e.site(names[i%len(names)]))
			lengths[i], wants[i] = 0, draw(e.rand)
		}
		for i := range buffers {
			res.start(e, &buffers[i], wants[i])
		}
		for growing := true; growing && e.more(); {
			growing = false
			for i := range buffers {
				if lengths[i] == wants[i] {
					continue
				}
				growing = true
				lengths[i] = min(lengths[i]+piece, wants[i])
				buffers[i].grow(e, lengths[i])
				buffers[i].finish(e)
				e.wait(int64(e.between(10_000, 50_000)))
				if pieces++; pieces%v.int("every") != 0 {
					continue
				}
				e.free(table[oldest])
				table[oldest] = e.alloc(record, e.between(20, 60))
				oldest = (oldest + 1) % len(table)
			}
		}
		for i := range buffers {
			buffers[i].free(e)
		}
		if size := v.number("block"); size > 0 {
			o := e.alloc(tls, size)
			e.wait(2_000_000)
			e.free(o)
		}
		e.wait(int64(e.between(50_000_000, 150_000_000)))
	}
}

var reserveNeutral = &Workload{
	Name:  "reserve-neutral",
	Title: "buffers that grow with nothing in between: reserving must not matter",
	Doc: `A small device with records that it makes at its start and keeps. For each job
one buffer grows alone: nobody else asks for memory before it is freed, so that
what it leaves behind joins again. Then a frame is drawn in a block larger than
the buffer and its old half together ever were, which alone decides how large the
heap must be. Reserving saves copies here, and no memory.

Suggested heaps: freertos-heap4, umm-malloc and sequential:fit=best with
capacity=12KiB, newlib-nano with grow=12KiB, tlsf with capacity=15KiB: the
smallest heaps that serve the program, with reserve and without.`,
	Source: "the counterpart of reserve-helps",
	ptr:    32,
	Params: []Param{
		reserveParam,
		roundsParam("rounds", "1000", "jobs"),
		{Key: "rule", Kind: Word, Default: "libstdcxx-string", Enum: ruleNames(), Doc: "how the buffers grow"},
		{Key: "max", Kind: Bytes, Default: "2KiB", Min: 64, Max: maxBytes / 8, Doc: "bytes of the largest buffer; the smallest has an eighth of it"},
		{Key: "piece", Kind: Bytes, Default: "32", Min: 1, Max: maxBytes, Doc: "bytes added to a buffer at once"},
		{Key: "kept", Kind: Count, Default: "60", Min: 1, Max: 1 << 20, Doc: "records made at the start"},
		unbounded,
	},
	run:  runReserveNeutral,
	fine: pieces,
}

func runReserveNeutral(e *emitter, v values) {
	most, piece := v.number("max"), v.number("piece")
	draw := func(rng *rand.Rand) uint64 { return most - rng.Uint64N(most-most/8+1) }
	res := newReserving(v, most, draw)
	record, frame, site := e.site("config.cpp:load"), e.site("display.cpp:draw"), e.site("job.cpp:line +=")
	for i := 0; i < v.int("kept") && e.more(); i++ {
		e.alloc(record, e.between(16, 80))
	}
	e.wait(1_000_000_000) // what is made at the start is there before the first job
	for round := uint64(0); round < v.number("rounds") && e.more(); round++ {
		b := newBuffer(v.word("rule"), site)
		want := draw(e.rand)
		res.start(e, &b, want)
		for length := uint64(0); length < want && e.more(); {
			length = min(length+piece, want)
			b.grow(e, length)
			b.finish(e)
			e.wait(20_000)
		}
		b.free(e)
		o := e.alloc(frame, 4*most)
		e.wait(5_000_000)
		e.free(o)
		e.wait(int64(e.between(10_000_000, 40_000_000)))
	}
}

var reserveHarms = &Workload{
	Name:  "reserve-harms",
	Title: "many containers of wildly different lengths at once: reserving much must harm",
	Doc: `Connections come and go, each with a buffer for what it has to say. Most say
little, a few say much: nine of ten buffers end below a sixteenth of the maximum,
and one in fifteen fills a quarter of it or more. All of them live at once, so the
heap is made for the sum of what is really said. A capacity reserved for the 95th
percentile, let alone for the maximum, fills it with bytes that nobody uses; the
exact length, if somebody knew it, would do no harm.

Suggested heaps: freertos-heap4, umm-malloc and sequential:fit=best with
capacity=26KiB, newlib-nano with grow=26KiB, tlsf with capacity=30KiB, on which
nothing fails with reserve=none or exact, and thousands of allocations with p95
or max.`,
	Source: "the counterpart of reserve-helps",
	ptr:    32,
	Params: []Param{
		reserveParam,
		roundsParam("steps", "100k", "things that happen: a connection, a piece of what it says, its end"),
		{Key: "rule", Kind: Word, Default: "esp8266-string", Enum: ruleNames(), Doc: "how the buffers grow"},
		{Key: "live", Kind: Count, Default: "32", Min: 1, Max: 1 << 20, Doc: "connections at once"},
		{Key: "max", Kind: Bytes, Default: "2KiB", Min: 256, Max: maxBytes, Doc: "bytes of the largest buffer"},
		{Key: "piece", Kind: Bytes, Default: "24", Min: 1, Max: maxBytes, Doc: "bytes added to a buffer at once"},
		unbounded,
	},
	run:  runReserveHarms,
	fine: pieces,
}

// connection is a buffer of reserve-harms.
type connection struct {
	container
	length, want uint64
	rest         int
}

func runReserveHarms(e *emitter, v values) {
	most, piece := v.number("max"), v.number("piece")
	draw := func(rng *rand.Rand) uint64 {
		if rng.IntN(15) == 0 {
			return most/4 + rng.Uint64N(most-most/4+1)
		}
		return min(24+rng.Uint64N(most/16), most)
	}
	res := newReserving(v, most, draw)
	site := e.site("connection.cpp:out +=")
	open := make([]connection, v.int("live"))
	for step := uint64(0); step < v.number("steps") && e.more(); step++ {
		e.wait(int64(e.between(0, 2_000_000)))
		c := &open[e.rand.IntN(len(open))]
		switch {
		case c.rule == nil:
			*c = connection{container: newBuffer(v.word("rule"), site), want: draw(e.rand), rest: e.rand.IntN(30)}
			res.start(e, &c.container, c.want)
		case c.length < c.want:
			c.length = min(c.length+piece, c.want)
			c.grow(e, c.length)
			c.finish(e)
		case c.rest > 0:
			c.rest--
		default:
			c.free(e)
			c.rule = nil
		}
	}
}

package gen

import (
	"errors"

	"github.com/fragprof/fragprof/trace"
)

var openevse = &Workload{
	Name:  "openevse",
	Title: "a command queue whose popped slots keep their Strings",
	Doc: `A charging station talks to its controller through a queue of ten commands.
Mostly the queue holds one. At times a client wants the log: a document of many
small nodes is made, and while it grows commands pile up in the queue, each a
String made while the heap is filled up to there. Then the commands are sent and
the document is freed. But a slot that was popped keeps its String, and a String
keeps its buffer. The log grows as the hours pass, so slots are used that were
never used before, and their Strings settle ever deeper in free memory: ten of
them, 64 bytes each, cut what is free into pieces, while free bytes do not change.
With queue=clear a slot gives its String up when it is popped, and nothing is
pinned.

With draw=heap a buffer for drawing is allocated at the start, while a scratch
block of 12.6 KB is alive below it, and kept: it takes its 15 KB, and the hole
below it as well, from the largest free block: 27.6 KB.

Suggested heaps: freertos-heap4 and umm-malloc with capacity=67KiB, esp-tlsf with
capacity=68KiB. All have 51 KB free in one piece when the device has started, and
the largest free block falls in nine steps to less than 10 KB, with 51 KB free.
With draw=heap the heap must hold the buffer, too: 15KiB more.`,
	Source: "OpenEVSE/openevse_esp32_firmware #1190 (51 KB to less than 10 KB in 14 hours) and #1179 (27.6 KB of largest block for 15 KB)",
	ptr:    32,
	Params: []Param{
		{Key: "queue", Kind: Word, Default: "keep", Enum: []string{"keep", "clear"}, Doc: "what a popped slot does with its String"},
		{Key: "draw", Kind: Word, Default: "static", Enum: []string{"static", "heap"}, Doc: "where the drawing buffer is"},
		{Key: "hours", Kind: Count, Default: "14", Min: 1, Max: 10_000, Doc: "simulated hours"},
		{Key: "full", Kind: Count, Default: "12", Min: 1, Max: 10_000, Doc: "hours until the log has its full length"},
		{Key: "every", Kind: Duration, Default: "5s", Min: 1e6, Max: 3600e9, Doc: "mean time between two commands"},
		{Key: "clients", Kind: Fraction, Default: "1/16", Doc: "chance that a client wants the log when a command comes"},
		{Key: "slots", Kind: Count, Default: "10", Min: 1, Max: 1000, Doc: "slots of the queue"},
		{Key: "log", Kind: Bytes, Default: "40000", Min: 1000, Max: maxBytes, Doc: "bytes of the document at its full length, what a heap adds to each node not counted"},
		{Key: "nodes", Kind: Bytes, Default: "64", Min: 8, Max: maxBytes, Doc: "mean bytes of a node of the document"},
		{Key: "kept", Kind: Bytes, Default: "16KiB", Max: maxBytes, Doc: "bytes allocated at the start and kept"},
		{Key: "buffer", Kind: Bytes, Default: "15000", Min: 1, Max: maxBytes, Doc: "bytes of the drawing buffer"},
		{Key: "scratch", Kind: Bytes, Default: "12600", Min: 1, Max: maxBytes, Doc: "bytes of the scratch block below it"},
		unbounded,
	},
	run: runOpenevse,
	fine: func(v values) error {
		if v.number("log")/v.number("nodes") > 1<<20 {
			return errors.New("log is more than a million nodes")
		}
		return nil
	},
}

// station is the state of the workload.
type station struct {
	e       *emitter
	clear   bool
	clients float64
	log     float64  // bytes of the document at its full length
	mean    uint64   // bytes of a node
	part    uint64   // bytes of the document between two commands
	slots   []object // Strings in the queue
	used    []bool
	doc     []object // nodes of the document in the making
	// call sites
	command, caller, node, request trace.SiteID
}

func runOpenevse(e *emitter, v values) {
	s := &station{
		e: e, clear: v.word("queue") == "clear", clients: v.frac("clients"),
		log: float64(v.number("log")), mean: v.number("nodes"), part: 2 * v.number("log") / uint64(2*v.int("slots")-1),
		slots: make([]object, v.int("slots")), used: make([]bool, v.int("slots")),
		command: e.site("rapi_sender.cpp:enqueue String"), caller: e.site("openevse.cpp:command String"), node: e.site("web_server.cpp:JsonDocument node"), request: e.site("mongoose.cpp:mg_mgr_poll"),
	}
	s.boot(v)
	const hour = 3_600_000_000_000
	end := min(v.nanoseconds("hours"), maxTime/hour) * hour
	full := v.nanoseconds("full") * hour
	mean := uint64(v.nanoseconds("every"))
	for e.more() && e.now < end {
		e.wait(int64(e.between(mean/2, mean+mean/2)))
		grown := min(float64(e.now)/float64(full), 1) // part of its full length that the log has
		s.serve(grown)
	}
}

// boot allocates what stays: configuration, and a drawing buffer if it is on
// the heap.
func (s *station) boot(v values) {
	e := s.e
	config, draw, scratch := e.site("app_config.cpp:load"), e.site("lcd_tft.cpp:draw buffer"), e.site("lcd_tft.cpp:decode splash")
	left := v.number("kept")
	for least := v.number("kept") / 1000; left > 0 && e.more(); { // bounded: a thousand at most
		size := min(e.between(24, 400)+least, left)
		e.alloc(config, size)
		left -= size
		e.wait(500_000)
	}
	if v.word("draw") == "heap" {
		e.wait(20_000_000) // the display comes after the configuration
		below := e.alloc(scratch, v.number("scratch"))
		e.wait(20_000_000) // the picture is decoded before there is anything to draw
		e.alloc(draw, v.number("buffer"))
		e.wait(300_000_000)
		e.free(below)
	}
}

// serve lets a command come, and at times a client that wants the log: then
// more commands come while the document is made, one for each part of it.
func (s *station) serve(grown float64) {
	e := s.e
	request := e.alloc(s.request, e.between(200, 600))
	depth := 1
	s.enqueue(0)
	if e.chance(s.clients) {
		length := uint64(grown * s.log)
		for made := uint64(0); made < length && e.more(); {
			size := e.between(s.mean/2, s.mean+s.mean/2)
			s.doc = append(s.doc, e.alloc(s.node, size))
			if made += size; made >= uint64(depth)*s.part && depth < len(s.slots) {
				s.enqueue(depth)
				depth++
			}
		}
		e.wait(80_000_000)
		e.freeAll(s.doc)
		s.doc = s.doc[:0]
	}
	e.free(request)
	if s.clear {
		for i := range depth {
			e.free(s.slots[i])
			s.used[i] = false
		}
	}
}

// enqueue copies a command into a slot. A String that is given another text
// keeps its buffer, and grows it if the text is longer than any before.
func (s *station) enqueue(i int) {
	e := s.e
	size := uint64(64)
	if e.chance(0.2) {
		size = e.between(24, 63)
	}
	command := e.alloc(s.caller, size)
	switch {
	case !s.used[i]:
		s.slots[i], s.used[i] = e.alloc(s.command, size), true
	case s.slots[i].size < size:
		e.realloc(s.command, &s.slots[i], size)
	}
	e.free(command)
	e.wait(1_000_000)
}

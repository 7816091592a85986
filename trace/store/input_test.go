package store

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/trace"
)

// sharedFile returns the path of a file of the test material beside the
// module, and skips the test if it is not there.
func sharedFile(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if filepath.Dir(dir) == dir {
			tb.Fatal("no go.mod above the package")
		}
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(filepath.Dir(dir), "shared", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("test material is not there: %v", err)
	}
	return path
}

// loadEvents reads the text form of the test material, ops or hrec.
func loadEvents(tb testing.TB, name string) (events []trace.Event, sites []string) {
	tb.Helper()
	f, err := os.Open(sharedFile(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	p := textParser{live: map[uint64]trace.Slot{}, halves: map[string]trace.Slot{}, siteIDs: map[string]trace.SiteID{}, sites: []string{""}}
	parse := p.ops
	if strings.Contains(name, "hrec") {
		parse = p.hrec
	}
	lines := bufio.NewScanner(z)
	for n := 1; lines.Scan(); n++ {
		if words := strings.Fields(lines.Text()); len(words) > 0 && words[0][0] != '#' {
			if err := parse(words); err != nil {
				tb.Fatalf("%s:%d: %v", name, n, err)
			}
		}
	}
	if lines.Err() != nil {
		tb.Fatal(lines.Err())
	}
	return p.events, p.sites
}

// textParser makes events of the test material's text. Unlike trace/formats,
// which imports this package, it takes the text to be sound.
type textParser struct {
	events  []trace.Event
	slots   trace.SlotPool
	live    map[uint64]trace.Slot // by id or address
	halves  map[string]trace.Slot // by thread: the object of a realloc under way
	siteIDs map[string]trace.SiteID
	sites   []string
	time    int64
}

func (p *textParser) add(e trace.Event) { p.events = append(p.events, e) }

func numbers(words []string) ([]uint64, error) {
	nums := make([]uint64, len(words))
	for i, w := range words {
		var err error
		if nums[i], err = strconv.ParseUint(w, 0, 64); err != nil {
			return nil, err
		}
	}
	return nums, nil
}

func (p *textParser) ops(words []string) error {
	nums, err := numbers(words[1:])
	if err != nil {
		return err
	}
	switch words[0] {
	case "a":
		slot := p.slots.Take()
		p.live[nums[0]] = slot
		e := trace.Event{Op: trace.OpAlloc, Slot: slot, Size: nums[1]}
		if len(nums) > 2 {
			e.Align = uint32(nums[2])
		}
		p.add(e)
	case "r":
		p.add(trace.Event{Op: trace.OpRealloc, Slot: p.live[nums[0]], Size: nums[1]})
	case "f":
		slot := p.live[nums[0]]
		p.slots.Give(slot)
		p.add(trace.Event{Op: trace.OpFree, Slot: slot})
	default:
		return fmt.Errorf("operation %q", words[0])
	}
	return nil
}

func (p *textParser) hrec(words []string) error {
	head, err := numbers(words[:2])
	if err != nil {
		return err
	}
	args, err := numbers(words[3 : len(words)-1])
	if err != nil {
		return err
	}
	name := words[len(words)-1]
	site, ok := p.siteIDs[name]
	if !ok {
		site = trace.SiteID(len(p.sites))
		p.siteIDs[name], p.sites = site, append(p.sites, name)
	}
	p.time = max(p.time, int64(head[0]))
	e := trace.Event{Time: p.time, Thread: uint32(head[1]) - 1, Site: site}
	alloc := func(addr, size, align uint64) {
		e.Op, e.Slot, e.Size, e.Align = trace.OpAlloc, p.slots.Take(), size, uint32(align)
		p.live[addr] = e.Slot
		p.add(e)
	}
	switch words[2] {
	case "malloc":
		alloc(args[0], args[1], 0)
	case "calloc":
		alloc(args[0], args[1]*args[2], 0)
	case "memalign":
		alloc(args[0], args[2], args[1])
	case "rb":
		if args[0] != 0 {
			p.halves[words[1]] = p.live[args[0]]
			delete(p.live, args[0])
		}
	case "re":
		if args[1] == 0 {
			alloc(args[0], args[2], 0)
			break
		}
		e.Op, e.Slot, e.Size = trace.OpRealloc, p.halves[words[1]], args[2]
		p.live[args[0]] = e.Slot
		p.add(e)
	case "free":
		slot, ok := p.live[args[0]]
		if !ok {
			return fmt.Errorf("free of unknown %#x", args[0])
		}
		delete(p.live, args[0])
		p.slots.Give(slot)
		e.Op, e.Slot = trace.OpFree, slot
		p.add(e)
	default:
		return fmt.Errorf("operation %q", words[2])
	}
	return nil
}

// repeated is a trace.Reader of a trace over and over until it has total
// events. Unless that is one round, the events must free all their objects.
// Its header becomes complete at the end, as an importer's does.
type repeated struct {
	base    *trace.Block // all events of one round
	total   uint64
	next    uint64
	header  trace.Header
	counter trace.Counter
}

func newRepeated(events []trace.Event, sites []string, total int) *repeated {
	r := &repeated{base: new(trace.Block), total: uint64(total)}
	r.base.Grow(len(events))
	for _, e := range events {
		r.base.Append(e)
	}
	r.header = trace.Header{Program: "test", Source: "ops", PtrBits: 64, Sites: sites}
	return r
}

func (r *repeated) Header() *trace.Header { return &r.header }
func (r *repeated) Close() error          { return nil }

func (r *repeated) Next(b *trace.Block) error {
	b.Grow(trace.BlockEvents)
	b.Reset(r.next)
	length := uint64(r.base.Len())
	for r.next < r.total && b.Len() < trace.BlockEvents {
		from := int(r.next % length)
		to := int(min(length, uint64(from+trace.BlockEvents-b.Len()), uint64(from)+r.total-r.next))
		b.Op = append(b.Op, r.base.Op[from:to]...)
		b.Slot = append(b.Slot, r.base.Slot[from:to]...)
		b.Size = append(b.Size, r.base.Size[from:to]...)
		b.Align = append(b.Align, r.base.Align[from:to]...)
		b.Thread = append(b.Thread, r.base.Thread[from:to]...)
		b.Site = append(b.Site, r.base.Site[from:to]...)
		// The clock goes on from round to round.
		start := int64(r.next/length) * r.base.Time[length-1]
		for _, t := range r.base.Time[from:to] {
			b.Time = append(b.Time, start+t)
		}
		r.next += uint64(to - from)
	}
	if b.Len() == 0 {
		r.header.Summary, r.header.Complete = r.counter.Summary(), true
		return io.EOF
	}
	r.counter.Block(b)
	return nil
}

// synthetic returns a sound trace of about the given length that frees all its
// objects and has something in every column: a stand-in for the test material,
// the same for each seed.
func synthetic(seed uint64, events int) ([]trace.Event, []string) {
	rng := rand.New(rand.NewPCG(seed, 0))
	sites := []string{"", "main", `operator new("a", <b>)`, "f\u00fcr\n\t\\", "0x7fd2f4d7bdff"}
	var slots trace.SlotPool
	var live []trace.Slot
	list := make([]trace.Event, 0, events)
	var now int64
	for len(list)+len(live) < events || len(live) > 0 {
		now += rng.Int64N(1000)
		e := trace.Event{Time: now, Thread: uint32(len(list) / 100 % 3), Site: trace.SiteID(rng.IntN(len(sites)))}
		pick := rng.IntN(20)
		if len(list)+len(live) >= events {
			pick = 19
		}
		switch {
		case len(live) == 0 || pick < 10:
			e.Op, e.Slot, e.Size = trace.OpAlloc, slots.Take(), rng.Uint64N(1<<rng.UintN(20)+1)
			if pick == 0 {
				e.Align = 1 << rng.IntN(13)
			}
			live = append(live, e.Slot)
		case pick == 10:
			e.Op, e.Slot, e.Size = trace.OpRealloc, live[rng.IntN(len(live))], rng.Uint64N(1<<rng.UintN(40)+1)
		default:
			i := rng.IntN(len(live))
			e.Op, e.Slot = trace.OpFree, live[i]
			slots.Give(live[i])
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
		}
		list = append(list, e)
	}
	return list, sites
}

// blocksOf cuts events into blocks of at most length events.
func blocksOf(events []trace.Event, length int) []*trace.Block {
	var blocks []*trace.Block
	for first := 0; first < len(events); first += length {
		b := new(trace.Block)
		b.Reset(uint64(first))
		for _, e := range events[first:min(len(events), first+length)] {
			b.Append(e)
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// memoryOf makes a trace of events, cut into blocks of at most length.
func memoryOf(events []trace.Event, sites []string, length int) *trace.Memory {
	h := &trace.Header{
		Program: "prog", Source: "ops", PtrBits: 32, Sites: sites,
		HasTime: true, HasThread: true, HasSite: true,
	}
	return trace.NewMemory(h, blocksOf(events, length))
}

// stored returns a trace in stored form.
func stored(tb testing.TB, m *trace.Memory) []byte {
	tb.Helper()
	return storedSmall(tb, m, trace.BlockEvents, 1)
}

// storedSmall returns a trace in stored form with pages of the given number of
// events, and row groups of the given number of pages: what else takes large
// traces is tested on small ones.
func storedSmall(tb testing.TB, m *trace.Memory, pageEvents, pages int) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, m.Header(), Options{})
	w.pageEvents, w.pages = pageEvents, pages
	for _, b := range m.Blocks() {
		if err := w.Write(b); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// openBytes is Open for a file in memory.
func openBytes(file []byte) (*checked, error) {
	r, err := newReader(bytes.NewReader(file), int64(len(file)), "trace.parquet")
	if err != nil {
		return nil, err
	}
	return newChecked(r), nil
}

// readBytes reads all of a file in memory.
func readBytes(file []byte) (*trace.Header, []trace.Event, error) {
	r, err := openBytes(file)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	events, err := readEvents(r)
	return r.Header(), events, err
}

func readEvents(r trace.Reader) (events []trace.Event, err error) {
	b := new(trace.Block)
	for {
		if err := r.Next(b); err == io.EOF {
			return events, nil
		} else if err != nil {
			return events, err
		}
		if b.First != uint64(len(events)) || b.Len() == 0 || b.Len() > trace.BlockEvents {
			return events, fmt.Errorf("a block of %d events from %d on after %d events", b.Len(), b.First, len(events))
		}
		events = slices.Grow(events, b.Len())
		for i := range b.Len() {
			events = append(events, b.At(i))
		}
	}
}

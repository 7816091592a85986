package strategy

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// Pools is the strategy pools.
var Pools = &Strategy{
	Name:  "pools",
	Title: "fixed-block pools for hot sizes, the heap behind them",
	Doc: "Arrays of blocks of a few sizes stand in front of the heap: a request takes a block of the smallest size that holds it, from a larger pool if that is empty, and goes to " +
		"the heap if none is left, unless overflow=false. The pools come out of the heap's memory; of a heap that grows, out of its limit. Blocks have no header and the heap's alignment. " +
		"Pools are given, blocks=[16x64|32x32], or chosen from the recorded trace, as pools:auto. Then they hold sizes up to the smallest that covers the given share of requests, " +
		"with block sizes that waste least; if rounding would waste more than the bound, they stop at a smaller size. " +
		"Their counts are how many objects of the size were live at most, or at=p95: as many as sufficed 95 percent of the time, in events. " +
		"Price: what a pool has free serves nobody else. Without overflow what no pool serves fails, and memory beyond the pools is left unused.",
	Source: "how to choose mempool sizes and counts: NuttX #9504, martin-ger lwIP #11, duktape #854",
	Params: []heapmodel.Param{
		{Key: "blocks", Kind: heapmodel.ParamText, Doc: "the pools as SIZExCOUNT joined by |, as in 16x64|32x32, usable bytes of a block and their number; unset: auto"},
		{Key: "auto", Kind: heapmodel.ParamBool, Default: "false", Doc: "choose the pools from the trace; the default if blocks is not set"},
		{Key: "most", Kind: heapmodel.ParamInt, Default: "4", Doc: "auto: pools at most"},
		{Key: "cover", Kind: heapmodel.ParamInt, Default: "90", Doc: "auto: percent of the requests that pools are for, from the smallest sizes on"},
		{Key: "largest", Kind: heapmodel.ParamBytes, Default: "1KiB", Doc: "auto: largest block"},
		{Key: "waste", Kind: heapmodel.ParamInt, Default: "25", Doc: "auto: percent of the used blocks' bytes that may be lost to rounding"},
		{Key: "at", Kind: heapmodel.ParamText, Default: "max", Doc: "auto: blocks of a pool: max, all that were live at a time, or a percentile of that over events such as p95"},
		{Key: "fallback", Kind: heapmodel.ParamEnum, Default: "next", Enum: []string{"next", "none"}, Doc: "what an empty pool's requests try before the heap: pools of larger blocks, or none"},
		{Key: "overflow", Kind: heapmodel.ParamBool, Default: "true", Doc: "the heap serves what pools do not"},
	},
	Kind: Wraps,
	New:  newPools,
}

// pool is blocks of one size.
type pool struct {
	size  uint64 // bytes of a block
	count uint64
}

// Bounds of the model pools.
const (
	mostPools      = 32
	mostPoolBlocks = 1 << 24
	mostPoolSize   = 1 << 30
)

type pools struct {
	pools    []pool // ascending
	auto     bool
	most     int
	cover    float64 // share
	largest  uint64
	waste    float64 // share
	percent  float64
	fallback string
	overflow bool
	models   []*heapmodel.Model
	notes    []string
}

func newPools(c heapmodel.Config) (Change, error) {
	p := &pools{
		auto: c.Bool("auto") || !c.Set("blocks"), most: c.Int("most"), cover: float64(c.Int("cover")) / 100, largest: c.Bytes("largest"),
		waste: float64(c.Int("waste")) / 100, fallback: c.Text("fallback"), overflow: c.Bool("overflow"),
	}
	switch {
	case p.auto && c.Set("blocks"):
		return nil, errors.New("blocks says which pools there are: auto does not go with it")
	case p.most < 1 || p.most > mostPools:
		return nil, fmt.Errorf("most=%d: want 1 to %d pools", p.most, mostPools)
	case p.cover <= 0 || p.cover > 1:
		return nil, fmt.Errorf("cover=%d: want 1 to 100 percent", c.Int("cover"))
	case p.waste < 0 || p.waste >= 1:
		return nil, fmt.Errorf("waste=%d: want 0 to 99 percent", c.Int("waste"))
	case p.largest < poolGrain || p.largest > mostPoolSize:
		return nil, fmt.Errorf("largest=%s: want %d bytes to 1GiB", c.Text("largest"), poolGrain)
	}
	switch at := c.Text("at"); {
	case at == "max":
		p.percent = 100
	default:
		var err error
		if p.percent, err = strconv.ParseFloat(strings.TrimPrefix(at, "p"), 64); err != nil || !strings.HasPrefix(at, "p") || !(p.percent > 0 && p.percent <= 100) {
			return nil, fmt.Errorf("at=%s: want max, or a percentile above 0 and up to 100, such as p95", at)
		}
	}
	if p.auto {
		return p, nil
	}
	return p, p.read(c.Text("blocks"))
}

// read reads pools that are given.
func (p *pools) read(text string) error {
	for part := range strings.SplitSeq(strings.Trim(text, "[]"), "|") {
		at := strings.LastIndexByte(part, 'x')
		if at < 0 {
			return fmt.Errorf("blocks=%s: want SIZExCOUNT joined by |, as in 16x64|32x32", text)
		}
		size, err := heapmodel.ParseBytes(part[:at])
		if err != nil {
			return fmt.Errorf("blocks=%s: %w", text, err)
		}
		count, err := strconv.ParseUint(part[at+1:], 10, 32)
		if err != nil || count == 0 || count > mostPoolBlocks || size == 0 || size > mostPoolSize {
			return fmt.Errorf("blocks=%s: %q: want blocks of 1 byte to 1GiB, and 1 to %d of them", text, part, mostPoolBlocks)
		}
		p.pools = append(p.pools, pool{size, count})
	}
	if len(p.pools) > mostPools {
		return fmt.Errorf("blocks=%s: more than %d pools", text, mostPools)
	}
	slices.SortStableFunc(p.pools, func(a, b pool) int { return cmp.Compare(a.size, b.size) })
	return nil
}

// Learn chooses the pools and says what they would do for the trace.
func (p *pools) Learn(src trace.Source, env *Env) error {
	p.models = env.Models
	if p.auto {
		if err := p.choose(src); err != nil {
			return err
		}
	}
	if len(p.pools) == 0 {
		p.notes = append(p.notes, "no size of the trace makes a pool within the bounds: the heap is left as it is")
		return nil
	}
	d, err := p.dryRun(src)
	if err != nil {
		return err
	}
	p.notes = append(p.notes, fmt.Sprintf("%d pools of %d bytes, %s", len(p.pools), p.bytes(), p))
	p.notes = append(p.notes, d.String())
	if !p.overflow {
		p.notes = append(p.notes, "without overflow the heap is the pools alone, whatever its model was")
	}
	return nil
}

// String writes the pools as the model has them.
func (p *pools) String() string {
	texts := make([]string, len(p.pools))
	for i, of := range p.pools {
		texts[i] = fmt.Sprintf("%dx%d", of.size, of.count)
	}
	return strings.Join(texts, "+")
}

// bytes returns the bytes of all blocks.
func (p *pools) bytes() (sum uint64) {
	for _, of := range p.pools {
		sum += of.size * of.count
	}
	return sum
}

// Notes says what was chosen and what it would do.
func (p *pools) Notes() []string { return p.notes }

// Wrap puts the pools in front of a smaller heap.
func (p *pools) Wrap(s *heapmodel.Spec, _ *trace.Header) (*heapmodel.Spec, error) {
	if len(p.pools) == 0 {
		return s, nil
	}
	align, err := alignOf(s)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("pools:blocks=%s,fallback=%s,align=%d%s", p, p.fallback, align, wordOf(s))
	set, err := heapmodel.ParseSpec(p.models, text)
	if err != nil {
		return nil, err
	}
	h, err := set.New()
	if err != nil {
		return nil, err
	}
	taken := h.Usage().Arena
	if !p.overflow {
		if bytes, bounded, err := memoryOf(s); err != nil {
			return nil, err
		} else if bounded && taken > bytes {
			return nil, fmt.Errorf("the pools take %d bytes, more than the %d of %s", taken, bytes, s.Model.Name)
		}
		return set, nil
	}
	rest, err := lessMemory(s, taken)
	if err != nil {
		return nil, err
	}
	return set.WithSpecs("overflow", []*heapmodel.Spec{rest})
}

// alignOf returns the alignment that a heap of the spec gives every object.
func alignOf(s *heapmodel.Spec) (uint32, error) {
	h, err := s.New()
	if err != nil {
		return 0, err
	}
	return h.Align(), nil
}

// dryRun is what pools do for a trace, if their heap serves all else.
type dryRun struct {
	pools []pool
	next  bool

	used     []uint64 // blocks by pool
	of       []held   // by slot
	requests uint64
	served   uint64 // by pools
	large    uint64 // larger than every pool
	blocks   uint64 // bytes of used blocks
	asked    uint64 // bytes of the objects in them
	all      uint64 // bytes of all blocks
	sumUsed  float64
	sumAsked float64
	events   float64
}

// held is an object and the pool it is in, plus one.
type held struct {
	pool  int
	bytes uint64
}

// dryRun plays the trace through the pools.
func (p *pools) dryRun(src trace.Source) (*dryRun, error) {
	d := &dryRun{pools: p.pools, next: p.fallback == "next", used: make([]uint64, len(p.pools)), all: p.bytes()}
	err := eachEvent(src, d.event)
	return d, err
}

func (d *dryRun) event(e *trace.Event) {
	for int(e.Slot) >= len(d.of) {
		d.of = append(d.of, held{})
	}
	o := &d.of[e.Slot]
	switch {
	case e.Op == trace.OpFree:
		d.leave(o)
	case e.Op == trace.OpRealloc && o.pool == 0:
		d.requests++ // it stays in the heap
	case e.Op == trace.OpRealloc && e.Size <= d.pools[o.pool-1].size:
		d.requests++
		d.served++
		d.asked += e.Size - o.bytes
		o.bytes = e.Size
	default:
		was := *o
		d.enter(o, e.Size)
		if e.Op == trace.OpRealloc {
			d.leave(&was)
		}
	}
	d.sumUsed += float64(d.blocks)
	d.sumAsked += float64(d.asked)
	d.events++
}

func (d *dryRun) enter(o *held, bytes uint64) {
	d.requests++
	*o = held{}
	fits := false
	for i := range d.pools {
		if d.pools[i].size < bytes || fits && !d.next {
			continue
		}
		fits = true
		if d.used[i] < d.pools[i].count {
			d.used[i]++
			d.served++
			d.blocks += d.pools[i].size
			d.asked += bytes
			*o = held{i + 1, bytes}
			return
		}
	}
	if !fits {
		d.large++
	}
}

func (d *dryRun) leave(o *held) {
	if o.pool > 0 {
		d.used[o.pool-1]--
		d.blocks -= d.pools[o.pool-1].size
		d.asked -= o.bytes
	}
	*o = held{}
}

// String says what came of it.
func (d *dryRun) String() string {
	share := func(part, of float64) float64 { return 100 * part / max(of, 1) }
	return fmt.Sprintf("pools serve %.1f%% of %d requests; %d are larger than every block, %d find no block free; "+
		"rounding takes %.1f%% of the used blocks and %.1f%% of all blocks are free, by the mean over events",
		share(float64(d.served), float64(d.requests)), d.requests, d.large, d.requests-d.served-d.large,
		share(d.sumUsed-d.sumAsked, d.sumUsed), share(math.Max(float64(d.all)*d.events-d.sumUsed, 0), float64(d.all)*d.events))
}

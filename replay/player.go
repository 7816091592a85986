package replay

import (
	"bufio"
	"fmt"
	"slices"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// dead is the Ref of a slot whose object is not live in the heap: freed, or
// never placed because its allocation failed.
const dead = heapmodel.NullRef - 1

// fewSteps is how many steps are counted without a histogram.
const fewSteps = 64

// player replays a trace through one heap.
type player struct {
	h    heapmodel.Heap
	use  *heapmodel.Usage
	o    *Options
	res  *Result
	caps heapmodel.Caps

	refs   []heapmodel.Ref // by slot
	sizes  []uint64        // by slot: requested bytes of a live object
	aligns []uint32        // by slot; nil until the first aligned object lives

	foot heapmodel.Footprint

	planned heapmodel.Planned   // the heap, if it wants all lifetimes beforehand
	hinted  heapmodel.Hinted    // the heap, if it looks at hints
	wants   heapmodel.HintKinds // by hinted
	life    []uint64            // foresight.life
	lifeOf  []uint64            // by slot: Hint.Life of its object
	allocs  uint64              // OpAlloc events so far, counted for life

	limit  uint64 // the largest block the heap could ever have
	layout bool   // the heap has an arena whose changes mean something
	arena  uint64 // after the event before
	events uint64

	searched uint64 // steps after the event before
	// few counts the calls that took so many steps, of frees in few[0] and of
	// the others in few[1]: OpFree is the even one. Most calls take few.
	few [2][fewSteps]uint64

	live, liveMin, liveMax uint64
	count                  uint64
	bySize                 map[uint64]uint64

	stride                  uint64 // events between samples
	nextSample, nextCol     uint64 // number of events played when the next is due
	peakAt                  uint64 // number of events played when the peak survey is due
	mapper                  *mapper
	out                     *bufio.Writer
	line                    []byte
	outErr                  error
	seenSkipped             uint64
	lastFailed              uint64 // event of the latest failure
	steps                   *stepper
	stopped                 bool
	lastTime                int64
	maxFoot, footAtPeak     uint64
	peakLive, peakLiveEvent uint64
	mean                    mean
}

func newPlayer(s *heapmodel.Spec, hdr *trace.Header, o *Options) (*player, error) {
	h, err := s.New()
	if err != nil {
		return nil, err
	}
	p := &player{h: h, use: h.Usage(), o: o, caps: s.Model.Caps, bySize: map[uint64]uint64{}}
	p.res = &Result{Spec: s, Trace: hdr, Growing: s.Grows(), MinLargestFree: ^uint64(0)}
	p.layout = s.Model.Caps&heapmodel.CapNoLayout == 0
	p.res.Layout, p.res.LargestNeed = p.layout, h.Need(min(hdr.Summary.Largest, heapmodel.MaxSize), 0)
	p.foot = heapmodel.FootprintOf(s, h)
	p.planned, _ = h.(heapmodel.Planned)
	if hinted, ok := h.(heapmodel.Hinted); ok && hinted.Hints() != 0 {
		p.hinted, p.wants = hinted, hinted.Hints()
		if err := hinted.Bind(hdr.Sites); err != nil {
			return nil, err
		}
	}
	p.arena, p.mean.on = p.use.Arena, o.Means
	p.limit = h.LargestFree()
	if p.res.Growing {
		p.limit = max(p.limit, s.GrowLimit())
	}
	samples := o.Samples
	if samples <= 0 {
		samples = 2000
	}
	p.stride = max(1, (hdr.Summary.Events+uint64(samples)-1)/uint64(samples))
	p.nextSample = p.stride
	p.peakAt = hdr.Summary.PeakLiveEvent + 1
	p.nextCol = ^uint64(0)
	if o.MapCols > 0 && p.layout {
		p.mapper = newMapper(o, hdr.Summary.Events)
		p.nextCol = p.mapper.due(0)
	}
	if o.Placements != nil {
		p.out = bufio.NewWriterSize(o.Placements, 256<<10)
	}
	if o.Steps {
		p.steps = &stepper{bySite: hdr.HasSite}
	}
	return p, nil
}

// play replays one block. A heap that panics ends this player only.
func (p *player) play(b *trace.Block) {
	if p.stopped {
		return
	}
	at := 0
	defer func() {
		if v := recover(); v != nil {
			p.stopped = true
			p.res.Err = fmt.Errorf("model %s broke near event %d: %v (invariant: %v)", p.res.Spec, b.First+uint64(at), v, p.check())
		}
	}()
	p.reserve(b)
	for at < b.Len() && !p.stopped {
		end := at + int(min(p.due()-p.events, uint64(b.Len()-at)))
		if p.watched() {
			end = min(end, at+1)
		}
		p.span(b, at, end)
		if p.watched() {
			p.watch(b, at)
		}
		at = end
		p.events, p.lastTime = b.First+uint64(end), b.Time[end-1]
		if !p.stopped {
			p.take(b, end-1)
		}
	}
}

// check asks a broken heap what is wrong, which may break again.
func (p *player) check() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("check broke too: %v", v)
		}
	}()
	return p.h.Check()
}

// reserve makes the tables by slot long enough for the block, so that span
// need not look.
func (p *player) reserve(b *trace.Block) {
	top := trace.Slot(0)
	for _, s := range b.Slot {
		top = max(top, s)
	}
	n := int(top) + 1
	if n <= len(p.refs) {
		return
	}
	grow := n - len(p.refs)
	p.refs = slices.Grow(p.refs, grow)[:n]
	p.sizes = slices.Grow(p.sizes, grow)[:n]
	for i := n - grow; i < n; i++ {
		p.refs[i] = dead
	}
	if p.aligns != nil {
		p.aligns = slices.Grow(p.aligns, grow)[:n]
	}
	if p.life != nil {
		p.lifeOf = slices.Grow(p.lifeOf, grow)[:n]
	}
}

// due returns the number of events at which something is to be recorded next.
func (p *player) due() uint64 {
	d := min(p.nextSample, p.nextCol)
	if p.peakAt > p.events {
		d = min(d, p.peakAt)
	}
	return d
}

// span is the hot loop: it replays events [from, to) of the block.
func (p *player) span(b *trace.Block, from, to int) {
	h, use, res := p.h, p.use, p.res
	refs, sizes := p.refs, p.sizes
	ops, slots, size, aligns := b.Op[from:to], b.Slot[from:to], b.Size[from:to], b.Align[from:to]
	live, liveMin, liveMax := p.live, p.liveMin, p.liveMax
	for i, op := range ops {
		slot := int(slots[i])
		bytes := size[i]
		if p.hinted != nil && op != trace.OpFree {
			p.hint(b, from+i)
		}
		if p.mean.on {
			p.until(b.Time[from+i])
		}
		switch op {
		case trace.OpAlloc:
			align := aligns[i]
			var r heapmodel.Ref
			var ok bool
			if align == 0 {
				r, ok = h.Alloc(bytes, 0)
			} else {
				r, ok = p.allocAligned(bytes, align)
			}
			if p.aligns != nil || align != 0 {
				p.setAlign(slot, align)
			}
			if !ok {
				refs[slot] = dead
				p.fail(b, from+i, live)
				break
			}
			refs[slot], sizes[slot] = r, bytes
			if p.mapper != nil {
				p.mapper.born(slot, r, trace.OpAlloc, b.First+uint64(from+i))
			}
			live += bytes
			p.count++
			res.Allocs++
			p.placed(bytes, live)
		case trace.OpFree:
			r := refs[slot]
			if r == dead {
				res.Skipped++
				continue
			}
			h.Free(r)
			refs[slot] = dead
			live -= sizes[slot]
			p.count--
			res.Frees++
		case trace.OpRealloc:
			live = p.realloc(b, from+i, live)
		}
		taken := use.Steps - p.searched
		p.searched = use.Steps
		if taken < fewSteps {
			p.few[op&1][taken]++
		} else if op == trace.OpFree {
			res.FreeSteps.Add(taken)
		} else {
			res.AllocSteps.Add(taken)
		}
		if live < liveMin {
			liveMin = live
		}
		if live > liveMax {
			liveMax = live
		}
		if foot := p.foot.Bytes(); foot > p.maxFoot {
			p.maxFoot = foot
			res.FootprintEvent, res.LiveAtFootprint = b.First+uint64(from+i), live
		}
		if live > p.peakLive {
			p.peakLive, p.peakLiveEvent, p.footAtPeak = live, b.First+uint64(from+i), p.foot.Bytes()
		}
		if p.count > res.PeakObjects {
			res.PeakObjects = p.count
		}
		if use.Arena != p.arena && p.layout {
			p.grown(b, from+i)
		}
		if p.stopped {
			break
		}
	}
	p.live, p.liveMin, p.liveMax = live, liveMin, liveMax
}

// placed advances the clock of Johnstone & Wilson by a request that was
// served, and adds what the footprint exceeds live bytes by, weighted by it.
func (p *player) placed(bytes, live uint64) {
	p.res.AllocatedBytes += bytes
	if live > 0 {
		p.res.ExcessSum += float64(bytes) * (float64(p.foot.Bytes())/float64(live) - 1)
	}
}

// allocAligned serves an aligned request.
func (p *player) allocAligned(bytes uint64, align uint32) (heapmodel.Ref, bool) {
	asked, to := p.ask(bytes, align)
	if asked != bytes {
		p.res.Padded++
	}
	return p.h.Alloc(asked, to)
}

// ask returns what the heap is asked for on behalf of a request: one without an
// aligned entry point for enough bytes to find an aligned address among them,
// which is what programs on such heaps do.
func (p *player) ask(bytes uint64, align uint32) (asked uint64, to uint32) {
	if p.caps&heapmodel.CapAlign != 0 {
		return bytes, align
	}
	if natural := p.h.Align(); align > natural {
		bytes += uint64(align - natural)
	}
	return bytes, 0
}

func (p *player) setAlign(slot int, align uint32) {
	if p.aligns == nil {
		p.aligns = make([]uint32, len(p.refs), cap(p.refs))
	}
	p.aligns[slot] = align
}

// realloc replays a realloc and returns the live bytes after it.
func (p *player) realloc(b *trace.Block, i int, live uint64) uint64 {
	slot, bytes := int(b.Slot[i]), b.Size[i]
	r := p.refs[slot]
	var s heapmodel.Ref
	var ok bool
	if r == dead {
		// The object was never placed: for the program this is malloc.
		if p.aligns != nil {
			p.aligns[slot] = 0
		}
		if s, ok = p.h.Alloc(bytes, 0); ok {
			p.sizes[slot] = 0
			p.count++
			p.res.Allocs++
		}
	} else {
		align := uint32(0)
		if p.aligns != nil {
			align = p.aligns[slot]
		}
		was := p.h.Addr(r)
		if s, ok = p.h.Realloc(r, bytes, align); ok {
			p.res.Reallocs++
			if p.h.Addr(s) == was {
				p.res.InPlace++
			} else {
				p.res.Copied += min(bytes, p.sizes[slot])
			}
		}
	}
	if !ok {
		p.fail(b, i, live)
		return live
	}
	p.refs[slot] = s
	if p.mapper != nil {
		op := trace.OpRealloc
		if r == dead {
			op = trace.OpAlloc
		}
		p.mapper.born(slot, s, op, b.First+uint64(i))
	}
	live += bytes - p.sizes[slot]
	p.sizes[slot] = bytes
	p.placed(bytes, live)
	return live
}

// finish completes the result.
func (p *player) finish() {
	res := p.res
	if !p.stopped {
		res.Events = p.events
	}
	if res.Err == nil && res.Events > 0 {
		last := res.Events - 1
		if n := len(res.Series); n == 0 || res.Series[n-1].Event != last {
			p.sample(last, p.lastTime)
		}
		res.End = p.survey(last, p.lastTime, p.live)
		if n, ok := p.h.(heapmodel.Native); ok {
			res.Stats = n.Native()
		}
	}
	p.means()
	if p.mapper != nil {
		res.Map = p.mapper.result()
	}
	if p.out != nil {
		if err := p.out.Flush(); p.outErr == nil {
			p.outErr = err
		}
		if p.outErr != nil {
			res.Err = fmt.Errorf("write placements: %w", p.outErr)
		}
	}
	for taken := range uint64(fewSteps) {
		if count := p.few[0][taken]; count > 0 {
			res.FreeSteps.AddMany(taken, count)
		}
		if count := p.few[1][taken]; count > 0 {
			res.AllocSteps.AddMany(taken, count)
		}
	}
	res.LiveBytes, res.LiveCount = p.live, p.count
	res.PeakLive, res.PeakLiveEvent, res.FootprintAtPeak = p.peakLive, p.peakLiveEvent, p.footAtPeak
	res.Footprint = p.maxFoot
	res.PeakArena = max(res.PeakArena, p.use.Arena)
	res.PeakAllocated = max(res.PeakAllocated, p.use.Allocated)
	res.Usage = *p.use
	for size, count := range p.bySize {
		res.BySize = append(res.BySize, SizeCount{size, count})
	}
	sortBySize(res.BySize)
}

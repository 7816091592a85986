package replay

import (
	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/golden"
	"github.com/fragprof/fragprof/trace"
)

// What a player records beside its counters: failures, growth, samples,
// placements.

// fail records that event i of the block was not served.
func (p *player) fail(b *trace.Block, i int, live uint64) {
	res := p.res
	bytes, align := b.Size[i], uint32(0)
	if b.Op[i] == trace.OpAlloc {
		bytes, align = p.ask(bytes, b.Align[i])
	}
	f := Failure{
		Event: b.First + uint64(i), Time: b.Time[i], Request: b.Size[i], Align: b.Align[i],
		Realloc: b.Op[i] == trace.OpRealloc, Site: uint32(b.Site[i]),
		Need: p.h.Need(min(bytes, heapmodel.MaxSize), align), Free: p.use.Free, LargestFree: p.h.LargestFree(), FreeBlocks: p.use.FreeBlocks,
	}
	f.Verdict = judge(f.Need, f.Free, f.LargestFree, p.limit)
	if res.Failures == 0 {
		res.FirstFailure = p.survey(f.Event, f.Time, live)
	}
	res.Failures++
	p.lastFailed = f.Event
	res.ByVerdict[f.Verdict]++
	if !f.Realloc {
		res.FailedAllocs++
	}
	if len(p.bySize) < MaxKeptFailures || p.bySize[f.Request] != 0 {
		p.bySize[f.Request]++
	}
	if len(res.Failed) < MaxKeptFailures {
		res.Failed = append(res.Failed, f)
	}
	res.PeakAllocated = max(res.PeakAllocated, p.use.Allocated)
	if p.o.OnFailure == Stop {
		p.stopped, res.Stopped = true, true
		res.Events = f.Event + 1
	}
}

// grown records a change of the arena by event i of the block.
func (p *player) grown(b *trace.Block, i int) {
	g := Growth{
		Event: b.First + uint64(i), Time: b.Time[i], Clock: p.res.AllocatedBytes,
		From: p.arena, To: p.use.Arena,
	}
	if g.To > g.From {
		p.res.Grown++
		g.Need, g.Free, g.LargestFree = p.use.Grown.Need, p.use.Grown.Free, p.use.Grown.LargestFree
	} else {
		p.res.Trimmed++
	}
	p.res.PeakArena = max(p.res.PeakArena, g.From, g.To)
	if len(p.res.Growths) < MaxGrowths {
		p.res.Growths = append(p.res.Growths, g)
	}
	p.arena = p.use.Arena
}

// take records what is due after event i of the block.
func (p *player) take(b *trace.Block, i int) {
	if p.events == p.nextSample {
		p.sample(b.First+uint64(i), b.Time[i])
		p.nextSample += p.stride
	}
	if p.events == p.peakAt {
		p.res.Peak = p.survey(b.First+uint64(i), b.Time[i], p.live)
		p.res.PeakAllocated = max(p.res.PeakAllocated, p.use.Allocated)
	}
	if p.events == p.nextCol {
		p.mapper.column(p.h, p.events, b.Time[i])
		p.nextCol = p.mapper.due(p.events)
	}
}

func (p *player) sample(event uint64, time int64) {
	s := Sample{
		Event: event, Time: time, Clock: p.res.AllocatedBytes,
		Live: p.live, LiveMin: p.liveMin, LiveMax: p.liveMax, Footprint: p.foot.Bytes(),
		Allocated: p.use.Allocated, Free: p.use.Free, FreeBlocks: p.use.FreeBlocks,
		LargestFree: p.h.LargestFree(), Failures: p.res.Failures,
	}
	p.liveMin, p.liveMax = p.live, p.live
	p.res.PeakAllocated = max(p.res.PeakAllocated, s.Allocated)
	if s.LargestFree < p.res.MinLargestFree {
		p.res.MinLargestFree, p.res.MinLargestFreeEvent = s.LargestFree, s.Event
	}
	p.res.Series = append(p.res.Series, s)
}

// watched reports whether every single event is to be recorded.
func (p *player) watched() bool { return p.out != nil || p.steps != nil || p.o.Observe != nil }

// watch records event i of the block, just replayed.
func (p *player) watch(b *trace.Block, i int) {
	if p.out != nil || p.o.Observe != nil {
		a := p.answer(b, i)
		if p.out != nil {
			p.line = append(a.Append(p.line[:0]), '\n')
			if _, err := p.out.Write(p.line); err != nil && p.outErr == nil {
				p.outErr = err
			}
		}
		if p.o.Observe != nil && !p.o.Observe(p.h, b, i, a) {
			p.stopped, p.res.Events = true, b.First+uint64(i)+1
		}
	}
	if p.steps != nil {
		p.step(b, i)
	}
}

// answer returns what the heap answered to event i of the block, just replayed.
func (p *player) answer(b *trace.Block, i int) golden.Answer {
	r := p.refs[b.Slot[i]]
	skipped := p.res.Skipped > p.seenSkipped
	p.seenSkipped = p.res.Skipped
	switch {
	case b.Op[i] == trace.OpFree && skipped:
		return golden.Skipped
	case b.Op[i] == trace.OpFree:
		return golden.Freed
	case p.lastFailed == b.First+uint64(i) && p.res.Failures > 0, r >= dead:
		return golden.Null
	}
	a := uint64(p.h.Addr(r))
	if align := uint64(b.Align[i]); align > uint64(p.h.Align()) && p.caps&heapmodel.CapAlign == 0 {
		a = (a + align - 1) &^ (align - 1)
	}
	return golden.Answer(a)
}

package replay

import (
	"errors"
	"fmt"
	"io"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// MaxForeseen is the number of allocs and reallocs up to which a trace can be
// replayed through heaps that want to know lifetimes: they are held in memory.
const MaxForeseen = 1 << 26

// foresight is what a pass over the whole trace tells of its objects.
type foresight struct {
	lives []heapmodel.Lifetime // of every placement, in order; nil unless a heap plans
	life  []uint64             // Hint.Life of every alloc, in order; nil unless a heap wants it
}

// foresee reads the trace once for the heaps that want to know lifetimes, and
// returns nil if none does.
func foresee(src trace.Source, players []*player) (f *foresight, err error) {
	plan, life := false, false
	for _, p := range players {
		plan = plan || p.planned != nil
		life = life || p.wants&heapmodel.HintLife != 0
	}
	if !plan && !life {
		return nil, nil
	}
	sum := &src.Header().Summary
	if count := sum.Allocs + sum.Reallocs; count > MaxForeseen {
		return nil, fmt.Errorf("a heap that knows lifetimes needs a trace of at most %d allocs and reallocs; this one has %d", MaxForeseen, count)
	}
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	f = &foresight{}
	s := seer{f: f, plan: plan, life: life}
	if plan {
		f.lives = make([]heapmodel.Lifetime, 0, sum.Allocs+sum.Reallocs)
	}
	if life {
		f.life = make([]uint64, 0, sum.Allocs)
	}
	var b trace.Block
	for {
		if err := r.Next(&b); err == io.EOF {
			return f, nil
		} else if err != nil {
			return nil, err
		}
		s.block(&b)
	}
}

// seer fills a foresight from events.
type seer struct {
	f          *foresight
	plan, life bool
	open       []openObject // by slot
	placements uint64
	clock      uint64 // bytes requested so far
}

// openObject is a live object.
type openObject struct {
	placement uint64 // its latest
	alloc     uint64 // number of allocs before its own
	born      uint64 // clock just after its alloc
	align     uint32
}

func (s *seer) block(b *trace.Block) {
	for i, op := range b.Op {
		slot := int(b.Slot[i])
		for slot >= len(s.open) {
			s.open = append(s.open, openObject{})
		}
		o := &s.open[slot]
		switch op {
		case trace.OpAlloc:
			s.clock += b.Size[i]
			*o = openObject{alloc: uint64(len(s.f.life)), born: s.clock, align: b.Align[i]}
			if s.life {
				s.f.life = append(s.f.life, heapmodel.Forever)
			}
			s.place(o, b.Size[i])
		case trace.OpRealloc:
			s.clock += b.Size[i]
			s.end(o)
			s.place(o, b.Size[i])
		case trace.OpFree:
			s.end(o)
			if s.life {
				s.f.life[o.alloc] = s.clock - o.born
			}
		}
	}
}

func (s *seer) place(o *openObject, size uint64) {
	o.placement = s.placements
	if s.plan {
		s.f.lives = append(s.f.lives, heapmodel.Lifetime{Size: size, Align: o.align, Birth: s.placements, Death: heapmodel.Forever})
	}
	s.placements++
}

func (s *seer) end(o *openObject) {
	if s.plan {
		s.f.lives[o.placement].Death = s.placements
	}
}

// hint tells a heap that looks at it what is known of the object of event i of
// the block, an alloc or realloc.
func (p *player) hint(b *trace.Block, i int) {
	hint := heapmodel.Hint{Site: uint32(b.Site[i]), Thread: b.Thread[i], Life: heapmodel.Forever}
	if p.wants&heapmodel.HintLife != 0 {
		slot := int(b.Slot[i])
		if b.Op[i] == trace.OpAlloc {
			p.lifeOf[slot] = p.life[p.allocs]
			p.allocs++
		}
		hint.Life = p.lifeOf[slot]
	}
	p.hinted.Hint(hint)
}

// know gives the player what was foreseen. A heap that cannot plan ends there.
func (p *player) know(f *foresight) {
	if f == nil {
		return
	}
	if p.wants&heapmodel.HintLife != 0 {
		p.life = f.life
	}
	if p.planned != nil {
		if err := p.planned.Plan(f.lives); err != nil {
			p.stopped, p.res.Err = true, fmt.Errorf("model %s: plan: %w", p.res.Spec, err)
		}
	}
}

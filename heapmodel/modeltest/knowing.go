package modeltest

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
)

// Inside lists the models that may stand in specs inside those of the model
// under test. The functions of the same names test a model with nothing inside.
type Inside []*heapmodel.Model

// parse reads a spec of the model under test.
func (in Inside) parse(m *heapmodel.Model, text string) (*heapmodel.Spec, error) {
	return heapmodel.ParseSpec(append([]*heapmodel.Model{m}, in...), text)
}

// specs returns a spec in brackets of each model inside, of a heap that takes
// little room. Heaps without a layout or with a plan stand inside none.
func (in Inside) specs() []string {
	var out []string
	for _, m := range in {
		for _, args := range []string{":capacity=8KiB", ":grow=64KiB", ""} {
			s, err := in.parse(m, m.Name+args)
			if err != nil {
				continue
			}
			h, err := s.New()
			if err != nil {
				continue
			}
			if _, planned := h.(heapmodel.Planned); !planned && m.Caps&heapmodel.CapNoLayout == 0 {
				out = append(out, "["+s.String()+"]")
			}
			break
		}
	}
	return out
}

// Sites returns the names of call sites that heaps under test are bound to; the
// first is that of events without a site.
func Sites() []string {
	return []string{"", "main.c:12", "main.c:40", "net/tcp.c:7", "net/udp.c:7", "0x565cb64c", "libssl.so.3+0x1f0"}
}

// Threads is the number of threads in the hints that heaps under test get.
const Threads = 5

// ready gives a heap what it wants to know before the first operation of a
// trace that is replayed so many times over. If it is more than once, the trace
// has to free all its objects.
func (p *player) ready(t *Trace, times int) error {
	h := p.h
	if s, ok := h.(*Shadow); ok {
		h = s.h
	}
	if hinted, ok := h.(heapmodel.Hinted); ok && hinted.Hints() != 0 {
		if err := hinted.Bind(Sites()); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		p.hinted, p.life = hinted, livesOf(t)
	}
	if planned, ok := h.(heapmodel.Planned); ok {
		if err := planned.Plan(placementsOf(t, times)); err != nil {
			return fmt.Errorf("plan: %w", err)
		}
	}
	return nil
}

// hintOf says of an operation what a heap under test gets to know: call site
// and thread as if at random, the life as it is.
func (p *player) hintOf(o Op) heapmodel.Hint {
	// The same operation always gets the same numbers.
	v := (uint64(o.ID)<<8 | uint64(o.Kind)) * 0x9e3779b97f4a7c15
	return heapmodel.Hint{
		Site:   uint32(v >> 32 % uint64(len(Sites()))),
		Thread: uint32(v >> 48 % Threads),
		Life:   p.life[o.ID],
	}
}

// livesOf returns the life of every object of the trace: see heapmodel.Hint.
func livesOf(t *Trace) []uint64 {
	lives, born := make([]uint64, t.Objects), make([]uint64, t.Objects)
	clock := uint64(0)
	for _, o := range t.Ops {
		clock += o.Size
		switch o.Kind {
		case Alloc:
			born[o.ID], lives[o.ID] = clock, heapmodel.Forever
		case Free:
			lives[o.ID] = clock - born[o.ID]
		}
	}
	return lives
}

// placementsOf returns the lifetimes of all placements of a trace that is
// replayed so many times over.
func placementsOf(t *Trace, times int) []heapmodel.Lifetime {
	var lives []heapmodel.Lifetime
	latest, aligns := make([]uint64, t.Objects), make([]uint32, t.Objects)
	for range times {
		for _, o := range t.Ops {
			now := uint64(len(lives))
			if o.Kind != Alloc {
				lives[latest[o.ID]].Death = now
			}
			if o.Kind == Free {
				continue
			}
			if o.Kind == Alloc {
				aligns[o.ID] = o.Align
			}
			latest[o.ID] = now
			lives = append(lives, heapmodel.Lifetime{Size: o.Size, Align: aligns[o.ID], Birth: now, Death: heapmodel.Forever})
		}
	}
	return lives
}

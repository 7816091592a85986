package catalog_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/heapmodel/catalog"
	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

// TestHostile replays 100,000 operations through every model, with every
// parameter and with every other model inside: sizes up to the largest that the replay
// hands on, alignments up to the largest, objects of no bytes, and frees and
// reallocs of what could not be placed. A model may fail as many of them as it
// likes; it must not panic, hang, break an invariant, lose bytes or serve a
// request that no arena holds.
func TestHostile(t *testing.T) {
	for _, m := range catalog.Models {
		aligned := m.Caps&heapmodel.CapAlign != 0
		tr := hostile(100_000, aligned)
		specs, must, err := modeltest.Inside(catalog.Models).Specs(m)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range specs {
			t.Run(text, func(t *testing.T) {
				t.Parallel()
				s, err := heapmodel.ParseSpec(catalog.Models, text)
				if err != nil {
					t.Fatal(err)
				}
				h, err := s.New()
				if err != nil && i >= must {
					t.Skip(err) // one parameter does not go with another
				} else if err != nil {
					t.Fatal(err)
				}
				err = survive(h, m.Caps, tr)
				if _, planned := h.(heapmodel.Planned); planned && i >= must && err != nil && strings.Contains(err.Error(), "takes at most") {
					t.Skip(err) // a heuristic that is too slow for so many placements
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// survive replays the trace and checks what it leaves behind.
func survive(h heapmodel.Heap, caps heapmodel.Caps, tr *modeltest.Trace) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	answers := bytes.Split(bytes.TrimSuffix(modeltest.Answers(h, tr), []byte("\n")), []byte("\n"))
	if len(answers) != len(tr.Ops) {
		return fmt.Errorf("%d answers to %d operations", len(answers), len(tr.Ops))
	}
	fault := heapmodel.MaxSize + uint64(1)
	if f, faulty := h.(modeltest.ReallocFaulter); faulty {
		fault = f.ReallocFault() // that of some originals takes such sizes for small ones
	}
	for i, o := range tr.Ops {
		placed := len(answers[i]) > 0 && answers[i][0] >= '0' && answers[i][0] <= '9'
		if placed && o.Size > 1<<60 && caps&heapmodel.CapNoLayout == 0 && (o.Kind == modeltest.Alloc || o.Size < fault) {
			return fmt.Errorf("operation %d: %s: is served, at %s", i+1, o, answers[i])
		}
	}
	if u := h.Usage(); u.Arena != u.Allocated+u.Free+u.Overhead {
		return fmt.Errorf("the counters do not add up: %+v", *u)
	}
	return h.Check()
}

// hostile returns operations of which many ask for the impossible. Between them
// are ordinary ones, so that there is something to break.
func hostile(count int, aligned bool) *modeltest.Trace {
	rng := rand.New(rand.NewPCG(1, 2))
	const most = 1500 // live objects, those that could not be placed included
	size := func() uint64 {
		switch rng.IntN(10) {
		case 0:
			return 0
		case 1:
			return heapmodel.MaxSize - rng.Uint64N(3)
		case 2:
			edge := uint64(1) << rng.IntN(63) // up to MaxSize
			return min(edge-1+rng.Uint64N(3), heapmodel.MaxSize)
		case 3:
			return rng.Uint64N(100_000)
		default:
			return rng.Uint64N(300)
		}
	}
	tr := &modeltest.Trace{Name: "hostile"}
	live := make([]uint32, 0, most)
	for len(tr.Ops) < count {
		kind := rng.IntN(20)
		if len(live) == 0 || kind < 10 && len(live) < most {
			o := modeltest.Op{Kind: modeltest.Alloc, ID: tr.Objects, Size: size()}
			if aligned && rng.IntN(4) == 0 {
				o.Align = 1 << rng.IntN(32) // up to MaxAlign
			}
			tr.Ops = append(tr.Ops, o)
			live = append(live, tr.Objects)
			tr.Objects++
			continue
		}
		i := rng.IntN(len(live))
		if kind < 14 {
			tr.Ops = append(tr.Ops, modeltest.Op{Kind: modeltest.Realloc, ID: live[i], Size: size()})
			continue
		}
		tr.Ops = append(tr.Ops, modeltest.Op{Kind: modeltest.Free, ID: live[i]})
		live[i] = live[len(live)-1]
		live = live[:len(live)-1]
	}
	return tr
}

package offline

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
	"pgregory.net/rapid"
)

// judge replays the placements of a plan through its heap and compares every
// pair of them that lives at once: the outside judge of plans. It returns the
// end of the highest. All lifetimes must fit.
func judge(h heapmodel.Heap, lives []heapmodel.Lifetime, header uint64) (top uint64, err error) {
	addr := make([]uint64, len(lives))
	refs := make([]heapmodel.Ref, len(lives))
	for k, l := range lives {
		for j := range k {
			if lives[j].Death == uint64(k) {
				h.Free(refs[j])
			}
		}
		r, ok := h.Alloc(l.Size, l.Align)
		if !ok {
			return 0, fmt.Errorf("placement %d fails", k)
		}
		refs[k], addr[k] = r, uint64(h.Addr(r))
		if a := max(uint64(l.Align), uint64(h.Align())); addr[k]%a != 0 {
			return 0, fmt.Errorf("placement %d is at %d, no multiple of %d", k, addr[k], a)
		}
		for j := range k {
			if lives[j].Death <= uint64(k) {
				continue
			}
			if addr[j] < addr[k]+l.Size+header && addr[k] < addr[j]+lives[j].Size+header {
				return 0, fmt.Errorf("placements %d at %d and %d at %d overlap", j, addr[j], k, addr[k])
			}
		}
		top = max(top, addr[k]+l.Size)
	}
	return top, h.Check()
}

// lifetimes draws count lifetimes.
func lifetimes(rng *rand.Rand, count int, size uint64, aligns bool) []heapmodel.Lifetime {
	lives := make([]heapmodel.Lifetime, count)
	for k := range lives {
		l := heapmodel.Lifetime{Size: 1 + rng.Uint64N(size), Birth: uint64(k), Death: heapmodel.Forever}
		if end := uint64(k) + 1 + rng.Uint64N(1+rng.Uint64N(uint64(count))); end <= uint64(count) {
			l.Death = end
		}
		if aligns && rng.IntN(4) == 0 {
			l.Align = 1 << rng.IntN(6)
		}
		lives[k] = l
	}
	return lives
}

// mostLive returns the most bytes live at once.
func mostLive(lives []heapmodel.Lifetime) (most uint64) {
	for t := range lives {
		live := uint64(0)
		for _, l := range lives[:t+1] {
			if l.Death > uint64(t) {
				live += l.Size
			}
		}
		most = max(most, live)
	}
	return most
}

// TestPlansHold judges plans of every heuristic.
func TestPlansHold(t *testing.T) {
	for _, heuristic := range []string{"best", "birth", "reverse", "split", "size", "lifetime", "area"} {
		t.Run(heuristic, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				seed := rapid.Uint64().Draw(rt, "seed")
				count := rapid.IntRange(1, 60).Draw(rt, "count")
				size := rapid.SampledFrom([]uint64{3, 40, 5000}).Draw(rt, "size")
				args := rapid.SampledFrom([]string{"", ",header=8,align=8", ",header=3,align=4"}).Draw(rt, "args")
				header := uint64(0)
				if args != "" {
					_, _ = fmt.Sscanf(args, ",header=%d", &header)
				}
				lives := lifetimes(rand.New(rand.NewPCG(seed, 1)), count, size, true)
				h := newPlanned(t, "offline:effort=1,heuristic="+heuristic+args, lives)
				top, err := judge(h, lives, header)
				if err != nil {
					rt.Fatal(err)
				}
				u := h.Usage()
				stats := map[string]uint64{}
				for _, s := range h.Native() {
					stats[s.Key] = s.Value
				}
				switch least := mostLive(lives); {
				case top < least || stats["lower_bound_bytes"] < least || stats["proven_bound_bytes"] < stats["lower_bound_bytes"]:
					rt.Fatalf("top %d, stats %v: %d bytes are live at once", top, stats, least)
				case u.HighWater != stats["planned_bytes"] || u.Arena != u.HighWater || stats["planned_bytes"] < stats["proven_bound_bytes"]:
					rt.Fatalf("usage %+v, stats %v", u, stats)
				case stats["unplanned_calls"] != 0:
					rt.Fatal("calls as planned are counted as unplanned")
				}
			})
		})
	}
}

// optimum returns the end of the lowest plan there is, by trying every address
// of every lifetime.
func optimum(lives []heapmodel.Lifetime) uint64 {
	for top := mostLive(lives); ; top++ {
		if addr := make([]uint64, len(lives)); canPlace(lives, addr, 0, top) {
			return top
		}
	}
}

func canPlace(lives []heapmodel.Lifetime, addr []uint64, k int, top uint64) bool {
	if k == len(lives) {
		return true
	}
next:
	for a := uint64(0); a+lives[k].Size <= top; a++ {
		if lives[k].Align > 1 && a%uint64(lives[k].Align) != 0 {
			continue
		}
		for j := range k {
			if lives[j].Death > uint64(k) && addr[j] < a+lives[k].Size && a < addr[j]+lives[j].Size {
				continue next
			}
		}
		addr[k] = a
		if canPlace(lives, addr, k+1, top) {
			return true
		}
	}
	return false
}

// TestOptimal compares plans with the optimum on tiny cases, and tells how often
// each heuristic finds it; best always does.
func TestOptimal(t *testing.T) {
	const cases = 400
	hits := map[string]int{}
	heuristics := []string{"best", "birth", "reverse", "split", "size", "lifetime", "area"}
	for seed := range uint64(cases) {
		lives := lifetimes(rand.New(rand.NewPCG(seed, 2)), 5+int(seed%6), 5, seed%3 == 0)
		want := optimum(lives)
		for _, heuristic := range heuristics {
			h := newPlanned(t, "offline:effort=1,heuristic="+heuristic, lives)
			switch {
			case h.top < want || h.proven > want:
				t.Fatalf("seed %d: heuristic=%s plans %d and proves %d, the optimum is %d: %v", seed, heuristic, h.top, h.proven, want, lives)
			case h.top == want:
				hits[heuristic]++
			}
		}
	}
	for _, heuristic := range heuristics {
		t.Logf("heuristic=%s: %d of %d plans are optimal", heuristic, hits[heuristic], cases)
	}
	if hits["best"] != cases {
		t.Errorf("heuristic=best: %d of %d plans are not optimal", cases-hits["best"], cases)
	}
}

// TestPlanRefuses wants errors for lifetimes that are none.
func TestPlanRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		lives []heapmodel.Lifetime
		want  string
	}{
		"birth":     {[]heapmodel.Lifetime{{Size: 1, Birth: 1, Death: heapmodel.Forever}}, "begins at 1"},
		"no time":   {[]heapmodel.Lifetime{{Size: 1}}, "ends at 0"},
		"too late":  {[]heapmodel.Lifetime{{Size: 1, Death: 2}}, "ends at 2"},
		"alignment": {[]heapmodel.Lifetime{{Size: 1, Death: 1, Align: 3}}, "no power of two"},
	} {
		h, err := (&heapmodel.Spec{Model: Model}).New()
		if err != nil {
			t.Fatal(err)
		}
		if err := h.(heapmodel.Planned).Plan(c.lives); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

// TestCapacityFailsWhatIsPlannedAbove replays a plan of 30 bytes in 20.
func TestCapacityFailsWhatIsPlannedAbove(t *testing.T) {
	lives := []heapmodel.Lifetime{{Size: 10, Death: heapmodel.Forever}, {Size: 10, Birth: 1, Death: heapmodel.Forever}, {Size: 10, Birth: 2, Death: heapmodel.Forever}}
	h := newPlanned(t, "offline:capacity=20", lives)
	placed := 0
	for _, l := range lives {
		if _, ok := h.Alloc(l.Size, 0); ok {
			placed++
		}
	}
	if u := h.Usage(); placed != 2 || u.Arena != 20 || u.Free != 0 || h.top != 30 {
		t.Errorf("%d placed, usage %+v, plan ends at %d", placed, u, h.top)
	}
}

// TestLargestAreLeftOut plans for more live bytes than addresses reach.
func TestLargestAreLeftOut(t *testing.T) {
	lives := []heapmodel.Lifetime{
		{Size: 3 << 30, Death: heapmodel.Forever}, {Size: 3 << 30, Birth: 1, Death: heapmodel.Forever}, {Size: 5, Birth: 2, Death: heapmodel.Forever},
	}
	h := newPlanned(t, "offline", lives)
	for k, want := range []bool{false, false, true} {
		if _, ok := h.Alloc(lives[k].Size, 0); ok != want {
			t.Errorf("object %d of %d bytes: placed %v, want %v", k, lives[k].Size, ok, want)
		}
	}
	if h.leftOut != 2 || h.top != 5 {
		t.Errorf("%d left out, the plan ends at %d", h.leftOut, h.top)
	}
}

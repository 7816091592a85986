package strategy

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/edit"
)

// Round is the strategy round.
var Round = &Strategy{
	Name:  "round",
	Title: "requests are rounded up to classes, so that holes fit again",
	Doc: "Every request is rounded up: to a multiple of a number of bytes, to a power of two, to a quarter of one (four classes " +
		"a doubling), or to the next of a list; above the list it stays. Fewer different sizes leave holes that more requests fit. " +
		"What is rounded on is slack. A realloc within the rounded size makes no request.",
	Source: "size classes of segregated fits; ESP8266 String rounds to 16 bytes (theory: growth rounding)",
	Kind:   Rewrites,
	Params: []heapmodel.Param{
		{Key: "to", Kind: heapmodel.ParamText, Default: "16", Doc: "bytes, pow2, quarter, or a list of sizes joined by |, as in 32|64|128"},
		{Key: "sites", Kind: heapmodel.ParamText, Doc: "call sites that round, joined by |: names, patterns with * and ?, or #N; unset: all"},
		{Key: "above", Kind: heapmodel.ParamBytes, Default: "0", Doc: "only requests larger than this"},
	},
	New: newRound,
}

type round struct {
	sites   string
	chosen  []bool
	above   uint64
	up      func(bytes uint64) uint64
	classes []uint64
}

func newRound(c heapmodel.Config) (Change, error) {
	r := &round{sites: c.Text("sites"), above: c.Bytes("above")}
	switch to := strings.Trim(c.Text("to"), "[]"); {
	case to == "pow2":
		r.up = func(b uint64) uint64 { return 1 << bits.Len64(b-1) }
	case to == "quarter":
		r.up = upToQuarter
	case strings.Contains(to, "|"):
		for part := range strings.SplitSeq(to, "|") {
			size, err := heapmodel.ParseBytes(part)
			if err != nil || size == 0 {
				return nil, fmt.Errorf("to=%s: want sizes joined by |", to)
			}
			r.classes = append(r.classes, size)
		}
		slices.Sort(r.classes)
		r.up = func(b uint64) uint64 {
			if i, _ := slices.BinarySearch(r.classes, b); i < len(r.classes) {
				return r.classes[i]
			}
			return b
		}
	default:
		step, err := heapmodel.ParseBytes(to)
		if err != nil || step == 0 || step > trace.MaxSize {
			return nil, fmt.Errorf("to=%s: want bytes, pow2, quarter, or sizes joined by |", to)
		}
		r.up = func(b uint64) uint64 { return (b + step - 1) / step * step }
	}
	return r, nil
}

// upToQuarter returns the next of 2^n, 1.25, 1.5 and 1.75 times 2^n; below 8 every
// size is one.
func upToQuarter(b uint64) uint64 {
	if b <= 8 {
		return b
	}
	step := uint64(1) << (bits.Len64(b-1) - 3)
	return (b + step - 1) / step * step
}

// Learn finds the sites.
func (r *round) Learn(src trace.Source, _ *Env) (err error) {
	r.chosen, err = sitesOf(r.sites, src.Header())
	return err
}

// For returns the editors.
func (r *round) For(trace.Source) (func(*Ledger) edit.Editor, error) {
	return func(l *Ledger) edit.Editor { return &rounder{r: r, l: l} }, nil
}

type rounder struct {
	r     *round
	l     *Ledger
	slots edit.Slots
	of    []rounded // by slot of the original
}

// rounded is a live object.
type rounded struct {
	chosen         bool
	asked, granted uint64 // bytes
}

func (v *rounder) round(bytes uint64, chosen bool) uint64 {
	if !chosen || bytes <= v.r.above || bytes == 0 {
		return bytes
	}
	if up := v.r.up(bytes); up <= trace.MaxSize {
		return up
	}
	return bytes
}

func (v *rounder) Event(e *trace.Event, w *edit.Writer) {
	for int(e.Slot) >= len(v.of) {
		v.of = append(v.of, rounded{})
	}
	o := &v.of[e.Slot]
	switch e.Op {
	case trace.OpAlloc:
		*o = rounded{chosen: isChosen(v.r.chosen, e.Site), asked: e.Size}
		o.granted = v.round(e.Size, o.chosen)
		e.Size = o.granted
		v.l.AddSlack(int64(o.granted - o.asked))
		v.slots.Copy(e, w)
	case trace.OpRealloc:
		v.l.AddSlack(-int64(o.granted - o.asked))
		asked, granted := e.Size, v.round(e.Size, o.chosen)
		if e.Size = granted; granted != o.granted || !o.chosen {
			v.slots.Copy(e, w)
		}
		o.asked, o.granted = asked, granted
		v.l.AddSlack(int64(o.granted - o.asked))
	case trace.OpFree:
		v.l.AddSlack(-int64(o.granted - o.asked))
		v.slots.Copy(e, w)
	}
}

func (v *rounder) End(*edit.Writer) {}

package strategy

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// Holdback is the strategy holdback.
var Holdback = &Strategy{
	Name:  "holdback",
	Title: "an emergency block, taken at the start and freed at the first failure",
	Doc: "The program allocates a block before anything else. The first request that fails has it freed and is tried once more; " +
		"the block is not taken back. The block comes out of the heap, which stays as large as it was. " +
		"Its size is given, or a percentage of the most that the recorded trace had live. " +
		"Price: until a request fails the memory serves nobody, and what would have lain there lies higher. A heap that cannot hold the block at the start is refused.",
	Source: "an emergency reserve freed on pressure, as programs keep; Noble and Weir, Small Memory Software, 2001",
	Params: []heapmodel.Param{
		{Key: "bytes", Kind: heapmodel.ParamBytes, Doc: "the block; unset: percent of the peak of live bytes"},
		{Key: "percent", Kind: heapmodel.ParamInt, Default: "5", Doc: "without bytes: percent of the most bytes that the trace has live"},
	},
	Kind: Wraps,
	New: func(c heapmodel.Config) (Change, error) {
		b := &holdback{bytes: c.Bytes("bytes"), percent: uint64(c.Int("percent"))}
		switch {
		case c.Set("bytes") && (b.bytes == 0 || b.bytes > trace.MaxSize):
			return nil, fmt.Errorf("bytes=%s is out of range", c.Text("bytes"))
		case b.percent == 0 || b.percent > 10_000:
			return nil, fmt.Errorf("percent=%d: want 1 to 10000", b.percent)
		}
		return b, nil
	},
}

type holdback struct {
	bytes, percent uint64
	models         []*heapmodel.Model
}

// Learn chooses the size of the block.
func (b *holdback) Learn(src trace.Source, env *Env) error {
	b.models = env.Models
	if b.bytes == 0 {
		b.bytes = percentOf(src.Header().Summary.PeakLiveBytes, b.percent)
	}
	return nil
}

// Notes says how large the block is.
func (b *holdback) Notes() []string {
	return []string{fmt.Sprintf("%d bytes are held back until a request fails", b.bytes)}
}

// Wrap holds a block of the heap back.
func (b *holdback) Wrap(s *heapmodel.Spec, _ *trace.Header) (*heapmodel.Spec, error) {
	if s.Model.Caps&heapmodel.CapNoLayout != 0 {
		return nil, fmt.Errorf("%s has no arena: there is nothing to hold back", s.Model.Name)
	}
	return heapmodel.ParseSpec(b.models, fmt.Sprintf("holdback:bytes=%d,heap=[%s]", b.bytes, s))
}

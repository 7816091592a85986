package strategy

import (
	"fmt"

	"github.com/fragprof/fragprof/heapmodel"
	"github.com/fragprof/fragprof/trace"
)

// Pregrow is the strategy pregrow.
var Pregrow = &Strategy{
	Name:  "pregrow",
	Title: "a growing heap is grown at the start, at once",
	Doc: "The program allocates one large block before anything else and frees it at once, so that a heap that rises to need " +
		"has the memory from the start, in one piece: it grows once where it grew often. " +
		"The block has the given bytes, or a percentage of the most that the recorded trace had live; block headers and fragmentation come on top, so that 100 percent do " +
		"not prevent all growth. A heap of fixed size has its memory anyway and is left as it is; one that gives free memory back (trims) " +
		"loses what it was given before it is used, and little changes; one that cannot grow so far goes on as without. " +
		"Price: the memory is the heap's from the start, also where the program would have needed it late or never. It is no slack, since no object holds it; " +
		"it is in the heap's own figures: footprint and the measures of its arena over time.",
	Source: "pre-reserve the heap at boot: WLED PR 4791, HDF5 PR 6389, torchrec PR 4584",
	Params: []heapmodel.Param{
		{Key: "bytes", Kind: heapmodel.ParamBytes, Doc: "the block; unset: percent of the peak of live bytes"},
		{Key: "percent", Kind: heapmodel.ParamInt, Default: "100", Doc: "without bytes: percent of the most bytes that the trace has live"},
	},
	Kind: Wraps,
	New: func(c heapmodel.Config) (Change, error) {
		p := &pregrow{bytes: c.Bytes("bytes"), percent: uint64(c.Int("percent"))}
		switch {
		case c.Set("bytes") && (p.bytes == 0 || p.bytes > trace.MaxSize):
			return nil, fmt.Errorf("bytes=%s is out of range", c.Text("bytes"))
		case p.percent == 0 || p.percent > 10_000:
			return nil, fmt.Errorf("percent=%d: want 1 to 10000", p.percent)
		}
		return p, nil
	},
}

type pregrow struct {
	bytes, percent uint64
	models         []*heapmodel.Model
}

// Learn chooses the size of the block.
func (p *pregrow) Learn(src trace.Source, env *Env) error {
	p.models = env.Models
	if p.bytes == 0 {
		p.bytes = percentOf(src.Header().Summary.PeakLiveBytes, p.percent)
	}
	return nil
}

// percentOf returns so many percent of bytes, at least one byte.
func percentOf(bytes, percent uint64) uint64 {
	return max(bytes/100*percent+bytes%100*percent/100, 1)
}

// Notes says how large the block is.
func (p *pregrow) Notes() []string {
	return []string{fmt.Sprintf("growing heaps begin with %d bytes; those of fixed size are left as they are, and those that give free memory back give this back, too", p.bytes)}
}

// Wrap has a growing heap grow at the start.
func (p *pregrow) Wrap(s *heapmodel.Spec, _ *trace.Header) (*heapmodel.Spec, error) {
	if s.Model.Caps&heapmodel.CapNoLayout != 0 || !s.Grows() {
		return s, nil
	}
	return heapmodel.ParseSpec(p.models, fmt.Sprintf("holdback:bytes=%d,release=start,heap=[%s]", p.bytes, s))
}

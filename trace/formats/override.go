package formats

import (
	"fmt"

	"github.com/fragprof/fragprof/trace"
)

// check returns what is wrong with the options themselves.
func (o *Options) check() error {
	switch o.PtrBits {
	case 0, 16, 32, 64:
	default:
		return fmt.Errorf("pointers of %d bits: want 16, 32 or 64", o.PtrBits)
	}
	if o.Regex != nil && o.From != "" && o.From != regexFormat {
		return fmt.Errorf("lines are described for the %s format, but the format named is %s", regexFormat, o.From)
	}
	return nil
}

// override gives the header of r what the options say better than its source.
func (o *Options) override(r trace.Reader) trace.Reader {
	if o.Sizes == nil && o.PtrBits == 0 && o.Program == "" {
		return r
	}
	x := &overridden{Reader: r, o: *o}
	x.refresh()
	return x
}

// overridden is a Reader with a header of its own.
type overridden struct {
	trace.Reader
	o   Options
	hdr trace.Header
}

func (r *overridden) Header() *trace.Header { return &r.hdr }

func (r *overridden) Next(b *trace.Block) error {
	err := r.Reader.Next(b)
	r.refresh()
	return err
}

func (r *overridden) refresh() {
	r.hdr = *r.Reader.Header()
	if r.o.Sizes != nil {
		r.hdr.Sizes = *r.o.Sizes
	}
	if r.o.PtrBits != 0 {
		r.hdr.PtrBits = r.o.PtrBits
	}
	if r.o.Program != "" {
		r.hdr.Program = r.o.Program
	}
}

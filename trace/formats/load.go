package formats

import (
	"errors"
	"io"

	"github.com/fragprof/fragprof/trace"
)

// fileSource is a trace.Source over a file that is read anew each time.
type fileSource struct {
	path   string
	o      Options
	header *trace.Header
}

func (s *fileSource) Header() *trace.Header       { return s.header }
func (s *fileSource) Open() (trace.Reader, error) { return Open(s.path, nil, s.o) }

// Load makes a Source, with complete counts, of a trace file or of standard
// input ("-"). A stored trace knows its counts; any other is read once to
// count. What takes up to limit bytes of columns is kept in memory; more is
// read from the file again by each Open, and refused, with advice, if it came
// from standard input. each is called with every block of the counting pass,
// which is then made in any case; it may be nil, as may progress, which is told
// the number of events so far after every block of that pass.
func Load(path string, stdin io.Reader, o Options, limit int64, each func(*trace.Block), progress func(events uint64)) (src trace.Source, err error) {
	r, err := Open(path, stdin, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if h := r.Header(); h.Complete && each == nil && path != "-" {
		return &fileSource{path: path, o: o, header: h}, nil
	}
	keep := true
	var blocks []*trace.Block
	b := new(trace.Block)
	for {
		if err := r.Next(b); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if each != nil {
			each(b)
		}
		if progress != nil {
			progress(b.First + uint64(b.Len()))
		}
		if limit -= int64(b.Len()) * trace.EventBytes; keep && limit < 0 {
			keep, blocks = false, nil
			if path == "-" {
				return nil, errors.New("standard input is too large to be read twice: save it to a file, or convert it to Parquet first")
			}
		}
		if keep {
			blocks = append(blocks, b)
			b = new(trace.Block)
		}
	}
	h := r.Header()
	if !keep {
		return &fileSource{path: path, o: o, header: h}, nil
	}
	if !h.Complete {
		return trace.NewMemory(h, blocks), nil
	}
	return trace.CountedMemory(h, blocks), nil
}

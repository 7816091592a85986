package formats

import (
	"io"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/store"
)

// Writer is one form a trace can be written in.
type Writer struct {
	Name  string
	Doc   string
	Write func(w io.Writer, r trace.Reader) error
}

// Writers is the table of the forms that can be written.
var Writers = []Writer{
	{"parquet", "the stored form, which keeps everything", store.WriteAll},
	{"ops", "text, an operation a line: sizes and alignments only", WriteOps},
}

// LookupWriter returns the writer of the given name, or an
// *UnknownFormatError.
func LookupWriter(name string) (*Writer, error) {
	known := make([]string, len(Writers))
	for i := range Writers {
		if Writers[i].Name == name {
			return &Writers[i], nil
		}
		known[i] = Writers[i].Name
	}
	return nil, &UnknownFormatError{Name: name, Known: known}
}

package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fragprof/fragprof/trace"
	"github.com/fragprof/fragprof/trace/formats"
)

func newConvertCmd(e *env) *cobra.Command {
	var tf traceFlags
	var output, to string
	cmd := &cobra.Command{
		Use:   "convert TRACE -o OUT",
		Short: "Convert a trace to Parquet or to the text form",
		Long: `convert reads a trace of any format, compressed or not, and writes it as Parquet
(the stored form, which keeps everything) or as ops (text, an operation a line:
sizes and alignments only). What the import drops or repairs is counted on
stderr and kept in the Parquet file. - stands for standard input or output.`,
		Example: `  fragprof convert heaptrack.app.123.zst -o app.parquet
  fragprof convert systemui.zip --to ops -o - | head
  fragprof convert app.log --from regex --regex 'traceMALLOC: (?P<ptr>\S+) \[(?P<size>\d+)\]' -o app.parquet`,
		Args: exactly(1, "one trace"),
		RunE: func(_ *cobra.Command, args []string) error {
			if output == "" {
				return usagef("convert needs -o OUT; - is standard output")
			}
			if to == "" {
				to = "parquet"
				if strings.HasSuffix(output, ".ops") {
					to = "ops"
				}
			}
			return e.convert(args[0], output, to, &tf)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&output, "output", "o", "", "file to write")
	fs.StringVar(&to, "to", "", "form to write: parquet or ops (default: by the output's name, else parquet)")
	tf.add(fs)
	return cmd
}

func (e *env) convert(path, output, to string, tf *traceFlags) error {
	w, err := formats.LookupWriter(to)
	if err != nil {
		return usageError{err}
	}
	r, err := e.stream(path, tf)
	if err != nil {
		return err
	}
	defer r.Close()
	step, end := e.progress("convert "+traceName(path), -1)
	from := trace.Reader(r)
	if step != nil {
		from = &watchedReader{r, step}
	}
	err = e.writeTo(output, func(out io.Writer) error { return w.Write(out, from) })
	end()
	if err != nil {
		return reading(err)
	}
	h := r.Header()
	e.adviseLoss(traceName(path), h)
	if to == "ops" {
		e.adviseOps(h)
	}
	return nil
}

// adviseOps says what the text form has no place for.
func (e *env) adviseOps(h *trace.Header) {
	var lost []string
	for what, has := range map[string]bool{"times": h.HasTime, "threads": h.HasThread, "call sites": h.HasSite, "that sizes are block sizes": h.Sizes == trace.SizesBlock, "that the trace is synthetic": h.Synthetic} {
		if has {
			lost = append(lost, what)
		}
	}
	if len(lost) > 0 {
		e.advise("the ops form does not carry %s", sortedJoin(lost))
	}
}

// watchedReader tells after every block how many events were read.
type watchedReader struct {
	trace.Reader
	step func(events uint64)
}

func (r *watchedReader) Next(b *trace.Block) error {
	err := r.Reader.Next(b)
	r.step(b.First + uint64(b.Len()))
	return err
}

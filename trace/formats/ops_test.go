package formats

import (
	"bytes"
	"strings"
	"testing"
)

func convert(t *testing.T, text string, o Options) (string, error) {
	t.Helper()
	r, err := Open("-", strings.NewReader(text), o)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var out bytes.Buffer
	err = WriteOps(&out, r)
	return out.String(), err
}

func TestOps(t *testing.T) {
	tests := []struct{ name, in, want, err string }{
		{name: "identity", in: "a 0 5\na 1 1 64\nr 0 9\nf 0\nf 1\n", want: "a 0 5\na 1 1 64\nr 0 9\nf 0\nf 1\n"},
		{name: "ids made dense", in: "a 70 5\na 7 1\nf 70\na 8 2\n", want: "a 0 5\na 1 1\nf 0\na 2 2\n"},
		{name: "id reused", in: "a 0 5\nf 0\na 0 6\n", want: "a 0 5\nf 0\na 1 6\n"},
		{name: "comment, CRLF, site", in: "# hello\r\na 0 5 @main\r\n", want: "a 0 5\n"},
		{name: "unknown free dropped", in: "a 0 5\nf 3\n", want: "a 0 5\n"},
		{name: "bad line", in: "a 0 5\na 1\n", err: "standard input"},
		{name: "empty", in: "", err: "is empty"},
		{name: "negative", in: "a 0 5\na 1 -4\n", err: "standard input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := convert(t, tt.in, Options{From: "ops"})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

package replay

import "testing"

func TestJudge(t *testing.T) {
	tests := []struct {
		name                       string
		need, free, largest, limit uint64
		want                       Verdict
	}{
		{"larger than the heap", 11, 3, 3, 10, TooBig},
		{"larger than the heap though all is free", 11, 10, 10, 10, TooBig},
		{"as large as the heap", 10, 3, 3, 10, Full},
		{"nothing free", 1, 0, 0, 10, Full},
		{"one byte short", 8, 7, 7, 10, Full},
		{"enough, in pieces", 5, 7, 4, 10, Fragmented},
		{"exactly enough, in pieces", 7, 7, 6, 10, Fragmented},
		{"a block is large enough", 4, 7, 4, 10, Policy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := judge(tt.need, tt.free, tt.largest, tt.limit); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

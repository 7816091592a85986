package report

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel"
)

func TestStrip(t *testing.T) {
	used := func(addr heapmodel.Addr, size uint64) heapmodel.Block {
		return heapmodel.Block{Addr: addr, Size: size, Used: true}
	}
	free := func(addr heapmodel.Addr, size uint64) heapmodel.Block {
		return heapmodel.Block{Addr: addr, Size: size}
	}
	tests := []struct {
		name    string
		blocks  []heapmodel.Block
		columns int
		want    string
	}{
		{"a byte a column", []heapmodel.Block{used(0, 2), free(2, 3), used(5, 1), free(6, 4)}, 64, "##...#...."},
		{"what is in no block is not free", []heapmodel.Block{used(3, 2), free(5, 2)}, 64, "#####.."},
		{"occupancy", []heapmodel.Block{used(0, 10), used(10, 4), free(14, 6), free(20, 4), used(24, 6), free(30, 10)}, 4, "#:+."},
		{"an end that is no whole column", []heapmodel.Block{used(0, 10), free(10, 3)}, 4, "##+."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strip(tt.blocks, tt.columns); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1: "1 B", 10239: "10,239 B", 10240: "10.0 KiB", 55113: "53.8 KiB", 1 << 20: "1.0 MiB",
		1<<64 - 1: "16.0 EiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

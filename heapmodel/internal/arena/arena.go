// Package arena reads the parameters that the allocation policies of the
// literature have in common - how large the arena is and how it grows, how wide
// a header is and how payloads are aligned - and does the arithmetic of blocks
// that follows from them. Header and alignment can be taken away (header=0,
// align=1), as studies of placement policies do.
package arena

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/fragprof/fragprof/heapmodel"
)

// Params returns the rows of the common parameters. The default of header is a
// word, or none.
func Params(header string) []heapmodel.Param {
	return slices.Insert(LayoutParams(header), 2,
		heapmodel.Param{Key: "quantum", Kind: heapmodel.ParamBytes, Doc: "the heap grows by multiples of this many bytes"},
		heapmodel.Param{Key: "grow", Kind: heapmodel.ParamBytes, Doc: "limit of a growing arena in bytes; a quantum of 4KiB if none is given"},
	)
}

// LayoutParams returns the rows of those that say how a block looks.
func LayoutParams(header string) []heapmodel.Param {
	p := heapmodel.Param{Key: "header", Kind: heapmodel.ParamBytes, Default: header, Doc: "bytes in front of the payload"}
	if header == "" {
		p.Doc += "; default: a word"
	}
	return []heapmodel.Param{
		p,
		{Key: "align", Kind: heapmodel.ParamBytes, Doc: "alignment of payloads and of block sizes, a power of two; default: two words"},
		{Key: "ptr", Kind: heapmodel.ParamEnum, Default: "32", Enum: []string{"16", "32", "64"}, Doc: "pointer width in bits: the size of a word"},
	}
}

// Capacity is the row of the parameter capacity.
func Capacity() heapmodel.Param {
	return heapmodel.Param{Key: "capacity", Kind: heapmodel.ParamBytes, Doc: "bytes of arena at the start; with a quantum the default is 0"}
}

// Config is what the parameters come to. Sizes are in bytes. Tables of blocks
// count addresses in granules of 1<<Shift bytes from Pad on.
type Config struct {
	Word     uint64 // of the original's machine
	Header   uint64 // in front of each payload
	Grain    uint64 // alignment of payloads and blocks, a power of two
	Shift    uint   // log2 of a granule: Grain, unless blocks are multiples of more
	Pad      uint64 // every block starts at an address of Pad modulo Grain, so that payloads are aligned
	Least    uint64 // block of the smallest object
	Capacity uint64 // arena at the start
	Quantum  uint64 // zero: the heap does not grow
	Limit    uint64 // of the arena
}

// maxHousekeeping bounds every parameter that is added to sizes, so that sums
// of them never overflow.
const maxHousekeeping = 1 << 30

// maxGranules is one above the largest number of granules that a 32-bit
// address reaches.
const maxGranules = 1<<32 - 2

// Housekeeping returns an error if the value of a parameter that is added to
// sizes is above 1 GiB.
func Housekeeping(c heapmodel.Config, keys ...string) error {
	for _, key := range keys {
		if c.Bytes(key) > maxHousekeeping {
			return fmt.Errorf("%s=%s: the most is 1GiB", key, c.Text(key))
		}
	}
	return nil
}

// Read reads the common parameters. fill is the bytes at the start of the arena
// and the smallest block that a heap needs beside Pad, as a function of what was
// read, which may raise Least and Shift; what names it in the error.
func Read(c heapmodel.Config, what string, fill func(*Config) uint64) (Config, error) {
	g, err := ReadLayout(c)
	if err != nil {
		return g, err
	}
	least := g.Pad + fill(&g)
	if err := g.growth(c); err != nil {
		return g, err
	}
	text := c.Text("capacity")
	g.Capacity = c.Bytes("capacity")
	switch {
	case g.Quantum == 0 && !c.Set("capacity"):
		return g, errors.New("a heap of fixed size needs a capacity, a growing one a quantum")
	case g.Capacity < least && (g.Quantum == 0 || g.Capacity > 0):
		return g, fmt.Errorf("capacity=%s: the least that holds %s is %d bytes", text, what, least)
	case g.Capacity > g.Reach():
		with := "alignment"
		if 1<<g.Shift > g.Grain {
			with = "smallest block"
		}
		return g, fmt.Errorf("capacity=%s: the most with this %s is %d bytes", text, with, g.Reach())
	case g.Quantum > 0 && g.Capacity > g.Limit:
		return g, fmt.Errorf("capacity=%s is above the limit of growth of %d bytes", text, g.Limit)
	}
	return g, nil
}

// ReadLayout reads the parameters of LayoutParams only: a Config without
// capacity and growth.
func ReadLayout(c heapmodel.Config) (g Config, err error) {
	if err := Housekeeping(c, "header", "align"); err != nil {
		return g, err
	}
	g.Word = map[string]uint64{"16": 2, "32": 4, "64": 8}[c.Text("ptr")]
	g.Header, g.Grain = g.Word, 2*g.Word
	if c.Set("header") {
		g.Header = c.Bytes("header")
	}
	if c.Set("align") {
		g.Grain = c.Bytes("align")
	}
	return g, g.Lay()
}

// Lay completes a Config of which Header and Grain are known.
func (g *Config) Lay() error {
	if g.Grain == 0 || g.Grain&(g.Grain-1) != 0 {
		return fmt.Errorf("align=%d is no power of two", g.Grain)
	}
	g.Shift = uint(bits.TrailingZeros64(g.Grain))
	g.Pad = g.Up(g.Header) - g.Header
	g.Least = g.Up(g.Header + 1)
	return nil
}

// growth reads how the heap grows.
func (g *Config) growth(c heapmodel.Config) error {
	g.Limit = g.Reach()
	if !c.Set("grow") && !c.Set("quantum") {
		g.Limit = min(g.Limit, c.Bytes("capacity"))
	}
	if c.Set("grow") {
		g.Quantum = 4 << 10
		g.Limit = min(g.Limit, c.Bytes("grow"))
	}
	if c.Set("quantum") {
		g.Quantum = c.Bytes("quantum")
		if g.Quantum == 0 || g.Quantum > heapmodel.MaxSize {
			return fmt.Errorf("quantum=%s is out of range", c.Text("quantum"))
		}
	}
	return nil
}

// Sizes reads the sizes of a list of classes, "16+32+1KiB": at most 4096 of them,
// ascending, none zero and none above 1 TiB.
func Sizes(text string) ([]uint64, error) {
	var out []uint64
	for part := range strings.SplitSeq(text, "+") {
		size, err := heapmodel.ParseBytes(part)
		switch {
		case err != nil:
			return nil, err
		case size == 0 || size > 1<<40:
			return nil, fmt.Errorf("a class of %d bytes: want 1 byte to 1TiB", size)
		case len(out) > 0 && size <= out[len(out)-1]:
			return nil, fmt.Errorf("a class of %d bytes after one of %d: want them ascending", size, out[len(out)-1])
		case len(out) == 4096:
			return nil, errors.New("more than 4096 classes")
		}
		out = append(out, size)
	}
	return out, nil
}

// Up rounds bytes up to the alignment.
func (g *Config) Up(bytes uint64) uint64 { return (bytes + g.Grain - 1) &^ (g.Grain - 1) }

// Reach is the largest arena whose addresses a table of blocks can hold.
func (g *Config) Reach() uint64 { return maxGranules << g.Shift }

// Block returns the bytes of the block for a request, which is at most
// heapmodel.MaxSize.
func (g *Config) Block(size uint64) uint64 { return max(g.Least, g.Up(size+g.Header)) }

// At returns the address of a granule.
func (g *Config) At(granules uint32) uint64 { return uint64(granules)<<g.Shift + g.Pad }

// Bytes returns the bytes of so many granules.
func (g *Config) Bytes(granules uint32) uint64 { return uint64(granules) << g.Shift }

// Top returns the highest granule boundary at or below an address, which is
// where blocks end in an arena that ends there.
func (g *Config) Top(addr uint64) uint32 {
	if addr < g.Pad {
		return 0
	}
	return uint32((addr - g.Pad) >> g.Shift)
}

// Quanta returns so many bytes rounded up to the quantum. ok is false if the
// heap does not grow, or not from brk by so much.
func (g *Config) Quanta(brk, bytes uint64) (size uint64, ok bool) {
	if g.Quantum == 0 || bytes > g.Limit {
		return 0, false
	}
	size = (bytes + g.Quantum - 1) / g.Quantum * g.Quantum
	return size, size <= g.Limit && brk <= g.Limit-size
}

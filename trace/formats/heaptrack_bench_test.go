package formats

import (
	"bytes"
	"fmt"
	"testing"
)

// benchNodes is the number of call stacks in a benchmark's log.
const benchNodes = 500

func BenchmarkHeaptrackRaw(b *testing.B) {
	var head bytes.Buffer
	head.WriteString(rawHead)
	for i := range benchNodes {
		fmt.Fprintf(&head, "t %x %x\n", 0x7f0000000000+uint64(i)*8, i/2)
	}
	log := benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, size uint64) {
		switch op {
		case 'f':
			fmt.Fprintf(w, "- %x\n", addr)
		case 'r':
			fmt.Fprintf(w, "- %x\n", old)
			fallthrough
		case 'a':
			fmt.Fprintf(w, "+ %x %x %x\n", size, 1+addr/16%benchNodes, addr)
		}
	})
	benchRead(b, "heaptrack", append(head.Bytes(), log...))
}

func BenchmarkHeaptrackInterpreted(b *testing.B) {
	const classes = benchNodes
	var head bytes.Buffer
	head.WriteString(interpretedHead)
	head.WriteString("i 7f0000000020 1 3 4 c\n")
	for i := range classes {
		fmt.Fprintf(&head, "t 1 %x\na %x %x\n", i/2, i*8, i+1)
	}
	log := benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, _ uint64) {
		switch op {
		case 'f':
			fmt.Fprintf(w, "- %x\n", addr/16%classes)
		case 'r':
			fmt.Fprintf(w, "- %x\n", old/16%classes)
			fallthrough
		case 'a':
			fmt.Fprintf(w, "+ %x\n", addr/16%classes)
		}
	})
	benchRead(b, "heaptrack", append(head.Bytes(), log...))
}

func BenchmarkHrec(b *testing.B) {
	ns := 0
	benchRead(b, "hrec", benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, size uint64) {
		ns += 113
		caller := 0x7f0000000000 + size
		switch op {
		case 'f':
			fmt.Fprintf(w, "%d 1 free %#x %#x\n", ns, addr, caller)
		case 'r':
			fmt.Fprintf(w, "%d 1 rb %#x %d %#x\n%d 1 re %#x %#x %d %#x\n", ns, old, size, caller, ns+50, addr, old, size, caller)
		case 'a':
			fmt.Fprintf(w, "%d 1 malloc %#x %d %#x\n", ns, addr, size, caller)
		}
	}))
}

// freertosBenchLog is a log of a program of three tasks.
func freertosBenchLog() []byte {
	tick := 0
	return benchLog(benchEvents, func(w *bytes.Buffer, op byte, addr, old, size uint64) {
		tick++
		task := []string{"net", "sensor", "IDLE"}[tick/100%3]
		switch op {
		case 'f':
			fmt.Fprintf(w, "[%d] %s traceFREE: 0x%X [8]\n", tick/50, task, addr)
		case 'r':
			fmt.Fprintf(w, "[%d] %s traceFREE: 0x%X [8]\n", tick/50, task, old)
			fallthrough
		case 'a':
			fmt.Fprintf(w, "[%d] %s traceMALLOC: 0x%X [%d]\n", tick/50, task, addr, size)
		}
	})
}

func BenchmarkFreertos(b *testing.B) { benchRead(b, "freertos", freertosBenchLog()) }

func BenchmarkRegexFreertos(b *testing.B) {
	x, err := RegexPreset("freertos")
	if err != nil {
		b.Fatal(err)
	}
	benchReadOptions(b, regexFormat, freertosBenchLog(), Options{Regex: x})
}

// BenchmarkRegexOtherLines is a log that is mostly other output, which looking
// for a literal passes over.
func BenchmarkRegexOtherLines(b *testing.B) {
	var log bytes.Buffer
	for i := range benchEvents {
		if i%100 == 0 {
			fmt.Fprintf(&log, "malloc 0x%x 16\n", 0x20000000+i)
		}
		fmt.Fprintf(&log, "I (%d) wifi: sta is connected, rssi -%d\n", i, 40+i%50)
	}
	x := &Regex{Patterns: []Pattern{{Expr: `(?P<op>malloc|free) (?P<ptr>0x[0-9a-f]+)(?: (?P<size>\d+))?`}}}
	benchReadOptions(b, regexFormat, log.Bytes(), Options{Regex: x})
}

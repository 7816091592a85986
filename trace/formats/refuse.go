package formats

import (
	"bytes"
	"fmt"

	"github.com/fragprof/fragprof/trace"
)

// refusal is a kind of file people offer that no reader takes: because it
// holds no events, or because its form is not read yet.
type refusal struct {
	sniff  func(head []byte) bool
	is, do string // what the file is, and what to do about it
}

// What to do about files of the kinds below.
const (
	recordAnew    = "it holds sums, not the single events: record the program with heaptrack, glibc's mtrace or valgrind --trace-malloc=yes"
	recordProgram = "record what the program allocates first, for example with heaptrack, glibc's mtrace or valgrind --trace-malloc=yes"
	unpack        = "unpack it and name the trace in it"
	notReadYet    = "this form is not read yet: convert it to lines of \"a ID SIZE\", \"r ID SIZE\", \"f ID\", or describe its lines with --from regex"
	notLog        = "name the log of allocations instead"
)

// refusals is the table of these kinds, in the order they are tried: exact
// ones before general ones.
var refusals = []refusal{
	// Profiles: sums over a run.
	{massif, "a massif profile", recordAnew},
	{jsonKey("dhatFileVersion"), "a DHAT profile", recordAnew},
	{anyPrefix("# callgrind format", "version: 1\ncreator: callgrind", "creator: callgrind"), "a callgrind profile", recordAnew},
	{anyPrefix("heap profile:", "heapprofile:", "heap_v2/", "MALLOC:"), "a heap profile of gperftools, jemalloc or Go", recordAnew},
	{pprof, "a pprof profile", recordAnew},
	{jsonKey("snapshot"), "a heap snapshot of a JavaScript engine", recordAnew},
	{memcheck, "a valgrind log without allocation calls", "run valgrind with --trace-malloc=yes, or read it with --from valgrind if the calls begin late"},
	{contains("MOST CALLS TO ALLOCATION FUNCTIONS"), "the summary heaptrack_print writes", "name the heaptrack file it was made from"},

	// Logs of allocations whose readers are still to come.
	{anyPrefix("PERFILE2"), "a perf.data recording", "turn it into text with perf script; that " + notReadYet},
	{contains("kmem:kmalloc", "kmem:kmem_cache_alloc", "kmem:kfree", "kmalloc: call_site=", "kfree: call_site="), "a log of the kernel's kmem events", notReadYet},
	{ltraceLog, "a log of ltrace", notReadYet},
	{logalloc, "a Mozilla logalloc log", notReadYet},
	{contains("#m:0x", "#c:0x", "#f:0x0;"), "a memory trace of Mbed OS", "read it with --from regex and its preset mbed"},
	{contains("tracing_mark_write: C|"), "a NuttX trace", "read it with --from regex and its preset nuttx"},
	{contains("HEAP: Allocated ", "HEAP: Freed bytes @"), "a SystemView heap log of ESP-IDF", notReadYet},
	{contains("allocations trace (", "====== Heap Trace:"), "a heap_trace_dump of ESP-IDF", "it lists blocks, not events, and is not read yet"},
	{anyPrefix("Alloc(", "Free("), "a trace of wee_alloc's tests", notReadYet},
	{minimallocTable, "a table of buffer lifetimes as minimalloc reads it", notReadYet},
	{mtrFile, "a trace of glibc-malloc-trace-utils", notReadYet},
	{anyPrefix("execve(", "strace: "), "a log of strace", "it has system calls only: " + recordProgram},
	{contains("mmap(NULL, "), "a log of system calls", "it has no allocations: " + recordProgram},

	// Programs, archives, documents.
	{anyPrefix("\x7fELF"), "an ELF program, not a trace of one", recordProgram},
	{windowsProgram, "a Windows program, not a trace of one", recordProgram},
	{anyPrefix("\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe"), "a macOS program or a Java class, not a trace of one", recordProgram},
	{tarball, "a tar archive", unpack},
	{anyPrefix("7z\xbc\xaf\x27\x1c", "Rar!\x1a\x07", "!<arch>\n", "MSCF"), "an archive", unpack},
	{anyPrefix("\x04\x22\x4d\x18", "LZIP", "\x1f\x9d", "\xff\x06\x00\x00sNaPpY", "\x5d\x00\x00"), "compressed in a way that is not read (gzip, zstd, bzip2, xz and zip are)", "decompress it first"},
	{anyPrefix("\x89PNG\r\n", "\xff\xd8\xff", "GIF8", "RIFF"), "a picture", notLog},
	{anyPrefix("%PDF-"), "a PDF document", notLog},
	{anyPrefix("SQLite format 3\x00"), "an SQLite database", notLog},
	{anyPrefix("version https://git-lfs.github.com/"), "a Git LFS pointer", "fetch the file it stands for with git lfs pull"},
	{bytesPrefixFold("<!doctype html", "<html"), "a web page", "download the file itself"},
	{anyPrefix("<?xml"), "an XML document", notLog},
	{utf16, "text in UTF-16", "convert it to UTF-8 first, for example with iconv -f UTF-16 -t UTF-8"},
	{jsonText, "a JSON document of no known trace format", notLog},
}

// refuse says what a file is that no format matches, and what to do about it.
func refuse(head []byte, name string) error {
	if r := findRefusal(head); r != nil {
		return &trace.SyntaxError{File: name, Msg: "is " + r.is + ": " + r.do}
	}
	if i := bytes.IndexByte(head, 0); i >= 0 {
		return &trace.SyntaxError{File: name, Off: int64(i), Msg: "is binary data of no known trace format"}
	}
	first, _, _ := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte("\n"))
	return &trace.SyntaxError{
		File: name, Line: 1,
		Msg: fmt.Sprintf("no known trace format begins with %.60q: name one with --from, or describe the lines with --from regex", trimEnd(first)),
	}
}

func findRefusal(head []byte) *refusal {
	for i := range refusals {
		if refusals[i].sniff(head) {
			return &refusals[i]
		}
	}
	return nil
}

// looksLike names what head looks like, for an input that was said to be
// something else; "" if nothing is known.
func looksLike(head []byte) string {
	if f := sniff(head); f != nil {
		return f.Name
	}
	if r := findRefusal(head); r != nil {
		return r.is
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return "binary data"
	}
	return ""
}

// anyPrefix sniffs one of several beginnings.
func anyPrefix(prefixes ...string) func([]byte) bool {
	return func(head []byte) bool {
		for _, p := range prefixes {
			if hasPrefix(head, p) {
				return true
			}
		}
		return false
	}
}

// bytesPrefixFold sniffs one of several beginnings, given in lower case, in
// any case and behind blanks.
func bytesPrefixFold(prefixes ...string) func([]byte) bool {
	is := anyPrefix(prefixes...)
	return func(head []byte) bool {
		head = bytes.TrimLeft(head, " \t\r\n")
		return is(bytes.ToLower(head[:min(len(head), 32)]))
	}
}

// contains sniffs text that has one of several words in it.
func contains(words ...string) func([]byte) bool {
	return func(head []byte) bool {
		for _, w := range words {
			if bytes.Contains(head, []byte(w)) {
				return bytes.IndexByte(head, 0) < 0
			}
		}
		return false
	}
}

// jsonKey sniffs a JSON object whose first key is the given one.
func jsonKey(key string) func([]byte) bool {
	quoted := `"` + key + `"`
	return func(head []byte) bool {
		head = bytes.TrimLeft(head, " \t\r\n")
		return len(head) > 0 && head[0] == '{' && hasPrefix(bytes.TrimLeft(head[1:], " \t\r\n"), quoted)
	}
}

// jsonText sniffs JSON of any kind: an object, or an array of anything but
// what a log's "[tag]" may hold.
func jsonText(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	if len(head) < 2 {
		return false
	}
	next := bytes.TrimLeft(head[1:], " \t\r\n")
	if len(next) == 0 {
		return false
	}
	switch head[0] {
	case '{':
		return next[0] == '"' || next[0] == '}'
	case '[':
		return next[0] == '{' || next[0] == '[' || next[0] == '"' || next[0] == ']'
	}
	return false
}

func massif(head []byte) bool {
	return hasPrefix(head, "desc:") && bytes.Contains(head, []byte("\ncmd:"))
}

// memcheck sniffs a valgrind log by the process number at the start of its
// first line.
func memcheck(head []byte) bool {
	_, rest, ok := decimal(bytes.TrimPrefix(head, []byte("==")))
	return ok && hasPrefix(head, "==") && hasPrefix(rest, "== ")
}

// pprof sniffs a profile in the protocol buffer form: it begins with the
// sample types, which are pairs of small numbers.
func pprof(head []byte) bool {
	return len(head) >= 8 && head[0] == 0x0a && head[1] == 4 && head[2] == 0x08 && head[4] == 0x10 && head[6] == 0x0a
}

// ltraceLog sniffs calls as ltrace prints them: name, arguments, blanks to
// column 40 or so, "= result".
func ltraceLog(head []byte) bool {
	for line := range bytes.Lines(completeLines(head)) {
		for _, name := range []string{"malloc(", "calloc(", "realloc(", "free("} {
			i := bytes.Index(line, []byte(name))
			if i < 0 || hasPrefix(line, "--") {
				continue
			}
			_, after, _ := bytes.Cut(line[i:], []byte("("))
			if bytes.Contains(after, []byte("<unfinished ...>")) || bytes.Contains(after, []byte(")  = ")) || bytes.Contains(after, []byte(") = <void>")) {
				return true
			}
			if _, result, ok := bytes.Cut(after, []byte(") ")); ok && hasPrefix(bytes.TrimLeft(result, " "), "= ") {
				return true
			}
		}
	}
	return false
}

// logalloc sniffs "PID [TID] CALL(ARGS)=RESULT" in the first line.
func logalloc(head []byte) bool {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	_, rest, ok := decimal(line)
	if !ok || len(rest) == 0 || rest[0] != ' ' {
		return false
	}
	if _, after, ok := decimal(rest[1:]); ok {
		rest = after
	}
	rest = skipSpace(rest)
	return anyPrefix("malloc(", "calloc(", "realloc(", "free(", "memalign(", "posix_memalign(", "aligned_alloc(", "valloc(")(rest) &&
		(bytes.Contains(rest, []byte(")=")) || hasPrefix(rest, "free("))
}

// minimallocTable sniffs the header line of a table of buffers.
func minimallocTable(head []byte) bool {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	has := func(words ...string) bool {
		for field := range bytes.SplitSeq(trimEnd(line), []byte(",")) {
			for _, w := range words {
				if string(field) == w {
					return true
				}
			}
		}
		return false
	}
	return has("id") && has("size") && has("lower", "begin", "start") && has("upper", "end")
}

// mtrFile sniffs the record that begins every .mtr file.
func mtrFile(head []byte) bool {
	return len(head) >= 16 && head[4] == 0xff && string(head[8:16]) == "\x34\x12\x00\x00\x00\x00\x00\x00"
}

func windowsProgram(head []byte) bool {
	if !hasPrefix(head, "MZ") || len(head) < 64 {
		return false
	}
	at := int(head[60]) | int(head[61])<<8
	return at+4 <= len(head) && string(head[at:at+4]) == "PE\x00\x00"
}

func tarball(head []byte) bool { return len(head) >= 262 && string(head[257:262]) == "ustar" }

// utf16 sniffs text of two bytes a character by its mark, or by every other
// byte being zero.
func utf16(head []byte) bool {
	if hasPrefix(head, "\xff\xfe") || hasPrefix(head, "\xfe\xff") {
		return true
	}
	zeros := [2]int{}
	n := min(len(head), 128) &^ 1
	for i, c := range head[:n] {
		if c == 0 {
			zeros[i&1]++
		} else if c >= 0x80 {
			return false
		}
	}
	return n >= 8 && (zeros[0] == 0 && zeros[1] == n/2 || zeros[1] == 0 && zeros[0] == n/2)
}

package trace

import (
	"fmt"
	"strings"
)

// SyntaxError says where a file stops being what its format says. Line and Off
// are zero when they do not apply.
type SyntaxError struct {
	File string
	Line uint64 // 1-based
	Off  int64  // bytes from the start of the (uncompressed) input
	Msg  string
	Err  error // cause; may be nil
}

func (e *SyntaxError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	} else if e.Off > 0 {
		fmt.Fprintf(&b, ": byte %d", e.Off)
	}
	if e.Msg != "" {
		b.WriteString(": " + e.Msg)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *SyntaxError) Unwrap() error { return e.Err }

// SemanticError says which event breaks which rule of a trace.
type SemanticError struct {
	Event uint64 // index, from zero
	Slot  Slot
	Rule  string
}

func (e *SemanticError) Error() string {
	return fmt.Sprintf("event %d: slot %d: %s", e.Event, e.Slot, e.Rule)
}

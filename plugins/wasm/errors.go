package wasm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/breaker"
)

// Error is a failure of a plugin's code, at load or in a call.
type Error struct {
	File    string
	Message string
	Cause   error // a breaker.Overrun, or nil
}

func (e *Error) Error() string { return e.File + ": " + e.Message }
func (e *Error) Unwrap() error { return e.Cause }

// fault ends a call from within a host function: it is thrown through the guest and caught by the runtime.
type fault struct {
	message string
	cause   error
}

func (f *fault) Error() string { return f.message }

func faultf(format string, args ...any) *fault { return &fault{message: fmt.Sprintf(format, args...)} }

// maxMessage is what is kept of an error, in bytes.
const maxMessage = 1000

// errorFrom turns what ended a guest's code into an Error.
func (in *instance) errorFrom(err error) *Error {
	e := &Error{File: in.plugin.File}
	var f *fault
	over := in.overrun()
	switch {
	case errors.As(err, &f):
		e.Message, e.Cause = f.message, f.cause
	case over == breaker.OverInstructions && in.rest > 0:
		e.Message, e.Cause = fmt.Sprintf("%s: it may use %d between two calls of the server", over.Error(), in.slice), over
	case over != 0:
		e.Message, e.Cause = over.Error(), over
	case int64(in.stack.Get()) < 0:
		e.Message = "stack overflow: too many nested calls"
	default:
		e.Message = trap(err.Error())
	}
	if in.told != "" {
		e.Message += "; before that: " + in.told
	}
	if len(e.Message) > maxMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxMessage], "") + "..."
	}
	return e
}

// overrun tells what ran out when the fuel is below zero.
func (in *instance) overrun() breaker.Overrun {
	switch {
	case int64(in.fuel.Get()) >= 0:
		return 0
	case in.timed:
		return breaker.OverTime
	}
	return breaker.OverInstructions
}

// trap keeps the first lines of what the runtime says: the kind of the trap and the innermost functions.
func trap(s string) string {
	s = strings.TrimPrefix(s, "wasm error: ")
	s, trace, _ := strings.Cut(s, "\nwasm stack trace:\n")
	first, _, _ := strings.Cut(s, "\n") // a panic of the host has its own trace
	var at []string
	for line := range strings.Lines(trace) {
		if line = strings.TrimSpace(line); line != "" && len(at) < 4 {
			at = append(at, strings.TrimPrefix(line, "."))
		}
	}
	if len(at) == 0 {
		return first
	}
	return first + " in " + strings.Join(at, ", called by ")
}

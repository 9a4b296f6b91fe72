package lua

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"github.com/stagepost/stagepost/core/breaker"
)

// What a failed call ran out of, or why its state cannot go on. Error.Unwrap gives one of these, or nil when
// the plugin itself raised the error.
const (
	ErrInstructions = breaker.OverInstructions
	ErrMemory       = breaker.OverMemory
	ErrTime         = breaker.OverTime
)

// ErrPanic is that of a call that failed by a fault of the server and not of the plugin.
var ErrPanic = errors.New("panic in the engine or in a host function")

// An Error is a failure of plugin code, at load or in a call.
type Error struct {
	File      string
	Line      int // 0 when the place is not known
	Message   string
	Traceback string // innermost first, one "file:line: in function 'name'" a line; empty for load errors
	Cause     error  // one of the Err values above, or nil
}

func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Message
	case e.Line == 0:
		return e.File + ": " + e.Message
	}
	return e.File + ":" + strconv.Itoa(e.Line) + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// What gopher-lua panics with when the call stack is full, or the registers when a tail call needs more (it then looks
// for the line of an instruction that has not run yet), and what people are told.
const (
	stackOverflow     = "lua callstack overflow"
	tailOverflow      = "runtime error: index out of range [-1]"
	stackOverflowText = "stack overflow: too many nested calls"
)

// What is kept of an error.
const (
	tracebackLines = 8
	maxMessage     = 1000 // bytes
)

// errorFrom turns what a protected call returned into an Error of the instance's plugin.
func (in *Instance) errorFrom(err error) *Error {
	e := &Error{File: in.image.main.Name}
	if in.budget.cause != nil {
		e.Cause = in.budget.kind
	}
	var api *glua.ApiError
	if !errors.As(err, &api) {
		e.Message = err.Error()
		return e
	}
	e.Message = errorText(api.Object)
	e.Traceback = traceback(api.StackTrace)
	if file, line, rest, ok := in.image.position(e.Message); ok {
		e.File, e.Line, e.Message = file, line, rest
	} else if file, line, ok := in.image.tracePosition(e.Traceback); ok {
		e.File, e.Line = file, line
	}
	if api.Type == glua.ApiErrorPanic && e.Message != stackOverflowText && e.Cause == nil {
		e.Cause = ErrPanic
		e.Message = ErrPanic.Error() + ": " + e.Message
	}
	if len(e.Message) > maxMessage {
		e.Message = e.Message[:maxMessage] + "..."
	}
	return e
}

func isOverflow(s string) bool { return s == stackOverflow || s == tailOverflow }

// errorText names an error object without running any of its metamethods.
func errorText(v glua.LValue) string {
	switch v := v.(type) {
	case nil:
		return "error without a value"
	case glua.LString:
		if isOverflow(string(v)) {
			return stackOverflowText
		}
		return strings.Replace(string(v), "registry overflow", stackOverflowText, 1)
	case glua.LNumber:
		return formatNumber(float64(v))
	case *glua.LTable:
		if s, ok := v.RawGetString("message").(glua.LString); ok {
			return string(s)
		}
	}
	return fmt.Sprintf("error object (a %s value)", v.Type())
}

// traceback keeps the plugin's own lines of gopher-lua's stack trace.
func traceback(trace string) string {
	var lines []string
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		if line == "" || line == "stack traceback:" || strings.HasPrefix(line, "[G]") ||
			strings.HasPrefix(line, "(tailcall)") || line == "..." {
			continue
		}
		if lines = append(lines, line); len(lines) == tracebackLines {
			break
		}
	}
	return strings.Join(lines, "\n")
}

// position splits "FILE:LINE: text" where FILE is a file of the image.
func (im *Image) position(s string) (file string, line int, rest string, ok bool) {
	at, rest, found := strings.Cut(s, ": ")
	if !found {
		return "", 0, "", false
	}
	colon := strings.LastIndexByte(at, ':')
	if colon < 0 || !im.files[at[:colon]] {
		return "", 0, "", false
	}
	line, err := strconv.Atoi(at[colon+1:])
	return at[:colon], line, rest, err == nil
}

func (im *Image) tracePosition(trace string) (file string, line int, ok bool) {
	for l := range strings.Lines(trace) {
		if file, line, _, ok = im.position(l); ok {
			return file, line, true
		}
		at, _, _ := strings.Cut(l, ": in ")
		if file, line, _, ok = im.position(at + ": "); ok {
			return file, line, true
		}
	}
	return "", 0, false
}

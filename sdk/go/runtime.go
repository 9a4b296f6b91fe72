package stagepost

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/stagepost/stagepost/sdk/go/internal/abi"
	"github.com/stagepost/stagepost/sdk/go/internal/cbor"
)

// Verdict is a handler's answer; nil is next. It is one of the types that have the names of verdicts, or what [Fail] returns.
type Verdict interface {
	// append writes the verdict as a map.
	append(b []byte) ([]byte, error)
}

// failed is the answer of a handler that gives up.
type failed struct{ err error }

func (f failed) append([]byte) ([]byte, error) { return nil, f.err }

// Fail is the answer of a handler that cannot tell: the plugin's on_error answers for it, and the error stands in the record.
func Fail(err error) Verdict {
	if err == nil {
		err = errors.New("the plugin gave up without an error")
	}
	return failed{err}
}

// Failf is Fail of an error with that text.
func Failf(format string, args ...any) Verdict { return failed{fmt.Errorf(format, args...)} }

// Error is what the server refused, or could not do.
type Error struct {
	What string // "kv.get", "edit add_header"
	Code int    // one of the Err constants
}

func (e *Error) Error() string {
	if -e.Code > 0 && -e.Code < len(errnos) {
		return e.What + ": " + errnos[-e.Code]
	}
	return fmt.Sprintf("%s: error %d", e.What, e.Code)
}

// refusal is thrown through the handler and answered by hook.
type refusal struct{ err error }

func refuse(err error) { panic(refusal{err}) }

// handlers by stage.
var handlers [len(stageNames)]func() Verdict

// scope of the stage that runs.
var scope byte

func on(stage int, object byte, h func() Verdict) {
	if handlers[stage] != nil {
		panic("stagepost: there are two handlers for " + stageNames[stage])
	}
	handlers[stage] = func() Verdict {
		scope = object
		return h()
	}
}

func init() { abi.Load, abi.Hook = load, hook }

// loaders are what plugins do with their settings.
var loaders []func(Settings) error

// OnLoad registers what is to be done with the settings, once in each instance, before its first call. An error refuses them: the plugin does not
// load, and the server says why.
func OnLoad(f func(Settings) error) { loaders = append(loaders, f) }

func load(raw []byte) int32 {
	r := cbor.NewReader(raw)
	m, _ := r.Value().(map[string]any)
	if r.Err() != nil {
		abi.Log(levelError, "the settings cannot be read: "+r.Err().Error())
		return ErrInvalid
	}
	settings = m
	for _, f := range loaders {
		if err := f(settings); err != nil {
			abi.Log(levelError, err.Error())
			return ErrInvalid
		}
	}
	return 0
}

// answer is where verdicts are written: again and again to the same place, which the server reads before the next call.
var answer []byte

func hook(stage int32) []byte {
	abi.Failed = 0
	if int(stage) >= len(handlers) || handlers[stage] == nil {
		name := fmt.Sprint("stage ", stage)
		if int(stage) < len(stageNames) {
			name = stageNames[stage]
		}
		return gaveUp(fmt.Errorf("plugin.toml has a hook for %s, but the code has no handler for it", name))
	}
	return ask(handlers[stage])
}

func ask(h func() Verdict) (verdict []byte) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case refusal:
			verdict = gaveUp(p.err)
		default:
			panic(p) // a fault of the plugin: the instance is thrown away
		}
	}()
	v := h()
	if v == nil {
		return nil
	}
	b, err := v.append(answer[:0])
	if err != nil {
		return gaveUp(err)
	}
	answer = b
	return b
}

// gaveUp makes the call end with an error. The server knows why it refused something; what else is wrong is told by a line in its log.
func gaveUp(err error) []byte {
	abi.Failed = ErrFailed
	if e, ok := err.(*Error); ok {
		abi.Failed = int64(e.Code)
	} else {
		abi.Log(levelError, err.Error())
	}
	return nil
}

// room is where the server writes fields and small results; what is kept of it is copied.
var room = make([]byte, 1024)

// field asks for a field; ok is false where there is none.
func field(object, index, id int32) (r cbor.Reader, ok bool) {
	n := abi.Field(object, index, id, room)
	if n > int32(len(room)) {
		room = make([]byte, n+n/2)
		n = abi.Field(object, index, id, room)
	}
	if n == ErrNone {
		return r, false
	}
	if n < 0 {
		refuse(&Error{fmt.Sprintf("field %d of object %d", id, object), int(n)})
	}
	return cbor.NewReader(room[:n]), true
}

func textField(object, index, id int32) string {
	r, ok := field(object, index, id)
	if !ok {
		return ""
	}
	return r.Text()
}

func intField(object, index, id int32) int {
	r, ok := field(object, index, id)
	if !ok {
		return 0
	}
	return int(r.Int())
}

func boolField(object, index, id int32) bool {
	r, ok := field(object, index, id)
	return ok && r.Bool()
}

func timeField(object, index, id int32) time.Time {
	r, ok := field(object, index, id)
	if !ok {
		return time.Time{}
	}
	return timeOf(r.Float())
}

// timeOf is a time that is given as seconds since 1970, to the microsecond.
func timeOf(seconds float64) time.Time { return time.UnixMicro(int64(math.Round(seconds * 1e6))) }

func secondsOf(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// rcptsOf are the recipients that a field counts. Where they begin depends on the stage: see the manual of the interface.
func rcptsOf(object, index, id int32) []Rcpt {
	begin := int32(0)
	if object == objectMessage {
		switch scope {
		case scopeRcpt:
			begin = 1
		case scopeDelivery:
			begin = int32(len(Delivery{}.Rcpts()))
		}
	}
	list := make([]Rcpt, intField(object, index, id))
	for i := range list {
		list[i].index = begin + int32(i)
	}
	return list
}

// data is where edits and arguments of services are written.
var data []byte

// edit stages an edit, or ends the handler.
func edit(op, object, index int32, b []byte) {
	data = b
	if n := abi.Edit(op, object, index, b); n < 0 {
		refuse(&Error{"edit " + editNames[op], int(n)})
	}
}

// call calls a service and returns its result, which must be read before anything else is asked.
func call(name string, args ...any) (*cbor.Reader, error) {
	b, err := cbor.Append(data[:0], args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	data = b
	got := abi.Svc(name, b)
	if got < 0 {
		return nil, &Error{name, int(got)}
	}
	handle, size := int32(got>>32), int(uint32(got))
	buf := room
	if size > len(buf) {
		buf = make([]byte, size)
	}
	n := abi.SvcRead(handle, 0, buf[:size])
	abi.SvcClose(handle)
	if n < 0 {
		return nil, &Error{name, int(n)}
	}
	r := cbor.NewReader(buf[:n])
	return &r, nil
}

// first is an argument that may be left out.
func first[T any](v []T) any {
	if len(v) == 0 {
		return nil
	}
	return v[0]
}

// listOf reads a list; nil for nil.
func listOf[T any](r *cbor.Reader, read func(*cbor.Reader) T) []T {
	if r.Null() {
		return nil
	}
	list := make([]T, r.Array())
	for i := range list {
		list[i] = read(r)
	}
	return list
}

// mapOf reads a map; nil for nil.
func mapOf[T any](r *cbor.Reader, read func(*cbor.Reader) T) map[string]T {
	if r.Null() {
		return nil
	}
	n := r.Map()
	m := make(map[string]T, n)
	for range n {
		k := r.Text()
		m[k] = read(r)
	}
	return m
}

// given reads what may be nil.
func given[T any](r *cbor.Reader, read func(*cbor.Reader) T) *T {
	if r.Null() {
		return nil
	}
	return new(read(r))
}

// as is a value of that type; the zero value for others.
func as[T any](v any) T {
	t, _ := v.(T)
	return t
}

func number(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

// Now is the server's time.
func Now() time.Time { return time.Unix(0, abi.Now()) }

// NumberTable has the names of what is declared, in the order of their numbers. It is for package plugintest.
type NumberTable struct {
	Stages, Verdicts, Edits, Levels, Objects []string
	Fields                                   map[string][]string // by object
}

//go:build !wasip1

// Package plugintest stands for the server in tests of plugins: a handler is asked by the name of its stage, gets the fields that the test set, and calls
// services that the test answers.
//
//	server := plugintest.New()
//	server.Set("session.ip", "192.0.2.9")
//	if got := server.Ask("connect"); got.Verdict != "reject" { ... }
//
// It checks nothing that the server checks, such as what a stage takes: transcripts, run by stagepost plugin test, do.
package plugintest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	stagepost "github.com/stagepost/stagepost/sdk/go"
	"github.com/stagepost/stagepost/sdk/go/internal/abi"
	"github.com/stagepost/stagepost/sdk/go/internal/cbor"
)

// Server is what a test says of the outside. Only one may be asked at a time.
type Server struct {
	Time    time.Time // of stagepost.Now
	Content []byte    // of the message, with its header; nil: there is none yet

	fields   map[string]any
	services map[string]func(args []any) (any, error)
	err      error // of a service that the test made fail
	got      Answer
}

// Answer is what a handler did.
type Answer struct {
	Verdict string         // "next", "reject" and so on; "error" if the handler gave up
	Fields  map[string]any // of the verdict, by the names that they have in Lua
	Edits   []Edit         // in order
	Body    []byte         // what Rewrite wrote
	Log     []string       // "info text"
	Err     error          // why it gave up
}

// Edit is one edit: its name, the object it is of, and its arguments. A fact of the plugin's own has a name that begins with a dot.
type Edit struct {
	Name   string
	Object string
	Index  int
	Args   any
}

// New makes a server whose fields are all without a value, and without services.
func New() *Server {
	return &Server{fields: map[string]any{}, services: map[string]func([]any) (any, error){}}
}

// Set sets a field: "rcpt.class", or "rcpt[1].class" for another recipient than the first. The value is of the field's type in package stagepost; a list of
// recipients is their number.
func (s *Server) Set(field string, v any) {
	if _, err := number(field); err != nil {
		panic("plugintest: " + err.Error())
	}
	s.fields[field] = v
}

// Service says what a function of a service, such as "kv.get", answers.
func (s *Server) Service(name string, f func(args []any) (any, error)) { s.services[name] = f }

// Configure gives the plugin its settings, as the server does when it loads, and calls what OnLoad registered.
func (s *Server) Configure(settings map[string]any) error {
	raw, err := cbor.Append(nil, settings)
	if err != nil {
		return err
	}
	s.got = Answer{}
	abi.Server = s
	defer func() { abi.Server = nil }()
	if abi.Load(raw) < 0 {
		return errors.New(strings.Join(s.got.Log, "; "))
	}
	return nil
}

// Ask asks the handler of a stage.
func (s *Server) Ask(stage string) Answer {
	s.got, s.err = Answer{Verdict: "next"}, nil
	abi.Server = s
	defer func() { abi.Server = nil }()
	i := indexOf(stagepost.Numbers().Stages, stage)
	if i < 0 {
		panic("plugintest: there is no stage " + stage)
	}
	raw := abi.Hook(int32(i))
	switch {
	case abi.Failed < 0:
		s.got.Verdict = "error"
		if s.got.Err = s.err; s.err == nil {
			s.got.Err = fmt.Errorf("error %d: %s", abi.Failed, strings.Join(s.got.Log, "; "))
		}
	case raw != nil:
		r := cbor.NewReader(raw)
		m, _ := r.Value().(map[string]any)
		s.got.Verdict = stagepost.Numbers().Verdicts[m["kind"].(int64)]
		delete(m, "kind")
		s.got.Fields = m
	}
	return s.got
}

func indexOf(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

// number checks that a field exists.
func number(field string) (object string, err error) {
	object, name, ok := strings.Cut(field, ".")
	object, _, _ = strings.Cut(object, "[")
	if !ok || indexOf(stagepost.Numbers().Fields[object], name) < 0 {
		return "", fmt.Errorf("there is no field %q", field)
	}
	return object, nil
}

func (s *Server) place(object, index int32) (name, at string) {
	name = stagepost.Numbers().Objects[object]
	if at = name; index > 0 {
		at = fmt.Sprintf("%s[%d]", name, index)
	}
	return name, at
}

// Field implements the interface to the plugin, as do the others.
func (s *Server) Field(object, index, id int32) ([]byte, int32) {
	name, at := s.place(object, index)
	v, ok := s.fields[at+"."+stagepost.Numbers().Fields[name][id]]
	if !ok {
		return nil, stagepost.ErrNone
	}
	raw, err := cbor.Append(nil, plain(reflect.ValueOf(v)))
	if err != nil {
		panic("plugintest: " + at + ": " + err.Error())
	}
	return raw, 0
}

// plain makes values of structs, times and the like.
func plain(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	if t, ok := v.Interface().(time.Time); ok {
		return float64(t.UnixMicro()) / 1e6
	}
	switch v.Kind() {
	case reflect.Pointer:
		return plain(v.Elem())
	case reflect.Struct:
		m := map[string]any{}
		for i := range v.NumField() {
			m[snake(v.Type().Field(i).Name)] = plain(v.Field(i))
		}
		return m
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			list := make([]any, v.Len())
			for i := range list {
				list[i] = plain(v.Index(i))
			}
			return list
		}
	}
	return v.Interface()
}

// snake is the name of a field in the declarations.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' && i > 0 && (name[i-1] < 'A' || name[i-1] > 'Z') {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// lines are the fields of the header of Content, folded as they stand there.
func (s *Server) lines() []string {
	head, _, _ := strings.Cut(string(s.Content), "\r\n\r\n")
	var fields []string
	for line := range strings.SplitSeq(head, "\r\n") {
		switch {
		case line == "":
		case line[0] == ' ' || line[0] == '\t':
			if len(fields) > 0 {
				fields[len(fields)-1] += line + "\r\n"
			}
		default:
			fields = append(fields, line+"\r\n")
		}
	}
	return fields
}

func (s *Server) Header(name string, n int32) ([]byte, int32) {
	if s.Content == nil {
		return nil, stagepost.ErrRefused
	}
	for _, f := range s.lines() {
		key, value, _ := strings.Cut(f, ":")
		if name != "" && !strings.EqualFold(key, name) {
			continue
		}
		if n--; n > 0 {
			continue
		}
		if name == "" {
			return []byte(f), 0
		}
		return []byte(strings.TrimSpace(strings.ReplaceAll(value, "\r\n", ""))), 0
	}
	return nil, stagepost.ErrNone
}

func (s *Server) ContentRead() ([]byte, int32) {
	if s.Content == nil {
		return nil, stagepost.ErrRefused
	}
	return s.Content, 0
}

func (s *Server) ContentEmit(data []byte) int32 {
	s.got.Body = append(s.got.Body, data...)
	return 0
}

func (s *Server) Edit(op, object, index int32, data []byte) int32 {
	name, _ := s.place(object, index)
	r := cbor.NewReader(data)
	s.got.Edits = append(s.got.Edits, Edit{Name: stagepost.Numbers().Edits[op], Object: name, Index: int(index), Args: r.Value()})
	return 0
}

func (s *Server) Svc(name string, args []byte) ([]byte, int32) {
	r := cbor.NewReader(args)
	list, _ := r.Value().([]any)
	f := s.services[name]
	switch {
	case f == nil && strings.HasPrefix(name, "log."):
		s.Log(int32(indexOf(stagepost.Numbers().Levels, name[4:])), fmt.Sprint(list[0]))
		return []byte{0xf6}, 0
	case f == nil:
		s.err = fmt.Errorf("%s: the test does not say what it answers; see Server.Service", name)
		return nil, stagepost.ErrAbsent
	}
	v, err := f(list)
	if err != nil {
		s.err = fmt.Errorf("%s: %w", name, err)
		return nil, stagepost.ErrFailed
	}
	raw, err := cbor.Append(nil, plain(reflect.ValueOf(v)))
	if err != nil {
		panic("plugintest: " + name + ": " + err.Error())
	}
	return raw, 0
}

func (s *Server) Log(level int32, text string) {
	s.got.Log = append(s.got.Log, stagepost.Numbers().Levels[level]+" "+text)
}

func (s *Server) Now() int64 { return s.Time.UnixNano() }

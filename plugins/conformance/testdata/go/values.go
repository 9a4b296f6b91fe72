package main

import (
	"reflect"
	"time"

	stagepost "github.com/stagepost/stagepost/sdk/go"
)

// What a case gives, in the types that the SDK takes.

func at(a []any, i int) any {
	if i < len(a) {
		return a[i]
	}
	return nil
}

func text(v any) string { s, _ := v.(string); return s }

func boolean(v any) bool { b, _ := v.(bool); return b }

func integer(v any) int { return int(number(v)) }

func number(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

func duration(v any) time.Duration { return time.Duration(number(v) * float64(time.Second)) }

func moment(v any) time.Time {
	if v == nil {
		return time.Time{}
	}
	return time.UnixMicro(int64(number(v) * 1e6))
}

func list(v any) []any { l, _ := v.([]any); return l }

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }

func texts(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var out []string
	for _, e := range list(v) {
		out = append(out, text(e))
	}
	return out
}

func textMap(v any) map[string]string {
	out := map[string]string{}
	for name, e := range object(v) {
		out[name] = text(e)
	}
	return out
}

func ints(a []any, i int) []int { return tail(a, i, integer) }

func tail[T any](a []any, i int, read func(any) T) []T {
	if i >= len(a) {
		return nil
	}
	return []T{read(a[i])}
}

func given[T any](v any, read func(any) T) *T {
	if v == nil {
		return nil
	}
	return new(read(v))
}

// What the SDK gives, as values.

func put(m map[string]any, name string, optional bool, v any) {
	if v == nil || optional && reflect.ValueOf(v).IsZero() {
		return
	}
	m[name] = v
}

func seconds(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return float64(t.UnixMicro()) / 1e6
}

func known(f stagepost.Facts, my bool) any {
	name := "p.known"
	if my {
		name = "known"
	}
	m := map[string]any{}
	put(m, "known", false, f.Get(name))
	return m
}

func handle(there bool) any { return when(there, "object") }

func when(ok bool, v any) any {
	if !ok {
		return nil
	}
	return v
}

func addresses(rcpts []stagepost.Rcpt) any {
	return each(rcpts, func(r stagepost.Rcpt) any { return r.Address().Text })
}

func each[T any](items []T, plain func(T) any) any {
	out := make([]any, len(items))
	for i, e := range items {
		out[i] = plain(e)
	}
	return out
}

func maybe[T any](v *T, plain func(T) any) any {
	if v == nil {
		return nil
	}
	return plain(*v)
}

func types(parts []stagepost.Part) any {
	return each(parts, func(p stagepost.Part) any { return p.Type() })
}

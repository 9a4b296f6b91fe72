package service

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stagepost/stagepost/core/capability"
	"github.com/stagepost/stagepost/hooks"
)

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(tb testing.TB, o StoreOptions) *Store {
	tb.Helper()
	s, err := OpenStore(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func TestKV(t *testing.T) {
	clk := &clock{now: epoch}
	s := open(t, StoreOptions{Now: clk.Now})
	c := handler(t, Options{KV: s, Now: clk.Now})
	check(t, c, []call{
		{name: "kv.get", args: list("k"), want: nil},
		{name: "kv.delete", args: list("k")},
		{name: "kv.add", args: list("k", 1.5, int64(10)), want: true},
		{name: "kv.add", args: list("k", 2.5, int64(100)), want: false},
		{name: "kv.get", args: list("k"), want: 1.5},
		{name: "kv.incr", args: list("k", int64(1), int64(10)), err: ErrNotNumber.Error()},
		{name: "kv.set", args: list("list", list("a", map[string]any{"b": []byte{0xff}}), 9.5)},
		{name: "kv.get", args: list("list"), want: list("a", map[string]any{"b": []byte{0xff}})},
		{name: "kv.incr", args: list("n", int64(2), int64(10)), want: int64(2)},
		{name: "kv.incr", args: list("n", -5.0, int64(100)), want: int64(-3)},
		{name: "kv.incr", args: list("n", int64(math.MinInt64), int64(1)), err: ErrNotNumber.Error()},
		{name: "kv.get", args: list("n"), want: int64(-3)},
		{name: "kv.set", args: list("f", 41.0, int64(10))},
		{name: "kv.incr", args: list("f", int64(1), int64(10)), want: int64(42)},
		{name: "kv.set", args: list("", "v", int64(1)), err: "the key has 0 bytes"},
		{name: "kv.get", args: list(strings.Repeat("k", MaxKey+1)), err: "the key has 513 bytes"},
		{name: "kv.set", args: list(strings.Repeat("k", MaxKey), strings.Repeat("v", MaxValue), int64(1))},
		{name: "kv.set", args: list("k", strings.Repeat("v", MaxValue+1), int64(1)), err: "the value has 65537 bytes"},
		{name: "kv.set", args: list("k", nil, int64(1)), err: "value is missing or nil"},
		{name: "kv.set", args: list("k", "v"), err: "ttl is missing"},
		{name: "kv.set", args: list("k", "v", int64(0)), err: "ttl is 0 seconds"},
		{name: "kv.set", args: list("k", "v", math.NaN()), err: "ttl is NaN seconds"},
		{name: "kv.set", args: list("k", "v", math.Inf(1)), err: "ttl is +Inf seconds"},
		{name: "kv.set", args: list("k", list(int(1)), int64(1)), err: "not int"},
	})
	other := NewHost(Options{KV: s}).Context("other", &capability.Needs{KV: true}, nil)
	other.Begin(&hooks.Call{})
	check(t, other, []call{{name: "kv.get", args: list("k"), want: nil}})

	clk.add(9500 * time.Millisecond)
	check(t, c, []call{
		{name: "kv.get", args: list("list"), want: nil},
		{name: "kv.get", args: list("k"), want: 1.5},
	})
	clk.add(500 * time.Millisecond)
	check(t, c, []call{
		{name: "kv.get", args: list("k"), want: nil},
		{name: "kv.incr", args: list("n", int64(1), int64(10)), want: int64(1)}, // the window of the first one is over
		{name: "kv.add", args: list("k", "new", int64(10)), want: true},
		{name: "kv.set", args: list("k", "newer", int64(20))},
	})
	clk.add(15 * time.Second)
	check(t, c, []call{
		{name: "kv.get", args: list("k"), want: "newer"},
		{name: "kv.delete", args: list("k")},
		{name: "kv.get", args: list("k"), want: nil},
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, c, []call{
		{name: "kv.get", args: list("k"), err: "kv is closed"},
		{name: "kv.set", args: list("k", "v", int64(1)), err: "kv is closed"},
	})
}

func TestKVFull(t *testing.T) {
	clk := &clock{now: epoch}
	s := open(t, StoreOptions{Now: clk.Now, Entries: 3, Bytes: 2000})
	put := func(key string, size int, want error) {
		t.Helper()
		if err := s.Set("vip", key, strings.Repeat("x", size), time.Minute); err != want {
			t.Errorf("%s of %d bytes: %v, want %v", key, size, err, want)
		}
	}
	put("a", 10, nil)
	put("b", 10, nil)
	put("c", 10, nil)
	put("d", 10, ErrFull)
	put("a", 1000, nil) // one that is there may change
	put("b", 1000, ErrFull)
	if v, _, _ := s.Get("vip", "b"); v != strings.Repeat("x", 10) {
		t.Errorf("b is %q", v)
	}
	if ok, err := s.Add("vip", "d", "v", time.Minute); ok || err != ErrFull {
		t.Errorf("add: %v, %v", ok, err)
	}
	if err := s.Delete("vip", "a"); err != nil {
		t.Fatal(err)
	}
	put("d", 10, nil)
	clk.add(time.Minute)
	put("e", 1500, nil)
	if sp := s.spaces["vip"]; len(sp.entries) != 1 || len(sp.due) != 1 || sp.bytes != 1500+1+entryOverhead {
		t.Errorf("%d entries, %d due, %d bytes", len(sp.entries), len(sp.due), sp.bytes)
	}
	if err := s.Set("../vip", "k", "v", time.Minute); err == nil {
		t.Error("a space may name any file")
	}
}

func TestStoreSurvives(t *testing.T) {
	clk := &clock{now: epoch}
	o := StoreOptions{Folder: filepath.Join(t.TempDir(), "kv"), Now: clk.Now}
	s := open(t, o)
	values := map[string]any{
		"int": int64(-1), "large": int64(math.MaxInt64), "float": 1.5, "true": true, "text": "ö", "latin\xff": "\xff", "bytes": []byte{0},
		"list": list(int64(1), nil, []any{}), "map": map[string]any{"a": map[string]any{"b\xff": 2.0}},
	}
	for k, v := range values {
		if err := s.Set("vip", k, v, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	s.Set("vip", "no list", []any(nil), time.Hour)
	values["no list"] = []any{}
	for _, err := range []error{s.Set("vip", "short", "v", time.Minute), s.Set("gone", "k", "v", time.Minute), s.Set("empty", "k", "v", time.Hour), s.Delete("empty", "k")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"gone.cbor", "vip.cbor"}
	if got := names(t, o.Folder); !slices.Equal(got, want) {
		t.Errorf("files %v", got)
	}

	clk.add(time.Minute)
	s = open(t, o)
	for k, v := range values {
		if got, ok, err := s.Get("vip", k); !ok || err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%q is %#v, %v, %v", k, got, ok, err)
		}
	}
	if _, ok, _ := s.Get("vip", "short"); ok {
		t.Error("what expired is back")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, o.Folder); !slices.Equal(got, []string{"vip.cbor"}) {
		t.Errorf("files %v; the one of an empty space stays", got)
	}
}

func names(t *testing.T, folder string) (out []string) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}

// TestStoreWritesBehind looks at the file while the store is open.
func TestStoreWritesBehind(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := OpenStore(StoreOptions{Folder: folder})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		path := filepath.Join(folder, "vip.cbor")
		s.Set("vip", "k", "v", time.Hour)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if records, err := readSnapshot(data); err != nil || len(records) != 1 || records[0].Value != "v" {
			t.Errorf("%v, %v", records, err)
		}
		os.Remove(path)
		time.Sleep(10 * time.Second) // nothing changed: nothing is written
		synctest.Wait()
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Error(err)
		}
		s.Incr("vip", "n", 1, time.Hour)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	})
}

// TestStoreCannotWrite has a folder in the place of the file.
func TestStoreCannotWrite(t *testing.T) {
	folder := t.TempDir()
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	synctest.Test(t, func(t *testing.T) {
		s, err := OpenStore(StoreOptions{Folder: folder, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		in := filepath.Join(folder, "vip.cbor", "in")
		if err := os.MkdirAll(in, 0o700); err != nil {
			t.Fatal(err)
		}
		s.Set("vip", "k", "v", time.Hour)
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if n := strings.Count(logged.String(), "cannot be written"); n != 1 {
			t.Errorf("said %d times:\n%s", n, logged.String())
		}
		if v, _, _ := s.Get("vip", "k"); v != "v" {
			t.Errorf("k is %v", v)
		}
		if err := os.RemoveAll(filepath.Dir(in)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !strings.Contains(logged.String(), "written again") {
			t.Errorf("log:\n%s", logged.String())
		}
		if got := names(t, folder); !slices.Equal(got, []string{"vip.cbor"}) {
			t.Errorf("files %v", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestStoreDamage opens a store whose file was cut, changed in one bit, or is something else.
func TestStoreDamage(t *testing.T) {
	o := StoreOptions{Folder: t.TempDir()}
	s := open(t, o)
	for i := range 20 {
		s.Set("vip", fmt.Sprint(i), int64(i), time.Hour)
	}
	s.Close()
	path := filepath.Join(o.Folder, "vip.cbor")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	signed := func(text string) []byte {
		sum := checksum()
		sum.Write([]byte(snapshotHead + text))
		return binary.BigEndian.AppendUint32([]byte(snapshotHead+text), sum.Sum32())
	}
	for name, data := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-1], "cut to the head": good[:len(snapshotHead)], "flipped": flipped, "other": []byte(strings.Repeat("x", 100)),
		"no CBOR": signed("\xff"), "no record": signed("\x01"), "odd value": signed("\x83\x61k\xc0\x01\x1b\x7f\xff\xff\xff\xff\xff\xff\xff"),
		"empty key": signed("\x83\x60\x01\x1b\x7f\xff\xff\xff\xff\xff\xff\xff"),
	} {
		t.Run(name, func(t *testing.T) {
			o := StoreOptions{Folder: t.TempDir()}
			var logged bytes.Buffer
			o.Log = slog.New(slog.NewTextHandler(&logged, nil))
			path := filepath.Join(o.Folder, "vip.cbor")
			for file, data := range map[string][]byte{path: data, path + unfinished: good, filepath.Join(o.Folder, "other.cbor"): good} {
				if err := os.WriteFile(file, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, o)
			if v, ok, err := s.Get("vip", "7"); ok || err != nil {
				t.Errorf("7 is %v, %v", v, err)
			}
			if v, _, _ := s.Get("other", "7"); v != int64(7) {
				t.Errorf("the other plugin's 7 is %v", v)
			}
			if got := names(t, o.Folder); !slices.Equal(got, []string{"other.cbor", "vip.cbor.damaged"}) {
				t.Errorf("files %v", got)
			}
			if !strings.Contains(logged.String(), "damaged") || !strings.Contains(logged.String(), "plugin=vip") {
				t.Errorf("log: %s", logged.String())
			}
		})
	}
}

// TestStoreSmaller opens what was written with larger bounds.
func TestStoreSmaller(t *testing.T) {
	o := StoreOptions{Folder: t.TempDir()}
	s := open(t, o)
	for i := range 20 {
		s.Set("vip", fmt.Sprint(i), int64(i), time.Hour)
	}
	s.Close()
	var logged bytes.Buffer
	o.Entries, o.Log = 5, slog.New(slog.NewTextHandler(&logged, nil))
	if s = open(t, o); len(s.spaces["vip"].entries) != 5 || !strings.Contains(logged.String(), "dropped=15") {
		t.Errorf("log: %s", logged.String())
	}
}

func TestStoreNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenStore(StoreOptions{Folder: filepath.Join(file, "kv")}); err == nil {
		s.Close()
		t.Error("no error")
	}
}

// TestKVAtOnce lets many add and count the same, while the store writes.
func TestKVAtOnce(t *testing.T) {
	s := open(t, StoreOptions{Folder: t.TempDir(), Every: time.Millisecond})
	var wg sync.WaitGroup
	added := make([]int, 8)
	for w := range added {
		wg.Go(func() {
			for i := range 200 {
				if ok, err := s.Add("vip", fmt.Sprint("add", i), list(int64(w)), time.Hour); err != nil {
					t.Error(err)
				} else if ok {
					added[w]++
				}
				if _, err := s.Incr("vip", "n", 1, time.Hour); err != nil {
					t.Error(err)
				}
				s.Get("vip", "n")
				s.Set("vip", fmt.Sprint("own", w), int64(i), time.Duration(i)*time.Microsecond)
				s.Delete("vip", fmt.Sprint("own", w))
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range added {
		sum += n
	}
	if v, _, _ := s.Get("vip", "n"); v != int64(1600) || sum != 200 {
		t.Errorf("n is %v, %d were added", v, sum)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(os.DirFS(s.Folder), "vip.cbor")
	if err != nil {
		t.Fatal(err)
	}
	if records, err := readSnapshot(data); err != nil || len(records) != 201 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func FuzzSnapshot(f *testing.F) {
	f.Add([]byte("\x83\x61k\xa1\x61a\x82\x01\xf9\x3c\x00\x1a\x65\x53\xf1\x00"))
	f.Add([]byte("\x83\x61k\x5f\x41\x00\xff\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := checksum()
		sum.Write([]byte(snapshotHead))
		sum.Write(body)
		data := binary.BigEndian.AppendUint32(append([]byte(snapshotHead), body...), sum.Sum32())
		records, err := readSnapshot(data)
		if err != nil {
			return
		}
		s := &Store{StoreOptions: StoreOptions{Entries: 1000, Bytes: 1 << 20}}
		sp := newSpace()
		for _, r := range records {
			sp.put(s, r.Key, r.Value, r.Expires)
		}
		sp.expire(math.MaxInt64)
		if len(sp.entries) != 0 || sp.bytes != 0 {
			t.Fatalf("%d entries of %d bytes are left", len(sp.entries), sp.bytes)
		}
	})
}

func BenchmarkKVGet(b *testing.B) {
	s := open(b, StoreOptions{})
	c := handler(b, Options{KV: s})
	s.Set("vip", "key", 1.5, time.Hour)
	get, args := find(b, "kv.get"), make([]any, 1)
	var key any = "key"
	s.Now = func() time.Time { return epoch }
	s.Set("vip", "key", 1.5, time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		args[0] = key
		if v, err := get.Do(c, args); v == nil || err != nil {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkKVSet(b *testing.B) {
	s := open(b, StoreOptions{})
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprint("key", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.Set("vip", keys[i%len(keys)], 1.5, time.Duration(1+i%3600)*time.Second); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s := open(b, StoreOptions{Folder: b.TempDir(), Every: time.Hour})
	for i := range 100_000 {
		s.Set("vip", fmt.Sprintf("%064d", i), 1.5, time.Hour)
	}
	for i := 0; b.Loop(); i++ {
		s.Set("vip", "changed", int64(i), time.Hour)
		if err := s.save(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCall is what a function costs that does next to nothing.
func BenchmarkCall(b *testing.B) {
	c := handler(b, Options{})
	network, args := find(b, "addr.network"), make([]any, 3)
	var ip, v4, v6 any = "192.0.2.9", 24.0, 64.0
	b.ReportAllocs()
	for b.Loop() {
		args[0], args[1], args[2] = ip, v4, v6
		if _, err := network.Do(c, args); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRegexp(b *testing.B) {
	for _, tt := range []struct{ name, pattern, text string }{
		{"short", `^[^@]+@(?:.+\.)?example\.org$`, "somebody@mail.example.org"},
		{"worst", `(?:[[:alpha:]]?){100}(?:a{100})x`, strings.Repeat("a", 8000)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			c := handler(b, Options{})
			for b.Loop() {
				if _, err := c.match(tt.pattern, tt.text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

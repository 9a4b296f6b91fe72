package disk

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/store"
)

var fullRcpt = store.RcptState{Result: message.Failed, Attempts: 3, First: base, Tried: base, Next: base, Lane: "mx:a", Owed: true, Warned: true, Route: "smtp:b:25",
	Last: message.Last{Code: 550, Enhanced: "5.1.1", Host: "h", Text: "t"}}

func TestValues(t *testing.T) {
	p := place{inFile: true, size: 1 << 40, crc: 0xdeadbeef, rcpts: 1000}
	b := putRecord(nil, p, []byte("envelope"))
	if len(b) != recordLen(p, []byte("envelope")) {
		t.Errorf("a record has %d bytes, recordLen says %d", len(b), recordLen(p, []byte("envelope")))
	}
	if got, env, err := readRecord(b); got != p || string(env) != "envelope" || err != nil {
		t.Errorf("%+v, %q, %v", got, env, err)
	}
	for _, r := range []store.RcptState{{}, fullRcpt} {
		if got, err := readRcpt(appendRcpt(nil, &r)); got != r || err != nil {
			t.Errorf("%+v came back as %+v, %v", r, got, err)
		}
	}
	empty := ""
	for _, c := range []change{{}, {rev: 1 << 60, held: &empty}} {
		if got, err := readChange(c.append(nil)); !reflect.DeepEqual(got, c) || err != nil {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
	}
}

func TestKeysSortAsTheirParts(t *testing.T) {
	id := store.ID{9}
	keys := [][]byte{
		dueKey("", 5, id), dueKey("", 6, store.ID{}), dueFrom("", maxSecond+1),
		dueKey("\x01", 0, id), dueKey("a", 0, id), dueKey("a", maxSecond, id), laneEnd("a"),
		dueKey("a.b", 1, id), dueKey("aa", 0, id), dueKey("\xff\xff", maxSecond, store.ID{255, 255, 255, 255, 255, 255, 255, 255, 255, 255}),
		rcptKey(id, 1), rcptKey(id, 256), behind(idKey(keyRcpt, id)),
	}
	for i := 1; i < len(keys); i++ {
		if bytes.Compare(keys[i-1], keys[i]) >= 0 {
			t.Errorf("key %d, %q, is not behind %q", i, keys[i], keys[i-1])
		}
	}
	if lane, second, got, ok := splitDue(dueKey("a\xff", 7, id)); string(lane) != "a\xff" || second != 7 || got != id || !ok {
		t.Errorf("%q, %d, %v, %v", lane, second, got, ok)
	}
}

// FuzzValues checks that no bytes on the disk make a reader panic.
func FuzzValues(f *testing.F) {
	held := "why"
	f.Add(putRecord(nil, place{size: 5, rcpts: 1}, []byte{1, 2}))
	f.Add(appendRcpt(nil, &fullRcpt))
	f.Add(change{rev: 3, held: &held}.append(nil))
	f.Add(version{1, base}.append(nil))
	f.Add([]byte{1, 0x80, 0x80, 0x80, 0x80, 0x10})
	f.Add(dueKey("mx:a", 5, store.ID{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, env, err := readRecord(b); err == nil && (p.size < 0 || env == nil) {
			t.Errorf("readRecord took %+v", p)
		}
		if r, err := readRcpt(b); err == nil {
			if again, err := readRcpt(appendRcpt(nil, &r)); err != nil || again != r {
				t.Errorf("%+v came back as %+v, %v", r, again, err)
			}
		}
		readChange(b)
		readVersion(b)
		readNumbers(b)
		splitDue(b)
		splitWake(b)
		idOf(b)
	})
}

func TestMakesFoldersOfAnyDepth(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := options(t, "/var/lib/stagepost/queue")
	o.FS = fs
	s := mustOpen(t, o)
	env := mustCommit(t, s, make([]byte, 100_000))
	o.FS = fs.CrashClone(vfs.CrashCloneCfg{})
	after := mustOpen(t, o)
	if r, err := after.Open(ctx, env.ID); err != nil {
		t.Error(err)
	} else {
		r.Close()
	}
}

package lookup

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"strings"
)

// hashed is a table of keys that are found as they are: an open hash of places in one text. Its seed is its own, so nobody can
// choose keys that are slow to find.
type hashed struct {
	seed  maphash.Seed
	text  string   // of each entry the key, a tab, the value, a newline
	slots []uint32 // 1 + where the entry begins; 0: none
}

// end is what stands behind a key and behind a value; neither has one in it.
const (
	keyEnd   = '\t'
	valueEnd = '\n'
)

// parseHashed reads keys that key folds and checks.
func parseHashed(r *reader, fold func(key []byte) ([]byte, error)) (*hashed, int, error) {
	lines := r.lines()
	h := &hashed{seed: maphash.MakeSeed(), slots: make([]uint32, 1<<bits.Len(uint(min(lines, maxEntries)*4/3)))}
	var text strings.Builder
	text.Grow(len(r.data) + 2*lines)
	n := 0
	err := r.pairs(func(key, value []byte) error {
		key, err := fold(key)
		if err != nil {
			return err
		}
		h.text = text.String()
		slot := slotOf(h, maphash.Bytes(h.seed, key), key)
		if h.slots[slot] != 0 {
			return r.fail("the key %q stands in a line before; keep one of them", shorten(key))
		}
		h.slots[slot] = uint32(text.Len()) + 1
		text.Write(key)
		text.WriteByte(keyEnd)
		text.Write(value)
		text.WriteByte(valueEnd)
		n++
		return nil
	})
	if h.text = text.String(); text.Len() < text.Cap()/2 { // mostly comments
		h.text = strings.Clone(h.text)
	}
	return h, n, err
}

// slotOf finds where the number of a key's entry is, or would be.
func slotOf[K string | []byte](h *hashed, hash uint64, key K) int {
	mask := uint64(len(h.slots) - 1)
	i := hash & mask
	for ; h.slots[i] != 0; i = (i + 1) & mask {
		if at := int(h.slots[i]) - 1; len(h.text)-at > len(key) && h.text[at:at+len(key)] == string(key) && h.text[at+len(key)] == keyEnd {
			break
		}
	}
	return int(i)
}

func (h *hashed) find(key string) (string, bool) {
	at := int(h.slots[slotOf(h, maphash.String(h.seed, key), key)]) - 1
	if at < 0 {
		return "", false
	}
	value := h.text[at+len(key)+1:]
	return value[:strings.IndexByte(value, valueEnd)], true
}

// plain tells whether a key can stand in a table: it is not too long and has no white space.
func plain(key string) bool {
	return key != "" && len(key) <= maxKey && !strings.ContainsAny(key, " \t\n")
}

func parseFile(r *reader) (*Table, error) {
	h, n, err := parseHashed(r, func(key []byte) ([]byte, error) {
		if len(key) > maxKey {
			return nil, r.fail("the key is longer than %d bytes", maxKey)
		}
		return bytes.ToLower(key), nil
	})
	if err != nil {
		return nil, err
	}
	return &Table{n, func(key string, _ Spend) (string, bool, error) {
		if !plain(key) {
			return "", false, nil
		}
		v, ok := h.find(strings.ToLower(key))
		return v, ok, nil
	}}, nil
}

// maxDomain is the length of a name in the DNS (RFC 1035 section 2.3.4), with dots before and behind it.
const maxDomain = 255

func parseSuffixes(r *reader) (*Table, error) {
	h, n, err := parseHashed(r, func(key []byte) ([]byte, error) {
		key = bytes.TrimSuffix(bytes.ToLower(key), []byte("."))
		name := bytes.TrimPrefix(key, []byte("."))
		if len(name) == 0 || len(key) > maxDomain || name[0] == '.' || bytes.ContainsAny(name, "@*/") || bytes.Contains(name, []byte("..")) {
			return nil, r.fail("%q is no domain; write example.org for it and all below it, .example.org for those below only", shorten(key))
		}
		return key, nil
	})
	if err != nil {
		return nil, err
	}
	return &Table{n, func(key string, spend Spend) (string, bool, error) {
		if !plain(key) {
			return "", false, nil
		}
		key = strings.TrimSuffix(strings.ToLower(key[strings.LastIndexByte(key, '@')+1:]), ".")
		if len(key) > maxDomain {
			return "", false, nil
		}
		if err := spend(2*strings.Count(key, "."), 0); err != nil {
			return "", false, err
		}
		if v, ok := h.find(key); ok && key[0] != '.' {
			return v, true, nil
		}
		for i := 1; i < len(key); i++ {
			if key[i] != '.' {
				continue
			}
			if v, ok := h.find(key[i:]); ok { // .example.org
				return v, true, nil
			}
			if v, ok := h.find(key[i+1:]); ok {
				return v, true, nil
			}
		}
		return "", false, nil
	}}, nil
}

package trust

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/core/config"
)

// secret makes the same key of a letter each time.
func secret(t testing.TB, letter string) minisign.PrivateKey {
	t.Helper()
	_, private, err := minisign.GenerateKey(strings.NewReader(strings.Repeat(letter, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func public(t testing.TB, letter string) Key {
	return KeyOf(secret(t, letter).Public().(minisign.PublicKey))
}

// sign signs the way minisign does by default.
func sign(t testing.TB, letter, data string) []byte {
	t.Helper()
	r := minisign.NewReader(strings.NewReader(data))
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	return r.SignWithComments(secret(t, letter), "trusted", "untrusted")
}

// filled puts keys and what they are called in short in the place of <KEY a> and <ID a>.
func filled(t testing.TB, text string) string {
	for _, letter := range []string{"a", "b", "c", "d"} {
		k := public(t, letter)
		text = strings.NewReplacer("<KEY "+letter+">", k.String(), "<ID "+letter+">", k.ID()).Replace(text)
	}
	return text
}

func parse(t testing.TB, text string) *Trust {
	t.Helper()
	x, err := Parse("trust.toml", []byte(filled(t, text)))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const whole = `
[[index]]
name = "own"
place = "own/index.json"
namespaces = ["acme-*", "house"]
keys = ["<KEY a>", "<KEY b>"]
mirror = ["mirror", "https://mirror.example.org/packages/"]

[[index]]
name = "main"
place = "https://plugins.example.org/index.json"
namespaces = ["*"]
keys = ["<KEY c>"]

[namespace."acme-*"]
keys = ["<KEY b>"]

[namespace."acme-mail-*"]
keys = ["<KEY c>", "<KEY a>"]

[namespace.acme-mail-x]
keys = ["<KEY d>"]

[revoked]
keys = ["<KEY a>"]
packages = ["sha256:efc3772e1f9dec0d41854ff4816fca7579704af82571829a4bec941f0f4d7820"]
`

// TestOwnersAndSigners: an id belongs to one index, and the most specific namespace says who signs.
func TestOwnersAndSigners(t *testing.T) {
	x := parse(t, whole)
	for _, tc := range []struct{ id, owner, signers string }{
		{"acme-relay", "own", "b"},
		{"acme-", "own", "b"},
		{"acme", "main", "c"},
		{"acme-mail-relay", "own", "c"}, // a is revoked
		{"acme-mail-x", "own", "d"},
		{"acme-mail-xy", "own", "c"},
		{"house", "own", "b"},
		{"household", "main", "c"},
		{"anything", "main", "c"},
	} {
		owner, ok := x.Owner(tc.id)
		if !ok || owner.Name != tc.owner {
			t.Errorf("%s belongs to %+v, want %s", tc.id, owner, tc.owner)
		}
		var want []Key
		for _, letter := range strings.Fields(tc.signers) {
			want = append(want, public(t, letter))
		}
		if got := x.Signers(tc.id); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is signed by %v, want %v", tc.id, got, want)
		}
	}
	if got := x.Indexes[0]; got.Place != filepath.Join("own", "index.json") || got.Mirror[0] != "mirror" || got.Mirror[1] != "https://mirror.example.org/packages/" {
		t.Errorf("places are %+v", got)
	}
	only := parse(t, "[[index]]\nname = \"own\"\nplace = \"x\"\nnamespaces = [\"acme-*\"]\nunsigned = true\n")
	if x, ok := only.Owner("other"); ok || only.Signers("other") != nil {
		t.Errorf("other belongs to %+v", x)
	}
	if only.Signers("acme-x") != nil {
		t.Error("an unsigned index has signers")
	}
}

// TestRelativePlaces: paths count from the folder of the file.
func TestRelativePlaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trust.toml")
	if err := os.WriteFile(file, []byte(filled(t, whole)), 0o644); err != nil {
		t.Fatal(err)
	}
	x, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(file), "own", "index.json"); x.Indexes[0].Place != want {
		t.Errorf("the place is %s, want %s", x.Indexes[0].Place, want)
	}
	if want := filepath.Join(filepath.Dir(file), "mirror"); x.Indexes[0].Mirror[0] != want {
		t.Errorf("the mirror is %s, want %s", x.Indexes[0].Mirror[0], want)
	}
	if x.Indexes[1].Place != "https://plugins.example.org/index.json" {
		t.Errorf("the place is %s", x.Indexes[1].Place)
	}
}

// TestExample: what the manual shows is right.
func TestExample(t *testing.T) {
	if x, err := Parse("trust.toml", []byte(config.TrustExample())); err != nil || len(x.Indexes) != 2 || len(x.Signers("mail-x")) != 1 {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestNoFile: the error says what to write, and what it says can be read once the key is there.
func TestNoFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trust.toml")
	_, err := Read(file)
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "whose plugins to trust; write into it: [[index]]") {
		t.Fatalf("got %v", err)
	}
	_, text, _ := strings.Cut(err.Error(), "[[index]]")
	text, _, _ = strings.Cut(text, ", each on a line")
	_, text, _ = strings.Cut(text, "below it ")
	text = strings.ReplaceAll(text, `"RW..."`, `"<KEY a>"`)
	parse(t, "[[index]]\n"+strings.ReplaceAll(text, ", ", "\n"))
	if err := os.Mkdir(file, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "is not a regular file but a folder") {
		t.Errorf("got %v", err)
	}
}

// TestBadFiles: each slip has its line.
func TestBadFiles(t *testing.T) {
	const head = "[[index]]\nname = \"main\"\nplace = \"i\"\n"
	for _, tc := range []struct{ name, text, want string }{
		{"no TOML", "[[index]\n", "trust.toml:1: this is not valid TOML"},
		{"a key twice", head + "name = \"x\"\n", "trust.toml:4: this is not valid TOML"},
		{"an unknown table", "[[indexes]]\n", "trust.toml:1: indexes: unknown key; did you mean index?"},
		{"an unknown key", head + "namespaces = [\"*\"]\nkeys = [\"<KEY a>\"]\nexpires = 1\n", "trust.toml:6: index.expires: unknown key; known here: name, place, namespaces, keys, mirror, unsigned"},
		{"a key of its own", "keys = []\n", "trust.toml:1: keys: unknown key; it belongs in [[index]]"},
		{"an index as a table", "[index]\nname = \"x\"\n", "trust.toml:1: index: a table stands where tables are repeated; write the header of each as [[index]]"},
		{"no name", "[[index]]\nplace = \"i\"\nnamespaces = [\"*\"]\nunsigned = true\n", "trust.toml:1: index: name is missing"},
		{"no place", "[[index]]\nname = \"x\"\nnamespaces = [\"*\"]\nunsigned = true\n", "trust.toml:1: index: place is missing"},
		{"no namespaces", head + "unsigned = true\n", "trust.toml:1: index: namespaces is missing"},
		{"empty namespaces", head + "unsigned = true\nnamespaces = []\n", "trust.toml:5: index.namespaces: the index main has no namespaces, so nothing would be taken from it"},
		{"neither signed nor unsigned", head + "namespaces = [\"*\"]\n", "trust.toml:1: index: the index main has no keys, so nobody could sign it; write keys = [\"RW...\"], or unsigned = true if nobody does"},
		{"a name for no file", "[[index]]\nname = \"../x\"\nplace = \"i\"\nnamespaces = [\"*\"]\nunsigned = true\n", "trust.toml:2: index.name: \"../x\" is not a name"},
		{"a star within", head + "namespaces = [\"*-x\"]\nunsigned = true\n", "trust.toml:4: index.namespaces: \"*-x\" is no pattern of ids"},
		{"large letters", head + "namespaces = [\"Acme-*\"]\nunsigned = true\n", "trust.toml:4: index.namespaces: \"Acme-*\" is no pattern"},
		{"two names", head + "namespaces = [\"a-*\"]\nunsigned = true\n" + head + "namespaces = [\"b-*\"]\nunsigned = true\n", "trust.toml:7: index.name: two indexes are named \"main\"; the first is on line 2"},
		{"what is hidden by all", head + "namespaces = [\"*\"]\nunsigned = true\n[[index]]\nname = \"own\"\nplace = \"j\"\nnamespaces = [\"acme-*\"]\nunsigned = true\n",
			"trust.toml:9: index.namespaces: \"acme-*\" belongs to the index main already, which is before; put the index own before it"},
		{"what is hidden by more", head + "namespaces = [\"ac*\"]\nunsigned = true\n[[index]]\nname = \"own\"\nplace = \"j\"\nnamespaces = [\"b\", \"acme\"]\nunsigned = true\n",
			"trust.toml:9: index.namespaces: \"acme\" belongs to the index main already"},
		{"no key", head + "namespaces = [\"*\"]\nkeys = [\"RWx\"]\n", "trust.toml:5: index.keys: it is no minisign public key, which is a line of 56 characters that begins with RW"},
		{"a secret key", head + "namespaces = [\"*\"]\nkeys = [\"<SECRET>\"]\n", "trust.toml:5: index.keys: it is no minisign public key"},
		{"a key with its comment", head + "namespaces = [\"*\"]\nkeys = [\"untrusted comment: x\\n<KEY a>\"]\n", "trust.toml:5: index.keys: \"untrusted comment: x\\n"},
		{"a key with more", head + "namespaces = [\"*\"]\nkeys = [\"<KEY a> \"]\n", "trust.toml:5: index.keys: it is no minisign public key"},
		{"a key twice in a list", head + "namespaces = [\"*\"]\nkeys = [\n\"<KEY a>\",\n\"<KEY a>\"]\n", "trust.toml:7: index.keys: the key <ID a> is there twice"},
		{"too many keys", head + "namespaces = [\"*\"]\nkeys = [" + strings.Repeat("\"x\",", 21) + "]\n", "trust.toml:5: index.keys: 21 elements are too many; the most is 20"},
		{"keys that are no list", head + "namespaces = [\"*\"]\nkeys = \"<KEY a>\"\n", "is not a list; write a list of minisign public keys"},
		{"unsigned by a word", head + "namespaces = [\"*\"]\nunsigned = \"yes\"\n", "trust.toml:5: index.unsigned: \"yes\" is neither true nor false"},
		{"a namespace for nobody", "[namespace.\"acme-*\"]\nkeys = []\n", "trust.toml:2: namespace.\"acme-*\".keys: nobody could sign what has such ids"},
		{"a namespace without keys", "[namespace.x]\n", "trust.toml:1: namespace.x: keys is missing"},
		{"a namespace that is no pattern", "[namespace.\"a*b\"]\nkeys = [\"<KEY a>\"]\n", "trust.toml:1: namespace.\"a*b\": \"a*b\" is no pattern of ids"},
		{"a digest that is none", "[revoked]\npackages = [\n\"sha256:x\"]\n", "trust.toml:3: revoked.packages: it is no digest of a package"},
		{"a digest of another kind", "[revoked]\npackages = [\"sha512:" + strings.Repeat("0", 128) + "\"]\n", "trust.toml:2: revoked.packages: it is no digest of a package"},
		{"a key that is revoked and none", "[revoked]\nkeys = [\"x\"]\n", "trust.toml:2: revoked.keys: it is no minisign public key"},
		{"10 MB", strings.Repeat("#\n", 5<<20), "trust.toml:1: the file is larger than 1MiB"},
		{"deep", "x = " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "trust.toml:1: nested more than 32 levels deep"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text, _ := secret(t, "a").MarshalText()
			_, line, _ := strings.Cut(string(text), "\n")
			x, err := Parse("trust.toml", []byte(strings.ReplaceAll(filled(t, tc.text), "<SECRET>", line)))
			if want := filled(t, tc.want); err == nil || x != nil || !strings.HasPrefix(strings.Split(err.Error(), "\n")[0], want) && !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			if errs := (config.Errors)(nil); !errors.As(err, &errs) {
				t.Errorf("it is a %T", err)
			}
		})
	}
	t.Run("several at once", func(t *testing.T) {
		_, err := Parse("trust.toml", []byte("[revoked]\nkeys = [\"x\"]\npackages = [\"y\"]\n"+head+"namespaces = [\"*\"]\n"))
		if lines := strings.Split(fmt.Sprint(err), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "trust.toml:2: ") || !strings.HasPrefix(lines[1], "trust.toml:3: ") || !strings.HasPrefix(lines[2], "trust.toml:4: ") {
			t.Errorf("got %v", err)
		}
	})
}

// TestVerify: a signature counts if it is of these bytes, by one of the keys for them, which is not revoked.
func TestVerify(t *testing.T) {
	x := parse(t, whole)
	const data = "some data\n"
	legacy := minisign.SignWithComments(secret(t, "b"), []byte(data), "trusted", "untrusted")
	for _, tc := range []struct {
		name      string
		signature []byte
		want      string // a letter, or the error
	}{
		{"by a key of it", sign(t, "b", data), "b"},
		{"by a key that is revoked", sign(t, "a", data), "the key <ID a>, with which it is signed, is revoked (trust.toml:25)"},
		{"by another key", sign(t, "c", data), "it is signed with the key <ID c>, and not with one that is trusted for it: <ID a>, <ID b>"},
		{"of other data", sign(t, "b", data+"x"), "the signature of the key <ID b> is not one of this content, which was damaged or tampered with"},
		{"without a hash", legacy, "the signature is of the kind that minisign -l writes, which is not taken; sign without -l"},
		{"another trusted comment", bytes.Replace(sign(t, "b", data), []byte("trusted comment: trusted"), []byte("trusted comment: trustes"), 1), "is not one of this content"},
		{"another untrusted comment", bytes.Replace(sign(t, "b", data), []byte("untrusted comment: untrusted"), []byte("untrusted comment: what you like"), 1), "b"},
		{"nothing", nil, "the signature cannot be read; it is the four lines that minisign writes"},
		{"cut", sign(t, "b", data)[:150], "the signature cannot be read"},
		{"with more", append(sign(t, "b", data), '\n'), "the signature cannot be read"},
		{"with CR", bytes.ReplaceAll(sign(t, "b", data), []byte("\n"), []byte("\r\n")), "the signature cannot be read"},
		{"long", bytes.Replace(sign(t, "b", data), []byte("untrusted comment: "), []byte("untrusted comment: "+strings.Repeat("x", 3000)), 1), "the signature cannot be read"},
		{"a key's number on another's signature", renamed(t, sign(t, "c", data), secret(t, "b").ID()), "the signature of the key <ID b> is not one of this content"},
		{"HTML", []byte("<html>\n\n\n\n"), "the signature cannot be read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k, err := x.VerifyIndex(&x.Indexes[0], []byte(data), tc.signature)
			switch want := filled(t, tc.want); {
			case len(tc.want) == 1 && (err != nil || k != public(t, tc.want)):
				t.Errorf("got %v, %v", k, err)
			case len(tc.want) > 1 && (err == nil || !strings.Contains(err.Error(), want) || k != Key{}):
				t.Errorf("got %v, %v; want %s", k, err, want)
			}
		})
	}
}

// renamed is a signature that gives another number for its key.
func renamed(t *testing.T, signature []byte, id uint64) []byte {
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		t.Fatal(err)
	}
	s.KeyID = id
	return []byte(s.String())
}

// TestVerifyPackage: whose signature counts depends on the id.
func TestVerifyPackage(t *testing.T) {
	x := parse(t, whole+"\n[namespace.\"open-*\"]\nkeys = [\"<KEY d>\"]\n")
	free := parse(t, "[[index]]\nname = \"own\"\nplace = \"x\"\nnamespaces = [\"acme-*\"]\nunsigned = true\n[namespace.acme-x]\nkeys = [\"<KEY a>\"]\n")
	for _, tc := range []struct {
		name, id string
		in       *Trust
		by       string // "" is not signed
		want     string // an error; "" is that it is good
	}{
		{"by the index's key", "mail", x, "c", ""},
		{"by the namespace's key", "acme-x", x, "b", ""},
		{"by the index's key where a namespace has another", "acme-mail-x", x, "b", "it is signed with the key <ID b>, and not with one that is trusted for it: <ID d>"},
		{"by the other index's key", "acme-x", x, "c", "and not with one that is trusted for it: <ID b>"},
		{"by a key that is revoked and listed", "acme-mail-y", x, "a", "the key <ID a>, with which it is signed, is revoked (trust.toml:25)"},
		{"by a key that is revoked and not listed", "open-x", x, "a", "the key <ID a>, with which it is signed, is revoked"},
		{"unsigned", "mail", x, "", "it is not signed, and has to be with one of the keys <ID c>"},
		{"unsigned where nothing is signed", "acme-y", free, "", ""},
		{"signed where nothing need be", "acme-y", free, "a", ""},
		{"unsigned where a namespace has a key", "acme-x", free, "", "it is not signed, and has to be with one of the keys <ID a>"},
		{"an id of nobody", "mail", free, "a", "no index in trust.toml has it in its namespaces"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var signature []byte
			if tc.by != "" {
				signature = sign(t, tc.by, "statement\n")
			}
			k, err := tc.in.VerifyPackage(tc.id, []byte("statement\n"), signature)
			switch {
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), filled(t, tc.want)) || k != Key{}):
				t.Errorf("got %v, %v; want %s", k, err, filled(t, tc.want))
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want == "" && k != Key{} && k != public(t, tc.by):
				t.Errorf("got %v", k)
			}
		})
	}
}

// TestRevoked: keys are known by all of them and by their number, packages by their digest.
func TestRevoked(t *testing.T) {
	x := parse(t, whole)
	const d = digest.Digest("sha256:efc3772e1f9dec0d41854ff4816fca7579704af82571829a4bec941f0f4d7820")
	for _, key := range []string{public(t, "a").String(), public(t, "a").ID()} {
		if got, want := x.Revoked(key, ""), filled(t, "the key <ID a>, with which it is signed, is revoked (trust.toml:25)"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := x.Revoked(public(t, "b").String(), d); got != "the package "+string(d)+" is revoked (trust.toml:26)" {
		t.Errorf("got %q", got)
	}
	for _, key := range []string{public(t, "b").String(), public(t, "b").ID(), "", "unsigned"} {
		if got := x.Revoked(key, "sha256:1111829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f"); got != "" {
			t.Errorf("%q: %s", key, got)
		}
	}
}

// FuzzParse: what is read obeys the rules that others count on.
func FuzzParse(f *testing.F) {
	f.Add(filled(f, whole), "acme-mail-x")
	f.Add("[[index]]\nname = \"own\"\nplace = \"x\"\nnamespaces = [\"acme-*\"]\nunsigned = true\n", "acme-y")
	f.Fuzz(func(t *testing.T, text, id string) {
		x, err := Parse("trust.toml", []byte(text))
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "trust.toml:") {
					t.Fatalf("an error without a place: %q", line)
				}
			}
			return
		}
		owner, owned := x.Owner(id)
		if keys := x.signers(id); owned && len(keys) == 0 && !owner.Unsigned {
			t.Fatal("nobody signs, and the index is not unsigned")
		}
		if k, err := x.VerifyPackage(id, []byte("x"), nil); err == nil && (!owned || !owner.Unsigned || k != Key{}) {
			t.Fatal("it counts without a signature")
		}
		for _, k := range x.Signers(id) {
			if again, err := ParseKey(k.String()); err != nil || again != k || x.Revoked(k.String(), "") != "" {
				t.Fatalf("%v, %v", k, err)
			}
		}
	})
}

// FuzzSignature: what is read as a signature is written the way minisign writes it, and does not count.
func FuzzSignature(f *testing.F) {
	f.Add(string(sign(f, "a", "data")))
	f.Add(string(minisign.SignWithComments(secret(f, "a"), []byte("data"), "t", "u")))
	f.Fuzz(func(t *testing.T, text string) {
		if CheckSignature(text) == nil {
			var s minisign.Signature
			if err := s.UnmarshalText([]byte(text)); err != nil || s.String() != text || s.Algorithm != minisign.HashEdDSA {
				t.Fatalf("%v: %q", err, text)
			}
		}
		if k, err := signed([]Key{public(t, "b")}, []byte("other data"), []byte(text)); err == nil {
			t.Fatalf("%v signed it", k)
		}
	})
}

// TestKey: keys are written the way minisign -P takes them, and nothing else is a key.
func TestKey(t *testing.T) {
	k := public(t, "a")
	if again, err := ParseKey(k.String()); err != nil || again != k || len(k.String()) != 56 || !strings.HasPrefix(k.String(), "RW") {
		t.Errorf("%v, %v", again, err)
	}
	if got := (Key{}); got.ID() != "" || got.String() != "" {
		t.Errorf("no key is called %q", got.ID())
	}
	raw, _ := base64.StdEncoding.DecodeString(k.String())
	raw[1] = 'x'
	for _, text := range []string{"", "RW", k.String() + "A", k.String()[:55], k.String() + "\n", " " + k.String(), base64.StdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw)} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
}

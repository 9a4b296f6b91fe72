package index

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

// minisign runs the program, and gives what it prints.
func runMinisign(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	program, err := exec.LookPath("minisign")
	if err != nil {
		t.Skip("minisign is not installed")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestMinisign: keys and signatures are those of the minisign program, both ways.
func TestMinisign(t *testing.T) {
	dir := t.TempDir()
	name := func(s string) string { return filepath.Join(dir, s) }
	write := func(file string, text []byte) {
		t.Helper()
		if err := os.WriteFile(name(file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := runMinisign(t, "", "-G", "-W", "-p", name("its.pub"), "-s", name("its.key")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	its, err := LoadSecret(name("its.key"), "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name("its.pub"))
	if err != nil {
		t.Fatal(err)
	}
	comment, line, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if k, err := trust.ParseKey(line); err != nil || k != its.Key() || !strings.HasSuffix(comment, " "+k.ID()) {
		t.Errorf("its public key is %s, %v; ours is %v, called %s", text, err, its.Key(), its.Key().ID())
	}

	x := sample(t)
	ours, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ours.Text("")
	if err != nil {
		t.Fatal(err)
	}
	write("our.key", secret)
	for who, k := range map[string]*Secret{"its": its, "our": ours} {
		// What we sign, it verifies.
		data, signature, err := x.Signed(k)
		if err != nil {
			t.Fatal(err)
		}
		write("index.json", data)
		write("index.json.minisig", signature)
		out, err := runMinisign(t, "", "-V", "-H", "-P", k.Key().String(), "-m", name("index.json"))
		if err != nil || !strings.Contains(out, "Trusted comment: stagepost index main 1") {
			t.Errorf("%s: %v: %s", who, err, out)
		}
		write("index.json", append(data, '\n'))
		if out, err := runMinisign(t, "", "-V", "-P", k.Key().String(), "-m", name("index.json")); err == nil {
			t.Errorf("%s: minisign takes what was changed: %s", who, out)
		}
		// So does it the signature of an entry.
		if err := x.Add(plugin(t, "beta", "1.10.0"), nil, k, day); err != nil {
			t.Fatal(err)
		}
		e := x.Entries[x.at("beta", "1.10.0")]
		write("statement", e.Statement())
		write("statement.minisig", []byte(e.Signature))
		if out, err := runMinisign(t, "", "-V", "-H", "-P", k.Key().String(), "-m", name("statement")); err != nil || !strings.Contains(out, "Trusted comment: "+strings.TrimSpace(string(e.Statement()))) {
			t.Errorf("%s: %v: %s", who, err, out)
		}
		// What it signs, we verify.
		write("index.json", data)
		if out, err := runMinisign(t, "", "-S", "-W", "-s", name(who+".key"), "-t", "by hand", "-m", name("index.json")); err != nil {
			t.Fatalf("%s: %v: %s", who, err, out)
		}
		if signature, err = os.ReadFile(name("index.json.minisig")); err != nil {
			t.Fatal(err)
		}
		trusted, err := trust.Parse("trust.toml", []byte("[[index]]\nname = \"main\"\nplace = \"x\"\nnamespaces = [\"*\"]\nkeys = [\""+k.Key().String()+"\"]\n"))
		if err != nil {
			t.Fatal(err)
		}
		if by, err := trusted.VerifyIndex(&trusted.Indexes[0], data, signature); err != nil || by != k.Key() {
			t.Errorf("%s: %v, %v: %s", who, by, err, signature)
		}
		// What it signs in its former way, it is told not to.
		if out, err := runMinisign(t, "", "-S", "-W", "-l", "-s", name(who+".key"), "-m", name("index.json")); err != nil {
			t.Fatalf("%s: %v: %s", who, err, out)
		}
		if signature, err = os.ReadFile(name("index.json.minisig")); err != nil {
			t.Fatal(err)
		}
		_, err = trusted.VerifyIndex(&trusted.Indexes[0], data, signature)
		says(t, err, "the signature is of the kind that minisign -l writes, which is not taken; sign without -l")
	}
}

// TestMinisignPassphrase: a secret key with a passphrase is read by either. It takes 1 GB and some seconds each time, by design.
func TestMinisignPassphrase(t *testing.T) {
	if testing.Short() || os.Getenv("STAGEPOST_E2E") == "" {
		t.Skip("STAGEPOST_E2E is not set")
	}
	dir := t.TempDir()
	file, data := filepath.Join(dir, "our.key"), filepath.Join(dir, "data")
	k := key(t, 1)
	text, err := k.Text("correct horse")
	if err == nil {
		err = errors.Join(os.WriteFile(file, text, 0o600), os.WriteFile(data, []byte("data\n"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := runMinisign(t, "correct horse\n", "-S", "-s", file, "-m", data); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := runMinisign(t, "", "-V", "-P", k.Key().String(), "-m", data); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if again, err := LoadSecret(file, "correct horse"); err != nil || again.Key() != k.Key() {
		t.Errorf("%v", err)
	}
	_, err = LoadSecret(file, "wrong horse")
	says(t, err, file+": the passphrase is wrong, or the file is damaged")
}

// TestSecrets: what is no secret key, and what is one.
func TestSecrets(t *testing.T) {
	k := key(t, 1)
	text, err := k.Text("")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseSecret(text, ""); err != nil || again.Key() != k.Key() || !bytes.Equal(again.Sign([]byte("x"), "y"), k.Sign([]byte("x"), "y")) {
		t.Errorf("%v", err)
	}
	other, _ := key(t, 2).Text("")
	mixed := append(append([]byte{}, text[:len(text)-80]...), other[len(other)-80:]...)
	// A key as minisign -G writes it, with a passphrase.
	const encrypted = "untrusted comment: minisign encrypted secret key\nRWRTY0IyV1w7vNCMPhFbNZ9ibMNY4bjPYIY9XCNuvsfOmEbmNhMAAAACAAAAAAAAAEAAAAAA" +
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":       {"", "it is no secret key of minisign"},
		"a public key":  {k.Key().String(), "it is no secret key of minisign"},
		"cut":           {string(text[:len(text)-20]), "it is no secret key of minisign"},
		"long":          {strings.Repeat("x", maxSecret+1), "it is no secret key of minisign"},
		"two halves":    {string(mixed), "the two halves of the key do not belong together; the file is damaged"},
		"a passphrase":  {encrypted, "the key is encrypted, and needs its passphrase"},
		"a PEM":         {"-----BEGIN PRIVATE KEY-----\n", "it is no secret key of minisign"},
		"other letters": {strings.Replace(string(text), "RW", "RX", 1), "it is no secret key of minisign"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSecret([]byte(tc.text), "")
			says(t, err, tc.want)
			file := filepath.Join(t.TempDir(), "x.key")
			if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = LoadSecret(file, "")
			says(t, err, file+": "+tc.want)
			if tc.text == encrypted && !errors.Is(err, ErrEncrypted) {
				t.Errorf("it is a %T", err)
			}
		})
	}
	_, err = LoadSecret(filepath.Join(t.TempDir(), "none.key"), "")
	says(t, err, "cannot read the key: ")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is a %T", err)
	}
}

// FuzzSecret: what is read as a secret key signs what its public key verifies, and is written as it is read.
func FuzzSecret(f *testing.F) {
	text, err := key(f, 1).Text("")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseSecret(text, "")
		if err != nil {
			return
		}
		again, err := k.Text("")
		if err != nil {
			t.Fatal(err)
		}
		if other, err := ParseSecret(again, ""); err != nil || other.Key() != k.Key() {
			t.Fatalf("%v: %q", err, text)
		}
		if err := trust.CheckSignature(string(k.Sign(text, "comment"))); err != nil {
			t.Fatal(err)
		}
	})
}

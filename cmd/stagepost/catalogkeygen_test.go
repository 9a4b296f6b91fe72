package main

import (
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/plugins/catalog/trust"
)

func TestCatalogKeygen(t *testing.T) {
	if testing.Short() {
		t.Skip("left out: to encrypt a key takes a gigabyte")
	}
	p := newPublisher(t)
	file := p.path("new.key")
	p.write("passphrase", "open sesame\nand more\n")
	r := p.runInput("", "catalog", "keygen", file, "--passphrase-file", p.path("passphrase"), "--name", "ours", "--place", "index.json", "--namespace", "acme-*", "--namespace", "x")
	p.want(r, 0, "the secret key is in new.key, and the public key in new.pub", "name = \"ours\"\nplace = \"index.json\"\nnamespaces = [\"acme-*\", \"x\"]\nkeys = [\"RW")
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	i := strings.Index(r.out, "[[index]]")
	if i < 0 {
		t.Fatal(r.out)
	}
	of, err := trust.Parse("trust.toml", []byte(r.out[i:]))
	if err != nil {
		t.Fatal(err)
	}
	public, err := publicKeys([]string{p.path("new.pub")})
	if err != nil || len(of.Indexes) != 1 || of.Indexes[0].Keys[0] != public[0] || !strings.Contains(r.out, "\n"+public[0].String()+"\n") {
		t.Errorf("%v %v", err, public)
	}

	// The key signs, with its passphrase: from a file, from the variable, or as it is typed.
	publish := func(input, passphraseFile string) result {
		args := []string{"catalog", "publish", p.path("mine/vip"), "--index", p.path("site/index.json"), "--to", p.path("site/packages"), "--key", file}
		if passphraseFile != "" {
			args = append(args, "--passphrase-file", p.path(passphraseFile))
		}
		return p.runInput(input, args...)
	}
	p.want(publish("open sesame\n", ""), 0, "signed with the key "+public[0].ID())
	p.want(publish("open, please\n", ""), exitData, "new.key: the passphrase is wrong")
	p.want(publish("\n", ""), exitData, "needs its passphrase")
	p.want(publish("", "none"), exitNoInput, "the passphrase cannot be read")
	t.Setenv(passphraseVariable, "open sesame")
	p.want(publish("", ""), 0, "nothing is new")
}

func TestCatalogKeygenRefuses(t *testing.T) {
	p := newPublisher(t)
	file := p.path("new.key")
	p.want(p.runInput("\n", "catalog", "keygen", file), exitData, "the passphrase is empty")
	p.want(p.runInput("x\n", "catalog", "keygen", file, "--namespace", "*x*"), exitUsage, "the lines for trust.toml would be wrong")
	p.want(p.runInput("x\n", "catalog", "keygen", file, "--name", "a b"), exitUsage, "the lines for trust.toml would be wrong")
	p.want(p.runInput("x\n", "catalog", "keygen", p.path("catalog.key")), exitCantCreate, "catalog.key is there already and stays")
	p.write("new.pub", "x")
	p.want(p.runInput("x\n", "catalog", "keygen", file), exitCantCreate, "new.pub is there already and stays")
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("a key was written: %v", err)
	}
	long := strings.Repeat("k", 253) // with .pub, no file can be called so
	p.want(p.runInput("x\n", "catalog", "keygen", p.path(long)), exitCantCreate, "the key cannot be written", "name too long")
	if _, err := os.Stat(p.path(long)); !os.IsNotExist(err) {
		t.Errorf("a secret key without a public one was left: %v", err)
	}
	var made madeKey
	if testing.Short() {
		return
	}
	r := p.runInput("sesame\n", "catalog", "keygen", p.path("json.key"), "--json")
	if err := json.Unmarshal([]byte(r.out), &made); err != nil || r.code != 0 || made.Public != p.path("json.pub") || !strings.Contains(made.Trust, made.Key) || made.ID == "" {
		t.Errorf("%v %s%s", err, r.out, r.err)
	}
}

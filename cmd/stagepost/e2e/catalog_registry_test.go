package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// startRegistry runs Debian's docker-registry until the test ends.
func startRegistry(t *testing.T, o dockerregistry.Options) *dockerregistry.Registry {
	t.Helper()
	find(t, dockerregistry.Program)
	r, err := dockerregistry.Start(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// frontOf opens a front before a server of this machine.
func frontOf(t *testing.T, address string) *dockerregistry.Front {
	t.Helper()
	f, err := dockerregistry.Before(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func placeAt(t *testing.T, where string) *catalog.Place {
	t.Helper()
	p, err := catalog.At(where, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// refused fails the test unless an error is one line that says why.
func refused(t *testing.T, err error, why string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %s", err, why)
	}
}

// TestDockerRegistry: the packages of all bundled plugins are the same, byte for byte, in the registry that people have, in a folder and
// in a file. What is there is not sent again, a version does not change, and what was changed in the registry's storage is found out.
func TestDockerRegistry(t *testing.T) {
	r := startRegistry(t, dockerregistry.Options{})
	front := frontOf(t, r.Address)
	dir := t.TempDir()
	registry := placeAt(t, front.URL+"/stagepost/plugins")
	places := []*catalog.Place{registry, placeAt(t, filepath.Join(dir, "folder")), placeAt(t, filepath.Join(dir, "file.tar"))}
	ctx := t.Context()
	for _, name := range bundled.Names() {
		pkg, err := catalog.PackFS(name, bundled.Open(name))
		if err != nil {
			t.Fatal(err)
		}
		for i, place := range places {
			if err := place.Put(ctx, pkg); err != nil {
				t.Fatal(err)
			}
			got, err := place.Get(ctx, name, pkg.Summary.Version, pkg.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.EqualFunc(got.Files, pkg.Files, bytes.Equal) {
				t.Errorf("%s comes from place %d with other files", name, i)
			}
			if v, err := place.Find(ctx, name); err != nil || v != pkg.Summary.Version {
				t.Errorf("%s: %s, %v", name, v, err)
			}
		}
	}

	pack := func(version, word string) *catalog.Package {
		t.Helper()
		pkg, err := catalog.Pack("hello", map[string][]byte{"init.lua": []byte(strings.Replace(hello(word), "1.0.0", version, 1))})
		if err != nil {
			t.Fatal(err)
		}
		return pkg
	}
	first := pack("1.0.0", "one")
	for _, pkg := range []*catalog.Package{first, pack("1.2.0", "two"), pack("1.10.0-rc.1", "three"), pack("1.9.9", "four")} {
		if err := registry.Put(ctx, pkg); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := registry.Find(ctx, "hello"); err != nil || v != "1.9.9" {
		t.Errorf("the newest: %s, %v", v, err)
	}
	_, err := registry.Find(ctx, "nobody")
	refused(t, err, "there is no version of a plugin nobody")

	var sent atomic.Int64
	front.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			sent.Add(1)
		}
		return false
	})
	if err := registry.Put(ctx, first); err != nil || sent.Load() != 0 {
		t.Errorf("what is there was sent again: %v, %d requests", err, sent.Load())
	}
	refused(t, registry.Put(ctx, pack("1.0.0", "other")), "this version is there with other content")
	front.Instead(nil)

	r.Stop()
	_, err = registry.Get(ctx, "hello", "1.0.0", "")
	refused(t, err, "502")
	if err := r.Again(); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Get(ctx, "hello", "1.0.0", first.Digest); err != nil {
		t.Error(err)
	}

	code := digest.FromBytes(blobWith(t, r, first.Digest, "one"))
	for name, tc := range map[string]struct {
		of     digest.Digest
		change func([]byte) []byte
		want   string
	}{
		"another word":       {code, func(b []byte) []byte { return bytes.Replace(b, []byte(`"one"`), []byte(`"own"`), 1) }, "damaged or tampered with"},
		"cut short":          {code, func(b []byte) []byte { return b[:len(b)/2] }, "code.tar"},
		"longer":             {code, func(b []byte) []byte { return append(b, 0) }, "code.tar"},
		"another manifest":   {first.Digest, func(b []byte) []byte { return bytes.Replace(b, []byte("1.0.0"), []byte("1.0.1"), 1) }, "damaged or tampered with"},
		"no manifest at all": {first.Digest, func([]byte) []byte { return []byte("x") }, "manifest"},
	} {
		file := r.Blob(tc.of)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		put := func(text []byte) {
			t.Helper()
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		put(tc.change(bytes.Clone(text)))
		_, err = registry.Get(ctx, "hello", "1.0.0", first.Digest)
		put(text)
		t.Log(name+": ", err)
		refused(t, err, tc.want)
	}
	if _, err := registry.Get(ctx, "hello", "1.0.0", first.Digest); err != nil {
		t.Error(err)
	}
}

// blobWith gives the layer with the code, and in it a word, of a package in the registry's storage.
func blobWith(t *testing.T, r *dockerregistry.Registry, manifest digest.Digest, word string) []byte {
	t.Helper()
	text, err := os.ReadFile(r.Blob(manifest))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), `"`) {
		if d := digest.Digest(part); d.Validate() == nil {
			if data, err := os.ReadFile(r.Blob(d)); err == nil && bytes.Contains(data, []byte(word)) && bytes.Contains(data, []byte("ustar")) {
				return data
			}
		}
	}
	t.Fatalf("no layer holds %q", word)
	return nil
}

// credentialHelper is a program as docker-credential-pass is: it answers get by the secret of the registry that it is asked for.
const credentialHelper = `#!/bin/sh
[ "$1" = get ] || exit 1
read -r server
echo "$server" >>"$0.asked"
[ "$server" = "%s" ] || { echo "credentials not found in native keychain"; exit 1; }
printf '{"ServerURL":"%%s","Username":"%s","Secret":"%s"}\n' "$server"
`

// Who may log in to the registry of tests.
const (
	registryUser   = "postmaster"
	registrySecret = "sesame, open"
)

// keepCredentials makes a folder for DOCKER_CONFIG, as docker login leaves it, and of the ways to keep a secret this one; helpers is a
// folder for PATH.
func keepCredentials(t *testing.T, way, address string) (config, helpers string) {
	t.Helper()
	config, helpers = t.TempDir(), t.TempDir()
	auth := func(secret string) string {
		return base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + secret))
	}
	text := strings.ReplaceAll(map[string]string{
		"a file":               `{"auths":{"HOST":{"auth":"` + auth(registrySecret) + `"}}}`,
		"another secret":       `{"auths":{"HOST":{"auth":"` + auth("other") + `"}}}`,
		"a helper":             `{"credHelpers":{"HOST":"test"}}`,
		"a helper that is not": `{"credHelpers":{"HOST":"absent"}}`,
		"a helper for all":     `{"credsStore":"test"}`,
		"nothing":              `{}`,
	}[way], "HOST", address)
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(helpers, "docker-credential-test"), fmt.Appendf(nil, credentialHelper, address, registryUser, registrySecret), 0o700); err != nil {
		t.Fatal(err)
	}
	return config, helpers
}

// TestRegistryCredentials: a registry that asks who one is gets what docker login has kept, in its file or with a helper.
func TestRegistryCredentials(t *testing.T) {
	r := startRegistry(t, dockerregistry.Options{Users: map[string]string{registryUser: registrySecret}})
	pkg, err := catalog.Pack("hello", map[string][]byte{"init.lua": []byte(hello("one"))})
	if err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	for _, tc := range []struct{ way, want string }{
		{"nothing", "credential not found"},
		{"another secret", "401"},
		{"a helper that is not", "docker-credential-absent"},
		{"a file", ""},
		{"a helper", ""},
		{"a helper for all", ""},
	} {
		t.Run(tc.way, func(t *testing.T) {
			config, helpers := keepCredentials(t, tc.way, r.Address)
			t.Setenv("DOCKER_CONFIG", config)
			t.Setenv("PATH", helpers+":"+path)
			place := placeAt(t, "http://"+r.Address+"/plugins")
			err := place.Put(t.Context(), pkg)
			if tc.want != "" {
				refused(t, err, tc.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := place.Get(t.Context(), "hello", "1.0.0", pkg.Digest); err != nil {
				t.Error(err)
			}
			asked, _ := os.ReadFile(filepath.Join(helpers, "docker-credential-test.asked"))
			if (len(asked) > 0) != strings.HasPrefix(tc.way, "a helper") {
				t.Errorf("the helper was asked for %q", asked)
			}
		})
	}
}

package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
)

// kindsOfPlaces gives one empty place of each kind, and what changes a blob in it behind our back.
func kindsOfPlaces(t *testing.T) map[string]struct {
	place *Place
	spoil func(d digest.Digest, change func([]byte) []byte)
} {
	dir := t.TempDir()
	rewrite := func(path string, change func([]byte) []byte) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fake, folder, file := newFakeRegistry(), filepath.Join(dir, "new", "layout"), filepath.Join(dir, "layout.tar")
	return map[string]struct {
		place *Place
		spoil func(d digest.Digest, change func([]byte) []byte)
	}{
		"registry": {fake.serve(t, Options{}), fake.spoil},
		"folder": {at(t, folder, Options{}), func(d digest.Digest, change func([]byte) []byte) {
			rewrite(filepath.Join(folder, "blobs", "sha256", d.Encoded()), change)
		}},
		"file": {at(t, file, Options{}), func(d digest.Digest, change func([]byte) []byte) {
			l, err := openTar(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]source{}
			for name := range l.parts {
				data, err := slurp(l, name, 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(name, d.Encoded()) {
					data = change(data)
				}
				parts[name] = source{nil, ocispec.Descriptor{Size: int64(len(data))}, data}
			}
			l.Close()
			var b bytes.Buffer
			if err := writeTar(t.Context(), &b, parts); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

func wants(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPlaces(t *testing.T) {
	ctx := t.Context()
	for name, at := range kindsOfPlaces(t) {
		t.Run(name, func(t *testing.T) {
			place := at.place
			if _, err := place.Get(ctx, "sample", "1.0.0", ""); err == nil {
				t.Error("there is something in an empty place")
			}
			want := packSample(t, "sample", "1.0.0")
			for _, p := range []*Package{packSample(t, "sample", "0.9.0"), want, packSample(t, "sample", "1.1.0-rc.1"), packSample(t, "other", "3.0.0"), want} {
				if err := place.Put(ctx, p); err != nil {
					t.Fatal(err)
				}
			}
			got, err := place.Get(ctx, "sample", "1.0.0", want.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest != want.Digest || !bytes.Equal(got.manifest.data, want.manifest.data) || !maps.EqualFunc(got.Files, want.Files, bytes.Equal) {
				t.Error("it is not what was put there")
			}
			if v, err := place.Find(ctx, "sample"); err != nil || v != "1.0.0" {
				t.Error(v, err)
			}

			changed := sample("sample", "1.0.0")
			changed["README.md"] = []byte("another\n")
			p, err := Pack("sample", changed)
			if err != nil {
				t.Fatal(err)
			}
			wants(t, place.Put(ctx, p), "this version is there with other content")
			_, err = place.Get(ctx, "sample", "1.0.0", p.Digest)
			wants(t, err, "and not "+string(p.Digest)+", which was asked for")
			_, err = place.Get(ctx, "sample", "2.0.0", "")
			wants(t, err, "this version of the plugin is not there")
			if !errors.Is(err, errAbsent) {
				t.Error(err)
			}
			_, err = place.Find(ctx, "nothing")
			wants(t, err, "there is no version of a plugin nothing")
			for _, bad := range [][2]string{{"../x", "1.0.0"}, {"sample", "../../x"}, {"sample", "latest"}, {"", ""}} {
				_, err = place.Get(ctx, bad[0], bad[1], "")
				wants(t, err, "no package can be called")
			}
			_, err = place.Find(ctx, "a/b")
			wants(t, err, `no plugin can be called "a/b"`)

			cut, cancel := context.WithCancel(ctx)
			cancel()
			if err := place.Put(cut, packSample(t, "late", "1.0.0")); err == nil {
				t.Error("it was written although nobody wanted it any more")
			}
			if _, err := place.Get(ctx, "late", "1.0.0", ""); err == nil {
				t.Error("it is there")
			}

			code := want.blobs[2].desc.Digest
			at.spoil(code, func(b []byte) []byte { b[600] ^= 1; return b })
			_, err = place.Get(ctx, "sample", "1.0.0", "")
			wants(t, err, "code.tar is not what its digest says")
			at.spoil(code, func(b []byte) []byte { return b[:len(b)-1] })
			if _, err = place.Get(ctx, "sample", "1.0.0", ""); err == nil {
				t.Error("a layer that is cut was read")
			}
			at.spoil(want.Digest, func(b []byte) []byte { return append(b, ' ') })
			if _, err = place.Get(ctx, "sample", "1.0.0", want.Digest); err == nil {
				t.Error("a changed manifest was read")
			}
			if _, err := place.Get(ctx, "other", "3.0.0", ""); err != nil {
				t.Errorf("the others are not touched by that: %v", err)
			}
		})
	}
}

// A package may be for an api to come. It can be handed on from place to place, but is not the one for this server.
func TestAnotherAPI(t *testing.T) {
	now := packSample(t, "sample", "1.0.0")
	s := now.Summary
	s.API, s.Version = 9, "2.0.0"
	next, err := assemble(s, now.Files)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range kindsOfPlaces(t) {
		for _, p := range []*Package{now, next} {
			if err := at.place.Put(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		if v, err := at.place.Find(t.Context(), "sample"); err != nil || v != "1.0.0" {
			t.Errorf("%s: %s %v", name, v, err)
		}
		got, err := at.place.Get(t.Context(), "sample", "2.0.0", next.Digest)
		if err != nil {
			t.Fatal(err)
		}
		_, err = got.Manifest()
		wants(t, err, "sample 2.0.0 is for api 9, and this server speaks api 0")
	}
}

// What we write is read by oras-go's own readers of layouts, with the same digests.
func TestOthersReadIt(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	p := packSample(t, "sample", "1.0.0")
	for _, where := range []string{"folder", "file.tar"} {
		if err := at(t, filepath.Join(dir, where), Options{}).Put(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	fromFolder, err := oci.New(filepath.Join(dir, "folder"))
	if err != nil {
		t.Fatal(err)
	}
	fromFile, err := oci.NewFromTar(ctx, filepath.Join(dir, "file.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for name, store := range map[string]interface {
		content.Resolver
		content.Fetcher
	}{"folder": fromFolder, "file": fromFile} {
		desc, err := store.Resolve(ctx, "sample:1.0.0")
		if err != nil || desc.Digest != p.Digest {
			t.Fatal(name, desc, err)
		}
		below, err := content.Successors(ctx, store, desc)
		if err != nil || len(below) != len(p.blobs) {
			t.Fatal(name, below, err)
		}
		for i, d := range below {
			data, err := content.FetchAll(ctx, store, d)
			if err != nil || !bytes.Equal(data, p.blobs[i].data) {
				t.Errorf("%s: %v %v", name, d, err)
			}
		}
	}
	// and the other way: what oras-go writes into a layout is read by us
	theirs, err := oci.New(filepath.Join(dir, "theirs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range append(p.blobs, p.manifest) {
		if err := theirs.Push(ctx, b.desc, bytes.NewReader(b.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := theirs.Tag(ctx, p.manifest.desc, "sample:1.0.0"); err != nil {
		t.Fatal(err)
	}
	if got, err := at(t, filepath.Join(dir, "theirs"), Options{}).Get(ctx, "sample", "1.0.0", p.Digest); err != nil || got.Digest != p.Digest {
		t.Error(err)
	}
}

// The same packages make the same file and the same folder, in whatever order they come.
func TestPlacesAreReproducible(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a", "b", "c"}
	put := func(where string, order ...int) {
		for _, i := range order {
			if err := at(t, filepath.Join(dir, where), Options{}).Put(t.Context(), packSample(t, names[i], "1.0.0")); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("1.tar", 0, 1, 2)
	put("2.tar", 2, 0, 1)
	put("1", 0, 1, 2)
	put("2", 1, 2, 0)
	for _, name := range []string{".tar", "/index.json"} {
		one, err := os.ReadFile(filepath.Join(dir, "1"+name))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(dir, "2"+name))
		if err != nil || !bytes.Equal(one, two) {
			t.Error(name, err)
		}
	}
}

// Several publish into one place at once: all of it is there in the end.
func TestWritersAtOnce(t *testing.T) {
	dir := t.TempDir()
	for _, where := range []string{"folder", "file.tar"} {
		place := at(t, filepath.Join(dir, where), Options{})
		var wg sync.WaitGroup
		for i := range 8 {
			p := packSample(t, "sample", fmt.Sprintf("1.%d.0", i))
			wg.Go(func() {
				if err := place.Put(t.Context(), p); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range 8 {
			if _, err := place.Get(t.Context(), "sample", fmt.Sprintf("1.%d.0", i), ""); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestBadLayouts(t *testing.T) {
	const head = `{"imageLayoutVersion":"1.0.0"}`
	entryOf := func(name string) string {
		return `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("a", 64) + `","size":7,"annotations":{"org.opencontainers.image.ref.name":"` + name + `"}}`
	}
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"none":             {map[string]string{"x": ""}, "it is no OCI image layout: there is no oci-layout in it"},
		"another version":  {map[string]string{"oci-layout": `{"imageLayoutVersion":"2.0.0"}`, "index.json": `{}`}, `it is an OCI image layout of version "2.0.0"`},
		"no JSON":          {map[string]string{"oci-layout": head, "index.json": "x"}, "index.json cannot be read"},
		"no index":         {map[string]string{"oci-layout": head}, "index.json cannot be read"},
		"no OCI index":     {map[string]string{"oci-layout": head, "index.json": `{}`}, "index.json is no OCI index"},
		"a large index":    {map[string]string{"oci-layout": head, "index.json": strings.Repeat(" ", maxIndex+1)}, "index.json has 8388609 bytes; the most is 8388608"},
		"a large head":     {map[string]string{"oci-layout": strings.Repeat(" ", 5000)}, "oci-layout has 5000 bytes"},
		"one name twice":   {map[string]string{"oci-layout": head, "index.json": `{"schemaVersion":2,"manifests":[` + entryOf("sample:1.0.0") + `,` + entryOf("sample:1.0.0") + `]}`}, `index.json names "sample:1.0.0" twice`},
		"many manifests":   {map[string]string{"oci-layout": head, "index.json": `{"schemaVersion":2,"manifests":[` + strings.Repeat("{},", maxManifests) + `{}]}`}, "index.json cannot be read: it names more than 10000 manifests"},
		"no list":          {map[string]string{"oci-layout": head, "index.json": `{"schemaVersion":2,"manifests":{}}`}, "index.json cannot be read: manifests is no list"},
		"unknown keys":     {map[string]string{"oci-layout": head, "index.json": `{"schemaVersion":2,"manifests":[{"more":1}]}`}, "index.json cannot be read: json: unknown field"},
		"no blob":          {map[string]string{"oci-layout": head, "index.json": `{"schemaVersion":2,"manifests":[` + entryOf("sample:1.0.0") + `]}`}, "there is no blobs/sha256/aaaa"},
		"a blob of a size": {map[string]string{"oci-layout": head, "index.json": `{"schemaVersion":2,"manifests":[` + entryOf("sample:1.0.0") + `]}`, "blobs/sha256/" + strings.Repeat("a", 64): "12345678"}, "has 8 bytes, and not 7"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var entries []entry
			for file, text := range tc.files {
				full := filepath.Join(dir, "layout", file)
				if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				entries = append(entries, file1(file, text))
			}
			if err := os.WriteFile(filepath.Join(dir, "layout.tar"), archiveOf(t, entries...), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, where := range []string{"layout", "layout.tar"} {
				_, err := at(t, filepath.Join(dir, where), Options{}).Get(t.Context(), "sample", "1.0.0", "")
				wants(t, err, tc.want)
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	get := func(data []byte) error {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := at(t, path, Options{}).Get(t.Context(), "sample", "1.0.0", "")
		return err
	}
	if err := at(t, path, Options{}).Put(t.Context(), packSample(t, "sample", "1.0.0")); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	link := entry{}
	link.Name, link.Typeflag, link.Linkname = "index.json", '2', "/etc/passwd"
	wants(t, get(nil), "it is no OCI image layout")
	wants(t, get([]byte(strings.Repeat("x", 2000))), "the archive cannot be read")
	wants(t, get(whole[:bytes.Index(whole, []byte("function on.rcpt"))]), `the archive ends within "blobs/sha256/`)
	wants(t, get(archiveOf(t, file1("index.json", "{}"), file1("./index.json", "{}"))), `two entries of the archive are named "index.json"`)
	wants(t, get(archiveOf(t, file1("../index.json", "{}"))), `"../index.json" in the archive is a name that leads elsewhere`)
	wants(t, get(archiveOf(t, file1("/index.json", "{}"))), "is a name that leads elsewhere")
	wants(t, get(archiveOf(t, link)), `"index.json" in the archive is a link`)

	t.Run("entries without end", func(t *testing.T) {
		folder := entry{}
		folder.Name, folder.Typeflag = "x/", '5'
		err := get(bytes.Repeat(archiveOf(t, folder)[:512], maxParts+1))
		wants(t, err, "there are more than 20000 entries in the archive")
	})
	t.Run("an archive of another program", func(t *testing.T) {
		var entries []entry
		l, err := openTar(func() string { os.WriteFile(path, whole, 0o644); return path }())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		folder := entry{}
		folder.Name, folder.Typeflag = "./", '5'
		entries = append(entries, folder)
		for name, p := range l.parts {
			data, err := io.ReadAll(io.NewSectionReader(l.file, p.at, p.size))
			if err != nil {
				t.Fatal(err)
			}
			e := file1("./"+name, string(data))
			e.Uid, e.Mode = 1000, 0o600
			entries = append(entries, e)
		}
		if err := get(archiveOf(t, entries...)); err != nil {
			t.Error(err)
		}
	})
	t.Run("a damaged one is not written anew", func(t *testing.T) {
		broken := bytes.Replace(whole, []byte("# sample"), []byte("# simple"), 1)
		if err := os.WriteFile(path, broken, 0o644); err != nil {
			t.Fatal(err)
		}
		wants(t, at(t, path, Options{}).Put(t.Context(), packSample(t, "other", "1.0.0")), "is damaged")
		if now, _ := os.ReadFile(path); !bytes.Equal(now, broken) {
			t.Error("the file was touched")
		}
		if entries, _ := filepath.Glob(filepath.Join(dir, "*unfinished*")); len(entries) > 0 {
			t.Error(entries)
		}
	})
}

func TestFoldersOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mail.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	wants(t, at(t, dir, Options{}).Put(t.Context(), packSample(t, "sample", "1.0.0")), `the folder is no OCI image layout and not empty: there is "mail.txt" in it`)
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Error(entries)
	}
	for _, where := range []string{"", "ftp://a.example/x", "http://a.example/x", "http://10.0.0.1/x", "https://user@a.example/x", "https://", "https://a.example/X", "https://a.example/../x"} {
		_, err := At(where, Options{})
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", where, err)
		}
	}
}

// A blob that was damaged, or cut by a crash of the machine, is mended by publishing again under another version.
func TestDamagedBlobIsMended(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	place, p := at(t, dir, Options{}), packSample(t, "sample", "1.0.0")
	if err := place.Put(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	licence := filepath.Join(dir, "blobs", "sha256", p.blobs[5].desc.Digest.Encoded())
	if err := os.WriteFile(licence, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := place.Put(t.Context(), packSample(t, "sample", "1.0.1")); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"1.0.0", "1.0.1"} {
		if _, err := place.Get(t.Context(), "sample", v, ""); err != nil {
			t.Error(err)
		}
	}
}

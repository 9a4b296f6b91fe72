package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/plugins/bundled"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/consent"
	"github.com/stagepost/stagepost/plugins/catalog/index"
	"github.com/stagepost/stagepost/scripts/dockerregistry"
)

// sample is what was measured in one run.
type sample struct {
	time            time.Duration
	requests, bytes int64 // of the registry
}

// source is a place to install from, and a site with its plugins locked.
type source struct {
	name, place string
	site        string
	samples     []sample
}

type world struct {
	settings
	author  string // folder of the site where the plugins are written
	plugins []string
	key     *index.Secret
	front   *dockerregistry.Front
	sources []*source
}

func run(ctx context.Context, s settings, out io.Writer) error {
	s.program, _ = filepath.Abs(s.program)
	w := &world{settings: s, author: filepath.Join(s.dir, "author")}
	dir := filepath.Join(s.dir, "registry")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	registry, err := dockerregistry.Start(dir, dockerregistry.Options{})
	if err != nil {
		return fmt.Errorf("%w (Debian has the registry as the package %s)", err, dockerregistry.Program)
	}
	defer registry.Stop()
	if w.front, err = dockerregistry.Before(registry.Address); err != nil {
		return err
	}
	defer w.front.Close()
	w.sources = []*source{{name: "registry", place: w.front.URL + "/plugins"}, {name: "folder", place: filepath.Join(w.author, "folder")}, {name: "file", place: filepath.Join(w.author, "file.tar")}}
	size, err := w.write(ctx)
	if err != nil {
		return err
	}
	for _, from := range w.sources {
		if err := w.publish(ctx, from); err != nil {
			return fmt.Errorf("%s: %w", from.name, err)
		}
	}
	for round := range s.rounds {
		for _, from := range w.sources {
			got, err := w.install(ctx, from)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", from.name, round+1, err)
			}
			from.samples = append(from.samples, got)
		}
	}
	fmt.Fprintf(out, "%d locked plugins, %d bytes of files\n", len(w.plugins), size)
	fmt.Fprintf(out, "%-10s %12s %22s %10s %12s\n", "from", "ms", "range", "requests", "bytes")
	for _, from := range w.sources {
		ms := func(of sample) float64 { return float64(of.time.Microseconds()) / 1000 }
		all := from.samples
		slices.SortFunc(all, func(a, b sample) int { return int(a.time - b.time) })
		middle := all[len(all)/2]
		requests, bytes := "", ""
		if from.name == "registry" {
			requests, bytes = fmt.Sprint(middle.requests), fmt.Sprint(middle.bytes)
		}
		fmt.Fprintf(out, "%-10s %12.1f %22s %10s %12s\n", from.name, ms(middle), fmt.Sprintf("%.1f-%.1f", ms(all[0]), ms(all[len(all)-1])), requests, bytes)
	}
	return nil
}

// stagepost runs a command of the program in a folder.
func (w *world) stagepost(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, w.program, args...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("stagepost %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return nil
}

const configuration = "hostname = \"mx.example.org\"\ndata = \"data\"\n\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nrole = \"mx\"\n\n[plugins]\nfolder = \"plugins\"\nenable = [\"spf\", \"dkim-verify\"]\n"

// write writes the plugins that are handed on, and gives the size of their files.
func (w *world) write(ctx context.Context) (size int, err error) {
	if err := os.MkdirAll(filepath.Join(w.author, "data"), 0o700); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(w.author, "stagepost.toml"), []byte(configuration), 0o600); err != nil {
		return 0, err
	}
	from := bundled.Names()
	for i := range w.settings.plugins {
		of := from[i%len(from)]
		name := fmt.Sprintf("%s-%d", of, i)
		if err := w.stagepost(ctx, w.author, "plugin", "new", "--from", of, name); err != nil {
			return 0, err
		}
		pkg, err := catalog.PackPath(filepath.Join(w.author, "plugins", name))
		if err != nil {
			return 0, err
		}
		for _, text := range pkg.Files {
			size += len(text)
		}
		w.plugins = append(w.plugins, name)
	}
	if w.key, err = index.Generate(); err != nil {
		return 0, err
	}
	text, err := w.key.Text("")
	if err != nil {
		return 0, err
	}
	return size, os.WriteFile(filepath.Join(w.author, "key"), text, 0o600)
}

// publish puts the plugins into a place, and locks them in a site of their own.
func (w *world) publish(ctx context.Context, to *source) error {
	list := filepath.Join(w.author, to.name+".json")
	args := []string{"catalog", "publish", "--index", list, "--to", to.place, "--key", "key"}
	install := []string{"plugin", "install"}
	for _, name := range w.plugins {
		folder := "./" + filepath.Join("plugins", name)
		args = append(args, folder)
		pkg, err := catalog.PackPath(filepath.Join(w.author, folder))
		if err != nil {
			return err
		}
		sheet, err := consent.Of(pkg)
		if err != nil {
			return err
		}
		install = append(install, name, "--accept", sheet.Hash())
	}
	if err := w.stagepost(ctx, w.author, args...); err != nil {
		return err
	}
	trust := fmt.Sprintf("[[index]]\nname = \"main\"\nplace = %q\nnamespaces = [\"*\"]\nkeys = [%q]\n", list, w.key.Key())
	to.site = filepath.Join(w.dir, "site-"+to.name)
	if err := os.MkdirAll(filepath.Join(to.site, "data"), 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{"stagepost.toml": configuration, "trust.toml": trust} {
		if err := os.WriteFile(filepath.Join(to.site, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return w.stagepost(ctx, to.site, install...)
}

// install fetches what is locked into an empty data folder.
func (w *world) install(ctx context.Context, from *source) (got sample, err error) {
	data := filepath.Join(from.site, "data")
	if err := os.RemoveAll(data); err != nil {
		return got, err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return got, err
	}
	requests, bytes := w.front.Requests.Load(), w.front.Bytes.Load()
	began := time.Now()
	if err := w.stagepost(ctx, from.site, "plugin", "install"); err != nil {
		return got, err
	}
	got = sample{time.Since(began), w.front.Requests.Load() - requests, w.front.Bytes.Load() - bytes}
	if err := w.stagepost(ctx, from.site, "plugin", "verify"); err != nil {
		return got, err
	}
	return got, nil
}

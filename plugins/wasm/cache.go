package wasm

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
)

// Bounds of the cache.
const (
	maxCache = 256 << 20 // bytes
	sumFile  = ".sum"
)

// cache is the folder with compiled code. What lies there is run as it is, so the folder is the server's alone, and each file has
// the hash of its content beside it: one without it, or with another, is removed before the runtime looks. The runtime's own
// check covers the code, but not the table that says where a function begins.
type cache struct {
	dir    string
	log    *slog.Logger
	wazero wazero.CompilationCache
}

func openCache(dir string, log *slog.Logger) (*cache, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() || !ownedByUs(info) {
		return nil, fmt.Errorf("%s must be a folder that belongs to the user of the server: what lies in it is run", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	c := &cache{dir: dir, log: log}
	c.verify()
	c.prune()
	if c.wazero, err = wazero.NewCompilationCacheWithDir(dir); err != nil {
		return nil, err
	}
	return c, nil
}

type cached struct {
	path string
	info fs.FileInfo
}

// files lists the files with code, oldest first, and removes whatever is neither that nor a hash of it.
func (c *cache) files() []cached {
	var all []cached
	filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if base, ok := strings.CutSuffix(path, sumFile); ok {
			if _, err := os.Lstat(base); err != nil {
				c.remove(path)
			}
			return nil
		}
		if !info.Mode().IsRegular() || strings.HasSuffix(path, ".tmp") {
			c.remove(path)
			return nil
		}
		all = append(all, cached{path, info})
		return nil
	})
	slices.SortFunc(all, func(a, b cached) int { return cmp.Compare(a.info.ModTime().UnixNano(), b.info.ModTime().UnixNano()) })
	return all
}

func (c *cache) remove(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("a file in the cache of compiled plugins cannot be removed", "file", path, "error", err)
	}
}

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x\n", h.Sum(nil)), err
}

// verify removes what is damaged or was left unfinished.
func (c *cache) verify() {
	for _, f := range c.files() {
		want, err := os.ReadFile(f.path + sumFile)
		got, sumErr := sum(f.path)
		if err == nil && sumErr == nil && got == string(want) {
			continue
		}
		if err == nil {
			c.log.Warn("a compiled plugin in the cache is damaged; it is compiled again", "file", f.path)
		}
		c.remove(f.path)
		c.remove(f.path + sumFile)
	}
}

// seal gives each new file its hash, and keeps the cache within its bounds. What cannot be written is not kept.
func (c *cache) seal() {
	for _, f := range c.files() {
		if _, err := os.Lstat(f.path + sumFile); err == nil {
			continue
		}
		s, err := sum(f.path)
		if err == nil {
			err = os.WriteFile(f.path+sumFile, []byte(s), 0o600)
		}
		if err != nil {
			c.log.Warn("a compiled plugin cannot be kept in the cache", "file", f.path, "error", err)
			c.remove(f.path)
			c.remove(f.path + sumFile)
		}
	}
	c.prune()
}

// prune removes the oldest files beyond the bound.
func (c *cache) prune() {
	files := c.files()
	total := int64(0)
	for _, f := range files {
		total += f.info.Size()
	}
	for _, f := range files {
		if total <= maxCache {
			return
		}
		c.remove(f.path)
		c.remove(f.path + sumFile)
		total -= f.info.Size()
	}
}

// clear removes everything.
func (c *cache) clear() {
	for _, f := range c.files() {
		c.remove(f.path)
		c.remove(f.path + sumFile)
	}
}

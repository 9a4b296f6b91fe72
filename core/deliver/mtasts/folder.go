package mtasts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/smtp"
)

// Each policy is a file that is named for its domain. Whoever wants one forgotten stops the server and removes it.
const (
	maxFile  = 128 << 10
	maxFiles = 20_000
	halfDone = ".new-"
)

// load reads the folder, making it if need be. A file that cannot be used is removed: what it held can be fetched again.
func (c *Cache) load() error {
	if c.Folder == "" {
		return nil
	}
	if err := os.MkdirAll(c.Folder, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(c.Folder)
	if err != nil {
		return err
	}
	var found []*entry
	for i, f := range files {
		e, err := c.read(f.Name())
		if err != nil || i >= maxFiles {
			if !strings.HasPrefix(f.Name(), halfDone) {
				c.Log.Warn("a kept MTA-STS policy cannot be used", "file", filepath.Join(c.Folder, f.Name()), "error", err)
			}
			os.Remove(filepath.Join(c.Folder, f.Name()))
			continue
		}
		found = append(found, e)
	}
	// What was fetched last stays where there are too many.
	slices.SortFunc(found, func(a, b *entry) int { return a.Fetched.Compare(b.Fetched) })
	for _, e := range found {
		c.keep(e)
	}
	return nil
}

func (c *Cache) read(name string) (*entry, error) {
	if !smtp.ValidDomain(name) || strings.HasPrefix(name, halfDone) {
		return nil, errors.New("it is not named for a domain")
	}
	text, err := config.ReadFile(filepath.Join(c.Folder, name), maxFile)
	if err != nil {
		return nil, err
	}
	e := &entry{}
	if err := json.Unmarshal(text, e); err != nil {
		return nil, err
	}
	if e.Domain != name || e.Policy == nil || e.Policy.MaxAge < 0 || e.Policy.MaxAge > maxAge {
		return nil, errors.New("it is not whole")
	}
	if now := c.Now(); e.Fetched.After(now) { // the clock was wrong then, or is now
		e.Fetched = now
	}
	return e, nil
}

// save writes a policy, whole or not at all.
func (c *Cache) save(e *entry) {
	if c.Folder == "" {
		return
	}
	c.disk.Lock()
	defer c.disk.Unlock()
	if err := c.write(e); err != nil {
		c.Log.Error("an MTA-STS policy cannot be kept over a restart", "domain", e.Domain, "error", err)
	}
}

func (c *Cache) write(e *entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return fmt.Errorf("it takes %d octets", len(text))
	}
	f, err := os.CreateTemp(c.Folder, halfDone+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(c.Folder, e.Domain))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func (c *Cache) remove(domain string) {
	if c.Folder == "" {
		return
	}
	c.disk.Lock()
	defer c.disk.Unlock()
	c.mu.Lock()
	el, again := c.entries[domain]
	again = again && el.Value.(*entry).Policy != nil
	c.mu.Unlock()
	if again { // it was fetched meanwhile
		return
	}
	if err := os.Remove(filepath.Join(c.Folder, domain)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Log.Error("an MTA-STS policy that is not kept any more cannot be removed", "domain", domain, "error", err)
	}
}

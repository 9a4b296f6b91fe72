package tlsrpt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/config"
)

// A day is a file, 2026-11-28.json, with a summary on each line.
const (
	suffix  = ".json"
	maxFile = 64 << 20
)

// open makes the folder and reads today's file.
func (r *Results) open() error {
	if r.folder == "" {
		return nil
	}
	if err := os.MkdirAll(r.folder, 0o700); err != nil {
		return err
	}
	list, err := r.read(r.day)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("today's results of TLS cannot be read, and begin anew", "error", err)
	}
	for i := range list[:min(len(list), maxSummaries)] {
		s := &list[i]
		r.all[key{s.Policy.Domain, s.Policy.Type}] = s
	}
	return nil
}

// Run writes what was counted until ctx ends.
func (r *Results) Run(ctx context.Context) {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			r.Save()
		}
	}
}

// Close writes what is left. Nothing may be added any more.
func (r *Results) Close() {
	r.turning.Wait()
	r.Save()
}

// Save writes what was counted since the last time.
func (r *Results) Save() {
	r.disk.Lock()
	defer r.disk.Unlock()
	r.mu.Lock()
	day, news := r.day, r.news
	var list []Summary
	if news {
		list = sorted(r.all)
	}
	r.news = false
	r.mu.Unlock()
	if news {
		r.write(day, list)
	}
}

// turn writes a day that is over, and removes those that are too old.
func (r *Results) turn(day string, all map[key]*Summary) {
	r.disk.Lock()
	defer r.disk.Unlock()
	if len(all) > 0 {
		r.write(day, sorted(all))
	}
	r.prune()
}

func (r *Results) prune() {
	if r.folder == "" {
		return
	}
	oldest := r.now().UTC().AddDate(0, 0, -keepDays).Format(time.DateOnly)
	files, err := os.ReadDir(r.folder)
	for _, f := range files {
		day, ok := strings.CutSuffix(f.Name(), suffix)
		if _, odd := time.Parse(time.DateOnly, day); ok && odd == nil && day < oldest {
			err = errors.Join(err, os.Remove(filepath.Join(r.folder, f.Name())))
		}
	}
	if err != nil {
		r.log.Error("old results of TLS cannot be removed", "error", err)
	}
}

func (r *Results) write(day string, list []Summary) {
	if r.folder == "" {
		return
	}
	var b bytes.Buffer
	for _, s := range list {
		line, err := json.Marshal(s)
		if err != nil {
			continue // there is nothing in it that cannot be written
		}
		b.Write(append(line, '\n'))
	}
	name := filepath.Join(r.folder, day+suffix)
	err := os.WriteFile(name+".new", b.Bytes(), 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		r.log.Error("results of TLS cannot be written", "file", name, "error", err)
	}
}

// Day returns what was counted on a day, "2026-11-28"; "" is today. Of a day without results it is empty.
func (r *Results) Day(day string) ([]Summary, error) {
	if day != "" {
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			return nil, fmt.Errorf("%q is not a day, such as 2026-11-28", day)
		}
	}
	r.mu.Lock()
	if day == "" || day == r.day {
		defer r.mu.Unlock()
		if r.day != r.today() {
			return nil, nil
		}
		return sorted(r.all), nil
	}
	r.mu.Unlock()
	r.disk.Lock()
	defer r.disk.Unlock()
	list, err := r.read(day)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return list, err
}

func (r *Results) read(day string) ([]Summary, error) {
	if r.folder == "" {
		return nil, nil
	}
	text, err := config.ReadFile(filepath.Join(r.folder, day+suffix), maxFile)
	if err != nil {
		return nil, err
	}
	list, err := parse(text)
	if err != nil {
		err = fmt.Errorf("%s%s, line %d: %w", day, suffix, len(list)+1, err)
	}
	return list, err
}

// parse reads the lines of a day up to the first that is wrong.
func parse(text []byte) (list []Summary, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s Summary
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return list, err
		}
		list = append(list, s)
	}
	return list, lines.Err()
}

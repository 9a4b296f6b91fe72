package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// inspect looks at a Stagepost of our own after all cases: at what clients left behind in its log, its metrics and its process.
func (s *server) inspect(only *regexp.Regexp) (results []*result) {
	for _, check := range []struct {
		section, name string
		look          func() error
	}{
		{"1.5", "A8 users are not told from others by the time", s.timing},
		{"1.13", "I1 each line of the log is one event", s.log},
		{"1.5", "A1 no password is in the log", s.secrets},
		{"1.13", "I4 labels of metrics do not come from clients", s.metrics},
		{"1.3", "P10 no descriptor is left of all sessions", s.leftDescriptors},
		{"1.9", "R4 without descriptors accepting is put off", s.withoutDescriptors},
		{"1.9", "R5 no content is left of what was given up", s.leftContent},
		{"1.9", "R9 the log is bounded", s.logSize},
		{"1.9", "R7 memory is bounded, whatever was sent", s.memory},
		{"1.3", "P11 it stops when it is told to", s.stop},
	} {
		if !only.MatchString(check.section + " " + check.name) {
			continue
		}
		res := &result{script: &script{section: check.section, name: check.name}}
		if err := check.look(); err != nil {
			res.outcome, res.why = failed, err.Error()
		}
		results = append(results, res)
	}
	return results
}

// log: what is not a line for people is one JSON object, and nothing in either can act on a terminal.
func (s *server) log() error {
	lines, err := s.console.all()
	if err != nil {
		return err
	}
	events := 0
	for _, line := range lines {
		for _, c := range line {
			if c < ' ' && c != '\t' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0x2028 || c == 0x2029 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
				return fmt.Errorf("a line holds %U: %s", c, short(line))
			}
		}
		if strings.HasPrefix(line, "ready: ") || strings.HasPrefix(line, "generation ") {
			continue
		}
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			return fmt.Errorf("a line is no event: %w: %s", err, short(line))
		}
		if event["msg"] == nil || event["level"] == nil {
			return fmt.Errorf("a line has no message or no level: %s", short(line))
		}
		events++
	}
	if events == 0 {
		return fmt.Errorf("the log is empty")
	}
	return nil
}

// secrets: what clients log in with, and tried to, is nowhere in the log, as it is or in base64.
func (s *server) secrets() error {
	lines, err := s.console.all()
	if err != nil {
		return err
	}
	for _, line := range lines {
		for _, secret := range []string{s.target.password, "word-of-", base64.StdEncoding.EncodeToString([]byte("\x00user\x00word"))[:10], s.hash} {
			if strings.Contains(line, secret) {
				return fmt.Errorf("a line holds %q: %s", secret, short(line))
			}
		}
	}
	return nil
}

const (
	maxSeries = 2000
	maxLabel  = 100
)

func (s *server) metrics() error {
	client := http.Client{Timeout: patience}
	res, err := client.Get("http://" + s.admin + "/metrics")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return err
	}
	series := 0
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		series++
		if token := findToken(line); token != "" || strings.Contains(line, "evil") {
			return fmt.Errorf("a client's word is in a label: %s", short(line))
		}
	}
	if series == 0 || series > maxSeries {
		return fmt.Errorf("there are %d series, want some and at most %d", series, maxSeries)
	}
	return nil
}

// spareDescriptors are connections to the next hop that are kept for the next message, and files of the store.
const spareDescriptors = 40

func (s *server) leftDescriptors() error {
	if s.descriptors == 0 {
		return nil
	}
	n := 0
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if n = s.countDescriptors(); n <= s.descriptors+spareDescriptors {
			return nil
		}
	}
	return fmt.Errorf("%d descriptors are open, %d were at the start", n, s.descriptors)
}

// leftContent looks for the files of contents, when the queue is empty. Slots, which lie in folders, stay for the next ones.
func (s *server) leftContent() error {
	for until := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		files, err := os.ReadDir(filepath.Join(s.dir, "data", "body"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		files = slices.DeleteFunc(files, os.DirEntry.IsDir)
		if len(files) == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d files of contents are left, such as %s", len(files), files[0].Name())
		}
	}
}

// maxMemory is what a server with its plugins may have used at its peak: clients sent it gigabytes.
const maxMemory = 300 << 10 // kB

func (s *server) memory() error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		return nil // no Linux
	}
	if err != nil {
		return err
	}
	_, peak, _ := strings.Cut(string(text), "VmHWM:")
	var size int
	if _, err := fmt.Sscan(peak, &size); err != nil {
		return err
	}
	if size > maxMemory {
		return fmt.Errorf("%d kB at the peak, want at most %d", size, maxMemory)
	}
	return nil
}

// linesEach is how many lines of the log one session may cost, however it goes on.
const linesEach = 5

func (s *server) logSize() error {
	lines, err := s.console.all()
	if n := s.target.played.Load(); err == nil && len(lines) > int(n)*linesEach+1000 {
		err = fmt.Errorf("%d lines for %d sessions", len(lines), n)
	}
	return err
}

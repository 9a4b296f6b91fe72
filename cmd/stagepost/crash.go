package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/stagepost/stagepost/core/suspects"
)

// Files in the data folder: which messages are in hand, what Go's runtime says when the process crashes, and what it said last.
const (
	suspectsFile = "suspects"
	crashFile    = "crash"
	lastCrash    = "crash.last"
)

// openSuspects finds out whether the last process of this data folder crashed, and who is to be suspected of that. What fails here
// keeps no server from starting.
func openSuspects(data string, report bool, log *slog.Logger) *suspects.File {
	path := filepath.Join(data, crashFile)
	first := firstLine(path)
	crashed := first != "" && !bytes.HasPrefix([]byte(first), []byte("SIG")) // a signal: somebody wanted to see the stacks
	file, err := suspects.Open(filepath.Join(data, suspectsFile), crashed)
	if err != nil {
		log.Warn("what is in hand cannot be noted: a message that crashes the server is not found out", "error", err)
		file = nil
	}
	if first != "" {
		last := filepath.Join(data, lastCrash)
		if err := os.Rename(path, last); err != nil {
			log.Warn("the report of the last crash cannot be kept", "error", err)
			os.Remove(path) // it counts once
		}
		log.Error("the server crashed when it ran last; please report it", "report", last, "what", first)
	}
	if report {
		if err := reportTo(path); err != nil {
			log.Warn("a crash would not be reported", "error", err)
		}
	}
	return file
}

// firstLine is that of a file; empty if there is none.
func firstLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 1000))
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(line)
}

// reportTo makes Go's runtime write there, besides standard error, what ends the process.
func reportTo(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // the runtime has it twice
	return debug.SetCrashOutput(f, debug.CrashOptions{})
}

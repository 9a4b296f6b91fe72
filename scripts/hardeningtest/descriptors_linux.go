package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// withoutDescriptors takes the server's descriptors away while many connect, and gives them back: it must go on, and must not have
// filled its log.
func (s *server) withoutDescriptors() error {
	var was unix.Rlimit
	pid := s.cmd.Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		return err
	}
	s.settle()
	few := was
	few.Cur = s.lowestFree()
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		return err
	}
	mark := s.console.mark()
	const many = 50
	for range many {
		if c, err := dial(s.target.addresses["mx"], "", s.target.bound); err == nil {
			defer c.end(closing)
		}
	}
	time.Sleep(2 * time.Second) // in which it tries to accept again and again
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &was, nil); err != nil {
		return err
	}
	if !s.target.greets() {
		return fmt.Errorf("the server does not greet when it has descriptors again")
	}
	lines, err := s.console.all()
	if err != nil {
		return err
	}
	told := 0
	for _, line := range lines[mark:] {
		if strings.Contains(line, "cannot accept connections") {
			told++
		}
	}
	if told == 0 || told > 10 {
		return fmt.Errorf("the log tells of it in %d lines, want one or a few", told)
	}
	return nil
}

// lowestFree is the number that the next file would have: with that as its limit, which is about numbers, a process can open none.
func (s *server) lowestFree() (n uint64) {
	for {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", s.cmd.Process.Pid, n)); err != nil {
			return n
		}
		n++
	}
}

// mayOpen tells whether this program, and so a server that it starts, may open so many files at once.
func mayOpen(n uint64) bool {
	var l unix.Rlimit
	return unix.Getrlimit(unix.RLIMIT_NOFILE, &l) == nil && l.Cur >= n
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal opens a pseudo terminal: what people see, and what the command has.
func terminal(t *testing.T) (people, command *os.File) {
	t.Helper()
	people, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no pseudo terminals: ", err)
	}
	t.Cleanup(func() { people.Close() })
	n, err := unix.IoctlGetInt(int(people.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(people.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		command, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR, 0)
	}
	if err != nil {
		t.Skip("there are no pseudo terminals: ", err)
	}
	t.Cleanup(func() { command.Close() })
	return people, command
}

// untilHidden waits until the terminal does not show what is typed.
func untilHidden(command *os.File) {
	for {
		state, err := unix.IoctlGetTermios(int(command.Fd()), unix.TCGETS)
		if err != nil || state.Lflag&unix.ECHO == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// asks runs a command on a terminal where answers are typed, each when its prompt is there. It gives what was seen.
func asks(t *testing.T, s *site, answers []string, args ...string) (result, string) {
	t.Helper()
	people, command := terminal(t)
	echo := make(chan string, 1)
	go func() {
		seen, _ := io.ReadAll(people)
		echo <- string(seen)
	}()
	prompts, errs := io.Pipe()
	var said bytes.Buffer
	done := make(chan struct{})
	go func() { // each prompt is one write
		defer close(done)
		buf := make([]byte, 1000)
		for {
			n, err := prompts.Read(buf)
			if err != nil {
				return
			}
			said.Write(buf[:n])
			if strings.HasSuffix(said.String(), ": ") && len(answers) > 0 {
				untilHidden(command)
				fmt.Fprintf(people, "%s\n", answers[0])
				answers = answers[1:]
			}
		}
	}()
	var out bytes.Buffer
	a := s.app
	code := run(t.Context(), &a, append(args, "--config", s.config), command, &out, errs)
	errs.Close()
	<-done
	command.Close()
	return result{code, out.String(), said.String()}, <-echo
}

func TestUserTerminal(t *testing.T) {
	s := newSite(t, withUsers)
	r, seen := asks(t, s, []string{"pencil", "pencil"}, "user", "add", "joe")
	if strings.Contains(seen, "pencil") {
		t.Errorf("the terminal shows %q", seen)
	}
	s.want(r, 0, "Password of joe: ", "The same again: ", "joe may log in.")
	if !s.knows("joe", "pencil") {
		t.Error("not the password that was typed")
	}
	before := s.read("users.txt")
	r, _ = asks(t, s, []string{"crayon", "crayom"}, "user", "passwd", "joe")
	s.want(r, exitData, "the two are not the same; nothing is changed")
	if s.read("users.txt") != before {
		t.Error("the file changed")
	}
}

// TestTypedEnds: a command that is ended while somebody types leaves the terminal as it was.
func TestTypedEnds(t *testing.T) {
	_, command := terminal(t)
	before, err := term.GetState(int(command.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		untilHidden(command)
		cancel()
	}()
	if _, err := typed(ctx, command, io.Discard, "Password: "); err == nil || !strings.Contains(err.Error(), "nothing is changed") {
		t.Errorf("%v", err)
	}
	after, err := term.GetState(int(command.Fd()))
	if err != nil || *after != *before {
		t.Errorf("the terminal is not as it was, %v", err)
	}
}

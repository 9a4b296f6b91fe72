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

// asks runs a command on a terminal where answers are typed, each when its prompt is there, and when it is not shown if it is a secret; "^C"
// interrupts the command, and "^D" ends the input. It gives what was printed and asked, and what was seen of the answers.
func asks(t *testing.T, s *site, answers []string, args ...string) (result, string) {
	t.Helper()
	people, command := terminal(t)
	echo := make(chan string, 1)
	go func() {
		seen, _ := io.ReadAll(people)
		echo <- string(seen)
	}()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
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
			secret := bytes.HasSuffix(buf[:n], []byte(": "))
			if len(answers) == 0 || !secret && !bytes.HasSuffix(buf[:n], []byte("[y/N] ")) {
				continue
			}
			if secret {
				untilHidden(command)
			}
			switch answer := answers[0]; answer {
			case "^C":
				interrupt()
			case "^D":
				fmt.Fprint(people, "\x04")
			default:
				fmt.Fprintf(people, "%s\n", answer)
			}
			answers = answers[1:]
		}
	}()
	var out bytes.Buffer
	a := s.app
	code := run(ctx, &a, append(args, "--config", s.config), command, &out, errs)
	errs.Close()
	<-done
	command.Close()
	if ctx.Err() != nil {
		fmt.Fprintln(people) // the command still reads, which keeps its end open
	}
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

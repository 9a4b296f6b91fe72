//go:build unix

package pipe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/deliver/carriertest"
	"github.com/stagepost/stagepost/core/macro"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/message/messagetest"
)

type content = messagetest.Stored

// shell is a carrier whose program is a script for sh, with more arguments.
func shell(t testing.TB, script string, args ...string) *Carrier {
	t.Helper()
	texts := make([]macro.Text, 0, len(args)+3)
	for _, a := range append([]string{"-c", strings.ReplaceAll(script, "$", "$$"), "sh"}, args...) {
		text, err := macro.Parse(a, Names())
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return New(Options{Name: "prog", Program: "/bin/sh", Arguments: texts, Delimiter: "+", TimeLimit: time.Minute, Hostname: func() string { return "mx1.example.org" }})
}

func one(t testing.TB, c *Carrier, j *deliver.Job) message.Outcome {
	t.Helper()
	return c.Carry(t.Context(), j)[0]
}

func said(o message.Outcome) string { return o.Result.String() + " " + o.Reply.Error() }

// TestNames: the configuration knows the same names.
func TestNames(t *testing.T) {
	if got, want := Names(), config.CommandNames(); !slices.Equal(got, want) {
		t.Errorf("%q, and the configuration has %q", got, want)
	}
}

// TestLoop: a program is not run for a message that its recipient had before.
func TestLoop(t *testing.T) {
	j := carriertest.NewJob(t, content("Delivered-To: u@example.org\r\nSubject: x\r\n\r\n"), "a@client.example", "u@example.org")
	if o := one(t, shell(t, "exit 0"), j); said(o) != "failed 554 5.4.6 the message is in a loop: it was delivered to u@example.org before" {
		t.Error(said(o))
	}
}

// TestRun: a program gets the message, its values and nothing of the server's environment.
func TestRun(t *testing.T) {
	t.Setenv("STAGEPOST_PRIVATE", "x")
	out := filepath.Join(t.TempDir(), "out")
	c := shell(t, `printf '%s|' "$@" > "$0.tmp"`, "-f", "${sender}", "${recipient}", "${user}", "${extension}", "${domain}", "${mailbox}", "${queue_id}", "${client_address}:${client_port}", "$$HOME `id` $${user}")
	c.o.Arguments[2], _ = macro.Parse(out, nil)
	j := carriertest.NewJob(t, content("Subject: x\r\n\r\ntext\r\n"), "a@client.example", "Joe+l@example.org")
	j.Env.Session.User, j.Env.Session.Helo = "ann", "client.example"
	if o := one(t, c, j); said(o) != "delivered 250 2.0.0 delivered by /bin/sh" || o.Host != "transport:prog" {
		t.Fatal(said(o))
	}
	got, err := os.ReadFile(out + ".tmp")
	if want := "-f|a@client.example|Joe+l@example.org|Joe|l|example.org|Joe+l|" + j.Env.ID.String() + "|:|$HOME `id` ${user}|"; string(got) != want || err != nil {
		t.Errorf("arguments %q, want %q (%v)", got, want, err)
	}
	c = shell(t, `{ env | sort; pwd; cat; } > "$1"`, out)
	if o := one(t, c, j); o.Result != message.Delivered {
		t.Fatal(said(o))
	}
	got, err = os.ReadFile(out)
	text := string(got)
	for _, want := range []string{"\nSENDER=a@client.example\n", "\nRECIPIENT=Joe+l@example.org\n", "\nUSER=Joe\n", "\nEXTENSION=l\n", "\nDOMAIN=example.org\n", "\nLOCAL=Joe+l\n", "\nSASL_USERNAME=ann\n",
		"\nCLIENT_HELO=client.example\n", "\nKEY=" + j.Env.ID.String() + "/Joe+l@example.org\n", "\nSIZE=" + strconv.Itoa(len("Subject: x\r\n\r\ntext\r\n")) + "\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if err != nil || !strings.HasSuffix(text, "\n/\nReturn-Path: <a@client.example>\nDelivered-To: Joe+l@example.org\nSubject: x\n\ntext\n") || strings.Contains(text, "STAGEPOST") || strings.Contains(text, "HOME=") {
		t.Errorf("it got (%v)\n%s", err, text)
	}
}

// TestNullSender has a name in arguments, and none in the environment.
func TestNullSender(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	if o := one(t, shell(t, `echo "$1 $SENDER." > "$2"`, "${sender}", out), carriertest.NewJob(t, content("x\r\n"), "", "joe@example.org")); o.Result != message.Delivered {
		t.Fatal(said(o))
	}
	if got, err := os.ReadFile(out); string(got) != "MAILER-DAEMON .\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestOptions: what a client chose never stands where an option would be read.
func TestOptions(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	script := `touch "$1"`
	for _, tt := range []struct{ arg, sender, rcpt, want string }{
		{"${recipient}", "a@client.example", "-oQ/tmp@example.org", "failed 550 5.1.3 recipient begins with a hyphen, which /bin/sh could take for an option"},
		{"${user}", "a@client.example", "--help@example.org", "failed 550 5.1.3 user begins with a hyphen"},
		{"${sender}", "-f@client.example", "joe@example.org", "failed 550 5.1.7 sender begins with a hyphen"},
		{"${extension}${user}", "a@client.example", "-joe@example.org", "failed 550 5.1.3 "},
		{"--to=${recipient}", "a@client.example", "-joe@example.org", "delivered"},
		{"<${sender}>", "-f@client.example", "joe@example.org", "delivered"},
		{"-d${user}", "a@client.example", "-x@example.org", "delivered"},
	} {
		os.Remove(ran)
		got := said(one(t, shell(t, script, ran, tt.arg), carriertest.NewJob(t, content("x\r\n"), tt.sender, tt.rcpt)))
		_, err := os.Stat(ran)
		if !strings.HasPrefix(got, tt.want) || (err == nil) != (tt.want == "delivered") {
			t.Errorf("%s for %s, %s: %s (ran: %v)", tt.arg, tt.sender, tt.rcpt, got, err == nil)
		}
	}
}

// TestExitCodes: each code of sysexits.h, and those that are not there.
func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		code int
		want string
	}{
		{0, "delivered 250 2.0.0"}, {1, "failed 554 5.3.0"}, {2, "failed 554 5.3.0"}, {64, "failed 500 5.3.5"}, {65, "failed 554 5.6.0"}, {66, "failed 550 5.3.0"}, {67, "failed 550 5.1.1"},
		{68, "failed 550 5.1.2"}, {69, "failed 554 5.3.0"}, {70, "failed 554 5.3.0"}, {71, "deferred 451 4.3.0"}, {72, "failed 554 5.3.5"}, {73, "failed 550 5.2.0"},
		{74, "deferred 451 4.3.0"}, {75, "deferred 451 4.3.0"}, {76, "failed 554 5.5.0"}, {77, "failed 550 5.7.0"}, {78, "failed 554 5.3.5"}, {79, "failed 554 5.3.0"}, {255, "failed 554 5.3.0"},
	} {
		o := one(t, shell(t, fmt.Sprintf("echo it said; exit %d", tt.code)), carriertest.NewJob(t, content("x\r\n"), "a@client.example", "joe@example.org"))
		if got := said(o); !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, `: "it said"`) || o.Unknown || o.Away || o.Reply.Check() != nil {
			t.Errorf("%d: %+v", tt.code, o)
		}
	}
	o := one(t, shell(t, "kill -SEGV $$"), carriertest.NewJob(t, content("x\r\n"), "a@client.example", "joe@example.org"))
	if got := said(o); !strings.HasPrefix(got, "deferred 451 4.3.0 /bin/sh: signal: segmentation fault") {
		t.Error(got)
	}
}

// TestEach: each recipient has a run and an outcome.
func TestEach(t *testing.T) {
	c := shell(t, `case "$1" in ann) exit 67;; bob) exit 75;; esac`, "${user}")
	var got []string
	for _, o := range c.Carry(t.Context(), carriertest.NewJob(t, content("x\r\n"), "a@client.example", "joe@example.org", "ann@example.org", "bob@example.org", "eve@example.org")) {
		got = append(got, o.Result.String())
	}
	if want := []string{"delivered", "failed", "deferred", "delivered"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestOutput is bounded, in one line, and never blocks a program.
func TestOutput(t *testing.T) {
	c := shell(t, `i=0; while [ $i -lt 3000 ]; do echo "$(printf '\033[31m\001\377') line of many octets, to fill a pipe"; i=$((i+1)); done; echo end >&2; exit 67`)
	o := one(t, c, carriertest.NewJob(t, content("x\r\n"), "a@client.example", "joe@example.org"))
	text := strings.Join(o.Reply.Text, "|")
	if o.Result != message.Failed || len(text) > 480 || o.Reply.Check() != nil || !strings.HasPrefix(text, "/bin/sh ended with 67, the user is unknown: \"?[31m???") && !strings.HasPrefix(text, "/bin/sh ended with 67, the user is unknown: \"?[31m??") || strings.Contains(text, "end\"") {
		t.Errorf("%+v", o)
	}
}

// TestBigMessage: a program need not read all of it, and gets all of it if it does.
func TestBigMessage(t *testing.T) {
	big := content("Subject: x\r\n\r\n" + strings.Repeat("0123456789abcde\r\n", 100_000))
	out := filepath.Join(t.TempDir(), "out")
	if o := one(t, shell(t, `wc -l > "$1"`, out), carriertest.NewJob(t, big, "a@client.example", "joe@example.org")); o.Result != message.Delivered {
		t.Error(said(o))
	}
	if got, _ := os.ReadFile(out); strings.TrimSpace(string(got)) != "100004" {
		t.Errorf("it got %q lines", got)
	}
	if o := one(t, shell(t, `read line; exit 0`), carriertest.NewJob(t, big, "a@client.example", "joe@example.org")); o.Result != message.Delivered {
		t.Error(said(o))
	}
}

// TestPart: no program sees a part of a message.
func TestPart(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	o := one(t, shell(t, `touch "$1"`, ran), carriertest.NewJob(t, messagetest.Short{Stored: content(strings.Repeat("x\r\n", 100_000))}, "a@client.example", "joe@example.org"))
	if _, err := os.Stat(ran); err == nil || !strings.HasPrefix(said(o), "deferred 451 4.3.0 the content cannot be read") {
		t.Errorf("%s (ran: %v)", said(o), err == nil)
	}
}

// TestTimeLimit: a program that does not end is killed with all that it started.
func TestTimeLimit(t *testing.T) {
	dir := t.TempDir()
	fifo, pid := filepath.Join(dir, "fifo"), filepath.Join(dir, "pid")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c := shell(t, `(read x < "$1") & echo $! > "$2"; echo begun; read x < "$1"`, fifo, pid) // nobody writes there
	c.o.TimeLimit = 300 * time.Millisecond
	o := one(t, c, carriertest.NewJob(t, content("x\r\n"), "a@client.example", "joe@example.org"))
	if o.Result != message.Deferred || !o.Unknown || !strings.HasPrefix(o.Reply.Text[0], "/bin/sh did not end within 300ms and was killed") {
		t.Fatalf("%+v", o)
	}
	text, err := os.ReadFile(pid)
	n, err2 := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || err2 != nil {
		t.Skipf("it was killed before it started another: %v, %v", err, err2)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n)) // who was killed may wait to be noticed by its parent
		if err != nil || strings.Contains(string(state), ") Z ") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("what it started runs on: %s", state)
		}
	}
}

// TestChildHoldsOutput: a program that ended well is not waited for because of what it left running.
func TestChildHoldsOutput(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c := shell(t, `(read x < "$1") & exit 0`, fifo)
	defer os.WriteFile(fifo, []byte("x\n"), 0o600)
	if o := one(t, c, carriertest.NewJob(t, content("x\r\n"), "a@client.example", "joe@example.org")); o.Result != message.Delivered {
		t.Error(said(o))
	}
}

// TestNoProgram is nobody's fault but the operator's.
func TestNoProgram(t *testing.T) {
	c := New(Options{Name: "prog", Program: filepath.Join(t.TempDir(), "none"), TimeLimit: time.Minute})
	o := one(t, c, carriertest.NewJob(t, content("x\r\n"), "a@client.example", "joe@example.org"))
	if o.Result != message.Deferred || o.Reply.Enhanced != "4.3.5" || !o.Away || !strings.Contains(o.Reply.Text[0], "cannot be started") {
		t.Errorf("%+v", o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := c.Carry(ctx, carriertest.NewJob(t, content("x\r\n"), "a@client.example", "joe@example.org"))[0]; o.Result != message.Deferred || o.Host != "" || o.Reply.Enhanced != "4.3.2" {
		t.Errorf("stopped: %+v", o)
	}
}

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// dovecot is a Dovecot that runs, with the users joe and ann, whose password is pencil.
type dovecot struct {
	auth       string // the socket on which other programs ask who may log in
	lmtp       string // a socket
	mailbox    string // the one Maildir of all
	submission string // an address
}

// dovecotOptions are what a Dovecot does besides answering on the socket auth. Paths have to be open to its users.
type dovecotOptions struct {
	lmtp             bool
	next             string // with it, submission is offered, and mail goes on there
	certificate, key string // with these, submission offers STARTTLS, and asks for it
	mechanisms       string // of log-ins; default: plain login
}

// startDovecot runs a Dovecot until the end of the test.
func startDovecot(t *testing.T, o dovecotOptions) *dovecot {
	t.Helper()
	program := find(t, "dovecot")
	for name, wanted := range map[string]bool{"lmtp": o.lmtp, "submission-login": o.next != ""} {
		if _, err := os.Stat("/usr/lib/dovecot/" + name); wanted && err != nil {
			t.Skipf("left out: Dovecot's %s is not installed", name)
		}
	}
	asRoot(t, "dovecot", "dovenull", "nobody")
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) { // its processes go through
		os.Chmod(d, 0o755)
	}
	v := &dovecot{auth: filepath.Join(dir, "auth"), mailbox: filepath.Join(dir, "box")}
	if err := os.Mkdir(v.mailbox, 0o755); err != nil {
		t.Fatal(err)
	}
	nobody, _ := user.Lookup("nobody")
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	if err := os.Chown(v.mailbox, uid, gid); err != nil {
		t.Fatal(err)
	}
	if o.mechanisms == "" {
		o.mechanisms = "plain login"
	}
	var protocols []string
	encrypts, more := "ssl = no\ndisable_plaintext_auth = no\n", ""
	if o.certificate != "" {
		encrypts = fmt.Sprintf("ssl = required\nssl_cert = <%s\nssl_key = <%s\n", o.certificate, o.key)
	}
	if o.lmtp {
		v.lmtp = filepath.Join(dir, "lmtp")
		protocols = append(protocols, "lmtp")
		more += fmt.Sprintf("service lmtp {\n  unix_listener %s {\n    mode = 0666\n  }\n}\n", v.lmtp)
	}
	if o.next != "" {
		v.submission = freePort(t)
		_, port, _ := net.SplitHostPort(v.submission)
		nextHost, nextPort, _ := net.SplitHostPort(o.next)
		protocols = append(protocols, "submission")
		more += fmt.Sprintf("service submission-login {\n  inet_listener submission {\n    address = 127.0.0.1\n    port = %s\n  }\n}\nsubmission_relay_host = %s\nsubmission_relay_port = %s\n", port, nextHost, nextPort)
	}
	writeFile(t, filepath.Join(dir, "users"), "joe:{PLAIN}pencil::::::\nann:{PLAIN}pencil::::::\n")
	conf := filepath.Join(dir, "dovecot.conf")
	writeFile(t, conf, fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = %[2]s
listen = 127.0.0.1
auth_mechanisms = %[3]s
auth_failure_delay = 1s
auth_username_format = %%n
mail_location = maildir:%[1]s/box
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = static
  args = uid=%[4]d gid=%[5]d home=%[1]s/box
}
service auth {
  unix_listener %[1]s/auth {
    mode = 0666
  }
}
`, dir, strings.Join(protocols, " "), o.mechanisms, uid, gid)+encrypts+more)
	runDaemon(t, exec.Command(program, "-F", "-c", conf))
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && t.Failed() {
			t.Logf("dovecot logged:\n%s", log)
		}
	})
	for _, socket := range []string{v.auth, v.lmtp} {
		if socket == "" {
			continue
		}
		eventually(t, "Dovecot's socket", func() (bool, any) {
			conn, err := net.Dial("unix", socket)
			if err != nil {
				return false, err
			}
			conn.Close()
			return true, nil
		})
	}
	if v.submission != "" {
		listening(t, v.submission)
	}
	return v
}

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
	"syscall"
	"testing"
)

// relayServer is another mail server, which passes all mail on to ours.
type relayServer struct {
	name  string
	start func(t *testing.T, dir, next string) (address string)
}

// TestRelayedIn has a Postfix and an Exim pass mail to us, which they do with the extensions that we offer.
func TestRelayedIn(t *testing.T) {
	for _, other := range []relayServer{{"postfix", startPostfix}, {"exim", startExim}} {
		t.Run(other.name, func(t *testing.T) {
			sink := newSink(t)
			sv := newSite(t, relayConfig(sink.address)).start()
			address := other.start(t, t.TempDir(), sv.address("mx"))
			var ids []string
			for i := range 20 {
				id := fmt.Sprintf("<%s-%d@client.example>", other.name, i)
				ids = append(ids, id)
				c := dial(t, address)
				c.want(t, "EHLO client.example", "250")
				c.want(t, "MAIL FROM:<a@client.example>", "250")
				c.want(t, "RCPT TO:<u@example.net>", "250")
				c.want(t, "DATA", "354")
				text := "From: a@client.example\r\nMessage-ID: " + id + "\r\n\r\na line\r\n..a dot\r\n" + strings.Repeat("0123456789abcde\r\n", i*200)
				c.want(t, text+"last\r\n.", "250")
				c.want(t, "QUIT", "221")
			}
			for i, id := range ids {
				sink.wants(t, id, "\r\n\r\na line\r\n.a dot\r\n"+strings.Repeat("0123456789abcde\r\n", i*200)+"last\r\n")
			}
			sink.exactly(ids)
			sv.empty()
			sv.stop()
		})
	}
}

// asRoot leaves the test out for others: these servers need it to drop it.
func asRoot(t *testing.T, users ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("left out: a mail server can be started by root only")
	}
	for _, name := range users {
		if _, err := user.Lookup(name); err != nil {
			t.Skipf("left out: %v", err)
		}
	}
}

// listening waits for a greeting.
func listening(t *testing.T, address string) {
	t.Helper()
	eventually(t, "a server at "+address, func() (bool, any) {
		c, err := connect(address)
		if err != nil {
			return false, err
		}
		c.conn.Close()
		return true, nil
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// daemon runs a server in the foreground until the test ends.
func runDaemon(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out := &console{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, out.tail(50))
		}
	})
}

func startPostfix(t *testing.T, dir, next string) string {
	program := postfix(t, "postfix")
	asRoot(t, "postfix")
	host, nextPort, _ := net.SplitHostPort(next)
	address := freePort(t)
	for _, sub := range []string{"conf", "spool", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	me, _ := user.Lookup("postfix")
	uid, _ := strconv.Atoi(me.Uid)
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) { // its processes go through
		os.Chmod(d, 0o755)
	}
	if err := os.Chown(filepath.Join(dir, "data"), uid, -1); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "conf", "main.cf"), fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
disable_dns_lookups = yes
alias_maps =
alias_database =
local_recipient_maps =
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
relayhost = [%[2]s]:%[3]s
smtp_tls_security_level = may
smtpd_recipient_restrictions = permit_mynetworks, reject
`, dir, host, nextPort))
	writeFile(t, filepath.Join(dir, "conf", "master.cf"), address+` inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`)
	conf := filepath.Join(dir, "conf")
	t.Cleanup(func() {
		runToEnd(t, exec.Command(program, "-c", conf, "stop"))
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && t.Failed() {
			t.Logf("postfix logged:\n%s", log)
		}
	})
	if r := runToEnd(t, exec.Command(program, "-c", conf, "start")); r.code != 0 {
		t.Fatalf("postfix start: exit code %d\n%s%s", r.code, r.out, r.err)
	}
	listening(t, address)
	return address
}

// startExim takes the program from EXIM, since Debian's packages of two mail servers cannot both be installed.
func startExim(t *testing.T, dir, next string) string {
	program := os.Getenv("EXIM")
	if program == "" {
		program = find(t, "exim4")
	}
	asRoot(t, "Debian-exim") // the user that its package makes
	host, nextPort, _ := net.SplitHostPort(next)
	address := freePort(t)
	_, port, _ := net.SplitHostPort(address)
	me, _ := user.Lookup("Debian-exim")
	uid, _ := strconv.Atoi(me.Uid)
	gid, _ := strconv.Atoi(me.Gid)
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	for _, sub := range []string{"spool", "log"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, sub), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "exim.conf")
	writeFile(t, conf, fmt.Sprintf(`primary_hostname = exim.example
exim_path = %[1]s
spool_directory = %[2]s/spool
log_file_path = %[2]s/log/%%slog
pid_file_path = %[2]s/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[3]s
host_lookup =
rfc1413_hosts =
rfc1413_query_timeout = 0s
never_users = root
exim_user = Debian-exim
exim_group = Debian-exim
acl_smtp_rcpt = accept_all
tls_advertise_hosts =
begin acl
accept_all:
  accept
begin routers
next:
  driver = manualroute
  transport = next_smtp
  route_list = * %[4]s
  self = send
  no_more
begin transports
next_smtp:
  driver = smtp
  port = %[5]s
  allow_localhost
  hosts_try_dane =
  hosts_try_chunking = *
begin retry
* * F,2h,1s
begin rewrite
begin authenticators
`, program, dir, port, host, nextPort))
	runDaemon(t, exec.Command(program, "-C", conf, "-bdf", "-q1s"))
	listening(t, address)
	return address
}

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

	"github.com/stagepost/stagepost/core/certs/certstest"
)

// relayServer is another mail server, which passes all mail on to ours.
type relayServer struct {
	name    string
	start   func(t *testing.T, dir, next string) (address string)
	content string // the verb by which it sends content
}

func relayServers() []relayServer {
	return []relayServer{
		{"postfix", func(t *testing.T, dir, next string) string { return startPostfix(t, dir, next) }, "DATA"},
		{"exim", func(t *testing.T, dir, next string) string { return startExim(t, dir, next) }, "BDAT"},
	}
}

// TestRelayedIn has a Postfix and an Exim pass mail to us, which they do with the extensions that we offer, in clear and by STARTTLS.
func TestRelayedIn(t *testing.T) {
	for _, other := range relayServers() {
		t.Run(other.name, func(t *testing.T) { relayIn(t, other, "", " with ESMTP id ") })
		t.Run(other.name+", STARTTLS", func(t *testing.T) { relayIn(t, other, "tls = \"required\"\n", " with ESMTPS id ") })
	}
}

// relayIn has the server pass mail to a listener with more lines in its configuration; with is what our Received field says.
func relayIn(t *testing.T, other relayServer, listener, with string) {
	sink := newSink(t)
	config := strings.Replace(relayConfig(sink.address), "role = \"mx\"\n", "role = \"mx\"\n"+listener, 1)
	s := newSite(t, config+"\n[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n")
	certstest.Write(t, s.dir, "mx", certstest.New(t, "an authority").Issue(t, nil, "mx.example.org"))
	sv := s.start()
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
		if text := sink.text(id); !strings.Contains(text, with) {
			t.Errorf("%s came without%q:\n%.400s", id, with, text)
		}
	}
	sink.exactly(ids)
	counted := map[string]bool{}
	for line := range strings.Lines(sv.metrics()) {
		for verb, want := range map[string]bool{"DATA": other.content == "DATA", "BDAT": other.content == "BDAT"} {
			if strings.HasPrefix(line, "stagepost_commands_total{") && strings.Contains(line, `verb="`+verb+`"`) {
				counted[verb] = true
				if got := !strings.HasSuffix(line, " 0\n"); got != want {
					t.Errorf("content should come by %s only: %s", other.content, line)
				}
			}
		}
	}
	if !counted[other.content] {
		t.Errorf("the metrics do not tell how often %s came", other.content)
	}
	sv.empty()
	sv.stop()
}

// TestRelayedByLMTP has a Postfix deliver to us by LMTP: of a message each recipient has its own reply, and the Postfix knows what became of each.
func TestRelayedByLMTP(t *testing.T) {
	sink := newSink(t)
	s := newSite(t, strings.NewReplacer("role = \"mx\"", "role = \"lmtp\"", "enable = [", "enable = [\"mailboxes\", ").Replace(relayConfig(sink.address)))
	s.write("plugins/mailboxes.lua", `plugin { id = "mailboxes", version = "1.0.0" }
function on.rcpt(r)
  if r.address.text == "nobody@example.net" then return reject "there is no such mailbox" end
end
function on.data(m)
  return each(function(r)
    if r.address.text == "full@example.net" then return reject "that mailbox is full" end
    if r.address.text == "busy@example.net" then return defer "that mailbox is busy" end
  end)
end
`)
	sv := s.start()
	dir := t.TempDir()
	c := dial(t, startPostfix(t, dir, sv.address("mx"), "relayhost =", "default_transport = lmtp:inet:"+sv.address("mx")))
	c.want(t, "EHLO client.example", "250")
	c.want(t, "MAIL FROM:<>", "250")
	for _, name := range []string{"ann", "nobody", "full", "busy", "joe"} {
		c.want(t, "RCPT TO:<"+name+"@example.net>", "250")
	}
	c.want(t, "DATA", "354")
	c.want(t, "From: a@client.example\r\nMessage-ID: <lmtp@client.example>\r\n\r\ntext\r\n.", "250")
	for name, want := range map[string]string{
		"ann":    "status=sent (250 2.0.0 ",
		"joe":    "status=sent (250 2.0.0 ",
		"nobody": "said: 550 5.7.1 there is no such mailbox (in reply to RCPT TO command)",
		"full":   "said: 550 5.7.1 that mailbox is full (in reply to end of DATA command)",
		"busy":   "said: 451 4.7.1 that mailbox is busy (in reply to end of DATA command)",
	} {
		eventually(t, "in Postfix's log, for "+name+": "+want, func() (bool, any) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			for line := range strings.Lines(string(log)) {
				if strings.Contains(line, "to=<"+name+"@example.net>") && strings.Contains(line, want) {
					return true, nil
				}
			}
			return false, string(log)
		})
	}
	sink.wants(t, "<lmtp@client.example>", "\r\n\r\ntext\r\n")
	if text := sink.text("<lmtp@client.example>"); !strings.Contains(text, " with LMTP id ") {
		t.Errorf("it arrived as\n%s", text)
	}
	if got, want := fmt.Sprint(sink.recipients("<lmtp@client.example>")), "[ann@example.net joe@example.net]"; got != want {
		t.Errorf("it came for %s, want %s", got, want)
	}
	sv.empty()
	sink.exactly([]string{"<lmtp@client.example>"})
	sv.stop()
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
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, out.tail(50))
		}
	})
}

// startPostfix takes more lines for main.cf, which count more than those here.
func startPostfix(t *testing.T, dir, next string, more ...string) string {
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
%[4]s
`, dir, host, nextPort, strings.Join(more, "\n")))
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
lmtp unix - - n - - lmtp
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
// More lines for its main section may replace that by which it offers no TLS.
func startExim(t *testing.T, dir, next string, more ...string) string {
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
	if len(more) == 0 {
		more = []string{"tls_advertise_hosts ="}
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
%[6]s
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
`, program, dir, port, host, nextPort, strings.Join(more, "\n")))
	runDaemon(t, exec.Command(program, "-C", conf, "-bdf", "-q1s"))
	listening(t, address)
	return address
}

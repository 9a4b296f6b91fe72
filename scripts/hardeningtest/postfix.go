package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// postfix is an instance of Postfix in a folder of its own. What is asked of a server here is what a careful operator turns on, and
// no client is in its mynetworks: those are excluded from the checks that are tested.
type postfix struct {
	dir     string
	target  *target
	program string // the command postfix
	running *exec.Cmd
	ended   chan struct{}
	said    *console
}

const postfixMain = `compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
queue_directory = %[1]s/spool
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.test
myorigin = %[2]s
mydestination =
mynetworks = 192.0.2.1
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
disable_dns_lookups = yes
alias_maps =
alias_database =
local_recipient_maps =
relay_domains = %[2]s
relayhost = %[3]s
smtpd_helo_required = yes
strict_smtputf8 = yes
smtp_line_length_limit = 0
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_forbid_bare_newline = normalize
smtpd_forbid_unauth_pipelining = yes
header_checks = regexp:{{/^X-Hardening: reject$$/ REJECT}}
message_size_limit = 10000000
smtpd_client_connection_count_limit = 100
smtpd_error_sleep_time = 0
default_process_limit = 200
default_destination_concurrency_limit = 50
initial_destination_concurrency = 20
in_flow_delay = 0s
smtp_tls_security_level = none
smtputf8_enable = yes
smtpd_tls_security_level = may
smtpd_tls_chain_files = %[1]s/tls.pem
smtpd_tls_protocols = >=TLSv1.2
smtpd_tls_loglevel = 0
`

const postfixMaster = `%[1]s inet n - n - - smtpd
%[2]s inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
%[3]s inet n - n - - smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
%[4]s inet n - n - - smtpd
  -o smtpd_authorized_xclient_hosts=127.0.0.1
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix starts one in a temporary folder.
func startPostfix() (*target, error) {
	program, err := exec.LookPath("postfix")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/postfix"); err != nil {
			return nil, errors.New("there is no Postfix; on Debian, apt-get install postfix")
		}
	}
	if os.Getuid() != 0 {
		return nil, errors.New("a Postfix needs to be started by root")
	}
	version, err := exec.Command(filepath.Join(filepath.Dir(program), "postconf"), "-d", "-h", "mail_version").Output()
	if err != nil {
		return nil, fmt.Errorf("postconf: %w", err)
	}
	t := newTarget("Postfix " + strings.TrimSpace(string(version)))
	if t.sink, err = newSink("127.0.0.1:0"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "stagepost-hardening")
	if err != nil {
		t.sink.close()
		return nil, err
	}
	p := &postfix{dir: dir, target: t, program: program, said: &console{}}
	t.close = func() {
		p.stop()
		t.sink.close()
		os.RemoveAll(dir)
	}
	if err := errors.Join(p.write(), p.start()); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (p *postfix) write() error {
	for _, listener := range []string{"mx", "tls", "proxy", "xclient"} {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		p.target.addresses[listener] = address
	}
	host, port, err := net.SplitHostPort(p.target.sink.address())
	if err != nil {
		return err
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	certificate, err := selfSigned(hostName)
	if err != nil {
		return err
	}
	conf := filepath.Join(p.dir, "conf")
	err = os.Chmod(p.dir, 0o755)
	for _, name := range []string{"conf", "spool", "data"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(p.dir, name), 0o755))
	}
	return errors.Join(err,
		os.Chown(filepath.Join(p.dir, "data"), uid, 0),
		os.WriteFile(filepath.Join(p.dir, "tls.pem"), certificate, 0o600),
		os.WriteFile(filepath.Join(conf, "main.cf"), fmt.Appendf(nil, postfixMain, p.dir, p.target.domain, "["+host+"]:"+port), 0o644),
		os.WriteFile(filepath.Join(conf, "master.cf"), fmt.Appendf(nil, postfixMaster, p.target.addresses["mx"], p.target.addresses["tls"], p.target.addresses["proxy"], p.target.addresses["xclient"]), 0o644))
}

func (p *postfix) start() error {
	conf := filepath.Join(p.dir, "conf")
	if out, err := exec.Command(p.program, "-c", conf, "check").CombinedOutput(); err != nil {
		return fmt.Errorf("postfix check: %w: %s", err, bytes.TrimSpace(out))
	}
	p.running = exec.Command(p.program, "-c", conf, "start-fg")
	p.running.Stdout, p.running.Stderr = p.said, p.said
	if err := p.running.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func() {
		p.running.Wait()
		close(p.ended)
	}()
	for until := time.Now().Add(patience); !p.target.greets(); time.Sleep(50 * time.Millisecond) {
		select {
		case <-p.ended:
			return fmt.Errorf("the Postfix ended: %s; it said:\n%s", p.running.ProcessState, p.said.tail())
		default:
		}
		if time.Now().After(until) {
			return fmt.Errorf("the Postfix does not greet after %s; it said:\n%s", patience, p.said.tail())
		}
	}
	return nil
}

func (p *postfix) stop() {
	if p.ended == nil {
		return
	}
	exec.Command(p.program, "-c", filepath.Join(p.dir, "conf"), "stop").Run()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.running.Process.Kill()
		<-p.ended
	}
}

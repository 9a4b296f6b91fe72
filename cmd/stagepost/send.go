package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// sendFlags are the flags of send.
type sendFlags struct {
	from, subject, body, file, server, tls string
	user, passwordFile                     string
	to                                     []string
}

func (a *app) sendCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send --to ADDRESS",
		Short: "Send one message by SMTP and show the reply",
		Long: "send speaks SMTP to the first listener of the configuration, or to --server, and prints the replies that matter and the\n" +
			"command that traces the message. It exits with 69 when the message or a recipient was refused, with 75 when it may be\n" +
			"tried again later.\n\n" +
			"With --user it logs in first, by PLAIN, at the first listener whose role is submission, or at --server. The password is asked for on a\n" +
			"terminal; else it is the first line of the input, or of --password-file. It goes to another machine only within TLS, and if that has\n" +
			"the certificate for its name.",
		Example: "  stagepost send --to you@example.org\n" +
			"  stagepost send --to you@example.org --subject \"Hello\" --body \"A few words.\"\n" +
			"  stagepost send --from me@example.net --to you@example.org --file message.eml\n" +
			"  stagepost send --user office@example.org --to you@example.net --server mail.example.org:587",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.send(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", `sender; "" is the null sender (default postmaster at this server's name)`)
	flags.StringArrayVar(&f.to, "to", nil, "recipient; may be given more than once")
	flags.StringVar(&f.subject, "subject", "A message from stagepost send", "subject")
	flags.StringVar(&f.body, "body", "This is a test.", "text")
	flags.StringVar(&f.file, "file", "", "send this file, header and all, instead; - is the standard input")
	flags.StringVar(&f.server, "server", "", "host:port to send to, instead of the first listener")
	flags.StringVar(&f.tls, "tls", "", "off, starttls or implicit (default what the listener wants; off with --server, but starttls with --user); the certificate is verified only with --user and --server")
	flags.StringVar(&f.user, "user", "", "log in with this name; it is also the sender unless --from names another")
	flags.StringVar(&f.passwordFile, "password-file", "", "the file whose first line is the password")
	cmd.MarkFlagsMutuallyExclusive("file", "subject")
	cmd.MarkFlagsMutuallyExclusive("file", "body")
	return cmd
}

func (a *app) send(cmd *cobra.Command, f *sendFlags) error {
	if len(f.to) == 0 {
		return fail(exitUsage, "nobody is named to send to; write --to you@example.org")
	}
	for _, address := range f.to {
		if err := checkAddress(address); err != nil {
			return err
		}
	}
	if f.from != "" {
		if err := checkAddress(f.from); err != nil {
			return err
		}
	}
	if !slices.Contains([]string{"", "off", "starttls", "implicit"}, f.tls) {
		return fail(exitUsage, "--tls %s: write off, starttls or implicit", f.tls)
	}
	if f.passwordFile != "" && f.user == "" {
		return fail(exitUsage, "--password-file: whose password it is, says --user NAME")
	}
	server, name, role := f.server, "localhost", message.RoleMX
	if f.user != "" {
		role = message.RoleSubmission
	}
	if server == "" {
		c, err := a.configuration()
		if err != nil {
			return err
		}
		name = c.Hostname
		var l *config.Listener
		if server, l, err = a.listenerOf(cmd.Context(), c, role); err != nil {
			return err
		}
		if f.tls == "" {
			f.tls = map[string]string{"required": "starttls", "implicit": "implicit"}[l.TLS]
			if f.user != "" && l.TLS == "starttls" {
				f.tls = "starttls"
			}
		}
	} else if _, _, err := net.SplitHostPort(server); err != nil {
		return fail(exitUsage, "--server %s: write host:port, as 127.0.0.1:2525", server)
	}
	l := letter{helo: name, from: f.from, to: f.to, tls: f.tls, user: f.user}
	if !cmd.Flags().Changed("from") {
		l.from = "postmaster@" + name
		if checkAddress(f.user) == nil {
			l.from = f.user
		}
	}
	if f.user != "" {
		if err := f.logIn(cmd, server, &l); err != nil {
			return err
		}
	}
	switch f.file {
	case "":
		content, err := a.compose(&l, f)
		if err != nil {
			return err
		}
		l.content = strings.NewReader(content)
	case "-":
		l.content = cmd.InOrStdin()
	default:
		file, err := os.Open(f.file)
		if err != nil {
			return fail(exitNoInput, "%w", err)
		}
		defer file.Close()
		l.content = file
	}
	return a.deliver(cmd.Context(), outputOf(cmd), server, &l)
}

// logIn is what a log-in needs. A password leaves this machine for nobody but the server that is named.
func (f *sendFlags) logIn(cmd *cobra.Command, server string, l *letter) error {
	host, _, _ := net.SplitHostPort(server)
	ip, err := netip.ParseAddr(host)
	if f.server != "" && l.tls == "" {
		l.tls = "starttls"
	}
	if here := host == "localhost" || err == nil && ip.IsLoopback(); f.server != "" && !here {
		if l.verify = host; l.tls == "off" {
			return fail(exitUsage, "without TLS everybody on the way to %s could read the password; write --tls starttls or --tls implicit", server)
		}
	}
	switch {
	case f.passwordFile != "":
		file, err := os.Open(f.passwordFile)
		if err != nil {
			return fail(exitNoInput, "%w", err)
		}
		defer file.Close()
		l.password, err = passwordLine(file)
		return err
	case f.file == "-":
		return fail(exitUsage, "the message is read from the standard input; give the password with --password-file")
	}
	l.password, err = askPassword(cmd, f.user, false)
	return err
}

func checkAddress(address string) error {
	_, err := smtp.ParseAddress(address)
	if reply := (smtp.Reply{}); errors.As(err, &reply) {
		return fail(exitUsage, "%q is not an address: %s", address, strings.Join(reply.Text, " "))
	}
	return err
}

// listenerOf finds the address of the first listener of a role. When its port is any free one, the running server knows it.
func (a *app) listenerOf(ctx context.Context, c *config.Config, role message.Role) (string, *config.Listener, error) {
	for i, l := range c.Listeners {
		if l.Role != string(role) {
			continue
		}
		address := l.Address
		if strings.HasSuffix(address, ":0") {
			client, err := a.client()
			if err != nil {
				return "", nil, err
			}
			s, err := client.Status(ctx)
			if err != nil {
				return "", nil, err
			}
			for _, bound := range s.Listeners {
				if bound.Name == l.Name {
					address = bound.Address
				}
			}
		}
		return reachable(address), &c.Listeners[i], nil
	}
	return "", nil, fail(exitConfig, "%s: no listener has the role %q; name a server with --server", c.File, string(role))
}

// reachable turns an address to listen on into one to connect to.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	ip, err := netip.ParseAddr(host)
	if host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// compose writes a message of plain text (RFC 5322).
func (a *app) compose(l *letter, f *sendFlags) (string, error) {
	if strings.ContainsAny(f.subject, "\r\n") {
		return "", fail(exitUsage, "the subject is one line")
	}
	from := l.from
	if from == "" {
		from = "MAILER-DAEMON@" + l.helo
	}
	return fmt.Sprintf("From: <%s>\nTo: <%s>\nSubject: %s\nDate: %s\nMessage-ID: <%s@%s>\nMIME-Version: 1.0\n"+
		"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n%s\n",
		from, strings.Join(l.to, ">,\n <"), mime.QEncoding.Encode("utf-8", f.subject), a.now().Format(time.RFC1123Z), rand.Text(), l.helo,
		strings.TrimSuffix(f.body, "\n")), nil
}

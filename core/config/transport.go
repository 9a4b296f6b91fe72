package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stagepost/stagepost/core/macro"
	"github.com/stagepost/stagepost/core/weburl"
)

// Transport is one [transport.NAME]: a way out other than SMTP to a host. Which fields count follows from Type.
type Transport struct {
	Type        string // "lmtp", "maildir", "pipe" or "https"
	Concurrency int    // deliveries at once; 0: that of [queue]

	Socket string // lmtp: path

	Root   string // maildir: path
	Folder string // maildir: text with names
	Quota  int64  // maildir: bytes; 0: none

	Delimiter string // maildir, pipe

	Command   []string // pipe: program, and texts with names
	TimeLimit time.Duration

	URL     string // https
	Secret  string // https: name
	Private bool   // https
}

// FolderNames and CommandNames are what may stand in braces in `folder` and in `command`; a test compares them with what delivers.
func FolderNames() []string { return []string{"domain", "user", "mailbox", "recipient"} }

// CommandNames are those of `command`.
func CommandNames() []string {
	return []string{"sender", "recipient", "original_recipient", "user", "extension", "domain", "mailbox", "queue_id", "key", "size",
		"client_address", "client_port", "client_helo", "client_protocol", "sasl_method", "sasl_username"}
}

// transportKey says for which types a key is, and for which it must be there.
type transportKey struct {
	name          string
	types, needed []string
}

func transportKeys() []transportKey {
	return []transportKey{
		{"socket", []string{"lmtp"}, []string{"lmtp"}},
		{"root", []string{"maildir"}, []string{"maildir"}},
		{"folder", []string{"maildir"}, nil},
		{"quota", []string{"maildir"}, nil},
		{"delimiter", []string{"maildir", "pipe"}, nil},
		{"command", []string{"pipe"}, []string{"pipe"}},
		{"time_limit", []string{"pipe", "https"}, nil},
		{"url", []string{"https"}, []string{"https"}},
		{"secret", []string{"https"}, []string{"https"}},
		{"private", []string{"https"}, nil},
	}
}

func (t *Transport) fields() []field {
	return []field{
		{
			name: "type", required: true, example: `"maildir"`,
			doc: "What it is: \"lmtp\" by a socket of this machine, \"maildir\" folders of files, \"pipe\" a program, \"https\" a POST of the whole message.",
			to:  oneOf(&t.Type, "lmtp", "maildir", "pipe", "https"),
		},
		{
			name: "concurrency", example: "4", absent: "that of [queue]",
			doc: "Deliveries at once.",
			to:  wholeNumber(&t.Concurrency, 1, 10_000),
		},
		{
			name: "socket", example: `"/run/dovecot/lmtp"`, absent: "none; type \"lmtp\" needs it",
			doc: "For \"lmtp\": the socket on which it is spoken.",
			to:  one(&t.Socket, "a path", text),
		},
		{
			name: "root", example: `"/var/mail"`, absent: "none; type \"maildir\" needs it",
			doc: "For \"maildir\": the folder in which all others lie. It has to be there; links below it are not followed.",
			to:  one(&t.Root, "a path", text),
		},
		{
			name: "folder", value: `"${domain}/${user}"`,
			doc: "For \"maildir\": a recipient's folder below `root`, which is made if it is not there. ${user} is the local part without extension, ${mailbox} the whole of it, ${domain} the domain, ${recipient} the address; " +
				"each is in lower case, and what is not a letter, a digit or one of -_+=@. becomes %XX.",
			to: one(&t.Folder, "a path below root, as \"${domain}/${user}\"", folder),
		},
		{
			name: "quota", example: `"1GB"`, absent: "none",
			doc: "For \"maildir\": what the messages of a folder may have together. Mail for a full one is put off.",
			to:  aSize(&t.Quota, 1, 1<<50),
		},
		{
			name: "delimiter", value: `"+"`,
			doc: "For \"maildir\" and \"pipe\": the character before an extension, as in office+lists@example.org. \"none\": there are no extensions.",
			to:  one(&t.Delimiter, `one of + - _ = . #, or "none"`, delimiter),
		},
		{
			name: "command", example: `["/usr/libexec/dovecot/deliver", "-f", "${sender}", "-d", "${recipient}"]`, absent: "none; type \"pipe\" needs it",
			doc: "For \"pipe\": the program, by its whole path, and its arguments. No shell reads them. In arguments may stand ${" + strings.Join(CommandNames(), "}, ${") + "}. The page `transports` says what they are.",
			to:  list(&t.Command, 100, "a list with a program and its arguments", text),
		},
		{
			name: "time_limit", value: `"10m"`,
			doc: "For \"pipe\": how long the program may run for one recipient. For \"https\": until the answer is there.",
			to:  aDuration(&t.TimeLimit, time.Second, time.Hour),
		},
		{
			name: "url", example: `"https://inbound.example.org/mail"`, absent: "none; type \"https\" needs it",
			doc: "For \"https\": where messages are sent by POST.",
			to:  one(&t.URL, "a URL with https", httpsURL),
		},
		{
			name: "secret", example: `"inbound"`, absent: "none; type \"https\" needs it",
			doc: "For \"https\": the name of the secret with which requests are signed; see [secrets].",
			to:  one(&t.Secret, "the name of a secret", secretName),
		},
		{
			name: "private", value: "false",
			doc: "For \"https\": whether the server may be at a private address, or on this machine.",
			to:  one(&t.Private, "true or false", boolean),
		},
	}
}

// folder accepts a relative path with names.
func folder(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if _, err := macro.Parse(s, FolderNames()); err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, '\\') {
			return "", fmt.Errorf("%q is not a path below root", shorten(s))
		}
	}
	return s, nil
}

func delimiter(v any) (string, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return "", err
	case s == "none":
		return "", nil
	case len(s) != 1 || !strings.Contains("+-_=.#", s):
		return "", fmt.Errorf("%q is no delimiter", shorten(s))
	}
	return s, nil
}

func httpsURL(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if _, err := weburl.Parse(s); err != nil {
		return "", err
	}
	return s, nil
}

// secretName accepts what secrets are called: a path of names, none of which begins with a dot.
func secretName(v any) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	odd := func(r rune) bool {
		ok := 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("_.-", r)
		return !ok
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || len(s) > 256 || strings.ContainsFunc(part, odd) {
			return "", fmt.Errorf("%q cannot name a secret", shorten(s))
		}
	}
	return s, nil
}

// checkTransports looks at what belongs together.
func (c *Config) checkTransports(d *decoder) {
	for name, t := range c.Transports {
		at := []string{"transport", name}
		if name == "smtp" || name == "lmtp" || name == "http" || name == "https" {
			d.fail(at, "that is the name of a protocol, which plans may name as well; choose another")
		}
		if t.Type == "" { // it was reported
			continue
		}
		for _, k := range transportKeys() {
			written := d.lines.below["transport"].below[name].below[k.name] != nil
			switch {
			case written && !slices.Contains(k.types, t.Type):
				d.fail(append(at, k.name), "it is for type %s; this transport is of type %q", wordsKind(k.types...), t.Type)
			case !written && slices.Contains(k.needed, t.Type):
				d.fail(at, "%s is missing, which type %q needs", k.name, t.Type)
			}
		}
		for i, arg := range t.Command {
			names := CommandNames()
			if i == 0 {
				if !filepath.IsAbs(arg) {
					d.fail(append(at, "command", Index(i)), "%q is not the whole path of a program; write it from the root on, as /usr/bin/procmail", shorten(arg))
				}
				if strings.Contains(arg, "$") {
					d.fail(append(at, "command", Index(i)), "no value can stand in the name of the program")
				}
				continue
			}
			if _, err := macro.Parse(arg, names); err != nil {
				d.fail(append(at, "command", Index(i)), "%v", err)
			}
		}
		if t.Command != nil && len(t.Command) == 0 {
			d.fail(append(at, "command"), "the list is empty; write the program and its arguments")
		}
	}
}

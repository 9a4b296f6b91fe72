// Package maildir delivers to folders of files, each a message, as Maildir has them: it is written in tmp, synced, and linked into
// new, whose folder is synced too; then it is delivered. Readers move it to cur. Nobody locks anything.
//
// The name of a file is the message's and the recipient's, and the same at each attempt. So an attempt that follows one of which
// nobody knows whether it succeeded (the process died before that was noted) finds the file and writes no second one.
//
// Which folder it is follows from the recipient's address, by a template. Whatever a client can put into an address, it stays one name within
// the root: bytes that mean something to a file system are written as %XX (escape). Links below the root are not followed: what is
// found there as a folder is compared with what was opened (enter), so that nobody who may write to his own folder can make the server
// write to another.
package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/macro"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/smtp"
)

// Options of a Carrier.
type Options struct {
	Name      string     // of the transport
	Root      string     // a folder that exists; all others lie in it
	Folder    macro.Text // of a recipient, below Root, with the names of Names
	Delimiter string     // before an extension; empty: there are none
	Quota     int64      // bytes that the messages of a folder may have; 0: as many as there are
	Hostname  func() string

	sync func(*os.File) error // for tests; nil: File.Sync
}

// Names are those that may stand in Folder.
func Names() []string { return []string{"domain", "user", "mailbox", "recipient"} }

// Carrier delivers to the folders below a root.
type Carrier struct{ o Options }

var _ deliver.Carrier = (*Carrier)(nil)

// New makes a Carrier. It looks at no file before the first message.
func New(o Options) *Carrier {
	if o.sync == nil {
		o.sync = (*os.File).Sync
	}
	return &Carrier{o}
}

// String implements deliver.Carrier.
func (c *Carrier) String() string { return "maildir " + c.o.Root }

// Carry implements deliver.Carrier.
func (c *Carrier) Carry(ctx context.Context, job *deliver.Job) []message.Outcome {
	root, err := os.OpenRoot(c.o.Root)
	if err != nil {
		o := deliver.Deferral(451, "4.3.5", "the root of the transport cannot be used: %v", err)
		o.Away = true
		return job.Answers(o)
	}
	defer root.Close()
	out := make([]message.Outcome, len(job.Rcpts))
	for k, i := range job.Rcpts {
		if ctx.Err() != nil {
			out[k] = deliver.Interrupted()
			continue
		}
		out[k] = c.deliver(root, job, i)
	}
	return out
}

// deliver delivers to one recipient.
func (c *Carrier) deliver(root *os.Root, job *deliver.Job, rcpt int) message.Outcome {
	folder, err := c.folder(job.Env.Rcpts[rcpt].Address)
	if err != nil {
		return c.failed(550, "5.1.3", err.Error())
	}
	if job.Looped(rcpt) {
		return c.failed(554, "5.4.6", "the message is in a loop: it was delivered to "+job.Env.Rcpts[rcpt].Address.Text+" before")
	}
	box, err := c.open(root, folder)
	if err == nil {
		defer box.close()
		return c.put(box, job, rcpt)
	}
	return c.trouble(folder, err)
}

// put writes the message.
func (c *Carrier) put(box *mailbox, job *deliver.Job, rcpt int) message.Outcome {
	delivered := message.Outcome{Result: message.Delivered, Host: c.host(), Reply: smtp.NewReply(250, "2.0.0", deliver.Printable("delivered to "+box.path, 400))}
	unique := fmt.Sprintf("%d.%sR%d.", job.Env.Arrived.Unix(), job.Env.ID, rcpt)
	if job.Again {
		found, err := box.holds(unique)
		if err == nil && found {
			err = box.settle()
		}
		if err != nil {
			return c.trouble(box.path, err)
		}
		if found {
			delivered.Reply.Text[0] += " by an earlier attempt"
			return delivered
		}
	}
	if c.o.Quota > 0 {
		size := job.LocalSize(rcpt)
		if size > c.o.Quota {
			return c.failed(552, "5.2.3", fmt.Sprintf("the message has %d octets, more than the quota of %d", size, c.o.Quota))
		}
		used, err := box.used()
		if err != nil {
			return c.trouble(box.path, err)
		}
		if used > c.o.Quota-size {
			o := deliver.Deferral(452, "4.2.2", "%s is full: it has %d of %d octets", box.path, used, c.o.Quota)
			o.Host = c.host()
			return o
		}
	}
	if err := box.write(unique+hostPart(c.o.Hostname()), func(f *os.File) error { return job.WriteLocal(f, rcpt) }); err != nil {
		return c.trouble(box.path, err)
	}
	return delivered
}

func (c *Carrier) host() string { return "transport:" + c.o.Name }

func (c *Carrier) failed(code int, enhanced, why string) message.Outcome {
	return message.Outcome{Result: message.Failed, Host: c.host(), Reply: smtp.NewReply(code, enhanced, deliver.Printable(why, 400))}
}

// trouble is what becomes of a message that could not be written. Nothing is final: somebody has to look at the machine.
func (c *Carrier) trouble(path string, err error) message.Outcome {
	var content deliver.ContentError
	var o message.Outcome
	switch {
	case errors.As(err, &content):
		return deliver.Deferral(451, "4.3.0", "the content cannot be read: %v", err)
	case errors.Is(err, syscall.EDQUOT):
		o = deliver.Deferral(452, "4.2.2", "%s: %v", path, err)
	case errors.Is(err, syscall.ENOSPC):
		o = deliver.Deferral(452, "4.3.1", "%s: %v", path, err)
		o.Away = true // of every folder
		return o
	default:
		o = deliver.Deferral(451, "4.2.0", "%s: %v", path, err)
	}
	o.Host = c.host()
	return o
}

// errLink is for what must not be followed.
var errLink = errors.New("it is a link or no folder, and is not followed")

// enter opens a folder that lies in another, or makes it. What was opened is what was looked at, and no link.
func (c *Carrier) enter(in *os.Root, name string) (*os.Root, error) {
	seen, err := in.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = in.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err = c.syncFolder(in); err != nil {
			return nil, err
		}
		seen, err = in.Lstat(name)
	}
	if err != nil {
		return nil, err
	}
	if !seen.IsDir() {
		return nil, fmt.Errorf("%s: %w", name, errLink)
	}
	inner, err := in.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if opened, err := inner.Stat("."); err != nil || !os.SameFile(seen, opened) {
		inner.Close()
		return nil, fmt.Errorf("%s: %w", name, errLink)
	}
	return inner, nil
}

func (c *Carrier) syncFolder(r *os.Root) error {
	if runtime.GOOS == "windows" { // folders cannot be synced there
		return nil
	}
	f, err := r.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return c.o.sync(f)
}

// folder is where a recipient's mail goes.
func (c *Carrier) folder(a smtp.Address) (string, error) {
	domain := a.Domain
	if domain == "" {
		domain = c.o.Hostname()
	}
	user, _ := macro.Split(a.Local, c.o.Delimiter)
	path := c.o.Folder.Expand(func(name string) string {
		switch name {
		case "domain":
			return escape(domain)
		case "user":
			return escape(user)
		case "mailbox":
			return escape(a.Local)
		}
		return escape(a.Local + "@" + domain)
	})
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || len(name) > maxName {
			return "", fmt.Errorf("no folder can be named for the address")
		}
	}
	return path, nil
}

// maxName is what file systems take.
const maxName = 255

// escape makes a part of an address a part of a name, the same for all ways to write it in capital letters: what is not a lower-case letter,
// digit or one of -_+=@. becomes %XX, and so does a dot that could begin a name.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z':
			b = append(b, c|0x20)
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("-_+=@", c) >= 0, c == '.' && i > 0:
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// hostPart is the part of a file's name that tells servers apart.
func hostPart(host string) string { return strings.ToLower(strings.Map(plain, host)) }

func plain(c rune) rune {
	if 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' {
		return c
	}
	return '_'
}

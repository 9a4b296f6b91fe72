package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/deliver"
	"github.com/stagepost/stagepost/core/deliver/carriertest"
	"github.com/stagepost/stagepost/core/macro"
	"github.com/stagepost/stagepost/core/message"
	"github.com/stagepost/stagepost/core/message/messagetest"
	"github.com/stagepost/stagepost/core/smtp"
)

type content = messagetest.Stored

func carrier(t testing.TB, root, folder string, change func(*Options)) *Carrier {
	t.Helper()
	text, err := macro.Parse(folder, Names())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Name: "boxes", Root: root, Folder: text, Delimiter: "+", Hostname: func() string { return "MX1.example.org" }}
	if change != nil {
		change(&o)
	}
	return New(o)
}

func job(t testing.TB, c message.Content, rcpts ...string) *deliver.Job {
	return carriertest.NewJob(t, c, "a@client.example", rcpts...)
}

// files lists what lies below a folder, without folders.
func files(t testing.TB, root string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(root, path)
			list = append(list, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// one carries a job of one recipient.
func one(c *Carrier, j *deliver.Job) string {
	o := c.Carry(context.Background(), j)[0]
	return fmt.Sprintf("%s %s", o.Result, o.Reply.Error())
}

func TestDelivery(t *testing.T) {
	root := t.TempDir()
	c := carrier(t, root, "${domain}/${user}", nil)
	text := "Subject: x\r\n\r\na\rb\r\n\r\nlast\r\n" + strings.Repeat("0123456789abcde\r\n", 9000) + "\r"
	j := job(t, content(text), "Joe+lists@example.org", "ann@example.net")
	out := c.Carry(t.Context(), j)
	for _, o := range out {
		if o.Result != message.Delivered || o.Host != "transport:boxes" || !strings.HasPrefix(o.Reply.Text[0], "delivered to example.") {
			t.Errorf("outcome %+v", o)
		}
	}
	list := files(t, root)
	if len(list) != 2 || !strings.HasPrefix(list[0], "example.net/ann/new/1700000000."+j.Env.ID.String()+"R1.mx1.example.org,S=") || !strings.HasPrefix(list[1], "example.org/joe/new/1700000000."+j.Env.ID.String()+"R0.mx1.example.org,S=") {
		t.Fatalf("files: %q", list)
	}
	got, err := os.ReadFile(filepath.Join(root, list[1]))
	if err != nil {
		t.Fatal(err)
	}
	want := "Return-Path: <a@client.example>\nDelivered-To: Joe+lists@example.org\n" + strings.ReplaceAll(text, "\r\n", "\n")
	if string(got) != want {
		t.Errorf("it holds %d bytes %.200q, want %d %.200q", len(got), got, len(want), want)
	}
	if !strings.HasSuffix(list[1], fmt.Sprintf(",S=%d", len(want))) {
		t.Errorf("the size in %s is not %d", list[1], len(want))
	}
	if info, err := os.Stat(filepath.Join(root, "example.org", "joe")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
}

// TestLoop: who has had a message before, as its fields say, does not get it again; others do.
func TestLoop(t *testing.T) {
	root := t.TempDir()
	c := carrier(t, root, "${domain}/${user}", nil)
	j := job(t, content("Received: x\r\nDelivered-To: ann@example.net\r\nDELIVERED-TO:\r\n joe@EXAMPLE.org \r\nSubject: x\r\n\r\nDelivered-To: eve@example.org\r\n"), "Joe@example.org", "joe+l@example.org", "eve@example.org")
	var got []string
	for _, o := range c.Carry(t.Context(), j) {
		got = append(got, o.Result.String()+" "+o.Reply.Enhanced)
	}
	if want := []string{"failed 5.4.6", "delivered 2.0.0", "delivered 2.0.0"}; !slices.Equal(got, want) || len(files(t, root)) != 2 {
		t.Errorf("%q, %q", got, files(t, root))
	}
}

// TestAgain: an attempt that follows one that succeeded, or of which a crash left a part, makes no second file, also where a reader
// moved the first one meanwhile.
func TestAgain(t *testing.T) {
	root := t.TempDir()
	c := carrier(t, root, "${user}", nil)
	j := job(t, content("text\r\n"), "joe@example.org")
	name := "1700000000." + j.Env.ID.String() + "R0.mx1.example.org"
	if err := os.MkdirAll(filepath.Join(root, "joe", "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "joe", "tmp", name), []byte("Retu"), 0o600); err != nil { // a crash
		t.Fatal(err)
	}
	j.Again = true
	if got := one(c, j); !strings.HasPrefix(got, "delivered 250 2.0.0 delivered to joe") {
		t.Error(got)
	}
	list := files(t, root)
	if len(list) != 1 || !strings.HasPrefix(list[0], "joe/new/"+name+",S=") {
		t.Fatalf("files: %q", list)
	}
	for _, again := range []bool{true, false} { // the name alone keeps a second one out
		j.Again = again
		if got := one(c, j); !strings.HasPrefix(got, "delivered") {
			t.Error(got)
		}
	}
	if now := files(t, root); !slices.Equal(now, list) {
		t.Errorf("files: %q, then %q", list, now)
	}
	moved := strings.Replace(list[0], "/new/", "/cur/", 1) + ":2,S"
	if err := os.Rename(filepath.Join(root, list[0]), filepath.Join(root, moved)); err != nil {
		t.Fatal(err)
	}
	j.Again = true
	if got := one(c, j); got != "delivered 250 2.0.0 delivered to joe by an earlier attempt" {
		t.Error(got)
	}
	if now := files(t, root); len(now) != 1 || now[0] != moved {
		t.Errorf("files: %q", now)
	}
}

// TestFolders: whatever stands in an address is one name below the root.
func TestFolders(t *testing.T) {
	c := carrier(t, "/", "${domain}/${user}", nil)
	whole := carrier(t, "/", "x/${recipient}", nil)
	box := carrier(t, "/", ".m-${mailbox}", nil)
	for _, tt := range []struct{ address, folder, whole, box string }{
		{"joe@example.org", "example.org/joe", "x/joe@example.org", ".m-joe"},
		{"Joe+x@Example.ORG", "example.org/joe", "x/joe+x@example.org", ".m-joe+x"},
		{"+joe@example.org", "example.org/+joe", "x/+joe@example.org", ".m-+joe"},
		{`"../../etc/passwd"@example.org`, "example.org/%2E.%2F..%2Fetc%2Fpasswd", "x/%2E.%2F..%2Fetc%2Fpasswd@example.org", ".m-%2E.%2F..%2Fetc%2Fpasswd"},
		{`".."@example.org`, "example.org/%2E.", "x/%2E.@example.org", ".m-%2E."},
		{`"a b\"c\\d"@example.org`, "example.org/a%20b%22c%5Cd", "x/a%20b%22c%5Cd@example.org", ".m-a%20b%22c%5Cd"},
		{`"%2e%2e"@example.org`, "example.org/%252e%252e", "x/%252e%252e@example.org", ".m-%252e%252e"},
		{`""@example.org`, "", "x/@example.org", ".m-"},
		{"joe@[192.0.2.1]", "%5B192.0.2.1%5D/joe", "x/joe@%5B192.0.2.1%5D", ".m-joe"},
		{"joe@[IPv6:2001:db8::1]", "%5Bipv6%3A2001%3Adb8%3A%3A1%5D/joe", "x/joe@%5Bipv6%3A2001%3Adb8%3A%3A1%5D", ".m-joe"},
		{"jörg@example.org", "example.org/j%C3%B6rg", "x/j%C3%B6rg@example.org", ".m-j%C3%B6rg"},
		{"a=b_c-d.e@example.org", "example.org/a=b_c-d.e", "x/a=b_c-d.e@example.org", ".m-a=b_c-d.e"},
		{"joe:$HOME|x@example.org", "", "", ""},
	} {
		a, err := smtp.ParseUTF8Address(tt.address)
		if err != nil {
			if tt.whole != "" {
				t.Errorf("%s: %v", tt.address, err)
			}
			continue
		}
		for _, f := range []struct {
			c    *Carrier
			want string
		}{{c, tt.folder}, {whole, tt.whole}, {box, tt.box}} {
			if got, err := f.c.folder(a); got != f.want || (err != nil) != (f.want == "") {
				t.Errorf("%s: %q, %v; want %q", tt.address, got, err, f.want)
			}
		}
	}
	long := carriertest.Address(t, strings.Repeat("x", 60)+"@"+strings.Repeat("y", 60)+"."+strings.Repeat("y", 60)+"."+strings.Repeat("y", 55)+".org")
	if got, err := carrier(t, "/", "${recipient}-${recipient}", nil).folder(long); err == nil {
		t.Errorf("a name of %d bytes", len(got))
	}
	j := job(t, content("x\r\n"), `""@example.org`)
	if got := one(carrier(t, t.TempDir(), "${user}", nil), j); got != "failed 550 5.1.3 no folder can be named for the address" {
		t.Error(got)
	}
	postmaster := smtp.Address{Text: "postmaster", Local: "postmaster"}
	if got, err := c.folder(postmaster); got != "mx1.example.org/postmaster" || err != nil {
		t.Errorf("postmaster: %q, %v", got, err)
	}
}

// TestLinks: nobody who may write below the root leads the server elsewhere.
func TestLinks(t *testing.T) {
	for _, tt := range []struct{ at, to string }{
		{"example.org", "outside"}, {"example.org/joe", "outside"}, {"example.org/joe/new", "outside"}, {"example.org/joe/tmp", "outside"}, {"example.org/joe/cur", "outside"},
		{"example.org/joe", "inside"}, {"example.org/joe/new", "inside"}, {"example.org/joe/new", "file"}, {"example.org", "file"},
	} {
		t.Run(tt.at+" "+tt.to, func(t *testing.T) {
			root, outside := t.TempDir(), t.TempDir()
			other := filepath.Join(root, "other")
			at := filepath.Join(root, filepath.FromSlash(tt.at))
			for _, dir := range []string{filepath.Dir(at), filepath.Join(other, "new"), filepath.Join(other, "tmp"), filepath.Join(other, "cur")} {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			switch tt.to {
			case "outside":
				err = os.Symlink(outside, at)
			case "inside":
				err = os.Symlink(other, at)
			default:
				err = os.WriteFile(at, nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := files(t, root)
			got := one(carrier(t, root, "${domain}/${user}", nil), job(t, content("x\r\n"), "joe@example.org"))
			if !strings.HasPrefix(got, "deferred 451 4.2.0 example.org/joe: ") || !strings.HasSuffix(got, "it is a link or no folder, and is not followed") {
				t.Error(got)
			}
			if list := files(t, outside); len(list) > 0 {
				t.Errorf("written outside: %q", list)
			}
			if after := files(t, root); !slices.Equal(before, after) {
				t.Errorf("written: %q, then %q", before, after)
			}
		})
	}
}

func TestQuota(t *testing.T) {
	root := t.TempDir()
	c := carrier(t, root, "${user}", func(o *Options) { o.Quota = 900 })
	j := job(t, content(strings.Repeat("x", 298)+"\r\n"), "joe@example.org")
	send := func(want string) {
		t.Helper()
		j.Env.ID[9]++
		if got := one(c, j); !strings.HasPrefix(got, want) {
			t.Errorf("%s; want %s", got, want)
		}
	}
	send("delivered")
	// What lies in folders of the folder counts too, by the size in its name, or by its own; what is no message does not.
	for _, dir := range []string{".Archive/cur", ".Archive/new", "sub/new"} {
		if err := os.MkdirAll(filepath.Join(root, "joe", filepath.FromSlash(dir)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, size := range map[string]int{".Archive/cur/1.a,S=200:2,S": 1, ".Archive/new/2.b": 50, "sub/new/3": 5000, "subscriptions": 5000} {
		if err := os.WriteFile(filepath.Join(root, "joe", filepath.FromSlash(name)), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	box, err := func() (*mailbox, error) { r, _ := os.OpenRoot(root); return c.open(r, "joe") }()
	if err != nil {
		t.Fatal(err)
	}
	defer box.close()
	if used, err := box.used(); err != nil || used != j.LocalSize(0)-1+250 { // CRLF became LF
		t.Errorf("used %d, %v", used, err)
	}
	send("deferred 452 4.2.2 joe is full: it has 6")
	if err := os.RemoveAll(filepath.Join(root, "joe", ".Archive")); err != nil {
		t.Fatal(err)
	}
	send("delivered")
	j.Content = content(strings.Repeat("x", 2000))
	send("failed 552 5.2.3 the message has 2")
}

// TestTrouble: whatever goes wrong, nothing is final, nothing is left in new that was not delivered, and the next attempt delivers once.
func TestTrouble(t *testing.T) {
	eio := errors.New("input/output error")
	for _, tt := range []struct {
		name string
		nth  int // call of sync that fails
	}{{"the folder above", 1}, {"tmp", 2}, {"new", 3}, {"cur", 4}, {"the file", 5}, {"new again", 6}} {
		t.Run(tt.name, func(t *testing.T) {
			root, n := t.TempDir(), 0
			c := carrier(t, root, "${user}", func(o *Options) {
				o.sync = func(f *os.File) error {
					if n++; n == tt.nth {
						return eio
					}
					return f.Sync()
				}
			})
			j := job(t, content("x\r\n"), "joe@example.org")
			if got := one(c, j); got != "deferred 451 4.2.0 joe: input/output error" {
				t.Error(got)
			}
			j.Again = true
			if got := one(c, j); !strings.HasPrefix(got, "delivered") {
				t.Error(got)
			}
			if list := files(t, root); len(list) != 1 || !strings.HasPrefix(list[0], "joe/new/") {
				t.Errorf("files: %q", list)
			}
		})
	}
	t.Run("content", func(t *testing.T) {
		root := t.TempDir()
		if got := one(carrier(t, root, "${user}", nil), job(t, messagetest.Short{Stored: "x\r\n"}, "joe@example.org")); !strings.HasPrefix(got, "deferred 451 4.3.0 the content cannot be read") {
			t.Error(got)
		}
		if list := files(t, root); len(list) > 0 {
			t.Errorf("files: %q", list)
		}
	})
	t.Run("no root", func(t *testing.T) {
		c := carrier(t, filepath.Join(t.TempDir(), "none"), "${user}", nil)
		o := c.Carry(t.Context(), job(t, content("x\r\n"), "joe@example.org", "ann@example.org"))
		for _, o := range o {
			if !o.Away || o.Result != message.Deferred || o.Reply.Enhanced != "4.3.5" || o.Host != "" {
				t.Errorf("%+v", o)
			}
		}
	})
	t.Run("stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		o := carrier(t, t.TempDir(), "${user}", nil).Carry(ctx, job(t, content("x\r\n"), "joe@example.org"))[0]
		if o.Result != message.Deferred || o.Host != "" || o.Unknown {
			t.Errorf("%+v", o)
		}
	})
}

// FuzzEscape: no local part becomes anything but one name, and two that differ by more than capital letters never the same.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"joe", "..", ".", "a/b", "A", "%41", "\x00", "j\xc3\xb6", " "} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := escape(a), escape(b)
		if strings.ContainsAny(x, "/\\:\x00") || x == "." || x == ".." || strings.HasPrefix(x, ".") || strings.ContainsFunc(x, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q became %q", a, x)
		}
		lower := func(s string) string {
			return strings.Map(func(r rune) rune {
				if 'A' <= r && r <= 'Z' {
					return r | 0x20
				}
				return r
			}, s)
		}
		if x == y && lower(a) != lower(b) {
			t.Errorf("%q and %q both become %q", a, b, x)
		}
	})
}

// TestNames: the configuration knows the same names.
func TestNames(t *testing.T) {
	if got, want := Names(), config.FolderNames(); !slices.Equal(got, want) {
		t.Errorf("%q, and the configuration has %q", got, want)
	}
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stagepost/stagepost/core/password"
	"github.com/stagepost/stagepost/plugins/lookup"
)

const withUsers = minimal + `
[plugins]
enable = ["auth"]
[plugin.auth]
users = "lookup:people"
[lookup.people]
type = "file"
file = "users.txt"
`

func (s *site) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// user runs a command of user with a password on its input.
func (s *site) user(input string, args ...string) result {
	s.t.Helper()
	return s.runInput(input, append(append([]string{"user"}, args...), "--config", s.config)...)
}

// knows tells whether the file, read as the server reads it, has the user with the password.
func (s *site) knows(name, pass string) bool {
	s.t.Helper()
	table, err := lookup.Parse("file", "users.txt", []byte(s.read("users.txt")))
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := table.Get(name, func(int, int) error { return nil })
	if err != nil {
		s.t.Fatal(err)
	}
	value, _ := v.(string)
	hash, _, _ := strings.Cut(value, " ")
	h, err := password.Parse(hash)
	return err == nil && h.Verify(pass)
}

func TestUser(t *testing.T) {
	s := newSite(t, withUsers)
	s.want(s.user("", "passwd", "joe"), exitNoInput, "there is no file", "stagepost user add NAME")
	s.want(s.user("", "list"), exitNoInput, "there is no file")
	s.want(s.user("pencil\n", "add", "joe@example.org"), 0, "joe@example.org may log in.", "is new")
	info, err := os.Stat(filepath.Join(s.dir, "users.txt"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !s.knows("joe@example.org", "pencil") || s.knows("joe@example.org", "pen") {
		t.Errorf("the password is not what was given: %s", s.read("users.txt"))
	}
	s.want(s.user("other\n", "add", "Joe@example.org"), exitData, "users.txt:1: joe@example.org is there already", "user passwd")
	s.want(s.user("other\n", "passwd", "jo@example.org"), exitNoInput, "there is no user jo@example.org in", "did you mean joe@example.org?")
	s.want(s.user("grüße\r\n", "add", "ann", "--scram"), 0, "ann may log in.")
	if !strings.Contains(s.read("users.txt"), "\nann SCRAM-SHA-256$32768:") || !s.knows("ann", "grüße") {
		t.Errorf("no keys of SCRAM: %s", s.read("users.txt"))
	}

	// a password that nobody can have leaves the file as it is
	before := s.read("users.txt")
	for _, bad := range []string{"", "\n", "a\x00b\n", strings.Repeat("x", 1025) + "\n"} {
		s.want(s.user(bad, "passwd", "ann"), exitData, "nothing is changed")
	}
	if s.read("users.txt") != before {
		t.Error("the file changed")
	}

	s.want(s.user("crayon", "passwd", "ANN"), 0, "The password of ann is changed.")
	if !s.knows("ann", "crayon") || !strings.Contains(s.read("users.txt"), "\nann SCRAM-SHA-256$") {
		t.Errorf("not the new password, or not of its kind: %s", s.read("users.txt"))
	}
	s.want(s.user("crayon", "passwd", "ann", "--scram=false"), 0)
	s.want(s.user("chalk", "passwd", "joe@example.org", "--scram"), 0)
	if text := s.read("users.txt"); !strings.Contains(text, "\nann $argon2id$") || !strings.HasPrefix(text, "joe@example.org SCRAM-SHA-256$") {
		t.Errorf("not of the kind that was wanted: %s", text)
	}
	s.want(s.user("", "remove", "joe@example.org"), 0, "may log in no more")
	if text := s.read("users.txt"); strings.Contains(text, "joe") || !strings.HasPrefix(text, "ann ") {
		t.Errorf("after remove: %s", text)
	}
}

// TestUserFileStays: what nobody asked to change stays as it is, and so do a link, and a group that may read.
func TestUserFileStays(t *testing.T) {
	s := newSite(t, withUsers)
	const hash = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	text := "# people\n\nzoe\t" + hash + "   groups=staff,admins\n  # indented\nann  " + hash + "\r\nbob " + hash
	s.write("elsewhere.txt", text)
	real := filepath.Join(s.dir, "elsewhere.txt")
	if err := os.Chmod(real, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere.txt", filepath.Join(s.dir, "users.txt")); err != nil {
		t.Fatal(err)
	}
	s.want(s.user("pencil\n", "add", "new"), 0)
	got := s.read("elsewhere.txt")
	if !strings.HasPrefix(got, text+"\nnew $argon2id$") || strings.Count(got, "\n") != 7 {
		t.Errorf("got %q", got)
	}
	if info, err := os.Lstat(filepath.Join(s.dir, "users.txt")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	if info, err := os.Stat(real); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	s.want(s.user("crayon\n", "passwd", "zoe"), 0)
	got = s.read("elsewhere.txt")
	if lines := strings.Split(got, "\n"); !strings.HasPrefix(lines[2], "zoe SCRAM-SHA-256$32768:") || !strings.HasSuffix(lines[2], " groups=staff,admins") || lines[3] != "  # indented" {
		t.Errorf("got %q", got)
	}
	s.want(s.user("", "remove", "ann"), 0)
	if got = s.read("elsewhere.txt"); strings.Contains(got, "ann") || !strings.Contains(got, "  # indented\nbob ") {
		t.Errorf("got %q", got)
	}

	s.write("elsewhere.txt.new", "")
	s.want(s.user("", "remove", "bob"), exitTemporary, "another command is writing the file")
	if s.read("elsewhere.txt") != got {
		t.Error("the file changed")
	}
}

func TestUserNames(t *testing.T) {
	s := newSite(t, withUsers)
	for name, want := range map[string]string{
		"":                       "a name has 1 to 255 bytes",
		strings.Repeat("n", 256): "a name has 1 to 255 bytes",
		"two words":              "white space",
		"a\tb":                   "no log-in can have",
		"a\nb":                   "no log-in can have",
		"a\x00b":                 "no log-in can have",
		"a\xffb":                 "no log-in can have",
		"#joe":                   "begins with #",
		"a\u202eb":               "no log-in can have",
	} {
		s.want(s.user("pencil\n", "add", name), exitUsage, want)
	}
	s.want(s.user("pencil\n", "add", "rene\u0301"), 0)
	s.want(s.user("pencil\n", "add", "ren\u00e9"), exitData, "is there already")
	for _, odd := range []string{"*)(uid=*", "'OR1=1--", "$(id)", ";rm"} {
		s.want(s.user("pencil\n", "add", odd), 0)
		if !s.knows(odd, "pencil") {
			t.Errorf("%s is not found", odd)
		}
	}
}

func TestUserList(t *testing.T) {
	s := newSite(t, withUsers)
	const hash = "$2y$05$.LOymo2Tp4xZf13w/IOs7.kLjbmM9XjZq3KeHl5Zz8z2CWOdN/xmC"
	s.write("users.txt", "# people\nzoe "+hash+" groups=staff,admins\nann "+hash+"\n")
	s.want(s.user("", "list"), 0, "zoe", "bcrypt", "staff, admins", "ann")
	s.write("users.txt", "zoe "+hash+"\nann {SSHA}secret\nZoe "+hash+"\nbob\ncid "+hash+" staff\ndan "+hash+" groups=a b\n eve "+hash+"\n")
	r := s.user("", "list")
	s.want(r, exitData, "users.txt:2: what is kept of ann's password cannot be used: the scheme {SSHA} is not known",
		"users.txt:3: Zoe stands in line 1 already", "users.txt:4: there is nothing but the name bob", "users.txt:5: behind the password of cid", "users.txt:6: behind the password of dan",
		"users.txt:7: the line begins with white space")
	if strings.Contains(r.out+r.err, "secret") {
		t.Error("a password is shown")
	}
	r = s.user("", "list", "--json")
	var got []userEntry
	dec := json.NewDecoder(strings.NewReader(r.out))
	for dec.More() {
		var e userEntry
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 7 || !reflect.DeepEqual(got[0], userEntry{Name: "zoe", Scheme: "bcrypt", Groups: []string{}, Line: 1}) || got[1].Error == "" || r.code != exitData {
		t.Errorf("%+v", got)
	}
}

// TestUserWhere: which file it is, and what is said when none is known.
func TestUserWhere(t *testing.T) {
	s := newSite(t, minimal)
	s.want(s.user("pencil\n", "add", "joe"), exitConfig, "does not say where users are", "[lookup.users]")
	own := filepath.Join(s.dir, "own.txt")
	s.want(s.user("pencil\n", "add", "joe", "--file", own), 0)
	if !strings.HasPrefix(s.read("own.txt"), "joe $argon2id$") {
		t.Error("not in the file that was named")
	}
	s.write("stagepost.toml", strings.Replace(withUsers, "[lookup.people]", "[lookup.others]", 1))
	s.want(s.user("pencil\n", "add", "joe"), exitConfig, "has no [lookup.people]")
	s.write("stagepost.toml", strings.Replace(withUsers, `"file"`, `"regex"`, 1))
	s.want(s.user("pencil\n", "add", "joe"), exitConfig, "[lookup.people]", "is of type regex")
	s.write("stagepost.toml", "nonsense = 1\n")
	s.want(s.user("pencil\n", "add", "joe"), exitConfig, "nonsense")
	s.want(s.user("pencil\n", "add", "joe", "--file", s.dir), exitNoInput, "is not a regular file")
	s.want(s.user("pencil\n", "add", "joe", "--file", filepath.Join(s.dir, "none", "users.txt")), exitCantCreate, "cannot be written")
	s.want(s.user("", "add"), exitUsage)
}

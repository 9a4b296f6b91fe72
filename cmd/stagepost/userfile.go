package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/password"
	"github.com/stagepost/stagepost/plugins/lookup"
)

// userFile is a file of users as the plugin auth reads it through a lookup: on each line a name, what is kept of the password, and
// perhaps groups. Lines that nobody asked to change, comments and their order stay as they are.
type userFile struct {
	path  string
	lines []string // with their ends
	isNew bool     // it does not exist yet
}

// userLine is one user.
type userLine struct {
	at     int // index of the line
	name   string
	hash   string
	groups string // "" or "groups=a,b"
	err    error  // what is wrong with it
}

func readUsers(path string) (*userFile, error) {
	f := &userFile{path: path}
	data, err := config.ReadFile(path, lookup.MaxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.isNew = true
		return f, nil
	case err != nil:
		return nil, fail(codeOf(err, exitNoInput), "the users' file cannot be read: %w", err)
	case len(data) > lookup.MaxFile:
		return nil, fail(exitData, "%s is larger than %d MiB, the most that the server reads", path, lookup.MaxFile>>20)
	}
	for line := range bytes.Lines(data) {
		f.lines = append(f.lines, string(line))
	}
	return f, nil
}

// codeOf is the exit code for a file that cannot be used.
func codeOf(err error, otherwise int) int {
	if errors.Is(err, fs.ErrPermission) {
		return exitPermission
	}
	return otherwise
}

var groupsPattern = regexp.MustCompile(`^groups=[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*$`)

// users are those of the file, in its order, also those with mistakes.
func (f *userFile) users() (all []userLine) {
	seen := map[string]int{}
	for at, line := range f.lines {
		if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		u := userLine{at: at, name: fields[0]}
		if len(fields) > 1 {
			u.hash = fields[1]
		}
		folded := strings.ToLower(u.name)
		switch first, twice := seen[folded]; {
		case line[0] == ' ' || line[0] == '\t':
			u.err = errors.New("the line begins with white space")
		case twice:
			u.err = fmt.Errorf("%s stands in line %d already", u.name, first)
		case len(fields) < 2:
			u.err = fmt.Errorf("there is nothing but the name %s", u.name)
		default:
			if _, err := password.Parse(u.hash); err != nil {
				u.err = fmt.Errorf("what is kept of %s's password cannot be used: %w", u.name, err)
			}
		}
		if u.err == nil && len(fields) > 2 {
			if u.groups = fields[2]; len(fields) > 3 || !groupsPattern.MatchString(u.groups) {
				u.err = fmt.Errorf("behind the password of %s may stand its groups only, as groups=staff,admins", u.name)
			}
		}
		if _, twice := seen[folded]; !twice {
			seen[folded] = at + 1
		}
		all = append(all, u)
	}
	return all
}

// find gives the user of that name, whatever its case, as the lookup does.
func (f *userFile) find(name string) (userLine, bool) {
	for _, u := range f.users() {
		if strings.EqualFold(u.name, name) {
			return u, true
		}
	}
	return userLine{}, false
}

// set puts a line in the place of that of the user, or at the end of the file.
func (f *userFile) set(u userLine, found bool) {
	line := u.name + " " + u.hash
	if u.groups != "" {
		line += " " + u.groups
	}
	line += "\n"
	if found {
		f.lines[u.at] = line
		return
	}
	if n := len(f.lines); n > 0 && !strings.HasSuffix(f.lines[n-1], "\n") {
		f.lines[n-1] += "\n"
	}
	f.lines = append(f.lines, line)
}

// write puts the file in the place of the old one, in one step. A new one is for its owner alone; of an old one owner and
// group stay, and what its group may do, so that the server can still read it, and all others may do nothing any more.
func (f *userFile) write() error {
	path, mode := f.path, fs.FileMode(0o600)
	var old fs.FileInfo
	if !f.isNew {
		var err error
		if path, err = filepath.EvalSymlinks(path); err == nil { // a link stays one
			old, err = os.Stat(path)
		}
		if err != nil {
			return fail(codeOf(err, exitIO), "%w", err)
		}
		mode |= old.Mode().Perm() & 0o060
	}
	err := replaceFile(path, path+".new", []byte(strings.Join(f.lines, "")), mode, old)
	switch busy := (*failure)(nil); {
	case err == nil || errors.As(err, &busy):
		return err
	case errors.Is(err, fs.ErrNotExist): // its folder
		return fail(exitCantCreate, "the users' file cannot be written: %w", err)
	}
	return fail(codeOf(err, exitIO), "the users' file cannot be written, and is as it was: %w", err)
}

const maxUserName = 255 // bytes

// userName prepares and checks a name as the plugin auth does: it must be found again in a line of the file.
func userName(text string) (string, error) {
	name, err := password.Prepare(text)
	switch {
	case err != nil || !utf8.ValidString(text):
		return "", fail(exitUsage, "the name %q has a character that no log-in can have", text)
	case name == "" || len(name) > maxUserName:
		return "", fail(exitUsage, "a name has 1 to %d bytes", maxUserName)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "", fail(exitUsage, "the name %q has white space or a character that cannot be seen, which names in a users' file cannot have", name)
	case name[0] == '#':
		return "", fail(exitUsage, "the name %q begins with #, as comments in a users' file do", name)
	}
	return name, nil
}

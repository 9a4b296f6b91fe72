package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/password"
	"github.com/stagepost/stagepost/plugins/lookup"
)

func (a *app) userCommand() *cobra.Command {
	return parent("user", "Keep the file of those who may log in", a.userAddCommand(), a.userPasswdCommand(), a.userRemoveCommand(), a.userListCommand())
}

const aboutUserFile = "\n\nThe file is that of the lookup in `users` of [plugin.auth], or the one that --file names. It is written in one step, and a running\n" +
	"server reads it when it has changed."

const aboutPassword = "The password is asked for twice on a terminal, without being shown; from anything else the first line of the input is read."

func fileFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("file", "", "the users' file (default: the one of the configuration)")
}

func scramFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("scram", false, "keep keys of SCRAM-SHA-256, for that mechanism and for passwords, in the place of argon2id, for passwords only")
}

func (a *app) userAddCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "add NAME", Short: "Let somebody log in", Args: cobra.ExactArgs(1),
		Long: "add writes a new user into the file, which is made if there is none. " + aboutPassword + "\n\n" +
			"What is kept of the password is argon2id, which makes guessing slow for whoever steals the file, and serves the mechanisms PLAIN and\n" +
			"LOGIN. With --scram it is the keys of SCRAM-SHA-256, which serve that mechanism, too, and are guessed faster." + aboutUserFile}
	file, scram := fileFlag(cmd), scramFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := a.usersPath(*file)
		if err != nil {
			return err
		}
		name, err := userName(args[0])
		if err != nil {
			return err
		}
		absent := func() (*userFile, error) {
			f, err := readUsers(path)
			if err != nil {
				return nil, err
			}
			if u, found := f.find(name); found {
				return nil, fail(exitData, "%s:%d: %s is there already; change the password with: stagepost user passwd %s", path, u.at+1, u.name, name)
			}
			return f, nil
		}
		if _, err := absent(); err != nil { // before somebody types a password
			return err
		}
		hash, err := newHash(cmd, name, *scram)
		if err != nil {
			return err
		}
		f, err := absent() // others may have written it meanwhile
		if err != nil {
			return err
		}
		f.set(userLine{name: name, hash: hash}, false)
		if err := f.write(); err != nil {
			return err
		}
		out := outputOf(cmd)
		out.printf("%s may log in.\n", printable(name))
		if f.isNew {
			out.printf("%s is new, and readable by its owner only: the server must run as that user.\n", printable(path))
		}
		return nil
	}
	return cmd
}

func (a *app) userPasswdCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "passwd NAME", Short: "Change a user's password", Args: cobra.ExactArgs(1),
		Long: "passwd changes the password of a user; groups stay. " + aboutPassword + "\n\n" +
			"Where keys of SCRAM-SHA-256 were kept, there will be such again, and argon2id for all else, unless --scram or --scram=false says otherwise." + aboutUserFile}
	file, scram := fileFlag(cmd), scramFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := a.usersPath(*file)
		if err != nil {
			return err
		}
		_, u, err := findUser(path, args[0])
		if err != nil {
			return err
		}
		keys := *scram
		if !cmd.Flags().Changed("scram") {
			_, err := password.ParseKeys(u.hash)
			keys = err == nil
		}
		hash, err := newHash(cmd, u.name, keys)
		if err != nil {
			return err
		}
		f, u, err := findUser(path, args[0]) // others may have written it meanwhile
		if err != nil {
			return err
		}
		u.hash = hash
		f.set(u, true)
		if err := f.write(); err != nil {
			return err
		}
		outputOf(cmd).printf("The password of %s is changed.\n", printable(u.name))
		return nil
	}
	return cmd
}

func (a *app) userRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME", Short: "Let somebody log in no more", Args: cobra.ExactArgs(1),
		Long: "remove takes a user out of the file. Sessions that are logged in go on." + aboutUserFile}
	file := fileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := a.usersPath(*file)
		if err != nil {
			return err
		}
		f, u, err := findUser(path, args[0])
		if err != nil {
			return err
		}
		f.lines = slices.Delete(f.lines, u.at, u.at+1)
		if err := f.write(); err != nil {
			return err
		}
		outputOf(cmd).printf("%s may log in no more.\n", printable(u.name))
		return nil
	}
	return cmd
}

// userEntry is one object of the listing.
type userEntry struct {
	Name   string   `json:"name"`
	Scheme string   `json:"scheme,omitempty"`
	Groups []string `json:"groups"`
	Line   int      `json:"line"`
	Error  string   `json:"error,omitempty"`
}

func (a *app) userListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the users, and what is wrong in their file", Args: cobra.NoArgs,
		Long: "list shows the users of the file, and nothing of their passwords but how they are kept. The exit code is 65 when a line has a mistake." + aboutUserFile}
	file := fileFlag(cmd)
	asJSON := jsonFlag(cmd, "JSON Lines: one object a user")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := a.usersPath(*file)
		if err != nil {
			return err
		}
		f, err := readUsers(path)
		if err == nil && f.isNew {
			err = noUsers(path)
		}
		if err != nil {
			return err
		}
		out := outputOf(cmd)
		var faults []error
		t := newTable(out, "NAME", "PASSWORD", "GROUPS")
		for _, u := range f.users() {
			e := userEntry{Name: u.name, Groups: []string{}, Line: u.at + 1}
			if u.err != nil {
				e.Error = u.err.Error()
				faults = append(faults, fmt.Errorf("%s:%d: %w", path, u.at+1, u.err))
			} else if h, err := password.Parse(u.hash); err == nil {
				e.Scheme = h.Scheme
			}
			if u.groups != "" {
				e.Groups = strings.Split(strings.TrimPrefix(u.groups, "groups="), ",")
			}
			if *asJSON {
				if err := out.json(e); err != nil {
					return err
				}
			} else if u.err == nil {
				t.add(text(e.Name), text(e.Scheme), text(strings.Join(e.Groups, ", ")))
			}
		}
		if !*asJSON {
			t.flush()
		}
		if len(faults) > 0 {
			return &failure{exitData, errors.Join(faults...)}
		}
		return nil
	}
	return cmd
}

// findUser reads the file and finds a user who must be there.
func findUser(path, text string) (*userFile, userLine, error) {
	name, err := userName(text)
	if err != nil {
		return nil, userLine{}, err
	}
	f, err := readUsers(path)
	if err == nil && f.isNew {
		err = noUsers(path)
	}
	if err != nil {
		return nil, userLine{}, err
	}
	u, found := f.find(name)
	if !found {
		var names []string
		for _, u := range f.users() {
			names = append(names, u.name)
		}
		hint := ""
		if near := config.Nearest(name, names); near != "" {
			hint = fmt.Sprintf("; did you mean %s?", near)
		}
		return nil, u, fail(exitNoInput, "there is no user %s in %s%s", name, path, hint)
	}
	return f, u, nil
}

func noUsers(path string) error {
	return fail(exitNoInput, "there is no file %s; make it with: stagepost user add NAME", path)
}

// usersPath finds the users' file.
func (a *app) usersPath(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	const write = "name the file with --file, or write:\n\n[plugin.auth]\nusers = \"lookup:users\"\n\n[lookup.users]\ntype = \"file\"\nfile = \"users.txt\""
	c, err := a.configuration()
	if err != nil {
		if f := (*failure)(nil); errors.As(err, &f) && f.code == exitConfig && a.config == "" && !configured() {
			return "", fail(exitConfig, "%w\nor name the users' file itself with --file", err)
		}
		return "", err
	}
	users, _ := c.Settings["auth"]["users"].(string)
	name, ok := strings.CutPrefix(users, lookup.Prefix)
	if !ok {
		return "", fail(exitConfig, "%s does not say where users are: [plugin.auth] has no lookup in its setting users; %s", c.File, write)
	}
	l, ok := c.Lookups[name]
	switch {
	case !ok:
		return "", fail(exitConfig, "%s has no [lookup.%s], which [plugin.auth] names; %s", c.File, name, write)
	case l.Type != "file":
		return "", fail(exitConfig, "users are kept in a lookup of type file, and [lookup.%s] in %s is of type %s", name, c.File, l.Type)
	}
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, l.File); err == nil && filepath.IsLocal(rel) {
			return rel, nil
		}
	}
	return l.File, nil
}

// configured tells whether there is a configuration where one is looked for.
func configured() bool {
	for _, name := range []string{localConfig, systemConfig} {
		if _, err := os.Stat(name); err == nil {
			return true
		}
	}
	return false
}

// newHash asks for a password and makes what is kept of it.
func newHash(cmd *cobra.Command, name string, scram bool) (string, error) {
	text, err := askPassword(cmd, name, true)
	if err != nil {
		return "", err
	}
	if err := password.Check(text); err != nil {
		return "", fail(exitData, "%w; nothing is changed", err)
	}
	hash, err := password.New(text, scram)
	if err != nil {
		return "", fail(exitSoftware, "%w", err)
	}
	return hash, nil
}

// passwordLine reads a password that nobody types.
func passwordLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 64<<10)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fail(exitIO, "the password cannot be read: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// askPassword reads a password. Where somebody types one that is new, it is asked for twice.
func askPassword(cmd *cobra.Command, name string, isNew bool) (string, error) {
	return askSecret(cmd, "Password of "+printable(name), isNew)
}

// askSecret is askPassword for whatever is called so.
func askSecret(cmd *cobra.Command, called string, isNew bool) (string, error) {
	file, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return passwordLine(cmd.InOrStdin())
	}
	first, err := typed(cmd.Context(), file, cmd.ErrOrStderr(), called+": ")
	if err != nil || !isNew {
		return first, err
	}
	second, err := typed(cmd.Context(), file, cmd.ErrOrStderr(), "The same again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", fail(exitData, "the two are not the same; nothing is changed")
	}
	return first, nil
}

// typed reads a line from a terminal that does not show it. The terminal is as it was afterwards, also when the command is ended.
func typed(ctx context.Context, terminal *os.File, out io.Writer, prompt string) (string, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fail(exitIO, "the terminal cannot be used: %w", err)
	}
	fmt.Fprint(out, prompt)
	defer fmt.Fprintln(out)
	type line struct {
		text []byte
		err  error
	}
	done := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		done <- line{text, err}
	}()
	select {
	case l := <-done:
		if l.err != nil {
			return "", fail(exitIO, "no password was typed; nothing is changed")
		}
		return string(l.text), nil
	case <-ctx.Done():
		term.Restore(fd, before)
		return "", fail(exitTemporary, "ended; nothing is changed")
	}
}

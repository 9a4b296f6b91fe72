package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/stagepost/stagepost/core/capability"
)

// Secrets are what the operator keeps from plugins that may use it. It is safe for concurrent use.
type Secrets interface {
	// Secret gives the secret with that name; ok is false if there is none.
	Secret(name string) (text []byte, ok bool, err error)
}

// MaxSecret bounds a secret, in bytes.
const MaxSecret = 64 << 10

const secretObject = "secret"

func secretService() Service {
	return Service{
		Name: secretObject, Doc: "What the operator keeps in files: keys, passwords, tokens. A plugin hands a secret on to where it is taken, and cannot see, print or keep it.",
		Objects: []Object{{Name: secretObject, Doc: "A secret. It is taken by hash.hmac, dkim.sign and arc.seal as the key, by http.request as bearer and as the text of a field, and by send of a connection."}},
		Funcs: []Func{{
			Name: secretObject, Args: []Arg{{Name: "name", Kind: String}}, Result: "secret?", Needs: "secrets",
			Doc: `The secret of that name, such as "dkim/example.org"; nil if there is none. In WebAssembly it is the map {secret = name}, which a plugin may as well write itself.`,
			Call: func(c *Context, args []any) (any, error) {
				t, err := c.secret(args[0].(string))
				if none := (*noSecret)(nil); errors.As(err, &none) {
					return nil, nil
				}
				return t, err
			},
		}},
	}
}

// Secret is the Thing that stands for a secret.
type Secret struct {
	name string
	text []byte
}

// Object implements Thing.
func (s *Secret) Object() string { return secretObject }

// Plain implements Thing.
func (s *Secret) Plain() any { return map[string]any{secretObject: s.name} }

// String keeps the text out of whatever prints values.
func (s *Secret) String() string { return "secret " + s.name }

// GoString is String.
func (s *Secret) GoString() string { return s.String() }

// noSecret says that there is none of that name.
type noSecret struct{ name string }

func (n *noSecret) Error() string { return fmt.Sprintf("there is no secret %q", n.name) }

// secret is the one way to the text of a secret, which checks that the plugin may use it.
func (c *Context) secret(name string) (Thing, error) {
	if !capability.ValidSecret(name) {
		return nil, fmt.Errorf(`%q cannot name a secret; a name is like "dkim/example.org"`, cut(name))
	}
	if err := c.Needs.RefuseName(fmt.Sprintf("the secret %q", name), "secrets", name); err != nil {
		return nil, err
	}
	if c.host.Secrets == nil {
		return nil, errors.New("there are no secrets: the configuration names no folder for them, in [secrets]")
	}
	if err := c.spend(400, 512); err != nil {
		return nil, err
	}
	text, ok, err := c.host.Secrets.Secret(name)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, &noSecret{name}
	}
	return &Secret{name, text}, nil
}

// textOf is the text of an argument that is a string or a secret.
func textOf(v any) string {
	if s, ok := v.(*Secret); ok {
		return string(s.text)
	}
	return v.(string)
}

// SecretFolder keeps each secret in a file, which nobody but the server's user may read. A file is read when it is asked for, so a change
// counts at once. One line end at the end of a file is no part of the secret.
type SecretFolder struct {
	Folder func() string // where it is now; "": there is none
}

var _ Secrets = SecretFolder{}

// Secret implements Secrets.
func (f SecretFolder) Secret(name string) ([]byte, bool, error) {
	folder := f.Folder()
	if folder == "" {
		return nil, false, errors.New("there are no secrets: the configuration names no folder for them, in [secrets]")
	}
	root, err := os.OpenRoot(folder) // so that no link leads out of it
	if err != nil {
		return nil, false, fmt.Errorf("the folder of secrets cannot be read: %w", err)
	}
	defer root.Close()
	path := filepath.Join(folder, filepath.FromSlash(name))
	if info, err := root.Stat(filepath.FromSlash(name)); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	} else if err == nil && !info.Mode().IsRegular() { // before it is opened: a pipe would wait for its other end
		return nil, false, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, false, err
	case !info.Mode().IsRegular():
		return nil, false, fmt.Errorf("%s is not a regular file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, false, fmt.Errorf("%s may be read or written by others than its owner (%04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(file, MaxSecret+1))
	if err != nil {
		return nil, false, err
	}
	if len(text) > MaxSecret {
		return nil, false, fmt.Errorf("%s is larger than %d bytes, the most for a secret", path, MaxSecret)
	}
	return []byte(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")), true, nil
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// SocketName is the name of the socket in the data folder.
const SocketName = "control.sock"

// ScratchName is the name of the folder in the data folder in which the socket is made.
const ScratchName = "control.new"

// maxSocketPath is what the address of a Unix socket holds on every system (macOS and the BSDs have 104 bytes with the final NUL).
const maxSocketPath = 103

const knockTime = 2 * time.Second

// Listen opens the control socket in a data folder. One that a dead process left is replaced; if somebody answers there, that is
// an error. Close of the listener removes the socket.
func Listen(data string) (net.Listener, error) {
	path := filepath.Join(data, SocketName)
	if err := vacant(path); err != nil {
		return nil, err
	}
	// The socket is made in a folder that is closed to others and moved to its place with its final mode: at no moment can
	// somebody else open it.
	private := filepath.Join(data, ScratchName)
	if err := os.RemoveAll(private); err != nil { // what a start that was killed left
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Mkdir(private, 0o700); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	short, done, err := shorten(made)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // it moves
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(path)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &listener{Listener: l, path: path, info: info}, nil
}

// vacant tells why there can be no socket at path.
func vacant(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket: %s exists and is no socket; move it away", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), knockTime)
	defer cancel()
	conn, err := dial(ctx, path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("a server is running with this data folder already: it answers at %s; stop it first, or give this one another data folder", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control socket %s is there, and whether a server is behind it cannot be told: %w", path, err)
	}
	return nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	return new(net.Dialer).DialContext(ctx, "unix", short)
}

// shorten gives a path of the same file that fits into a socket's address: a long one goes by a link in the folder for temporary
// files, which done removes.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return "", nil, fmt.Errorf("control socket: %w", err)
	}
	links, err := os.MkdirTemp("", "stagepost-")
	if err != nil {
		return "", nil, fmt.Errorf("control socket: %w", err)
	}
	done = func() { os.RemoveAll(links) }
	link := filepath.Join(links, "d")
	short = filepath.Join(link, filepath.Base(path))
	if err = os.Symlink(folder, link); err == nil && len(short) > maxSocketPath {
		err = fmt.Errorf("the path of a socket has at most %d bytes, and the temporary folder's, %s, is too long to help", maxSocketPath, os.TempDir())
	}
	if err != nil {
		done()
		return "", nil, fmt.Errorf("control socket %s: %w; use a data folder with a shorter path", path, err)
	}
	return short, done, nil
}

// listener removes its socket when it is closed, unless another one stands in its place.
type listener struct {
	net.Listener
	path string
	info fs.FileInfo
	once sync.Once
}

func (l *listener) Close() error {
	l.once.Do(func() {
		if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.info) {
			os.Remove(l.path)
		}
	})
	return l.Listener.Close()
}

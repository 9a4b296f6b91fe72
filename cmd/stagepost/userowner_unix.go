//go:build unix

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// keepOwner gives the file the owner and group of an old one.
func keepOwner(file *os.File, old fs.FileInfo) error {
	was, ok := old.Sys().(*syscall.Stat_t)
	info, err := file.Stat()
	if err != nil || !ok {
		return err
	}
	if is, ok := info.Sys().(*syscall.Stat_t); ok && is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	return file.Chown(int(was.Uid), int(was.Gid))
}

// giveOwner gives what a root command made below a folder to whom like belongs to. What is somebody else's stays so, and so does a file that
// has another name: that may be one of the system's.
func giveOwner(root *os.Root, path string, like fs.FileInfo) {
	to, ok := like.Sys().(*syscall.Stat_t)
	info, err := root.Lstat(path)
	if err != nil || !ok {
		return
	}
	is, ok := info.Sys().(*syscall.Stat_t)
	if !ok || is.Uid != 0 || is.Uid == to.Uid && is.Gid == to.Gid || !info.IsDir() && (!info.Mode().IsRegular() || is.Nlink > 1) {
		return
	}
	_ = root.Lchown(filepath.FromSlash(path), int(to.Uid), int(to.Gid)) // who cannot read it says so
}

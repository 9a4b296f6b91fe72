package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/plugins/catalog"
	"github.com/stagepost/stagepost/plugins/catalog/desk"
)

// TestCatalogCode: one rule, whatever the command.
func TestCatalogCode(t *testing.T) {
	dir := t.TempDir()
	_, none := os.ReadFile(filepath.Join(dir, "none"))
	_, folder := os.ReadFile(dir)
	refused := &net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "connect", Err: syscall.EPERM}}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"content", errors.New("the digest is wrong"), exitData},
		{"a server that refuses", &url.Error{Op: "Get", URL: "https://a.example/", Err: refused}, exitUnavailable},
		{"a registry that answers wrong", &errcode.ErrorResponse{Method: "GET", URL: &url.URL{}, StatusCode: http.StatusBadGateway}, exitUnavailable},
		{"a server that breaks off", fmt.Errorf("code.tar: %w", &catalog.Unavailable{Err: errors.New("it broke off")}), exitUnavailable},
		{"no file", none, exitNoInput},
		{"a folder in the place of a file", folder, exitIO},
		{"a full disk", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, exitIO},
		{"a full disk, by a name", &os.LinkError{Op: "rename", Old: "x", New: "y", Err: syscall.ENOSPC}, exitIO},
		{"a file that may not be written", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, exitPermission},
		{"another writer", fmt.Errorf("x: %w", &desk.Busy{}), exitTemporary},
		{"a mistake in a file", config.Errors{{File: "plugins.lock", Line: 3}}, exitConfig},
		{"what has its code", fail(exitCantCreate, "x"), exitCantCreate},
	} {
		if got := catalogCode(t.Context(), fmt.Errorf("vip 1.0.0: %w", tt.err)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := catalogCode(ended, &url.Error{Op: "Get", URL: "https://a.example/", Err: context.Canceled}); got != exitTemporary {
		t.Errorf("interrupted: %d", got)
	}
}

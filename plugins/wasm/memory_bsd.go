//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package wasm

func largePages([]byte) {}

//go:build !unix

package config

import "os"

func openNonblock(name string) (*os.File, error) { return os.Open(name) }

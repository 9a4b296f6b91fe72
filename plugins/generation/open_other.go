//go:build !unix

package generation

import "os"

func openNonblock(name string) (*os.File, error) { return os.Open(name) }

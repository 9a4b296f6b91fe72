//go:build !unix

package gate

// descriptors is how many files are open and how many may be, 0 where that is not known.
func descriptors() (open, limit int64) { return 0, 0 }

//go:build linux || darwin || freebsd

package disk

import "golang.org/x/sys/unix"

// capacityOf asks the file system that dir lies on.
func capacityOf(dir string) (Capacity, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Capacity{}, err
	}
	block := int64(st.Bsize)
	return Capacity{
		Free:       int64(st.Bavail) * block,
		Total:      int64(st.Blocks) * block,
		FreeFiles:  int64(st.Ffree),
		TotalFiles: int64(st.Files),
	}, nil
}

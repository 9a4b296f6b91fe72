//go:build !linux && !darwin && !freebsd

package disk

import "github.com/cockroachdb/pebble/v2/vfs"

// capacityOf asks the file system that dir lies on. Inodes are not known here.
func capacityOf(dir string) (Capacity, error) {
	u, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		return Capacity{}, err
	}
	return Capacity{Free: int64(u.AvailBytes), Total: int64(u.TotalBytes)}, nil
}

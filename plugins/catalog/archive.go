package catalog

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Bounds of what a package holds. They are those of the server, which reads no larger plugin.
const (
	maxFiles  = 1_000    // in one layer
	maxFile   = 1 << 20  // bytes of one file
	maxModule = 16 << 20 // bytes of plugin.wasm
	maxCode   = 32 << 20 // bytes of the layer with the code
	maxTests  = 16 << 20 // bytes of the layer with the tests
)

// most is how large a file of a plugin may be.
func most(name string) int64 {
	if name == wasmFile {
		return maxModule
	}
	return maxFile
}

// writeArchive makes a tar archive of files that depends on nothing but their names and content.
func writeArchive(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR})
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			return nil, fmt.Errorf("%s cannot be put into an archive: %w", shown(name), err)
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// readArchive reads the files of an archive that anybody may have written. What writeArchive does not write is an error.
func readArchive(data []byte) (map[string][]byte, error) {
	files, names := map[string][]byte{}, nameSet{}
	left := int64(len(data)) // files with holes are larger than what is written of them
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // that one is judged below
			return nil, fmt.Errorf("the archive cannot be read: %w", err)
		}
		if len(files) >= maxFiles {
			return nil, fmt.Errorf("there are more than %d files in it", maxFiles)
		}
		if what := kindOf(h.Typeflag); what != "" {
			return nil, fmt.Errorf("%s is %s; a package holds files only", shown(h.Name), what)
		}
		if err := names.add(h.Name); err != nil {
			return nil, err
		}
		if h.Size > most(h.Name) {
			return nil, fmt.Errorf("%s has %d bytes; the most is %d", shown(h.Name), h.Size, most(h.Name))
		}
		if left -= h.Size; left < 0 {
			return nil, fmt.Errorf("the files up to %s are larger than the archive, which has %d bytes: there are holes in them", shown(h.Name), len(data))
		}
		text, err := io.ReadAll(io.LimitReader(r, h.Size))
		if err != nil || int64(len(text)) != h.Size {
			return nil, fmt.Errorf("%s ends after %d of %d bytes", shown(h.Name), len(text), h.Size)
		}
		files[h.Name] = text
	}
	switch again, err := writeArchive(files); {
	case err != nil:
		return nil, err
	case !bytes.Equal(again, data):
		return nil, errors.New("the archive is not written the way packages are: order, times, owners, modes or padding differ")
	}
	return files, nil
}

// kindOf names what an entry is that is no file.
func kindOf(flag byte) string {
	switch flag {
	case tar.TypeReg:
		return ""
	case tar.TypeLink, tar.TypeSymlink:
		return "a link"
	case tar.TypeDir:
		return "a folder"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a pipe"
	}
	return fmt.Sprintf("of the unknown kind %q", flag)
}

package catalog

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// entry is one of an archive that somebody else wrote.
type entry struct {
	tar.Header
	text string
}

func file1(name, text string) entry { return entry{tar.Header{Name: name}, text} }

// archiveOf writes entries as packages have them, but for what they say themselves.
func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(0, 0)
		}
		if h.Format == 0 {
			h.Format = tar.FormatUSTAR
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.text))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBadArchives(t *testing.T) {
	kind := func(flag byte, link string) entry {
		return entry{tar.Header{Name: "x.lua", Typeflag: flag, Linkname: link}, ""}
	}
	good := archiveOf(t, file1("a.lua", "1"), file1("b.lua", "2"))
	if files, err := readArchive(good); err != nil || string(files["b.lua"]) != "2" || len(files) != 2 {
		t.Fatal(files, err)
	}
	large := archiveOf(t, file1("a.lua", "1"))
	copy(large[124:], "77777777777\x00") // 8 GiB, and the sum is made right again
	resummed(large)
	many := make([]entry, maxFiles+1)
	for i := range many {
		many[i] = file1(fmt.Sprintf("f%06d.lua", i), "")
	}
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"out of the folder", archiveOf(t, file1("../x.lua", "")), `the name "../x.lua" leads out of the plugin's folder`},
		{"out of the folder, from below", archiveOf(t, file1("lib/../../x.lua", "")), "leads out of the plugin's folder"},
		{"an absolute name", archiveOf(t, file1("/etc/x.lua", "")), `the name "/etc/x.lua" is absolute`},
		{"a drive", archiveOf(t, file1("C:x.lua", "")), `the name "C:x.lua" has a character`},
		{"a backslash", archiveOf(t, file1(`lib\x.lua`, "")), `has a character that not every system can hold`},
		{"a stream of NTFS", archiveOf(t, file1("init.lua:x", "")), "has a character"},
		{"an empty part", archiveOf(t, file1("lib//x.lua", "")), "has an empty part"},
		{"a dot", archiveOf(t, file1("./x.lua", "")), "has an empty part"},
		{"a hidden file", archiveOf(t, file1(".x.lua", "")), "is one that the server does not look at"},
		{"a control character", archiveOf(t, file1("x\n.lua", "")), `the name "x\n.lua" has a character`},
		{"another script", archiveOf(t, entry{tar.Header{Name: "é.lua", Format: tar.FormatPAX}, ""}), "has a character"},
		{"a dot at the end", archiveOf(t, file1("lib./x.lua", "")), "ends in a dot, which Windows cannot hold"},
		{"a device of Windows", archiveOf(t, file1("lib/Aux.lua", "")), "is a device on Windows"},
		{"a long name", archiveOf(t, file1(strings.Repeat("d/", 20)+strings.Repeat("x", 80), "")), "is longer than 100 bytes"},
		{"deep folders", archiveOf(t, file1(strings.Repeat("d/", maxFolders+1)+"x", "")), "is more than 8 folders deep"},
		{"a symbolic link", archiveOf(t, kind(tar.TypeSymlink, "/etc/passwd")), `"x.lua" is a link; a package holds files only`},
		{"a hard link", archiveOf(t, kind(tar.TypeLink, "init.lua")), `"x.lua" is a link`},
		{"a device", archiveOf(t, kind(tar.TypeChar, "")), `"x.lua" is a device`},
		{"a disk", archiveOf(t, kind(tar.TypeBlock, "")), `"x.lua" is a device`},
		{"a pipe", archiveOf(t, kind(tar.TypeFifo, "")), `"x.lua" is a pipe`},
		{"a folder", archiveOf(t, kind(tar.TypeDir, "")), `is a folder; a package holds files only`},
		{"an unknown kind", archiveOf(t, entry{tar.Header{Name: "x.lua", Typeflag: 'Z', Format: tar.FormatGNU}, ""}), "is of the unknown kind 'Z'"},
		{"a huge size", large, `"a.lua" has 8589934591 bytes; the most is 1048576`},
		{"a large file", archiveOf(t, file1("a.lua", strings.Repeat("x", maxFile+1))), "the most is 1048576"},
		{"many files", archiveOf(t, many...), "there are more than 1000 files in it"},
		{"two of one name", archiveOf(t, file1("a.lua", "1"), file1("a.lua", "2")), `two entries are named "a.lua"`},
		{"case alone", archiveOf(t, file1("A.lua", "1"), file1("a.lua", "2")), `"A.lua" and "a.lua" differ in case only`},
		{"case of folders", archiveOf(t, file1("Lib/a.lua", "1"), file1("lib/b.lua", "2")), `"Lib" and "lib" differ in case only`},
		{"a file as a folder", archiveOf(t, file1("lib", "1"), file1("lib/b.lua", "2")), `"lib" is a file and a folder`},
		{"a folder as a file", archiveOf(t, file1("lib/b.lua", "1"), file1("lib", "2")), `"lib" is a file and a folder`},
		{"cut within a file", archiveOf(t, file1("a.lua", "some text"))[:515], `"a.lua" ends after 3 of 9 bytes`},
		{"cut within a header", good[:100], "the archive cannot be read"},
		{"cut before its end", good[:2048], "is not written the way packages are"},
		{"something after its end", append(bytes.Clone(good), make([]byte, 512)...), "is not written the way packages are"},
		{"not sorted", archiveOf(t, file1("b.lua", "2"), file1("a.lua", "1")), "is not written the way packages are"},
		{"times", archiveOf(t, entry{tar.Header{Name: "a.lua", ModTime: time.Unix(1, 0)}, ""}), "is not written the way packages are"},
		{"owners", archiveOf(t, entry{tar.Header{Name: "a.lua", Uid: 1}, ""}), "is not written the way packages are"},
		{"names of owners", archiveOf(t, entry{tar.Header{Name: "a.lua", Uname: "x"}, ""}), "is not written the way packages are"},
		{"modes", archiveOf(t, entry{tar.Header{Name: "a.lua", Mode: 0o4755}, ""}), "is not written the way packages are"},
		{"another format", archiveOf(t, entry{tar.Header{Name: "a.lua", Format: tar.FormatGNU}, ""}), "is not written the way packages are"},
		{"records of PAX", archiveOf(t, entry{tar.Header{Name: "a.lua", Format: tar.FormatPAX, PAXRecords: map[string]string{"X.y": "z"}}, ""}), "is not written the way packages are"},
		{"padding", func() []byte { b := bytes.Clone(good); b[600] = 1; return b }(), "is not written the way packages are"},
		{"compressed", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00" + strings.Repeat("x", 600)), "the archive cannot be read"},
		{"nothing", nil, "is not written the way packages are"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readArchive(tc.data)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// FuzzArchive: whatever is read is written again to the same bytes, and its names are fit for every system.
func FuzzArchive(f *testing.F) {
	f.Add(archiveOf(f, file1("a.lua", "1"), file1("lib/b.lua", "2")))
	f.Add(archiveOf(f, file1("../x.lua", "")))
	f.Add(archiveOf(f, entry{tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}, ""}))
	f.Add(archiveOf(f, entry{tar.Header{Name: "é.lua", Format: tar.FormatPAX}, "x"}))
	f.Add(archiveOf(f, entry{tar.Header{Name: "x.lua", Format: tar.FormatGNU, Uid: 1 << 30}, "x"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := readArchive(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			return
		}
		again, err := writeArchive(files)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatal("it is not what was written", err)
		}
		for name := range files {
			if badName(name) != "" {
				t.Errorf("%q", name)
			}
		}
	})
}

// resummed makes the checksum of a changed header right again.
func resummed(header []byte) {
	sum := int64(0)
	copy(header[148:156], "        ")
	for _, c := range header[:512] {
		sum += int64(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// holes is an entry of an archive whose file is as large as it says and mostly holes (GNU's sparse files, version 1.0): what is written of it has
// one byte.
func holes(t testing.TB, name string, size int64) []byte {
	t.Helper()
	var records string
	for _, r := range []string{"major=1", "minor=0", "name=" + name, fmt.Sprintf("realsize=%d", size)} {
		r = " GNU.sparse." + r + "\n"
		records += fmt.Sprint(len(r)+2) + r
	}
	stored := fmt.Sprintf("1\n%d\n1\n", size-1) // one piece, of one byte, at the end
	stored += strings.Repeat("\x00", 512-len(stored)) + "x"
	both := archiveOf(t, file1("records", records), file1("x", stored))
	both[156] = tar.TypeXHeader
	resummed(both)
	return both[:len(both)-1024]
}

// An archive of a few kilobytes does not become a gigabyte in memory.
func TestHolesInAnArchive(t *testing.T) {
	data := append(holes(t, "a.lua", 2000), holes(t, "b.lua", maxFile)...)
	_, err := readArchive(append(data, make([]byte, 1024)...))
	wants(t, err, `the files up to "b.lua" are larger than the archive, which has`)
	_, err = readArchive(append(holes(t, "a.lua", 2000), make([]byte, 1024)...)) // as large as it may be
	wants(t, err, "is not written the way packages are")
}

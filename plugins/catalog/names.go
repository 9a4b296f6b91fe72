package catalog

import (
	"fmt"
	"strings"
)

// Bounds of names in a package.
const (
	maxName    = 100 // bytes of a path; what a tar header holds without tricks
	maxFolders = 8   // as deep as the server reads a plugin
)

// badName tells what is wrong with the path of a file in a package; "" is nothing. What is left can be held by every system.
func badName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return fmt.Sprintf("is longer than %d bytes", maxName)
	case name[0] == '/':
		return "is absolute"
	case strings.Count(name, "/") > maxFolders:
		return fmt.Sprintf("is more than %d folders deep", maxFolders)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "leads out of the plugin's folder"
		case part == "" || part == ".":
			return "has an empty part"
		case hidden(part):
			return "is one that the server does not look at"
		case strings.ContainsFunc(part, unusual):
			return "has a character that not every system can hold; letters, digits and . _ - + @ = are for names"
		case strings.HasSuffix(part, "."):
			return "ends in a dot, which Windows cannot hold"
		case device(part):
			return "is a device on Windows"
		}
	}
	return ""
}

// hidden tells names that editors and systems leave behind; the server passes over them in a plugin's folder.
func hidden(part string) bool {
	return strings.HasPrefix(part, ".") || strings.HasPrefix(part, "#") || strings.HasSuffix(part, "~")
}

func unusual(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !letter && !strings.ContainsRune("._-+@=", r)
}

// device tells the names that mean a device in every folder of Windows, whatever comes after a dot.
func device(part string) bool {
	base, _, _ := strings.Cut(strings.ToLower(part), ".")
	switch base {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(base) == 4 && (strings.HasPrefix(base, "com") || strings.HasPrefix(base, "lpt")) && '0' <= base[3] && base[3] <= '9'
}

// nameSet has the names of files and the folders they lie in, by their lower-case form: what some system takes for the same.
type nameSet map[string]namedAs

type namedAs struct {
	name string
	file bool
}

// add takes in the path of one more file, and tells what is wrong with it.
func (s nameSet) add(name string) error {
	if why := badName(name); why != "" {
		return fmt.Errorf("the name %s %s", shown(name), why)
	}
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		is := namedAs{name[:i], i == len(name)}
		low := strings.ToLower(is.name)
		was, there := s[low]
		switch {
		case !there:
			s[low] = is
		case was.name != is.name:
			return fmt.Errorf("%s and %s differ in case only, which Windows and macOS cannot hold", shown(was.name), shown(is.name))
		case was.file && is.file:
			return fmt.Errorf("two entries are named %s", shown(name))
		case was.file != is.file:
			return fmt.Errorf("%s is a file and a folder", shown(is.name))
		}
	}
	return nil
}

// shown is a name of a stranger's in a message: quoted, and not at any length.
func shown(name string) string {
	if len(name) > maxName {
		name = name[:maxName] + "..."
	}
	return fmt.Sprintf("%q", name)
}

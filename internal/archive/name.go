package archive

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/symbol"
)

// maxName bounds the bytes of any name, even ignored ones, so that 10,000 names fit in memory. A symbol key is shorter still.
const maxName = 1024

// A role is what an entry is, by its name.
type role int

const (
	roleSymbol    role = iota // a member, to be published
	roleListing               // an ignored member
	roleLitter                // no member: left in a folder by an operating system
	roleDirectory             // no member
)

// A place is the meaning of an entry's name.
type place struct {
	name string     // as recorded and answered
	key  symbol.Key // of a roleSymbol
	role role
}

// naming turns the names of one archive, in order, into places.
type naming struct {
	disallowed       []string // snippets
	slash, backslash string   // the first name with one, or ""
	tree             tree
}

// A tree holds which names of an archive are files, and which folders, in their plain form. No name can be both: readers that extract the
// archive drop one or the other.
type tree struct{ files, folders map[string]bool }

// add adds a name, and returns a name that is both.
func (t *tree) add(name string, dir bool) (both string, ok bool) {
	if t.files == nil {
		t.files, t.folders = make(map[string]bool), make(map[string]bool)
	}
	name = strings.TrimSuffix(name, "/")
	if !dir {
		if t.folders[name] {
			return name, false
		}
		t.files[name] = true
		name = path.Dir(name)
	}
	for ; name != "." && name != "" && !t.folders[name]; name = path.Dir(name) {
		if t.files[name] {
			return name, false
		}
		t.folders[name] = true
	}
	return "", true
}

// locate decides by its name what an entry is. It checks the name's plain form: in Unicode's normal form C, without "./" in front, with
// slashes between its components.
func (n *naming) locate(sent string, dir bool) (place, error) {
	name, err := n.plain(sent)
	if err != nil {
		return place{}, err
	}
	for _, s := range n.disallowed {
		if s != "" && strings.Contains(name, s) {
			return place{}, fault.Invalid("Content of archive file contains the snippet '%s' which is not allowed (in %s)", s, fault.Quote(sent))
		}
	}
	p := place{name: name, role: roleOf(name, dir)}
	if p.role == roleSymbol {
		if p.key, err = symbol.ParseKey(name); err != nil || hasDrive(name) {
			return place{}, unrecognized(sent, hint(name))
		}
	}
	if both, ok := n.tree.add(name, dir); !ok {
		return place{}, fault.Invalid("The archive has %s as a file, and as a folder of other files", fault.Quote(both))
	}
	return p, nil
}

// plain returns a name in its plain form.
func (n *naming) plain(name string) (string, error) {
	name, err := n.separate(name)
	if err != nil {
		return "", err
	}
	for strings.HasPrefix(name, "./") {
		name = name[len("./"):]
	}
	return norm.NFC.String(name), nil
}

// separate returns name with slashes for backslashes, if all names of the archive have backslashes, as older tools of Windows write them.
func (n *naming) separate(name string) (string, error) {
	if n.slash == "" && strings.Contains(name, "/") {
		n.slash = name
	}
	if n.backslash == "" && strings.Contains(name, `\`) {
		n.backslash = name
	}
	switch {
	case n.backslash == "":
		return name, nil
	case n.slash == "":
		return strings.ReplaceAll(name, `\`, "/"), nil
	}
	return "", unrecognized(n.backslash, `: it has \ between its components where other names have /; make the archive with one tool`)
}

func unrecognized(name, hint string) error {
	return fault.Invalid("Unrecognized file pattern. Should only be <module>/<hex>/<file> or "+
		"<name>-symbols.txt and nothing else. (First unrecognized pattern was %s)%s", fault.Quote(name), hint)
}

// roleOf returns the role of an entry by its plain name. Names of ignored entries are recorded and answered too, so they must be harmless.
func roleOf(name string, dir bool) role {
	const listing = "-symbols.txt"
	trimmed := strings.TrimSuffix(name, "/")
	base := path.Base(trimmed)
	switch {
	case dir && (trimmed == "" || trimmed == "."):
		return roleDirectory
	case !clean(trimmed):
		return roleSymbol
	case dir:
		return roleDirectory
	case trimmed != name:
		return roleSymbol
	case strings.HasPrefix(base, "._"), base == ".DS_Store", strings.EqualFold(base, "Thumbs.db"), strings.EqualFold(base, "desktop.ini"),
		strings.Contains("/"+path.Dir(name)+"/", "/__MACOSX/"):
		return roleLitter
	case base == name && len(name) > len(listing) && strings.EqualFold(name[len(name)-len(listing):], listing):
		return roleListing
	}
	return roleSymbol
}

// hasDrive reports whether a name begins with a Windows drive, which some readers strip.
func hasDrive(name string) bool {
	return len(name) > 1 && name[1] == ':' && 'a' <= name[0]|0x20 && name[0]|0x20 <= 'z'
}

// hint says what to do about some known foreign names.
func hint(name string) string {
	first, _, _ := strings.Cut(name, "/")
	for _, of := range []string{"000Admin", "pingme.txt", "index2.txt"} {
		if strings.EqualFold(first, of) {
			return ": it belongs to a symbol store of symstore.exe; put the folders of the modules alone into the archive"
		}
	}
	return ""
}

// clean reports whether name is a relative path of printable text without dot components.
func clean(name string) bool {
	if len(name) > maxName || !utf8.ValidString(name) || strings.Contains(name, `\`) {
		return false
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return false
	}
	for c := range strings.SplitSeq(name, "/") {
		if c == "" || c == "." || c == ".." {
			return false
		}
	}
	return true
}

package archive

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"tecken-upload/internal/symbol"
)

// maxName bounds the bytes of any name, ignored ones too, so that 10,000 names fit in memory. A symbol
// key is shorter still.
const maxName = 1024

// A place is what a name says of its member.
type place struct {
	key     symbol.Key
	ignored bool
}

// locate decides by its name what becomes of a member.
func locate(name string, dir bool, disallowed []string) (place, error) {
	for _, s := range disallowed {
		if s != "" && strings.Contains(name, s) {
			return place{}, invalid("Content of archive file contains the snippet '%s' which is not allowed (in %s)", s, quote(name))
		}
	}
	if ignorable(name, dir) {
		return place{ignored: true}, nil
	}
	key, err := symbol.ParseKey(name)
	if err != nil {
		return place{}, invalid("Unrecognized file pattern. Should only be <module>/<hex>/<file> or "+
			"<name>-symbols.txt and nothing else. (First unrecognized pattern was %s)", quote(name))
	}
	return place{key: key}, nil
}

// ignorable reports whether a member is harmless extra: a directory, a Finder's .DS_Store, a listing at
// the root. Its name will be recorded and answered, so it must not be a trap for others either.
func ignorable(name string, dir bool) bool {
	const listing = "-symbols.txt"
	switch {
	case dir && (name == "./" || name == "."):
		return true
	case !clean(strings.TrimSuffix(name, "/")):
		return false
	case dir:
		return true
	}
	return path.Base(name) == ".DS_Store" && !strings.HasSuffix(name, "/") ||
		len(name) > len(listing) && strings.HasSuffix(name, listing) && !strings.Contains(name, "/")
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

package symbol

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds of a key, in bytes. One component must fit a file name with room for a temporary suffix
// (255 bytes on every file system in use); the whole must stay far below S3's 1,024.
const (
	MaxComponent = 200
	MaxKey       = 512
)

// maxSpelled bounds a key before it is brought into normal form C, which may make it shorter.
const maxSpelled = 4 * MaxKey

// ErrInvalidKey is wrapped by every error about a name that cannot be a symbol key.
var ErrInvalidKey = errors.New("invalid symbol key")

// forbidden are the printable characters not allowed in a component: the path separator, those that S3 advises against, and those with a
// meaning in shells and URLs.
const forbidden = "/\\^`><{}[]#%\"'|"

// A Key addresses one symbol file. Keys are comparable; the zero Key is not valid.
// The debug id is held in upper case, but for [Key.AsSent]; the other components in Unicode's normal form C.
type Key struct {
	debugFile, debugID, file string
}

// NewKey makes a Key of three decoded components, in whatever normal form, or returns an error wrapping [ErrInvalidKey].
func NewKey(debugFile, debugID, file string) (Key, error) {
	debugFile, file = norm.NFC.String(debugFile), norm.NFC.String(file)
	for _, c := range []string{debugFile, debugID, file} {
		if err := CheckComponent(c); err != nil {
			return Key{}, err
		}
	}
	if !isHex(debugID) {
		return Key{}, fmt.Errorf("%w: %q is not hexadecimal", ErrInvalidKey, debugID)
	}
	k := Key{debugFile: debugFile, debugID: strings.ToUpper(debugID), file: file}
	if n := len(k.String()); n > MaxKey {
		return Key{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalidKey, n, MaxKey)
	}
	return k, nil
}

// AsSent returns the key with its debug id as it was sent, in whatever case, for a look into a bucket that another
// server filled. An id that is not the key's own in another case leaves the key as it is.
func (k Key) AsSent(debugID string) Key {
	if strings.ToUpper(debugID) == k.debugID {
		k.debugID = debugID
	}
	return k
}

// ParseKey makes a Key of "<debug file>/<debug id>/<symbol file>", or returns an error wrapping
// [ErrInvalidKey].
func ParseKey(name string) (Key, error) {
	if len(name) > maxSpelled {
		return Key{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalidKey, len(name), MaxKey)
	}
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return Key{}, fmt.Errorf("%w: %d components instead of 3", ErrInvalidKey, len(parts))
	}
	return NewKey(parts[0], parts[1], parts[2])
}

// CheckComponent reports whether c may be one component of a key: 1 to [MaxComponent] bytes of UTF-8 in normal form C, of
// Unicode's letters, marks, numbers, punctuation, symbols and the space, without a leading dot and without any of
// “/ \ ^ ` > < { } [ ] # % " ' |“. The error wraps [ErrInvalidKey].
func CheckComponent(c string) error {
	switch {
	case c == "":
		return fmt.Errorf("%w: empty component", ErrInvalidKey)
	case len(c) > MaxComponent:
		return fmt.Errorf("%w: component of %d bytes, at most %d are allowed", ErrInvalidKey, len(c), MaxComponent)
	case c[0] == '.':
		return fmt.Errorf("%w: component with a leading dot", ErrInvalidKey)
	case !utf8.ValidString(c):
		return fmt.Errorf("%w: component that is not UTF-8", ErrInvalidKey)
	case !norm.NFC.IsNormalString(c):
		return fmt.Errorf("%w: component that is not in normal form C", ErrInvalidKey)
	}
	for _, r := range c {
		if !unicode.IsPrint(r) || strings.ContainsRune(forbidden, r) {
			return fmt.Errorf("%w: character %q in a component", ErrInvalidKey, r)
		}
	}
	return nil
}

func isHex(s string) bool {
	for i := range len(s) {
		switch b := s[i]; {
		case '0' <= b && b <= '9', 'a' <= b && b <= 'f', 'A' <= b && b <= 'F':
		default:
			return false
		}
	}
	return s != ""
}

// IsNull reports whether the debug id is all zeros: the id of a module without one.
func (k Key) IsNull() bool { return strings.Trim(k.debugID, "0") == "" }

// DebugFile returns the first component.
func (k Key) DebugFile() string { return k.debugFile }

// DebugID returns the second component, in upper case.
func (k Key) DebugID() string { return k.debugID }

// File returns the third component, the symbol file's own name.
func (k Key) File() string { return k.file }

// IsSym reports whether the key names a Breakpad symbol file (".sym", in any case).
func (k Key) IsSym() bool {
	return len(k.file) > 4 && strings.EqualFold(k.file[len(k.file)-4:], ".sym")
}

// String returns "<debug file>/<debug id>/<symbol file>".
func (k Key) String() string { return k.debugFile + "/" + k.debugID + "/" + k.file }

// URLPath returns the key with each component escaped for a URL's path. Everything except letters, digits and "-._~" is escaped: storages
// differ about other characters (S3 takes a plus sign for a space).
func (k Key) URLPath() string {
	return escape(k.debugFile) + "/" + escape(k.debugID) + "/" + escape(k.file)
}

func escape(component string) string {
	return strings.ReplaceAll(url.QueryEscape(component), "+", "%20")
}

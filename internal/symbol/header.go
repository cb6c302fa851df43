package symbol

import (
	"bytes"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// maxHeader bounds the bytes a HeaderScanner reads. Real headers are below 1 KiB.
const maxHeader = 16 << 10

// A Header holds the first lines of a Breakpad symbol file. A field is empty if its line is missing, or its value would not be a valid
// component of a [Key].
type Header struct {
	OS, Arch  string // MODULE
	DebugID   string // MODULE, in upper case
	DebugFile string // MODULE
	CodeID    string // INFO CODE_ID, in upper case
	CodeFile  string // INFO CODE_ID, optional there
	Generator string // INFO GENERATOR, printable ASCII, at most MaxComponent bytes
}

// A HeaderScanner is an io.Writer that reads the header of a symbol file written to it from its start. It reads at most the first 16 KiB,
// in writes of any size, and never fails. The zero HeaderScanner is ready for use.
type HeaderScanner struct {
	buf    []byte // the start of an unfinished line
	seen   int    // bytes
	done   bool
	header Header
}

// Write takes the next bytes of the file. It always returns len(p), nil.
func (s *HeaderScanner) Write(p []byte) (int, error) {
	if s.done {
		return len(p), nil
	}
	head := p[:min(len(p), maxHeader-s.seen)]
	s.seen += len(head)
	s.buf = append(s.buf, head...)
	for !s.done {
		line, rest, whole := bytes.Cut(s.buf, []byte{'\n'})
		if !whole {
			s.done = s.seen >= maxHeader
			break
		}
		s.buf = rest
		s.done = !s.header.scan(string(line))
	}
	if s.done {
		s.buf = nil
	}
	return len(p), nil
}

// Header returns what has been found so far. After the file's last byte it includes a last line without a line end.
func (s *HeaderScanner) Header() Header {
	if !s.done && len(s.buf) > 0 {
		s.header.scan(string(s.buf))
		s.done, s.buf = true, nil
	}
	return s.header
}

// scan reads one line and reports whether it belongs to the header.
func (h *Header) scan(line string) bool {
	line = strings.TrimSuffix(line, "\r")
	switch {
	case strings.HasPrefix(line, "MODULE "):
		// MODULE <os> <arch> <debug id> <debug file, which may hold spaces>
		if f := strings.SplitN(line, " ", 5); len(f) == 5 {
			h.OS, h.Arch = component(f[1]), component(f[2])
			h.DebugID, h.DebugFile = hexComponent(f[3]), component(f[4])
		}
	case strings.HasPrefix(line, "INFO CODE_ID "):
		// INFO CODE_ID <code id> [<code file>]
		id, file, _ := strings.Cut(strings.TrimPrefix(line, "INFO CODE_ID "), " ")
		h.CodeID, h.CodeFile = hexComponent(id), component(file)
	case strings.HasPrefix(line, "INFO GENERATOR "):
		h.Generator = printable(strings.TrimPrefix(line, "INFO GENERATOR "))
	case strings.HasPrefix(line, "INFO "):
	default:
		return false
	}
	return true
}

func component(s string) string {
	s = norm.NFC.String(s)
	if CheckComponent(s) != nil {
		return ""
	}
	return s
}

func hexComponent(s string) string {
	if len(s) > MaxComponent || !isHex(s) {
		return ""
	}
	return strings.ToUpper(s)
}

// printable returns s if it is printable ASCII of moderate length: a generator is free text, never part of a path.
func printable(s string) string {
	if len(s) > MaxComponent {
		return ""
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return ""
		}
	}
	return s
}

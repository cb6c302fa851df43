package record

import (
	"database/sql"
	"strings"
	"time"
	"unicode/utf8"
)

// maxText bounds a stored text, in bytes. Only file names and errors come near it.
const maxText = 4 << 10

// text returns s for both databases: valid UTF-8 without NUL, of at most maxText bytes.
func text(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	s = strings.ReplaceAll(s, "\x00", string(utf8.RuneError))
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// optional returns text(s), or NULL for an empty s.
func optional(s string) any {
	if s == "" {
		return nil
	}
	return text(s)
}

// micros returns t as it is stored, NULL for the zero time.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// fromMicros is the inverse of micros.
func fromMicros(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64).UTC()
}

// lines returns a stored list, one element a line, or NULL. Elements are cut like other texts, and have no line ends.
func lines(list []string) any {
	if len(list) == 0 {
		return nil
	}
	stored := make([]string, len(list))
	for i, element := range list {
		stored[i] = strings.ReplaceAll(text(element), "\n", " ")
	}
	return strings.Join(stored, "\n")
}

// fromLines is the inverse of lines, with "" for NULL.
func fromLines(stored string) []string {
	if stored == "" {
		return nil
	}
	return strings.Split(stored, "\n")
}

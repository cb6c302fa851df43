package database

import (
	"database/sql"
	"database/sql/driver"
	"strings"
	"time"
	"unicode/utf8"
)

// maxText bounds a stored text, in bytes. Only file names and errors come near it.
const maxText = 4 << 10

// A Text is stored as valid UTF-8 without NUL, of at most 4 KiB. Other text is replaced or cut.
type Text string

// Value returns the text as it is stored.
func (t Text) Value() (driver.Value, error) {
	s := strings.ToValidUTF8(string(t), string(utf8.RuneError))
	s = strings.ReplaceAll(s, "\x00", string(utf8.RuneError))
	if len(s) <= maxText {
		return s, nil
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], nil
}

// An Optional is a Text that is stored as NULL if it is empty.
type Optional string

// Value returns the text as it is stored.
func (o Optional) Value() (driver.Value, error) {
	if o == "" {
		return nil, nil
	}
	return Text(o).Value()
}

// Lines are stored one a line, or as NULL if there are none. Each is a Text, with a space for a line end.
type Lines []string

// Value returns the lines as they are stored.
func (l Lines) Value() (driver.Value, error) {
	if len(l) == 0 {
		return nil, nil
	}
	stored := make([]string, len(l))
	for i, line := range l {
		text, _ := Text(line).Value()
		stored[i] = strings.ReplaceAll(text.(string), "\n", " ")
	}
	return strings.Join(stored, "\n"), nil
}

// Scan is the inverse of Value.
func (l *Lines) Scan(stored any) error {
	var text sql.NullString
	err := text.Scan(stored)
	if *l = nil; text.String != "" {
		*l = strings.Split(text.String, "\n")
	}
	return err
}

// A Time is stored in microseconds, and the zero one as NULL.
type Time time.Time

// Value returns the time as it is stored.
func (t Time) Value() (driver.Value, error) {
	if time.Time(t).IsZero() {
		return nil, nil
	}
	return time.Time(t).UnixMicro(), nil
}

// Scan is the inverse of Value. The time is in UTC.
func (t *Time) Scan(stored any) error {
	var micros sql.NullInt64
	err := micros.Scan(stored)
	if *t = (Time{}); micros.Valid {
		*t = Time(time.UnixMicro(micros.Int64).UTC())
	}
	return err
}

package record

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"tecken-upload/internal/catalogue"
)

// A list's name in its cursors, so that one of another list, or of another order, is told apart.
type list string

const (
	listCreated     list = "c"
	listCreatedUp   list = "C"
	listSize        list = "s"
	listSizeUp      list = "S"
	listFiles       list = "f"
	listDebugFile   list = "d"
	listDebugID     list = "i"
	listPrefix      list = "p"
	listUploadFiles list = "u"
)

// maxCursor bounds a cursor, in bytes: a key's component and three numbers, in base64.
const maxCursor = 512

// cursor returns where a page ended, opaque to clients: in base64, the list, the numbers of the key, and its name where it
// has one, joined by dots. It is empty where key is nil.
func (l list) cursor(key []any) string {
	if key == nil {
		return ""
	}
	parts, name := []string{string(l)}, ""
	for _, k := range key {
		if text, ok := k.(string); ok {
			name = "." + text
		} else {
			parts = append(parts, fmt.Sprint(k))
		}
	}
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(parts, ".") + name))
}

// key is the inverse of cursor, for a key with so many numbers behind its name, if it has one.
func (l list) key(cursor string, named bool, numbers int) ([]any, error) {
	if cursor == "" {
		return nil, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor[:min(len(cursor), maxCursor)])
	fields := numbers + 1
	if named {
		fields++
	}
	parts := strings.SplitN(string(text), ".", fields)
	if err != nil || len(parts) != fields || parts[0] != string(l) {
		return nil, fmt.Errorf("page %.40q: %w", cursor, catalogue.ErrCursor)
	}
	var key []any
	if named {
		key = append(key, parts[fields-1])
	}
	for _, part := range parts[1 : numbers+1] {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("page %.40q: %w", cursor, catalogue.ErrCursor)
		}
		key = append(key, n)
	}
	return key, nil
}

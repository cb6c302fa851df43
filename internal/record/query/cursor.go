package query

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"tecken-upload/internal/catalogue"
)

// A list is a list's name in its cursors, which distinguishes lists and orders.
type list string

const (
	listCreated   list = "c"
	listCreatedUp list = "C"
	listSize      list = "s"
	listSizeUp    list = "S"
	listFiles     list = "f"
	listKeys      list = "k"
	listPrefix    list = "q"
)

// Ranges of the numbers in a key. A database may refuse a query with others.
var (
	aTime     = catalogue.Span{From: math.MinInt64, Until: math.MaxInt64} // in microseconds
	aSize     = catalogue.Span{Until: math.MaxInt64}
	anID      = catalogue.Span{From: 1, Until: math.MaxInt64}
	aPosition = catalogue.Span{Until: behindAll + 1}
)

// behindAll is a position above those of all files of an upload.
const behindAll int64 = math.MaxInt32

// maxCursor bounds a cursor, in bytes: a key and a number, in base64.
const maxCursor = 1024

// cursor returns the end of a page, opaque to clients: in base64, the list, the key's numbers, and its name if it has one, joined by dots.
// It is "" for a nil key.
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

// key is the inverse of cursor, for a key of an optional name and such numbers.
func (l list) key(cursor string, named bool, numbers ...catalogue.Span) ([]any, error) {
	if cursor == "" {
		return nil, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor[:min(len(cursor), maxCursor)])
	fields := len(numbers) + 1
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
	for i := range numbers {
		n, err := strconv.ParseInt(parts[i+1], 10, 64)
		if err != nil || !numbers[i].Holds(n) {
			return nil, fmt.Errorf("page %.40q: %w", cursor, catalogue.ErrCursor)
		}
		key = append(key, n)
	}
	return key, nil
}

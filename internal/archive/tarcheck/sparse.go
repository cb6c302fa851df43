package tarcheck

import (
	"bytes"
	"strings"

	"tecken-upload/internal/archive/fault"
)

// maxSparse bounds the size of a sparse file, in bytes. No archive may hold a larger member.
const maxSparse = 2 << 30

// A sparseMap maps the data of a sparse file: pairs of an offset and a length, in rising order. It ends with the file, with a pair of
// length 0 after a hole. Readers differ over other maps.
type sparseMap struct {
	end   int64
	short bool // the last pair does not fill its blocks: it must be the last one
}

// add adds the next pair.
func (m *sparseMap) add(offset, length int64) bool {
	if offset < m.end || length > maxSparse || offset > maxSparse || m.short && length > 0 {
		return false
	}
	m.end = offset + length
	m.short = m.short || padding(length) > 0
	return true
}

// addFields adds the pairs of GNU's old format. Zeros follow the last one.
func (m *sparseMap) addFields(pairs []byte) bool {
	const field = 12
	for ; len(pairs) >= 2*field && pairs[0] != 0; pairs = pairs[2*field:] {
		offset, okOffset := number(pairs[:field])
		length, okLength := number(pairs[field : 2*field])
		if !okOffset || !okLength || !m.add(offset, length) {
			return false
		}
	}
	return len(bytes.Trim(pairs, "\x00")) == 0
}

// addDecimals adds pairs of decimal numbers.
func (m *sparseMap) addDecimals(numbers []string) bool {
	for ; len(numbers) >= 2; numbers = numbers[2:] {
		offset, okOffset := decimal(numbers[0])
		length, okLength := decimal(numbers[1])
		if !okOffset || !okLength || !m.add(offset, length) {
			return false
		}
	}
	return len(numbers) == 0
}

func badMap(name string) error {
	return fault.Invalid("The map of the sparse member %s is damaged", fault.Quote(name))
}

// oldMap reads the header of a sparse file in GNU's old format, with the beginning of its map.
func (c *Checker) oldMap(name string, b []byte) error {
	size, ok := number(b[483:495])
	m := new(sparseMap)
	if !ok || !m.addFields(b[386:482]) {
		return badMap(name)
	}
	return c.moreMap(name, m, size, b[482])
}

// moreMap treats the next block as more of the map, if there is more, and not as content.
func (c *Checker) moreMap(name string, m *sparseMap, size int64, more byte) error {
	if more == 0 {
		if m.end != size {
			return badMap(name)
		}
		return nil
	}
	content := c.skip
	c.skip = 0
	c.take = func(b []byte) error {
		c.skip = content
		if !m.addFields(b[:504]) {
			return badMap(name)
		}
		return c.moreMap(name, m, size, b[504])
	}
	return nil
}

// paxMap takes the map of a sparse file from its extended header h; other files have none.
func (c *Checker) paxMap(name string, h *paxHeader) error {
	switch {
	case !h.hasMap():
		return nil
	case h.version() == "1.0":
		m := &contentMap{checker: c, name: name, left: c.skip, size: h.records[sparsePrefix+"realsize"]}
		c.skip, c.take = 0, m.take
		return nil
	}
	pairs := h.pairs
	if len(pairs) == 0 {
		pairs = strings.Split(h.records[sparsePrefix+"map"], ",")
	}
	m := new(sparseMap)
	if size, ok := decimal(h.records[sparsePrefix+"size"]); !ok || !m.addDecimals(pairs) || m.end != size {
		return badMap(name)
	}
	return nil
}

// A contentMap is a map at the beginning of the content: the number of pairs, and the pairs, a number a line, up to the end of a block.
type contentMap struct {
	checker *Checker
	name    string
	size    string // of the file
	left    int64  // unread bytes of the content
	text    []byte
	lines   int64
}

// take reads the next block of the content.
func (m *contentMap) take(b []byte) error {
	m.left -= BlockSize
	m.text = append(m.text, b...)
	m.lines += int64(bytes.Count(b, []byte{'\n'}))
	count, _, ok := bytes.Cut(m.text[:min(len(m.text), BlockSize)], []byte{'\n'})
	n, okCount := decimal(string(count))
	switch {
	case !ok || !okCount || m.left < 0 || n > maxExtended || len(m.text) > maxExtended:
		return badMap(m.name)
	case m.lines < 2*n+1:
		m.checker.take = m.take
		return nil
	}
	lines := strings.Split(string(m.text), "\n")
	last := len(lines) - 1 // the block's filling
	var pairs sparseMap
	size, ok := decimal(m.size)
	if !ok || m.lines != 2*n+1 || len(strings.Trim(lines[last], "\x00")) > 0 || !pairs.addDecimals(lines[1:last]) || pairs.end != size {
		return badMap(m.name)
	}
	m.checker.skip = m.left
	return nil
}

package tarcheck

import (
	"archive/tar"
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tecken-upload/internal/archive/fault"
)

// sparsePrefix begins the records of a sparse file.
// https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
const sparsePrefix = "GNU.sparse."

// A paxHeader holds the records of an extended header.
type paxHeader struct {
	records map[string]string
	// pairs are the offsets and lengths of a sparse file's map in version 0.0, a record each.
	pairs []string
}

// decisive reports whether a record determines the name or the bytes of a member.
func decisive(key string) bool {
	switch key {
	case "path", "linkpath", "size", "hdrcharset", "SCHILY.realsize", "SUN.holesdata":
		return true
	}
	return strings.HasPrefix(key, sparsePrefix)
}

// readPax reads the records "<length> <key>=<value>\n" of an extended header.
func readPax(content []byte) (*paxHeader, error) {
	h := &paxHeader{records: make(map[string]string)}
	damaged := fault.Invalid("The tar has a damaged extended header")
	for len(content) > 0 {
		digits, _, ok := bytes.Cut(content, []byte{' '})
		n, okLength := decimal(string(digits))
		if !ok || !okLength || n <= int64(len(digits))+1 || n > int64(len(content)) || content[n-1] != '\n' {
			return nil, damaged
		}
		key, value, ok := strings.Cut(string(content[len(digits)+1:n-1]), "=")
		if !ok || key == "" || key[0] == ' ' {
			return nil, damaged
		}
		content = content[n:]
		if !decisive(key) {
			continue
		}
		if err := h.add(key, value); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// add adds a decisive record.
func (h *paxHeader) add(key, value string) error {
	before, twice := h.records[key]
	isMap := key == sparsePrefix+"map" || key == sparsePrefix+"offset" || key == sparsePrefix+"numbytes"
	switch {
	case isMap && (h.records[sparsePrefix+"size"] == "" || h.records[sparsePrefix+"numblocks"] == ""):
		return fault.Invalid("The tar has the map of a sparse file in front of its size")
	case value == "" || strings.Contains(value, "\x00"):
		return fault.Invalid("The tar has an extended header whose %s is empty or has a zero byte in it", fault.Quote(key))
	case len(h.pairs)%2 == 0 && key == sparsePrefix+"offset", len(h.pairs)%2 == 1 && key == sparsePrefix+"numbytes":
		h.pairs = append(h.pairs, value)
		return nil
	case twice && value != before:
		return fault.Invalid("The tar has an extended header with two different values of %s", fault.Quote(key))
	}
	h.records[key] = value
	return nil
}

// checkGlobal returns an error if a header for all members changes their names or bytes, since not every reader uses it.
func (h *paxHeader) checkGlobal() error {
	if len(h.pairs) > 0 {
		return fault.Invalid("The tar has a global header with the map of a sparse file")
	}
	if keys := slices.Sorted(maps.Keys(h.records)); len(keys) > 0 {
		return fault.Invalid("The tar has a global header that sets %s for all members that follow; not all readers heed it", fault.Quote(keys[0]))
	}
	return nil
}

// check returns an error unless the header means the same to all readers. longLink is the link's name in GNU's own header.
func (h *paxHeader) check(name string, kind byte, longLink string) error {
	_, hasSize := h.records["size"]
	_, okSize := decimal(h.records["size"])
	foreign := h.records["SCHILY.realsize"] != "" || h.records["SUN.holesdata"] != ""
	link := h.records["linkpath"]
	switch {
	case hasSize && !okSize:
		return fault.Invalid("The size of member %s in its extended header is no number", fault.Quote(name))
	case foreign:
		return fault.Invalid("The member %s is a sparse file in the format of star or Solaris; make the tar with GNU tar or bsdtar", fault.Quote(name))
	case link != "" && longLink != "" && link != longLink:
		return fault.Invalid("The tar has two targets for the link %s", fault.Quote(name))
	case h.hasMap() && (kind != tar.TypeReg && kind != typeOldRegular || !h.isSparse()):
		return fault.Invalid("The member %s is a sparse file in a format that not all readers know", fault.Quote(name))
	}
	switch charset := h.records["hdrcharset"]; charset {
	case "", "BINARY", "ISO-IR 10646 2000 UTF-8":
		return nil
	default:
		return fault.Invalid("The name of member %s is in %s; make the tar with names in UTF-8", fault.Quote(name), fault.Quote(charset))
	}
}

// hasMap reports whether the header describes a sparse file.
func (h *paxHeader) hasMap() bool {
	for key := range h.records {
		if strings.HasPrefix(key, sparsePrefix) {
			return true
		}
	}
	return len(h.pairs) > 0
}

// isSparse reports whether the records describe a sparse file in exactly one version of GNU's format, 0.0, 0.1 or 1.0.
func (h *paxHeader) isSparse() bool {
	has := func(key string) bool { return h.records[sparsePrefix+key] != "" }
	if h.version() == "1.0" {
		return has("realsize") && !has("size") && !has("map") && len(h.pairs) == 0
	}
	known := h.version() == "0.0" || h.version() == "0.1" || h.version() == "."
	return known && has("size") && !has("realsize") && has("map") != (len(h.pairs) > 0)
}

// version returns the version of the sparse file's format, "." for the one before versions.
func (h *paxHeader) version() string {
	return h.records[sparsePrefix+"major"] + "." + h.records[sparsePrefix+"minor"]
}

// decimal reads decimal digits only.
func decimal(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && strings.Trim(s, "0123456789") == ""
}
